//! Open banking by the standards themselves: the UK's OBIE Read/Write API 3.1 and 4.0, and the Berlin
//! Group's NextGenPSD2 1.3. Banks are asked: in go the configured accounts, out come their bank
//! transactions, read again with some days of overlap, since entries are dated back, replaced and renumbered.
//! A bank that refuses access is a customer's action: consent must be given anew. UK banks may also call:
//! a request's body is then a Security Event Token, a JWS by PS256 alone, from the configured issuer for
//! the configured audience, with a `jti` that makes it one event; it names a payment, which is fetched. A
//! link out of an answer or a token is followed only at the configured bank. The mutual TLS that banks ask
//! for is left to a proxy at `api_url`.
//! Spec: <https://openbankinguk.github.io/read-write-api-site3/>,
//! <https://www.berlin-group.org/nextgenpsd2-downloads>, <https://www.rfc-editor.org/rfc/rfc8417>

mod bank;
mod notifications;
mod rows;
mod sample;
mod transactions;
mod verification;

use serde::{Deserialize, Serialize};

use crate::receipt::Redaction;

use super::payload;
use super::{
    Endpoint, Fetch, Fetching, Mistake, Provider, REPLIES, REPLY_OK, Replies, Reply, SecretKey,
    Step, TranslateError,
};

#[cfg(test)]
use sample::{sample_secrets, sample_settings};

/// Open banking.
pub const PROVIDER: Provider = Provider {
    name: "open_banking_standards",
    title: "Open Banking",
    secrets: &[
        SecretKey { name: JWKS, required: false },
        SecretKey { name: ISSUER, required: false },
        SecretKey { name: AUDIENCE, required: false },
        SecretKey { name: ACCESS_TOKEN, required: false },
        SecretKey { name: CONSENT_ID, required: false },
        SecretKey { name: CLIENT_ID, required: false },
        SecretKey { name: CLIENT_SECRET, required: false },
        SecretKey { name: REFRESH_TOKEN, required: false },
    ],
    settings: &[
        STANDARD,
        VERSION,
        API_URL,
        TOKEN_URL,
        JWKS_URL,
        ACCOUNT_IDS,
        OVERLAP_DAYS,
        HISTORY_DAYS,
        "poll_interval",
    ],
    structured: &[JWKS, ACCOUNT_IDS],
    events: &notifications::EVENT_TYPES,
    redaction: Redaction { headers: &[], query: &[], body_members: &[] },
    hosts: &[],
    check,
    verify: verification::verify,
    translate: notifications::translate,
    fetch,
    poll,
    replies: Replies { accepted: REPLY_ACCEPTED, unknown: REPLY_ACCEPTED, ..REPLIES },
    sample: sample::sample,
    example: sample::sample_secrets,
};

/// What the UK standard asks for: 202 and nothing.
const REPLY_ACCEPTED: Reply = Reply { status: 202, ..REPLY_OK };

/// The keys that tokens are verified with: a key set, as the bank or the directory has it.
const JWKS: &str = "jwks";
/// The bank, as tokens name it.
const ISSUER: &str = "issuer";
/// The software, as tokens name it.
const AUDIENCE: &str = "audience";
const ACCESS_TOKEN: &str = "access_token";
/// The Berlin Group's `Consent-ID`.
const CONSENT_ID: &str = "consent_id";
const CLIENT_ID: &str = "client_id";
const CLIENT_SECRET: &str = "client_secret";
const REFRESH_TOKEN: &str = "refresh_token";
/// `ukob` or `berlin_group`.
const STANDARD: &str = "standard";
/// The version of the UK standard: `v4.0`, `v3.1`.
const VERSION: &str = "version";
const DEFAULT_VERSION: &str = "v4.0";
/// The bank's API, with whatever stands before `/open-banking` or `/v1` in its paths.
const API_URL: &str = "api_url";
const TOKEN_URL: &str = "token_url";
/// Where the bank's keys are, where `secrets.jwks` has none.
const JWKS_URL: &str = "jwks_url";
/// The accounts to ask about.
const ACCOUNT_IDS: &str = "account_ids";
/// How many days before the last poll are read again.
const OVERLAP_DAYS: &str = "overlap_days";
/// How many days the first poll goes back; many banks give no more without the customer present.
const HISTORY_DAYS: &str = "history_days";
const DEFAULT_OVERLAP_DAYS: i64 = 7;
const DEFAULT_HISTORY_DAYS: i64 = 90;
const MAX_DAYS: i64 = 3_650;

/// Which standard a bank speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standard {
    Uk,
    Berlin,
}

impl Standard {
    fn of(endpoint: &Endpoint) -> Option<Standard> {
        match endpoint.setting(STANDARD, "ukob") {
            "ukob" => Some(Standard::Uk),
            "berlin_group" => Some(Standard::Berlin),
            _ => None,
        }
    }
}

/// What a fetch is about.
#[derive(Serialize, Deserialize, Debug)]
#[serde(tag = "about", rename_all = "snake_case")]
enum Told {
    /// The transactions of an account, by poll.
    Account { account: String },
    /// A payment that a token named.
    Payment(notifications::Notice),
    /// A token that tells all by itself, beside one that does not.
    Consent(notifications::Notice),
}

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let mistake = |key, reason: &str| Err(Mistake { key, reason: reason.to_owned() });
    if Standard::of(endpoint).is_none() {
        return mistake(STANDARD, "is neither `ukob` nor `berlin_group`");
    }
    if !verification::are_keys(endpoint) {
        return mistake("secrets.jwks", "is no key set");
    }
    if endpoint.secret(JWKS).is_some() || endpoint.settings.contains_key(JWKS_URL) {
        let needed = [(ISSUER, "secrets.issuer"), (AUDIENCE, "secrets.audience")];
        for (name, key) in needed {
            if endpoint.secret(name).is_none() {
                return mistake(key, "is missing; tokens cannot be verified without it");
            }
        }
    }
    for key in [API_URL, TOKEN_URL, JWKS_URL] {
        if endpoint.settings.get(key).is_some_and(|url| bank::split(url).is_none()) {
            return mistake(key, "is not of the form `https://bank.example.com/path`");
        }
    }
    let digits = endpoint.setting(VERSION, DEFAULT_VERSION).strip_prefix('v').unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return mistake(VERSION, "is not of the form `v4.0`");
    }
    for key in [OVERLAP_DAYS, HISTORY_DAYS] {
        if days(endpoint, key, 1).is_none() {
            return mistake(key, "is no number of days");
        }
    }
    match accounts(endpoint) {
        None => mistake(ACCOUNT_IDS, "is no list of account ids"),
        Some(accounts) if !accounts.is_empty() && !endpoint.settings.contains_key(API_URL) => {
            mistake(API_URL, "is missing; the accounts are asked for there")
        }
        Some(_) => Ok(()),
    }
}

/// A setting that is a number of days; `None` where it is none.
fn days(endpoint: &Endpoint, key: &str, default: i64) -> Option<i64> {
    match endpoint.settings.get(key) {
        Some(text) => text.parse().ok().filter(|days| (0..=MAX_DAYS).contains(days)),
        None => Some(default),
    }
}

/// The configured accounts: a list, or one text with commas. `None` where an id is empty or no text.
fn accounts(endpoint: &Endpoint) -> Option<Vec<String>> {
    let Some(text) = endpoint.settings.get(ACCOUNT_IDS) else { return Some(Vec::new()) };
    let ids: Vec<String> = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text).ok()?,
        false => text.split(',').map(|id| id.trim().to_owned()).collect(),
    };
    ids.iter().all(|id| !id.is_empty()).then_some(ids)
}

/// One fetch for each configured account.
fn poll(endpoint: &Endpoint) -> Vec<Fetch> {
    accounts(endpoint)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|account| {
            let object = format!("accounts/{account}/transactions");
            fetch_of(object, &Told::Account { account }).ok()
        })
        .collect()
}

fn fetch_of(object: String, told: &Told) -> Result<Fetch, TranslateError> {
    let told = serde_json::to_string(told)
        .map_err(|error| payload::unreadable("what was told", &error))?;
    Ok(Fetch { object, told })
}

fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let told: Told = serde_json::from_str(&fetching.fetch.told)
        .map_err(|error| payload::unreadable("what was told", &error))?;
    match told {
        Told::Account { account } => transactions::step(fetching, &account),
        Told::Payment(notice) => notifications::step(fetching, &notice),
        Told::Consent(notice) => {
            let draft = notifications::consent(&notice, &fetching.endpoint.name)?;
            Ok(Step::Done { drafts: vec![draft], cursor: None })
        }
    }
}

#[cfg(test)]
mod tests;
