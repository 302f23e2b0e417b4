//! Tests of Xero: the intent to receive, what invoices, payments and credit notes come down to, and that the same
//! state is one event.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::draft::time;
use super::*;
use crate::model::{
    Draft, Fact, InvoiceFact, InvoiceStatus, PaymentStatus, Sequence, Status, SubjectState,
};
use crate::providers::{Answer, testing};

const SECRETS: &[(&str, &str)] = &[(WEBHOOK_KEY, "QgKbu0oeH4mFpMA3HMlgfkw4jNCeSkvZkbH05OBOZWLB==")];
const SILENT: &[&str] = &[
    "CREDITNOTE.CREATE",
    "CONTACT.CREATE",
    "CONTACT.UPDATE",
    "SUBSCRIPTION.CREATE",
    "SUBSCRIPTION.UPDATE",
];

fn endpoint() -> Endpoint {
    testing::endpoint(&PROVIDER, SECRETS)
}

fn step(event_type: &str, answers: &[(u16, Value)]) -> Result<Step, TranslateError> {
    let answers: Vec<Answer> = answers
        .iter()
        .map(|(status, body)| Answer {
            status: *status,
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_string()),
        })
        .collect();
    let now = Timestamp::from_second(testing::NOW).expect("a time");
    let told = json!({ "o": "t-1", "i": "x-1", "t": event_type, "a": "2026-11-23T01:15:39.902" });
    let fetch = Fetch { object: "t-1/x-1".to_owned(), told: told.to_string() };
    let (received_at, answers, endpoint) = (now, &answers[..], &endpoint());
    super::fetch(&Fetching { endpoint, fetch: &fetch, received_at, now, cursor: "", answers })
}

fn drafts(event_type: &str, body: Value) -> Vec<Draft> {
    match step(event_type, &[(200, body)]) {
        Ok(Step::Done { drafts, .. }) => drafts,
        Ok(_) => panic!("not done"),
        Err(error) => panic!("{error}"),
    }
}

fn invoice(changes: Value) -> Value {
    let mut invoice = json!({
        "InvoiceID": "x-1", "Type": "ACCREC", "Status": "AUTHORISED", "Total": 100.00,
        "AmountDue": 100.00, "AmountPaid": 0.0, "AmountCredited": 0, "CurrencyCode": "NZD",
        "DueDate": "/Date(1797724800000+0000)/", "UpdatedDateUTC": "/Date(1795402000000+0000)/",
    });
    let fields = invoice.as_object_mut().expect("an object");
    fields.extend(changes.as_object().expect("an object").clone());
    json!({ "Invoices": [invoice] })
}

fn invoice_fact(changes: Value) -> InvoiceFact {
    match drafts("INVOICE.UPDATE", invoice(changes)).remove(0).fact {
        Fact::Invoice(fact) => fact,
        other => panic!("{other:?}"),
    }
}

fn payment(changes: Value) -> Value {
    let mut payment = json!({
        "PaymentID": "x-1", "PaymentType": "ACCRECPAYMENT", "Status": "AUTHORISED", "Amount": 30.5,
        "Invoice": { "InvoiceID": "inv-1", "InvoiceNumber": "INV-1", "CurrencyCode": "NZD" },
        "UpdatedDateUTC": "/Date(1795402000000+0000)/",
    });
    let fields = payment.as_object_mut().expect("an object");
    fields.extend(changes.as_object().expect("an object").clone());
    json!({ "Payments": [payment] })
}

#[test]
fn samples_verify_and_translate_and_do_not_survive_a_flipped_byte() {
    testing::check_samples(&PROVIDER, &endpoint(), SILENT, testing::Coverage::Body);
}

#[test]
fn each_object_is_ordered_along_its_life() {
    for life in [
        ["INVOICE.CREATE", "INVOICE.UPDATE"],
        ["PAYMENT.CREATE", "PAYMENT.UPDATE"],
        ["PREPAYMENT.CREATE", "PREPAYMENT.UPDATE"],
    ] {
        testing::check_life(&PROVIDER, &endpoint(), &life);
    }
}

#[test]
fn no_request_panics() {
    testing::check_hostile_input(&PROVIDER, &endpoint());
}

#[test]
fn an_intent_to_receive_says_nothing_and_is_answered_without_a_body() {
    let body = br#"{"events":[],"firstEventSequence": 0,"lastEventSequence": 0, "entropy": "A"}"#;
    let none = testing::translate_stored(&PROVIDER, &endpoint(), body);
    assert_eq!(none, Ok(Translation::Events(Vec::new())));
    let Replies { accepted, refused, .. } = PROVIDER.replies;
    assert_eq!((accepted.status, accepted.body, accepted.content_type), (200, "", ""));
    assert_eq!((refused.status, refused.body, refused.content_type), (401, "", ""));
}

#[test]
fn an_unknown_category_does_not_hide_known_ones() {
    let event = |category: &str, id: &str| {
        json!({ "eventCategory": category, "eventType": "UPDATE", "resourceId": id,
            "tenantId": "t-1", "eventDateUtc": "2026-11-23T01:15:39.902" })
    };
    let translate = |events: Vec<Value>| {
        let body = json!({ "events": events }).to_string();
        testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes())
    };
    let unknown = translate(vec![event("QUOTE", "q-1")]);
    assert_eq!(unknown, Ok(Translation::Unknown("QUOTE.UPDATE".to_owned())));
    match translate(vec![event("QUOTE", "q-1"), event("INVOICE", "i-1"), event("CONTACT", "")]) {
        Ok(Translation::Fetches(fetches)) => assert_eq!(fetches[0].object, "t-1/Invoices/i-1"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_that_cannot_be_read_fails_by_itself() {
    let known = json!({ "eventCategory": "INVOICE", "eventType": "UPDATE", "resourceId": "i-1",
        "tenantId": "t-1", "eventDateUtc": "2026-11-23T01:15:39.902" });
    let mut elsewhere = known.clone();
    elsewhere["resourceId"] = json!("../i-2");
    let translate = |events: Vec<&Value>| {
        let body = json!({ "events": events }).to_string();
        testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes())
    };
    for bad in [elsewhere, json!({ "resourceId": "i-2" }), json!(null), json!(7)] {
        assert!(translate(vec![&bad]).is_err(), "{bad}");
        let Ok(Translation::Fetches(fetches)) = translate(vec![&bad, &known]) else {
            panic!("no fetches")
        };
        let objects: Vec<&str> = fetches.iter().map(|fetch| fetch.object.as_str()).collect();
        assert_eq!(objects, ["t-1/Invoices/i-1", "unreadable/0"], "{bad}");
        let (endpoint, now) = (endpoint(), Timestamp::UNIX_EPOCH);
        let (fetch, received_at) = (&fetches[1], now);
        let fetching =
            Fetching { endpoint: &endpoint, fetch, received_at, now, cursor: "", answers: &[] };
        assert!(super::fetch(&fetching).is_err(), "{bad}");
    }
}

#[test]
fn the_call_names_the_organisation_and_not_the_url_of_the_body() {
    match step("INVOICE.UPDATE", &[]) {
        Ok(Step::Call(call)) => {
            assert_eq!(call.url, "https://api.xero.com/api.xro/2.0/Invoices/x-1");
            assert!(call.headers.contains(&("xero-tenant-id", "t-1".to_owned())));
        }
        _ => panic!("no call"),
    }
}

#[test]
fn an_authorised_invoice_is_open_until_amounts_say_more() {
    let status = |changes| invoice_fact(changes).status;
    assert_eq!(status(json!({})), InvoiceStatus::Open);
    assert_eq!(
        status(json!({ "AmountPaid": 30.25, "AmountDue": 69.75 })),
        InvoiceStatus::PartiallyPaid
    );
    assert_eq!(
        status(json!({ "AmountCredited": 30.25, "AmountDue": 69.75 })),
        InvoiceStatus::PartiallyPaid
    );
    assert_eq!(status(json!({ "Status": "PAID", "AmountDue": 0 })), InvoiceStatus::Paid);
    assert_eq!(status(json!({ "Status": "SUBMITTED" })), InvoiceStatus::Draft);
    assert_eq!(status(json!({ "Status": "DELETED" })), InvoiceStatus::Void);
    let due = invoice_fact(json!({})).due_date.expect("a date").to_string();
    assert_eq!(due, "2026-12-20");
    assert!(step("INVOICE.UPDATE", &[(200, invoice(json!({ "Status": "NEW" })))]).is_err());
    assert!(step("INVOICE.UPDATE", &[(200, invoice(json!({ "Total": 1.005 })))]).is_err());
}

#[test]
fn bills_give_nothing() {
    assert!(drafts("INVOICE.UPDATE", invoice(json!({ "Type": "ACCPAY" }))).is_empty());
    let bill = payment(json!({ "PaymentType": "ACCPAYPAYMENT" }));
    assert!(drafts("PAYMENT.CREATE", bill).is_empty());
}

#[test]
fn the_same_state_is_one_event_and_a_step_back_another() {
    let key = |event_type, changes| drafts(event_type, invoice(changes)).remove(0).key;
    let paid = json!({ "Status": "PAID", "AmountDue": 0, "AmountPaid": 100 });
    assert_eq!(key("INVOICE.CREATE", paid.clone()), key("INVOICE.UPDATE", paid.clone()));
    assert_ne!(key("INVOICE.UPDATE", paid), key("INVOICE.UPDATE", json!({})));
    // Its payment was deleted and made again: paid as before, yet later.
    let again = json!({ "Status": "PAID", "AmountDue": 0, "AmountPaid": 100,
        "UpdatedDateUTC": "/Date(1795402999000+0000)/" });
    let before = json!({ "Status": "PAID", "AmountDue": 0, "AmountPaid": 100 });
    assert_ne!(key("INVOICE.UPDATE", again), key("INVOICE.UPDATE", before));
}

#[test]
fn a_payment_names_its_invoice() {
    let draft = drafts("PAYMENT.CREATE", payment(json!({}))).remove(0);
    let fact = testing::payment_fact(&draft);
    assert_eq!(fact.status, Some(PaymentStatus::Paid));
    assert_eq!(fact.amount.map(|money| money.minor_units), Some(3050));
    let references = &draft.references;
    assert_eq!((references.invoice.as_str(), references.payment.as_str()), ("inv-1", "x-1"));
    assert_eq!(references.metadata["tenant_id"], "t-1");
    let deleted = drafts("PAYMENT.UPDATE", payment(json!({ "Status": "DELETED" }))).remove(0);
    assert_eq!(testing::payment_fact(&deleted).status, Some(PaymentStatus::Canceled));
}

#[test]
fn a_payment_without_a_currency_has_that_of_its_invoice() {
    let bare = payment(json!({ "Invoice": { "InvoiceID": "inv-1" } }));
    match step("PAYMENT.CREATE", &[(200, bare.clone())]) {
        Ok(Step::Call(call)) => assert!(call.url.ends_with("/Invoices/inv-1")),
        _ => panic!("no call"),
    }
    let invoice = json!({ "Invoices": [{ "InvoiceID": "inv-1", "CurrencyCode": "GBP" }] });
    match step("PAYMENT.CREATE", &[(200, bare), (200, invoice)]) {
        Ok(Step::Done { drafts, .. }) => {
            let amount = testing::payment_fact(&drafts[0]).amount.expect("an amount");
            assert_eq!((amount.minor_units, amount.currency.code()), (3050, "GBP"));
        }
        _ => panic!("not done"),
    }
}

#[test]
fn a_refund_counts_once_whether_the_note_or_its_payment_tells_it() {
    let note = json!({ "CreditNotes": [{ "CreditNoteID": "cn-1", "Type": "ACCRECCREDIT",
        "Status": "PAID", "Total": 50.0, "CurrencyCode": "NZD",
        "UpdatedDateUTC": "/Date(1795402000000+0000)/",
        "Payments": [{ "PaymentID": "x-1", "Amount": 20.0 }, { "PaymentID": "x-2", "Amount": 30.0 }]
    }]});
    let refunds = drafts("CREDITNOTE.UPDATE", note);
    let paid_out = payment(json!({ "PaymentType": "ARCREDITPAYMENT", "Amount": 20.0,
        "Invoice": null, "CreditNote": { "CreditNoteID": "cn-1", "CurrencyCode": "NZD" } }));
    let told_apart = drafts("PAYMENT.CREATE", paid_out).remove(0);
    let life = [refunds[0].clone(), refunds[1].clone(), told_apart];
    let end = |order: [usize; 3]| {
        let mut state = SubjectState::begin(&life[0].subject);
        for (sequence, index) in (1..).zip(order) {
            state.apply(&life[index], Sequence(sequence));
        }
        state
    };
    let first = end([0, 1, 2]);
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert!(first.converges_with(&end(order)), "{order:?}");
    }
    assert_eq!(first.status(), Some(Status::Payment(PaymentStatus::Refunded)));
    assert_eq!(first.amounts().refunded.map(|money| money.minor_units), Some(5000));
}

#[test]
fn a_credit_note_that_was_only_set_off_gives_nothing() {
    let note = json!({ "CreditNotes": [{ "CreditNoteID": "cn-1", "Type": "ACCRECCREDIT",
        "Status": "PAID", "Total": 50.0, "CurrencyCode": "NZD", "Payments": [],
        "Allocations": [{ "Amount": 50.0, "Invoice": { "InvoiceID": "inv-1" } }] }]});
    assert!(drafts("CREDITNOTE.UPDATE", note).is_empty());
}

#[test]
fn what_xero_does_not_know_is_denied_and_other_refusals_are_asked_again() {
    assert!(matches!(step("INVOICE.UPDATE", &[(404, json!({}))]), Ok(Step::Denied)));
    assert!(step("INVOICE.UPDATE", &[(403, json!({}))]).is_err());
    assert!(step("INVOICE.UPDATE", &[(200, json!({ "Invoices": [] }))]).is_err());
}

#[test]
fn times_are_read_in_both_forms() {
    let seconds = |text| time(text).map(|time| time.as_second());
    assert_eq!(seconds("/Date(1795402000000+0000)/"), Ok(1_795_402_000));
    assert_eq!(seconds("/Date(1795402000000)/"), Ok(1_795_402_000));
    assert_eq!(seconds("/Date(-1000+1300)/"), Ok(-1));
    assert_eq!(seconds("2026-11-23T01:15:39.902"), Ok(1_795_396_539));
    for wrong in ["", "/Date(", "/Date(x)/", "/Date(99999999999999999999)/", "yesterday"] {
        assert!(time(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_life_of_an_invoice_ends_the_same_in_every_order() {
    let at = |minutes: i64| format!("/Date({}+0000)/", 1_795_402_000_000 + minutes * 60_000);
    let life: Vec<Draft> = [
        json!({ "Status": "DRAFT", "UpdatedDateUTC": at(0) }),
        json!({ "AmountPaid": 40, "AmountDue": 60, "UpdatedDateUTC": at(1) }),
        json!({ "Status": "PAID", "AmountPaid": 100, "AmountDue": 0, "UpdatedDateUTC": at(2) }),
        json!({ "AmountPaid": 40, "AmountDue": 60, "UpdatedDateUTC": at(3) }),
    ]
    .into_iter()
    .map(|changes| drafts("INVOICE.UPDATE", invoice(changes)).remove(0))
    .collect();
    let end = |order: &[usize]| {
        let mut state = SubjectState::begin(&life[0].subject);
        for (sequence, index) in (1..).zip(order) {
            state.apply(&life[*index], Sequence(sequence));
        }
        state
    };
    let first = end(&[0, 1, 2, 3]);
    assert_eq!(first.status(), Some(Status::Invoice(InvoiceStatus::PartiallyPaid)));
    for order in [[3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1], [0, 3, 2, 1], [3, 0, 1, 2]] {
        assert!(first.converges_with(&end(&order)), "{order:?}");
    }
}

/// The lists of an endpoint that asks for them.
fn polled() -> (Endpoint, Vec<Fetch>) {
    let mut endpoint = endpoint();
    endpoint.settings.insert(TENANT_ID.to_owned(), "t-1".to_owned());
    endpoint.settings.insert("poll_interval".to_owned(), "900".to_owned());
    let fetches = (PROVIDER.poll)(&endpoint);
    (endpoint, fetches)
}

fn listed(index: usize, cursor: &str, answers: &[Value]) -> Result<Step, TranslateError> {
    let (endpoint, fetches) = polled();
    let answers: Vec<Answer> = answers
        .iter()
        .map(|body| Answer {
            status: 200,
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_string()),
        })
        .collect();
    let now = Timestamp::from_second(testing::NOW).expect("a time");
    let (endpoint, fetch) = (&endpoint, &fetches[index]);
    let answers = &answers[..];
    super::fetch(&Fetching { endpoint, fetch, received_at: now, now, cursor, answers })
}

#[test]
fn lists_are_read_only_where_they_are_asked_for() {
    assert!((PROVIDER.poll)(&endpoint()).is_empty());
    let objects: Vec<String> = polled().1.into_iter().map(|fetch| fetch.object).collect();
    assert_eq!(
        objects,
        ["t-1/Invoices", "t-1/Payments", "t-1/CreditNotes", "t-1/BankTransactions"]
    );
    assert_eq!(check(&polled().0), Ok(()));
    let mut endpoint = endpoint();
    endpoint.settings.insert("poll_interval".to_owned(), "900".to_owned());
    assert_eq!(check(&endpoint).expect_err("a mistake").key, TENANT_ID);
}

#[test]
fn a_listed_object_is_the_same_event_as_one_that_a_webhook_named() {
    let paid = json!({ "Status": "PAID", "AmountDue": 0, "AmountPaid": 100 });
    let told = drafts("INVOICE.UPDATE", invoice(paid.clone())).remove(0);
    match listed(0, "", &[invoice(paid)]) {
        Ok(Step::Done { drafts, cursor }) => {
            assert_eq!(drafts, [told]);
            assert_eq!(cursor.as_deref(), Some("2026-11-23T02:46:40Z"));
        }
        _ => panic!("not done"),
    }
}

#[test]
fn a_list_goes_on_page_by_page_from_where_it_ended() {
    match listed(0, "2026-11-23T02:46:40Z", &[]) {
        Ok(Step::Call(call)) => {
            assert!(call.url.contains("/Invoices?page=1&pageSize=100&order=UpdatedDateUTC%20ASC"));
            let since = ("if-modified-since", "2026-11-23T02:46:40".to_owned());
            assert!(call.headers.contains(&since));
        }
        _ => panic!("no call"),
    }
    let item = invoice(json!({}))["Invoices"][0].clone();
    let full = json!({ "Invoices": vec![item; 100] });
    match listed(0, "", std::slice::from_ref(&full)) {
        Ok(Step::Call(call)) => assert!(call.url.contains("?page=2&")),
        _ => panic!("no second page"),
    }
    let last = json!({ "Invoices": [] });
    match listed(0, "2026-11-24T00:00:00Z", &[full, last]) {
        Ok(Step::Done { drafts, cursor }) => {
            assert_eq!(drafts.len(), 100);
            assert_eq!(cursor.as_deref(), Some("2026-11-24T00:00:00Z"), "it never goes back");
        }
        _ => panic!("not done"),
    }
    assert!(listed(0, "", &[invoice(json!({ "Status": "NEW" }))]).is_err());
}

#[test]
fn bank_transactions_have_a_sign() {
    let transaction = |kind: &str, status: &str| {
        json!({ "BankTransactions": [{ "BankTransactionID": "b-1", "Type": kind,
            "Status": status, "Total": 12.5, "CurrencyCode": "NZD", "Reference": "order-7",
            "UpdatedDateUTC": "/Date(1795402000000+0000)/" }] })
    };
    let fact = |kind, status| match listed(3, "", &[transaction(kind, status)]) {
        Ok(Step::Done { mut drafts, .. }) => match drafts.remove(0).fact {
            Fact::BankTransaction(fact) => (fact.status.word(), fact.amount),
            other => panic!("{other:?}"),
        },
        _ => panic!("not done"),
    };
    let minor = |kind, status| {
        let (word, amount) = fact(kind, status);
        (word, amount.expect("an amount").minor_units)
    };
    assert_eq!(minor("RECEIVE", "AUTHORISED"), ("BOOKED", 1250));
    assert_eq!(minor("SPEND-TRANSFER", "AUTHORISED"), ("BOOKED", -1250));
    assert_eq!(minor("RECEIVE", "DELETED"), ("REMOVED", 1250));
    assert!(listed(3, "", &[transaction("ODD", "AUTHORISED")]).is_err());
}
