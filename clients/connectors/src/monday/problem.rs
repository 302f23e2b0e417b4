//! What an error of the API means. In comes an answer in any of the shapes that the vendor gave errors over
//! the years, out go its problems, and for each the fault that follows. It goes by codes and statuses, never
//! by the words of a message, which are only passed on.

use std::time::Duration;

use http::StatusCode;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::{Map, Value as Json};

use crate::api::Answer;
use crate::crm::Fault;

const MAX_WORDS_BYTES: usize = 300;
const MAX_CODE_BYTES: usize = 64;
/// How many errors of one answer are read: more than there are aliases.
const MAX_PROBLEMS: usize = 100;
/// Windows are a minute long.
const MINUTE: Duration = Duration::from_secs(60);
/// No wait that the vendor tells is longer than to its midnight.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// One error of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Problem {
    /// The vendor's code; empty where it gave none.
    pub(super) code: String,
    words: String,
    /// The alias that it is about; none if it is about the whole call.
    pub(super) alias: Option<String>,
    status: Option<u16>,
    retry_in: Option<Duration>,
    is_of_column: bool,
}

/// What follows from a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A limit is reached; without a wait of the vendor's, this one.
    Wait(Duration),
    /// The limit of the day is reached.
    Midnight,
    /// The same may work later.
    Again,
    /// It will never work like this.
    Never,
    /// The same, and for all that the token does, not for this row alone.
    NeverForAll,
    /// The item is not there.
    Gone,
    /// The token is refused.
    Credential,
}

/// By the vendor's codes, in its spelling.
const CODES: &[(&str, Class)] = &[
    ("API_TEMPORARILY_BLOCKED", Class::Wait(MINUTE)),
    ("COMPLEXITY_BUDGET_EXHAUSTED", Class::Wait(MINUTE)),
    ("ComplexityException", Class::Wait(MINUTE)),
    ("RATE_LIMIT_EXCEEDED", Class::Wait(MINUTE)),
    ("Rate Limit Exceeded", Class::Wait(MINUTE)),
    ("MINUTE_RATE_LIMIT_EXCEEDED", Class::Wait(MINUTE)),
    ("FIELD_LIMIT_EXCEEDED", Class::Wait(Duration::from_secs(15))),
    ("IP_RATE_LIMIT_EXCEEDED", Class::Wait(Duration::from_secs(10))),
    ("maxConcurrencyExceeded", Class::Wait(Duration::from_secs(2))),
    ("CONCURRENCY_LIMIT_EXCEEDED", Class::Wait(Duration::from_secs(2))),
    ("DAILY_LIMIT_EXCEEDED", Class::Midnight),
    ("IDEMPOTENCY_CONFLICT", Class::Again),
    ("INTERNAL_SERVER_ERROR", Class::Again),
    ("ResourceLockedException", Class::Again),
    ("InvalidItemIdException", Class::Gone),
    ("ResourceNotFoundException", Class::Gone),
    ("USER_ACCESS_DENIED", Class::Credential),
    ("InvalidBoardIdException", Class::NeverForAll),
    ("InvalidVersionException", Class::NeverForAll),
    ("UserUnauthorizedException", Class::NeverForAll),
    ("missingRequiredPermissions", Class::NeverForAll),
];

impl Problem {
    /// The problems of an answer that is a JSON object. Empty for one that has none.
    pub(super) fn all_of(answer: &Answer, body: &Map<String, Json>) -> Vec<Problem> {
        let http = (!answer.status.is_success()).then_some(answer.status.as_u16());
        let mut problems = Vec::new();
        if body.contains_key("error_code") || body.contains_key("error_message") {
            problems.push(Problem::flat(body));
        }
        let is_flat = !problems.is_empty();
        let listed = body.get("errors").and_then(Json::as_array).into_iter().flatten();
        for error in listed.take(MAX_PROBLEMS) {
            match error {
                Json::Object(error) => problems.push(Problem::listed(error)),
                // The flat form repeats its message as a text.
                Json::String(_) if is_flat => {}
                other => problems.push(Problem { words: text_of(other), ..Problem::default() }),
            }
        }
        if problems.is_empty() && http.is_some() {
            problems.push(Problem { words: answer.told(), ..Problem::default() });
        }
        let told = answer.retry_after();
        for problem in &mut problems {
            problem.status = problem.status.or(http);
            problem.retry_in = problem.retry_in.max(told).map(|wait| wait.min(LONGEST_WAIT));
        }
        problems
    }

    /// The problem of an answer that is none of the API's: a proxy's page.
    pub(super) fn of_status(answer: &Answer) -> Problem {
        Problem {
            words: answer.told(),
            status: Some(answer.status.as_u16()),
            retry_in: answer.retry_after().map(|wait| wait.min(LONGEST_WAIT)),
            ..Problem::default()
        }
    }

    /// What follows from it.
    pub(super) fn class(&self) -> Class {
        let known = CODES.iter().find(|(code, _)| code.eq_ignore_ascii_case(&self.code));
        let status = self.status.and_then(|status| StatusCode::from_u16(status).ok());
        match (known, status) {
            // A column is not there for any item: looking up the item again would not help.
            (Some((_, Class::Gone)), _) if self.is_of_column => Class::Never,
            (Some((_, class)), _) => *class,
            (None, Some(StatusCode::TOO_MANY_REQUESTS)) => Class::Wait(MINUTE),
            (None, Some(StatusCode::UNAUTHORIZED)) => Class::Credential,
            (
                None,
                Some(StatusCode::CONFLICT | StatusCode::LOCKED | StatusCode::REQUEST_TIMEOUT),
            ) => Class::Again,
            (None, Some(StatusCode::NOT_FOUND | StatusCode::GONE)) => Class::Gone,
            (None, Some(status)) if status.is_server_error() => Class::Again,
            (None, Some(_) | None) => Class::Never,
        }
    }

    /// How long nothing must be sent; `None` for a problem that is no limit.
    pub(super) fn wait(&self, now: Timestamp) -> Option<Duration> {
        let wait = match self.class() {
            Class::Wait(fallback) => self.retry_in.unwrap_or(fallback),
            Class::Midnight => until_midnight(now).max(self.retry_in.unwrap_or_default()),
            Class::Again | Class::Never | Class::NeverForAll | Class::Gone | Class::Credential => {
                return None;
            }
        };
        Some(wait.clamp(Duration::from_secs(1), LONGEST_WAIT))
    }

    /// The fault that it is for a row; `is_update` where an item that is gone can be looked up again.
    pub(super) fn fault(&self, now: Timestamp, is_update: bool) -> Fault {
        let reason = self.reason();
        match self.class() {
            Class::Wait(_) | Class::Midnight => {
                Fault::Throttled { wait: self.wait(now).unwrap_or(MINUTE), reason }
            }
            Class::Again => Fault::Transient { reason, wait: self.retry_in },
            Class::Gone if is_update => Fault::Gone { reason },
            Class::Gone | Class::Never | Class::NeverForAll => {
                Fault::permanent(self.code_or_status(), self.words.clone())
            }
            Class::Credential => Fault::Unauthorized { reason },
        }
    }

    fn reason(&self) -> String {
        format!("{}: {}", self.code_or_status(), self.words)
    }

    fn code_or_status(&self) -> String {
        match (self.code.as_str(), self.status) {
            ("", Some(status)) => format!("HTTP {status}"),
            ("", None) => "GraphQL".to_owned(),
            (code, _) => code.to_owned(),
        }
    }

    /// The form before 2025-01, which some limits still come in.
    fn flat(body: &Map<String, Json>) -> Problem {
        Problem {
            code: bounded(body.get("error_code"), MAX_CODE_BYTES),
            words: bounded(body.get("error_message"), MAX_WORDS_BYTES),
            alias: None,
            status: status_of(body),
            retry_in: retry_in(body),
            is_of_column: is_of_column(body),
        }
    }

    fn listed(error: &Map<String, Json>) -> Problem {
        let nothing = Map::new();
        let more = error.get("extensions").and_then(Json::as_object).unwrap_or(&nothing);
        let path = error.get("path").and_then(Json::as_array);
        let alias = path.and_then(|path| path.first()).and_then(Json::as_str);
        Problem {
            code: bounded(more.get("code"), MAX_CODE_BYTES),
            words: bounded(error.get("message"), MAX_WORDS_BYTES),
            alias: alias.map(str::to_owned),
            status: status_of(more),
            retry_in: retry_in(more),
            is_of_column: is_of_column(more),
        }
    }
}

/// Until the day's calls are counted anew.
pub(super) fn until_midnight(now: Timestamp) -> Duration {
    let today = now.to_zoned_datetime(TimeZone::UTC);
    let midnight = today.start_of_day().and_then(|start| start.checked_add(1.day()));
    let left = midnight
        .ok()
        .and_then(|midnight| Duration::try_from(midnight.timestamp().duration_since(now)).ok());
    left.unwrap_or(LONGEST_WAIT)
}

/// `status_code`; 200 says nothing.
fn status_of(body: &Map<String, Json>) -> Option<u16> {
    let status = body.get("status_code").and_then(Json::as_u64)?;
    u16::try_from(status).ok().filter(|status| *status >= 400)
}

/// Beside the code, or within `error_data` in the flat form.
fn retry_in(body: &Map<String, Json>) -> Option<Duration> {
    let own = body.get("retry_in_seconds");
    let seconds = own.or_else(|| body.get("error_data")?.get("retry_in_seconds"))?.as_f64()?;
    Duration::try_from_secs_f64(seconds.ceil()).ok()
}

fn is_of_column(body: &Map<String, Json>) -> bool {
    body.get("error_data").is_some_and(|data| data.get("column_id").is_some())
}

fn bounded(json: Option<&Json>, max: usize) -> String {
    let mut text = json.map(text_of).unwrap_or_default();
    text.truncate(text.floor_char_boundary(max));
    text
}

fn text_of(json: &Json) -> String {
    match json {
        Json::String(text) => text[..text.floor_char_boundary(MAX_WORDS_BYTES)].to_owned(),
        Json::Null => String::new(),
        Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
            let text = json.to_string();
            text[..text.floor_char_boundary(MAX_WORDS_BYTES)].to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use serde_json::json;

    use super::*;

    fn first(status: u16, retry_after: Option<&str>, body: &Json) -> Problem {
        let mut headers = HeaderMap::new();
        if let Some(seconds) = retry_after {
            headers.insert("retry-after", seconds.parse().expect("a header"));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        let answer = Answer { status, headers, body: Bytes::from(body.to_string()) };
        let body = body.as_object().expect("an object");
        Problem::all_of(&answer, body).into_iter().next().expect("a problem")
    }

    fn listed(code: &str, more: &[(&str, Json)]) -> Json {
        let mut extensions = json!({ "code": code });
        for (key, value) in more {
            extensions[key] = value.clone();
        }
        json!({ "errors": [{ "message": "no", "path": ["a1"], "extensions": extensions }] })
    }

    #[test]
    fn limits_are_read_in_every_shape() {
        let now: Timestamp = "2026-11-24T23:00:00Z".parse().expect("a time");
        let wait = |status, header, body: &Json| {
            first(status, header, body).wait(now).map(|wait| wait.as_secs())
        };
        let new = listed("COMPLEXITY_BUDGET_EXHAUSTED", &[("retry_in_seconds", json!(17))]);
        assert_eq!(wait(429, Some("17"), &new), Some(17));
        assert_eq!(wait(200, None, &new), Some(17));
        let old = json!({
            "error_code": "ComplexityException", "status_code": 429,
            "error_message": "budget exhausted", "error_data": {}, "errors": ["budget exhausted"]
        });
        assert_eq!(wait(200, None, &old), Some(60));
        let field = json!({
            "error_code": "FIELD_LIMIT_EXCEEDED", "status_code": 429, "error_message": "field",
            "error_data": { "retry_in_seconds": 15 }
        });
        assert_eq!(wait(200, None, &field), Some(15));
        let minute = json!({ "error_message": "Rate Limit Exceeded.", "status_code": 429 });
        assert_eq!(wait(429, Some("9"), &minute), Some(9));
        assert_eq!(wait(200, None, &listed("DAILY_LIMIT_EXCEEDED", &[])), Some(3_600));
        assert_eq!(wait(200, None, &listed("maxConcurrencyExceeded", &[])), Some(2));
        assert_eq!(wait(200, None, &listed("ColumnValueException", &[])), None);
        let lock = listed("ResourceLockedException", &[("retry_in_seconds", json!(1e18))]);
        let fault = first(200, None, &lock).fault(now, true);
        assert!(matches!(fault, Fault::Transient { wait: Some(LONGEST_WAIT), .. }), "{fault:?}");
    }

    #[test]
    fn every_code_has_its_class() {
        for (code, class) in [
            ("ColumnValueException", Class::Never),
            ("InvalidColumnIdException", Class::Never),
            ("InvalidBoardIdException", Class::NeverForAll),
            ("InvalidItemIdException", Class::Gone),
            ("ResourceNotFoundException", Class::Gone),
            ("InvalidArgumentException", Class::Never),
            ("JsonParseException", Class::Never),
            ("UserUnauthorizedException", Class::NeverForAll),
            ("missingRequiredPermissions", Class::NeverForAll),
            ("undefinedField", Class::Never),
            ("INTERNAL_SERVER_ERROR", Class::Again),
            ("USER_ACCESS_DENIED", Class::Credential),
            ("SomethingNew", Class::Never),
        ] {
            let problem = first(200, None, &listed(code, &[]));
            assert_eq!(problem.class(), class, "{code}");
            assert_eq!(problem.alias.as_deref(), Some("a1"));
        }
        let new = |status: u64| listed("SomethingNew", &[("status_code", json!(status))]);
        assert_eq!(first(200, None, &new(423)).class(), Class::Again);
        assert_eq!(first(200, None, &new(404)).class(), Class::Gone);
        assert_eq!(first(200, None, &new(500)).class(), Class::Again);
        let column = listed(
            "ResourceNotFoundException",
            &[("error_data", json!({ "column_id": "status" }))],
        );
        assert_eq!(first(200, None, &column).class(), Class::Never);
        let words = json!({ "errors": ["Not Authenticated"] });
        assert_eq!(first(401, None, &words).class(), Class::Credential);
    }
}
