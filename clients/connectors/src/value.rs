//! One value of a field, as an event gives it or a CRM holds it. In comes what a mapping found or an API
//! answered, out go text and JSON as APIs take them, and whether two values are the same to a person. An
//! amount must never become a float on the way.

use std::fmt;

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

/// How many bytes of a digest are kept: enough to tell a value from the one before.
const DIGEST_BYTES: usize = 8;

/// A value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: the field is empty, or to be emptied.
    Null,
    /// Text, or the name of an option.
    Text(String),
    /// A number, exact.
    Number(Decimal),
    /// An amount in major units with its ISO 4217 code. Where a CRM keeps the currency apart it is a
    /// number.
    Money(Decimal, String),
    /// Yes or no.
    Boolean(bool),
    /// A day.
    Date(Date),
    /// A moment.
    Time(Timestamp),
}

impl Value {
    /// As text, the way people and most APIs write it: `129.95`, `true`, `2026-11-24`. Empty for nothing.
    pub fn text(&self) -> String {
        match self {
            Value::Null => String::new(),
            Value::Text(text) => text.clone(),
            Value::Number(number) | Value::Money(number, _) => number.to_string(),
            Value::Boolean(yes) => yes.to_string(),
            Value::Date(date) => date.to_string(),
            Value::Time(time) => time.to_string(),
        }
    }

    /// As the JSON that it naturally is: amounts and numbers as JSON numbers with the same digits.
    pub fn json(&self) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Number(number) | Value::Money(number, _) => json_number(*number),
            Value::Boolean(yes) => Json::Bool(*yes),
            Value::Text(_) | Value::Date(_) | Value::Time(_) => Json::String(self.text()),
        }
    }

    /// What a JSON value means that an API answered, where nothing more is known about the field.
    pub fn of_json(json: &Json) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(yes) => Value::Boolean(*yes),
            Json::Number(number) => match decimal(&number.to_string()) {
                Some(number) => Value::Number(number),
                None => Value::Text(number.to_string()),
            },
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(_) | Json::Object(_) => Value::Text(json.to_string()),
        }
    }

    /// Whether both say the same to a person who looks at the field: `129.95` and `129.950`, `true` and
    /// `"true"`, nothing and an empty text, a day and its midnight, a moment and its second.
    pub fn same_as(&self, other: &Value) -> bool {
        self.normal() == other.normal()
    }

    /// What the value is recognised by later without being kept.
    pub fn digest(&self) -> String {
        hex::encode(&Sha256::digest(self.normal().as_bytes())[..DIGEST_BYTES])
    }

    /// One text for all that are the same.
    fn normal(&self) -> String {
        let text = self.text();
        let text = text.trim();
        if let Some(number) = decimal(text) {
            return number.normalize().to_string();
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            let midnight = text.get(10..).is_some_and(|clock| {
                clock.bytes().all(|byte| matches!(byte, b'T' | b'0' | b':' | b'.' | b'Z' | b'+'))
            });
            return match text.get(..10).filter(|_| midnight) {
                Some(day) => day.to_owned(),
                // CRMs keep moments to the second or the millisecond.
                None => format!("@{}", time.as_second()),
            };
        }
        text.to_owned()
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Money(amount, currency) => write!(out, "{amount} {currency}"),
            Value::Null => out.write_str("(empty)"),
            Value::Text(_)
            | Value::Number(_)
            | Value::Boolean(_)
            | Value::Date(_)
            | Value::Time(_) => out.write_str(&self.text()),
        }
    }
}

/// An amount of minor units as a decimal: 12995 with two places is 129.95.
pub fn major_units(minor_units: i64, places: u32) -> Decimal {
    Decimal::new(minor_units, places)
}

/// The number that a plain decimal text is; `None` for exponents, blanks, signs without digits and text.
fn decimal(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let starts_well = digits.starts_with(|first: char| first.is_ascii_digit());
    // Ids with leading zeros and more digits than a number keeps are text.
    let is_id = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    if !plain || !starts_well || is_id {
        return None;
    }
    text.parse().ok()
}

fn json_number(number: Decimal) -> Json {
    let text = number.to_string();
    let json = serde_json::from_str::<serde_json::Number>(&text).ok();
    // More digits than JSON readers keep: as text, so that none is lost.
    match json.filter(|json| decimal(&json.to_string()).is_some_and(|read| read == number)) {
        Some(json) => Json::Number(json),
        None => Json::String(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_their_digits() {
        let amount = Value::Money(major_units(12_990, 2), "EUR".to_owned());
        assert_eq!(amount.text(), "129.90");
        assert_eq!(amount.json().to_string(), "129.9");
        let huge = Value::Number(major_units(9_007_199_254_740_993, 2));
        assert_eq!(huge.json(), Json::String("90071992547409.93".to_owned()));
    }

    #[test]
    fn what_looks_the_same_to_a_person_is_the_same() {
        let number = |text: &str| Value::Number(text.parse().expect("a number"));
        assert!(number("129.95").same_as(&Value::Text("129.950".to_owned())));
        assert!(Value::Null.same_as(&Value::Text(" ".to_owned())));
        assert!(Value::Boolean(true).same_as(&Value::Text("true".to_owned())));
        let day = Value::Date("2026-11-24".parse().expect("a day"));
        assert!(day.same_as(&Value::Text("2026-11-24T00:00:00Z".to_owned())));
        assert!(!day.same_as(&Value::Text("2026-11-24T10:00:00Z".to_owned())));
        let moment = Value::Time("2026-11-24T10:00:00.123456Z".parse().expect("a moment"));
        assert!(moment.same_as(&Value::Text("2026-11-24T11:00:00.123+01:00".to_owned())));
        assert!(!moment.same_as(&Value::Text("2026-11-24T10:00:01Z".to_owned())));
        assert!(!number("1").same_as(&Value::Text("01".to_owned())));
        assert!(!Value::Text("Paid".to_owned()).same_as(&Value::Text("paid".to_owned())));
    }
}
