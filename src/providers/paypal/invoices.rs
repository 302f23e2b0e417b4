//! PayPal's invoices and checkout orders: one of them comes in, a draft about it goes out. An invoice's
//! status decides whatever the event is called, since a partial payment may come under several names; an
//! order's own payments are reported by their captures and are never counted here.

use jiff::civil::Date;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{
    CustomerAction, CustomerActionFact, Draft, Fact, InvoiceFact, InvoiceStatus, Money, References,
};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Text};

use super::events::{Amount, Event, money};
use super::payments::{CUSTOM_KEY, keep};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Wrapped<'a> {
    #[serde(borrow)]
    invoice: Option<&'a RawValue>,
}

/// An invoice; `number`, `total_amount` and `billing_info` are of the older form.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Invoice<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    number: Text<'a>,
    #[serde(borrow)]
    detail: Option<Detail<'a>>,
    #[serde(borrow)]
    primary_recipients: Option<Vec<Recipient<'a>>>,
    #[serde(borrow)]
    billing_info: Option<Vec<BillingInfo<'a>>>,
    #[serde(borrow)]
    amount: Option<Amount<'a>>,
    #[serde(borrow)]
    total_amount: Option<Amount<'a>>,
    #[serde(borrow)]
    due_amount: Option<Amount<'a>>,
    #[serde(borrow)]
    payments: Option<Payments<'a>>,
    #[serde(borrow)]
    refunds: Option<Refunds<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Detail<'a> {
    #[serde(borrow)]
    invoice_number: Text<'a>,
    /// The currency of every amount.
    #[serde(borrow)]
    currency_code: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
    #[serde(borrow)]
    payment_term: Option<Term<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Term<'a> {
    #[serde(borrow)]
    due_date: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Recipient<'a> {
    #[serde(borrow)]
    billing_info: Option<BillingInfo<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BillingInfo<'a> {
    #[serde(borrow)]
    email_address: Text<'a>,
    #[serde(borrow)]
    email: Text<'a>,
    #[serde(borrow)]
    business_name: Text<'a>,
    #[serde(borrow)]
    name: Option<Name<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Name<'a> {
    #[serde(borrow)]
    full_name: Text<'a>,
    #[serde(borrow)]
    given_name: Text<'a>,
    #[serde(borrow)]
    surname: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Payments<'a> {
    #[serde(borrow)]
    paid_amount: Option<Amount<'a>>,
}

/// In the older form there is a list here instead of a total.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refunds<'a> {
    #[serde(borrow)]
    refund_amount: Option<Amount<'a>>,
}

pub(super) fn invoice(event: &Event<'_>) -> Result<Draft, TranslateError> {
    let wrapped: Wrapped<'_> = event.read("a PayPal invoice")?;
    let invoice: Invoice<'_> = match wrapped.invoice {
        Some(invoice) => serde_json::from_str(invoice.get())
            .map_err(|error| payload::unreadable("a PayPal invoice", &error))?,
        None => event.read("a PayPal invoice")?,
    };
    let (status, rank) = match &*invoice.status {
        "DRAFT" => (InvoiceStatus::Draft, 10),
        "SCHEDULED" => (InvoiceStatus::Open, 20),
        "SENT" | "SHARED" | "UNPAID" => (InvoiceStatus::Open, 21),
        "PAYMENT_PENDING" => (InvoiceStatus::Open, 22),
        "PARTIALLY_PAID" => (InvoiceStatus::PartiallyPaid, 30),
        "PAID" | "MARKED_AS_PAID" => (InvoiceStatus::Paid, 40),
        "PARTIALLY_REFUNDED" => (InvoiceStatus::PartiallyRefunded, 50),
        "REFUNDED" | "MARKED_AS_REFUNDED" => (InvoiceStatus::Refunded, 60),
        "CANCELLED" => (InvoiceStatus::Void, 70),
        other => return Err(payload::unknown("invoice status", other)),
    };
    let detail = invoice.detail.unwrap_or_default();
    let money = |amount: Option<&Amount<'_>>| {
        amount.map_or(Ok(None), |amount| amount.money_or(&detail.currency_code))
    };
    let total = money(invoice.amount.as_ref().or(invoice.total_amount.as_ref()))?;
    let payments = invoice.payments.unwrap_or_default();
    let refunds = invoice.refunds.unwrap_or_default();
    let whole = total.filter(|_| status == InvoiceStatus::Paid);
    let fact = InvoiceFact {
        status,
        total,
        paid: money(payments.paid_amount.as_ref())?.or(whole),
        balance: money(invoice.due_amount.as_ref())?,
        refunded: money(refunds.refund_amount.as_ref())?,
        due_date: due_date(detail.payment_term.as_ref())?,
    };
    let recipients = invoice.primary_recipients.unwrap_or_default();
    let recipient = recipients.into_iter().find_map(|recipient| recipient.billing_info);
    let older = invoice.billing_info.and_then(|recipients| recipients.into_iter().next());
    let recipient = recipient.or(older).unwrap_or_default();
    let references = References {
        invoice: invoice.id.to_string(),
        invoice_number: payload::first(&[&detail.invoice_number, &invoice.number]),
        order: detail.reference.to_string(),
        customer_name: payload::first(&[&recipient.business_name, &full_name(&recipient.name)]),
        email: payload::first(&[&recipient.email_address, &recipient.email]),
        ..References::default()
    };
    event.draft(0, &invoice.id, rank, references, Fact::Invoice(fact))
}

fn due_date(term: Option<&Term<'_>>) -> Result<Option<Date>, TranslateError> {
    let text = term.map_or("", |term| &term.due_date);
    (!text.is_empty()).then(|| text.parse().map_err(|_| payload::not_a("a date", text))).transpose()
}

fn full_name(name: &Option<Name<'_>>) -> String {
    let Some(name) = name else { return String::new() };
    let parts = [&*name.given_name, &*name.surname].join(" ");
    payload::first(&[&name.full_name, parts.trim()])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Order<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    order_id: Text<'a>,
    #[serde(borrow)]
    payer: Option<Payer<'a>>,
    #[serde(borrow)]
    purchase_units: Option<Vec<Unit<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Payer<'a> {
    #[serde(borrow)]
    email_address: Text<'a>,
    #[serde(borrow)]
    payer_id: Text<'a>,
    #[serde(borrow)]
    name: Option<Name<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Unit<'a> {
    #[serde(borrow)]
    amount: Option<Amount<'a>>,
    #[serde(borrow)]
    invoice_id: Text<'a>,
    #[serde(borrow)]
    custom_id: Text<'a>,
    #[serde(borrow)]
    payments: Option<UnitPayments<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct UnitPayments<'a> {
    #[serde(borrow)]
    captures: Option<Vec<Text<'a>>>,
}

pub(super) fn order(event: &Event<'_>, action: CustomerAction) -> Result<Draft, TranslateError> {
    let order: Order<'_> = event.read("a PayPal order")?;
    let units = order.purchase_units.unwrap_or_default();
    let fact = CustomerActionFact { action, amount: sum(&units)?, detail: String::new() };
    let payer = order.payer.unwrap_or_default();
    let id = payload::first(&[&order.id, &order.order_id]);
    let mut references = References {
        order: id.clone(),
        customer: payer.payer_id.to_string(),
        customer_name: full_name(&payer.name),
        email: payer.email_address.to_string(),
        ..References::default()
    };
    if let Some(unit) = units.first() {
        let captures = unit.payments.as_ref().and_then(|payments| payments.captures.as_deref());
        let capture = captures.and_then(<[_]>::first);
        references.payment = capture.map(|id| id.to_string()).unwrap_or_default();
        references.invoice_number = unit.invoice_id.to_string();
        keep(&mut references, CUSTOM_KEY, &unit.custom_id);
    }
    event.draft(0, &id, event.rank, references, Fact::CustomerAction(fact))
}

fn sum(units: &[Unit<'_>]) -> Result<Option<Money>, TranslateError> {
    let mut sum: Option<Money> = None;
    for unit in units {
        let Some(part) = money(unit.amount.as_ref())? else { continue };
        let before = sum.unwrap_or(Money { minor_units: 0, ..part });
        let minor_units = before
            .minor_units
            .checked_add(part.minor_units)
            .filter(|_| before.currency == part.currency)
            .ok_or_else(|| TranslateError(format!("{before} and {part} do not add up")))?;
        sum = Some(Money { minor_units, ..part });
    }
    Ok(sum)
}
