//! PayPal's disputes: a case comes in, a draft about each disputed payment goes out. A payment has one
//! dispute at a time, of which chargebacks and reversals are a part: the case's own id is metadata, since
//! reversals do not tell it, and the newest of these facts is the one that holds.

use serde::Deserialize;

use crate::model::{Dispute, DisputeState, Draft, Fact, PaymentFact, PaymentStatus, References};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Text};

use super::events::{Amount, Event, money};
use super::payments::{CUSTOM_KEY, keep};

/// The one dispute of a payment.
pub(super) const DISPUTE_ID: &str = "dispute";
/// How the case's id is kept.
pub(super) const CASE_KEY: &str = "dispute_id";

#[derive(Deserialize, Default)]
#[serde(default)]
struct Case<'a> {
    #[serde(borrow)]
    dispute_id: Text<'a>,
    #[serde(borrow)]
    disputed_transactions: Option<Vec<Disputed<'a>>>,
    #[serde(borrow)]
    dispute_amount: Option<Amount<'a>>,
    #[serde(borrow)]
    reason: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    dispute_outcome: Option<Outcome<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Disputed<'a> {
    #[serde(borrow)]
    seller_transaction_id: Text<'a>,
    #[serde(borrow)]
    gross_amount: Option<Amount<'a>>,
    #[serde(borrow)]
    invoice_number: Text<'a>,
    #[serde(borrow)]
    custom: Text<'a>,
    #[serde(borrow)]
    buyer: Option<Buyer<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Buyer<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Outcome<'a> {
    #[serde(borrow)]
    outcome_code: Text<'a>,
}

/// A case may be about several payments; each gets its draft.
pub(super) fn dispute(
    event: &Event<'_>,
    by_type: DisputeState,
) -> Result<Vec<Draft>, TranslateError> {
    let case: Case<'_> = event.read("a PayPal dispute")?;
    let is_over = by_type == DisputeState::Lost || &*case.status == "RESOLVED";
    let state = if is_over { outcome(&case)? } else { DisputeState::Open };
    let disputed = case.disputed_transactions.as_deref().unwrap_or_default();
    if disputed.is_empty() {
        return Err(TranslateError("the dispute names no payment".to_owned()));
    }
    let of_case = money(case.dispute_amount.as_ref())?;
    let drafts = disputed.iter().enumerate().map(|(index, payment)| {
        let amount = match disputed.len() {
            1 => of_case.or(money(payment.gross_amount.as_ref())?),
            _ => money(payment.gross_amount.as_ref())?,
        };
        let fact = PaymentFact {
            status: Some(match state {
                DisputeState::Open => PaymentStatus::Disputed,
                DisputeState::Won => PaymentStatus::Paid,
                DisputeState::Lost => PaymentStatus::ChargedBack,
            }),
            amount,
            dispute: Some(Dispute { id: DISPUTE_ID.to_owned(), amount, state }),
            failure_code: match state {
                DisputeState::Open | DisputeState::Lost => case.reason.to_string(),
                DisputeState::Won => String::new(),
            },
            ..PaymentFact::default()
        };
        let id = &payment.seller_transaction_id;
        let mut references = References {
            payment: id.to_string(),
            invoice_number: payment.invoice_number.to_string(),
            customer_name: payment.buyer.as_ref().map_or("", |buyer| &buyer.name).to_owned(),
            ..References::default()
        };
        keep(&mut references, CUSTOM_KEY, &payment.custom);
        keep(&mut references, CASE_KEY, &case.dispute_id);
        event.draft(index, id, event.rank, references, Fact::Payment(fact))
    });
    drafts.collect()
}

fn outcome(case: &Case<'_>) -> Result<DisputeState, TranslateError> {
    let code = case.dispute_outcome.as_ref().map_or("", |outcome| &outcome.outcome_code);
    match code {
        "RESOLVED_SELLER_FAVOUR" | "CANCELED_BY_BUYER" | "DENIED" => Ok(DisputeState::Won),
        "RESOLVED_BUYER_FAVOUR" | "RESOLVED_WITH_PAYOUT" | "ACCEPTED" => Ok(DisputeState::Lost),
        // Closed without a decision, since there is another dispute about the same payment.
        "NONE" => Ok(DisputeState::Open),
        other => Err(payload::unknown("dispute outcome", other)),
    }
}
