//! What one field of a record gets: a value of the event, perhaps through a table, or a constant, or a text
//! with values in it. In comes an event, out goes the value, or that the field is left alone.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, de::Error};
use tollgate_client::Event;

use super::Unmappable;
use super::condition::Conditions;
use super::path::{EventPath, status_words};
use crate::config::Mistake;
use crate::value::Value;

/// How a field gets its value.
#[derive(Clone, Debug, Default)]
pub struct FieldRule {
    /// Where its value comes from.
    pub source: Source,
    /// What a value of the event becomes.
    pub values: BTreeMap<String, Value>,
    /// What a value without an entry in `values` becomes.
    pub otherwise: Option<Value>,
    /// What is written where the event has no value; without it the field is left alone.
    pub default: Option<Value>,
    /// Whether the field is emptied where the event has no value.
    pub clear: bool,
    /// What kind of value it is made.
    pub convert: Option<Convert>,
    /// Which events write it.
    pub when: Conditions,
    /// Which records it is written to.
    pub on: Moment,
    /// What happens if a person changed it.
    pub on_conflict: OnConflict,
    /// Which field tells so.
    pub flag_field: Option<String>,
}

/// Where a field's value comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From the event.
    From(EventPath),
    /// It is always the same.
    Constant(Value),
    /// A text with `{path}` in it.
    Template(Vec<Piece>),
}

/// A part of a template.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// A value of the event.
    Value(EventPath),
}

/// Which records a field is written to.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// To all.
    #[default]
    Always,
    /// Only to new ones.
    Create,
}

/// What happens if a person changed the field since our last write.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// It is written all the same.
    #[default]
    Overwrite,
    /// The person's value stays.
    Keep,
    /// The person's value stays, and the conflict is put before people.
    Flag,
}

/// A kind of value to be made of another.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Convert {
    /// Text.
    Text,
    /// A number; of an amount its major units.
    Number,
    /// Yes or no.
    Boolean,
    /// The day of a moment, in UTC.
    Date,
    /// A moment.
    Time,
}

impl FieldRule {
    /// The value for an event; `None` where the field is left alone.
    pub fn value(&self, field: &str, event: &Event) -> Result<Option<Value>, Unmappable> {
        if !self.when.hold(event) {
            return Ok(None);
        }
        let value = match &self.source {
            Source::From(path) => path.of(event),
            Source::Constant(value) => value.clone(),
            Source::Template(pieces) => filled(pieces, event),
        };
        if value == Value::Null {
            let default = self.default.clone();
            return Ok(default.or(self.clear.then_some(Value::Null)));
        }
        let value = if self.values.is_empty() {
            value
        } else {
            let text = value.text();
            let entry = self.values.get(&text).or(self.otherwise.as_ref());
            entry
                .cloned()
                .ok_or_else(|| Unmappable::NoEntry { field: field.to_owned(), value: text })?
        };
        match self.convert {
            None => Ok(Some(value)),
            Some(kind) => converted(&value, kind).map(Some).ok_or_else(|| Unmappable::WrongKind {
                field: field.to_owned(),
                value: value.text(),
                kind: kind.word(),
            }),
        }
    }

    /// All values that it can write, as far as they stand in the configuration.
    pub fn known_values(&self) -> Vec<&Value> {
        let constant = match &self.source {
            Source::Constant(value) => Some(value),
            Source::From(_) | Source::Template(_) => None,
        };
        let table = self.values.values();
        table.chain(&self.otherwise).chain(&self.default).chain(constant).collect()
    }

    /// Whether what it writes is known beforehand.
    pub fn is_closed(&self) -> bool {
        match &self.source {
            Source::Constant(_) => true,
            Source::From(_) => !self.values.is_empty(),
            Source::Template(_) => false,
        }
    }

    /// Refuses what no event could make right.
    pub fn check(&self, at: &str) -> Result<(), Mistake> {
        if self.flag_field.is_some() && self.on_conflict != OnConflict::Flag {
            return Err(Mistake::new(at, "`flag_field` needs `on_conflict = \"flag\"`"));
        }
        if self.otherwise.is_some() && self.values.is_empty() {
            return Err(Mistake::new(at, "`otherwise` needs `values`"));
        }
        if self.default.is_some() && self.clear {
            return Err(Mistake::new(at, "`default` and `clear` exclude each other"));
        }
        if let Source::From(path) = &self.source
            && path.is_status()
        {
            let known: Vec<&str> = status_words().collect();
            let unknown = self.values.keys().find(|word| !known.contains(&word.as_str()));
            if let Some(word) = unknown {
                return Err(Mistake::new(format!("{at}.values"), format!("no status is `{word}`")));
            }
        }
        Ok(())
    }
}

impl Default for Source {
    fn default() -> Source {
        Source::Constant(Value::Null)
    }
}

impl Convert {
    fn word(self) -> &'static str {
        match self {
            Convert::Text => "text",
            Convert::Number => "number",
            Convert::Boolean => "boolean",
            Convert::Date => "date",
            Convert::Time => "time",
        }
    }
}

fn converted(value: &Value, kind: Convert) -> Option<Value> {
    match (kind, value) {
        (Convert::Text, _) => Some(Value::Text(value.text())),
        (Convert::Number, Value::Number(number) | Value::Money(number, _)) => {
            Some(Value::Number(*number))
        }
        (Convert::Number, _) => value.text().trim().parse().ok().map(Value::Number),
        (Convert::Boolean, Value::Boolean(yes)) => Some(Value::Boolean(*yes)),
        (Convert::Boolean, _) => value.text().trim().parse().ok().map(Value::Boolean),
        (Convert::Date, Value::Time(time)) => {
            Some(Value::Date(time.to_zoned_datetime(jiff::tz::TimeZone::UTC).date()))
        }
        (Convert::Date, _) => value.text().trim().parse().ok().map(Value::Date),
        (Convert::Time, Value::Date(date)) => date
            .to_zoned_datetime(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|zoned| Value::Time(zoned.timestamp())),
        (Convert::Time, _) => value.text().trim().parse().ok().map(Value::Time),
    }
}

/// Nothing if no value in it is there.
fn filled(pieces: &[Piece], event: &Event) -> Value {
    let mut text = String::new();
    let (mut values, mut found) = (0, 0);
    for piece in pieces {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Value(path) => {
                let value = path.of(event);
                values += 1;
                found += usize::from(value != Value::Null);
                text.push_str(&value.text());
            }
        }
    }
    if values > 0 && found == 0 { Value::Null } else { Value::Text(text) }
}

fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((plain, after)) = rest.split_once('{') {
        let (path, after) = after.split_once('}').ok_or("a `{` is not closed")?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.to_owned()));
        }
        pieces.push(Piece::Value(EventPath::parse(path.trim())?));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

/// A value as it stands in a configuration.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Integer(i64),
    Boolean(bool),
    Float(f64),
}

impl Written {
    fn value(self) -> Result<Value, String> {
        Ok(match self {
            Written::Text(text) => Value::Text(text),
            Written::Integer(number) => Value::Number(number.into()),
            Written::Boolean(yes) => Value::Boolean(yes),
            Written::Float(number) => {
                let read: Result<Decimal, _> = number.to_string().parse();
                Value::Number(read.map_err(|_| format!("{number} is not a decimal"))?)
            }
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    from: Option<String>,
    constant: Option<Written>,
    template: Option<String>,
    #[serde(default)]
    values: BTreeMap<String, Written>,
    otherwise: Option<Written>,
    default: Option<Written>,
    #[serde(default)]
    clear: bool,
    #[serde(rename = "as")]
    convert: Option<Convert>,
    #[serde(default)]
    when: Conditions,
    #[serde(default)]
    on: Moment,
    #[serde(default)]
    on_conflict: OnConflict,
    flag_field: Option<String>,
}

impl Table {
    fn rule(self) -> Result<FieldRule, String> {
        let source = match (self.from, self.constant, self.template) {
            (Some(path), None, None) => Source::From(EventPath::parse(&path)?),
            (None, Some(constant), None) => Source::Constant(constant.value()?),
            (None, None, Some(template)) => Source::Template(pieces(&template)?),
            (_, _, _) => return Err("needs one of `from`, `constant` and `template`".to_owned()),
        };
        let values = self.values.into_iter().map(|(key, value)| Ok((key, value.value()?)));
        Ok(FieldRule {
            source,
            values: values.collect::<Result<_, String>>()?,
            otherwise: self.otherwise.map(Written::value).transpose()?,
            default: self.default.map(Written::value).transpose()?,
            clear: self.clear,
            convert: self.convert,
            when: self.when,
            on: self.on,
            on_conflict: self.on_conflict,
            flag_field: self.flag_field,
        })
    }
}

impl<'de> Deserialize<'de> for FieldRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FieldRule, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        // Read in two steps, so that a mistake within the long form is told as such.
        let read = match value {
            toml::Value::String(path) => {
                let path = EventPath::parse(&path).map_err(D::Error::custom)?;
                return Ok(FieldRule { source: Source::From(path), ..FieldRule::default() });
            }
            other => Table::deserialize(other),
        };
        let table = read.map_err(|error| D::Error::custom(error.message()))?;
        table.rule().map_err(D::Error::custom)
    }
}
