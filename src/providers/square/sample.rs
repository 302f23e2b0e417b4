//! Signed requests as Square sends them, for every event type that the module translates. One seed makes
//! one payment with its refund, dispute and invoice; versions grow along the life.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::providers::{Endpoint, SampleOrder, samples};
use crate::receipt::Request;
use crate::receipt::signature::sign_hmac_sha256;

use super::{ENVIRONMENT_HEADER, EVENT_TYPES, HEADER, SIGNATURE_KEY, signed_urls};

/// The sample of an event type; `None` for one that the module does not know.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Request> {
    if !EVENT_TYPES.contains(&order.event_type) {
        return None;
    }
    let (name, object) = object(order);
    let event = json!({
        "merchant_id": "MERCHANT-SAMPLE",
        "type": order.event_type,
        "event_id": samples::event_id(order),
        "created_at": order.occurred_at.to_string(),
        "data": { "type": name, "id": object["id"].clone(), "object": { name: object } },
    });
    let body = serde_json::to_vec(&event).ok()?;
    let key = samples::first_secret(endpoint, SIGNATURE_KEY)?;
    let url = *signed_urls(endpoint).first()?;
    let signature = BASE64.encode(sign_hmac_sha256(key.as_bytes(), &[url.as_bytes(), &body]));
    let headers = [
        (HEADER, signature.as_str()),
        (ENVIRONMENT_HEADER, "Production"),
        ("square-version", "2026-09-16"),
    ];
    samples::post(endpoint, &headers, body)
}

/// The object with its name in `data.object`.
fn object(order: &SampleOrder<'_>) -> (&'static str, Value) {
    let kind = order.event_type.split('.').next().unwrap_or_default();
    match (kind, order.event_type) {
        ("payment", _) => ("payment", payment(order)),
        ("refund", _) => ("refund", refund(order)),
        ("dispute", _) => ("dispute", dispute(order)),
        ("invoice", _) => ("invoice", invoice(order)),
        ("payout", _) => ("payout", payout(order)),
        (_, "terminal.checkout.created" | "terminal.checkout.updated") => {
            ("checkout", terminal_checkout(order))
        }
        (_, "terminal.refund.created" | "terminal.refund.updated") => {
            ("refund", terminal_refund(order))
        }
        _ => ("bank_account", bank_account(order)),
    }
}

fn money(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "USD" })
}

fn payment(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let amount = samples::amount(seed);
    let (status, version) = match order.event_type {
        "payment.created" => ("APPROVED", 1),
        _ => ("COMPLETED", 4),
    };
    json!({
        "id": format!("pay_{seed}"),
        "amount_money": money(amount),
        "approved_money": money(amount),
        "total_money": money(amount),
        "buyer_email_address": samples::CUSTOMER_EMAIL,
        "card_details": {
            "card": { "card_brand": "VISA", "exp_month": 11, "exp_year": 2029, "last_4": "1111" },
            "entry_method": "KEYED",
            "status": if version == 1 { "AUTHORIZED" } else { "CAPTURED" },
        },
        "created_at": order.occurred_at.to_string(),
        "customer_id": format!("cust_{seed}"),
        "location_id": "LOCATION-SAMPLE",
        "order_id": format!("order_{seed}"),
        "receipt_number": "SMPL",
        "reference_id": format!("order-{seed}"),
        "source_type": "CARD",
        "status": status,
        "updated_at": order.occurred_at.to_string(),
        "version": version,
    })
}

fn refund(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let (status, version) = match order.event_type {
        "refund.created" => ("PENDING", 1),
        _ => ("COMPLETED", 2),
    };
    json!({
        "id": format!("pay_{seed}_refund"),
        "amount_money": money(samples::part_of(samples::amount(seed))),
        "created_at": order.occurred_at.to_string(),
        "destination_type": "CARD",
        "location_id": "LOCATION-SAMPLE",
        "order_id": format!("return_{seed}"),
        "payment_id": format!("pay_{seed}"),
        "reason": "Returned goods",
        "status": status,
        "updated_at": order.occurred_at.to_string(),
        "version": version,
    })
}

fn dispute(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let (state, version) = match order.event_type {
        "dispute.created" => ("EVIDENCE_REQUIRED", 1),
        "dispute.evidence.created" => ("EVIDENCE_REQUIRED", 2),
        "dispute.evidence.deleted" => ("EVIDENCE_REQUIRED", 3),
        _ => ("WON", 5),
    };
    json!({
        "id": format!("dis_{seed}"),
        "amount_money": money(samples::amount(seed)),
        "card_brand": "VISA",
        "created_at": order.occurred_at.to_string(),
        "disputed_payment": { "payment_id": format!("pay_{seed}") },
        "location_id": "LOCATION-SAMPLE",
        "reason": "AMOUNT_DIFFERS",
        "state": state,
        "updated_at": order.occurred_at.to_string(),
        "version": version,
    })
}

fn invoice(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let total = samples::amount(seed);
    let (status, paid, version) = match order.event_type {
        "invoice.created" | "invoice.deleted" => ("DRAFT", 0, 0),
        "invoice.published" => ("UNPAID", 0, 1),
        "invoice.scheduled_charge_failed" => ("FAILED", 0, 2),
        "invoice.payment_made" => ("PARTIALLY_PAID", samples::part_of(total), 3),
        "invoice.updated" => ("PAID", total, 4),
        "invoice.refunded" => ("REFUNDED", total, 5),
        _ => ("CANCELED", 0, 6),
    };
    json!({
        "id": format!("inv:0-{seed}"),
        "created_at": order.occurred_at.to_string(),
        "invoice_number": format!("INV-{seed}"),
        "location_id": "LOCATION-SAMPLE",
        "order_id": format!("order_{seed}"),
        "payment_requests": [{
            "uid": format!("request_{seed}"),
            "computed_amount_money": money(total),
            "due_date": "2026-12-31",
            "request_type": "BALANCE",
            "total_completed_amount_money": money(paid),
        }],
        "primary_recipient": {
            "company_name": samples::CUSTOMER_NAME,
            "customer_id": format!("cust_{seed}"),
            "email_address": samples::CUSTOMER_EMAIL,
        },
        "public_url": format!("https://squareup.example/pay-invoice/inv:0-{seed}"),
        "status": status,
        "updated_at": order.occurred_at.to_string(),
        "version": version,
    })
}

fn terminal_checkout(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let is_done = order.event_type == "terminal.checkout.updated";
    json!({
        "id": format!("term_{seed}"),
        "amount_money": money(samples::amount(seed)),
        "created_at": order.occurred_at.to_string(),
        "payment_ids": if is_done { json!([format!("pay_{seed}")]) } else { json!([]) },
        "reference_id": format!("order-{seed}"),
        "status": if is_done { "COMPLETED" } else { "PENDING" },
        "updated_at": order.occurred_at.to_string(),
    })
}

fn terminal_refund(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let is_done = order.event_type == "terminal.refund.updated";
    json!({
        "id": format!("termrefund_{seed}"),
        "amount_money": money(samples::part_of(samples::amount(seed))),
        "created_at": order.occurred_at.to_string(),
        "payment_id": format!("pay_{seed}"),
        "reason": "Returned goods",
        "refund_id": format!("pay_{seed}_refund"),
        "status": if is_done { "COMPLETED" } else { "PENDING" },
        "updated_at": order.occurred_at.to_string(),
    })
}

fn payout(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let (status, version) = match order.event_type {
        "payout.sent" => ("SENT", 1),
        "payout.paid" => ("PAID", 2),
        _ => ("FAILED", 3),
    };
    json!({
        "id": format!("po_{seed}"),
        "amount_money": money(samples::amount(seed)),
        "created_at": order.occurred_at.to_string(),
        "destination": { "id": format!("bact:{seed}"), "type": "BANK_ACCOUNT" },
        "end_to_end_id": format!("E2E{seed}"),
        "location_id": "LOCATION-SAMPLE",
        "status": status,
        "type": "BATCH",
        "updated_at": order.occurred_at.to_string(),
        "version": version,
    })
}

fn bank_account(order: &SampleOrder<'_>) -> Value {
    let verified = order.event_type == "bank_account.verified";
    json!({
        "id": format!("bact:{}", order.seed),
        "account_number_suffix": "971",
        "country": "US",
        "currency": "USD",
        "status": if verified { "VERIFIED" } else { "DISABLED" },
        "version": 1,
    })
}
