//! The look-ups of a batch: which record answers to a job's keys, and what guarded fields have now. It
//! writes nothing.

use super::Outcome;
use super::batch::{Batch, Place};
use crate::crm::{Fault, Key, Record};
use crate::mapping::OnConflict;

impl Batch<'_> {
    /// Looks the records up, key by key, until one answers.
    pub(super) async fn look_up(&self, sought: &[usize]) -> Vec<Result<Option<Record>, Outcome>> {
        let fields = self.guarded_fields();
        let mut found: Vec<Result<Option<Record>, Outcome>> = vec![Ok(None); sought.len()];
        let most = sought.iter().map(|index| self.jobs[*index].row.keys.len()).max().unwrap_or(0);
        for round in 0..most {
            let open: Vec<(usize, Key)> = sought
                .iter()
                .enumerate()
                .filter(|(place, _)| matches!(found[*place], Ok(None)))
                .filter_map(|(place, index)| {
                    Some((place, self.jobs[*index].row.keys.get(round)?.clone()))
                })
                .collect();
            let keys: Vec<Key> = open.iter().map(|(_, key)| key.clone()).collect();
            for ((place, _), answer) in open.iter().zip(self.find(&keys, &fields).await) {
                found[*place] = match answer {
                    Ok(records) if records.len() > 1 => Err(Outcome::Ambiguous),
                    Ok(records) => Ok(records.into_iter().next()),
                    Err(fault) => Err(Outcome::Failed(fault)),
                };
            }
        }
        found
    }

    /// The CRM's answers, in as many calls as it takes.
    async fn find(&self, keys: &[Key], fields: &[String]) -> Vec<Result<Vec<Record>, Fault>> {
        let crm = &self.writer.crm;
        let object = self.writer.mapping.object();
        let mut answers = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(crm.facts().max_lookups.max(1)) {
            let mut found = crm.find(&object, chunk, fields).await;
            // A look-up without an answer must not count as a record that is not there.
            found.resize(chunk.len(), Err(Fault::transient("a look-up got no answer")));
            answers.append(&mut found);
        }
        answers
    }

    /// The fields whose current value decides whether they are written.
    fn guarded_fields(&self) -> Vec<String> {
        let fields = self.writer.mapping.fields.iter();
        let guarded = fields.filter(|(_, rule)| rule.on_conflict != OnConflict::Overwrite);
        guarded.map(|(name, _)| name.clone()).collect()
    }

    /// Reads what guarded records have now, where the look-up did not.
    pub(super) async fn read_current(&mut self, places: &[(usize, Place)]) {
        let fields = self.guarded_fields();
        if fields.is_empty() {
            return;
        }
        let unread: Vec<(usize, Key)> = places
            .iter()
            .filter(|(index, _)| self.current[*index].is_none())
            .filter_map(|(index, place)| match place {
                Place::Record(id) => Some((*index, Key::Id(id.clone()))),
                Place::ByKey(_) | Place::New(_) => None,
            })
            .collect();
        let keys: Vec<Key> = unread.iter().map(|(_, key)| key.clone()).collect();
        for ((index, _), answer) in unread.into_iter().zip(self.find(&keys, &fields).await) {
            match answer {
                // A record that is gone is noticed by the write.
                Ok(records) => {
                    self.current[index] = records.into_iter().next().map(|record| record.values);
                }
                Err(fault) => self.outcomes[index] = Some(Outcome::Failed(fault)),
            }
        }
    }
}
