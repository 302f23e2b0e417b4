//! Signed Stripe webhooks of 1.6 KB, each with an id of its own: a template with two places for numbers,
//! and signatures that are made before the clock runs. Made here and not with the gateway's own samples,
//! so that the load generator shares no code with what it measures.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::Full;
use hyper::{Request, header};
use sha2::Sha256;

/// Where the gateway takes them.
pub const PATH: &str = "/webhooks/stripe/bench";
/// What they are signed with.
pub const SECRET: &str = "whsec_load_generator_0123456789";

/// The size of a body.
const BODY_BYTES: usize = 1_600;
/// What stands for the number of the event and of its subject, as wide as what takes its place.
const EVENT: &str = "EVENT_____";
const SUBJECT: &str = "SUBJECT___";
const PADDING: &str = "PADDING";
const TEMPLATE: &str = r#"{
  "id": "evt_bench_EVENT_____",
  "object": "event",
  "api_version": "2026-10-28.endive",
  "created": CREATED,
  "data": {
    "object": {
      "id": "pi_bench_SUBJECT___",
      "object": "payment_intent",
      "amount": 12500,
      "amount_capturable": 0,
      "amount_received": 12500,
      "capture_method": "automatic_async",
      "client_secret": "pi_bench_secret_sample",
      "confirmation_method": "automatic",
      "created": CREATED,
      "currency": "eur",
      "customer": "cus_SUBJECT___",
      "description": "PADDING",
      "last_payment_error": null,
      "latest_charge": "ch_SUBJECT___",
      "livemode": true,
      "metadata": {
        "order_id": "order-SUBJECT___"
      },
      "payment_method": "pm_SUBJECT___",
      "payment_method_types": [
        "card"
      ],
      "receipt_email": "customer@example.com",
      "status": "succeeded"
    }
  },
  "livemode": true,
  "pending_webhooks": 1,
  "request": {
    "id": null,
    "idempotency_key": null
  },
  "type": "payment_intent.succeeded"
}"#;

/// Webhooks with these numbers, ready to be sent.
pub struct Webhooks {
    numbers: Range<u64>,
    subjects: Option<u64>,
    body: Vec<u8>,
    places: Vec<(usize, bool)>,
    time: u64,
    signatures: Vec<[u8; 32]>,
}

impl Webhooks {
    /// Signs webhooks with these numbers, about as many subjects or each about one of its own. They are
    /// good for as long as the gateway takes a signature, five minutes.
    pub fn sign(numbers: Range<u64>, subjects: Option<u64>) -> Webhooks {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let text = TEMPLATE.replace("CREATED", &time.to_string());
        let padding = (BODY_BYTES + PADDING.len()).saturating_sub(text.len());
        let text = text.replace(PADDING, &"x".repeat(padding));
        let of = |word: &'static str, is_event| {
            text.match_indices(word).map(move |(at, _)| (at, is_event)).collect::<Vec<_>>()
        };
        let places = [of(EVENT, true), of(SUBJECT, false)].concat();
        let body = text.into_bytes();
        let mut webhooks =
            Webhooks { numbers: numbers.clone(), subjects, body, places, time, signatures: vec![] };
        let key = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes());
        let mut key = key.expect("an HMAC key may have any length");
        key.update(format!("{time}.").as_bytes());
        let signature = |number| {
            let mut mac = key.clone();
            mac.update(&webhooks.body(number));
            mac.finalize().into_bytes().into()
        };
        webhooks.signatures = numbers.map(signature).collect();
        webhooks
    }

    /// Their numbers.
    pub fn numbers(&self) -> Range<u64> {
        self.numbers.clone()
    }

    /// The request with a number.
    pub fn request(&self, number: u64) -> Request<Full<Bytes>> {
        let at = usize::try_from(number - self.numbers.start).unwrap_or(usize::MAX);
        let signature = format!("t={},v1={}", self.time, hex::encode(self.signatures[at]));
        Request::post(PATH)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .header(header::USER_AGENT, "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
            .header("stripe-signature", signature)
            .body(Full::new(Bytes::from(self.body(number))))
            .expect("all parts are valid")
    }

    fn body(&self, number: u64) -> Vec<u8> {
        let mut body = self.body.clone();
        let subject = self.subjects.map_or(number, |subjects| number % subjects);
        for (at, is_event) in &self.places {
            let value = if *is_event { number } else { subject };
            let text = format!("{value:010}");
            body[*at..*at + text.len()].copy_from_slice(text.as_bytes());
        }
        body
    }
}

/// The number in an event's id.
pub fn number_of(event_id: &str) -> Option<u64> {
    event_id.strip_prefix("evt_bench_")?.parse().ok()
}

/// The number in a subject's name.
pub fn subject_of(subject: &str) -> Option<u64> {
    subject.rsplit_once("pi_bench_")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_size_and_its_own_numbers() {
        let webhooks = Webhooks::sign(40..50, Some(3));
        let text = String::from_utf8(webhooks.body(41)).expect("text");
        assert_eq!(text.len(), BODY_BYTES);
        assert!(text.contains("evt_bench_0000000041") && text.contains("pi_bench_0000000002"));
        assert_eq!(number_of("evt_bench_0000000041"), Some(41));
        assert_eq!(subject_of("payments/stripe/bench/pi_bench_0000000002"), Some(2));
    }
}
