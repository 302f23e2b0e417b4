//! Adyen's standard payment webhooks: each item of the batch carries in `additionalData.hmacSignature` the
//! base64 of an HMAC-SHA256 over eight of its values joined by `:`, nothing escaped and a missing one
//! empty, keyed with the bytes of the hex key. Every item must verify, else the whole request is refused;
//! where Basic credentials are configured they must match as well. In comes a request, out come payments
//! by the PSP reference of their authorisation; captures, refunds and chargebacks name it as
//! `originalReference`. There is no event id: code, reference, success and original reference make one.
//! It must never take a value that was not part of what it verified for a signed one.
//! Spec: <https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures>,
//! <https://docs.adyen.com/development-resources/webhooks/webhook-types>

mod facts;
mod sample;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Deserialize;

use crate::model::{DisputeState, Draft, Fact, PaymentFact, References, SubjectKind};
use crate::receipt::signature::{basic_auth, hmac_sha256_hex_key};
use crate::receipt::{Proof, Receipt, Redaction, Request, VerifyError};

use super::payload::{self, Scalars, Text};
use super::{
    Endpoint, Keys, Provider, REPLIES, Replies, Reply, Sample, SecretKey, TranslateError,
    Translation, Verdict, no_check, no_example, no_fetch, no_poll,
};

/// Adyen.
pub const PROVIDER: Provider = Provider {
    name: "adyen",
    title: "Adyen",
    secrets: &[
        SecretKey { name: HMAC_KEY, required: true },
        SecretKey { name: BASIC_USER, required: false },
        SecretKey { name: BASIC_PASSWORD, required: false },
    ],
    settings: &[AUTO_CAPTURE],
    structured: &[],
    events: &EVENT_CODES,
    redaction: Redaction {
        headers: &[],
        query: &[],
        body_members: &["iban", "bankAccount.iban", "bankAccountNumber", "cardNumber"],
    },
    hosts: &[],
    check: no_check,
    verify,
    translate,
    fetch: no_fetch,
    poll: no_poll,
    replies: Replies { accepted: ACCEPTED, unknown: ACCEPTED, ..REPLIES },
    sample: |endpoint, order| sample::sample(endpoint, order).map(Sample::from),
    example: no_example,
};

/// Adyen looks for this text in a 2xx.
const ACCEPTED: Reply = Reply { status: 200, content_type: "text/plain", body: "[accepted]" };

const HMAC_KEY: &str = "hmac_key_hex";
const BASIC_USER: &str = "basic_user";
const BASIC_PASSWORD: &str = "basic_password";
/// `"true"` where the account captures at once, so that an authorised payment is a paid one.
const AUTO_CAPTURE: &str = "auto_capture";
const SIGNATURE: &str = "additionalData.hmacSignature";
/// Adyen sends one item, SOAP up to six; more than this is no request of Adyen's.
const MAX_ITEMS: usize = 100;
const SIGNATURE_BYTES: usize = 32;
/// The stages of a dispute have references of their own, but a payment has one dispute at a time.
const DISPUTE_ID: &str = "dispute";
/// How `additionalData` names what the merchant attached to the payment.
const METADATA_PREFIX: &str = "metadata.";

/// Currencies whose minor unit at Adyen is not that of ISO 4217.
/// <https://docs.adyen.com/development-resources/currency-codes>
const EXPONENTS: &[(&str, u32)] = &[("CLP", 2), ("CVE", 0), ("IDR", 0), ("ISK", 2)];

/// What an event code says.
#[derive(Clone, Copy)]
enum Meaning {
    Authorisation,
    Adjustment,
    Capture,
    CaptureFailed,
    Cancellation,
    OfferClosed,
    CancelOrRefund,
    Refund,
    RefundFailed,
    RefundPending,
    OrderOpened,
    OrderClosed,
    Dispute(DisputeState),
    /// Acknowledged, but it says nothing about a payment.
    Note,
}

/// The codes, each with the rank of its evidence: the further in a payment's life, the higher.
#[rustfmt::skip]
const EVENTS: [(&str, u8, Meaning); 32] = [
    ("ORDER_OPENED", 10, Meaning::OrderOpened),
    ("AUTHORISATION", 20, Meaning::Authorisation),
    ("AUTHORISATION_ADJUSTMENT", 30, Meaning::Adjustment),
    ("OFFER_CLOSED", 40, Meaning::OfferClosed),
    ("CANCELLATION", 50, Meaning::Cancellation),
    ("TECHNICAL_CANCEL", 51, Meaning::Cancellation),
    ("CAPTURE", 60, Meaning::Capture),
    ("CAPTURE_FAILED", 61, Meaning::CaptureFailed),
    ("ORDER_CLOSED", 65, Meaning::OrderClosed),
    ("POSTPONED_REFUND", 70, Meaning::RefundPending),
    ("VOID_PENDING_REFUND", 71, Meaning::RefundPending),
    ("CANCEL_OR_REFUND", 72, Meaning::CancelOrRefund),
    ("REFUND", 73, Meaning::Refund),
    ("REFUND_WITH_DATA", 74, Meaning::Refund),
    ("REFUND_FAILED", 80, Meaning::RefundFailed),
    ("REFUNDED_REVERSED", 81, Meaning::RefundFailed),
    ("REQUEST_FOR_INFORMATION", 90, Meaning::Dispute(DisputeState::Open)),
    ("NOTIFICATION_OF_CHARGEBACK", 91, Meaning::Dispute(DisputeState::Open)),
    ("CHARGEBACK", 92, Meaning::Dispute(DisputeState::Open)),
    ("CHARGEBACK_REVERSED", 93, Meaning::Dispute(DisputeState::Won)),
    ("PREARBITRATION_WON", 94, Meaning::Dispute(DisputeState::Won)),
    ("SECOND_CHARGEBACK", 95, Meaning::Dispute(DisputeState::Lost)),
    ("PREARBITRATION_LOST", 96, Meaning::Dispute(DisputeState::Lost)),
    ("MANUAL_REVIEW_ACCEPT", 0, Meaning::Note),
    ("MANUAL_REVIEW_REJECT", 0, Meaning::Note),
    ("NOTIFICATION_OF_FRAUD", 0, Meaning::Note),
    ("PAIDOUT_REVERSED", 0, Meaning::Note),
    ("PAYOUT_DECLINE", 0, Meaning::Note),
    ("PAYOUT_EXPIRE", 0, Meaning::Note),
    ("PAYOUT_THIRDPARTY", 0, Meaning::Note),
    ("RECURRING_CONTRACT", 0, Meaning::Note),
    ("REPORT_AVAILABLE", 0, Meaning::Note),
];

/// Families of codes that are notes, whatever else they will be called.
const NOTE_PREFIXES: [&str; 2] = ["MANUAL_REVIEW_", "PAYOUT_"];

const EVENT_CODES: [&str; EVENTS.len()] = {
    let mut names = [""; EVENTS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = EVENTS[index].0;
        index += 1;
    }
    names
};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Notification<'a> {
    #[serde(borrow)]
    live: Text<'a>,
    #[serde(borrow, rename = "notificationItems")]
    items: Vec<Wrapped<'a>>,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow, rename = "NotificationRequestItem")]
    item: Item<'a>,
}

/// One item. A member that stands twice makes the body unreadable, so that what is signed is what is read.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Item<'a> {
    #[serde(borrow)]
    psp_reference: Text<'a>,
    #[serde(borrow)]
    original_reference: Text<'a>,
    #[serde(borrow)]
    merchant_account_code: Text<'a>,
    #[serde(borrow)]
    merchant_reference: Text<'a>,
    #[serde(borrow)]
    amount: Option<Amount<'a>>,
    #[serde(borrow)]
    event_code: Text<'a>,
    #[serde(borrow)]
    success: Text<'a>,
    #[serde(borrow)]
    event_date: Text<'a>,
    #[serde(borrow)]
    payment_method: Text<'a>,
    #[serde(borrow)]
    reason: Text<'a>,
    #[serde(borrow)]
    operations: Option<Vec<Text<'a>>>,
    additional_data: Scalars,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Amount<'a> {
    value: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    check_basic_auth(request, endpoint)?;
    let notification: Notification<'_> =
        serde_json::from_slice(&request.body).map_err(|_| VerifyError::Malformed("body"))?;
    if notification.items.len() > MAX_ITEMS {
        return Err(VerifyError::Malformed("notificationItems"));
    }
    let mut result = Err(VerifyError::Malformed("notificationItems"));
    for wrapped in &notification.items {
        result = Ok(verify_item(&wrapped.item, endpoint)?);
    }
    result.map(Verdict::Verified)
}

/// Where one of the credentials is configured, both are needed.
fn check_basic_auth(request: &Request, endpoint: &Endpoint) -> Result<(), VerifyError> {
    let user = endpoint.candidates(BASIC_USER);
    let password = endpoint.candidates(BASIC_PASSWORD);
    if user.secrets.is_empty() && password.secrets.is_empty() {
        return Ok(());
    }
    if user.secrets.is_empty() {
        return Err(VerifyError::NotConfigured(BASIC_USER));
    }
    // The credentials alone prove nothing about the items.
    let _ = basic_auth(user, password, &request.headers)?;
    Ok(())
}

fn verify_item(item: &Item<'_>, endpoint: &Endpoint) -> Result<Proof, VerifyError> {
    let signature = item.additional_data.0.get("hmacSignature");
    let signature = signature.ok_or(VerifyError::Malformed(SIGNATURE))?;
    let signature = BASE64.decode(signature).map_err(|_| VerifyError::Malformed(SIGNATURE))?;
    if signature.len() != SIGNATURE_BYTES {
        return Err(VerifyError::Malformed(SIGNATURE));
    }
    let signed = signed_text(item);
    hmac_sha256_hex_key(endpoint.candidates(HMAC_KEY), &[signed.as_bytes()], &[signature])
}

fn signed_text(item: &Item<'_>) -> String {
    let amount = item.amount.as_ref();
    let value = amount.and_then(|amount| amount.value);
    [
        &*item.psp_reference,
        &*item.original_reference,
        &*item.merchant_account_code,
        &*item.merchant_reference,
        &value.map(|value| value.to_string()).unwrap_or_default(),
        amount.map_or("", |amount| &*amount.currency),
        &*item.event_code,
        &*item.success,
    ]
    .join(":")
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let notification: Notification<'_> = serde_json::from_slice(receipt.body())
        .map_err(|error| payload::unreadable("an Adyen notification", &error))?;
    let live = &*notification.live == "true";
    let mut drafts = Vec::new();
    let mut unknown = None;
    let mut unreadable = None;
    let mut is_known = false;
    for Wrapped { item } in notification.items {
        let Some((rank, meaning)) = meaning_of(&item.event_code) else {
            unknown.get_or_insert_with(|| item.event_code.to_string());
            continue;
        };
        is_known = true;
        let fact = facts::fact(&item, meaning, endpoint);
        let drafted = fact
            .and_then(|fact| fact.map(|fact| draft(item, rank, live, fact, endpoint)).transpose());
        match drafted {
            Ok(drafted) => drafts.extend(drafted),
            Err(error) => drop(unreadable.get_or_insert(error)),
        }
    }
    match unknown {
        Some(code) if !is_known => payload::unknown_type(&code),
        _ => Translation::Events(drafts).despite(unreadable),
    }
}

fn meaning_of(event_code: &str) -> Option<(u8, Meaning)> {
    let row = EVENTS.iter().find(|(code, _, _)| *code == event_code);
    let is_note = NOTE_PREFIXES.iter().any(|prefix| event_code.starts_with(prefix));
    row.map(|(_, rank, meaning)| (*rank, *meaning)).or(is_note.then_some((0, Meaning::Note)))
}

fn draft(
    item: Item<'_>,
    rank: u8,
    live: bool,
    fact: PaymentFact,
    endpoint: &Endpoint,
) -> Result<Draft, TranslateError> {
    let payment = payload::first(&[&item.original_reference, &item.psp_reference]);
    let subject = payload::subject(SubjectKind::Payment, &endpoint.name, &payment)?;
    let occurred_at =
        item.event_date.parse().map_err(|_| payload::not_a("a time", &item.event_date))?;
    let key = [&*item.event_code, &item.psp_reference, &item.success, &item.original_reference];
    let key = key.join(":");
    let mut data = item.additional_data.0;
    let mut take = |name: &str| data.remove(name).unwrap_or_default();
    let references = References {
        payment,
        order: item.merchant_reference.to_string(),
        customer: take("shopperReference"),
        customer_name: take("cardHolderName"),
        email: take("shopperEmail"),
        metadata: data
            .into_iter()
            .filter_map(|(name, value)| {
                name.strip_prefix(METADATA_PREFIX).map(|name| (name.to_owned(), value))
            })
            .collect(),
        ..References::default()
    };
    Ok(Draft {
        key: key.clone(),
        event_id: key,
        event_type: item.event_code.to_string(),
        occurred_at,
        version: 0,
        rank,
        subject,
        references: references.bounded(),
        live,
        fact: Fact::Payment(fact),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::testing;

    const SECRETS: &[(&str, &str)] = &[
        (HMAC_KEY, "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF"),
        (BASIC_USER, "hook"),
        (BASIC_PASSWORD, "pass"),
    ];
    const SILENT: &[&str] = &[
        "MANUAL_REVIEW_ACCEPT",
        "MANUAL_REVIEW_REJECT",
        "NOTIFICATION_OF_FRAUD",
        "PAIDOUT_REVERSED",
        "PAYOUT_DECLINE",
        "PAYOUT_EXPIRE",
        "PAYOUT_THIRDPARTY",
        "RECURRING_CONTRACT",
        "REPORT_AVAILABLE",
    ];

    fn endpoint() -> Endpoint {
        testing::endpoint(&PROVIDER, SECRETS)
    }

    #[test]
    fn samples_verify_and_translate_and_do_not_survive_a_flipped_byte() {
        testing::check_samples(&PROVIDER, &endpoint(), SILENT, testing::Coverage::Values);
    }

    #[test]
    fn a_life_in_one_second_is_in_order() {
        testing::check_life(
            &PROVIDER,
            &endpoint(),
            &[
                "AUTHORISATION",
                "CAPTURE",
                "REFUND",
                "REFUND_FAILED",
                "NOTIFICATION_OF_CHARGEBACK",
                "CHARGEBACK",
                "CHARGEBACK_REVERSED",
                "SECOND_CHARGEBACK",
            ],
        );
    }

    fn draft(event_code: &str, change: [&str; 2]) -> Draft {
        testing::draft_of(&PROVIDER, &endpoint(), event_code, change).expect("readable")
    }

    #[test]
    fn what_concerns_one_capture_refund_or_dispute_is_told_under_one_id() {
        let entries = |codes: [&str; 2], pick: fn(&PaymentFact) -> String| {
            codes.map(|code| pick(testing::payment_fact(&draft(code, ["", ""]))))
        };
        let capture = |fact: &PaymentFact| fact.capture.as_ref().expect("a capture").id.clone();
        let refund = |fact: &PaymentFact| fact.refund.as_ref().expect("a refund").id.clone();
        let dispute = |fact: &PaymentFact| fact.dispute.as_ref().expect("a dispute").id.clone();
        let both = |id: &str| [id.to_owned(), id.to_owned()];
        assert_eq!(entries(["CAPTURE", "CAPTURE_FAILED"], capture), both("CAPTURE-a1"));
        assert_eq!(entries(["REFUND", "REFUND_FAILED"], refund), both("REFUND-a1"));
        assert_eq!(entries(["CHARGEBACK", "SECOND_CHARGEBACK"], dispute), both(DISPUTE_ID));
    }

    #[test]
    fn an_item_is_recognised_by_its_code_references_and_success() {
        let capture = draft("CAPTURE", ["", ""]);
        assert_eq!(capture.key, "CAPTURE:CAPTURE-a1:true:PSP-a1");
        assert_eq!(capture.event_id, capture.key);
        assert_eq!(capture.subject.to_string(), "payments/adyen/test/PSP-a1");
        assert_eq!(draft("AUTHORISATION", ["", ""]).key, "AUTHORISATION:PSP-a1:true:");
    }

    #[test]
    fn card_digits_in_the_reason_of_a_success_are_not_kept() {
        let reason = ["\"reason\":\"\"", "\"reason\":\"1234:7777:12/2030\""];
        let authorised = draft("AUTHORISATION", reason);
        assert_eq!(testing::payment_fact(&authorised).failure_message, "");
        let refused = draft("CAPTURE_FAILED", ["\"reason\":\"\"", "\"reason\":\"expired\""]);
        assert_eq!(testing::payment_fact(&refused).failure_message, "expired");
    }

    #[test]
    fn references_and_mode_are_read() {
        let data = ["\"shopperReference\"", "\"metadata.cart\":\"77\",\"shopperReference\""];
        let authorised = draft("AUTHORISATION", data);
        let references = &authorised.references;
        assert_eq!(references.metadata, [("cart".to_owned(), "77".to_owned())].into());
        assert_eq!((references.order.as_str(), authorised.live), ("order-a1", true));
        assert_eq!(references.customer, "customer-a1");
        let test = draft("AUTHORISATION", ["\"live\":\"true\"", "\"live\":\"false\""]);
        assert!(!test.live);
    }

    #[test]
    fn p8_an_item_that_cannot_be_read_does_not_take_the_others_with_it() {
        let sample = testing::sample(&PROVIDER, &endpoint(), "AUTHORISATION", 0);
        let mut body: serde_json::Value = serde_json::from_slice(&sample.body).expect("JSON");
        let items = body["notificationItems"].as_array_mut().expect("items");
        let mut broken = items[0].clone();
        broken["NotificationRequestItem"]["amount"]["currency"] = "ZZZ".into();
        items.insert(0, broken);
        let translation =
            testing::translate_stored(&PROVIDER, &endpoint(), body.to_string().as_bytes());
        let Ok(Translation::Partly(drafts, error)) = translation else { panic!("{translation:?}") };
        assert_eq!(drafts.len(), 1);
        assert!(error.to_string().contains("ZZZ"), "{error}");
    }

    #[test]
    fn no_request_panics() {
        testing::check_hostile_input(&PROVIDER, &endpoint());
    }
}
