//! Signed webhooks as GoCardless sends them, one event each, with what its API has. One seed makes one
//! payment with its refund, mandate, billing request, schedule and payout.

use http::Method;
use serde_json::{Value, json};

use crate::providers::{Endpoint, Sample, SampleAnswer, SampleOrder, samples};
use crate::receipt::signature::sign_hmac_sha256;

use super::facts::{EVENTS, Meaning};
use super::{HEADER, SECRET};

/// The sample of an event type; `None` for one that the module does not know.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    let (_, meaning) = EVENTS.iter().find(|(name, _)| *name == order.event_type)?;
    let (resource_type, action) = order.event_type.split_once('.')?;
    let link = match meaning {
        Meaning::Silent => "subscription",
        other => other.link(),
    };
    let event = json!({ "events": [{
        "id": samples::event_id(order),
        "created_at": order.occurred_at.to_string(),
        "resource_type": resource_type,
        "action": action,
        "links": { link: id(link, order.seed) },
        "details": {
            "origin": "gocardless",
            "cause": format!("{}_{action}", resource_type.trim_end_matches('s')),
            "description": "A sample event.",
            "scheme": "sepa_core",
        },
        "metadata": {},
        "resource_metadata": { "order_id": format!("order-{}", order.seed) },
    }], "meta": { "webhook_id": format!("WB{}", order.seed) } });
    let body = serde_json::to_vec(&event).ok()?;
    let secret = samples::first_secret(endpoint, SECRET)?;
    let signature = hex::encode(sign_hmac_sha256(secret.as_bytes(), &[&body]));
    let headers = [
        (HEADER, signature.as_str()),
        ("origin", "https://api.gocardless.com"),
        ("user-agent", "gocardless-webhook-service/1.2"),
    ];
    let request = samples::post(endpoint, &headers, body)?;
    Some(Sample { request, answers: answers(order, *meaning) })
}

/// An id as GoCardless makes them: two letters and the rest.
fn id(link: &str, seed: &str) -> String {
    let prefix = match link {
        "payment" => "PM",
        "refund" => "RF",
        "payout" => "PO",
        "mandate" => "MD",
        "billing_request" => "BRQ",
        "instalment_schedule" => "IS",
        "outbound_payment" => "OUT",
        "payment_account_transaction" => "PATR",
        _agreement => "SB",
    };
    let rest = seed.bytes().map(|byte| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("_{byte:02x}"),
    });
    format!("{prefix}{}", rest.collect::<String>())
}

fn answers(order: &SampleOrder<'_>, meaning: Meaning) -> Vec<SampleAnswer> {
    let Some(collection) = meaning.collection() else { return Vec::new() };
    let seed = order.seed;
    let total = samples::amount(seed);
    let payment_id = id("payment", seed);
    let payment = || {
        let object = payment(order, meaning, total);
        samples::answer(Method::GET, format!("/payments/{payment_id}"), &object)
    };
    let part = samples::part_of(total);
    let link = id(meaning.link(), seed);
    let path = format!("/{collection}/{link}");
    let object = match meaning {
        Meaning::Refund(..) => json!({ "refunds": {
            "id": link,
            "amount": part,
            "currency": "EUR",
            "links": { "payment": payment_id },
            "metadata": {},
            "status": "paid",
        } }),
        Meaning::Bank(..) => json!({ collection: {
            "id": link,
            "amount": total,
            "currency": "EUR",
            "reference": format!("REF-{seed}"),
            "status": "paid",
        } }),
        Meaning::Payment(..)
        | Meaning::Chargeback(..)
        | Meaning::Mandate(_)
        | Meaning::BillingRequest(..)
        | Meaning::Instalments(..)
        | Meaning::Silent => return vec![payment()],
    };
    let mut answers = vec![samples::answer(Method::GET, path, &object)];
    if let Meaning::Refund(..) = meaning {
        answers.push(payment());
    }
    answers
}

fn payment(order: &SampleOrder<'_>, meaning: Meaning, total: i64) -> Value {
    let refunded = matches!(meaning, Meaning::Refund(..));
    json!({ "payments": {
        "id": id("payment", order.seed),
        "amount": total,
        "amount_refunded": if refunded { samples::part_of(total) } else { 0 },
        "charge_date": "2026-12-01",
        "created_at": order.occurred_at.to_string(),
        "currency": "EUR",
        "links": { "creditor": "CRSAMPLE", "mandate": id("mandate", order.seed) },
        "metadata": {},
        "reference": format!("REF-{}", order.seed),
        "status": if refunded { "paid_out" } else { "submitted" },
    } })
}
