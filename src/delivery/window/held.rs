//! Held lanes and the store: which rows are in memory, which must be looked up, and what a lane's next
//! event is. Memory keeps the lanes that are due soonest. A lane whose row is not in memory is never
//! taken for one without a row, or it would be delivered out of order.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::lane::{Hold, Next, Waiting};
use super::{Found, Now, Window};
use crate::model::{Sequence, SubjectId};
use crate::store::rows::LaneRow;

/// Past how many lanes that were looked up all are forgotten, to be looked up again.
const MAX_KNOWN: usize = 10_000;

/// Where the held lanes begin that are not in memory, in the store's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    AllLoaded,
    /// After this lane; at the first if there is none.
    After(Option<(Timestamp, SubjectId)>),
}

/// A question for the store: which matching events of the lane come from `from` to `through`, both
/// included? Answered by `resolve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Lookup {
    /// The lane.
    pub lane: SubjectId,
    /// The first sequence to look at.
    pub from: Sequence,
    /// The last sequence to look at.
    pub through: Sequence,
    question: u64,
}

impl Window {
    /// Tells at the start how many rows of lanes the store has. None of them is in memory.
    pub fn set_unloaded_lanes(&mut self, rows: usize) {
        self.unloaded = rows;
        self.mark = if rows == 0 { Mark::AllLoaded } else { Mark::After(None) };
    }

    /// Whether held lanes should be read from the store now, and after which one.
    pub fn wants_lanes(&mut self, now: Now) -> Option<Option<(Timestamp, SubjectId)>> {
        self.tick(now);
        self.wants_lanes_now()
    }

    /// Takes held lanes in the store's order, as `wants_lanes` asked for them; `more` tells whether the
    /// store has others after them. The rows must have been read after the last call of `committed`.
    pub fn learn_held(&mut self, now: Now, rows: Vec<LaneRow>, more: bool) {
        self.tick(now);
        let last = rows.last().and_then(|row| Some((row.held.as_ref()?.due_at, row.subject)));
        self.mark = match last {
            Some(last) if more => Mark::After(Some(last)),
            Some(_) | None => Mark::AllLoaded,
        };
        for row in rows {
            self.learn(row);
        }
        self.forget();
    }

    /// Takes the store's rows of the lanes that were looked up: those of `asked` without a row have
    /// none. The rows must have been read after the last call of `committed`.
    pub fn looked_up(
        &mut self,
        now: Now,
        asked: impl IntoIterator<Item = SubjectId>,
        rows: Vec<LaneRow>,
    ) {
        self.tick(now);
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.extend(asked);
        for row in rows {
            self.learn(row);
        }
    }

    /// Questions for the store: held lanes whose turn has come and whose next events are not known.
    /// Each is to be answered by `resolve`, or given back by `unresolved`.
    pub fn lanes_to_resolve(&mut self, now: Now, limit: usize) -> Vec<Lookup> {
        self.tick(now);
        let mut lookups = Vec::new();
        if self.scanned < self.recovered_to {
            return lookups;
        }
        while lookups.len() < limit {
            let Some(id) = self.lanes.first_unresolved() else { break };
            let through = self.scanned;
            self.questions += 1;
            let question = self.questions;
            let Some(hold) = self.lanes.get_mut(id).and_then(|lane| lane.held.as_deref_mut())
            else {
                break;
            };
            hold.next = Next::Asked { question, through, arrived: None };
            lookups.push(Lookup { lane: id, from: hold.first, through, question });
            self.lanes.settle(id, self.now.monotonic);
        }
        lookups
    }

    /// Answers a question: the lane's next matching events, ascending and without leaving any out, as
    /// many as were read; nothing if there are none. An answer that comes too late changes nothing.
    pub fn resolve(&mut self, now: Now, lookup: Lookup, found: &[Found]) {
        self.tick(now);
        let Some(arrived) = self.asked(lookup) else { return };
        let Some(lane) = self.lanes.get_mut(lookup.lane) else { return };
        let Some(hold) = lane.held.as_deref_mut() else { return };
        let mut next: VecDeque<Waiting> = found
            .iter()
            .filter(|found| (lookup.from..=lookup.through).contains(&found.sequence))
            .take(self.limits.queued_per_lane)
            .map(|found| Waiting::from(*found))
            .collect();
        if next.is_empty() {
            next.extend(arrived);
        }
        lane.paid = found.last().and_then(|found| found.paid).or(lane.paid);
        lane.beyond = lane.beyond.saturating_sub(next.len());
        match next.front() {
            Some(front) => {
                let vanished = front.sequence != hold.first;
                hold.first = front.sequence;
                hold.next = Next::Known(next);
                if vanished {
                    lane.reset_attempts();
                }
            }
            None => {
                lane.held = None;
                lane.beyond = 0;
                lane.estimated = false;
                lane.reset_attempts();
                self.changes.touch(lane, lookup.lane);
            }
        }
        self.lanes.settle(lookup.lane, self.now.monotonic);
    }

    /// Gives a question back that could not be answered; it is asked again.
    pub fn unresolved(&mut self, lookup: Lookup) {
        if self.asked(lookup).is_some()
            && let Some(lane) = self.lanes.get_mut(lookup.lane)
            && let Some(hold) = lane.held.as_deref_mut()
        {
            hold.next = Next::Unknown;
            self.lanes.settle(lookup.lane, self.now.monotonic);
        }
    }

    /// Forgets lanes that memory has no room for.
    pub(super) fn forget(&mut self) {
        let (held, first) = self.lanes.forget_held(self.limits.held);
        let resting = self.lanes.forget_resting(self.limits.resting);
        if held + resting > 0 {
            self.unloaded += held + resting;
            self.known.clear();
        }
        if let Some((due_at, id)) = first {
            let before = (due_at, SubjectId(id.0.saturating_sub(1)));
            self.mark = match self.mark {
                Mark::After(None) => Mark::After(None),
                Mark::After(Some(mark)) => Mark::After(Some(mark.min(before))),
                Mark::AllLoaded => Mark::After(Some(before)),
            };
        }
    }

    /// When lanes should be read from the store, by the monotonic clock.
    pub(super) fn mark_due(&self) -> Option<Duration> {
        match self.mark {
            Mark::AllLoaded => None,
            Mark::After(Some((due_at, _))) if due_at > self.now.wall => Some(due(self.now, due_at)),
            Mark::After(_) => self.wants_lanes_now().map(|_| self.now.monotonic),
        }
    }

    fn wants_lanes_now(&self) -> Option<Option<(Timestamp, SubjectId)>> {
        let after = match self.mark {
            Mark::After(after) if self.unloaded > 0 => after,
            Mark::After(_) | Mark::AllLoaded => return None,
        };
        let is_due = after.is_none_or(|(due_at, _)| due_at <= self.now.wall);
        let is_wanted = self.lanes.held_len() < self.limits.held / 2
            || (is_due && self.lanes.last_forgettable().is_some_and(|due| due > self.now.wall));
        is_wanted.then_some(after)
    }

    /// Takes a row of the store, unless memory knows the lane, and then better.
    fn learn(&mut self, row: LaneRow) {
        if self.lanes.contains(row.subject) {
            return;
        }
        self.unloaded = self.unloaded.saturating_sub(1);
        let lane = self.lanes.entry(row.subject);
        lane.stored = true;
        lane.gaps = row.gaps;
        lane.estimated = row.held.is_some();
        if let Some(held) = row.held {
            // An unordered event is its own lane, so that there is nothing to ask for.
            let next = if self.settings.ordered {
                Next::Unknown
            } else {
                let event = Waiting { sequence: held.first, bytes: 0, received_at: None };
                Next::Known(VecDeque::from([event]))
            };
            lane.attempts = held.attempts;
            lane.history = held.history;
            let due = due(self.now, held.due_at);
            lane.held = Some(Box::new(Hold { first: held.first, due, due_at: held.due_at, next }));
        }
        self.lanes.settle(row.subject, self.now.monotonic);
    }

    /// What arrived since a question was asked; `None` if it is not open.
    fn asked(&self, lookup: Lookup) -> Option<Option<Waiting>> {
        match self.lanes.get(lookup.lane)?.held.as_deref()?.next {
            Next::Asked { question, arrived, .. } if question == lookup.question => Some(arrived),
            Next::Asked { .. } | Next::Known(_) | Next::Unknown => None,
        }
    }
}

impl Hold {
    /// Takes note of an event that was offered while the lane is held.
    pub fn arrived(&mut self, event: Waiting) {
        if let Next::Asked { through, arrived: arrived @ None, .. } = &mut self.next
            && event.sequence > *through
        {
            *arrived = Some(event);
        }
    }

    /// Makes a leased event the next one again.
    pub fn put_back(&mut self, event: Waiting) {
        match &mut self.next {
            Next::Known(found) => found.push_front(event),
            Next::Unknown | Next::Asked { .. } => {
                self.next = Next::Known(VecDeque::from([event]));
            }
        }
    }
}

/// The monotonic clock's time of a stored due time.
fn due(now: Now, due_at: Timestamp) -> Duration {
    let wait = due_at.duration_since(now.wall);
    if wait.is_negative() {
        return now.monotonic;
    }
    now.monotonic.saturating_add(wait.unsigned_abs())
}
