//! Braintree: a form with `bt_payload`, the base64 of an XML notification, and `bt_signature`, pairs of a
//! public key and the hex HMAC-SHA1 of the payload's text joined by `&`. The HMAC's key is the SHA-1 digest
//! of the private key. A pair counts only for a public key of the endpoint. Some form handling eats the
//! payload's last line feed, so that the text is tried with it as well. In comes a request, out come
//! payments by the id of their transaction; when a URL is saved, Braintree asks it to sign a challenge.
//! There is no event id: kind, object and time make one. Whoever asks gets a challenge signed, so that a
//! payload which could be a challenge must never be taken for signed.
//! Spec: <https://developer.paypal.com/braintree/docs/guides/webhooks/parse>,
//! <https://developer.paypal.com/braintree/docs/reference/general/webhooks/overview>

mod facts;
mod sample;
mod xml;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use sha1::{Digest as _, Sha1};

use crate::model::{DisputeState, Money, PaymentStatus};
use crate::receipt::signature::{Digest, hmac, sign_hmac};
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::payload;
use super::{
    Challenge, Endpoint, Keys, Mistake, Provider, REPLIES, Replies, Sample, SecretKey,
    TranslateError, Translation, Verdict, no_example, no_fetch, no_poll,
};

/// Braintree.
pub const PROVIDER: Provider = Provider {
    name: "braintree",
    title: "Braintree",
    secrets: &[
        SecretKey { name: PUBLIC_KEY, required: true },
        SecretKey { name: PRIVATE_KEY, required: true },
        SecretKey { name: MERCHANT_ID, required: false },
    ],
    settings: &[CURRENCY, ENVIRONMENT],
    structured: &[],
    events: &KINDS,
    redaction: Redaction { headers: &[], query: &[], body_members: &[] },
    hosts: &[],
    check,
    verify,
    translate,
    fetch: no_fetch,
    poll: no_poll,
    replies: Replies { methods: &[Method::POST, Method::GET], ..REPLIES },
    sample: |endpoint, order| sample::sample(endpoint, order).map(Sample::from),
    example: no_example,
};

const PUBLIC_KEY: &str = "public_key";
const PRIVATE_KEY: &str = "private_key";
/// The account's id. It proves nothing; notifications for other merchants name theirs.
const MERCHANT_ID: &str = "merchant_id";
/// The currency of amounts that come without one, as some of subscriptions and local payments do.
const CURRENCY: &str = "currency";
const DEFAULT_CURRENCY: &str = "USD";
/// `sandbox` where the keys are the sandbox's: no notification tells.
const ENVIRONMENT: &str = "environment";
const PRODUCTION: &str = "production";
const SANDBOX: &str = "sandbox";

const SIGNATURE: &str = "bt_signature";
const PAYLOAD: &str = "bt_payload";
const CHALLENGE: &str = "bt_challenge";
const SIGNATURE_BYTES: usize = 20;
const CHALLENGE_BYTES: std::ops::RangeInclusive<usize> = 20..=32;
/// Far more than a rotation needs.
const MAX_PAIRS: usize = 20;

/// What a kind of notification says.
#[derive(Clone, Copy)]
enum Meaning {
    /// The transaction reached this status; of a credit, the refund that it is.
    Transaction(PaymentStatus),
    RefundFailed,
    SubscriptionCharge(PaymentStatus),
    /// The status of the transaction in it decides.
    LocalPayment,
    LocalPaymentEnded(PaymentStatus),
    Dispute(DisputeState),
    SubscriptionChanged,
    SubscriptionEnded,
    MethodRevoked,
    /// Acknowledged, but it says nothing about a payment.
    Note,
}

/// The kinds, each with the rank of its evidence: the further in a payment's life, the higher.
#[rustfmt::skip]
const EVENTS: [(&str, u8, Meaning); 42] = [
    ("local_payment_completed", 10, Meaning::LocalPayment),
    ("subscription_charged_unsuccessfully", 20, Meaning::SubscriptionCharge(PaymentStatus::Failed)),
    ("local_payment_expired", 50, Meaning::LocalPaymentEnded(PaymentStatus::Canceled)),
    ("subscription_charged_successfully", 60, Meaning::SubscriptionCharge(PaymentStatus::Paid)),
    ("local_payment_funded", 61, Meaning::Transaction(PaymentStatus::Paid)),
    ("transaction_settled", 62, Meaning::Transaction(PaymentStatus::Paid)),
    ("transaction_disbursed", 63, Meaning::Transaction(PaymentStatus::Paid)),
    // A bank may send back what had settled.
    ("transaction_settlement_declined", 70, Meaning::Transaction(PaymentStatus::Failed)),
    ("local_payment_reversed", 100, Meaning::LocalPaymentEnded(PaymentStatus::Refunded)),
    ("refund_failed", 110, Meaning::RefundFailed),
    ("dispute_opened", 120, Meaning::Dispute(DisputeState::Open)),
    ("dispute_under_review", 121, Meaning::Dispute(DisputeState::Open)),
    ("dispute_disputed", 122, Meaning::Dispute(DisputeState::Open)),
    ("dispute_accepted", 123, Meaning::Dispute(DisputeState::Lost)),
    ("dispute_auto_accepted", 124, Meaning::Dispute(DisputeState::Lost)),
    ("dispute_expired", 125, Meaning::Dispute(DisputeState::Lost)),
    ("dispute_lost", 126, Meaning::Dispute(DisputeState::Lost)),
    ("dispute_won", 127, Meaning::Dispute(DisputeState::Won)),
    ("subscription_went_past_due", 10, Meaning::SubscriptionChanged),
    ("subscription_expired", 20, Meaning::SubscriptionEnded),
    ("subscription_canceled", 30, Meaning::SubscriptionEnded),
    ("payment_method_revoked_by_customer", 10, Meaning::MethodRevoked),
    ("account_updater_daily_report", 0, Meaning::Note),
    ("check", 0, Meaning::Note),
    ("connected_merchant_paypal_status_changed", 0, Meaning::Note),
    ("connected_merchant_status_transitioned", 0, Meaning::Note),
    ("disbursement", 0, Meaning::Note),
    ("disbursement_exception", 0, Meaning::Note),
    ("granted_payment_method_revoked", 0, Meaning::Note),
    ("granted_payment_instrument_update", 0, Meaning::Note),
    ("oauth_access_revoked", 0, Meaning::Note),
    ("partner_merchant_connected", 0, Meaning::Note),
    ("partner_merchant_declined", 0, Meaning::Note),
    ("partner_merchant_disconnected", 0, Meaning::Note),
    ("payment_method_customer_data_updated", 0, Meaning::Note),
    ("sub_merchant_account_approved", 0, Meaning::Note),
    ("sub_merchant_account_declined", 0, Meaning::Note),
    ("subscription_billing_skipped", 0, Meaning::Note),
    ("subscription_trial_ended", 0, Meaning::Note),
    ("subscription_went_active", 0, Meaning::Note),
    ("transaction_retried", 0, Meaning::Note),
    ("transaction_reviewed", 0, Meaning::Note),
];

const KINDS: [&str; EVENTS.len()] = {
    let mut names = [""; EVENTS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = EVENTS[index].0;
        index += 1;
    }
    names
};

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let mistake = |key, reason: &str| Err(Mistake { key, reason: reason.to_owned() });
    if Money::new(0, endpoint.setting(CURRENCY, DEFAULT_CURRENCY)).is_err() {
        return mistake(CURRENCY, "is no currency of ISO 4217");
    }
    if ![PRODUCTION, SANDBOX].contains(&endpoint.setting(ENVIRONMENT, PRODUCTION)) {
        return mistake(ENVIRONMENT, "is neither `production` nor `sandbox`");
    }
    Ok(())
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    if request.method == Method::GET {
        return challenge(request, endpoint).map(Verdict::Challenge);
    }
    let signature = field(&request.body, SIGNATURE).ok_or(VerifyError::Malformed(SIGNATURE))?;
    let payload = field(&request.body, PAYLOAD).ok_or(VerifyError::Malformed(PAYLOAD))?;
    if !is_base64(&payload) || is_challenge(payload.trim_end_matches('\n')) {
        return Err(VerifyError::Malformed(PAYLOAD));
    }
    let signatures = signatures(&signature, endpoint)?;
    let private_keys = endpoint.candidates(PRIVATE_KEY);
    let signed = |parts: &[&[u8]]| {
        let key_of = |secret: &str| Some(key(secret));
        hmac(Digest::Sha1, private_keys, key_of, parts, &signatures)
    };
    signed(&[payload.as_bytes()])
        .or_else(|_| signed(&[payload.as_bytes(), b"\n"]))
        .map(Verdict::Verified)
}

/// The HMACs of the pairs whose public key is the endpoint's. Braintree compares the text, so that
/// upper-case digits are no signature.
fn signatures(text: &str, endpoint: &Endpoint) -> Result<Vec<Vec<u8>>, VerifyError> {
    let ours = endpoint.candidates(PUBLIC_KEY).secrets;
    let is_ours = |key: &str| !key.is_empty() && ours.iter().any(|own| own.expose_secret() == key);
    let pairs = text.split('&').take(MAX_PAIRS).filter_map(|pair| pair.split_once('|'));
    let signatures: Vec<Vec<u8>> = pairs
        .filter(|(key, _)| is_ours(key))
        .filter(|(_, signature)| !signature.bytes().any(|byte| byte.is_ascii_uppercase()))
        .filter_map(|(_, signature)| hex::decode(signature).ok())
        .filter(|signature| signature.len() == SIGNATURE_BYTES)
        .collect();
    match signatures.is_empty() {
        true => Err(VerifyError::Mismatch(PUBLIC_KEY)),
        false => Ok(signatures),
    }
}

fn challenge(request: &Request, endpoint: &Endpoint) -> Result<Challenge, VerifyError> {
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    let text = field(query.as_bytes(), CHALLENGE).ok_or(VerifyError::Malformed(CHALLENGE))?;
    if !is_challenge(&text) {
        return Err(VerifyError::Malformed(CHALLENGE));
    }
    let public_key = endpoint.secret(PUBLIC_KEY).ok_or(VerifyError::NotConfigured(PUBLIC_KEY))?;
    let private_key = endpoint.secret(PRIVATE_KEY).filter(|secret| !secret.trim().is_empty());
    let private_key = private_key.ok_or(VerifyError::NotConfigured(PRIVATE_KEY))?;
    let signature = hex::encode(sign_hmac(Digest::Sha1, &key(private_key), &[text.as_bytes()]));
    Ok(Challenge {
        status: 200,
        headers: vec![("content-type", "text/plain".to_owned())],
        body: format!("{public_key}|{signature}"),
    })
}

fn key(private_key: &str) -> Vec<u8> {
    Sha1::digest(private_key.as_bytes()).to_vec()
}

/// The value of a field that stands exactly once.
fn field(form: &[u8], name: &str) -> Option<String> {
    let mut values = form_urlencoded::parse(form).filter(|(key, _)| key == name);
    let (_, value) = values.next()?;
    values.next().is_none().then(|| value.into_owned())
}

fn is_base64(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=\n".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}

fn is_challenge(text: &str) -> bool {
    CHALLENGE_BYTES.contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let text = decoded(receipt.body())
        .ok_or_else(|| TranslateError("the notification is no text in base64".to_owned()))?;
    let document = xml::parse(&text)?;
    let notification = xml::Element::root(&document, "notification")?;
    let kind = notification.text("kind");
    let row = EVENTS.iter().find(|(name, _, _)| *name == kind);
    let Some((kind, rank, meaning)) = row else {
        return payload::unknown_type(kind);
    };
    let event = facts::Event::new(&notification, kind, *rank, endpoint)?;
    event.drafts(*meaning).map(Translation::Events)
}

/// The XML in a form.
fn decoded(body: &[u8]) -> Option<String> {
    let mut payload = field(body, PAYLOAD)?;
    payload.retain(|letter| letter != '\n');
    String::from_utf8(BASE64.decode(payload).ok()?).ok()
}

#[cfg(test)]
mod tests;
