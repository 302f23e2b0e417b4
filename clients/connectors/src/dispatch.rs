//! Which rows go into the next batch: the oldest whose record and parent no call under way touches, no two
//! of one record. In come rows as deliveries arrive, out go batches; when a batch is back its records are
//! free again. It does no I/O and knows no clock.

use std::collections::{HashMap, HashSet, VecDeque};
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
    /// How many rows wait with each first key, by queue: most have it to themselves.
    waiting: Vec<HashMap<Key, usize>>,
    /// Whether a queue may have a row that could go; false once it was looked through in vain.
    may_go: Vec<bool>,
    /// Of which kind of record the rows of a queue are.
    kinds: Vec<usize>,
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
    /// The mapping whose rows these are.
    pub object: usize,
    /// Its rows.
    pub rows: Vec<Waiting>,
}

impl Dispatch {
    /// For mappings that write these objects. Those with the same one keep off each other's records.
    pub fn new(objects: &[&str]) -> Dispatch {
        let kind = |object| objects.iter().position(|other| *other == object);
        let count = objects.len();
        Dispatch {
            queues: vec![VecDeque::new(); count],
            waiting: vec![HashMap::new(); count],
            may_go: vec![false; count],
            kinds: objects.iter().copied().filter_map(kind).collect(),
            busy_keys: vec![HashSet::new(); count],
            busy_parents: vec![HashSet::new(); count],
            turn: 0,
        }
    }

    /// A row waits from now on.
    pub fn push(&mut self, object: usize, waiting: Waiting) {
        if !self.may_go[object] {
            self.may_go[object] = self.is_free(self.kinds[object], &waiting.row);
        }
        if let Some(key) = waiting.row.keys.first() {
            *self.waiting[object].entry(key.clone()).or_default() += 1;
        }
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

    /// Whether anything may go now. Asked often: it looks through no queue.
    pub fn has_ready(&self) -> bool {
        self.may_go.contains(&true)
    }

    /// The batch's call is over.
    pub fn done(&mut self, batch: &Batch) {
        let kind = self.kinds[batch.object];
        for waiting in &batch.rows {
            for key in &waiting.row.keys {
                self.busy_keys[kind].remove(key);
            }
            if let Some(parent) = &waiting.row.parent {
                self.busy_parents[kind].remove(parent);
            }
        }
        for (object, queue) in self.queues.iter().enumerate() {
            if self.kinds[object] == kind {
                self.may_go[object] = !queue.is_empty();
            }
        }
    }

    /// Takes out a row that waits with the same keys and may be passed over for a newer one.
    pub fn take_waiting(
        &mut self,
        object: usize,
        keys: &[Key],
        may_go: impl Fn(u64) -> bool,
    ) -> Option<Waiting> {
        self.waiting[object].get(keys.first()?)?;
        let queue = &mut self.queues[object];
        let place = queue.iter().position(|one| one.row.keys == keys && may_go(one.job))?;
        let taken = queue.remove(place)?;
        self.waits_no_more(object, &taken.row);
        Some(taken)
    }

    /// Takes everything out that waits.
    pub fn drain(&mut self) -> Vec<Waiting> {
        self.waiting.iter_mut().for_each(HashMap::clear);
        self.may_go.fill(false);
        self.queues.iter_mut().flat_map(|queue| queue.drain(..)).collect()
    }

    fn take(&mut self, object: usize, max_rows: usize) -> Vec<Waiting> {
        if !self.may_go[object] {
            return Vec::new();
        }
        let kind = self.kinds[object];
        let mut rows: Vec<Waiting> = Vec::new();
        let mut parents = HashSet::new();
        let mut left = Vec::new();
        // A row must not overtake an older one of its record that stays behind.
        let mut passed: HashSet<Key> = HashSet::new();
        let mut queue = std::mem::take(&mut self.queues[object]);
        while rows.len() < max_rows
            && let Some(waiting) = queue.pop_front()
        {
            let row = &waiting.row;
            let overtakes = row.keys.iter().any(|key| passed.contains(key));
            let parent_is_mine = row.parent.as_ref().is_some_and(|parent| parents.contains(parent));
            let free =
                self.keys_are_free(kind, row) && (parent_is_mine || self.parent_is_free(kind, row));
            if overtakes || !free {
                for key in row.keys.iter() {
                    if !passed.contains(key) {
                        passed.insert(key.clone());
                    }
                }
                left.push(waiting);
                continue;
            }
            self.busy_keys[kind].extend(row.keys.iter().cloned());
            if let Some(parent) = &row.parent {
                parents.insert(parent.clone());
                self.busy_parents[kind].insert(parent.clone());
            }
            self.waits_no_more(object, &waiting.row);
            rows.push(waiting);
        }
        self.may_go[object] = !queue.is_empty();
        for waiting in left.into_iter().rev() {
            queue.push_front(waiting);
        }
        self.queues[object] = queue;
        rows
    }

    fn waits_no_more(&mut self, object: usize, row: &Row) {
        let Some(key) = row.keys.first() else { return };
        let waiting = &mut self.waiting[object];
        match waiting.get_mut(key) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                waiting.remove(key);
            }
        }
    }

    fn is_free(&self, kind: usize, row: &Row) -> bool {
        self.keys_are_free(kind, row) && self.parent_is_free(kind, row)
    }

    fn keys_are_free(&self, kind: usize, row: &Row) -> bool {
        row.keys.iter().all(|key| !self.busy_keys[kind].contains(key))
    }

    fn parent_is_free(&self, kind: usize, row: &Row) -> bool {
        let parent = row.parent.as_ref();
        parent.is_none_or(|parent| !self.busy_parents[kind].contains(parent))
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
        let mut dispatch = Dispatch::new(&["a"]);
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
        let mut dispatch = Dispatch::new(&["a"]);
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
        let mut dispatch = Dispatch::new(&["a", "b"]);
        for job in 0..4 {
            dispatch.push(0, waiting(job, &job.to_string(), None));
        }
        dispatch.push(1, waiting(9, "x", None));
        assert_eq!(dispatch.next(|_| 2).expect("rows").object, 0);
        assert_eq!(dispatch.next(|_| 2).expect("rows").object, 1);
        assert_eq!(jobs(&dispatch.next(|_| 2).expect("rows")), [2, 3]);
    }

    #[test]
    fn mappings_of_one_object_keep_off_each_others_records() {
        let mut dispatch = Dispatch::new(&["a", "b", "a"]);
        for object in 0..3 {
            dispatch.push(object, waiting(object as u64, "x", None));
        }
        let first = dispatch.next(|_| 10).expect("rows");
        assert_eq!(dispatch.next(|_| 10).map(|batch| batch.object), Some(1), "another object");
        assert!(dispatch.next(|_| 10).is_none());
        dispatch.done(&first);
        assert_eq!(dispatch.next(|_| 10).map(|batch| batch.object), Some(2));
    }

    #[test]
    fn a_row_behind_an_older_one_that_must_wait_is_looked_at_once() {
        let mut dispatch = Dispatch::new(&["a"]);
        let key = |key: &str| waiting(0, key, None).row.keys[0].clone();
        dispatch.push(0, waiting(1, "busy", None));
        let first = dispatch.next(|_| 10).expect("rows");
        let row = Row { keys: vec![key("busy"), key("x")], fields: Vec::new(), parent: None };
        dispatch.push(0, Waiting { job: 2, row: Arc::new(row) });
        assert!(!dispatch.has_ready());
        dispatch.push(0, waiting(3, "x", None));
        assert!(dispatch.next(|_| 10).is_none());
        assert!(!dispatch.has_ready(), "it was looked through in vain");
        dispatch.done(&first);
        assert_eq!(jobs(&dispatch.next(|_| 10).expect("its turn")), [2]);
    }

    #[test]
    fn only_a_row_of_the_same_keys_is_taken_out() {
        let mut dispatch = Dispatch::new(&["a"]);
        for job in 1..=2 {
            dispatch.push(0, waiting(job, "x", None));
        }
        let keys = waiting(0, "x", None).row.keys.clone();
        let other = waiting(0, "y", None).row.keys.clone();
        assert!(dispatch.take_waiting(0, &other, |_| true).is_none());
        let taken = dispatch.take_waiting(0, &keys, |job| job == 2).expect("it waits");
        assert_eq!(taken.job, 2);
        assert_eq!(dispatch.take_waiting(0, &keys, |_| true).map(|one| one.job), Some(1));
        assert!(dispatch.waiting[0].is_empty());
    }
}
