//! PayPal's webhook events: the envelope of an authentic body comes in, drafts go out, at once or after the
//! fetches that make them certain. With API credentials the event is read anew from PayPal and known by its
//! own id; without them it is known by its transmission, which is all that the signature really covers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::{
    CustomerAction, DisputeState, Draft, EndpointName, EntryState, Fact, Money, PaymentStatus,
    References,
};
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{Answer, Endpoint, Fetch, Fetching, Step, TranslateError, Translation};
use crate::receipt::Receipt;

use super::{Told, api, disputes, invoices, payments, refunds, webhook};

/// What an event type says.
#[derive(Clone, Copy)]
pub(super) enum Meaning {
    Order(CustomerAction),
    Collected(PaymentStatus),
    Refund(EntryState),
    Reversed,
    Dispute(DisputeState),
    Invoice,
    SubscriptionPaymentFailed,
}

/// The types, each with the rank of its evidence: the further in a life, the higher.
#[rustfmt::skip]
pub(super) const EVENTS: [(&str, u8, Meaning); 29] = [
    ("CHECKOUT.ORDER.APPROVED", 10, Meaning::Order(CustomerAction::RequestAccepted)),
    ("CHECKOUT.PAYMENT-APPROVAL.REVERSED", 20, Meaning::Order(CustomerAction::CheckoutExpired)),
    ("CHECKOUT.ORDER.COMPLETED", 30, Meaning::Order(CustomerAction::CheckoutCompleted)),
    ("PAYMENT.CAPTURE.PENDING", payments::PENDING_RANK, Meaning::Collected(PaymentStatus::Pending)),
    ("PAYMENT.SALE.PENDING", payments::PENDING_RANK, Meaning::Collected(PaymentStatus::Pending)),
    ("BILLING.SUBSCRIPTION.PAYMENT.FAILED", payments::FAILED_RANK, Meaning::SubscriptionPaymentFailed),
    ("PAYMENT.CAPTURE.DECLINED", payments::FAILED_RANK, Meaning::Collected(PaymentStatus::Failed)),
    ("PAYMENT.CAPTURE.DENIED", payments::FAILED_RANK, Meaning::Collected(PaymentStatus::Failed)),
    ("PAYMENT.SALE.DENIED", payments::FAILED_RANK, Meaning::Collected(PaymentStatus::Failed)),
    ("PAYMENT.AUTHORIZATION.CREATED", payments::AUTHORIZED_RANK, Meaning::Collected(PaymentStatus::Authorized)),
    ("PAYMENT.AUTHORIZATION.VOIDED", payments::CANCELED_RANK, Meaning::Collected(PaymentStatus::Canceled)),
    ("PAYMENT.CAPTURE.COMPLETED", payments::PAID_RANK, Meaning::Collected(PaymentStatus::Paid)),
    ("PAYMENT.SALE.COMPLETED", payments::PAID_RANK, Meaning::Collected(PaymentStatus::Paid)),
    ("PAYMENT.REFUND.PENDING", payments::REFUND_RANK, Meaning::Refund(EntryState::Pending)),
    ("PAYMENT.CAPTURE.REFUNDED", payments::REFUND_RANK + 1, Meaning::Refund(EntryState::Done)),
    ("PAYMENT.SALE.REFUNDED", payments::REFUND_RANK + 1, Meaning::Refund(EntryState::Done)),
    ("PAYMENT.REFUND.FAILED", payments::REFUND_RANK + 2, Meaning::Refund(EntryState::Failed)),
    ("RISK.DISPUTE.CREATED", payments::DISPUTE_RANK, Meaning::Dispute(DisputeState::Open)),
    ("CUSTOMER.DISPUTE.CREATED", payments::DISPUTE_RANK, Meaning::Dispute(DisputeState::Open)),
    ("CUSTOMER.DISPUTE.UPDATED", payments::DISPUTE_RANK + 1, Meaning::Dispute(DisputeState::Open)),
    ("PAYMENT.CAPTURE.REVERSED", payments::DISPUTE_RANK + 2, Meaning::Reversed),
    ("PAYMENT.SALE.REVERSED", payments::DISPUTE_RANK + 2, Meaning::Reversed),
    ("CUSTOMER.DISPUTE.RESOLVED", payments::DISPUTE_RANK + 3, Meaning::Dispute(DisputeState::Lost)),
    ("INVOICING.INVOICE.CREATED", 0, Meaning::Invoice),
    ("INVOICING.INVOICE.SCHEDULED", 0, Meaning::Invoice),
    ("INVOICING.INVOICE.UPDATED", 0, Meaning::Invoice),
    ("INVOICING.INVOICE.PAID", 0, Meaning::Invoice),
    ("INVOICING.INVOICE.REFUNDED", 0, Meaning::Invoice),
    ("INVOICING.INVOICE.CANCELLED", 0, Meaning::Invoice),
];

/// What a webhook told, for the steps of its fetch.
#[derive(Serialize, Deserialize)]
pub(super) struct Transmission {
    /// The transmission's id.
    id: String,
    /// The event's id.
    event: String,
    live: bool,
    body: String,
}

pub(super) fn translate(
    receipt: &Receipt,
    endpoint: &Endpoint,
) -> Result<Translation, TranslateError> {
    let body = read(receipt.body())?;
    if meaning_of(&body).is_none() {
        return payload::unknown_type(&body.event_type);
    }
    let id = receipt.header(webhook::TRANSMISSION_ID).unwrap_or_default();
    let live = !receipt.header(webhook::CERT_URL).unwrap_or_default().contains(".sandbox.");
    // Read even where it will be fetched, so that a body that makes no sense shows at once.
    let event = Event::new(&body, payload::first(&[id, &body.id]), live, &endpoint.name)?;
    let drafts = event.drafts(None)?;
    let text = std::str::from_utf8(receipt.body())
        .map_err(|_| TranslateError("the event is no text".to_owned()))?;
    let told = Told::Webhook(Transmission {
        id: event.key.clone(),
        event: body.id.to_string(),
        live,
        body: text.to_owned(),
    });
    let object = match api::is_configured(endpoint) {
        true => format!("webhooks-events/{}", &*body.id),
        false if event.refunded_payment()?.is_some() => format!("transmissions/{}", event.key),
        false => return Ok(Translation::Events(drafts)),
    };
    let told = serde_json::to_string(&told)
        .map_err(|_| TranslateError("the event cannot be kept".to_owned()))?;
    Ok(Translation::Fetches(vec![Fetch { object, told }]))
}

/// The event anew where the endpoint can ask for it; then, for a refund, the payment it is of.
pub(super) fn fetch(fetching: &Fetching<'_>, told: &Transmission) -> Result<Step, TranslateError> {
    let endpoint = fetching.endpoint;
    let mut answers = fetching.answers.iter();
    let (body, key) = match api::is_configured(endpoint) {
        false => (told.body.as_bytes(), &told.id),
        true => match answers.next() {
            None => return Ok(Step::Call(api::get(endpoint, &api::event_path(&told.event)))),
            Some(answer) if answer.is_success() => (&answer.body[..], &told.event),
            Some(answer) => return Ok(refused(answer)),
        },
    };
    let body = read(body)?;
    if *body.id != *told.event {
        return Err(TranslateError("PayPal answered with another event".to_owned()));
    }
    let event = Event::new(&body, key.clone(), told.live, &endpoint.name)?;
    let payment = match (event.refunded_payment()?, answers.next()) {
        (None, _) => None,
        (Some(path), None) => return Ok(Step::Call(api::get(endpoint, &path))),
        // A payment that may not be looked at leaves what the refund itself tells.
        (Some(_), Some(answer)) => answer.is_success().then_some(&answer.body[..]),
    };
    Ok(Step::Done { drafts: event.drafts(payment)?, cursor: None })
}

/// PayPal knows its events for weeks: one that it does not know was never sent.
fn refused(answer: &Answer) -> Step {
    const NOT_FOUND: u16 = 404;
    match answer.status {
        NOT_FOUND => Step::Denied,
        status => Step::Later(format!("PayPal refused to show the event with {status}")),
    }
}

fn read(body: &[u8]) -> Result<Body<'_>, TranslateError> {
    serde_json::from_slice(body).map_err(|error| payload::unreadable("a PayPal event", &error))
}

fn meaning_of(body: &Body<'_>) -> Option<(u8, Meaning)> {
    let row = EVENTS.iter().find(|(event_type, _, _)| *event_type == &*body.event_type);
    row.map(|(_, rank, meaning)| (*rank, *meaning))
}

/// The envelope.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    event_type: Text<'a>,
    #[serde(borrow)]
    create_time: Text<'a>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
}

/// An event of a known type, with what every draft of it needs.
pub(super) struct Event<'a> {
    body: &'a Body<'a>,
    key: String,
    created_at: Timestamp,
    live: bool,
    endpoint: &'a EndpointName,
    /// The rank of its type.
    pub(super) rank: u8,
    meaning: Meaning,
}

impl<'a> Event<'a> {
    fn new(
        body: &'a Body<'a>,
        key: String,
        live: bool,
        endpoint: &'a EndpointName,
    ) -> Result<Event<'a>, TranslateError> {
        let (rank, meaning) = meaning_of(body)
            .ok_or_else(|| payload::unknown("PayPal event type", &body.event_type))?;
        if body.id.is_empty() {
            return Err(TranslateError("the event has no id".to_owned()));
        }
        let created_at = time(&body.create_time)?;
        Ok(Event { body, key, created_at, live, endpoint, rank, meaning })
    }

    /// The drafts; `payment` is what the API says of the payment that a refund is of.
    fn drafts(&self, payment: Option<&[u8]>) -> Result<Vec<Draft>, TranslateError> {
        let draft = match self.meaning {
            Meaning::Order(action) => invoices::order(self, action)?,
            Meaning::Collected(status) => payments::collected(self, status)?,
            Meaning::Refund(state) => refunds::refund(self, state, payment)?,
            Meaning::Reversed => refunds::reversed(self)?,
            Meaning::Dispute(state) => return disputes::dispute(self, state),
            Meaning::Invoice => invoices::invoice(self)?,
            Meaning::SubscriptionPaymentFailed => payments::subscription_failed(self)?,
        };
        Ok(vec![draft])
    }

    /// The path of the payment that must be asked for, where the event is about a refund of it.
    fn refunded_payment(&self) -> Result<Option<String>, TranslateError> {
        match self.meaning {
            Meaning::Refund(_) => refunds::refunded_payment(self).map(Some),
            Meaning::Order(_)
            | Meaning::Collected(_)
            | Meaning::Reversed
            | Meaning::Dispute(_)
            | Meaning::Invoice
            | Meaning::SubscriptionPaymentFailed => Ok(None),
        }
    }

    /// The object that the event is about.
    pub(super) fn read<T: Deserialize<'a>>(&self, what: &str) -> Result<T, TranslateError> {
        let resource = self
            .body
            .resource
            .ok_or_else(|| TranslateError("the event has no resource".to_owned()))?;
        serde_json::from_str(resource.get()).map_err(|error| payload::unreadable(what, &error))
    }

    /// A draft; `index` counts where one event gives several.
    pub(super) fn draft(
        &self,
        index: usize,
        id: &str,
        rank: u8,
        references: References,
        fact: Fact,
    ) -> Result<Draft, TranslateError> {
        Ok(Draft {
            key: match index {
                0 => self.key.clone(),
                _ => format!("{}#{index}", self.key),
            },
            event_id: self.body.id.to_string(),
            event_type: self.body.event_type.to_string(),
            occurred_at: self.created_at,
            version: 0,
            rank,
            subject: payload::subject(fact.kind(), self.endpoint, id)?,
            references: references.bounded(),
            live: self.live,
            fact,
        })
    }
}

fn time(text: &str) -> Result<Timestamp, TranslateError> {
    text.parse().map_err(|_| payload::not_a("a time", text))
}

/// An amount in either of PayPal's forms: `currency_code` and `value`, before them `currency` and `total`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Amount<'a> {
    #[serde(borrow)]
    currency_code: Text<'a>,
    #[serde(borrow)]
    currency: Text<'a>,
    value: Decimal,
    total: Decimal,
}

impl Amount<'_> {
    /// The amount without its sign, which older refunds have.
    pub(super) fn money(&self) -> Result<Option<Money>, TranslateError> {
        self.money_or("")
    }

    /// As `money`; without a currency of its own the amount is in this one.
    pub(super) fn money_or(&self, currency: &str) -> Result<Option<Money>, TranslateError> {
        let currency = payload::first(&[&self.currency_code, &self.currency, currency]);
        let amount = if self.value.is_empty() { &self.total } else { &self.value };
        let money = amount.money(&currency)?;
        Ok(money.map(|money| Money { minor_units: money.minor_units.saturating_abs(), ..money }))
    }
}

/// The money of an amount that may be missing as a whole.
pub(super) fn money(amount: Option<&Amount<'_>>) -> Result<Option<Money>, TranslateError> {
    amount.map_or(Ok(None), Amount::money)
}

/// The money of an amount that must be there.
pub(super) fn required(amount: Option<&Amount<'_>>, what: &str) -> Result<Money, TranslateError> {
    money(amount)?.ok_or_else(|| TranslateError(format!("{what} has no amount")))
}
