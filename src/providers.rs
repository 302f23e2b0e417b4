//! What the gateway knows of each provider: a const table of facts and pure functions. A provider
//! module says whether a request is authentic and what it means; it does no I/O, reads no clock and
//! knows neither the store nor the other providers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use secrecy::SecretString;

use crate::model::{Draft, EndpointName};
use crate::receipt::signature::Candidates;
use crate::receipt::{Proof, Receipt, Redaction, Request, VerifyError};

pub mod payload;
pub mod samples;

pub mod adyen;
pub mod square;
pub mod stripe;
#[cfg(test)]
mod testing;

/// All providers, by name.
pub const PROVIDERS: &[Provider] = &[adyen::PROVIDER, square::PROVIDER, stripe::PROVIDER];

/// One provider: its facts and its functions.
#[derive(Clone, Copy)]
pub struct Provider {
    /// Its name in config, paths and resource names.
    pub name: &'static str,
    /// Its name as people write it.
    pub title: &'static str,
    /// The secrets that an endpoint of it may have.
    pub secrets: &'static [SecretKey],
    /// The settings that an endpoint of it may have.
    pub settings: &'static [&'static str],
    /// The provider event types that it translates.
    pub events: &'static [&'static str],
    /// What of its requests must not be stored as it came.
    pub redaction: Redaction,
    /// Whether a request is authentic.
    pub verify: fn(&Request, &Endpoint, Timestamp) -> Result<Proof, VerifyError>,
    /// What a receipt means.
    pub translate: fn(&Receipt, &Endpoint) -> Result<Translation, TranslateError>,
    /// What an accepted request is answered.
    pub reply: Reply,
    /// A signed request like the provider's own, for `send` and the demo.
    pub sample: fn(&Endpoint, &SampleOrder<'_>) -> Option<Request>,
}

/// A secret that an endpoint may have.
#[derive(Clone, Copy, Debug)]
pub struct SecretKey {
    /// Its name under `secrets.`.
    pub name: &'static str,
    /// Whether an endpoint without it is refused.
    pub required: bool,
}

/// One configured account at a provider.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `stripe/acme-eu`.
    pub name: EndpointName,
    /// Where the provider posts to, from the public host on: `/webhooks/stripe/acme-eu`.
    pub path: String,
    /// The whole URL that the provider calls, as configured; some providers sign it.
    pub url: String,
    /// The secrets by name; several values are tried in turn.
    pub secrets: BTreeMap<String, Vec<SecretString>>,
    /// The settings by name.
    pub settings: BTreeMap<String, String>,
}

/// What a receipt means.
#[derive(Debug, Clone, PartialEq)]
pub enum Translation {
    /// These facts, in order. None: it is understood and says nothing about a payment.
    Events(Vec<Draft>),
    /// A provider event type that is not translated: kept, counted, never guessed.
    Unknown(String),
}

/// Why a receipt of a known type could not be read. It is kept and can be retried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TranslateError(pub String);

/// What an accepted request is answered.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The content type; empty for none.
    pub content_type: &'static str,
    /// The body.
    pub body: &'static str,
}

/// A plain 200.
pub const REPLY_OK: Reply = Reply { status: 200, content_type: "", body: "" };

/// What a sample is to say.
#[derive(Clone, Copy, Debug)]
pub struct SampleOrder<'a> {
    /// One of the provider's event types.
    pub event_type: &'a str,
    /// Makes ids unique: the same seed gives the same payment.
    pub seed: &'a str,
    /// The event id; `None` derives one from type and seed.
    pub event_id: Option<&'a str>,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// When it is sent and signed.
    pub now: Timestamp,
}

impl Endpoint {
    /// The values of one secret, to be tried in turn.
    pub fn candidates(&self, name: &'static str) -> Candidates<'_> {
        Candidates { name, secrets: self.secrets.get(name).map_or(&[], Vec::as_slice) }
    }
}

/// The provider with this name.
pub fn find(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}
