//! The fields of a module, as `GET /settings/fields` tells them, kept for a while. In come values, out goes
//! the JSON that a field takes, and the other way round. It is what stands between a misspelled field, which
//! Zoho passes over and calls a success, and an event that would be acknowledged for nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::caller::{Call, Caller};
use super::refusal;
use crate::crm::{Description, Fault, Field, FieldKind, FieldOption};
use crate::value::Value;

/// Modules are read again after this: for so long a field that somebody deletes could go unnoticed.
const LASTS: Duration = Duration::from_secs(10 * 60);
/// A field that is not known makes its module be read again, but not more often than this.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// More than an org has that a connector writes to.
const MAX_MODULES: usize = 64;

/// The fields by which Zoho looks for duplicates of its own, without anybody having marked them as unique.
const DUPLICATE_CHECKS: &[(&str, &str)] = &[
    ("Accounts", "Account_Name"),
    ("Campaigns", "Campaign_Name"),
    ("Cases", "Subject"),
    ("Contacts", "Email"),
    ("Deals", "Deal_Name"),
    ("Invoices", "Subject"),
    ("Leads", "Email"),
    ("Price_Books", "Price_Book_Name"),
    ("Products", "Product_Name"),
    ("Purchase_Orders", "Subject"),
    ("Quotes", "Subject"),
    ("Sales_Orders", "Subject"),
    ("Solutions", "Solution_Title"),
    ("Vendors", "Vendor_Name"),
];

/// The modules that were read.
#[derive(Default)]
pub(super) struct Schemas {
    known: Mutex<BTreeMap<String, (Arc<Schema>, Instant)>>,
}

/// A module's fields.
#[derive(Debug)]
pub(super) struct Schema {
    fields: BTreeMap<String, Known>,
}

/// A field and how its values look.
#[derive(Debug)]
pub(super) struct Known {
    field: Field,
    form: Form,
    /// Whether Zoho takes values for the same that differ in case alone.
    folds_case: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Integer,
    Number,
    Boolean,
    Date,
    Time,
    List,
    Reference,
}

impl Schemas {
    /// A module's fields, read if they are not known or lack one that is needed.
    pub async fn with(
        &self,
        caller: &Caller,
        module: &str,
        needed: &[&str],
    ) -> Result<Arc<Schema>, Fault> {
        let mut known = self.known.lock().await;
        if let Some((schema, read_at)) = known.get(module) {
            let age = read_at.elapsed();
            let has_all = needed.iter().all(|name| schema.fields.contains_key(*name));
            if age < READ_AGAIN || (age < LASTS && has_all) {
                return Ok(Arc::clone(schema));
            }
        }
        read_into(&mut known, caller, module).await
    }

    /// A module's fields, read now.
    pub async fn read(&self, caller: &Caller, module: &str) -> Result<Arc<Schema>, Fault> {
        read_into(&mut *self.known.lock().await, caller, module).await
    }
}

async fn read_into(
    known: &mut BTreeMap<String, (Arc<Schema>, Instant)>,
    caller: &Caller,
    module: &str,
) -> Result<Arc<Schema>, Fault> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if module.is_empty() || !module.bytes().all(is_name) {
        let reason = format!("`{module}` is not the API name of a module");
        return Err(Fault::permanent("INVALID_MODULE", reason));
    }
    let answer = caller.call(&Call::get(format!("/settings/fields?module={module}"))).await?;
    if !answer.status.is_success() {
        return Err(refusal::of_call(&answer));
    }
    if answer.body.is_empty() {
        let reason = format!("`{module}` has no fields that this user may see");
        return Err(Fault::permanent("INVALID_MODULE", reason));
    }
    let told: Told = answer.json()?;
    let fields = told.fields.into_iter().map(|told| {
        let known = told.known(module);
        (known.field.name.clone(), known)
    });
    let schema = Arc::new(Schema { fields: fields.collect() });
    if known.len() >= MAX_MODULES {
        known.clear();
    }
    known.insert(module.to_owned(), (Arc::clone(&schema), Instant::now()));
    Ok(schema)
}

impl Schema {
    /// A field that may be read or looked for.
    pub fn readable(&self, name: &str) -> Result<&Known, Fault> {
        self.fields.get(name).ok_or_else(|| {
            let reason = format!("the module has no field `{name}`; Zoho would pass it over");
            Fault::permanent("UNKNOWN_FIELD", reason)
        })
    }

    /// A field that may be written.
    pub fn writable(&self, name: &str) -> Result<&Known, Fault> {
        let known = self.readable(name)?;
        if known.field.writable {
            return Ok(known);
        }
        let reason = format!("this user may not write `{name}`; Zoho would pass it over");
        Err(Fault::permanent("READ_ONLY_FIELD", reason))
    }

    /// For people and checks.
    pub fn description(&self, module: &str) -> Description {
        let fields = self.fields.values().map(|known| known.field.clone()).collect();
        Description { label: module.to_owned(), fields }
    }
}

impl Known {
    /// A value as the field takes it. What does not fit goes as it is, for Zoho to refuse with its reason.
    pub fn render(&self, value: &Value) -> Json {
        if *value == Value::Null {
            return Json::Null;
        }
        let number = || match value {
            Value::Number(number) | Value::Money(number, _) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            Value::Null | Value::Boolean(_) | Value::Date(_) | Value::Time(_) => None,
        };
        match self.form {
            Form::Text => Json::String(value.text()),
            Form::Integer => {
                let whole = number().map(|number| number.normalize()).filter(|n| n.scale() == 0);
                let whole = whole.and_then(|number| number.to_i64());
                whole.map_or_else(|| value.json(), |whole| json!(whole))
            }
            Form::Number => number().map_or_else(|| value.json(), |n| Value::Number(n).json()),
            Form::Boolean => match value.text().trim() {
                "true" => Json::Bool(true),
                "false" => Json::Bool(false),
                _ => value.json(),
            },
            Form::Date => match value {
                Value::Time(time) => {
                    Json::String(time.to_zoned_datetime(TimeZone::UTC).date().to_string())
                }
                other => Json::String(other.text()),
            },
            Form::Time => Json::String(moment(value)),
            Form::List => value.text().split(';').map(|part| json!(part.trim())).collect(),
            Form::Reference => json!({ "id": value.text() }),
        }
    }

    /// What Zoho answers, as it would be written.
    pub fn read(&self, json: &Json) -> Value {
        match json {
            Json::Object(object) => match object.get("id").and_then(refusal::id) {
                Some(id) => Value::Text(id),
                None => Value::of_json(json),
            },
            Json::Array(parts) => {
                let parts: Vec<String> = parts.iter().map(|p| Value::of_json(p).text()).collect();
                Value::Text(parts.join(";"))
            }
            _ if self.form == Form::Text && json.is_number() => Value::Text(json.to_string()),
            _ => Value::of_json(json),
        }
    }

    /// Whether a record with this value of the field is one that was looked for.
    pub fn is_same(&self, wanted: &str, found: &Json) -> bool {
        let found = self.read(found);
        match self.form {
            Form::Text | Form::List | Form::Reference if self.folds_case => {
                found.text().trim().to_lowercase() == wanted.trim().to_lowercase()
            }
            Form::Text | Form::List | Form::Reference => found.text().trim() == wanted.trim(),
            Form::Integer | Form::Number | Form::Boolean | Form::Date | Form::Time => {
                found.same_as(&Value::Text(wanted.to_owned()))
            }
        }
    }

    /// The value as COQL has it; `None` where no value of the field can be it.
    pub fn literal(&self, wanted: &str) -> Option<String> {
        match (self.form, self.render(&Value::Text(wanted.to_owned()))) {
            (Form::Integer | Form::Number, Json::Number(number)) => Some(number.to_string()),
            (Form::Boolean, Json::Bool(yes)) => Some(yes.to_string()),
            (Form::Integer | Form::Number | Form::Boolean, _) => None,
            (Form::Time, Json::String(text)) => Some(quoted(&text)),
            (Form::Text | Form::Date | Form::Time | Form::List | Form::Reference, _) => {
                Some(quoted(wanted))
            }
        }
    }
}

/// A text of COQL. A backslash takes its meaning from the sign that follows, so itself comes first.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A moment as Zoho takes it: with an offset and without fractions of a second.
fn moment(value: &Value) -> String {
    let time = match value {
        Value::Time(time) => Some(*time),
        Value::Date(date) => {
            date.to_zoned_datetime(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
        }
        other => other.text().trim().parse::<Timestamp>().ok(),
    };
    match time {
        Some(time) => time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string(),
        None => value.text(),
    }
}

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    fields: Vec<ToldField>,
}

#[derive(Deserialize)]
struct ToldField {
    api_name: String,
    display_label: Option<String>,
    field_label: Option<String>,
    #[serde(default)]
    data_type: String,
    json_type: Option<String>,
    length: Option<u64>,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    field_read_only: bool,
    operation_type: Option<Operations>,
    #[serde(default)]
    system_mandatory: bool,
    #[serde(default)]
    required: bool,
    unique: Option<Json>,
    pick_list_values: Option<Vec<ToldOption>>,
}

#[derive(Deserialize)]
struct Operations {
    #[serde(default)]
    api_create: bool,
    #[serde(default)]
    api_update: bool,
}

#[derive(Deserialize)]
struct ToldOption {
    actual_value: Option<String>,
    display_value: Option<String>,
    #[serde(rename = "type")]
    use_of: Option<String>,
}

impl ToldField {
    fn known(self, module: &str) -> Known {
        let case = self.unique.as_ref().and_then(|unique| unique.get("casesensitive"));
        let is_marked =
            self.unique.as_ref().and_then(Json::as_object).is_some_and(|u| !u.is_empty());
        let is_checked = DUPLICATE_CHECKS.contains(&(module, self.api_name.as_str()));
        let is_exact = case.is_some_and(|case| *case == json!(true) || *case == json!("true"));
        let kind = kind(&self.data_type);
        let may = self.operation_type.as_ref().is_none_or(|may| may.api_create || may.api_update);
        let writable = may && !self.read_only && !self.field_read_only;
        let options = self.pick_list_values.unwrap_or_default().into_iter().filter_map(|option| {
            let is_used = option.use_of.as_deref() != Some("unused");
            let value = option.actual_value.or_else(|| option.display_value.clone());
            let value = value.filter(|_| is_used)?;
            Some(FieldOption {
                label: option.display_value.unwrap_or_else(|| value.clone()),
                value,
            })
        });
        Known {
            form: form(&self.data_type, self.json_type.as_deref()),
            folds_case: kind == FieldKind::Email || ((is_marked || is_checked) && !is_exact),
            field: Field {
                label: self.display_label.or(self.field_label).unwrap_or(self.api_name.clone()),
                name: self.api_name,
                kind,
                writable,
                required: writable && (self.system_mandatory || self.required),
                unique: is_marked || is_checked,
                options: options.collect(),
                max_length: match kind {
                    FieldKind::Text | FieldKind::Email => {
                        self.length.and_then(|length| length.try_into().ok())
                    }
                    FieldKind::Number
                    | FieldKind::Money
                    | FieldKind::Boolean
                    | FieldKind::Date
                    | FieldKind::Time
                    | FieldKind::Choice
                    | FieldKind::Other => None,
                },
            },
        }
    }
}

fn kind(data_type: &str) -> FieldKind {
    match data_type {
        "text" | "textarea" | "phone" | "website" | "autonumber" => FieldKind::Text,
        "email" => FieldKind::Email,
        // The currency of an amount is a field of its own.
        "integer" | "bigint" | "double" | "currency" | "percent" => FieldKind::Number,
        "boolean" => FieldKind::Boolean,
        "date" => FieldKind::Date,
        "datetime" => FieldKind::Time,
        "picklist" | "multiselectpicklist" => FieldKind::Choice,
        _ => FieldKind::Other,
    }
}

fn form(data_type: &str, json_type: Option<&str>) -> Form {
    match (data_type, json_type) {
        ("date", _) => Form::Date,
        ("datetime", _) => Form::Time,
        (_, Some("integer")) | ("integer", None) => Form::Integer,
        (_, Some("double")) | ("double" | "currency" | "percent", None) => Form::Number,
        (_, Some("boolean")) | ("boolean", None) => Form::Boolean,
        (_, Some("jsonarray")) | ("multiselectpicklist", None) => Form::List,
        (_, Some("jsonobject")) | ("lookup" | "ownerlookup", None) => Form::Reference,
        (_, _) => Form::Text,
    }
}
