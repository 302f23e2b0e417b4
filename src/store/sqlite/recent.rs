//! The keys that came last: of events (what is claimed) and of subjects. Keys are digests, so each one
//! written at once would dirty a page of its index of its own; here they wait in memory and go into the
//! index in sorted runs, a few with each commit, so that neighbours share pages. A commit writes its
//! events' keys down in one row with its events (`event_blocks.keys`), from which a start reads back what
//! the index does not have yet. In come keys with each commit; out go runs to be indexed. Nothing may be
//! taken to be indexed before its commit.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A digest by which an event or a subject is known.
pub type Key = [u8; 16];

/// How many keys wait before a run begins: more make runs denser and cost memory.
const RUN_BEGINS_AT: usize = 32_768;
/// How many keys of a run go with a commit for each new event, so that runs end before the next begins.
const KEYS_PER_EVENT: usize = 2;

/// The keys that are not in the index yet, or not known to be.
#[derive(Default)]
pub struct Recent {
    waiting: RwLock<Waiting>,
}

#[derive(Default)]
struct Waiting {
    events: HashMap<Key, i64>,
    subjects: HashMap<Key, i64>,
    run: Option<Run>,
}

/// A run that is being indexed: sorted by key.
struct Run {
    events: Vec<(Key, i64)>,
    subjects: Vec<(Key, i64)>,
    events_done: usize,
    subjects_done: usize,
    through: i64,
}

/// What a commit puts into the index.
#[derive(Default)]
pub struct Part {
    /// Keys of events with their sequences.
    pub events: Vec<(Key, i64)>,
    /// Keys of subjects with their numbers.
    pub subjects: Vec<(Key, i64)>,
    /// Where the index stands once this is committed, if it ends a run: all up to here is in it.
    pub indexed: Option<i64>,
}

impl Recent {
    /// The sequence of a recent event.
    pub fn event(&self, key: &Key) -> Option<i64> {
        self.read().events.get(key).copied()
    }

    /// The number of a recent subject.
    pub fn subject(&self, key: &Key) -> Option<i64> {
        self.read().subjects.get(key).copied()
    }

    /// Begins anew with what a start found.
    pub fn reset(&self, events: HashMap<Key, i64>, subjects: HashMap<Key, i64>) {
        *self.write() = Waiting { events, subjects, run: None };
    }

    /// What the next commit, of so many new events, is to index. `indexed` must follow its success.
    pub fn next_part(&self, new_events: usize, head: i64) -> Part {
        let mut waiting = self.write();
        if waiting.run.is_none() && waiting.events.len() >= RUN_BEGINS_AT {
            waiting.run = Some(Run::new(&waiting, head));
        }
        let Some(run) = &waiting.run else { return Part::default() };
        let most = new_events.saturating_mul(KEYS_PER_EVENT);
        let next = |keys: &[(Key, i64)], done: usize| {
            keys.iter().skip(done).take(most).copied().collect::<Vec<_>>()
        };
        let events = next(&run.events, run.events_done);
        let subjects = next(&run.subjects, run.subjects_done);
        let ends = run.events_done + events.len() == run.events.len()
            && run.subjects_done + subjects.len() == run.subjects.len();
        Part { indexed: ends.then_some(run.through), events, subjects }
    }

    /// A commit succeeded: its part is in the index, and its own keys wait.
    pub fn committed(&self, part: &Part, events: &[(Key, i64)], subjects: &[(Key, i64)]) {
        let mut waiting = self.write();
        waiting.events.extend(events.iter().copied());
        waiting.subjects.extend(subjects.iter().copied());
        if let Some(run) = &mut waiting.run {
            run.events_done += part.events.len();
            run.subjects_done += part.subjects.len();
        }
        if let Some(through) = part.indexed {
            waiting.events.retain(|_, sequence| *sequence > through);
            waiting.subjects.retain(|_, number| *number > through);
            waiting.run = None;
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Waiting> {
        self.waiting.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Waiting> {
        self.waiting.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    fn new(waiting: &Waiting, through: i64) -> Run {
        let sorted = |keys: &HashMap<Key, i64>| {
            let mut keys: Vec<(Key, i64)> = keys.iter().map(|(key, at)| (*key, *at)).collect();
            keys.sort_unstable();
            keys
        };
        Run {
            events: sorted(&waiting.events),
            subjects: sorted(&waiting.subjects),
            events_done: 0,
            subjects_done: 0,
            through,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: i64) -> Key {
        let mut key = [0; 16];
        key[..8]
            .copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64).to_be_bytes());
        key
    }

    #[test]
    fn every_key_is_found_here_or_was_handed_to_the_index() {
        let recent = Recent::default();
        let mut index = HashMap::new();
        let mut ended = 0;
        let last = 3 * RUN_BEGINS_AT as i64;
        for sequence in 1..=last {
            let part = recent.next_part(1, sequence - 1);
            index.extend(part.events.iter().copied());
            ended += i64::from(part.indexed.is_some());
            recent.committed(&part, &[(key(sequence), sequence)], &[]);
        }
        assert!(ended >= 1);
        for sequence in 1..=last {
            let found = recent.event(&key(sequence)).or(index.get(&key(sequence)).copied());
            assert_eq!(found, Some(sequence));
        }
        assert!(recent.read().events.len() < 2 * RUN_BEGINS_AT, "what is indexed is forgotten");
    }
}
