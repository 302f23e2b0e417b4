//! Authorize.Net: `X-ANET-Signature` is `sha512=` and the hex HMAC-SHA512 of the raw body, keyed with the
//! text of the account's signature key, whose hex digits are not decoded. Nothing tells the time, so that
//! an old redelivery is as good as a new one and the notification's id alone keeps it from counting twice.
//! In comes a request, out come payments by the id of their transaction. A notification names neither the
//! currency, which is the account's, nor the customer, nor what a refund is a refund of: the transaction's
//! details do, by a call without which a refund is no fact yet. The digits of an amount are never read
//! as a float.
//! Spec: <https://developer.authorize.net/api/reference/features/webhooks.html>,
//! <https://developer.authorize.net/api/reference/index.html#transaction-reporting-get-transaction-details>

mod details;
mod facts;
mod sample;

use jiff::Timestamp;

use crate::model::{CustomerAction, Money, PaymentStatus};
use crate::receipt::signature::{Digest, hmac};
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::{
    Endpoint, Keys, Mistake, Provider, REPLIES, SecretKey, TranslateError, Translation, Verdict,
    no_example, no_poll,
};

/// Authorize.Net.
pub const PROVIDER: Provider = Provider {
    name: "authorize_net",
    title: "Authorize.Net",
    secrets: &[
        SecretKey { name: SIGNATURE_KEY, required: true },
        SecretKey { name: details::LOGIN_ID, required: false },
        SecretKey { name: details::TRANSACTION_KEY, required: false },
    ],
    settings: &[CURRENCY, ENVIRONMENT, details::API_URL],
    structured: &[],
    events: &EVENT_TYPES,
    redaction: Redaction { headers: &[], query: &[], body_members: &[] },
    hosts: &["api.authorize.net", "apitest.authorize.net"],
    check,
    verify,
    translate,
    fetch: facts::fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: sample::sample,
    example: no_example,
};

const SIGNATURE_KEY: &str = "signature_key";
/// The account's currency: an account has one, and no notification tells it.
const CURRENCY: &str = "currency";
const DEFAULT_CURRENCY: &str = "USD";
/// `sandbox` where the account is the sandbox's: no notification tells.
const ENVIRONMENT: &str = "environment";
const PRODUCTION: &str = "production";
const SANDBOX: &str = "sandbox";
const HEADER: &str = "x-anet-signature";
const PREFIX: &str = "sha512=";
const SIGNATURE_BYTES: usize = 64;

/// What an event type says.
#[derive(Clone, Copy)]
enum Meaning {
    /// The transaction reached this status, if its response says that it was approved.
    Transaction(PaymentStatus),
    /// What the transaction is now can only be asked for.
    HeldApproved,
    Refund,
    Void,
    Subscription(CustomerAction),
    SubscriptionChargeFailed,
    /// Acknowledged, but it says nothing about a payment.
    Note,
}

/// The types, each with the rank of its evidence: the further in a payment's life, the higher.
#[rustfmt::skip]
const EVENTS: [(&str, u8, Meaning); 23] = [
    ("net.authorize.payment.fraud.held", 10, Meaning::Transaction(PaymentStatus::Pending)),
    ("net.authorize.payment.fraud.declined", 20, Meaning::Transaction(PaymentStatus::Failed)),
    ("net.authorize.payment.authorization.created", 40, Meaning::Transaction(PaymentStatus::Authorized)),
    ("net.authorize.payment.fraud.approved", 50, Meaning::HeldApproved),
    ("net.authorize.payment.authcapture.created", 60, Meaning::Transaction(PaymentStatus::Paid)),
    ("net.authorize.payment.capture.created", 61, Meaning::Transaction(PaymentStatus::Paid)),
    ("net.authorize.payment.priorAuthCapture.created", 62, Meaning::Transaction(PaymentStatus::Paid)),
    ("net.authorize.payment.refund.created", 100, Meaning::Refund),
    ("net.authorize.payment.void.created", 110, Meaning::Void),
    ("net.authorize.customer.subscription.created", 10, Meaning::Subscription(CustomerAction::MandateChanged)),
    ("net.authorize.customer.subscription.updated", 20, Meaning::Subscription(CustomerAction::MandateChanged)),
    ("net.authorize.customer.subscription.expiring", 30, Meaning::Subscription(CustomerAction::MandateChanged)),
    ("net.authorize.customer.subscription.expired", 40, Meaning::Subscription(CustomerAction::RequestCanceled)),
    ("net.authorize.customer.subscription.terminated", 50, Meaning::Subscription(CustomerAction::RequestCanceled)),
    ("net.authorize.customer.subscription.cancelled", 60, Meaning::Subscription(CustomerAction::RequestCanceled)),
    ("net.authorize.customer.subscription.failed", 20, Meaning::SubscriptionChargeFailed),
    ("net.authorize.customer.subscription.suspended", 21, Meaning::SubscriptionChargeFailed),
    ("net.authorize.customer.created", 0, Meaning::Note),
    ("net.authorize.customer.updated", 0, Meaning::Note),
    ("net.authorize.customer.deleted", 0, Meaning::Note),
    ("net.authorize.customer.paymentProfile.created", 0, Meaning::Note),
    ("net.authorize.customer.paymentProfile.updated", 0, Meaning::Note),
    ("net.authorize.customer.paymentProfile.deleted", 0, Meaning::Note),
];

const EVENT_TYPES: [&str; EVENTS.len()] = {
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
    let [login, key] =
        [details::LOGIN_ID, details::TRANSACTION_KEY].map(|name| endpoint.secret(name).is_some());
    if login != key {
        let reason = "goes with secrets.transaction_key, and one is missing";
        return mistake("secrets.api_login_id", reason);
    }
    let url = endpoint.setting(details::API_URL, "https://");
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return mistake(details::API_URL, "is no URL");
    }
    Ok(())
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let digest = request.header(HEADER)?.strip_prefix(PREFIX);
    let digest = digest.and_then(|digest| hex::decode(digest).ok());
    let digest = digest
        .filter(|digest| digest.len() == SIGNATURE_BYTES)
        .ok_or(VerifyError::Malformed(HEADER))?;
    hmac(
        Digest::Sha512,
        endpoint.candidates(SIGNATURE_KEY),
        |key| Some(key_of(key).to_vec()),
        &[&request.body],
        &[digest],
    )
    .map(Verdict::Verified)
}

/// The digits themselves, as text.
fn key_of(secret: &str) -> &[u8] {
    secret.trim().as_bytes()
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    facts::translate(receipt.body(), endpoint)
}

#[cfg(test)]
mod tests;
