//! Which rows go into the next batch: the oldest whose record and parent no call under way touches, no two
//! of one record. In come rows as deliveries arrive, out go batches; when a batch is back its records are
//! free again. It does no I/O and knows no clock.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::crm::Key;
use crate::mapping::Row;

/// A row that waits, by the number of its delivery.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Whose it is.
    pub job: u64,
    /// The row.
    pub row: Arc<Row>,
}

/// Rows of all kinds of records of one connector.
#[derive(Debug)]
pub struct Dispatch {
    queues: Vec<VecDeque<Waiting>>,
    /// Keys that calls under way write, by kind of record.
    busy_keys: Vec<HashSet<Key>>,
    /// Parents of which a call under way writes children.
    busy_parents: Vec<HashSet<String>>,
    /// Where the next batch is looked for first, so that no kind of record waits for another.
    turn: usize,
}

/// Rows that are written by one call.
#[derive(Debug)]
#[must_use = "its records stay busy until it is given back"]
pub struct Batch {
    /// The kind of record.
    pub object: usize,
    /// Its rows.
    pub rows: Vec<Waiting>,
}

impl Dispatch {
    /// For so many kinds of records.
    pub fn new(objects: usize) -> Dispatch {
        Dispatch {
            queues: vec![VecDeque::new(); objects],
            busy_keys: vec![HashSet::new(); objects],
            busy_parents: vec![HashSet::new(); objects],
            turn: 0,
        }
    }

    /// A row waits from now on.
    pub fn push(&mut self, object: usize, waiting: Waiting) {
        self.queues[object].push_back(waiting);
    }

    /// The next batch of at most so many rows, by kind of record; none if all that waits must go on waiting.
    pub fn next(&mut self, max_rows: impl Fn(usize) -> usize) -> Option<Batch> {
        let objects = self.queues.len();
        for step in 0..objects {
            let object = (self.turn + step) % objects;
            let rows = self.take(object, max_rows(object));
            if !rows.is_empty() {
                self.turn = (object + 1) % objects;
                return Some(Batch { object, rows });
            }
        }
        None
    }

    /// How many rows of a kind of record wait, those that must go on waiting among them.
    pub fn waiting(&self, object: usize) -> usize {
        self.queues[object].len()
    }

    /// Whether anything could go now.
    pub fn has_ready(&self) -> bool {
        self.queues
            .iter()
            .enumerate()
            .any(|(object, queue)| queue.iter().any(|waiting| self.is_free(object, &waiting.row)))
    }

    /// The batch's call is over.
    pub fn done(&mut self, batch: &Batch) {
        let mut parents = HashSet::new();
        for waiting in &batch.rows {
            for key in &waiting.row.keys {
                self.busy_keys[batch.object].remove(key);
            }
            parents.extend(waiting.row.parent.clone());
        }
        for parent in parents {
            self.busy_parents[batch.object].remove(&parent);
        }
    }

    /// Takes out a row that waits with the same keys and may be passed over for a newer one.
    pub fn take_waiting(
        &mut self,
        object: usize,
        keys: &[Key],
        may_go: impl Fn(u64) -> bool,
    ) -> Option<Waiting> {
        let queue = &mut self.queues[object];
        let place = queue.iter().position(|one| one.row.keys == keys && may_go(one.job))?;
        queue.remove(place)
    }

    /// Takes everything out that waits.
    pub fn drain(&mut self) -> Vec<Waiting> {
        self.queues.iter_mut().flat_map(|queue| queue.drain(..)).collect()
    }

    fn take(&mut self, object: usize, max_rows: usize) -> Vec<Waiting> {
        let mut rows: Vec<Waiting> = Vec::new();
        let mut parents = HashSet::new();
        let mut left = VecDeque::new();
        // A row must not overtake an older one of its record that stays behind.
        let mut passed: HashSet<Key> = HashSet::new();
        let mut queue = std::mem::take(&mut self.queues[object]);
        while let Some(waiting) = queue.pop_front() {
            if rows.len() >= max_rows {
                left.push_back(waiting);
                break;
            }
            let overtakes = waiting.row.keys.iter().any(|key| passed.contains(key));
            let parent_is_mine =
                waiting.row.parent.as_ref().is_some_and(|parent| parents.contains(parent));
            let free = self.keys_are_free(object, &waiting.row)
                && (parent_is_mine || self.parent_is_free(object, &waiting.row));
            if overtakes || !free {
                passed.extend(waiting.row.keys.iter().cloned());
                left.push_back(waiting);
                continue;
            }
            for key in &waiting.row.keys {
                self.busy_keys[object].insert(key.clone());
            }
            if let Some(parent) = &waiting.row.parent {
                parents.insert(parent.clone());
                self.busy_parents[object].insert(parent.clone());
            }
            rows.push(waiting);
        }
        left.append(&mut queue);
        self.queues[object] = left;
        rows
    }

    fn is_free(&self, object: usize, row: &Row) -> bool {
        self.keys_are_free(object, row) && self.parent_is_free(object, row)
    }

    fn keys_are_free(&self, object: usize, row: &Row) -> bool {
        row.keys.iter().all(|key| !self.busy_keys[object].contains(key))
    }

    fn parent_is_free(&self, object: usize, row: &Row) -> bool {
        let parent = row.parent.as_ref();
        parent.is_none_or(|parent| !self.busy_parents[object].contains(parent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(job: u64, key: &str, parent: Option<&str>) -> Waiting {
        let key = Key::Field { field: "id".to_owned(), value: key.to_owned(), unique: true };
        let row = Row { keys: vec![key], fields: Vec::new(), parent: parent.map(str::to_owned) };
        Waiting { job, row: Arc::new(row) }
    }

    fn jobs(batch: &Batch) -> Vec<u64> {
        batch.rows.iter().map(|waiting| waiting.job).collect()
    }

    #[test]
    fn a_record_is_in_one_call_at_a_time_and_in_order() {
        let mut dispatch = Dispatch::new(1);
        for (job, key) in [(1, "a"), (2, "b"), (3, "a"), (4, "c")] {
            dispatch.push(0, waiting(job, key, None));
        }
        let first = dispatch.next(|_| 10).expect("rows wait");
        assert_eq!(jobs(&first), [1, 2, 4]);
        assert!(!dispatch.has_ready());
        assert!(dispatch.next(|_| 10).is_none());
        dispatch.done(&first);
        assert_eq!(jobs(&dispatch.next(|_| 10).expect("its turn")), [3]);
    }

    #[test]
    fn children_of_one_parent_go_together_or_one_after_the_other() {
        let mut dispatch = Dispatch::new(1);
        for (job, key, parent) in [(1, "a", "p"), (2, "b", "p"), (3, "c", "q"), (4, "d", "p")] {
            dispatch.push(0, waiting(job, key, Some(parent)));
        }
        let first = dispatch.next(|_| 2).expect("rows wait");
        assert_eq!(jobs(&first), [1, 2]);
        assert_eq!(jobs(&dispatch.next(|_| 2).expect("another parent")), [3]);
        assert!(!dispatch.has_ready());
        dispatch.done(&first);
        assert_eq!(jobs(&dispatch.next(|_| 2).expect("its parent is free")), [4]);
    }

    #[test]
    fn kinds_of_records_take_turns() {
        let mut dispatch = Dispatch::new(2);
        for job in 0..4 {
            dispatch.push(0, waiting(job, &job.to_string(), None));
        }
        dispatch.push(1, waiting(9, "x", None));
        assert_eq!(dispatch.next(|_| 2).expect("rows").object, 0);
        assert_eq!(dispatch.next(|_| 2).expect("rows").object, 1);
        assert_eq!(jobs(&dispatch.next(|_| 2).expect("rows")), [2, 3]);
    }
}
