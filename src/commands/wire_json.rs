//! Messages of the wire as JSON, in the form that Protocol Buffers give them: names in camelCase, 64-bit
//! numbers as texts, enums by their names, times in RFC 3339, bytes in base64, and nothing where a field
//! has its default. What grpcurl prints and what `--json` prints read the same.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use tollgate_client::proto::event::Fact;
use tollgate_client::proto::{
    Attempt, Backlog, DeadLetter, DeliverySettings, Event, Filter, Money, PaymentAmounts, Receipt,
    References, Subscription, Token,
};

use super::wire_text::{duration, time};

/// An event.
pub fn event(event: &Event) -> Value {
    let mut object = Object::default();
    object.text("name", &event.name);
    object.number("sequence", event.sequence);
    object.text("provider", &event.provider);
    object.text("endpoint", &event.endpoint);
    object.text("providerEventId", &event.provider_event_id);
    object.text("providerEventType", &event.provider_event_type);
    object.some("occurredAt", event.occurred_at.map(|at| time(at.seconds, at.nanos).into()));
    object.some("receivedAt", event.received_at.map(|at| time(at.seconds, at.nanos).into()));
    object.text("subject", &event.subject);
    object.some("references", event.references.as_ref().map(references));
    object.flag("live", event.live);
    object.text("hash", &event.hash);
    object.text("receipt", &event.receipt);
    object.text("receiptDigest", &event.receipt_digest);
    if let Some(change) = &event.change {
        let mut inner = Object::default();
        inner.text("previous", &change.previous);
        inner.text("current", &change.current);
        inner.word("headline", change.headline, change.headline().as_str_name());
        inner.flag("superseded", change.superseded);
        object.put("change", inner.into());
    }
    if let Some(fact) = &event.fact {
        let (name, fact) = self::fact(fact);
        object.put(name, fact);
    }
    object.into()
}

fn fact(fact: &Fact) -> (&'static str, Value) {
    let mut object = Object::default();
    let name = match fact {
        Fact::Payment(fact) => {
            object.word("status", fact.status, fact.status().as_str_name());
            object.some("amounts", fact.amounts.as_ref().map(amounts));
            object.some("amount", fact.amount.as_ref().map(money));
            object.text("failureCode", &fact.failure_code);
            object.text("failureMessage", &fact.failure_message);
            object.text("method", &fact.method);
            object.text("refund", &fact.refund);
            object.text("dispute", &fact.dispute);
            "payment"
        }
        Fact::Invoice(fact) => {
            object.word("status", fact.status, fact.status().as_str_name());
            object.some("total", fact.total.as_ref().map(money));
            object.some("paid", fact.paid.as_ref().map(money));
            object.some("balance", fact.balance.as_ref().map(money));
            object.some("refunded", fact.refunded.as_ref().map(money));
            object.text("dueDate", &fact.due_date);
            "invoice"
        }
        Fact::BankTransaction(fact) => {
            object.word("status", fact.status, fact.status().as_str_name());
            object.some("amount", fact.amount.as_ref().map(money));
            object.text("counterparty", &fact.counterparty);
            object.text("remittance", &fact.remittance);
            object.text("failureCode", &fact.failure_code);
            object.text("failureMessage", &fact.failure_message);
            "bankTransaction"
        }
        Fact::CustomerAction(fact) => {
            object.word("action", fact.action, fact.action().as_str_name());
            object.some("amount", fact.amount.as_ref().map(money));
            object.text("detail", &fact.detail);
            "customerAction"
        }
    };
    (name, object.into())
}

fn references(references: &References) -> Value {
    let mut object = Object::default();
    object.text("payment", &references.payment);
    object.text("invoice", &references.invoice);
    object.text("invoiceNumber", &references.invoice_number);
    object.text("order", &references.order);
    object.text("customer", &references.customer);
    object.text("customerName", &references.customer_name);
    object.text("email", &references.email);
    object.map("metadata", &references.metadata);
    object.into()
}

fn amounts(amounts: &PaymentAmounts) -> Value {
    let mut object = Object::default();
    object.some("total", amounts.total.as_ref().map(money));
    object.some("paid", amounts.paid.as_ref().map(money));
    object.some("refunded", amounts.refunded.as_ref().map(money));
    object.some("disputed", amounts.disputed.as_ref().map(money));
    object.some("fee", amounts.fee.as_ref().map(money));
    object.into()
}

fn money(money: &Money) -> Value {
    let mut object = Object::default();
    object.number("minorUnits", money.minor_units);
    object.text("currency", &money.currency);
    object.into()
}

/// A subscription.
pub fn subscription(subscription: &Subscription) -> Value {
    let mut object = Object::default();
    object.text("name", &subscription.name);
    object.some("filter", subscription.filter.as_ref().map(filter));
    object.some("settings", subscription.settings.as_ref().map(settings));
    object.flag("paused", subscription.paused);
    object.number("position", subscription.position);
    object.number("head", subscription.head);
    object.text("logEpoch", &subscription.log_epoch);
    object.some("backlog", subscription.backlog.as_ref().map(backlog));
    object.small("outstanding", subscription.outstanding);
    object.number("heldBack", subscription.held_back);
    object.number("deadLetters", subscription.dead_letters);
    object.some("createdAt", subscription.created_at.map(|at| time(at.seconds, at.nanos).into()));
    object.into()
}

fn filter(filter: &Filter) -> Value {
    let mut object = Object::default();
    object.list("providers", filter.providers.iter().map(String::as_str));
    object.list("endpoints", filter.endpoints.iter().map(String::as_str));
    object.list("kinds", filter.kinds().map(|kind| kind.as_str_name()));
    object.list("statuses", filter.statuses.iter().map(String::as_str));
    object.list("headlines", filter.headlines().map(|headline| headline.as_str_name()));
    object.flag("changesOnly", filter.changes_only);
    object.word("liveMode", filter.live_mode, filter.live_mode().as_str_name());
    object.list("currencies", filter.currencies.iter().map(String::as_str));
    object.some("minimumAmount", filter.minimum_amount.as_ref().map(money));
    object.list("subjects", filter.subjects.iter().map(String::as_str));
    object.map("metadata", &filter.metadata);
    object.into()
}

fn settings(settings: &DeliverySettings) -> Value {
    let mut object = Object::default();
    let seconds = |time: Option<_>| time.map(|(seconds, nanos)| duration(seconds, nanos).into());
    object.some("ackDeadline", seconds(settings.ack_deadline.map(|at| (at.seconds, at.nanos))));
    object.small("maxOutstanding", settings.max_outstanding);
    object.small("maxOutstandingBytes", settings.max_outstanding_bytes);
    object.small("maxAttempts", settings.max_attempts);
    object.some("minBackoff", seconds(settings.min_backoff.map(|at| (at.seconds, at.nanos))));
    object.some("maxBackoff", seconds(settings.max_backoff.map(|at| (at.seconds, at.nanos))));
    object.flag("unordered", settings.unordered);
    object.into()
}

fn backlog(backlog: &Backlog) -> Value {
    let mut object = Object::default();
    object.number("events", backlog.events);
    object.number("subjects", backlog.subjects);
    object.some("oldestAge", backlog.oldest_age.map(|age| duration(age.seconds, age.nanos).into()));
    if !backlog.amounts.is_empty() {
        object.put("amounts", backlog.amounts.iter().map(money).collect());
    }
    object.flag("exact", backlog.exact);
    object.into()
}

/// A dead letter.
pub fn dead_letter(letter: &DeadLetter) -> Value {
    let mut object = Object::default();
    object.text("name", &letter.name);
    object.some("event", letter.event.as_ref().map(event));
    object.text("reason", &letter.reason);
    if !letter.attempts.is_empty() {
        object.put("attempts", letter.attempts.iter().map(attempt).collect());
    }
    object.some("deadAt", letter.dead_at.map(|at| time(at.seconds, at.nanos).into()));
    object.flag("replaying", letter.replaying);
    object.into()
}

fn attempt(attempt: &Attempt) -> Value {
    let mut object = Object::default();
    object.some("endedAt", attempt.ended_at.map(|at| time(at.seconds, at.nanos).into()));
    object.text("consumer", &attempt.consumer);
    object.text("reason", &attempt.reason);
    object.into()
}

/// A receipt, with the raw request if it has it.
pub fn receipt(receipt: &Receipt) -> Value {
    let mut object = Object::default();
    object.text("name", &receipt.name);
    object.text("endpoint", &receipt.endpoint);
    object.some("receivedAt", receipt.received_at.map(|at| time(at.seconds, at.nanos).into()));
    object.word("state", receipt.state, receipt.state().as_str_name());
    object.text("reason", &receipt.reason);
    object.text("digest", &receipt.digest);
    object.text("verifiedBy", &receipt.verified_by);
    object.list("events", receipt.events.iter().map(String::as_str));
    object.small("duplicates", receipt.duplicates);
    object.number("bodyBytes", receipt.body_bytes);
    if let Some(raw) = &receipt.raw {
        let mut inner = Object::default();
        inner.text("method", &raw.method);
        inner.text("path", &raw.path);
        let headers = raw.headers.iter().map(|header| {
            let mut pair = Object::default();
            pair.text("name", &header.name);
            pair.text("value", &header.value);
            Value::from(pair)
        });
        inner.put("headers", headers.collect());
        inner.text("body", &BASE64.encode(&raw.body));
        object.put("raw", inner.into());
    }
    object.into()
}

/// A token, which never has its text.
pub fn token(token: &Token) -> Value {
    let mut object = Object::default();
    object.text("id", &token.id);
    object.text("description", &token.description);
    object.list("scopes", token.scopes.iter().map(String::as_str));
    object.some("createdAt", token.created_at.map(|at| time(at.seconds, at.nanos).into()));
    object.some("expiresAt", token.expires_at.map(|at| time(at.seconds, at.nanos).into()));
    object.some("revokedAt", token.revoked_at.map(|at| time(at.seconds, at.nanos).into()));
    object.into()
}

/// A JSON object that leaves defaults out.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    fn some(&mut self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.put(name, value.into());
        }
    }

    fn number(&mut self, name: &str, value: i64) {
        if value != 0 {
            self.put(name, value.to_string().into());
        }
    }

    fn small(&mut self, name: &str, value: i32) {
        if value != 0 {
            self.put(name, value.into());
        }
    }

    fn flag(&mut self, name: &str, value: bool) {
        if value {
            self.put(name, true.into());
        }
    }

    fn word(&mut self, name: &str, number: i32, word: &str) {
        if number != 0 {
            self.put(name, word.into());
        }
    }

    fn list<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a str>) {
        let values: Vec<Value> = values.map(Value::from).collect();
        if !values.is_empty() {
            self.put(name, values.into());
        }
    }

    fn map<'a>(&mut self, name: &str, pairs: impl IntoIterator<Item = (&'a String, &'a String)>) {
        let pairs: Map<String, Value> = pairs
            .into_iter()
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
            .collect();
        if !pairs.is_empty() {
            self.put(name, pairs.into());
        }
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Value {
        Value::Object(object.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_client::proto::{Change, Headline, PaymentEvent, PaymentStatus};

    #[test]
    fn an_event_reads_as_protocol_buffers_write_it() {
        let paid = Money { minor_units: 1250, currency: "EUR".to_owned() };
        let given = Event {
            name: "events/7".to_owned(),
            sequence: 7,
            subject: "payments/stripe/main/pi_1".to_owned(),
            change: Some(Change {
                current: "PAID".to_owned(),
                headline: Headline::Paid.into(),
                ..Change::default()
            }),
            fact: Some(Fact::Payment(PaymentEvent {
                status: PaymentStatus::Paid.into(),
                amounts: Some(PaymentAmounts { paid: Some(paid), ..PaymentAmounts::default() }),
                ..PaymentEvent::default()
            })),
            ..Event::default()
        };
        let expected = serde_json::json!({
            "name": "events/7",
            "sequence": "7",
            "subject": "payments/stripe/main/pi_1",
            "change": { "current": "PAID", "headline": "HEADLINE_PAID" },
            "payment": {
                "status": "PAYMENT_STATUS_PAID",
                "amounts": { "paid": { "minorUnits": "1250", "currency": "EUR" } },
            },
        });
        assert_eq!(event(&given), expected);
    }
}
