//! GoCardless's resources as its API has them: what an event told and the fetched resource come in, a draft
//! goes out. Refunds are known one by one; the payment's running total of them only tells a whole refund
//! from a part in the report, and is never added up with them.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{
    BankTransactionFact, Collection, CustomerAction, CustomerActionFact, Dispute, DisputeState,
    Draft, EndpointName, Entry, EntryState, Fact, InvoiceFact, Money, PaymentFact, PaymentStatus,
    References,
};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Scalars, Text};

use super::Told;
use super::facts::Meaning;

/// A payment has at most one chargeback at a time, and it has no id.
const CHARGEBACK: &str = "chargeback";

#[derive(Deserialize, Default)]
#[serde(default)]
struct Payment<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    amount: Option<i64>,
    amount_refunded: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
    metadata: Scalars,
    links: Scalars,
}

impl<'a> Payment<'a> {
    fn read(body: &'a [u8]) -> Result<Payment<'a>, TranslateError> {
        read(body, "payments", "a GoCardless payment")
    }

    fn total(&self) -> Result<Money, TranslateError> {
        required(self.amount, &self.currency, "the payment")
    }

    fn references(self, told: &Told) -> References {
        let mut metadata = told.metadata.clone();
        metadata.extend(self.metadata.0);
        let named = ["order_id", "order"].into_iter().find_map(|name| metadata.get(name));
        let order = payload::first(&[named.map_or("", String::as_str), &self.reference]);
        for name in ["mandate", "subscription"] {
            if let Some(id) = self.links.0.get(name) {
                metadata.entry(name.to_owned()).or_insert_with(|| id.clone());
            }
        }
        if !self.reference.is_empty() {
            metadata.entry("reference".to_owned()).or_insert(self.reference.to_string());
        }
        References {
            payment: self.id.to_string(),
            invoice: self.links.0.get("instalment_schedule").cloned().unwrap_or_default(),
            order,
            customer: told.links.get("customer").cloned().unwrap_or_default(),
            metadata,
            ..References::default()
        }
    }
}

/// The draft of an event about a payment: its status by the event, its amount by the payment.
pub(super) fn payment(
    meaning: Meaning,
    told: &Told,
    body: &[u8],
    endpoint: &EndpointName,
) -> Result<Draft, TranslateError> {
    let payment = Payment::read(body)?;
    let total = payment.total()?;
    let (collected, status, dispute, rank) = match meaning {
        Meaning::Payment(status, rank) => (status, status, None, rank),
        // Only what was collected is charged back.
        Meaning::Chargeback(state, rank) => {
            let status = match state {
                DisputeState::Open => PaymentStatus::Disputed,
                DisputeState::Won => PaymentStatus::Paid,
                DisputeState::Lost => PaymentStatus::ChargedBack,
            };
            let dispute = Dispute { id: CHARGEBACK.to_owned(), amount: Some(total), state };
            (PaymentStatus::Paid, status, Some(dispute), rank)
        }
        Meaning::Refund(..)
        | Meaning::Bank(..)
        | Meaning::Mandate(_)
        | Meaning::BillingRequest(..)
        | Meaning::Instalments(..)
        | Meaning::Silent => return Err(payload::unknown("payment event", &told.event_type)),
    };
    let is_paid = collected == PaymentStatus::Paid;
    let went_wrong = status != PaymentStatus::Paid && status != PaymentStatus::Pending;
    let fact = PaymentFact {
        status: Some(status),
        amount: Some(total),
        collection: Some(Collection {
            status: collected,
            total: Some(total),
            paid: is_paid.then_some(total),
        }),
        dispute,
        failure_code: if went_wrong { told.cause.clone() } else { String::new() },
        failure_message: if went_wrong { told.description.clone() } else { String::new() },
        method: told.scheme.clone(),
        ..PaymentFact::default()
    };
    told.draft(&told.resource, rank, payment.references(told), Fact::Payment(fact), endpoint)
}

/// A refund as `GET /refunds/{id}` has it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Refund<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    amount: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
    metadata: Scalars,
    links: Scalars,
}

impl<'a> Refund<'a> {
    /// Reads an answer.
    pub(super) fn read(body: &'a [u8]) -> Result<Refund<'a>, TranslateError> {
        read(body, "refunds", "a GoCardless refund")
    }

    /// The id of the payment that it gives back.
    pub(super) fn payment(&self) -> Result<&str, TranslateError> {
        let id = self.links.0.get("payment").map_or("", String::as_str);
        match super::is_id(id) {
            true => Ok(id),
            false => Err(payload::not_a("an id of a payment", id)),
        }
    }

    /// The draft of an event about it, with the payment as it is now.
    pub(super) fn draft(
        self,
        (state, rank): (EntryState, u8),
        told: &Told,
        payment: &[u8],
        endpoint: &EndpointName,
    ) -> Result<Draft, TranslateError> {
        let id = self.payment()?.to_owned();
        let mut payment = Payment::read(payment)?;
        let amount = required(self.amount, &self.currency, "the refund")?;
        let total = payment.total()?;
        let refunded = payment.amount_refunded.unwrap_or(0).max(amount.minor_units);
        let whole = amount.currency == total.currency && refunded >= total.minor_units;
        let status = match state {
            EntryState::Pending | EntryState::Done if whole => Some(PaymentStatus::Refunded),
            EntryState::Pending | EntryState::Done => Some(PaymentStatus::PartiallyRefunded),
            EntryState::Failed => None,
        };
        // A payment that has failed since is no longer collected, whatever its refund does.
        let is_paid = matches!(&*payment.status, "confirmed" | "paid_out" | "charged_back");
        let collection = is_paid.then_some(Collection {
            status: PaymentStatus::Paid,
            total: Some(total),
            paid: Some(total),
        });
        let failed = state == EntryState::Failed;
        let fact = PaymentFact {
            status,
            amount: Some(amount),
            collection,
            refund: Some(Entry { id: told.resource.clone(), amount: Some(amount), state }),
            failure_code: if failed { told.cause.clone() } else { String::new() },
            failure_message: if failed { told.description.clone() } else { String::new() },
            ..PaymentFact::default()
        };
        payment.metadata.0.extend(self.metadata.0);
        let references = payment.references(told);
        told.draft(&id, rank, references, Fact::Payment(fact), endpoint)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Movement<'a> {
    amount: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
    #[serde(borrow)]
    description: Text<'a>,
    #[serde(borrow)]
    counterparty_name: Text<'a>,
}

/// The draft of an event about a payout, an outbound payment or a movement on a payment account.
pub(super) fn movement(
    meaning: Meaning,
    told: &Told,
    body: &[u8],
    endpoint: &EndpointName,
) -> Result<Draft, TranslateError> {
    let Meaning::Bank(account, status, rank) = meaning else {
        return Err(payload::unknown("bank event", &told.event_type));
    };
    let movement: Movement<'_> = read(body, account.collection(), "a GoCardless movement")?;
    let amount = required(movement.amount, &movement.currency, "the movement")?;
    // Which way it goes is told by what it is; an outbound payment's amount has no sign.
    let size = amount.minor_units.saturating_abs();
    let minor_units = if account.is_out() { size.saturating_neg() } else { size };
    let fact = BankTransactionFact {
        status,
        amount: Some(Money { minor_units, ..amount }),
        counterparty: movement.counterparty_name.to_string(),
        remittance: payload::first(&[&movement.reference, &movement.description]),
        failure_code: String::new(),
        failure_message: String::new(),
    };
    let references = References { metadata: told.metadata.clone(), ..References::default() };
    told.draft(&told.resource, rank, references, Fact::BankTransaction(fact), endpoint)
}

/// The draft of an event that tells all by itself.
pub(super) fn stated(
    meaning: Meaning,
    told: &Told,
    endpoint: &EndpointName,
) -> Result<Draft, TranslateError> {
    let link = |name: &str| told.links.get(name).cloned().unwrap_or_default();
    let (fact, rank) = match meaning {
        Meaning::Mandate(rank) => (told.action(CustomerAction::MandateChanged), rank),
        Meaning::BillingRequest(action, rank) => (told.action(action), rank),
        Meaning::Instalments(status, rank) => {
            let fact = InvoiceFact {
                status,
                total: None,
                paid: None,
                balance: None,
                refunded: None,
                due_date: None,
            };
            (Fact::Invoice(fact), rank)
        }
        Meaning::Payment(..)
        | Meaning::Chargeback(..)
        | Meaning::Refund(..)
        | Meaning::Bank(..)
        | Meaning::Silent => return Err(payload::unknown("event", &told.event_type)),
    };
    let mut metadata = told.metadata.clone();
    if let Some(mandate) = told.links.get("mandate") {
        metadata.entry("mandate".to_owned()).or_insert_with(|| mandate.clone());
    }
    let order = ["order_id", "order"].into_iter().find_map(|name| metadata.get(name));
    let references = References {
        payment: payload::first(&[&link("payment"), &link("payment_request_payment")]),
        invoice: link("instalment_schedule"),
        order: order.cloned().unwrap_or_default(),
        customer: link("customer"),
        metadata,
        ..References::default()
    };
    told.draft(&told.resource, rank, references, fact, endpoint)
}

impl Told {
    /// A customer's action, with the event's action and cause in GoCardless's words.
    fn action(&self, action: CustomerAction) -> Fact {
        let word = self.event_type.rsplit('.').next().unwrap_or_default();
        let detail = match self.cause.is_empty() {
            true => word.to_owned(),
            false => format!("{word}: {}", self.cause),
        };
        Fact::CustomerAction(CustomerActionFact { action, amount: None, detail })
    }

    fn draft(
        &self,
        id: &str,
        rank: u8,
        references: References,
        fact: Fact,
        endpoint: &EndpointName,
    ) -> Result<Draft, TranslateError> {
        Ok(Draft {
            key: self.id.clone(),
            event_id: self.id.clone(),
            event_type: self.event_type.clone(),
            occurred_at: self.at,
            version: 0,
            rank,
            subject: payload::subject(fact.kind(), endpoint, id)?,
            references: references.bounded(),
            live: self.live,
            fact,
        })
    }
}

/// The object of an answer, which stands under the name of its collection.
fn read<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    name: &str,
    what: &str,
) -> Result<T, TranslateError> {
    let answer: std::collections::BTreeMap<String, &'a RawValue> =
        serde_json::from_slice(body).map_err(|error| payload::unreadable(what, &error))?;
    let object =
        answer.get(name).ok_or_else(|| TranslateError(format!("the answer is not {what}")))?;
    serde_json::from_str(object.get()).map_err(|error| payload::unreadable(what, &error))
}

fn required(amount: Option<i64>, currency: &str, what: &str) -> Result<Money, TranslateError> {
    payload::optional_money(amount, currency, &[])?
        .ok_or_else(|| TranslateError(format!("{what} has no amount")))
}
