//! The declared fields of an object: name, kind, and what a value must keep to. Kinds are those the
//! vendors share; a vendor that sends all values as text, or wraps them in objects, unwraps them
//! before the table sees them or declares its fields with [`Field::or_text`].

use jiff::{Timestamp, civil::Date};
use serde_json::Value;

use super::Error;

/// What values a field takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Text of at most so many characters.
    Text { max: usize },
    /// A number.
    Number,
    /// A number without a fraction.
    Integer,
    /// True or false.
    Boolean,
    /// A date as in `2026-03-01`.
    Date,
    /// A date and time with an offset, as in `2026-03-01T10:00:00Z`.
    DateTime,
    /// One of these texts, exactly.
    Picklist(Vec<String>),
    /// A list of some of these texts.
    Options(Vec<String>),
    /// Anything; the vendor's double checks it.
    Any,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// As written.
    Exact,
    /// Upper and lower case are the same.
    IgnoreCase,
}

/// One declared field.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in the API; case-sensitive.
    pub name: String,
    /// Its name on the screen.
    pub label: String,
    /// What values it takes.
    pub kind: Kind,
    /// How values of two records are compared, if no two may have the same.
    pub unique: Option<Match>,
    /// Whether a record must have a value.
    pub required: bool,
    /// Whether only the CRM itself writes it.
    pub read_only: bool,
    /// Whether finding by it must be quick; unique fields are anyway.
    pub indexed: bool,
    /// Whether a value of another kind may come as text: `"12.50"`, `"true"`.
    pub or_text: bool,
}

impl Field {
    /// A field that takes these values; its label is its name.
    pub fn new(name: &str, kind: Kind) -> Field {
        Field {
            name: name.to_owned(),
            label: name.to_owned(),
            kind,
            unique: None,
            required: false,
            read_only: false,
            indexed: false,
            or_text: false,
        }
    }

    /// A text field.
    pub fn text(name: &str, max: usize) -> Field {
        Field::new(name, Kind::Text { max })
    }

    /// A field with one of some options.
    pub fn picklist(name: &str, options: &[&str]) -> Field {
        Field::new(name, Kind::Picklist(options.iter().map(|&option| option.to_owned()).collect()))
    }

    /// The same with this name on the screen.
    pub fn label(mut self, label: &str) -> Field {
        self.label = label.to_owned();
        self
    }

    /// The same, but no two live records may have the same value.
    pub fn unique(mut self, how: Match) -> Field {
        self.unique = Some(how);
        self
    }

    /// The same, but a record must have a value.
    pub fn required(mut self) -> Field {
        self.required = true;
        self
    }

    /// The same, but only the CRM itself writes it.
    pub fn read_only(mut self) -> Field {
        self.read_only = true;
        self
    }

    /// The same, but quick to find by.
    pub fn indexed(mut self) -> Field {
        self.indexed = true;
        self
    }

    /// The same, but values may come as text.
    pub fn or_text(mut self) -> Field {
        self.or_text = true;
        self
    }

    pub(super) fn is_indexed(&self) -> bool {
        self.indexed || self.unique.is_some()
    }

    /// Checks one value; null empties the field, and so does an empty text where text may stand for
    /// other kinds.
    pub fn check(&self, value: &Value) -> Result<(), Error> {
        let field = || self.name.clone();
        if self.read_only {
            return Err(Error::ReadOnly { field: field() });
        }
        if value.is_null() || (self.or_text && value.as_str() == Some("")) {
            return match self.required {
                true => Err(Error::MissingRequired { field: field() }),
                false => Ok(()),
            };
        }
        let wrong = Err(Error::WrongType { field: field(), value: value.clone() });
        let fits = match &self.kind {
            Kind::Any => true,
            Kind::Text { max } => match value.as_str() {
                Some(text) if text.chars().count() > *max => {
                    return Err(Error::TooLong { field: field(), max: *max });
                }
                sent => sent.is_some(),
            },
            Kind::Number => value.is_number() || self.told(value, is_number),
            Kind::Integer => is_integer(value) || self.told(value, |t| t.parse::<i64>().is_ok()),
            Kind::Boolean => {
                value.is_boolean() || self.told(value, |t| t == "true" || t == "false")
            }
            Kind::Date => value.as_str().is_some_and(is_date),
            Kind::DateTime => value.as_str().is_some_and(|t| t.parse::<Timestamp>().is_ok()),
            Kind::Picklist(options) => return self.check_option(options, value),
            Kind::Options(options) => match value.as_array() {
                Some(values) => {
                    return values.iter().try_for_each(|value| self.check_option(options, value));
                }
                None => false,
            },
        };
        if fits { Ok(()) } else { wrong }
    }

    fn told(&self, value: &Value, reads: impl Fn(&str) -> bool) -> bool {
        self.or_text && value.as_str().is_some_and(reads)
    }

    fn check_option(&self, options: &[String], value: &Value) -> Result<(), Error> {
        let field = || self.name.clone();
        match value.as_str() {
            Some(text) if options.iter().any(|option| option == text) => Ok(()),
            Some(_) => Err(Error::BadOption { field: field(), value: value.clone() }),
            None => Err(Error::WrongType { field: field(), value: value.clone() }),
        }
    }
}

impl Match {
    /// Whether two values are the same.
    pub fn same(self, one: &Value, other: &Value) -> bool {
        match self {
            Match::Exact => text(one) == text(other),
            Match::IgnoreCase => folded(one) == folded(other),
        }
    }
}

/// A value as text: a text without quotes, anything else as JSON writes it.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

pub(super) fn folded(value: &Value) -> String {
    text(value).to_lowercase()
}

fn is_number(text: &str) -> bool {
    text.parse::<rust_decimal::Decimal>().is_ok()
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64()
}

fn is_date(text: &str) -> bool {
    // A date alone: one with a time reads as a date too.
    text.len() == "2026-03-01".len() && text.parse::<Date>().is_ok()
}
