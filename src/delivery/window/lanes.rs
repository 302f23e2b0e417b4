//! The lanes that are in memory, and the order in which they wait: ready ones first come first served,
//! blocked ones by due time, held ones whose next event is asked for. A lane is in one of these places
//! at most, and `settle` alone moves it. A lane that has nothing to say leaves memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use super::lane::{Goal, Lane};
use crate::model::SubjectId;

/// Where a lane waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nowhere,
    Ready(u64),
    Unresolved(u64),
    Blocked(Duration),
}

/// All lanes in memory.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    map: HashMap<SubjectId, Lane>,
    ready: BTreeMap<u64, SubjectId>,
    unresolved: BTreeMap<u64, SubjectId>,
    blocked: BTreeSet<(Duration, SubjectId)>,
    held: BTreeSet<(Timestamp, SubjectId)>,
    /// Lanes that only have dead letters.
    resting: BTreeSet<SubjectId>,
    tickets: u64,
    /// The last update that is committed.
    pub committed: u64,
}

impl Lanes {
    pub fn get(&self, id: SubjectId) -> Option<&Lane> {
        self.map.get(&id)
    }

    pub fn get_mut(&mut self, id: SubjectId) -> Option<&mut Lane> {
        self.map.get_mut(&id)
    }

    /// The lane, made if it is not in memory. Call `settle` when done with it.
    pub fn entry(&mut self, id: SubjectId) -> &mut Lane {
        self.map.entry(id).or_default()
    }

    pub fn contains(&self, id: SubjectId) -> bool {
        self.map.contains_key(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.map.values()
    }

    pub fn ids(&self) -> Vec<SubjectId> {
        self.map.keys().copied().collect()
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// How many lanes wait for a consumer.
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// The lane that has waited longest for a consumer.
    pub fn first_ready(&self) -> Option<SubjectId> {
        self.ready.first_key_value().map(|(_, id)| *id)
    }

    /// The lane that has waited longest for its next event to be found.
    pub fn first_unresolved(&self) -> Option<SubjectId> {
        self.unresolved.first_key_value().map(|(_, id)| *id)
    }

    pub fn next_due(&self) -> Option<Duration> {
        self.blocked.first().map(|(due, _)| *due)
    }

    /// When the last held lane is due that could make way.
    pub fn last_forgettable(&self) -> Option<Timestamp> {
        let mut latest_first = self.held.iter().rev();
        let last = latest_first.find(|(_, id)| {
            self.map.get(id).is_some_and(|lane| lane.may_be_forgotten(self.committed))
        })?;
        Some(last.0)
    }

    pub fn held_len(&self) -> usize {
        self.held.len()
    }

    /// Lets lanes go on that are due.
    pub fn wake(&mut self, now: Duration) {
        while let Some((due, id)) = self.blocked.first().copied() {
            if due > now {
                break;
            }
            self.settle(id, now);
        }
    }

    /// Puts a lane where it belongs after it changed, or drops it if nothing is left of it.
    pub fn settle(&mut self, id: SubjectId, now: Duration) {
        let Some(lane) = self.map.get_mut(&id) else { return };
        let goal = lane.goal(now);
        if !lane.place.serves(goal) {
            match lane.place {
                Place::Nowhere => {}
                Place::Ready(ticket) => drop(self.ready.remove(&ticket)),
                Place::Unresolved(ticket) => drop(self.unresolved.remove(&ticket)),
                Place::Blocked(due) => drop(self.blocked.remove(&(due, id))),
            }
            self.tickets += 1;
            lane.place = match goal {
                Goal::Nothing => Place::Nowhere,
                Goal::Consumer => {
                    self.ready.insert(self.tickets, id);
                    Place::Ready(self.tickets)
                }
                Goal::Resolve => {
                    self.unresolved.insert(self.tickets, id);
                    Place::Unresolved(self.tickets)
                }
                Goal::Due(due) => {
                    self.blocked.insert((due, id));
                    Place::Blocked(due)
                }
            };
        }
        let due_at = lane.held.as_ref().map(|hold| hold.due_at);
        if lane.indexed != due_at {
            if let Some(old) = lane.indexed {
                self.held.remove(&(old, id));
            }
            if let Some(new) = due_at {
                self.held.insert((new, id));
            }
            lane.indexed = due_at;
        }
        let idle = lane.is_idle(self.committed);
        if idle && lane.gaps > 0 {
            self.resting.insert(id);
        } else if !self.resting.is_empty() {
            self.resting.remove(&id);
        }
        if idle && lane.gaps == 0 {
            self.map.remove(&id);
        }
    }

    /// Forgets held lanes past `max`, those due last first, as far as the store has their rows. Gives
    /// the number forgotten and the least due time and id among them.
    pub fn forget_held(&mut self, max: usize) -> (usize, Option<(Timestamp, SubjectId)>) {
        let excess = self.held.len().saturating_sub(max);
        if excess == 0 {
            return (0, None);
        }
        let committed = self.committed;
        let forgotten: Vec<_> = self
            .held
            .iter()
            .rev()
            .filter(|(_, id)| self.map.get(id).is_some_and(|lane| lane.may_be_forgotten(committed)))
            .take(excess)
            .copied()
            .collect();
        for (_, id) in &forgotten {
            self.remove(*id);
        }
        (forgotten.len(), forgotten.last().copied())
    }

    /// Forgets lanes that only have dead letters past `max`, and gives their number.
    pub fn forget_resting(&mut self, max: usize) -> usize {
        let mut forgotten = 0;
        while self.resting.len() > max {
            let Some(id) = self.resting.first().copied() else { break };
            self.remove(id);
            forgotten += 1;
        }
        forgotten
    }

    /// Takes a lane out of memory, whatever its state.
    pub fn remove(&mut self, id: SubjectId) -> Option<Lane> {
        let lane = self.map.remove(&id)?;
        match lane.place {
            Place::Nowhere => {}
            Place::Ready(ticket) => drop(self.ready.remove(&ticket)),
            Place::Unresolved(ticket) => drop(self.unresolved.remove(&ticket)),
            Place::Blocked(due) => drop(self.blocked.remove(&(due, id))),
        }
        if let Some(due_at) = lane.indexed {
            self.held.remove(&(due_at, id));
        }
        self.resting.remove(&id);
        Some(lane)
    }
}

impl Place {
    /// Whether a lane that waits for `goal` may stay here; it keeps its turn then.
    fn serves(self, goal: Goal) -> bool {
        match (self, goal) {
            (Place::Nowhere, Goal::Nothing)
            | (Place::Ready(_), Goal::Consumer)
            | (Place::Unresolved(_), Goal::Resolve) => true,
            (Place::Blocked(due), Goal::Due(goal)) => due == goal,
            (
                Place::Nowhere | Place::Ready(_) | Place::Unresolved(_) | Place::Blocked(_),
                Goal::Nothing | Goal::Consumer | Goal::Resolve | Goal::Due(_),
            ) => false,
        }
    }
}
