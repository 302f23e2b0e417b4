//! The fields of Salesforce objects, by their describe, read when first needed and again when a name is
//! missing. In comes an object's name, out go its fields for people, and values in the JSON types that they
//! take. It must never make up a field: what the describe leaves out is not there, or not for this user.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Salesforce, segment};
use crate::crm::{Description, Fault, Field, FieldKind, FieldOption};
use crate::value::Value;

/// A describe of this age is not read again because a name is missing from it.
const FRESH: Duration = Duration::from_secs(10);

/// What JSON a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A string.
    Text,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A string, `2026-11-24`.
    Date,
    /// A string, `2026-11-24T10:00:00.000Z`.
    Time,
    /// Anything else.
    Other,
}

/// How a field is written and compared.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Its name as the org writes it; the API takes any case.
    pub(super) name: String,
    /// What it takes.
    pub(super) shape: Shape,
    /// Whether `A` and `a` differ in it.
    pub(super) case_sensitive: bool,
}

/// An object's fields.
#[derive(Debug)]
pub(super) struct Schema {
    /// For people.
    pub(super) description: Description,
    columns: HashMap<String, Column>,
}

/// The schemas that were read so far.
#[derive(Default)]
pub(super) struct Schemas(Mutex<BTreeMap<String, (Arc<Schema>, Instant)>>);

impl Schemas {
    /// The object's fields, read now.
    pub(super) async fn read(&self, crm: &Salesforce, object: &str) -> Result<Arc<Schema>, Fault> {
        let mut known = self.0.lock().await;
        read_into(&mut known, crm, object).await
    }

    /// The object's fields as last read; read again if one of these names is not among them.
    pub(super) async fn with<'n>(
        &self,
        crm: &Salesforce,
        object: &str,
        mut names: impl Iterator<Item = &'n str>,
    ) -> Result<Arc<Schema>, Fault> {
        let mut known = self.0.lock().await;
        if let Some((schema, read_at)) = known.get(object)
            && (read_at.elapsed() < FRESH || names.all(|name| schema.column(name).is_some()))
        {
            return Ok(Arc::clone(schema));
        }
        read_into(&mut known, crm, object).await
    }
}

async fn read_into(
    known: &mut BTreeMap<String, (Arc<Schema>, Instant)>,
    crm: &Salesforce,
    object: &str,
) -> Result<Arc<Schema>, Fault> {
    let described: Described = crm.get(&format!("/sobjects/{}/describe", segment(object))).await?;
    let schema = Arc::new(Schema::of(described));
    known.insert(object.to_owned(), (Arc::clone(&schema), Instant::now()));
    Ok(schema)
}

impl Schema {
    /// The field of this name, in any case.
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.get(&name.to_ascii_lowercase())
    }

    fn of(described: Described) -> Schema {
        let columns = described.fields.iter().map(|field| {
            let column = Column {
                name: field.name.clone(),
                shape: field.shape(),
                case_sensitive: field.case_sensitive,
            };
            (field.name.to_ascii_lowercase(), column)
        });
        let columns = columns.collect();
        let fields = described.fields.into_iter().map(DescribedField::field).collect();
        Schema { description: Description { label: described.label, fields }, columns }
    }
}

impl Column {
    /// A value as this field takes it; what cannot be one is left as it is, for the org to refuse.
    pub(super) fn json(&self, value: &Value) -> Json {
        let text = value.text();
        match (self.shape, value) {
            (_, Value::Null) => Json::Null,
            (Shape::Text, _) => Json::String(text),
            (Shape::Number | Shape::Boolean | Shape::Date | Shape::Time, Value::Text(blank))
                if blank.trim().is_empty() =>
            {
                Json::Null
            }
            (Shape::Number, Value::Text(_)) => match text.trim().parse::<Decimal>() {
                Ok(number) => Value::Number(number).json(),
                Err(_) => value.json(),
            },
            (Shape::Boolean, Value::Text(_)) => match text.trim() {
                "true" => Json::Bool(true),
                "false" => Json::Bool(false),
                _ => value.json(),
            },
            (Shape::Date, Value::Time(time)) => {
                Json::String(time.to_zoned_datetime(TimeZone::UTC).date().to_string())
            }
            (Shape::Time, Value::Time(time)) => Json::String(in_milliseconds(*time)),
            (Shape::Time, Value::Date(date)) => Json::String(format!("{date}T00:00:00.000Z")),
            (
                Shape::Number | Shape::Boolean | Shape::Date | Shape::Time | Shape::Other,
                Value::Text(_)
                | Value::Number(_)
                | Value::Money(_, _)
                | Value::Boolean(_)
                | Value::Date(_)
                | Value::Time(_),
            ) => value.json(),
        }
    }

    /// What the org answered for this field.
    pub(super) fn value(&self, json: &Json) -> Value {
        match (self.shape, json.as_str()) {
            (Shape::Date, Some(text)) => {
                text.parse().map_or_else(|_| Value::of_json(json), Value::Date)
            }
            (Shape::Time, Some(text)) => {
                text.parse().map_or_else(|_| Value::of_json(json), Value::Time)
            }
            (
                Shape::Text
                | Shape::Number
                | Shape::Boolean
                | Shape::Date
                | Shape::Time
                | Shape::Other,
                _,
            ) => Value::of_json(json),
        }
    }
}

/// As SOQL and JSON take moments: no more than three digits of a second.
pub(super) fn in_milliseconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    label: String,
    fields: Vec<DescribedField>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribedField {
    name: String,
    #[serde(default)]
    label: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    length: usize,
    #[serde(default)]
    createable: bool,
    #[serde(default)]
    updateable: bool,
    #[serde(default)]
    nillable: bool,
    #[serde(default)]
    defaulted_on_create: bool,
    #[serde(default)]
    external_id: bool,
    #[serde(default)]
    unique: bool,
    #[serde(default)]
    case_sensitive: bool,
    #[serde(default)]
    restricted_picklist: bool,
    #[serde(default)]
    picklist_values: Vec<PicklistValue>,
}

#[derive(Deserialize)]
struct PicklistValue {
    value: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    active: bool,
}

impl DescribedField {
    fn shape(&self) -> Shape {
        match self.kind.as_str() {
            "double" | "currency" | "percent" | "int" | "long" => Shape::Number,
            "boolean" => Shape::Boolean,
            "date" => Shape::Date,
            "datetime" => Shape::Time,
            "string" | "textarea" | "picklist" | "multipicklist" | "combobox" | "email"
            | "phone" | "url" | "encryptedstring" | "id" | "reference" => Shape::Text,
            _ => Shape::Other,
        }
    }

    fn kind(&self) -> FieldKind {
        match (self.shape(), self.kind.as_str()) {
            (Shape::Text, "picklist" | "combobox") => FieldKind::Choice,
            (Shape::Text, "email") => FieldKind::Email,
            (Shape::Text, "id" | "reference" | "multipicklist") => FieldKind::Other,
            (Shape::Text, _) => FieldKind::Text,
            (Shape::Number, _) => FieldKind::Number,
            (Shape::Boolean, _) => FieldKind::Boolean,
            (Shape::Date, _) => FieldKind::Date,
            (Shape::Time, _) => FieldKind::Time,
            (Shape::Other, _) => FieldKind::Other,
        }
    }

    fn field(self) -> Field {
        let kind = self.kind();
        let is_text = matches!(kind, FieldKind::Text | FieldKind::Email);
        // Only a restricted picklist refuses what is not among its values.
        let options = self.picklist_values.into_iter().filter(|_| self.restricted_picklist);
        let options = options.filter(|option| option.active).map(|option| FieldOption {
            label: option.label.unwrap_or_else(|| option.value.clone()),
            value: option.value,
        });
        Field {
            label: self.label,
            kind,
            writable: self.createable || self.updateable,
            required: self.createable && !self.nillable && !self.defaulted_on_create,
            unique: self.external_id && self.unique,
            options: options.collect(),
            max_length: (is_text && self.length > 0).then_some(self.length),
            name: self.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn column(shape: Shape) -> Column {
        Column { name: "X__c".to_owned(), shape, case_sensitive: false }
    }

    #[test]
    fn values_take_the_json_type_of_their_field() {
        let number = |text: &str| Value::Number(text.parse().expect("a number"));
        let time: Timestamp = "2026-11-24T10:00:00.123456Z".parse().expect("a time");
        for (shape, value, expected) in [
            (Shape::Text, number("42"), json!("42")),
            (Shape::Text, Value::Boolean(true), json!("true")),
            (Shape::Number, Value::Text("129.95".to_owned()), json!(129.95)),
            (Shape::Number, Value::Text(" ".to_owned()), Json::Null),
            (Shape::Number, Value::Text("much".to_owned()), json!("much")),
            (Shape::Boolean, Value::Text("true".to_owned()), json!(true)),
            (Shape::Date, Value::Time(time), json!("2026-11-24")),
            (Shape::Time, Value::Time(time), json!("2026-11-24T10:00:00.123Z")),
            (Shape::Other, Value::Text("x".to_owned()), json!("x")),
        ] {
            assert_eq!(column(shape).json(&value), expected, "{shape:?} {value:?}");
        }
    }

    #[test]
    fn a_moment_is_read_as_the_org_writes_it() {
        let read = column(Shape::Time).value(&json!("2026-11-24T10:00:00.000+0000"));
        assert_eq!(read, Value::Time("2026-11-24T10:00:00Z".parse().expect("a time")));
    }
}
