//! Plaid: `Plaid-Verification` is a JWT signed with ES256 by a key that is got by its `kid` from Plaid's
//! API, or stands in `secrets.jwks`. It holds the time of signing and the SHA-256 of the raw body, which is
//! therefore never parsed and written anew before it is compared. In comes a request; most say no more than
//! that something is new, so out go fetches: the changes of an Item's transactions and the transfer events
//! after a cursor that is kept with what was read up to it, and the amount of an initiated payment. Events
//! of an Item itself are the customer's actions: a bank asks for consent anew. Nothing here may move a
//! cursor past changes that did not become drafts.
//! Spec: <https://plaid.com/docs/api/webhooks/webhook-verification/>,
//! <https://plaid.com/docs/api/products/transactions/#transactionssync>

mod item;
mod payments;
mod sample;
mod transactions;
mod transfers;
mod verification;

use std::collections::BTreeMap;

use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::receipt::signature::public_key::PublicKey;
use crate::receipt::{Receipt, Redaction};

use super::payload::{self, Text};
use super::{
    Answer, Call, Endpoint, Fetch, Fetching, Mistake, Provider, REPLIES, SecretKey, Step,
    TranslateError, Translation,
};

#[cfg(test)]
use sample::sample_secrets;

/// Plaid.
pub const PROVIDER: Provider = Provider {
    name: "plaid",
    title: "Plaid",
    secrets: &[
        SecretKey { name: CLIENT_ID, required: false },
        SecretKey { name: SECRET, required: false },
        SecretKey { name: ACCESS_TOKEN, required: false },
        SecretKey { name: ACCESS_TOKENS, required: false },
        SecretKey { name: JWKS, required: false },
    ],
    settings: &[API_URL, ITEM_ID, "poll_interval"],
    structured: &[ACCESS_TOKENS, JWKS],
    events: &EVENT_TYPES,
    redaction: Redaction { headers: &[], query: &[], body_members: &[] },
    hosts: &["production.plaid.com", "sandbox.plaid.com"],
    check,
    verify: verification::verify,
    translate,
    fetch,
    poll,
    replies: REPLIES,
    sample: sample::sample,
    example: sample::sample_secrets,
};

const CLIENT_ID: &str = "client_id";
const SECRET: &str = "secret";
/// The token of the one Item of the endpoint.
const ACCESS_TOKEN: &str = "access_token";
/// The tokens of several Items, by their ids.
const ACCESS_TOKENS: &str = "access_tokens";
/// Keys to verify with, in place of those that Plaid's API has.
const JWKS: &str = "jwks";
/// `https://sandbox.plaid.com` for Plaid's sandbox.
const API_URL: &str = "api_url";
const PRODUCTION: &str = "https://production.plaid.com";
/// The Item of `access_token`, so that it can be polled.
const ITEM_ID: &str = "item_id";
const API_VERSION: &str = "2020-09-14";

const HEADER: &str = "plaid-verification";
const MAX_ID_BYTES: usize = 256;
const SANDBOX: &str = "sandbox";

/// What an event type is about.
#[derive(Clone, Copy)]
enum Meaning {
    /// An Item has changes of transactions to fetch.
    Transactions,
    /// An initiated payment has another status.
    Payment,
    /// There are transfer events to fetch.
    Transfers,
    /// The customer's consent, with the rank of the evidence.
    Item(u8),
    /// Nothing about money: most of these are sent beside SYNC_UPDATES_AVAILABLE for clients of old.
    Nothing,
}

#[rustfmt::skip]
const EVENTS: [(&str, Meaning); 16] = [
    ("TRANSACTIONS.SYNC_UPDATES_AVAILABLE", Meaning::Transactions),
    ("TRANSACTIONS.INITIAL_UPDATE", Meaning::Nothing),
    ("TRANSACTIONS.HISTORICAL_UPDATE", Meaning::Nothing),
    ("TRANSACTIONS.DEFAULT_UPDATE", Meaning::Nothing),
    ("TRANSACTIONS.TRANSACTIONS_REMOVED", Meaning::Nothing),
    ("TRANSACTIONS.RECURRING_TRANSACTIONS_UPDATE", Meaning::Nothing),
    ("PAYMENT_INITIATION.PAYMENT_STATUS_UPDATE", Meaning::Payment),
    ("TRANSFER.TRANSFER_EVENTS_UPDATE", Meaning::Transfers),
    ("ITEM.PENDING_EXPIRATION", Meaning::Item(10)),
    ("ITEM.PENDING_DISCONNECT", Meaning::Item(20)),
    ("ITEM.ERROR", Meaning::Item(30)),
    ("ITEM.USER_PERMISSION_REVOKED", Meaning::Item(40)),
    ("ITEM.USER_ACCOUNT_REVOKED", Meaning::Item(50)),
    ("ITEM.LOGIN_REPAIRED", Meaning::Item(60)),
    ("ITEM.NEW_ACCOUNTS_AVAILABLE", Meaning::Nothing),
    ("ITEM.WEBHOOK_UPDATE_ACKNOWLEDGED", Meaning::Nothing),
];

const EVENT_TYPES: [&str; EVENTS.len()] = {
    let mut names = [""; EVENTS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = EVENTS[index].0;
        index += 1;
    }
    names
};

/// The type of what a sync finds, whether a webhook or a poll asked for it.
const SYNC_TYPE: &str = EVENT_TYPES[0];

fn meaning(event_type: &str) -> Option<Meaning> {
    EVENTS.iter().find(|(name, _)| *name == event_type).map(|(_, meaning)| *meaning)
}

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let mistake = |key, reason: &str| Err(Mistake { key, reason: reason.to_owned() });
    for secret in endpoint.candidates(JWKS).secrets {
        match verification::read_keys(secret.expose_secret()) {
            Some(keys) if keys.iter().any(|key| PublicKey::from_jwk(key).is_some()) => {}
            _ => return mistake("secrets.jwks", "is no list of JSON Web Keys"),
        }
    }
    if endpoint.secret(ACCESS_TOKENS).is_some_and(|text| read_tokens(text).is_none()) {
        return mistake("secrets.access_tokens", "is no object of tokens by Item id");
    }
    let has_credentials = credentials(endpoint).is_some();
    if !has_credentials && endpoint.secret(JWKS).is_none() {
        return mistake(
            "secrets.client_id",
            "and `secrets.secret` are needed to get the keys that verify requests",
        );
    }
    let url = endpoint.setting(API_URL, PRODUCTION);
    match url.starts_with("https://") || url.starts_with("http://") {
        true => Ok(()),
        false => mistake(API_URL, "is not of the form `https://production.plaid.com`"),
    }
}

fn credentials(endpoint: &Endpoint) -> Option<(&str, &str)> {
    Some((endpoint.secret(CLIENT_ID)?, endpoint.secret(SECRET)?))
}

/// A call with the client's credentials, which Plaid takes in the body.
fn call(endpoint: &Endpoint, path: &str, mut body: Value) -> Option<Call> {
    let (client_id, secret) = credentials(endpoint)?;
    if let Value::Object(fields) = &mut body {
        fields.insert(CLIENT_ID.to_owned(), client_id.into());
        fields.insert(SECRET.to_owned(), secret.into());
    }
    let url = format!("{}{path}", endpoint.setting(API_URL, PRODUCTION).trim_end_matches('/'));
    Some(Call::post_json(url, &body).header("plaid-version", API_VERSION))
}

/// As `call`, for fetches: an endpoint without credentials is an error that can be mended.
fn fetch_call(endpoint: &Endpoint, path: &str, body: Value) -> Result<Step, TranslateError> {
    let missing = || TranslateError("the endpoint has no `client_id` and `secret`".to_owned());
    call(endpoint, path, body).ok_or_else(missing).map(Step::Call)
}

fn read_tokens(text: &str) -> Option<BTreeMap<String, String>> {
    serde_json::from_str(text).ok()
}

/// The webhook's body, all kinds together.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    webhook_type: Text<'a>,
    #[serde(borrow)]
    webhook_code: Text<'a>,
    #[serde(borrow)]
    environment: Text<'a>,
    #[serde(borrow)]
    item_id: Text<'a>,
    #[serde(borrow)]
    user_id: Text<'a>,
    #[serde(borrow)]
    error: Option<ApiError<'a>>,
    #[serde(borrow)]
    reason: Text<'a>,
    #[serde(borrow)]
    consent_expiration_time: Text<'a>,
    #[serde(borrow)]
    payment_id: Text<'a>,
    #[serde(borrow)]
    new_payment_status: Text<'a>,
    #[serde(borrow)]
    original_reference: Text<'a>,
    #[serde(borrow)]
    adjusted_reference: Text<'a>,
    #[serde(borrow)]
    timestamp: Text<'a>,
}

/// An error as Plaid writes it, in a webhook or as an answer.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ApiError<'a> {
    #[serde(borrow)]
    error_code: Text<'a>,
    #[serde(borrow)]
    error_message: Text<'a>,
}

/// What a webhook or a poll leaves for its fetch to know.
#[derive(Serialize, Deserialize, Default, Debug)]
#[serde(default)]
struct Told {
    event_type: String,
    live: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    item: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    payment: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    at: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reference: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    failure_code: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    failure_message: String,
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let body: Body<'_> = serde_json::from_slice(receipt.body())
        .map_err(|error| payload::unreadable("a Plaid webhook", &error))?;
    if body.webhook_type.is_empty() || body.webhook_code.is_empty() {
        return payload::unknown_type("");
    }
    let event_type = format!("{}.{}", &*body.webhook_type, &*body.webhook_code);
    let Some(meaning) = meaning(&event_type) else { return payload::unknown_type(&event_type) };
    let live = &*body.environment != SANDBOX;
    match meaning {
        Meaning::Transactions => {
            let item = id(&body.item_id, "Item")?.to_owned();
            let told = Told { event_type, live, item, ..Told::default() };
            transactions::fetch_of(&told).map(|fetch| Translation::Fetches(vec![fetch]))
        }
        Meaning::Payment => payments::translate(&body, event_type, live, receipt, endpoint),
        Meaning::Transfers => {
            let told = Told { event_type, live, ..Told::default() };
            Ok(Translation::Fetches(vec![fetch_of("transfers".to_owned(), &told)?]))
        }
        Meaning::Item(rank) => {
            let draft = item::draft(&body, event_type, live, rank, receipt)?;
            Ok(Translation::Events(vec![draft]))
        }
        Meaning::Nothing => Ok(Translation::Events(Vec::new())),
    }
}

fn id<'a>(text: &'a str, what: &str) -> Result<&'a str, TranslateError> {
    match text.is_empty() || text.len() > MAX_ID_BYTES {
        true => Err(TranslateError(format!("the webhook names no {what}"))),
        false => Ok(text),
    }
}

fn fetch_of(object: String, told: &Told) -> Result<Fetch, TranslateError> {
    let told = serde_json::to_string(told)
        .map_err(|error| payload::unreadable("what a webhook told", &error))?;
    Ok(Fetch { object, told })
}

fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let told: Told = serde_json::from_str(&fetching.fetch.told)
        .map_err(|error| payload::unreadable("what a webhook told", &error))?;
    match meaning(&told.event_type) {
        Some(Meaning::Transactions) => transactions::step(fetching, &told),
        Some(Meaning::Payment) => payments::step(fetching, &told),
        Some(Meaning::Transfers) => transfers::step(fetching, &told),
        Some(Meaning::Item(_) | Meaning::Nothing) | None => {
            Err(payload::unknown("fetch", &told.event_type))
        }
    }
}

/// The Items whose tokens are known by id. Until an Item was synced once, Plaid sends nothing about it.
fn poll(endpoint: &Endpoint) -> Vec<Fetch> {
    let live = !endpoint.setting(API_URL, PRODUCTION).contains(SANDBOX);
    let tokens = endpoint.secret(ACCESS_TOKENS).and_then(read_tokens).unwrap_or_default();
    let single = endpoint.secret(ACCESS_TOKEN).and(endpoint.settings.get(ITEM_ID));
    let mut items: Vec<&String> = tokens.keys().chain(single).collect();
    items.sort();
    items.dedup();
    items
        .into_iter()
        .filter_map(|item| {
            let (event_type, item) = (SYNC_TYPE.to_owned(), item.clone());
            transactions::fetch_of(&Told { event_type, live, item, ..Told::default() }).ok()
        })
        .collect()
}

/// The error of an answer that is none of the 2xx.
fn api_error(answer: &Answer) -> ApiError<'_> {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn refusal(answer: &Answer) -> TranslateError {
    let code = api_error(answer).error_code;
    TranslateError(format!("Plaid answers {} {}", answer.status, &*code))
}

fn time(text: &str) -> Result<Timestamp, TranslateError> {
    text.parse().map_err(|_| payload::not_a("a time", text))
}

/// SHA-256 over parts, each with its length before it.
fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hex::encode(hasher.finalize())
}

#[cfg(test)]
mod tests;
