//! Square's payments, refunds, disputes, terminal requests and payouts: one of these objects comes in, a
//! draft goes out. A payment tells the running total of refunds, a refund tells of itself alone; the two
//! must never be added up here.

use serde::Deserialize;

use crate::model::{
    BankTransactionFact, BankTransactionStatus, Collection, CustomerAction, CustomerActionFact,
    Dispute, DisputeState, Draft, Entry, EntryState, Fact, Money, PaymentFact, PaymentStatus,
    References,
};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Text};

use super::{Amount, Event, Place, money, required};

const REFUND_RANK: u8 = 70;
const DISPUTE_RANK: u8 = 80;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Payment<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    amount_money: Option<Amount<'a>>,
    #[serde(borrow)]
    total_money: Option<Amount<'a>>,
    #[serde(borrow)]
    refunded_money: Option<Amount<'a>>,
    #[serde(borrow)]
    order_id: Text<'a>,
    #[serde(borrow)]
    customer_id: Text<'a>,
    #[serde(borrow)]
    reference_id: Text<'a>,
    #[serde(borrow)]
    buyer_email_address: Text<'a>,
    #[serde(borrow)]
    source_type: Text<'a>,
    #[serde(borrow)]
    updated_at: Text<'a>,
    version: Option<i64>,
    #[serde(borrow)]
    card_details: Option<CardDetails<'a>>,
    #[serde(borrow)]
    processing_fee: Option<Vec<Fee<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CardDetails<'a> {
    #[serde(borrow)]
    errors: Option<Vec<CardError<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CardError<'a> {
    #[serde(borrow)]
    code: Text<'a>,
    #[serde(borrow)]
    detail: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fee<'a> {
    #[serde(borrow)]
    amount_money: Option<Amount<'a>>,
}

pub(super) fn payment(event: &Event<'_>) -> Result<Draft, TranslateError> {
    let payment: Payment<'_> = event.read("payment", |wrapped| wrapped.payment)?;
    let (collected, rank) = match &*payment.status {
        "PENDING" => (PaymentStatus::Pending, 10),
        "FAILED" => (PaymentStatus::Failed, 30),
        "APPROVED" => (PaymentStatus::Authorized, 40),
        "CANCELED" => (PaymentStatus::Canceled, 50),
        "COMPLETED" => (PaymentStatus::Paid, 60),
        other => return Err(payload::unknown("payment status", other)),
    };
    // The total has the tip in it: it is what the buyer paid.
    let total = payment.total_money.as_ref().or(payment.amount_money.as_ref());
    let total = required(total, "the payment")?;
    let is_paid = collected == PaymentStatus::Paid;
    let none = Money { minor_units: 0, ..total };
    let refunded = money(payment.refunded_money.as_ref())?.unwrap_or(none);
    let status = match (is_paid, refunded.minor_units) {
        (true, 1..) if refunded >= total => PaymentStatus::Refunded,
        (true, 1..) => PaymentStatus::PartiallyRefunded,
        _ => collected,
    };
    let mut fact = PaymentFact {
        status: Some(status),
        amount: Some(if status == collected { total } else { refunded }),
        collection: Some(Collection {
            status: collected,
            total: Some(total),
            paid: is_paid.then_some(total),
        }),
        refunded_total: is_paid.then_some(refunded),
        fee: fee(payment.processing_fee.as_deref().unwrap_or_default())?,
        method: payment.source_type.to_string(),
        ..PaymentFact::default()
    };
    let errors = payment.card_details.and_then(|card| card.errors).unwrap_or_default();
    if let Some(error) = errors.first() {
        fact.failure_code = error.code.to_string();
        fact.failure_message = error.detail.to_string();
    }
    let mut references = References {
        payment: payment.id.to_string(),
        order: payment.order_id.to_string(),
        customer: payment.customer_id.to_string(),
        email: payment.buyer_email_address.to_string(),
        ..References::default()
    };
    keep_reference(&mut references, &payment.reference_id);
    let place = Place { version: payment.version, updated_at: &payment.updated_at, rank };
    event.draft(&payment.id, place, references, Fact::Payment(fact))
}

/// The merchant's own reference, which is no order of Square's.
fn keep_reference(references: &mut References, reference_id: &str) {
    if !reference_id.is_empty() {
        references.metadata.insert("reference_id".to_owned(), reference_id.to_owned());
    }
}

/// Fees come one by one, in the payment's currency; none at all is not known yet.
fn fee(fees: &[Fee<'_>]) -> Result<Option<Money>, TranslateError> {
    let mut sum: Option<Money> = None;
    for fee in fees {
        let Some(fee) = money(fee.amount_money.as_ref())? else { continue };
        let before = sum.map_or(0, |sum| sum.minor_units);
        let same = sum.is_none_or(|sum| sum.currency == fee.currency);
        let minor_units =
            before.checked_add(fee.minor_units).filter(|_| same).ok_or_else(|| {
                TranslateError(format!("the fee {fee} does not add up with the others"))
            })?;
        sum = Some(Money { minor_units, ..fee });
    }
    Ok(sum)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Refund<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    payment_id: Text<'a>,
    #[serde(borrow)]
    amount_money: Option<Amount<'a>>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    updated_at: Text<'a>,
    version: Option<i64>,
}

/// None for a refund that is linked to no payment of Square's.
pub(super) fn refund(event: &Event<'_>) -> Result<Vec<Draft>, TranslateError> {
    let refund: Refund<'_> = event.read("refund", |wrapped| wrapped.refund)?;
    let (state, rank) = match &*refund.status {
        "PENDING" | "" => (EntryState::Pending, REFUND_RANK),
        "COMPLETED" => (EntryState::Done, REFUND_RANK + 1),
        "REJECTED" | "FAILED" => (EntryState::Failed, REFUND_RANK + 2),
        other => return Err(payload::unknown("refund status", other)),
    };
    let place = Place { version: refund.version, updated_at: &refund.updated_at, rank };
    refund_draft(event, &refund, state, place)
}

fn refund_draft(
    event: &Event<'_>,
    refund: &Refund<'_>,
    state: EntryState,
    place: Place<'_>,
) -> Result<Vec<Draft>, TranslateError> {
    if refund.payment_id.is_empty() {
        return Ok(Vec::new());
    }
    if refund.id.is_empty() {
        return Err(TranslateError("the refund has no id".to_owned()));
    }
    let amount = Some(required(refund.amount_money.as_ref(), "the refund")?);
    let fact = PaymentFact {
        refund: Some(Entry { id: refund.id.to_string(), amount, state }),
        ..PaymentFact::default()
    };
    // The refund's order is the return's, not the payment's.
    let references = References { payment: refund.payment_id.to_string(), ..References::default() };
    Ok(vec![event.draft(&refund.payment_id, place, references, Fact::Payment(fact))?])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DisputeObject<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    dispute_id: Text<'a>,
    #[serde(borrow)]
    disputed_payment: Option<DisputedPayment<'a>>,
    #[serde(borrow)]
    amount_money: Option<Amount<'a>>,
    #[serde(borrow)]
    reason: Text<'a>,
    #[serde(borrow)]
    state: Text<'a>,
    #[serde(borrow)]
    updated_at: Text<'a>,
    version: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DisputedPayment<'a> {
    #[serde(borrow)]
    payment_id: Text<'a>,
}

pub(super) fn dispute(event: &Event<'_>) -> Result<Draft, TranslateError> {
    let dispute: DisputeObject<'_> =
        event.read("dispute", |wrapped| wrapped.dispute.or(wrapped.object))?;
    let (state, status, rank) = match &*dispute.state {
        "INQUIRY_EVIDENCE_REQUIRED" | "INQUIRY_PROCESSING" => {
            (DisputeState::Open, PaymentStatus::Disputed, DISPUTE_RANK)
        }
        "EVIDENCE_REQUIRED" | "PROCESSING" | "WAITING_THIRD_PARTY" => {
            (DisputeState::Open, PaymentStatus::Disputed, DISPUTE_RANK + 1)
        }
        "WON" | "INQUIRY_CLOSED" => (DisputeState::Won, PaymentStatus::Paid, DISPUTE_RANK + 2),
        "LOST" | "ACCEPTED" => (DisputeState::Lost, PaymentStatus::ChargedBack, DISPUTE_RANK + 3),
        other => return Err(payload::unknown("dispute state", other)),
    };
    let id = payload::first(&[&dispute.id, &dispute.dispute_id]);
    if id.is_empty() {
        return Err(TranslateError("the dispute has no id".to_owned()));
    }
    let amount = money(dispute.amount_money.as_ref())?;
    let fact = PaymentFact {
        status: Some(status),
        amount,
        dispute: Some(Dispute { id, amount, state }),
        failure_code: match state {
            DisputeState::Open | DisputeState::Lost => dispute.reason.to_string(),
            DisputeState::Won => String::new(),
        },
        ..PaymentFact::default()
    };
    let payment = dispute.disputed_payment.unwrap_or_default().payment_id;
    let references = References { payment: payment.to_string(), ..References::default() };
    let place = Place { version: dispute.version, updated_at: &dispute.updated_at, rank };
    event.draft(&payment, place, references, Fact::Payment(fact))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TerminalCheckout<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    amount_money: Option<Amount<'a>>,
    #[serde(borrow)]
    payment_ids: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    order_id: Text<'a>,
    #[serde(borrow)]
    reference_id: Text<'a>,
    #[serde(borrow)]
    customer_id: Text<'a>,
    #[serde(borrow)]
    cancel_reason: Text<'a>,
    #[serde(borrow)]
    updated_at: Text<'a>,
}

pub(super) fn terminal_checkout(event: &Event<'_>) -> Result<Draft, TranslateError> {
    let checkout: TerminalCheckout<'_> =
        event.read("terminal checkout", |wrapped| wrapped.checkout)?;
    let (action, rank) = match &*checkout.status {
        "PENDING" => (CustomerAction::RequestCreated, 10),
        "IN_PROGRESS" => (CustomerAction::CheckoutStarted, 20),
        "CANCEL_REQUESTED" => (CustomerAction::CheckoutStarted, 30),
        "CANCELED" => (CustomerAction::CheckoutExpired, 40),
        "COMPLETED" => (CustomerAction::CheckoutCompleted, 50),
        other => return Err(payload::unknown("terminal checkout status", other)),
    };
    let payments = checkout.payment_ids.unwrap_or_default();
    let mut references = References {
        payment: payments.first().map(|id| id.to_string()).unwrap_or_default(),
        order: checkout.order_id.to_string(),
        customer: checkout.customer_id.to_string(),
        ..References::default()
    };
    keep_reference(&mut references, &checkout.reference_id);
    let fact = CustomerActionFact {
        action,
        amount: money(checkout.amount_money.as_ref())?,
        detail: checkout.cancel_reason.to_string(),
    };
    let place = Place { version: None, updated_at: &checkout.updated_at, rank };
    event.draft(&checkout.id, place, references, Fact::CustomerAction(fact))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TerminalRefund<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    /// The refund that it became, once the terminal has made it.
    #[serde(borrow)]
    refund_id: Text<'a>,
    #[serde(borrow)]
    payment_id: Text<'a>,
    #[serde(borrow)]
    amount_money: Option<Amount<'a>>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    updated_at: Text<'a>,
}

pub(super) fn terminal_refund(event: &Event<'_>) -> Result<Vec<Draft>, TranslateError> {
    let terminal: TerminalRefund<'_> = event.read("terminal refund", |wrapped| wrapped.refund)?;
    let (state, rank) = match &*terminal.status {
        "PENDING" | "IN_PROGRESS" | "CANCEL_REQUESTED" => (EntryState::Pending, REFUND_RANK),
        "COMPLETED" => (EntryState::Done, REFUND_RANK + 1),
        "CANCELED" => (EntryState::Failed, REFUND_RANK + 2),
        other => return Err(payload::unknown("terminal refund status", other)),
    };
    let id = if terminal.refund_id.is_empty() { terminal.id } else { terminal.refund_id };
    let refund = Refund {
        id,
        payment_id: terminal.payment_id,
        amount_money: terminal.amount_money,
        ..Refund::default()
    };
    let place = Place { version: None, updated_at: &terminal.updated_at, rank };
    refund_draft(event, &refund, state, place)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Payout<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    amount_money: Option<Amount<'a>>,
    #[serde(borrow)]
    end_to_end_id: Text<'a>,
    #[serde(borrow)]
    updated_at: Text<'a>,
    version: Option<i64>,
}

/// Positive as Square writes it: into the merchant's bank account.
pub(super) fn payout(event: &Event<'_>) -> Result<Draft, TranslateError> {
    let payout: Payout<'_> = event.read("payout", |wrapped| wrapped.payout)?;
    let (status, rank) = match &*payout.status {
        "SENT" => (BankTransactionStatus::Pending, 10),
        "PAID" => (BankTransactionStatus::Booked, 20),
        "FAILED" => (BankTransactionStatus::Failed, 30),
        other => return Err(payload::unknown("payout status", other)),
    };
    let fact = BankTransactionFact {
        status,
        amount: Some(required(payout.amount_money.as_ref(), "the payout")?),
        counterparty: String::new(),
        remittance: payout.end_to_end_id.to_string(),
        failure_code: String::new(),
        failure_message: String::new(),
    };
    let place = Place { version: payout.version, updated_at: &payout.updated_at, rank };
    event.draft(&payout.id, place, References::default(), Fact::BankTransaction(fact))
}
