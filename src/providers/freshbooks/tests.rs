//! Tests of FreshBooks: the handshake of a callback, what objects come down to, and that the same state is one
//! event.

use http::HeaderMap;
use serde_json::Value;

use super::*;
use crate::model::{
    Draft, Fact, InvoiceFact, InvoiceStatus, PaymentStatus, Sequence, Status, SubjectState,
};
use crate::providers::{Answer, testing};

const SECRETS: &[(&str, &str)] = &[(VERIFIER, "scSampleVerifierQ5QuKuj5qTjVkbJNY")];

fn endpoint() -> Endpoint {
    testing::endpoint(&PROVIDER, SECRETS)
}

fn handshaking() -> Endpoint {
    let mut endpoint = testing::endpoint(&PROVIDER, &[]);
    endpoint.settings.insert(SCHEME.to_owned(), HANDSHAKE.to_owned());
    endpoint
}

fn silent() -> Vec<&'static str> {
    let others = EVENTS.iter().filter(|(_, noun)| *noun == Noun::Other);
    others.map(|(name, _)| *name).collect()
}

fn step(event_type: &str, answers: &[(u16, Value)]) -> Result<Step, TranslateError> {
    let told = json!({ "a": "6BApk", "i": "158", "t": event_type });
    let fetch = Fetch { object: "6BApk/158".to_owned(), told: told.to_string() };
    fetched(&endpoint(), &fetch, answers)
}

fn fetched(
    endpoint: &Endpoint,
    fetch: &Fetch,
    answers: &[(u16, Value)],
) -> Result<Step, TranslateError> {
    let answers: Vec<Answer> = answers
        .iter()
        .map(|(status, body)| Answer {
            status: *status,
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_string()),
        })
        .collect();
    let now = Timestamp::from_second(testing::NOW).expect("a time");
    let (received_at, answers) = (now, &answers[..]);
    super::fetch(&Fetching { endpoint, fetch, received_at, now, cursor: "", answers })
}

fn said(event_type: &str, name: &str, record: Value) -> Draft {
    let body = json!({ "response": { "result": { name: record } } });
    match step(event_type, &[(200, body)]) {
        Ok(Step::Done { mut drafts, .. }) if drafts.len() == 1 => drafts.remove(0),
        Ok(_) => panic!("not done"),
        Err(error) => panic!("{error}"),
    }
}

fn payment(event_type: &str, changes: Value) -> Draft {
    let mut payment = json!({ "id": 158, "amount": { "amount": "120.00", "code": "USD" },
        "invoiceid": 219, "clientid": 21, "type": "Credit Card", "creditid": null,
        "updated": "2026-11-23 05:00:00", "vis_state": 0 });
    let fields = payment.as_object_mut().expect("an object");
    fields.extend(changes.as_object().expect("an object").clone());
    said(event_type, "payment", payment)
}

fn invoice(status: &str, paid: &str, outstanding: &str, changes: Value) -> Draft {
    let mut invoice = json!({ "id": 219, "amount": { "amount": "300.00", "code": "USD" },
        "paid": { "amount": paid, "code": "USD" }, "deposit_amount": null,
        "outstanding": { "amount": outstanding, "code": "USD" }, "v3_status": status,
        "due_date": "2026-12-20", "updated": "2026-11-23 05:00:00", "vis_state": 0 });
    let fields = invoice.as_object_mut().expect("an object");
    fields.extend(changes.as_object().expect("an object").clone());
    said("invoice.update", "invoice", invoice)
}

fn invoice_fact(draft: &Draft) -> &InvoiceFact {
    match &draft.fact {
        Fact::Invoice(fact) => fact,
        other => panic!("{other:?}"),
    }
}

#[test]
fn samples_verify_and_translate_and_do_not_survive_a_flipped_byte() {
    testing::check_samples(&PROVIDER, &endpoint(), &silent(), testing::Coverage::Body);
}

#[test]
fn each_object_is_ordered_along_its_life() {
    for life in [
        &["payment.create", "payment.delete"][..],
        &["invoice.create", "invoice.sendByEmail", "invoice.update", "invoice.delete"],
        &["estimate.create", "estimate.update", "estimate.delete"],
    ] {
        testing::check_life(&PROVIDER, &endpoint(), life);
    }
}

#[test]
fn no_request_panics() {
    testing::check_hostile_input(&PROVIDER, &endpoint());
}

#[test]
fn a_verifier_is_sent_back_and_only_freshbooks_confirms_it() {
    let body = b"name=callback.verify&object_id=2001&account_id=6BApk&verifier=abc";
    let now = Timestamp::from_second(testing::NOW).expect("a time");
    let request = Request {
        method: Method::POST,
        path: "/webhooks/freshbooks/test".to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(body),
    };
    let verdict = |endpoint: &Endpoint| verify(&request, endpoint, &Keys::default(), now);
    assert!(matches!(verdict(&handshaking()), Ok(Verdict::NeedsConfirmation(_))));
    assert!(verdict(&endpoint()).is_err(), "only where a handshake is waited for");
    let mut of_another_account = handshaking();
    of_another_account.settings.insert(ACCOUNT_ID.to_owned(), "xZNQ1X".to_owned());
    assert!(verdict(&of_another_account).is_err());

    let endpoint = handshaking();
    let Ok(Translation::Fetches(fetches)) = testing::translate_stored(&PROVIDER, &endpoint, body)
    else {
        panic!("no fetches")
    };
    let Ok(Step::Call(call)) = fetched(&endpoint, &fetches[0], &[]) else { panic!("no call") };
    assert_eq!(call.method, Method::PUT);
    assert_eq!(call.url, "https://api.freshbooks.com/events/account/6BApk/events/callbacks/2001");
    assert_eq!(&call.body[..], br#"{"callback":{"verifier":"abc"}}"#);
    let confirmed = fetched(&endpoint, &fetches[0], &[(200, json!({}))]);
    assert!(matches!(confirmed, Ok(Step::Done { drafts, .. }) if drafts.is_empty()));
    let denied = fetched(&endpoint, &fetches[0], &[(422, json!({}))]);
    assert!(matches!(denied, Ok(Step::Denied)));
    let forged = String::from_utf8_lossy(body).replace("abc", "abd");
    let forged = testing::translate_stored(&PROVIDER, &endpoint, forged.as_bytes());
    match forged {
        Ok(Translation::Fetches(forged)) => assert_ne!(forged[0].object, fetches[0].object),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_endpoint_that_waits_for_a_handshake_accepts_nothing_else_unsigned() {
    let now = Timestamp::from_second(testing::NOW).expect("a time");
    let request = testing::sample(&PROVIDER, &endpoint(), "payment.create", 0);
    assert!(PROVIDER.prove(&request, &handshaking(), now).is_err());
}

#[test]
fn any_of_the_verifiers_may_match() {
    let now = Timestamp::from_second(testing::NOW).expect("a time");
    let request = testing::sample(&PROVIDER, &endpoint(), "payment.create", 0);
    let mut several = endpoint();
    several.secrets.insert(VERIFIER.to_owned(), vec!["another".into(), SECRETS[0].1.into()]);
    let proof = PROVIDER.prove(&request, &several, now).expect("the second matches");
    assert_eq!(proof.verified_by(), "verifier[1]");
}

#[test]
fn an_object_of_another_account_is_left_out() {
    let mut endpoint = endpoint();
    endpoint.settings.insert(ACCOUNT_ID.to_owned(), "xZNQ1X".to_owned());
    let body = b"name=payment.create&object_id=158&account_id=6BApk";
    let none = testing::translate_stored(&PROVIDER, &endpoint, body);
    assert_eq!(none, Ok(Translation::Events(Vec::new())));
}

#[test]
fn unknown_types_are_unknown_and_bad_ids_are_errors() {
    let translate = |body: &str| testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes());
    assert_eq!(
        translate("name=tax.create&object_id=1&account_id=a"),
        Ok(Translation::Unknown("tax.create".to_owned()))
    );
    assert!(translate("name=payment.create&object_id=..%2F1&account_id=a").is_err());
    assert!(translate("name=payment.create&object_id=1").is_err());
    assert!(translate("object_id=1&account_id=a").is_err());
}

#[test]
fn a_payment_is_paid_until_it_is_deleted() {
    let fact = |event_type, changes| testing::payment_fact(&payment(event_type, changes)).clone();
    assert_eq!(fact("payment.create", json!({})).status, Some(PaymentStatus::Paid));
    for (event_type, state) in [("payment.update", 1), ("payment.update", 2), ("payment.delete", 0)]
    {
        let changed = fact(event_type, json!({ "vis_state": state }));
        assert_eq!(changed.status, Some(PaymentStatus::Canceled), "{event_type} {state}");
    }
    let refund = fact("payment.create", json!({ "amount": { "amount": "-5.00", "code": "USD" } }));
    assert_eq!(refund.status, Some(PaymentStatus::Refunded));
    assert_eq!(refund.amount.map(|money| money.minor_units), Some(500));
    let draft = payment("payment.create", json!({}));
    assert_eq!((draft.references.invoice.as_str(), &*draft.references.customer), ("219", "21"));
}

#[test]
fn amounts_say_more_than_the_status_beside_them() {
    let status =
        |word, paid, outstanding| invoice_fact(&invoice(word, paid, outstanding, json!({}))).status;
    assert_eq!(status("sent", "300.00", "0.00"), InvoiceStatus::Paid);
    assert_eq!(status("overdue", "100.00", "200.00"), InvoiceStatus::PartiallyPaid);
    assert_eq!(status("disputed", "0.00", "300.00"), InvoiceStatus::Disputed);
    assert_eq!(status("resolved", "0.00", "300.00"), InvoiceStatus::Open);
    assert_eq!(status("viewed", "0.00", "300.00"), InvoiceStatus::Open);
    assert_eq!(status("declined", "0.00", "300.00"), InvoiceStatus::PaymentFailed);
    assert_eq!(status("auto-paid", "0.00", "300.00"), InvoiceStatus::Paid);
    let deleted = invoice("paid", "300.00", "0.00", json!({ "vis_state": 1 }));
    assert_eq!(invoice_fact(&deleted).status, InvoiceStatus::Void);
    let due = invoice_fact(&deleted).due_date.map(|day| day.to_string());
    assert_eq!(due.as_deref(), Some("2026-12-20"));
}

#[test]
fn the_same_state_is_one_event_whatever_reported_it() {
    let key = |event_type, changes| payment(event_type, changes).key;
    assert_eq!(key("payment.create", json!({})), key("payment.update", json!({})));
    let later = json!({ "updated": "2026-11-23 05:00:01" });
    assert_ne!(key("payment.create", json!({})), key("payment.update", later));
    assert_ne!(key("payment.create", json!({})), key("payment.delete", json!({})));
}

#[test]
fn what_is_gone_was_deleted_or_is_denied() {
    match step("invoice.delete", &[(404, json!({}))]) {
        Ok(Step::Done { drafts, .. }) => {
            assert_eq!(invoice_fact(&drafts[0]).status, InvoiceStatus::Void);
        }
        _ => panic!("not done"),
    }
    assert!(matches!(step("payment.create", &[(404, json!({}))]), Ok(Step::Denied)));
    assert!(step("payment.create", &[(403, json!({}))]).is_err());
    assert!(step("payment.create", &[(200, json!({ "response": {} }))]).is_err());
}

#[test]
fn times_are_those_of_new_york() {
    let read = |text| record::time(text).map(|time| time.to_string());
    assert_eq!(read("2026-11-23 05:00:00").as_deref(), Ok("2026-11-23T10:00:00Z"));
    assert_eq!(read("2026-07-01 05:00:00").as_deref(), Ok("2026-07-01T09:00:00Z"));
    assert!(record::time("yesterday").is_err());
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let bare = testing::endpoint(&PROVIDER, &[("access_token", "t")]);
    assert_eq!(check(&bare).expect_err("a mistake").key, "secrets.verifier");
    for (key, value) in [(SCHEME, "none"), (ACCOUNT_ID, "a/b"), ("api_url", "x")] {
        let mut endpoint = endpoint();
        endpoint.settings.insert(key.to_owned(), value.to_owned());
        assert_eq!(check(&endpoint).expect_err("a mistake").key, key);
    }
    assert_eq!(check(&handshaking()), Ok(()));
}

#[test]
fn a_life_ends_the_same_in_every_order() {
    let at = |hour: u8| json!({ "updated": format!("2026-11-23 {hour:02}:00:00") });
    let life = [
        invoice("draft", "0.00", "300.00", at(1)),
        invoice("sent", "0.00", "300.00", at(2)),
        invoice("paid", "300.00", "0.00", at(3)),
        invoice("partial", "100.00", "200.00", at(4)),
    ];
    let end = |order: [usize; 4]| {
        let mut state = SubjectState::begin(&life[0].subject);
        for (sequence, index) in (1..).zip(order) {
            state.apply(&life[index], Sequence(sequence));
        }
        state
    };
    let first = end([0, 1, 2, 3]);
    assert_eq!(first.status(), Some(Status::Invoice(InvoiceStatus::PartiallyPaid)));
    for order in [[3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1], [0, 3, 2, 1], [3, 0, 1, 2]] {
        assert!(first.converges_with(&end(order)), "{order:?}");
    }
}

#[test]
fn a_listed_object_is_the_same_event_as_one_that_a_webhook_named() {
    let mut endpoint = endpoint();
    assert!((PROVIDER.poll)(&endpoint).is_empty());
    endpoint.settings.insert("poll_interval".to_owned(), "900".to_owned());
    assert_eq!(check(&endpoint).expect_err("a mistake").key, ACCOUNT_ID);
    endpoint.settings.insert(ACCOUNT_ID.to_owned(), "6BApk".to_owned());
    assert_eq!(check(&endpoint), Ok(()));
    let fetches = (PROVIDER.poll)(&endpoint);
    let objects: Vec<&str> = fetches.iter().map(|fetch| fetch.object.as_str()).collect();
    assert_eq!(objects, ["6BApk/payments", "6BApk/invoices"]);
    match fetched(&endpoint, &fetches[0], &[]) {
        Ok(Step::Call(call)) => assert!(call.url.starts_with(
            "https://api.freshbooks.com/accounting/account/6BApk/payments/payments?page=1&per_page=100\
             &search%5Bupdated_min%5D=2026-11-1"
        )),
        _ => panic!("no call"),
    }
    let item = json!({ "id": 158, "amount": { "amount": "120.00", "code": "USD" },
        "invoiceid": 219, "clientid": 21, "type": "Credit Card", "creditid": null,
        "updated": "2026-11-23 05:00:00", "vis_state": 0 });
    let page = |pages| json!({ "response": { "result": { "payments": [item], "pages": pages } } });
    match fetched(&endpoint, &fetches[0], &[(200, page(1))]) {
        Ok(Step::Done { drafts, cursor }) => {
            assert_eq!(drafts, [payment("payment.update", json!({}))]);
            assert_eq!(cursor.as_deref(), Some("2026-11-23T10:00:00Z"));
        }
        _ => panic!("not done"),
    }
    match fetched(&endpoint, &fetches[0], &[(200, page(2))]) {
        Ok(Step::Call(call)) => assert!(call.url.contains("?page=2&")),
        _ => panic!("no second page"),
    }
    let many: Vec<(u16, Value)> = (0..20).map(|_| (200, page(30))).collect();
    match fetched(&endpoint, &fetches[0], &many) {
        Ok(Step::Done { cursor, .. }) => assert!(cursor.is_some_and(|text| text.ends_with(" 21"))),
        _ => panic!("not done"),
    }
}
