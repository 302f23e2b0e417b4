//! One batch on its way: each job is placed (which record, or a new one), decided and written; what turns
//! out to be gone, or was created by somebody else meanwhile, is placed and written once more.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use std::time::Duration;

use super::{Job, Outcome, Writer};
use crate::crm::{Fault, Key, Target, Write, Written};
use crate::echo;
use crate::guard::{self, Decision, Meeting};
use crate::mapping::Policy;
use crate::memory::{Error, Known, Remembered};
use crate::value::Value;

/// How often a job is placed and written before it is given back.
const MAX_ROUNDS: usize = 3;
/// What another batch is writing is given back for so long.
const CLAIMED_WAIT: Duration = Duration::from_secs(1);
/// Without a memory nothing is written; no event is to blame for that.
const MEMORY_WAIT: Duration = Duration::from_secs(10);

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
    /// Jobs whose record another batch was writing in the last round.
    claimed: HashSet<usize>,
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
            claimed: HashSet::new(),
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
                let fault = Fault::Throttled { wait: MEMORY_WAIT, reason: error.to_string() };
                for index in open {
                    // What was written but not remembered must not be acknowledged.
                    if matches!(self.outcomes[index], None | Some(Outcome::Done { .. })) {
                        self.outcomes[index] = Some(Outcome::Failed(fault.clone()));
                    }
                }
            }
        }
        let claimed = self.claimed;
        let again = |index| {
            Outcome::Failed(if claimed.contains(&index) {
                let reason = "another call is writing the record".to_owned();
                Fault::Throttled { wait: CLAIMED_WAIT, reason }
            } else {
                Fault::transient("other writers kept changing the record")
            })
        };
        let outcomes = self.outcomes.into_iter().enumerate();
        outcomes.map(|(index, outcome)| outcome.unwrap_or_else(|| again(index))).collect()
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
        self.claimed.clear();
        places.retain(|(index, place)| match place {
            Place::Record(id) if !mine.remove(id) => {
                self.claimed.insert(*index);
                false
            }
            Place::Record(_) | Place::ByKey(_) | Place::New(_) => true,
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

    /// What was written to a record by another key or mapping, up to the moment when it was claimed.
    async fn recall_claimed(&mut self, places: &[(usize, Place)]) -> Result<(), Error> {
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
        self.note(&mut writes).await?;
        let rows: Vec<Write> = writes
            .iter()
            .map(|(index, decision, place)| self.row(*index, decision, place))
            .collect();
        let object = self.writer.mapping.object();
        let mut results = Vec::with_capacity(rows.len());
        for chunk in rows.chunks(self.writer.max_batch()) {
            results.extend(self.writer.crm.write(&object, chunk).await);
        }
        let (mut forgotten, mut lost, mut unsure) = (Vec::new(), Vec::new(), Vec::new());
        for ((index, decision, place), result) in writes.into_iter().zip(results) {
            match result {
                Ok(written) => {
                    remembered.push(self.remembered(index, &decision, &written.id));
                    self.outcomes[index] = Some(done(&decision, &place, written));
                }
                Err(Fault::Gone { .. }) => {
                    self.gone.insert(index);
                    forgotten.extend(self.jobs[index].row.keys.iter().cloned());
                    if let Place::Record(record) = place {
                        lost.push(record);
                    }
                }
                Err(Fault::Raced { .. }) => {
                    forgotten.extend(self.jobs[index].row.keys.iter().cloned());
                }
                Err(fault) => {
                    // Refused for good, it was not created: no need to wait for a look-up to show it.
                    match (place, &fault) {
                        (Place::New(key), Fault::Permanent { .. }) => forgotten.push(key),
                        (Place::New(key), Fault::Transient { .. }) => unsure.push(key),
                        (Place::New(_) | Place::ByKey(_) | Place::Record(_), _) => {}
                    }
                    self.outcomes[index] = Some(Outcome::Failed(fault));
                }
            }
        }
        let (memory, scope) = (&self.writer.memory, &self.writer.scope);
        let forgotten: Vec<&Key> = forgotten.iter().collect();
        let lost: Vec<&str> = lost.iter().map(String::as_str).collect();
        memory.forget(scope, &forgotten, &lost).await?;
        memory.renew_creations(scope, &unsure.iter().collect::<Vec<_>>()).await?;
        memory.remember(scope, &remembered).await
    }

    /// Puts on the disk what must not be forgotten if nobody hears how the writes end, and takes out those
    /// whose record somebody else is about to create.
    async fn note(&mut self, writes: &mut Vec<(usize, Decision, Place)>) -> Result<(), Error> {
        let (memory, scope) = (&self.writer.memory, &self.writer.scope);
        let mut intents = Vec::new();
        let mut begun: Vec<&Key> = Vec::new();
        for (index, decision, place) in writes.iter() {
            match (place, &self.known[*index]) {
                (Place::New(key), _) => begun.push(key),
                (Place::Record(record), Some(known)) => {
                    let fields = guard::intents(&self.jobs[*index].row, known, decision);
                    if !fields.is_empty() {
                        intents.push((record.as_str(), fields));
                    }
                }
                (Place::Record(_) | Place::ByKey(_), _) => {}
            }
        }
        memory.intend(scope, &intents).await?;
        let lag = self.writer.lag();
        let mut may_create = memory.begin_creations(scope, &begun, lag).await?.into_iter();
        let outcomes = &mut self.outcomes;
        writes.retain(|(index, _, place)| {
            if !matches!(place, Place::New(_)) || may_create.next().unwrap_or(false) {
                return true;
            }
            let reason = "another process is about to create the record".to_owned();
            let fault = Fault::Throttled { wait: CLAIMED_WAIT, reason };
            outcomes[*index] = Some(Outcome::Failed(fault));
            false
        });
        Ok(())
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
        let before = self.known[index].as_ref().map_or("", |known| &known.statuses);
        let statuses = match decision.superseded.is_empty() {
            true => echo::noted(before, &job.status, Timestamp::now().as_second()),
            false => before.to_owned(),
        };
        let known = Known { record: record.to_owned(), statuses, marks: decision.marks.clone() };
        Remembered { keys: job.row.keys.clone(), known }
    }
}

fn done(decision: &Decision, place: &Place, written: Written) -> Outcome {
    let created = written.created.unwrap_or(matches!(place, Place::New(_)));
    let words = decision.outcome(if created { "created" } else { "updated" });
    Outcome::Done { record: written.id, words }
}
