//! Whether what came of a vector is what it expects. The vectors' words are coarser than the model's, so
//! statuses are mapped to them before they are compared.

use std::fmt::Debug;

use serde_json::Value;
use tollgate_client::proto;
use tollgate_client::proto::event::Fact;

/// An event in the vectors' words.
#[derive(Debug)]
struct Seen {
    kind: &'static str,
    status: String,
    amount_minor: Option<i64>,
    currency: Option<String>,
    payment_id: String,
    event_id: String,
    direction: &'static str,
}

/// The answer: a 2xx for what is accepted, and what the vector states of it.
pub fn reply(vector: &Value, status: u16, body: &str) -> Result<(), String> {
    let accepted = vector["expect"] == "accept";
    let wanted = vector["expect_response_status"].as_u64();
    let fits = match wanted {
        Some(wanted) => u64::from(status) == wanted,
        None => (200..300).contains(&status) == accepted,
    };
    if !fits {
        return Err(format!("answered {status}, expected {}", vector["expect"]));
    }
    match vector["expect_response_body"].as_str() {
        Some(wanted) if accepted && wanted != body => Err(format!("answered `{body}`")),
        _ => Ok(()),
    }
}

/// The receipt of what is accepted: kept, readable, and unknown only where the vector says so.
pub fn receipt(vector: &Value, receipt: Option<&proto::Receipt>) -> Result<(), String> {
    let receipt = receipt.ok_or("no receipt was kept")?;
    let state = receipt.state();
    if state == proto::ReceiptState::Unreadable {
        return Err(format!("unreadable: {}", receipt.reason));
    }
    match vector["expected_unknown"].as_str() {
        Some(kind) if state != proto::ReceiptState::Unknown || receipt.reason != kind => {
            Err(format!("{state:?} `{}`, expected unknown `{kind}`", receipt.reason))
        }
        _ => Ok(()),
    }
}

/// The events, in order.
pub fn canonical(vector: &Value, events: &[proto::Event]) -> Result<(), String> {
    let Some(expected) = vector["expected_canonical"].as_array() else { return Ok(()) };
    let seen: Vec<Seen> = events.iter().map(Seen::of).collect::<Result<_, _>>()?;
    if expected.len() != seen.len() {
        return Err(format!("{} events, expected {}: {seen:?}", seen.len(), expected.len()));
    }
    let mut pairs = expected.iter().zip(&seen);
    pairs.try_for_each(|(expected, seen)| seen.fits(expected))
}

impl Seen {
    fn of(event: &proto::Event) -> Result<Seen, String> {
        let id = event.subject.splitn(4, '/').nth(3).unwrap_or_default();
        let id = percent_decoded(id);
        let fact = event.fact.as_ref().ok_or("an event without a fact")?;
        let (kind, word, amount) = match fact {
            Fact::Payment(fact) => (
                "payment",
                fact.status().as_str_name().trim_start_matches("PAYMENT_STATUS_"),
                fact.amount.as_ref(),
            ),
            Fact::Invoice(fact) => {
                let word = fact.status().as_str_name().trim_start_matches("INVOICE_STATUS_");
                let amount = match word {
                    "REFUNDED" | "PARTIALLY_REFUNDED" => {
                        fact.refunded.as_ref().or(fact.total.as_ref())
                    }
                    _ => fact.total.as_ref(),
                };
                ("invoice", word, amount)
            }
            Fact::BankTransaction(fact) => (
                "bank_transaction",
                fact.status().as_str_name().trim_start_matches("BANK_TRANSACTION_STATUS_"),
                fact.amount.as_ref(),
            ),
            Fact::CustomerAction(fact) => (
                "customer_action",
                fact.action().as_str_name().trim_start_matches("CUSTOMER_ACTION_"),
                fact.amount.as_ref(),
            ),
        };
        Ok(Seen {
            kind,
            status: coarse(kind, word).to_owned(),
            amount_minor: amount.map(|money| money.minor_units.abs()),
            currency: amount.map(|money| money.currency.clone()).or_else(|| told_alone(event)),
            payment_id: id,
            event_id: event.provider_event_id.clone(),
            direction: match amount {
                Some(money) if money.minor_units < 0 => "debit",
                _ => "credit",
            },
        })
    }

    fn fits(&self, expected: &Value) -> Result<(), String> {
        let text = |value: &str| Value::from(value);
        let amount = self.amount_minor.map_or(Value::Null, Value::from);
        let currency = self.currency.as_deref().map_or(Value::Null, text);
        one_of(expected, "kind", &text(self.kind), self)?;
        self.status_fits(expected)?;
        // An amount that the vector does not state is not compared.
        if !expected["amount_minor"].is_null() {
            one_of(expected, "amount_minor", &amount, self)?;
        }
        if !expected["currency"].is_null() {
            one_of(expected, "currency", &currency, self)?;
        }
        one_of(expected, "payment_id", &text(&self.payment_id), self)?;
        if expected["direction"].is_string() {
            one_of(expected, "direction", &text(self.direction), self)?;
        }
        match expected["event_id"].as_str() {
            Some(_) => one_of(expected, "event_id", &text(&self.event_id), self),
            None if self.event_id.is_empty() => Err("no event id".to_owned()),
            None => Ok(()),
        }
    }

    /// A dispute that is lost may be called by either word.
    fn status_fits(&self, expected: &Value) -> Result<(), String> {
        let as_stated = one_of(expected, "status", &Value::from(self.status.as_str()), self);
        match self.status.as_str() {
            "CHARGED_BACK" => {
                as_stated.or_else(|_| one_of(expected, "status", &Value::from("DISPUTED"), self))
            }
            _ => as_stated,
        }
    }
}

/// A currency that was told without an amount.
fn told_alone(event: &proto::Event) -> Option<String> {
    event.references.as_ref()?.metadata.get("currency").cloned()
}

fn one_of(expected: &Value, field: &str, seen: &Value, whole: &impl Debug) -> Result<(), String> {
    let any_of = &expected[format!("{field}_any_of")];
    let any_of = any_of.as_array().is_some_and(|values| values.contains(seen));
    if any_of || expected.get(field) == Some(seen) || expected.get(field).is_none() {
        return Ok(());
    }
    Err(format!("{field} is {seen}, expected {} in {whole:?}", expected[field]))
}

/// A status in the nine words that vectors use.
fn coarse<'a>(kind: &str, word: &'a str) -> &'a str {
    match (kind, word) {
        ("invoice", "DRAFT" | "OPEN" | "OVERDUE") => "PENDING",
        ("invoice", "VOID" | "UNCOLLECTIBLE") => "CANCELED",
        ("invoice", "PAYMENT_FAILED") => "FAILED",
        ("bank_transaction", "BOOKED") => "PAID",
        ("bank_transaction", "REMOVED") => "CANCELED",
        ("bank_transaction", "RETURNED") => "REFUNDED",
        ("customer_action", "CHECKOUT_COMPLETED") => "PAID",
        ("customer_action", "CHECKOUT_EXPIRED" | "REQUEST_CANCELED") => "CANCELED",
        ("customer_action", _) => "PENDING",
        _ => word,
    }
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
