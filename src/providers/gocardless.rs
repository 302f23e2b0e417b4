//! GoCardless: `Webhook-Signature` is the lower-case hex HMAC-SHA256 of the raw body, keyed with the
//! webhook endpoint's secret as text. No time is signed; each event's id keeps a redelivery from counting
//! twice. In comes a batch of unrelated events, each a resource's type and an action (`payments` and
//! `confirmed`, here `payments.confirmed`), out come drafts or fetches.
//!
//! Events are thin: the action tells the status, since the fetched resource may be ahead of it, and the
//! fetch tells the amounts. A bad signature is answered 498, everything else 204. An event that cannot be
//! read is a fetch that fails, so that the receipt shows it and the others of its batch do not wait for it.
//! Spec: <https://developer.gocardless.com/api-reference/#appendix-webhooks>

mod facts;
mod resources;
mod sample;

use std::collections::BTreeMap;

use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::receipt::signature::hmac_sha256;
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::payload::{self, Scalars, Text};
use super::{
    Answer, Call, Endpoint, Fetch, Fetching, Keys, Mistake, Provider, Replies, Reply, SecretKey,
    Step, TranslateError, Translation, Verdict, no_example, no_poll,
};
use facts::{EVENT_TYPES, EVENTS, Meaning};

/// GoCardless.
pub const PROVIDER: Provider = Provider {
    name: "gocardless",
    title: "GoCardless",
    secrets: &[
        SecretKey { name: SECRET, required: true },
        SecretKey { name: ACCESS_TOKEN, required: false },
    ],
    settings: &[API_URL],
    structured: &[],
    events: &EVENT_TYPES,
    redaction: Redaction { headers: &[], query: &[], body_members: &[] },
    hosts: &["api.gocardless.com", "api-sandbox.gocardless.com"],
    check,
    verify,
    translate,
    fetch,
    poll: no_poll,
    replies: Replies {
        accepted: NO_CONTENT,
        unknown: NO_CONTENT,
        refused: Reply {
            status: 498,
            content_type: "text/plain; charset=utf-8",
            body: "verification failed\n",
        },
        methods: &[Method::POST],
    },
    sample: sample::sample,
    example: no_example,
};

const NO_CONTENT: Reply = Reply { status: 204, content_type: "", body: "" };
const SECRET: &str = "webhook_secret";
/// What the API is asked with.
const ACCESS_TOKEN: &str = "access_token";
/// Where the API is: `https://api-sandbox.gocardless.com` for the sandbox.
const API_URL: &str = "api_url";
const DEFAULT_API_URL: &str = "https://api.gocardless.com";
const SANDBOX: &str = "https://api-sandbox.gocardless.com";
const API_VERSION: &str = "2015-07-06";
const HEADER: &str = "webhook-signature";
const SIGNATURE_DIGITS: usize = 64;
/// The collection of the events that cannot be read: they are asked for nowhere.
const UNREADABLE: &str = "unreadable";

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let url = endpoint.setting(API_URL, DEFAULT_API_URL);
    match url.starts_with("https://") || url.starts_with("http://") {
        true => Ok(()),
        false => Err(Mistake { key: API_URL, reason: format!("`{url}` is not a URL") }),
    }
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let text = request.header(HEADER)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != SIGNATURE_DIGITS || !text.bytes().all(is_digit) {
        return Err(VerifyError::Malformed(HEADER));
    }
    let signature = hex::decode(text).map_err(|_| VerifyError::Malformed(HEADER))?;
    hmac_sha256(endpoint.candidates(SECRET), &[&request.body], &[signature]).map(Verdict::Verified)
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

/// One event, as it is sent.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    created_at: Text<'a>,
    #[serde(borrow)]
    resource_type: Text<'a>,
    #[serde(borrow)]
    action: Text<'a>,
    links: Scalars,
    #[serde(borrow)]
    details: Option<Details<'a>>,
    metadata: Scalars,
    resource_metadata: Scalars,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details<'a> {
    #[serde(borrow)]
    cause: Text<'a>,
    #[serde(borrow)]
    description: Text<'a>,
    #[serde(borrow)]
    scheme: Text<'a>,
}

/// What one event told, as it goes along with its fetch.
#[derive(Serialize, Deserialize, Clone)]
struct Told {
    id: String,
    at: Timestamp,
    event_type: String,
    /// The id of the resource that it is about.
    resource: String,
    links: BTreeMap<String, String>,
    cause: String,
    description: String,
    scheme: String,
    metadata: BTreeMap<String, String>,
    live: bool,
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let body: Body<'_> = serde_json::from_slice(receipt.body())
        .map_err(|error| payload::unreadable("a GoCardless webhook", &error))?;
    let base = endpoint.setting(API_URL, DEFAULT_API_URL);
    let live = receipt.header("origin") != Some(SANDBOX) && base.trim_end_matches('/') != SANDBOX;
    let mut unknown = None;
    let mut known: Vec<(Meaning, Told)> = Vec::new();
    let mut unreadable: Vec<TranslateError> = Vec::new();
    for item in body.events {
        let item: Item<'_> = match serde_json::from_str(item.get()) {
            Ok(item) => item,
            Err(error) => {
                unreadable.push(payload::unreadable("a GoCardless event", &error));
                continue;
            }
        };
        let event_type = format!("{}.{}", &*item.resource_type, &*item.action);
        match EVENTS.iter().find(|(name, _)| *name == event_type) {
            None => {
                unknown.get_or_insert(event_type);
            }
            Some((_, Meaning::Silent)) => {}
            Some((_, meaning)) => match item.told(*meaning, event_type, live) {
                Ok(told) => known.push((*meaning, told)),
                Err(error) => unreadable.push(error),
            },
        }
    }
    if let (true, Some(error)) = (known.is_empty(), unreadable.first()) {
        return Err(error.clone());
    }
    if let (true, Some(event_type)) = (known.is_empty(), unknown) {
        return payload::unknown_type(&event_type);
    }
    let tells_all = |(meaning, _): &(Meaning, Told)| meaning.collection().is_none();
    if unreadable.is_empty() && known.iter().all(tells_all) {
        let drafts = known
            .iter()
            .map(|(meaning, told)| resources::stated(*meaning, told, &endpoint.name))
            .collect::<Result<Vec<_>, _>>()?;
        return Ok(Translation::Events(drafts));
    }
    fetches(&known, &unreadable).map(Translation::Fetches)
}

/// A fetch for each event of a batch.
fn fetches(
    known: &[(Meaning, Told)],
    unreadable: &[TranslateError],
) -> Result<Vec<Fetch>, TranslateError> {
    let known = known.iter().map(|(meaning, told)| {
        // What tells all by itself goes along, and is not asked for.
        let (collection, id) = match meaning.collection() {
            Some(collection) => (collection, &told.resource),
            None => ("events", &told.id),
        };
        let told = serde_json::to_string(told)
            .map_err(|error| payload::unreadable("a GoCardless event", &error))?;
        Ok(Fetch { object: format!("{collection}/{id}"), told })
    });
    let unreadable = unreadable.iter().enumerate().map(|(at, error)| {
        Ok(Fetch { object: format!("{UNREADABLE}/{at}"), told: error.0.clone() })
    });
    known.chain(unreadable).collect()
}

impl Item<'_> {
    fn told(
        self,
        meaning: Meaning,
        event_type: String,
        live: bool,
    ) -> Result<Told, TranslateError> {
        if self.id.is_empty() {
            return Err(TranslateError(format!("the event `{event_type}` has no id")));
        }
        let at = self.created_at.parse();
        let at = at.map_err(|_| payload::not_a("a time", &self.created_at))?;
        let link = meaning.link();
        let resource = self.links.0.get(link).cloned().unwrap_or_default();
        if !is_id(&resource) {
            return Err(payload::not_a(&format!("an id of a {link}"), &resource));
        }
        let details = self.details.unwrap_or_default();
        let mut metadata = self.resource_metadata.0;
        metadata.extend(self.metadata.0);
        Ok(Told {
            id: self.id.to_string(),
            at,
            event_type,
            resource,
            links: self.links.0,
            cause: details.cause.to_string(),
            description: details.description.to_string(),
            scheme: details.scheme.to_string(),
            metadata,
            live,
        })
    }
}

/// Only such ids go into a URL: `PM0001`.
fn is_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !id.is_empty() && id.bytes().all(is_plain)
}

fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let Fetch { object, told } = fetching.fetch;
    if object.split('/').next() == Some(UNREADABLE) {
        return Err(TranslateError(told.clone()));
    }
    let told: Told =
        serde_json::from_str(told).map_err(|error| payload::unreadable("what was told", &error))?;
    let row = EVENTS.iter().find(|(name, _)| *name == told.event_type);
    let (_, meaning) = row.ok_or_else(|| payload::unknown("event type", &told.event_type))?;
    let endpoint = &fetching.endpoint.name;
    let Some(collection) = meaning.collection() else {
        let draft = resources::stated(*meaning, &told, endpoint)?;
        return Ok(Step::Done { drafts: vec![draft], cursor: None });
    };
    let Some(first) = fetching.answers.first() else {
        return Ok(Step::Call(call(fetching.endpoint, collection, &told.resource)));
    };
    let first = found(first)?;
    let draft = match meaning {
        Meaning::Payment(..) | Meaning::Chargeback(..) => {
            resources::payment(*meaning, &told, first, endpoint)?
        }
        Meaning::Refund(state, rank) => {
            let refund = resources::Refund::read(first)?;
            let Some(second) = fetching.answers.get(1) else {
                let payment = refund.payment()?;
                return Ok(Step::Call(call(fetching.endpoint, "payments", payment)));
            };
            refund.draft((*state, *rank), &told, found(second)?, endpoint)?
        }
        Meaning::Bank(..) => resources::movement(*meaning, &told, first, endpoint)?,
        Meaning::Mandate(_) | Meaning::BillingRequest(..) | Meaning::Instalments(..) => {
            resources::stated(*meaning, &told, endpoint)?
        }
        Meaning::Silent => return Err(payload::unknown("event type", &told.event_type)),
    };
    Ok(Step::Done { drafts: vec![draft], cursor: None })
}

fn call(endpoint: &Endpoint, collection: &str, id: &str) -> Call {
    let base = endpoint.setting(API_URL, DEFAULT_API_URL).trim_end_matches('/');
    let call = Call::get(format!("{base}/{collection}/{id}"));
    let call = call.header("gocardless-version", API_VERSION);
    match endpoint.secret(ACCESS_TOKEN) {
        Some(token) => call.header("authorization", format!("Bearer {token}")),
        None => call,
    }
}

/// The body of what was found. A resource of a signed event that is not there is asked for elsewhere than
/// it lives, so that it must be tried again rather than be forgotten.
fn found(answer: &Answer) -> Result<&[u8], TranslateError> {
    match answer.is_success() {
        true => Ok(&answer.body),
        false => Err(TranslateError(format!("GoCardless answered {}", answer.status))),
    }
}

#[cfg(test)]
mod tests;
