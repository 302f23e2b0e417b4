//! One lane: its events in memory, what holds it back, who has its event, its dead letters, and what of
//! that its row in the store tells.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::dead_letters::Replay;
use super::lanes::Place;
use super::{Found, Leased, MAX_ATTEMPT_REASON_BYTES, MAX_HISTORY, Now};
use crate::model::{Money, Sequence, SubjectId};
use crate::store::rows::{Attempt, Held, LaneRow};

/// An event that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub sequence: Sequence,
    pub bytes: usize,
    pub received_at: Option<Timestamp>,
}

/// What is known of a held lane's next events.
#[derive(Debug)]
pub(super) enum Next {
    /// They are these, then unknown again. Empty only while the last one is leased.
    Known(VecDeque<Waiting>),
    /// The store must be asked.
    Unknown,
    /// The store was asked; what was offered since is not in its answer.
    Asked { question: u64, through: Sequence, arrived: Option<Waiting> },
}

/// What holds a lane back.
#[derive(Debug)]
pub(super) struct Hold {
    /// The first event that is not settled.
    pub first: Sequence,
    /// When it may go out again.
    pub due: Duration,
    /// The same, as it is stored.
    pub due_at: Timestamp,
    pub next: Next,
}

/// Who has a lane's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Free,
    /// The lane's next event is leased.
    Event(Sequence),
    /// A dead letter of it is leased.
    Replay(Sequence),
}

/// What a lane waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Nothing,
    Consumer,
    Resolve,
    Due(Duration),
}

/// A lane in memory.
#[derive(Debug)]
pub(super) struct Lane {
    /// Pending events that are not leased; empty while the lane is held.
    pub queue: VecDeque<Waiting>,
    pub in_use: Use,
    pub held: Option<Box<Hold>>,
    /// How many attempts of the next event failed.
    pub attempts: u32,
    /// They, oldest first.
    pub history: Vec<Attempt>,
    /// How many dead letters it has.
    pub gaps: u32,
    /// Dead letters that are delivered again, by sequence.
    pub replays: VecDeque<Replay>,
    /// Events that are known to wait beside the queued, leased and found ones.
    pub beyond: usize,
    /// Whether more may wait than were counted.
    pub estimated: bool,
    /// The latest paid amount.
    pub paid: Option<Money>,
    /// Whether the store has a row of it, once all that was taken is committed.
    pub stored: bool,
    /// Whether the row changed since an update was taken.
    pub dirty: bool,
    /// The last update that told of its row.
    pub written: u64,
    pub place: Place,
    /// The due time under which it stands among the held lanes.
    pub indexed: Option<Timestamp>,
}

impl Lane {
    /// What it waits for.
    pub fn goal(&self, now: Duration) -> Goal {
        if self.in_use != Use::Free {
            return Goal::Nothing;
        }
        let replay_due = self.replays.front().map(|replay| replay.due);
        if replay_due.is_some_and(|due| due <= now) {
            return Goal::Consumer;
        }
        let due = match self.held.as_deref() {
            None if self.queue.is_empty() => None,
            None => return Goal::Consumer,
            Some(hold) if hold.due > now => Some(hold.due),
            Some(hold) => match hold.next {
                Next::Known(_) => return Goal::Consumer,
                Next::Unknown => return Goal::Resolve,
                Next::Asked { .. } => None,
            },
        };
        match due.into_iter().chain(replay_due).min() {
            Some(due) => Goal::Due(due),
            None => Goal::Nothing,
        }
    }

    /// The event that may go out now.
    pub fn peek(&self, now: Duration) -> Option<&Waiting> {
        if self.in_use != Use::Free {
            return None;
        }
        match self.replays.front() {
            Some(replay) if replay.due <= now => Some(&replay.event),
            Some(_) | None => match self.held.as_deref() {
                None => self.queue.front(),
                Some(Hold { due, next: Next::Known(found), .. }) if *due <= now => found.front(),
                Some(_) => None,
            },
        }
    }

    /// Takes the event that `peek` shows into use, and tells how it goes out. The caller adds the
    /// deadline.
    pub fn take(&mut self, id: SubjectId, now: Duration) -> Option<(Waiting, Leased)> {
        let event = *self.peek(now)?;
        let replayed = self.replays.front().filter(|replay| replay.due <= now);
        let attempts = replayed.map_or(self.attempts, |replay| replay.attempts);
        let leased = Leased {
            sequence: event.sequence,
            lane: id,
            attempt: attempts.saturating_add(1),
            replay: replayed.is_some(),
            gap_before: replayed.is_none() && self.gaps > 0,
            deadline: now,
            bytes: event.bytes,
        };
        if replayed.is_some() {
            self.in_use = Use::Replay(event.sequence);
            return Some((event, leased));
        }
        self.in_use = Use::Event(event.sequence);
        match self.held.as_deref_mut().map(|hold| &mut hold.next) {
            Some(Next::Known(found)) => drop(found.pop_front()),
            Some(Next::Unknown | Next::Asked { .. }) => {}
            None => drop(self.queue.pop_front()),
        }
        Some((event, leased))
    }

    /// Whether nothing is left of it but perhaps dead letters, and the store knows.
    pub fn is_idle(&self, committed: u64) -> bool {
        self.queue.is_empty()
            && self.in_use == Use::Free
            && self.held.is_none()
            && self.replays.is_empty()
            && !self.dirty
            && self.written <= committed
    }

    /// Whether the store's row tells all that memory does.
    pub fn may_be_forgotten(&self, committed: u64) -> bool {
        self.in_use == Use::Free
            && self.replays.is_empty()
            && self.stored
            && !self.dirty
            && self.written <= committed
    }

    /// How many events of it are known to wait, leased ones included.
    pub fn waiting(&self) -> usize {
        let leased = usize::from(matches!(self.in_use, Use::Event(_)));
        let found = match self.held.as_deref().map(|hold| &hold.next) {
            Some(Next::Known(found)) => found.len(),
            Some(Next::Unknown | Next::Asked { .. }) | None => 0,
        };
        let known = self.queue.len() + leased + found + self.beyond;
        if self.estimated && self.held.is_some() { known.max(1) } else { known }
    }

    /// Forgets the failures of an event that is settled.
    pub fn reset_attempts(&mut self) {
        self.attempts = 0;
        self.history.clear();
    }

    /// Its row; `None` if it needs none.
    pub fn row(&self, subject: SubjectId) -> Option<LaneRow> {
        if self.held.is_none() && self.gaps == 0 {
            return None;
        }
        let held = self.held.as_deref().map(|hold| Held {
            first: hold.first,
            attempts: self.attempts,
            due_at: hold.due_at,
            history: self.history.clone(),
        });
        Some(LaneRow { subject, held, gaps: self.gaps })
    }
}

impl Default for Lane {
    fn default() -> Lane {
        Lane {
            queue: VecDeque::new(),
            in_use: Use::Free,
            held: None,
            attempts: 0,
            history: Vec::new(),
            gaps: 0,
            replays: VecDeque::new(),
            beyond: 0,
            estimated: false,
            paid: None,
            stored: false,
            dirty: false,
            written: 0,
            place: Place::Nowhere,
            indexed: None,
        }
    }
}

impl Hold {
    /// A hold on the events from `first` on until `due`.
    pub fn new(first: Sequence, now: Now, due: Duration, next: Next) -> Hold {
        Hold { first, due, due_at: due_at(now, due), next }
    }
}

impl From<Found> for Waiting {
    fn from(found: Found) -> Waiting {
        Waiting {
            sequence: found.sequence,
            bytes: found.bytes,
            received_at: Some(found.received_at),
        }
    }
}

/// The wall clock's time of a due time, in whole milliseconds so that every store keeps it exactly.
fn due_at(now: Now, due: Duration) -> Timestamp {
    let wait = due.saturating_sub(now.monotonic);
    let exact = now.wall.checked_add(wait).unwrap_or(Timestamp::MAX);
    Timestamp::from_millisecond(exact.as_millisecond()).unwrap_or(exact)
}

/// Adds a failed attempt to a bounded history.
pub(super) fn remember(history: &mut Vec<Attempt>, now: Now, consumer: &str, reason: &str) {
    if history.len() >= MAX_HISTORY {
        history.drain(..=history.len() - MAX_HISTORY);
    }
    let mut end = reason.len().min(MAX_ATTEMPT_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    history.push(Attempt {
        ended_at: now.wall,
        consumer: consumer.to_owned(),
        reason: reason[..end].to_owned(),
    });
}
