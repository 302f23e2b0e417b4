//! Which statuses can get to a mapping, and words that no status has. Every kind of subject is tried in each
//! of its statuses against the filter and the conditions; conditions on anything else are taken to hold.

use std::collections::BTreeSet;

use tollgate_client::Event;
use tollgate_client::proto::{
    BankTransactionEvent, BankTransactionStatus, Change, CustomerAction, CustomerActionEvent,
    Headline, InvoiceEvent, InvoiceStatus, PaymentEvent, PaymentStatus, event::Fact,
};

use super::{Finding, Findings, suggest};
use crate::config::Events;
use crate::mapping::path::{event_status, status_words};
use crate::mapping::{Conditions, EventPath};

/// What conditions are tried on.
const TRIED: &[&str] = &["event_status", "headline", "kind", "status"];
const HEADLINES: &[&str] = &["PENDING", "PAID", "FAILED", "REFUNDED", "DISPUTED"];
const KINDS: &[&str] = &["payment", "invoice", "bank_transaction", "payment_request"];

/// One event for each kind and status that gets to a mapping.
pub struct Reach(Vec<Event>);

impl Reach {
    /// What a filter and the conditions of a mapping let through.
    pub fn of(filter: &Events, when: &Conditions) -> Reach {
        let wanted = filter.filter();
        let lets_in = |event: &Event| {
            let kind = event.subject.split('/').next().unwrap_or_default();
            let kinds =
                wanted.kinds.is_empty() || wanted.kinds().any(|one| collection(one) == kind);
            let statuses = &wanted.statuses;
            let headline = event.change.as_ref().map_or(0, |change| change.headline);
            kinds
                && (statuses.is_empty() || statuses.iter().any(|one| one == event_status(event)))
                && (wanted.headlines.is_empty() || wanted.headlines.contains(&headline))
        };
        Reach(every_status().into_iter().filter(lets_in).collect()).within(when)
    }

    /// What more conditions leave of it.
    pub fn within(&self, when: &Conditions) -> Reach {
        let when = when.only(|path| TRIED.contains(&path.as_str()));
        Reach(self.0.iter().filter(|event| when.hold(event)).cloned().collect())
    }

    /// Whether nothing gets there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The words that a path to a status can have.
    pub fn words(&self, path: &EventPath) -> BTreeSet<String> {
        if path.as_str() != "previous_status" {
            return self.0.iter().map(|event| path.of(event).text()).collect();
        }
        // A subject may come from any status of its kind.
        let kind = |event: &Event| event.subject.clone();
        let kinds: BTreeSet<String> = self.0.iter().map(kind).collect();
        let all = every_status();
        let from = all.iter().filter(|event| kinds.contains(&kind(event)));
        from.map(|event| event_status(event).to_owned()).collect()
    }
}

/// Findings about words of conditions that nothing can be equal to.
pub fn check_words(found: &mut Findings, key: &str, when: &Conditions) {
    for (path, word) in when.words() {
        let known: Vec<&str> = match path.as_str() {
            "status" | "event_status" | "previous_status" => status_words().collect(),
            "headline" => HEADLINES.to_vec(),
            "kind" => KINDS.to_vec(),
            _ => continue,
        };
        if !known.contains(&word.as_str()) {
            let path = path.as_str();
            let meant = suggest::word(&word, known.into_iter());
            found.error(&format!("{key}.{path}"), format!("no {path} is `{word}`{meant}"));
        }
    }
}

/// Findings about the filter of the subscription.
pub fn check_filter(filter: &Events) -> Vec<Finding> {
    let mut found = Findings::default();
    for word in &filter.statuses {
        if !status_words().any(|known| known == word) {
            let meant = suggest::word(word, status_words());
            found.error("gateway.filter.statuses", format!("no status is `{word}`{meant}"));
        }
    }
    found.0
}

fn every_status() -> Vec<Event> {
    let payments = (1..).map_while(|number| PaymentStatus::try_from(number).ok()).map(|status| {
        let fact = PaymentEvent { status: status.into(), ..PaymentEvent::default() };
        event("payments", Fact::Payment(fact), payment_headline(status))
    });
    let invoices = (1..).map_while(|number| InvoiceStatus::try_from(number).ok()).map(|status| {
        let fact = InvoiceEvent { status: status.into(), ..InvoiceEvent::default() };
        event("invoices", Fact::Invoice(fact), invoice_headline(status))
    });
    let bank = (1..).map_while(|number| BankTransactionStatus::try_from(number).ok());
    let bank = bank.map(|status| {
        let fact =
            BankTransactionEvent { status: status.into(), ..BankTransactionEvent::default() };
        event("bankTransactions", Fact::BankTransaction(fact), bank_headline(status))
    });
    let actions = (1..).map_while(|number| CustomerAction::try_from(number).ok()).map(|action| {
        let fact = CustomerActionEvent { action: action.into(), ..CustomerActionEvent::default() };
        event("paymentRequests", Fact::CustomerAction(fact), action_headline(action))
    });
    payments.chain(invoices).chain(bank).chain(actions).collect()
}

fn event(collection: &str, fact: Fact, headline: Headline) -> Event {
    let mut event = Event { subject: collection.to_owned(), fact: Some(fact), ..Event::default() };
    let current = event_status(&event).to_owned();
    event.change = Some(Change { current, headline: headline.into(), ..Change::default() });
    event
}

fn collection(kind: tollgate_client::proto::SubjectKind) -> &'static str {
    use tollgate_client::proto::SubjectKind;
    match kind {
        SubjectKind::Payment => "payments",
        SubjectKind::Invoice => "invoices",
        SubjectKind::BankTransaction => "bankTransactions",
        SubjectKind::PaymentRequest => "paymentRequests",
        SubjectKind::Unspecified => "",
    }
}

fn payment_headline(status: PaymentStatus) -> Headline {
    match status {
        PaymentStatus::Unspecified => Headline::Unspecified,
        PaymentStatus::Pending | PaymentStatus::Authorized | PaymentStatus::PartiallyPaid => {
            Headline::Pending
        }
        PaymentStatus::Paid => Headline::Paid,
        PaymentStatus::Failed | PaymentStatus::Canceled => Headline::Failed,
        PaymentStatus::PartiallyRefunded | PaymentStatus::Refunded => Headline::Refunded,
        PaymentStatus::Disputed | PaymentStatus::ChargedBack => Headline::Disputed,
    }
}

fn invoice_headline(status: InvoiceStatus) -> Headline {
    match status {
        InvoiceStatus::Unspecified => Headline::Unspecified,
        InvoiceStatus::Draft
        | InvoiceStatus::Open
        | InvoiceStatus::PartiallyPaid
        | InvoiceStatus::Overdue => Headline::Pending,
        InvoiceStatus::Paid => Headline::Paid,
        InvoiceStatus::PaymentFailed | InvoiceStatus::Void | InvoiceStatus::Uncollectible => {
            Headline::Failed
        }
        InvoiceStatus::PartiallyRefunded | InvoiceStatus::Refunded => Headline::Refunded,
        InvoiceStatus::Disputed => Headline::Disputed,
    }
}

fn bank_headline(status: BankTransactionStatus) -> Headline {
    match status {
        BankTransactionStatus::Unspecified => Headline::Unspecified,
        BankTransactionStatus::Pending => Headline::Pending,
        BankTransactionStatus::Booked => Headline::Paid,
        BankTransactionStatus::Failed | BankTransactionStatus::Removed => Headline::Failed,
        BankTransactionStatus::Returned => Headline::Refunded,
    }
}

fn action_headline(action: CustomerAction) -> Headline {
    match action {
        CustomerAction::Unspecified => Headline::Unspecified,
        CustomerAction::CheckoutCompleted => Headline::Paid,
        CustomerAction::CheckoutExpired | CustomerAction::RequestCanceled => Headline::Failed,
        CustomerAction::LinkOpened
        | CustomerAction::InvoiceViewed
        | CustomerAction::CheckoutStarted
        | CustomerAction::PartialPayment
        | CustomerAction::MandateChanged
        | CustomerAction::RequestCreated
        | CustomerAction::RequestAccepted => Headline::Pending,
    }
}
