//! Signed webhooks as Plaid sends them, for every event type that the module translates, with what Plaid's
//! API answers about them. They are signed with a key of the samples' own, and only for an endpoint whose
//! `secrets.jwks` has that key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use http::Method;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::providers::{Endpoint, Sample, SampleAnswer, SampleOrder, samples};
use crate::receipt::signature::jws::base64_url;

use super::verification::{BODY_DIGEST, configured_key};
use super::{ACCESS_TOKEN, CLIENT_ID, EVENT_TYPES, HEADER, JWKS, SECRET};

const KEY: &str = include_str!("sample_key.pem");
const KEY_ID: &str = "6f1c0d5e-sample";
/// The first byte of a point with both coordinates, then 32 bytes for each.
const POINT_BYTES: usize = 65;

/// The secrets of an endpoint that trusts the samples.
pub fn sample_secrets() -> Vec<(&'static str, String)> {
    let jwks = key_pair().and_then(|pair| public_key(&pair)).map(|key| json!([key]).to_string());
    vec![
        (JWKS, jwks.unwrap_or_default()),
        (CLIENT_ID, "sample-client".to_owned()),
        (SECRET, "sample-secret".to_owned()),
        (ACCESS_TOKEN, "access-sample".to_owned()),
    ]
}

/// The sample of an event type; `None` for one that the module does not know, and for an endpoint that
/// does not trust the samples' key.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    if !EVENT_TYPES.contains(&order.event_type) {
        return None;
    }
    let pair = key_pair()?;
    let trusted = configured_key(endpoint, KEY_ID)?.x.decoded()?;
    if Some(trusted.as_slice()) != pair.public_key().as_ref().get(1..=32) {
        return None;
    }
    let body = serde_json::to_vec_pretty(&webhook(order)?).ok()?;
    let token = sign(&pair, &body, order.now)?;
    let request = samples::post(endpoint, &[(HEADER, &token)], body)?;
    Some(Sample { request, answers: answers(order) })
}

fn key_pair() -> Option<EcdsaKeyPair> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).ok()?;
    let (scheme, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    EcdsaKeyPair::from_pkcs8(scheme, key.secret_pkcs8_der(), &random).ok()
}

fn public_key(pair: &EcdsaKeyPair) -> Option<Value> {
    let point = pair.public_key().as_ref();
    let (x, y) = point.get(1..POINT_BYTES)?.split_at_checked(32)?;
    let (x, y) = (BASE64_URL.encode(x), BASE64_URL.encode(y));
    Some(json!({
        "alg": "ES256", "crv": "P-256", "kid": KEY_ID, "kty": "EC", "use": "sig", "x": x, "y": y,
    }))
}

fn sign(pair: &EcdsaKeyPair, body: &[u8], now: Timestamp) -> Option<String> {
    let header = json!({ "alg": "ES256", "kid": KEY_ID, "typ": "JWT" }).to_string();
    let digest = hex::encode(Sha256::digest(body));
    let claims = json!({ "iat": now.as_second(), BODY_DIGEST: digest }).to_string();
    let input = format!("{}.{}", base64_url(header.as_bytes()), base64_url(claims.as_bytes()));
    let signature = pair.sign(&SystemRandom::new(), input.as_bytes()).ok()?;
    Some(format!("{input}.{}", base64_url(signature.as_ref())))
}

fn webhook(order: &SampleOrder<'_>) -> Option<Value> {
    let (webhook_type, webhook_code) = order.event_type.split_once('.')?;
    let seed = order.seed;
    let mut body = json!({
        "environment": "production",
        "error": null,
        "webhook_code": webhook_code,
        "webhook_type": webhook_type,
    });
    let more = match (webhook_type, webhook_code) {
        ("PAYMENT_INITIATION", _) => json!({
            "payment_id": payment_id(seed),
            "new_payment_status": "PAYMENT_STATUS_EXECUTED",
            "old_payment_status": "PAYMENT_STATUS_INITIATED",
            "original_reference": format!("order-{seed}"),
            "adjusted_reference": format!("order-{seed}"),
            "timestamp": order.occurred_at.to_string(),
        }),
        ("TRANSFER", _) => json!({}),
        ("TRANSACTIONS", "SYNC_UPDATES_AVAILABLE") => json!({
            "item_id": item_id(seed),
            "historical_update_complete": true,
            "initial_update_complete": true,
        }),
        ("TRANSACTIONS", "TRANSACTIONS_REMOVED") => json!({
            "item_id": item_id(seed),
            "removed_transactions": [format!("txn_{seed}_pending")],
        }),
        ("TRANSACTIONS", "RECURRING_TRANSACTIONS_UPDATE") => json!({
            "item_id": item_id(seed),
            "account_ids": [format!("acc_{seed}")],
        }),
        ("TRANSACTIONS", _) => json!({ "item_id": item_id(seed), "new_transactions": 1 }),
        ("ITEM", "ERROR") => json!({
            "item_id": item_id(seed),
            "user_id": format!("cust_{seed}"),
            "error": {
                "error_type": "ITEM_ERROR",
                "error_code": "ITEM_LOGIN_REQUIRED",
                "error_message": "the login details of this item have changed",
            },
        }),
        ("ITEM", "PENDING_EXPIRATION") => json!({
            "item_id": item_id(seed),
            "user_id": format!("cust_{seed}"),
            "consent_expiration_time": order.occurred_at.to_string(),
        }),
        ("ITEM", "PENDING_DISCONNECT") => json!({
            "item_id": item_id(seed),
            "user_id": format!("cust_{seed}"),
            "reason": "INSTITUTION_MIGRATION",
        }),
        _ => json!({ "item_id": item_id(seed), "user_id": format!("cust_{seed}") }),
    };
    let fields = body.as_object_mut()?;
    fields.extend(more.as_object()?.clone());
    Some(body)
}

fn answers(order: &SampleOrder<'_>) -> Vec<SampleAnswer> {
    let (path, body) = match order.event_type {
        "TRANSACTIONS.SYNC_UPDATES_AVAILABLE" => ("/transactions/sync", transactions(order)),
        "PAYMENT_INITIATION.PAYMENT_STATUS_UPDATE" => {
            ("/payment_initiation/payment/get", payment(order))
        }
        "TRANSFER.TRANSFER_EVENTS_UPDATE" => ("/transfer/event/sync", transfers(order)),
        _ => return Vec::new(),
    };
    vec![samples::answer(Method::POST, path, &body)]
}

fn transactions(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    // Money that comes in is negative.
    let amount = format!("-{}", decimal(seed));
    json!({
        "added": [{
            "account_id": format!("acc_{seed}"),
            "amount": serde_json::from_str::<Value>(&amount).unwrap_or_default(),
            "authorized_date": null,
            "counterparties": [],
            "date": order.occurred_at.strftime("%F").to_string(),
            "datetime": order.occurred_at.to_string(),
            "iso_currency_code": "USD",
            "merchant_name": samples::CUSTOMER_NAME,
            "name": format!("TRANSFER INV-{seed}"),
            "payment_meta": { "reference_number": format!("order-{seed}") },
            "pending": false,
            "pending_transaction_id": format!("txn_{seed}_pending"),
            "transaction_id": format!("txn_{seed}"),
            "unofficial_currency_code": null,
        }],
        "modified": [],
        "removed": [],
        "next_cursor": format!("cursor_{seed}"),
        "has_more": false,
        "request_id": format!("req_{seed}"),
    })
}

fn payment(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    json!({
        "payment_id": payment_id(seed),
        "amount": {
            "currency": "GBP",
            "value": serde_json::from_str::<Value>(&decimal(seed)).unwrap_or_default(),
        },
        "last_status_update": order.occurred_at.to_string(),
        "recipient_id": format!("recipient_{seed}"),
        "reference": format!("order-{seed}"),
        "status": "PAYMENT_STATUS_EXECUTED",
        "request_id": format!("req_{seed}"),
    })
}

fn transfers(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    json!({
        "transfer_events": [{
            "account_id": format!("acc_{seed}"),
            // Numbers grow along the log of one client, as time does.
            "event_id": order.occurred_at.as_second().max(1),
            "event_type": "posted",
            "failure_reason": null,
            "refund_id": null,
            "sweep_id": null,
            "timestamp": order.occurred_at.to_string(),
            "transfer_amount": decimal(seed),
            "transfer_id": format!("transfer_{seed}"),
            "transfer_type": "debit",
        }],
        "has_more": false,
        "request_id": format!("req_{seed}"),
    })
}

fn item_id(seed: &str) -> String {
    format!("item_{seed}")
}

fn payment_id(seed: &str) -> String {
    format!("payment-id-sample-{seed}")
}

fn decimal(seed: &str) -> String {
    let amount = samples::amount(seed);
    format!("{}.{:02}", amount / 100, amount % 100)
}
