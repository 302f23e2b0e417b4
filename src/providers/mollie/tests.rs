//! Mollie's rules, on samples and on answers of its API.

use http::{HeaderMap, HeaderValue};

use super::*;
use crate::model::{Sequence, SubjectState};
use crate::providers::testing::{self, Coverage};

fn endpoint() -> Endpoint {
    let secrets = sample_secrets();
    let secrets: Vec<(&str, &str)> =
        secrets.iter().map(|(name, value)| (*name, value.as_str())).collect();
    testing::endpoint(&PROVIDER, &secrets)
}

fn now() -> Timestamp {
    Timestamp::from_second(testing::NOW).expect("a time")
}

/// What a classic webhook about this payment gives.
fn fetched(object: &str, status: u16, body: &str) -> Result<Step, TranslateError> {
    let endpoint = endpoint();
    let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned().into() };
    let fetch = Fetch { object: object.to_owned(), told: String::new() };
    PROVIDER.fetch_step(&endpoint, &fetch, &[answer])
}

impl Provider {
    fn fetch_step(
        &self,
        endpoint: &Endpoint,
        fetch: &Fetch,
        answers: &[Answer],
    ) -> Result<Step, TranslateError> {
        let (received_at, now) = (now(), now());
        (self.fetch)(&Fetching { endpoint, fetch, received_at, now, cursor: "", answers })
    }
}

fn payment(changes: &str) -> Draft {
    let body = format!(
        r#"{{"id":"tr_1","mode":"live","status":"paid","createdAt":"2026-11-20T10:00:00+00:00",
        "paidAt":"2026-11-20T10:01:00+00:00","amount":{{"value":"50.00","currency":"EUR"}}{changes}}}"#
    );
    match fetched("payments/tr_1", 200, &body).expect("readable") {
        Step::Done { mut drafts, .. } => drafts.remove(0),
        Step::Call(_) | Step::Denied | Step::Later(_) => panic!("not done: {changes}"),
    }
}

#[test]
fn samples_verify_and_translate() {
    let silent: Vec<&str> = EVENTS
        .iter()
        .filter(|(_, meaning)| matches!(meaning, Meaning::Silent))
        .map(|(name, _)| *name)
        .collect();
    testing::check_samples(&PROVIDER, &endpoint(), &silent, Coverage::Values);
}

#[test]
fn each_object_is_ordered_along_its_life() {
    for life in [
        &[
            "payment.open",
            "payment.failed",
            "payment.authorized",
            "payment.paid",
            "payment.partially_refunded",
            "payment.refunded",
            "payment.charged_back",
            "dispute.created",
            "dispute.resolved",
        ][..],
        &["order.created", "order.authorized", "order.shipping", "order.paid", "order.completed"],
        &["sales-invoice.created", "sales-invoice.issued", "sales-invoice.paid"],
        &["payout.initiated", "payout.completed", "payout.failed"],
    ] {
        testing::check_life(&PROVIDER, &endpoint(), life);
    }
}

#[test]
fn no_request_panics() {
    testing::check_hostile_input(&PROVIDER, &endpoint());
}

#[test]
fn every_byte_of_an_event_is_signed() {
    let request = testing::sample(&PROVIDER, &endpoint(), "sales-invoice.paid", 0);
    for at in 0..request.body.len() {
        let mut flipped = request.clone();
        let mut body = request.body.to_vec();
        body[at] ^= 1;
        flipped.body = body.into();
        assert!(PROVIDER.prove(&flipped, &endpoint(), now()).is_err(), "byte {at}");
    }
}

#[test]
fn any_signature_header_may_match_and_the_prefix_may_be_missing() {
    let request = testing::sample(&PROVIDER, &endpoint(), "payment-link.paid", 0);
    let verifies = |values: &[&str]| {
        let mut request = request.clone();
        request.headers.remove(HEADER);
        for value in values {
            request.headers.append(HEADER, HeaderValue::from_str(value).expect("a value"));
        }
        PROVIDER.prove(&request, &endpoint(), now()).is_ok()
    };
    let good = request.header(HEADER).expect("signed").to_owned();
    let bare = good.strip_prefix(PREFIX).expect("a prefix");
    assert!(verifies(&[&good]) && verifies(&[bare]));
    assert!(verifies(&["sha256=00", &"0".repeat(64), &good]));
    assert!(verifies(&[&format!("sha256={}, {good}", "0".repeat(64))]), "joined by a proxy");
    assert!(!verifies(&[]) && !verifies(&[&good[..good.len() - 2]]));
    assert!(!verifies(&[&bare.to_ascii_uppercase()]), "{bare} has a letter in it");
}

#[test]
fn a_form_is_only_kept_with_one_plain_id_and_a_key_to_ask_with() {
    let kept = |endpoint: &Endpoint, body: &str| {
        let mut request = testing::sample(&PROVIDER, &self::endpoint(), "payment.paid", 0);
        request.body = body.to_owned().into();
        (PROVIDER.verify)(&request, endpoint, &Keys::default(), now())
    };
    let good = kept(&endpoint(), "id=tr_1");
    assert!(matches!(good, Ok(Verdict::NeedsConfirmation(_))), "{good:?}");
    for body in
        ["", "id=", "foo=bar", "id=tr_1&id=tr_2", "id=tr_..%2F..", "id=TR_1", "id=tr", "id=_1"]
    {
        assert!(kept(&endpoint(), body).is_err(), "{body}");
    }
    let no_key = testing::endpoint(&PROVIDER, &[(SIGNING_SECRETS, "s")]);
    assert_eq!(
        kept(&no_key, "id=tr_1").expect_err("nothing can confirm it"),
        VerifyError::NotConfigured(API_KEY)
    );
}

#[test]
fn json_called_a_form_is_not_believed() {
    let mut request = testing::sample(&PROVIDER, &endpoint(), "payment-link.paid", 0);
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
    assert!(PROVIDER.prove(&request, &endpoint(), now()).is_err());
}

#[test]
fn what_the_api_does_not_know_is_denied_and_a_refused_key_is_not() {
    assert!(matches!(fetched("payments/tr_1", 404, "{}"), Ok(Step::Denied)));
    assert!(fetched("payments/tr_1", 401, "{}").is_err());
    assert!(fetched("payments/tr_1", 200, "no json").is_err());
}

#[test]
fn ids_of_no_known_object_are_asked_for_nowhere() {
    let fetch = Fetch { object: "unknown/sub_1".to_owned(), told: String::new() };
    assert!(matches!(PROVIDER.fetch_step(&endpoint(), &fetch, &[]), Ok(Step::Denied)));
    assert_eq!(object_of("tr_1/../../methods"), None);
}

#[test]
fn the_key_goes_along_as_a_bearer() {
    let fetch = Fetch { object: "payments/tr_1".to_owned(), told: String::new() };
    let Ok(Step::Call(call)) = PROVIDER.fetch_step(&endpoint(), &fetch, &[]) else {
        panic!("no call")
    };
    assert_eq!(call.url, "https://api.mollie.com/v2/payments/tr_1?embed=refunds,chargebacks");
    assert!(call.headers.iter().any(|(name, value)| *name == "authorization"
        && value.strip_prefix("Bearer ") == endpoint().secret(API_KEY)));
}

#[test]
fn a_paid_payment_is_refunded_or_charged_back_by_its_sums() {
    let status = |changes: &str| testing::payment_fact(&payment(changes)).status.expect("stated");
    let amount =
        |name: &str, value: &str| format!(r#","{name}":{{"value":"{value}","currency":"EUR"}}"#);
    assert_eq!(status(""), crate::model::PaymentStatus::Paid);
    let part = amount("amountRefunded", "20.00");
    assert_eq!(status(&part), crate::model::PaymentStatus::PartiallyRefunded);
    let more = amount("amountRefunded", "50.25");
    assert_eq!(status(&more), crate::model::PaymentStatus::Refunded);
    let charged_back = amount("amountChargedBack", "50.00");
    assert_eq!(status(&charged_back), crate::model::PaymentStatus::Disputed);
    let debit = format!(r#"{charged_back},"method":"directdebit""#);
    assert_eq!(status(&debit), crate::model::PaymentStatus::ChargedBack);
    let reversed = amount("amountChargedBack", "0.00");
    assert_eq!(status(&reversed), crate::model::PaymentStatus::Paid);
    let total = testing::payment_fact(&payment(&part)).amount.map(|money| money.minor_units);
    assert_eq!(total, Some(5000));
}

#[test]
fn the_same_state_has_the_same_key_and_another_state_another() {
    let refund = |status: &str| {
        format!(r#","_embedded":{{"refunds":[{{"id":"re_1","status":"{status}"}}]}}"#)
    };
    assert_eq!(payment("").key, payment(r#","description":"x""#).key);
    assert_ne!(payment("").key, payment(&refund("failed")).key);
    assert_ne!(payment(&refund("pending")).key, payment(&refund("failed")).key);
    assert_eq!(payment("").event_id, payment("").key);
}

#[test]
fn a_state_without_a_time_is_of_when_its_webhook_came() {
    let body = r#"{"id":"tr_3","status":"failed","amount":{"value":"1.00","currency":"EUR"}}"#;
    let Ok(Step::Done { drafts, .. }) = fetched("payments/tr_3", 200, body) else { panic!() };
    assert_eq!(drafts[0].occurred_at, now());
}

#[test]
fn what_says_nothing_needs_no_id() {
    let said = testing::translate_stored(&PROVIDER, &endpoint(), br#"{"type":"hook.ping"}"#);
    assert_eq!(said, Ok(Translation::Events(Vec::new())));
}

#[test]
fn amounts_have_their_currencys_own_digits() {
    let yen = r#"{"id":"tr_2","status":"paid","createdAt":"2026-11-20T10:00:00+00:00",
        "amount":{"value":"1000","currency":"JPY"}}"#;
    let Ok(Step::Done { drafts, .. }) = fetched("payments/tr_2", 200, yen) else { panic!() };
    let amount = testing::payment_fact(&drafts[0]).amount;
    assert_eq!(amount.map(|money| money.minor_units), Some(1000));
    assert!(fetched("payments/tr_2", 200, &yen.replace("1000", "10.50")).is_err());
}

#[test]
fn no_answer_panics() {
    for event in ["payment.charged_back", "order.shipping", "payment.partially_refunded"] {
        let sample = testing::whole_sample(&PROVIDER, &endpoint(), event, 0);
        let answer = &sample.answers[0];
        let object = answer.path.strip_prefix("/v2/").expect("of the API");
        let body = std::str::from_utf8(&answer.body).expect("text");
        for end in 0..body.len() {
            assert!(fetched(object, 200, &body[..end]).is_err(), "{event} {end}");
        }
        for value in ["\"1e9\"", "\"0.001\"", "99999999999999999999", "[]", "true"] {
            let broken = body.replace("\"value\":\"", &format!("\"value\":{value},\"was\":\""));
            assert!(fetched(object, 200, &broken).is_err(), "{event} {value}");
        }
    }
}

#[test]
fn metadata_may_be_a_text_and_names_the_order() {
    assert_eq!(payment(r#","metadata":"order-7""#).references.order, "order-7");
    assert_eq!(payment(r#","metadata":{"order_id":7}"#).references.order, "7");
    assert_eq!(payment(r#","metadata":["x"],"orderId":"ord_1""#).references.order, "ord_1");
}

#[test]
fn a_thin_event_fetches_its_object_or_the_events_copy_of_it() {
    let translation = |event: &str, entity: &str| {
        let body = format!(
            r#"{{"resource":"event","id":"event_1","type":"{event}","entityId":"{entity}",
            "createdAt":"2026-11-20T10:00:00+00:00"}}"#
        );
        testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes())
    };
    let objects = [
        ("payment-link.paid", "pl_1", "payment-links/pl_1"),
        ("sales-invoice.paid", "invoice_1", "sales-invoices/invoice_1"),
        ("sales-invoice.paid", "si_1", "sales-invoices/si_1"),
        ("dispute.created", "dsp_1", "events/event_1"),
        ("payment-link.paid", "pl_1/../x", "events/event_1"),
    ];
    for (event, entity, object) in objects {
        let Ok(Translation::Fetches(fetches)) = translation(event, entity) else {
            panic!("{event}")
        };
        assert_eq!(fetches[0].object, object);
    }
    let Ok(Translation::Fetches(fetches)) = translation("dispute.created", "dsp_1") else {
        panic!()
    };
    let copy = r#"{"id":"event_1","_embedded":{"entity":{"id":"dsp_1","status":"open",
        "_links":{"payment":{"href":"https://api.mollie.com/v2/payments/tr_9"}}}}}"#;
    let answer = Answer { status: 200, headers: HeaderMap::new(), body: copy.into() };
    let Ok(Step::Done { drafts, .. }) = PROVIDER.fetch_step(&endpoint(), &fetches[0], &[answer])
    else {
        panic!("not done")
    };
    assert_eq!((drafts[0].key.as_str(), drafts[0].subject.id.as_str()), ("event_1", "tr_9"));
}

#[test]
fn an_unreadable_outcome_of_a_dispute_is_no_guess() {
    let outcome = |word: &str| {
        let change = ["\"outcome\":\"won\"", &format!("\"outcome\":\"{word}\"")];
        testing::draft_of(&PROVIDER, &endpoint(), "dispute.resolved", change)
    };
    assert!(outcome("lost").is_ok() && outcome("no such word").is_err());
}

#[test]
fn test_mode_is_not_live() {
    assert!(payment("").live);
    let change = ["\"mode\":\"live\"", "\"mode\":\"test\""];
    let draft = testing::draft_of(&PROVIDER, &endpoint(), "payment-link.paid", change);
    assert!(!draft.expect("readable").live);
}

#[test]
fn settings_are_checked() {
    let check = |name: &str, value: &str| {
        let mut endpoint = endpoint();
        endpoint.settings.insert(name.to_owned(), value.to_owned());
        (PROVIDER.check)(&endpoint)
    };
    assert!(check(API_URL, "http://127.0.0.1:9").is_ok() && check(TESTMODE, "true").is_ok());
    assert!(check(API_URL, "api.mollie.com").is_err() && check(TESTMODE, "yes").is_err());
}

/// The life of one payment, its reports in any order.
#[test]
fn a_payments_life_ends_the_same_in_every_order() {
    let life: Vec<Draft> = [
        "payment.open",
        "payment.paid",
        "payment.partially_refunded",
        "dispute.created",
        "dispute.resolved",
    ]
    .iter()
    .enumerate()
    .flat_map(|(at, event)| {
        let at = i64::try_from(at).expect("few");
        testing::drafts(&PROVIDER, &endpoint(), event, at * 60).expect("known")
    })
    .collect();
    let end = merged(&life);
    assert_eq!(end.status().map(|status| status.word()), Some("PARTIALLY_REFUNDED"));
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
