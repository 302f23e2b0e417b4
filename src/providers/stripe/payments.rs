//! Stripe's payments: a PaymentIntent, charge, refund or dispute comes in, a draft about the payment goes
//! out. One payment has both a PaymentIntent and charges; the PaymentIntent is the subject wherever the
//! object names it. A charge tells the running total of refunds, a refund tells of itself alone; the two
//! must never be added up here.

use serde::Deserialize;

use crate::model::{
    Collection, Dispute, DisputeState, Draft, Entry, EntryState, Fact, Money, PaymentFact,
    PaymentStatus, References,
};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Scalars, Text};

use super::{Event, optional, required};

/// Ranks of the evidence about refunds and disputes, above all of `collection_rank`.
const REFUND_RANK: u8 = 100;
const FAILED_REFUND_RANK: u8 = 110;
const DISPUTE_RANK: u8 = 120;

/// The rank of the evidence about the collection: the further in a payment's life, the higher.
pub(super) fn collection_rank(status: PaymentStatus) -> u8 {
    match status {
        PaymentStatus::Pending => 10,
        PaymentStatus::Failed => 20,
        PaymentStatus::PartiallyPaid => 30,
        PaymentStatus::Authorized => 40,
        PaymentStatus::Canceled => 50,
        PaymentStatus::Paid => 60,
        PaymentStatus::PartiallyRefunded | PaymentStatus::Refunded => REFUND_RANK,
        PaymentStatus::Disputed | PaymentStatus::ChargedBack => DISPUTE_RANK,
    }
}

/// The merchant's own order id, which Stripe knows only as metadata.
pub(super) fn order_of(metadata: &Scalars) -> &str {
    metadata.0.get("order_id").map_or("", String::as_str)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Intent<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    amount: Option<i64>,
    amount_received: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    customer: Text<'a>,
    #[serde(borrow)]
    receipt_email: Text<'a>,
    #[serde(borrow)]
    invoice: Text<'a>,
    metadata: Scalars,
    #[serde(borrow)]
    payment_method_types: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    last_payment_error: Option<PaymentError<'a>>,
    #[serde(borrow)]
    next_action: Option<NextAction<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PaymentError<'a> {
    #[serde(borrow)]
    code: Text<'a>,
    #[serde(borrow)]
    decline_code: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NextAction<'a> {
    #[serde(borrow)]
    display_bank_transfer_instructions: Option<TransferInstructions<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TransferInstructions<'a> {
    amount_remaining: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
}

pub(super) fn intent(event: &Event<'_>, status: PaymentStatus) -> Result<Draft, TranslateError> {
    let intent: Intent<'_> = event.read("a Stripe payment intent")?;
    let total = required(intent.amount, &intent.currency, "the payment intent")?;
    let paid = if status == PaymentStatus::Paid {
        optional(intent.amount_received, &intent.currency)?.or(Some(total))
    } else if status == PaymentStatus::PartiallyPaid {
        funded(&intent, total)?
    } else {
        None
    };
    let mut fact = PaymentFact {
        status: Some(status),
        amount: if status == PaymentStatus::PartiallyPaid { paid } else { Some(total) },
        collection: Some(Collection { status, total: Some(total), paid }),
        ..PaymentFact::default()
    };
    // A succeeded intent still shows the error of an earlier try.
    if let (PaymentStatus::Failed, Some(error)) = (status, &intent.last_payment_error) {
        fact.failure_code = payload::first(&[&error.code, &error.decline_code]);
        fact.failure_message = error.message.to_string();
    }
    if let Some([method]) = intent.payment_method_types.as_deref() {
        fact.method = method.to_string();
    }
    let references = References {
        payment: intent.id.to_string(),
        invoice: intent.invoice.to_string(),
        order: order_of(&intent.metadata).to_owned(),
        customer: intent.customer.to_string(),
        email: intent.receipt_email.to_string(),
        metadata: intent.metadata.0,
        ..References::default()
    };
    event.draft(&intent.id, collection_rank(status), references, Fact::Payment(fact))
}

/// What a bank transfer has funded so far: Stripe tells what remains, and counts nothing as received
/// before all of it is there.
fn funded(intent: &Intent<'_>, total: Money) -> Result<Option<Money>, TranslateError> {
    let received = optional(intent.amount_received, &intent.currency)?;
    if let Some(received) = received.filter(|money| money.minor_units > 0) {
        return Ok(Some(received));
    }
    let instructions = intent
        .next_action
        .as_ref()
        .and_then(|next| next.display_bank_transfer_instructions.as_ref());
    let Some(instructions) = instructions else { return Ok(None) };
    let currency = payload::first(&[&instructions.currency, &intent.currency]);
    let remaining = optional(instructions.amount_remaining, &currency)?;
    Ok(remaining.filter(|money| money.currency == total.currency).and_then(|money| {
        let minor_units = total.minor_units.checked_sub(money.minor_units)?;
        Some(Money { minor_units, ..total })
    }))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Charge<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    payment_intent: Text<'a>,
    amount: Option<i64>,
    amount_captured: Option<i64>,
    amount_refunded: Option<i64>,
    captured: Option<bool>,
    refunded: Option<bool>,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    customer: Text<'a>,
    #[serde(borrow)]
    invoice: Text<'a>,
    #[serde(borrow)]
    receipt_email: Text<'a>,
    #[serde(borrow)]
    failure_code: Text<'a>,
    #[serde(borrow)]
    failure_message: Text<'a>,
    #[serde(borrow)]
    billing_details: Option<BillingDetails<'a>>,
    #[serde(borrow)]
    payment_method_details: Option<MethodDetails<'a>>,
    metadata: Scalars,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BillingDetails<'a> {
    #[serde(borrow)]
    email: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MethodDetails<'a> {
    #[serde(borrow, rename = "type")]
    method: Text<'a>,
}

pub(super) fn charge_taken(event: &Event<'_>) -> Result<Draft, TranslateError> {
    let charge: Charge<'_> = event.read("a Stripe charge")?;
    // A payload without the flag is from before uncaptured charges.
    let status = match charge.captured {
        Some(false) => PaymentStatus::Authorized,
        Some(true) | None => PaymentStatus::Paid,
    };
    charge_collection(event, charge, status)
}

pub(super) fn charge_ended(
    event: &Event<'_>,
    status: PaymentStatus,
) -> Result<Draft, TranslateError> {
    charge_collection(event, event.read("a Stripe charge")?, status)
}

fn charge_collection(
    event: &Event<'_>,
    charge: Charge<'_>,
    status: PaymentStatus,
) -> Result<Draft, TranslateError> {
    let total = required(charge.amount, &charge.currency, "the charge")?;
    let fact = PaymentFact {
        status: Some(status),
        amount: Some(total),
        collection: Some(collection_of(&charge, status, total)?),
        ..PaymentFact::default()
    };
    charge_draft(event, charge, collection_rank(status), fact)
}

pub(super) fn charge_refunded(event: &Event<'_>) -> Result<Draft, TranslateError> {
    let charge: Charge<'_> = event.read("a Stripe charge")?;
    // What was only reserved is let go, not given back: Stripe calls both a refund.
    if charge.captured == Some(false) {
        return charge_collection(event, charge, PaymentStatus::Canceled);
    }
    let total = required(charge.amount, &charge.currency, "the charge")?;
    let refunded = required(charge.amount_refunded, &charge.currency, "the refunded charge")?;
    let whole = charge.refunded.unwrap_or(refunded >= total);
    let status = if whole { PaymentStatus::Refunded } else { PaymentStatus::PartiallyRefunded };
    let fact = PaymentFact {
        status: Some(status),
        amount: Some(refunded),
        collection: Some(collection_of(&charge, PaymentStatus::Paid, total)?),
        refunded_total: Some(refunded),
        ..PaymentFact::default()
    };
    charge_draft(event, charge, REFUND_RANK, fact)
}

fn collection_of(
    charge: &Charge<'_>,
    status: PaymentStatus,
    total: Money,
) -> Result<Collection, TranslateError> {
    let paid = if status == PaymentStatus::Paid {
        optional(charge.amount_captured, &charge.currency)?.or(Some(total))
    } else {
        None
    };
    Ok(Collection { status, total: Some(total), paid })
}

fn charge_draft(
    event: &Event<'_>,
    charge: Charge<'_>,
    rank: u8,
    mut fact: PaymentFact,
) -> Result<Draft, TranslateError> {
    let payment = payload::first(&[&charge.payment_intent, &charge.id]);
    let billing = charge.billing_details.unwrap_or_default();
    fact.failure_code = charge.failure_code.to_string();
    fact.failure_message = charge.failure_message.to_string();
    fact.method = charge.payment_method_details.unwrap_or_default().method.to_string();
    let references = References {
        payment: payment.clone(),
        invoice: charge.invoice.to_string(),
        order: order_of(&charge.metadata).to_owned(),
        customer: charge.customer.to_string(),
        customer_name: billing.name.to_string(),
        email: payload::first(&[&billing.email, &charge.receipt_email]),
        metadata: charge.metadata.0,
        ..References::default()
    };
    event.draft(&payment, rank, references, Fact::Payment(fact))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Refund<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    payment_intent: Text<'a>,
    #[serde(borrow)]
    charge: Text<'a>,
    amount: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    failure_reason: Text<'a>,
    metadata: Scalars,
}

/// None for a refund of a customer's cash balance, which is no payment's.
pub(super) fn refund(event: &Event<'_>) -> Result<Vec<Draft>, TranslateError> {
    let refund: Refund<'_> = event.read("a Stripe refund")?;
    let payment = payload::first(&[&refund.payment_intent, &refund.charge]);
    if payment.is_empty() {
        return Ok(Vec::new());
    }
    if refund.id.is_empty() {
        return Err(TranslateError("the refund has no id".to_owned()));
    }
    let state = match &*refund.status {
        "succeeded" => EntryState::Done,
        "pending" | "requires_action" => EntryState::Pending,
        "failed" | "canceled" => EntryState::Failed,
        // Refunds had no status before 2017: what is reported was made.
        "" => EntryState::Done,
        other => return Err(payload::unknown("refund status", other)),
    };
    let amount = required(refund.amount, &refund.currency, "the refund")?;
    let fact = PaymentFact {
        refund: Some(Entry { id: refund.id.to_string(), amount: Some(amount), state }),
        failure_code: refund.failure_reason.to_string(),
        ..PaymentFact::default()
    };
    let rank = if state == EntryState::Failed { FAILED_REFUND_RANK } else { REFUND_RANK };
    let references = References {
        payment: payment.clone(),
        order: order_of(&refund.metadata).to_owned(),
        metadata: refund.metadata.0,
        ..References::default()
    };
    Ok(vec![event.draft(&payment, rank, references, Fact::Payment(fact))?])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DisputeObject<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    payment_intent: Text<'a>,
    #[serde(borrow)]
    charge: Text<'a>,
    amount: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    reason: Text<'a>,
    metadata: Scalars,
}

pub(super) fn dispute(event: &Event<'_>, by_type: DisputeState) -> Result<Draft, TranslateError> {
    let dispute: DisputeObject<'_> = event.read("a Stripe dispute")?;
    if dispute.id.is_empty() {
        return Err(TranslateError("the dispute has no id".to_owned()));
    }
    let by_status = match &*dispute.status {
        "won" | "warning_closed" | "prevented" => DisputeState::Won,
        "lost" => DisputeState::Lost,
        "needs_response"
        | "under_review"
        | "warning_needs_response"
        | "warning_under_review"
        | "" => DisputeState::Open,
        other => return Err(payload::unknown("dispute status", other)),
    };
    // Reinstated funds are the merchant's, whatever status the dispute still shows.
    let state = if by_type == DisputeState::Open { by_status } else { by_type };
    let amount = required(dispute.amount, &dispute.currency, "the dispute")?;
    let fact = PaymentFact {
        status: Some(match state {
            DisputeState::Open => PaymentStatus::Disputed,
            DisputeState::Won => PaymentStatus::Paid,
            DisputeState::Lost => PaymentStatus::ChargedBack,
        }),
        amount: Some(amount),
        dispute: Some(Dispute { id: dispute.id.to_string(), amount: Some(amount), state }),
        failure_code: match state {
            DisputeState::Open | DisputeState::Lost => dispute.reason.to_string(),
            DisputeState::Won => String::new(),
        },
        ..PaymentFact::default()
    };
    let payment = payload::first(&[&dispute.payment_intent, &dispute.charge]);
    let references = References {
        payment: payment.clone(),
        order: order_of(&dispute.metadata).to_owned(),
        metadata: dispute.metadata.0,
        ..References::default()
    };
    event.draft(&payment, DISPUTE_RANK, references, Fact::Payment(fact))
}
