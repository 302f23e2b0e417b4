//! Tests of QuickBooks Online: both forms of its bodies, what comes of objects and of missing ones, and that
//! a life ends the same in every order.

use bytes::Bytes;
use http::HeaderMap;

use super::*;
use crate::model::{Draft, Fact, InvoiceStatus, PaymentStatus, Sequence, Status, SubjectState};
use crate::providers::{Answer, samples, testing};

const SECRETS: &[(&str, &str)] = &[(VERIFIER_TOKEN, "a1b2c3d4-5e6f-4a7b-8c9d-0e1f2a3b4c5d")];
const TOLD: &str =
    r#"{"r":"46","i":"7","t":"qbo.payment.updated.v1","e":"e-1","a":"2026-11-23T09:00:00Z"}"#;

fn endpoint() -> Endpoint {
    testing::endpoint(&PROVIDER, SECRETS)
}

fn silent() -> Vec<&'static str> {
    let others = EVENTS.iter().filter(|(_, entity, _)| *entity == Entity::Other);
    others.map(|(name, _, _)| *name).collect()
}

fn with_setting(name: &str, value: &str) -> Endpoint {
    let mut endpoint = endpoint();
    endpoint.settings.insert(name.to_owned(), value.to_owned());
    endpoint
}

/// What comes of this notice when the API gives these answers.
fn step(endpoint: &Endpoint, told: &str, answers: &[(u16, &str)]) -> Result<Step, TranslateError> {
    let answers: Vec<Answer> = answers
        .iter()
        .map(|(status, body)| Answer {
            status: *status,
            headers: HeaderMap::new(),
            body: Bytes::from((*body).to_owned()),
        })
        .collect();
    let now = Timestamp::from_second(testing::NOW).expect("a time");
    let fetch = Fetch { object: "46/payment/7".to_owned(), told: told.to_owned() };
    let (received_at, answers) = (now, &answers[..]);
    super::fetch(&Fetching { endpoint, fetch: &fetch, received_at, now, cursor: "", answers })
}

fn drafts(told: &str, body: &str) -> Vec<Draft> {
    match step(&endpoint(), told, &[(200, body)]) {
        Ok(Step::Done { drafts, .. }) => drafts,
        Ok(_) => panic!("not done"),
        Err(error) => panic!("{error}"),
    }
}

fn notices(body: &str) -> Translation {
    testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes()).expect("readable")
}

#[test]
fn samples_verify_and_translate_and_do_not_survive_a_flipped_byte() {
    testing::check_samples(&PROVIDER, &endpoint(), &silent(), testing::Coverage::Body);
}

#[test]
fn each_object_is_ordered_along_its_life() {
    for entity in ["payment", "invoice", "salesreceipt", "refundreceipt", "deposit", "estimate"] {
        let life = ["created", "updated", "voided", "deleted"];
        let life = life.map(|operation| format!("qbo.{entity}.{operation}.v1"));
        let life: Vec<&str> = life.iter().map(String::as_str).collect();
        testing::check_life(&PROVIDER, &endpoint(), &life);
    }
}

#[test]
fn no_request_panics() {
    testing::check_hostile_input(&PROVIDER, &endpoint());
}

#[test]
fn both_forms_ask_for_the_same_object() {
    let new = notices(
        r#"[{"id":"e-1","type":"QBO.Payment.Created.v1","time":"2026-11-23T09:00:00.1Z",
        "intuitentityid":"7","intuitaccountid":"46"}]"#,
    );
    let old = notices(
        r#"{"eventNotifications":[{"realmId":"46","dataChangeEvent":{"entities":[{"name":"Payment",
        "id":"7","operation":"Create","lastUpdated":"2026-11-23T09:00:00.000Z"}]}}]}"#,
    );
    for (translation, id) in [(new, "e-1"), (old, "46:Payment:7:Create:2026-11-23T09:00:00.000Z")] {
        let Translation::Fetches(fetches) = translation else { panic!("no fetches") };
        assert_eq!(fetches[0].object, "46/payment/7");
        let notice = Notice::of(&fetches[0]).expect("a notice");
        assert_eq!(notice.event_type, "qbo.payment.created.v1");
        assert_eq!(notice.event_id, id);
    }
}

#[test]
fn companies_that_are_not_connected_are_left_out_one_by_one() {
    let body = br#"[{"id":"e-1","type":"qbo.payment.created.v1","time":"","intuitentityid":"7",
        "intuitaccountid":"46"},{"id":"e-2","type":"qbo.payment.created.v1","time":"",
        "intuitentityid":"8","intuitaccountid":"47"}]"#;
    let endpoint = with_setting(CONNECTED_REALMS, r#"["47"]"#);
    match testing::translate_stored(&PROVIDER, &endpoint, body) {
        Ok(Translation::Fetches(fetches)) => assert_eq!(fetches[0].object, "47/payment/8"),
        other => panic!("{other:?}"),
    }
    let endpoint = with_setting(CONNECTED_REALMS, "48");
    let none = testing::translate_stored(&PROVIDER, &endpoint, body).expect("readable");
    assert_eq!(none, Translation::Events(Vec::new()));
}

#[test]
fn objects_of_a_second_company_have_ids_of_their_own() {
    let body = r#"{"Payment":{"SyncToken":"0","TotalAmt":1,"CurrencyRef":{"value":"USD"}}}"#;
    for (realms, id) in [(r#"["45","46"]"#, "46:7"), (r#"["46","45"]"#, "7")] {
        let endpoint = with_setting(CONNECTED_REALMS, realms);
        match step(&endpoint, TOLD, &[(200, body)]) {
            Ok(Step::Done { drafts, .. }) => assert_eq!(drafts[0].subject.id, id),
            _ => panic!("not done"),
        }
    }
}

#[test]
fn unknown_items_do_not_hide_known_ones() {
    let known = r#"{"id":"e-1","type":"qbo.payment.created.v1","intuitentityid":"7","intuitaccountid":"46"}"#;
    let unknown = r#"{"id":"e-2","type":"qbo.vendor.created.v1","intuitentityid":"9","intuitaccountid":"46"}"#;
    assert_eq!(
        notices(&format!("[{unknown}]")),
        Translation::Unknown("qbo.vendor.created.v1".to_owned())
    );
    assert!(matches!(notices(&format!("[{unknown},{known}]")), Translation::Fetches(_)));
    assert_eq!(notices("[]"), Translation::Events(Vec::new()));
}

#[test]
fn an_item_that_cannot_be_read_fails_by_itself() {
    let known = r#"{"id":"e-1","type":"qbo.payment.created.v1","intuitentityid":"7","intuitaccountid":"46"}"#;
    let elsewhere = known.replace("\"7\"", "\"../7\"");
    for bad in [elsewhere.as_str(), r#"{"id":"e-2"}"#, "null", "7"] {
        let alone = format!("[{bad}]");
        assert!(testing::translate_stored(&PROVIDER, &endpoint(), alone.as_bytes()).is_err());
        let Translation::Fetches(fetches) = notices(&format!("[{bad},{known}]")) else {
            panic!("no fetches")
        };
        let objects: Vec<&str> = fetches.iter().map(|fetch| fetch.object.as_str()).collect();
        assert_eq!(objects, ["46/payment/7", "unreadable/0"], "{bad}");
        let (endpoint, now) = (endpoint(), Timestamp::UNIX_EPOCH);
        let (fetch, received_at) = (&fetches[1], now);
        let fetching =
            Fetching { endpoint: &endpoint, fetch, received_at, now, cursor: "", answers: &[] };
        assert!(super::fetch(&fetching).is_err(), "{bad}");
    }
}

#[test]
fn a_missing_object_is_deleted_and_any_other_fault_is_asked_again() {
    let fault = |code: &str| format!(r#"{{"Fault":{{"Error":[{{"code":"{code}"}}]}}}}"#);
    for (status, body) in [(400, fault("610")), (200, fault("610")), (404, String::new())] {
        match step(&endpoint(), TOLD, &[(status, &body)]) {
            Ok(Step::Done { drafts, .. }) => {
                let fact = testing::payment_fact(&drafts[0]);
                assert_eq!(fact.status, Some(PaymentStatus::Canceled));
                assert_eq!(drafts[0].version, i64::MAX);
            }
            _ => panic!("{status} {body}"),
        }
    }
    for (status, body) in [(400, fault("2020")), (403, String::new()), (200, "{}".to_owned())] {
        assert!(step(&endpoint(), TOLD, &[(status, &body)]).is_err(), "{status} {body}");
    }
}

#[test]
fn what_the_webhook_calls_deleted_is_not_asked_for() {
    let told = TOLD.replace("payment.updated", "payment.deleted");
    match step(&endpoint(), &told, &[]) {
        Ok(Step::Done { drafts, .. }) => {
            assert_eq!(testing::payment_fact(&drafts[0]).status, Some(PaymentStatus::Canceled));
            assert_eq!(drafts[0].version, i64::MAX);
        }
        _ => panic!("not done"),
    }
}

#[test]
fn an_event_without_a_time_happened_when_it_came() {
    let told = TOLD.replace("payment.updated", "payment.deleted");
    let told = told.replace("2026-11-23T09:00:00Z", "");
    match step(&endpoint(), &told, &[]) {
        Ok(Step::Done { drafts, .. }) => {
            assert_eq!(drafts[0].occurred_at.as_second(), testing::NOW);
        }
        _ => panic!("not done"),
    }
}

#[test]
fn a_company_of_one_currency_is_asked_for_it() {
    let payment = r#"{"Payment":{"SyncToken":"1","TotalAmt":55.10,"PrivateNote":""}}"#;
    let preferences = r#"{"Preferences":{"CurrencyPrefs":{"HomeCurrency":{"value":"CAD"}}}}"#;
    match step(&endpoint(), TOLD, &[(200, payment)]) {
        Ok(Step::Call(call)) => assert!(call.url.contains("/v3/company/46/preferences?")),
        _ => panic!("no call"),
    }
    let currency = |step: Result<Step, TranslateError>| match step {
        Ok(Step::Done { drafts, .. }) => {
            let amount = testing::payment_fact(&drafts[0]).amount.expect("an amount");
            (amount.minor_units, amount.currency.code())
        }
        _ => panic!("not done"),
    };
    let asked = step(&endpoint(), TOLD, &[(200, payment), (200, preferences)]);
    assert_eq!(currency(asked), (5510, "CAD"));
    let set = step(&with_setting(HOME_CURRENCY, "EUR"), TOLD, &[(200, payment)]);
    assert_eq!(currency(set), (5510, "EUR"));
    assert!(step(&endpoint(), TOLD, &[(200, payment), (400, "{}")]).is_err());
}

#[test]
fn a_voided_invoice_is_not_a_paid_one() {
    let told = TOLD.replace("payment.updated", "invoice.updated");
    let status = |note: &str, total: &str, balance: &str| {
        let body = format!(
            r#"{{"Invoice":{{"SyncToken":"1","TotalAmt":{total},"Balance":{balance},
            "PrivateNote":"{note}","CurrencyRef":{{"value":"USD"}},
            "MetaData":{{"LastUpdatedTime":"2026-11-23T01:00:00-08:00"}}}}}}"#
        );
        match &drafts(&told, &body)[0].fact {
            Fact::Invoice(fact) => fact.status,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(status("Voided", "0", "0"), InvoiceStatus::Void);
    assert_eq!(status("Replaces one that was Voided", "10.00", "0"), InvoiceStatus::Paid);
    assert_eq!(status("", "10.00", "0"), InvoiceStatus::Paid);
    assert_eq!(status("", "10.00", "10.00"), InvoiceStatus::Open);
    assert_eq!(status("", "10.00", "0.01"), InvoiceStatus::PartiallyPaid);
}

#[test]
fn a_credit_memo_set_off_against_an_invoice_is_no_payment() {
    let body = r#"{"Payment":{"SyncToken":"0","TotalAmt":0,"CurrencyRef":{"value":"USD"},"Line":[
        {"LinkedTxn":[{"TxnId":"1","TxnType":"Invoice"}]},
        {"LinkedTxn":[{"TxnId":"2","TxnType":"CreditMemo"}]}]}}"#;
    assert!(drafts(TOLD, body).is_empty());
}

#[test]
fn a_payment_of_two_invoices_names_both() {
    let body = r#"{"Payment":{"SyncToken":"0","TotalAmt":30,"CurrencyRef":{"value":"USD"},"Line":[
        {"LinkedTxn":[{"TxnId":"1","TxnType":"Invoice"}]},
        {"LinkedTxn":[{"TxnId":"2","TxnType":"Invoice"}]}]}}"#;
    let drafts = drafts(TOLD, body);
    let references = &drafts[0].references;
    assert_eq!((references.payment.as_str(), references.invoice.as_str()), ("7", "1"));
    assert_eq!(references.metadata["invoice_ids"], "1,2");
    assert_eq!(references.metadata["realm_id"], "46");
}

#[test]
fn an_object_without_a_version_is_as_good_as_new() {
    let body = r#"{"Payment":{"TotalAmt":1,"CurrencyRef":{"value":"USD"}}}"#;
    let drafts = drafts(TOLD, body);
    assert_eq!(drafts[0].version, 0);
    let odd = body.replace("\"TotalAmt\"", "\"SyncToken\":\"x\",\"TotalAmt\"");
    assert!(step(&endpoint(), TOLD, &[(200, &odd)]).is_err());
}

#[test]
fn an_amount_that_would_have_to_be_rounded_is_an_error() {
    let body = r#"{"Payment":{"SyncToken":"0","TotalAmt":0.5,"CurrencyRef":{"value":"JPY"}}}"#;
    assert!(step(&endpoint(), TOLD, &[(200, body)]).is_err());
}

#[test]
fn the_sandbox_is_not_live() {
    let body = r#"{"Payment":{"SyncToken":"0","TotalAmt":1,"CurrencyRef":{"value":"USD"}}}"#;
    assert!(drafts(TOLD, body)[0].live);
    let sandbox = with_setting("api_url", "https://sandbox-quickbooks.api.intuit.com");
    match step(&sandbox, TOLD, &[(200, body)]) {
        Ok(Step::Done { drafts, .. }) => assert!(!drafts[0].live),
        _ => panic!("not done"),
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (key, value) in [
        (CONNECTED_REALMS, "[]"),
        (CONNECTED_REALMS, "main"),
        (CONNECTED_REALMS, "[{\"a\":1}]"),
        (HOME_CURRENCY, "XYZ9"),
        ("api_url", "quickbooks.api.intuit.com"),
    ] {
        let mistake = check(&with_setting(key, value)).expect_err("a mistake");
        assert_eq!(mistake.key, key);
    }
    assert_eq!(check(&with_setting(CONNECTED_REALMS, "[\"46\",47]")), Ok(()));
    let mut endpoint = endpoint();
    for (table, is_right) in [(r#"{"46":"t"}"#, true), (r#"{"46":["t"]}"#, false)] {
        endpoint.secrets.insert("refresh_token".to_owned(), vec![table.into()]);
        assert_eq!(check(&endpoint).is_ok(), is_right, "{table}");
    }
}

#[test]
fn a_life_ends_the_same_in_every_order() {
    for entity in ["payment", "invoice", "refundreceipt"] {
        let life = ["created", "updated", "voided"]
            .map(|operation| format!("qbo.{entity}.{operation}.v1"));
        let life: Vec<Draft> = life
            .iter()
            .flat_map(|name| testing::drafts(&PROVIDER, &endpoint(), name, 0).expect("known"))
            .collect();
        let end = |order: [usize; 3]| {
            let mut state = SubjectState::begin(&life[0].subject);
            for (sequence, index) in (1..).zip(order) {
                state.apply(&life[index], Sequence(sequence));
            }
            state
        };
        let first = end([0, 1, 2]);
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            assert!(first.converges_with(&end(order)), "{entity} {order:?}");
        }
        let status = first.status().expect("a status");
        match entity {
            "invoice" => assert_eq!(status, Status::Invoice(InvoiceStatus::Void)),
            _ => assert_eq!(status, Status::Payment(PaymentStatus::Canceled)),
        }
    }
}

#[test]
fn a_refund_receipt_is_refunded_as_a_whole() {
    let drafts = testing::drafts(&PROVIDER, &endpoint(), "qbo.refundreceipt.created.v1", 0);
    let drafts = drafts.expect("known");
    let mut state = SubjectState::begin(&drafts[0].subject);
    state.apply(&drafts[0], Sequence(1));
    assert_eq!(state.status(), Some(Status::Payment(PaymentStatus::Refunded)));
    let refunded = state.amounts().refunded.expect("refunded").minor_units;
    assert_eq!(refunded, samples::amount("a1"));
}
