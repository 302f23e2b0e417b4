//! Signed webhooks as Zoho Books sends them, for every event type that the module makes. What a record
//! tells by itself comes as JSON; what only a parameter tells comes as a form with that parameter. One
//! seed makes one invoice with its payment, retainer, credit note and estimate.

use serde_json::{Value, json};

use crate::providers::{Endpoint, Sample, SampleOrder, samples};
use crate::receipt::signature::sign_hmac_sha256;

use super::draft::EVENT_TYPES;
use super::{EVENT, HEADER, HEADER_TOKEN, JSON_STRING, SECRET_TOKEN, TOKEN_HEADER, signed_text};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// The sample of an event type; `None` for one that the module does not know.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    if !EVENT_TYPES.contains(&order.event_type) {
        return None;
    }
    let (module, state) = order.event_type.split_once('_')?;
    let record = serde_json::to_vec(&json!({ module: record(order, module, state)? })).ok()?;
    let (content_type, body) = match state {
        "deleted" | "viewed" => {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair(EVENT, order.event_type);
            form.append_pair("organization_id", "10234695");
            form.append_pair(JSON_STRING, std::str::from_utf8(&record).ok()?);
            (FORM, form.finish().into_bytes())
        }
        _ => (JSON, record),
    };
    let signature;
    let (name, value) = match samples::first_secret(endpoint, SECRET_TOKEN) {
        Some(secret) => {
            let signed = signed_text(&endpoint.path, Some(content_type.as_bytes()), &body);
            signature = hex::encode(sign_hmac_sha256(secret.as_bytes(), &[&signed]));
            (HEADER, signature.as_str())
        }
        None => (TOKEN_HEADER, samples::first_secret(endpoint, HEADER_TOKEN)?),
    };
    let headers = [("content-type", content_type), (name, value)];
    samples::post(endpoint, &headers, body).map(Sample::from)
}

fn record(order: &SampleOrder<'_>, module: &str, state: &str) -> Option<Value> {
    let seed = order.seed;
    let mut record = json!({
        "currency_code": "EUR",
        "customer_id": format!("customer-{seed}"),
        "customer_name": samples::CUSTOMER_NAME,
        "email": samples::CUSTOMER_EMAIL,
        "reference_number": format!("order-{seed}"),
        "last_modified_time": order.occurred_at.strftime("%Y-%m-%dT%H:%M:%S+0000").to_string(),
    });
    let extra = members(order, module, state)?;
    if let (Some(fields), Value::Object(extra)) = (record.as_object_mut(), extra) {
        fields.extend(extra);
    }
    Some(record)
}

/// What the records of a module have beside the rest.
fn members(order: &SampleOrder<'_>, module: &str, state: &str) -> Option<Value> {
    let seed = order.seed;
    let total = samples::amount(seed);
    let part = samples::part_of(total);
    let members = match module {
        "payment" => json!({
            "payment_id": format!("payment-{seed}"),
            "payment_number": "21",
            "payment_mode": "creditcard",
            "amount": decimal(total),
            "amount_refunded": decimal(if state == "refunded" { part } else { 0 }),
            "bank_charges": decimal(0),
            "status": match state {
                "pending" => "pending",
                "failed" => "failure",
                _ => "success",
            },
            "invoices": [{
                "invoice_id": format!("invoice-{seed}"),
                "invoice_number": format!("INV-{seed}"),
                "amount_applied": decimal(total),
            }],
        }),
        "invoice" | "retainerinvoice" => {
            let paid = match state {
                "partially_paid" => part,
                "paid" => total,
                _ => 0,
            };
            json!({
                format!("{module}_id"): format!("{module}-{seed}"),
                format!("{module}_number"): format!("INV-{seed}"),
                "status": if state == "deleted" { "void" } else { state },
                "total": decimal(total),
                "payment_made": decimal(paid),
                "balance": decimal(total - paid),
                "due_date": "2026-12-20",
            })
        }
        "creditnote" => json!({
            "creditnote_id": format!("creditnote-{seed}"),
            "creditnote_number": format!("CN-{seed}"),
            "status": "closed",
            "total": decimal(part),
            "total_refunded_amount": decimal(part),
            "invoice_id": format!("invoice-{seed}"),
        }),
        "estimate" => json!({
            "estimate_id": format!("estimate-{seed}"),
            "estimate_number": format!("EST-{seed}"),
            "status": if matches!(state, "viewed" | "deleted") { "sent" } else { state },
            "total": decimal(total),
        }),
        _ => return None,
    };
    Some(members)
}

/// An amount of cents as Zoho writes it. Every amount of samples is a short decimal, which a float shows
/// as it is.
fn decimal(cents: i64) -> Value {
    let text = format!("{}.{:02}", cents / 100, cents % 100);
    serde_json::from_str(&text).unwrap_or(Value::Null)
}
