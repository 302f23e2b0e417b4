//! Tests of Zoho Books: what is signed, what records in JSON and in forms say, and what is asked for.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::model::{Fact, InvoiceStatus, PaymentStatus, Sequence, Status, SubjectState};
use crate::providers::{Answer, Auth, testing};

const SECRETS: &[(&str, &str)] = &[(SECRET_TOKEN, "SampleZohoSecret12")];

fn endpoint() -> Endpoint {
    testing::endpoint(&PROVIDER, SECRETS)
}

fn said(body: Value) -> Draft {
    match testing::translate_stored(&PROVIDER, &endpoint(), body.to_string().as_bytes()) {
        Ok(Translation::Events(mut drafts)) if drafts.len() == 1 => drafts.remove(0),
        other => panic!("{other:?}"),
    }
}

fn payment(changes: Value) -> Value {
    let mut payment = json!({ "payment_id": "46", "amount": 80.0, "amount_refunded": 0.0,
        "currency_code": "EUR", "status": "success", "last_modified_time": "2026-11-23T06:00:00+0100",
        "invoices": [{ "invoice_id": "53", "invoice_number": "INV-1", "amount_applied": 80.0 }] });
    let fields = payment.as_object_mut().expect("an object");
    fields.extend(changes.as_object().expect("an object").clone());
    json!({ "payment": payment })
}

#[test]
fn samples_verify_and_translate_and_do_not_survive_a_flipped_byte() {
    testing::check_samples(&PROVIDER, &endpoint(), &[], testing::Coverage::Body);
}

#[test]
fn each_record_is_ordered_along_its_life() {
    for life in [
        &["payment_pending", "payment_failed", "payment_received", "payment_refunded"][..],
        &["payment_received", "payment_refunded", "payment_deleted"],
        &["invoice_draft", "invoice_sent", "invoice_overdue", "invoice_partially_paid"],
        &["invoice_partially_paid", "invoice_paid", "invoice_void", "invoice_deleted"],
        &["retainerinvoice_draft", "retainerinvoice_sent", "retainerinvoice_paid"],
        &["estimate_sent", "estimate_viewed", "estimate_accepted", "estimate_deleted"],
        &["creditnote_refunded", "creditnote_deleted"],
    ] {
        testing::check_life(&PROVIDER, &endpoint(), life);
    }
}

#[test]
fn no_request_panics() {
    testing::check_hostile_input(&PROVIDER, &endpoint());
}

#[test]
fn the_signed_text_is_sorted_and_decoded_and_ends_with_json_alone() {
    let text = |path, content_type: &str, body: &str| {
        let signed = signed_text(path, Some(content_type.as_bytes()), body.as_bytes());
        String::from_utf8(signed).expect("text")
    };
    let json = "application/json; charset=utf-8";
    assert_eq!(text("/x?subscription_id=9&name=basic", json, "{}"), "namebasicsubscription_id9{}");
    assert_eq!(text("/x?z=1&a=t%2077&e=a+b", json, "{ }"), "at 77ea bz1{ }");
    assert_eq!(text("/x", json, "{}"), "{}");
    assert_eq!(text("/x?a=2&a=1", json, ""), "a2a1");
    let form = "Application/X-WWW-Form-Urlencoded; charset=utf-8";
    assert_eq!(text("/x?m=1", form, "z=%C5%81&b=x+%26"), "bx &m1zŁ");
}

#[test]
fn a_token_in_a_header_stands_for_a_missing_secret_only() {
    let token = [(HEADER_TOKEN, "sample-header-token")];
    let weak = testing::endpoint(&PROVIDER, &token);
    testing::check_samples(&PROVIDER, &weak, &[], testing::Coverage::Nothing);
    let now = Timestamp::from_second(testing::NOW).expect("a time");
    let request = testing::sample(&PROVIDER, &weak, "payment_received", 0);
    let mut wrong = request.clone();
    wrong.headers.insert(TOKEN_HEADER, "another".parse().expect("a value"));
    assert!(PROVIDER.prove(&wrong, &weak, now).is_err());
    let both = testing::endpoint(&PROVIDER, &[SECRETS[0], token[0]]);
    assert!(PROVIDER.prove(&request, &both, now).is_err());
    assert!(PROVIDER.redaction.headers.contains(&TOKEN_HEADER));
}

#[test]
fn the_form_of_zoho_payments_is_no_signature() {
    let now = Timestamp::from_second(testing::NOW).expect("a time");
    let mut request = testing::sample(&PROVIDER, &endpoint(), "payment_received", 0);
    let given = request.headers[HEADER].to_str().expect("text").to_owned();
    let value = format!("t=1795600000000,v={given}");
    request.headers.insert(HEADER, value.parse().expect("a value"));
    assert!(PROVIDER.prove(&request, &endpoint(), now).is_err());
    request.headers.insert(HEADER, given.to_uppercase().parse().expect("a value"));
    assert!(PROVIDER.prove(&request, &endpoint(), now).is_ok(), "either case");
}

#[test]
fn refunds_are_a_running_total() {
    let status = |refunded| {
        let draft = said(payment(json!({ "amount_refunded": refunded })));
        let fact = testing::payment_fact(&draft).clone();
        (fact.status, fact.amount.map(|money| money.minor_units))
    };
    assert_eq!(status(0.0), (Some(PaymentStatus::Paid), Some(8000)));
    assert_eq!(status(12.5), (Some(PaymentStatus::PartiallyRefunded), Some(1250)));
    assert_eq!(status(80.0), (Some(PaymentStatus::Refunded), Some(8000)));
}

#[test]
fn a_payment_names_its_invoice_whatever_its_root_is_called() {
    for name in ["payment", "customer_payment", "customerpayment"] {
        let draft = said(json!({ name: payment(json!({}))["payment"] }));
        assert_eq!(draft.references.invoice, "53");
        assert_eq!(draft.references.invoice_number, "INV-1");
        assert_eq!(draft.subject.id, "46");
        assert_eq!(draft.occurred_at.to_string(), "2026-11-23T05:00:00Z");
    }
    assert_eq!(said(payment(json!({}))["payment"].clone()).event_type, "payment_received");
}

#[test]
fn an_id_beyond_a_float_keeps_every_digit() {
    let body = br#"{"payment":{"payment_id":9007199254740993,"amount":1,"currency_code":"EUR"}}"#;
    match testing::translate_stored(&PROVIDER, &endpoint(), body) {
        Ok(Translation::Events(drafts)) => assert_eq!(drafts[0].subject.id, "9007199254740993"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_form_is_a_record_too() {
    let form = b"payment_id=46&amount=90.00&currency_code=EUR&status=success&invoices=x&event=e";
    match testing::translate_stored(&PROVIDER, &endpoint(), form) {
        Ok(Translation::Events(drafts)) => {
            let fact = testing::payment_fact(&drafts[0]);
            assert_eq!(fact.amount.map(|money| money.minor_units), Some(9000));
            assert_eq!(drafts[0].references.metadata["event"], "e");
        }
        other => panic!("{other:?}"),
    }
    let twice = b"payment_id=46&amount=90.00&amount=9.00&currency_code=EUR";
    assert!(testing::translate_stored(&PROVIDER, &endpoint(), twice).is_err());
}

#[test]
fn a_viewed_invoice_is_an_action_of_its_customer() {
    let invoice = |event: &str, status: &str| {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("event", event)
            .append_pair("invoice_id", "53")
            .append_pair("status", status)
            .append_pair("total", "10.00")
            .append_pair("balance", "10.00")
            .append_pair("currency_code", "EUR")
            .append_pair("due_date", "2026-12-20")
            .finish();
        match testing::translate_stored(&PROVIDER, &endpoint(), form.as_bytes()) {
            Ok(Translation::Events(mut drafts)) => drafts.remove(0),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(invoice("", "viewed").event_type, "invoice_viewed");
    assert_eq!(invoice("invoice_viewed", "paid").event_type, "invoice_viewed");
    let edited = invoice("invoice_edited", "viewed");
    match edited.fact {
        Fact::Invoice(fact) => {
            assert_eq!(fact.status, InvoiceStatus::Open);
            assert_eq!(fact.due_date.map(|day| day.to_string()).as_deref(), Some("2026-12-20"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(invoice("invoice_deleted", "sent").event_type, "invoice_deleted");
}

#[test]
fn unknown_records_and_states_are_not_guessed_at() {
    let translate = |body: Value| {
        testing::translate_stored(&PROVIDER, &endpoint(), body.to_string().as_bytes())
    };
    assert_eq!(
        translate(json!({ "contact": { "contact_id": "1" } })),
        Ok(Translation::Unknown("contact".to_owned()))
    );
    assert!(translate(payment(json!({ "status": "odd" }))).is_err());
    assert!(translate(payment(json!({ "amount": 80.001 }))).is_err());
    assert!(translate(payment(json!({ "last_modified_time": "yesterday" }))).is_err());
    assert!(translate(json!({})).is_err());
}

#[test]
fn a_record_without_a_currency_is_asked_for() {
    let mut endpoint = endpoint();
    endpoint.settings.insert(ORGANIZATION_ID.to_owned(), "10234695".to_owned());
    endpoint.settings.insert(DATA_CENTER.to_owned(), "eu".to_owned());
    for (name, value) in [("client_id", "c"), ("client_secret", "s"), ("refresh_token", "r")] {
        endpoint.secrets.insert(name.to_owned(), vec![value.into()]);
    }
    let body = br#"{"payment":{"payment_id":"46","amount":1}}"#;
    let Ok(Translation::Fetches(fetches)) = testing::translate_stored(&PROVIDER, &endpoint, body)
    else {
        panic!("no fetches")
    };
    let now = Timestamp::from_second(testing::NOW).expect("a time");
    let step = |answers: &[Answer]| {
        let (endpoint, fetch) = (&endpoint, &fetches[0]);
        super::fetch(&Fetching { endpoint, fetch, received_at: now, now, cursor: "", answers })
    };
    let Ok(Step::Call(call)) = step(&[]) else { panic!("no call") };
    let url = "https://www.zohoapis.eu/books/v3/customerpayments/46?organization_id=10234695";
    assert_eq!(call.url, url);
    let Auth::OAuth(oauth) = call.auth else { panic!("not authorised") };
    assert_eq!(oauth.token_url, "https://accounts.zoho.eu/oauth/v2/token");
    assert_eq!(oauth.scheme, "Zoho-oauthtoken");
    let answer = |status, body: Value| {
        let body = Bytes::from(body.to_string());
        [Answer { status, headers: HeaderMap::new(), body }]
    };
    let mut found = payment(json!({}));
    found["code"] = json!(0);
    match step(&answer(200, found)) {
        Ok(Step::Done { drafts, .. }) => assert_eq!(drafts[0].subject.id, "46"),
        _ => panic!("not done"),
    }
    assert!(step(&answer(200, json!({ "code": 57, "message": "not authorised" }))).is_err());
    assert!(matches!(step(&answer(404, json!({ "code": 1002 }))), Ok(Step::Denied)));
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let bare = testing::endpoint(&PROVIDER, &[("access_token", "t")]);
    assert_eq!(check(&bare).expect_err("a mistake").key, "secrets.secret_token");
    for (key, value) in [(DATA_CENTER, "mars"), (ORGANIZATION_ID, "1/2"), ("api_url", "x")] {
        let mut endpoint = endpoint();
        endpoint.settings.insert(key.to_owned(), value.to_owned());
        assert_eq!(check(&endpoint).expect_err("a mistake").key, key);
    }
    assert_eq!(check(&endpoint()), Ok(()));
}

#[test]
fn a_life_ends_the_same_in_every_order() {
    let at = |hour: u8| format!("2026-11-23T{hour:02}:00:00+0100");
    let life = [
        said(payment(json!({ "status": "pending", "last_modified_time": at(6) }))),
        said(payment(json!({ "last_modified_time": at(7) }))),
        said(payment(json!({ "amount_refunded": 12.5, "last_modified_time": at(8) }))),
        said(payment(json!({ "amount_refunded": 80, "last_modified_time": at(9) }))),
    ];
    let end = |order: [usize; 4]| {
        let mut state = SubjectState::begin(&life[0].subject);
        for (sequence, index) in (1..).zip(order) {
            state.apply(&life[index], Sequence(sequence));
        }
        state
    };
    let first = end([0, 1, 2, 3]);
    assert_eq!(first.status(), Some(Status::Payment(PaymentStatus::Refunded)));
    for order in [[3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1], [0, 3, 2, 1], [3, 0, 1, 2]] {
        assert!(first.converges_with(&end(order)), "{order:?}");
    }
}

#[test]
fn a_payment_that_does_not_tell_its_refunds_says_nothing_of_them() {
    let told = said(payment(json!({ "amount_refunded": null })));
    assert_eq!(testing::payment_fact(&told).refunded_total, None);
}

#[test]
fn a_listed_invoice_is_the_same_event_as_one_that_a_webhook_brought() {
    let mut endpoint = endpoint();
    assert!((PROVIDER.poll)(&endpoint).is_empty());
    endpoint.settings.insert("poll_interval".to_owned(), "900".to_owned());
    assert_eq!(check(&endpoint).expect_err("a mistake").key, ORGANIZATION_ID);
    endpoint.settings.insert(ORGANIZATION_ID.to_owned(), "7001".to_owned());
    assert_eq!(check(&endpoint), Ok(()));
    let fetches = (PROVIDER.poll)(&endpoint);
    let now = Timestamp::from_second(testing::NOW).expect("a time");
    let step = |bodies: &[Value]| {
        let answers: Vec<Answer> = bodies
            .iter()
            .map(|body| Answer {
                status: 200,
                headers: HeaderMap::new(),
                body: Bytes::from(body.to_string()),
            })
            .collect();
        let (endpoint, fetch, answers) = (&endpoint, &fetches[0], &answers[..]);
        let cursor = "2026-11-20T00:00:00Z";
        super::fetch(&Fetching { endpoint, fetch, received_at: now, now, cursor, answers })
    };
    let Ok(Step::Call(call)) = step(&[]) else { panic!("no call") };
    assert_eq!(
        call.url,
        "https://www.zohoapis.com/books/v3/invoices?organization_id=7001&page=1&per_page=200\
         &sort_column=last_modified_time&sort_order=A&last_modified_time=2026-11-20T00:00:00%2B0000"
    );
    let invoice = json!({ "invoice_id": "53", "status": "viewed", "total": 10.0, "balance": 10.0,
        "currency_code": "EUR", "last_modified_time": "2026-11-23T06:00:00+0100" });
    let page = |has_more| json!({ "code": 0, "invoices": [invoice], "page_context": { "has_more_page": has_more } });
    let mut sent = invoice.clone();
    sent["total"] = json!("10.00");
    sent["payment_made"] = json!(0.0);
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("event", "invoice_edited")
        .append_pair("JSONString", &json!({ "invoice": sent }).to_string())
        .finish();
    let told = testing::translate_stored(&PROVIDER, &endpoint, form.as_bytes());
    let Ok(Translation::Events(told)) = told else { panic!("{told:?}") };
    match step(&[page(false)]) {
        Ok(Step::Done { drafts, cursor }) => {
            assert_eq!(drafts[0].key, told[0].key);
            assert_eq!(drafts[0].event_type, "invoice_sent");
            assert_eq!(cursor.as_deref(), Some("2026-11-23T05:00:00Z"));
        }
        _ => panic!("not done"),
    }
    match step(&[page(true)]) {
        Ok(Step::Call(call)) => assert!(call.url.contains("&page=2&")),
        _ => panic!("no second page"),
    }
    assert!(step(&[json!({ "code": 57 })]).is_err());
}
