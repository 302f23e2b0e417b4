//! The places of the Web API as they stand in a URL: `new_payments`, `new_payments(<id>)`,
//! `new_payments(new_paymentid='pay_1')`, and conditions of a filter. In comes text as it was sent, out goes
//! what it names, or that it names nothing.

use std::borrow::Cow;

use serde_json::{Number, Value};

/// What cannot stand in the value of a key, however it is encoded.
const UNUSABLE: &[char] = &['/', '<', '>', '*', '%', '&', ':', '\\', '?', '+'];

/// What stands between the parentheses.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Key {
    Id(String),
    Alternate { column: String, value: Value },
}

/// A place below the API's root.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) set: String,
    pub(super) key: Option<Key>,
    /// What follows a slash: the name of an action.
    pub(super) action: Option<String>,
}

/// Reads a place; `None` if it is none.
pub(super) fn place(encoded: &str) -> Option<Place> {
    let (before, action) = match encoded.split_once('/') {
        Some((before, action)) => (before, Some(decoded(action)?.into_owned())),
        None => (encoded, None),
    };
    let (set, key) = match before.split_once('(') {
        Some((set, rest)) => (set, Some(key(&decoded(rest.strip_suffix(')')?)?)?)),
        None => (before, None),
    };
    Some(Place { set: decoded(set)?.into_owned(), key, action })
}

/// Reads a condition of a filter: `column eq literal`.
pub(super) fn condition(filter: &str) -> Option<(String, Value)> {
    let (column, rest) = filter.trim().split_once(' ')?;
    let literal = rest.trim_start().strip_prefix("eq ")?;
    Some((column.to_owned(), value(literal.trim())?))
}

/// Whether the text is an id of a record.
pub(super) fn is_id(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

fn key(text: &str) -> Option<Key> {
    if is_id(text) {
        return Some(Key::Id(text.to_lowercase()));
    }
    let (column, literal) = text.split_once('=')?;
    let value = value(literal)?;
    let unusable = value.as_str().is_some_and(|text| text.contains(UNUSABLE));
    (!unusable).then(|| Key::Alternate { column: column.to_owned(), value })
}

/// A literal of OData: a text in quotes, of which those within are doubled, a number, a word, an id.
fn value(literal: &str) -> Option<Value> {
    if let Some(rest) = literal.strip_prefix('\'') {
        let inner = rest.strip_suffix('\'')?;
        let bare = inner.replace("''", "");
        return (!bare.contains('\'')).then(|| Value::String(inner.replace("''", "'")));
    }
    match literal {
        "null" => Some(Value::Null),
        "true" | "false" => Some(Value::Bool(literal == "true")),
        _ if is_id(literal) => Some(Value::String(literal.to_lowercase())),
        _ => literal.parse::<Number>().ok().map(Value::Number),
    }
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_read_as_they_were_sent() {
        let by = |text: &str| place(text).and_then(|place| place.key);
        let alternate = |value: Value| Some(Key::Alternate { column: "k".to_owned(), value });
        assert_eq!(by("set(k='o%27%27neil%20x')"), alternate(json!("o'neil x")));
        assert_eq!(by("set(k='o''neil')"), alternate(json!("o'neil")));
        assert_eq!(by("set(k=17)"), alternate(json!(17)));
        for wrong in ["set(k='o'neil')", "set(k='a%2Fb')", "set(k='a:b')", "set(k='a", "set(k=x)"] {
            assert_eq!(by(wrong), None, "{wrong}");
        }
        assert_eq!(condition("k eq 'a/b''c'"), Some(("k".to_owned(), json!("a/b'c"))));
        assert_eq!(condition("k eq 'a' or 1 eq 1"), None);
        assert_eq!(condition("k ne 'a'"), None);
    }
}
