//! The standards' own rules, each with a test: whose tokens are taken, which links are followed, and what
//! polling again makes of rows that move.

use std::collections::HashMap;

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::verification::verify;
use super::*;
use crate::model::{
    BankTransactionStatus, Draft, Fact, PaymentStatus, Sequence, Status, SubjectState,
};
use crate::providers::calls::Key;
use crate::providers::testing::{self, Coverage};
use crate::providers::{Answer, Call, Keys, SampleOrder, Translation, Verdict};
use crate::receipt::{Request, VerifyError};

const DAY: i64 = 86_400;
const RESOURCE_UPDATE: &str = notifications::RESOURCE_UPDATE;

fn endpoint() -> Endpoint {
    let secrets = sample_secrets();
    let secrets: Vec<(&str, &str)> =
        secrets.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut endpoint = testing::endpoint(&PROVIDER, &secrets);
    let settings = sample_settings().into_iter();
    endpoint.settings.extend(settings.map(|(name, value)| (name.to_owned(), value)));
    endpoint
}

fn polled(standard: &str) -> Endpoint {
    let mut endpoint = testing::endpoint(&PROVIDER, &[("access_token", "token")]);
    let settings = [
        (STANDARD, standard),
        (API_URL, "https://api.bank.example.com/psd2"),
        (ACCOUNT_IDS, "acc 1"),
    ];
    endpoint.settings.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
    endpoint.secrets.insert(CONSENT_ID.to_owned(), vec![SecretString::from("consent")]);
    endpoint
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(testing::NOW + seconds).expect("a time")
}

fn answer(status: u16, body: Value) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: Bytes::from(body.to_string()) }
}

fn step(
    endpoint: &Endpoint,
    cursor: &str,
    seconds: i64,
    answers: &[Answer],
) -> Result<Step, TranslateError> {
    let fetch = &poll(endpoint)[0];
    let now = at(seconds);
    super::fetch(&Fetching { endpoint, fetch, received_at: now, now, cursor, answers })
}

fn call(step: Result<Step, TranslateError>) -> Call {
    match step {
        Ok(Step::Call(call)) => call,
        Ok(Step::Done { drafts, .. }) => panic!("{drafts:?}"),
        Ok(Step::Denied | Step::Later(_)) => panic!("no call"),
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

fn bank(draft: &Draft) -> (BankTransactionStatus, Option<i64>) {
    let Fact::BankTransaction(fact) = &draft.fact else { panic!("{draft:?}") };
    (fact.status, fact.amount.map(|money| money.minor_units))
}

fn uk_row(id: Option<&str>, status: &str, amount: &str) -> Value {
    json!({
        "AccountId": "acc 1", "TransactionId": id, "CreditDebitIndicator": "Credit",
        "Status": status, "BookingDateTime": "2026-11-20T10:00:00+01:00",
        "Amount": { "Amount": amount, "Currency": "GBP" }, "TransactionInformation": "INV-7",
    })
}

fn uk_page(rows: Value, next: Option<&str>) -> Answer {
    answer(200, json!({ "Data": { "Transaction": rows }, "Links": { "Next": next }, "Meta": {} }))
}

#[test]
fn every_event_type_has_a_signed_sample_that_translates() {
    testing::check_samples(&PROVIDER, &endpoint(), &[], Coverage::Body);
    assert_eq!(check(&endpoint()), Ok(()));
    let accepted = PROVIDER.replies.accepted;
    assert_eq!((accepted.status, accepted.body, PROVIDER.replies.unknown.status), (202, "", 202));
}

#[test]
fn a_sample_needs_an_endpoint_that_trusts_its_key() {
    let (event_type, now) = (RESOURCE_UPDATE, at(0));
    let order = SampleOrder { event_type, seed: "a", event_id: None, occurred_at: now, now };
    assert!((PROVIDER.sample)(&polled("ukob"), &order).is_none());
}

#[test]
fn the_steps_of_a_consent_follow_each_other_in_one_second() {
    let [_, revoked, linked] = notifications::EVENT_TYPES;
    testing::check_life(&PROVIDER, &endpoint(), &[linked, revoked]);
}

#[test]
fn a_token_is_for_the_configured_software_by_the_configured_bank() {
    let request = testing::sample(&PROVIDER, &endpoint(), RESOURCE_UPDATE, 0);
    let with = |name: &str, value: Option<&str>| {
        let mut endpoint = endpoint();
        endpoint.secrets.remove(name);
        if let Some(value) = value {
            endpoint.secrets.insert(name.to_owned(), vec![SecretString::from(value)]);
        }
        testing::receive(&PROVIDER, &endpoint, request.clone(), at(0)).map(|_| ())
    };
    assert_eq!(with(AUDIENCE, Some("other")), Err(VerifyError::Mismatch(AUDIENCE)));
    assert_eq!(with(ISSUER, Some("https://other")), Err(VerifyError::Mismatch(ISSUER)));
    assert_eq!(with(AUDIENCE, None), Err(VerifyError::NotConfigured(AUDIENCE)));
    assert_eq!(with(ISSUER, None), Err(VerifyError::NotConfigured(ISSUER)));
    assert_eq!(with(JWKS, None), Err(VerifyError::NotConfigured(JWKS)));
    let json = Request { headers: HeaderMap::new(), ..request.clone() };
    assert!(testing::receive(&PROVIDER, &endpoint(), json, at(0)).is_err());
}

#[test]
fn a_key_set_is_fetched_where_none_is_configured() {
    let mut endpoint = endpoint();
    let request = testing::sample(&PROVIDER, &endpoint, RESOURCE_UPDATE, 0);
    let set = endpoint.secret(JWKS).expect("keys").to_owned();
    let url = "https://bank.example.com/jwks";
    endpoint.secrets.remove(JWKS);
    endpoint.settings.insert(JWKS_URL.to_owned(), url.to_owned());
    let with = |body: &str, fetched_at| {
        let key = Key { body: Bytes::from(body.to_owned()), fetched_at };
        let keys = Keys::new(HashMap::from([(url.to_owned(), key)]));
        verify(&request, &endpoint, &keys, at(0))
    };
    let asked = verify(&request, &endpoint, &Keys::default(), at(0));
    assert!(matches!(asked, Ok(Verdict::NeedsKey(needed)) if needed.call.url == url));
    assert!(matches!(with(&set, at(-9)), Ok(Verdict::Verified(_))));
    assert!(matches!(with("{}", at(-301)), Ok(Verdict::NeedsKey(_))));
    assert!(matches!(with("{}", at(-9)), Err(VerifyError::NoKey(_))));
}

/// The body of a token with these events; who signed it is not looked at again.
fn token(events: Value) -> Vec<u8> {
    use crate::receipt::signature::jws::base64_url;
    let claims = json!({ "iss": "https://bank.example.com", "jti": "j1", "toe": 1_795_599_000, "events": events });
    format!("e30.{}.", base64_url(claims.to_string().as_bytes())).into_bytes()
}

fn about(kind: &str, links: Value) -> Value {
    json!({ RESOURCE_UPDATE: { "subject": {
        "http://openbanking.org.uk/rid": "pay-1", "http://openbanking.org.uk/rty": kind,
        "http://openbanking.org.uk/rlk": links,
    } } })
}

fn payment_call(links: Value) -> Result<String, TranslateError> {
    let endpoint = endpoint();
    let body = token(about("domestic-payment", links));
    match testing::translate_stored(&PROVIDER, &endpoint, &body)? {
        Translation::Fetches(fetches) => {
            let (fetch, now) = (&fetches[0], at(0));
            let (endpoint, cursor, answers) = (&endpoint, "", &[]);
            let fetching = Fetching { endpoint, fetch, received_at: now, now, cursor, answers };
            Ok(call(super::fetch(&fetching)).url)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_payment_is_fetched_at_the_bank_in_a_version_that_is_spoken() {
    let link = |version: &str, link: &str| json!({ "version": version, "link": link });
    let at_bank = "https://bank.example.com/open-banking/v4.0/pisp/domestic-payments/pay-1";
    let old = "https://bank.example.com/open-banking/v3.1/pisp/domestic-payments/pay-1";
    let both = json!([link("v3.1", old), link("v4.0", at_bank)]);
    assert_eq!(payment_call(both), Ok(at_bank.to_owned()));
    assert_eq!(payment_call(json!([link("v3.1", old)])), Ok(old.to_owned()));
    assert_eq!(payment_call(json!([])), Ok(at_bank.to_owned()));
    for foreign in [
        "https://bank.example.com.evil.example/x",
        "https://evil.example/https://bank.example.com/",
        "https://bank.example.com@evil.example/x",
        "http://bank.example.com/x",
        "https://bank.example.com:444/x",
        "//evil.example/x",
        "https:\\\\evil.example/x",
        "file:///etc/passwd",
    ] {
        assert!(payment_call(json!([link("v4.0", foreign)])).is_err(), "{foreign}");
    }
    assert!(payment_call(json!([link("v1.0", at_bank)])).is_err());
}

#[test]
fn what_is_no_payment_says_nothing_and_what_is_not_listed_is_unknown() {
    let body = token(about("account-access-consent", json!([])));
    let translation = testing::translate_stored(&PROVIDER, &endpoint(), &body);
    assert_eq!(translation, Ok(Translation::Events(Vec::new())));
    let body = token(json!({ "urn:other": {} }));
    let translation = testing::translate_stored(&PROVIDER, &endpoint(), &body);
    assert_eq!(translation, Ok(Translation::Unknown("urn:other".to_owned())));
}

#[test]
fn a_payment_ends_in_the_same_state_in_any_order() {
    let draft = |status: &str, minute: i64, field: &str| {
        let endpoint = endpoint();
        let body = token(about("domestic-payment", json!([])));
        let body = String::from_utf8(body).expect("text");
        let translation = testing::translate_stored(&PROVIDER, &endpoint, body.as_bytes());
        let Ok(Translation::Fetches(mut fetches)) = translation else { panic!("{translation:?}") };
        fetches[0].told = fetches[0].told.replace("j1", status);
        let answers = [answer(
            200,
            json!({ "Data": {
            field: status, "StatusUpdateDateTime": at(minute * 60).to_string(),
            "Initiation": { "InstructedAmount": { "Amount": "165.88", "Currency": "GBP" } },
        } }),
        )];
        let (endpoint, fetch, now, cursor) = (&endpoint, &fetches[0], at(0), "");
        let fetching =
            Fetching { endpoint, fetch, received_at: now, now, cursor, answers: &answers };
        done(super::fetch(&fetching)).0.remove(0)
    };
    let mut drafts = vec![
        draft("RCVD", 0, "StatusCode"),
        draft("ACSP", 1, "StatusCode"),
        draft("AcceptedSettlementCompleted", 2, "Status"),
        draft("ACCC", 2, "StatusCode"),
    ];
    check_convergence(&mut drafts, Status::Payment(PaymentStatus::Paid));
    let mut drafts = vec![draft("Pending", 0, "Status"), draft("RJCT", 1, "StatusCode")];
    check_convergence(&mut drafts, Status::Payment(PaymentStatus::Failed));
}

#[test]
fn accounts_are_asked_for_some_days_again() {
    let uk = polled("ukob");
    let first = call(step(&uk, "", 0, &[]));
    assert_eq!(
        first.url,
        "https://api.bank.example.com/psd2/open-banking/v4.0/aisp/accounts/acc%201/transactions\
         ?fromBookingDateTime=2026-08-27T00:00:00"
    );
    assert!(first.headers.contains(&("authorization", "Bearer token".to_owned())));
    let next = call(step(&uk, r#"{"until":"2026-11-25","pending":[]}"#, 0, &[]));
    assert!(next.url.ends_with("?fromBookingDateTime=2026-11-18T00:00:00"), "{}", next.url);
    let watched = r#"{"until":"2026-11-25","pending":[["p","2026-11-02"]]}"#;
    let next = call(step(&uk, watched, 0, &[]));
    assert!(next.url.ends_with("?fromBookingDateTime=2026-11-02T00:00:00"), "{}", next.url);
    let berlin = call(step(&polled("berlin_group"), "", 0, &[]));
    assert_eq!(
        berlin.url,
        "https://api.bank.example.com/psd2/v1/accounts/acc%201/transactions\
         ?dateFrom=2026-08-27&bookingStatus=both"
    );
    assert!(berlin.headers.contains(&("consent-id", "consent".to_owned())));
    assert!(berlin.headers.iter().any(|(name, id)| *name == "x-request-id" && id.len() == 36));
}

#[test]
fn times_are_read_with_an_offset_with_a_z_and_with_neither() {
    let uk = polled("ukob");
    let times = ["2026-11-20T00:30:00+01:00", "2026-11-20T00:30:00Z", "2026-11-20T00:30:00"];
    let rows = times.map(|time| {
        let mut row = uk_row(Some(time), "BOOK", "5.00");
        row["BookingDateTime"] = time.into();
        row
    });
    let (drafts, _) = done(step(&uk, "", 0, &[uk_page(json!(rows), None)]));
    let read: Vec<_> = drafts
        .iter()
        .map(|draft| (draft.occurred_at.to_string(), draft.references.metadata["date"].as_str()))
        .collect();
    let of_day = |time: &str| (time.to_owned(), "2026-11-20");
    let utc = of_day("2026-11-20T00:30:00Z");
    assert_eq!(read, [of_day("2026-11-19T23:30:00Z"), utc.clone(), utc]);
}

#[test]
fn next_links_are_followed_at_the_bank_alone() {
    let uk = polled("ukob");
    let next = |link: &str| {
        let page = uk_page(json!([]), Some(link));
        step(&uk, "", 0, std::slice::from_ref(&page)).map(|step| call(Ok(step)).url)
    };
    let at_bank = "https://api.bank.example.com/psd2/open-banking/x?page=2";
    for link in [at_bank, "/psd2/open-banking/x?page=2", "/open-banking/x?page=2"] {
        assert_eq!(next(link).as_deref(), Ok(at_bank), "{link}");
    }
    let by_query = next("?page=2").expect("a link");
    assert!(by_query.ends_with("/accounts/acc%201/transactions?page=2"), "{by_query}");
    for foreign in
        ["https://evil.example/x", "//evil.example/x", "http://api.bank.example.com/", "x"]
    {
        assert!(next(foreign).is_err(), "{foreign}");
    }
}

#[test]
fn a_row_without_an_id_stays_itself_and_equal_rows_are_told_apart() {
    let uk = polled("ukob");
    let rows = json!([uk_row(None, "PDNG", "5.00"), uk_row(None, "BOOK", "5.00")]);
    let (first, _) = done(step(&uk, "", 0, &[uk_page(rows, None)]));
    assert_ne!(first[0].subject, first[1].subject);
    let rows = json!([uk_row(None, "BOOK", "5.00"), uk_row(None, "BOOK", "5.00")]);
    let (again, _) = done(step(&uk, "", DAY, &[uk_page(rows, None)]));
    assert_eq!(first[0].subject, again[0].subject);
    assert_eq!((&first[1].subject, &first[1].key), (&again[1].subject, &again[1].key));
    let mut drafts = vec![first[0].clone(), again[0].clone()];
    check_convergence(&mut drafts, Status::BankTransaction(BankTransactionStatus::Booked));
}

#[test]
fn what_was_pending_and_is_listed_no_more_is_removed() {
    let uk = polled("ukob");
    let rows = json!([uk_row(Some("p1"), "PDNG", "5.00"), uk_row(Some("p2"), "Pending", "1")]);
    let (first, cursor) = done(step(&uk, "", 0, &[uk_page(rows, None)]));
    assert_eq!(
        first.iter().map(bank).collect::<Vec<_>>(),
        [(BankTransactionStatus::Pending, Some(500)), (BankTransactionStatus::Pending, Some(100)),]
    );
    let rows = json!([uk_row(Some("b1"), "BOOK", "5.00"), uk_row(Some("p2"), "Booked", "1")]);
    let cursor = cursor.expect("a cursor");
    let (second, _) = done(step(&uk, &cursor, DAY, &[uk_page(rows, None)]));
    let seen: Vec<_> =
        second.iter().map(|draft| (draft.subject.id.as_str(), bank(draft).0)).collect();
    assert_eq!(
        seen,
        [
            ("b1", BankTransactionStatus::Booked),
            ("p2", BankTransactionStatus::Booked),
            ("p1", BankTransactionStatus::Removed),
        ]
    );
    let mut drafts = vec![first[0].clone(), second[2].clone()];
    check_convergence(&mut drafts, Status::BankTransaction(BankTransactionStatus::Removed));
}

#[test]
fn planned_rows_are_left_out_and_a_sign_beside_a_direction_is_an_error() {
    let uk = polled("ukob");
    let rows = json!([
        uk_row(Some("i"), "INFO", "1"),
        uk_row(Some("f"), "FUTR", "1"),
        uk_row(Some("r"), "RJCT", "1")
    ]);
    let (drafts, _) = done(step(&uk, "", 0, &[uk_page(rows, None)]));
    assert_eq!(
        drafts.iter().map(bank).collect::<Vec<_>>(),
        [(BankTransactionStatus::Failed, Some(100))]
    );
    for (status, amount) in [("BOOK", "-1.00"), ("BOOK", "1.005"), ("LOST", "1")] {
        let page = uk_page(json!([uk_row(Some("x"), status, amount)]), None);
        assert!(step(&uk, "", 0, &[page]).is_err(), "{status} {amount}");
    }
}

#[test]
fn signs_give_the_direction_and_links_stand_where_the_bank_puts_them() {
    let berlin = polled("berlin_group");
    let row = json!({
        "transactionId": "t1", "bookingDate": "2026-11-20", "creditorName": "Shop",
        "transactionAmount": { "amount": "-256.67", "currency": "EUR" },
        "remittanceInformationStructured": { "reference": "RF18" }, "endToEndId": "NOTPROVIDED",
    });
    let first = answer(
        200,
        json!({ "transactions": {
        "booked": [row], "_links": { "next": { "href": "/v1/more" } },
    } }),
    );
    let url = call(step(&berlin, "", 0, std::slice::from_ref(&first))).url;
    assert_eq!(url, "https://api.bank.example.com/psd2/v1/more");
    let second = answer(
        200,
        json!({ "transactions": { "pending": [
        { "transactionAmount": { "amount": "1.5", "currency": "EUR" }, "debtorName": "Payer" },
    ], "_links": null }, "_links": null }),
    );
    let (drafts, _) = done(step(&berlin, "", 0, &[first, second]));
    assert_eq!(
        drafts.iter().map(bank).collect::<Vec<_>>(),
        [
            (BankTransactionStatus::Booked, Some(-25_667)),
            (BankTransactionStatus::Pending, Some(150)),
        ]
    );
    let Fact::BankTransaction(fact) = &drafts[0].fact else { panic!("{drafts:?}") };
    assert_eq!((fact.counterparty.as_str(), fact.remittance.as_str()), ("Shop", "RF18"));
    assert_eq!(drafts[0].references.order, "");
}

#[test]
fn a_bank_that_refuses_access_wants_consent_anew_once() {
    let uk = polled("ukob");
    let refusal = answer(403, json!({ "Errors": [{ "ErrorCode": "UK.OBIE.Reauthenticate" }] }));
    let refused = |cursor: &str, seconds| {
        let (drafts, cursor) = done(step(&uk, cursor, seconds, std::slice::from_ref(&refusal)));
        assert_eq!((drafts.len(), cursor), (1, None));
        drafts[0].clone()
    };
    let first = refused("", 0);
    assert_eq!(first.key, refused("", DAY).key);
    assert_ne!(first.key, refused(r#"{"until":"2026-11-25"}"#, DAY).key);
    let Fact::CustomerAction(fact) = &first.fact else { panic!("{first:?}") };
    assert_eq!(fact.detail, "403 UK.OBIE.Reauthenticate");
    assert_eq!(first.subject.id, "acc 1");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |name: &str, value: &str| {
        let mut endpoint = polled("ukob");
        endpoint.settings.insert(name.to_owned(), value.to_owned());
        check(&endpoint).expect_err("a mistake").key
    };
    assert_eq!(refused(STANDARD, "psd2"), STANDARD);
    assert_eq!(refused(API_URL, "bank.example.com"), API_URL);
    assert_eq!(refused(API_URL, "https://user@bank.example.com"), API_URL);
    assert_eq!(refused(VERSION, "4"), VERSION);
    assert_eq!(refused(OVERLAP_DAYS, "-1"), OVERLAP_DAYS);
    assert_eq!(refused(ACCOUNT_IDS, "a,,b"), ACCOUNT_IDS);
    assert_eq!(refused(ACCOUNT_IDS, "[1]"), ACCOUNT_IDS);
    assert_eq!(refused(JWKS_URL, "https://bank.example.com/jwks"), "secrets.issuer");
    let mut endpoint = polled("ukob");
    endpoint.settings.insert(ACCOUNT_IDS.to_owned(), r#"["a","b"]"#.to_owned());
    assert_eq!((check(&endpoint), poll(&endpoint).len()), (Ok(()), 2));
    endpoint.settings.remove(API_URL);
    assert_eq!(check(&endpoint).expect_err("a mistake").key, API_URL);
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
