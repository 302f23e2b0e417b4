//! What Zoho Books records come down to: a record comes in, a draft goes out. A record has no event id, so
//! that the key is a digest of what the record says; its order is the time of its last change.

use jiff::Timestamp;

use crate::model::{
    Collection, CustomerAction, CustomerActionFact, Draft, Fact, InvoiceFact, InvoiceStatus, Money,
    PaymentFact, PaymentStatus, References,
};
use crate::providers::{Endpoint, TranslateError, accounting, payload};

use super::Told;
use super::record::{Applied, AppliedTo, Module, Record};

/// What is made of records, named by module and state, since Zoho names no events.
pub(super) const EVENT_TYPES: [&str; 29] = [
    "payment_received",
    "payment_refunded",
    "payment_pending",
    "payment_failed",
    "payment_deleted",
    "invoice_draft",
    "invoice_sent",
    "invoice_overdue",
    "invoice_viewed",
    "invoice_partially_paid",
    "invoice_paid",
    "invoice_void",
    "invoice_deleted",
    "retainerinvoice_draft",
    "retainerinvoice_sent",
    "retainerinvoice_overdue",
    "retainerinvoice_viewed",
    "retainerinvoice_partially_paid",
    "retainerinvoice_paid",
    "retainerinvoice_void",
    "retainerinvoice_deleted",
    "creditnote_refunded",
    "creditnote_deleted",
    "estimate_sent",
    "estimate_viewed",
    "estimate_accepted",
    "estimate_declined",
    "estimate_expired",
    "estimate_deleted",
];

/// What every draft of a receipt needs.
pub(super) struct Context<'a> {
    pub endpoint: &'a Endpoint,
    pub told: &'a Told,
    pub received_at: Timestamp,
}

/// What a record says: the state in one of our words for it, and how far in its life it is.
struct Said {
    state: &'static str,
    rank: u8,
    fact: Fact,
}

/// The rank of what is deleted.
const DELETED_RANK: u8 = 90;

impl Context<'_> {
    /// What the record says; `None` where no money moved.
    pub fn draft(
        &self,
        module: Module,
        record: &Record<'_>,
    ) -> Result<Option<Draft>, TranslateError> {
        let (name, said) = match module {
            Module::Payment => ("payment", self.payment(record)?),
            Module::Invoice => ("invoice", self.invoice(record)?),
            Module::Retainer => ("retainerinvoice", self.invoice(record)?),
            Module::CreditNote => match self.credit_note(record)? {
                Some(said) => ("creditnote", said),
                None => return Ok(None),
            },
            Module::Estimate => ("estimate", self.estimate(record)?),
        };
        let id = record.id(module);
        // Amounts as money, since one record shows them with more zeros than another.
        let mut values = vec![
            name.to_owned(),
            id.to_owned(),
            record.last_modified_time.to_string(),
            record.status.to_string(),
            said.state.to_owned(),
        ];
        for amount in [
            &record.amount,
            &record.amount_refunded,
            &record.total,
            &record.balance,
            &record.total_refunded_amount,
        ] {
            let money = record.money(amount)?;
            values.push(money.map_or_else(String::new, |money| money.to_string()));
        }
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let key = accounting::state_key(&values);
        let occurred_at = match &*record.last_modified_time {
            "" => self.received_at,
            text => text.parse().map_err(|_| payload::not_a("a time", text))?,
        };
        Ok(Some(Draft {
            event_id: key.clone(),
            key,
            event_type: format!("{name}_{}", said.state),
            occurred_at,
            version: 0,
            rank: said.rank,
            subject: payload::subject(said.fact.kind(), &self.endpoint.name, id)?,
            references: self.references(module, record).bounded(),
            // Tests are made in an organisation of their own, which nothing tells.
            live: true,
            fact: said.fact,
        }))
    }

    fn is_deleted(&self) -> bool {
        says(&self.told.event, "delete")
    }

    fn payment(&self, record: &Record<'_>) -> Result<Said, TranslateError> {
        let amount = record.money(&record.amount)?;
        let refunded = record.money(&record.amount_refunded)?;
        let given_back = refunded.map_or(0, |money| money.minor_units);
        let whole = amount.map_or(0, |money| money.minor_units);
        let (state, status, rank) = match &*record.status {
            _ if self.is_deleted() => ("deleted", PaymentStatus::Canceled, DELETED_RANK),
            "void" | "deleted" => ("deleted", PaymentStatus::Canceled, DELETED_RANK),
            "" | "success" | "paid" | "refunded" | "partially_refunded" if given_back > 0 => {
                let status = match given_back >= whole {
                    true => PaymentStatus::Refunded,
                    false => PaymentStatus::PartiallyRefunded,
                };
                ("refunded", status, 70)
            }
            "" | "success" | "paid" => ("received", PaymentStatus::Paid, 50),
            "pending" | "draft" => ("pending", PaymentStatus::Pending, 10),
            "failure" | "failed" => ("failed", PaymentStatus::Failed, 20),
            other => return Err(payload::unknown("payment status", other)),
        };
        let collected = match status {
            PaymentStatus::Refunded | PaymentStatus::PartiallyRefunded => PaymentStatus::Paid,
            stated => stated,
        };
        let paid = amount.filter(|_| collected == PaymentStatus::Paid);
        let charges = record.money(&record.bank_charges)?;
        let fact = PaymentFact {
            status: Some(status),
            amount: if state == "refunded" { refunded } else { amount },
            collection: Some(Collection { status: collected, total: amount, paid }),
            refunded_total: refunded,
            fee: charges.filter(|charges| charges.minor_units > 0),
            method: record.payment_mode.to_string(),
            ..PaymentFact::default()
        };
        Ok(Said { state, rank, fact: Fact::Payment(fact) })
    }

    fn invoice(&self, record: &Record<'_>) -> Result<Said, TranslateError> {
        let total = record.money(&record.total)?;
        // Whatever else was done to it, a rule of the merchant's says that it was looked at.
        let is_viewed = match self.told.event.is_empty() {
            true => &*record.status == "viewed",
            false => says(&self.told.event, "view"),
        };
        if is_viewed && !self.is_deleted() {
            return Ok(action("viewed", CustomerAction::InvoiceViewed, 10, total, ""));
        }
        let (state, status) = match &*record.status {
            _ if self.is_deleted() => ("deleted", InvoiceStatus::Void),
            "draft" | "pending_approval" | "approved" | "rejected" => {
                ("draft", InvoiceStatus::Draft)
            }
            "sent" | "unpaid" | "viewed" => ("sent", InvoiceStatus::Open),
            "overdue" => ("overdue", InvoiceStatus::Overdue),
            "partially_paid" => ("partially_paid", InvoiceStatus::PartiallyPaid),
            // A retainer is drawn when it is set off against the invoice itself.
            "paid" | "drawn" | "partially_drawn" => ("paid", InvoiceStatus::Paid),
            "void" => ("void", InvoiceStatus::Void),
            other => return Err(payload::unknown("invoice status", other)),
        };
        let balance = record.money(&record.balance)?;
        let left = match (total, balance) {
            (Some(total), Some(balance)) => Some(accounting::paid_of(total, balance)?),
            (None, _) | (_, None) => None,
        };
        let fact = InvoiceFact {
            status,
            total,
            paid: record.money(&record.payment_made)?.or(left),
            balance,
            refunded: None,
            due_date: accounting::date(&record.due_date)?,
        };
        let rank = match state {
            "deleted" => DELETED_RANK,
            _ => accounting::invoice_rank(status),
        };
        Ok(Said { state, rank, fact: Fact::Invoice(fact) })
    }

    /// Money that was paid out of a credit note, which is told as a running total. It stands for money
    /// that was paid before; what was merely set off against an invoice moved none.
    fn credit_note(&self, record: &Record<'_>) -> Result<Option<Said>, TranslateError> {
        let total = record.money(&record.total)?;
        let refunded = record.money(&record.total_refunded_amount)?;
        let is_void = self.is_deleted() || &*record.status == "void";
        let given_back = refunded.filter(|money| money.minor_units > 0 && !is_void);
        let (state, status, rank) = match (given_back, is_void) {
            (_, true) => ("deleted", PaymentStatus::Canceled, DELETED_RANK),
            (None, false) => return Ok(None),
            (Some(refunded), false) if total.is_none_or(|total| refunded >= total) => {
                ("refunded", PaymentStatus::Refunded, 71)
            }
            (Some(_), false) => ("refunded", PaymentStatus::PartiallyRefunded, 70),
        };
        let collected = if is_void { PaymentStatus::Canceled } else { PaymentStatus::Paid };
        let paid = total.or(given_back).filter(|_| !is_void);
        let nothing = total.map(|total| Money { minor_units: 0, ..total });
        let fact = PaymentFact {
            status: Some(status),
            amount: given_back.or(total),
            collection: Some(Collection { status: collected, total: paid, paid }),
            refunded_total: given_back.or(nothing),
            ..PaymentFact::default()
        };
        Ok(Some(Said { state, rank, fact: Fact::Payment(fact) }))
    }

    fn estimate(&self, record: &Record<'_>) -> Result<Said, TranslateError> {
        let total = record.money(&record.total)?;
        let (state, done, rank) = match &*record.status {
            _ if self.is_deleted() => ("deleted", CustomerAction::RequestCanceled, DELETED_RANK),
            _ if says(&self.told.event, "view") => ("viewed", CustomerAction::LinkOpened, 20),
            "viewed" => ("viewed", CustomerAction::LinkOpened, 20),
            "draft" | "pending_approval" | "approved" | "sent" => {
                ("sent", CustomerAction::RequestCreated, 10)
            }
            "accepted" | "invoiced" => ("accepted", CustomerAction::RequestAccepted, 30),
            "declined" => ("declined", CustomerAction::RequestCanceled, 40),
            "expired" => ("expired", CustomerAction::RequestCanceled, 50),
            other => return Err(payload::unknown("estimate status", other)),
        };
        Ok(action(state, done, rank, total, &record.estimate_number))
    }

    fn references(&self, module: Module, record: &Record<'_>) -> References {
        let first = match &record.invoices {
            Applied::Invoices(invoices) => invoices.first(),
            Applied::Other(_) | Applied::None => None,
        };
        let applied = |of: fn(&AppliedTo<'_>) -> String| first.map(of).unwrap_or_default();
        let (invoice, number) = match module {
            Module::Retainer => {
                (record.retainerinvoice_id.to_string(), record.retainerinvoice_number.to_string())
            }
            Module::Payment | Module::Invoice | Module::CreditNote | Module::Estimate => (
                payload::first(&[&record.invoice_id, &applied(|one| one.invoice_id.to_string())]),
                payload::first(&[
                    &record.invoice_number,
                    &applied(|one| one.invoice_number.to_string()),
                ]),
            ),
        };
        let mut references = References {
            payment: match module {
                Module::CreditNote => record.creditnote_id.to_string(),
                Module::Payment | Module::Invoice | Module::Retainer | Module::Estimate => {
                    record.payment_id.to_string()
                }
            },
            invoice,
            invoice_number: number,
            order: record.reference_number.to_string(),
            customer: record.customer_id.to_string(),
            customer_name: record.customer_name.to_string(),
            email: record.email.to_string(),
            ..References::default()
        };
        for (name, value) in [
            ("organization_id", &*self.told.organization),
            ("event", &*self.told.event),
            ("payment_number", &*record.payment_number),
            ("creditnote_number", &*record.creditnote_number),
            ("online_transaction_id", &*record.online_transaction_id),
        ] {
            if !value.is_empty() {
                references.metadata.insert(name.to_owned(), value.to_owned());
            }
        }
        references
    }
}

fn action(
    state: &'static str,
    action: CustomerAction,
    rank: u8,
    amount: Option<Money>,
    detail: &str,
) -> Said {
    let fact = CustomerActionFact { action, amount, detail: detail.to_owned() };
    Said { state, rank, fact: Fact::CustomerAction(fact) }
}

/// Whether a parameter `event` holds this word.
pub(super) fn says(event: &str, word: &str) -> bool {
    event.to_ascii_lowercase().contains(word)
}
