//! What happens to payments, as Stripe's webhooks tell it: signed requests for a gateway's endpoint
//! `stripe/test`. In comes the number of a payment, out go its events in their order. They are written from
//! Stripe's documentation of event objects; nothing here knows the gateway.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use ring::hmac;
use serde_json::{Value, json};

use crate::callback;

/// The endpoint's signing secret.
pub const SECRET: &str = "whsec_test_0123456789abcdef";
/// Where the endpoint is.
pub const PATH: &str = "/webhooks/stripe/test";
const POST_TIMEOUT: Duration = Duration::from_secs(15);

/// One event of a payment.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// Stripe's id of the event.
    pub id: String,
    /// The payment's id.
    pub payment: String,
    /// Stripe's name of what happened.
    pub event_type: &'static str,
    /// When it happened, in seconds since 1970.
    pub created: i64,
    object: Value,
}

/// The id of payment `number`.
pub fn payment_id(number: usize) -> String {
    format!("pi_{number:05}")
}

/// What payment `number` was for, in cents.
pub fn amount(number: usize) -> i64 {
    1_000 + i64::try_from(number).unwrap_or(0) * 137 % 90_000
}

/// The life of payment `number`, one of seven by its number, from `begun_at` on, a second a step.
pub fn life(number: usize, begun_at: Timestamp) -> Vec<Happening> {
    const LIVES: &[&[&str]] = &[
        &["payment_intent.created", "payment_intent.succeeded"],
        &["payment_intent.created", "payment_intent.succeeded", "part", "charge.refunded"],
        &["payment_intent.created", "payment_intent.payment_failed", "payment_intent.succeeded"],
        &["payment_intent.created", "payment_intent.canceled"],
        &["payment_intent.created", "payment_intent.processing", "payment_intent.succeeded"],
        &["payment_intent.succeeded", "charge.dispute.created"],
        &["payment_intent.created", "payment_intent.succeeded", "part"],
    ];
    let steps = LIVES[number % LIVES.len()];
    let at = |step: usize| begun_at.as_second() + i64::try_from(step).unwrap_or(0);
    steps.iter().enumerate().map(|(step, name)| happening(number, name, at(step), step)).collect()
}

/// A life of so many events that none of them ends: authorisations that are tried again and again, then
/// paid.
pub fn long_life(number: usize, begun_at: Timestamp, events: usize) -> Vec<Happening> {
    let name = |step: usize| match (step, step + 1 == events) {
        (_, true) => "payment_intent.succeeded",
        (0, false) => "payment_intent.created",
        (step, false) if step % 2 == 1 => "payment_intent.payment_failed",
        (_, false) => "payment_intent.processing",
    };
    let at = |step: usize| begun_at.as_second() + i64::try_from(step).unwrap_or(0);
    (0..events).map(|step| happening(number, name(step), at(step), step)).collect()
}

/// One event of payment `number`.
pub fn happening(number: usize, name: &str, created: i64, step: usize) -> Happening {
    let payment = payment_id(number);
    let amount = amount(number);
    let (event_type, object) = match name {
        "part" => ("charge.refunded", charge(number, amount / 4)),
        "charge.refunded" => ("charge.refunded", charge(number, amount)),
        "charge.dispute.created" => ("charge.dispute.created", dispute(number)),
        "payment_intent.created" => {
            ("payment_intent.created", intent(number, "requires_payment_method"))
        }
        "payment_intent.processing" => ("payment_intent.processing", intent(number, "processing")),
        "payment_intent.payment_failed" => {
            ("payment_intent.payment_failed", intent(number, "requires_payment_method"))
        }
        "payment_intent.canceled" => ("payment_intent.canceled", intent(number, "canceled")),
        _ => ("payment_intent.succeeded", intent(number, "succeeded")),
    };
    Happening { id: format!("evt_{number}_{step}"), payment, event_type, created, object }
}

fn intent(number: usize, status: &str) -> Value {
    let amount = amount(number);
    json!({
        "id": payment_id(number),
        "object": "payment_intent",
        "amount": amount,
        "amount_received": if status == "succeeded" { amount } else { 0 },
        "currency": "eur",
        "status": status,
        "latest_charge": format!("ch_{number:05}"),
        "metadata": { "order_id": format!("order-{number}"), "invoice_number": format!("INV-{number}") },
        "receipt_email": format!("payer-{number}@example.com"),
    })
}

fn charge(number: usize, refunded: i64) -> Value {
    let amount = amount(number);
    json!({
        "id": format!("ch_{number:05}"),
        "object": "charge",
        "amount": amount,
        "amount_captured": amount,
        "amount_refunded": refunded,
        "captured": true,
        "refunded": refunded == amount,
        "paid": true,
        "status": "succeeded",
        "currency": "eur",
        "payment_intent": payment_id(number),
        "metadata": { "order_id": format!("order-{number}") },
    })
}

fn dispute(number: usize) -> Value {
    json!({
        "id": format!("dp_{number:05}"),
        "object": "dispute",
        "amount": amount(number),
        "currency": "eur",
        "status": "needs_response",
        "reason": "fraudulent",
        "charge": format!("ch_{number:05}"),
        "payment_intent": payment_id(number),
        "metadata": {},
    })
}

impl Happening {
    /// Its body as Stripe sends it.
    pub fn body(&self) -> Bytes {
        let event = json!({
            "id": self.id,
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": self.created,
            "type": self.event_type,
            "livemode": true,
            "data": { "object": self.object },
        });
        serde_json::to_vec(&event).expect("values of our own are JSON").into()
    }

    /// Posts it, signed now; the status code, or nothing if no answer came.
    pub async fn post(&self, gateway: &str) -> Option<u16> {
        let body = self.body();
        let time = Timestamp::now().as_second().to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let mut signing = hmac::Context::with_key(&key);
        for part in [time.as_bytes(), b".", &body] {
            signing.update(part);
        }
        let signature = format!("t={time},v1={}", hex::encode(signing.sign()));
        let headers =
            [("stripe-signature", signature.as_str()), ("content-type", "application/json")];
        let url = format!("{gateway}{PATH}");
        let answer = callback::post(&url, &headers, body, POST_TIMEOUT).await.ok()?;
        Some(answer.status.as_u16())
    }

    /// Posts it until the gateway takes it, as Stripe does: it may be down for a while.
    pub async fn deliver(&self, gateway: &str) {
        const PAUSE: Duration = Duration::from_millis(50);
        for _ in 0..2_000 {
            match self.post(gateway).await {
                Some(200) => return,
                Some(status @ 400..500) => panic!("{} was refused: {status}", self.id),
                Some(_) | None => tokio::time::sleep(PAUSE).await,
            }
        }
        panic!("{} was never taken", self.id);
    }
}
