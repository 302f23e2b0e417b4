//! Signed requests as Stripe sends them, for every event type that the module translates. One seed makes
//! one payment with its charge, refund, dispute, invoice and checkout.

use serde_json::{Value, json};

use crate::providers::{Endpoint, SampleOrder, samples};
use crate::receipt::Request;
use crate::receipt::signature::sign_hmac_sha256;

use super::{EVENT_TYPES, HEADER, SECRET};

/// The sample of an event type; `None` for one that the module does not know.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Request> {
    if !EVENT_TYPES.contains(&order.event_type) {
        return None;
    }
    let event = json!({
        "id": samples::event_id(order),
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": order.occurred_at.as_second(),
        "data": { "object": object(order) },
        "livemode": true,
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": null },
        "type": order.event_type,
    });
    let body = serde_json::to_vec_pretty(&event).ok()?;
    let time = order.now.as_second().to_string();
    let secret = samples::first_secret(endpoint, SECRET)?;
    let signature = sign_hmac_sha256(secret.as_bytes(), &[time.as_bytes(), b".", &body]);
    let header = format!("t={time},v1={}", hex::encode(signature));
    let headers = [
        (HEADER, header.as_str()),
        ("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
    ];
    samples::post(endpoint, &headers, body)
}

fn object(order: &SampleOrder<'_>) -> Value {
    let kind = order.event_type.rsplit_once('.').map_or(order.event_type, |(kind, _)| kind);
    match kind {
        "payment_intent" => payment_intent(order),
        "charge" => charge(order),
        "refund" | "charge.refund" => refund(order),
        "charge.dispute" => dispute(order),
        "invoice" => invoice(order),
        "invoice_payment" => invoice_payment(order),
        "checkout.session" => session(order),
        "payment_link" => payment_link(order),
        "quote" => quote(order),
        "payout" => payout(order),
        "radar.early_fraud_warning" => early_fraud_warning(order),
        "cash_balance" => json!({
            "object": "cash_balance",
            "available": { "eur": samples::amount(order.seed) },
            "customer": format!("cus_{}", order.seed),
            "livemode": true,
            "settings": { "reconciliation_mode": "automatic", "using_merchant_default": true },
        }),
        _ => cash_transaction(order),
    }
}

fn metadata(order: &SampleOrder<'_>) -> Value {
    json!({ "order_id": format!("order-{}", order.seed) })
}

fn payment_intent(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let amount = samples::amount(seed);
    let (status, received, capturable) = match order.event_type {
        "payment_intent.succeeded" => ("succeeded", amount, 0),
        "payment_intent.amount_capturable_updated" => ("requires_capture", 0, amount),
        "payment_intent.canceled" => ("canceled", 0, 0),
        "payment_intent.processing" => ("processing", 0, 0),
        "payment_intent.requires_action" => ("requires_action", 0, 0),
        "payment_intent.partially_funded" => ("requires_action", samples::part_of(amount), 0),
        _ => ("requires_payment_method", 0, 0),
    };
    json!({
        "id": format!("pi_{seed}"),
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": capturable,
        "amount_details": { "tip": {} },
        "amount_received": received,
        "application": null,
        "application_fee_amount": null,
        "automatic_payment_methods": { "allow_redirects": "always", "enabled": true },
        "canceled_at": null,
        "cancellation_reason": null,
        "capture_method": "automatic_async",
        "client_secret": format!("pi_{seed}_secret_sample"),
        "confirmation_method": "automatic",
        "created": order.occurred_at.as_second(),
        "currency": "eur",
        "customer": format!("cus_{seed}"),
        "description": null,
        "last_payment_error": last_payment_error(order),
        "latest_charge": format!("ch_{seed}"),
        "livemode": true,
        "metadata": metadata(order),
        "next_action": null,
        "on_behalf_of": null,
        "payment_method": format!("pm_{seed}"),
        "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"],
        "processing": null,
        "receipt_email": samples::CUSTOMER_EMAIL,
        "setup_future_usage": null,
        "shipping": null,
        "source": null,
        "statement_descriptor": null,
        "statement_descriptor_suffix": null,
        "status": status,
        "transfer_data": null,
        "transfer_group": null,
    })
}

fn last_payment_error(order: &SampleOrder<'_>) -> Option<Value> {
    (order.event_type == "payment_intent.payment_failed").then(|| {
        json!({
            "charge": format!("ch_{}", order.seed),
            "code": "card_declined",
            "decline_code": "insufficient_funds",
            "message": "Your card has insufficient funds.",
            "type": "card_error",
        })
    })
}

fn charge(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let amount = samples::amount(seed);
    let failed = order.event_type == "charge.failed";
    let captured = !failed && order.event_type != "charge.expired";
    let refunded = if order.event_type == "charge.refunded" { amount } else { 0 };
    json!({
        "id": format!("ch_{seed}"),
        "object": "charge",
        "amount": amount,
        "amount_captured": if captured { amount } else { 0 },
        "amount_refunded": refunded,
        "billing_details": {
            "address": { "city": null, "country": "DE", "line1": null, "postal_code": null },
            "email": samples::CUSTOMER_EMAIL,
            "name": samples::CUSTOMER_NAME,
        },
        "captured": captured,
        "created": order.occurred_at.as_second(),
        "currency": "eur",
        "customer": format!("cus_{seed}"),
        "disputed": false,
        "failure_code": failed.then_some("card_declined"),
        "failure_message": failed.then_some("Your card was declined."),
        "livemode": true,
        "metadata": metadata(order),
        "paid": !failed,
        "payment_intent": format!("pi_{seed}"),
        "payment_method_details": {
            "card": { "brand": "visa", "country": "DE", "funding": "credit", "last4": "4242" },
            "type": "card",
        },
        "receipt_email": samples::CUSTOMER_EMAIL,
        "refunded": refunded == amount,
        "status": if failed { "failed" } else { "succeeded" },
    })
}

fn refund(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let status = match order.event_type {
        "refund.created" => "pending",
        "refund.failed" => "failed",
        _ => "succeeded",
    };
    json!({
        "id": format!("re_{seed}"),
        "object": "refund",
        "amount": samples::part_of(samples::amount(seed)),
        "charge": format!("ch_{seed}"),
        "created": order.occurred_at.as_second(),
        "currency": "eur",
        "failure_reason": (status == "failed").then_some("expired_or_canceled_card"),
        "metadata": {},
        "payment_intent": format!("pi_{seed}"),
        "reason": "requested_by_customer",
        "status": status,
    })
}

fn dispute(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let status = match order.event_type {
        "charge.dispute.closed" | "charge.dispute.funds_reinstated" => "won",
        "charge.dispute.updated" => "under_review",
        _ => "needs_response",
    };
    json!({
        "id": format!("du_{seed}"),
        "object": "dispute",
        "amount": samples::amount(seed),
        "charge": format!("ch_{seed}"),
        "created": order.occurred_at.as_second(),
        "currency": "eur",
        "evidence_details": {
            "due_by": order.occurred_at.as_second() + 14 * 86_400,
            "has_evidence": false,
            "past_due": false,
            "submission_count": 0,
        },
        "metadata": {},
        "payment_intent": format!("pi_{seed}"),
        "reason": "fraudulent",
        "status": status,
    })
}

fn invoice(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let total = samples::amount(seed);
    let (status, paid) = match order.event_type {
        "invoice.created" => ("draft", 0),
        "invoice.paid" | "invoice.payment_succeeded" | "invoice.overpaid" => ("paid", total),
        "invoice.updated" => ("open", samples::part_of(total)),
        "invoice.voided" => ("void", 0),
        "invoice.marked_uncollectible" => ("uncollectible", 0),
        "invoice.deleted" => ("draft", 0),
        _ => ("open", 0),
    };
    json!({
        "id": format!("in_{seed}"),
        "object": "invoice",
        "amount_due": total,
        "amount_paid": paid,
        "amount_remaining": total - paid,
        "collection_method": "send_invoice",
        "created": order.occurred_at.as_second(),
        "currency": "eur",
        "customer": format!("cus_{seed}"),
        "customer_email": samples::CUSTOMER_EMAIL,
        "customer_name": samples::CUSTOMER_NAME,
        "due_date": order.occurred_at.as_second() + 30 * 86_400,
        "livemode": true,
        "metadata": metadata(order),
        "number": format!("INV-{seed}"),
        "payments": {
            "object": "list",
            "data": [{
                "id": format!("inpay_{seed}"),
                "object": "invoice_payment",
                "payment": { "payment_intent": format!("pi_{seed}"), "type": "payment_intent" },
            }],
        },
        "status": status,
        "total": total,
    })
}

fn invoice_payment(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let paid = samples::part_of(samples::amount(seed));
    json!({
        "id": format!("inpay_{seed}"),
        "object": "invoice_payment",
        "amount_paid": paid,
        "amount_requested": paid,
        "created": order.occurred_at.as_second(),
        "currency": "eur",
        "invoice": format!("in_{seed}"),
        "is_default": false,
        "livemode": true,
        "payment": { "payment_intent": format!("pi_{seed}"), "type": "payment_intent" },
        "status": "paid",
    })
}

fn session(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let expired = order.event_type == "checkout.session.expired";
    let unpaid = expired || order.event_type == "checkout.session.async_payment_failed";
    json!({
        "id": format!("cs_{seed}"),
        "object": "checkout.session",
        "amount_total": samples::amount(seed),
        "client_reference_id": format!("order-{seed}"),
        "created": order.occurred_at.as_second(),
        "currency": "eur",
        "customer": format!("cus_{seed}"),
        "customer_details": {
            "email": samples::CUSTOMER_EMAIL,
            "name": samples::CUSTOMER_NAME,
        },
        "livemode": true,
        "metadata": metadata(order),
        "mode": "payment",
        "payment_intent": (!expired).then(|| format!("pi_{seed}")),
        "payment_status": if unpaid { "unpaid" } else { "paid" },
        "status": if expired { "expired" } else { "complete" },
    })
}

fn payment_link(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    json!({
        "id": format!("plink_{seed}"),
        "object": "payment_link",
        "active": order.event_type == "payment_link.created",
        "currency": "eur",
        "livemode": true,
        "metadata": metadata(order),
        "url": format!("https://buy.stripe.example/{seed}"),
    })
}

fn quote(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let status = match order.event_type {
        "quote.created" => "draft",
        "quote.finalized" => "open",
        "quote.accepted" => "accepted",
        _ => "canceled",
    };
    json!({
        "id": format!("qt_{seed}"),
        "object": "quote",
        "amount_total": samples::amount(seed),
        "created": order.occurred_at.as_second(),
        "currency": "eur",
        "customer": format!("cus_{seed}"),
        "livemode": true,
        "metadata": metadata(order),
        "number": format!("QT-{seed}"),
        "status": status,
    })
}

fn payout(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let failed = order.event_type == "payout.failed";
    let status = match order.event_type {
        "payout.created" => "pending",
        "payout.paid" => "paid",
        "payout.failed" => "failed",
        _ => "canceled",
    };
    json!({
        "id": format!("po_{seed}"),
        "object": "payout",
        "amount": samples::amount(seed),
        "created": order.occurred_at.as_second(),
        "currency": "eur",
        "failure_code": failed.then_some("account_closed"),
        "failure_message": failed.then_some("The bank account has been closed."),
        "livemode": true,
        "metadata": {},
        "statement_descriptor": format!("PAYOUT {seed}"),
        "status": status,
    })
}

fn cash_transaction(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let amount = samples::amount(seed);
    json!({
        "id": format!("ccsbtxn_{seed}"),
        "object": "customer_cash_balance_transaction",
        "created": order.occurred_at.as_second(),
        "currency": "eur",
        "customer": format!("cus_{seed}"),
        "ending_balance": amount,
        "funded": {
            "bank_transfer": {
                "eu_bank_transfer": { "bic": "EXAMPLEX", "sender_name": samples::CUSTOMER_NAME },
                "reference": format!("INV-{seed}"),
                "type": "eu_bank_transfer",
            },
        },
        "livemode": true,
        "net_amount": amount,
        "type": "funded",
    })
}

fn early_fraud_warning(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    json!({
        "id": format!("issfr_{seed}"),
        "object": "radar.early_fraud_warning",
        "actionable": true,
        "charge": format!("ch_{seed}"),
        "created": order.occurred_at.as_second(),
        "fraud_type": "unauthorized_use_of_card",
        "livemode": true,
        "payment_intent": format!("pi_{seed}"),
    })
}
