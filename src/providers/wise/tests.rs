//! Wise's rules, on samples and on answers of its API.

use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::*;
use crate::model::{PaymentStatus, Sequence, Status, SubjectState};
use crate::providers::testing::{self, Coverage};

fn endpoint() -> Endpoint {
    testing::endpoint(&PROVIDER, &[(PUBLIC_KEY, &sample_secrets()[0].1), (ACCESS_TOKEN, "token")])
}

fn sandbox() -> Endpoint {
    let mut endpoint = endpoint();
    endpoint.settings.insert(ENVIRONMENT.to_owned(), SANDBOX.to_owned());
    endpoint
}

fn now() -> Timestamp {
    Timestamp::from_second(testing::NOW).expect("a time")
}

fn translated(event_type: &str, data: &str) -> Result<Translation, TranslateError> {
    let body = format!(
        r#"{{"event_type":"{event_type}","sent_at":"2026-11-23T12:00:00Z","data":{data}}}"#
    );
    testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes())
}

fn only(event_type: &str, data: &str) -> Draft {
    match translated(event_type, data).expect("readable") {
        Translation::Events(mut drafts) if drafts.len() == 1 => drafts.remove(0),
        other => panic!("{other:?}"),
    }
}

fn step(
    endpoint: &Endpoint,
    fetch: &Fetch,
    answers: &[(u16, &str)],
) -> Result<Step, TranslateError> {
    let answers: Vec<Answer> = answers
        .iter()
        .map(|(status, body)| Answer {
            status: *status,
            headers: HeaderMap::new(),
            body: (*body).to_owned().into(),
        })
        .collect();
    let (received_at, now) = (now(), now());
    (PROVIDER.fetch)(&Fetching { endpoint, fetch, received_at, now, cursor: "", answers: &answers })
}

fn change(state: &str, minute: u8) -> String {
    format!(
        r#"{{"resource":{{"id":111}},"current_state":"{state}","previous_state":"x",
        "occurred_at":"2026-11-23T12:{minute:02}:00Z"}}"#
    )
}

const TRANSFER: &str = r#"{"id":111,"sourceValue":100.0,"sourceCurrency":"GBP","targetValue":120.5,
    "targetCurrency":"EUR","reference":"INV-1","targetAccount":333}"#;

/// What a transfer's change of state says in the end.
fn state(state: &str, minute: u8, answer: (u16, &str)) -> Result<Draft, TranslateError> {
    let Translation::Fetches(fetches) =
        translated("transfers#state-change", &change(state, minute))?
    else {
        panic!("no fetch of {state}")
    };
    match step(&endpoint(), &fetches[0], &[answer])? {
        Step::Done { mut drafts, .. } => Ok(drafts.remove(0)),
        Step::Call(_) | Step::Denied | Step::Later(_) => panic!("not done"),
    }
}

#[test]
fn samples_verify_and_translate_and_do_not_survive_a_flipped_byte() {
    let silent: Vec<&str> = facts::EVENTS
        .iter()
        .filter(|(_, meaning)| matches!(meaning, Meaning::Silent))
        .map(|(name, _)| *name)
        .collect();
    testing::check_samples(&PROVIDER, &endpoint(), &silent, Coverage::Body);
}

#[test]
fn only_an_endpoint_that_trusts_the_samples_gets_any() {
    let order = crate::providers::SampleOrder {
        event_type: "balances#update",
        seed: "a1",
        event_id: None,
        occurred_at: now(),
        now: now(),
    };
    for secrets in [&[][..], &[(PUBLIC_KEY, keys::PRODUCTION)]] {
        let endpoint = testing::endpoint(&PROVIDER, secrets);
        assert!(PROVIDER.sample_request(&endpoint, &order).is_none());
        let sample = testing::sample(&PROVIDER, &self::endpoint(), "balances#update", 0);
        assert!(PROVIDER.prove(&sample, &endpoint, now()).is_err());
    }
}

#[test]
fn no_request_panics() {
    testing::check_hostile_input(&PROVIDER, &endpoint());
}

#[test]
fn wises_own_keys_are_rsa_of_2048_bits_and_differ() {
    let modulus = |pem| match PublicKey::from_pem(pem) {
        Some(PublicKey::Rsa { modulus, .. }) => modulus,
        other => panic!("{other:?}"),
    };
    let (production, sandbox) = (modulus(keys::PRODUCTION), modulus(keys::SANDBOX));
    assert_eq!((production.len(), sandbox.len()), (256, 256));
    assert_ne!(production, sandbox);
    // A single wrong character would refuse everything, or worse.
    let digest = |pem: &str| hex::encode(Sha256::digest(pem));
    assert_eq!(
        digest(keys::PRODUCTION),
        "c267d235653896bdc3e929c895905e26603a0172049923f187ec7debf7d8edfc"
    );
    assert_eq!(
        digest(keys::SANDBOX),
        "15ce372dab746579f42426bcda535b760336516e9a7a02de89d6d94f607df38c"
    );
}

#[test]
fn the_environment_chooses_the_key_and_the_api() {
    let fetch = Fetch {
        object: "transfers/111".to_owned(),
        told: r#"{"key":"k","event_type":"t","at":"2026-11-23T12:00:00Z","live":true,
            "transfer":"111","state":"processing"}"#
            .to_owned(),
    };
    let url = |endpoint: &Endpoint| match step(endpoint, &fetch, &[]) {
        Ok(Step::Call(call)) => call.url,
        _ => panic!("no call"),
    };
    assert_eq!(url(&endpoint()), "https://api.wise.com/v1/transfers/111");
    assert_eq!(url(&sandbox()), "https://api.wise-sandbox.com/v1/transfers/111");
}

#[test]
fn oauth_serves_where_there_is_no_token() {
    let secrets = [(CLIENT_ID, "id"), (CLIENT_SECRET, "secret"), (REFRESH_TOKEN, "refresh")];
    let endpoint = testing::endpoint(&PROVIDER, &secrets);
    let Auth::OAuth(oauth) = call(&endpoint, "transfers/1").auth else { panic!("no OAuth") };
    assert_eq!(oauth.token_url, "https://api.wise.com/oauth/token");
    assert!(oauth.refresh_token.is_some());
    let token = call(&self::endpoint(), "transfers/1");
    assert!(token.headers.contains(&("authorization", "Bearer token".to_owned())));
}

#[test]
fn a_test_notification_says_nothing() {
    let mut request = testing::sample(&PROVIDER, &endpoint(), "balances#update", 0);
    request.headers.insert(TEST_HEADER, "true".parse().expect("a value"));
    let said = testing::receive(&PROVIDER, &endpoint(), request, now());
    assert_eq!(said, Ok(Ok(Translation::Events(Vec::new()))));
}

#[test]
fn the_retired_header_is_never_looked_at() {
    let mut request = testing::sample(&PROVIDER, &endpoint(), "balances#update", 0);
    let signature = request.headers.remove(HEADER).expect("signed");
    request.headers.insert("x-signature", signature);
    let refused = PROVIDER.prove(&request, &endpoint(), now());
    assert_eq!(refused.expect_err("unsigned"), VerifyError::MissingHeader(HEADER));
}

#[test]
fn a_transfer_has_the_state_it_was_told_and_the_amount_that_was_fetched() {
    let status = |word: &str| {
        let draft = state(word, 1, (200, TRANSFER)).expect("readable");
        let fact = testing::payment_fact(&draft);
        assert_eq!(fact.amount.map(|money| money.minor_units), Some(12050), "{word}");
        fact.status.expect("stated")
    };
    assert_eq!(status("processing"), PaymentStatus::Pending);
    assert_eq!(status("outgoing_payment_sent"), PaymentStatus::Paid);
    assert_eq!(status("bounced_back"), PaymentStatus::Failed);
    assert_eq!(status("cancelled"), PaymentStatus::Canceled);
    assert_eq!(status("funds_refunded"), PaymentStatus::Refunded);
    assert_eq!(status("charged_back"), PaymentStatus::ChargedBack);
    assert!(translated("transfers#state-change", &change("no_such", 1)).is_err());
    let draft = state("processing", 1, (200, TRANSFER)).expect("readable");
    assert_eq!(draft.references.order, "INV-1");
    assert_eq!(draft.references.metadata["source_currency"], "GBP");
}

#[test]
fn a_transfer_that_the_api_does_not_show_keeps_its_state() {
    let draft = state("outgoing_payment_sent", 1, (404, "{}")).expect("told");
    assert_eq!(testing::payment_fact(&draft).amount, None);
    assert_eq!(testing::payment_fact(&draft).status, Some(PaymentStatus::Paid));
    let gone = state("outgoing_payment_sent", 1, (410, "{}")).expect("told");
    assert_eq!(testing::payment_fact(&gone).status, Some(PaymentStatus::Paid));
    assert!(state("outgoing_payment_sent", 1, (403, "{}")).is_err());
    assert!(state("outgoing_payment_sent", 1, (200, "{}")).is_err());
}

#[test]
fn a_new_transfer_has_the_amount_that_was_fetched_too() {
    let data = change("incoming_payment_waiting", 0).replace("\"x\"", "null");
    let said = translated("transfers#state-change", &data).expect("readable");
    let Translation::Fetches(fetches) = said else { panic!("no fetch") };
    let Ok(Step::Done { drafts, .. }) = step(&endpoint(), &fetches[0], &[(200, TRANSFER)]) else {
        panic!("not done")
    };
    let fact = testing::payment_fact(&drafts[0]);
    assert_eq!(fact.status, Some(PaymentStatus::Pending));
    assert_eq!(fact.amount.map(|money| money.minor_units), Some(12050));
}

#[test]
fn no_answer_panics() {
    for end in 0..TRANSFER.len() {
        assert!(state("processing", 1, (200, &TRANSFER[..end])).is_err(), "{end}");
    }
    for value in ["1e9", "-0.001", "null", "[]", "99999999999999999999", "\"x\""] {
        let answer = TRANSFER.replace("120.5", value);
        assert!(state("processing", 1, (200, &answer)).is_err(), "{value}");
    }
}

#[test]
fn no_id_leads_the_fetch_elsewhere() {
    let data = change("processing", 1).replace(":111", ":\"../profiles\"");
    assert!(translated("transfers#state-change", &data).is_err());
}

#[test]
fn what_happened_is_one_event_whatever_subscription_tells_it() {
    let key = |at: &str| state("processing", at.parse().expect("a minute"), (200, TRANSFER));
    let key = |at| key(at).expect("readable").key;
    assert_eq!(key("1"), key("1"));
    assert_ne!(key("1"), key("2"));
    assert_eq!(key("1"), "transfers#state-change/111/2026-11-23T12:01:00Z/processing");
}

#[test]
fn amounts_are_read_digit_by_digit_and_signed_by_their_direction() {
    let amount = |amount: &str, currency: &str, direction: &str| -> Result<_, TranslateError> {
        let data = format!(
            r#"{{"resource":{{"id":2}},"amount":{amount},"currency":"{currency}","step_id":7,
            "transaction_type":"{direction}","occurred_at":"2026-11-23T12:00:00Z"}}"#
        );
        match translated("balances#update", &data)? {
            Translation::Events(drafts) => match &drafts[0].fact {
                Fact::BankTransaction(fact) => Ok(fact.amount.map(|money| money.minor_units)),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(amount("70.5", "GBP", "credit"), Ok(Some(7050)));
    assert_eq!(amount("9.6", "GBP", "debit"), Ok(Some(-960)));
    assert_eq!(amount("90071992547409.93", "EUR", "credit"), Ok(Some(9_007_199_254_740_993)));
    assert!(amount("0.001", "EUR", "credit").is_err());
    assert!(amount("1.5", "JPY", "credit").is_err());
    assert!(amount("1", "EUR", "sideways").is_err());
}

#[test]
fn older_versions_leave_out_or_move_what_newer_ones_tell() {
    let amount = |event_type: &str, data: &str| match only(event_type, data).fact {
        Fact::BankTransaction(fact) => fact.amount.map(|money| money.minor_units),
        other => panic!("{other:?}"),
    };
    let credit = r#"{"resource":{"id":2},"amount":1.23,"currency":"EUR"}"#;
    assert_eq!(amount("balances#credit", credit), Some(123));
    assert!(translated("balances#update", credit).is_err());
    let pay_in =
        r#"{"resource":{"id":3},"current_state":"COMPLETED","amount":4.5,"currency":"EUR"}"#;
    assert_eq!(amount("account-details-payment#state-change", pay_in), Some(450));
    let refund = r#"{"resource":{"id":111},"amount":6,"currency":"EUR"}"#;
    let draft = only("transfers#refund", refund);
    let amount = testing::payment_fact(&draft).amount.map(|money| money.minor_units);
    assert_eq!(amount, Some(600));
}

#[test]
fn a_pay_in_names_its_state_by_either_field() {
    let status = |field: &str, word: &str| {
        let data = format!(
            r#"{{"{field}":"{word}","transfer":{{"id":"t1","amount":1.23,"currency":"EUR"}},
            "sender":{{"name":"Example Customer"}},"occurred_at":"2026-11-23T12:00:00Z"}}"#
        );
        let draft = only("account-details-payment#state-change", &data);
        let mut state = SubjectState::begin(&draft.subject);
        state.apply(&draft, Sequence(1));
        state.status().expect("stated").word()
    };
    assert_eq!(status("current_state", "COMPLETED"), "BOOKED");
    assert_eq!(status("current_status", "PROCESSING"), "PENDING");
    assert_eq!(status("current_state", "REFUNDED"), "RETURNED");
    assert_eq!(status("current_state", "CANCELLED"), "REMOVED");
}

#[test]
fn unlisted_types_of_profiles_are_silent_and_others_unknown() {
    assert_eq!(translated("profiles#new", "{}"), Ok(Translation::Events(Vec::new())));
    assert_eq!(translated("loans#new", "{}"), Ok(Translation::Unknown("loans#new".to_owned())));
}

#[test]
fn the_sandbox_is_not_live() {
    let request = testing::sample(&PROVIDER, &endpoint(), "balances#update", 0);
    let is_live =
        |endpoint: &Endpoint| match testing::receive(&PROVIDER, endpoint, request.clone(), now()) {
            Ok(Ok(Translation::Events(drafts))) => drafts[0].live,
            other => panic!("{other:?}"),
        };
    assert_eq!([is_live(&endpoint()), is_live(&sandbox())], [true, false]);
}

#[test]
fn settings_are_checked() {
    let with = |name: &str, value: &str| {
        let mut endpoint = endpoint();
        endpoint.settings.insert(name.to_owned(), value.to_owned());
        (PROVIDER.check)(&endpoint)
    };
    assert!(with(ENVIRONMENT, SANDBOX).is_ok() && with(API_URL, "http://127.0.0.1:9").is_ok());
    assert!(with(ENVIRONMENT, "live").is_err() && with(API_URL, "api.wise.com").is_err());
    let bad_key = testing::endpoint(&PROVIDER, &[(PUBLIC_KEY, "-----BEGIN PUBLIC KEY-----")]);
    assert!((PROVIDER.check)(&bad_key).is_err());
}

/// A transfer that bounces, is canceled and refunded, its reports in any order.
#[test]
fn a_transfers_life_ends_the_same_in_every_order() {
    let mut life: Vec<Draft> = ["processing", "outgoing_payment_sent", "bounced_back", "cancelled"]
        .iter()
        .chain(&["funds_refunded"])
        .zip(1..)
        .map(|(word, minute)| state(word, minute, (200, TRANSFER)).expect("readable"))
        .collect();
    let refund = r#"{"resource":{"id":111,"refund_amount":100,"refund_currency":"GBP"},
        "occurred_at":"2026-11-23T12:05:00Z"}"#;
    life.push(only("transfers#refund", refund));
    let end = merged(&life);
    assert_eq!(end.status(), Some(Status::Payment(PaymentStatus::Refunded)));
    let refunded = end.amounts().refunded.map(|money| money.minor_units);
    assert_eq!(refunded, Some(12050), "one refund that two notifications tell");
    permute(&mut life, 0, &mut |order| assert!(merged(order).converges_with(&end)));
}

fn merged(drafts: &[Draft]) -> SubjectState {
    let mut state = SubjectState::begin(&drafts[0].subject);
    for (at, draft) in drafts.iter().enumerate() {
        state.apply(draft, Sequence(i64::try_from(at).expect("few") + 1));
    }
    state
}

fn permute(drafts: &mut Vec<Draft>, from: usize, check: &mut impl FnMut(&[Draft])) {
    if from == drafts.len() {
        check(drafts);
    }
    for at in from..drafts.len() {
        drafts.swap(from, at);
        permute(drafts, from + 1, check);
        drafts.swap(from, at);
    }
}
