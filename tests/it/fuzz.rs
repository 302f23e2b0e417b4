//! Hostile input. Whatever a request says, verifying and translating it gives an answer and never a
//! panic, and nothing that was changed after it was signed verifies. The same for what callers may send
//! back: ack ids, page tokens and start positions that nobody gave them are errors.

mod mutate;
mod tokens;

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use tollgate::model::EndpointName;
use tollgate::providers::{Endpoint, PROVIDERS, Provider};
use tollgate::receipt::signature::sign_hmac_sha256;
use tollgate::receipt::{Parts, Receipt, Request};

use mutate::{Mutation, mutations};

/// How many inputs each provider gets in each test.
const CASES: u32 = 300;

/// An accepted vector: a request that verifies at an endpoint at a time.
struct Valid {
    endpoint: Endpoint,
    request: Request,
    now: Timestamp,
}

#[test]
fn arbitrary_requests_never_panic() {
    let input = (
        proptest::collection::vec(any::<u8>(), 0..2000),
        proptest::collection::vec((header_name(), any::<Vec<u8>>()), 0..6),
        any::<prop::sample::Index>(),
        any::<i32>(),
    );
    for provider in PROVIDERS {
        let valid = valid(provider);
        check(&input, |(body, headers, at, skew)| {
            let base = &valid[at.index(valid.len())];
            let mut request = base.request.clone();
            request.body = body.clone().into();
            for (name, value) in &headers {
                let value = HeaderValue::from_bytes(value);
                if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value) {
                    request.headers.append(name, value);
                }
            }
            let now = base.now.checked_add(jiff::SignedDuration::from_secs(skew.into()));
            let now = now.unwrap_or(base.now);
            let _ = provider.prove(&request, &base.endpoint, now);
            let _ = (provider.translate)(&receipt(&base.endpoint, &request, now), &base.endpoint);
        });
    }
}

#[test]
fn mutated_requests_never_panic() {
    let input = (any::<prop::sample::Index>(), mutations(), any::<Option<prop::sample::Index>>());
    for provider in PROVIDERS {
        let valid = valid(provider);
        check(&input, |(at, mutations, header)| {
            let base = &valid[at.index(valid.len())];
            let mut request = base.request.clone();
            request.body = mutate::apply(&request.body, &mutations).into();
            if let Some(at) = header.filter(|_| !request.headers.is_empty()) {
                mutate_header(
                    &mut request.headers,
                    at.index(base.request.headers.len()),
                    &mutations,
                );
            }
            let _ = provider.prove(&request, &base.endpoint, base.now);
            let receipt = receipt(&base.endpoint, &request, base.now);
            let _ = (provider.translate)(&receipt, &base.endpoint);
        });
    }
}

#[test]
fn what_was_changed_after_it_was_signed_is_refused() {
    // Their signatures cover the whole body; Adyen's covers fields of it.
    for name in ["stripe", "square"] {
        let provider = tollgate::providers::find(name).expect("a provider");
        let valid = valid(provider);
        check(&(any::<prop::sample::Index>(), mutations()), |(at, mutations)| {
            let base = &valid[at.index(valid.len())];
            let mut request = base.request.clone();
            request.body = mutate::apply(&request.body, &mutations).into();
            if request.body != base.request.body {
                let verified = provider.prove(&request, &base.endpoint, base.now);
                assert!(verified.is_err(), "{name} took a body that was not signed: {mutations:?}");
            }
        });
    }
}

/// Whoever knows the secret may say anything: it becomes a receipt, its secrets are taken out, and what
/// it means is asked. None of it may panic.
#[test]
fn signed_nonsense_never_panics() {
    let provider = tollgate::providers::find("stripe").expect("a provider");
    let valid = valid(provider);
    check(&(any::<prop::sample::Index>(), mutations()), |(at, mutations)| {
        let base = &valid[at.index(valid.len())];
        let mut request = base.request.clone();
        let body = mutate::apply(&request.body, &mutations);
        let time = base.now.as_second().to_string();
        let secret = base.endpoint.secrets["webhook_secret"].first().expect("a secret");
        let secret = secrecy::ExposeSecret::expose_secret(secret).as_bytes();
        let signature = sign_hmac_sha256(secret, &[time.as_bytes(), b".", &body]);
        let header = format!("t={time},v1={}", hex::encode(signature));
        request.headers.insert("stripe-signature", header.parse().expect("a header"));
        request.body = body.into();
        let proof = provider.prove(&request, &base.endpoint, base.now).expect("it is signed");
        let name = base.endpoint.name.clone();
        let receipt = Receipt::new(request, proof, name, base.now, provider.redaction);
        assert_eq!(receipt.digest(), receipt.compute_digest());
        let _ = (provider.translate)(&receipt, &base.endpoint);
    });
}

fn check<S: Strategy>(input: &S, test: impl Fn(S::Value)) {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(input, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn header_name() -> impl Strategy<Value = String> {
    let known: Vec<&'static str> = vec![
        "stripe-signature",
        "x-square-hmacsha256-signature",
        "square-environment",
        "authorization",
        "content-type",
        "hmacsignature",
    ];
    prop_oneof![prop::sample::select(known).prop_map(str::to_owned), "[a-z][a-z-]{0,20}"]
}

fn mutate_header(headers: &mut HeaderMap, at: usize, mutations: &[Mutation]) {
    let Some((name, value)) = headers.iter().nth(at) else { return };
    let changed = HeaderValue::from_bytes(&mutate::apply(value.as_bytes(), mutations));
    let name = name.clone();
    if let Ok(changed) = changed {
        headers.insert(name, changed);
    }
}

/// A receipt of what was never verified: only to be translated.
fn receipt(endpoint: &Endpoint, request: &Request, received_at: Timestamp) -> Receipt {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = request.headers.iter();
    Receipt::from_stored(Parts {
        endpoint: endpoint.name.clone(),
        received_at,
        method: request.method.to_string(),
        path: request.path.clone(),
        headers: headers.map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: request.body.clone(),
        verified_by: String::new(),
        digest: [0; 32],
    })
}

/// The provider's accepted vectors, those that verify as they stand.
fn valid(provider: &Provider) -> Vec<Valid> {
    let name = provider.name;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{name}.json"));
    let text = std::fs::read_to_string(path).expect("each provider has vectors");
    let vectors: Vec<Value> = serde_json::from_str(&text).expect("a list");
    let valid: Vec<Valid> = vectors
        .iter()
        .filter(|vector| vector["expect"] == "accept")
        .filter_map(|vector| read(name, vector))
        .filter(|one| provider.prove(&one.request, &one.endpoint, one.now).is_ok())
        .collect();
    assert!(!valid.is_empty(), "no vector of {name} verifies");
    valid
}

/// A setting: a text as it is, a list or a table as JSON.
fn one_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn read(provider: &str, vector: &Value) -> Option<Valid> {
    let url = vector["url"].as_str()?;
    let path = url.split_once("://")?.1.split_once('/')?.1;
    let texts = |value: &Value| -> Vec<String> {
        match value {
            Value::Array(values) if values.iter().all(Value::is_string) => {
                values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Value::String(text) => vec![text.clone()],
            other => vec![other.to_string()],
        }
    };
    let secrets = vector["secrets"].as_object()?.iter();
    let of_vector = ["scheme", "standard"].map(|key| (key.to_owned(), vector[key].clone()));
    let of_vector = of_vector.into_iter().filter(|(_, value)| !value.is_null());
    let settings = vector["config"].as_object().cloned().into_iter().flatten().chain(of_vector);
    let endpoint = Endpoint {
        name: EndpointName::new(provider, "fuzz").ok()?,
        path: format!("/{path}"),
        url: url.to_owned(),
        secrets: secrets
            .map(|(key, value)| (key.clone(), texts(value).into_iter().map(Into::into).collect()))
            .collect(),
        settings: settings.map(|(key, value)| (key, one_text(&value))).collect(),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in vector["headers"].as_object()? {
        headers.append(name.parse::<HeaderName>().ok()?, value.as_str()?.parse().ok()?);
    }
    let request = Request {
        method: vector["method"].as_str()?.parse::<Method>().ok()?,
        path: format!("/{path}"),
        headers,
        body: match vector["body_base64"].as_str() {
            Some(text) => BASE64.decode(text).ok()?.into(),
            None => vector["body"].as_str()?.to_owned().into(),
        },
    };
    let now = Timestamp::from_second(vector["now_unix"].as_i64()?).ok()?;
    Some(Valid { endpoint, request, now })
}
