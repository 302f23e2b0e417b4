//! PayPal's refunds and reversals: one of them comes in, a draft about the payment that it is of goes out.
//! Refunds count one by one, each by its own id, since IPN knows no running total; the running total that
//! a webhook tells is only what its event reports, and must never be added to them.

use serde::Deserialize;

use crate::model::{
    Collection, Dispute, DisputeState, Draft, Entry, EntryState, Fact, Money, PaymentFact,
    PaymentStatus, References,
};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Text};

use super::api;
use super::disputes::DISPUTE_ID;
use super::events::{Amount, Event, money, required};
use super::payments::{CUSTOM_KEY, Payment, StatusDetails, keep, references};

/// A refund, or the reversal of a payment in the form of one.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refund<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    amount: Option<Amount<'a>>,
    #[serde(borrow)]
    sale_id: Text<'a>,
    #[serde(borrow)]
    capture_id: Text<'a>,
    #[serde(borrow)]
    invoice_id: Text<'a>,
    #[serde(borrow)]
    custom_id: Text<'a>,
    #[serde(borrow)]
    reason_code: Text<'a>,
    #[serde(borrow)]
    total_refunded_amount: Option<Amount<'a>>,
    #[serde(borrow)]
    seller_payable_breakdown: Option<RefundBreakdown<'a>>,
    #[serde(borrow)]
    status_details: Option<StatusDetails<'a>>,
    #[serde(borrow)]
    links: Option<Vec<Link<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RefundBreakdown<'a> {
    #[serde(borrow)]
    total_refunded_amount: Option<Amount<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Link<'a> {
    #[serde(borrow)]
    href: Text<'a>,
    #[serde(borrow)]
    rel: Text<'a>,
}

/// Where the API keeps payments, by the part of a link before the id.
const PARENTS: [(&str, &str); 3] = [
    ("captures", "/v2/payments/captures/"),
    ("capture", "/v1/payments/capture/"),
    ("sale", "/v1/payments/sale/"),
];

impl Refund<'_> {
    /// The path of its payment at the API up to the id, and the id, which it may tell by a link alone.
    fn payment(&self) -> Option<(&'static str, &str)> {
        let links = self.links.as_deref().unwrap_or_default();
        let linked = links.iter().filter(|link| &*link.rel == "up").find_map(|link| {
            let (before, id) = link.href.split('?').next()?.rsplit_once('/')?;
            let (_, name) = before.rsplit_once('/')?;
            let (_, parent) = PARENTS.iter().find(|(parent, _)| *parent == name)?;
            (!id.is_empty()).then_some((*parent, id))
        });
        let [(_, captures), _, (_, sales)] = PARENTS;
        linked
            .or_else(|| (!self.capture_id.is_empty()).then_some((captures, &*self.capture_id)))
            .or_else(|| (!self.sale_id.is_empty()).then_some((sales, &*self.sale_id)))
    }

    fn total_refunded(&self) -> Result<Option<Money>, TranslateError> {
        let breakdown = self.seller_payable_breakdown.as_ref();
        let total = breakdown.and_then(|breakdown| breakdown.total_refunded_amount.as_ref());
        money(total.or(self.total_refunded_amount.as_ref()))
    }
}

pub(super) fn refunded_payment(event: &Event<'_>) -> Result<String, TranslateError> {
    let refund: Refund<'_> = event.read("a PayPal refund")?;
    let (parent, id) = refund.payment().ok_or_else(no_payment)?;
    Ok(api::object_path(parent, id))
}

fn no_payment() -> TranslateError {
    TranslateError("the refund names no payment".to_owned())
}

/// A refund does not tell the amount of its payment: `payment` is the payment as the API gives it.
pub(super) fn refund(
    event: &Event<'_>,
    state: EntryState,
    payment: Option<&[u8]>,
) -> Result<Draft, TranslateError> {
    let refund: Refund<'_> = event.read("a PayPal refund")?;
    let (_, id) = refund.payment().ok_or_else(no_payment)?;
    if refund.id.is_empty() {
        return Err(TranslateError("the refund has no id".to_owned()));
    }
    let amount = required(refund.amount.as_ref(), "the refund")?;
    let payment: Option<Payment<'_>> = payment
        .map(serde_json::from_slice)
        .transpose()
        .map_err(|error| payload::unreadable("a PayPal payment", &error))?;
    let total = match &payment {
        Some(payment) if *payment.id != *id => {
            return Err(TranslateError("PayPal answered with another payment".to_owned()));
        }
        Some(payment) => Some(required(payment.amount.as_ref(), "the payment")?),
        None => None,
    };
    let refunded = refund.total_refunded()?.filter(|_| state == EntryState::Done);
    let mut fact = PaymentFact {
        amount: refunded,
        collection: total.map(|total| Collection {
            status: PaymentStatus::Paid,
            total: Some(total),
            paid: Some(total),
        }),
        refund: Some(Entry { id: refund.id.to_string(), amount: Some(amount), state }),
        ..PaymentFact::default()
    };
    if let (Some(total), Some(refunded)) = (total, refunded) {
        fact.status = Some(match refunded >= total {
            true => PaymentStatus::Refunded,
            false => PaymentStatus::PartiallyRefunded,
        });
    }
    if state == EntryState::Failed {
        let reason = refund.status_details.as_ref().map_or("", |details| &details.reason);
        fact.failure_code = reason.to_owned();
    }
    let mut references = payment.as_ref().map(references).unwrap_or_default();
    references.payment = id.to_owned();
    if references.invoice_number.is_empty() {
        references.invoice_number = refund.invoice_id.to_string();
    }
    if !references.metadata.contains_key(CUSTOM_KEY) {
        keep(&mut references, CUSTOM_KEY, &refund.custom_id);
    }
    event.draft(0, id, event.rank, references, Fact::Payment(fact))
}

/// The money was taken back, by a chargeback or by PayPal.
pub(super) fn reversed(event: &Event<'_>) -> Result<Draft, TranslateError> {
    let reversal: Refund<'_> = event.read("a PayPal reversal")?;
    let id = reversal.payment().map_or(&*reversal.id, |(_, id)| id);
    let amount = money(reversal.amount.as_ref())?;
    let fact = PaymentFact {
        status: Some(PaymentStatus::ChargedBack),
        amount,
        dispute: Some(Dispute { id: DISPUTE_ID.to_owned(), amount, state: DisputeState::Lost }),
        failure_code: reversal.reason_code.to_string(),
        ..PaymentFact::default()
    };
    let mut references = References {
        payment: id.to_owned(),
        invoice_number: reversal.invoice_id.to_string(),
        ..References::default()
    };
    keep(&mut references, CUSTOM_KEY, &reversal.custom_id);
    event.draft(0, id, event.rank, references, Fact::Payment(fact))
}
