//! The pure state machine of one subscription: which event may go out now, what an ack, a nack, a passed
//! deadline or a lost consumer does, which lanes are held back, and where the scan cursor stands.
//!
//! In come the events of the log in order (`offer`), rows read back from the store (`looked_up`,
//! `learn_held`, `resolve`, `replay`) and what consumers say. Out go deliveries (`lease`), questions to
//! the store (`must_look_up`, `wants_lanes`, `lanes_to_resolve`, `wants_replays`) and all durable changes
//! (`take_update`). It never does I/O, never reads a clock and never draws a random number: time, lease
//! ids and jitter are parameters. Memory is bounded by the constants below and the settings, whatever
//! the backlog and however many lanes are stuck (P4, P5, P7).
//!
//! An event is *pending* from its offer until it is settled: acknowledged, a dead letter, or implied by
//! its lane's row. A held lane's row says that all its events from `first` on wait, so they need no
//! memory and the cursor moves past them; they are found again, one after the other, by `resolve`.

mod backlog;
mod dead_letters;
mod durable;
mod held;
mod holder;
mod lane;
mod lanes;
mod leases;
mod recent;
mod scan;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Money, Sequence, SubjectId};

pub use backlog::Backlog;
pub use held::Lookup;

use durable::Changes;
use held::Mark;
use holder::Consumer;
use lanes::Lanes;
use leases::Lease;
use recent::Recent;

/// How many held lanes stay in memory; the others are in the store alone.
pub const MAX_HELD_IN_MEMORY: usize = 10_000;
/// How many lanes that only have dead letters stay in memory.
pub const MAX_RESTING_IN_MEMORY: usize = 10_000;
/// How many dead letters are replayed from memory at once; the others wait in the store.
pub const MAX_REPLAYS_IN_MEMORY: usize = 1_000;
/// How many events may be pending beside the outstanding ones.
pub const READ_AHEAD: usize = 1_024;
/// How many events of one lane may be queued; a longer lane waits in the store.
pub const MAX_QUEUED_PER_LANE: usize = 32;
/// How many ranges of settled events above the cursor are written.
pub const MAX_DONE_RANGES: usize = 1_024;
/// How many failed attempts are kept of an event.
pub const MAX_HISTORY: usize = 20;
/// How many bytes of a failed attempt's reason are kept. A dead letter's own reason is kept whole.
pub const MAX_ATTEMPT_REASON_BYTES: usize = 256;
/// How many ended leases are remembered, to tell a repeated ack from a stale one.
pub const MAX_ENDED_REMEMBERED: usize = 4_096;
/// The wait after a throttled delivery that names none.
pub const THROTTLED_WAIT: Duration = Duration::from_secs(1);
/// The longest wait that a consumer may ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a lease may keep its lane's queued events in a full window while others could go out.
pub const SLOW_LEASE: Duration = Duration::from_secs(1);

/// The bounds that a window keeps; the constants above, but in tests that must reach them soon.
#[derive(Clone, Copy, Debug)]
struct Limits {
    held: usize,
    resting: usize,
    replays: usize,
    read_ahead: usize,
    queued_per_lane: usize,
    done_ranges: usize,
    ended: usize,
}

const LIMITS: Limits = Limits {
    held: MAX_HELD_IN_MEMORY,
    resting: MAX_RESTING_IN_MEMORY,
    replays: MAX_REPLAYS_IN_MEMORY,
    read_ahead: READ_AHEAD,
    queued_per_lane: MAX_QUEUED_PER_LANE,
    done_ranges: MAX_DONE_RANGES,
    ended: MAX_ENDED_REMEMBERED,
};

/// The time, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the process started; never goes back.
    pub monotonic: Duration,
    /// The wall clock, for what is stored.
    pub wall: Timestamp,
}

/// How deliveries are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// How long a consumer has for a delivery.
    pub ack_deadline: Duration,
    /// How many deliveries may be unacknowledged, all consumers together.
    pub max_outstanding: usize,
    /// How many bytes may be unacknowledged; a single larger event still goes out alone.
    pub max_outstanding_bytes: usize,
    /// After how many failed attempts an event becomes a dead letter; `None` for never.
    pub max_attempts: Option<u32>,
    /// The wait after the first failed attempt; it doubles each time.
    pub min_backoff: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
    /// Whether a lane is a subject. If not, each event is a lane of its own, named by its sequence.
    pub ordered: bool,
}

/// A connected stream, for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(pub u64);

/// One delivery's id: random, so that nobody can guess another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// An event of the log as the scan meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Its place.
    pub sequence: Sequence,
    /// Its lane: the subject, or `SubjectId(sequence)` of an unordered subscription.
    pub lane: SubjectId,
    /// How large it is on the wire.
    pub bytes: usize,
    /// Whether the subscription's filter lets it through.
    pub matches: bool,
    /// When it was received.
    pub received_at: Timestamp,
    /// The subject's paid amount after it, for the backlog.
    pub paid: Option<Money>,
}

/// A lane's event that was found in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its place.
    pub sequence: Sequence,
    /// How large it is on the wire.
    pub bytes: usize,
    /// When it was received.
    pub received_at: Timestamp,
    /// The subject's paid amount after it, for the backlog.
    pub paid: Option<Money>,
}

/// A delivery to be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Leased {
    /// The event.
    pub sequence: Sequence,
    /// Its lane.
    pub lane: SubjectId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Whether it is an older event again: after a seek, or a dead letter.
    pub replay: bool,
    /// Whether an earlier event of the lane is a dead letter.
    pub gap_before: bool,
    /// When the lease ends, by the monotonic clock.
    pub deadline: Duration,
    /// The event's size as it was offered; zero if it is not known.
    pub bytes: usize,
}

/// What became of an ack, a nack or an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was done.
    Applied,
    /// The same lease had done it before.
    Duplicate,
    /// The lease had ended before, whatever became of the event since.
    Stale,
}

/// What a consumer may have again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freed {
    /// Whose delivery ended.
    pub consumer: ConsumerId,
    /// How many bytes it had.
    pub bytes: usize,
}

/// What an ack or a nack did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Settled {
    /// What became of it. Whatever was applied, now or by the ack that this one repeats, may be
    /// confirmed once the update that is taken next is committed.
    pub verdict: Verdict,
    /// The delivery that ended by it.
    pub freed: Option<Freed>,
}

/// What a consumer said that it did with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckNote {
    /// The record that it wrote.
    pub external_ref: String,
    /// What it did.
    pub outcome: String,
}

/// What is to become of an event that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NackKind {
    /// Again after a backoff; counts an attempt.
    Retry,
    /// Again later; counts none.
    Throttled,
    /// Never again: a dead letter now.
    DeadLetter,
}

/// A delivery given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// What is to become of the event.
    pub kind: NackKind,
    /// Why.
    pub reason: String,
    /// When to try again, instead of the backoff.
    pub retry_after: Option<Duration>,
}

/// The lane may have a row in the store that is not in memory: look it up, then try again. Nothing
/// happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lane's row must be looked up first")]
pub struct MustLookUp;

/// One subscription's state. See the module.
#[derive(Debug)]
pub struct Window {
    settings: Settings,
    limits: Limits,
    /// The latest time that any call told.
    now: Now,

    /// All up to here was offered or is known to be settled.
    scanned: Sequence,
    /// Settled ranges above `scanned`, from the position that the window began with.
    recovered: VecDeque<(Sequence, Sequence)>,
    /// The end of the last of them. Until the scan is there, held lanes are not resolved: their rows
    /// imply events that the scan has not met again.
    recovered_to: Sequence,
    /// What was scanned and is not settled, with its lane. All else up to `scanned` is.
    pending: BTreeMap<Sequence, SubjectId>,
    high_water: Sequence,
    generation: i64,
    /// When a full window was last searched for slow leases.
    searched: Duration,

    lanes: Lanes,
    /// How many rows of lanes are in the store and not in memory.
    unloaded: usize,
    /// Where the held lanes begin that are not in memory.
    mark: Mark,
    /// Lanes that were looked up: those that are not in memory have no row.
    known: HashSet<SubjectId>,
    /// Numbers the questions of `lanes_to_resolve`.
    questions: u64,

    leases: HashMap<Sequence, Lease>,
    deadlines: BTreeSet<(Duration, Sequence)>,
    outstanding_bytes: usize,
    consumers: HashMap<ConsumerId, Consumer>,
    recent: Recent,

    /// How many dead letters are replayed from memory.
    replays: usize,
    /// Where the replaying dead letters begin that are not in memory.
    replays_after: Option<Sequence>,

    changes: Changes,
}

impl Window {
    /// The state of a subscription that stands at `position`. Tell it next about the lanes that the
    /// store has, by `set_unloaded_lanes`, and of replays, by `set_unloaded_replays`.
    pub fn new(position: crate::store::rows::Position, settings: Settings, now: Now) -> Window {
        let recovered_to = position.done.last().map_or(position.cursor, |range| range.1);
        let mut window = Window {
            settings,
            limits: LIMITS,
            now,
            scanned: position.cursor,
            recovered: position.done.into(),
            recovered_to,
            pending: BTreeMap::new(),
            high_water: position.high_water,
            generation: position.generation,
            searched: now.monotonic,
            lanes: Lanes::default(),
            unloaded: 0,
            mark: Mark::AllLoaded,
            known: HashSet::new(),
            questions: 0,
            leases: HashMap::new(),
            deadlines: BTreeSet::new(),
            outstanding_bytes: 0,
            consumers: HashMap::new(),
            recent: Recent::default(),
            replays: 0,
            replays_after: None,
            changes: Changes::new(position.cursor),
        };
        window.pass(position.cursor);
        window
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the settings, but for `ordered`, which is what lanes are: it stays as it was created.
    /// Leases keep their deadlines.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = Settings { ordered: self.settings.ordered, ..settings };
    }

    /// Counts seeks. An ack id, or a page that was read, from another generation is stale.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Makes a consumer known, with the name that histories show. `release` forgets it.
    pub fn admit(&mut self, consumer: ConsumerId, name: &str) {
        self.consumers.entry(consumer).or_default().name = Arc::from(name);
    }

    /// The soonest time, by the monotonic clock, at which something happens by itself: a lease ends, a
    /// lane is due, or lanes should be read from the store.
    pub fn next_wake(&self) -> Option<Duration> {
        let due = self.lanes.next_due();
        [self.next_deadline(), due, self.mark_due(), self.next_search()].into_iter().flatten().min()
    }

    /// The soonest end of a lease, by the monotonic clock.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Notes the time and lets lanes go on that are due.
    fn tick(&mut self, now: Now) {
        self.now.wall = now.wall;
        self.now.monotonic = self.now.monotonic.max(now.monotonic);
        self.lanes.wake(self.now.monotonic);
    }
}

#[cfg(test)]
mod tests;
