//! What an environment says about a kind of record: its logical name, its primary column, the type of each
//! column, options, keys and references. In comes the metadata, read once and kept for a while; out go a
//! description for people and values as each column takes and gives them.
//! <https://learn.microsoft.com/power-apps/developer/data-platform/webapi/query-metadata-web-api>

mod metadata;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value as Json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::connection::Connection;
use crate::crm::{Description, Fault, Field, FieldKind, FieldOption, Object};
use crate::value::Value;

/// How long a schema is kept.
const KEPT: Duration = Duration::from_secs(15 * 60);
/// How many are kept: more objects than this are not mapped.
const MAX_KEPT: usize = 100;
/// What a reference is written as: `transactioncurrencyid@odata.bind`.
const BIND: &str = "@odata.bind";

/// A kind of record.
#[derive(Debug)]
pub struct Schema {
    /// What people call it.
    pub label: String,
    /// The column that holds the ids.
    pub primary_id: String,
    /// Its columns, by their names.
    pub columns: BTreeMap<String, Column>,
    /// The columns of references, by the names under which they are written.
    pub references: BTreeMap<String, String>,
}

/// A column.
#[derive(Debug)]
pub struct Column {
    /// What people call it.
    pub label: String,
    /// What it holds.
    pub kind: Kind,
    /// Whether it can be written.
    pub writable: bool,
    /// Whether people must fill it in.
    pub required: bool,
    /// Whether it alone is an active alternate key.
    pub unique: bool,
    /// The longest text.
    pub max_length: Option<usize>,
    /// The options of a choice.
    pub options: Vec<FieldOption>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// An email address.
    Email,
    /// A number, or an amount whose currency is a column of its own.
    Number,
    /// One of several options, written as its number.
    Choice,
    /// Yes or no.
    Boolean,
    /// A day.
    Date,
    /// A moment.
    Time,
    /// An id of its own.
    Id,
    /// A reference to another record.
    Reference,
    /// Anything else.
    Other,
}

/// The schemas of an environment that were read.
#[derive(Default)]
pub struct Schemas(Mutex<HashMap<String, (Arc<Schema>, Instant)>>);

impl Schemas {
    /// The schema of an object, read if it is not known or was read long ago.
    pub async fn of(&self, api: &Connection, object: &Object) -> Result<Arc<Schema>, Fault> {
        let name = format!("{} {:?}", object.name, object.options);
        // Held while it is read, so that of many who ask one reads.
        let mut kept = self.0.lock().await;
        if let Some((schema, read_at)) = kept.get(&name)
            && read_at.elapsed() < KEPT
        {
            return Ok(Arc::clone(schema));
        }
        let schema = Arc::new(metadata::read(api, object).await?);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(name, (Arc::clone(&schema), Instant::now()));
        Ok(schema)
    }
}

impl Schema {
    /// For people and plans: columns, and references as they are written.
    pub fn description(&self) -> Description {
        let columns = self.columns.iter().filter(|(_, column)| column.kind != Kind::Reference);
        let mut fields: Vec<Field> = columns.map(|(name, column)| column.field(name)).collect();
        for (navigation, column) in &self.references {
            if let Some(column) = self.columns.get(column) {
                fields.push(column.field(&format!("{navigation}{BIND}")));
            }
        }
        Description { label: self.label.clone(), fields }
    }

    /// A value as the column takes it. What it does not take is sent as it is, and refused there with the
    /// CRM's own words.
    pub fn written(&self, name: &str, value: &Value) -> Json {
        let kind = self.columns.get(name).map_or(Kind::Other, |column| column.kind);
        match (kind, value) {
            (Kind::Text | Kind::Email, Value::Number(_) | Value::Money(..) | Value::Boolean(_)) => {
                Json::String(value.text())
            }
            (Kind::Number | Kind::Choice, Value::Text(text)) => match text.trim().parse() {
                Ok(number) => Value::Number(number).json(),
                Err(_) => value.json(),
            },
            (Kind::Boolean, Value::Text(text)) => match text.trim() {
                "true" => Json::Bool(true),
                "false" => Json::Bool(false),
                _ => value.json(),
            },
            (Kind::Date, Value::Time(time)) => {
                Json::String(time.to_zoned_datetime(TimeZone::UTC).date().to_string())
            }
            (Kind::Time, Value::Date(day)) => Json::String(format!("{day}T00:00:00Z")),
            _ => value.json(),
        }
    }

    /// The literal of a value in a key or a filter, not yet encoded; `None` where the column cannot have
    /// such a value, so that no record does.
    pub fn literal(&self, name: &str, value: &str) -> Option<String> {
        let kind = self.columns.get(name).map_or(Kind::Text, |column| column.kind);
        match kind {
            Kind::Text | Kind::Email | Kind::Other => {
                Some(format!("'{}'", value.replace('\'', "''")))
            }
            Kind::Number | Kind::Choice => {
                let number: rust_decimal::Decimal = value.trim().parse().ok()?;
                Some(number.normalize().to_string())
            }
            Kind::Boolean => matches!(value, "true" | "false").then(|| value.to_owned()),
            Kind::Date => value.parse::<jiff::civil::Date>().ok().map(|day| day.to_string()),
            Kind::Time => value.parse::<jiff::Timestamp>().ok().map(|time| time.to_string()),
            Kind::Id | Kind::Reference => guid(value).map(str::to_owned),
        }
    }

    /// The column whose value is read for a field; `None` where a value as it would be written cannot be
    /// read.
    pub fn readable<'a>(&self, field: &'a str) -> Option<&'a str> {
        let is_reference =
            self.columns.get(field).is_some_and(|column| column.kind == Kind::Reference);
        (!field.contains('@') && !is_reference).then_some(field)
    }
}

impl Column {
    fn field(&self, name: &str) -> Field {
        Field {
            name: name.to_owned(),
            label: self.label.clone(),
            kind: match self.kind {
                Kind::Text => FieldKind::Text,
                Kind::Email => FieldKind::Email,
                Kind::Number => FieldKind::Number,
                Kind::Choice => FieldKind::Choice,
                Kind::Boolean => FieldKind::Boolean,
                Kind::Date => FieldKind::Date,
                Kind::Time => FieldKind::Time,
                Kind::Id | Kind::Reference | Kind::Other => FieldKind::Other,
            },
            writable: self.writable,
            required: self.required,
            unique: self.unique,
            options: self.options.clone(),
            max_length: self.max_length,
        }
    }
}

/// The text, if it is an id of a record: 32 hexadecimal digits in the usual groups.
pub fn guid(text: &str) -> Option<&str> {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let digits = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    (digits && lengths == [8, 4, 4, 4, 12]).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(kinds: &[(&str, Kind)]) -> Schema {
        let column = |kind| Column {
            label: String::new(),
            kind,
            writable: true,
            required: false,
            unique: false,
            max_length: None,
            options: Vec::new(),
        };
        Schema {
            label: String::new(),
            primary_id: "accountid".to_owned(),
            columns: kinds.iter().map(|(name, kind)| ((*name).to_owned(), column(*kind))).collect(),
            references: BTreeMap::new(),
        }
    }

    #[test]
    fn values_are_written_as_their_columns_take_them() {
        let schema = schema(&[
            ("text", Kind::Text),
            ("number", Kind::Number),
            ("choice", Kind::Choice),
            ("day", Kind::Date),
            ("moment", Kind::Time),
        ]);
        let text = |text: &str| Value::Text(text.to_owned());
        let time = Value::Time("2026-11-24T10:00:00Z".parse().expect("a time"));
        for (column, value, expected) in [
            ("text", Value::Number("129.90".parse().expect("a number")), json!("129.90")),
            ("number", text("12.5"), json!(12.5)),
            ("choice", text("100000002"), json!(100_000_002)),
            ("choice", text("Paid"), json!("Paid")),
            ("choice", Value::Null, json!(null)),
            ("day", time.clone(), json!("2026-11-24")),
            ("moment", time, json!("2026-11-24T10:00:00Z")),
            ("unknown", text("x"), json!("x")),
        ] {
            assert_eq!(schema.written(column, &value), expected, "{column}");
        }
    }

    #[test]
    fn literals_are_those_of_the_columns_type() {
        let schema = schema(&[("text", Kind::Text), ("number", Kind::Number), ("id", Kind::Id)]);
        let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
        for (column, value, expected) in [
            ("text", "o'neil", Some("'o''neil'")),
            ("number", "0017", Some("17")),
            ("number", "1 or 1 eq 1", None),
            ("id", id, Some(id)),
            ("id", "x' or '1' eq '1", None),
        ] {
            assert_eq!(schema.literal(column, value).as_deref(), expected, "{column} {value}");
        }
    }
}
