//! The total order of a subject's facts, and a value that keeps only the greatest of them. A draft gives
//! a `Key`; a `Latest` holds what the fact with the greatest key said. Nothing here may depend on when
//! or in which order facts arrived: that is what makes merging converge.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::Draft;

/// Where a fact stands among its subject's facts. Fields are compared in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(from = "(i64, i64, u8, u64)", into = "(i64, i64, u8, u64)")]
pub struct Key {
    /// The provider's own order, 0 where it has none.
    pub version: i64,
    /// When it happened by the provider's clock, in microseconds.
    pub at: i64,
    /// The rank of the evidence.
    pub rank: u8,
    /// The start of the digest of the event's key, so that different events never stand level.
    pub tie: u64,
}

/// What the fact with the greatest key said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Latest<T> {
    /// The key of the fact.
    #[serde(rename = "k")]
    pub key: Key,
    /// What it said.
    #[serde(rename = "v")]
    pub value: T,
}

impl Key {
    /// The key of a draft.
    pub fn of(draft: &Draft) -> Key {
        let digest: [u8; 32] = Sha256::digest(draft.key.as_bytes()).into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Key {
            version: draft.version,
            at: draft.occurred_at.as_microsecond(),
            rank: draft.rank,
            tie: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        }
    }
}

impl<T: Ord> Latest<T> {
    /// Takes the other where it is greater, and tells whether it was. On the same key the greater value
    /// wins, so that even two readings of one event end the same way round.
    pub fn raise(&mut self, other: Latest<T>) -> bool {
        let greater = other > *self;
        if greater {
            *self = other;
        }
        greater
    }
}

/// `Latest::raise` where there may be nothing yet.
pub fn raise<T: Ord>(held: &mut Option<Latest<T>>, key: Key, value: T) -> bool {
    let other = Latest { key, value };
    match held {
        Some(held) => held.raise(other),
        None => {
            *held = Some(other);
            true
        }
    }
}

impl From<(i64, i64, u8, u64)> for Key {
    fn from((version, at, rank, tie): (i64, i64, u8, u64)) -> Key {
        Key { version, at, rank, tie }
    }
}

impl From<Key> for (i64, i64, u8, u64) {
    fn from(key: Key) -> (i64, i64, u8, u64) {
        (key.version, key.at, key.rank, key.tie)
    }
}
