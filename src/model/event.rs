//! Events, before and after they have their place in the log. A provider module makes a `Draft` out of
//! a receipt; appending turns it into an `Event` with a sequence, a hash and what it changed.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::references::cut;
use super::{
    BankTransactionStatus, CustomerAction, EndpointName, Headline, InvoiceStatus, Money,
    PaymentStatus, ReceiptNumber, References, Sequence, Status, Subject, SubjectKind,
};

/// A provider's report of one fact, translated but not yet in the log.
#[derive(Clone, PartialEq, Debug)]
pub struct Draft {
    /// What the event is recognised by when it comes again, unique within its endpoint: the provider's
    /// event id, with an item's index where one event id gives several drafts.
    pub key: String,
    /// The provider's event id as people look it up.
    pub event_id: String,
    /// The provider's name of the event.
    pub event_type: String,
    /// When it happened, by the provider's clock.
    pub occurred_at: Timestamp,
    /// The provider's own order of the subject's facts (a version), 0 where it has none. A provider
    /// either always has it or never.
    pub version: i64,
    /// The rank of the evidence, which decides between facts of the same version and time: the further
    /// in a payment's life, the higher.
    pub rank: u8,
    /// What it is about.
    pub subject: Subject,
    /// What a record elsewhere can be found by.
    pub references: References,
    /// False in the provider's test mode.
    pub live: bool,
    /// The fact.
    pub fact: Fact,
}

/// What a provider reported. Its kind must be its subject's kind.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    /// About a payment.
    Payment(PaymentFact),
    /// About an invoice.
    Invoice(InvoiceFact),
    /// About a bank transaction.
    BankTransaction(BankTransactionFact),
    /// About a payment request.
    CustomerAction(CustomerActionFact),
}

/// What one report says about a payment, axis by axis: nothing is said where a field is empty.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PaymentFact {
    /// The status that the provider states. `None`: it follows from the merged state, as for a refund
    /// that does not tell whether it is the whole.
    pub status: Option<PaymentStatus>,
    /// The amount that this report is about.
    pub amount: Option<Money>,
    /// The collection of the money.
    pub collection: Option<Collection>,
    /// One capture, for providers that report captures one by one.
    pub capture: Option<Entry>,
    /// One refund.
    pub refund: Option<Entry>,
    /// The provider's own running total of refunds.
    pub refunded_total: Option<Money>,
    /// One dispute.
    pub dispute: Option<Dispute>,
    /// What the provider kept.
    pub fee: Option<Money>,
    /// The provider's code of a failure.
    pub failure_code: String,
    /// The provider's words for a failure.
    pub failure_message: String,
    /// How it was paid, in the provider's word.
    pub method: String,
}

/// How far the collection of a payment's money is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Collection {
    /// One of PENDING, AUTHORIZED, PAID, PARTIALLY_PAID, FAILED, CANCELED. A source that keeps one status
    /// for the whole payment, which may go back (a CRM), states it here, and neither refunds nor disputes.
    pub status: PaymentStatus,
    /// What was asked for.
    pub total: Option<Money>,
    /// What was taken.
    pub paid: Option<Money>,
}

/// One capture or refund.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The provider's id of it.
    pub id: String,
    /// Its amount; `None` where this report does not tell.
    pub amount: Option<Money>,
    /// How far it is.
    pub state: EntryState,
}

/// How far a capture or refund is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// Under way.
    Pending,
    /// The money moved.
    Done,
    /// It did not happen, or was reversed.
    Failed,
}

/// One dispute.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Dispute {
    /// The provider's id of it.
    pub id: String,
    /// The disputed amount; `None` where this report does not tell.
    pub amount: Option<Money>,
    /// How far it is.
    pub state: DisputeState,
}

/// How far a dispute is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeState {
    /// It may still be won.
    Open,
    /// It was won or withdrawn: the money is the merchant's.
    Won,
    /// It was lost, or the money was taken for good.
    Lost,
}

/// What one report says about an invoice.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct InvoiceFact {
    /// The status.
    pub status: InvoiceStatus,
    /// What was invoiced.
    pub total: Option<Money>,
    /// What was paid so far.
    pub paid: Option<Money>,
    /// What remains to be paid.
    pub balance: Option<Money>,
    /// What was given back.
    pub refunded: Option<Money>,
    /// The day on which it is due.
    pub due_date: Option<Date>,
}

/// What one report says about a bank transaction.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct BankTransactionFact {
    /// The status.
    pub status: BankTransactionStatus,
    /// Positive came in, negative went out.
    pub amount: Option<Money>,
    /// Who is on the other side.
    pub counterparty: String,
    /// The remittance text.
    pub remittance: String,
    /// The provider's code of a failure.
    pub failure_code: String,
    /// The provider's words for a failure.
    pub failure_message: String,
}

/// What one report says about a payment request.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct CustomerActionFact {
    /// What was done.
    pub action: CustomerAction,
    /// The amount that it is about.
    pub amount: Option<Money>,
    /// More, in the provider's words.
    pub detail: String,
}

/// One event in the log: immutable, numbered, hashed.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Its place in the log.
    pub sequence: Sequence,
    /// The account that reported it.
    pub endpoint: EndpointName,
    /// The provider's event id.
    pub event_id: String,
    /// The provider's name of the event.
    pub event_type: String,
    /// When it happened, by the provider's clock.
    pub occurred_at: Timestamp,
    /// When the gateway received it.
    pub received_at: Timestamp,
    /// What it is about.
    pub subject: Subject,
    /// What a record elsewhere can be found by.
    pub references: References,
    /// False in the provider's test mode.
    pub live: bool,
    /// The hash chain's value at this event.
    pub hash: [u8; 32],
    /// The receipt that it was translated from; `None` for events of the gateway's own.
    pub receipt: Option<ReceiptReference>,
    /// What it did to its subject.
    pub change: Change,
    /// What it reports.
    pub report: Report,
}

/// The receipt that an event was translated from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiptReference {
    /// Its number.
    pub number: ReceiptNumber,
    /// SHA-256 of it as stored.
    pub digest: [u8; 32],
}

/// What an event did to its subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The status before; `None` for the first event of a subject.
    pub previous: Option<Status>,
    /// The status after.
    pub current: Status,
    /// True where the event came late and changed nothing.
    pub superseded: bool,
}

/// What an event in the log reports.
#[derive(Clone, PartialEq, Debug)]
pub enum Report {
    /// About a payment.
    Payment(PaymentReport),
    /// About an invoice.
    Invoice(InvoiceFact),
    /// About a bank transaction.
    BankTransaction(BankTransactionFact),
    /// About a payment request.
    CustomerAction(CustomerActionFact),
}

/// What an event in the log reports about a payment.
#[derive(Clone, PartialEq, Debug)]
pub struct PaymentReport {
    /// The status that the event reports.
    pub status: PaymentStatus,
    /// The amounts known after the event.
    pub amounts: PaymentAmounts,
    /// The amount that the event itself states.
    pub amount: Option<Money>,
    /// The provider's code of a failure.
    pub failure_code: String,
    /// The provider's words for a failure.
    pub failure_message: String,
    /// How it was paid, in the provider's word.
    pub method: String,
    /// The provider's id of the refund, where the event is about one.
    pub refund: String,
    /// The provider's id of the dispute, where the event is about one.
    pub dispute: String,
}

/// The amounts of a payment, as far as they are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PaymentAmounts {
    /// What was asked for.
    pub total: Option<Money>,
    /// What was taken.
    pub paid: Option<Money>,
    /// What was given back, all refunds together.
    pub refunded: Option<Money>,
    /// What is in dispute or was lost in one.
    pub disputed: Option<Money>,
    /// What the provider kept.
    pub fee: Option<Money>,
}

impl Fact {
    /// The kind of subject that the fact is about.
    pub fn kind(&self) -> SubjectKind {
        match self {
            Fact::Payment(_) => SubjectKind::Payment,
            Fact::Invoice(_) => SubjectKind::Invoice,
            Fact::BankTransaction(_) => SubjectKind::BankTransaction,
            Fact::CustomerAction(_) => SubjectKind::PaymentRequest,
        }
    }

    /// Cuts texts that are over the limit, at character boundaries.
    pub fn bounded(mut self) -> Fact {
        match &mut self {
            Fact::Payment(fact) => {
                cut(&mut fact.failure_code);
                cut(&mut fact.failure_message);
                cut(&mut fact.method);
                for entry in [&mut fact.capture, &mut fact.refund].into_iter().flatten() {
                    cut(&mut entry.id);
                }
                if let Some(dispute) = &mut fact.dispute {
                    cut(&mut dispute.id);
                }
            }
            Fact::Invoice(_) => {}
            Fact::BankTransaction(fact) => {
                cut(&mut fact.counterparty);
                cut(&mut fact.remittance);
                cut(&mut fact.failure_code);
                cut(&mut fact.failure_message);
            }
            Fact::CustomerAction(fact) => cut(&mut fact.detail),
        }
        self
    }
}

impl Report {
    /// The status that the event reports.
    pub fn status(&self) -> Status {
        match self {
            Report::Payment(report) => Status::Payment(report.status),
            Report::Invoice(fact) => Status::Invoice(fact.status),
            Report::BankTransaction(fact) => Status::BankTransaction(fact.status),
            Report::CustomerAction(fact) => Status::PaymentRequest(fact.action),
        }
    }

    /// The amount that the event is about: what it states, else the total.
    pub fn amount(&self) -> Option<Money> {
        match self {
            Report::Payment(report) => report.amount.or(report.amounts.total),
            Report::Invoice(fact) => fact.total,
            Report::BankTransaction(fact) => fact.amount,
            Report::CustomerAction(fact) => fact.amount,
        }
    }

    /// The money that arrived, for a backlog's worth: paid amounts and what came in at the bank.
    pub fn paid(&self) -> Option<Money> {
        match self {
            Report::Payment(report) => report.amounts.paid,
            Report::Invoice(fact) => fact.paid,
            Report::BankTransaction(fact) => fact.amount.filter(|money| money.minor_units > 0),
            Report::CustomerAction(_) => None,
        }
    }
}

impl Change {
    /// The headline of the subject after the event.
    pub fn headline(&self) -> Headline {
        self.current.headline()
    }

    /// Whether the subject's status is another than before.
    pub fn changed(&self) -> bool {
        self.previous != Some(self.current)
    }
}
