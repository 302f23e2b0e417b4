//! Microsoft Dynamics 365: pairs that prove a call, rows that tell a payment, and rows that are read.

use http::HeaderMap;
use serde_json::json;

use super::*;
use crate::model::{Draft, PaymentStatus, Sequence, Status, SubjectState};
use crate::providers::{Answer, Fetching, Step, testing};

const ROW: &str = "6d81597f-0f9f-e711-8122-000d3aa2331c";

fn endpoint() -> Endpoint {
    let secrets = sample_secrets();
    let secrets: Vec<(&str, &str)> =
        secrets.iter().map(|(name, value)| (*name, value.as_str())).collect();
    testing::endpoint(&PROVIDER, &secrets)
}

fn with(mut endpoint: Endpoint, settings: &[(&str, &str)]) -> Endpoint {
    for (name, value) in settings {
        endpoint.settings.insert((*name).to_owned(), (*value).to_owned());
    }
    endpoint
}

fn now() -> Timestamp {
    Timestamp::from_second(testing::NOW).expect("a time")
}

fn post(path: &str, headers: &[(&'static str, &str)]) -> Request {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().expect("a value"));
    }
    Request { method: http::Method::POST, path: path.to_owned(), headers: map, body: "{}".into() }
}

/// An update whose target has these attributes.
fn update(attributes: serde_json::Value, post_image: serde_json::Value) -> String {
    let images = match post_image.is_null() {
        true => json!([]),
        false => json!([{ "key": "after", "value": { "Attributes": post_image } }]),
    };
    json!({
        "MessageName": "Update", "PrimaryEntityName": "invoice", "PrimaryEntityId": ROW,
        "OperationId": "4af10637-4ea2-e711-8122-000d3aa23301",
        "OperationCreatedOn": "/Date(1795499995000+0000)/",
        "InputParameters": [{ "key": "Target", "value": { "Attributes": attributes, "Id": ROW } }],
        "PostEntityImages": images,
    })
    .to_string()
}

fn translated(endpoint: &Endpoint, body: &str) -> Result<Translation, TranslateError> {
    testing::translate_stored(&PROVIDER, endpoint, body.as_bytes())
}

fn draft(endpoint: &Endpoint, body: &str) -> Draft {
    match translated(endpoint, body) {
        Ok(Translation::Events(mut drafts)) if drafts.len() == 1 => drafts.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn samples_verify_and_translate() {
    testing::check_samples(&PROVIDER, &endpoint(), &[DELETE], testing::Coverage::Nothing);
    let mut headed = endpoint();
    headed.secrets.insert(MODE.to_owned(), vec![SecretString::from("HttpHeader")]);
    let pairs = r#"{"x-a":"1","x-b":["new","old"]}"#;
    headed.secrets.insert(HEADERS.to_owned(), vec![SecretString::from(pairs)]);
    let headed = with(headed, &[(row::STATUS_OPTIONS, r#"{"1":"PENDING","2":"PAID"}"#)]);
    testing::check_samples(&PROVIDER, &headed, &[DELETE], testing::Coverage::Nothing);
}

#[test]
fn a_row_is_ordered_along_its_life() {
    testing::check_life(&PROVIDER, &endpoint(), &[CREATE, UPDATE, POWER_AUTOMATE]);
}

#[test]
fn no_request_panics() {
    testing::check_hostile_input(&PROVIDER, &endpoint());
}

#[test]
fn every_pair_stands_once_in_its_own_place() {
    let accepts =
        |mode: &str, secret: (&str, &str), path: &str, headers: &[(&'static str, &str)]| {
            let endpoint = testing::endpoint(&PROVIDER, &[(MODE, mode), secret]);
            testing::receive(&PROVIDER, &endpoint, post(path, headers), now()).is_ok()
        };
    let key = ("query", r#"{"code":"a/b c"}"#);
    assert!(accepts("WebhookKey", key, "/x?code=a%2Fb%20c", &[]));
    assert!(!accepts("WebhookKey", key, "/x?code=a%2Fb%20c&code=a%2Fb%20c", &[]));
    assert!(!accepts("WebhookKey", key, "/x", &[("code", "a/b c")]));
    assert!(!accepts("HttpHeader", key, "/x?code=a%2Fb%20c", &[]));
    let query = ("query", r#"{"a":"1","b":["2","3"]}"#);
    assert!(accepts("HttpQueryString", query, "/x?b=3&a=1&c=9", &[]));
    assert!(!accepts("HttpQueryString", query, "/x?b=3", &[]));
    assert!(!accepts("HttpQueryString", query, "/x?b=3&a=2", &[]));
    let headers = ("headers", r#"{"X-A":"1","x-b":"2"}"#);
    assert!(accepts("HttpHeader", headers, "/x", &[("x-a", "1"), ("x-b", "2")]));
    assert!(!accepts("HttpHeader", headers, "/x", &[("x-a", "1")]));
    assert!(!accepts("HttpHeader", headers, "/x", &[("x-a", "1"), ("x-a", "1"), ("x-b", "2")]));
    assert!(!accepts("HttpHeader", headers, "/x?x-a=1&x-b=2", &[]));
    for nothing in ["{}", r#"{"a":""}"#, r#"{"a":[]}"#, "[]", "x"] {
        assert!(!accepts("HttpQueryString", ("query", nothing), "/x?a=", &[]), "{nothing}");
    }
}

#[test]
fn mistakes_are_refused_at_the_start() {
    let secrets = |mode, pairs| testing::endpoint(&PROVIDER, &[(MODE, mode), (QUERY, pairs)]);
    let key = |endpoint: Endpoint| check(&endpoint).map_err(|mistake| mistake.key);
    let fine = || secrets("WebhookKey", r#"{"code":"1"}"#);
    assert_eq!(key(fine()), Ok(()));
    assert_eq!(key(secrets("webhookkey", r#"{"code":"1"}"#)), Err("secrets.mode"));
    assert_eq!(key(secrets("WebhookKey", r#"{"key":"1"}"#)), Err("secrets.query"));
    assert_eq!(key(secrets("HttpQueryString", "{}")), Err("secrets.query"));
    assert_eq!(key(secrets("HttpHeader", r#"{"code":"1"}"#)), Err("secrets.headers"));
    for (setting, value) in [
        (row::STATUS_OPTIONS, r#"{"1":"PAYED"}"#),
        (row::STATUS_OPTIONS, "1"),
        (row::AMOUNT_COLUMN, "a b"),
        (crm::CURRENCY, "EURO"),
        (read::TENANT, "a/b"),
    ] {
        assert_eq!(key(with(fine(), &[(setting, value)])), Err(setting), "{value}");
    }
}

#[test]
fn stored_receipts_hold_no_secret_of_either_place() {
    let secrets = [(MODE, "HttpHeader"), (HEADERS, r#"{"x-gw":"s3cret"}"#)];
    let endpoint = testing::endpoint(&PROVIDER, &secrets);
    let request = post("/x?code=s3cret&s3cret", &[("x-gw", "s3cret"), ("content-type", "a/json")]);
    let proof = PROVIDER.prove(&request, &endpoint, now()).expect("authentic");
    let receipt = Receipt::new(request, proof, endpoint.name.clone(), now(), PROVIDER.redaction);
    assert!(!receipt.path().contains("s3cret"), "{}", receipt.path());
    assert!(receipt.headers().iter().all(|(_, value)| value != "s3cret"));
    assert_eq!(receipt.header("content-type"), Some("a/json"));
}

#[test]
fn an_update_says_something_only_where_it_touches_the_payment() {
    let untouched = update(json!([{ "key": "name", "value": "x" }]), json!(null));
    assert_eq!(translated(&endpoint(), &untouched), Ok(Translation::Events(Vec::new())));
    let option = |value: i64| json!({ "__type": "OptionSetValue:x", "Value": value });
    let options = [(row::STATUS_OPTIONS, r#"{"100000001":"PAID"}"#)];
    let endpoint = with(endpoint(), &options);
    let status = |value: serde_json::Value| {
        update(json!([{ "key": "new_paymentstatus", "value": value }]), json!(null))
    };
    let unknown = Ok(Translation::Unknown(crm::UNKNOWN_STATUS.to_owned()));
    assert_eq!(translated(&endpoint, &status(option(7))), unknown);
    assert_eq!(translated(&endpoint, &status(json!(null))), unknown);
    let other_table = with(endpoint.clone(), &[(TABLE, "opportunity")]);
    let silent = Ok(Translation::Events(Vec::new()));
    assert_eq!(translated(&other_table, &status(option(100_000_001))), silent);
    let alone = draft(&endpoint, &status(option(100_000_001)));
    assert_eq!((alone.subject.id.as_str(), alone.references.payment.as_str()), (ROW, ""));
    // What the update leaves as it was is in the image.
    let image = json!([
        { "key": "new_paymentstatus", "value": option(7) },
        { "key": "new_paymentamount", "value": { "__type": "Money:x", "Value": 1.10 } },
        { "key": "new_currencycode", "value": "EUR" },
        { "key": "new_paymentid", "value": "pay_1" },
    ]);
    let body = update(json!([{ "key": "new_paymentstatus", "value": option(100_000_001) }]), image);
    let whole = draft(&endpoint, &body);
    assert_eq!(whole.subject.id, "pay_1");
    assert_eq!(testing::payment_fact(&whole).amount.map(|money| money.minor_units), Some(110));
    let without_labels = body.replace(r#""Id":"#, r#""FormattedValues":null,"Id":"#);
    assert_eq!(draft(&endpoint, &without_labels), whole);
}

#[test]
fn a_change_by_the_own_user_is_an_echo() {
    let user = "75C2DD85-e89e-e711-8122-000d3aa2331c";
    let own = with(endpoint(), &[(crm::OWN_USER_ID, &user.to_lowercase())]);
    let status = json!([{ "key": "new_paymentstatus", "value": "Paid" }]);
    let from = |user: &str| {
        let user = format!("{{\"InitiatingUserId\":\"{user}\",");
        update(status.clone(), json!(null)).replacen('{', &user, 1)
    };
    let posted = |user: &str| {
        json!({ "record_id": ROW, "new_paymentstatus": "Paid", "_modifiedby_value": user })
            .to_string()
    };
    for body in [from(user), posted(user)] {
        assert_eq!(translated(&own, &body), Ok(Translation::Events(Vec::new())));
        draft(&endpoint(), &body);
    }
    draft(&own, &from(ROW));
    draft(&own, &posted(""));
}

#[test]
fn a_currency_that_is_an_id_needs_a_table() {
    let currency = "9f4b1f0e-0000-4000-8000-000000000001";
    let body = update(
        json!([
            { "key": "new_paymentstatus", "value": "Paid" },
            { "key": "new_paymentamount", "value": { "Value": 5 } },
            { "key": "transactioncurrencyid", "value": { "Id": currency, "LogicalName": "x" } },
        ]),
        json!(null),
    );
    let settings = [(row::CURRENCY_COLUMN, "transactioncurrencyid"), (crm::CURRENCY, "USD")];
    let endpoint = with(endpoint(), &settings);
    let amount = |endpoint: &Endpoint| testing::payment_fact(&draft(endpoint, &body)).amount;
    assert_eq!(amount(&endpoint), None, "another currency than its own is not assumed");
    let table = format!(r#"{{"{currency}":"JPY"}}"#);
    let endpoint = with(endpoint, &[(row::CURRENCY_OPTIONS, &table)]);
    assert_eq!(amount(&endpoint).map(|money| money.to_string()), Some("5 JPY".to_owned()));
}

#[test]
fn a_call_that_is_too_large_reads_its_row_and_its_state_is_its_key() {
    let body = json!({
        "MessageName": "Update", "PrimaryEntityName": "invoice", "PrimaryEntityId": ROW,
        "OperationId": "4af10637-4ea2-e711-8122-000d3aa23301",
        "OperationCreatedOn": "/Date(1795499995000+0000)/",
    });
    let settings = [
        (crm::API_URL, "https://example.api.crm4.dynamics.com/api/data/v9.2"),
        (read::TENANT, "example.test"),
    ];
    let mut endpoint = with(endpoint(), &settings);
    let Ok(Translation::Fetches(fetches)) = translated(&endpoint, &body.to_string()) else {
        panic!("a fetch")
    };
    let step = |endpoint: &Endpoint, answers: &[Answer]| {
        let (received_at, now, cursor) = (now(), now(), "");
        let fetch = &fetches[0];
        (PROVIDER.fetch)(&Fetching { endpoint, fetch, received_at, now, cursor, answers })
    };
    let answer = |status, body: serde_json::Value| Answer {
        status,
        headers: HeaderMap::new(),
        body: body.to_string().into(),
    };
    for (name, value) in [(read::CLIENT_ID, "client"), (read::CLIENT_SECRET, "s&cret")] {
        endpoint.secrets.insert(name.to_owned(), vec![SecretString::from(value)]);
    }
    let Ok(Step::Call(call)) = step(&endpoint, &[]) else { panic!("a call") };
    assert_eq!(call.url, "https://login.microsoftonline.com/example.test/oauth2/v2.0/token");
    let form = String::from_utf8(call.body.to_vec()).expect("text");
    assert!(form.contains("client_secret=s%26cret"));
    assert!(form.ends_with("scope=https%3A%2F%2Fexample.api.crm4.dynamics.com%2F.default"));
    let token = answer(200, json!({ "access_token": "t1" }));
    let Ok(Step::Call(call)) = step(&endpoint, std::slice::from_ref(&token)) else {
        panic!("a call")
    };
    let row = format!("https://example.api.crm4.dynamics.com/api/data/v9.2/invoices({ROW})?");
    assert!(call.url.starts_with(&row), "{}", call.url);
    assert!(call.headers.contains(&("authorization", "Bearer t1".to_owned())));
    let read = |status: &str, at: &str| {
        let row = json!({
            "new_paymentstatus": status, "new_paymentamount": 129.95, "new_currencycode": "EUR",
            "new_paymentid": "pay_1", "modifiedon": at,
        });
        match step(&endpoint, &[token.clone(), answer(200, row)]) {
            Ok(Step::Done { mut drafts, .. }) => drafts.remove(0),
            _ => panic!("a draft"),
        }
    };
    let paid = read("Paid", "2026-11-24T05:59:55Z");
    assert_eq!(testing::payment_fact(&paid).status, Some(PaymentStatus::Paid));
    assert_eq!(paid.key, read("Paid", "2026-11-24T05:59:55Z").key);
    assert_ne!(paid.key, read("Refunded", "2026-11-24T06:00:00Z").key);
    assert_ne!(paid.key, read("Paid", "2026-11-24T06:00:01Z").key);
    let gone = step(&endpoint, &[token.clone(), answer(404, json!({}))]);
    assert!(matches!(gone, Ok(Step::Denied)));
    assert!(step(&endpoint, &[answer(400, json!({ "error": "invalid_client" }))]).is_err());
    assert!(step(&endpoint, &[token, answer(403, json!({}))]).is_err());
}

#[test]
fn a_row_may_be_corrected_in_any_order_of_arrival() {
    let texts = ["Pending", "Paid", "Disputed", "Paid", "Partially refunded", "Failed"];
    let drafts: Vec<Draft> = (0_i64..)
        .zip(texts)
        .map(|(at, text)| {
            let body = json!({
                "record_id": ROW, "new_paymentstatus": text, "new_paymentid": "pay_1",
                "modifiedon": (now() + jiff::SignedDuration::from_secs(at)).to_string(),
            });
            draft(&endpoint(), &body.to_string())
        })
        .collect();
    for turn in 0..drafts.len() {
        for reversed in [false, true] {
            let mut order: Vec<usize> = (0..drafts.len()).collect();
            order.rotate_left(turn);
            if reversed {
                order.reverse();
            }
            let mut state = SubjectState::begin(&drafts[0].subject);
            for (sequence, which) in (1..).zip(order) {
                state.apply(&drafts[which], Sequence(sequence));
            }
            assert_eq!(state.status(), Some(Status::Payment(PaymentStatus::Failed)));
        }
    }
}
