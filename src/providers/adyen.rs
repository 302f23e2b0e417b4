//! Adyen's standard payment webhooks: each item of the batch carries in `additionalData.hmacSignature` the
//! base64 of an HMAC-SHA256 over eight of its values joined by `:`, nothing escaped and a missing one
//! empty, keyed with the bytes of the hex key. Every item must verify, else the whole request is refused;
//! where Basic credentials are configured they must match as well. In comes a request, out come payments
//! by the PSP reference of their authorisation; captures, refunds and chargebacks name it as
//! `originalReference`. There is no event id: code, reference, success and original reference make one.
//! It must never take a value that was not part of what it verified for a signed one.
//! Spec: <https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures>,
//! <https://docs.adyen.com/development-resources/webhooks/webhook-types>

mod sample;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Deserialize;

use crate::model::{
    Collection, Dispute, DisputeState, Draft, Entry, EntryState, Fact, Money, PaymentFact,
    PaymentStatus, References, SubjectKind,
};
use crate::receipt::signature::{basic_auth, hmac_sha256_hex_key};
use crate::receipt::{Proof, Receipt, Redaction, Request, VerifyError};

use super::payload::{self, Scalars, Text};
use super::{Endpoint, Provider, Reply, SecretKey, TranslateError, Translation};

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
    events: &EVENT_CODES,
    redaction: Redaction {
        headers: &[],
        query: &[],
        body_members: &["iban", "bankAccount.iban", "bankAccountNumber", "cardNumber"],
    },
    verify,
    translate,
    reply: Reply { status: 200, content_type: "text/plain", body: "[accepted]" },
    sample: sample::sample,
};

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

fn verify(request: &Request, endpoint: &Endpoint, _now: Timestamp) -> Result<Proof, VerifyError> {
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
    result
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
    let mut is_known = false;
    for Wrapped { item } in notification.items {
        let Some((rank, meaning)) = meaning_of(&item.event_code) else {
            unknown.get_or_insert_with(|| item.event_code.to_string());
            continue;
        };
        is_known = true;
        let Some(fact) = fact(&item, meaning, endpoint)? else { continue };
        drafts.push(draft(item, rank, live, fact, endpoint)?);
    }
    match unknown {
        Some(code) if !is_known => Ok(Translation::Unknown(code)),
        _ => Ok(Translation::Events(drafts)),
    }
}

fn meaning_of(event_code: &str) -> Option<(u8, Meaning)> {
    let row = EVENTS.iter().find(|(code, _, _)| *code == event_code);
    let is_note = NOTE_PREFIXES.iter().any(|prefix| event_code.starts_with(prefix));
    row.map(|(_, rank, meaning)| (*rank, *meaning)).or(is_note.then_some((0, Meaning::Note)))
}

/// What the item says about its payment; `None` where it changes nothing.
fn fact(
    item: &Item<'_>,
    meaning: Meaning,
    endpoint: &Endpoint,
) -> Result<Option<PaymentFact>, TranslateError> {
    if let Meaning::Note = meaning {
        return Ok(None);
    }
    let success = match &*item.success {
        "true" => true,
        "false" => false,
        other => return Err(payload::unknown("value of success", other)),
    };
    let meaning = match meaning {
        Meaning::CancelOrRefund if success => cancel_or_refund(item)?,
        _ => meaning,
    };
    let amount = amount(item)?;
    let fact = match (meaning, success) {
        (Meaning::Authorisation, true) if is_captured(item, endpoint) => {
            collected(PaymentStatus::Paid, amount)
        }
        (Meaning::Authorisation | Meaning::Adjustment, true) => {
            collected(PaymentStatus::Authorized, amount)
        }
        (Meaning::Authorisation, false) => collected(PaymentStatus::Failed, amount),
        (Meaning::Cancellation, true) | (Meaning::OfferClosed, _) => {
            collected(PaymentStatus::Canceled, amount)
        }
        (Meaning::OrderOpened, true) => collected(PaymentStatus::PartiallyPaid, amount),
        (Meaning::OrderClosed, true) => collected(PaymentStatus::Paid, amount),
        (Meaning::OrderOpened | Meaning::OrderClosed, false) => {
            collected(PaymentStatus::Canceled, amount)
        }
        (Meaning::Capture, true) => captured(item, PaymentStatus::Paid, amount)?,
        (Meaning::Capture, false) | (Meaning::CaptureFailed, true) => {
            captured(item, PaymentStatus::Failed, amount)?
        }
        (Meaning::Refund, true) => refunded(item, None, EntryState::Done, amount)?,
        (Meaning::Refund, false) => refunded(item, None, EntryState::Failed, amount)?,
        (Meaning::RefundPending, true) => refunded(item, None, EntryState::Pending, amount)?,
        (Meaning::RefundFailed, true) => {
            refunded(item, Some(PaymentStatus::Paid), EntryState::Failed, amount)?
        }
        (Meaning::Dispute(state), _) => disputed(state, amount),
        // A request that was refused, or a failure that is none, leaves the payment as it is.
        (Meaning::Adjustment | Meaning::Cancellation | Meaning::CancelOrRefund, _)
        | (Meaning::CaptureFailed | Meaning::RefundFailed | Meaning::RefundPending, false)
        | (Meaning::Note, _) => return Ok(None),
    };
    Ok(Some(explained(fact, item, success)))
}

fn cancel_or_refund(item: &Item<'_>) -> Result<Meaning, TranslateError> {
    match item.additional_data.0.get("modification.action").map_or("", String::as_str) {
        "cancel" => Ok(Meaning::Cancellation),
        "refund" => Ok(Meaning::Refund),
        other => Err(payload::unknown("modification.action", other)),
    }
}

/// Whether authorising took the money at once: the account says so, or the payment method leaves no
/// capture to be done.
fn is_captured(item: &Item<'_>, endpoint: &Endpoint) -> bool {
    let auto_capture = endpoint.settings.get(AUTO_CAPTURE).is_some_and(|value| value == "true");
    let operations = item.operations.as_deref().unwrap_or_default();
    let offers = |name: &str| operations.iter().any(|operation| &**operation == name);
    auto_capture || (offers("REFUND") && !offers("CAPTURE"))
}

fn amount(item: &Item<'_>) -> Result<Option<Money>, TranslateError> {
    let Some(amount) = &item.amount else { return Ok(None) };
    payload::optional_money(amount.value, &amount.currency, EXPONENTS)
}

fn collected(status: PaymentStatus, amount: Option<Money>) -> PaymentFact {
    let paid = amount.filter(|_| status == PaymentStatus::Paid);
    PaymentFact {
        status: Some(status),
        amount,
        collection: Some(Collection { status, total: amount, paid }),
        ..PaymentFact::default()
    }
}

fn captured(
    item: &Item<'_>,
    status: PaymentStatus,
    amount: Option<Money>,
) -> Result<PaymentFact, TranslateError> {
    let is_done = status == PaymentStatus::Paid;
    let state = if is_done { EntryState::Done } else { EntryState::Failed };
    Ok(PaymentFact {
        status: Some(status),
        amount,
        capture: Some(Entry { id: reference(item)?, amount, state }),
        ..PaymentFact::default()
    })
}

fn refunded(
    item: &Item<'_>,
    status: Option<PaymentStatus>,
    state: EntryState,
    amount: Option<Money>,
) -> Result<PaymentFact, TranslateError> {
    Ok(PaymentFact {
        status,
        amount,
        refund: Some(Entry { id: reference(item)?, amount, state }),
        ..PaymentFact::default()
    })
}

fn disputed(state: DisputeState, amount: Option<Money>) -> PaymentFact {
    PaymentFact {
        status: Some(match state {
            DisputeState::Open => PaymentStatus::Disputed,
            DisputeState::Won => PaymentStatus::Paid,
            DisputeState::Lost => PaymentStatus::ChargedBack,
        }),
        amount,
        dispute: Some(Dispute { id: DISPUTE_ID.to_owned(), amount, state }),
        ..PaymentFact::default()
    }
}

fn reference(item: &Item<'_>) -> Result<String, TranslateError> {
    if item.psp_reference.is_empty() {
        return Err(TranslateError("the item has no pspReference".to_owned()));
    }
    Ok(item.psp_reference.to_string())
}

/// Adds why it failed. The `reason` of a success is none: it holds card digits instead.
fn explained(mut fact: PaymentFact, item: &Item<'_>, success: bool) -> PaymentFact {
    let data = |name| item.additional_data.0.get(name).cloned().unwrap_or_default();
    let is_entry_failed = [&fact.capture, &fact.refund]
        .into_iter()
        .flatten()
        .any(|entry| entry.state == EntryState::Failed);
    if fact.dispute.is_some() {
        fact.failure_code = data("chargebackReasonCode");
        fact.failure_message = item.reason.to_string();
    } else if !success || is_entry_failed {
        fact.failure_code = data("refusalReasonRaw");
        fact.failure_message = item.reason.to_string();
    }
    fact.method = item.payment_method.to_string();
    fact
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
        item.event_date.parse().map_err(|_| payload::unknown("eventDate", &item.event_date))?;
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
