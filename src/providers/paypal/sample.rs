//! Signed requests as PayPal sends them, for every event type and IPN that the module translates, with what
//! PayPal's API and its postback answer. One seed makes one payment, reported by webhooks and by IPN under
//! one id. The certificate is the sample's own: an endpoint takes it only if it trusts the sample's root.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderValue, Method};
use jiff::tz::Offset;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::providers::{Endpoint, Sample, SampleAnswer, SampleOrder, samples};
use crate::receipt::Request;

use super::{
    CERT_FIXTURES, FORM, IPN, RECEIVER_EMAIL, SCHEME, TRUSTED_ROOT, WEBHOOK, WEBHOOK_ID, api,
    events, ipn, webhook,
};

const KEY: &[u8] = include_bytes!("sample_key.pem");
const CERTIFICATE: &str = include_str!("sample_cert.pem");
const ROOT: &str = include_str!("sample_root.pem");
const URL: &str = "https://api.paypal.com/v1/notifications/certs/CERT-SAMPLE";
const POSTBACK_PATH: &str = "/cgi-bin/webscr";
const SELLER: &str = "seller@example.com";
const CURRENCY: &str = "USD";

/// Secrets of an endpoint that takes the samples for authentic.
pub fn sample_secrets() -> Vec<(&'static str, String)> {
    vec![
        (WEBHOOK_ID, "SAMPLE0WEBHOOK0ID".to_owned()),
        (TRUSTED_ROOT, ROOT.to_owned()),
        (CERT_FIXTURES, json!({ URL: CERTIFICATE }).to_string()),
        (RECEIVER_EMAIL, SELLER.to_owned()),
    ]
}

/// The sample of an event type; `None` for one that the endpoint's scheme does not have.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    let scheme = endpoint.setting(SCHEME, "");
    if ipn::TYPES.contains(&order.event_type) && scheme != WEBHOOK {
        return form_sample(endpoint, order);
    }
    let is_event = events::EVENTS.iter().any(|(name, _, _)| *name == order.event_type);
    if !is_event || scheme == IPN {
        return None;
    }
    webhook_sample(endpoint, order)
}

fn webhook_sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    if endpoint.secret(TRUSTED_ROOT)? != ROOT {
        return None;
    }
    let id = samples::event_id(order);
    let event = json!({
        "id": id,
        "event_version": "1.0",
        "create_time": order.occurred_at.to_string(),
        "event_type": order.event_type,
        "resource": resource(order),
    });
    let body = serde_json::to_vec(&event).ok()?;
    let transmission = format!("transmission-{id}");
    let time = order.now.to_string();
    let webhook_id = endpoint.secret(WEBHOOK_ID)?;
    let message = webhook::signed_text(&transmission, &time, webhook_id, &body);
    let signature = BASE64.encode(sign(message.as_bytes())?);
    let headers = [
        (webhook::TRANSMISSION_ID, transmission.as_str()),
        (webhook::TRANSMISSION_TIME, time.as_str()),
        (webhook::SIGNATURE, signature.as_str()),
        (webhook::CERT_URL, URL),
        (webhook::ALGORITHM, webhook::SHA256_WITH_RSA),
        ("paypal-auth-version", "v2"),
    ];
    let request = samples::post(endpoint, &headers, body)?;
    let payments =
        [("/v2/payments/captures/", capture(order)), ("/v1/payments/sale/", sale(order))];
    let mut answers = vec![samples::answer(Method::GET, api::event_path(&id), &event)];
    answers.extend(payments.map(|(parent, payment)| {
        let id = payment["id"].as_str().unwrap_or_default();
        samples::answer(Method::GET, api::object_path(parent, id), &payment)
    }));
    Some(Sample { request, answers })
}

fn sign(message: &[u8]) -> Option<Vec<u8>> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(KEY).ok()?;
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok()?;
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).ok()?;
    Some(signature)
}

fn payment_id(seed: &str) -> String {
    format!("PAY-{seed}")
}

fn sale_id(seed: &str) -> String {
    format!("SALE-{seed}")
}

/// Minor units of the sample's currency as PayPal writes them.
fn decimal(minor_units: i64) -> String {
    format!("{}.{:02}", minor_units / 100, minor_units % 100)
}

fn money(minor_units: i64) -> Value {
    json!({ "currency_code": CURRENCY, "value": decimal(minor_units) })
}

fn older_money(minor_units: i64) -> Value {
    json!({ "currency": CURRENCY, "total": decimal(minor_units) })
}

fn resource(order: &SampleOrder<'_>) -> Value {
    match order.event_type {
        "PAYMENT.SALE.REFUNDED" | "PAYMENT.SALE.REVERSED" => sale_refund(order),
        "PAYMENT.CAPTURE.REFUNDED"
        | "PAYMENT.REFUND.PENDING"
        | "PAYMENT.REFUND.FAILED"
        | "PAYMENT.CAPTURE.REVERSED" => refund(order),
        kind if kind.starts_with("PAYMENT.CAPTURE.") => capture(order),
        kind if kind.starts_with("PAYMENT.SALE.") => sale(order),
        kind if kind.starts_with("PAYMENT.AUTHORIZATION.") => authorization(order),
        kind if kind.contains("DISPUTE") => dispute(order),
        kind if kind.starts_with("INVOICING.") => json!({ "invoice": invoice(order) }),
        kind if kind.starts_with("BILLING.") => subscription(order),
        _ => checkout(order),
    }
}

fn capture(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let status = order.event_type.rsplit('.').next().unwrap_or_default();
    json!({
        "id": payment_id(seed),
        "status": status,
        "amount": money(samples::amount(seed)),
        "invoice_id": format!("INV-{seed}"),
        "custom_id": format!("order-{seed}"),
        "final_capture": true,
        "seller_receivable_breakdown": { "paypal_fee": money(49) },
        "status_details": { "reason": "BUYER_COMPLAINT" },
        "supplementary_data": { "related_ids": { "order_id": format!("ORDER-{seed}") } },
        "payee": { "email_address": SELLER, "merchant_id": "SAMPLEMERCHANT" },
    })
}

fn authorization(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    json!({
        "id": format!("AUTH-{seed}"),
        "status": order.event_type.rsplit('.').next().unwrap_or_default(),
        "amount": money(samples::amount(seed)),
        "invoice_id": format!("INV-{seed}"),
        "supplementary_data": { "related_ids": { "order_id": format!("ORDER-{seed}") } },
    })
}

fn sale(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    json!({
        "id": sale_id(seed),
        "state": "completed",
        "amount": older_money(samples::amount(seed)),
        "transaction_fee": { "currency": CURRENCY, "value": "0.49" },
        "parent_payment": format!("PARENT-{seed}"),
        "payment_mode": "INSTANT_TRANSFER",
        "invoice_number": format!("INV-{seed}"),
        "custom": format!("order-{seed}"),
    })
}

fn refund(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let part = samples::part_of(samples::amount(seed));
    let href = format!("https://api.paypal.com/v2/payments/captures/{}", payment_id(seed));
    json!({
        "id": format!("REFUND-{seed}"),
        "amount": money(part),
        "invoice_id": format!("INV-{seed}"),
        "seller_payable_breakdown": { "total_refunded_amount": money(part) },
        "links": [{ "rel": "up", "method": "GET", "href": href }],
    })
}

fn sale_refund(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let part = samples::part_of(samples::amount(seed));
    json!({
        "id": format!("REFUND-{seed}"),
        "state": "completed",
        "sale_id": sale_id(seed),
        "amount": { "currency": CURRENCY, "total": format!("-{}", decimal(part)) },
        "total_refunded_amount": { "currency": CURRENCY, "value": decimal(part) },
    })
}

fn dispute(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let is_over = order.event_type.ends_with("RESOLVED");
    let mut case = json!({
        "dispute_id": format!("PP-D-{seed}"),
        "disputed_transactions": [{
            "seller_transaction_id": payment_id(seed),
            "invoice_number": format!("INV-{seed}"),
            "custom": format!("order-{seed}"),
            "buyer": { "name": samples::CUSTOMER_NAME },
        }],
        "dispute_amount": money(samples::amount(seed)),
        "reason": "MERCHANDISE_OR_SERVICE_NOT_RECEIVED",
        "status": if is_over { "RESOLVED" } else { "OPEN" },
    });
    if is_over {
        case["dispute_outcome"] = json!({ "outcome_code": "RESOLVED_SELLER_FAVOUR" });
    }
    case
}

fn invoice(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let total = samples::amount(seed);
    let (status, paid, refunded) = match order.event_type {
        "INVOICING.INVOICE.CREATED" => ("DRAFT", 0, 0),
        "INVOICING.INVOICE.SCHEDULED" => ("SCHEDULED", 0, 0),
        "INVOICING.INVOICE.UPDATED" => ("PARTIALLY_PAID", samples::part_of(total), 0),
        "INVOICING.INVOICE.PAID" => ("PAID", total, 0),
        "INVOICING.INVOICE.REFUNDED" => ("REFUNDED", total, total),
        _ => ("CANCELLED", 0, 0),
    };
    json!({
        "id": format!("INV2-{seed}"),
        "status": status,
        "detail": {
            "invoice_number": format!("INV-{seed}"),
            "currency_code": CURRENCY,
            "payment_term": { "due_date": "2026-12-31" },
        },
        "primary_recipients": [{ "billing_info": {
            "email_address": samples::CUSTOMER_EMAIL,
            "name": { "full_name": samples::CUSTOMER_NAME },
        } }],
        "amount": money(total),
        "due_amount": money(total - paid),
        "payments": { "paid_amount": money(paid) },
        "refunds": { "refund_amount": money(refunded) },
    })
}

fn subscription(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    json!({
        "id": format!("I-{seed}"),
        "status": "ACTIVE",
        "custom_id": format!("order-{seed}"),
        "subscriber": { "email_address": samples::CUSTOMER_EMAIL, "payer_id": format!("PAYER-{seed}") },
        "billing_info": { "last_failed_payment": {
            "amount": money(samples::amount(seed)),
            "reason_code": "PAYMENT_DENIED",
        } },
    })
}

fn checkout(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    json!({
        "id": format!("ORDER-{seed}"),
        "payer": {
            "email_address": samples::CUSTOMER_EMAIL,
            "payer_id": format!("PAYER-{seed}"),
            "name": { "given_name": "Example", "surname": "Customer" },
        },
        "purchase_units": [{
            "amount": money(samples::amount(seed)),
            "invoice_id": format!("INV-{seed}"),
            "custom_id": format!("order-{seed}"),
            "payments": { "captures": [{ "id": payment_id(seed) }] },
        }],
    })
}

fn form_sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    let receiver = endpoint.secret(RECEIVER_EMAIL)?;
    let mut body = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields(order, receiver) {
        body.append_pair(name, &value);
    }
    let request = samples::post(endpoint, &[], body.finish().into_bytes())?;
    let mut headers = request.headers;
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(FORM));
    let answer = SampleAnswer {
        method: Method::POST,
        path: samples::path_of(endpoint.setting(ipn::IPN_URL, POSTBACK_PATH)).to_owned(),
        status: 200,
        body: Bytes::from_static(b"VERIFIED"),
    };
    Some(Sample { request: Request { headers, ..request }, answers: vec![answer] })
}

fn fields(order: &SampleOrder<'_>, receiver: &str) -> Vec<(&'static str, String)> {
    let seed = order.seed;
    let amount = samples::amount(seed);
    let part = samples::part_of(amount);
    let back = |minor_units: i64| format!("-{}", decimal(minor_units));
    // What has a transaction of its own names the payment as its parent.
    let (gross, own, reason) = match order.event_type {
        "Refunded" | "Partially_Refunded" => (back(part), Some("REFUND"), "refund"),
        "Reversed" => (back(amount), Some("REVERSAL"), "chargeback"),
        "Canceled_Reversal" => (decimal(amount), Some("RETURN"), "chargeback"),
        "adjustment" => (back(amount), Some("ADJUSTMENT"), "chargeback"),
        "new_case" => (decimal(amount), None, "non_receipt"),
        "Denied" | "Failed" => (decimal(amount), None, "refused"),
        _ => (decimal(amount), None, ""),
    };
    let (transaction_type, status) = match order.event_type {
        kind @ ("new_case"
        | "masspay"
        | "subscr_failed"
        | "recurring_payment_failed"
        | "subscr_signup"
        | "subscr_cancel"
        | "subscr_eot") => (kind, ""),
        "adjustment" => ("adjustment", "Completed"),
        status => ("web_accept", status),
    };
    let mut fields = vec![
        ("txn_type", transaction_type.to_owned()),
        ("payment_date", pacific(order)),
        ("charset", "UTF-8".to_owned()),
        ("receiver_email", receiver.to_owned()),
        ("business", receiver.to_owned()),
        ("payer_id", format!("PAYER-{seed}")),
        ("first_name", "Example".to_owned()),
        ("last_name", "Customer".to_owned()),
        ("mc_currency", CURRENCY.to_owned()),
        ("mc_gross", gross),
        ("mc_fee", "0.49".to_owned()),
        ("invoice", format!("INV-{seed}")),
        ("custom", format!("order-{seed}")),
        ("payment_type", "instant".to_owned()),
        ("reason_code", reason.to_owned()),
        ("ipn_track_id", format!("track{seed}")),
    ];
    if !status.is_empty() {
        fields.push(("payment_status", status.to_owned()));
    }
    match own {
        Some(kind) => fields
            .extend([("txn_id", format!("{kind}-{seed}")), ("parent_txn_id", payment_id(seed))]),
        None => fields.push(("txn_id", payment_id(seed))),
    }
    fields.extend(fields_of_kind(order, receiver));
    fields
}

/// What only forms of this kind have. The payer of a mass payment is the account itself.
fn fields_of_kind(order: &SampleOrder<'_>, receiver: &str) -> Vec<(&'static str, String)> {
    let seed = order.seed;
    let payer = ("payer_email", samples::CUSTOMER_EMAIL.to_owned());
    match order.event_type {
        "new_case" => vec![payer, ("case_id", format!("PP-D-{seed}"))],
        "subscr_failed" => vec![payer, ("subscr_id", format!("I-{seed}"))],
        "recurring_payment_failed" => vec![payer, ("recurring_payment_id", format!("I-{seed}"))],
        "masspay" => vec![
            ("payer_email", receiver.to_owned()),
            ("masspay_txn_id_1", format!("MASS-{seed}")),
            ("status_1", "Completed".to_owned()),
            ("mc_gross_1", decimal(samples::amount(seed))),
            ("mc_currency_1", CURRENCY.to_owned()),
            ("receiver_email_1", samples::CUSTOMER_EMAIL.to_owned()),
            ("unique_id_1", format!("order-{seed}")),
        ],
        _ => vec![payer],
    }
}

/// The time as IPN writes it.
fn pacific(order: &SampleOrder<'_>) -> String {
    const PACIFIC: Offset = Offset::constant(-8);
    let local = PACIFIC.to_datetime(order.occurred_at);
    local.strftime("%H:%M:%S %b %d, %Y PST").to_string()
}
