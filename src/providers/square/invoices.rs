//! Square's invoices: an invoice with its payment requests comes in, a draft about the invoice goes out.
//! Totals are sums over the requests and must stay exact: requests in several currencies are an error.

use jiff::civil::Date;
use serde::Deserialize;

use crate::model::{Draft, Fact, InvoiceFact, InvoiceStatus, Money, References};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Text};

use super::{Amount, Event, Place, money};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Invoice<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    invoice_number: Text<'a>,
    #[serde(borrow)]
    order_id: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    primary_recipient: Option<Recipient<'a>>,
    #[serde(borrow)]
    payment_requests: Option<Vec<PaymentRequest<'a>>>,
    #[serde(borrow)]
    updated_at: Text<'a>,
    version: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Recipient<'a> {
    #[serde(borrow)]
    customer_id: Text<'a>,
    #[serde(borrow)]
    email_address: Text<'a>,
    #[serde(borrow)]
    given_name: Text<'a>,
    #[serde(borrow)]
    family_name: Text<'a>,
    #[serde(borrow)]
    company_name: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PaymentRequest<'a> {
    #[serde(borrow)]
    computed_amount_money: Option<Amount<'a>>,
    #[serde(borrow)]
    total_completed_amount_money: Option<Amount<'a>>,
    #[serde(borrow)]
    due_date: Text<'a>,
}

pub(super) fn invoice(event: &Event<'_>) -> Result<Draft, TranslateError> {
    let invoice: Invoice<'_> = event.read("invoice", |wrapped| wrapped.invoice)?;
    let (status, rank) = match &*invoice.status {
        "DRAFT" => (InvoiceStatus::Draft, 10),
        "UNPAID" | "SCHEDULED" => (InvoiceStatus::Open, 20),
        "PAYMENT_PENDING" => (InvoiceStatus::Open, 21),
        "PARTIALLY_PAID" => (InvoiceStatus::PartiallyPaid, 30),
        "FAILED" => (InvoiceStatus::PaymentFailed, 40),
        "PAID" => (InvoiceStatus::Paid, 50),
        "PARTIALLY_REFUNDED" => (InvoiceStatus::PartiallyRefunded, 60),
        "REFUNDED" => (InvoiceStatus::Refunded, 70),
        "CANCELED" => (InvoiceStatus::Void, 80),
        other => return Err(payload::unknown("invoice status", other)),
    };
    draft(event, invoice, status, rank)
}

/// A deleted invoice may come without the invoice, as an id alone.
pub(super) fn deleted(event: &Event<'_>) -> Result<Draft, TranslateError> {
    const RANK: u8 = 90;
    let data = event.body.data.as_ref();
    let has_invoice =
        data.and_then(|data| data.object.as_ref()).is_some_and(|wrapped| wrapped.invoice.is_some());
    let invoice = match has_invoice {
        true => event.read("invoice", |wrapped| wrapped.invoice)?,
        false => Invoice {
            id: data.map(|data| data.id.clone()).unwrap_or_default(),
            ..Invoice::default()
        },
    };
    draft(event, invoice, InvoiceStatus::Void, RANK)
}

fn draft(
    event: &Event<'_>,
    invoice: Invoice<'_>,
    status: InvoiceStatus,
    rank: u8,
) -> Result<Draft, TranslateError> {
    let requests = invoice.payment_requests.unwrap_or_default();
    let total = sum(&requests, |request| request.computed_amount_money.as_ref())?;
    let paid = sum(&requests, |request| request.total_completed_amount_money.as_ref())?;
    let fact = InvoiceFact {
        status,
        total,
        paid,
        balance: balance(total, paid)?,
        refunded: None,
        due_date: due_date(&requests)?,
    };
    let recipient = invoice.primary_recipient.unwrap_or_default();
    let name = [&*recipient.given_name, &*recipient.family_name].join(" ");
    let references = References {
        invoice: invoice.id.to_string(),
        invoice_number: invoice.invoice_number.to_string(),
        order: invoice.order_id.to_string(),
        customer: recipient.customer_id.to_string(),
        customer_name: payload::first(&[name.trim(), &recipient.company_name]),
        email: recipient.email_address.to_string(),
        ..References::default()
    };
    let place = Place { version: invoice.version, updated_at: &invoice.updated_at, rank };
    event.draft(&invoice.id, place, references, Fact::Invoice(fact))
}

fn sum<'r, 'a: 'r>(
    requests: &'r [PaymentRequest<'a>],
    amount: impl Fn(&'r PaymentRequest<'a>) -> Option<&'r Amount<'a>>,
) -> Result<Option<Money>, TranslateError> {
    let mut sum: Option<Money> = None;
    for request in requests {
        let Some(part) = money(amount(request))? else { continue };
        sum = match sum {
            None => Some(part),
            Some(before) => Some(combine(before, part, i64::checked_add)?),
        };
    }
    Ok(sum)
}

fn balance(total: Option<Money>, paid: Option<Money>) -> Result<Option<Money>, TranslateError> {
    match (total, paid) {
        (Some(total), Some(paid)) => combine(total, paid, i64::checked_sub).map(Some),
        (total, None) => Ok(total),
        (None, Some(_)) => Ok(None),
    }
}

fn combine(
    left: Money,
    right: Money,
    operation: fn(i64, i64) -> Option<i64>,
) -> Result<Money, TranslateError> {
    operation(left.minor_units, right.minor_units)
        .filter(|_| left.currency == right.currency)
        .map(|minor_units| Money { minor_units, ..left })
        .ok_or_else(|| TranslateError(format!("{left} and {right} do not add up")))
}

/// The first day on which money is still due, else the last day of all.
fn due_date(requests: &[PaymentRequest<'_>]) -> Result<Option<Date>, TranslateError> {
    let mut open: Option<Date> = None;
    let mut last: Option<Date> = None;
    for request in requests.iter().filter(|request| !request.due_date.is_empty()) {
        let day: Date =
            request.due_date.parse().map_err(|_| payload::not_a("a date", &request.due_date))?;
        last = last.max(Some(day));
        let total = money(request.computed_amount_money.as_ref())?;
        let paid = money(request.total_completed_amount_money.as_ref())?;
        let is_open = match (total, paid) {
            (Some(total), Some(paid)) => paid < total,
            (_, None) | (None, Some(_)) => true,
        };
        if is_open {
            open = Some(open.map_or(day, |earlier| earlier.min(day)));
        }
    }
    Ok(open.or(last))
}
