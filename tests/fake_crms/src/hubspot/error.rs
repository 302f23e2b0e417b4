//! HubSpot's ways to say no. In comes what is wrong, out goes an answer in the vendor's form.

use serde_json::{Map, Value, json};

use super::{PORTAL, schema::Object};
use crate::{Reply, RowError, ids, table::field::text};

/// An error of a call.
pub(super) fn error(status: u16, category: &str, message: &str) -> Reply {
    error_with(status, category, message, Map::new())
}

/// The same with more in its body.
pub(super) fn error_with(
    status: u16,
    category: &str,
    message: &str,
    more: Map<String, Value>,
) -> Reply {
    let mut body = more;
    body.insert("status".to_owned(), json!("error"));
    body.insert("message".to_owned(), json!(message));
    body.insert("correlationId".to_owned(), json!(ids::uuid()));
    if !category.is_empty() {
        body.insert("category".to_owned(), json!(category));
    }
    Reply::json(status, &Value::Object(body))
}

/// A whole call is not as it should be.
pub(super) fn invalid(message: &str) -> Reply {
    error(400, "VALIDATION_ERROR", message)
}

/// There is no such path, or no such version of it.
pub(super) fn no_path() -> Reply {
    error(404, "", "resource not found")
}

/// The account moves to another data centre, for faults of tests.
pub fn moving(seconds: u64) -> Reply {
    error(477, "MIGRATION_IN_PROGRESS", "The account is being moved.")
        .with_header("retry-after", seconds)
}

/// The message about bad values of one row, with the list that HubSpot puts into it.
pub(super) fn bad_values(errors: &[RowError], names_values: bool) -> String {
    let list: Vec<Value> = errors.iter().filter_map(|one| listed(one, names_values)).collect();
    format!("Property values were not valid: {}", Value::Array(list))
}

fn listed(error: &RowError, names_values: bool) -> Option<Value> {
    let (code, name, words) = match error {
        RowError::UnknownField { field } => {
            ("PROPERTY_DOESNT_EXIST", field, format!("Property \"{field}\" does not exist"))
        }
        RowError::BadOption { field, value } => {
            let value = text(value);
            ("INVALID_OPTION", field, format!("{value} was not one of the allowed options: []"))
        }
        RowError::WrongType { field, value } => {
            ("INVALID_FLOAT", field, format!("{} was not a valid value.", text(value)))
        }
        RowError::TooLong { field, max } => {
            ("INVALID_LENGTH", field, format!("longer than {max} characters"))
        }
        RowError::ReadOnly { field } => {
            ("READ_ONLY_VALUE", field, format!("\"{field}\" is a read only property"))
        }
        RowError::MissingRequired { field } => {
            ("REQUIRED_FIELD", field, format!("\"{field}\" must have a value"))
        }
        RowError::Duplicate { .. }
        | RowError::Locked { .. }
        | RowError::Deleted { .. }
        | RowError::NotFound { .. } => return None,
    };
    let words = if names_values { words } else { "The value is not valid.".to_owned() };
    Some(json!({
        "isValid": false,
        "message": words,
        "error": code,
        "name": name,
        "localizedErrorMessage": words,
        "portalId": PORTAL,
    }))
}

/// There is a record with this value already.
pub(super) fn conflict(object: Object, record: &str) -> String {
    format!("{} already exists. Existing ID: {record}", object.word())
}

/// Records are not there.
pub(super) fn absent(object: Object) -> String {
    let word = object.word();
    format!("Could not get some {word} objects, they may be deleted or not exist.")
}
