//! What a connector would write, without writing: the heart of `plan`. In come the events of a span of time
//! and a CRM that is only read, out goes for each record what would become of it, and what that would cost.
//! What is held is bounded: of each record its last row, not its events. It must never write.

mod compare;
mod gather;

use std::collections::BTreeMap;

use crate::crm::{Cost, Crm, Fault, Work};
use crate::mapping::{Mapping, Policy};
use crate::value::Value;

use compare::Found;
pub use gather::{Bounds, Gathered};

/// What would become of the events.
#[derive(Debug, Default)]
pub struct Plan {
    /// Record by record, in the order of their last events.
    pub records: Vec<Planned>,
    /// What writing all of the events costs.
    pub all: Cost,
    /// What writing only the newest of each record costs.
    pub newest: Cost,
}

/// What would become of one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// What the mapping calls it.
    pub object: String,
    /// The CRM's id of it, where it is there.
    pub id: Option<String>,
    /// What it is found by, for people.
    pub key: String,
    /// What would become of it.
    pub outcome: Outcome,
    /// What its fields would become; only those that change.
    pub changes: Vec<Change>,
    /// How many events there are about it.
    pub events: u64,
    /// The last of them.
    pub sequence: i64,
    /// What that is about.
    pub subject: String,
}

/// What would become of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Its events would be put aside, for this reason.
    Aside(String),
    /// Its events would wait until it is there.
    Waits,
    /// It would be made.
    Create,
    /// Fields of it would change.
    Update,
    /// Its events would be acknowledged and nothing written, since it is not there.
    Skipped,
    /// It is already as the events have it.
    Unchanged,
}

/// What a field would become.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The field's name in the API.
    pub field: String,
    /// What it is now; nothing for a new record.
    pub old: Value,
    /// What it would be.
    pub new: Value,
}

impl Outcome {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Aside(_) => "put aside",
            Outcome::Waits => "wait",
            Outcome::Create => "create",
            Outcome::Update => "update",
            Outcome::Skipped => "skip",
            Outcome::Unchanged => "unchanged",
        }
    }
}

/// Looks up what the records are now, and tells what would become of each. `looked_up` is told how many
/// look-ups each call made.
pub async fn compare(
    crm: &dyn Crm,
    mappings: &[Mapping],
    gathered: Gathered,
    looked_up: impl Fn(u64),
) -> Result<Plan, Fault> {
    let mut plan = Plan::default();
    for (mapping, object) in mappings.iter().zip(gathered.objects) {
        let rows = object.records.values().map(|record| record.events).sum();
        let found = compare::look_up(crm, mapping, object.records, &looked_up).await?;
        let records: Vec<Planned> =
            found.into_iter().map(|found: Found| found.planned(mapping)).collect();
        let (all, newest) = work(crm, mapping, &records, rows);
        plan.all = sum(plan.all, crm.cost(all));
        plan.newest = sum(plan.newest, crm.cost(newest));
        plan.records.extend(records);
    }
    plan.records.sort_by_key(|record| record.sequence);
    Ok(plan)
}

impl Plan {
    /// How many records have each outcome.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for record in &self.records {
            *counts.entry(record.outcome.word()).or_default() += 1;
        }
        counts
    }
}

/// The least work for all events, and for the newest of each record.
fn work(crm: &dyn Crm, mapping: &Mapping, records: &[Planned], rows: u64) -> (Work, Work) {
    let count = |is: fn(&Outcome) -> bool| {
        records.iter().filter(|record| is(&record.outcome)).count() as u64
    };
    let not_written = records.iter().filter(|record| match record.outcome {
        Outcome::Aside(_) | Outcome::Waits | Outcome::Skipped => true,
        Outcome::Create | Outcome::Update | Outcome::Unchanged => false,
    });
    let rows = rows.saturating_sub(not_written.map(|record| record.events).sum());
    let created = count(|outcome| *outcome == Outcome::Create);
    let updated = count(|outcome| *outcome == Outcome::Update);
    // Who does not read first writes what is there already once more.
    let unchanged = match mapping.reads_before_writing() {
        true => 0,
        false => count(|outcome| *outcome == Outcome::Unchanged),
    };
    if is_written_blindly(crm, mapping) {
        let newest = created + updated + unchanged;
        let writes = |writes| Work { lookups: 0, writes, creates: 0 };
        return (writes(rows), writes(newest));
    }
    let lookups = records.len() as u64;
    let all = Work { lookups, writes: rows.saturating_sub(created), creates: created };
    (all, Work { lookups, writes: updated + unchanged, creates: created })
}

/// Whether records are written by a unique key without being looked up.
fn is_written_blindly(crm: &dyn Crm, mapping: &Mapping) -> bool {
    crm.facts().upserts_by_key
        && mapping.policy == Policy::Upsert
        && mapping.matches.first().is_some_and(|first| first.unique)
        && !mapping.reads_before_writing()
        && !mapping.has_fields_of_new_records()
}

fn sum(one: Cost, other: Cost) -> Cost {
    Cost { calls: one.calls + other.calls, seconds: one.seconds + other.seconds }
}

#[cfg(test)]
mod tests;
