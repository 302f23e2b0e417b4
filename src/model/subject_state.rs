//! The state of a subject, merged from all of its facts. In come drafts in whatever order they arrive,
//! out come the current status, amounts and references, and for each draft what it changed and reports.
//! Any order and any duplication of the same drafts must end in the same state: everything kept here is
//! the greatest by a total order of facts, except the counters, which tell of arrival.

mod action_axes;
mod invoice_axes;
mod key;
mod payment_axes;
mod references;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{
    BankTransactionFact, BankTransactionStatus, Change, Draft, Fact, Headline, InvoiceFact,
    InvoiceStatus, PaymentAmounts, References, Report, Sequence, Status, Subject, SubjectKind,
};
use action_axes::ActionAxes;
use invoice_axes::InvoiceAxes;
use key::{Key, Latest, raise};
use payment_axes::PaymentAxes;
use references::MergedReferences;

/// The version of a report that a due date has passed: below all of a provider's, so that it says that alone.
pub const OVERDUE_VERSION: i64 = i64::MIN;

/// The current state of one subject, derived from its facts. As JSON it is what the store keeps.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SubjectState {
    #[serde(rename = "s", with = "subject_text")]
    subject: Subject,
    #[serde(rename = "x")]
    axes: Axes,
    #[serde(rename = "r", default, skip_serializing_if = "MergedReferences::is_empty")]
    references: MergedReferences,
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    live: Option<Latest<bool>>,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
    #[serde(rename = "n")]
    event_count: i64,
    #[serde(rename = "f")]
    first_sequence: Sequence,
    #[serde(rename = "l")]
    last_sequence: Sequence,
}

/// What is kept of each kind of subject. Only a bank transaction's reports each tell the whole.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum Axes {
    #[serde(rename = "p")]
    Payment(Box<PaymentAxes>),
    #[serde(rename = "i")]
    Invoice(Box<InvoiceAxes>),
    #[serde(rename = "b")]
    BankTransaction(Option<Latest<BankTransactionFact>>),
    #[serde(rename = "c")]
    CustomerAction(Box<ActionAxes>),
}

impl SubjectState {
    /// The state before the first fact.
    pub fn begin(subject: &Subject) -> SubjectState {
        SubjectState {
            subject: subject.clone(),
            axes: Axes::begin(subject.kind),
            references: MergedReferences::default(),
            live: None,
            updated_at: None,
            event_count: 0,
            first_sequence: Sequence(0),
            last_sequence: Sequence(0),
        }
    }

    /// Takes one fact in and tells what it changed, and what it reports now that it is in its place.
    pub fn apply(&mut self, draft: &Draft, sequence: Sequence) -> (Change, Report) {
        let fact = draft.fact.clone().bounded();
        let belongs = fact.kind() == self.axes.kind();
        debug_assert!(belongs, "{} got a fact of {:?}", self.subject, fact.kind());
        let previous = self.status();
        let first = self.event_count == 0;
        let taken = belongs && self.merge(draft, &fact);
        if first {
            self.first_sequence = sequence;
        }
        self.last_sequence = self.last_sequence.max(sequence);
        self.event_count += 1;
        let report = self.axes.report(fact);
        let current = self.status().unwrap_or_else(|| report.status());
        (Change { previous, current, superseded: !first && !taken }, report)
    }

    /// Whether the other state is the same, whatever way each came to it: arrival counters do not count.
    pub fn converges_with(&self, other: &SubjectState) -> bool {
        self.subject == other.subject
            && self.axes == other.axes
            && self.references == other.references
            && self.live == other.live
            && self.updated_at == other.updated_at
    }

    /// The subject.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The current status; `None` before the first fact.
    pub fn status(&self) -> Option<Status> {
        match &self.axes {
            Axes::Payment(axes) => (self.event_count > 0).then(|| Status::Payment(axes.status())),
            Axes::Invoice(axes) => axes.status().map(Status::Invoice),
            Axes::BankTransaction(fact) => {
                fact.as_ref().map(|fact| Status::BankTransaction(fact.value.status))
            }
            Axes::CustomerAction(axes) => {
                axes.current().map(|fact| Status::PaymentRequest(fact.action))
            }
        }
    }

    /// The current status as people say it; `None` before the first fact.
    pub fn headline(&self) -> Option<Headline> {
        self.status().map(Status::headline)
    }

    /// The amounts.
    pub fn amounts(&self) -> PaymentAmounts {
        match &self.axes {
            Axes::Payment(axes) => Some(axes.amounts()),
            Axes::Invoice(axes) => axes.reported().map(invoice_amounts),
            Axes::BankTransaction(fact) => fact.as_ref().map(|fact| bank_amounts(&fact.value)),
            Axes::CustomerAction(axes) => axes
                .current()
                .map(|fact| PaymentAmounts { total: fact.amount, ..Default::default() }),
        }
        .unwrap_or_default()
    }

    /// All references, the newest of each.
    pub fn references(&self) -> References {
        self.references.merged()
    }

    /// False where the provider says that it happened in its test mode.
    pub fn live(&self) -> bool {
        self.live.is_some_and(|live| live.value)
    }

    /// The number of its events.
    pub fn event_count(&self) -> i64 {
        self.event_count
    }

    /// The sequence of its first event; zero before it.
    pub fn first_sequence(&self) -> Sequence {
        self.first_sequence
    }

    /// The sequence of its last event; zero before the first.
    pub fn last_sequence(&self) -> Sequence {
        self.last_sequence
    }

    /// When the newest of its events happened, by the provider's clock.
    pub fn updated_at(&self) -> Option<Timestamp> {
        self.updated_at
    }

    /// The day on which an invoice is due.
    pub fn due_date(&self) -> Option<Date> {
        match &self.axes {
            Axes::Invoice(axes) => axes.due_date(),
            Axes::Payment(_) | Axes::BankTransaction(_) | Axes::CustomerAction(_) => None,
        }
    }

    /// The due date after whose end an invoice is overdue; `None` where it is paid, over, or overdue
    /// already.
    pub fn awaited_due_date(&self) -> Option<Date> {
        match &self.axes {
            Axes::Invoice(axes) => axes.awaited(),
            Axes::Payment(_) | Axes::BankTransaction(_) | Axes::CustomerAction(_) => None,
        }
    }

    /// What is to be reported once the day `due` is over: the invoice as it is, overdue. `None` unless it
    /// awaits that day.
    pub fn overdue_fact(&self, due: Date) -> Option<InvoiceFact> {
        self.awaited_due_date().filter(|awaited| *awaited == due)?;
        let Axes::Invoice(axes) = &self.axes else { return None };
        let reported = axes.reported()?.clone();
        Some(InvoiceFact { status: InvoiceStatus::Overdue, due_date: Some(due), ..reported })
    }

    /// The provider's code of the last failure; empty where none is known.
    pub fn failure_code(&self) -> &str {
        self.failure().0
    }

    /// The provider's words for the last failure; empty where none is known.
    pub fn failure_message(&self) -> &str {
        self.failure().1
    }

    /// How a payment was paid, in the provider's word; empty where not known.
    pub fn method(&self) -> &str {
        match &self.axes {
            Axes::Payment(axes) => axes.method(),
            Axes::Invoice(_) | Axes::BankTransaction(_) | Axes::CustomerAction(_) => "",
        }
    }

    /// Everything but the counters. `|` and not `||` throughout: every part must take its share.
    fn merge(&mut self, draft: &Draft, fact: &Fact) -> bool {
        let key = Key::of(draft);
        self.updated_at = self.updated_at.max(Some(draft.occurred_at));
        self.axes.merge(key, fact)
            | self.references.merge(key, &draft.references)
            | raise(&mut self.live, key, draft.live)
    }

    fn failure(&self) -> (&str, &str) {
        match &self.axes {
            Axes::Payment(axes) => axes.failure(),
            Axes::BankTransaction(Some(fact)) => {
                (&fact.value.failure_code, &fact.value.failure_message)
            }
            Axes::BankTransaction(None) | Axes::Invoice(_) | Axes::CustomerAction(_) => ("", ""),
        }
    }
}

impl Axes {
    fn begin(kind: SubjectKind) -> Axes {
        match kind {
            SubjectKind::Payment => Axes::Payment(Box::default()),
            SubjectKind::Invoice => Axes::Invoice(Box::default()),
            SubjectKind::BankTransaction => Axes::BankTransaction(None),
            SubjectKind::PaymentRequest => Axes::CustomerAction(Box::default()),
        }
    }

    fn kind(&self) -> SubjectKind {
        match self {
            Axes::Payment(_) => SubjectKind::Payment,
            Axes::Invoice(_) => SubjectKind::Invoice,
            Axes::BankTransaction(_) => SubjectKind::BankTransaction,
            Axes::CustomerAction(_) => SubjectKind::PaymentRequest,
        }
    }

    /// Takes in one fact and tells whether anything was taken from it. One of another kind is not.
    fn merge(&mut self, key: Key, fact: &Fact) -> bool {
        match (self, fact) {
            (Axes::Payment(axes), Fact::Payment(fact)) => axes.merge(key, fact),
            (Axes::Invoice(axes), Fact::Invoice(fact)) => axes.merge(key, fact),
            (Axes::BankTransaction(held), Fact::BankTransaction(fact)) => {
                raise(held, key, fact.clone())
            }
            (Axes::CustomerAction(axes), Fact::CustomerAction(fact)) => axes.merge(key, fact),
            (
                Axes::Payment(_)
                | Axes::Invoice(_)
                | Axes::BankTransaction(_)
                | Axes::CustomerAction(_),
                Fact::Payment(_)
                | Fact::Invoice(_)
                | Fact::BankTransaction(_)
                | Fact::CustomerAction(_),
            ) => false,
        }
    }

    fn report(&self, fact: Fact) -> Report {
        match fact {
            Fact::Payment(fact) => Report::Payment(match self {
                Axes::Payment(axes) => axes.report(&fact),
                Axes::Invoice(_) | Axes::BankTransaction(_) | Axes::CustomerAction(_) => {
                    PaymentAxes::default().report(&fact)
                }
            }),
            Fact::Invoice(fact) => Report::Invoice(fact),
            Fact::BankTransaction(fact) => Report::BankTransaction(fact),
            Fact::CustomerAction(fact) => Report::CustomerAction(fact),
        }
    }
}

fn invoice_amounts(fact: &InvoiceFact) -> PaymentAmounts {
    let all = fact.total.filter(|_| fact.status == InvoiceStatus::Paid);
    PaymentAmounts {
        total: fact.total,
        paid: fact.paid.or(all),
        refunded: fact.refunded,
        ..Default::default()
    }
}

fn bank_amounts(fact: &BankTransactionFact) -> PaymentAmounts {
    let booked = fact.amount.filter(|_| fact.status == BankTransactionStatus::Booked);
    PaymentAmounts {
        total: fact.amount,
        paid: booked.filter(|amount| amount.minor_units > 0),
        ..Default::default()
    }
}

/// A subject as the text that people know it by.
mod subject_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::model::Subject;

    pub fn serialize<S: Serializer>(subject: &Subject, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(subject)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Subject, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
