//! What the provider modules share in reading payloads: JSON whose shape varies with the API version,
//! subjects whose ids are checked, and amounts in the provider's own minor units. In come parts of an
//! authentic request, out come values of the model or a `TranslateError`. An error's text holds the
//! offending value only where it cannot be personal, and no amount is ever rounded.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::model::ids::MAX_SUBJECT_ID_BYTES;
use crate::model::{EndpointName, Money, Subject, SubjectKind};

use super::{TranslateError, Translation};

/// How much is shown of a value that is not understood, in characters.
const MAX_SHOWN_CHARS: usize = 64;

/// A text that may be missing. A number or a flag reads as its text, an expanded object as its `id`,
/// anything else as empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

/// An amount in major units as it stands in JSON, digit by digit: a number or a text. Never a float.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decimal(String);

/// An object of simple values by name; values that are no text, number or flag are left out. Anything
/// but an object reads as empty. A name that stands twice is an error: it has no one value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Scalars(pub BTreeMap<String, String>);

/// The subject of this kind with the provider's `id`.
pub fn subject(
    kind: SubjectKind,
    endpoint: &EndpointName,
    id: &str,
) -> Result<Subject, TranslateError> {
    if id.is_empty() {
        return Err(TranslateError(format!("the event names none of the {}", kind.collection())));
    }
    if id.len() > MAX_SUBJECT_ID_BYTES {
        return Err(TranslateError(format!("the id `{}` is too long", shown(id))));
    }
    Ok(Subject { kind, endpoint: endpoint.clone(), id: id.to_owned() })
}

/// The money that a provider writes as `amount` in minor units. `exponents` names the currencies whose
/// minor unit at the provider is not that of ISO 4217, with the provider's number of decimals.
pub fn money(
    amount: i64,
    currency: &str,
    exponents: &[(&str, u32)],
) -> Result<Money, TranslateError> {
    let money = Money::new(amount, currency).map_err(|error| TranslateError(error.to_string()))?;
    let code = money.currency.code();
    let Some((_, given)) = exponents.iter().find(|(name, _)| *name == code) else {
        return Ok(money);
    };
    let wanted = money.currency.exponent();
    let factor = 10_i64.pow(given.abs_diff(wanted));
    let exact = match *given > wanted {
        true if amount % factor == 0 => Some(amount / factor),
        true => None,
        false => amount.checked_mul(factor),
    };
    exact
        .map(|minor_units| Money { minor_units, ..money })
        .ok_or_else(|| TranslateError(format!("{amount} is not a whole amount of {code}")))
}

/// As `money`, for an amount that may be missing.
pub fn optional_money(
    amount: Option<i64>,
    currency: &str,
    exponents: &[(&str, u32)],
) -> Result<Option<Money>, TranslateError> {
    amount.map(|amount| money(amount, currency, exponents)).transpose()
}

/// The money that a provider writes as a decimal in major units.
pub fn decimal_money(amount: &str, currency: &str) -> Result<Money, TranslateError> {
    Money::from_decimal(amount, currency).map_err(|error| TranslateError(error.to_string()))
}

/// The first of the texts that is not empty.
pub fn first(texts: &[&str]) -> String {
    texts.iter().find(|text| !text.is_empty()).map_or_else(String::new, |text| (*text).to_owned())
}

/// The error for a value outside of a closed list: "unknown refund status `x`".
pub fn unknown(what: &str, value: &str) -> TranslateError {
    TranslateError(format!("unknown {what} `{}`", shown(value)))
}

/// The error for a text that should have been `what`: "`x` is not a date".
pub fn not_a(what: &str, value: &str) -> TranslateError {
    TranslateError(format!("`{}` is not {what}", shown(value)))
}

/// An event type that no table has; an event without a type is an error.
pub fn unknown_type(event_type: &str) -> Result<Translation, TranslateError> {
    if event_type.is_empty() {
        return Err(TranslateError("the event has no type".to_owned()));
    }
    Ok(Translation::Unknown(shown(event_type)))
}

/// The error for JSON that is not `what`. Serde quotes an unexpected text, which may be personal; that
/// is left out, while numbers stay.
pub fn unreadable(what: &str, error: &serde_json::Error) -> TranslateError {
    let text = error.to_string();
    let text = match (text.find('"'), text.rfind('"')) {
        (Some(start), Some(end)) if start < end => {
            format!("{}{}", text[..start].trim_end(), &text[end + 1..])
        }
        _ => text,
    };
    TranslateError(format!("cannot read {what}: {text}"))
}

fn shown(value: &str) -> String {
    value.chars().take(MAX_SHOWN_CHARS).collect()
}

impl Decimal {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The digits as they stand.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The money; `None` where there is no amount.
    pub fn money(&self, currency: &str) -> Result<Option<Money>, TranslateError> {
        (!self.is_empty()).then(|| decimal_money(&self.0, currency)).transpose()
    }

    /// The money; an error where there is no amount.
    pub fn required(&self, currency: &str, what: &str) -> Result<Money, TranslateError> {
        self.money(currency)?.ok_or_else(|| TranslateError(format!("{what} has no amount")))
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        let raw = Option::<Box<RawValue>>::deserialize(deserializer)?;
        let text = raw.as_deref().map_or("", RawValue::get);
        match text.as_bytes().first() {
            None | Some(b'n') => Ok(Decimal::default()),
            Some(b'"') => {
                let text: String = serde_json::from_str(text).map_err(D::Error::custom)?;
                Ok(Decimal(text.trim().to_owned()))
            }
            Some(b'-' | b'0'..=b'9') => Ok(Decimal(text.to_owned())),
            Some(_) => Err(D::Error::custom("an amount is no number")),
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(|text| Text(text.unwrap_or_default()))
    }
}

impl<'de> Deserialize<'de> for Scalars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalars, D::Error> {
        deserializer.deserialize_any(ScalarsVisitor)
    }
}

/// `None` for what is no text.
struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(flag.to_string())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut id = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name == "id" && id.is_none() {
                id = Some(map.next_value::<Text<'de>>()?.0);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(id)
    }
}

struct ScalarsVisitor;

impl<'de> Visitor<'de> for ScalarsVisitor {
    type Value = Scalars;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object of simple values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalars, A::Error> {
        let mut values = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value::<Text<'de>>()?;
            if values.insert(name, value.to_string()).is_some() {
                return Err(A::Error::custom("a name stands twice in an object"));
            }
        }
        values.retain(|_, value| !value.is_empty());
        Ok(Scalars(values))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalars, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalars::default())
    }

    fn visit_unit<E: Error>(self) -> Result<Scalars, E> {
        Ok(Scalars::default())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Scalars, E> {
        Ok(Scalars::default())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Scalars, E> {
        Ok(Scalars::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Scalars, E> {
        Ok(Scalars::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Scalars, E> {
        Ok(Scalars::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Scalars, E> {
        Ok(Scalars::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPONENTS: &[(&str, u32)] = &[("ISK", 2), ("MGA", 0)];

    #[test]
    fn amounts_of_other_minor_units_are_converted_exactly_or_refused() {
        let minor = |amount, code| money(amount, code, EXPONENTS).map(|money| money.minor_units);
        assert_eq!(minor(4999, "eur"), Ok(4999));
        assert_eq!(minor(120_000, "isk"), Ok(1200));
        assert_eq!(minor(-100, "ISK"), Ok(-1));
        assert_eq!(minor(500, "mga"), Ok(50_000));
        for (amount, code) in [(120_050, "isk"), (i64::MAX, "mga"), (1, "zzz"), (1, "")] {
            assert!(minor(amount, code).is_err(), "{amount} {code}");
        }
    }

    #[test]
    fn decimals_keep_every_digit() {
        let read = |json: &str| serde_json::from_str::<Decimal>(json).map(|decimal| decimal.0);
        assert_eq!(read("70.50").expect("a number"), "70.50");
        assert_eq!(read("\"-0.10\"").expect("a text"), "-0.10");
        assert_eq!(read("null").expect("nothing"), "");
        assert!(read("[1]").is_err() && read("true").is_err());
        let cents = |json| serde_json::from_str::<Decimal>(json).expect("json").money("EUR");
        assert_eq!(cents("55.0").expect("exact").map(|money| money.minor_units), Some(5500));
        assert!(cents("0.001").is_err(), "it would have to be rounded");
    }

    #[test]
    fn any_json_reads_as_text() {
        let read = |json| serde_json::from_str::<Text<'_>>(json).expect("json").to_string();
        assert_eq!(read(r#""a""#), "a");
        assert_eq!(read(r#""\u00e9""#), "é");
        assert_eq!(read(r#"{"object":"customer","id":"cus_1","x":[{"id":2}]}"#), "cus_1");
        assert_eq!(read("12"), "12");
        assert_eq!(read("true"), "true");
        assert_eq!(read("null"), "");
        assert_eq!(read(r#"["a",{"id":1}]"#), "");
    }

    #[test]
    fn names_that_stand_twice_are_refused() {
        assert!(serde_json::from_str::<Scalars>(r#"{"a":"1","a":"2"}"#).is_err());
        let scalars = serde_json::from_str::<Scalars>(r#"{"a":1,"b":null,"c":[]}"#).expect("json");
        assert_eq!(scalars.0.into_iter().collect::<Vec<_>>(), [("a".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn errors_do_not_repeat_texts_of_the_payload() {
        let error = serde_json::from_str::<i64>(r#""jan@example.com""#).expect_err("no number");
        assert!(!unreadable("an amount", &error).0.contains("jan"));
        let error = serde_json::from_str::<i64>("12.5").expect_err("no integer");
        assert!(unreadable("an amount", &error).0.contains("12.5"));
    }
}
