//! Whether an event may be passed over since a newer one of its subject waits behind it. In comes an event
//! that only tells a status, out goes whether the gateway has a newer one that this subscription will get
//! and that writes the same fields. An event that moves money must never be passed over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tollgate_client::proto::{
    BankTransactionStatus, CustomerAction, GetSubscriptionRequest, GetTimelineRequest,
    InvoiceStatus, ListEventsRequest, PaymentStatus, event::Fact,
};
use tollgate_client::{Client, Error, Event, Filter};

use crate::mapping::{Mapping, Row};

/// An event that came just now has nothing behind it, most probably.
const YOUNG: Duration = Duration::from_secs(2);
/// How many events of a subject are looked at.
const LOOKED_AT: i32 = 1_000;
/// How many looks are under way at once: the others wait, and find perhaps that they need none.
const MAX_LOOKS: usize = 16;
/// Of how many subjects is remembered how far they may be passed over.
const MAX_SUBJECTS: usize = 10_000;

/// What is known of newer events.
pub struct Collapse {
    client: Client,
    subscription: String,
    mappings: Arc<[Arc<Mapping>]>,
    filter: tokio::sync::OnceCell<Filter>,
    looks: tokio::sync::Semaphore,
    /// By subject.
    newest: Mutex<HashMap<String, Newest>>,
}

/// The newest event of a subject that will be written.
struct Newest {
    sequence: i64,
    /// Its rows, one a mapping.
    rows: Vec<Option<Row>>,
}

impl Collapse {
    /// For a subscription and what it writes.
    pub fn new(client: Client, subscription: &str, mappings: Arc<[Arc<Mapping>]>) -> Collapse {
        let subscription = subscription.to_owned();
        let filter = tokio::sync::OnceCell::new();
        let looks = tokio::sync::Semaphore::new(MAX_LOOKS);
        Collapse { client, subscription, mappings, filter, looks, newest: Mutex::default() }
    }

    /// Whether a newer event makes this one needless. Where the gateway does not tell, it does not.
    pub async fn is_overtaken(&self, event: &Event) -> bool {
        if !tells_only_a_status(event) || is_young(event) {
            return false;
        }
        let _look = self.looks.acquire().await.expect("the semaphore is never closed");
        if let Some(overtaken) = self.remembered(event) {
            return overtaken;
        }
        match self.look(event).await {
            Ok(overtaken) => overtaken,
            Err(error) => {
                tracing::warn!(%error, "whether newer events wait is not known");
                false
            }
        }
    }

    /// What the last look at its subject says; nothing if that was not far enough.
    fn remembered(&self, event: &Event) -> Option<bool> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let Newest { sequence, rows } = newest.get(&event.subject)?;
        (*sequence > event.sequence).then(|| self.is_covered(event, rows))
    }

    async fn look(&self, event: &Event) -> Result<bool, Error> {
        let request = GetTimelineRequest {
            name: event.subject.clone(),
            page_size: LOOKED_AT,
            page_token: String::new(),
        };
        let timeline = self.client.payments().get_timeline(request).await?.into_inner();
        let newer = timeline.entries.iter().filter_map(|entry| entry.event.as_ref());
        let newer = newer.filter(|other| other.sequence > event.sequence);
        // Late ones change nothing, so they are not what the record should show in the end.
        let is_late = |other: &Event| other.change.as_ref().is_some_and(|change| change.superseded);
        let newer: Vec<&Event> = newer.filter(|other| !is_late(other)).collect();
        for other in newer.into_iter().rev() {
            let rows: Vec<Option<Row>> =
                self.mappings.iter().map(|mapping| mapping.row(other).ok().flatten()).collect();
            if self.is_covered(event, &rows) && self.will_come(other).await? {
                self.remember(other, rows);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the subscription gets this event.
    async fn will_come(&self, event: &Event) -> Result<bool, Error> {
        let filter = self.filter.get_or_try_init(|| self.current_filter()).await?;
        let request = ListEventsRequest {
            filter: Some(Filter { subjects: vec![event.subject.clone()], ..filter.clone() }),
            after_sequence: event.sequence - 1,
            page_size: 1,
            page_token: String::new(),
        };
        let listed = self.client.events().list_events(request).await?.into_inner();
        Ok(listed.events.first().is_some_and(|first| first.sequence == event.sequence))
    }

    async fn current_filter(&self) -> Result<Filter, Error> {
        let request = GetSubscriptionRequest { subscription: self.subscription.clone() };
        let got = self.client.subscriptions().get_subscription(request).await?.into_inner();
        Ok(got.subscription.and_then(|subscription| subscription.filter).unwrap_or_default())
    }

    /// Whether rows of a newer event write all that this one would, to the same records.
    fn is_covered(&self, event: &Event, newer: &[Option<Row>]) -> bool {
        self.mappings.iter().zip(newer).all(|(mapping, newer)| match (mapping.row(event), newer) {
            (Ok(None), _) => true,
            (Ok(Some(row)), Some(newer)) => covers(newer, &row),
            (Ok(Some(_)), None) | (Err(_), _) => false,
        })
    }

    fn remember(&self, event: &Event, rows: Vec<Option<Row>>) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.len() >= MAX_SUBJECTS {
            newest.clear();
        }
        newest.insert(event.subject.clone(), Newest { sequence: event.sequence, rows });
    }
}

/// Whether one row writes all fields of another to the same record.
pub fn covers(newer: &Row, older: &Row) -> bool {
    newer.keys == older.keys
        && older
            .fields
            .iter()
            .all(|field| newer.fields.iter().any(|other| other.name == field.name))
}

/// Whether an event moves no money: what it says is over once a newer one says something else.
pub fn tells_only_a_status(event: &Event) -> bool {
    match &event.fact {
        Some(Fact::Payment(fact)) => matches!(
            fact.status(),
            PaymentStatus::Pending
                | PaymentStatus::Authorized
                | PaymentStatus::Failed
                | PaymentStatus::Canceled
        ),
        Some(Fact::Invoice(fact)) => matches!(
            fact.status(),
            InvoiceStatus::Draft
                | InvoiceStatus::Open
                | InvoiceStatus::Overdue
                | InvoiceStatus::PaymentFailed
                | InvoiceStatus::Void
        ),
        Some(Fact::BankTransaction(fact)) => fact.status() == BankTransactionStatus::Pending,
        Some(Fact::CustomerAction(fact)) => matches!(
            fact.action(),
            CustomerAction::LinkOpened
                | CustomerAction::InvoiceViewed
                | CustomerAction::CheckoutStarted
                | CustomerAction::CheckoutExpired
                | CustomerAction::RequestCreated
        ),
        None => false,
    }
}

fn is_young(event: &Event) -> bool {
    let received_at = event.received_at.and_then(|time| SystemTime::try_from(time).ok());
    let age = received_at.and_then(|time| SystemTime::now().duration_since(time).ok());
    age.is_none_or(|age| age < YOUNG)
}
