//! The fields of a record as a merchant's own template writes them: JSON members, XML elements or form
//! fields by name. In comes an object of simple values, out come texts as they stand, numbers digit by
//! digit. A field that is there but empty, or null, is not one that is missing. A name that stands twice
//! is an error: it has no one value.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::TranslateError;

/// Texts by name; nothing but an object of JSON reads as such.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// The text of a field, empty where it was emptied; `None` where the field is missing.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The text of a field, empty where it is missing.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The first text of these fields that is not empty.
    pub fn first(&self, names: &[&str]) -> &str {
        names.iter().map(|name| self.text(name)).find(|text| !text.is_empty()).unwrap_or_default()
    }

    /// The names with their texts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Adds a field that must not be there yet.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), TranslateError> {
        match self.0.insert(name.to_owned(), text.to_owned()) {
            None => Ok(()),
            Some(_) => Err(TranslateError("a field stands twice in a record".to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object of simple values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let raw = map.next_value::<Box<RawValue>>()?;
            if let Some(text) = text_of(raw.get()).map_err(A::Error::custom)? {
                fields.add(&name, &text).map_err(A::Error::custom)?;
            }
        }
        Ok(fields)
    }
}

/// The text of a JSON value; `None` for a list or an object.
pub fn text_of(raw: &str) -> Result<Option<Cow<'_, str>>, serde_json::Error> {
    match raw.as_bytes().first() {
        Some(b'[' | b'{') | None => Ok(None),
        Some(b'n') => Ok(Some(Cow::Borrowed(""))),
        Some(b'"') => serde_json::from_str::<String>(raw).map(|text| Some(Cow::Owned(text))),
        Some(_) => Ok(Some(Cow::Borrowed(raw))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_as_they_are_written() {
        let json = r#"{"a":129.950,"b":null,"c":"x\u00e9","d":{"e":1},"f":true}"#;
        let fields: Fields = serde_json::from_str(json).expect("an object");
        assert_eq!(fields.get("a"), Some("129.950"));
        assert_eq!(fields.get("b"), Some(""));
        assert_eq!(fields.first(&["b", "c"]), "xé");
        assert_eq!((fields.get("d"), fields.get("e")), (None, None));
        assert_eq!(fields.text("f"), "true");
        for bad in [r#"{"a":1,"a":1}"#, "[]", "\"a\"", "{\"a\":", r#"{"a":"\ud800"}"#] {
            assert!(serde_json::from_str::<Fields>(bad).is_err(), "{bad}");
        }
    }
}
