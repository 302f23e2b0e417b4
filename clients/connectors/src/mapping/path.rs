//! Where in an event a value is: `status`, `amounts.paid`, `references.metadata.deal_id`. In comes the text
//! of a mapping, checked once; out goes the value of each event. A path that no event can have must be
//! refused when the mapping is read.

use std::fmt;

use iso_currency::Currency;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::Error};
use tollgate_client::Event;
use tollgate_client::proto::{
    BankTransactionStatus, CustomerAction, Headline, InvoiceStatus, Money, PaymentStatus,
    References, event::Fact,
};

use crate::value::{Value, major_units};

/// How alike a word must be to be suggested.
const LIKENESS: f64 = 0.75;

type Read = fn(&Event) -> Value;

/// Every path without a name of the merchant's in it.
const PATHS: &[(&str, Read)] = &[
    ("amounts.balance", |event| money(balance(event))),
    ("amounts.disputed", |event| money(amounts(event).and_then(|amounts| amounts.disputed))),
    ("amounts.event", |event| money(own_amount(event))),
    ("amounts.fee", |event| money(amounts(event).and_then(|amounts| amounts.fee))),
    ("amounts.paid", |event| money(paid(event))),
    ("amounts.refunded", |event| money(refunded(event))),
    ("amounts.total", |event| money(total(event))),
    ("counterparty", |event| bank(event, |fact| &fact.counterparty)),
    ("currency", |event| text(&main_amount(event).map(|money| money.currency).unwrap_or_default())),
    ("detail", detail),
    ("dispute", |event| payment(event, |fact| &fact.dispute)),
    ("due_date", due_date),
    ("endpoint", |event| text(&event.endpoint)),
    ("event_id", |event| text(&event.provider_event_id)),
    ("event_status", |event| text(event_status(event))),
    ("event_type", |event| text(&event.provider_event_type)),
    ("failure_code", failure_code),
    ("failure_message", failure_message),
    ("hash", |event| text(&event.hash)),
    ("headline", |event| text(headline(event))),
    ("kind", |event| text(kind(event))),
    ("live", |event| Value::Boolean(event.live)),
    ("method", |event| payment(event, |fact| &fact.method)),
    ("name", |event| text(&event.name)),
    ("occurred_at", |event| time(event.occurred_at)),
    ("previous_status", |event| text(event.change.as_ref().map_or("", |change| &change.previous))),
    ("provider", |event| text(&event.provider)),
    ("received_at", |event| time(event.received_at)),
    ("references.customer", |event| reference(event, |all| &all.customer)),
    ("references.customer_name", |event| reference(event, |all| &all.customer_name)),
    ("references.email", |event| reference(event, |all| &all.email)),
    ("references.invoice", |event| reference(event, |all| &all.invoice)),
    ("references.invoice_number", |event| reference(event, |all| &all.invoice_number)),
    ("references.order", |event| reference(event, |all| &all.order)),
    ("references.payment", |event| reference(event, |all| &all.payment)),
    ("refund", |event| payment(event, |fact| &fact.refund)),
    ("remittance", |event| bank(event, |fact| &fact.remittance)),
    ("sequence", |event| Value::Number(event.sequence.into())),
    ("status", |event| text(status(event))),
    ("subject", |event| text(&event.subject)),
    ("subject_id", |event| text(subject_id(event))),
];

const METADATA: &str = "references.metadata.";
const MINOR_UNITS: &str = ".minor_units";
const CURRENCY: &str = ".currency";

/// A checked path.
#[derive(Clone)]
pub struct EventPath {
    text: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Plain(Read),
    MinorUnits(Read),
    Currency(Read),
    Metadata(String),
}

impl EventPath {
    /// Checks a path.
    pub fn parse(text: &str) -> Result<EventPath, String> {
        let known =
            |path: &str| PATHS.iter().find(|(name, _)| *name == path).map(|(_, read)| *read);
        let amount = |ending| text.strip_suffix(ending).filter(|path| path.starts_with("amounts."));
        let place = if let Some(read) = known(text) {
            Some(Place::Plain(read))
        } else if let Some(read) = amount(MINOR_UNITS).and_then(known) {
            Some(Place::MinorUnits(read))
        } else if let Some(read) = amount(CURRENCY).and_then(known) {
            Some(Place::Currency(read))
        } else {
            let key = text.strip_prefix(METADATA).filter(|key| !key.is_empty());
            key.map(|key| Place::Metadata(key.to_owned()))
        };
        let place = place.ok_or_else(|| refusal(text))?;
        Ok(EventPath { text: text.to_owned(), place })
    }

    /// The event's value; [`Value::Null`] where it has none.
    pub fn of(&self, event: &Event) -> Value {
        match &self.place {
            Place::Plain(read) => read(event),
            Place::MinorUnits(read) => match read(event) {
                Value::Money(amount, _) => Value::Number(
                    amount.mantissa().try_into().map_or(amount, |minor: i64| minor.into()),
                ),
                _ => Value::Null,
            },
            Place::Currency(read) => match read(event) {
                Value::Money(_, currency) => Value::Text(currency),
                _ => Value::Null,
            },
            Place::Metadata(key) => {
                let all = event.references.as_ref();
                text(all.and_then(|all| all.metadata.get(key)).map_or("", String::as_str))
            }
        }
    }

    /// Whether it leads to an amount.
    pub fn is_amount(&self) -> bool {
        self.text.starts_with("amounts.") && matches!(self.place, Place::Plain(_))
    }

    /// Whether it leads to one of the gateway's status words.
    pub fn is_status(&self) -> bool {
        matches!(self.text.as_str(), "status" | "event_status" | "headline" | "previous_status")
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The subject's status after the event, in short words.
pub fn status(event: &Event) -> &str {
    event.change.as_ref().map_or("", |change| &change.current)
}

/// The status that the event itself reports, in short words.
pub fn event_status(event: &Event) -> &'static str {
    match &event.fact {
        Some(Fact::Payment(fact)) => short(fact.status().as_str_name(), "PAYMENT_STATUS_"),
        Some(Fact::Invoice(fact)) => short(fact.status().as_str_name(), "INVOICE_STATUS_"),
        Some(Fact::BankTransaction(fact)) => {
            short(fact.status().as_str_name(), "BANK_TRANSACTION_STATUS_")
        }
        Some(Fact::CustomerAction(fact)) => short(fact.action().as_str_name(), "CUSTOMER_ACTION_"),
        None => "",
    }
}

/// The words that `status` and `event_status` can have, to be checked against the values of a mapping.
pub fn status_words() -> impl Iterator<Item = &'static str> {
    let payments = (1..).map_while(|number| PaymentStatus::try_from(number).ok());
    let invoices = (1..).map_while(|number| InvoiceStatus::try_from(number).ok());
    let bank = (1..).map_while(|number| BankTransactionStatus::try_from(number).ok());
    let actions = (1..).map_while(|number| CustomerAction::try_from(number).ok());
    let payments = payments.map(|status| short(status.as_str_name(), "PAYMENT_STATUS_"));
    let invoices = invoices.map(|status| short(status.as_str_name(), "INVOICE_STATUS_"));
    let bank = bank.map(|status| short(status.as_str_name(), "BANK_TRANSACTION_STATUS_"));
    let actions = actions.map(|action| short(action.as_str_name(), "CUSTOMER_ACTION_"));
    payments.chain(invoices).chain(bank).chain(actions)
}

fn headline(event: &Event) -> &'static str {
    let headline = event.change.as_ref().map_or(Headline::Unspecified, |change| change.headline());
    short(headline.as_str_name(), "HEADLINE_")
}

/// The word without its enum's prefix; empty for the unspecified one.
fn short(name: &'static str, prefix: &str) -> &'static str {
    match name.strip_prefix(prefix) {
        Some("UNSPECIFIED") | None => "",
        Some(word) => word,
    }
}

fn kind(event: &Event) -> &'static str {
    match event.subject.split('/').next() {
        Some("payments") => "payment",
        Some("invoices") => "invoice",
        Some("bankTransactions") => "bank_transaction",
        Some("paymentRequests") => "payment_request",
        Some(_) | None => "",
    }
}

/// The provider's own id of the subject: what follows collection, provider and endpoint.
pub fn subject_id(event: &Event) -> &str {
    event.subject.splitn(4, '/').nth(3).unwrap_or_default()
}

fn amounts(event: &Event) -> Option<tollgate_client::proto::PaymentAmounts> {
    match &event.fact {
        Some(Fact::Payment(fact)) => fact.amounts.clone(),
        Some(Fact::Invoice(_) | Fact::BankTransaction(_) | Fact::CustomerAction(_)) | None => None,
    }
}

fn total(event: &Event) -> Option<Money> {
    match &event.fact {
        Some(Fact::Invoice(fact)) => fact.total.clone(),
        _ => amounts(event).and_then(|amounts| amounts.total),
    }
}

fn paid(event: &Event) -> Option<Money> {
    match &event.fact {
        Some(Fact::Invoice(fact)) => fact.paid.clone(),
        _ => amounts(event).and_then(|amounts| amounts.paid),
    }
}

fn refunded(event: &Event) -> Option<Money> {
    match &event.fact {
        Some(Fact::Invoice(fact)) => fact.refunded.clone(),
        _ => amounts(event).and_then(|amounts| amounts.refunded),
    }
}

fn balance(event: &Event) -> Option<Money> {
    match &event.fact {
        Some(Fact::Invoice(fact)) => fact.balance.clone(),
        _ => None,
    }
}

/// The amount that the event itself states.
fn own_amount(event: &Event) -> Option<Money> {
    match &event.fact {
        Some(Fact::Payment(fact)) => fact.amount.clone(),
        Some(Fact::Invoice(fact)) => fact.total.clone(),
        Some(Fact::BankTransaction(fact)) => fact.amount.clone(),
        Some(Fact::CustomerAction(fact)) => fact.amount.clone(),
        None => None,
    }
}

fn main_amount(event: &Event) -> Option<Money> {
    total(event).or_else(|| paid(event)).or_else(|| own_amount(event))
}

fn due_date(event: &Event) -> Value {
    match &event.fact {
        Some(Fact::Invoice(fact)) => match fact.due_date.parse() {
            Ok(date) => Value::Date(date),
            Err(_) => Value::Null,
        },
        _ => Value::Null,
    }
}

fn failure_code(event: &Event) -> Value {
    match &event.fact {
        Some(Fact::Payment(fact)) => text(&fact.failure_code),
        Some(Fact::BankTransaction(fact)) => text(&fact.failure_code),
        Some(Fact::Invoice(_) | Fact::CustomerAction(_)) | None => Value::Null,
    }
}

fn failure_message(event: &Event) -> Value {
    match &event.fact {
        Some(Fact::Payment(fact)) => text(&fact.failure_message),
        Some(Fact::BankTransaction(fact)) => text(&fact.failure_message),
        Some(Fact::Invoice(_) | Fact::CustomerAction(_)) | None => Value::Null,
    }
}

fn detail(event: &Event) -> Value {
    match &event.fact {
        Some(Fact::CustomerAction(fact)) => text(&fact.detail),
        _ => Value::Null,
    }
}

fn payment(event: &Event, field: fn(&tollgate_client::proto::PaymentEvent) -> &String) -> Value {
    match &event.fact {
        Some(Fact::Payment(fact)) => text(field(fact)),
        _ => Value::Null,
    }
}

fn bank(
    event: &Event,
    field: fn(&tollgate_client::proto::BankTransactionEvent) -> &String,
) -> Value {
    match &event.fact {
        Some(Fact::BankTransaction(fact)) => text(field(fact)),
        _ => Value::Null,
    }
}

fn reference(event: &Event, field: fn(&References) -> &String) -> Value {
    text(event.references.as_ref().map_or("", |all| field(all)))
}

fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { Value::Text(text.to_owned()) }
}

fn time(time: Option<prost_types::Timestamp>) -> Value {
    let time = time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    time.map_or(Value::Null, Value::Time)
}

/// In major units; an unknown currency is taken to have two places, as most have.
fn money(money: Option<Money>) -> Value {
    let Some(money) = money else { return Value::Null };
    let currency = Currency::from_code(&money.currency);
    let places = currency.and_then(|currency| currency.exponent()).unwrap_or(2);
    Value::Money(major_units(money.minor_units, places.into()), money.currency)
}

fn refusal(text: &str) -> String {
    let alike = PATHS.iter().map(|(path, _)| (strsim::jaro_winkler(text, path), *path));
    let best = alike.max_by(|(one, _), (other, _)| one.total_cmp(other));
    match best.filter(|(likeness, _)| *likeness >= LIKENESS) {
        Some((_, path)) => format!("events have no `{text}`; did you mean `{path}`?"),
        None => format!("events have no `{text}`"),
    }
}

impl<'de> Deserialize<'de> for EventPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<EventPath, D::Error> {
        let text = String::deserialize(deserializer)?;
        EventPath::parse(&text).map_err(D::Error::custom)
    }
}

impl fmt::Debug for EventPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "EventPath({})", self.text)
    }
}

impl PartialEq for EventPath {
    fn eq(&self, other: &EventPath) -> bool {
        self.text == other.text
    }
}

impl Eq for EventPath {}

impl PartialOrd for EventPath {
    fn partial_cmp(&self, other: &EventPath) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EventPath {
    fn cmp(&self, other: &EventPath) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}
