//! What Salesforce's answers mean: the codes of refused requests and of refused rows, and the day's quota.
//! In comes an answer or a row of one, out goes what follows from it. It must go by codes; the words are
//! for people, but for the one code that only its words tell apart.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::api::Answer;
use crate::crm::{Fault, Target};

/// How much of the org's words is told in a fault.
const MAX_TOLD_BYTES: usize = 500;
/// The quota is of a rolling day: a call comes free now and then, and one in a while finds out.
const QUOTA_WAIT: Duration = Duration::from_secs(15 * 60);
/// Too many long calls at once use the quota's code and are over sooner.
const CONCURRENCY_WAIT: Duration = Duration::from_secs(60);

/// The code of a field that the object does not have, or that the user may not see.
pub(super) const UNKNOWN_FIELD: &str = "INVALID_FIELD";
const LOCKED: &str = "UNABLE_TO_LOCK_ROW";
/// Triggers gave up on all rows of a call because some of them failed, or did too much for all of them.
const TOO_MUCH: &str = "LIMIT_EXCEEDED";

/// What follows from a code.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    /// The same may work later.
    Passes,
    /// The quota, or too many calls at once.
    Limit,
    /// Somebody must act on the credential.
    Credential,
    /// Another row has the unique value.
    Duplicate,
    /// A trigger failed: it passes if what it met was a lock.
    Trigger,
    /// The record is not there.
    Missing,
    /// It fails whatever the rows are.
    Call,
}

/// Codes that are more than a row that will never work.
const CODES: &[(&str, Class)] = &[
    ("ALL_OR_NONE_OPERATION_ROLLED_BACK", Class::Passes),
    ("API_CURRENTLY_DISABLED", Class::Credential),
    ("API_DISABLED_FOR_ORG", Class::Credential),
    ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", Class::Trigger),
    ("DUPLICATE_VALUE", Class::Duplicate),
    ("ENTITY_IS_DELETED", Class::Missing),
    ("INVALID_CROSS_REFERENCE_KEY", Class::Missing),
    ("INVALID_SESSION_ID", Class::Credential),
    ("INVALID_TYPE", Class::Call),
    ("METHOD_NOT_ALLOWED", Class::Call),
    ("NOT_FOUND", Class::Call),
    ("QUERY_TIMEOUT", Class::Passes),
    ("REQUEST_LIMIT_EXCEEDED", Class::Limit),
    ("REQUEST_RUNNING_TOO_LONG", Class::Passes),
    ("SERVER_UNAVAILABLE", Class::Passes),
    (LOCKED, Class::Passes),
    ("UNKNOWN_EXCEPTION", Class::Passes),
    ("UNSUPPORTED_API_VERSION", Class::Call),
];

/// A request that was refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// What follows.
    pub(super) fault: Fault,
    /// What it says about the rows in the request.
    pub(super) scope: Scope,
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The moment, or the credential: no row was judged.
    Moment,
    /// Any request like it, whatever its rows.
    Call,
    /// Some row of it, or all.
    Rows,
}

/// The calls of the last 24 hours, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    used: u64,
    /// How many there may be.
    pub(super) limit: u64,
}

/// Why a request or a row was refused, in Salesforce's words.
#[derive(Debug, Deserialize)]
pub(super) struct Reason {
    /// `errorCode` of requests, `statusCode` of rows.
    #[serde(alias = "errorCode", alias = "statusCode")]
    code: String,
    #[serde(default, deserialize_with = "or_none")]
    message: String,
    #[serde(default, deserialize_with = "or_none")]
    fields: Vec<String>,
}

impl Refused {
    /// Nothing was judged.
    pub(super) fn at_the_moment(fault: Fault) -> Refused {
        Refused { fault, scope: Scope::Moment }
    }

    /// Whether it is for a field that is not there.
    pub(super) fn is_unknown_field(&self) -> bool {
        matches!(&self.fault, Fault::Permanent { code, .. } if code == UNKNOWN_FIELD)
    }
}

impl Usage {
    /// Calls that are left.
    pub(super) fn remaining(self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

impl Reason {
    /// For people, bounded.
    fn told(&self) -> String {
        let words = bounded(&self.message);
        match self.fields.is_empty() {
            true => words.to_owned(),
            false => format!("{words} ({})", bounded(&self.fields.join(", "))),
        }
    }

    /// Whether it may be for the rows beside it that a row was refused.
    pub(super) fn is_of_the_call(&self) -> bool {
        self.code == TOO_MUCH
    }

    fn class(&self) -> Option<Class> {
        CODES.iter().find(|(code, _)| *code == self.code).map(|(_, class)| *class)
    }

    fn coded(&self) -> String {
        format!("{}: {}", bounded(&self.code), self.told())
    }

    fn permanent(&self) -> Fault {
        Fault::permanent(bounded(&self.code), self.told())
    }
}

/// The quota, where the answer tells it: `api-usage=18/100000`.
pub(super) fn usage(answer: &Answer) -> Option<Usage> {
    let told = answer.header("sforce-limit-info")?;
    let mut parts = told.split([';', ',']).map(str::trim);
    let (used, limit) = parts.find_map(|part| part.strip_prefix("api-usage="))?.split_once('/')?;
    Some(Usage { used: used.trim().parse().ok()?, limit: limit.trim().parse().ok()? })
}

/// What follows from an answer that is no success.
pub(super) fn refused(answer: &Answer, usage: Option<Usage>) -> Refused {
    let reasons: Vec<Reason> = serde_json::from_slice(&answer.body).unwrap_or_default();
    let Some(reason) = reasons.first() else {
        // Not the API's form: something stands between, and may be gone the next time.
        let (wait, reason) = (answer.retry_after(), answer.told());
        return Refused::at_the_moment(match answer.status.as_u16() {
            429 => Fault::Throttled { wait: wait.unwrap_or(CONCURRENCY_WAIT), reason },
            _ => Fault::Transient { reason, wait },
        });
    };
    match reason.class() {
        Some(Class::Limit) => {
            let is_used_up = usage.is_none_or(|usage| usage.remaining() == 0);
            let wait = if is_used_up { QUOTA_WAIT } else { CONCURRENCY_WAIT };
            Refused::at_the_moment(Fault::Throttled { wait, reason: reason.coded() })
        }
        Some(Class::Passes) => Refused::at_the_moment(Fault::transient(reason.coded())),
        Some(Class::Credential) => {
            Refused::at_the_moment(Fault::Unauthorized { reason: reason.coded() })
        }
        Some(Class::Call) => Refused { fault: reason.permanent(), scope: Scope::Call },
        Some(Class::Duplicate) => {
            let fault = Fault::Raced { reason: reason.coded() };
            Refused { fault, scope: Scope::Rows }
        }
        Some(Class::Trigger) => Refused { fault: trigger(reason), scope: Scope::Rows },
        Some(Class::Missing) | None => Refused { fault: reason.permanent(), scope: Scope::Rows },
    }
}

/// What follows from a row that was refused for these reasons: the one that will never pass tells, if there
/// is one. `key` is the field that a new record would be found by.
pub(super) fn row(reasons: &[Reason], target: &Target, key: Option<&str>) -> Fault {
    let faults = reasons.iter().map(|reason| row_fault(reason, target, key));
    let mut first = None;
    for fault in faults {
        if matches!(fault, Fault::Permanent { .. }) {
            return fault;
        }
        first.get_or_insert(fault);
    }
    first.unwrap_or_else(|| Fault::transient("a row was refused without a reason"))
}

fn row_fault(reason: &Reason, target: &Target, key: Option<&str>) -> Fault {
    match reason.class() {
        Some(Class::Passes) => Fault::transient(reason.coded()),
        // A row alone is not what a quota stops; whatever it is, it may pass.
        Some(Class::Limit) => Fault::Transient { reason: reason.coded(), wait: Some(QUOTA_WAIT) },
        Some(Class::Credential) => Fault::Unauthorized { reason: reason.coded() },
        Some(Class::Duplicate) => {
            let names = |key: &str| reason.fields.iter().any(|name| name.eq_ignore_ascii_case(key));
            // Mostly the fields are left out; then it is the key that two wrote at once.
            match key {
                Some(key) if reason.fields.is_empty() || names(key) => {
                    Fault::Raced { reason: reason.coded() }
                }
                Some(_) | None => reason.permanent(),
            }
        }
        Some(Class::Trigger) => trigger(reason),
        // With fields it is another record that a field refers to.
        Some(Class::Missing) if reason.fields.iter().all(|name| name == "Id" || name == "id") => {
            gone(reason, target)
        }
        Some(Class::Call) if reason.code == "NOT_FOUND" => gone(reason, target),
        Some(Class::Missing | Class::Call) | None => reason.permanent(),
    }
}

fn gone(reason: &Reason, target: &Target) -> Fault {
    match target {
        Target::Record(_) => Fault::Gone { reason: reason.coded() },
        Target::Upsert(_) | Target::New(_) => reason.permanent(),
    }
}

fn trigger(reason: &Reason) -> Fault {
    match reason.message.contains(LOCKED) {
        true => Fault::transient(reason.coded()),
        false => reason.permanent(),
    }
}

/// What may be `null` where nothing is told.
pub(super) fn or_none<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The beginning of a text.
pub(super) fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TOLD_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crm::Key;

    fn answer(status: u16, info: &str, body: &str) -> Answer {
        let mut headers = http::HeaderMap::new();
        headers.insert("sforce-limit-info", info.parse().expect("a header"));
        let status = http::StatusCode::from_u16(status).expect("a status");
        Answer { status, headers, body: body.to_owned().into() }
    }

    fn reason(code: &str, message: &str, fields: &[&str]) -> Reason {
        let fields = fields.iter().map(|&name| name.to_owned()).collect();
        Reason { code: code.to_owned(), message: message.to_owned(), fields }
    }

    #[test]
    fn the_quota_is_read_whatever_stands_beside_it() {
        let told = answer(200, "api-usage=18/100000; per-app-api-usage=17/250(appName=x)", "");
        assert_eq!(usage(&told), Some(Usage { used: 18, limit: 100_000 }));
        assert_eq!(usage(&answer(200, "api-usage=many", "")), None);
    }

    #[test]
    fn the_quotas_code_waits_long_and_shorter_where_calls_are_left() {
        let body = r#"[{"message":"m","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#;
        for (info, expected) in [("api-usage=9/9", QUOTA_WAIT), ("api-usage=1/9", CONCURRENCY_WAIT)]
        {
            let told = answer(403, info, body);
            let refused = refused(&told, usage(&told));
            assert!(
                matches!(refused.fault, Fault::Throttled { wait, .. } if wait == expected),
                "{refused:?}"
            );
            assert_eq!(refused.scope, Scope::Moment);
        }
    }

    #[test]
    fn a_page_that_is_not_the_apis_passes() {
        let refused = refused(&answer(403, "", "<html>blocked</html>"), None);
        assert!(matches!(refused.fault, Fault::Transient { .. }));
    }

    #[test]
    fn rows_are_judged_by_their_codes() {
        let upsert = Target::Upsert(Key::Id("x".to_owned()));
        let record = Target::Record("006".to_owned());
        let of = |code: &str, message: &str, fields: &[&str], target: &Target| match row(
            &[reason(code, message, fields)],
            target,
            Some("Key__c"),
        ) {
            Fault::Throttled { .. } => "throttled",
            Fault::Transient { .. } => "transient",
            Fault::Permanent { .. } => "permanent",
            Fault::Gone { .. } => "gone",
            Fault::Raced { .. } => "raced",
            Fault::Unauthorized { .. } => "unauthorized",
        };
        let trigger = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY";
        for (code, message, fields, target, expected) in [
            (LOCKED, "", &[][..], &upsert, "transient"),
            ("DUPLICATE_VALUE", "", &[], &upsert, "raced"),
            ("DUPLICATE_VALUE", "", &["key__c"], &upsert, "raced"),
            ("DUPLICATE_VALUE", "", &["Other__c"], &upsert, "permanent"),
            ("DUPLICATES_DETECTED", "", &[], &upsert, "permanent"),
            ("ENTITY_IS_DELETED", "", &[], &upsert, "permanent"),
            ("ENTITY_IS_DELETED", "", &[], &record, "gone"),
            ("NOT_FOUND", "", &[], &record, "gone"),
            ("INVALID_CROSS_REFERENCE_KEY", "", &["AccountId"], &record, "permanent"),
            ("MALFORMED_ID", "", &[], &record, "permanent"),
            (trigger, "T: System.DmlException: UNABLE_TO_LOCK_ROW", &[], &upsert, "transient"),
            (trigger, "T: System.NullPointerException", &[], &upsert, "permanent"),
            ("A_CODE_OF_NEXT_YEAR", "", &[], &upsert, "permanent"),
        ] {
            assert_eq!(of(code, message, fields, target), expected, "{code} {message}");
        }
    }

    #[test]
    fn of_several_reasons_the_one_that_never_passes_tells() {
        let reasons = [reason(LOCKED, "", &[]), reason("STRING_TOO_LONG", "long", &["Name"])];
        let fault = row(&reasons, &Target::Record("006".to_owned()), None);
        assert_eq!(fault, Fault::permanent("STRING_TOO_LONG", "long (Name)"));
    }
}
