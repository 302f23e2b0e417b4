//! Plaid's own rules, each with a test: keys by their ids, pages and cursors, numbered transfer events.

use std::collections::HashMap;

use bytes::Bytes;
use http::HeaderMap;
use secrecy::SecretString;
use serde_json::json;

use super::verification::{BODY_DIGEST, verify};
use super::*;
use crate::model::{BankTransactionStatus, Draft, Fact, PaymentStatus, Sequence, Status};
use crate::model::{Money, SubjectState};
use crate::providers::calls::Key;
use crate::providers::testing::{self, Coverage};
use crate::providers::{Keys, SampleOrder, Verdict, samples};
use crate::receipt::{Request, VerifyError};

const SILENT: &[&str] = &[
    "TRANSACTIONS.INITIAL_UPDATE",
    "TRANSACTIONS.HISTORICAL_UPDATE",
    "TRANSACTIONS.DEFAULT_UPDATE",
    "TRANSACTIONS.TRANSACTIONS_REMOVED",
    "TRANSACTIONS.RECURRING_TRANSACTIONS_UPDATE",
    "ITEM.NEW_ACCOUNTS_AVAILABLE",
    "ITEM.WEBHOOK_UPDATE_ACKNOWLEDGED",
];

fn endpoint() -> Endpoint {
    let secrets = sample_secrets();
    let secrets: Vec<(&str, &str)> =
        secrets.iter().map(|(name, value)| (*name, value.as_str())).collect();
    testing::endpoint(&PROVIDER, &secrets)
}

fn now() -> Timestamp {
    Timestamp::from_second(testing::NOW).expect("a time")
}

fn answer(status: u16, body: Value) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: Bytes::from(body.to_string()) }
}

/// The next step of the fetch that a webhook of this type asks for.
fn step(
    event_type: &str,
    cursor: &str,
    at: i64,
    answers: &[Answer],
) -> Result<Step, TranslateError> {
    let endpoint = endpoint();
    let request = testing::sample(&PROVIDER, &endpoint, event_type, 0);
    let translation = testing::receive(&PROVIDER, &endpoint, request, now());
    let Ok(Ok(Translation::Fetches(fetches))) = translation else { panic!("{translation:?}") };
    let now = Timestamp::from_second(testing::NOW + at).expect("a time");
    let (endpoint, fetch) = (&endpoint, &fetches[0]);
    super::fetch(&Fetching { endpoint, fetch, received_at: now, now, cursor, answers })
}

fn asked(step: Result<Step, TranslateError>) -> Value {
    match step {
        Ok(Step::Call(call)) => serde_json::from_slice(&call.body).expect("JSON"),
        Ok(Step::Done { drafts, .. }) => panic!("{drafts:?}"),
        Ok(Step::Denied) => panic!("denied"),
        Ok(Step::Later(reason)) => panic!("{reason}"),
        Err(error) => panic!("{error}"),
    }
}

fn done(step: Result<Step, TranslateError>) -> (Vec<Draft>, Option<String>) {
    match step {
        Ok(Step::Done { drafts, cursor }) => (drafts, cursor),
        Ok(Step::Call(call)) => panic!("{call:?}"),
        Ok(Step::Denied | Step::Later(_)) => panic!("not done"),
        Err(error) => panic!("{error}"),
    }
}

const SYNC: &str = "TRANSACTIONS.SYNC_UPDATES_AVAILABLE";
const TRANSFERS: &str = "TRANSFER.TRANSFER_EVENTS_UPDATE";

fn page(added: Value, removed: Value, next_cursor: &str, has_more: bool) -> Answer {
    let body = json!({
        "added": added, "modified": [], "removed": removed,
        "next_cursor": next_cursor, "has_more": has_more,
    });
    answer(200, body)
}

fn transaction(id: &str, amount: &str, is_pending: bool) -> Value {
    let amount: Value = serde_json::from_str(amount).expect("a number");
    json!({
        "transaction_id": id, "account_id": "a", "amount": amount, "iso_currency_code": "EUR",
        "pending": is_pending, "date": "2026-11-22", "name": "INV-7",
    })
}

fn bank(draft: &Draft) -> (&str, BankTransactionStatus, Option<i64>) {
    let Fact::BankTransaction(fact) = &draft.fact else { panic!("{draft:?}") };
    (&draft.subject.id, fact.status, fact.amount.map(|money| money.minor_units))
}

#[test]
fn every_event_type_has_a_signed_sample_that_translates() {
    testing::check_samples(&PROVIDER, &endpoint(), SILENT, Coverage::Body);
    assert_eq!(check(&endpoint()), Ok(()));
}

#[test]
fn a_sample_needs_an_endpoint_that_trusts_its_key() {
    let other = testing::endpoint(&PROVIDER, &[("client_id", "c"), ("secret", "s")]);
    let (event_type, now) = (SYNC, now());
    let order = SampleOrder { event_type, seed: "a", event_id: None, occurred_at: now, now };
    assert!((PROVIDER.sample)(&other, &order).is_none());
}

#[test]
fn a_key_that_is_not_configured_is_asked_for_by_its_id() {
    let mut endpoint = endpoint();
    let request = testing::sample(&PROVIDER, &endpoint, SYNC, 0);
    let jwks: Value = serde_json::from_str(endpoint.secret(JWKS).expect("keys")).expect("JSON");
    endpoint.secrets.remove(JWKS);
    let verdict = verify(&request, &endpoint, &Keys::default(), now());
    let Ok(Verdict::NeedsKey(needed)) = verdict else { panic!("{verdict:?}") };
    let body: Value = serde_json::from_slice(&needed.call.body).expect("JSON");
    assert_eq!(body["key_id"], jwks[0]["kid"]);
    assert_eq!(needed.call.url, "https://production.plaid.com/webhook_verification_key/get");
    let with = |key: Value| {
        let body = Bytes::from(json!({ "key": key }).to_string());
        let keys = HashMap::from([(needed.id.clone(), Key { body, fetched_at: now() })]);
        verify(&request, &endpoint, &Keys::new(keys), now()).map(|_| ())
    };
    assert_eq!(with(jwks[0].clone()), Ok(()));
    let mut retired = jwks[0].clone();
    retired["expired_at"] = json!(1_700_000_000);
    assert!(matches!(with(retired), Err(VerifyError::NoKey(_))));
    let mut other = jwks[0].clone();
    other["kid"] = json!("other");
    assert!(matches!(with(other), Err(VerifyError::NoKey(_))));
}

#[test]
fn a_body_written_anew_or_signed_too_long_ago_is_refused() {
    let endpoint = endpoint();
    let request = testing::sample(&PROVIDER, &endpoint, SYNC, 0);
    let value: Value = serde_json::from_slice(&request.body).expect("JSON");
    let compact = Request { body: value.to_string().into(), ..request.clone() };
    let refused = testing::receive(&PROVIDER, &endpoint, compact, now());
    assert_eq!(refused.map(|_| ()), Err(VerifyError::Mismatch(BODY_DIGEST)));
    for (seconds, accepted) in [(300, true), (301, false), (-301, false)] {
        let at = Timestamp::from_second(testing::NOW + seconds).expect("a time");
        let received = testing::receive(&PROVIDER, &endpoint, request.clone(), at);
        assert_eq!(received.is_ok(), accepted, "{seconds}");
    }
}

#[test]
fn pages_are_read_to_the_end_before_the_cursor_moves() {
    assert_eq!(asked(step(SYNC, "c0", 0, &[]))["cursor"], "c0");
    let added = json!([transaction("p1", "5.00", true), transaction("p2", "-1000.10", false)]);
    let first = page(added, json!([]), "c1", true);
    assert_eq!(asked(step(SYNC, "c0", 0, std::slice::from_ref(&first)))["cursor"], "c1");
    let second = page(
        json!([transaction("p3", "0.29", false)]),
        json!([{ "transaction_id": "p1", "account_id": "a" }]),
        "c2",
        false,
    );
    let (drafts, cursor) = done(step(SYNC, "c0", 0, &[first, second]));
    assert_eq!(cursor.as_deref(), Some("c2"));
    let seen: Vec<_> = drafts.iter().map(bank).collect();
    assert_eq!(
        seen,
        [
            ("p1", BankTransactionStatus::Removed, None),
            ("p2", BankTransactionStatus::Booked, Some(100_010)),
            ("p3", BankTransactionStatus::Booked, Some(-29)),
        ]
    );
}

#[test]
fn data_that_changes_between_pages_is_read_again_from_the_first_cursor() {
    let first = page(json!([transaction("old", "1", false)]), json!([]), "c1", true);
    let mutated = answer(
        400,
        json!({
            "error_code": "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION",
            "error_type": "TRANSACTIONS_ERROR",
        }),
    );
    let answers = [first, mutated];
    assert_eq!(asked(step(SYNC, "c0", 0, &answers))["cursor"], "c0");
    let [first, mutated] = answers;
    let again = page(json!([transaction("new", "1", false)]), json!([]), "c9", false);
    let (drafts, cursor) = done(step(SYNC, "c0", 0, &[first, mutated.clone(), again]));
    assert_eq!(cursor.as_deref(), Some("c9"));
    assert_eq!(drafts.iter().map(|draft| draft.subject.id.as_str()).collect::<Vec<_>>(), ["new"]);
    let endless = vec![mutated; 6];
    assert!(matches!(step(SYNC, "c0", 0, &endless), Ok(Step::Later(_))));
}

#[test]
fn the_same_state_fetched_twice_is_one_event_and_another_state_is_another() {
    let fetched = |at, amount, pending| {
        let page = page(json!([transaction("t", amount, pending)]), json!([]), "c", false);
        done(step(SYNC, "", at, &[page])).0.remove(0)
    };
    assert_eq!(fetched(0, "1.00", true).key, fetched(60, "1.00", true).key);
    assert_ne!(fetched(0, "1.00", true).key, fetched(60, "1.00", false).key);
    assert_ne!(fetched(0, "1.00", true).key, fetched(60, "1.20", true).key);
    let mut drafts =
        [fetched(0, "1.00", true), fetched(60, "1.20", true), fetched(120, "1.20", false)];
    check_convergence(&mut drafts, Status::BankTransaction(BankTransactionStatus::Booked));
}

#[test]
fn what_is_no_iso_currency_is_no_money_and_what_does_not_fit_is_an_error() {
    let mut token = transaction("t", "0.123456789", false);
    token["iso_currency_code"] = Value::Null;
    token["unofficial_currency_code"] = json!("XBT0");
    let (drafts, _) = done(step(SYNC, "", 0, &[page(json!([token]), json!([]), "c", false)]));
    assert_eq!(bank(&drafts[0]), ("t", BankTransactionStatus::Booked, None));
    let metadata = &drafts[0].references.metadata;
    assert_eq!(metadata.get("unofficial_amount").map(String::as_str), Some("0.123456789 XBT0"));
    let odd = page(json!([transaction("t", "1.005", false)]), json!([]), "c", false);
    assert!(step(SYNC, "", 0, &[odd]).is_err());
}

fn transfer(number: i64, event_type: &str, more: Value) -> Value {
    let mut event = json!({
        "event_id": number, "event_type": event_type, "transfer_id": "tr", "transfer_type": "debit",
        "transfer_amount": "12.30", "timestamp": "2026-11-22T10:00:00Z", "account_id": "a",
    });
    let fields = event.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    event
}

fn transfers(events: &[Value], more: &[Answer]) -> Vec<Draft> {
    let page = answer(200, json!({ "transfer_events": events, "has_more": false }));
    let answers: Vec<Answer> = std::iter::once(page).chain(more.iter().cloned()).collect();
    done(step(TRANSFERS, "4", 0, &answers)).0
}

#[test]
fn transfer_events_are_read_after_the_last_number() {
    assert_eq!(asked(step(TRANSFERS, "4", 0, &[]))["after_id"], 4);
    let page =
        |events: Value, more| answer(200, json!({ "transfer_events": events, "has_more": more }));
    let first = page(json!([transfer(7, "pending", json!({}))]), true);
    assert_eq!(asked(step(TRANSFERS, "4", 0, std::slice::from_ref(&first)))["after_id"], 7);
    let second = page(json!([transfer(9, "sweep.settled", json!({}))]), false);
    let (drafts, cursor) = done(step(TRANSFERS, "4", 0, &[first, second]));
    assert_eq!((drafts.len(), cursor.as_deref()), (1, Some("9")));
}

#[test]
fn a_debit_ends_in_the_same_state_in_any_order() {
    let refund = answer(200, json!({ "refund": { "id": "rf", "amount": "2.30" } }));
    let refunded = json!({ "refund_id": "rf" });
    let mut drafts = transfers(
        &[
            transfer(5, "pending", json!({})),
            transfer(6, "posted", json!({})),
            transfer(7, "settled", json!({})),
            transfer(8, "refund.pending", refunded.clone()),
            transfer(9, "refund.posted", refunded),
        ],
        &[refund],
    );
    check_convergence(&mut drafts, Status::Payment(PaymentStatus::PartiallyRefunded));
    let returned = json!({ "failure_reason": { "ach_return_code": "R10", "description": "x" } });
    drafts.extend(transfers(&[transfer(10, "returned", returned)], &[]));
    check_convergence(&mut drafts[1..].to_vec(), Status::Payment(PaymentStatus::ChargedBack));
}

#[test]
fn a_debit_that_comes_back_unpaid_is_failed_and_a_credit_is_no_payment() {
    let returned = json!({ "failure_reason": { "ach_return_code": "R01", "description": "x" } });
    let mut drafts =
        transfers(&[transfer(5, "posted", json!({})), transfer(6, "returned", returned)], &[]);
    check_convergence(&mut drafts, Status::Payment(PaymentStatus::Failed));
    let credit = json!({ "transfer_type": "credit" });
    let drafts = transfers(&[transfer(5, "posted", credit)], &[]);
    assert_eq!(bank(&drafts[0]), ("tr", BankTransactionStatus::Booked, Some(-1230)));
}

#[test]
fn a_payment_ends_in_the_same_state_in_any_order() {
    let told = |status: &str, at: &str| {
        let endpoint = endpoint();
        let body = json!({
            "webhook_type": "PAYMENT_INITIATION", "webhook_code": "PAYMENT_STATUS_UPDATE",
            "payment_id": "p", "new_payment_status": status, "timestamp": at,
            "environment": "sandbox",
        });
        let body = body.to_string();
        let translation = testing::translate_stored(&PROVIDER, &endpoint, body.as_bytes());
        let Ok(Translation::Fetches(fetches)) = translation else { panic!("{translation:?}") };
        let details = json!({ "payment_id": "p", "amount": { "currency": "GBP", "value": 10.5 } });
        let answers = [answer(200, details)];
        let (now, cursor) = (now(), "");
        let (endpoint, fetch) = (&endpoint, &fetches[0]);
        let fetching =
            Fetching { endpoint, fetch, received_at: now, now, cursor, answers: &answers };
        done(super::fetch(&fetching)).0.remove(0)
    };
    let mut drafts = [
        told("PAYMENT_STATUS_INPUT_NEEDED", "2026-11-22T10:00:00Z"),
        told("PAYMENT_STATUS_INITIATED", "2026-11-22T10:01:00Z"),
        told("PAYMENT_STATUS_EXECUTED", "2026-11-22T10:02:00Z"),
        told("PAYMENT_STATUS_SETTLED", "2026-11-22T10:02:00Z"),
    ];
    assert!(drafts.iter().all(|draft| !draft.live));
    assert_eq!(testing::payment_fact(&drafts[0]).amount, Money::new(1050, "GBP").ok());
    check_convergence(&mut drafts, Status::Payment(PaymentStatus::Paid));
}

#[test]
fn an_answer_about_another_payment_is_an_error_and_one_without_an_id_is_none() {
    let endpoint = endpoint();
    let told = Told {
        event_type: "PAYMENT_INITIATION.PAYMENT_STATUS_UPDATE".to_owned(),
        payment: "p".to_owned(),
        status: "PAYMENT_STATUS_SETTLED".to_owned(),
        at: "2026-11-22T10:00:00Z".to_owned(),
        ..Told::default()
    };
    let fetch = fetch_of("payments/p".to_owned(), &told).expect("a fetch");
    let read = |details: Value| {
        let answers = [answer(200, details)];
        let (now, cursor) = (now(), "");
        let (endpoint, fetch) = (&endpoint, &fetch);
        let fetching =
            Fetching { endpoint, fetch, received_at: now, now, cursor, answers: &answers };
        super::fetch(&fetching)
    };
    let amount = json!({ "currency": "GBP", "value": 10.5 });
    assert!(read(json!({ "payment_id": "q", "amount": amount })).is_err());
    let (drafts, _) = done(read(json!({ "amount": amount })));
    assert_eq!(testing::payment_fact(&drafts[0]).amount, Money::new(1050, "GBP").ok());
}

#[test]
fn items_with_known_tokens_are_polled() {
    assert!(poll(&endpoint()).is_empty());
    let mut endpoint = endpoint();
    endpoint.settings.insert(ITEM_ID.to_owned(), "i2".to_owned());
    let tokens = vec![SecretString::from(r#"{"i1":"t1","i2":"t2"}"#)];
    endpoint.secrets.insert(ACCESS_TOKENS.to_owned(), tokens);
    let objects: Vec<String> = poll(&endpoint).into_iter().map(|fetch| fetch.object).collect();
    assert_eq!(objects, ["items/i1/transactions", "items/i2/transactions"]);
}

#[test]
fn settings_that_cannot_verify_anything_are_refused() {
    let refused = |secrets: &[(&str, &str)]| {
        check(&testing::endpoint(&PROVIDER, secrets)).expect_err("a mistake").key
    };
    assert_eq!(refused(&[("access_token", "t")]), "secrets.client_id");
    assert_eq!(refused(&[("jwks", "[]")]), "secrets.jwks");
    assert_eq!(refused(&[("jwks", "{")]), "secrets.jwks");
    let both = [("client_id", "c"), ("secret", "s"), ("access_tokens", "[]")];
    assert_eq!(refused(&both), "secrets.access_tokens");
}

#[test]
fn no_request_panics() {
    testing::check_hostile_input(&PROVIDER, &endpoint());
}

/// All orders of the drafts end in the same state.
fn check_convergence(drafts: &mut [Draft], status: Status) {
    let in_order = merged(drafts);
    assert_eq!(in_order.status(), Some(status));
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
fn the_samples_of_one_seed_are_about_one_item() {
    let ids = |event_type| testing::drafts(&PROVIDER, &endpoint(), event_type, 0).expect("known");
    assert_eq!(ids("ITEM.ERROR")[0].subject, ids("ITEM.LOGIN_REPAIRED")[0].subject);
    let executed = ids("PAYMENT_INITIATION.PAYMENT_STATUS_UPDATE").remove(0);
    let amount = testing::payment_fact(&executed).amount.map(|money| money.minor_units);
    assert_eq!(amount, Some(samples::amount("a1")));
}

#[test]
fn an_item_that_breaks_again_another_day_is_another_event() {
    let key = |at| {
        testing::drafts(&PROVIDER, &endpoint(), "ITEM.ERROR", at).expect("known").remove(0).key
    };
    assert_eq!(key(0), key(60));
    assert_ne!(key(0), key(2 * 86_400));
}
