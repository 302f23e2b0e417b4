//! What the provider modules' tests share: signed vectors are read from `tests/vectors` and held against
//! `verify` and `translate`, and the rules that every provider keeps are checked for one of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use secrecy::SecretString;

use crate::model::{Draft, EndpointName, Fact, Money, PaymentFact};
use crate::receipt::{Parts, Receipt, Request, VerifyError};

use super::{Endpoint, Provider, Sample, SampleOrder, TranslateError, Translation, samples};

/// When the samples of these tests are sent.
pub const NOW: i64 = 1_795_600_000;

/// An endpoint of the provider with these secrets.
pub fn endpoint(provider: &Provider, secrets: &[(&str, &str)]) -> Endpoint {
    Endpoint {
        name: EndpointName::new(provider.name, "test").expect("a valid name"),
        path: format!("/webhooks/{}/test", provider.name),
        url: format!("https://hooks.example.test/webhooks/{}/test", provider.name),
        secrets: secrets
            .iter()
            .map(|(name, value)| ((*name).to_owned(), vec![SecretString::from(*value)]))
            .collect(),
        settings: BTreeMap::new(),
    }
}

/// What becomes of a request: its translation, where it verifies.
pub fn receive(
    provider: &Provider,
    endpoint: &Endpoint,
    request: Request,
    now: Timestamp,
) -> Result<Result<Translation, TranslateError>, VerifyError> {
    let proof = provider.prove(&request, endpoint, now)?;
    let receipt = Receipt::new(request, proof, endpoint.name.clone(), now, provider.redaction);
    Ok((provider.translate)(&receipt, endpoint))
}

/// The sample of an event type, as of `NOW` plus `at` seconds.
pub fn sample(provider: &Provider, endpoint: &Endpoint, event_type: &str, at: i64) -> Request {
    let now = Timestamp::from_second(NOW + at).expect("a time");
    let order = SampleOrder { event_type, seed: "a1", event_id: None, occurred_at: now, now };
    provider.sample_request(endpoint, &order).unwrap_or_else(|| panic!("no sample of {event_type}"))
}

/// As `sample`, with what the provider's API answers.
pub fn whole_sample(provider: &Provider, endpoint: &Endpoint, event_type: &str, at: i64) -> Sample {
    let now = Timestamp::from_second(NOW + at).expect("a time");
    let order = SampleOrder { event_type, seed: "a1", event_id: None, occurred_at: now, now };
    (provider.sample)(endpoint, &order).unwrap_or_else(|| panic!("no sample of {event_type}"))
}

/// What the sample of an event type says in the end, fetches included; `None` where it is unknown.
pub fn drafts(
    provider: &Provider,
    endpoint: &Endpoint,
    event_type: &str,
    at: i64,
) -> Option<Vec<Draft>> {
    let now = Timestamp::from_second(NOW + at).expect("a time");
    let sample = whole_sample(provider, endpoint, event_type, at);
    let proof = provider.prove(&sample.request, endpoint, now);
    let proof = proof.unwrap_or_else(|error| panic!("{event_type}: {error}"));
    let (name, request) = (endpoint.name.clone(), sample.request.clone());
    let receipt = Receipt::new(request, proof, name, now, provider.redaction);
    samples::drafts(provider, endpoint, &receipt, &sample)
        .unwrap_or_else(|error| panic!("{event_type}: {error}"))
}

/// How much of a request its signature covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coverage {
    /// Every byte of the body.
    Body,
    /// Some values of the body, among them ids, status and amount.
    Values,
    /// Nothing: a secret in the URL, a header or the body stands for all of it.
    Nothing,
}

/// Each event type has a sample that verifies, says something unless it is one of `silent`, and is
/// refused once a byte that is signed changes.
pub fn check_samples(
    provider: &Provider,
    endpoint: &Endpoint,
    silent: &[&str],
    coverage: Coverage,
) {
    let now = Timestamp::from_second(NOW).expect("a time");
    for event_type in provider.events {
        let request = sample(provider, endpoint, event_type, 0);
        assert_eq!(request.path.split('?').next(), Some(&*endpoint.path), "{event_type}");
        let drafts = drafts(provider, endpoint, event_type, 0);
        let drafts = drafts.unwrap_or_else(|| panic!("{event_type} is unknown"));
        assert_eq!(drafts.is_empty(), silent.contains(event_type), "{event_type}");
        for draft in &drafts {
            assert_eq!(draft.event_type, *event_type);
            assert_eq!(draft.fact.kind(), draft.subject.kind, "{event_type}");
        }
        match coverage {
            Coverage::Body | Coverage::Values => {
                check_flipped(provider, endpoint, &request, event_type, coverage);
            }
            Coverage::Nothing => {}
        }
    }
    let order =
        SampleOrder { event_type: "no.such", seed: "a1", event_id: None, occurred_at: now, now };
    assert!(provider.sample_request(endpoint, &order).is_none());
}

/// No change of one byte may change what a request that still verifies says.
fn check_flipped(
    provider: &Provider,
    endpoint: &Endpoint,
    request: &Request,
    event_type: &str,
    coverage: Coverage,
) {
    let now = Timestamp::from_second(NOW).expect("a time");
    let said = receive(provider, endpoint, request.clone(), now).expect("verifies");
    let is_whole_body_signed = coverage == Coverage::Body;
    for at in (0..request.body.len()).step_by(7) {
        let mut body = request.body.to_vec();
        body[at] ^= 1;
        let mut flipped = request.clone();
        flipped.body = Bytes::from(body);
        match receive(provider, endpoint, flipped, now) {
            Err(_) => {}
            Ok(_) if is_whole_body_signed => panic!("{event_type}: byte {at} is not signed"),
            Ok(Ok(Translation::Events(drafts))) => {
                let Ok(Translation::Events(before)) = &said else { panic!("{event_type}") };
                for (draft, before) in drafts.iter().zip(before) {
                    assert_eq!(draft.key, before.key, "{event_type}");
                    assert_eq!(draft.subject, before.subject, "{event_type}");
                    assert_eq!(amount(draft), amount(before), "{event_type}");
                }
            }
            Ok(_) => {}
        }
    }
}

fn amount(draft: &Draft) -> Option<Money> {
    match &draft.fact {
        Fact::Payment(fact) => fact.amount,
        Fact::Invoice(fact) => fact.total,
        Fact::BankTransaction(fact) => fact.amount,
        Fact::CustomerAction(fact) => fact.amount,
    }
}

/// All steps of a life happen in one second; each must still come after the one before it, and all must
/// be about one subject.
pub fn check_life(provider: &Provider, endpoint: &Endpoint, life: &[&str]) {
    let mut before: Option<(&str, Draft)> = None;
    for event_type in life {
        let mut drafts = drafts(provider, endpoint, event_type, 0).expect("a known type");
        let draft = drafts.remove(0);
        if let Some((earlier, before)) = &before {
            let key = |draft: &Draft| (draft.version, draft.occurred_at, draft.rank);
            assert!(key(before) < key(&draft), "{earlier} is not before {event_type}");
            assert_eq!(before.subject, draft.subject, "{event_type}");
        }
        before = Some((event_type, draft));
    }
}

/// Neither arbitrary bytes, nor arbitrary headers, nor broken copies of real bodies may panic. Broken
/// bodies are put before `translate` as if they had verified, as a stored receipt is.
pub fn check_hostile_input(provider: &Provider, endpoint: &Endpoint) {
    let now = Timestamp::from_second(NOW).expect("a time");
    let samples: Vec<Request> =
        provider.events.iter().map(|event| sample(provider, endpoint, event, 0)).collect();
    let mutation = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), mutation());
    let input = prop_oneof![
        4 => mutation.prop_map(|(which, at, mutation)| {
            let request = which.get(&samples);
            let mut body = request.body.to_vec();
            let at = at.index(body.len());
            mutation.apply(&mut body, at);
            Request { body: Bytes::from(body), ..request.clone() }
        }),
        1 => (prop::collection::vec(any::<u8>(), 0..200), any::<prop::sample::Index>()).prop_map(
            |(body, which)| Request { body: Bytes::from(body), ..which.get(&samples).clone() }
        ),
    ];
    for deep in
        ["[".repeat(200_000), format!("{{\"data\":{{\"object\":{}", "{\"a\":".repeat(99_999))]
    {
        let request = Request { body: Bytes::from(deep.clone()), ..samples[0].clone() };
        assert!(provider.prove(&request, endpoint, now).is_err());
        assert!(translate_stored(provider, endpoint, deep.as_bytes()).is_err());
    }
    let headers = prop::collection::vec(prop::num::u8::ANY.prop_map(|byte| byte.max(b' ')), 0..99);
    let mut runner = TestRunner::new(Config { cases: 2_000, ..Config::default() });
    runner
        .run(&(input, headers), |(request, value)| {
            let _ = provider.prove(&request, endpoint, now);
            let _ = translate_stored(provider, endpoint, &request.body);
            let mut garbled = request;
            let names: Vec<HeaderName> = garbled.headers.keys().cloned().collect();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                for name in names {
                    garbled.headers.insert(name, value.clone());
                }
                // Where the secret is in the URL or the body, headers prove nothing.
                let mut bare = garbled.clone();
                bare.headers.clear();
                let is_headless = provider.prove(&bare, endpoint, now).is_ok();
                prop_assert!(is_headless || provider.prove(&garbled, endpoint, now).is_err());
            }
            Ok(())
        })
        .expect("no input panics");
}

/// What a stored receipt of this body means.
pub fn translate_stored(
    provider: &Provider,
    endpoint: &Endpoint,
    body: &[u8],
) -> Result<Translation, TranslateError> {
    let parts = Parts {
        endpoint: endpoint.name.clone(),
        received_at: Timestamp::from_second(NOW).expect("a time"),
        method: "POST".to_owned(),
        path: endpoint.path.clone(),
        headers: Vec::new(),
        body: Bytes::copy_from_slice(body),
        verified_by: String::new(),
        digest: [0; 32],
    };
    (provider.translate)(&Receipt::from_stored(parts), endpoint)
}

/// The one draft that the sample of an event type gives, with `from` in its body replaced by `to`.
pub fn draft_of(
    provider: &Provider,
    endpoint: &Endpoint,
    event_type: &str,
    [from, to]: [&str; 2],
) -> Result<Draft, TranslateError> {
    let body = sample(provider, endpoint, event_type, 0).body;
    let text = std::str::from_utf8(&body).expect("text");
    assert!(from.is_empty() || text.contains(from), "`{from}` stands in {text}");
    let changed = if from.is_empty() { text.to_owned() } else { text.replace(from, to) };
    match translate_stored(provider, endpoint, changed.as_bytes())? {
        Translation::Events(mut drafts) if drafts.len() == 1 => Ok(drafts.remove(0)),
        other => panic!("{event_type}: {other:?}"),
    }
}

/// The payment fact of a draft.
pub fn payment_fact(draft: &Draft) -> &PaymentFact {
    let Fact::Payment(fact) = &draft.fact else { panic!("no payment: {draft:?}") };
    fact
}

/// How a body is broken.
#[derive(Clone, Debug)]
enum Mutation {
    Put(u8),
    Cut,
    Insert(&'static str),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    const TEXTS: &[&str] = &[
        "null",
        "{}",
        "[]",
        "-1",
        "1e400",
        "99999999999999999999",
        "\"\\ud800\"",
        "{\"id\":",
        ",",
    ];
    prop_oneof![
        any::<u8>().prop_map(Mutation::Put),
        Just(Mutation::Cut),
        prop::sample::select(TEXTS).prop_map(Mutation::Insert),
    ]
}

impl Mutation {
    fn apply(&self, body: &mut Vec<u8>, at: usize) {
        match self {
            Mutation::Put(byte) => body[at] = *byte,
            Mutation::Cut => body.truncate(at),
            // Replaces a value, where `at` is in one, so that the JSON stays whole.
            Mutation::Insert(text) => {
                let colon = body[at..].iter().position(|byte| *byte == b':');
                let Some(start) = colon.map(|colon| at + colon + 1) else { return };
                let length = body[start..].iter().position(|byte| b",}\n".contains(byte));
                let end = start + length.unwrap_or(0);
                body.splice(start..end, text.bytes());
            }
        }
    }
}
