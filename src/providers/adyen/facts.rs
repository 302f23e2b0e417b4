//! What an Adyen item says about its payment: an item whose code is known comes in, a payment fact goes
//! out, or none where the item changes nothing (a refused modification, a note). It must never read the
//! `reason` of a success: that holds digits of the card.

use crate::model::{
    Collection, Dispute, DisputeState, Entry, EntryState, Money, PaymentFact, PaymentStatus,
};
use crate::providers::payload;
use crate::providers::{Endpoint, TranslateError};

use super::{AUTO_CAPTURE, DISPUTE_ID, EXPONENTS, Item, Meaning};

/// What the item says about its payment; `None` where it changes nothing.
pub(super) fn fact(
    item: &Item<'_>,
    meaning: Meaning,
    endpoint: &Endpoint,
) -> Result<Option<PaymentFact>, TranslateError> {
    if let Meaning::Note = meaning {
        return Ok(None);
    }
    let success = match &*item.success {
        "true" => true,
        "false" => false,
        other => return Err(payload::unknown("value of success", other)),
    };
    let is_reversed = success && matches!(meaning, Meaning::CancelOrRefund);
    let meaning = if is_reversed { cancel_or_refund(item)? } else { meaning };
    let amount = amount(item)?;
    let fact = match (meaning, success) {
        (Meaning::Authorisation, true) if is_captured(item, endpoint) => {
            collected(PaymentStatus::Paid, amount)
        }
        (Meaning::Authorisation | Meaning::Adjustment, true) => {
            collected(PaymentStatus::Authorized, amount)
        }
        (Meaning::Authorisation, false) => collected(PaymentStatus::Failed, amount),
        (Meaning::Cancellation, true) | (Meaning::OfferClosed, _) => {
            collected(PaymentStatus::Canceled, amount)
        }
        (Meaning::OrderOpened, true) => collected(PaymentStatus::PartiallyPaid, amount),
        (Meaning::OrderClosed, true) => collected(PaymentStatus::Paid, amount),
        (Meaning::OrderOpened | Meaning::OrderClosed, false) => {
            collected(PaymentStatus::Canceled, amount)
        }
        (Meaning::Capture, true) => captured(item, PaymentStatus::Paid, amount)?,
        (Meaning::Capture, false) | (Meaning::CaptureFailed, true) => {
            captured(item, PaymentStatus::Failed, amount)?
        }
        (Meaning::Refund, true) => refunded(item, None, EntryState::Done, amount)?,
        (Meaning::Refund, false) => refunded(item, None, EntryState::Failed, amount)?,
        (Meaning::RefundPending, true) => refunded(item, None, EntryState::Pending, amount)?,
        (Meaning::RefundFailed, true) => {
            refunded(item, Some(PaymentStatus::Paid), EntryState::Failed, amount)?
        }
        (Meaning::Dispute(state), _) => disputed(state, amount),
        // A request that was refused, or a failure that is none, leaves the payment as it is.
        (Meaning::Adjustment | Meaning::Cancellation | Meaning::CancelOrRefund, _)
        | (Meaning::CaptureFailed | Meaning::RefundFailed | Meaning::RefundPending, false)
        | (Meaning::Note, _) => return Ok(None),
    };
    Ok(Some(explained(fact, item, success)))
}

fn cancel_or_refund(item: &Item<'_>) -> Result<Meaning, TranslateError> {
    match item.additional_data.0.get("modification.action").map_or("", String::as_str) {
        "cancel" => Ok(Meaning::Cancellation),
        "refund" => Ok(Meaning::Refund),
        other => Err(payload::unknown("modification.action", other)),
    }
}

/// Whether authorising took the money at once: the account says so, or the payment method leaves no
/// capture to be done.
fn is_captured(item: &Item<'_>, endpoint: &Endpoint) -> bool {
    let auto_capture = endpoint.settings.get(AUTO_CAPTURE).is_some_and(|value| value == "true");
    let operations = item.operations.as_deref().unwrap_or_default();
    let offers = |name: &str| operations.iter().any(|operation| &**operation == name);
    auto_capture || (offers("REFUND") && !offers("CAPTURE"))
}

fn amount(item: &Item<'_>) -> Result<Option<Money>, TranslateError> {
    let Some(amount) = &item.amount else { return Ok(None) };
    payload::optional_money(amount.value, &amount.currency, EXPONENTS)
}

fn collected(status: PaymentStatus, amount: Option<Money>) -> PaymentFact {
    let paid = amount.filter(|_| status == PaymentStatus::Paid);
    PaymentFact {
        status: Some(status),
        amount,
        collection: Some(Collection { status, total: amount, paid }),
        ..PaymentFact::default()
    }
}

fn captured(
    item: &Item<'_>,
    status: PaymentStatus,
    amount: Option<Money>,
) -> Result<PaymentFact, TranslateError> {
    let is_done = status == PaymentStatus::Paid;
    let state = if is_done { EntryState::Done } else { EntryState::Failed };
    Ok(PaymentFact {
        status: Some(status),
        amount,
        capture: Some(Entry { id: reference(item)?, amount, state }),
        ..PaymentFact::default()
    })
}

fn refunded(
    item: &Item<'_>,
    status: Option<PaymentStatus>,
    state: EntryState,
    amount: Option<Money>,
) -> Result<PaymentFact, TranslateError> {
    Ok(PaymentFact {
        status,
        amount,
        refund: Some(Entry { id: reference(item)?, amount, state }),
        ..PaymentFact::default()
    })
}

fn disputed(state: DisputeState, amount: Option<Money>) -> PaymentFact {
    PaymentFact {
        status: Some(match state {
            DisputeState::Open => PaymentStatus::Disputed,
            DisputeState::Won => PaymentStatus::Paid,
            DisputeState::Lost => PaymentStatus::ChargedBack,
        }),
        amount,
        dispute: Some(Dispute { id: DISPUTE_ID.to_owned(), amount, state }),
        ..PaymentFact::default()
    }
}

fn reference(item: &Item<'_>) -> Result<String, TranslateError> {
    if item.psp_reference.is_empty() {
        return Err(TranslateError("the item has no pspReference".to_owned()));
    }
    Ok(item.psp_reference.to_string())
}

/// Adds why it failed. The `reason` of a success is none: it holds card digits instead.
fn explained(mut fact: PaymentFact, item: &Item<'_>, success: bool) -> PaymentFact {
    let data = |name| item.additional_data.0.get(name).cloned().unwrap_or_default();
    let is_entry_failed = [&fact.capture, &fact.refund]
        .into_iter()
        .flatten()
        .any(|entry| entry.state == EntryState::Failed);
    if fact.dispute.is_some() {
        fact.failure_code = data("chargebackReasonCode");
        fact.failure_message = item.reason.to_string();
    } else if !success || is_entry_failed {
        fact.failure_code = data("refusalReasonRaw");
        fact.failure_message = item.reason.to_string();
    }
    fact.method = item.payment_method.to_string();
    fact
}
