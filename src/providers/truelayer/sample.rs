//! Signed webhooks as TrueLayer sends them, for every event type that the module translates, with what its
//! API answers about them. They are signed with a key of the samples' own, and only for an endpoint whose
//! `secrets.jwks` has that key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use der::Decode;
use der::asn1::{BitStringRef, ObjectIdentifier, OctetString};
use http::Method;
use jiff::{Timestamp, Unit};
use p521::ecdsa::signature::Signer;
use p521::ecdsa::{Signature, SigningKey};
use rustls_pki_types::PrivateSec1KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::providers::{Endpoint, Sample, SampleAnswer, SampleOrder, samples};
use crate::receipt::signature::jws::base64_url;

use super::verification::{HEADER, PRODUCTION_KEYS, TIMESTAMP_HEADER, configured_key, message};
use super::{CLIENT_ID, CLIENT_SECRET, EVENT_TYPES, JWKS, Meaning, SIGNED_PATH, meaning};

const KEY: &str = include_str!("sample_key.pem");
const KEY_ID: &str = "7a0d31c4-sample";
const COORDINATE_BYTES: usize = 66;
/// As TrueLayer writes it; on the wire it is in lower case.
const SIGNED_HEADER: &str = "X-Tl-Webhook-Timestamp";

/// ECPrivateKey of RFC 5915.
#[derive(der::Sequence)]
struct EcPrivateKey<'a> {
    version: u8,
    private_key: OctetString,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    parameters: Option<ObjectIdentifier>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    public_key: Option<BitStringRef<'a>>,
}

/// The secrets of an endpoint that trusts the samples.
pub fn sample_secrets() -> Vec<(&'static str, String)> {
    let key = signing_key().and_then(|key| public_key(&key));
    let sets = key.map(|key| json!({ PRODUCTION_KEYS: { "keys": [key] } }).to_string());
    vec![
        (JWKS, sets.unwrap_or_default()),
        (CLIENT_ID, "sample-client".to_owned()),
        (CLIENT_SECRET, "sample-secret".to_owned()),
    ]
}

/// The sample of an event type; `None` for one that the module does not know, and for an endpoint that
/// does not trust the samples' key.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    if !EVENT_TYPES.contains(&order.event_type) {
        return None;
    }
    let key = signing_key()?;
    let ours = public_key(&key)?;
    let trusted = configured_key(endpoint, PRODUCTION_KEYS, KEY_ID)?.x.decoded()?;
    if ours["x"].as_str() != Some(base64_url(&trusted).as_str()) {
        return None;
    }
    let body = serde_json::to_vec(&webhook(order)?).ok()?;
    let sent_at = time(order.now)?;
    let signature = sign(&key, endpoint, &sent_at, &body)?;
    let headers = [(HEADER, signature.as_str()), (TIMESTAMP_HEADER, sent_at.as_str())];
    let request = samples::post(endpoint, &headers, body)?;
    Some(Sample { request, answers: answers(order) })
}

fn signing_key() -> Option<SigningKey> {
    let key = PrivateSec1KeyDer::from_pem_slice(KEY.as_bytes()).ok()?;
    let key = EcPrivateKey::from_der(key.secret_sec1_der()).ok()?;
    SigningKey::from_slice(key.private_key.as_bytes()).ok()
}

fn public_key(key: &SigningKey) -> Option<Value> {
    let point = key.verifying_key().to_sec1_point(false);
    let (x, y) = point.as_bytes().get(1..)?.split_at_checked(COORDINATE_BYTES)?;
    let (x, y) = (BASE64_URL.encode(x), BASE64_URL.encode(y));
    Some(json!({ "alg": "ES512", "crv": "P-521", "kid": KEY_ID, "kty": "EC", "x": x, "y": y }))
}

fn sign(key: &SigningKey, endpoint: &Endpoint, sent_at: &str, body: &[u8]) -> Option<String> {
    let header = json!({
        "alg": "ES512",
        "kid": KEY_ID,
        "tl_version": "2",
        "tl_headers": SIGNED_HEADER,
        "jku": PRODUCTION_KEYS,
    });
    let header = base64_url(header.to_string().as_bytes());
    let path = endpoint.setting(SIGNED_PATH, &endpoint.path);
    let message = message(&header, path, &format!("{SIGNED_HEADER}: {sent_at}\n"), body);
    let signature: Signature = key.try_sign(message.as_bytes()).ok()?;
    Some(format!("{header}..{}", base64_url(&signature.to_bytes())))
}

/// TrueLayer writes whole seconds.
fn time(at: Timestamp) -> Option<String> {
    Some(at.round(Unit::Second).ok()?.to_string())
}

fn webhook(order: &SampleOrder<'_>) -> Option<Value> {
    let seed = order.seed;
    let at = order.occurred_at.to_string();
    let mut body = json!({
        "type": order.event_type,
        "event_version": 1,
        "event_id": samples::event_id(order),
        "metadata": { "order": format!("order-{seed}") },
    });
    let more = match meaning(order.event_type)? {
        Meaning::Payment(..) | Meaning::Dispute(..) => json!({
            "payment_id": payment_id(seed),
            "payment_method": {
                "type": "bank_transfer",
                "provider_id": "mock-payments-gb-redirect",
                "scheme_id": "faster_payments_service",
            },
            "payment_source": {
                "id": format!("source-{seed}"),
                "account_holder_name": samples::CUSTOMER_NAME,
                "account_identifiers": [],
            },
        }),
        Meaning::Refund(_) => json!({
            "payment_id": payment_id(seed),
            "refund_id": refund_id(seed),
        }),
        Meaning::Received => json!({
            "transaction_id": format!("txn-{seed}"),
            "merchant_account_id": format!("account-{seed}"),
            "amount_in_minor": samples::amount(seed),
            "currency": "GBP",
            "remitter": {
                "account_holder_name": samples::CUSTOMER_NAME,
                "reference": format!("INV-{seed}"),
            },
        }),
        Meaning::Payout(_) => json!({ "payout_id": payout_id(seed) }),
        Meaning::Mandate(_) => json!({ "mandate_id": format!("mandate-{seed}") }),
        Meaning::Link(_) => json!({
            "payment_link_id": format!("link-{seed}"),
            "payment_id": payment_id(seed),
        }),
    };
    let fields = body.as_object_mut()?;
    fields.extend(more.as_object()?.clone());
    fields.insert(time_field(order.event_type).to_owned(), at.into());
    if order.event_type.ends_with("_failed") {
        fields.insert("failure_reason".to_owned(), "provider_rejected".into());
    }
    Some(body)
}

fn time_field(event_type: &str) -> &'static str {
    match event_type {
        "payment_authorized" | "mandate_authorized" => "authorized_at",
        "payment_executed" | "refund_executed" | "payout_executed" => "executed_at",
        "payment_failed" | "refund_failed" | "payout_failed" | "mandate_failed" => "failed_at",
        "payment_settlement_stalled" => "settlement_stalled_at",
        "payment_creditable" => "creditable_at",
        "payment_funds_received" => "funds_received_at",
        "payment_disputed" => "disputed_at",
        "payment_reversed" => "reversed_at",
        "mandate_revoked" => "revoked_at",
        "payment_link_disabled" => "disabled_at",
        "payment_link_payment_created" => "payment_created_at",
        _ => "settled_at",
    }
}

fn answers(order: &SampleOrder<'_>) -> Vec<SampleAnswer> {
    let seed = order.seed;
    let amount = samples::amount(seed);
    let path = format!("/v3/payments/{}", payment_id(seed));
    let beneficiary = json!({ "type": "merchant_account", "reference": format!("INV-{seed}") });
    let payment = json!({
        "id": payment_id(seed),
        "amount_in_minor": amount,
        "currency": "GBP",
        "user": {
            "id": format!("cust-{seed}"),
            "name": samples::CUSTOMER_NAME,
            "email": samples::CUSTOMER_EMAIL,
        },
        "payment_method": { "type": "bank_transfer", "beneficiary": beneficiary },
        "metadata": { "order": format!("order-{seed}") },
    });
    let refund = json!({
        "id": refund_id(seed),
        "amount_in_minor": samples::part_of(amount),
        "currency": "GBP",
    });
    let payout = json!({
        "id": payout_id(seed),
        "amount_in_minor": amount,
        "currency": "GBP",
        "beneficiary": { "type": "external_account", "reference": format!("payout-{seed}") },
    });
    let get = |path: String, body: &Value| samples::answer(Method::GET, path, body);
    match meaning(order.event_type) {
        Some(Meaning::Payment(..) | Meaning::Dispute(..)) => vec![get(path, &payment)],
        Some(Meaning::Refund(_)) => {
            vec![get(format!("{path}/refunds/{}", refund_id(seed)), &refund), get(path, &payment)]
        }
        Some(Meaning::Payout(_)) => vec![get(format!("/v3/payouts/{}", payout_id(seed)), &payout)],
        Some(Meaning::Received | Meaning::Mandate(_) | Meaning::Link(_)) | None => Vec::new(),
    }
}

fn payment_id(seed: &str) -> String {
    format!("payment-{seed}")
}

fn refund_id(seed: &str) -> String {
    format!("refund-{seed}")
}

fn payout_id(seed: &str) -> String {
    format!("payout-{seed}")
}
