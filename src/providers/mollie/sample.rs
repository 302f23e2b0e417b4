//! Requests as Mollie sends them, for every event type that the module translates: forms for the states of
//! payments and orders, with the object that the API has, and signed JSON for next-generation events. One
//! seed makes one payment with its order, link, invoice and dispute.

use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

use crate::providers::{Endpoint, Sample, SampleOrder, samples};
use crate::receipt::signature::sign_hmac_sha256;

use super::facts::{EVENTS, Meaning, STATES};
use super::{API_KEY, FORM, HEADER, PREFIX, SIGNING_SECRETS};

/// Secrets of an endpoint that takes all samples.
pub fn sample_secrets() -> Vec<(&'static str, String)> {
    vec![
        (SIGNING_SECRETS, "sample-signing-secret".to_owned()),
        (API_KEY, "live_sampleApiKeyOfNoAccount00".to_owned()),
    ]
}

/// The sample of an event type; `None` for one that the module does not know or the endpoint cannot take.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    if STATES.contains(&order.event_type) {
        return state(endpoint, order);
    }
    let (_, meaning) = EVENTS.iter().find(|(name, _)| *name == order.event_type)?;
    let entity = entity(order, *meaning);
    let event = json!({
        "resource": "event",
        "id": samples::event_id(order),
        "type": order.event_type,
        "entityId": entity["id"],
        "createdAt": order.occurred_at.to_string(),
        "_embedded": { "entity": entity },
        "_links": {},
    });
    let body = serde_json::to_vec(&event).ok()?;
    let secret = samples::first_secret(endpoint, SIGNING_SECRETS)?;
    let signature = hex::encode(sign_hmac_sha256(secret.as_bytes(), &[&body]));
    let signature = format!("{PREFIX}{signature}");
    samples::post(endpoint, &[(HEADER, &signature)], body).map(Sample::from)
}

/// A classic webhook, with what the API has.
fn state(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    samples::first_secret(endpoint, API_KEY)?;
    let (kind, state) = order.event_type.split_once('.')?;
    let (path, object) = match kind {
        "payment" => ("payments", payment(order, state)),
        _order => ("orders", order_object(order, state)),
    };
    let id = object["id"].as_str()?;
    let path = format!("/v2/{path}/{id}");
    let mut request = samples::post(endpoint, &[], format!("id={id}").into_bytes())?;
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
    Some(Sample { request, answers: vec![samples::answer(Method::GET, path, &object)] })
}

/// An id of letters and digits, whatever the seed is made of.
fn id(prefix: &str, seed: &str) -> String {
    let mut id = format!("{prefix}_");
    for byte in seed.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => id.push(char::from(byte)),
            false => id.push_str(&format!("z{byte:02x}")),
        }
    }
    id
}

fn amount(minor_units: i64) -> Value {
    json!({ "value": format!("{}.{:02}", minor_units / 100, minor_units % 100), "currency": "EUR" })
}

fn payment(order: &SampleOrder<'_>, state: &str) -> Value {
    let total = samples::amount(order.seed);
    let at = order.occurred_at.to_string();
    let status = match state {
        "partially_refunded" | "refunded" | "charged_back" => "paid",
        other => other,
    };
    let mut payment = json!({
        "resource": "payment",
        "id": id("tr", order.seed),
        "mode": "live",
        "createdAt": at,
        "amount": amount(total),
        "billingAddress": { "email": samples::CUSTOMER_EMAIL },
        "customerId": id("cst", order.seed),
        "description": format!("Order {}", order.seed),
        "details": { "consumerName": samples::CUSTOMER_NAME },
        "metadata": { "order_id": format!("order-{}", order.seed) },
        "method": "creditcard",
        "profileId": "pfl_sample",
        "status": status,
    });
    let refund = |status: &str, part: i64| {
        json!({ "refunds": [{
            "resource": "refund",
            "id": id("re", order.seed),
            "amount": amount(part),
            "createdAt": at,
            "status": status,
        }] })
    };
    let part = samples::part_of(total);
    match state {
        "paid" => payment["amountRefunded"] = amount(0),
        "partially_refunded" => {
            payment["amountRefunded"] = amount(part);
            payment["_embedded"] = refund("pending", part);
        }
        "refunded" => {
            payment["amountRefunded"] = amount(total);
            payment["_embedded"] = refund("refunded", total);
        }
        "charged_back" => {
            payment["amountChargedBack"] = amount(total);
            payment["_embedded"] = json!({ "chargebacks": [{
                "resource": "chargeback",
                "id": id("chb", order.seed),
                "amount": amount(total),
                "createdAt": at,
            }] });
        }
        "failed" => payment["details"]["failureReason"] = json!("insufficient_funds"),
        _no_sums => {}
    }
    payment
}

fn order_object(order: &SampleOrder<'_>, state: &str) -> Value {
    let total = samples::amount(order.seed);
    json!({
        "resource": "order",
        "id": id("ord", order.seed),
        "mode": "live",
        "amount": amount(total),
        "billingAddress": { "email": samples::CUSTOMER_EMAIL },
        "createdAt": order.occurred_at.to_string(),
        "method": "klarna",
        "orderNumber": format!("order-{}", order.seed),
        "profileId": "pfl_sample",
        "status": state,
    })
}

fn entity(order: &SampleOrder<'_>, meaning: Meaning) -> Value {
    let seed = order.seed;
    let total = samples::amount(seed);
    let at = order.occurred_at.to_string();
    match meaning {
        Meaning::LinkPaid => json!({
            "resource": "payment-link",
            "id": id("pl", seed),
            "mode": "live",
            "amount": amount(total),
            "archived": false,
            "createdAt": at,
            "description": format!("Order {seed}"),
            "paidAt": at,
            "profileId": "pfl_sample",
        }),
        Meaning::Invoice(_) => {
            let status = order.event_type.rsplit('.').next().unwrap_or_default();
            let due = if status == "paid" { 0 } else { total };
            json!({
                "resource": "sales-invoice",
                "id": id("invoice", seed),
                "mode": "live",
                "amountDue": amount(due),
                "createdAt": at,
                "dueAt": "2026-12-31",
                "invoiceNumber": format!("INV-{seed}"),
                "recipient": { "type": "consumer", "email": samples::CUSTOMER_EMAIL },
                "recipientIdentifier": format!("customer-{seed}"),
                "status": if status == "created" { "draft" } else { status },
                "totalAmount": amount(total),
            })
        }
        Meaning::Dispute { resolved } => json!({
            "resource": "dispute",
            "id": id("dsp", seed),
            "mode": "live",
            "amount": amount(total),
            "createdAt": at,
            "outcome": if resolved { "won" } else { "" },
            "paymentId": id("tr", seed),
            "reason": "product_not_received",
            "status": if resolved { "resolved" } else { "needs-response" },
        }),
        Meaning::Bank(..) => json!({
            "resource": order.event_type.split('.').next().unwrap_or_default(),
            "id": id("move", seed),
            "mode": "live",
            "amount": amount(total),
            "createdAt": at,
            "description": format!("Order {seed}"),
            "source": { "accountHolderName": samples::CUSTOMER_NAME },
        }),
        Meaning::Silent => json!({ "id": id("pfl", seed), "mode": "live", "createdAt": at }),
    }
}
