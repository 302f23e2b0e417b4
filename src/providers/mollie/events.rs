//! Mollie's next-generation events: an envelope, and an object that it holds or that was fetched, come in;
//! a draft goes out. The event's type says what happened, the object how much. Sales invoices and
//! disputes are read here.

use jiff::civil::Date;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{
    Dispute, DisputeState, Draft, Fact, InvoiceFact, InvoiceStatus, Money, PaymentFact,
    PaymentStatus, References,
};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Scalars, Text};

use super::facts::{EVENTS, Meaning};
use super::payments::CHARGEBACKS;
use super::{Amount, Found, Origin, Told, latest, money, movements, orders, required, time};

/// An event as it is sent and as `GET /v2/events/{id}` has it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow, rename = "type")]
    pub(super) event_type: Text<'a>,
    #[serde(borrow, rename = "entityId")]
    entity_id: Text<'a>,
    #[serde(borrow, rename = "createdAt")]
    created_at: Text<'a>,
    #[serde(borrow, rename = "_embedded")]
    embedded: Option<Embedded<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Embedded<'a> {
    #[serde(borrow)]
    entity: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// What it tells beside its object.
    pub(super) fn event(&self) -> Result<Told, TranslateError> {
        if self.id.is_empty() {
            return Err(TranslateError("the event has no id".to_owned()));
        }
        Ok(Told {
            id: self.id.to_string(),
            event_type: self.event_type.to_string(),
            entity_id: self.entity_id.to_string(),
            created_at: time(&self.created_at)?,
        })
    }

    /// The object, where it is sent along.
    pub(super) fn entity(&self) -> Option<&'a RawValue> {
        self.embedded.as_ref()?.entity.filter(|entity| entity.get().starts_with('{'))
    }
}

/// The draft of an event whose object was fetched: by itself, or in the event's copy.
pub(super) fn fetched(
    origin: &Origin<'_>,
    event: &Told,
    collection: &str,
    body: &[u8],
) -> Result<Draft, TranslateError> {
    let row = EVENTS.iter().find(|(name, _)| *name == event.event_type);
    let (_, meaning) = row.ok_or_else(|| payload::unknown("event type", &event.event_type))?;
    if collection != "events" {
        return draft(origin, *meaning, event, body);
    }
    let copy: Envelope<'_> = serde_json::from_slice(body)
        .map_err(|error| payload::unreadable("a Mollie event", &error))?;
    let entity = copy.entity();
    let entity = entity.ok_or_else(|| TranslateError("the event has no object".to_owned()))?;
    draft(origin, *meaning, event, entity.get().as_bytes())
}

/// The draft of an event with its object.
pub(super) fn draft(
    origin: &Origin<'_>,
    meaning: Meaning,
    event: &Told,
    entity: &[u8],
) -> Result<Draft, TranslateError> {
    match meaning {
        Meaning::LinkPaid => orders::link(origin, entity),
        Meaning::Invoice(status) => invoice(origin, Some(status), entity),
        Meaning::Dispute { resolved } => dispute(origin, event, resolved, entity),
        Meaning::Bank(status, direction) => {
            movements::movement(origin, event, (status, direction), entity)
        }
        Meaning::Silent => Err(payload::unknown("event type", &event.event_type)),
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Invoice<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    mode: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    invoice_number: Text<'a>,
    #[serde(borrow)]
    total_amount: Option<Amount<'a>>,
    #[serde(borrow)]
    amount_due: Option<Amount<'a>>,
    #[serde(borrow)]
    recipient_identifier: Text<'a>,
    #[serde(borrow)]
    recipient: Option<Recipient<'a>>,
    metadata: Scalars,
    #[serde(borrow)]
    created_at: Text<'a>,
    #[serde(borrow)]
    issued_at: Text<'a>,
    #[serde(borrow)]
    paid_at: Text<'a>,
    #[serde(borrow)]
    due_at: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Recipient<'a> {
    #[serde(borrow)]
    email: Text<'a>,
    #[serde(borrow)]
    organization_name: Text<'a>,
    #[serde(borrow)]
    given_name: Text<'a>,
    #[serde(borrow)]
    family_name: Text<'a>,
}

/// The draft of a sales invoice. Without an event to say what happened, its own status does.
pub(super) fn invoice(
    origin: &Origin<'_>,
    happened: Option<InvoiceStatus>,
    body: &[u8],
) -> Result<Draft, TranslateError> {
    let invoice: Invoice<'_> = serde_json::from_slice(body)
        .map_err(|error| payload::unreadable("a Mollie sales invoice", &error))?;
    let own = match &*invoice.status {
        "draft" => Some(InvoiceStatus::Draft),
        "issued" => Some(InvoiceStatus::Open),
        "paid" => Some(InvoiceStatus::Paid),
        "canceled" => Some(InvoiceStatus::Void),
        _other => None,
    };
    let status = match (happened, own) {
        // One that is created may be issued at once.
        (Some(InvoiceStatus::Draft), Some(InvoiceStatus::Open)) => InvoiceStatus::Open,
        (Some(status), _) | (None, Some(status)) => status,
        (None, None) => return Err(payload::unknown("sales invoice status", &invoice.status)),
    };
    let (name, rank) = match status {
        InvoiceStatus::Draft => ("created", 10),
        InvoiceStatus::Paid
        | InvoiceStatus::PartiallyRefunded
        | InvoiceStatus::Refunded
        | InvoiceStatus::Disputed => ("paid", 30),
        InvoiceStatus::Void | InvoiceStatus::Uncollectible => ("canceled", 40),
        InvoiceStatus::Open
        | InvoiceStatus::PartiallyPaid
        | InvoiceStatus::Overdue
        | InvoiceStatus::PaymentFailed => ("issued", 20),
    };
    let total = required(invoice.total_amount.as_ref(), "the sales invoice")?;
    let balance = money(invoice.amount_due.as_ref())?.filter(|due| due.currency == total.currency);
    let paid = balance.and_then(|due| {
        let minor_units = total.minor_units.checked_sub(due.minor_units)?;
        (minor_units > 0).then_some(Money { minor_units, ..total })
    });
    let at = latest(&[&invoice.created_at, &invoice.issued_at, &invoice.paid_at])?;
    origin.draft(Found {
        id: &invoice.id,
        state: format!("sales-invoice.{name}"),
        digest: vec![name.to_owned(), balance.map_or(0, |due| due.minor_units).to_string()],
        at: at.unwrap_or(origin.received_at),
        rank,
        live: &*invoice.mode != "test",
        references: invoice.references(),
        fact: Fact::Invoice(InvoiceFact {
            status,
            total: Some(total),
            paid: if status == InvoiceStatus::Paid { Some(total) } else { paid },
            balance,
            refunded: None,
            due_date: due_date(&invoice.due_at)?,
        }),
    })
}

impl Invoice<'_> {
    fn references(&self) -> References {
        let none = Recipient::default();
        let recipient = self.recipient.as_ref().unwrap_or(&none);
        let person = format!("{} {}", &*recipient.given_name, &*recipient.family_name);
        References {
            invoice: self.id.to_string(),
            invoice_number: self.invoice_number.to_string(),
            customer: self.recipient_identifier.to_string(),
            customer_name: payload::first(&[&recipient.organization_name, person.trim()]),
            email: recipient.email.to_string(),
            metadata: self.metadata.0.clone(),
            ..References::default()
        }
    }
}

/// A day, or a moment of that day.
fn due_date(text: &str) -> Result<Option<Date>, TranslateError> {
    if text.is_empty() {
        return Ok(None);
    }
    let day = text.split('T').next().unwrap_or_default();
    day.parse().map(Some).map_err(|_| payload::not_a("a date", text))
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct DisputeObject<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    mode: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    outcome: Text<'a>,
    #[serde(borrow)]
    amount: Option<Amount<'a>>,
    #[serde(borrow)]
    payment_id: Text<'a>,
    #[serde(borrow)]
    reason: Text<'a>,
    #[serde(borrow, rename = "_links")]
    links: Option<Links<'a>>,
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

fn dispute(
    origin: &Origin<'_>,
    event: &Told,
    resolved: bool,
    entity: &[u8],
) -> Result<Draft, TranslateError> {
    let dispute: DisputeObject<'_> = serde_json::from_slice(entity)
        .map_err(|error| payload::unreadable("a Mollie dispute", &error))?;
    let (state, rank) = match resolved {
        false => (DisputeState::Open, 150),
        true => (outcome(&payload::first(&[&dispute.outcome, &dispute.status]))?, 160),
    };
    let status = match state {
        DisputeState::Open => PaymentStatus::Disputed,
        DisputeState::Won => PaymentStatus::Paid,
        DisputeState::Lost => PaymentStatus::ChargedBack,
    };
    let href = dispute.links.as_ref().and_then(|links| links.payment.as_ref());
    let linked = href.map_or("", |link| link.href.rsplit('/').next().unwrap_or_default());
    let linked = linked.split('?').next().unwrap_or_default();
    let id = payload::first(&[&dispute.id, &event.entity_id]);
    // The dispute stands for its payment where it does not name it.
    let payment = payload::first(&[&dispute.payment_id, linked, &id]);
    let amount = money(dispute.amount.as_ref())?;
    let mut references = References { payment: payment.clone(), ..References::default() };
    references.metadata.insert("dispute".to_owned(), id);
    origin.draft(Found {
        id: &payment,
        state: event.event_type.clone(),
        digest: Vec::new(),
        at: event.created_at,
        rank,
        live: &*dispute.mode != "test",
        references,
        fact: Fact::Payment(PaymentFact {
            status: Some(status),
            amount,
            dispute: Some(Dispute { id: CHARGEBACKS.to_owned(), amount, state }),
            failure_code: match state {
                DisputeState::Open | DisputeState::Lost => dispute.reason.to_string(),
                DisputeState::Won => String::new(),
            },
            ..PaymentFact::default()
        }),
    })
}

/// How a dispute ended. A word that is not known is no guess.
fn outcome(word: &str) -> Result<DisputeState, TranslateError> {
    match word {
        "won" | "reversed" | "withdrawn" => Ok(DisputeState::Won),
        "lost" | "accepted" | "expired" => Ok(DisputeState::Lost),
        other => Err(payload::unknown("dispute outcome", other)),
    }
}
