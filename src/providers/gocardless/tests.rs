//! GoCardless's rules, on samples and on answers of its API.

use http::HeaderMap;

use super::*;
use crate::model::{Draft, Fact, PaymentStatus, Sequence, Status, SubjectState};
use crate::providers::testing::{self, Coverage};

fn endpoint() -> Endpoint {
    testing::endpoint(&PROVIDER, &[(SECRET, "sample-webhook-secret"), (ACCESS_TOKEN, "token")])
}

fn now() -> Timestamp {
    Timestamp::from_second(testing::NOW).expect("a time")
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
    fetch_of(&Fetching { endpoint, fetch, received_at, now, cursor: "", answers: &answers })
}

fn fetch_of(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    (PROVIDER.fetch)(fetching)
}

/// What a batch of these events means.
fn batch(events: &str) -> Result<Translation, TranslateError> {
    let body = format!("{{\"events\":[{events}],\"meta\":{{}}}}");
    testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes())
}

fn event(id: &str, resource_type: &str, action: &str, links: &str) -> String {
    format!(
        r#"{{"id":"{id}","created_at":"2026-11-23T09:13:51.404Z","resource_type":"{resource_type}",
        "action":"{action}","links":{{{links}}},"details":{{"cause":"c","description":"d"}},
        "metadata":{{}},"resource_metadata":{{"order":"INV-1"}}}}"#
    )
}

fn done(step: Result<Step, TranslateError>) -> Draft {
    match step.expect("readable") {
        Step::Done { mut drafts, .. } => drafts.remove(0),
        Step::Call(_) | Step::Denied | Step::Later(_) => panic!("not done"),
    }
}

fn only_fetch(translation: Result<Translation, TranslateError>) -> Fetch {
    match translation.expect("readable") {
        Translation::Fetches(mut fetches) if fetches.len() == 1 => fetches.remove(0),
        other => panic!("{other:?}"),
    }
}

const PAYMENT: &str = r#"{"payments":{"id":"PM1","amount":2500,"currency":"GBP","status":"paid_out",
    "amount_refunded":2500,"reference":"INV-1","metadata":{},"links":{"mandate":"MD1"}}}"#;

#[test]
fn samples_verify_and_translate_and_do_not_survive_a_flipped_byte() {
    let silent: Vec<&str> = EVENTS
        .iter()
        .filter(|(_, meaning)| matches!(meaning, Meaning::Silent))
        .map(|(name, _)| *name)
        .collect();
    testing::check_samples(&PROVIDER, &endpoint(), &silent, Coverage::Body);
}

#[test]
fn each_resource_is_ordered_along_its_life() {
    for life in [
        &[
            "payments.created",
            "payments.submitted",
            "payments.failed",
            "payments.resubmission_requested",
            "payments.confirmed",
            "payments.paid_out",
            "refunds.created",
            "refunds.paid",
            "refunds.bounced",
            "payments.charged_back",
            "payments.chargeback_cancelled",
        ][..],
        &["mandates.created", "mandates.submitted", "mandates.active", "mandates.cancelled"],
        &[
            "billing_requests.created",
            "billing_requests.flow_visited",
            "billing_requests.fulfilled",
        ],
        &["instalment_schedules.created", "instalment_schedules.completed"],
        &["outbound_payments.created", "outbound_payments.executed", "outbound_payments.failed"],
    ] {
        testing::check_life(&PROVIDER, &endpoint(), life);
    }
}

#[test]
fn no_request_panics() {
    testing::check_hostile_input(&PROVIDER, &endpoint());
}

#[test]
fn the_signature_is_exactly_64_lower_case_digits() {
    let request = testing::sample(&PROVIDER, &endpoint(), "payments.confirmed", 0);
    let good = request.header(HEADER).expect("signed").to_owned();
    let verifies = |value: &str| {
        let mut request = request.clone();
        request.headers.insert(HEADER, value.parse().expect("a value"));
        PROVIDER.prove(&request, &endpoint(), now()).is_ok()
    };
    assert!(verifies(&good));
    assert!(!verifies(&good[2..]) && !verifies(&good.to_ascii_uppercase()) && !verifies(""));
    let mut twice = request.clone();
    twice.headers.append(HEADER, good.parse().expect("a value"));
    assert!(PROVIDER.prove(&twice, &endpoint(), now()).is_err());
}

#[test]
fn refusals_are_498_and_all_else_is_204() {
    let statuses = [PROVIDER.replies.accepted, PROVIDER.replies.unknown, PROVIDER.replies.refused];
    assert_eq!(statuses.map(|reply| reply.status), [204, 204, 498]);
}

#[test]
fn the_action_tells_the_status_though_the_payment_is_ahead_of_it() {
    let fetch = only_fetch(batch(&event("EV1", "payments", "submitted", r#""payment":"PM1""#)));
    assert_eq!(fetch.object, "payments/PM1");
    let draft = done(step(&endpoint(), &fetch, &[(200, PAYMENT)]));
    let fact = testing::payment_fact(&draft);
    assert_eq!(fact.status, Some(PaymentStatus::Pending));
    assert_eq!(fact.amount.map(|money| money.minor_units), Some(2500));
    assert_eq!((draft.key.as_str(), draft.references.order.as_str()), ("EV1", "INV-1"));
    assert_eq!(draft.references.metadata["mandate"], "MD1");
}

#[test]
fn a_refund_asks_for_itself_and_then_for_its_payment() {
    let fetch = only_fetch(batch(&event("EV2", "refunds", "paid", r#""refund":"RF1""#)));
    let refund = |amount: i64, payment: &str| {
        format!(
            r#"{{"refunds":{{"id":"RF1","amount":{amount},"currency":"GBP","links":{{"payment":"{payment}"}}}}}}"#
        )
    };
    let whole = refund(2500, "PM1");
    let Ok(Step::Call(call)) = step(&endpoint(), &fetch, &[(200, &whole)]) else {
        panic!("no call")
    };
    assert_eq!(call.url, "https://api.gocardless.com/payments/PM1");
    let fact = |amount, payment: &str| {
        let refund = refund(amount, "PM1");
        let draft = done(step(&endpoint(), &fetch, &[(200, &refund), (200, payment)]));
        assert_eq!(draft.subject.id, "PM1");
        testing::payment_fact(&draft).clone()
    };
    assert_eq!(fact(2500, PAYMENT).status, Some(PaymentStatus::Refunded));
    let less = PAYMENT.replace("\"amount_refunded\":2500", "\"amount_refunded\":400");
    assert_eq!(fact(400, &less).status, Some(PaymentStatus::PartiallyRefunded));
    assert!(fact(400, &less).refunded_total.is_none(), "refunds are known one by one");
    let foreign = refund(2500, "../creditors/CR1");
    assert!(step(&endpoint(), &fetch, &[(200, &foreign)]).is_err());
}

#[test]
fn a_refund_that_bounced_is_undone() {
    let mut state = None;
    for (id, action) in [("EV1", "paid"), ("EV2", "bounced")] {
        let fetch = only_fetch(batch(&event(id, "refunds", action, r#""refund":"RF1""#)));
        let refund = r#"{"refunds":{"amount":2500,"currency":"GBP","links":{"payment":"PM1"}}}"#;
        let draft = done(step(&endpoint(), &fetch, &[(200, refund), (200, PAYMENT)]));
        let state = state.get_or_insert_with(|| SubjectState::begin(&draft.subject));
        state.apply(&draft, Sequence(1));
    }
    let status = state.and_then(|state| state.status());
    assert_eq!(status, Some(Status::Payment(PaymentStatus::Paid)));
}

#[test]
fn every_event_of_a_batch_counts_and_a_broken_one_hides_none() {
    let payment = event("EV1", "payments", "confirmed", r#""payment":"PM1""#);
    let mandate = event("EV2", "mandates", "active", r#""mandate":"MD1""#);
    let new = event("EV3", "no_such", "thing", "");
    let quiet = event("EV4", "subscriptions", "created", r#""subscription":"SB1""#);
    let Ok(Translation::Fetches(fetches)) = batch(&[&*payment, &mandate, &new, &quiet].join(","))
    else {
        panic!("no fetches")
    };
    let objects: Vec<&str> = fetches.iter().map(|fetch| fetch.object.as_str()).collect();
    assert_eq!(objects, ["payments/PM1", "events/EV2"]);
    let draft = done(step(&endpoint(), &fetches[1], &[]));
    assert!(matches!(draft.fact, Fact::CustomerAction(_)) && draft.key == "EV2");
    let Ok(Translation::Events(drafts)) = batch(&mandate) else { panic!("no events") };
    assert_eq!(drafts, [draft]);
    assert_eq!(batch(""), Ok(Translation::Events(Vec::new())));
    assert_eq!(batch(&new), Ok(Translation::Unknown("no_such.thing".to_owned())));
    let broken = event("EV5", "payments", "confirmed", r#""payment":"../x""#);
    assert!(batch(&broken).is_err() && batch("null").is_err());
    for good in [&payment, &mandate] {
        let whole = ["null", good, &broken].join(",");
        let Ok(Translation::Fetches(fetches)) = batch(&whole) else { panic!("no fetches") };
        assert_eq!(fetches.len(), 3, "{whole}");
        assert!(step(&endpoint(), &fetches[0], &[(200, PAYMENT)]).is_ok());
        assert!(step(&endpoint(), &fetches[1], &[]).is_err());
        assert!(step(&endpoint(), &fetches[2], &[]).is_err());
    }
}

#[test]
fn an_answer_that_is_no_payment_is_tried_again() {
    let fetch = only_fetch(batch(&event("EV1", "payments", "confirmed", r#""payment":"PM1""#)));
    for answer in [(404, "{}"), (401, "{}"), (200, "{}"), (200, "[]"), (200, r#"{"payments":{}}"#)]
    {
        assert!(step(&endpoint(), &fetch, &[answer]).is_err(), "{answer:?}");
    }
}

#[test]
fn no_answer_panics() {
    let fetch = only_fetch(batch(&event("EV1", "payments", "confirmed", r#""payment":"PM1""#)));
    for end in 0..PAYMENT.len() {
        assert!(step(&endpoint(), &fetch, &[(200, &PAYMENT[..end])]).is_err(), "{end}");
    }
    for value in ["1.5", "\"2500\"", "99999999999999999999", "null", "{}"] {
        let answer = PAYMENT.replacen("2500", value, 1);
        assert!(step(&endpoint(), &fetch, &[(200, &answer)]).is_err(), "{value}");
    }
}

#[test]
fn calls_carry_the_token_and_the_version() {
    let fetch = only_fetch(batch(&event("EV1", "payments", "confirmed", r#""payment":"PM1""#)));
    let mut sandbox = endpoint();
    sandbox.settings.insert(API_URL.to_owned(), format!("{SANDBOX}/"));
    let Ok(Step::Call(call)) = step(&sandbox, &fetch, &[]) else { panic!("no call") };
    assert_eq!(call.url, "https://api-sandbox.gocardless.com/payments/PM1");
    assert!(call.headers.contains(&("authorization", "Bearer token".to_owned())));
    assert!(call.headers.contains(&("gocardless-version", API_VERSION.to_owned())));
}

#[test]
fn the_sandbox_is_not_live() {
    let mut request = testing::sample(&PROVIDER, &endpoint(), "mandates.active", 0);
    let is_live = |request: &Request, endpoint: &Endpoint| match testing::receive(
        &PROVIDER,
        endpoint,
        request.clone(),
        now(),
    ) {
        Ok(Ok(Translation::Events(drafts))) => drafts[0].live,
        other => panic!("{other:?}"),
    };
    assert!(is_live(&request, &endpoint()));
    let mut sandbox = endpoint();
    sandbox.settings.insert(API_URL.to_owned(), SANDBOX.to_owned());
    assert!(!is_live(&request, &sandbox));
    request.headers.insert("origin", SANDBOX.parse().expect("a value"));
    assert!(!is_live(&request, &endpoint()));
}

#[test]
fn money_that_goes_out_is_negative() {
    let amount = |event: &str| match testing::drafts(&PROVIDER, &endpoint(), event, 0) {
        Some(drafts) => match &drafts[0].fact {
            Fact::BankTransaction(fact) => {
                fact.amount.map_or(0, |money| money.minor_units.signum())
            }
            other => panic!("{other:?}"),
        },
        None => panic!("{event}"),
    };
    let events =
        ["payouts.paid", "outbound_payments.executed", "payment_account_transactions.debited"];
    assert_eq!(events.map(amount), [1, -1, -1]);
}

#[test]
fn settings_are_checked() {
    let mut endpoint = endpoint();
    endpoint.settings.insert(API_URL.to_owned(), "api.gocardless.com".to_owned());
    assert!((PROVIDER.check)(&endpoint).is_err());
}

/// The life of one payment, its reports in any order.
#[test]
fn a_payments_life_ends_the_same_in_every_order() {
    let life: Vec<Draft> = [
        "payments.submitted",
        "payments.confirmed",
        "refunds.paid",
        "payments.charged_back",
        "payments.chargeback_settled",
    ]
    .iter()
    .enumerate()
    .flat_map(|(at, event)| {
        let at = i64::try_from(at).expect("few");
        testing::drafts(&PROVIDER, &endpoint(), event, at * 60).expect("known")
    })
    .collect();
    let end = merged(&life);
    assert_eq!(end.status(), Some(Status::Payment(PaymentStatus::ChargedBack)));
    permute(&mut life.clone(), 0, &mut |order| assert!(merged(order).converges_with(&end)));
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
