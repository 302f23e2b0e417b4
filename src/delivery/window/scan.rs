//! The scan through the log: what is offered becomes pending with its lane, or is settled at once. The
//! cursor follows the oldest pending event.

use std::time::Duration;

use super::held::Mark;
use super::lane::{Hold, Next, Use, Waiting};
use super::{Freed, MustLookUp, Now, SLOW_LEASE, Scanned, Window};
use crate::model::{Sequence, SubjectId};

/// How often at most a full window is searched for slow leases.
const SEARCH_INTERVAL: Duration = Duration::from_millis(100);

impl Window {
    /// All up to here was offered or is known to be settled: read on after it.
    pub fn scanned(&self) -> Sequence {
        self.scanned
    }

    /// All up to here is settled: acknowledged, a dead letter, or held back with its lane.
    pub fn cursor(&self) -> Sequence {
        match self.pending.first_key_value() {
            Some((oldest, _)) => Sequence(oldest.0 - 1),
            None => self.scanned,
        }
    }

    /// How many more matching events may be offered now. While a full window only waits for slow
    /// consumers although others have room, their lanes' queued events make way.
    pub fn room(&mut self, now: Now) -> usize {
        self.tick(now);
        if self.is_starved() && self.now.monotonic >= self.searched + SEARCH_INTERVAL {
            self.searched = self.now.monotonic;
            self.clear_slow_lanes();
        }
        let free = self.capacity().saturating_sub(self.pending.len());
        // What a restart meets again was in memory before, so it always fits.
        if self.scanned < self.recovered_to { free.max(self.limits.read_ahead) } else { free }
    }

    /// How many lanes have an event that may go out as soon as a consumer takes it.
    pub fn ready_lanes(&self) -> usize {
        self.lanes.ready_len()
    }

    /// Whether the lane's row may be in the store and not in memory: ask the store for it, and tell by
    /// `looked_up` before anything of the lane is told.
    pub fn must_look_up(&self, lane: SubjectId) -> bool {
        self.unloaded > 0
            && self.settings.ordered
            && !self.lanes.contains(lane)
            && !self.known.contains(&lane)
    }

    /// Takes the next event of the log. Those up to `scanned` are known and change nothing; those that
    /// are passed over match nothing.
    pub fn offer(&mut self, event: Scanned) -> Result<(), MustLookUp> {
        if event.sequence <= self.scanned {
            return Ok(());
        }
        if !event.matches || self.is_recovered(event.sequence) {
            self.pass(event.sequence);
            return Ok(());
        }
        if self.must_look_up(event.lane) {
            return Err(MustLookUp);
        }
        self.pass(event.sequence);
        self.enqueue(event);
        Ok(())
    }

    /// Takes note that nothing up to here matches.
    pub fn pass_over(&mut self, through: Sequence) {
        if through > self.scanned {
            self.pass(through);
        }
    }

    /// Moves to another place in the log. Pending events, lanes and leases are forgotten, and acks of
    /// those leases are stale; dead letters stay, and so do their replays. Gives what consumers had.
    pub fn seek(&mut self, to: Sequence, now: Now) -> Vec<Freed> {
        self.tick(now);
        self.high_water = self.high_water.max(self.scanned).max(self.recovered_to);
        self.generation += 1;
        self.scanned = to;
        self.recovered.clear();
        self.recovered_to = to;
        self.pending.clear();
        let leased: Vec<Sequence> = self.leases.keys().copied().collect();
        let freed = leased
            .into_iter()
            .filter_map(|sequence| self.end(sequence))
            .map(|lease| lease.freed())
            .collect();
        self.recent = Default::default();
        for id in self.lanes.ids() {
            if let Some(lane) = self.lanes.remove(id)
                && !lane.replays.is_empty()
            {
                self.lanes.entry(id).replays = lane.replays;
                self.lanes.settle(id, self.now.monotonic);
            }
        }
        self.unloaded = 0;
        self.mark = Mark::AllLoaded;
        self.known.clear();
        self.changes.clear_lanes();
        freed
    }

    /// Moves the scan, over settled ranges too.
    pub(super) fn pass(&mut self, through: Sequence) {
        self.scanned = through;
        while let Some((first, last)) = self.recovered.front().copied() {
            if first > self.scanned.next() {
                break;
            }
            self.scanned = self.scanned.max(last);
            self.recovered.pop_front();
        }
    }

    fn is_recovered(&self, sequence: Sequence) -> bool {
        self.recovered
            .iter()
            .take_while(|(first, _)| *first <= sequence)
            .any(|(_, last)| sequence <= *last)
    }

    fn enqueue(&mut self, event: Scanned) {
        let waiting = Waiting {
            sequence: event.sequence,
            bytes: event.bytes,
            received_at: Some(event.received_at),
        };
        let lane = self.lanes.entry(event.lane);
        if lane.waiting() == 0 {
            lane.paid = None;
        }
        lane.paid = event.paid.or(lane.paid);
        if lane.held.is_none() && lane.queue.len() >= self.limits.queued_per_lane {
            self.spill(event.lane);
        }
        let lane = self.lanes.entry(event.lane);
        match lane.held.as_deref_mut() {
            Some(hold) => {
                hold.arrived(waiting);
                lane.beyond += 1;
            }
            None => {
                lane.queue.push_back(waiting);
                self.pending.insert(event.sequence, event.lane);
            }
        }
        self.lanes.settle(event.lane, self.now.monotonic);
    }

    /// Lets a lane wait by its row instead of in memory, due now. Its lease, if any, goes on.
    pub(super) fn spill(&mut self, id: SubjectId) {
        let now = self.now;
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let leased = match lane.in_use {
            Use::Event(sequence) => Some(sequence),
            Use::Free | Use::Replay(_) => None,
        };
        let Some(first) = leased.or(lane.queue.front().map(|front| front.sequence)) else { return };
        if let Some(sequence) = leased {
            self.pending.remove(&sequence);
        }
        for waiting in &lane.queue {
            self.pending.remove(&waiting.sequence);
        }
        let found = std::mem::take(&mut lane.queue);
        let next = if found.is_empty() { Next::Unknown } else { Next::Known(found) };
        lane.held = Some(Box::new(Hold::new(first, now, now.monotonic, next)));
        self.changes.touch(lane, id);
        self.lanes.settle(id, now.monotonic);
    }

    fn capacity(&self) -> usize {
        self.settings.max_outstanding.saturating_add(self.limits.read_ahead)
    }

    /// Whether the window is full of events that wait for leased ones of their lanes, while consumers
    /// could take others.
    fn is_starved(&self) -> bool {
        self.pending.len() >= self.capacity()
            && self.leases.len() < self.settings.max_outstanding
            && self.lanes.first_ready().is_none()
    }

    pub(super) fn next_search(&self) -> Option<Duration> {
        self.is_starved().then(|| self.searched + SEARCH_INTERVAL)
    }

    fn clear_slow_lanes(&mut self) {
        let slow: Vec<SubjectId> = self
            .leases
            .values()
            .filter(|lease| self.now.monotonic >= lease.since + SLOW_LEASE)
            .map(|lease| lease.lane)
            .collect();
        for id in slow {
            if self.lanes.get(id).is_some_and(|lane| !lane.queue.is_empty()) {
                self.spill(id);
            }
        }
    }
}
