//! Signed notifications as Wise sends them, for every event type that the module translates, with what its
//! API has. They are signed with a key of their own that stands next to this file, so that only an endpoint
//! that is configured to trust it gets any. One seed makes one transfer with its refund and movements.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::providers::{Endpoint, Sample, SampleOrder, samples};
use crate::receipt::signature::public_key::PublicKey;

use super::facts::{EVENTS, Meaning};
use super::{HEADER, PUBLIC_KEY};

const PRIVATE_KEY: &str = include_str!("sample_key.pem");
const SAMPLE_PUBLIC_KEY: &str = include_str!("sample_public_key.pem");

/// Secrets of an endpoint that trusts the samples.
pub fn sample_secrets() -> Vec<(&'static str, String)> {
    vec![(PUBLIC_KEY, SAMPLE_PUBLIC_KEY.to_owned())]
}

/// The sample of an event type; `None` for one that the module does not know, and for an endpoint that
/// does not trust the samples' key.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    let (_, meaning) = EVENTS.iter().find(|(name, _)| *name == order.event_type)?;
    let trusted = PublicKey::from_pem(samples::first_secret(endpoint, PUBLIC_KEY)?)?;
    if PublicKey::from_pem(SAMPLE_PUBLIC_KEY)? != trusted {
        return None;
    }
    let body = serde_json::to_vec(&json!({
        "data": data(order, *meaning)?,
        "subscription_id": "00000000-0000-4000-8000-000000000001",
        "event_type": order.event_type,
        "schema_version": "4.0.0",
        "sent_at": order.occurred_at.to_string(),
    }))
    .ok()?;
    let signature = BASE64.encode(sign(&body)?);
    let delivery = samples::event_id(order);
    let headers = [(HEADER, signature.as_str()), ("x-delivery-id", delivery.as_str())];
    let request = samples::post(endpoint, &headers, body)?;
    let answers = match meaning {
        Meaning::TransferState => {
            let id = number(order.seed);
            vec![samples::answer(Method::GET, format!("/v1/transfers/{id}"), &transfer(order)?)]
        }
        Meaning::TransferRefund
        | Meaning::PayoutFailure
        | Meaning::ActiveCases
        | Meaning::BatchPayment
        | Meaning::CardDispute
        | Meaning::Balance
        | Meaning::PayIn
        | Meaning::SwiftCredit
        | Meaning::CardTransaction
        | Meaning::Settlement
        | Meaning::Silent => Vec::new(),
    };
    Some(Sample { request, answers })
}

fn sign(body: &[u8]) -> Option<Vec<u8>> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(PRIVATE_KEY.as_bytes()).ok()?;
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok()?;
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), body, &mut signature).ok()?;
    Some(signature)
}

/// Wise's ids are numbers; each seed has its own.
fn number(seed: &str) -> u64 {
    const PLACES: u64 = 1_000_000_007;
    seed.bytes().fold(7, |sum, byte| (sum * 257 + u64::from(byte)) % PLACES)
}

/// An amount in major units, as the JSON number that Wise writes.
fn amount(minor_units: i64) -> Option<Value> {
    serde_json::from_str(&format!("{}.{:02}", minor_units / 100, minor_units % 100)).ok()
}

fn transfer(order: &SampleOrder<'_>) -> Option<Value> {
    let total = samples::amount(order.seed);
    Some(json!({
        "id": number(order.seed),
        "created": "2026-11-23 09:00:00",
        "customerTransactionId": format!("customer-{}", order.seed),
        "details": { "reference": format!("order-{}", order.seed) },
        "reference": format!("order-{}", order.seed),
        "sourceCurrency": "EUR",
        "sourceValue": amount(total)?,
        "status": "outgoing_payment_sent",
        "targetAccount": 333,
        "targetCurrency": "EUR",
        "targetValue": amount(total)?,
    }))
}

fn data(order: &SampleOrder<'_>, meaning: Meaning) -> Option<Value> {
    let total = amount(samples::amount(order.seed))?;
    Some(match meaning {
        Meaning::TransferState => transfer_state(order),
        Meaning::TransferRefund => refund(order, &total),
        Meaning::PayoutFailure => payout_failure(order),
        Meaning::ActiveCases => active_cases(order),
        Meaning::BatchPayment => batch(order),
        Meaning::CardDispute => card_dispute(order),
        Meaning::Balance => balance(order, &total),
        Meaning::PayIn => pay_in(order, &total),
        Meaning::SwiftCredit => swift_credit(order, &total),
        Meaning::CardTransaction => card_transaction(order, &total),
        Meaning::Settlement => settlement(order, &total),
        Meaning::Silent => silent(order),
    })
}

fn transfer_resource(order: &SampleOrder<'_>) -> Value {
    json!({ "type": "transfer", "id": number(order.seed), "profile_id": 222, "account_id": 333 })
}

fn transfer_state(order: &SampleOrder<'_>) -> Value {
    let transfer = transfer_resource(order);
    let at = order.occurred_at.to_string();
    json!({
        "resource": transfer,
        "current_state": "outgoing_payment_sent",
        "previous_state": "funds_converted",
        "occurred_at": at,
    })
}

fn refund(order: &SampleOrder<'_>, total: &Value) -> Value {
    let id = number(order.seed);
    let at = order.occurred_at.to_string();
    json!({
        "resource": {
            "type": "transfer",
            "id": id,
            "profile_id": 222,
            "account_id": 333,
            "refund_amount": total,
            "refund_currency": "EUR",
        },
        "occurred_at": at,
    })
}

fn payout_failure(order: &SampleOrder<'_>) -> Value {
    let id = number(order.seed);
    let at = order.occurred_at.to_string();
    json!({
        "transfer_id": id,
        "profile_id": 222,
        "failure_reason_code": "ACCOUNT_CLOSED",
        "failure_description": "The account is closed",
        "occurred_at": at,
    })
}

fn active_cases(order: &SampleOrder<'_>) -> Value {
    let transfer = transfer_resource(order);
    json!({
        "resource": transfer,
        "active_cases": ["deposit_amount_less_invoice"],
    })
}

fn batch(order: &SampleOrder<'_>) -> Value {
    let id = number(order.seed);
    let at = order.occurred_at.to_string();
    json!({
        "resource": { "id": id, "batchGroupId": format!("group-{}", order.seed) },
        "previousStatus": "PROCESSING",
        "newStatus": "COMPLETED",
        "occurredAt": at,
        "returnCode": "200",
    })
}

fn card_dispute(order: &SampleOrder<'_>) -> Value {
    let id = number(order.seed);
    let at = order.occurred_at.to_string();
    json!({
        "resource": {
            "type": "transaction-dispute",
            "id": format!("dispute-{}", order.seed),
            "profile_id": 222,
            "transaction_id": id,
        },
        "reason": "WRONG_AMOUNT",
        "status": "ACTIVE",
        "sub_status": "SUBMITTED",
        "occurred_at": at,
    })
}

fn balance(order: &SampleOrder<'_>, total: &Value) -> Value {
    let id = number(order.seed);
    let at = order.occurred_at.to_string();
    json!({
        "resource": { "type": "balance-account", "id": 2, "profile_id": 222 },
        "amount": total,
        "balance_id": 111,
        "channel_name": "TRANSFER",
        "currency": "EUR",
        "occurred_at": at,
        "post_transaction_balance_amount": total,
        "step_id": id,
        "transaction_type": "credit",
        "transfer_reference": format!("order-{}", order.seed),
    })
}

fn pay_in(order: &SampleOrder<'_>, total: &Value) -> Value {
    let id = number(order.seed);
    let at = order.occurred_at.to_string();
    json!({
        "account_details_id": "1",
        "target_account_id": "111",
        "resource": { "id": 111, "profile_id": 222 },
        "transfer": { "id": id, "type": "credit", "amount": total, "currency": "EUR" },
        "sender": { "name": samples::CUSTOMER_NAME },
        "current_state": "COMPLETED",
        "previous_state": "PROCESSING",
        "occurred_at": at,
    })
}

fn swift_credit(order: &SampleOrder<'_>, total: &Value) -> Value {
    let id = number(order.seed);
    let at = order.occurred_at.to_string();
    json!({
        "action": { "type": "credit", "id": id, "profile_id": 222, "account_id": 333 },
        "resource": {
            "id": format!("swift-{}", order.seed),
            "reference": format!("order-{}", order.seed),
            "sender": { "name": samples::CUSTOMER_NAME },
            "exchange_rate": 1,
            "settled_amount": { "value": total, "currency": "EUR" },
        },
        "occurred_at": at,
    })
}

fn card_transaction(order: &SampleOrder<'_>, total: &Value) -> Value {
    let id = number(order.seed);
    let at = order.occurred_at.to_string();
    json!({
        "resource": { "type": "card", "profile_id": 222, "card_last_digits": "1111" },
        "transaction_id": id,
        "transaction_type": "ECOM_PURCHASE",
        "transaction_step_type": "CAPTURE",
        "transaction_state": "COMPLETED",
        "transaction_amount": { "value": total, "currency": "EUR" },
        "merchant": { "name": "Example Shop" },
        "occurred_at": at,
    })
}

fn settlement(order: &SampleOrder<'_>, total: &Value) -> Value {
    let at = order.occurred_at.to_string();
    json!({
        "resource": {
            "settlement_reference": format!("settlement-{}", order.seed),
            "source_currency": "EUR",
            "source_amount": total,
            "target_amount": total,
            "amount_matched": true,
        },
        "occurred_at": at,
    })
}

fn silent(order: &SampleOrder<'_>) -> Value {
    let id = number(order.seed);
    let at = order.occurred_at.to_string();
    json!({
        "resource": { "id": id, "profile_id": 222 },
        "current_state": "verified",
        "occurred_at": at,
    })
}
