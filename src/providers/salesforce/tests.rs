//! Salesforce: what proves a message or a callout, and what their records tell.

use super::*;
use crate::model::{PaymentStatus, Sequence, Status, SubjectState};
use crate::providers::testing;

const SECRETS: &[(&str, &str)] = &[
    (URL_TOKEN, "sample-url-token"),
    (ORGANIZATION_ID, "00D000000SAMPLE"),
    (FLOW_TOKEN, "sample-flow-token"),
];

fn endpoint() -> Endpoint {
    testing::endpoint(&PROVIDER, SECRETS)
}

fn now() -> Timestamp {
    Timestamp::from_second(testing::NOW).expect("a time")
}

#[test]
fn samples_verify_and_translate() {
    testing::check_samples(&PROVIDER, &endpoint(), &[], testing::Coverage::Nothing);
}

#[test]
fn a_record_is_ordered_along_its_life() {
    testing::check_life(&PROVIDER, &endpoint(), &[OUTBOUND_MESSAGE, FLOW_CALLOUT]);
}

#[test]
fn no_request_panics() {
    testing::check_hostile_input(&PROVIDER, &endpoint());
    let deep = "<a>".repeat(200_000);
    assert!(testing::translate_stored(&PROVIDER, &endpoint(), deep.as_bytes()).is_err());
}

#[test]
fn each_kind_of_call_needs_its_own_secrets() {
    let is_fine = |secrets: &[(&str, &str)]| check(&testing::endpoint(&PROVIDER, secrets)).is_ok();
    assert!(is_fine(SECRETS) && is_fine(&SECRETS[..2]) && is_fine(&SECRETS[2..]));
    assert!(!is_fine(&[]) && !is_fine(&SECRETS[..1]) && !is_fine(&SECRETS[1..]));
    let message = testing::sample(&PROVIDER, &endpoint(), OUTBOUND_MESSAGE, 0);
    let only_flows = testing::endpoint(&PROVIDER, &SECRETS[2..]);
    assert!(testing::receive(&PROVIDER, &only_flows, message.clone(), now()).is_err());
    let callout = testing::sample(&PROVIDER, &endpoint(), FLOW_CALLOUT, 0);
    let only_messages = testing::endpoint(&PROVIDER, &SECRETS[..2]);
    assert!(testing::receive(&PROVIDER, &only_messages, callout.clone(), now()).is_err());
    // The URL's secret does not stand for the header's.
    let mut bare = callout;
    bare.headers.remove(FLOW_HEADER);
    bare.path = message.path;
    assert!(testing::receive(&PROVIDER, &endpoint(), bare, now()).is_err());
}

#[test]
fn a_message_is_of_one_organisation_and_has_no_dtd() {
    let request = testing::sample(&PROVIDER, &endpoint(), OUTBOUND_MESSAGE, 0);
    let text = String::from_utf8(request.body.to_vec()).expect("text");
    let is_accepted = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let request = Request { body: text.replace(from, to).into(), ..request.clone() };
        testing::receive(&PROVIDER, &endpoint(), request, now()).is_ok()
    };
    assert!(is_accepted("soapenv:", "soapenv:"));
    let organization = "<OrganizationId>00D000000SAMPLE</OrganizationId>";
    let twice = format!("{organization}{organization}");
    for (from, to) in [
        (organization, ""),
        (organization, twice.as_str()),
        (organization, "<OrganizationId>00D000000sample</OrganizationId>"),
        (organization, "<OrganizationId xmlns=\"urn:other\">00D000000SAMPLE</OrganizationId>"),
        ("http://soap.sforce.com/2005/09/outbound", "http://example.test/outbound"),
        ("http://schemas.xmlsoap.org/soap/envelope/", "http://example.test/envelope"),
        ("<soapenv:Envelope", "<!DOCTYPE x [<!ENTITY e \"1\">]><soapenv:Envelope"),
        ("<soapenv:Envelope", "<!DOCTYPE x><soapenv:Envelope"),
        ("</soapenv:Envelope>", ""),
    ] {
        assert!(!is_accepted(from, to), "{from} as {to}");
    }
}

#[test]
fn an_emptied_or_foreign_status_is_kept_as_unknown_and_a_missing_one_says_nothing() {
    let translated = |to: &str| {
        let request = testing::sample(&PROVIDER, &endpoint(), OUTBOUND_MESSAGE, 0);
        let text = String::from_utf8(request.body.to_vec()).expect("text");
        let status = "<sf:Payment_Status__c>Paid</sf:Payment_Status__c>";
        let body = text.replace(status, to);
        testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes())
    };
    let unknown = Ok(Translation::Unknown(crm::UNKNOWN_STATUS.to_owned()));
    assert_eq!(translated("<sf:Payment_Status__c xsi:nil=\"true\"/>"), unknown);
    assert_eq!(translated("<sf:Payment_Status__c>Bezahlt</sf:Payment_Status__c>"), unknown);
    assert_eq!(translated(""), Ok(Translation::Events(Vec::new())));
    // A field of a related record is not the record's own.
    let related = "<sf:Account><sf:Payment_Status__c>Paid</sf:Payment_Status__c></sf:Account>";
    assert_eq!(translated(related), Ok(Translation::Events(Vec::new())));
}

#[test]
fn a_sandbox_is_not_live_and_an_amount_fits_its_currency() {
    let draft = |change| testing::draft_of(&PROVIDER, &endpoint(), OUTBOUND_MESSAGE, change);
    assert!(draft(["", ""]).expect("readable").live);
    for host in ["example--dev.sandbox.my.salesforce.com", "test.salesforce.com"] {
        assert!(!draft(["example.my.salesforce.com", host]).expect("readable").live, "{host}");
    }
    assert!(draft([">EUR<", ">JPY<"]).is_err());
    let told = draft(["<sf:CurrencyIsoCode>EUR</sf:CurrencyIsoCode>", ""]).expect("readable");
    assert_eq!(testing::payment_fact(&told).amount, None);
}

#[test]
fn stored_receipts_hold_no_session_and_no_token() {
    let mut request = testing::sample(&PROVIDER, &endpoint(), OUTBOUND_MESSAGE, 0);
    let text = String::from_utf8(request.body.to_vec()).expect("text");
    let session = "<SessionId>00D!s3cret</SessionId>";
    request.body = text.replace("<SessionId xsi:nil=\"true\"/>", session).into();
    let proof = PROVIDER.prove(&request, &endpoint(), now()).expect("authentic");
    let receipt = Receipt::new(request, proof, endpoint().name, now(), PROVIDER.redaction);
    let kept = String::from_utf8_lossy(receipt.body()).into_owned();
    assert!(!kept.contains("s3cret") && kept.contains("<SessionId>sha256:"), "{kept}");
    assert!(!receipt.path().contains("sample"), "{}", receipt.path());
}

#[test]
fn a_change_by_the_own_user_is_an_echo() {
    let mut endpoint = endpoint();
    let own = "0055g000000AbCdEAV";
    endpoint.settings.insert(crm::OWN_USER_ID.to_owned(), own.to_owned());
    let count = |user: &str| {
        let body =
            format!(r#"{{"Id":"1","Payment_Status__c":"Paid","LastModifiedById":"{user}"}}"#);
        match testing::translate_stored(&PROVIDER, &endpoint, body.as_bytes()) {
            Ok(Translation::Events(drafts)) => drafts.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([own, "0055g000000AbCd"].map(count), [0, 0]);
    assert_eq!(["0055g000000AbCeEAV", "0055g000000abcdEAV", "short", ""].map(count), [1, 1, 1, 1]);
}

#[test]
fn a_record_may_be_corrected_in_any_order_of_arrival() {
    let texts = ["Pending", "Paid", "Disputed", "Paid", "Partially refunded", "Refunded"];
    let drafts: Vec<_> = (0_i64..)
        .zip(texts)
        .map(|(at, text)| {
            let request = testing::sample(&PROVIDER, &endpoint(), OUTBOUND_MESSAGE, at);
            let body = String::from_utf8(request.body.to_vec()).expect("text");
            let body = body.replace(">Paid<", &format!(">{text}<"));
            let body = body.replace("evt_a1_", &format!("evt_{at}_"));
            match testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes()) {
                Ok(Translation::Events(mut drafts)) => drafts.remove(0),
                other => panic!("{other:?}"),
            }
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
            assert_eq!(state.status(), Some(Status::Payment(PaymentStatus::Refunded)));
        }
    }
}

#[test]
fn a_callout_may_hold_several_records_and_its_state_is_its_key() {
    let records = |second: &str| {
        let body = format!(
            r#"[{{"Id":"1","Payment_Status__c":"Paid","Payment_Amount__c":129.95,"CurrencyIsoCode":"EUR"}},{second}]"#
        );
        testing::translate_stored(&PROVIDER, &endpoint(), body.as_bytes())
    };
    let refunded = r#"{"Id":"1","Payment_Status__c":"Refunded"}"#;
    let Ok(Translation::Events(drafts)) = records(refunded) else { panic!("two events") };
    assert_eq!(drafts.len(), 2);
    assert_ne!(drafts[0].key, drafts[1].key);
    assert_eq!(drafts[0].subject.id, "1");
    let amount = testing::payment_fact(&drafts[0]).amount.expect("an amount");
    assert_eq!(amount.minor_units, 12_995);
    let Ok(Translation::Partly(drafts, _)) = records(r#"{"Payment_Status__c":"Paid"}"#) else {
        panic!("the record without an id stays open, the other is told");
    };
    assert_eq!(drafts.len(), 1);
    assert!(records(r#""Paid""#).is_err());
}
