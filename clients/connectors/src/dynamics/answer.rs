//! What answers of Dataverse mean: in comes an answer and what was asked, out goes what follows from it. The
//! code decides, never the message; where a code is empty (`""`, `0x0`) the status does. Words that are
//! passed on are bounded.

use std::time::Duration;

use serde::Deserialize;

use crate::api::Answer;
use crate::crm::Fault;

/// Updates of a record that is not there.
const NO_SUCH_RECORD: &[&str] = &["0x80040217", "0x80060891"];
/// The application is no user of the environment.
const NOT_A_MEMBER: &str = "0x80072560";
/// The record is a duplicate in another way than by its alternate key.
const DUPLICATE_RECORD: &str = "0x80040237";
/// What is waited where the CRM does not say how long.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);
/// Longer waits are told by nobody who means them.
const LONGEST_WAIT: f64 = 24.0 * 60.0 * 60.0;
/// How much of a message is told: it may go on with the names of functions for pages.
const MAX_TOLD_CHARS: usize = 400;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Something that is about no row.
    Call,
    /// To read a record.
    Read,
    /// To update a record.
    Update,
    /// To update or create a record.
    Upsert,
    /// To create a record.
    Create,
}

/// The error of an answer.
#[derive(Debug, Default, Deserialize)]
pub struct Refusal {
    /// The code in lower case; empty if there is none.
    #[serde(default)]
    pub code: String,
    /// The words.
    #[serde(default)]
    pub message: String,
}

#[derive(Deserialize)]
struct Body {
    error: Refusal,
}

/// The error in the CRM's own form; `None` where something else answered.
pub fn refusal(answer: &Answer) -> Option<Refusal> {
    let Body { error } = serde_json::from_slice(&answer.body).ok()?;
    let code = error.code.trim().to_ascii_lowercase();
    let code = if code == "0x0" { String::new() } else { code };
    let words: Vec<&str> = error.message.split_whitespace().collect();
    let message = words.join(" ").chars().take(MAX_TOLD_CHARS).collect();
    Some(Refusal { code, message })
}

/// Whether an answer is the CRM's refusal of what was in the call, so that a part of the call may be taken.
pub fn is_about_content(answer: &Answer) -> bool {
    if !answer.status.is_client_error() || answer.status == 401 || answer.status == 408 {
        return false;
    }
    match refusal(answer) {
        Some(refusal) if answer.status == 403 => {
            !refusal.code.is_empty() && refusal.code != NOT_A_MEMBER
        }
        Some(_) => true,
        None => answer.status == 413,
    }
}

/// Whether a record that was asked for is not there.
pub fn is_absent(answer: &Answer) -> bool {
    let absent = |code: &str| code.is_empty() || NO_SUCH_RECORD.contains(&code);
    answer.status == 404 && refusal(answer).is_some_and(|refusal| absent(&refusal.code))
}

/// What follows from an answer that is no success.
pub fn fault(answer: &Answer, asked: Asked) -> Fault {
    let own = refusal(answer);
    let is_own = own.is_some();
    let Refusal { code, message } = own.unwrap_or_default();
    let status = answer.status.as_u16();
    let reason = match (is_own, code.is_empty()) {
        (true, true) => format!("{status}: {message}"),
        (true, false) => format!("{status} {code}: {message}"),
        (false, _) => answer.told(),
    };
    let permanent = || {
        let code = if code.is_empty() { status.to_string() } else { code.clone() };
        Fault::Permanent { code, reason: if is_own { message.clone() } else { answer.told() } }
    };
    match status {
        429 => Fault::Throttled { wait: wait(answer).unwrap_or(DEFAULT_WAIT), reason },
        403 if code == NOT_A_MEMBER || (is_own && asked == Asked::Call) => {
            Fault::Unauthorized { reason }
        }
        404 if asked == Asked::Update && is_absent(answer) => Fault::Gone { reason },
        412 if code == DUPLICATE_RECORD => permanent(),
        412 => Fault::Raced { reason },
        405 | 413 | 414 | 415 | 501 => permanent(),
        400..=499 if is_own && !matches!(status, 401 | 408 | 409) => permanent(),
        // A proxy's page, a token that ended within the call, an outage: it may be other the next time.
        _ => Fault::Transient { reason, wait: wait(answer) },
    }
}

/// The seconds of `Retry-After`, rounded up.
pub fn wait(answer: &Answer) -> Option<Duration> {
    let seconds: f64 = answer.header("retry-after")?.trim().parse().ok()?;
    let seconds = seconds.ceil().clamp(0.0, LONGEST_WAIT);
    (!seconds.is_nan()).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("7"));
        let status = StatusCode::from_u16(status).expect("a status");
        Answer { status, headers, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    fn coded(status: u16, code: &str) -> Answer {
        answer(status, &format!(r#"{{"error":{{"code":"{code}","message":"words\n at Crm"}}}}"#))
    }

    #[test]
    fn codes_decide_and_where_there_is_none_the_status_does() {
        use Asked::{Call, Create, Read, Update, Upsert};
        let word = |answer: &Answer, asked| match fault(answer, asked) {
            Fault::Throttled { wait, .. } => format!("throttled {}", wait.as_secs()),
            Fault::Transient { wait, .. } => {
                format!("transient {}", wait.unwrap_or_default().as_secs())
            }
            Fault::Permanent { code, .. } => format!("permanent {code}"),
            Fault::Gone { .. } => "gone".to_owned(),
            Fault::Raced { .. } => "raced".to_owned(),
            Fault::Unauthorized { .. } => "unauthorized".to_owned(),
        };
        for (status, code, asked, expected) in [
            (429, "0x80072322", Upsert, "throttled 7"),
            (429, "0x80072321", Read, "throttled 7"),
            (429, "0x80072326", Call, "throttled 7"),
            (503, "", Upsert, "transient 7"),
            (501, "", Upsert, "permanent 501"),
            (401, "", Upsert, "transient 7"),
            (412, "0x80060882", Update, "raced"),
            (412, "0x80060892", Upsert, "raced"),
            (412, "", Create, "raced"),
            (412, "0x80040237", Create, "permanent 0x80040237"),
            (400, "0x80048D19", Upsert, "permanent 0x80048d19"),
            (400, "0x80044331", Upsert, "permanent 0x80044331"),
            (400, "0x80040265", Upsert, "permanent 0x80040265"),
            (400, "", Upsert, "permanent 400"),
            (400, "0x0", Upsert, "permanent 400"),
            (403, "0x80040220", Upsert, "permanent 0x80040220"),
            (403, "0x80040220", Call, "unauthorized"),
            (403, "0x80072560", Upsert, "unauthorized"),
            (404, "0x80040217", Update, "gone"),
            (404, "0x80040217", Upsert, "permanent 0x80040217"),
            (404, "0x80060888", Update, "permanent 0x80060888"),
            (405, "", Call, "permanent 405"),
            (413, "", Upsert, "permanent 413"),
        ] {
            assert_eq!(word(&coded(status, code), asked), expected, "{status} {code} {asked:?}");
        }
        assert_eq!(word(&answer(400, "<html>"), Upsert), "transient 7");
        assert_eq!(word(&answer(502, "<html>"), Upsert), "transient 7");
    }

    #[test]
    fn a_proxys_page_refuses_no_credential() {
        let page = answer(403, "<html>blocked</html>");
        assert!(matches!(fault(&page, Asked::Call), Fault::Transient { .. }));
    }

    #[test]
    fn a_refusal_of_the_caller_is_not_one_of_the_content() {
        assert!(is_about_content(&coded(400, "0x80048d19")));
        assert!(is_about_content(&coded(403, "0x80040220")));
        assert!(!is_about_content(&coded(403, "0x80072560")));
        assert!(!is_about_content(&coded(403, "")));
        assert!(!is_about_content(&answer(400, "<html>")));
        assert!(!is_about_content(&coded(401, "")));
    }
}
