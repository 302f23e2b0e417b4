//! Whether what came of a vector is what it expects. The vectors' words are coarser than the model's, so
//! statuses are mapped to them before they are compared.

use std::fmt::Debug;

use serde_json::Value;
use tollgate_client::proto;
use tollgate_client::proto::ReceiptState;
use tollgate_client::proto::event::Fact;

use super::stub::Asking;

/// An event in the vectors' words.
#[derive(Debug)]
struct Seen {
    kind: &'static str,
    status: String,
    /// The status in the model's word.
    word: String,
    amount_minor: Option<i64>,
    /// What an invoice is about as a whole.
    total_minor: Option<i64>,
    currency: Option<String>,
    payment_id: String,
    event_id: String,
    direction: &'static str,
}

/// What a request was answered.
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

/// The answer: a 2xx for what is accepted, and what the vector states of it. What is refused only once the
/// provider denied it may have been answered 2xx.
pub fn reply(vector: &Value, reply: &Reply, receipts: &[proto::Receipt]) -> Result<(), String> {
    let accepted = vector["expect"] == "accept";
    let Reply { status, content_type, body } = reply;
    let stated = &vector["expect_response"];
    let wanted = vector["expect_response_status"].as_u64().or_else(|| stated["status"].as_u64());
    let fits = match wanted {
        Some(wanted) => u64::from(*status) == wanted,
        None if !accepted && receipts.iter().any(is_unconfirmed) => true,
        None => (200..300).contains(status) == accepted,
    };
    if !fits {
        return Err(format!("answered {status} `{body}`, expected {}", vector["expect"]));
    }
    let as_json = serde_json::from_str::<Value>(body).ok();
    for wanted in [&vector["expect_response_body"], &stated["body"], &stated["body_json"]] {
        let fits = match wanted {
            Value::Null => true,
            Value::String(text) => text == body || as_json.as_ref() == Some(wanted),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                as_json.as_ref() == Some(wanted)
            }
        };
        if !fits {
            return Err(format!("answered `{body}`, expected {wanted}"));
        }
    }
    for part in stated["body_contains"].as_array().into_iter().flatten() {
        if !part.as_str().is_some_and(|part| body.contains(part)) {
            return Err(format!("answered `{body}` without {part}"));
        }
    }
    match stated["content_type"].as_str() {
        Some(wanted) if media_type(content_type) != media_type(wanted) => {
            Err(format!("answered {content_type}, expected {wanted}"))
        }
        _ => Ok(()),
    }
}

/// A content type without its parameters.
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Of what is rejected there is no event, and no receipt that claims to be authentic.
pub fn rejected(events: &[proto::Event], receipts: &[proto::Receipt]) -> Result<(), String> {
    match events.is_empty() && receipts.iter().all(is_unconfirmed) {
        true => Ok(()),
        false => Err(format!("kept {} events, {receipts:?}", events.len())),
    }
}

fn is_unconfirmed(receipt: &proto::Receipt) -> bool {
    matches!(receipt.state(), ReceiptState::Denied | ReceiptState::Unconfirmed)
}

/// The receipt of what is accepted: kept, readable, and unknown where the vector says so. What is answered
/// by itself, such as a challenge, need not be kept; whether what cannot be read should have been is for the
/// events to tell, where the vector states them.
pub fn receipt(vector: &Value, receipt: Option<&proto::Receipt>) -> Result<(), String> {
    let expected = vector["expected_canonical"].as_array();
    let Some(receipt) = receipt else {
        let may_be_gone = ["expected_unknown", "expected_note", "expected_fetch"]
            .iter()
            .all(|key| vector.get(key).is_none());
        return match may_be_gone && expected.is_none_or(Vec::is_empty) {
            true => Ok(()),
            false => Err("no receipt was kept".to_owned()),
        };
    };
    let state = receipt.state();
    let note = vector["expected_note"].as_str().unwrap_or_default();
    let wanted = match (vector["expected_unknown"].as_str(), note) {
        (Some(kind), _) if receipt.reason != kind => {
            return Err(format!("{state:?} `{}`, expected unknown `{kind}`", receipt.reason));
        }
        (Some(_), _) => Some(ReceiptState::Unknown),
        // Beside other records in a call, one alone has no state.
        (None, _) if expected.is_some_and(|all| !all.is_empty()) => None,
        (None, "unknown_status") => Some(ReceiptState::Unknown),
        (None, "unreadable_amount") => Some(ReceiptState::Unreadable),
        (None, _) => None,
    };
    match wanted {
        Some(wanted) if state != wanted => {
            Err(format!("{state:?} `{}`, expected {wanted:?}", receipt.reason))
        }
        None if state == ReceiptState::Unreadable && expected.is_none() => {
            Err(format!("unreadable: {}", receipt.reason))
        }
        _ => Ok(()),
    }
}

/// No event, where the vector says by a note alone that there is none.
pub fn silence(vector: &Value, events: &[proto::Event]) -> Result<(), String> {
    const SILENT: [&str; 4] = ["unknown_status", "unreadable_amount", "deleted", "ignored"];
    let note = vector["expected_note"].as_str().unwrap_or_default();
    let is_silent = SILENT.contains(&note) && vector.get("expected_canonical").is_none();
    match is_silent && !events.is_empty() {
        true => Err(format!("{} events, expected none: {note}", events.len())),
        false => Ok(()),
    }
}

/// The calls: those that the vector expects, and one at least about each object that it wants fetched.
pub fn outgoing(vector: &Value, calls: &[Asking]) -> Result<(), String> {
    for wanted in all_of(&vector["expected_outgoing"]) {
        let is_it = |call: &&Asking| {
            let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
            wanted["method"] == call.method.as_str()
                && wanted["path"] == call.path.as_str()
                && (wanted["body"].is_null() || wanted["body"] == body)
        };
        if !calls.iter().any(|call| is_it(&call)) {
            return Err(format!("expected {wanted} among {calls:?}"));
        }
    }
    for wanted in all_of(&vector["expected_fetch"]) {
        let id = wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned);
        let names = |call: &&Asking| {
            let path = percent_decoded(&call.path);
            path.contains(&id) || String::from_utf8_lossy(&call.body).contains(&id)
        };
        if !calls.iter().any(|call| names(&call)) {
            return Err(format!("`{id}` was not fetched: {calls:?}"));
        }
    }
    Ok(())
}

/// The items of a list; of nothing none, and anything else is the only item.
fn all_of(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        Value::Array(all) => all,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            std::slice::from_ref(value)
        }
    }
}

/// The events, in order.
pub fn canonical(
    vector: &Value,
    events: &[proto::Event],
    receipt: Option<&proto::Receipt>,
) -> Result<(), String> {
    let Some(expected) = vector["expected_canonical"].as_array() else { return Ok(()) };
    let seen: Vec<Seen> = events.iter().map(Seen::of).collect::<Result<_, _>>()?;
    if expected.len() != seen.len() {
        let (state, reason) = receipt.map(|one| (one.state(), &*one.reason)).unwrap_or_default();
        let events = seen.len();
        let expected = expected.len();
        return Err(format!("{events} events, expected {expected}: {seen:?} {state:?} {reason}"));
    }
    for ((expected, seen), event) in expected.iter().zip(&seen).zip(events) {
        seen.fits(expected)?;
        let record = expected["record_id"].as_str().unwrap_or_default();
        if !format!("{event:?}").contains(record) {
            return Err(format!("record `{record}` is not named in {event:?}"));
        }
    }
    Ok(())
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
                    "PARTIALLY_PAID" => fact.paid.as_ref().or(fact.total.as_ref()),
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
            word: word.to_owned(),
            amount_minor: amount.map(|money| money.minor_units.abs()),
            total_minor: match fact {
                Fact::Invoice(fact) => fact.total.as_ref().map(|money| money.minor_units),
                _ => None,
            },
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
        if is_stated(expected, "amount_minor") {
            let total = self.total_minor.map_or(Value::Null, Value::from);
            one_of(expected, "amount_minor", &amount, self).or_else(|wrong| {
                one_of(expected, "amount_minor", &total, self).map_err(|_| wrong)
            })?;
        }
        // A currency without an amount is nothing that an event could tell.
        if is_stated(expected, "currency") && self.amount_minor.is_some() {
            one_of(expected, "currency", &currency, self)?;
        }
        // Where the provider gives no id, any made one will do.
        if is_stated(expected, "payment_id") {
            one_of(expected, "payment_id", &text(&self.payment_id), self)?;
        }
        if expected["direction"].is_string() {
            one_of(expected, "direction", &text(self.direction), self)?;
        }
        match expected["event_id"].as_str() {
            Some(_) => one_of(expected, "event_id", &text(&self.event_id), self),
            None if self.event_id.is_empty() => Err("no event id".to_owned()),
            None => Ok(()),
        }
    }

    /// A dispute that is lost may be called by either word, and so may what cannot be collected.
    fn status_fits(&self, expected: &Value) -> Result<(), String> {
        let fits = |word: &str| one_of(expected, "status", &Value::from(word), self);
        let as_stated = fits(&self.status).or_else(|wrong| fits(&self.word).map_err(|_| wrong));
        match self.word.as_str() {
            "CHARGED_BACK" => as_stated.or_else(|_| fits("DISPUTED")),
            "UNCOLLECTIBLE" => as_stated.or_else(|_| fits("FAILED")),
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
    let values = any_of.as_array();
    let fits = match (expected.get(field), values) {
        (None, None) => true,
        (stated, values) => {
            stated == Some(seen) || values.is_some_and(|values| values.contains(seen))
        }
    };
    match fits {
        true => Ok(()),
        false => {
            let stated = &expected[field];
            Err(format!("{field} is {seen}, expected {stated} {any_of} in {whole:?}"))
        }
    }
}

/// Whether the vector says what a field is.
fn is_stated(expected: &Value, field: &str) -> bool {
    match expected.get(field) {
        Some(stated) => !stated.is_null(),
        None => expected[format!("{field}_any_of")].is_array(),
    }
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
