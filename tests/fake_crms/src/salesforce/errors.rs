//! The words of Salesforce for what is wrong: of requests in one form, of rows in another. In comes what
//! the schema has against a row, out goes the code with its message and fields.

use serde_json::{Value, json};

use crate::{Reply, RowError};

/// Why a row is refused.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) fields: Vec<String>,
}

impl Refusal {
    /// Without fields.
    pub(super) fn new(code: &str, message: impl Into<String>) -> Refusal {
        Refusal { code: code.to_owned(), message: message.into(), fields: Vec::new() }
    }

    fn of(code: &str, message: String, field: &str) -> Refusal {
        Refusal { fields: vec![field.to_owned()], ..Refusal::new(code, message) }
    }

    /// As one of a row's errors.
    pub(super) fn json(&self) -> Value {
        json!({ "statusCode": self.code, "message": self.message, "fields": self.fields })
    }

    /// As what refuses a request.
    pub(super) fn reply(&self, status: u16) -> Reply {
        let body = json!([{
            "message": self.message, "errorCode": self.code, "fields": self.fields,
        }]);
        Reply::json(status, &body)
    }
}

/// A request that is refused.
pub(super) fn refused(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!([{ "message": message, "errorCode": code }]))
}

/// A path that leads nowhere.
pub(super) fn no_resource() -> Reply {
    refused(404, "NOT_FOUND", "The requested resource does not exist")
}

/// A field that is not there.
pub(super) fn no_field(object: &str, field: &str) -> Refusal {
    let message = format!("No such column '{field}' on sobject of type {object}");
    Refusal::of("INVALID_FIELD", message, field)
}

/// A row's errors in Salesforce's words; what is missing is told in one.
pub(super) fn of_row(object: &str, errors: &[RowError]) -> Vec<Refusal> {
    let missing = errors.iter().filter_map(|error| match error {
        RowError::MissingRequired { field } => Some(field.clone()),
        RowError::UnknownField { .. }
        | RowError::BadOption { .. }
        | RowError::WrongType { .. }
        | RowError::TooLong { .. }
        | RowError::ReadOnly { .. }
        | RowError::Duplicate { .. }
        | RowError::Locked { .. }
        | RowError::Deleted { .. }
        | RowError::NotFound { .. } => None,
    });
    let missing: Vec<String> = missing.collect();
    let mut refusals: Vec<Refusal> = errors.iter().filter_map(|error| one(object, error)).collect();
    if !missing.is_empty() {
        let message = format!("Required fields are missing: [{}]", missing.join(", "));
        let refusal = Refusal::new("REQUIRED_FIELD_MISSING", message);
        refusals.push(Refusal { fields: missing, ..refusal });
    }
    refusals
}

fn one(object: &str, error: &RowError) -> Option<Refusal> {
    Some(match error {
        RowError::MissingRequired { .. } => return None,
        RowError::UnknownField { field } => no_field(object, field),
        RowError::BadOption { field, value } => {
            let message = format!("bad value for restricted picklist field: {value}");
            Refusal::of("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, field)
        }
        RowError::WrongType { field, value } => {
            let message = format!("Cannot deserialize the value {value} of {field}");
            Refusal::new("JSON_PARSER_ERROR", message)
        }
        RowError::TooLong { field, max } => {
            let message = format!("{field}: data value too large: (max length={max})");
            Refusal::of("STRING_TOO_LONG", message, field)
        }
        RowError::ReadOnly { field } => {
            let message = format!(
                "Unable to create/update fields: {field}. Please check the security settings of this \
                 field and verify that it is read/write for your profile or permission set."
            );
            Refusal::of("INVALID_FIELD_FOR_INSERT_UPDATE", message, field)
        }
        RowError::Duplicate { field, record } => {
            let message = format!(
                "duplicate value found: {field} duplicates value on record with id: {record}"
            );
            Refusal::new("DUPLICATE_VALUE", message)
        }
        RowError::Locked { .. } => {
            let message = "unable to obtain exclusive access to this record";
            Refusal::new("UNABLE_TO_LOCK_ROW", message)
        }
        RowError::Deleted { .. } => Refusal::new("ENTITY_IS_DELETED", "entity is deleted"),
        RowError::NotFound { .. } => {
            Refusal::new("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        }
    })
}
