//! Stripe's invoices, checkouts, payment links and quotes: one of these objects comes in, a draft about
//! the invoice, payment or payment request goes out. A checkout that has a PaymentIntent speaks about
//! that payment; it must never make a second subject for the same money.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::model::{
    Collection, CustomerAction, CustomerActionFact, Draft, Fact, InvoiceFact, InvoiceStatus,
    PaymentFact, PaymentStatus, References,
};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Scalars, Text};

use super::payments::{collection_rank, order_of};
use super::{Event, SessionStep, optional, required};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Invoice<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    number: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    total: Option<i64>,
    amount_paid: Option<i64>,
    amount_remaining: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
    due_date: Option<i64>,
    #[serde(borrow)]
    customer: Text<'a>,
    #[serde(borrow)]
    customer_name: Text<'a>,
    #[serde(borrow)]
    customer_email: Text<'a>,
    /// Gone since API version 2025-03-31, which has `payments`.
    #[serde(borrow)]
    payment_intent: Text<'a>,
    #[serde(borrow)]
    charge: Text<'a>,
    #[serde(borrow)]
    payments: Option<PaymentList<'a>>,
    metadata: Scalars,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PaymentList<'a> {
    #[serde(borrow)]
    data: Vec<InvoicePayment<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct InvoicePayment<'a> {
    #[serde(borrow)]
    invoice: Text<'a>,
    amount_paid: Option<i64>,
    amount_requested: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
    is_default: Option<bool>,
    #[serde(borrow)]
    payment_intent: Text<'a>,
    #[serde(borrow)]
    charge: Text<'a>,
    #[serde(borrow)]
    payment: Option<AssociatedPayment<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AssociatedPayment<'a> {
    #[serde(borrow)]
    payment_intent: Text<'a>,
    #[serde(borrow)]
    charge: Text<'a>,
}

impl InvoicePayment<'_> {
    fn payment_id(&self) -> String {
        let nested = |read: fn(&AssociatedPayment<'_>) -> String| {
            self.payment.as_ref().map(read).unwrap_or_default()
        };
        payload::first(&[
            &nested(|payment| payment.payment_intent.to_string()),
            &self.payment_intent,
            &nested(|payment| payment.charge.to_string()),
            &self.charge,
        ])
    }
}

/// The rank of the evidence: the further in an invoice's life, the higher. An uncollectible invoice may
/// still be paid, a paid one is never written off.
fn invoice_rank(status: InvoiceStatus) -> u8 {
    match status {
        InvoiceStatus::Draft => 10,
        InvoiceStatus::Open => 20,
        InvoiceStatus::Overdue => 30,
        InvoiceStatus::PartiallyPaid => 40,
        InvoiceStatus::PaymentFailed => 50,
        InvoiceStatus::Uncollectible => 60,
        InvoiceStatus::Paid => 70,
        InvoiceStatus::Void => 80,
        InvoiceStatus::PartiallyRefunded => 90,
        InvoiceStatus::Refunded => 100,
        InvoiceStatus::Disputed => 110,
    }
}

pub(super) fn invoice(
    event: &Event<'_>,
    by_type: Option<InvoiceStatus>,
) -> Result<Draft, TranslateError> {
    let invoice: Invoice<'_> = event.read("a Stripe invoice")?;
    let status = match by_type {
        Some(status) => status,
        None => invoice_status(&invoice)?,
    };
    let fact = InvoiceFact {
        status,
        total: Some(required(invoice.total, &invoice.currency, "the invoice")?),
        paid: optional(invoice.amount_paid, &invoice.currency)?,
        balance: optional(invoice.amount_remaining, &invoice.currency)?,
        refunded: None,
        due_date: due_date(invoice.due_date)?,
    };
    let listed = invoice.payments.as_ref().and_then(|list| list.data.first());
    let listed = listed.map(InvoicePayment::payment_id).unwrap_or_default();
    let references = References {
        payment: payload::first(&[&invoice.payment_intent, &listed, &invoice.charge]),
        invoice: invoice.id.to_string(),
        invoice_number: invoice.number.to_string(),
        order: order_of(&invoice.metadata).to_owned(),
        customer: invoice.customer.to_string(),
        customer_name: invoice.customer_name.to_string(),
        email: invoice.customer_email.to_string(),
        metadata: invoice.metadata.0,
    };
    event.draft(&invoice.id, invoice_rank(status), references, Fact::Invoice(fact))
}

fn invoice_status(invoice: &Invoice<'_>) -> Result<InvoiceStatus, TranslateError> {
    let paid = invoice.amount_paid.unwrap_or(0);
    match &*invoice.status {
        "draft" => Ok(InvoiceStatus::Draft),
        "open" if paid > 0 && paid < invoice.total.unwrap_or(0) => Ok(InvoiceStatus::PartiallyPaid),
        "open" => Ok(InvoiceStatus::Open),
        "paid" => Ok(InvoiceStatus::Paid),
        "void" | "deleted" => Ok(InvoiceStatus::Void),
        "uncollectible" => Ok(InvoiceStatus::Uncollectible),
        other => Err(payload::unknown("invoice status", other)),
    }
}

fn due_date(seconds: Option<i64>) -> Result<Option<Date>, TranslateError> {
    let Some(seconds) = seconds else { return Ok(None) };
    let at = Timestamp::from_second(seconds)
        .map_err(|_| TranslateError(format!("`{seconds}` is no due date")))?;
    Ok(Some(TimeZone::UTC.to_datetime(at).date()))
}

/// One payment on an invoice. Only the default payment is kept equal to what remains, so only it can
/// tell that the invoice is paid as a whole.
pub(super) fn invoice_payment(event: &Event<'_>) -> Result<Draft, TranslateError> {
    let payment: InvoicePayment<'_> = event.read("a Stripe invoice payment")?;
    let paid = required(payment.amount_paid, &payment.currency, "the invoice payment")?;
    let requested = optional(payment.amount_requested, &payment.currency)?;
    let is_rest =
        payment.is_default == Some(true) && requested.is_some_and(|requested| paid >= requested);
    let status = if is_rest { InvoiceStatus::Paid } else { InvoiceStatus::PartiallyPaid };
    let fact = InvoiceFact {
        status,
        total: None,
        paid: Some(paid),
        balance: None,
        refunded: None,
        due_date: None,
    };
    let references = References {
        payment: payment.payment_id(),
        invoice: payment.invoice.to_string(),
        ..References::default()
    };
    event.draft(&payment.invoice, invoice_rank(status), references, Fact::Invoice(fact))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Session<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    payment_intent: Text<'a>,
    #[serde(borrow)]
    payment_status: Text<'a>,
    amount_total: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    invoice: Text<'a>,
    #[serde(borrow)]
    client_reference_id: Text<'a>,
    #[serde(borrow)]
    customer: Text<'a>,
    #[serde(borrow)]
    customer_email: Text<'a>,
    #[serde(borrow)]
    customer_details: Option<CustomerDetails<'a>>,
    metadata: Scalars,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CustomerDetails<'a> {
    #[serde(borrow)]
    email: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
}

pub(super) fn session(event: &Event<'_>, step: SessionStep) -> Result<Draft, TranslateError> {
    let session: Session<'_> = event.read("a Stripe checkout session")?;
    let amount = optional(session.amount_total, &session.currency)?;
    let details = session.customer_details.unwrap_or_default();
    let references = References {
        payment: session.payment_intent.to_string(),
        invoice: session.invoice.to_string(),
        order: payload::first(&[&session.client_reference_id, order_of(&session.metadata)]),
        customer: session.customer.to_string(),
        customer_name: details.name.to_string(),
        email: payload::first(&[&details.email, &session.customer_email]),
        metadata: session.metadata.0,
        ..References::default()
    };
    let status = match step {
        SessionStep::Completed => match &*session.payment_status {
            "paid" => Some(PaymentStatus::Paid),
            "unpaid" => Some(PaymentStatus::Pending),
            "no_payment_required" => None,
            other => return Err(payload::unknown("payment status", other)),
        },
        SessionStep::Paid => Some(PaymentStatus::Paid),
        SessionStep::Failed => Some(PaymentStatus::Failed),
        SessionStep::Expired => None,
    };
    if let Some(status) = status.filter(|_| !session.payment_intent.is_empty()) {
        let paid = amount.filter(|_| status == PaymentStatus::Paid);
        let fact = PaymentFact {
            status: Some(status),
            amount,
            collection: Some(Collection { status, total: amount, paid }),
            ..PaymentFact::default()
        };
        let rank = collection_rank(status);
        return event.draft(&session.payment_intent, rank, references, Fact::Payment(fact));
    }
    let action = match step {
        // The customer is through, but the money is still under way.
        SessionStep::Completed if status == Some(PaymentStatus::Pending) => {
            CustomerAction::RequestAccepted
        }
        SessionStep::Completed | SessionStep::Paid => CustomerAction::CheckoutCompleted,
        SessionStep::Failed | SessionStep::Expired => CustomerAction::CheckoutExpired,
    };
    let detail = session.payment_status.to_string();
    request(event, &session.id, references, CustomerActionFact { action, amount, detail })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PaymentLink<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    active: Option<bool>,
    #[serde(borrow)]
    url: Text<'a>,
    metadata: Scalars,
}

pub(super) fn payment_link(event: &Event<'_>) -> Result<Draft, TranslateError> {
    let link: PaymentLink<'_> = event.read("a Stripe payment link")?;
    let action = match link.active {
        Some(false) => CustomerAction::RequestCanceled,
        Some(true) | None => CustomerAction::RequestCreated,
    };
    let references = References {
        order: order_of(&link.metadata).to_owned(),
        metadata: link.metadata.0,
        ..References::default()
    };
    let detail = link.url.to_string();
    request(event, &link.id, references, CustomerActionFact { action, amount: None, detail })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Quote<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    number: Text<'a>,
    amount_total: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    customer: Text<'a>,
    #[serde(borrow)]
    invoice: Text<'a>,
    metadata: Scalars,
}

pub(super) fn quote(event: &Event<'_>, action: CustomerAction) -> Result<Draft, TranslateError> {
    let quote: Quote<'_> = event.read("a Stripe quote")?;
    // A draft without lines has no currency yet.
    let amount = quote.amount_total.filter(|_| !quote.currency.is_empty());
    let amount = optional(amount, &quote.currency)?;
    let references = References {
        invoice: quote.invoice.to_string(),
        order: order_of(&quote.metadata).to_owned(),
        customer: quote.customer.to_string(),
        metadata: quote.metadata.0,
        ..References::default()
    };
    let detail = quote.number.to_string();
    request(event, &quote.id, references, CustomerActionFact { action, amount, detail })
}

fn request(
    event: &Event<'_>,
    id: &str,
    references: References,
    fact: CustomerActionFact,
) -> Result<Draft, TranslateError> {
    let rank = match fact.action {
        CustomerAction::RequestCreated => 10,
        CustomerAction::RequestAccepted => 20,
        CustomerAction::RequestCanceled => 30,
        CustomerAction::LinkOpened
        | CustomerAction::InvoiceViewed
        | CustomerAction::CheckoutStarted
        | CustomerAction::PartialPayment
        | CustomerAction::MandateChanged => 40,
        CustomerAction::CheckoutExpired => 50,
        CustomerAction::CheckoutCompleted => 60,
    };
    event.draft(id, rank, references, Fact::CustomerAction(fact))
}
