//! Xero's invoices: an answer with one invoice comes in, a draft about it goes out. «AUTHORISED» means
//! that it was approved to be sent, so that the amounts tell how far it is paid. Bills, which the
//! organisation has to pay itself, give nothing.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::model::{Draft, Fact, InvoiceFact, InvoiceStatus, Money, References};
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{Answer, TranslateError, accounting};

use super::draft::{Contact, Context, State, only, time};

#[derive(Deserialize)]
struct Invoices<'a> {
    #[serde(borrow, rename = "Invoices")]
    invoices: Vec<Invoice<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Invoice<'a> {
    #[serde(borrow, rename = "InvoiceID")]
    id: Text<'a>,
    #[serde(borrow)]
    invoice_number: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
    #[serde(borrow, rename = "Type")]
    kind: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    total: Decimal,
    amount_due: Decimal,
    amount_paid: Decimal,
    amount_credited: Decimal,
    #[serde(borrow)]
    currency_code: Text<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    contact: Contact<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    payments: Vec<InvoicePayment<'a>>,
    #[serde(borrow)]
    due_date: Text<'a>,
    #[serde(borrow)]
    due_date_string: Text<'a>,
    #[serde(borrow, rename = "UpdatedDateUTC")]
    updated: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct InvoicePayment<'a> {
    #[serde(borrow, rename = "PaymentID")]
    id: Text<'a>,
}

/// What the invoice says; `None` of a bill.
pub(super) fn invoice(
    context: &Context<'_>,
    answer: &Answer,
) -> Result<Option<Draft>, TranslateError> {
    let invoices: Invoices<'_> = accounting::read(answer, "a Xero invoice")?;
    let invoice = only(invoices.invoices, "invoice")?;
    match &*invoice.kind {
        "ACCREC" => {}
        "ACCPAY" => return Ok(None),
        other => return Err(payload::unknown("invoice type", other)),
    }
    let currency = &*invoice.currency_code;
    let total = invoice.total.required(currency, "the invoice")?;
    let zero = Money { minor_units: 0, ..total };
    let paid = invoice.amount_paid.money(currency)?.unwrap_or(zero);
    let credited = invoice.amount_credited.money(currency)?.unwrap_or(zero);
    let balance = invoice.amount_due.money(currency)?.unwrap_or(total);
    let is_begun = paid.minor_units > 0 || credited.minor_units > 0;
    let status = match &*invoice.status {
        "DRAFT" | "SUBMITTED" => InvoiceStatus::Draft,
        "AUTHORISED" if is_begun && balance.minor_units > 0 => InvoiceStatus::PartiallyPaid,
        "AUTHORISED" => InvoiceStatus::Open,
        "PAID" => InvoiceStatus::Paid,
        "VOIDED" | "DELETED" => InvoiceStatus::Void,
        other => return Err(payload::unknown("invoice status", other)),
    };
    let fact = InvoiceFact {
        status,
        total: Some(total),
        paid: Some(paid),
        balance: Some(balance),
        refunded: None,
        due_date: due_date(&invoice)?,
    };
    let payment = invoice.payments.first().map(|payment| payment.id.to_string());
    let references = References {
        payment: payment.unwrap_or_default(),
        invoice: invoice.id.to_string(),
        invoice_number: invoice.invoice_number.to_string(),
        order: invoice.reference.to_string(),
        customer: invoice.contact.id.to_string(),
        customer_name: invoice.contact.name.to_string(),
        email: invoice.contact.email.to_string(),
        ..References::default()
    };
    let amounts = [total, paid, credited, balance].map(|money| money.to_string());
    let [total, paid, credited, balance] = amounts.each_ref().map(String::as_str);
    let values = [&*invoice.status, total, paid, credited, balance, &*invoice.due_date];
    let rank = accounting::invoice_rank(status);
    let state = State { updated: &invoice.updated, rank, values: &values };
    let id = payload::first(&[&invoice.id, &context.notice.id]);
    context.draft(&id, &state, references, Fact::Invoice(fact)).map(Some)
}

/// The day without a zone where it is given, since the other form counts from midnight of UTC.
fn due_date(invoice: &Invoice<'_>) -> Result<Option<Date>, TranslateError> {
    if !invoice.due_date_string.is_empty() || invoice.due_date.is_empty() {
        return accounting::date(&invoice.due_date_string);
    }
    Ok(Some(TimeZone::UTC.to_datetime(time(&invoice.due_date)?).date()))
}
