//! Braintree's rules, each with a test that fails without it.

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use secrecy::SecretString;

use super::*;
use crate::model::{Draft, PaymentStatus, Sequence, Status, SubjectState};
use crate::providers::testing::{self, Coverage};

const SECRETS: &[(&str, &str)] =
    &[(PUBLIC_KEY, "sample-public-key"), (PRIVATE_KEY, "sample-private-key")];

fn endpoint() -> Endpoint {
    testing::endpoint(&PROVIDER, SECRETS)
}

fn now() -> Timestamp {
    Timestamp::from_second(testing::NOW).expect("a time")
}

fn draft(kind: &str, at: i64) -> Draft {
    testing::drafts(&PROVIDER, &endpoint(), kind, at).expect("a known kind").remove(0)
}

/// What a stored notification of this XML says.
fn translated(endpoint: &Endpoint, xml: &str) -> Result<Vec<Draft>, TranslateError> {
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair(PAYLOAD, &BASE64.encode(xml))
        .finish();
    match testing::translate_stored(&PROVIDER, endpoint, body.as_bytes())? {
        Translation::Events(drafts) => Ok(drafts),
        Translation::Unknown(_) => Ok(Vec::new()),
        other @ (Translation::Partly(..) | Translation::Fetches(_)) => panic!("{other:?}"),
    }
}

fn notification(kind: &str, timestamp: &str, subject: &str) -> String {
    format!(
        "\n  <notification><timestamp type=\"datetime\">{timestamp}</timestamp>\
         <kind>{kind}</kind><subject>{subject}</subject></notification>\n"
    )
}

#[test]
fn samples_verify_and_translate_and_do_not_survive_a_flipped_byte() {
    let silent: Vec<&str> = EVENTS
        .iter()
        .filter(|(_, _, meaning)| matches!(meaning, Meaning::Note))
        .map(|(kind, _, _)| *kind)
        .collect();
    testing::check_samples(&PROVIDER, &endpoint(), &silent, Coverage::Body);
}

#[test]
fn each_payment_is_ordered_along_its_life() {
    for life in [
        &[
            "local_payment_completed",
            "local_payment_funded",
            "transaction_settled",
            "transaction_disbursed",
            "transaction_settlement_declined",
            "refund_failed",
            "dispute_opened",
            "dispute_under_review",
            "dispute_disputed",
            "dispute_lost",
            "dispute_won",
        ][..],
        &["subscription_charged_unsuccessfully", "subscription_charged_successfully"],
        &["subscription_went_past_due", "subscription_expired", "subscription_canceled"],
        &["local_payment_expired", "local_payment_reversed"],
    ] {
        testing::check_life(&PROVIDER, &endpoint(), life);
    }
}

#[test]
fn any_order_of_a_life_ends_in_the_same_state() {
    let credit = "<transaction><id>credit_1</id><type>credit</type><amount>1.00</amount>\
        <currency-iso-code>USD</currency-iso-code>\
        <refunded-transaction-id>sale_a1</refunded-transaction-id></transaction>";
    let settled = notification("transaction_settled", "2026-11-26T09:00:00Z", credit);
    let life = [
        draft("subscription_charged_successfully", 0),
        draft("transaction_settled", 1),
        draft("dispute_opened", 2),
        draft("dispute_won", 3),
        translated(&endpoint(), &settled).expect("readable").remove(0),
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
    assert_eq!(expected.amounts().refunded.map(|money| money.minor_units), Some(100));
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
fn a_settled_sale_that_the_bank_sends_back_has_failed() {
    let mut state = SubjectState::begin(&draft("transaction_settled", 0).subject);
    state.apply(&draft("transaction_settlement_declined", 5), Sequence(1));
    state.apply(&draft("transaction_settled", 0), Sequence(2));
    assert_eq!(state.status(), Some(Status::Payment(PaymentStatus::Failed)));
    assert_eq!(state.failure_code(), "4001");
}

#[test]
fn a_credit_that_names_no_payment_is_none() {
    let credit = "<transaction><id>credit_1</id><type>credit</type><amount>1.00</amount>\
        <currency-iso-code>USD</currency-iso-code></transaction>";
    for kind in ["transaction_settled", "transaction_settlement_declined", "refund_failed"] {
        let xml = notification(kind, "2026-11-26T09:00:00Z", credit);
        assert_eq!(translated(&endpoint(), &xml), Ok(Vec::new()), "{kind}");
    }
}

fn challenged(query: &str) -> Result<Verdict, VerifyError> {
    let path = format!("{}?{query}", endpoint().path);
    let (method, headers) = (Method::GET, HeaderMap::new());
    let request = Request { method, path, headers, body: Bytes::new() };
    verify(&request, &endpoint(), &Keys::default(), now())
}

#[test]
fn a_challenge_is_signed_if_it_is_one() {
    let text = "20f9f8ed05f77439fe955c977e4c8a53";
    let Ok(Verdict::Challenge(answer)) = challenged(&format!("bt_challenge={text}")) else {
        panic!("no challenge");
    };
    let expected = sign_hmac(Digest::Sha1, &key("sample-private-key"), &[text.as_bytes()]);
    assert_eq!(answer.body, format!("sample-public-key|{}", hex::encode(expected)));
    assert_eq!(answer.status, 200);
    for bad in [
        "",
        "bt_challenge=",
        "bt_challenge=20f9f8ed05f77439fe9",
        "bt_challenge=20f9f8ed05f77439fe955c977e4c8a530",
        "bt_challenge=20F9F8ED05F77439FE955C977E4C8A53",
        "bt_challenge=20f9f8ed05f77439fe955c977e4c8a5%0A",
        "bt_challenge=20f9f8ed05f77439fe955c977e4c8a53&bt_challenge=20f9f8ed05f77439fe955c977e4c8a53",
    ] {
        assert!(challenged(bad).is_err(), "{bad}");
    }
}

/// A request with this payload, signed by whoever holds the private key.
fn signed(payload: &str, signature: impl FnOnce(&str) -> String) -> Request {
    let hmac = sign_hmac(Digest::Sha1, &key("sample-private-key"), &[payload.as_bytes()]);
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair(SIGNATURE, &signature(&hex::encode(hmac)))
        .append_pair(PAYLOAD, payload)
        .finish();
    let request = testing::sample(&PROVIDER, &endpoint(), "check", 0);
    Request { body: Bytes::from(body), ..request }
}

#[test]
fn a_signed_challenge_is_no_signed_payload() {
    let ours = |hmac: &str| format!("sample-public-key|{hmac}");
    let is_taken =
        |payload: &str| PROVIDER.prove(&signed(payload, ours), &endpoint(), now()).is_ok();
    assert!(!is_taken("20f9f8ed05f77439fe955c977e4c8a53"));
    assert!(!is_taken("20f9f8ed05f77439fe955c977e4c8a53\n"));
    assert!(is_taken("PG5vdGlmaWNhdGlvbi8+\n"));
    assert!(!is_taken("PG5vdGlmaWNhdGlvbi8-\n"), "another alphabet");
    assert!(!is_taken(""));
}

#[test]
fn only_a_pair_of_our_public_key_counts() {
    const TEXT: &str = "PG5vdGlmaWNhdGlvbi8+\n";
    let is_taken = |signature: &dyn Fn(&str) -> String| {
        PROVIDER.prove(&signed(TEXT, signature), &endpoint(), now()).is_ok()
    };
    assert!(is_taken(&|hmac| format!("other|{}&nothing&sample-public-key|{hmac}", "0".repeat(40))));
    assert!(!is_taken(&|hmac| format!("other|{hmac}")));
    assert!(!is_taken(&|hmac| hmac.to_owned()));
    assert!(!is_taken(&|hmac| format!("sample-public-key|{}", &hmac[..20])));
    assert!(!is_taken(&|hmac| format!("sample-public-key|{}", hmac.to_uppercase())));
    assert!(!is_taken(&|hmac| format!("|{hmac}")));
}

#[test]
fn old_and_new_keys_live_side_by_side() {
    let mut rotated = endpoint();
    for (name, new) in [(PUBLIC_KEY, "new-public-key"), (PRIVATE_KEY, "new-private-key")] {
        let values = rotated.secrets.get_mut(name).expect("a secret");
        values.insert(0, SecretString::from(new));
    }
    let old = testing::sample(&PROVIDER, &endpoint(), "check", 0);
    let new = testing::sample(&PROVIDER, &rotated, "check", 0);
    let verified_by = |request| {
        let proof = PROVIDER.prove(&request, &rotated, now()).expect("authentic");
        proof.verified_by().to_owned()
    };
    assert_eq!(verified_by(old), "private_key[1]");
    assert_eq!(verified_by(new.clone()), "private_key[0]");
    assert!(PROVIDER.prove(&new, &endpoint(), now()).is_err());
}

#[test]
fn an_amount_without_a_currency_is_of_the_accounts() {
    let xml = notification(
        "subscription_charged_unsuccessfully",
        "2026-11-24T05:54:50Z",
        "<subscription><id>s1</id><transactions><transaction><id>t1</id><amount>49.99</amount>\
         <tax_amount></tax_amount></transaction></transactions></subscription>",
    );
    let mut endpoint = endpoint();
    let amount = |endpoint: &Endpoint| {
        let drafts = translated(endpoint, &xml)?;
        Ok::<_, TranslateError>(
            testing::payment_fact(&drafts[0]).amount.map(|money| money.to_string()),
        )
    };
    assert_eq!(amount(&endpoint), Ok(Some("49.99 USD".to_owned())));
    endpoint.settings.insert(CURRENCY.to_owned(), "EUR".to_owned());
    assert_eq!(amount(&endpoint), Ok(Some("49.99 EUR".to_owned())));
    endpoint.settings.insert(CURRENCY.to_owned(), "JPY".to_owned());
    assert!(amount(&endpoint).is_err(), "it would have to be rounded");
}

#[test]
fn documents_that_no_notification_needs_are_refused() {
    let kind = "check";
    let good = notification(kind, "2026-11-24T05:54:50Z", "<check/>");
    assert_eq!(translated(&endpoint(), &good), Ok(Vec::new()));
    let dtd = good.replace(
        "<notification>",
        "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><notification>",
    );
    let deep = notification(kind, "2026-11-24T05:54:50Z", &"<a>".repeat(50_000));
    for bad in [dtd.as_str(), &deep, "", "<other/>", &good.replace("2026", "x")] {
        assert!(translated(&endpoint(), bad).is_err());
    }
}

#[test]
fn the_sandbox_is_not_live() {
    let mut sandbox = endpoint();
    sandbox.settings.insert(ENVIRONMENT.to_owned(), SANDBOX.to_owned());
    assert_eq!(check(&sandbox), Ok(()));
    let drafts = testing::drafts(&PROVIDER, &sandbox, "transaction_settled", 0).expect("known");
    assert!(!drafts[0].live && draft("transaction_settled", 0).live);
    sandbox.settings.insert(ENVIRONMENT.to_owned(), "test".to_owned());
    assert!(check(&sandbox).is_err());
}

/// No header has a part in the signature, so that only bodies and documents are broken here.
#[test]
fn no_request_panics() {
    let samples: Vec<Request> = PROVIDER
        .events
        .iter()
        .map(|kind| testing::sample(&PROVIDER, &endpoint(), kind, 0))
        .collect();
    let place = any::<prop::sample::Index>;
    let bytes = prop::collection::vec(any::<u8>(), 0..9);
    let mut runner = TestRunner::new(Config { cases: 2_000, ..Config::default() });
    runner
        .run(&(place(), place(), place(), bytes), |(which, from, to, bytes)| {
            let request = which.get(&samples);
            let mut body = request.body.to_vec();
            let (from, to) = (from.index(body.len()), to.index(body.len()));
            body.splice(from.min(to)..from.max(to), bytes.iter().copied());
            let broken = Request { body: Bytes::from(body.clone()), ..request.clone() };
            prop_assert!(from == to || PROVIDER.prove(&broken, &endpoint(), now()).is_err());
            let _ = testing::translate_stored(&PROVIDER, &endpoint(), &body);
            let mut xml = decoded(&request.body).expect("a sample").into_bytes();
            let (from, to) = (from % xml.len(), to % xml.len());
            xml.splice(from.min(to)..from.max(to), bytes);
            let _ = translated(&endpoint(), &String::from_utf8_lossy(&xml));
            Ok(())
        })
        .expect("no input panics");
}
