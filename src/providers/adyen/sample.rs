//! Signed requests as Adyen sends them, one item each, for every event code that the module translates.
//! One seed makes one payment with its capture, refund and chargeback.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::providers::{Endpoint, SampleOrder, samples};
use crate::receipt::Request;
use crate::receipt::signature::sign_hmac_sha256;

use super::{BASIC_PASSWORD, BASIC_USER, EVENT_CODES, HMAC_KEY, Item, signed_text};

/// The sample of an event code; `None` for one that the module does not know. Adyen has no event ids, so
/// one that is ordered becomes the reference of the item's own request, by which it is recognised.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Request> {
    if !EVENT_CODES.contains(&order.event_type) {
        return None;
    }
    let mut item = item(order);
    if order.event_type == "CANCEL_OR_REFUND" {
        item["additionalData"]["modification.action"] = Value::from("refund");
    }
    let key = hex::decode(samples::first_secret(endpoint, HMAC_KEY)?.trim()).ok()?;
    let text = item.to_string();
    let signed = signed_text(&serde_json::from_str::<Item<'_>>(&text).ok()?);
    let signature = BASE64.encode(sign_hmac_sha256(&key, &[signed.as_bytes()]));
    item["additionalData"]["hmacSignature"] = Value::from(signature);
    let body = serde_json::to_vec(&json!({
        "live": "true",
        "notificationItems": [{ "NotificationRequestItem": item }],
    }));
    let user = samples::first_secret(endpoint, BASIC_USER);
    let password = samples::first_secret(endpoint, BASIC_PASSWORD);
    let credentials = user
        .zip(password)
        .map(|(user, password)| format!("Basic {}", BASE64.encode(format!("{user}:{password}"))));
    let headers: Vec<_> =
        credentials.iter().map(|value| ("authorization", value.as_str())).collect();
    samples::post(endpoint, &headers, body.ok()?)
}

fn item(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let amount = samples::amount(seed);
    let payment = format!("PSP-{seed}");
    // What concerns a payment later has a reference of its own beside the payment's.
    let (own, original, value) = match order.event_type {
        "AUTHORISATION" | "OFFER_CLOSED" => (payment, None, amount),
        "ORDER_OPENED" | "ORDER_CLOSED" => (format!("ORDER-{seed}"), None, amount),
        "REPORT_AVAILABLE" => (format!("REPORT-{seed}"), None, 0),
        "CAPTURE" | "CAPTURE_FAILED" => (format!("CAPTURE-{seed}"), Some(payment), amount),
        "REFUND"
        | "REFUND_WITH_DATA"
        | "REFUND_FAILED"
        | "REFUNDED_REVERSED"
        | "POSTPONED_REFUND"
        | "VOID_PENDING_REFUND"
        | "CANCEL_OR_REFUND" => (format!("REFUND-{seed}"), Some(payment), samples::part_of(amount)),
        code => (format!("{code}-{seed}"), Some(payment), amount),
    };
    let (own, original) = match order.event_id {
        Some(id) => (id.to_owned(), Some(format!("PSP-{seed}"))),
        None => (own, original),
    };
    let reason = if order.event_type.contains("CHARGEBACK") { "Other Fraud" } else { "" };
    let occurred_at = Timestamp::from_second(order.occurred_at.as_second());
    json!({
        "additionalData": {
            "shopperEmail": samples::CUSTOMER_EMAIL,
            "shopperReference": format!("customer-{seed}"),
        },
        "amount": { "currency": "EUR", "value": value },
        "eventCode": order.event_type,
        "eventDate": occurred_at.unwrap_or(order.occurred_at).to_string(),
        "merchantAccountCode": "ExampleECOM",
        "merchantReference": format!("order-{seed}"),
        "originalReference": original,
        "paymentMethod": "visa",
        "pspReference": own,
        "reason": reason,
        "success": "true",
    })
}
