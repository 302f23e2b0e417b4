//! TrueLayer's own rules, each with a test: whose keys are trusted, what is signed, and how long.

use std::collections::HashMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::verification::{HEADER, PRODUCTION_KEYS, verify};
use super::*;
use crate::model::{Draft, PaymentStatus, Sequence, Status, SubjectState};
use crate::providers::calls::Key;
use crate::providers::testing::{self, Coverage};
use crate::providers::{Keys, SampleOrder, Verdict, samples};
use crate::receipt::{Request, VerifyError};

fn endpoint() -> Endpoint {
    let secrets = sample_secrets();
    let secrets: Vec<(&str, &str)> =
        secrets.iter().map(|(name, value)| (*name, value.as_str())).collect();
    testing::endpoint(&PROVIDER, &secrets)
}

fn now() -> Timestamp {
    at(0)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(testing::NOW + seconds).expect("a time")
}

fn signed() -> Request {
    testing::sample(&PROVIDER, &endpoint(), "payment_settled", 0)
}

#[test]
fn every_event_type_has_a_signed_sample_that_translates() {
    testing::check_samples(&PROVIDER, &endpoint(), &[], Coverage::Nothing);
    assert_eq!(check(&endpoint()), Ok(()));
    // What is signed does not depend on the type, and each signature takes its time.
    let some = Provider { events: &["payment_settled", "external_payment_received"], ..PROVIDER };
    testing::check_samples(&some, &endpoint(), &[], Coverage::Body);
}

#[test]
fn a_sample_needs_an_endpoint_that_trusts_its_key() {
    let other = testing::endpoint(&PROVIDER, &[("client_id", "c"), ("client_secret", "s")]);
    let (event_type, now) = ("payment_settled", now());
    let order = SampleOrder { event_type, seed: "a", event_id: None, occurred_at: now, now };
    assert!((PROVIDER.sample)(&other, &order).is_none());
}

#[test]
fn the_steps_of_a_life_follow_each_other_in_one_second() {
    testing::check_life(
        &PROVIDER,
        &endpoint(),
        &[
            "payment_authorized",
            "payment_executed",
            "payment_settlement_stalled",
            "payment_settled",
            "payment_creditable",
            "refund_executed",
            "payment_disputed",
            "payment_reversed",
        ],
    );
    testing::check_life(
        &PROVIDER,
        &endpoint(),
        &["mandate_authorized", "mandate_failed", "mandate_revoked"],
    );
    testing::check_life(
        &PROVIDER,
        &endpoint(),
        &["payment_link_payment_created", "payment_link_disabled"],
    );
}

#[test]
fn a_key_set_is_asked_for_at_the_url_that_is_signed_and_again_for_a_new_key() {
    let mut endpoint = endpoint();
    let request = signed();
    let sets: Value = serde_json::from_str(endpoint.secret(JWKS).expect("keys")).expect("JSON");
    endpoint.secrets.remove(JWKS);
    let with = |body: String, fetched_at: Timestamp| {
        let key = Key { body: Bytes::from(body), fetched_at };
        let keys = Keys::new(HashMap::from([(PRODUCTION_KEYS.to_owned(), key)]));
        verify(&request, &endpoint, &keys, now())
    };
    let verdict = verify(&request, &endpoint, &Keys::default(), now());
    let Ok(Verdict::NeedsKey(needed)) = verdict else { panic!("{verdict:?}") };
    assert_eq!((needed.id.as_str(), needed.call.url.as_str()), (PRODUCTION_KEYS, PRODUCTION_KEYS));
    let set = sets[PRODUCTION_KEYS].to_string();
    assert!(matches!(with(set, at(-80_000)), Ok(Verdict::Verified(_))));
    let empty = json!({ "keys": [] }).to_string();
    assert!(matches!(with(empty.clone(), at(-301)), Ok(Verdict::NeedsKey(_))));
    assert!(matches!(with(empty, at(-10)), Err(VerifyError::NoKey(_))));
}

#[test]
fn another_key_url_is_refused_before_anything_is_fetched() {
    let mut endpoint = endpoint();
    endpoint.secrets.remove(JWKS);
    for url in [
        "https://webhooks.truelayer.com.evil.example/.well-known/jwks",
        "https://webhooks.truelayer.com/.well-known/jwks/",
        "https://webhooks.truelayer.com@evil.example/.well-known/jwks",
        "http://webhooks.truelayer.com/.well-known/jwks",
        "",
    ] {
        let mut request = signed();
        let text = request.header(HEADER).expect("a signature").to_owned();
        let (_, signature) = text.split_once("..").expect("detached");
        let header = json!({
            "alg": "ES512", "kid": "k", "tl_version": "2",
            "tl_headers": "X-Tl-Webhook-Timestamp", "jku": url,
        });
        let header = crate::receipt::signature::jws::base64_url(header.to_string().as_bytes());
        let value = format!("{header}..{signature}").parse().expect("a value");
        request.headers.insert(HEADER, value);
        let refused = verify(&request, &endpoint, &Keys::default(), now());
        assert_eq!(refused.map(|_| ()), Err(VerifyError::Malformed(HEADER)), "{url}");
    }
}

#[test]
fn the_path_is_signed_with_or_without_its_last_slash() {
    let mut endpoint = endpoint();
    let request = signed();
    let path = endpoint.path.clone();
    for (path, accepted) in
        [(format!("{path}/"), true), (path.clone(), true), (format!("{path}/x"), false)]
    {
        endpoint.path = path.clone();
        let received = testing::receive(&PROVIDER, &endpoint, request.clone(), now());
        assert_eq!(received.is_ok(), accepted, "{path}");
    }
    endpoint.path = "/rewritten".to_owned();
    endpoint.settings.insert(SIGNED_PATH.to_owned(), path);
    assert!(testing::receive(&PROVIDER, &endpoint, request, now()).is_ok());
}

#[test]
fn a_repetition_of_three_days_is_taken_and_an_older_one_is_not() {
    let endpoint = endpoint();
    for (seconds, accepted) in [(72 * 3_600, true), (73 * 3_600 + 1, false), (-301, false)] {
        let received = testing::receive(&PROVIDER, &endpoint, signed(), at(seconds));
        assert_eq!(received.is_ok(), accepted, "{seconds}");
    }
}

#[test]
fn the_time_of_sending_must_be_signed_and_stand_once() {
    let endpoint = endpoint();
    let mut twice = signed();
    let value = twice.headers[verification::TIMESTAMP_HEADER].clone();
    twice.headers.append(verification::TIMESTAMP_HEADER, value);
    assert!(testing::receive(&PROVIDER, &endpoint, twice, now()).is_err());
    let mut missing = signed();
    missing.headers.remove(verification::TIMESTAMP_HEADER);
    assert!(testing::receive(&PROVIDER, &endpoint, missing, now()).is_err());
}

#[test]
fn events_of_the_api_of_old_are_unknown() {
    let body = br#"{"event_type":"single_immediate_payment_status_changed","event_body":{}}"#;
    let translation = testing::translate_stored(&PROVIDER, &endpoint(), body);
    let name = "single_immediate_payment_status_changed".to_owned();
    assert_eq!(translation, Ok(Translation::Unknown(name)));
}

#[test]
fn an_id_that_is_no_plain_id_goes_into_no_url() {
    for id in ["../users", "a/b", "a%2fb", "a?b", "", "."] {
        let body = json!({ "type": "payment_settled", "event_id": "e", "payment_id": id });
        let body = body.to_string();
        assert!(
            testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes()).is_err(),
            "{id}"
        );
    }
}

#[test]
fn a_given_up_payment_is_canceled_and_a_refused_one_failed() {
    let endpoint = testing::endpoint(&PROVIDER, &[]);
    let status = |reason: &str| {
        let body = json!({
            "type": "payment_failed", "event_id": "e", "payment_id": "p",
            "failed_at": "2026-11-23T15:00:00Z", "failure_reason": reason,
        });
        let body = body.to_string();
        match testing::translate_stored(&PROVIDER, &endpoint, body.as_bytes()) {
            Ok(Translation::Events(drafts)) => testing::payment_fact(&drafts[0]).status,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(status("user_canceled_at_provider"), Some(PaymentStatus::Canceled));
    assert_eq!(status("provider_rejected"), Some(PaymentStatus::Failed));
}

#[test]
fn a_life_ends_in_the_same_state_in_any_order() {
    let draft = |event_type, seconds| {
        testing::drafts(&PROVIDER, &endpoint(), event_type, seconds).expect("known").remove(0)
    };
    let mut life = vec![
        draft("payment_authorized", 0),
        draft("payment_executed", 1),
        draft("payment_settlement_stalled", 2),
        draft("payment_settled", 3),
        draft("refund_executed", 4),
    ];
    check_convergence(&mut life, PaymentStatus::PartiallyRefunded);
    life.push(draft("payment_reversed", 5));
    check_convergence(&mut life, PaymentStatus::ChargedBack);
    let mut failed = vec![draft("payment_executed", 0), draft("payment_failed", 1)];
    check_convergence(&mut failed, PaymentStatus::Failed);
}

fn check_convergence(drafts: &mut [Draft], status: PaymentStatus) {
    let in_order = merged(drafts);
    assert_eq!(in_order.status(), Some(Status::Payment(status)));
    assert_eq!(
        in_order.amounts().total.map(|money| money.minor_units),
        Some(samples::amount("a1"))
    );
    permute(drafts, 0, &mut |drafts| assert!(merged(drafts).converges_with(&in_order)));
}

fn merged(drafts: &[Draft]) -> SubjectState {
    let mut state = SubjectState::begin(&drafts[0].subject);
    for draft in drafts {
        let _ = state.apply(draft, Sequence(1));
    }
    state
}

fn permute(drafts: &mut [Draft], from: usize, check: &mut impl FnMut(&[Draft])) {
    if from == drafts.len() {
        return check(drafts);
    }
    for at in from..drafts.len() {
        drafts.swap(from, at);
        permute(drafts, from + 1, check);
        drafts.swap(from, at);
    }
}

#[test]
fn settings_that_cannot_verify_anything_are_refused() {
    let refused = |secrets: &[(&str, &str)]| {
        check(&testing::endpoint(&PROVIDER, secrets)).expect_err("a mistake").key
    };
    assert_eq!(refused(&[("jwks", "{}")]), "secrets.jwks");
    assert_eq!(refused(&[("jwks", r#"{"https://evil.example":{"keys":[]}}"#)]), "secrets.jwks");
    assert_eq!(refused(&[("client_id", "c")]), "secrets.client_secret");
    let mut endpoint = endpoint();
    endpoint.settings.insert(TOLERANCE.to_owned(), "soon".to_owned());
    assert_eq!(check(&endpoint).expect_err("a mistake").key, TOLERANCE);
}

#[test]
fn no_request_panics() {
    // Without a key at hand, so that thousands of signatures are not checked: what comes before is what
    // reads the request.
    let provider =
        Provider { sample: |_, order| (PROVIDER.sample)(&endpoint(), order), ..PROVIDER };
    let secrets = [("client_id", "c"), ("client_secret", "s")];
    testing::check_hostile_input(&provider, &testing::endpoint(&PROVIDER, &secrets));
}
