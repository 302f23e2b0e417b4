//! The form that FreshBooks posts: its pairs in their order, and the JSON that stands for them in the
//! signature. A name that stands twice has no one value, so that such a form is an error.

use std::fmt::Write;

use crate::providers::TranslateError;

/// More pairs than this are no form of FreshBooks'.
const MAX_PAIRS: usize = 64;

/// A decoded form.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Decodes a body.
    pub fn parse(body: &[u8]) -> Result<Form, TranslateError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(TranslateError("a name stands twice in the form".to_owned()));
            }
            if pairs.len() == MAX_PAIRS {
                return Err(TranslateError(format!("the form has more than {MAX_PAIRS} pairs")));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        match pairs.is_empty() {
            true => Err(TranslateError("the form is empty".to_owned())),
            false => Ok(Form(pairs)),
        }
    }

    /// A value; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// What FreshBooks signs.
    pub fn signed_text(&self) -> String {
        let mut text = String::from("{");
        for (index, (name, value)) in self.0.iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            push_text(&mut text, name);
            text.push_str(": ");
            push_text(&mut text, value);
        }
        text.push('}');
        text
    }
}

/// A JSON text in which everything but printable ASCII is escaped.
fn push_text(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            ' '..='~' => text.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(text, "\\u{unit:04x}").expect("a text takes all that is written");
                }
            }
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(body: &str) -> String {
        Form::parse(body.as_bytes()).expect("a form").signed_text()
    }

    #[test]
    fn pairs_keep_their_order_and_values_are_texts() {
        let text = r#"{"name": "payment.create", "object_id": "158", "a": ""}"#;
        assert_eq!(signed("name=payment.create&object_id=158&a="), text);
        assert_eq!(signed("b=1&a=2"), r#"{"b": "1", "a": "2"}"#);
    }

    #[test]
    fn all_but_printable_ascii_is_escaped() {
        assert_eq!(signed("a=x+y%2Fz"), r#"{"a": "x y/z"}"#);
        assert_eq!(signed("a=Caf%C3%A9"), r#"{"a": "Caf\u00e9"}"#);
        assert_eq!(signed("a=%F0%9F%98%80"), r#"{"a": "\ud83d\ude00"}"#);
        assert_eq!(
            signed("a=%22%5C%0A%0D%09%08%0C%01%7F"),
            r#"{"a": "\"\\\n\r\t\b\f\u0001\u007f"}"#
        );
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        assert!(Form::parse(b"a=1&a=1").is_err());
        assert!(Form::parse(b"").is_err());
        let many: Vec<String> = (0..65).map(|index| format!("k{index}=1")).collect();
        assert!(Form::parse(many.join("&").as_bytes()).is_err());
    }
}
