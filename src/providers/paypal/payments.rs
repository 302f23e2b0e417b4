//! PayPal's payments: a capture, sale, authorisation or failed subscription payment comes in, a draft about
//! the payment goes out, whose subject is the capture or sale. Here are also the ranks that place every
//! fact about a payment, and the references that all of them give. Nothing here may read PayPal's summary
//! text, which is localised.

use serde::Deserialize;

use crate::model::{Collection, Draft, Fact, Money, PaymentFact, PaymentStatus, References};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Text};

use super::events::{Amount, Event, money, required};

/// Ranks of the evidence along a payment's life, for webhooks and IPN alike.
pub(super) const PENDING_RANK: u8 = 10;
pub(super) const FAILED_RANK: u8 = 20;
pub(super) const AUTHORIZED_RANK: u8 = 40;
pub(super) const CANCELED_RANK: u8 = 50;
pub(super) const PAID_RANK: u8 = 60;
pub(super) const REFUND_RANK: u8 = 100;
pub(super) const DISPUTE_RANK: u8 = 120;
/// How what the merchant attached to a payment is kept.
pub(super) const CUSTOM_KEY: &str = "custom_id";

/// A capture, an authorisation or, in the older form, a sale.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Payment<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) amount: Option<Amount<'a>>,
    #[serde(borrow)]
    invoice_id: Text<'a>,
    #[serde(borrow)]
    invoice_number: Text<'a>,
    #[serde(borrow)]
    custom_id: Text<'a>,
    #[serde(borrow)]
    custom: Text<'a>,
    #[serde(borrow)]
    parent_payment: Text<'a>,
    #[serde(borrow)]
    billing_agreement_id: Text<'a>,
    #[serde(borrow)]
    payment_mode: Text<'a>,
    #[serde(borrow)]
    reason_code: Text<'a>,
    #[serde(borrow)]
    supplementary_data: Option<Supplementary<'a>>,
    #[serde(borrow)]
    seller_receivable_breakdown: Option<Breakdown<'a>>,
    #[serde(borrow)]
    transaction_fee: Option<Amount<'a>>,
    #[serde(borrow)]
    status_details: Option<StatusDetails<'a>>,
    #[serde(borrow)]
    processor_response: Option<ProcessorResponse<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Supplementary<'a> {
    #[serde(borrow)]
    related_ids: Option<RelatedIds<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RelatedIds<'a> {
    #[serde(borrow)]
    order_id: Text<'a>,
    #[serde(borrow)]
    authorization_id: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Breakdown<'a> {
    #[serde(borrow)]
    paypal_fee: Option<Amount<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct StatusDetails<'a> {
    #[serde(borrow)]
    pub(super) reason: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ProcessorResponse<'a> {
    #[serde(borrow)]
    response_code: Text<'a>,
}

pub(super) fn collected(event: &Event<'_>, status: PaymentStatus) -> Result<Draft, TranslateError> {
    let payment: Payment<'_> = event.read("a PayPal payment")?;
    let total = required(payment.amount.as_ref(), "the payment")?;
    let is_paid = status == PaymentStatus::Paid;
    let mut fact = PaymentFact {
        status: Some(status),
        amount: Some(total),
        collection: Some(Collection { status, total: Some(total), paid: is_paid.then_some(total) }),
        fee: fee(&payment)?.filter(|_| is_paid),
        method: payment.payment_mode.to_string(),
        ..PaymentFact::default()
    };
    if status == PaymentStatus::Failed {
        let processor = payment.processor_response.as_ref();
        let code = processor.map_or("", |response| &response.response_code);
        let reason = payment.status_details.as_ref().map_or("", |details| &details.reason);
        fact.failure_code = payload::first(&[code, &payment.reason_code, reason]);
        fact.failure_message = reason.to_owned();
    }
    event.draft(0, &payment.id, event.rank, references(&payment), Fact::Payment(fact))
}

fn fee(payment: &Payment<'_>) -> Result<Option<Money>, TranslateError> {
    let breakdown = payment.seller_receivable_breakdown.as_ref();
    let fee = breakdown.and_then(|breakdown| breakdown.paypal_fee.as_ref());
    money(fee.or(payment.transaction_fee.as_ref()))
}

/// What a payment can be found by.
pub(super) fn references(payment: &Payment<'_>) -> References {
    let related = payment.supplementary_data.as_ref().and_then(|data| data.related_ids.as_ref());
    let order = related.map_or("", |ids| &ids.order_id);
    let authorization = related.map_or("", |ids| &ids.authorization_id);
    let mut references = References {
        payment: payment.id.to_string(),
        invoice_number: payload::first(&[&payment.invoice_id, &payment.invoice_number]),
        order: payload::first(&[order, &payment.parent_payment]),
        ..References::default()
    };
    let custom = payload::first(&[&payment.custom_id, &payment.custom]);
    keep(&mut references, CUSTOM_KEY, &custom);
    keep(&mut references, "authorization_id", authorization);
    keep(&mut references, "subscription_id", &payment.billing_agreement_id);
    references
}

/// Keeps a value among the metadata, if there is one.
pub(super) fn keep(references: &mut References, key: &str, value: &str) {
    if !value.is_empty() {
        references.metadata.insert(key.to_owned(), value.to_owned());
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Subscription<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    custom_id: Text<'a>,
    #[serde(borrow)]
    subscriber: Option<Subscriber<'a>>,
    #[serde(borrow)]
    billing_info: Option<BillingInfo<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Subscriber<'a> {
    #[serde(borrow)]
    email_address: Text<'a>,
    #[serde(borrow)]
    payer_id: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BillingInfo<'a> {
    #[serde(borrow)]
    outstanding_balance: Option<Amount<'a>>,
    #[serde(borrow)]
    last_failed_payment: Option<FailedPayment<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FailedPayment<'a> {
    #[serde(borrow)]
    amount: Option<Amount<'a>>,
    #[serde(borrow)]
    reason_code: Text<'a>,
}

/// A try that failed has no id of its own: the subscription stands for it.
pub(super) fn subscription_failed(event: &Event<'_>) -> Result<Draft, TranslateError> {
    let subscription: Subscription<'_> = event.read("a PayPal subscription")?;
    let billing = subscription.billing_info.unwrap_or_default();
    let failed = billing.last_failed_payment.unwrap_or_default();
    let total = money(failed.amount.as_ref().or(billing.outstanding_balance.as_ref()))?;
    let fact = PaymentFact {
        status: Some(PaymentStatus::Failed),
        amount: total,
        collection: Some(Collection { status: PaymentStatus::Failed, total, paid: None }),
        failure_code: failed.reason_code.to_string(),
        ..PaymentFact::default()
    };
    let subscriber = subscription.subscriber.unwrap_or_default();
    let mut references = References {
        payment: subscription.id.to_string(),
        customer: subscriber.payer_id.to_string(),
        email: subscriber.email_address.to_string(),
        ..References::default()
    };
    keep(&mut references, CUSTOM_KEY, &subscription.custom_id);
    keep(&mut references, "subscription_id", &subscription.id);
    event.draft(0, &subscription.id, event.rank, references, Fact::Payment(fact))
}
