//! Writes one batch of rows of one kind of record: recalls what is known, looks up what is not, decides
//! field by field, writes, and remembers what the CRM accepted before anybody hears of it. In come rows,
//! out goes what became of each. It must never create a record that may be there already.

mod batch;
mod look_up;

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::crm::{Crm, Fault};
use crate::mapping::{Mapping, Row};
use crate::memory::Memory;

/// After so long a look-up shows what was created before, with a margin for clocks and load.
const LAG_MARGIN: Duration = Duration::from_secs(2);

/// Writes rows of one mapping.
pub struct Writer {
    crm: Arc<dyn Crm>,
    memory: Memory,
    mapping: Arc<Mapping>,
    /// What the memory keeps this mapping's records under.
    scope: String,
}

/// Records that one batch writes; free again when dropped.
struct Claims<'a> {
    writer: &'a Writer,
    records: HashSet<String>,
}

/// A row of an event.
#[derive(Clone, Debug)]
pub struct Job {
    /// What is written where.
    pub row: Arc<Row>,
    /// The event's name.
    pub event: String,
    /// The event's sequence.
    pub sequence: i64,
    /// A digest of the status that the event leaves its subject with.
    pub status: String,
    /// Whether an operator asked for the event again.
    pub replay: bool,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The record has what the event says, or rightly something newer.
    Done {
        /// The CRM's id of the record.
        record: String,
        /// `created`, `updated`, `unchanged`, and what was left alone.
        words: String,
    },
    /// No record answers to the keys, and none may be created.
    NoMatch,
    /// Several records answer to the key.
    Ambiguous,
    /// It was not written.
    Failed(Fault),
}

impl Writer {
    /// For a mapping of the subscription.
    pub fn new(
        crm: Arc<dyn Crm>,
        memory: Memory,
        mapping: Arc<Mapping>,
        subscription: &str,
    ) -> Writer {
        let scope = format!("{subscription}/{}", mapping.object);
        Writer { crm, memory, mapping, scope }
    }

    /// Writes a batch. No two jobs may have a key in common. One outcome a job, in their order.
    pub async fn write(&self, jobs: &[Job]) -> Vec<Outcome> {
        batch::Batch::new(self, jobs).run().await
    }

    /// How many jobs a batch has at most.
    pub fn max_batch(&self) -> usize {
        self.crm.facts().max_writes.max(1)
    }

    /// The mapping that it writes.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// What the memory keeps its records under.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// For how long a look-up may miss what was created.
    fn lag(&self) -> Duration {
        self.crm.facts().search_lag + LAG_MARGIN
    }

    /// Claims those of the records that no other batch is writing, of this mapping or of another of the same
    /// kind of record.
    fn claim<'r>(&self, records: impl Iterator<Item = &'r str>) -> Claims<'_> {
        let mut claimed = self.memory.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let name = |record: &str| (self.scope.clone(), record.to_owned());
        let mine = records.filter(|record| claimed.insert(name(record)));
        let records = mine.map(str::to_owned).collect();
        Claims { writer: self, records }
    }
}

impl Claims<'_> {
    fn records(&self) -> HashSet<String> {
        self.records.clone()
    }
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        let writer = self.writer;
        let mut claimed = writer.memory.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        for record in self.records.drain() {
            claimed.remove(&(writer.scope.clone(), record));
        }
    }
}

#[cfg(test)]
mod tests;
