//! Events that the subscription gave up on, and their replays. A replay goes before its lane's other
//! events, on the lane's one lease; where it fails, it waits by itself and holds nothing back.

use std::time::Duration;

use super::lane::{Use, Waiting, remember};
use super::leases::Failure;
use super::{Freed, MustLookUp, NackKind, Now, Window};
use crate::model::{Sequence, SubjectId};
use crate::store::rows::{Attempt, DeadLetterRow};

/// A dead letter that is delivered again.
#[derive(Debug)]
pub(super) struct Replay {
    pub event: Waiting,
    /// How many attempts failed since the replay was asked for.
    pub attempts: u32,
    pub due: Duration,
    history: Vec<Attempt>,
}

impl Window {
    /// Delivers a dead letter again, and notes it in the store. Past what memory has room for it waits
    /// in the store, until `wants_replays` asks for it.
    pub fn replay(&mut self, now: Now, mut row: DeadLetterRow) -> Result<(), MustLookUp> {
        self.tick(now);
        if self.must_look_up(row.subject) {
            return Err(MustLookUp);
        }
        if self.changes.removes_dead_letter(row.sequence) {
            return Ok(());
        }
        if !row.replaying {
            row.replaying = true;
            self.changes.put_dead_letter(row.clone());
        }
        self.take_replay(row);
        Ok(())
    }

    /// Tells at the start that the store may have dead letters that are replayed.
    pub fn set_unloaded_replays(&mut self) {
        self.replays_after = Some(Sequence(0));
    }

    /// Whether dead letters that are replayed should be read from the store now, and after which.
    pub fn wants_replays(&self) -> Option<Sequence> {
        self.replays_after.filter(|_| self.replays < self.limits.replays.div_ceil(2))
    }

    /// Takes dead letters in sequence, as `wants_replays` asked for them; `more` tells whether the store
    /// has others after them. Fails where a lane of theirs must be looked up.
    pub fn learn_replays(
        &mut self,
        now: Now,
        rows: Vec<DeadLetterRow>,
        more: bool,
    ) -> Result<(), MustLookUp> {
        self.tick(now);
        if rows.iter().any(|row| self.must_look_up(row.subject)) {
            return Err(MustLookUp);
        }
        self.replays_after = rows.last().map(|row| row.sequence).filter(|_| more);
        for row in rows {
            self.take_replay(row);
        }
        Ok(())
    }

    /// Forgets a dead letter, replayed or not, and gives the delivery that ends by it.
    pub fn discard(
        &mut self,
        now: Now,
        sequence: Sequence,
        lane: SubjectId,
    ) -> Result<Option<Freed>, MustLookUp> {
        self.tick(now);
        if self.must_look_up(lane) {
            return Err(MustLookUp);
        }
        let is_leased = self.lane_use(lane) == Use::Replay(sequence);
        let lease = if is_leased { self.end(sequence) } else { None };
        self.replay_acked(lane, sequence);
        if is_leased {
            self.free_lane(lane);
        } else {
            self.lanes.settle(lane, self.now.monotonic);
        }
        Ok(lease.map(|lease| lease.freed()))
    }

    /// A lane's next event becomes a dead letter, and the lane goes on after it.
    pub(super) fn bury(&mut self, id: SubjectId, sequence: Sequence, reason: &str) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        // After a seek it may have been one before, and its replay be waiting.
        let before = lane.replays.len();
        lane.replays.retain(|replay| replay.event.sequence != sequence);
        self.replays -= before - lane.replays.len();
        self.changes.put_dead_letter(DeadLetterRow {
            sequence,
            subject: id,
            reason: reason.to_owned(),
            history: std::mem::take(&mut lane.history),
            dead_at: self.now.wall,
            replaying: false,
        });
        if self.settings.ordered {
            lane.gaps = lane.gaps.saturating_add(1);
            self.changes.touch(lane, id);
        }
        self.settle_event(id, sequence);
    }

    /// A dead letter is handled or discarded: it closes a gap of its lane.
    pub(super) fn replay_acked(&mut self, id: SubjectId, sequence: Sequence) {
        if !self.changes.remove_dead_letter(sequence) {
            return;
        }
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let before = lane.replays.len();
        lane.replays.retain(|replay| replay.event.sequence != sequence);
        self.replays -= before - lane.replays.len();
        if lane.gaps > 0 {
            lane.gaps -= 1;
            self.changes.touch(lane, id);
        }
    }

    /// A replay failed: it waits, or stays a dead letter.
    pub(super) fn replay_failed(
        &mut self,
        id: SubjectId,
        sequence: Sequence,
        failure: &Failure<'_>,
        name: &str,
    ) {
        let now = self.now;
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let found = lane.replays.iter().position(|replay| replay.event.sequence == sequence);
        let Some(index) = found else { return };
        let replay = &mut lane.replays[index];
        if failure.kind != NackKind::Throttled {
            replay.attempts = replay.attempts.saturating_add(1);
            remember(&mut replay.history, now, name, failure.reason);
        }
        if !failure.is_last(replay.attempts, &self.settings) {
            let wait = failure.wait(replay.attempts, &self.settings);
            replay.due = now.monotonic.saturating_add(wait);
            return;
        }
        if let Some(replay) = lane.replays.remove(index) {
            self.replays -= 1;
            self.changes.put_dead_letter(DeadLetterRow {
                sequence,
                subject: id,
                reason: failure.reason.to_owned(),
                history: replay.history,
                dead_at: now.wall,
                replaying: false,
            });
        }
    }

    fn take_replay(&mut self, row: DeadLetterRow) {
        let lane = self.lanes.entry(row.subject);
        let place =
            lane.replays.binary_search_by_key(&row.sequence, |replay| replay.event.sequence);
        if let Err(index) = place {
            if self.replays < self.limits.replays {
                let event = Waiting { sequence: row.sequence, bytes: 0, received_at: None };
                let due = self.now.monotonic;
                lane.replays
                    .insert(index, Replay { event, attempts: 0, due, history: row.history });
                self.replays += 1;
            } else {
                let before = Sequence(row.sequence.0 - 1);
                self.replays_after = Some(self.replays_after.map_or(before, |at| at.min(before)));
            }
        }
        self.lanes.settle(row.subject, self.now.monotonic);
    }
}
