//! The plain rows that the store keeps beside the log: subscriptions and where they stand, lanes, dead
//! letters, ack records, credentials. Data only: what they mean is decided by `delivery` and `grpc`.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{EndpointName, Sequence, SubjectId};

/// A subscription's number in the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubscriptionId(pub i64);

/// A subscription as it is stored: what it is and where it stands.
#[derive(Clone, Debug)]
pub struct StoredSubscription {
    /// Its number.
    pub id: SubscriptionId,
    /// Its name.
    pub name: String,
    /// Filter and settings, as `delivery` wrote them.
    pub spec: String,
    /// Whether it is paused.
    pub paused: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// Where it stands.
    pub position: Position,
}

/// Where a subscription stands. All that matches its filter at or below `cursor`, and in the ranges of
/// `done` above it, is acknowledged, a dead letter, or held back with its lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The scan cursor.
    pub cursor: Sequence,
    /// Ranges above the cursor, first and last, ascending, not touching.
    pub done: Vec<(Sequence, Sequence)>,
    /// The greatest sequence that was ever passed: deliveries at or below it are replays.
    pub high_water: Sequence,
    /// Counts seeks: an ack id from before a seek is stale.
    pub generation: i64,
}

/// A change of where a subscription stands, committed with events and other acks.
#[derive(Clone, Debug)]
pub struct PositionUpdate {
    /// Whose it is.
    pub subscription: SubscriptionId,
    /// The new position.
    pub position: Position,
    /// Lanes to write, replacing what is stored of them.
    pub lanes: Vec<LaneRow>,
    /// Lanes to forget.
    pub lanes_removed: Vec<SubjectId>,
    /// Dead letters to write, replacing what is stored of them.
    pub dead_letters: Vec<DeadLetterRow>,
    /// Dead letters to forget, by sequence.
    pub dead_letters_removed: Vec<Sequence>,
    /// Acknowledgements that told what they did.
    pub acked: Vec<AckRecord>,
    /// Forget all lanes first, as a seek does.
    pub clear_lanes: bool,
}

/// A lane that is held back, or that has dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneRow {
    /// The lane's subject. Of an unordered subscription, the event's sequence as a number.
    pub subject: SubjectId,
    /// The failure that holds it back; `None` where it only has dead letters.
    pub held: Option<Held>,
    /// How many dead letters it has.
    pub gaps: u32,
}

/// Why and until when a lane is held back. Its events from `first` on wait, whatever the cursor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The first event that is not settled.
    pub first: Sequence,
    /// How many attempts of it failed.
    pub attempts: u32,
    /// When it may go out again.
    pub due_at: Timestamp,
    /// The failed attempts, oldest first, bounded.
    pub history: Vec<Attempt>,
}

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub ended_at: Timestamp,
    /// Who had it.
    pub consumer: String,
    /// Why it failed.
    pub reason: String,
}

/// An event that a subscription gave up on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// The event.
    pub sequence: Sequence,
    /// Its lane.
    pub subject: SubjectId,
    /// Why.
    pub reason: String,
    /// The failed attempts, oldest first, bounded.
    pub history: Vec<Attempt>,
    /// When.
    pub dead_at: Timestamp,
    /// Whether it is being delivered again.
    pub replaying: bool,
}

/// What a consumer said that it did with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckRecord {
    /// The event.
    pub sequence: Sequence,
    /// The record that it wrote.
    pub external_ref: String,
    /// What it did.
    pub outcome: String,
    /// When it was acknowledged.
    pub acked_at: Timestamp,
}

/// A credential as it is stored: never its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// The id, shown in logs.
    pub id: String,
    /// SHA-256 of the text.
    pub hash: [u8; 32],
    /// What it is for.
    pub description: String,
    /// What it allows.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// What an endpoint keeps between fetches: where a list goes on, a refresh token. It may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointValue {
    /// Whose it is.
    pub endpoint: EndpointName,
    /// What it is kept under.
    pub name: String,
    /// The value.
    pub value: String,
}

impl fmt::Debug for EndpointValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of {}", self.name, self.endpoint)
    }
}
