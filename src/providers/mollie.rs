//! Mollie runs two systems side by side, told apart by the content type.
//!
//! Classic: a form with `id=tr_…` and nothing else, about whatever has changed. It is not signed, so that
//! it proves nothing: the object is fetched with the endpoint's `api_key`, and only what the API answers
//! becomes an event. An id that the API does not know is answered like any other, and leaves nothing.
//! Classic events have no names; they are called by the state that was found, `payment.paid`.
//!
//! Next generation: JSON events. `X-Mollie-Signature` is `sha256=` and the lower-case hex HMAC-SHA256 of
//! the raw body, keyed with a signing secret as text; the prefix may be missing and the header may stand
//! several times, any of which may match any secret. No time is signed: the event id alone keeps a
//! redelivery from counting twice. An event without its object is thin, and the object is fetched.
//!
//! Nothing of an id may reach a URL before it is seen to be letters and digits.
//! Spec: <https://docs.mollie.com/reference/webhooks>, <https://docs.mollie.com/reference/webhooks-new>

mod events;
mod facts;
mod movements;
mod orders;
mod payments;
mod sample;

use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::{Draft, EndpointName, Fact, Money, References};
use crate::receipt::signature::{hmac_sha256, unconfirmed};
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::payload::{self, Decimal, Text};
use super::{
    Answer, Call, Endpoint, Fetch, Fetching, Keys, Mistake, Provider, REPLIES, SecretKey, Step,
    TranslateError, Translation, Verdict, no_poll,
};

use facts::{EVENT_TYPES, EVENTS, Meaning};
#[cfg(test)]
use sample::sample_secrets;

/// Mollie.
pub const PROVIDER: Provider = Provider {
    name: "mollie",
    title: "Mollie",
    secrets: &[
        SecretKey { name: SIGNING_SECRETS, required: false },
        SecretKey { name: API_KEY, required: false },
    ],
    settings: &[API_URL, TESTMODE],
    structured: &[],
    events: &EVENT_TYPES,
    redaction: Redaction {
        headers: &[],
        query: &[],
        body_members: &["consumerAccount", "iban", "cardFingerprint"],
    },
    hosts: &["api.mollie.com"],
    check,
    verify,
    translate,
    fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: sample::sample,
    example: sample::sample_secrets,
};

/// The signing secrets of next-generation webhooks, newest first.
const SIGNING_SECRETS: &str = "signing_secrets";
/// An API key, or an organisation's access token.
const API_KEY: &str = "api_key";
/// Where the API is; test and live objects have the same host.
const API_URL: &str = "api_url";
const DEFAULT_API_URL: &str = "https://api.mollie.com";
/// `true` asks for test objects, for access tokens; an API key tells by itself.
const TESTMODE: &str = "testmode";
const HEADER: &str = "x-mollie-signature";
const PREFIX: &str = "sha256=";
const SIGNATURE_BYTES: usize = 32;
const FORM: &str = "application/x-www-form-urlencoded";

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let url = endpoint.setting(API_URL, DEFAULT_API_URL);
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(Mistake { key: API_URL, reason: format!("`{url}` is not a URL") });
    }
    match endpoint.setting(TESTMODE, "false") {
        "true" | "false" => Ok(()),
        other => Err(Mistake { key: TESTMODE, reason: format!("`{other}` is not true or false") }),
    }
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let content_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(is_form) {
        if endpoint.secret(API_KEY).is_none_or(|key| key.trim().is_empty()) {
            return Err(VerifyError::NotConfigured(API_KEY));
        }
        classic_id(&request.body).ok_or(VerifyError::Malformed("id"))?;
        return Ok(Verdict::NeedsConfirmation(unconfirmed()));
    }
    let given: Vec<_> = request.headers.get_all(HEADER).iter().collect();
    if given.is_empty() {
        return Err(VerifyError::MissingHeader(HEADER));
    }
    // A proxy may have joined several headers into one.
    let texts = given.iter().filter_map(|value| value.to_str().ok());
    let signatures: Vec<Vec<u8>> =
        texts.flat_map(|text| text.split(',')).filter_map(signature).collect();
    if signatures.is_empty() {
        return Err(VerifyError::Malformed(HEADER));
    }
    hmac_sha256(endpoint.candidates(SIGNING_SECRETS), &[&request.body], &signatures)
        .map(Verdict::Verified)
}

fn signature(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let digits = text.strip_prefix(PREFIX).unwrap_or(text);
    // Mollie compares texts, so that upper-case digits are no signature.
    if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    hex::decode(digits).ok().filter(|bytes| bytes.len() == SIGNATURE_BYTES)
}

fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(FORM)
}

/// The id that a classic body names, where it names exactly one.
fn classic_id(body: &[u8]) -> Option<String> {
    let mut ids = form_urlencoded::parse(body).filter(|(name, _)| name == "id");
    let (_, id) = ids.next()?;
    (ids.next().is_none() && is_id(&id)).then(|| id.into_owned())
}

/// Only such ids go into a URL: `tr_5B8cwPMGnU`.
fn is_id(id: &str) -> bool {
    id.split_once('_').is_some_and(|(kind, rest)| {
        let is_lower = |byte: u8| byte.is_ascii_lowercase();
        !kind.is_empty()
            && kind.bytes().all(is_lower)
            && !rest.is_empty()
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    if receipt.header(CONTENT_TYPE.as_str()).is_some_and(is_form) {
        let id = classic_id(receipt.body())
            .ok_or_else(|| TranslateError("the form names no object".to_owned()))?;
        let object = object_of(&id).unwrap_or_else(|| format!("unknown/{id}"));
        return Ok(Translation::Fetches(vec![Fetch { object, told: String::new() }]));
    }
    let body: events::Envelope<'_> = serde_json::from_slice(receipt.body())
        .map_err(|error| payload::unreadable("a Mollie event", &error))?;
    let row = EVENTS.iter().find(|(name, _)| *name == &*body.event_type);
    let Some((_, meaning)) = row else {
        return payload::unknown_type(&body.event_type);
    };
    if let Meaning::Silent = meaning {
        return Ok(Translation::Events(Vec::new()));
    }
    let event = body.event()?;
    let received_at = receipt.received_at();
    let origin = Origin { endpoint: &endpoint.name, event: Some(&event), received_at };
    if let Some(entity) = body.entity() {
        let draft = events::draft(&origin, *meaning, &event, entity.get().as_bytes())?;
        return Ok(Translation::Events(vec![draft]));
    }
    let id = &event.entity_id;
    let object = match meaning {
        Meaning::LinkPaid if is_id(id) => Some(format!("payment-links/{id}")),
        Meaning::Invoice(_) if is_id(id) => Some(format!("sales-invoices/{id}")),
        Meaning::LinkPaid
        | Meaning::Invoice(_)
        | Meaning::Dispute { .. }
        | Meaning::Bank(..)
        | Meaning::Silent => None,
    };
    // Other objects have no documented place of their own; the event's copy of them has.
    let object = object.or_else(|| is_id(&event.id).then(|| format!("events/{}", event.id)));
    let object = object.ok_or_else(|| payload::not_a("an id of Mollie's", &event.id))?;
    let told = serde_json::to_string(&event)
        .map_err(|error| payload::unreadable("a Mollie event", &error))?;
    Ok(Translation::Fetches(vec![Fetch { object, told }]))
}

/// Where the API has the object with this id: `payments/tr_1`.
fn object_of(id: &str) -> Option<String> {
    if !is_id(id) {
        return None;
    }
    let collection = match id.split_once('_')?.0 {
        "tr" => "payments",
        "ord" => "orders",
        "pl" => "payment-links",
        "invoice" => "sales-invoices",
        _ => return None,
    };
    Some(format!("{collection}/{id}"))
}

fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let Fetch { object, told } = fetching.fetch;
    let (collection, _) = object.split_once('/').unwrap_or_default();
    let Some(answer) = fetching.answers.first() else {
        return Ok(match collection {
            "unknown" => Step::Denied,
            _ => Step::Call(call(fetching.endpoint, object, collection)),
        });
    };
    let Some(body) = found(answer)? else { return Ok(Step::Denied) };
    let event = match told.is_empty() {
        true => None,
        false => {
            let event: Told = serde_json::from_str(told)
                .map_err(|error| payload::unreadable("what was told", &error))?;
            Some(event)
        }
    };
    let origin = Origin {
        endpoint: &fetching.endpoint.name,
        event: event.as_ref(),
        received_at: fetching.received_at,
    };
    let draft = match (&event, collection) {
        (Some(event), _) => events::fetched(&origin, event, collection, body)?,
        (None, "orders") => orders::order(&origin, body)?,
        (None, "payment-links") => orders::link(&origin, body)?,
        (None, "sales-invoices") => events::invoice(&origin, None, body)?,
        (None, _) => payments::payment(&origin, body)?,
    };
    Ok(Step::Done { drafts: vec![draft], cursor: None })
}

fn call(endpoint: &Endpoint, object: &str, collection: &str) -> Call {
    let base = endpoint.setting(API_URL, DEFAULT_API_URL).trim_end_matches('/');
    let mut query: Vec<&str> = Vec::new();
    match collection {
        "payments" => query.push("embed=refunds,chargebacks"),
        "events" => query.push("embed=entity"),
        _ => {}
    }
    if endpoint.setting(TESTMODE, "false") == "true" {
        query.push("testmode=true");
    }
    let mark = if query.is_empty() { "" } else { "?" };
    let call = Call::get(format!("{base}/v2/{object}{mark}{}", query.join("&")));
    match endpoint.secret(API_KEY) {
        Some(key) => call.header("authorization", format!("Bearer {key}")),
        None => call,
    }
}

/// The body of what was found; `None` where Mollie knows no such object.
fn found(answer: &Answer) -> Result<Option<&[u8]>, TranslateError> {
    match answer.status {
        200..=299 => Ok(Some(&answer.body)),
        404 | 410 => Ok(None),
        status => Err(TranslateError(format!("Mollie answered {status}"))),
    }
}

/// What a next-generation event told, beside its object.
#[derive(Serialize, Deserialize)]
struct Told {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(rename = "entityId")]
    entity_id: String,
    #[serde(rename = "createdAt")]
    created_at: Timestamp,
}

/// Where a draft comes from.
struct Origin<'a> {
    endpoint: &'a EndpointName,
    /// The event that Mollie sent; `None` for a classic webhook, which has only the state.
    event: Option<&'a Told>,
    /// When the webhook came: the time of a state that tells none.
    received_at: Timestamp,
}

/// What an object says, as found.
struct Found<'a> {
    /// Its id.
    id: &'a str,
    /// What its state is called, where no event names it.
    state: String,
    /// What tells this state from others of the object.
    digest: Vec<String>,
    /// When the state began.
    at: Timestamp,
    rank: u8,
    live: bool,
    references: References,
    fact: Fact,
}

impl Origin<'_> {
    fn draft(&self, found: Found<'_>) -> Result<Draft, TranslateError> {
        let subject = payload::subject(found.fact.kind(), self.endpoint, found.id)?;
        let (key, event_type, occurred_at) = match self.event {
            Some(event) => (event.id.clone(), event.event_type.clone(), event.created_at),
            None => (digest(found.id, &found.digest), found.state, found.at),
        };
        Ok(Draft {
            event_id: key.clone(),
            key,
            event_type,
            occurred_at,
            version: 0,
            rank: found.rank,
            subject,
            references: found.references.bounded(),
            live: found.live,
            fact: found.fact,
        })
    }
}

/// The same state of the same object always has the same digest.
fn digest(id: &str, parts: &[String]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(id);
    for part in parts {
        hasher.update([0]);
        hasher.update(part);
    }
    hex::encode(hasher.finalize())
}

/// An amount as Mollie writes it: a decimal text and a code.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Amount<'a> {
    value: Decimal,
    #[serde(borrow)]
    currency: Text<'a>,
}

/// The money of an amount that may be missing as a whole.
fn money(amount: Option<&Amount<'_>>) -> Result<Option<Money>, TranslateError> {
    amount.map_or(Ok(None), |amount| amount.value.money(&amount.currency))
}

/// The money of an amount that must be there.
fn required(amount: Option<&Amount<'_>>, what: &str) -> Result<Money, TranslateError> {
    money(amount)?.ok_or_else(|| TranslateError(format!("{what} has no amount")))
}

fn time(text: &str) -> Result<Timestamp, TranslateError> {
    text.parse().map_err(|_| payload::not_a("a time", text))
}

/// The latest of the times that are given.
fn latest(texts: &[&str]) -> Result<Option<Timestamp>, TranslateError> {
    let given = texts.iter().filter(|text| !text.is_empty()).map(|text| time(text));
    given.collect::<Result<Vec<_>, _>>().map(|times| times.into_iter().max())
}

#[cfg(test)]
mod tests;
