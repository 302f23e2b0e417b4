//! QuickBooks objects as the API gives them: a payment, an invoice and the like come in, a draft goes out.
//! `SyncToken` is the object's own version; what is deleted stands after all of them. A void sets all
//! amounts to zero, so that it is looked for before any amount is.

use jiff::Timestamp;
use serde::Deserialize;

use crate::model::{
    BankTransactionStatus, CustomerAction, Draft, EntryState, Fact, InvoiceFact, InvoiceStatus,
    Money, PaymentStatus, References,
};
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{Endpoint, TranslateError, accounting};

use super::fact::{given_back, moved, request, taken};
use super::{API, Entity, Notice, Operation, SANDBOX_HOST, connected};

/// The version of what is deleted.
const AFTER_ALL: i64 = i64::MAX;
/// What QuickBooks writes into the note of a voided object.
const VOIDED: &str = "Voided";

/// The members of all kinds of object that are asked for.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Object<'a> {
    #[serde(borrow)]
    sync_token: Text<'a>,
    #[serde(borrow, rename = "status")]
    record_status: Text<'a>,
    total_amt: Decimal,
    /// Of a transfer.
    amount: Decimal,
    balance: Decimal,
    /// A purchase that gives money back.
    credit: Option<bool>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    currency_ref: Reference<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    customer_ref: Reference<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    entity_ref: Reference<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    payment_method_ref: Reference<'a>,
    #[serde(borrow)]
    doc_number: Text<'a>,
    #[serde(borrow)]
    payment_ref_num: Text<'a>,
    #[serde(borrow)]
    private_note: Text<'a>,
    #[serde(borrow)]
    due_date: Text<'a>,
    #[serde(borrow)]
    txn_status: Text<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    bill_email: Email<'a>,
    #[serde(borrow, rename = "LinkedTxn", deserialize_with = "accounting::or_default")]
    linked: Vec<Linked<'a>>,
    #[serde(borrow, rename = "Line", deserialize_with = "accounting::or_default")]
    lines: Vec<Line<'a>>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    meta_data: MetaData<'a>,
}

/// A reference to another object.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Reference<'a> {
    /// Its id.
    #[serde(borrow)]
    pub value: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Email<'a> {
    #[serde(borrow)]
    address: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Linked<'a> {
    #[serde(borrow)]
    txn_id: Text<'a>,
    #[serde(borrow)]
    txn_type: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow, rename = "LinkedTxn", deserialize_with = "accounting::or_default")]
    linked: Vec<Linked<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct MetaData<'a> {
    #[serde(borrow)]
    last_updated_time: Text<'a>,
}

impl Object<'_> {
    /// The currency that it names; empty where multicurrency is off.
    pub fn currency(&self) -> String {
        self.currency_ref.value.to_string()
    }

    /// Whether it is the stub that is left of a deleted object.
    pub fn is_deleted(&self) -> bool {
        self.record_status.eq_ignore_ascii_case("deleted")
    }

    /// The whole amount, whatever its kind calls it.
    fn whole(&self) -> &Decimal {
        if self.total_amt.is_empty() { &self.amount } else { &self.total_amt }
    }

    /// The ids of the transactions of this type that it is linked to, each once.
    fn linked_to(&self, txn_type: &str) -> Vec<&str> {
        let lines = self.lines.iter().flat_map(|line| &line.linked);
        let mut ids = Vec::new();
        for linked in self.linked.iter().chain(lines) {
            let id: &str = &linked.txn_id;
            if &*linked.txn_type == txn_type && !id.is_empty() && !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }
}

/// What every draft of a fetch needs.
pub(super) struct Context<'a> {
    pub endpoint: &'a Endpoint,
    pub notice: &'a Notice,
    pub currency: &'a str,
}

/// Where an object's facts stand in its life.
struct Place {
    version: i64,
    occurred_at: Timestamp,
    rank: u8,
}

impl Context<'_> {
    /// What the object says; `None` where no money moved.
    pub fn draft(
        &self,
        object: &Object<'_>,
        entity: Entity,
        operation: Operation,
    ) -> Result<Option<Draft>, TranslateError> {
        let is_void = match operation {
            Operation::Deleted => return self.gone(entity).map(Some),
            Operation::Voided => true,
            Operation::Changed | Operation::Emailed => self.is_noted_void(object, entity)?,
        };
        let (fact, rank) = match entity {
            Entity::Payment => match self.payment(object, is_void)? {
                Some(fact) => fact,
                None => return Ok(None),
            },
            Entity::SalesReceipt => self.sale(object, is_void)?,
            Entity::RefundReceipt => self.refund(object, is_void)?,
            Entity::Invoice if operation == Operation::Emailed => self.sent(object)?,
            Entity::Invoice => self.invoice(object, is_void)?,
            Entity::Estimate => self.estimate(object, is_void)?,
            Entity::Deposit | Entity::Purchase | Entity::Transfer => {
                self.bank(object, entity, is_void)?
            }
            Entity::Other => return Ok(None),
        };
        let version = match &*object.sync_token {
            // As if it were new: times tell the rest.
            "" => 0,
            token => token.parse().map_err(|_| payload::not_a("a version", token))?,
        };
        let occurred_at = time(&[&object.meta_data.last_updated_time, &self.notice.at])?;
        let references = self.references(object, entity);
        self.finish(Place { version, occurred_at, rank }, references, fact).map(Some)
    }

    /// Whether its note says that it was voided. A note may speak of another object that was, so that it
    /// counts for what is of nothing alone, and for payments.
    fn is_noted_void(&self, object: &Object<'_>, entity: Entity) -> Result<bool, TranslateError> {
        if !object.private_note.contains(VOIDED) {
            return Ok(false);
        }
        let amount = object.whole().money(self.currency)?;
        Ok(entity == Entity::Payment || amount.is_none_or(|amount| amount.minor_units == 0))
    }

    /// What there is to say of an object that is deleted.
    pub fn gone(&self, entity: Entity) -> Result<Draft, TranslateError> {
        const RANK: u8 = 90;
        let fact = match entity {
            Entity::Payment | Entity::SalesReceipt => taken(PaymentStatus::Canceled, None),
            Entity::RefundReceipt => given_back(&self.notice.id, EntryState::Failed, None),
            Entity::Invoice => Fact::Invoice(InvoiceFact {
                status: InvoiceStatus::Void,
                total: None,
                paid: None,
                balance: None,
                refunded: None,
                due_date: None,
            }),
            Entity::Estimate => request(CustomerAction::RequestCanceled, None, ""),
            Entity::Deposit | Entity::Purchase | Entity::Transfer => {
                moved(BankTransactionStatus::Removed, None, "", String::new())
            }
            Entity::Other => return Err(TranslateError("nothing was asked for".to_owned())),
        };
        let occurred_at = time(&[&self.notice.at])?;
        let references = self.references(&Object::default(), entity);
        self.finish(Place { version: AFTER_ALL, occurred_at, rank: RANK }, references, fact)
    }

    /// Money from a customer. One of nothing that sets a credit memo off against an invoice moved none.
    fn payment(
        &self,
        object: &Object<'_>,
        is_void: bool,
    ) -> Result<Option<(Fact, u8)>, TranslateError> {
        let total = self.total(object)?;
        let is_nothing = total.minor_units == 0;
        if is_nothing && !is_void && !object.linked_to("CreditMemo").is_empty() {
            return Ok(None);
        }
        Ok(Some(self.taken_or_void(object, total, is_void || is_nothing)))
    }

    fn sale(&self, object: &Object<'_>, is_void: bool) -> Result<(Fact, u8), TranslateError> {
        Ok(self.taken_or_void(object, self.total(object)?, is_void))
    }

    fn taken_or_void(&self, object: &Object<'_>, total: Money, is_void: bool) -> (Fact, u8) {
        let (status, rank) = match is_void {
            true => (PaymentStatus::Canceled, 80),
            false => (PaymentStatus::Paid, 50),
        };
        let mut fact = taken(status, Some(total));
        if let Fact::Payment(payment) = &mut fact {
            payment.method = object.payment_method_ref.name.to_string();
        }
        (fact, rank)
    }

    fn refund(&self, object: &Object<'_>, is_void: bool) -> Result<(Fact, u8), TranslateError> {
        let total = self.total(object)?;
        Ok(match is_void {
            true => (given_back(&self.notice.id, EntryState::Failed, Some(total)), 80),
            false => (given_back(&self.notice.id, EntryState::Done, Some(total)), 70),
        })
    }

    fn invoice(&self, object: &Object<'_>, is_void: bool) -> Result<(Fact, u8), TranslateError> {
        let total = self.total(object)?;
        let balance = object.balance.money(self.currency)?.unwrap_or(total);
        let paid = accounting::paid_of(total, balance)?;
        let status = match is_void {
            true => InvoiceStatus::Void,
            false => accounting::status_by_amounts(total, paid, balance),
        };
        let fact = InvoiceFact {
            status,
            total: Some(total),
            paid: Some(paid),
            balance: Some(balance),
            refunded: None,
            due_date: accounting::date(&object.due_date)?,
        };
        Ok((Fact::Invoice(fact), accounting::invoice_rank(status)))
    }

    /// An invoice that was mailed is a request to its customer.
    fn sent(&self, object: &Object<'_>) -> Result<(Fact, u8), TranslateError> {
        let total = self.total(object)?;
        Ok((request(CustomerAction::RequestCreated, Some(total), &object.doc_number), 10))
    }

    fn estimate(&self, object: &Object<'_>, is_void: bool) -> Result<(Fact, u8), TranslateError> {
        let total = self.total(object)?;
        let (action, rank) = match &*object.txn_status {
            _ if is_void => (CustomerAction::RequestCanceled, 80),
            "" | "Pending" => (CustomerAction::RequestCreated, 10),
            // It is closed by the invoice that is made of it.
            "Accepted" | "Converted" | "Closed" => (CustomerAction::RequestAccepted, 20),
            "Rejected" => (CustomerAction::RequestCanceled, 30),
            other => return Err(payload::unknown("estimate status", other)),
        };
        Ok((request(action, Some(total), &object.doc_number), rank))
    }

    fn bank(
        &self,
        object: &Object<'_>,
        entity: Entity,
        is_void: bool,
    ) -> Result<(Fact, u8), TranslateError> {
        let mut amount = object.whole().required(self.currency, "the transaction")?;
        if entity == Entity::Purchase && object.credit != Some(true) {
            amount.minor_units = amount.minor_units.saturating_neg();
        }
        let (status, rank) = match is_void {
            true => (BankTransactionStatus::Removed, 80),
            false => (BankTransactionStatus::Booked, 50),
        };
        let remittance = payload::first(&[&object.private_note, &object.doc_number]);
        Ok((moved(status, Some(amount), &object.entity_ref.name, remittance), rank))
    }

    fn total(&self, object: &Object<'_>) -> Result<Money, TranslateError> {
        object.total_amt.required(self.currency, "the object")
    }

    fn references(&self, object: &Object<'_>, entity: Entity) -> References {
        let invoices = object.linked_to("Invoice");
        let mut references = References {
            order: object.payment_ref_num.to_string(),
            customer: object.customer_ref.value.to_string(),
            customer_name: object.customer_ref.name.to_string(),
            email: object.bill_email.address.to_string(),
            ..References::default()
        };
        let id = self.notice.id.clone();
        match entity {
            Entity::Invoice => {
                references.invoice = id;
                references.invoice_number = object.doc_number.to_string();
                let payments = object.linked_to("Payment");
                references.payment =
                    payments.first().map(|id| (*id).to_owned()).unwrap_or_default();
            }
            Entity::Payment | Entity::SalesReceipt | Entity::RefundReceipt => {
                references.payment = id;
                references.invoice =
                    invoices.first().map(|id| (*id).to_owned()).unwrap_or_default();
            }
            Entity::Estimate => {
                references.invoice =
                    invoices.first().map(|id| (*id).to_owned()).unwrap_or_default();
            }
            Entity::Deposit | Entity::Purchase | Entity::Transfer | Entity::Other => {}
        }
        if invoices.len() > 1 {
            references.metadata.insert("invoice_ids".to_owned(), invoices.join(","));
        }
        references.metadata.insert("realm_id".to_owned(), self.notice.realm.clone());
        references
    }

    fn finish(
        &self,
        place: Place,
        references: References,
        fact: Fact,
    ) -> Result<Draft, TranslateError> {
        let notice = self.notice;
        let id = subject_id(self.endpoint, &notice.realm, &notice.id);
        Ok(Draft {
            key: notice.event_id.clone(),
            event_id: notice.event_id.clone(),
            event_type: notice.event_type.clone(),
            occurred_at: place.occurred_at,
            version: place.version,
            rank: place.rank,
            subject: payload::subject(fact.kind(), &self.endpoint.name, &id)?,
            references: references.bounded(),
            live: !accounting::api_url(self.endpoint, API).contains(SANDBOX_HOST),
            fact,
        })
    }
}

/// Two companies may have objects of the same id: only those of the first go by it alone.
fn subject_id(endpoint: &Endpoint, realm: &str, id: &str) -> String {
    match connected(endpoint).first() {
        Some(first) if first != realm => format!("{realm}:{id}"),
        Some(_) | None => id.to_owned(),
    }
}

/// The first of the times that is given.
fn time(texts: &[&str]) -> Result<Timestamp, TranslateError> {
    let text = payload::first(texts);
    text.parse().map_err(|_| payload::not_a("a time", &text))
}
