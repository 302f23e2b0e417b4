//! What of an event is written to which fields of which record: one `[[objects]]` of a configuration. In
//! comes an event, out goes the row that it means for this kind of record, or nothing, or why it cannot be
//! a row. It knows no CRM and does no I/O; a mistake that can be seen before any event must be refused when
//! the configuration is read.

mod condition;
mod field;
pub mod path;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};
use tollgate_client::Event;

pub use condition::Conditions;
pub use field::{Convert, FieldRule, Moment, OnConflict, Piece, Source};
pub use path::EventPath;

use crate::config::Mistake;
use crate::crm::{Key, Object};
use crate::crms::Kind;
use crate::value::Value;

/// The longest key that is looked up.
const MAX_KEY_BYTES: usize = 512;

/// How events become rows of one kind of record.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The CRM's name of the kind of record.
    pub object: String,
    /// What it is called in acknowledgements and reports; `object` if not set.
    name: Option<String>,
    /// What may be done to records.
    #[serde(default)]
    pub policy: Policy,
    /// Which events; all if empty.
    #[serde(default)]
    pub when: Conditions,
    /// What becomes of an event with `policy = "update_only"` whose record is not there.
    #[serde(default)]
    pub no_match: NoMatch,
    /// How long an event waits for its record.
    #[serde(default)]
    pub park: Park,
    /// Rows with the same value of this are not written side by side: for records whose parent the CRM
    /// locks.
    pub parent: Option<EventPath>,
    /// What else the CRM's module wants to know.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// What the record is found by: the first that the event has and a record answers to.
    #[serde(rename = "match")]
    pub matches: Vec<Match>,
    /// What is written, by the fields' names in the API.
    pub fields: BTreeMap<String, FieldRule>,
}

/// What may be done to records.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The record is updated, or created if it is not there.
    #[default]
    Upsert,
    /// Only records that are there are updated.
    UpdateOnly,
    /// Only new records are created; those that are there stay as they are.
    CreateOnly,
}

/// What becomes of an event whose record is not there and must not be created.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum NoMatch {
    /// It waits until the record appears.
    #[default]
    Park,
    /// It is put aside at once.
    DeadLetter,
    /// It is acknowledged and nothing is written.
    Skip,
}

/// How long an event waits for its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Park {
    /// How often the record is looked up.
    pub every: Duration,
    /// After how long, from the event's arrival at the gateway, it is put aside.
    pub at_most: Duration,
}

impl Default for Park {
    fn default() -> Park {
        Park { every: Duration::from_secs(5 * 60), at_most: Duration::from_secs(7 * 24 * 60 * 60) }
    }
}

/// One way to find the record.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The field that holds the value; absent where the value is the record's own id.
    pub field: Option<String>,
    /// Where the event has the value.
    pub from: EventPath,
    /// Whether the CRM keeps the field's values unique and lets records be written by it.
    #[serde(default)]
    pub unique: bool,
}

/// What an event means for one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What the record is found by, in order; never empty.
    pub keys: Vec<Key>,
    /// What is written.
    pub fields: Vec<RowField>,
    /// What it must not be written beside.
    pub parent: Option<String>,
}

/// One field of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowField {
    /// The field's name in the API.
    pub name: String,
    /// What the event says.
    pub value: Value,
    /// When it is written.
    pub moment: Moment,
    /// What happens if a person changed the field since our last write.
    pub on_conflict: OnConflict,
    /// The field that is told so, with `on_conflict = "flag"`.
    pub flag_field: Option<String>,
}

/// Why an event that the mapping means to write cannot be a row. The same event never will.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmappable {
    /// No match key has a value.
    #[error("the event has none of {0}, by which the record would be found")]
    NoKey(String),
    /// The value has no entry.
    #[error("`{field}`: `values` has no entry for `{value}`, and there is no `otherwise`")]
    NoEntry {
        /// The field.
        field: String,
        /// What the event has.
        value: String,
    },
    /// The value is not of the kind that the field is to have.
    #[error("`{field}`: `{value}` is not a {kind}")]
    WrongKind {
        /// The field.
        field: String,
        /// What the event has.
        value: String,
        /// What it should be.
        kind: &'static str,
    },
    /// A key is too long to be looked up.
    #[error("the value of `{0}` is longer than {MAX_KEY_BYTES} bytes")]
    LongKey(String),
}

impl Mapping {
    /// What it is called.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.object)
    }

    /// As the CRM's module knows it.
    pub fn object(&self) -> Object {
        Object { name: self.object.clone(), options: self.options.clone() }
    }

    /// The row that an event means; `None` where the mapping passes it over.
    pub fn row(&self, event: &Event) -> Result<Option<Row>, Unmappable> {
        if !self.when.hold(event) {
            return Ok(None);
        }
        let mut keys = Vec::new();
        for one in &self.matches {
            let value = one.from.of(event).text();
            let value = value.trim();
            if value.len() > MAX_KEY_BYTES {
                return Err(Unmappable::LongKey(one.from.as_str().to_owned()));
            }
            if !value.is_empty() {
                keys.push(one.key(value.to_owned()));
            }
        }
        if keys.is_empty() {
            let paths: Vec<&str> = self.matches.iter().map(|one| one.from.as_str()).collect();
            return Err(Unmappable::NoKey(paths.join(", ")));
        }
        let mut fields = Vec::with_capacity(self.fields.len());
        for (name, rule) in &self.fields {
            if let Some(value) = rule.value(name, event)? {
                fields.push(RowField {
                    name: name.clone(),
                    value,
                    moment: rule.on,
                    on_conflict: rule.on_conflict,
                    flag_field: rule.flag_field.clone(),
                });
            }
        }
        let parent = self.parent.as_ref().map(|path| path.of(event).text());
        Ok(Some(Row { keys, fields, parent: parent.filter(|parent| !parent.is_empty()) }))
    }

    /// Whether the current values must be read before a write.
    pub fn reads_before_writing(&self) -> bool {
        self.fields.values().any(|rule| rule.on_conflict != OnConflict::Overwrite)
    }

    /// Whether some fields are written to new records alone.
    pub fn has_fields_of_new_records(&self) -> bool {
        self.fields.values().any(|rule| rule.on == Moment::Create)
    }

    /// Refuses what no event could make right.
    pub fn check(&self, at: &str, kind: &Kind) -> Result<(), Mistake> {
        let mistake = |key: &str, reason: String| Err(Mistake::new(format!("{at}.{key}"), reason));
        if self.object.trim().is_empty() {
            return mistake("object", "is empty".to_owned());
        }
        if self.matches.is_empty() {
            return mistake("match", "without a key no record is found".to_owned());
        }
        if self.fields.is_empty() {
            return mistake("fields", "nothing would be written".to_owned());
        }
        if self.policy != Policy::UpdateOnly {
            if self.matches[0].field.is_none() {
                let reason = "a new record cannot be made under an id of the CRM's own: the first key \
                              must have a `field`, or `policy` be \"update_only\"";
                return mistake("match[0]", reason.to_owned());
            }
            if self.no_match != NoMatch::default() {
                let reason =
                    "only counts with `policy = \"update_only\"`; others create the record";
                return mistake("no_match", reason.to_owned());
            }
        }
        for (name, rule) in &self.fields {
            rule.check(&format!("{at}.fields.{name}"))?;
            if let Some(flag) =
                rule.flag_field.as_ref().filter(|flag| self.fields.contains_key(*flag))
            {
                let reason =
                    format!("`{flag}` is written by the mapping, which would hide the flag");
                return mistake(&format!("fields.{name}.flag_field"), reason);
            }
        }
        let known = kind.object_options;
        if let Some(unknown) = self.options.keys().find(|key| !known.contains(&key.as_str())) {
            return mistake("options", format!("`{unknown}` is none of {known:?}"));
        }
        Ok(())
    }
}

impl Match {
    fn key(&self, value: String) -> Key {
        match &self.field {
            Some(field) => Key::Field { field: field.clone(), value, unique: self.unique },
            None => Key::Id(value),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ParkText {
    every: Option<String>,
    at_most: Option<String>,
}

impl<'de> Deserialize<'de> for Park {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Park, D::Error> {
        let text = ParkText::deserialize(deserializer)?;
        let read = |text: Option<String>, default: Duration| match text {
            None => Ok(default),
            Some(text) => duration(&text).map_err(D::Error::custom),
        };
        let Park { every, at_most } = Park::default();
        Ok(Park { every: read(text.every, every)?, at_most: read(text.at_most, at_most)? })
    }
}

/// A span as people write it: `30s`, `5m`, `12h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: &[(char, u64)] = &[('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let wrong = || format!("`{text}` must read like 30s, 5m, 12h or 7d");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let (_, seconds) = UNITS.iter().find(|(letter, _)| *letter == unit).ok_or_else(wrong)?;
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let total = number.checked_mul(*seconds).filter(|total| *total > 0).ok_or_else(wrong)?;
    Ok(Duration::from_secs(total))
}

#[cfg(test)]
mod tests;
