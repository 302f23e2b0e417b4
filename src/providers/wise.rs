//! Wise: `X-Signature-SHA256` is the base64 of an RSA signature (PKCS #1 v1.5, SHA-256) of the raw body by
//! Wise's own key, one for production and one for the sandbox; there is no shared secret. Nothing tells the
//! time, and the delivery id may change with each attempt, so that what happened to what, and when, is the
//! event's key. The retired SHA-1 header `X-Signature` is never looked at.
//!
//! In comes a request, out come transfers (money that goes out, as payments), movements on balances and
//! pay-ins (as bank transactions). A transfer's change of state is thin: the notification tells the state,
//! the API the amounts. What is fetched may be ahead of the notification, so that its state is not taken.
//! Spec: <https://docs.wise.com/guides/developer/webhooks/event-handling>,
//! <https://docs.wise.com/guides/developer/webhooks/event-types>

mod facts;
mod keys;
mod money;
mod sample;
mod transfers;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::{Draft, EndpointName, Fact, References};
use crate::receipt::signature::public_key::{PublicKey, Scheme, signed_by};
use crate::receipt::{Proof, Receipt, Redaction, Request, VerifyError};

use super::payload::{self, Text};
use super::{
    Answer, Auth, Call, Endpoint, Fetch, Fetching, Keys, Mistake, OAuth, Provider, REPLIES,
    SecretKey, Step, TranslateError, Translation, Verdict, no_poll,
};
use facts::{EVENT_TYPES, Meaning};

#[cfg(test)]
use sample::sample_secrets;

/// Wise.
pub const PROVIDER: Provider = Provider {
    name: "wise",
    title: "Wise",
    secrets: &[
        SecretKey { name: PUBLIC_KEY, required: false },
        SecretKey { name: ACCESS_TOKEN, required: false },
        SecretKey { name: CLIENT_ID, required: false },
        SecretKey { name: CLIENT_SECRET, required: false },
        SecretKey { name: REFRESH_TOKEN, required: false },
    ],
    settings: &[ENVIRONMENT, API_URL],
    structured: &[],
    events: &EVENT_TYPES,
    redaction: Redaction {
        headers: &[],
        query: &[],
        body_members: &["account", "account_number", "card_token"],
    },
    hosts: &["api.wise.com", "api.wise-sandbox.com"],
    check,
    verify,
    translate,
    fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: sample::sample,
    example: sample::sample_secrets,
};

/// A public key as PEM, in the place of Wise's own.
const PUBLIC_KEY: &str = "public_key_pem";
/// A personal or user token, for an endpoint without OAuth.
const ACCESS_TOKEN: &str = "access_token";
const CLIENT_ID: &str = "client_id";
const CLIENT_SECRET: &str = "client_secret";
const REFRESH_TOKEN: &str = "refresh_token";
/// `production` or `sandbox`: whose key signs, where the API is, and whether money is real.
const ENVIRONMENT: &str = "environment";
const PRODUCTION: &str = "production";
const SANDBOX: &str = "sandbox";
/// Where the API is, in the place of the environment's own.
const API_URL: &str = "api_url";
const PRODUCTION_URL: &str = "https://api.wise.com";
const SANDBOX_URL: &str = "https://api.wise-sandbox.com";
const HEADER: &str = "x-signature-sha256";
const TEST_HEADER: &str = "x-test-notification";

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let environment = endpoint.setting(ENVIRONMENT, PRODUCTION);
    if environment != PRODUCTION && environment != SANDBOX {
        let reason = format!("`{environment}` is neither {PRODUCTION} nor {SANDBOX}");
        return Err(Mistake { key: ENVIRONMENT, reason });
    }
    let url = api_url(endpoint);
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(Mistake { key: API_URL, reason: format!("`{url}` is not a URL") });
    }
    let is_key = |secret: &SecretString| {
        matches!(PublicKey::from_pem(secret.expose_secret()), Some(PublicKey::Rsa { .. }))
    };
    match endpoint.candidates(PUBLIC_KEY).secrets.iter().all(is_key) {
        true => Ok(()),
        false => Err(Mistake {
            key: "secrets.public_key_pem",
            reason: "is not an RSA key between `-----BEGIN PUBLIC KEY-----` and its end".to_owned(),
        }),
    }
}

fn is_sandbox(endpoint: &Endpoint) -> bool {
    endpoint.setting(ENVIRONMENT, PRODUCTION) == SANDBOX
}

fn api_url(endpoint: &Endpoint) -> &str {
    let default = if is_sandbox(endpoint) { SANDBOX_URL } else { PRODUCTION_URL };
    endpoint.setting(API_URL, default).trim_end_matches('/')
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let malformed = |_| VerifyError::Malformed(HEADER);
    let signature = BASE64.decode(request.header(HEADER)?).map_err(malformed)?;
    let proof = |name: &'static str, id: &str, pem: &str| -> Result<Proof, VerifyError> {
        let key = PublicKey::from_pem(pem).ok_or(VerifyError::NotConfigured(name))?;
        signed_by(name, id, &key, Scheme::RsaPkcs1Sha256, &request.body, &signature)
    };
    let configured = endpoint.candidates(PUBLIC_KEY).secrets;
    if configured.is_empty() {
        let (id, pem) = match is_sandbox(endpoint) {
            true => (SANDBOX, keys::SANDBOX),
            false => (PRODUCTION, keys::PRODUCTION),
        };
        return proof("public_key", id, pem).map(Verdict::Verified);
    }
    let mut result = Err(VerifyError::NotConfigured(PUBLIC_KEY));
    for (at, pem) in configured.iter().enumerate() {
        result = proof(PUBLIC_KEY, &at.to_string(), pem.expose_secret());
        if result.is_ok() {
            break;
        }
    }
    result.map(Verdict::Verified)
}

/// The envelope.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    event_type: Text<'a>,
    #[serde(borrow)]
    sent_at: Text<'a>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// What a notification told beside its data, as it goes along with a fetch.
#[derive(Serialize, Deserialize)]
struct Event {
    key: String,
    event_type: String,
    at: Timestamp,
    live: bool,
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let body: Body<'_> = serde_json::from_slice(receipt.body())
        .map_err(|error| payload::unreadable("a Wise notification", &error))?;
    let Some(meaning) = facts::meaning(&body.event_type) else {
        return payload::unknown_type(&body.event_type);
    };
    let is_test =
        receipt.header(TEST_HEADER).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
    if is_test {
        return Ok(Translation::Events(Vec::new()));
    }
    let data =
        body.data.ok_or_else(|| TranslateError("the notification has no data".to_owned()))?;
    let source = Source {
        event_type: &body.event_type,
        sent_at: &body.sent_at,
        data,
        live: !is_sandbox(endpoint),
        endpoint: &endpoint.name,
    };
    let draft = match meaning {
        Meaning::TransferState => return transfers::state(&source),
        Meaning::TransferRefund => transfers::refund(&source)?,
        Meaning::PayoutFailure => transfers::payout_failure(&source)?,
        Meaning::ActiveCases => transfers::active_cases(&source)?,
        Meaning::BatchPayment => transfers::batch(&source)?,
        Meaning::CardDispute => transfers::card_dispute(&source)?,
        Meaning::Balance => money::balance(&source)?,
        Meaning::PayIn => money::pay_in(&source)?,
        Meaning::SwiftCredit => money::swift_credit(&source)?,
        Meaning::CardTransaction => money::card_transaction(&source)?,
        Meaning::Settlement => money::settlement(&source)?,
        Meaning::Silent => return Ok(Translation::Events(Vec::new())),
    };
    Ok(Translation::Events(vec![draft]))
}

/// A notification of a known type, with what every draft of it needs.
struct Source<'a> {
    event_type: &'a str,
    sent_at: &'a str,
    data: &'a RawValue,
    live: bool,
    endpoint: &'a EndpointName,
}

impl<'a> Source<'a> {
    /// The data, as what it is in this type.
    fn read<T: Deserialize<'a>>(&self, what: &str) -> Result<T, TranslateError> {
        serde_json::from_str(self.data.get()).map_err(|error| payload::unreadable(what, &error))
    }

    /// What happened to what and when, which is all that a second notification of it repeats.
    fn event(&self, id: &str, occurred_at: &str, what: &str) -> Result<Event, TranslateError> {
        let when = if occurred_at.is_empty() { self.sent_at } else { occurred_at };
        Ok(Event {
            key: format!("{}/{id}/{when}/{what}", self.event_type),
            event_type: self.event_type.to_owned(),
            at: when.parse().map_err(|_| payload::not_a("a time", when))?,
            live: self.live,
        })
    }
}

impl Event {
    fn draft(
        &self,
        id: &str,
        rank: u8,
        references: References,
        fact: Fact,
        endpoint: &EndpointName,
    ) -> Result<Draft, TranslateError> {
        Ok(Draft {
            key: self.key.clone(),
            event_id: self.key.clone(),
            event_type: self.event_type.clone(),
            occurred_at: self.at,
            version: 0,
            rank,
            subject: payload::subject(fact.kind(), endpoint, id)?,
            references: references.bounded(),
            live: self.live,
            fact,
        })
    }
}

fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let Fetch { object, told } = fetching.fetch;
    let told: transfers::Told =
        serde_json::from_str(told).map_err(|error| payload::unreadable("what was told", &error))?;
    let Some(answer) = fetching.answers.first() else {
        return Ok(Step::Call(call(fetching.endpoint, object)));
    };
    let draft = told.draft(found(answer)?, &fetching.endpoint.name)?;
    Ok(Step::Done { drafts: vec![draft], cursor: None })
}

fn call(endpoint: &Endpoint, object: &str) -> Call {
    let base = api_url(endpoint);
    let call = Call::get(format!("{base}/v1/{object}"));
    if let Some(token) = endpoint.secret(ACCESS_TOKEN) {
        return call.header("authorization", format!("Bearer {token}"));
    }
    let (Some(client_id), Some(client_secret)) =
        (endpoint.secret(CLIENT_ID), endpoint.secret(CLIENT_SECRET))
    else {
        return call;
    };
    call.auth(Auth::OAuth(Box::new(OAuth {
        token_url: format!("{base}/oauth/token"),
        client_id: SecretString::from(client_id),
        client_secret: SecretString::from(client_secret),
        credentials_in_body: false,
        refresh_token: endpoint.secret(REFRESH_TOKEN).map(SecretString::from),
        scope: "",
        scheme: "Bearer",
    })))
}

/// The body of what was found; `None` where the API does not show it, which leaves the amounts unknown.
fn found(answer: &Answer) -> Result<Option<&[u8]>, TranslateError> {
    match answer.status {
        200..=299 => Ok(Some(&answer.body)),
        404 | 410 => Ok(None),
        status => Err(TranslateError(format!("Wise answered {status}"))),
    }
}

#[cfg(test)]
mod tests;
