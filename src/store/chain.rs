//! The hash chain (P9): what of an event enters its digest, how digests are linked, and how a stored
//! chain is checked. It depends on no engine and on no wire format, so that whoever holds an event can
//! compute its hash again. It must never change what it computes for an event that is already stored: a
//! new field of an event is a new row at the end of a table, left out where it is empty.
//!
//! The chain: `hash = SHA-256(previous hash ‖ sequence as 8 bytes, big endian ‖ digest)`; the hash before
//! the first event is 32 zero bytes. The digest is the SHA-256 of the event's canonical encoding: its
//! fields in the order of this table, those with an empty or absent value left out, each as
//!
//! `length of the name (1 byte) ‖ name ‖ length of the value (4 bytes, big endian) ‖ value`
//!
//! | name | value |
//! |---|---|
//! | `endpoint` | `stripe/acme-eu` |
//! | `provider_event_id` | text |
//! | `provider_event_type` | text |
//! | `occurred_at` | time |
//! | `received_at` | time |
//! | `subject` | the resource name, `payments/stripe/acme-eu/pi_123` |
//! | `references.payment` | text |
//! | `references.invoice` | text |
//! | `references.invoice_number` | text |
//! | `references.order` | text |
//! | `live` | `true`, left out for test events |
//! | `receipt` | `receipts/7` |
//! | `receipt_digest` | 64 lower-case hex digits |
//! | `change.previous` | status |
//! | `change.current` | status |
//! | `change.superseded` | `true`, left out otherwise |
//! | `status` | status, as the event reports it |
//! | `amount` | money: of a payment, bank transaction or customer action |
//! | `total` | money: of a payment or invoice |
//! | `paid` | money: of a payment or invoice |
//! | `refunded` | money: of a payment or invoice |
//! | `disputed` | money: of a payment |
//! | `fee` | money: of a payment |
//! | `balance` | money: of an invoice |
//! | `due_date` | `2026-12-31` |
//! | `failure_code` | text |
//! | `method` | text |
//! | `refund` | text |
//! | `dispute` | text |
//! | `commitment` | 64 lower-case hex digits |
//!
//! A text is UTF-8. A time is RFC 3339 in UTC with six digits of a second, cut and not rounded:
//! `2026-01-31T12:00:00.000000Z`. A status is its short word, `PAID`. Money is its minor units in decimal,
//! a space and the currency's code: `1250 EUR`.
//!
//! Personal fields enter through the commitment alone: HMAC-SHA256, keyed with the event's 16 bytes of
//! salt, of the same encoding of these fields. Once the salt is erased nobody can test a guess of them
//! against the chain, and the chain still holds.
//!
//! | name | value |
//! |---|---|
//! | `references.customer` | text |
//! | `references.customer_name` | text |
//! | `references.email` | text |
//! | `references.metadata.key`, `references.metadata.value` | text; a pair for each entry in the byte order of the keys, never left out |
//! | `failure_message` | text |
//! | `counterparty` | text |
//! | `remittance` | text |
//! | `detail` | text |

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{ChainEntry, Codec};
use crate::model::{Event, Money, Report, Sequence};

/// The hash before the first event.
pub const BEGINNING: (Sequence, [u8; 32]) = (Sequence(0), [0; 32]);

/// How a stored event does not fit the chain.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Break {
    /// A sequence is missing or stands twice.
    #[error("sequence {expected} is missing: {found} stands in its place")]
    Gap {
        /// What should have come.
        expected: Sequence,
        /// What came.
        found: Sequence,
    },
    /// Its bytes are no event.
    #[error("event {sequence} is unreadable: {reason}")]
    Unreadable {
        /// Which.
        sequence: Sequence,
        /// What is wrong with the bytes.
        reason: String,
    },
    /// Its personal fields are not those that were committed to.
    #[error("the personal fields of event {sequence} were changed")]
    Personal {
        /// Which.
        sequence: Sequence,
    },
    /// It carries another hash than is kept beside it.
    #[error("the hash of event {sequence} was changed")]
    Hash {
        /// Which.
        sequence: Sequence,
    },
    /// Its hash does not follow from its content and the hash before it.
    #[error("event {sequence} was changed, or does not follow the one before it")]
    Event {
        /// Which.
        sequence: Sequence,
    },
}

/// The digest of an event: all but its place, its hash and its personal fields, for which the
/// commitment stands.
pub fn digest(event: &Event, commitment: &[u8; 32]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    public_fields(event, commitment, &mut |bytes| hasher.update(bytes));
    hasher.finalize().into()
}

/// The commitment to an event's personal fields.
pub fn commitment(event: &Event, salt: &[u8; 16]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt).expect("an HMAC key may have any length");
    personal_fields(event, &mut |bytes| mac.update(bytes));
    mac.finalize().into_bytes().into()
}

/// The hash at a sequence.
pub fn link(previous: &[u8; 32], sequence: Sequence, digest: &[u8; 32]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(sequence.0.to_be_bytes());
    hasher.update(digest);
    hasher.finalize().into()
}

/// Checks that a stored event follows `previous`, the sequence and hash before it, and moves that on.
pub fn check(
    codec: Codec,
    previous: &mut (Sequence, [u8; 32]),
    entry: &ChainEntry,
) -> Result<(), Break> {
    let sequence = entry.logged.sequence;
    if sequence != previous.0.next() {
        return Err(Break::Gap { expected: previous.0.next(), found: sequence });
    }
    let event = (codec.decode)(&entry.logged.encoded)
        .map_err(|error| Break::Unreadable { sequence, reason: error.0 })?;
    if entry.salt.is_some_and(|salt| commitment(&event, &salt) != entry.commitment) {
        return Err(Break::Personal { sequence });
    }
    if event.hash != entry.hash {
        return Err(Break::Hash { sequence });
    }
    let expected = link(&previous.1, sequence, &digest(&event, &entry.commitment));
    let in_place = event.sequence == sequence && event.live == entry.logged.live;
    if event.hash != expected || !in_place {
        return Err(Break::Event { sequence });
    }
    *previous = (sequence, event.hash);
    Ok(())
}

fn public_fields(event: &Event, commitment: &[u8; 32], sink: &mut dyn FnMut(&[u8])) {
    let mut fields = Fields { sink };
    fields.text("endpoint", event.endpoint.as_str());
    fields.text("provider_event_id", &event.event_id);
    fields.text("provider_event_type", &event.event_type);
    fields.text("occurred_at", &format!("{:.6}", event.occurred_at));
    fields.text("received_at", &format!("{:.6}", event.received_at));
    fields.text("subject", &event.subject.to_string());
    fields.text("references.payment", &event.references.payment);
    fields.text("references.invoice", &event.references.invoice);
    fields.text("references.invoice_number", &event.references.invoice_number);
    fields.text("references.order", &event.references.order);
    fields.flag("live", event.live);
    if let Some(receipt) = &event.receipt {
        fields.text("receipt", &receipt.number.to_string());
        fields.text("receipt_digest", &hex::encode(receipt.digest));
    }
    fields.text("change.previous", event.change.previous.map_or("", |status| status.word()));
    fields.text("change.current", event.change.current.word());
    fields.flag("change.superseded", event.change.superseded);
    fields.text("status", event.report.status().word());
    report_fields(&event.report, &mut fields);
    fields.text("commitment", &hex::encode(commitment));
}

fn report_fields(report: &Report, fields: &mut Fields<'_>) {
    match report {
        Report::Payment(report) => {
            fields.money("amount", report.amount);
            fields.money("total", report.amounts.total);
            fields.money("paid", report.amounts.paid);
            fields.money("refunded", report.amounts.refunded);
            fields.money("disputed", report.amounts.disputed);
            fields.money("fee", report.amounts.fee);
            fields.text("failure_code", &report.failure_code);
            fields.text("method", &report.method);
            fields.text("refund", &report.refund);
            fields.text("dispute", &report.dispute);
        }
        Report::Invoice(fact) => {
            fields.money("total", fact.total);
            fields.money("paid", fact.paid);
            fields.money("refunded", fact.refunded);
            fields.money("balance", fact.balance);
            fields
                .text("due_date", &fact.due_date.map(|date| date.to_string()).unwrap_or_default());
        }
        Report::BankTransaction(fact) => {
            fields.money("amount", fact.amount);
            fields.text("failure_code", &fact.failure_code);
        }
        Report::CustomerAction(fact) => fields.money("amount", fact.amount),
    }
}

fn personal_fields(event: &Event, sink: &mut dyn FnMut(&[u8])) {
    let mut fields = Fields { sink };
    fields.text("references.customer", &event.references.customer);
    fields.text("references.customer_name", &event.references.customer_name);
    fields.text("references.email", &event.references.email);
    for (key, value) in &event.references.metadata {
        fields.always("references.metadata.key", key);
        fields.always("references.metadata.value", value);
    }
    match &event.report {
        Report::Payment(report) => fields.text("failure_message", &report.failure_message),
        Report::Invoice(_) => {}
        Report::BankTransaction(fact) => {
            fields.text("failure_message", &fact.failure_message);
            fields.text("counterparty", &fact.counterparty);
            fields.text("remittance", &fact.remittance);
        }
        Report::CustomerAction(fact) => fields.text("detail", &fact.detail),
    }
}

/// Writes fields in the canonical encoding.
struct Fields<'a> {
    sink: &'a mut dyn FnMut(&[u8]),
}

impl Fields<'_> {
    fn text(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.always(name, value);
        }
    }

    fn flag(&mut self, name: &'static str, value: bool) {
        if value {
            self.always(name, "true");
        }
    }

    fn money(&mut self, name: &'static str, value: Option<Money>) {
        if let Some(money) = value {
            self.always(name, &format!("{} {}", money.minor_units, money.currency.code()));
        }
    }

    fn always(&mut self, name: &'static str, value: &str) {
        let name_bytes = u8::try_from(name.len()).expect("field names are short");
        let value_bytes = u32::try_from(value.len()).expect("an event is smaller than 4 GiB");
        (self.sink)(&[name_bytes]);
        (self.sink)(name.as_bytes());
        (self.sink)(&value_bytes.to_be_bytes());
        (self.sink)(value.as_bytes());
    }
}
