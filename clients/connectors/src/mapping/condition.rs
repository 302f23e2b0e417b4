//! When a mapping, or one field of it, counts: conditions on values of the event, all of which must hold.
//! In comes an event, out goes yes or no.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;
use tollgate_client::Event;

use super::path::EventPath;
use crate::value::Value;

/// Conditions by the path of the value; none hold for every event.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Conditions(BTreeMap<EventPath, Condition>);

/// One condition.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Condition {
    /// The value is this.
    Is(Word),
    /// The value is one of these.
    OneOf(Vec<Word>),
    /// All that is given holds.
    All(Bounds),
}

/// A text, number or boolean of the configuration, compared as text.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Integer(i64),
    Boolean(bool),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    /// The value is none of these.
    #[serde(default)]
    not: Vec<Word>,
    /// Whether the event has a value at all.
    exists: Option<bool>,
    /// The amount or number is not below this, in major units.
    at_least: Option<Decimal>,
    /// The amount or number is not above this, in major units.
    at_most: Option<Decimal>,
    /// The text begins like this.
    starts_with: Option<String>,
}

impl Conditions {
    /// Whether all hold.
    pub fn hold(&self, event: &Event) -> bool {
        self.0.iter().all(|(path, condition)| condition.holds(&path.of(event)))
    }

    /// Those on paths that are wanted; the others are taken to hold.
    pub fn only(&self, is_wanted: impl Fn(&EventPath) -> bool) -> Conditions {
        let wanted = self.0.iter().filter(|(path, _)| is_wanted(path));
        Conditions(wanted.map(|(path, one)| (path.clone(), one.clone())).collect())
    }

    /// The paths and the plain words that they are compared with, to be checked.
    pub fn words(&self) -> impl Iterator<Item = (&EventPath, String)> {
        self.0.iter().flat_map(|(path, condition)| {
            let words = match condition {
                Condition::Is(word) => std::slice::from_ref(word),
                Condition::OneOf(words) => words.as_slice(),
                Condition::All(bounds) => bounds.not.as_slice(),
            };
            words.iter().map(move |word| (path, word.text()))
        })
    }
}

impl Condition {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Condition::Is(word) => word.is(value),
            Condition::OneOf(words) => words.iter().any(|word| word.is(value)),
            Condition::All(bounds) => bounds.hold(value),
        }
    }
}

impl Bounds {
    fn hold(&self, value: &Value) -> bool {
        let number = match value {
            Value::Number(number) | Value::Money(number, _) => Some(*number),
            _ => value.text().parse().ok(),
        };
        let above = |bound: Decimal| number.is_some_and(|number| number >= bound);
        let below = |bound: Decimal| number.is_some_and(|number| number <= bound);
        !self.not.iter().any(|word| word.is(value))
            && self.exists.is_none_or(|exists| exists != matches!(value, Value::Null))
            && self.at_least.is_none_or(above)
            && self.at_most.is_none_or(below)
            && self.starts_with.as_ref().is_none_or(|start| value.text().starts_with(start))
    }
}

impl Word {
    fn is(&self, value: &Value) -> bool {
        !matches!(value, Value::Null) && value.same_as(&Value::Text(self.text()))
    }

    fn text(&self) -> String {
        match self {
            Word::Text(text) => text.clone(),
            Word::Integer(number) => number.to_string(),
            Word::Boolean(yes) => yes.to_string(),
        }
    }
}
