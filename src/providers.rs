//! What the gateway knows of each provider: a const table of facts and pure functions. A provider
//! module says whether a request is authentic and what it means; it does no I/O, reads no clock and
//! knows neither the store nor the other providers.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::model::{Draft, EndpointName};
use crate::receipt::signature::Candidates;
use crate::receipt::{Proof, Receipt, Redaction, Request, VerifyError};

mod accounting;
pub mod calls;
pub mod crm;
pub mod diagnosis;
pub mod fields;
pub mod markup;
pub mod payload;
pub mod samples;
pub mod url_token;

pub mod adyen;
pub mod authorize_net;
pub mod braintree;
pub mod dynamics;
pub mod freshbooks;
pub mod gocardless;
pub mod hubspot;
pub mod mollie;
pub mod monday;
pub mod open_banking_standards;
pub mod paypal;
pub mod pipedrive;
pub mod plaid;
pub mod quickbooks;
pub mod sage_intacct;
pub mod salesforce;
pub mod square;
pub mod stripe;
pub mod truelayer;
pub mod wise;
pub mod worldpay;
pub mod xero;
pub mod zoho_books;
pub mod zoho_crm;
#[cfg(test)]
mod testing;

pub use calls::{Answer, Auth, Call, Fetch, Fetching, KeyRequest, Keys, OAuth, Step};

/// All providers, by name.
pub const PROVIDERS: &[Provider] = &[
    adyen::PROVIDER,
    authorize_net::PROVIDER,
    braintree::PROVIDER,
    dynamics::PROVIDER,
    freshbooks::PROVIDER,
    gocardless::PROVIDER,
    hubspot::PROVIDER,
    mollie::PROVIDER,
    monday::PROVIDER,
    open_banking_standards::PROVIDER,
    paypal::PROVIDER,
    pipedrive::PROVIDER,
    plaid::PROVIDER,
    quickbooks::PROVIDER,
    sage_intacct::PROVIDER,
    salesforce::PROVIDER,
    square::PROVIDER,
    stripe::PROVIDER,
    truelayer::PROVIDER,
    wise::PROVIDER,
    worldpay::PROVIDER,
    xero::PROVIDER,
    zoho_books::PROVIDER,
    zoho_crm::PROVIDER,
];

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
    /// The secrets and settings that may be lists or tables; the module gets them as JSON.
    pub structured: &'static [&'static str],
    /// The provider event types that it translates.
    pub events: &'static [&'static str],
    /// What of its requests must not be stored as it came.
    pub redaction: Redaction,
    /// The hosts that calls to it may go to, beside those of the endpoint's settings.
    pub hosts: &'static [&'static str],
    /// What is wrong with an endpoint's settings and secrets, beyond missing ones: the key and why.
    pub check: fn(&Endpoint) -> Result<(), Mistake>,
    /// Whether a request is authentic.
    pub verify: fn(&Request, &Endpoint, &Keys, Timestamp) -> Result<Verdict, VerifyError>,
    /// What a receipt means.
    pub translate: fn(&Receipt, &Endpoint) -> Result<Translation, TranslateError>,
    /// What comes next in a fetch that a receipt or a poll asked for.
    pub fetch: fn(&Fetching<'_>) -> Result<Step, TranslateError>,
    /// What to ask for time and again, whether or not a webhook comes; the interval is the endpoint's
    /// setting `poll_interval`, in seconds.
    pub poll: fn(&Endpoint) -> Vec<Fetch>,
    /// What its requests are answered.
    pub replies: Replies,
    /// A signed request like the provider's own, for `send` and the demo, with what its API would answer.
    pub sample: fn(&Endpoint, &SampleOrder<'_>) -> Option<Sample>,
    /// What an endpoint needs so that samples can be made for it, where any text as each required secret
    /// will not do: secrets and settings by name. An empty value stands for any text.
    pub example: fn() -> Vec<(&'static str, String)>,
}

/// What is known of a request that is not refused.
#[derive(Debug)]
pub enum Verdict {
    /// It is authentic.
    Verified(Proof),
    /// This key is needed to tell.
    NeedsKey(Box<KeyRequest>),
    /// Nothing proves it yet: it is kept, and becomes events only once the fetches that it translates to
    /// have confirmed it.
    NeedsConfirmation(Proof),
    /// It asks whether somebody is there: it is answered so, and nothing is kept.
    Challenge(Challenge),
}

/// The answer to a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The status code.
    pub status: u16,
    /// Headers, such as `content-type`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// What is wrong in an endpoint's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key: `currency`, `secrets.public_key_pem`.
    pub key: &'static str,
    /// Why. It never holds a secret.
    pub reason: String,
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
    /// These facts, and of the same batch something that could not be read: the receipt stays open for it.
    Partly(Vec<Draft>, TranslateError),
    /// The provider's API must be asked for the facts.
    Fetches(Vec<Fetch>),
    /// A provider event type that is not translated: kept, counted, never guessed.
    Unknown(String),
}

/// Why a receipt of a known type could not be read. It is kept and can be retried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TranslateError(pub String);

/// What a request is answered.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The content type; empty for none.
    pub content_type: &'static str,
    /// The body.
    pub body: &'static str,
}

/// What a provider's requests are answered.
#[derive(Clone, Copy, Debug)]
pub struct Replies {
    /// Once it is committed.
    pub accepted: Reply,
    /// Once it is committed, where its provider event type is not translated.
    pub unknown: Reply,
    /// Where it is not authentic.
    pub refused: Reply,
    /// The methods that it comes by.
    pub methods: &'static [Method],
}

/// A plain 200.
pub const REPLY_OK: Reply = Reply { status: 200, content_type: "", body: "" };

/// 401, in words.
pub const REPLY_REFUSED: Reply =
    Reply { status: 401, content_type: "text/plain; charset=utf-8", body: "verification failed\n" };

/// POST; a plain 200 or a 401.
pub const REPLIES: Replies = Replies {
    accepted: REPLY_OK,
    unknown: REPLY_OK,
    refused: REPLY_REFUSED,
    methods: &[Method::POST],
};

/// A signed request like a provider's own.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The request.
    pub request: Request,
    /// What the provider's API answers when it is asked about it.
    pub answers: Vec<SampleAnswer>,
}

/// What a provider's API answers to a call, in a sample.
#[derive(Clone, Debug)]
pub struct SampleAnswer {
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

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

impl Provider {
    /// As `verify`, where no key is fetched: the proof of what is authentic or may be confirmed.
    pub fn prove(
        &self,
        request: &Request,
        endpoint: &Endpoint,
        now: Timestamp,
    ) -> Result<Proof, VerifyError> {
        match (self.verify)(request, endpoint, &Keys::default(), now)? {
            Verdict::Verified(proof) | Verdict::NeedsConfirmation(proof) => Ok(proof),
            Verdict::NeedsKey(needed) => Err(VerifyError::NoKey(needed.id)),
            Verdict::Challenge(_) => Err(VerifyError::Malformed("body")),
        }
    }

    /// The request of a sample.
    pub fn sample_request(&self, endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Request> {
        (self.sample)(endpoint, order).map(|sample| sample.request)
    }
}

impl Translation {
    /// What a batch means of which something could not be read. Where nothing else says anything, that is
    /// an error of the whole.
    pub fn despite(
        self,
        unreadable: Option<TranslateError>,
    ) -> Result<Translation, TranslateError> {
        match (self, unreadable) {
            (translation, None) => Ok(translation),
            (Translation::Events(drafts), Some(error)) if !drafts.is_empty() => {
                Ok(Translation::Partly(drafts, error))
            }
            (_, Some(error)) => Err(error),
        }
    }
}

/// For providers whose settings need no check.
pub fn no_check(_: &Endpoint) -> Result<(), Mistake> {
    Ok(())
}

/// For providers whose webhooks tell everything: none of their receipts asks for a fetch.
pub fn no_fetch(_: &Fetching<'_>) -> Result<Step, TranslateError> {
    Ok(Step::Denied)
}

/// For providers that are not polled.
pub fn no_poll(_: &Endpoint) -> Vec<Fetch> {
    Vec::new()
}

/// For providers whose samples need nothing but texts as secrets.
pub fn no_example() -> Vec<(&'static str, String)> {
    Vec::new()
}

impl From<Request> for Sample {
    fn from(request: Request) -> Sample {
        Sample { request, answers: Vec::new() }
    }
}

impl Endpoint {
    /// A setting, or what it is where none is given.
    pub fn setting<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.settings.get(name).map_or(default, String::as_str)
    }

    /// The first value of a secret.
    pub fn secret(&self, name: &str) -> Option<&str> {
        self.secrets.get(name)?.first().map(ExposeSecret::expose_secret)
    }

    /// The values of one secret, to be tried in turn.
    pub fn candidates(&self, name: &'static str) -> Candidates<'_> {
        Candidates { name, secrets: self.secrets.get(name).map_or(&[], Vec::as_slice) }
    }
}

/// The provider with this name.
pub fn find(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}
