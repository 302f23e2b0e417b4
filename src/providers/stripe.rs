//! Stripe: `Stripe-Signature: t=<unix seconds>,v1=<hex>[,v1=<hex>]`, where a v1 is the HMAC-SHA256 of
//! `{t}.{raw body}` keyed with the endpoint's secret as text, `whsec_` included. Any v1 may match, as
//! there is one per secret while a secret is rolled; every other scheme is ignored, so that nothing can be
//! downgraded. The signed time may be 300 s from now. In comes a request, out come payments (a
//! PaymentIntent, else its charge), invoices, bank transactions (payouts, cash balance) and payment
//! requests (checkouts, links, quotes). Thin events (`v2.core.event`) carry no facts and stay unknown.
//! It must never take anything from a body that did not verify.
//! Spec: <https://docs.stripe.com/webhooks/signature>, <https://docs.stripe.com/api/events/types>

mod balance;
mod billing;
mod payments;
mod sample;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{
    BankTransactionStatus, CustomerAction, DisputeState, Draft, EndpointName, Fact, InvoiceStatus,
    Money, PaymentStatus, References,
};
use crate::receipt::signature::{fresh, hmac_sha256};
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::payload::{self, Text};
use super::{
    Endpoint, Keys, Provider, REPLIES, Sample, SecretKey, TranslateError, Translation, Verdict,
    no_check, no_example, no_fetch, no_poll,
};

/// Stripe.
pub const PROVIDER: Provider = Provider {
    name: "stripe",
    title: "Stripe",
    secrets: &[SecretKey { name: SECRET, required: true }],
    settings: &[],
    structured: &[],
    events: &EVENT_TYPES,
    redaction: Redaction {
        headers: &[],
        query: &[],
        body_members: &["client_secret", "fingerprint", "iban", "account_number"],
    },
    hosts: &[],
    check: no_check,
    verify,
    translate,
    fetch: no_fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: |endpoint, order| sample::sample(endpoint, order).map(Sample::from),
    example: no_example,
};

const SECRET: &str = "webhook_secret";
const HEADER: &str = "stripe-signature";
const TOLERANCE_SECONDS: i64 = 300;
const SIGNATURE_HEX_DIGITS: usize = 64;
/// Stripe sends one v1 per live secret; more than this is no header of Stripe's.
const MAX_SIGNATURES: usize = 16;
/// The `object` of thin events.
const THIN_EVENT: &str = "v2.core.event";

/// Currencies whose minor unit at Stripe is not that of ISO 4217.
/// <https://docs.stripe.com/currencies#special-cases>
const EXPONENTS: &[(&str, u32)] = &[("ISK", 2), ("MGA", 0), ("UGX", 2)];

/// What an event type says. Where the status is `None`, the object says it.
#[derive(Clone, Copy)]
enum Meaning {
    /// A PaymentIntent reached this status.
    Intent(PaymentStatus),
    /// A charge succeeded or was captured.
    ChargeTaken,
    /// A charge ended without money.
    ChargeEnded(PaymentStatus),
    /// A charge's running total of refunds.
    ChargeRefunded,
    /// One refund.
    Refund,
    /// One dispute; the state is what the type alone tells.
    Dispute(DisputeState),
    /// An invoice.
    Invoice(Option<InvoiceStatus>),
    /// One payment on an invoice.
    InvoicePayment,
    /// A checkout session.
    Session(SessionStep),
    /// A payment link.
    PaymentLink,
    /// A quote.
    Quote(CustomerAction),
    /// A payout to the merchant's bank account.
    Payout(BankTransactionStatus),
    /// What a customer's cash balance holds.
    CashBalance,
    /// One movement on a customer's cash balance.
    CashTransaction,
}

/// What became of a checkout session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SessionStep {
    Completed,
    Paid,
    Failed,
    Expired,
}

/// One event type: its step decides between types of the same second that state the same status.
struct Row {
    event_type: &'static str,
    step: u8,
    meaning: Meaning,
}

const fn row(event_type: &'static str, step: u8, meaning: Meaning) -> Row {
    Row { event_type, step, meaning }
}

#[rustfmt::skip]
const EVENTS: [Row; 54] = [
    row("payment_intent.created", 0, Meaning::Intent(PaymentStatus::Pending)),
    row("payment_intent.processing", 1, Meaning::Intent(PaymentStatus::Pending)),
    row("payment_intent.requires_action", 2, Meaning::Intent(PaymentStatus::Pending)),
    row("payment_intent.partially_funded", 3, Meaning::Intent(PaymentStatus::PartiallyPaid)),
    row("payment_intent.amount_capturable_updated", 3, Meaning::Intent(PaymentStatus::Authorized)),
    row("payment_intent.payment_failed", 3, Meaning::Intent(PaymentStatus::Failed)),
    row("payment_intent.canceled", 3, Meaning::Intent(PaymentStatus::Canceled)),
    row("payment_intent.succeeded", 3, Meaning::Intent(PaymentStatus::Paid)),
    row("charge.failed", 0, Meaning::ChargeEnded(PaymentStatus::Failed)),
    row("charge.expired", 0, Meaning::ChargeEnded(PaymentStatus::Canceled)),
    row("charge.succeeded", 0, Meaning::ChargeTaken),
    row("charge.captured", 1, Meaning::ChargeTaken),
    row("charge.refunded", 3, Meaning::ChargeRefunded),
    row("refund.created", 0, Meaning::Refund),
    row("charge.refund.updated", 1, Meaning::Refund),
    row("refund.updated", 1, Meaning::Refund),
    row("refund.failed", 2, Meaning::Refund),
    row("charge.dispute.created", 0, Meaning::Dispute(DisputeState::Open)),
    row("charge.dispute.updated", 1, Meaning::Dispute(DisputeState::Open)),
    row("charge.dispute.funds_withdrawn", 2, Meaning::Dispute(DisputeState::Open)),
    row("charge.dispute.closed", 3, Meaning::Dispute(DisputeState::Open)),
    row("charge.dispute.funds_reinstated", 4, Meaning::Dispute(DisputeState::Won)),
    row("invoice.created", 0, Meaning::Invoice(None)),
    row("invoice.finalized", 1, Meaning::Invoice(None)),
    row("invoice.sent", 2, Meaning::Invoice(None)),
    row("invoice.will_be_due", 3, Meaning::Invoice(None)),
    row("invoice.payment_action_required", 4, Meaning::Invoice(None)),
    row("invoice.payment_attempt_required", 5, Meaning::Invoice(None)),
    row("invoice.overdue", 0, Meaning::Invoice(Some(InvoiceStatus::Overdue))),
    row("invoice.payment_failed", 0, Meaning::Invoice(Some(InvoiceStatus::PaymentFailed))),
    row("invoice_payment.paid", 0, Meaning::InvoicePayment),
    row("invoice.updated", 6, Meaning::Invoice(None)),
    row("invoice.payment_succeeded", 7, Meaning::Invoice(Some(InvoiceStatus::Paid))),
    row("invoice.paid", 8, Meaning::Invoice(Some(InvoiceStatus::Paid))),
    row("invoice.overpaid", 9, Meaning::Invoice(Some(InvoiceStatus::Paid))),
    row("invoice.marked_uncollectible", 7, Meaning::Invoice(Some(InvoiceStatus::Uncollectible))),
    row("invoice.voided", 7, Meaning::Invoice(Some(InvoiceStatus::Void))),
    row("invoice.deleted", 8, Meaning::Invoice(Some(InvoiceStatus::Void))),
    row("checkout.session.completed", 4, Meaning::Session(SessionStep::Completed)),
    row("checkout.session.async_payment_succeeded", 5, Meaning::Session(SessionStep::Paid)),
    row("checkout.session.async_payment_failed", 5, Meaning::Session(SessionStep::Failed)),
    row("checkout.session.expired", 4, Meaning::Session(SessionStep::Expired)),
    row("payment_link.created", 0, Meaning::PaymentLink),
    row("payment_link.updated", 1, Meaning::PaymentLink),
    row("quote.created", 0, Meaning::Quote(CustomerAction::RequestCreated)),
    row("quote.finalized", 1, Meaning::Quote(CustomerAction::RequestCreated)),
    row("quote.accepted", 0, Meaning::Quote(CustomerAction::RequestAccepted)),
    row("quote.canceled", 0, Meaning::Quote(CustomerAction::RequestCanceled)),
    row("payout.created", 0, Meaning::Payout(BankTransactionStatus::Pending)),
    row("payout.paid", 0, Meaning::Payout(BankTransactionStatus::Booked)),
    row("payout.failed", 0, Meaning::Payout(BankTransactionStatus::Failed)),
    row("payout.canceled", 0, Meaning::Payout(BankTransactionStatus::Removed)),
    row("cash_balance.funds_available", 0, Meaning::CashBalance),
    row("customer_cash_balance_transaction.created", 0, Meaning::CashTransaction),
];

/// Known and understood, but about a risk, not about a payment.
const NOTES: [&str; 1] = ["radar.early_fraud_warning.created"];

const EVENT_TYPES: [&str; EVENTS.len() + NOTES.len()] = {
    let mut names = [""; EVENTS.len() + NOTES.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = if index < EVENTS.len() {
            EVENTS[index].event_type
        } else {
            NOTES[index - EVENTS.len()]
        };
        index += 1;
    }
    names
};

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let header = SignatureHeader::parse(request.header(HEADER)?)?;
    fresh(header.seconds, now, TOLERANCE_SECONDS)?;
    let signed: [&[u8]; 3] = [header.time.as_bytes(), b".", &request.body];
    hmac_sha256(endpoint.candidates(SECRET), &signed, &header.signatures).map(Verdict::Verified)
}

/// What the signature header holds.
struct SignatureHeader<'a> {
    time: &'a str,
    seconds: i64,
    signatures: Vec<Vec<u8>>,
}

impl<'a> SignatureHeader<'a> {
    /// Takes items in any order; one without `=` or of an unknown scheme is skipped. Blanks are part of an
    /// item, as they are to Stripe's own libraries.
    fn parse(text: &'a str) -> Result<SignatureHeader<'a>, VerifyError> {
        let malformed = || VerifyError::Malformed(HEADER);
        let mut time = None;
        let mut signatures = Vec::new();
        for (scheme, value) in text.split(',').filter_map(|item| item.split_once('=')) {
            match scheme {
                "t" if time.replace(value).is_some() => return Err(malformed()),
                "v1" if signatures.len() == MAX_SIGNATURES => return Err(malformed()),
                "v1" => signatures.extend(lower_hex(value)),
                _ => {}
            }
        }
        let time = time.filter(|time| time.bytes().all(|byte| byte.is_ascii_digit()));
        let time = time.ok_or_else(malformed)?;
        let seconds = time.parse().map_err(|_| malformed())?;
        if signatures.is_empty() {
            return Err(malformed());
        }
        Ok(SignatureHeader { time, seconds, signatures })
    }
}

/// Stripe compares the text, so that upper-case digits are no signature.
fn lower_hex(text: &str) -> Option<Vec<u8>> {
    let is_lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != SIGNATURE_HEX_DIGITS || !text.bytes().all(is_lower) {
        return None;
    }
    hex::decode(text).ok()
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let body: Body<'_> = serde_json::from_slice(receipt.body())
        .map_err(|error| payload::unreadable("a Stripe event", &error))?;
    if NOTES.contains(&&*body.event_type) {
        return Ok(Translation::Events(Vec::new()));
    }
    let row = EVENTS.iter().find(|row| row.event_type == &*body.event_type);
    let Some(row) = row.filter(|_| &*body.object != THIN_EVENT) else {
        return payload::unknown_type(&body.event_type);
    };
    let event = Event::new(&body, row.step, &endpoint.name)?;
    let draft = match row.meaning {
        Meaning::Intent(status) => payments::intent(&event, status)?,
        Meaning::ChargeTaken => payments::charge_taken(&event)?,
        Meaning::ChargeEnded(status) => payments::charge_ended(&event, status)?,
        Meaning::ChargeRefunded => payments::charge_refunded(&event)?,
        Meaning::Refund => return payments::refund(&event).map(Translation::Events),
        Meaning::Dispute(state) => payments::dispute(&event, state)?,
        Meaning::Invoice(status) => billing::invoice(&event, status)?,
        Meaning::InvoicePayment => billing::invoice_payment(&event)?,
        Meaning::Session(step) => billing::session(&event, step)?,
        Meaning::PaymentLink => billing::payment_link(&event)?,
        Meaning::Quote(action) => billing::quote(&event, action)?,
        Meaning::Payout(status) => balance::payout(&event, status)?,
        Meaning::CashBalance => return balance::cash_balance(&event).map(Translation::Events),
        Meaning::CashTransaction => balance::cash_transaction(&event)?,
    };
    Ok(Translation::Events(vec![draft]))
}

/// The envelope.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default, rename = "type")]
    event_type: Text<'a>,
    #[serde(borrow, default)]
    object: Text<'a>,
    #[serde(borrow, default)]
    created: Text<'a>,
    livemode: Option<bool>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

/// An event of a known type, with what every draft of it needs.
struct Event<'a> {
    body: &'a Body<'a>,
    object: &'a RawValue,
    occurred_at: Timestamp,
    step: u8,
    endpoint: &'a EndpointName,
}

impl<'a> Event<'a> {
    fn new(
        body: &'a Body<'a>,
        step: u8,
        endpoint: &'a EndpointName,
    ) -> Result<Event<'a>, TranslateError> {
        if body.id.is_empty() {
            return Err(TranslateError("the event has no id".to_owned()));
        }
        let object = body.data.as_ref().and_then(|data| data.object);
        let object = object.ok_or_else(|| TranslateError("the event has no object".to_owned()))?;
        let occurred_at = body.created.parse().ok().and_then(|at| Timestamp::from_second(at).ok());
        let occurred_at = occurred_at.ok_or_else(|| payload::not_a("a time", &body.created))?;
        Ok(Event { body, object, occurred_at, step, endpoint })
    }

    /// The object that the event is about, which is `what`.
    fn read<T: Deserialize<'a>>(&self, what: &str) -> Result<T, TranslateError> {
        serde_json::from_str(self.object.get()).map_err(|error| payload::unreadable(what, &error))
    }

    /// A draft about the resource with this id. The step settles what the base rank leaves open.
    fn draft(
        &self,
        id: &str,
        base_rank: u8,
        references: References,
        fact: Fact,
    ) -> Result<Draft, TranslateError> {
        Ok(Draft {
            key: self.body.id.to_string(),
            event_id: self.body.id.to_string(),
            event_type: self.body.event_type.to_string(),
            occurred_at: self.occurred_at,
            version: 0,
            rank: base_rank + self.step,
            subject: payload::subject(fact.kind(), self.endpoint, id)?,
            references: references.bounded(),
            live: self.body.livemode.unwrap_or(true),
            fact,
        })
    }
}

/// An amount that the object must have.
fn required(amount: Option<i64>, currency: &str, what: &str) -> Result<Money, TranslateError> {
    let amount = amount.ok_or_else(|| TranslateError(format!("{what} has no amount")))?;
    payload::money(amount, currency, EXPONENTS)
}

/// An amount that the object may have.
fn optional(amount: Option<i64>, currency: &str) -> Result<Option<Money>, TranslateError> {
    payload::optional_money(amount, currency, EXPONENTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EntryState;
    use crate::providers::testing;

    const SECRETS: &[(&str, &str)] = &[(SECRET, "whsec_sample")];

    fn endpoint() -> Endpoint {
        testing::endpoint(&PROVIDER, SECRETS)
    }

    #[test]
    fn samples_verify_and_translate_and_do_not_survive_a_flipped_byte() {
        testing::check_samples(&PROVIDER, &endpoint(), &NOTES, testing::Coverage::Body);
    }

    #[test]
    fn a_life_in_one_second_is_in_order() {
        for life in [
            &[
                "payment_intent.created",
                "payment_intent.processing",
                "payment_intent.requires_action",
                "payment_intent.payment_failed",
                "payment_intent.amount_capturable_updated",
                "charge.succeeded",
                "charge.captured",
                "payment_intent.succeeded",
                "checkout.session.completed",
                "refund.created",
                "refund.updated",
                "charge.refunded",
                "refund.failed",
                "charge.dispute.created",
                "charge.dispute.updated",
                "charge.dispute.funds_withdrawn",
                "charge.dispute.closed",
                "charge.dispute.funds_reinstated",
            ][..],
            &[
                "invoice.created",
                "invoice.finalized",
                "invoice.sent",
                "invoice.overdue",
                "invoice_payment.paid",
                "invoice.updated",
                "invoice.payment_failed",
                "invoice.marked_uncollectible",
                "invoice.payment_succeeded",
                "invoice.paid",
            ],
            &["quote.created", "quote.finalized", "quote.accepted", "quote.canceled"],
            &["payout.created", "payout.paid", "payout.failed"],
        ] {
            testing::check_life(&PROVIDER, &endpoint(), life);
        }
    }

    #[test]
    fn a_charge_tells_the_total_of_refunds_and_a_refund_tells_of_itself() {
        let draft = |event_type| {
            testing::draft_of(&PROVIDER, &endpoint(), event_type, ["", ""]).expect("readable")
        };
        let (charge, refund) = (draft("charge.refunded"), draft("refund.updated"));
        let (by_charge, by_refund) =
            (testing::payment_fact(&charge), testing::payment_fact(&refund));
        let entry = by_refund.refund.as_ref().expect("one refund");
        assert_eq!((entry.id.as_str(), entry.state), ("re_a1", EntryState::Done));
        assert!(by_charge.refunded_total.is_some() && entry.amount < by_charge.refunded_total);
        assert_eq!((&by_charge.refund, by_refund.refunded_total), (&None, None));
        assert_eq!((by_refund.status, by_refund.amount), (None, None));
        assert_eq!(charge.subject, refund.subject);
        assert_eq!(charge.subject.to_string(), "payments/stripe/test/pi_a1");
    }

    #[test]
    fn a_failed_refund_is_above_the_total_that_it_undoes() {
        let draft = |event_type| {
            testing::draft_of(&PROVIDER, &endpoint(), event_type, ["succeeded", "failed"])
        };
        let failed = draft("refund.updated").expect("readable");
        let entry = testing::payment_fact(&failed).refund.as_ref().expect("one refund");
        assert_eq!(entry.state, EntryState::Failed);
        assert!(failed.rank > draft("charge.refunded").expect("readable").rank);
    }

    #[test]
    fn references_are_filled_as_far_as_the_payload_allows() {
        let draft = |event_type| {
            testing::draft_of(&PROVIDER, &endpoint(), event_type, ["", ""]).expect("readable")
        };
        let invoice = draft("invoice.paid").references;
        let metadata = [("order_id".to_owned(), "order-a1".to_owned())].into();
        let expected = References {
            payment: "pi_a1".to_owned(),
            invoice: "in_a1".to_owned(),
            invoice_number: "INV-a1".to_owned(),
            order: "order-a1".to_owned(),
            customer: "cus_a1".to_owned(),
            customer_name: "Example Customer".to_owned(),
            email: "customer@example.com".to_owned(),
            metadata,
        };
        assert_eq!(invoice, expected);
        let session = draft("checkout.session.completed");
        assert_eq!(session.references.order, "order-a1");
        assert!(session.live);
    }

    #[test]
    fn a_malformed_payload_of_a_known_type_is_an_error_that_shows_the_value() {
        for (change, shown) in [
            (["\"currency\": \"eur\"", "\"currency\": \"zzz\""], "`zzz`"),
            (["\"currency\": \"eur\"", "\"currency\": \"isk\""], "not a whole amount of ISK"),
            (["\"amount\": ", "\"amount\": 0.5, \"was\": "], "0.5"),
            (["\"amount\": ", "\"was\": "], "has no amount"),
            (["\"created\": 17", "\"created\": 999999999999917"], "is not a time"),
            (["\"id\": \"pi_a1\"", "\"id\": null"], "names none of the payments"),
        ] {
            let event_type = "payment_intent.succeeded";
            let error = testing::draft_of(&PROVIDER, &endpoint(), event_type, change);
            let error = error.expect_err("malformed").to_string();
            assert!(error.contains(shown), "{error}");
            assert!(!error.contains("customer@"), "{error}");
        }
    }

    #[test]
    fn no_request_panics() {
        testing::check_hostile_input(&PROVIDER, &endpoint());
    }

    #[test]
    fn the_signed_time_may_be_300_seconds_from_now() {
        let request = testing::sample(&PROVIDER, &endpoint(), "payment_intent.succeeded", 0);
        let verdict = |at: i64| {
            let now = Timestamp::from_second(testing::NOW + at).expect("a time");
            PROVIDER.prove(&request, &endpoint(), now).is_ok()
        };
        assert_eq!([-301, -300, 0, 300, 301].map(verdict), [false, true, true, true, false]);
    }

    #[test]
    fn the_signature_header_is_read_leniently_but_not_loosely() {
        let signature = "ab".repeat(32);
        let count = |text: String| SignatureHeader::parse(&text).map(|it| it.signatures.len()).ok();
        assert_eq!(count(format!("v0=x,v1={signature},t=12,v1={signature},y")), Some(2));
        assert_eq!(count(format!("t=12, v1={signature}")), None);
        assert_eq!(count(format!("v1={signature}, t=12")), None);
        assert_eq!(count(format!("t=12,v1={signature},v1=short")), Some(1));
        assert_eq!(count(format!("t=12,v1={}", signature.to_uppercase())), None);
        assert_eq!(count(format!("t=12,t=12,v1={signature}")), None);
        assert_eq!(count(format!("t=-12,v1={signature}")), None);
        assert_eq!(count(format!("t=,v1={signature}")), None);
        assert_eq!(count(format!("v1={signature}")), None);
        assert_eq!(count("t=12".to_owned()), None);
        let many = format!(",v1={signature}").repeat(MAX_SIGNATURES + 1);
        assert_eq!(count(format!("t=12{many}")), None);
    }

    #[test]
    fn the_sample_of_a_paid_intent_is_as_large_as_a_real_one() {
        let request = testing::sample(&PROVIDER, &endpoint(), "payment_intent.succeeded", 0);
        assert!((1_500..2_000).contains(&request.body.len()), "{} bytes", request.body.len());
    }

    #[test]
    fn p10_a_receipt_keeps_no_client_secret() {
        let request = testing::sample(&PROVIDER, &endpoint(), "payment_intent.succeeded", 0);
        let now = Timestamp::from_second(testing::NOW).expect("a time");
        let proof = PROVIDER.prove(&request, &endpoint(), now).expect("verifies");
        let receipt = Receipt::new(request, proof, endpoint().name, now, PROVIDER.redaction);
        let body = String::from_utf8(receipt.body().to_vec()).expect("text");
        assert!(!body.contains("_secret_"), "{body}");
    }
}
