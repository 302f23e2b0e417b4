//! Samples for `send` and the demo: signed requests of any provider, forged ones, what an event type
//! reports, and endpoints with made-up secrets. It asks the provider modules for everything and knows no
//! provider itself. A made-up secret is random: nobody else can sign with it.

use std::collections::BTreeMap;

use anyhow::Context as _;
use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use secrecy::SecretString;

use crate::model::{Draft, EndpointName, Fact, PaymentStatus, SubjectState};
use crate::providers::{self, Endpoint, Provider, SampleOrder};
use crate::receipt::{Receipt, Request};

/// What the keys of secrets begin with.
const SECRETS: &str = "secrets.";

/// What a sample says.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// One of the provider's event types.
    pub event_type: &'a str,
    /// Which payment it is about.
    pub seed: &'a str,
    /// The provider's event id, where it is not to follow from type and seed.
    pub event_id: Option<&'a str>,
    /// When it happened.
    pub occurred_at: Timestamp,
}

impl Sample<'_> {
    /// The request, signed now with the endpoint's secrets.
    pub fn request(
        &self,
        provider: &Provider,
        endpoint: &Endpoint,
        now: Timestamp,
    ) -> anyhow::Result<Request> {
        self.whole(provider, endpoint, now).map(|sample| sample.request)
    }

    /// The request with what the provider's API would answer about it.
    pub fn whole(
        &self,
        provider: &Provider,
        endpoint: &Endpoint,
        now: Timestamp,
    ) -> anyhow::Result<providers::Sample> {
        let Sample { event_type, seed, event_id, occurred_at } = *self;
        let order = SampleOrder { event_type, seed, event_id, occurred_at, now };
        (provider.sample)(endpoint, &order).with_context(|| {
            format!("{} cannot be made with the secrets of {}", self.event_type, endpoint.name)
        })
    }
}

/// An endpoint that no configuration has.
pub fn made_up_endpoint(provider: &Provider, name: &str) -> anyhow::Result<Endpoint> {
    let name = EndpointName::new(provider.name, name)?;
    let path = format!("/webhooks/{name}");
    let (mut secrets, mut settings) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in made_up_keys(provider) {
        match key.strip_prefix(SECRETS) {
            Some(name) => drop(secrets.insert(name.to_owned(), vec![SecretString::from(value)])),
            None => drop(settings.insert(key, value)),
        }
    }
    let url = format!("http://127.0.0.1:8080{path}");
    Ok(Endpoint { name, path, url, secrets, settings })
}

/// The keys of an endpoint that samples can be made for: what the provider's module says, and a random
/// value for each other secret that must be there. Where nothing must be there, one has to be, so the
/// first gets one.
pub fn made_up_keys(provider: &Provider) -> Vec<(String, String)> {
    let is_secret = |name: &str| provider.secrets.iter().any(|secret| secret.name == name);
    // Hex digits read as text, as hex and as base64, whatever a provider takes a key for.
    let any_text = || hex::encode(rand::random::<[u8; 32]>());
    let given = (provider.example)();
    let missing = provider.secrets.iter().enumerate().filter(|(at, secret)| {
        let none_required = provider.secrets.iter().all(|secret| !secret.required);
        let is_needed = secret.required || (none_required && given.is_empty() && *at == 0);
        is_needed && !given.iter().any(|(name, _)| *name == secret.name)
    });
    let mut keys: Vec<(String, String)> =
        missing.map(|(_, secret)| (format!("{SECRETS}{}", secret.name), any_text())).collect();
    keys.extend(given.into_iter().map(|(name, value)| {
        let key = if is_secret(name) { format!("{SECRETS}{name}") } else { name.to_owned() };
        (key, if value.is_empty() { any_text() } else { value })
    }));
    keys
}

/// The event type that reports a payment as paid, else one that reports anything.
pub fn paid_event(provider: &Provider, endpoint: &Endpoint) -> &'static str {
    let drafts = |event_type: &&&'static str| drafts(provider, endpoint, event_type);
    let is_paid = |event_type: &&&'static str| {
        drafts(event_type).unwrap_or_default().iter().any(|draft| {
            let (_, report) =
                SubjectState::begin(&draft.subject).apply(draft, crate::model::Sequence(1));
            matches!(draft.fact, Fact::Payment(_))
                && report.status() == crate::model::Status::Payment(PaymentStatus::Paid)
        })
    };
    let reports =
        |event_type: &&&'static str| drafts(event_type).is_some_and(|all| !all.is_empty());
    let events = || provider.events.iter();
    let found = events().find(is_paid).or_else(|| events().find(reports));
    found.or(provider.events.first()).copied().unwrap_or_default()
}

/// What an event type reports, in a few words.
pub fn meaning(provider: &Provider, endpoint: &Endpoint, event_type: &str) -> String {
    let Some(drafts) = drafts(provider, endpoint, event_type) else {
        return "-".to_owned();
    };
    let reported = drafts.iter().map(|draft| {
        let mut state = SubjectState::begin(&draft.subject);
        let (_, report) = state.apply(draft, crate::model::Sequence(1));
        format!("{} of {}", report.status().word(), draft.subject.kind.collection())
    });
    let reported: Vec<String> = reported.collect();
    match reported.is_empty() {
        true => "nothing about a payment".to_owned(),
        false => reported.join(", "),
    }
}

/// How many events a sample of an event type gives.
pub fn events(
    provider: &Provider,
    endpoint: &Endpoint,
    event_type: &str,
    seed: &str,
    now: Timestamp,
) -> usize {
    let sample = Sample { event_type, seed, event_id: None, occurred_at: now };
    sample_drafts(provider, endpoint, &sample, now).map_or(0, |drafts| drafts.len())
}

/// What a sample of an event type is translated to; `None` where it cannot be made here.
fn drafts(provider: &Provider, endpoint: &Endpoint, event_type: &str) -> Option<Vec<Draft>> {
    let now = Timestamp::now();
    let sample = Sample { event_type, seed: "sample", event_id: None, occurred_at: now };
    sample_drafts(provider, endpoint, &sample, now)
}

fn sample_drafts(
    provider: &Provider,
    endpoint: &Endpoint,
    sample: &Sample<'_>,
    now: Timestamp,
) -> Option<Vec<Draft>> {
    let sample = sample.whole(provider, endpoint, now).ok()?;
    let request = sample.request.clone();
    let proof = provider.prove(&request, endpoint, now).ok()?;
    let receipt = Receipt::new(request, proof, endpoint.name.clone(), now, provider.redaction);
    providers::samples::drafts(provider, endpoint, &receipt, &sample).ok()?
}

/// The same request with one byte changed so that it is not authentic any more.
pub fn forge(
    provider: &Provider,
    endpoint: &Endpoint,
    request: &Request,
    now: Timestamp,
) -> anyhow::Result<Request> {
    let refused = |forged: &Request| provider.prove(forged, endpoint, now).is_err();
    let digits = request.body.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit());
    // A digit becomes another digit, so that only the signature can tell. Some providers sign some fields
    // alone, so not any digit does.
    let in_body = digits.map(|(at, _)| {
        let mut body = request.body.to_vec();
        body[at] ^= 1;
        Request { body: Bytes::from(body), ..request.clone() }
    });
    // Where a secret in the URL stands for a signature, it is changed.
    let in_query = request.path.find('?').map(|_| {
        let mut path = request.path.clone();
        let last = path.pop().filter(char::is_ascii_alphanumeric);
        path.push(if last == Some('0') { '1' } else { '0' });
        Request { path, ..request.clone() }
    });
    let in_headers = request.headers.iter().filter_map(|(name, value)| {
        let mut bytes = value.as_bytes().to_vec();
        *bytes.last_mut()? ^= 1;
        let mut forged = request.clone();
        forged.headers.insert(name.clone(), HeaderValue::from_bytes(&bytes).ok()?);
        Some(forged)
    });
    in_body
        .chain(in_headers)
        .chain(in_query)
        .find(refused)
        .with_context(|| format!("no byte of a {} request is signed", provider.title))
}

/// The known name that is written most like this one.
pub fn closest<'a>(name: &str, known: &[&'a str]) -> &'a str {
    let likeness = |known: &&str| strsim::jaro_winkler(name, known);
    known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::PROVIDERS;

    #[test]
    fn every_provider_has_an_event_that_reports_something_and_a_forgery_that_is_refused() {
        for provider in PROVIDERS {
            let endpoint = made_up_endpoint(provider, "main").expect("an endpoint");
            let event_type = paid_event(provider, &endpoint);
            let now = Timestamp::now();
            let sample = Sample { event_type, seed: "1", event_id: None, occurred_at: now };
            let request = sample.request(provider, &endpoint, now).expect("a sample");
            let proof = provider.prove(&request, &endpoint, now);
            assert!(proof.is_ok(), "{event_type}: {proof:?}");
            let forged = forge(provider, &endpoint, &request, now).expect("a forgery");
            assert!(provider.prove(&forged, &endpoint, now).is_err(), "{event_type}");
            assert_ne!(meaning(provider, &endpoint, event_type), "-", "{event_type}");
        }
    }

    #[test]
    fn a_mistyped_name_finds_the_one_that_was_meant() {
        let known = ["payment_intent.succeeded", "charge.refunded", "invoice.paid"];
        assert_eq!(closest("payment_intent.suceeded", &known), "payment_intent.succeeded");
        assert_eq!(closest("invoice_paid", &known), "invoice.paid");
    }
}
