//! Values as Pipedrive's API v2 takes and tells them: amounts as objects with their currency, choices as the
//! ids of their options, the account's own fields inside `custom_fields`. In comes a row, out goes the body of
//! a write; in comes a record, out go the values that were asked for. An amount must never lose a digit, nor
//! get a currency that nobody told.
//! Custom fields: <https://pipedrive.readme.io/docs/core-api-concepts-custom-fields>

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde_json::{Map, Value as Json, json};

use super::entities::Form;
use super::schema::{Choice, Known, Schema};
use crate::crm::Fault;
use crate::value::Value;

/// How choices are told to whoever reads a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Choices {
    /// By the label that people see.
    #[default]
    Label,
    /// By the id of the option.
    Id,
}

/// The fields of a row, as a mapping names them.
pub(super) struct RowFields<'a> {
    /// The fields.
    pub fields: Vec<(&'a str, Value)>,
    /// Whether they make a new record.
    pub creates: bool,
}

impl RowFields<'_> {
    /// The currency of the row's amounts, if it has one with a currency.
    pub fn currency(&self) -> Option<&str> {
        self.fields.iter().find_map(|(_, value)| match value {
            Value::Money(_, currency) => Some(currency.as_str()),
            Value::Null
            | Value::Text(_)
            | Value::Number(_)
            | Value::Boolean(_)
            | Value::Date(_)
            | Value::Time(_) => None,
        })
    }

    /// Whether an amount of it has no currency of its own.
    pub fn lacks_currency(&self, schema: &Schema) -> bool {
        self.fields.iter().any(|(name, value)| {
            let is_money = schema.field(name).is_ok_and(|field| field.form == Form::Money);
            is_money && !matches!(value, Value::Null | Value::Money(..))
        })
    }

    /// The body of a write. `currency` is that of amounts without one.
    pub fn body(&self, schema: &Schema, currency: Option<&str>) -> Result<Json, Fault> {
        let (mut body, mut custom) = (Map::new(), Map::new());
        for (name, value) in &self.fields {
            let field = schema.field(name)?;
            if field.form == Form::Contacts && !self.creates {
                let reason = format!("`{name}` would replace all others of the person's");
                return Err(Fault::permanent("not_writable", reason));
            }
            let told = rendered(field, value, currency)?;
            let place = if field.is_custom { &mut custom } else { &mut body };
            if place.insert(field.code.clone(), told).is_some() {
                let reason = format!("`{name}` is written twice, by its key and by its name");
                return Err(Fault::permanent("ambiguous_field", reason));
            }
        }
        if !custom.is_empty() {
            body.insert("custom_fields".to_owned(), Json::Object(custom));
        }
        Ok(Json::Object(body))
    }
}

/// The values of fields in a record; what it does not have is absent.
pub(super) fn read(
    schema: &Schema,
    record: &Json,
    fields: &[String],
    choices: Choices,
) -> Result<BTreeMap<String, Value>, Fault> {
    let mut values = BTreeMap::new();
    for name in fields {
        let field = schema.field(name)?;
        if let Some(told) = place(field, record) {
            values.insert(name.clone(), understood(field, told, choices));
        }
    }
    Ok(values)
}

/// Whether a record holds this value in a field, of which the search said so a while ago.
pub(super) fn holds(field: &Known, record: &Json, value: &str) -> bool {
    let Some(told) = place(field, record) else { return false };
    match field.form {
        Form::Contacts => contacts(told).any(|one| one.eq_ignore_ascii_case(value.trim())),
        Form::Number | Form::Money => {
            understood(field, told, Choices::Id).same_as(&Value::Text(value.to_owned()))
        }
        Form::Text
        | Form::ShortText
        | Form::Reference
        | Form::Choice
        | Form::Set
        | Form::Date
        | Form::Wrapped
        | Form::Other => understood(field, told, Choices::Id).text().trim() == value.trim(),
    }
}

fn place<'a>(field: &Known, record: &'a Json) -> Option<&'a Json> {
    let within = if field.is_custom { record.get("custom_fields")? } else { record };
    within.get(&field.code)
}

fn rendered(field: &Known, value: &Value, currency: Option<&str>) -> Result<Json, Fault> {
    if *value == Value::Null {
        return Ok(Json::Null);
    }
    match field.form {
        Form::Text | Form::ShortText => Ok(Json::String(value.text())),
        Form::Number => number(field, value),
        Form::Reference => {
            let id: i64 = value.text().trim().parse().map_err(|_| wrong(field, value, "an id"))?;
            Ok(json!(id))
        }
        Form::Money => {
            let own = match value {
                Value::Money(_, own) => Some(own.as_str()),
                Value::Null
                | Value::Text(_)
                | Value::Number(_)
                | Value::Boolean(_)
                | Value::Date(_)
                | Value::Time(_) => currency,
            };
            let own = own.ok_or_else(|| wrong(field, value, "an amount with a currency"))?;
            Ok(json!({ "value": number(field, value)?, "currency": own }))
        }
        Form::Choice => Ok(json!(option(field, value, value.text().trim())?.id)),
        Form::Set => {
            let text = value.text();
            let chosen = match field.option(text.trim()) {
                Some(choice) => vec![choice.id],
                None => text
                    .split(',')
                    .map(|part| option(field, value, part.trim()).map(|choice| choice.id))
                    .collect::<Result<_, Fault>>()?,
            };
            Ok(json!(chosen))
        }
        Form::Date => day(value).map(Json::String).ok_or_else(|| wrong(field, value, "a day")),
        Form::Wrapped => Ok(json!({ "value": value.text() })),
        Form::Contacts => Ok(json!([{ "value": value.text(), "primary": true, "label": "work" }])),
        Form::Other => {
            let reason = format!("`{}` cannot be written by this connector", field.label);
            Err(Fault::permanent("not_writable", reason))
        }
    }
}

fn number(field: &Known, value: &Value) -> Result<Json, Fault> {
    let number = match value {
        Value::Number(number) | Value::Money(number, _) => Some(*number),
        Value::Text(text) => text.trim().parse::<Decimal>().ok(),
        Value::Null | Value::Boolean(_) | Value::Date(_) | Value::Time(_) => None,
    };
    let number = number.ok_or_else(|| wrong(field, value, "a number"))?;
    match Value::Number(number).json() {
        told @ Json::Number(_) => Ok(told),
        // A JSON number would lose some of its digits.
        Json::Null | Json::Bool(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => {
            Err(wrong(field, value, "a number of so few digits that none is lost"))
        }
    }
}

fn option<'a>(field: &'a Known, value: &Value, text: &str) -> Result<&'a Choice, Fault> {
    field.option(text).ok_or_else(|| {
        let reason = format!("`{}` has no option `{value}`", field.label);
        Fault::permanent("unknown_option", reason)
    })
}

fn day(value: &Value) -> Option<String> {
    match value {
        Value::Date(date) => Some(date.to_string()),
        Value::Time(time) => Some(time.to_zoned_datetime(TimeZone::UTC).date().to_string()),
        Value::Text(text) => {
            text.trim().parse::<jiff::civil::Date>().ok().map(|date| date.to_string())
        }
        Value::Null | Value::Number(_) | Value::Money(..) | Value::Boolean(_) => None,
    }
}

fn wrong(field: &Known, value: &Value, kind: &str) -> Fault {
    Fault::permanent("wrong_type", format!("`{}`: `{value}` is not {kind}", field.label))
}

fn understood(field: &Known, told: &Json, choices: Choices) -> Value {
    match field.form {
        Form::Money => match (told.get("value"), told.get("currency").and_then(Json::as_str)) {
            (Some(amount), Some(currency)) => match Value::of_json(amount) {
                Value::Number(amount) => Value::Money(amount, currency.to_owned()),
                other => other,
            },
            (Some(amount), None) => Value::of_json(amount),
            (None, _) => Value::of_json(told),
        },
        Form::Choice => chosen(field, told, choices),
        Form::Set => {
            let ids = told.as_array().map(Vec::as_slice).unwrap_or_default();
            let words: Vec<String> =
                ids.iter().map(|id| chosen(field, id, choices).text()).collect();
            if words.is_empty() { Value::Null } else { Value::Text(words.join(",")) }
        }
        Form::Wrapped => Value::of_json(told.get("value").unwrap_or(told)),
        Form::Contacts => {
            contacts(told).next().map_or(Value::Null, |one| Value::Text(one.to_owned()))
        }
        // A text of digits is a text.
        Form::Text
        | Form::ShortText
        | Form::Number
        | Form::Reference
        | Form::Date
        | Form::Other => Value::of_json(told),
    }
}

fn chosen(field: &Known, id: &Json, choices: Choices) -> Value {
    let label = id.as_i64().and_then(|id| field.options.iter().find(|choice| choice.id == id));
    match (choices, label) {
        (Choices::Label, Some(choice)) => Value::Text(choice.label.clone()),
        (Choices::Label, None) | (Choices::Id, _) => Value::of_json(id),
    }
}

/// The addresses or numbers of a person, the primary one first.
fn contacts(told: &Json) -> impl Iterator<Item = &str> {
    let all = told.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_primary = |one: &&Json| one.get("primary").and_then(Json::as_bool) == Some(true);
    let first = all.iter().filter(is_primary);
    let rest = all.iter().filter(move |one| !is_primary(one));
    first.chain(rest).filter_map(|one| one.get("value").and_then(Json::as_str))
}
