//! Access Worldpay's events: one JSON event comes in, a draft goes out. A payment is known by the
//! merchant's own transaction reference. Settlements and refunds with a reference are known one by one;
//! whether a refund is the whole is not told, and follows from what was settled.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::model::{
    BankTransactionFact, Collection, Dispute, Draft, EndpointName, Entry, EntryState, Fact, Money,
    PaymentFact, PaymentStatus, References,
};
use crate::providers::payload::{self, Text};
use crate::providers::{TranslateError, Translation};

use super::facts::{ACCESS, CHARGEBACK, Meaning, PAYOUTS, SILENT, disputed};

const PAYOUT: &str = "payout";
/// Where the links of test events lead.
const TEST_HOST: &str = "//try.access.worldpay.com/";

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    event_id: Text<'a>,
    #[serde(borrow)]
    event_timestamp: Text<'a>,
    #[serde(borrow)]
    event_details: Option<Details<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Details<'a> {
    #[serde(borrow)]
    classification: Text<'a>,
    #[serde(borrow, rename = "type")]
    event_type: Text<'a>,
    #[serde(borrow)]
    transaction_reference: Text<'a>,
    #[serde(borrow)]
    downstream_reference: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
    #[serde(borrow)]
    amount: Option<Amount<'a>>,
    #[serde(borrow)]
    refund: Option<Refund<'a>>,
    #[serde(borrow)]
    payment_instrument: Option<Instrument<'a>>,
    #[serde(borrow, rename = "_links")]
    links: Option<Links<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Amount<'a> {
    value: Option<i64>,
    #[serde(borrow)]
    currency_code: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Refund<'a> {
    #[serde(borrow)]
    refusal: Option<Refusal<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal<'a> {
    #[serde(borrow)]
    code: Text<'a>,
    #[serde(borrow)]
    description: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Instrument<'a> {
    #[serde(borrow, rename = "type")]
    method: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Links<'a> {
    #[serde(borrow)]
    payment: Option<Link<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Link<'a> {
    #[serde(borrow)]
    href: Text<'a>,
}

/// What an event means.
pub(super) fn event(
    body: &[u8],
    live: bool,
    endpoint: &EndpointName,
) -> Result<Translation, TranslateError> {
    let event: Event<'_> = serde_json::from_slice(body)
        .map_err(|error| payload::unreadable("a Worldpay event", &error))?;
    let details = event.event_details.unwrap_or_default();
    let event_type = &*details.event_type;
    if SILENT.contains(&event_type) || event_type.starts_with("topUp") {
        return Ok(Translation::Events(Vec::new()));
    }
    let (fact, rank) = if &*details.classification == PAYOUT || is_payout_only(event_type) {
        let Some((_, status, rank)) = PAYOUTS.iter().find(|(name, ..)| *name == event_type) else {
            return payload::unknown_type(event_type);
        };
        let fact = BankTransactionFact {
            status: *status,
            amount: details.money()?.map(outgoing),
            counterparty: String::new(),
            remittance: details.reference.to_string(),
            failure_code: String::new(),
            failure_message: String::new(),
        };
        (Fact::BankTransaction(fact), *rank)
    } else {
        let Some((_, meaning)) = ACCESS.iter().find(|(name, _)| *name == event_type) else {
            return payload::unknown_type(event_type);
        };
        let (fact, rank) = details.payment(*meaning)?;
        (Fact::Payment(fact), rank)
    };
    if event.event_id.is_empty() {
        return Err(TranslateError("the event has no id".to_owned()));
    }
    let id = payload::first(&[&details.transaction_reference, &details.downstream_reference]);
    Ok(Translation::Events(vec![Draft {
        key: event.event_id.to_string(),
        event_id: event.event_id.to_string(),
        event_type: event_type.to_owned(),
        occurred_at: time(&event.event_timestamp)?,
        version: 0,
        rank,
        subject: payload::subject(fact.kind(), endpoint, &id)?,
        references: details.references().bounded(),
        live: live && !details.href().contains(TEST_HOST),
        fact,
    }]))
}

/// Whether only payouts have events of this type.
fn is_payout_only(event_type: &str) -> bool {
    PAYOUTS.iter().any(|(name, ..)| *name == event_type)
        && !ACCESS.iter().any(|(name, _)| *name == event_type)
}

/// Money that is paid out leaves the merchant.
fn outgoing(money: Money) -> Money {
    Money { minor_units: money.minor_units.saturating_abs().saturating_neg(), ..money }
}

/// A time without a zone is in UTC.
fn time(text: &str) -> Result<Timestamp, TranslateError> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let time = text.parse::<DateTime>().and_then(|time| TimeZone::UTC.to_timestamp(time));
    time.map_err(|_| payload::not_a("a time", text))
}

impl Details<'_> {
    fn money(&self) -> Result<Option<Money>, TranslateError> {
        let Some(amount) = &self.amount else { return Ok(None) };
        payload::optional_money(amount.value, &amount.currency_code, &[])
    }

    fn href(&self) -> &str {
        let link = self.links.as_ref().and_then(|links| links.payment.as_ref());
        link.map_or("", |link| &link.href)
    }

    fn payment(&self, meaning: Meaning) -> Result<(PaymentFact, u8), TranslateError> {
        let amount = self.money()?;
        let mut fact = PaymentFact { amount, ..PaymentFact::default() };
        if let Some(instrument) = &self.payment_instrument {
            fact.method = instrument.method.to_string();
        }
        let rank = match meaning {
            Meaning::Collection(status, rank) => {
                fact.status = Some(status);
                self.collect(&mut fact, status);
                rank
            }
            Meaning::Refund(state, rank) => {
                fact.refund = Some(Entry { id: self.refund_id(amount), amount, state });
                // What could not be given back was taken before.
                fact.collection = (state == EntryState::Failed).then_some(Collection {
                    status: PaymentStatus::Paid,
                    total: None,
                    paid: None,
                });
                let refusal = self.refund.as_ref().and_then(|refund| refund.refusal.as_ref());
                if let (EntryState::Failed, Some(refusal)) = (state, refusal) {
                    fact.failure_code = refusal.code.to_string();
                    fact.failure_message = refusal.description.to_string();
                }
                rank
            }
            Meaning::Dispute(state, rank) => {
                fact.status = Some(disputed(state));
                fact.dispute = Some(Dispute { id: CHARGEBACK.to_owned(), amount, state });
                rank
            }
        };
        Ok((fact, rank))
    }

    /// What is settled in parts has a reference for each part; only what is asked for tells the total.
    fn collect(&self, fact: &mut PaymentFact, status: PaymentStatus) {
        let amount = fact.amount;
        let is_settlement =
            self.event_type.starts_with("sett") || self.event_type.starts_with("sentForS");
        if is_settlement && !self.reference.is_empty() {
            let paid = status == PaymentStatus::Paid;
            let state = if paid { EntryState::Done } else { EntryState::Failed };
            fact.capture = Some(Entry { id: self.reference.to_string(), amount, state });
            return;
        }
        fact.collection = Some(Collection {
            status,
            total: amount.filter(|_| !is_settlement),
            paid: amount.filter(|_| status == PaymentStatus::Paid),
        });
    }

    /// The refund's own reference; without one, refunds are only told apart by their amount.
    fn refund_id(&self, amount: Option<Money>) -> String {
        match (self.reference.is_empty(), amount) {
            (false, _) => self.reference.to_string(),
            (true, Some(amount)) => format!("refund of {}", amount.minor_units),
            (true, None) => "refund".to_owned(),
        }
    }

    fn references(&self) -> References {
        let mut references = References {
            payment: self.transaction_reference.to_string(),
            order: self.transaction_reference.to_string(),
            ..References::default()
        };
        let kept =
            [("downstream_reference", &self.downstream_reference), ("reference", &self.reference)];
        for (name, value) in kept.into_iter().filter(|(_, value)| !value.is_empty()) {
            references.metadata.insert(name.to_owned(), value.to_string());
        }
        references
    }
}
