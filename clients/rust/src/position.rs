//! Places in the log. In go sequences with the epoch of the log that they belong to, out comes what a
//! stream begins from. A sequence must never travel without its epoch where one is known.

use std::time::SystemTime;

use crate::proto::{StartPosition, start_position::At};

/// A place in the log that a stream has come to. Keep both parts to go on from it later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Everything up to this sequence was seen.
    pub sequence: i64,
    /// The log that it belongs to. Empty where the gateway has not told it yet.
    pub log_epoch: String,
}

impl From<Position> for StartPosition {
    fn from(position: Position) -> Self {
        Self { at: Some(At::Sequence(position.sequence)), log_epoch: position.log_epoch }
    }
}

impl StartPosition {
    /// From the first event that the log still has.
    pub fn earliest() -> Self {
        Self { at: Some(At::Earliest(true)), log_epoch: String::new() }
    }

    /// Only what comes from now on.
    pub fn latest() -> Self {
        Self { at: Some(At::Latest(true)), log_epoch: String::new() }
    }

    /// From the first event that was received at or after this time.
    pub fn since(time: SystemTime) -> Self {
        Self { at: Some(At::Time(time.into())), log_epoch: String::new() }
    }
}
