//! What waits, counted from memory when somebody asks: its cost is bounded as memory is.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Window;
use super::held::Mark;
use super::lane::Next;
use crate::model::Money;

/// What a subscription has not settled, up to where it scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Events.
    pub events: usize,
    /// Lanes, which are subjects where the subscription is ordered.
    pub subjects: usize,
    /// When the oldest event was received whose time is known.
    pub oldest_received_at: Option<Timestamp>,
    /// The latest paid amount of each subject, added up per currency.
    pub amounts: Vec<Money>,
    /// False where held lanes wait in the store, so that the numbers are too small.
    pub exact: bool,
}

impl Window {
    /// What waits.
    pub fn backlog(&self) -> Backlog {
        let mut events = 0;
        let mut subjects = 0;
        let mut amounts = BTreeMap::new();
        let mut oldest: Option<Timestamp> = None;
        let mut exact = self.unloaded == 0 || self.mark == Mark::AllLoaded;
        for lane in self.lanes.iter() {
            let waiting = lane.waiting();
            if waiting == 0 {
                continue;
            }
            events += waiting;
            subjects += 1;
            exact &= !lane.estimated;
            if let Some(paid) = lane.paid {
                let sum: &mut i64 = amounts.entry(paid.currency).or_default();
                *sum = sum.saturating_add(paid.minor_units);
            }
            let found = match lane.held.as_deref().map(|hold| &hold.next) {
                Some(Next::Known(found)) => found.front(),
                Some(Next::Unknown | Next::Asked { .. }) | None => None,
            };
            let first = lane.queue.front().or(found).and_then(|event| event.received_at);
            oldest = earliest(oldest, first);
        }
        for lease in self.leases.values() {
            oldest = earliest(oldest, lease.event.received_at);
        }
        let amounts = amounts
            .into_iter()
            .map(|(currency, minor_units)| Money { minor_units, currency })
            .collect();
        Backlog { events, subjects, oldest_received_at: oldest, amounts, exact }
    }

    /// How many events are pending in memory.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// How many held lanes are in memory. The store knows how many there are.
    pub fn held_in_memory(&self) -> usize {
        self.lanes.held_len()
    }

    /// How many dead letters are replayed from memory.
    pub fn replays_in_memory(&self) -> usize {
        self.replays
    }

    /// How many lanes of any kind are in memory.
    pub fn lanes_in_memory(&self) -> usize {
        self.lanes.len()
    }
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}
