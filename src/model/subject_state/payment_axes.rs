//! What is known of a payment, axis by axis: collection, captures, refunds, disputes, and single values
//! beside them. In come facts with their keys, out come the status and the amounts that follow from all
//! axes together. Every axis keeps the fact with the greatest key, so that merging is commutative,
//! associative and idempotent; status and amounts must never be read off a single fact.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::key::{Key, Latest, raise};
use crate::model::money::Currency;
use crate::model::{
    DisputeState, EntryState, Money, PaymentAmounts, PaymentFact, PaymentReport, PaymentStatus,
};

/// How many captures, refunds or disputes of one payment are kept. Beyond it the smallest ids stay:
/// whichever stay in the end were never dropped on the way, so the order of arrival does not matter, as
/// it would if the first to come stayed.
pub const MAX_ENTRIES: usize = 10_000;

/// The axes of one payment.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PaymentAxes {
    #[serde(rename = "col", skip_serializing_if = "Option::is_none")]
    collection: Option<Latest<Collected>>,
    /// Apart from the rest of the collection: later reports often do not repeat what was asked for.
    #[serde(rename = "tot", skip_serializing_if = "Option::is_none")]
    total: Option<Latest<Money>>,
    #[serde(rename = "cap", skip_serializing_if = "BTreeMap::is_empty")]
    captures: Entries<EntryState>,
    #[serde(rename = "ref", skip_serializing_if = "BTreeMap::is_empty")]
    refunds: Entries<EntryState>,
    #[serde(rename = "run", skip_serializing_if = "Option::is_none")]
    refunded_total: Option<Latest<Money>>,
    #[serde(rename = "dis", skip_serializing_if = "BTreeMap::is_empty")]
    disputes: Entries<DisputeState>,
    #[serde(rename = "fee", skip_serializing_if = "Option::is_none")]
    fee: Option<Latest<Money>>,
    #[serde(rename = "by", skip_serializing_if = "Option::is_none")]
    method: Option<Latest<String>>,
    #[serde(rename = "err", skip_serializing_if = "Option::is_none")]
    failure: Option<Latest<Failure>>,
}

/// Captures, refunds or disputes by the provider's id.
type Entries<S> = BTreeMap<String, EntryAxis<S>>;

/// One capture, refund or dispute. State and amount are kept apart, so that a later report without an
/// amount leaves the known one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct EntryAxis<S> {
    #[serde(rename = "s")]
    state: Latest<S>,
    #[serde(rename = "a", default = "none", skip_serializing_if = "Option::is_none")]
    amount: Option<Latest<Money>>,
}

/// How far the collection is, and what was taken as of then.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
struct Collected {
    #[serde(rename = "s")]
    status: PaymentStatus,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    paid: Option<Money>,
}

/// Why a payment failed, in the provider's words.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
struct Failure {
    #[serde(rename = "c", default, skip_serializing_if = "String::is_empty")]
    code: String,
    #[serde(rename = "m", default, skip_serializing_if = "String::is_empty")]
    message: String,
}

impl PaymentAxes {
    /// Takes in one fact and tells whether any axis took something from it.
    pub fn merge(&mut self, key: Key, fact: &PaymentFact) -> bool {
        let mut taken = false;
        if let Some(collection) = &fact.collection {
            let collected = Collected { status: collection.status, paid: collection.paid };
            taken |= raise(&mut self.collection, key, collected);
            taken |= raise_stated(&mut self.total, key, collection.total);
        }
        if let Some(entry) = &fact.capture {
            taken |= merge_entry(&mut self.captures, &entry.id, key, entry.state, entry.amount);
        }
        if let Some(entry) = &fact.refund {
            taken |= merge_entry(&mut self.refunds, &entry.id, key, entry.state, entry.amount);
        }
        if let Some(dispute) = &fact.dispute {
            let (state, amount) = (dispute.state, dispute.amount);
            taken |= merge_entry(&mut self.disputes, &dispute.id, key, state, amount);
        }
        taken |= raise_stated(&mut self.refunded_total, key, fact.refunded_total);
        taken |= raise_stated(&mut self.fee, key, fact.fee);
        if !fact.method.is_empty() {
            taken |= raise(&mut self.method, key, fact.method.clone());
        }
        if !fact.failure_code.is_empty() || !fact.failure_message.is_empty() {
            let (code, message) = (fact.failure_code.clone(), fact.failure_message.clone());
            taken |= raise(&mut self.failure, key, Failure { code, message });
        }
        taken
    }

    /// The status that follows from all axes.
    pub fn status(&self) -> PaymentStatus {
        let disputed = |state| self.disputes.values().any(|dispute| dispute.state.value == state);
        if disputed(DisputeState::Lost) {
            PaymentStatus::ChargedBack
        } else if disputed(DisputeState::Open) {
            PaymentStatus::Disputed
        } else {
            self.refund_status().unwrap_or_else(|| self.collection_status())
        }
    }

    /// The amounts that follow from all axes, in the payment's own currency; the fee in its own.
    pub fn amounts(&self) -> PaymentAmounts {
        let currency = self.currency();
        PaymentAmounts {
            total: self.total.map(|total| total.value),
            paid: self.paid(currency),
            refunded: self.refunded(currency),
            disputed: self.disputed(currency),
            fee: self.fee.map(|fee| fee.value),
        }
    }

    /// What a fact reports, now that it is merged.
    pub fn report(&self, fact: &PaymentFact) -> PaymentReport {
        let amounts = self.amounts();
        let about_refund = fact.refund.is_some() || fact.refunded_total.is_some();
        let refunded = amounts.refunded.filter(|_| about_refund);
        let amount = fact.amount.or(refunded);
        let amount = amount.or_else(|| self.dispute_amount(fact)).or(amounts.total);
        PaymentReport {
            status: fact.status.unwrap_or_else(|| self.reported_status(fact, about_refund)),
            amounts,
            amount,
            failure_code: fact.failure_code.clone(),
            failure_message: fact.failure_message.clone(),
            method: fact.method.clone(),
            refund: fact.refund.as_ref().map(|refund| refund.id.clone()).unwrap_or_default(),
            dispute: fact.dispute.as_ref().map(|dispute| dispute.id.clone()).unwrap_or_default(),
        }
    }

    /// The provider's code and words of the last failure; empty where none is known.
    pub fn failure(&self) -> (&str, &str) {
        self.failure.as_ref().map_or(("", ""), |failure| {
            (failure.value.code.as_str(), failure.value.message.as_str())
        })
    }

    /// How it was paid, in the provider's word; empty where not known.
    pub fn method(&self) -> &str {
        self.method.as_ref().map_or("", |method| &method.value)
    }

    /// The status where the fact states none: what it is about decides, read from the merged axes.
    fn reported_status(&self, fact: &PaymentFact, about_refund: bool) -> PaymentStatus {
        if about_refund {
            return self.refund_status().unwrap_or_else(|| self.status());
        }
        match fact.dispute.as_ref().map(|dispute| dispute.state) {
            Some(DisputeState::Open) => PaymentStatus::Disputed,
            Some(DisputeState::Lost) => PaymentStatus::ChargedBack,
            Some(DisputeState::Won) | None => self.status(),
        }
    }

    fn dispute_amount(&self, fact: &PaymentFact) -> Option<Money> {
        let dispute = fact.dispute.as_ref()?;
        let known = || Some(self.disputes.get(&dispute.id)?.amount?.value);
        dispute.amount.or_else(known)
    }

    /// `None` where nothing is refunded. A refund of unknown amount or in another currency is in no sum,
    /// yet something is refunded.
    fn refund_status(&self) -> Option<PaymentStatus> {
        let currency = self.currency();
        let refunded = self.refunded(currency).map_or(0, |money| money.minor_units);
        let uncounted = |amount: Option<Money>| {
            amount.is_none_or(|amount| Some(amount.currency) != currency && amount.minor_units > 0)
        };
        let any_uncounted = done(&self.refunds).any(uncounted)
            || self.refunded_total.is_some_and(|total| uncounted(Some(total.value)));
        if refunded <= 0 && !any_uncounted {
            return None;
        }
        let paid = self.paid(currency).map_or(0, |money| money.minor_units);
        Some(if paid > 0 && refunded >= paid {
            PaymentStatus::Refunded
        } else {
            PaymentStatus::PartiallyRefunded
        })
    }

    fn collection_status(&self) -> PaymentStatus {
        let stated = self.collection.as_ref().map(|collection| collection.value.status);
        let taken = |amount: Option<Money>| amount.is_none_or(|amount| amount.minor_units > 0);
        if done(&self.captures).any(taken) {
            PaymentStatus::Paid
        } else if self.captures_failed() && stated != Some(PaymentStatus::Canceled) {
            PaymentStatus::Failed
        } else {
            stated.unwrap_or(PaymentStatus::Pending)
        }
    }

    /// Whether captures are known and every one failed.
    fn captures_failed(&self) -> bool {
        !self.captures.is_empty()
            && self.captures.values().all(|capture| capture.state.value == EntryState::Failed)
    }

    /// The payment's own currency: what was asked for decides, then what was taken or given back.
    fn currency(&self) -> Option<Currency> {
        let collection = self.collection.as_ref().and_then(|collection| collection.value.paid);
        let stated = self.total.map(|total| total.value).or(collection);
        let stated = stated.or_else(|| self.refunded_total.map(|total| total.value));
        stated.map(|money| money.currency).or_else(|| {
            let captures = self.captures.values().filter_map(|capture| capture.amount);
            let refunds = self.refunds.values().filter_map(|refund| refund.amount);
            let disputes = self.disputes.values().filter_map(|dispute| dispute.amount);
            captures.chain(refunds).chain(disputes).map(|amount| amount.value.currency).min()
        })
    }

    fn paid(&self, currency: Option<Currency>) -> Option<Money> {
        let captured = done(&self.captures).flatten();
        if let Some(captured) = sum(captured, currency?) {
            return Some(captured);
        }
        if self.captures_failed() {
            return None;
        }
        let collection = &self.collection.as_ref()?.value;
        let all = self.total.filter(|_| collection.status == PaymentStatus::Paid);
        collection.paid.or(all.map(|total| total.value))
    }

    /// The greater of the two forms in which providers report refunds, so that nothing counts twice. A
    /// refund that failed after the running total was stated is no longer in it.
    fn refunded(&self, currency: Option<Currency>) -> Option<Money> {
        let currency = currency?;
        let total = self.refunded_total.filter(|total| total.value.currency == currency);
        let running = total.map(|total| {
            let failed_later = self.refunds.values().filter(|refund| {
                refund.state.value == EntryState::Failed && refund.state.key > total.key
            });
            let failed = sum(failed_later.filter_map(EntryAxis::stated), currency);
            let failed = failed.map_or(0, |money| money.minor_units);
            let minor_units = total.value.minor_units.saturating_sub(failed).max(0);
            Money { minor_units, currency }
        });
        let none_done = (!self.refunds.is_empty()).then_some(Money { minor_units: 0, currency });
        running.max(sum(done(&self.refunds).flatten(), currency).or(none_done))
    }

    fn disputed(&self, currency: Option<Currency>) -> Option<Money> {
        let currency = currency?;
        let against = self.disputes.values().filter(|dispute| match dispute.state.value {
            DisputeState::Open | DisputeState::Lost => true,
            DisputeState::Won => false,
        });
        let none_left = (!self.disputes.is_empty()).then_some(Money { minor_units: 0, currency });
        sum(against.filter_map(EntryAxis::stated), currency).or(none_left)
    }
}

impl<S> EntryAxis<S> {
    fn stated(&self) -> Option<Money> {
        self.amount.map(|amount| amount.value)
    }
}

/// serde's default of a field whose type's parameter has none.
fn none<T>() -> Option<T> {
    None
}

/// `raise` where the report may say nothing.
fn raise_stated<T: Ord>(held: &mut Option<Latest<T>>, key: Key, value: Option<T>) -> bool {
    value.is_some_and(|value| raise(held, key, value))
}

fn merge_entry<S: Ord>(
    entries: &mut Entries<S>,
    id: &str,
    key: Key,
    state: S,
    amount: Option<Money>,
) -> bool {
    if let Some(entry) = entries.get_mut(id) {
        let advanced = entry.state.raise(Latest { key, value: state });
        return raise_stated(&mut entry.amount, key, amount) || advanced;
    }
    if entries.len() >= MAX_ENTRIES {
        if entries.last_key_value().is_some_and(|(last, _)| id > last.as_str()) {
            return false;
        }
        entries.pop_last();
    }
    let state = Latest { key, value: state };
    let amount = amount.map(|value| Latest { key, value });
    entries.insert(id.to_owned(), EntryAxis { state, amount });
    true
}

/// The amounts of the entries that are done, `None` for an unknown one.
fn done(entries: &Entries<EntryState>) -> impl Iterator<Item = Option<Money>> {
    entries.values().filter(|entry| entry.state.value == EntryState::Done).map(EntryAxis::stated)
}

/// The sum of the amounts in this currency; `None` where there is none. It stops at the greatest amount
/// rather than wrap around.
fn sum(amounts: impl Iterator<Item = Money>, currency: Currency) -> Option<Money> {
    amounts
        .filter(|money| money.currency == currency)
        .map(|money| money.minor_units)
        .reduce(i64::saturating_add)
        .map(|minor_units| Money { minor_units, currency })
}
