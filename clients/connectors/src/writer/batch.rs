//! One batch on its way: each job is placed (which record, or a new one), decided and written; what turns
//! out to be gone, or was created by somebody else meanwhile, is placed and written once more.

use std::collections::{BTreeMap, HashSet};

use super::{Job, Outcome, Writer};
use crate::crm::{Fault, Key, Target, Write, Written};
use crate::guard::{self, Decision, Meeting};
use crate::mapping::Policy;
use crate::memory::{Error, Known, Remembered};
use crate::value::Value;

/// How often a job is placed and written before it is given back.
const MAX_ROUNDS: usize = 3;

pub struct Batch<'a> {
    pub(super) writer: &'a Writer,
    pub(super) jobs: &'a [Job],
    /// What is known of each job's record.
    known: Vec<Option<Known>>,
    /// What each job's record has, where it was read.
    pub(super) current: Vec<Option<BTreeMap<String, Value>>>,
    pub(super) outcomes: Vec<Option<Outcome>>,
    /// Jobs whose record was not there under the id that led to it: that id is looked up, not trusted.
    gone: HashSet<usize>,
}

/// Where a job's row goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    /// The record of this id.
    Record(String),
    /// Created or updated by its unique key: which of both, the CRM decides.
    ByKey(Key),
    /// A new record with this key.
    New(Key),
}

impl<'a> Batch<'a> {
    pub fn new(writer: &'a Writer, jobs: &'a [Job]) -> Batch<'a> {
        Batch {
            writer,
            jobs,
            known: vec![None; jobs.len()],
            current: vec![None; jobs.len()],
            outcomes: vec![None; jobs.len()],
            gone: HashSet::new(),
        }
    }

    pub async fn run(mut self) -> Vec<Outcome> {
        for _ in 0..MAX_ROUNDS {
            let open: Vec<usize> =
                (0..self.jobs.len()).filter(|index| self.outcomes[*index].is_none()).collect();
            if open.is_empty() {
                break;
            }
            if let Err(error) = self.round(&open).await {
                tracing::error!(%error, "what was written cannot be remembered");
                let fault = Fault::transient(error.to_string());
                for index in open {
                    self.outcomes[index].get_or_insert(Outcome::Failed(fault.clone()));
                }
            }
        }
        let again = || Outcome::Failed(Fault::transient("other writers kept changing the record"));
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(again)).collect()
    }

    /// Places and writes what is open; what must be tried once more stays open.
    async fn round(&mut self, open: &[usize]) -> Result<(), Error> {
        for &index in open {
            self.known[index] = None;
            self.current[index] = None;
        }
        self.recall(open).await?;
        let mut places = self.place(open).await?;
        // Keys of different kinds may lead to one record: it is written by one at a time.
        let records = places.iter().filter_map(|(_, place)| match place {
            Place::Record(id) => Some(id.as_str()),
            Place::ByKey(_) | Place::New(_) => None,
        });
        let claims = self.writer.claim(records);
        let mut mine = claims.records();
        places.retain(|(_, place)| match place {
            Place::Record(id) => mine.remove(id),
            Place::ByKey(_) | Place::New(_) => true,
        });
        self.recall_claimed(&places).await?;
        self.read_current(&places).await;
        places.retain(|(index, _)| self.outcomes[*index].is_none());
        let decided = places.into_iter().map(|(index, place)| {
            let decision = self.decide(index, &place);
            (index, decision, place)
        });
        let decided = decided.collect();
        self.write(decided).await
    }

    /// What was written to a record by another key, up to the moment when it was claimed.
    async fn recall_claimed(&mut self, places: &[(usize, Place)]) -> Result<(), Error> {
        if self.writer.mapping.matches.len() < 2 {
            return Ok(());
        }
        let claimed: Vec<(usize, &str)> = places
            .iter()
            .filter_map(|(index, place)| match place {
                Place::Record(id) => Some((*index, id.as_str())),
                Place::ByKey(_) | Place::New(_) => None,
            })
            .collect();
        let records: Vec<&str> = claimed.iter().map(|(_, id)| *id).collect();
        let known = self.writer.memory.recall_records(&self.writer.scope, &records).await?;
        for ((index, _), known) in claimed.into_iter().zip(known) {
            self.known[index] = known;
        }
        Ok(())
    }

    async fn recall(&mut self, open: &[usize]) -> Result<(), Error> {
        let keys: Vec<(usize, &Key)> = open
            .iter()
            .flat_map(|index| self.jobs[*index].row.keys.iter().map(move |key| (*index, key)))
            .collect();
        let plain: Vec<&Key> = keys.iter().map(|(_, key)| *key).collect();
        let known = self.writer.memory.recall(&self.writer.scope, &plain).await?;
        for ((index, _), known) in keys.into_iter().zip(known) {
            if self.known[index].is_none() {
                self.known[index] = known;
            }
        }
        Ok(())
    }

    /// Finds out where each row goes, by what is known or by looking it up.
    async fn place(&mut self, open: &[usize]) -> Result<Vec<(usize, Place)>, Error> {
        let mut places = Vec::new();
        let mut sought = Vec::new();
        for &index in open {
            let keys = &self.jobs[index].row.keys;
            match (&self.known[index], keys.first()) {
                (Some(known), _) => places.push((index, Place::Record(known.record.clone()))),
                (None, Some(Key::Id(id))) if !self.gone.contains(&index) => {
                    places.push((index, Place::Record(id.clone())))
                }
                (None, Some(key)) if self.goes_by_key(keys) => {
                    places.push((index, Place::ByKey(key.clone())));
                }
                (None, _) => sought.push(index),
            }
        }
        let found = self.look_up(&sought).await;
        let mut absent = Vec::new();
        for (index, found) in sought.into_iter().zip(found) {
            match found {
                Ok(Some(record)) => {
                    let (scope, memory) = (&self.writer.scope, &self.writer.memory);
                    let known = memory.recall_records(scope, &[record.id.as_str()]).await?;
                    self.known[index] = known.into_iter().next().flatten();
                    self.current[index] = Some(record.values);
                    places.push((index, Place::Record(record.id)));
                }
                Ok(None) => absent.push(index),
                Err(outcome) => self.outcomes[index] = Some(outcome),
            }
        }
        self.place_new(&absent, &mut places).await?;
        let create_only = self.writer.mapping.policy == Policy::CreateOnly;
        for (index, place) in &places {
            if let Place::Record(record) = place
                && create_only
            {
                let words = "unchanged".to_owned();
                self.outcomes[*index] = Some(Outcome::Done { record: record.clone(), words });
            }
        }
        places.retain(|(index, _)| self.outcomes[*index].is_none());
        Ok(places)
    }

    /// Whether one call creates or updates the record, with nothing to be read before.
    fn goes_by_key(&self, keys: &[Key]) -> bool {
        let mapping = &self.writer.mapping;
        let is_unique = matches!(keys, [Key::Field { unique: true, .. }]);
        is_unique
            && self.writer.crm.facts().upserts_by_key
            && mapping.policy == Policy::Upsert
            && !mapping.reads_before_writing()
            && !mapping.has_fields_of_new_records()
    }

    /// Rows whose record is not there: created, if that may be.
    async fn place_new(
        &mut self,
        absent: &[usize],
        places: &mut Vec<(usize, Place)>,
    ) -> Result<(), Error> {
        let mut unsure = Vec::new();
        for &index in absent {
            let key = self.jobs[index].row.keys.first();
            match key {
                Some(key @ Key::Field { unique, .. })
                    if self.writer.mapping.policy != Policy::UpdateOnly =>
                {
                    if *unique && self.writer.crm.facts().upserts_by_key {
                        places.push((index, Place::ByKey(key.clone())));
                    } else {
                        unsure.push((index, key.clone()));
                    }
                }
                Some(Key::Field { .. } | Key::Id(_)) | None => {
                    self.outcomes[index] = Some(Outcome::NoMatch);
                }
            }
        }
        let keys: Vec<&Key> = unsure.iter().map(|(_, key)| key).collect();
        let begun = self.writer.memory.creations(&self.writer.scope, &keys).await?;
        let lag = self.writer.lag();
        for ((index, key), begun) in unsure.into_iter().zip(begun) {
            match begun.filter(|ago| *ago < lag) {
                // It may have been created, and the look-up may not show it yet.
                Some(ago) => {
                    let reason = "created a moment ago, and perhaps not to be found yet".to_owned();
                    let fault = Fault::Throttled { wait: lag - ago, reason };
                    self.outcomes[index] = Some(Outcome::Failed(fault));
                }
                None => places.push((index, Place::New(key))),
            }
        }
        Ok(())
    }

    fn decide(&self, index: usize, place: &Place) -> Decision {
        let job = &self.jobs[index];
        let is_new = match place {
            Place::New(_) | Place::ByKey(_) => true,
            Place::Record(_) => false,
        };
        let meeting = Meeting {
            sequence: job.sequence,
            replay: job.replay,
            is_new,
            known: self.known[index].as_ref(),
            current: self.current[index].as_ref(),
        };
        let mut decision = guard::decide(&job.row, meeting);
        if let Place::ByKey(Key::Field { field, .. }) | Place::New(Key::Field { field, .. }) = place
        {
            decision.fields.remove(field);
        }
        decision
    }

    /// Writes what is to be written, and remembers that and what needed no write.
    async fn write(&mut self, decided: Vec<(usize, Decision, Place)>) -> Result<(), Error> {
        let mut remembered = Vec::new();
        let mut writes = Vec::new();
        for (index, decision, place) in decided {
            match place {
                Place::Record(record) if decision.fields.is_empty() => {
                    remembered.push(self.remembered(index, &decision, &record));
                    let words = decision.outcome("unchanged");
                    self.outcomes[index] = Some(Outcome::Done { record, words });
                }
                place => writes.push((index, decision, place)),
            }
        }
        let begun: Vec<&Key> = writes
            .iter()
            .filter_map(|(_, _, place)| match place {
                Place::New(key) => Some(key),
                Place::Record(_) | Place::ByKey(_) => None,
            })
            .collect();
        self.writer.memory.begin_creations(&self.writer.scope, &begun).await?;
        let rows: Vec<Write> = writes
            .iter()
            .map(|(index, decision, place)| self.row(*index, decision, place))
            .collect();
        let object = self.writer.mapping.object();
        let mut results = Vec::with_capacity(rows.len());
        for chunk in rows.chunks(self.writer.max_batch()) {
            results.extend(self.writer.crm.write(&object, chunk).await);
        }
        let mut forgotten = Vec::new();
        for ((index, decision, place), result) in writes.into_iter().zip(results) {
            match result {
                Ok(written) => {
                    remembered.push(self.remembered(index, &decision, &written.id));
                    self.outcomes[index] = Some(done(&decision, &place, written));
                }
                Err(Fault::Gone { .. }) => {
                    self.gone.insert(index);
                    forgotten.extend(self.jobs[index].row.keys.iter().cloned());
                }
                Err(Fault::Raced { .. }) => {
                    forgotten.extend(self.jobs[index].row.keys.iter().cloned());
                }
                Err(fault) => {
                    // Refused for good, it was not created: no need to wait for a look-up to show it.
                    if let (Place::New(key), Fault::Permanent { .. }) = (&place, &fault) {
                        forgotten.push(key.clone());
                    }
                    self.outcomes[index] = Some(Outcome::Failed(fault));
                }
            }
        }
        let forgotten: Vec<&Key> = forgotten.iter().collect();
        self.writer.memory.forget(&self.writer.scope, &forgotten).await?;
        self.writer.memory.remember(&self.writer.scope, &remembered).await
    }

    fn row(&self, index: usize, decision: &Decision, place: &Place) -> Write {
        let target = match place {
            Place::Record(id) => Target::Record(id.clone()),
            Place::ByKey(key) => Target::Upsert(key.clone()),
            Place::New(key) => Target::New(key.clone()),
        };
        let trace = self.jobs[index].event.clone();
        Write { target, fields: decision.fields.clone(), trace }
    }

    fn remembered(&self, index: usize, decision: &Decision, record: &str) -> Remembered {
        let job = &self.jobs[index];
        let newer = self.known[index].as_ref().filter(|_| !decision.superseded.is_empty());
        let known = Known {
            record: record.to_owned(),
            status: newer.map_or(&job.status, |known| &known.status).clone(),
            marks: decision.marks.clone(),
        };
        Remembered { keys: job.row.keys.clone(), known }
    }
}

fn done(decision: &Decision, place: &Place, written: Written) -> Outcome {
    let created = written.created.unwrap_or(matches!(place, Place::New(_)));
    let words = decision.outcome(if created { "created" } else { "updated" });
    Outcome::Done { record: written.id, words }
}
