//! Xero's credit notes and prepayments: an answer with one of them comes in, drafts about a payment go
//! out. What was paid out of a credit note or a prepayment is a refund, by the id of that payment; what
//! was merely set off against an invoice moved no money and gives nothing.

use serde::Deserialize;

use crate::model::{
    Collection, Draft, Entry, EntryState, Fact, Money, PaymentFact, PaymentStatus, References,
};
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{Answer, TranslateError, accounting};

use super::draft::{Contact, Context, State, only};

/// How far a refund is in the life of a payment.
pub(super) const REFUND_RANK: u8 = 70;

#[derive(Deserialize)]
struct CreditNotes<'a> {
    #[serde(borrow, rename = "CreditNotes")]
    notes: Vec<Credit<'a>>,
}

#[derive(Deserialize)]
struct Prepayments<'a> {
    #[serde(borrow, rename = "Prepayments")]
    prepayments: Vec<Credit<'a>>,
}

/// A credit note or a prepayment: both are money that a customer has with the organisation.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Credit<'a> {
    #[serde(borrow, rename = "CreditNoteID", alias = "PrepaymentID")]
    id: Text<'a>,
    #[serde(borrow, rename = "CreditNoteNumber")]
    number: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
    #[serde(borrow, rename = "Type")]
    kind: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    total: Decimal,
    #[serde(borrow)]
    currency_code: Text<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    contact: Contact<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    payments: Vec<PaidOut<'a>>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    allocations: Vec<Allocation<'a>>,
    #[serde(borrow, rename = "UpdatedDateUTC")]
    updated: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PaidOut<'a> {
    #[serde(borrow, rename = "PaymentID")]
    id: Text<'a>,
    #[serde(rename = "Amount")]
    amount: Decimal,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Allocation<'a> {
    #[serde(borrow, rename = "Invoice", deserialize_with = "accounting::or_default")]
    invoice: Invoice<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Invoice<'a> {
    #[serde(borrow, rename = "InvoiceID")]
    id: Text<'a>,
    #[serde(borrow, rename = "InvoiceNumber")]
    number: Text<'a>,
}

/// The refunds of a credit note, one draft each.
pub(super) fn credit_note(
    context: &Context<'_>,
    answer: &Answer,
) -> Result<Vec<Draft>, TranslateError> {
    let notes: CreditNotes<'_> = accounting::read(answer, "a Xero credit note")?;
    let note = only(notes.notes, "credit note")?;
    match &*note.kind {
        "ACCRECCREDIT" => note.refunds(context),
        "ACCPAYCREDIT" => Ok(Vec::new()),
        other => Err(payload::unknown("credit note type", other)),
    }
}

/// Money that was paid in advance, and what was paid back of it.
pub(super) fn prepayment(
    context: &Context<'_>,
    answer: &Answer,
) -> Result<Vec<Draft>, TranslateError> {
    let prepayments: Prepayments<'_> = accounting::read(answer, "a Xero prepayment")?;
    let prepayment = only(prepayments.prepayments, "prepayment")?;
    match &*prepayment.kind {
        "RECEIVE-PREPAYMENT" | "ARPREPAYMENT" => {}
        "SPEND-PREPAYMENT" | "APPREPAYMENT" => return Ok(Vec::new()),
        other => return Err(payload::unknown("prepayment type", other)),
    }
    let (status, rank) = match &*prepayment.status {
        "AUTHORISED" | "PAID" => (PaymentStatus::Paid, 50),
        "VOIDED" => (PaymentStatus::Canceled, 80),
        other => return Err(payload::unknown("prepayment status", other)),
    };
    let total = prepayment.total.required(&prepayment.currency_code, "the prepayment")?;
    let paid = Some(total).filter(|_| status == PaymentStatus::Paid);
    let fact = PaymentFact {
        status: Some(status),
        amount: Some(total),
        collection: Some(Collection { status, total: Some(total), paid }),
        ..PaymentFact::default()
    };
    let shown = total.to_string();
    // Allocations change the status from one that says the same.
    let values = [status.word(), shown.as_str()];
    let state = State { updated: &prepayment.updated, rank, values: &values };
    let id = payload::first(&[&prepayment.id, &context.notice.id]);
    let references = prepayment.references(&id);
    let mut drafts = vec![context.draft(&id, &state, references, Fact::Payment(fact))?];
    drafts.extend(prepayment.refunds(context)?);
    Ok(drafts)
}

impl Credit<'_> {
    fn refunds(&self, context: &Context<'_>) -> Result<Vec<Draft>, TranslateError> {
        let total = self.total.required(&self.currency_code, "the credit")?;
        let id = payload::first(&[&self.id, &context.notice.id]);
        let refunds = self.payments.iter().map(|paid_out| {
            let amount = paid_out.amount.required(&self.currency_code, "the refund")?;
            let fact = refund(&paid_out.id, EntryState::Done, amount, Some(total))?;
            let shown = amount.to_string();
            let values = [&*paid_out.id, "DONE", shown.as_str()];
            let state = State { updated: &self.updated, rank: REFUND_RANK, values: &values };
            context.draft(&id, &state, self.references(&id), Fact::Payment(fact))
        });
        refunds.collect()
    }

    fn references(&self, id: &str) -> References {
        let invoice = self.allocations.first().map(|allocation| &allocation.invoice);
        let mut references = References {
            payment: id.to_owned(),
            invoice: invoice.map(|invoice| invoice.id.to_string()).unwrap_or_default(),
            invoice_number: invoice.map(|invoice| invoice.number.to_string()).unwrap_or_default(),
            order: self.reference.to_string(),
            customer: self.contact.id.to_string(),
            customer_name: self.contact.name.to_string(),
            email: self.contact.email.to_string(),
            ..References::default()
        };
        if !self.number.is_empty() {
            references.metadata.insert("credit_note_number".to_owned(), self.number.to_string());
        }
        references
    }
}

/// One refund of a credit, which counts as paid before; how much of it is refunded follows from all.
pub(super) fn refund(
    id: &str,
    state: EntryState,
    amount: Money,
    total: Option<Money>,
) -> Result<PaymentFact, TranslateError> {
    if id.is_empty() {
        return Err(TranslateError("the refund has no id".to_owned()));
    }
    let status = PaymentStatus::Paid;
    let collection =
        total.map(|total| Collection { status, total: Some(total), paid: Some(total) });
    Ok(PaymentFact {
        collection,
        refund: Some(Entry { id: id.to_owned(), amount: Some(amount), state }),
        ..PaymentFact::default()
    })
}
