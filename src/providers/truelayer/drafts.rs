//! TrueLayer's events as drafts: what a webhook told comes in, with the payment, refund or payout that was
//! fetched for it where there is one. What happened and when is always the webhook's word, so that a late
//! fetch does not make an old event a new one; the fetched object gives amounts and references alone.

use jiff::Timestamp;

use crate::model::{
    BankTransactionFact, BankTransactionStatus, Collection, CustomerAction, CustomerActionFact,
    Dispute, DisputeState, Draft, EndpointName, Entry, EntryState, Fact, Money, PaymentFact,
    PaymentStatus, References,
};
use crate::providers::TranslateError;
use crate::providers::payload;

use super::fetches::Object;
use super::{Body, Meaning, Stage, Told};

const REFUND_RANK: u8 = 80;
const RECEIVED_RANK: u8 = 20;
const PAYOUT_RANK: u8 = 20;
const LINK_RANK: u8 = 10;
/// TrueLayer gives a claim no id of its own; a payment has one at most.
const DISPUTE_ID: &str = "claim";
/// Why a payment did not happen that nobody refused: it was given up.
const GIVEN_UP: &[&str] = &["canceled", "user_canceled_at_provider", "expired", "provider_expired"];
/// An account that TrueLayer does not keep: nothing is heard of a payment to it after the bank took it.
const EXTERNAL_ACCOUNT: &str = "external_account";

/// The draft of an event whose object may have been fetched. `refund` stands beside its payment.
pub(super) fn fetched(
    told: &Told,
    meaning: Meaning,
    endpoint: &EndpointName,
    object: Option<&Object<'_>>,
    refund: Option<&Object<'_>>,
) -> Result<Draft, TranslateError> {
    let amount = amount(object)?;
    let (fact, rank) = match meaning {
        Meaning::Payment(stage, rank) => (payment(told, stage, object, amount), rank),
        Meaning::Dispute(stage, rank) => (dispute(told, stage, amount), rank),
        Meaning::Refund(stage) => refunded(told, stage, self::amount(refund)?, amount),
        Meaning::Payout(stage) => return payout(told, stage, endpoint, object, amount),
        Meaning::Received | Meaning::Mandate(_) | Meaning::Link(_) => {
            return Err(payload::unknown("fetch", &told.event_type));
        }
    };
    draft(told, endpoint, &told.payment, rank, references(told, object), Fact::Payment(fact))
}

fn amount(object: Option<&Object<'_>>) -> Result<Option<Money>, TranslateError> {
    let Some(object) = object else { return Ok(None) };
    payload::optional_money(object.amount_in_minor, &object.currency, &[])
}

fn payment(
    told: &Told,
    stage: Stage,
    object: Option<&Object<'_>>,
    amount: Option<Money>,
) -> PaymentFact {
    let kind = object.and_then(Object::beneficiary).map_or("", |beneficiary| &beneficiary.kind);
    let status = match stage {
        Stage::Begun => Some(PaymentStatus::Authorized),
        Stage::Executed if kind == EXTERNAL_ACCOUNT => Some(PaymentStatus::Paid),
        Stage::Executed => Some(PaymentStatus::Authorized),
        Stage::Done => Some(PaymentStatus::Paid),
        Stage::Failed if GIVEN_UP.contains(&told.reason.as_str()) => Some(PaymentStatus::Canceled),
        Stage::Failed => Some(PaymentStatus::Failed),
        // Still what it was, and somebody should know.
        Stage::Stalled => None,
    };
    let collection = status.map(|status| Collection {
        status,
        total: amount,
        paid: amount.filter(|_| status == PaymentStatus::Paid),
    });
    let mut fact = PaymentFact {
        status,
        amount,
        collection,
        method: told.method.clone(),
        ..PaymentFact::default()
    };
    match stage {
        Stage::Failed => {
            fact.failure_code.clone_from(&told.reason);
            fact.failure_message.clone_from(&told.stage);
        }
        Stage::Stalled => fact.failure_code = "settlement_stalled".to_owned(),
        Stage::Begun | Stage::Executed | Stage::Done => {}
    }
    fact
}

fn dispute(told: &Told, stage: Stage, amount: Option<Money>) -> PaymentFact {
    let (state, status) = match stage {
        Stage::Done => (DisputeState::Lost, PaymentStatus::ChargedBack),
        Stage::Begun | Stage::Executed | Stage::Failed | Stage::Stalled => {
            (DisputeState::Open, PaymentStatus::Disputed)
        }
    };
    PaymentFact {
        status: Some(status),
        amount,
        dispute: Some(Dispute { id: DISPUTE_ID.to_owned(), amount, state }),
        failure_code: told.reason.clone(),
        ..PaymentFact::default()
    }
}

/// Only money that settled is given back, so that a refund shows its payment paid.
fn refunded(
    told: &Told,
    stage: Stage,
    amount: Option<Money>,
    total: Option<Money>,
) -> (PaymentFact, u8) {
    let (state, rank) = match stage {
        Stage::Failed => (EntryState::Failed, REFUND_RANK + 1),
        Stage::Begun | Stage::Executed | Stage::Done | Stage::Stalled => {
            (EntryState::Done, REFUND_RANK)
        }
    };
    let collection = total.map(|_| Collection { status: PaymentStatus::Paid, total, paid: total });
    let is_failed = state == EntryState::Failed;
    let fact = PaymentFact {
        collection,
        refund: Some(Entry { id: told.refund.clone(), amount, state }),
        failure_code: if is_failed { told.reason.clone() } else { String::new() },
        ..PaymentFact::default()
    };
    (fact, rank)
}

fn payout(
    told: &Told,
    stage: Stage,
    endpoint: &EndpointName,
    object: Option<&Object<'_>>,
    amount: Option<Money>,
) -> Result<Draft, TranslateError> {
    let status = match stage {
        Stage::Failed => BankTransactionStatus::Failed,
        Stage::Begun | Stage::Executed | Stage::Done | Stage::Stalled => {
            BankTransactionStatus::Booked
        }
    };
    let beneficiary = object.and_then(Object::beneficiary);
    let is_failed = status == BankTransactionStatus::Failed;
    let fact = BankTransactionFact {
        status,
        amount: amount
            .map(|money| Money { minor_units: money.minor_units.saturating_neg(), ..money }),
        counterparty: beneficiary
            .map(|one| one.account_holder_name.to_string())
            .unwrap_or_default(),
        remittance: beneficiary.map(|one| one.reference.to_string()).unwrap_or_default(),
        failure_code: told.reason.clone(),
        failure_message: String::new(),
    };
    let rank = if is_failed { PAYOUT_RANK + 1 } else { PAYOUT_RANK };
    let references = references(told, object);
    draft(told, endpoint, &told.payout, rank, references, Fact::BankTransaction(fact))
}

/// The one kind of event that has its amount in it.
pub(super) fn received(
    told: &Told,
    body: &Body<'_>,
    endpoint: &EndpointName,
) -> Result<Draft, TranslateError> {
    let amount =
        body.amount_in_minor.ok_or_else(|| TranslateError("no amount came in".to_owned()))?;
    let remitter = body.remitter.as_ref();
    let reference = remitter.map_or("", |remitter| &remitter.reference);
    let fact = BankTransactionFact {
        status: BankTransactionStatus::Booked,
        amount: Some(payload::money(amount, &body.currency, &[])?),
        counterparty: remitter.map(|one| one.account_holder_name.to_string()).unwrap_or_default(),
        remittance: payload::first(&[reference, &body.reference]),
        failure_code: String::new(),
        failure_message: String::new(),
    };
    let mut references = references(told, None);
    if !body.merchant_account_id.is_empty() {
        let account = body.merchant_account_id.to_string();
        references.metadata.insert("merchant_account_id".to_owned(), account);
    }
    let fact = Fact::BankTransaction(fact);
    draft(told, endpoint, &body.transaction_id, RECEIVED_RANK, references, fact)
}

pub(super) fn mandate(
    told: &Told,
    body: &Body<'_>,
    rank: u8,
    endpoint: &EndpointName,
) -> Result<Draft, TranslateError> {
    let fact = CustomerActionFact {
        action: CustomerAction::MandateChanged,
        amount: None,
        detail: payload::first(&[&told.reason, &told.event_type]),
    };
    let references = references(told, None);
    draft(told, endpoint, &body.mandate_id, rank, references, Fact::CustomerAction(fact))
}

pub(super) fn link(
    told: &Told,
    body: &Body<'_>,
    stage: Stage,
    endpoint: &EndpointName,
) -> Result<Draft, TranslateError> {
    let (action, rank) = match stage {
        Stage::Failed => (CustomerAction::RequestCanceled, LINK_RANK + 1),
        Stage::Begun | Stage::Executed | Stage::Done | Stage::Stalled => {
            (CustomerAction::CheckoutStarted, LINK_RANK)
        }
    };
    let fact = CustomerActionFact { action, amount: None, detail: told.reason.clone() };
    let references = references(told, None);
    draft(told, endpoint, &body.payment_link_id, rank, references, Fact::CustomerAction(fact))
}

fn references(told: &Told, object: Option<&Object<'_>>) -> References {
    let user = object.and_then(|object| object.user.as_ref());
    let beneficiary = object.and_then(Object::beneficiary);
    let mut metadata = object.map(|object| object.metadata.0.clone()).unwrap_or_default();
    metadata.extend(told.metadata.clone());
    let named = |name: &str| metadata.get(name).cloned().unwrap_or_default();
    let order = payload::first(&[
        &named("order_id"),
        &named("order"),
        &told.reference,
        beneficiary.map_or("", |beneficiary| &beneficiary.reference),
    ]);
    let references = References {
        payment: told.payment.clone(),
        invoice: named("invoice_id"),
        order,
        customer: payload::first(&[user.map_or("", |user| &user.id), &told.user]),
        customer_name: payload::first(&[user.map_or("", |user| &user.name), &told.holder]),
        email: user.map(|user| user.email.to_string()).unwrap_or_default(),
        ..References::default()
    };
    if !told.mandate.is_empty() {
        metadata.insert("mandate_id".to_owned(), told.mandate.clone());
    }
    References { metadata, ..references }
}

fn draft(
    told: &Told,
    endpoint: &EndpointName,
    id: &str,
    rank: u8,
    references: References,
    fact: Fact,
) -> Result<Draft, TranslateError> {
    let occurred_at: Timestamp = told.at.parse().map_err(|_| payload::not_a("a time", &told.at))?;
    Ok(Draft {
        key: told.event_id.clone(),
        event_id: told.event_id.clone(),
        event_type: told.event_type.clone(),
        occurred_at,
        version: 0,
        rank,
        subject: payload::subject(fact.kind(), endpoint, id)?,
        references: references.bounded(),
        live: told.live,
        fact,
    })
}
