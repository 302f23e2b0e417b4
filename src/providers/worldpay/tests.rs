//! Worldpay's rules, on samples of both schemes.

use http::HeaderValue;

use super::*;
use crate::model::{Draft, PaymentStatus, Sequence, Status, SubjectState};
use crate::providers::testing::{self, Coverage};

const TOKEN: &str = "sample-url-token";

/// An endpoint that takes both schemes.
fn endpoint() -> Endpoint {
    let secrets = sample_secrets();
    let secrets =
        [(SIGNATURE_KEYS, secrets[0].1.as_str()), (URL_TOKEN, TOKEN), (MERCHANT_CODES, "M1")];
    let mut endpoint = testing::endpoint(&PROVIDER, &secrets);
    endpoint.path = format!("{}/{TOKEN}", endpoint.path);
    endpoint
}

fn now() -> Timestamp {
    Timestamp::from_second(testing::NOW).expect("a time")
}

fn proves(request: &Request) -> Result<Proof, VerifyError> {
    PROVIDER.prove(request, &endpoint(), now())
}

fn status(draft: &Draft) -> Status {
    merged(std::slice::from_ref(draft)).status().expect("stated")
}

#[test]
fn samples_verify_and_translate() {
    testing::check_samples(&PROVIDER, &endpoint(), &facts::SILENT, Coverage::Nothing);
}

#[test]
fn each_payment_is_ordered_along_its_life() {
    for life in [
        &[
            "sentForAuthorization",
            "authorized",
            "sentForSettlement",
            "settled",
            "sentForRefund",
            "refunded",
            "refundFailed",
            "informationRequested",
            "chargedBack",
        ][..],
        &[
            "SENT_FOR_AUTHORISATION",
            "REFUSED",
            "AUTHORISED",
            "CAPTURED",
            "SETTLED",
            "SENT_FOR_REFUND",
            "REFUNDED",
            "REFUND_FAILED",
            "INFORMATION_REQUESTED",
            "CHARGED_BACK",
            "CHARGEBACK_REVERSED",
        ],
        &["requested", "approved", "disbursed"],
    ] {
        testing::check_life(&PROVIDER, &endpoint(), life);
    }
}

#[test]
fn no_request_panics() {
    testing::check_hostile_input(&PROVIDER, &endpoint());
    let deep = format!("{}{}", "<a>".repeat(200_000), "</a>".repeat(200_000));
    let mut request = testing::sample(&PROVIDER, &endpoint(), "AUTHORISED", 0);
    request.body = deep.clone().into();
    assert!(proves(&request).is_err());
    let _ = testing::translate_stored(&PROVIDER, &endpoint(), deep.as_bytes());
}

#[test]
fn every_byte_of_an_event_is_signed() {
    let request = testing::sample(&PROVIDER, &endpoint(), "authorized", 0);
    for at in 0..request.body.len() {
        let mut flipped = request.clone();
        let mut body = request.body.to_vec();
        body[at] ^= 1;
        flipped.body = body.into();
        assert!(proves(&flipped).is_err(), "byte {at}");
    }
}

#[test]
fn the_signature_is_found_by_its_key_id_among_others() {
    let request = testing::sample(&PROVIDER, &endpoint(), "authorized", 0);
    let good = request.header(HEADER).expect("signed").to_owned();
    let verifies = |value: &str| {
        let mut request = request.clone();
        request.headers.insert(HEADER, HeaderValue::from_str(value).expect("a value"));
        proves(&request).is_ok()
    };
    let other = format!("9/SHA256/{}", "ab".repeat(32));
    assert!(verifies(&good) && verifies(&format!("{other}, {good}")));
    assert!(verifies(&format!("{good},{other}")));
    let mut lines = request.clone();
    lines.headers.insert(HEADER, HeaderValue::from_str(&other).expect("a value"));
    lines.headers.append(HEADER, HeaderValue::from_str(&good).expect("a value"));
    assert!(proves(&lines).is_ok(), "a list over several lines");
    let (id, digits) = (good.clone(), good.rsplit('/').next().expect("digits").to_owned());
    assert!(verifies(&id.replace(&digits, &digits.to_ascii_uppercase())), "the case is not told");
    assert!(!verifies(&good.replacen("1/", "2/", 1)) && !verifies(&good.replace("SHA256", "MD5")));
    assert!(!verifies(&good[..good.len() - 2]) && !verifies("") && !verifies(&other));
}

#[test]
fn a_notification_needs_the_token_and_the_merchant() {
    let request = testing::sample(&PROVIDER, &endpoint(), "AUTHORISED", 0);
    assert!(proves(&request).is_ok());
    let at = |path: &str| {
        let mut request = request.clone();
        request.path = path.to_owned();
        proves(&request).is_ok()
    };
    assert!(at("/x?a=1&token=sample-url-token") && at("/x/sample-url-token/"));
    assert!(!at("/x") && !at("/sample-url-token/x") && !at("/x/sample-url-token?token=guess"));
    let mut other = request.clone();
    let text = String::from_utf8(request.body.to_vec()).expect("text");
    other.body = text.replace("\"M1\"", "\"M2\"").into();
    assert_eq!(
        proves(&other).expect_err("another merchant"),
        VerifyError::Mismatch(MERCHANT_CODES)
    );
}

#[test]
fn neither_scheme_passes_for_the_other() {
    let mut event = testing::sample(&PROVIDER, &endpoint(), "authorized", 0);
    event.headers.remove(HEADER);
    assert!(proves(&event).is_err());
    event.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    assert!(proves(&event).is_err());
    let mut notification = testing::sample(&PROVIDER, &endpoint(), "AUTHORISED", 0);
    notification.headers.remove(CONTENT_TYPE);
    assert!(proves(&notification).is_err());
}

#[test]
fn a_doctype_is_cut_out_and_one_with_declarations_refused() {
    let request = testing::sample(&PROVIDER, &endpoint(), "AUTHORISED", 0);
    let body = String::from_utf8(request.body.to_vec()).expect("text");
    let with = |doctype: &str| {
        let start = body.find("<!DOCTYPE").expect("a doctype");
        let end = start + body[start..].find('>').expect("its end") + 1;
        let mut request = request.clone();
        request.body = format!("{}{doctype}{}", &body[..start], &body[end..]).into();
        proves(&request).is_ok()
    };
    assert!(with("") && with("<!DOCTYPE paymentService SYSTEM 'a>b[c.dtd'>"));
    for doctype in [
        "<!DOCTYPE paymentService [<!ENTITY a SYSTEM \"file:///etc/hostname\">]>",
        "<!DOCTYPE paymentService SYSTEM \"x\" [<!ENTITY a \"b\">]>",
        "<!DOCTYPE paymentService><!DOCTYPE paymentService [<!ENTITY a \"b\">]>",
        "<!DOCTYPE paymentService",
    ] {
        assert!(!with(doctype), "{doctype}");
    }
}

#[test]
fn the_journal_tells_what_happened_not_the_last_event() {
    let change = ["<lastEvent>AUTHORISED", "<lastEvent>WAITING_FOR_SHOPPER"];
    let draft = testing::draft_of(&PROVIDER, &endpoint(), "AUTHORISED", change).expect("readable");
    assert_eq!(status(&draft), Status::Payment(PaymentStatus::Authorized));
    let change = ["journalType=\"AUTHORISED\"", "journalType=\"NO_SUCH\""];
    let body = testing::sample(&PROVIDER, &endpoint(), "AUTHORISED", 0).body;
    let text = std::str::from_utf8(&body).expect("text").replace(change[0], change[1]);
    let unknown = testing::translate_stored(&PROVIDER, &endpoint(), text.as_bytes());
    assert_eq!(unknown, Ok(Translation::Unknown("NO_SUCH".to_owned())));
}

#[test]
fn a_part_that_is_given_back_is_told_from_the_whole() {
    let total = crate::providers::samples::amount("a1");
    let part = format!("value=\"{}\"", crate::providers::samples::part_of(total));
    let refund = |to: &str| {
        let draft = testing::draft_of(&PROVIDER, &endpoint(), "REFUNDED", [&part, to]);
        status(&draft.expect("readable")).word()
    };
    assert_eq!(refund("value=\"1\""), "PARTIALLY_REFUNDED");
    assert_eq!(refund(&format!("value=\"{total}\"")), "REFUNDED");
}

#[test]
fn what_could_not_be_given_back_stays_paid() {
    let draft = testing::draft_of(&PROVIDER, &endpoint(), "refundFailed", ["", ""]);
    assert_eq!(status(&draft.expect("readable")), Status::Payment(PaymentStatus::Paid));
}

#[test]
fn amounts_follow_their_exponent_and_are_exact() {
    let amount = |exponent: &str| {
        let change = ["exponent=\"2\"", &format!("exponent=\"{exponent}\"")];
        let draft = testing::draft_of(&PROVIDER, &endpoint(), "CAPTURED", change)?;
        Ok::<_, TranslateError>(testing::payment_fact(&draft).amount.map(|money| money.minor_units))
    };
    let total = crate::providers::samples::amount("a1");
    assert_eq!(amount("2"), Ok(Some(total)));
    assert_eq!(amount("0"), Ok(Some(total * 100)));
    for exponent in ["99", "-1", "x", "4294967296"] {
        assert!(amount(exponent).is_err(), "{exponent}");
    }
}

#[test]
fn the_same_notification_has_the_same_key_and_another_refund_another() {
    let key = |change: [&str; 2]| {
        testing::draft_of(&PROVIDER, &endpoint(), "REFUNDED", change).expect("readable").key
    };
    let part = crate::providers::samples::part_of(crate::providers::samples::amount("a1"));
    assert_eq!(key(["", ""]), key(["sent=\"n\"", "sent=\"y\""]));
    assert_ne!(key(["", ""]), key([&format!("value=\"{part}\""), "value=\"1\""]));
}

#[test]
fn a_time_without_a_zone_is_utc_and_a_day_is_enough() {
    let draft =
        testing::draft_of(&PROVIDER, &endpoint(), "authorized", ["", ""]).expect("readable");
    assert_eq!(draft.occurred_at, now());
    let change = ["month=\"11\"", "month=\"13\""];
    assert!(testing::draft_of(&PROVIDER, &endpoint(), "CAPTURED", change).is_err());
}

#[test]
fn settlements_in_parts_add_up_and_a_failed_one_does_not_count() {
    let part = |id: &str, event_type: &str, at: i64| {
        let draft = testing::drafts(&PROVIDER, &endpoint(), event_type, at).expect("known");
        let mut draft = draft[0].clone();
        let crate::model::Fact::Payment(fact) = &mut draft.fact else { panic!("no payment") };
        fact.capture.as_mut().expect("a capture").id = id.to_owned();
        draft.key = format!("{id} {event_type}");
        draft
    };
    let parts = [part("s1", "sentForSettlement", 0), part("s2", "sentForSettlement", 1)];
    let total = crate::providers::samples::amount("a1");
    let paid = merged(&parts).amounts().paid.map(|money| money.minor_units);
    assert_eq!(paid, Some(2 * total));
}

#[test]
fn payouts_leave_the_merchant_and_refused_ones_are_told_by_their_classification() {
    let drafts = testing::drafts(&PROVIDER, &endpoint(), "disbursed", 0).expect("known");
    let crate::model::Fact::BankTransaction(fact) = &drafts[0].fact else { panic!("no payout") };
    assert!(fact.amount.is_some_and(|money| money.minor_units < 0));
    let change = ["\"classification\":\"payment\"", "\"classification\":\"payout\""];
    let draft = testing::draft_of(&PROVIDER, &endpoint(), "refused", change).expect("readable");
    assert_eq!(draft.fact.kind(), crate::model::SubjectKind::BankTransaction);
}

#[test]
fn test_events_are_not_live() {
    let change = ["https://access.worldpay.com/", "https://try.access.worldpay.com/"];
    let draft = testing::draft_of(&PROVIDER, &endpoint(), "authorized", change).expect("readable");
    assert!(!draft.live);
    let mut test = endpoint();
    test.settings.insert(ENVIRONMENT.to_owned(), TEST.to_owned());
    let draft = testing::draft_of(&PROVIDER, &test, "AUTHORISED", ["", ""]).expect("readable");
    assert!(!draft.live);
}

#[test]
fn all_that_is_authentic_is_answered_ok_and_all_else_400() {
    let replies = [PROVIDER.replies.accepted, PROVIDER.replies.unknown];
    assert_eq!(replies.map(|reply| (reply.status, reply.body)), [(200, "[OK]"); 2]);
    assert_eq!(PROVIDER.replies.refused.status, 400);
}

#[test]
fn secrets_and_settings_are_checked() {
    let check = |secrets: &[(&str, &str)]| (PROVIDER.check)(&testing::endpoint(&PROVIDER, secrets));
    assert!(
        check(&[(SIGNATURE_KEYS, r#"{"1":"a"}"#)]).is_ok() && check(&[(URL_TOKEN, "t")]).is_ok()
    );
    for keys in ["{}", "[]", "text", r#"{"1":" "}"#, r#"{"1":2}"#] {
        assert!(check(&[(SIGNATURE_KEYS, keys)]).is_err(), "{keys}");
    }
    assert!(check(&[(MERCHANT_CODES, "M1")]).is_err(), "nothing could verify");
    let mut endpoint = endpoint();
    endpoint.settings.insert(ENVIRONMENT.to_owned(), "live".to_owned());
    assert!((PROVIDER.check)(&endpoint).is_err());
}

/// The life of one payment at each scheme, its reports in any order.
#[test]
fn a_payments_life_ends_the_same_in_every_order() {
    let lives = [
        ["authorized", "sentForSettlement", "sentForRefund", "informationRequested", "chargedBack"],
        ["AUTHORISED", "CAPTURED", "REFUNDED", "CHARGED_BACK", "CHARGEBACK_REVERSED"],
    ];
    for (life, end) in lives.iter().zip(["CHARGED_BACK", "PARTIALLY_REFUNDED"]) {
        let mut drafts: Vec<Draft> = life
            .iter()
            .flat_map(|event| testing::drafts(&PROVIDER, &endpoint(), event, 0).expect("known"))
            .collect();
        let whole = merged(&drafts);
        assert_eq!(whole.status().map(Status::word), Some(end));
        permute(&mut drafts, 0, &mut |order| assert!(merged(order).converges_with(&whole)));
    }
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
