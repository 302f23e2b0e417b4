//! Xero's payments: an answer with one payment comes in, a draft about it goes out. A payment to a
//! customer refunds a credit note, a prepayment or an overpayment and is a report about that; payments of
//! the organisation's own bills give nothing.

use serde::Deserialize;

use crate::model::{
    Collection, Draft, EntryState, Fact, Money, PaymentFact, PaymentStatus, References,
};
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{Answer, Step, TranslateError, accounting};

use super::call;
use super::credit::{REFUND_RANK, refund};
use super::draft::{Contact, Context, State, only};

#[derive(Deserialize)]
struct Payments<'a> {
    #[serde(borrow, rename = "Payments")]
    payments: Vec<Payment<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Payment<'a> {
    #[serde(borrow, rename = "PaymentID")]
    id: Text<'a>,
    #[serde(borrow)]
    payment_type: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    amount: Decimal,
    #[serde(borrow)]
    currency_code: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    invoice: Paid<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    credit_note: Paid<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    prepayment: Paid<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    overpayment: Paid<'a>,
    #[serde(borrow, rename = "UpdatedDateUTC")]
    updated: Text<'a>,
}

/// What a payment is for, as far as the payment repeats it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Paid<'a> {
    #[serde(
        borrow,
        rename = "InvoiceID",
        alias = "CreditNoteID",
        alias = "PrepaymentID",
        alias = "OverpaymentID"
    )]
    id: Text<'a>,
    #[serde(borrow, rename = "InvoiceNumber", alias = "CreditNoteNumber")]
    number: Text<'a>,
    #[serde(borrow, rename = "CurrencyCode")]
    currency_code: Text<'a>,
    #[serde(borrow, rename = "Contact", deserialize_with = "accounting::or_default")]
    contact: Contact<'a>,
}

/// The lists of which the thing that was paid is the only one.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct PaidLists<'a> {
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    invoices: Vec<Paid<'a>>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    credit_notes: Vec<Paid<'a>>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    prepayments: Vec<Paid<'a>>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    overpayments: Vec<Paid<'a>>,
}

/// What the payment says. One that does not repeat its currency has that of what it pays.
pub(super) fn payment(
    context: &Context<'_>,
    answer: &Answer,
    paid: Option<&Answer>,
) -> Result<Step, TranslateError> {
    let payments: Payments<'_> = accounting::read(answer, "a Xero payment")?;
    let payment = only(payments.payments, "payment")?;
    let (collection, thing, is_refund) = match &*payment.payment_type {
        "ACCRECPAYMENT" => ("Invoices", &payment.invoice, false),
        "ARCREDITPAYMENT" => ("CreditNotes", &payment.credit_note, true),
        "ARPREPAYMENTPAYMENT" => ("Prepayments", &payment.prepayment, true),
        "AROVERPAYMENTPAYMENT" => ("Overpayments", &payment.overpayment, true),
        "ACCPAYPAYMENT" | "APCREDITPAYMENT" | "APPREPAYMENTPAYMENT" | "APOVERPAYMENTPAYMENT" => {
            return Ok(Step::Done { drafts: Vec::new(), cursor: None });
        }
        other => return Err(payload::unknown("payment type", other)),
    };
    let mut currency = payload::first(&[&payment.currency_code, &thing.currency_code]);
    if currency.is_empty() {
        let Some(paid) = paid else {
            let id = accounting::path_id("what was paid", &thing.id)?;
            let path = format!("{collection}/{id}");
            return Ok(call(context.endpoint, context.notice, &path));
        };
        let lists: PaidLists<'_> = accounting::read(paid, "what was paid")?;
        let lists = [lists.invoices, lists.credit_notes, lists.prepayments, lists.overpayments];
        let thing = only(lists.into_iter().flatten().collect(), "paid object")?;
        currency = thing.currency_code.to_string();
    }
    let amount = payment.amount.required(&currency, "the payment")?;
    let draft = match is_refund {
        true => payment.refund(context, thing, amount)?,
        false => payment.received(context, thing, amount)?,
    };
    Ok(Step::Done { drafts: vec![draft], cursor: None })
}

impl Payment<'_> {
    fn received(
        &self,
        context: &Context<'_>,
        invoice: &Paid<'_>,
        amount: Money,
    ) -> Result<Draft, TranslateError> {
        let (status, rank) = match self.is_deleted()? {
            true => (PaymentStatus::Canceled, 80),
            false => (PaymentStatus::Paid, 50),
        };
        let paid = Some(amount).filter(|_| status == PaymentStatus::Paid);
        let fact = PaymentFact {
            status: Some(status),
            amount: Some(amount),
            collection: Some(Collection { status, total: Some(amount), paid }),
            ..PaymentFact::default()
        };
        let id = payload::first(&[&self.id, &context.notice.id]);
        let references = References {
            payment: id.clone(),
            invoice: invoice.id.to_string(),
            invoice_number: invoice.number.to_string(),
            ..self.references(invoice)
        };
        let shown = amount.to_string();
        let values = [status.word(), shown.as_str(), &*invoice.id];
        let state = State { updated: &self.updated, rank, values: &values };
        context.draft(&id, &state, references, Fact::Payment(fact))
    }

    /// A report about what is refunded, under the id that a report of the thing itself has as well.
    fn refund(
        &self,
        context: &Context<'_>,
        thing: &Paid<'_>,
        amount: Money,
    ) -> Result<Draft, TranslateError> {
        let (entry, word, rank) = match self.is_deleted()? {
            true => (EntryState::Failed, "FAILED", REFUND_RANK + 1),
            false => (EntryState::Done, "DONE", REFUND_RANK),
        };
        let id = payload::first(&[&self.id, &context.notice.id]);
        // The amount of the whole is known to the thing alone.
        let mut fact = refund(&id, entry, amount, None)?;
        fact.amount = Some(amount);
        let subject = payload::first(&[&thing.id, &id]);
        let references = References { payment: subject.clone(), ..self.references(thing) };
        let shown = amount.to_string();
        let values = [id.as_str(), word, shown.as_str()];
        let state = State { updated: &self.updated, rank, values: &values };
        context.draft(&subject, &state, references, Fact::Payment(fact))
    }

    fn is_deleted(&self) -> Result<bool, TranslateError> {
        match &*self.status {
            "AUTHORISED" => Ok(false),
            "DELETED" => Ok(true),
            other => Err(payload::unknown("payment status", other)),
        }
    }

    fn references(&self, thing: &Paid<'_>) -> References {
        References {
            order: self.reference.to_string(),
            customer: thing.contact.id.to_string(),
            customer_name: thing.contact.name.to_string(),
            email: thing.contact.email.to_string(),
            ..References::default()
        }
    }
}
