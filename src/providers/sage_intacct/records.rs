//! Records of Intacct: the fields of one come in, drafts about an invoice, a payment or a bank transaction
//! go out. State words vary by object and locale, so amounts go before them: nothing due is paid. A state
//! that is not in the tables and that no amount explains must never be guessed; a template without the
//! state tells of posted records where it tells of added ones.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::model::{
    BankTransactionFact, BankTransactionStatus, Collection, Draft, Fact, InvoiceFact,
    InvoiceStatus, Money, PaymentFact, PaymentStatus, References,
};
use crate::providers::fields::Fields;
use crate::providers::{Endpoint, TranslateError, crm, payload};

use super::{COMPANY_ID, is_live};

/// What a kind of record is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Invoice,
    /// An invoice of Order Entry, whose numbers are not those of receivables.
    OrderInvoice,
    Payment,
    /// A credit; it says something where it names the invoice that it is applied to.
    Credit,
    /// Money that came in at a bank.
    Receipt,
    /// Money that went out by card.
    CardCharge,
}

const OBJECTS: [(&str, Meaning); 8] = [
    ("ARINVOICE", Meaning::Invoice),
    ("SODOCUMENT", Meaning::OrderInvoice),
    ("ARPYMT", Meaning::Payment),
    ("ARADVANCE", Meaning::Credit),
    ("ARADJUSTMENT", Meaning::Credit),
    ("CCTRANSACTION", Meaning::CardCharge),
    ("OTHERRECEIPTS", Meaning::Receipt),
    ("DEPOSIT", Meaning::Receipt),
];

/// The names of the objects.
pub(super) const OBJECT_NAMES: [&str; OBJECTS.len()] = {
    let mut names = [""; OBJECTS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = OBJECTS[index].0;
        index += 1;
    }
    names
};

const TOTAL: &[&str] = &["total", "amount", "trx_totalentered"];
const PAID: &[&str] = &["paid", "trx_totalpaid"];
const DUE: &[&str] = &["due", "trx_totaldue"];
const DOCUMENT: &[&str] = &["docid", "recordid", "docnumber", "docno"];
const INVOICE: &[&str] = &["invoice", "invoicekey", "invoiceno"];

/// A fact and how far in the subject's life it is.
type Ranked = (Fact, u8);

/// How far a record is, whatever its object calls it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Draft,
    Submitted,
    Posted,
    PartiallyPaid,
    Paid,
    Failed,
    Void,
}

/// State words, without spaces and in lower case.
#[rustfmt::skip]
const STATES: &[(&str, Stage)] = &[
    ("draft", Stage::Draft),
    ("submitted", Stage::Submitted),
    ("pending", Stage::Submitted),
    ("approved", Stage::Submitted),
    ("partiallyapproved", Stage::Submitted),
    ("inprogress", Stage::Submitted),
    ("posted", Stage::Posted),
    ("open", Stage::Posted),
    ("selected", Stage::Posted),
    ("partiallypaid", Stage::PartiallyPaid),
    ("paid", Stage::Paid),
    ("cleared", Stage::Paid),
    ("complete", Stage::Paid),
    ("completed", Stage::Paid),
    ("confirmed", Stage::Paid),
    ("declined", Stage::Failed),
    ("rejected", Stage::Failed),
    ("void", Stage::Void),
    ("voided", Stage::Void),
    ("reversed", Stage::Void),
    ("reversal", Stage::Void),
];

/// One record as an event or the gateway tells it.
pub(super) struct Record<'a> {
    pub(super) object: &'static str,
    meaning: Meaning,
    pub(super) is_deleted: bool,
    is_added: bool,
    pub(super) number: &'a str,
    fields: &'a Fields,
    pub(super) occurred_at: Timestamp,
    endpoint: &'a Endpoint,
}

impl<'a> Record<'a> {
    /// A record of an object that is in the table.
    pub(super) fn new(
        object: &str,
        event: &str,
        fields: &'a Fields,
        received_at: Timestamp,
        endpoint: &'a Endpoint,
    ) -> Result<Record<'a>, TranslateError> {
        let row = OBJECTS.iter().find(|(name, _)| *name == object);
        let (object, meaning) = *row.ok_or_else(|| payload::unknown("object", object))?;
        let number = fields.text("recordno");
        if number.is_empty() {
            return Err(TranslateError("the event names no record".to_owned()));
        }
        let occurred_at = match fields.text("whenmodified") {
            "" => received_at,
            text => time(text)?,
        };
        let is_deleted = event.eq_ignore_ascii_case("delete");
        let is_added = event.eq_ignore_ascii_case("add");
        Ok(Record { object, meaning, is_deleted, is_added, number, fields, occurred_at, endpoint })
    }

    /// Whether only ids are told, so that the record has to be read.
    pub(super) fn is_thin(&self) -> bool {
        let told = [TOTAL, PAID, DUE, &["state"]].concat();
        !self.is_deleted && self.fields.first(&told).is_empty()
    }

    /// What the record says.
    pub(super) fn drafts(&self) -> Result<Vec<Draft>, TranslateError> {
        let number = self.number;
        let draft = match self.meaning {
            Meaning::Invoice => self.draft(number, self.invoice()?)?,
            Meaning::OrderInvoice => {
                self.draft(&format!("sodocument-{number}"), self.invoice()?)?
            }
            Meaning::Payment => self.draft(number, self.payment()?)?,
            Meaning::Receipt | Meaning::CardCharge => {
                self.draft(number, self.bank_transaction()?)?
            }
            Meaning::Credit => match self.credit()? {
                Some((invoice, fact)) => self.draft(invoice, fact)?,
                None => return Ok(Vec::new()),
            },
        };
        Ok(vec![draft])
    }

    fn invoice(&self) -> Result<Ranked, TranslateError> {
        let (total, paid, due) = (self.money(TOTAL)?, self.money(PAID)?, self.money(DUE)?);
        let due = match (due, total, paid) {
            (Some(due), _, _) => Some(due),
            (None, Some(total), Some(paid)) => Some(difference(total, paid)?),
            (None, _, _) => None,
        };
        let is_begun = match paid {
            Some(paid) => paid.minor_units > 0,
            None => due.zip(total).is_some_and(|(due, total)| due < total),
        };
        // More was paid than was asked for, unless the invoice itself gives something back.
        let is_credit = total.is_some_and(|total| total.minor_units < 0);
        let is_overpaid = due.is_some_and(|due| due.minor_units < 0) && !is_credit;
        let (status, rank) = match (self.stage(), due) {
            _ if self.is_deleted => (InvoiceStatus::Void, 90),
            (Some(Stage::Void | Stage::Failed), _) => (InvoiceStatus::Void, 80),
            (Some(Stage::Draft | Stage::Submitted), _) if !is_begun => (InvoiceStatus::Draft, 10),
            // As the amounts are in the way of the state, they decide.
            (_, Some(due)) if due.minor_units == 0 || is_overpaid => (InvoiceStatus::Paid, 50),
            (_, Some(_)) if is_begun => (InvoiceStatus::PartiallyPaid, 30),
            (_, Some(_)) => (InvoiceStatus::Open, 20),
            (Some(Stage::Draft | Stage::Submitted), None) => (InvoiceStatus::Draft, 10),
            (Some(Stage::Posted), None) => (InvoiceStatus::Open, 20),
            (Some(Stage::PartiallyPaid), None) => (InvoiceStatus::PartiallyPaid, 30),
            (Some(Stage::Paid), None) => (InvoiceStatus::Paid, 50),
            (None, None) if self.is_new() => (InvoiceStatus::Open, 20),
            (None, None) => return Err(self.unknown_state()),
        };
        let due_date = match self.fields.first(&["whendue", "duedate"]) {
            "" => None,
            text => Some(date(text)?),
        };
        let fact = InvoiceFact { status, total, paid, balance: due, refunded: None, due_date };
        Ok((Fact::Invoice(fact), rank))
    }

    fn payment(&self) -> Result<Ranked, TranslateError> {
        let amount = self.money(TOTAL)?;
        let (status, rank) = match self.stage() {
            _ if self.is_deleted => (PaymentStatus::Canceled, 90),
            Some(Stage::Draft | Stage::Submitted) => (PaymentStatus::Pending, 10),
            Some(Stage::Failed) => (PaymentStatus::Failed, 30),
            Some(Stage::Posted | Stage::Paid) => (PaymentStatus::Paid, 60),
            Some(Stage::Void) => (PaymentStatus::Canceled, 80),
            None if self.is_new() => (PaymentStatus::Paid, 60),
            Some(Stage::PartiallyPaid) | None => return Err(self.unknown_state()),
        };
        let paid = amount.filter(|_| status == PaymentStatus::Paid);
        let fact = PaymentFact {
            status: Some(status),
            amount,
            collection: Some(Collection { status, total: amount, paid }),
            method: self.fields.first(&["paymentmethod", "method"]).to_owned(),
            ..PaymentFact::default()
        };
        Ok((Fact::Payment(fact), rank))
    }

    /// What a credit gives back of its invoice; `None` where it names none or is not in force.
    fn credit(&self) -> Result<Option<(&'a str, Ranked)>, TranslateError> {
        let invoice = self.fields.first(INVOICE);
        if invoice.is_empty() || self.is_deleted {
            return Ok(None);
        }
        let is_in_force = match self.stage() {
            Some(Stage::Posted | Stage::PartiallyPaid | Stage::Paid) => true,
            Some(Stage::Draft | Stage::Submitted | Stage::Failed | Stage::Void) => false,
            None if self.fields.text("state").is_empty() => true,
            None => return Err(self.unknown_state()),
        };
        if !is_in_force {
            return Ok(None);
        }
        let credit = self.money(TOTAL)?;
        let credit = credit.ok_or_else(|| TranslateError("the credit has no amount".to_owned()))?;
        let refunded = Money { minor_units: credit.minor_units.saturating_abs(), ..credit };
        let total = self.money(&["invoicetotal"])?;
        let (status, rank) = match total {
            Some(total) if refunded >= total => (InvoiceStatus::Refunded, 70),
            Some(_) | None => (InvoiceStatus::PartiallyRefunded, 60),
        };
        let refunded = Some(refunded);
        let fact =
            InvoiceFact { status, total, paid: None, balance: None, refunded, due_date: None };
        Ok(Some((invoice, (Fact::Invoice(fact), rank))))
    }

    fn bank_transaction(&self) -> Result<Ranked, TranslateError> {
        let (status, rank) = match self.stage() {
            _ if self.is_deleted => (BankTransactionStatus::Removed, 90),
            Some(Stage::Draft | Stage::Submitted) => (BankTransactionStatus::Pending, 10),
            Some(Stage::Failed) => (BankTransactionStatus::Failed, 30),
            Some(Stage::Void) => (BankTransactionStatus::Removed, 80),
            Some(Stage::Posted | Stage::PartiallyPaid | Stage::Paid) => {
                (BankTransactionStatus::Booked, 20)
            }
            None if self.fields.text("state").is_empty() => (BankTransactionStatus::Booked, 20),
            None => return Err(self.unknown_state()),
        };
        let is_outgoing = self.meaning == Meaning::CardCharge;
        let amount = self.money(TOTAL)?.map(|money| match is_outgoing {
            true => Money { minor_units: money.minor_units.saturating_neg(), ..money },
            false => money,
        });
        let text = |names: &[&str]| self.fields.first(names).to_owned();
        let fact = BankTransactionFact {
            status,
            amount,
            counterparty: text(&["payer", "payee", "customername"]),
            remittance: text(&["description", "memo"]),
            failure_code: String::new(),
            failure_message: String::new(),
        };
        Ok((Fact::BankTransaction(fact), rank))
    }

    /// Events have no id: what they are recognised by is the state that they tell.
    fn draft(&self, id: &str, (fact, rank): Ranked) -> Result<Draft, TranslateError> {
        let text = |names: &[&str]| self.fields.first(names);
        let deleted = if self.is_deleted { "delete" } else { "" };
        let key = crm::state_key(&[
            self.object,
            self.number,
            text(&["whenmodified"]),
            text(&["state"]),
            text(TOTAL),
            text(PAID),
            text(DUE),
            text(&["currency"]),
            text(INVOICE),
            deleted,
        ]);
        let company = self.endpoint.secret(COMPANY_ID).unwrap_or_default();
        Ok(Draft {
            event_id: key.clone(),
            key,
            event_type: self.object.to_owned(),
            occurred_at: self.occurred_at,
            version: 0,
            rank,
            subject: payload::subject(fact.kind(), &self.endpoint.name, id)?,
            references: self.references(id).bounded(),
            live: is_live(company),
            fact,
        })
    }

    fn references(&self, id: &str) -> References {
        let text = |names: &[&str]| self.fields.first(names).to_owned();
        let document = text(DOCUMENT);
        let mut references = References {
            customer: text(&["customerid"]),
            customer_name: text(&["customername"]),
            email: text(&["email"]),
            order: text(&["ponumber", "sodocid"]),
            ..References::default()
        };
        match self.meaning {
            Meaning::Invoice | Meaning::OrderInvoice => {
                references.invoice = self.number.to_owned();
                references.invoice_number = document;
            }
            Meaning::Payment => {
                references.payment = self.number.to_owned();
                references.invoice = text(INVOICE);
                references.metadata.insert("docid".to_owned(), document);
            }
            Meaning::Credit => {
                references.invoice = id.to_owned();
                references.metadata.insert("credit".to_owned(), self.number.to_owned());
            }
            Meaning::Receipt | Meaning::CardCharge => {
                references.metadata.insert("docid".to_owned(), document);
            }
        }
        references.metadata.retain(|_, value| !value.is_empty());
        references
    }

    fn stage(&self) -> Option<Stage> {
        let letters = self.fields.text("state").chars().filter(char::is_ascii_alphanumeric);
        let word: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
        STATES.iter().find(|(known, _)| *known == word).map(|(_, stage)| *stage)
    }

    /// Whether it was added by a template that does not have the state.
    fn is_new(&self) -> bool {
        self.is_added && self.fields.text("state").is_empty()
    }

    fn unknown_state(&self) -> TranslateError {
        payload::unknown("state", self.fields.text("state"))
    }

    /// The amount in the transaction's currency; the endpoint's own stands in where none is told.
    fn money(&self, names: &[&str]) -> Result<Option<Money>, TranslateError> {
        let amount = self.fields.first(names);
        let currency = match self.fields.text("currency") {
            "" => self.endpoint.setting(crm::CURRENCY, "").trim(),
            currency => currency,
        };
        match (amount, currency) {
            ("", _) => Ok(None),
            (_, "") => Err(TranslateError("the record has an amount and no currency".to_owned())),
            (amount, currency) => payload::decimal_money(amount, currency).map(Some),
        }
    }
}

fn difference(total: Money, paid: Money) -> Result<Money, TranslateError> {
    total
        .minor_units
        .checked_sub(paid.minor_units)
        .map(|minor_units| Money { minor_units, ..total })
        .ok_or_else(|| TranslateError(format!("{paid} cannot be taken from {total}")))
}

/// A time as Intacct writes it, on GMT's clock: `11/23/2026 14:05:09`; or as ISO 8601.
fn time(text: &str) -> Result<Timestamp, TranslateError> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let civil = DateTime::strptime("%m/%d/%Y %H:%M:%S", text).or_else(|_| text.parse());
    let civil =
        civil.or_else(|_| date(text).map(|date| date.to_datetime(jiff::civil::Time::midnight())));
    let at =
        civil.map_err(|_| ()).and_then(|civil| TimeZone::UTC.to_timestamp(civil).map_err(|_| ()));
    at.map_err(|()| payload::not_a("a time", text))
}

fn date(text: &str) -> Result<Date, TranslateError> {
    let date = Date::strptime("%m/%d/%Y", text).or_else(|_| text.parse());
    date.map_err(|_| payload::not_a("a date", text))
}
