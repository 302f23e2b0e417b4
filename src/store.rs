//! The durable log and everything that hangs on it: one trait, several engines, one contract.
//!
//! What an engine promises (the conformance suite in `tests/it/store.rs` holds it to this):
//! - `commit` is one transaction and one fsync. When it returns, all of the batch is durable; when it
//!   fails, nothing of it is (P1, P5).
//! - A draft's key is claimed in the commit itself; a claimed key gives no second event (P2).
//! - Sequences are taken from the head inside the transaction, without gaps, and nothing is ever
//!   inserted at or below a sequence that a reader may have seen (P3).
//! - Each event's hash continues the chain of the one before (P9).
//! - An I/O error stops the engine's writer: every later write fails with `Error::Stopped` until a
//!   restart. A full disk fails the commit alone.

pub mod append;
pub mod chain;
pub mod own;
pub mod rows;
pub mod sqlite;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{
    Draft, EndpointName, Event, LogEpoch, ReceiptNumber, Sequence, Subject, SubjectId, SubjectState,
};
use crate::receipt::Receipt;

pub use own::{Condition, DueInvoice, LinkRow, Own, OwnStore};
pub use rows::{
    AckRecord, Attempt, DeadLetterRow, EndpointValue, Held, LaneRow, Position, PositionUpdate,
    StoredSubscription, SubscriptionId, TokenRow,
};
pub use sqlite::{SqliteOptions, SqliteStore};

/// How events become bytes and back. The bytes are those of the wire, so that an event is encoded once.
#[derive(Clone, Copy)]
pub struct Codec {
    /// The event as its wire message.
    pub encode: fn(&Event) -> Bytes,
    /// Back again. It fails only on bytes that `encode` did not make.
    pub decode: fn(&[u8]) -> Result<Event, DecodeError>,
}

/// Stored bytes that are no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored event is unreadable: {0}")]
pub struct DecodeError(pub String);

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk is full. Nothing of the call happened; it may be tried again.
    #[error("the disk is full")]
    Full,
    /// An earlier I/O error stopped the writer; only a restart helps.
    #[error("the store's writer was stopped by an earlier error")]
    Stopped,
    /// Another gateway has the store.
    #[error("{0} is in use by another gateway")]
    Locked(String),
    /// There is none of this name.
    #[error("{0} does not exist")]
    NotFound(String),
    /// There is one of this name.
    #[error("{0} exists already")]
    Exists(String),
    /// What is stored cannot be read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The engine failed.
    #[error("the store failed: {0}")]
    Engine(#[from] sqlx::Error),
    /// Bringing the schema up to date failed.
    #[error("the store's schema could not be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// The end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last sequence; zero for an empty log.
    pub sequence: Sequence,
    /// The hash at it; zeros for an empty log.
    pub hash: [u8; 32],
    /// The first sequence that is still there.
    pub first: Sequence,
    /// The last receipt's number.
    pub receipt: ReceiptNumber,
}

/// An event as the log has it, shared by all who read it.
pub struct Logged {
    /// Its place.
    pub sequence: Sequence,
    /// Its subject's number.
    pub subject: SubjectId,
    /// False in the provider's test mode.
    pub live: bool,
    /// The bytes of its wire message.
    pub encoded: Bytes,
    event: OnceLock<Arc<Event>>,
}

/// What is committed together.
#[derive(Default)]
pub struct Batch {
    /// Receipts with what they mean.
    pub receipts: Vec<NewReceipt>,
    /// Where subscriptions stand.
    pub positions: Vec<PositionUpdate>,
    /// What endpoints keep between fetches.
    pub values: Vec<EndpointValue>,
    /// Events of the gateway's own, appended after those of the receipts.
    pub own: Vec<Own>,
}

/// A receipt to be stored, with the drafts that it gave.
pub struct NewReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// What became of its translation.
    pub state: ReceiptState,
    /// The drafts; empty unless the state is `Translated`, or `Unreadable` for a part of a batch alone.
    pub drafts: Vec<Draft>,
    /// The stored receipt that this is a new translation of: no second receipt is stored then.
    pub retry_of: Option<ReceiptNumber>,
    /// The events that the receipt gave already, where this adds to them.
    pub earlier: Vec<Sequence>,
}

/// What became of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptState {
    /// All its events are in the log.
    Translated,
    /// Its provider event type is not translated; the type.
    Unknown(String),
    /// It could not be read; the reason.
    Unreadable(String),
    /// The provider's API is being asked for its facts; what went wrong at the last try, empty at first.
    Fetching(String),
    /// The provider's API was asked often enough in vain; the reason.
    FetchFailed(String),
    /// As `Fetching`, and nothing proves it authentic until the API confirms it.
    Unconfirmed(String),
    /// The API did not confirm it. What it said is purged, in the commit that says so.
    Denied,
}

/// What `commit` did, in the batch's order.
pub struct Committed {
    /// One for each receipt.
    pub receipts: Vec<Recorded>,
    /// One for each event of the gateway's own; `None` where its condition did not hold.
    pub own: Vec<Option<Sequence>>,
    /// The new events, in sequence.
    pub events: Vec<Arc<Logged>>,
    /// The head after the commit.
    pub head: Head,
}

/// What became of one receipt in a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its number.
    pub receipt: ReceiptNumber,
    /// Its events, new and known, in the order of its drafts.
    pub sequences: Vec<Sequence>,
    /// How many of them the log had already.
    pub duplicates: usize,
}

/// A receipt as it is stored.
#[derive(Clone)]
pub struct StoredReceipt {
    /// Its number.
    pub number: ReceiptNumber,
    /// The receipt.
    pub receipt: Receipt,
    /// What became of it.
    pub state: ReceiptState,
    /// Its events.
    pub sequences: Vec<Sequence>,
    /// How many of them the log had already.
    pub duplicates: usize,
}

/// An event with all that a check of the chain needs.
pub struct ChainEntry {
    /// The event.
    pub logged: Arc<Logged>,
    /// The commitment to its personal fields that entered its digest.
    pub commitment: [u8; 32],
    /// The chain's value at it, as the store keeps it beside the event.
    pub hash: [u8; 32],
    /// The salt of the commitment; `None` once it is erased.
    pub salt: Option<[u8; 16]>,
}

/// Which receipts a listing wants.
#[derive(Clone, Debug, Default)]
pub struct ReceiptQuery {
    /// Only of these endpoints; all if empty.
    pub endpoints: Vec<EndpointName>,
    /// Only those that are not translated.
    pub only_open: bool,
    /// Only with numbers below this; `None` starts at the newest.
    pub before: Option<ReceiptNumber>,
    /// At most this many.
    pub limit: usize,
}

/// The store of one gateway. Writes go through one writer; reads run beside it.
#[async_trait]
pub trait Store: OwnStore {
    /// Commits a batch: all of it or nothing.
    async fn commit(&self, batch: Batch) -> Result<Committed, Error>;

    /// The end of the log.
    async fn head(&self) -> Result<Head, Error>;
    /// The log's epoch.
    fn epoch(&self) -> LogEpoch;
    /// Events after a sequence, in order: at most `max_events`, and no more than `max_bytes` beyond the
    /// first. Empty only at the end of the log.
    async fn events(
        &self,
        after: Sequence,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<Arc<Logged>>, Error>;
    /// One event.
    async fn event(&self, sequence: Sequence) -> Result<Option<Arc<Logged>>, Error>;
    /// The sequences of a subject's events from one on, ascending.
    async fn subject_sequences(
        &self,
        subject: SubjectId,
        from: Sequence,
        limit: usize,
    ) -> Result<Vec<Sequence>, Error>;
    /// The greatest sequence that was committed before this time; zero if none was.
    async fn sequence_before(&self, time: Timestamp) -> Result<Sequence, Error>;
    /// Events with what a check of the chain needs, in order.
    async fn chain(&self, after: Sequence, max_events: usize) -> Result<Vec<ChainEntry>, Error>;

    /// The state of a subject.
    async fn subject(&self, subject: &Subject) -> Result<Option<(SubjectId, SubjectState)>, Error>;
    /// The states of subjects after a number, in the order of their first events.
    async fn subjects(
        &self,
        after: SubjectId,
        limit: usize,
    ) -> Result<Vec<(SubjectId, SubjectState)>, Error>;
    /// The states of these subjects, in any order.
    async fn subjects_by_id(
        &self,
        ids: &[SubjectId],
    ) -> Result<Vec<(SubjectId, SubjectState)>, Error>;

    /// Receipts, newest first. A page may be shorter than the limit without being the last; the number
    /// is where to go on before, `None` at the end.
    async fn receipts(
        &self,
        query: &ReceiptQuery,
    ) -> Result<(Vec<StoredReceipt>, Option<ReceiptNumber>), Error>;
    /// One receipt.
    async fn receipt(&self, number: ReceiptNumber) -> Result<Option<StoredReceipt>, Error>;
    /// How many receipts are not readable.
    async fn unreadable_receipts(&self) -> Result<i64, Error>;
    /// Receipts after a number whose facts the provider's API is to be asked for, oldest first.
    async fn waiting_receipts(
        &self,
        after: ReceiptNumber,
        limit: usize,
    ) -> Result<Vec<StoredReceipt>, Error>;
    /// How many of them there are.
    async fn waiting_receipts_count(&self) -> Result<i64, Error>;
    /// What an endpoint keeps under this name.
    async fn value(&self, endpoint: &EndpointName, name: &str) -> Result<Option<String>, Error>;

    /// Creates a subscription at a position.
    async fn create_subscription(
        &self,
        name: &str,
        spec: &str,
        position: Sequence,
        created_at: Timestamp,
    ) -> Result<StoredSubscription, Error>;
    /// All subscriptions, by name.
    async fn subscriptions(&self) -> Result<Vec<StoredSubscription>, Error>;
    /// Changes what a subscription is.
    async fn update_subscription(
        &self,
        id: SubscriptionId,
        spec: &str,
        paused: bool,
    ) -> Result<(), Error>;
    /// Forgets a subscription with its lanes, dead letters and ack records.
    async fn delete_subscription(&self, id: SubscriptionId) -> Result<(), Error>;

    /// Held lanes, soonest due first, then by subject, after a given one.
    async fn held_lanes(
        &self,
        subscription: SubscriptionId,
        after: Option<(Timestamp, SubjectId)>,
        limit: usize,
    ) -> Result<Vec<LaneRow>, Error>;
    /// The lanes of these subjects that have a row.
    async fn lanes(
        &self,
        subscription: SubscriptionId,
        subjects: &[SubjectId],
    ) -> Result<Vec<LaneRow>, Error>;
    /// How many lanes have a row, and how many of them are held back.
    async fn lane_counts(&self, subscription: SubscriptionId) -> Result<(i64, i64), Error>;
    /// Dead letters after a sequence, in order.
    async fn dead_letters(
        &self,
        subscription: SubscriptionId,
        after: Sequence,
        limit: usize,
        only_replaying: bool,
    ) -> Result<Vec<DeadLetterRow>, Error>;
    /// One dead letter.
    async fn dead_letter(
        &self,
        subscription: SubscriptionId,
        sequence: Sequence,
    ) -> Result<Option<DeadLetterRow>, Error>;
    /// How many dead letters there are.
    async fn dead_letter_count(&self, subscription: SubscriptionId) -> Result<i64, Error>;
    /// What consumers said that they did with these events.
    async fn ack_records(
        &self,
        sequences: &[Sequence],
    ) -> Result<Vec<(SubscriptionId, AckRecord)>, Error>;

    /// Keeps a new credential, or the new state of a known one.
    async fn put_token(&self, token: &TokenRow) -> Result<(), Error>;
    /// All credentials, oldest first.
    async fn tokens(&self) -> Result<Vec<TokenRow>, Error>;

    /// Bounds what the engine keeps beside the data, such as a write-ahead log. Called between commits.
    async fn maintain(&self) -> Result<(), Error>;
    /// Closes the engine.
    async fn close(&self);
}

impl Logged {
    /// An event that was just committed.
    pub fn new(subject: SubjectId, event: Event, encoded: Bytes) -> Logged {
        Logged {
            sequence: event.sequence,
            subject,
            live: event.live,
            encoded,
            event: OnceLock::from(Arc::new(event)),
        }
    }

    /// An event read back, decoded when somebody asks.
    pub fn stored(sequence: Sequence, subject: SubjectId, live: bool, encoded: Bytes) -> Logged {
        Logged { sequence, subject, live, encoded, event: OnceLock::new() }
    }

    /// The event, decoded once for all who share it.
    pub fn event(&self, codec: Codec) -> Result<&Arc<Event>, DecodeError> {
        if let Some(event) = self.event.get() {
            return Ok(event);
        }
        let event = Arc::new((codec.decode)(&self.encoded)?);
        Ok(self.event.get_or_init(|| event))
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Error {
        Error::Damaged(error.to_string())
    }
}
