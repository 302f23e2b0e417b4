//! What Zoho's codes mean. In comes an error, of a call or of one row, out goes what follows from it. It
//! must go by codes and not by words, but for `LIMIT_EXCEEDED`, which Zoho uses of two different things.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::api::Answer;
use crate::crm::Fault;

const MAX_TOLD_BYTES: usize = 300;
const MAX_CODE_BYTES: usize = 64;

/// The token ended, or was never good.
const OF_TOKEN: &[&str] = &["INVALID_TOKEN", "AUTHENTICATION_FAILURE"];
/// The token may not do this.
pub(super) const SCOPE: &str = "OAUTH_SCOPE_MISMATCH";
/// The same row may be accepted later.
const TRANSIENT: &[&str] = &[
    "ALREADY_MODIFIED",
    "DEPENDENT_SERVICE_ERROR",
    "INTERNAL_ERROR",
    "INTERNAL_SERVER_ERROR",
    "RECORD_LOCKED",
    "RECORD_MODIFIED",
    "TOO_MANY_REQUESTS",
];
/// The call is refused whatever its rows are.
const OF_CALL: &[&str] = &[
    "AUTHORIZATION_FAILED",
    "INVALID_MODULE",
    "INVALID_REQUEST_METHOD",
    "INVALID_URL_PATTERN",
    "NO_PERMISSION",
    SCOPE,
];
const LIMIT: &str = "LIMIT_EXCEEDED";
pub(super) const DUPLICATE: &str = "DUPLICATE_DATA";
pub(super) const INVALID: &str = "INVALID_DATA";
const NOT_FOUND: &str = "RECORD_NOT_FOUND";

/// The outcome of a row, or an error.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    message: String,
    pub action: Option<String>,
    #[serde(default)]
    details: Json,
}

impl Told {
    /// Whether the row was written.
    pub fn is_success(&self) -> bool {
        self.status == "success" && self.code == "SUCCESS"
    }

    /// The record that it is about.
    pub fn id(&self) -> Option<String> {
        let other = self.details.pointer("/duplicate_record/id");
        self.details.get("id").or(other).and_then(id)
    }

    /// The field that it is about.
    pub fn field(&self) -> Option<&str> {
        self.details.get("api_name").and_then(Json::as_str)
    }

    /// Whether it says that there is no record of the id that was sent.
    pub fn is_missing_record(&self) -> bool {
        let names_id = match self.field() {
            Some(field) => field == "id",
            None => self.details.get("id").is_some(),
        };
        self.code == NOT_FOUND || (self.code == INVALID && names_id)
    }

    /// Zoho's words with the field that they are about.
    pub fn reason(&self) -> String {
        let mut text = self.message.clone();
        let told = |name: &str| self.details.get(name).and_then(Json::as_str);
        for (name, before) in [("api_name", "field "), ("expected_data_type", "expected ")] {
            if let Some(detail) = told(name) {
                text.push_str(&format!(", {before}{detail}"));
            }
        }
        text.truncate(text.floor_char_boundary(MAX_TOLD_BYTES));
        text
    }

    /// What follows for the row, where nothing more is known about it.
    pub fn fault(&self) -> Fault {
        let code = &self.code[..self.code.floor_char_boundary(MAX_CODE_BYTES)];
        if code.is_empty() {
            return Fault::transient("an outcome without a code");
        }
        if TRANSIENT.contains(&code) || (code == LIMIT && !self.is_too_many_rows()) {
            return Fault::transient(format!("{code}: {}", self.reason()));
        }
        Fault::permanent(code, self.reason())
    }

    /// `LIMIT_EXCEEDED` is told of rates, and of more records in a call than it takes.
    fn is_too_many_rows(&self) -> bool {
        self.message.to_ascii_lowercase().contains("record")
    }
}

/// Whether an answer says that the token ended.
pub(super) fn is_of_token(answer: &Answer) -> bool {
    answer.status == StatusCode::UNAUTHORIZED
        && told(answer).is_some_and(|told| OF_TOKEN.contains(&told.code.as_str()))
}

/// Whether an answer says, whatever its status, that a rate is exceeded.
pub(super) fn is_rate(answer: &Answer) -> bool {
    told(answer).is_some_and(|told| told.code == LIMIT && !told.is_too_many_rows())
}

/// What follows from an answer that refuses the whole call.
pub(super) fn of_call(answer: &Answer) -> Fault {
    let status = answer.status;
    match told(answer).filter(|told| !told.code.is_empty()) {
        Some(told) => told.fault(),
        None if status == StatusCode::PAYLOAD_TOO_LARGE || status == StatusCode::URI_TOO_LONG => {
            Fault::permanent(status.as_str(), answer.told())
        }
        // Not Zoho's own form: something on the way speaks, and may be silent the next time.
        None => Fault::transient(answer.told()),
    }
}

/// Whether the same refusal would come for every row.
pub(super) fn is_whole(answer: &Answer, fault: &Fault) -> bool {
    match fault {
        Fault::Permanent { code, .. } => {
            let about = told(answer).map(|told| told.details).unwrap_or_default();
            let names = |name: &str| about.get(name).and_then(Json::as_str).unwrap_or_default();
            OF_CALL.contains(&code.as_str())
                || names("api_name") == "duplicate_check_fields"
                || names("json_path").starts_with("$.duplicate_check_fields")
        }
        Fault::Throttled { .. }
        | Fault::Transient { .. }
        | Fault::Gone { .. }
        | Fault::Raced { .. }
        | Fault::Unauthorized { .. } => true,
    }
}

/// An id as text with all of its digits, however it is sent.
pub(super) fn id(json: &Json) -> Option<String> {
    match json {
        Json::String(text) if !text.is_empty() => Some(text.clone()),
        Json::Number(number) if number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

fn told(answer: &Answer) -> Option<Told> {
    serde_json::from_slice(&answer.body).ok()
}
