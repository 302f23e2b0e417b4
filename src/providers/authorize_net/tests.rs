//! Authorize.Net's rules, each with a test that fails without it.

use bytes::Bytes;
use http::HeaderMap;

use super::*;
use crate::model::{Draft, PaymentStatus, Sequence, Status, SubjectState};
use crate::providers::testing::{self, Coverage};
use crate::providers::{Answer, Fetching, Step, samples};

const SECRETS: &[(&str, &str)] = &[(SIGNATURE_KEY, "0123456789ABCDEF0123456789ABCDEF")];
const PAYMENT: &str = "net.authorize.payment.";

fn endpoint() -> Endpoint {
    testing::endpoint(&PROVIDER, SECRETS)
}

fn with_api() -> Endpoint {
    let api = [(details::LOGIN_ID, "login"), (details::TRANSACTION_KEY, "key")];
    testing::endpoint(&PROVIDER, &[SECRETS, &api].concat())
}

fn now() -> Timestamp {
    Timestamp::from_second(testing::NOW).expect("a time")
}

fn draft(event: &str, at: i64) -> Draft {
    let event_type = format!("{PAYMENT}{event}");
    testing::drafts(&PROVIDER, &endpoint(), &event_type, at).expect("a known type").remove(0)
}

#[test]
fn samples_verify_and_translate_and_do_not_survive_a_flipped_byte() {
    let silent: Vec<&str> = EVENTS
        .iter()
        .filter(|(_, _, meaning)| matches!(meaning, Meaning::Note))
        .map(|(event_type, _, _)| *event_type)
        .collect();
    for endpoint in [endpoint(), with_api()] {
        testing::check_samples(&PROVIDER, &endpoint, &silent, Coverage::Body);
    }
}

#[test]
fn each_payment_is_ordered_along_its_life() {
    for life in [
        &["fraud.held", "fraud.declined"][..],
        &["fraud.held", "fraud.approved"],
        &["authorization.created", "priorAuthCapture.created", "refund.created", "void.created"],
        &["authcapture.created", "refund.created"],
    ] {
        let life: Vec<String> = life.iter().map(|event| format!("{PAYMENT}{event}")).collect();
        let life: Vec<&str> = life.iter().map(String::as_str).collect();
        testing::check_life(&PROVIDER, &endpoint(), &life);
    }
}

#[test]
fn any_order_of_a_life_ends_in_the_same_state() {
    let life = [
        draft("fraud.held", 0),
        draft("fraud.approved", 1),
        draft("authorization.created", 1),
        draft("priorAuthCapture.created", 2),
        draft("refund.created", 3),
    ];
    let apply = |order: &[usize]| {
        let mut state = SubjectState::begin(&life[0].subject);
        for (sequence, at) in (1..).zip(order) {
            state.apply(&life[*at], Sequence(sequence));
        }
        state
    };
    let mut order: Vec<usize> = (0..life.len()).collect();
    let expected = apply(&order);
    assert_eq!(expected.status(), Some(Status::Payment(PaymentStatus::PartiallyRefunded)));
    let refunded = expected.amounts().refunded.map(|money| money.minor_units);
    assert_eq!(refunded, Some(samples::part_of(samples::amount("a1"))));
    permute(&mut order, 0, &mut |order| {
        assert!(apply(order).converges_with(&expected), "{order:?}");
    });
}

fn permute(order: &mut Vec<usize>, from: usize, check: &mut impl FnMut(&[usize])) {
    if from == order.len() {
        return check(order);
    }
    for at in from..order.len() {
        order.swap(from, at);
        permute(order, from + 1, check);
        order.swap(from, at);
    }
}

#[test]
fn the_key_is_text_and_the_digest_whole_and_prefixed() {
    let request = testing::sample(&PROVIDER, &endpoint(), "net.authorize.payment.void.created", 0);
    let is_taken = |signature: String| {
        let mut request = request.clone();
        request.headers.insert(HEADER, signature.parse().expect("a value"));
        PROVIDER.prove(&request, &endpoint(), now()).is_ok()
    };
    let (_, key) = SECRETS[0];
    let sign =
        |key: &[u8]| crate::receipt::signature::sign_hmac(Digest::Sha512, key, &[&request.body]);
    let digest = hex::encode(sign(key.as_bytes()));
    assert!(is_taken(format!("sha512={digest}")));
    assert!(is_taken(format!("sha512={}", digest.to_uppercase())));
    let decoded = hex::encode(sign(&hex::decode(key).expect("hex")));
    for bad in [
        format!("sha512={decoded}"),
        format!("sha512={}", &digest[..126]),
        format!("sha256={digest}"),
        digest,
        "sha512=".to_owned(),
        String::new(),
    ] {
        assert!(!is_taken(bad.clone()), "{bad}");
    }
}

#[test]
fn a_response_that_is_no_approval_takes_no_money() {
    let status = |event: &str, code: &str| {
        let event_type = format!("{PAYMENT}{event}");
        let change = ["\"responseCode\":1", &format!("\"responseCode\":{code}")];
        let draft = testing::draft_of(&PROVIDER, &endpoint(), &event_type, change);
        draft.map(|draft| testing::payment_fact(&draft).status)
    };
    assert_eq!(status("authcapture.created", "1"), Ok(Some(PaymentStatus::Paid)));
    assert_eq!(status("authcapture.created", "4"), Ok(Some(PaymentStatus::Pending)));
    assert_eq!(status("authcapture.created", "\"2\""), Ok(Some(PaymentStatus::Failed)));
    assert_eq!(status("authorization.created", "3"), Ok(Some(PaymentStatus::Failed)));
    assert_eq!(status("fraud.declined", "4"), Ok(Some(PaymentStatus::Failed)));
    assert!(status("authcapture.created", "9").is_err());
}

#[test]
fn a_void_may_come_without_an_amount() {
    let event_type = "net.authorize.payment.void.created";
    let change = ["\"authAmount\":", "\"was\":"];
    let draft = testing::draft_of(&PROVIDER, &endpoint(), event_type, change).expect("readable");
    let fact = testing::payment_fact(&draft);
    assert_eq!((fact.status, fact.amount), (Some(PaymentStatus::Canceled), None));
}

#[test]
fn amounts_are_of_the_accounts_currency_and_never_rounded() {
    let amount = |digits: &str, currency: &str| {
        let mut endpoint = endpoint();
        endpoint.settings.insert(CURRENCY.to_owned(), currency.to_owned());
        let event_type = "net.authorize.payment.authcapture.created";
        let sample = testing::sample(&PROVIDER, &endpoint, event_type, 0);
        let text = String::from_utf8_lossy(&sample.body).into_owned();
        let (before, rest) = text.split_once("\"authAmount\":").expect("an amount");
        let (_, after) = rest.split_once(',').expect("more");
        let text = format!("{before}\"authAmount\":{digits},{after}");
        match testing::translate_stored(&PROVIDER, &endpoint, text.as_bytes())? {
            Translation::Events(drafts) => {
                Ok(testing::payment_fact(&drafts[0]).amount.map(|money| money.minor_units))
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(amount("300.00", "USD"), Ok(Some(30_000)));
    assert_eq!(amount("0.29", "CAD"), Ok(Some(29)));
    for bad in [amount("0.291", "USD"), amount("1e2", "USD"), amount("null", "USD")] {
        let _: TranslateError = bad.expect_err("no exact amount");
    }
}

fn answer(body: &str) -> Answer {
    let body = Bytes::copy_from_slice(body.as_bytes());
    Answer { status: 200, headers: HeaderMap::new(), body }
}

/// The step after these answers to what the sample of an event asks for.
fn step(endpoint: &Endpoint, event: &str, answers: &[Answer]) -> Result<Step, TranslateError> {
    let event_type = format!("{PAYMENT}{event}");
    let body = testing::sample(&PROVIDER, endpoint, &event_type, 0).body;
    let Ok(Translation::Fetches(fetches)) = testing::translate_stored(&PROVIDER, endpoint, &body)
    else {
        panic!("nothing to fetch");
    };
    (PROVIDER.fetch)(&Fetching {
        endpoint,
        fetch: &fetches[0],
        received_at: now(),
        now: now(),
        cursor: "",
        answers,
    })
}

fn details_of(id: &str, more: &str) -> Answer {
    answer(&format!("\u{feff}{{\"transaction\":{{\"transId\":\"{id}\"{more}}}}}"))
}

#[test]
fn the_call_for_details_goes_to_the_host_of_the_environment_in_the_order_of_the_schema() {
    let mut endpoint = with_api();
    let mut call = |environment: &str| {
        endpoint.settings.insert(ENVIRONMENT.to_owned(), environment.to_owned());
        match step(&endpoint, "refund.created", &[]) {
            Ok(Step::Call(call)) => call,
            _ => panic!("no call"),
        }
    };
    assert_eq!(call(PRODUCTION).url, "https://api.authorize.net/xml/v1/request.api");
    let call = call(SANDBOX);
    assert_eq!(call.url, "https://apitest.authorize.net/xml/v1/request.api");
    let expected = "{\"getTransactionDetailsRequest\":{\"merchantAuthentication\":\
        {\"name\":\"login\",\"transactionKey\":\"key\"},\"transId\":\"refund-a1\"}}";
    assert_eq!(call.body, expected);
}

#[test]
fn a_refund_waits_for_its_payment_and_an_unlinked_one_is_none() {
    let endpoint = endpoint();
    let refused =
        answer("{\"messages\":{\"resultCode\":\"Error\",\"message\":[{\"code\":\"E00007\"}]}}");
    match step(&endpoint, "refund.created", &[refused]) {
        Ok(Step::Later(reason)) => assert!(reason.contains("E00007"), "{reason}"),
        _ => panic!("it is a fact already"),
    }
    let refund = ",\"transactionType\":\"refundTransaction\",\
        \"transactionStatus\":\"refundPendingSettlement\"";
    match step(&endpoint, "refund.created", &[details_of("refund-a1", refund)]) {
        Ok(Step::Done { drafts, .. }) => assert_eq!(drafts, []),
        _ => panic!("not done"),
    }
    let linked = details_of("refund-a1", &format!("{refund},\"refTransId\":\"sale-a1\""));
    assert!(matches!(step(&endpoint, "refund.created", &[linked]), Ok(Step::Call(_))));
    let other = details_of("refund-a2", refund);
    assert!(step(&endpoint, "refund.created", &[other]).is_err());
}

#[test]
fn a_payment_does_not_wait_for_details_that_are_refused() {
    let refused =
        answer("{\"messages\":{\"resultCode\":\"Error\",\"message\":[{\"code\":\"E00011\"}]}}");
    match step(&with_api(), "authcapture.created", &[refused]) {
        Ok(Step::Done { drafts, .. }) => {
            assert_eq!(testing::payment_fact(&drafts[0]).status, Some(PaymentStatus::Paid));
        }
        _ => panic!("not done"),
    }
}

#[test]
fn a_refusal_need_not_be_json() {
    let refused = Answer { status: 404, ..answer("<html>not found</html>") };
    assert!(matches!(
        step(&endpoint(), "refund.created", std::slice::from_ref(&refused)),
        Ok(Step::Later(_))
    ));
    match step(&with_api(), "authcapture.created", &[refused]) {
        Ok(Step::Done { drafts, .. }) => assert_eq!(drafts.len(), 1),
        _ => panic!("not done"),
    }
}

#[test]
fn the_details_tell_who_paid() {
    let drafts =
        testing::drafts(&PROVIDER, &with_api(), "net.authorize.payment.authcapture.created", 0);
    let references = drafts.expect("known").remove(0).references;
    assert_eq!(references.email, samples::CUSTOMER_EMAIL);
    assert_eq!(references.customer_name, samples::CUSTOMER_NAME);
    assert_eq!(references.invoice_number, "INV-a1");
    assert_eq!(references.customer, "customer-a1");
    assert_eq!(references.order, "order-a1");
}

#[test]
fn the_void_of_a_refund_leaves_the_payment_paid() {
    let refund = details_of(
        "sale-a1",
        ",\"transactionType\":\"refundTransaction\",\"refTransId\":\"1\",\
         \"transactionStatus\":\"voided\"",
    );
    let payment = details_of(
        "1",
        ",\"transactionType\":\"authCaptureTransaction\",\"settleAmount\":900.00,\
         \"transactionStatus\":\"settledSuccessfully\"",
    );
    match step(&with_api(), "void.created", &[refund, payment]) {
        Ok(Step::Done { drafts, .. }) => {
            let mut state = SubjectState::begin(&drafts[0].subject);
            state.apply(&drafts[0], Sequence(1));
            assert_eq!(drafts[0].subject.id, "1");
            assert_eq!(state.status(), Some(Status::Payment(PaymentStatus::Paid)));
        }
        _ => panic!("not done"),
    }
}

#[test]
fn transactions_of_the_test_mode_are_no_payments() {
    let event_type = "net.authorize.payment.authcapture.created";
    let body = testing::sample(&PROVIDER, &endpoint(), event_type, 0).body;
    let text = String::from_utf8_lossy(&body).replace("\"id\":\"sale-a1\"", "\"id\":\"0\"");
    let translation = testing::translate_stored(&PROVIDER, &endpoint(), text.as_bytes());
    assert_eq!(translation, Ok(Translation::Events(Vec::new())));
}

#[test]
fn mistakes_in_the_configuration_are_refused() {
    assert_eq!(check(&with_api()), Ok(()));
    for (name, value) in
        [(CURRENCY, "dollars"), (ENVIRONMENT, "test"), (details::API_URL, "api.authorize.net")]
    {
        let mut endpoint = endpoint();
        endpoint.settings.insert(name.to_owned(), value.to_owned());
        assert!(check(&endpoint).is_err(), "{name}");
    }
    let half = [SECRETS, &[(details::LOGIN_ID, "login")]].concat();
    assert!(check(&testing::endpoint(&PROVIDER, &half)).is_err());
}

#[test]
fn no_request_panics() {
    testing::check_hostile_input(&PROVIDER, &endpoint());
}
