//! What must survive: every change since the last update, as the rows that the store is to have. An
//! update is a consistent picture: whoever begins again from the store after it loses nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::lane::Lane;
use super::{Now, Window};
use crate::model::{Sequence, SubjectId};
use crate::store::rows::{AckRecord, DeadLetterRow, Position, PositionUpdate, SubscriptionId};

/// Changes that no update has told yet, and the updates that are not committed yet.
#[derive(Debug)]
pub(super) struct Changes {
    pub changed: bool,
    pub acked: Vec<AckRecord>,
    dirty: Vec<SubjectId>,
    dead_letters: BTreeMap<Sequence, DeadLetterRow>,
    dead_letters_removed: BTreeSet<Sequence>,
    clear_lanes: bool,
    /// The cursor that the last update told.
    cursor: Sequence,
    taken: u64,
    in_flight: VecDeque<Vec<SubjectId>>,
}

impl Window {
    /// All durable changes since the last update, or `None` if there are none. Updates must be committed
    /// in the order in which they were taken, and `committed` called for each.
    pub fn take_update(&mut self, id: SubscriptionId, now: Now) -> Option<PositionUpdate> {
        self.tick(now);
        if !self.changes.changed {
            return None;
        }
        let done = self.bounded_done_ranges();
        let position = Position {
            cursor: self.cursor(),
            done,
            high_water: self.high_water,
            generation: self.generation,
        };
        let changes = &mut self.changes;
        changes.changed = false;
        changes.cursor = position.cursor;
        changes.taken += 1;
        let mut update = PositionUpdate {
            subscription: id,
            position,
            lanes: Vec::new(),
            lanes_removed: Vec::new(),
            dead_letters: std::mem::take(&mut changes.dead_letters).into_values().collect(),
            dead_letters_removed: std::mem::take(&mut changes.dead_letters_removed)
                .into_iter()
                .collect(),
            acked: std::mem::take(&mut changes.acked),
            clear_lanes: std::mem::take(&mut changes.clear_lanes),
        };
        let dirty = std::mem::take(&mut changes.dirty);
        for id in &dirty {
            let Some(lane) = self.lanes.get_mut(*id) else { continue };
            lane.dirty = false;
            lane.written = changes.taken;
            match lane.row(*id) {
                Some(row) => {
                    lane.stored = true;
                    update.lanes.push(row);
                }
                None if lane.stored => {
                    lane.stored = false;
                    update.lanes_removed.push(*id);
                }
                None => {}
            }
        }
        changes.in_flight.push_back(dirty);
        Some(update)
    }

    /// The update that was taken first of those that are not committed yet is committed.
    pub fn committed(&mut self) {
        let Some(written) = self.changes.in_flight.pop_front() else { return };
        self.lanes.committed += 1;
        for id in written {
            self.lanes.settle(id, self.now.monotonic);
        }
        self.forget();
    }

    /// How far the cursor moved since the last update that told it.
    pub fn passed_since_update(&self) -> u64 {
        self.cursor().0.abs_diff(self.changes.cursor.0)
    }

    /// Makes the next update tell the cursor, even if all that was passed over matched nothing.
    pub fn persist_passed(&mut self) {
        self.changes.changed |= self.passed_since_update() > 0;
    }

    /// The settled ranges above the cursor. Where they are too many, the oldest pending lanes make way,
    /// so that the cursor moves on.
    fn bounded_done_ranges(&mut self) -> Vec<(Sequence, Sequence)> {
        loop {
            let done = self.done_ranges();
            if done.len() <= self.limits.done_ranges || self.pending.is_empty() {
                return done;
            }
            for _ in self.limits.done_ranges..done.len() {
                let Some(lane) = self.pending.first_key_value().map(|(_, lane)| *lane) else {
                    break;
                };
                self.spill(lane);
            }
        }
    }

    fn done_ranges(&self) -> Vec<(Sequence, Sequence)> {
        let mut done: Vec<(Sequence, Sequence)> = Vec::new();
        let mut from = self.cursor().next();
        for pending in self.pending.keys() {
            if *pending > from {
                done.push((from, Sequence(pending.0 - 1)));
            }
            from = pending.next();
        }
        if self.scanned >= from {
            done.push((from, self.scanned));
        }
        done.extend(&self.recovered);
        done
    }
}

impl Changes {
    /// Nothing, since the store told this cursor.
    pub fn new(cursor: Sequence) -> Changes {
        Changes {
            changed: false,
            acked: Vec::new(),
            dirty: Vec::new(),
            dead_letters: BTreeMap::new(),
            dead_letters_removed: BTreeSet::new(),
            clear_lanes: false,
            cursor,
            taken: 0,
            in_flight: VecDeque::new(),
        }
    }

    /// A lane's row changed.
    pub fn touch(&mut self, lane: &mut Lane, id: SubjectId) {
        self.changed = true;
        if !lane.dirty {
            lane.dirty = true;
            self.dirty.push(id);
        }
    }

    /// A dead letter is new or changed.
    pub fn put_dead_letter(&mut self, row: DeadLetterRow) {
        self.changed = true;
        self.dead_letters_removed.remove(&row.sequence);
        self.dead_letters.insert(row.sequence, row);
    }

    /// A dead letter is to be forgotten; false if it was told before.
    pub fn remove_dead_letter(&mut self, sequence: Sequence) -> bool {
        self.changed = true;
        self.dead_letters.remove(&sequence);
        self.dead_letters_removed.insert(sequence)
    }

    /// Whether the store does not know yet that a dead letter is to be forgotten.
    pub fn removes_dead_letter(&self, sequence: Sequence) -> bool {
        self.dead_letters_removed.contains(&sequence)
    }

    /// All lanes are forgotten, in the store too.
    pub fn clear_lanes(&mut self) {
        self.changed = true;
        self.clear_lanes = true;
        self.dirty.clear();
    }
}
