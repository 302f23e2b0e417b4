//! What the records are now. In come keys with what would be written, out goes what each record would
//! become. It looks up in batches, asks again where the CRM may answer later, and only ever reads.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::gather::Pending;
use super::{Change, Outcome, Planned};
use crate::crm::{Crm, Fault, Key, Object, Record};
use crate::mapping::{Mapping, Moment, NoMatch, Policy};
use crate::value::Value;

/// How often a batch is looked up at most.
const MAX_ATTEMPTS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// A longer wait ends the plan instead.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A record with what would be written to it.
pub struct Found {
    pending: Pending,
    place: Place,
}

/// Where a record is.
#[derive(Clone)]
enum Place {
    /// Nowhere, as far as it was looked for.
    Nowhere,
    /// There.
    There(Record),
    /// It cannot be told.
    Unclear(String),
}

/// Looks up all records; those that turn out to be the same become one.
pub async fn look_up(
    crm: &dyn Crm,
    mapping: &Mapping,
    records: HashMap<Vec<Key>, Pending>,
    looked_up: &impl Fn(u64),
) -> Result<Vec<Found>, Fault> {
    let mut all: Vec<Found> =
        records.into_values().map(|pending| Found { pending, place: Place::Nowhere }).collect();
    all.sort_by_key(|found| found.pending.sequence);
    let object = mapping.object();
    let fields: Vec<String> = mapping.fields.keys().cloned().collect();
    for round in 0..mapping.matches.len() {
        let mut asked: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
        for (index, found) in all.iter().enumerate() {
            if let (Place::Nowhere, Some(key)) = (&found.place, found.pending.keys.get(round)) {
                asked.entry(key.clone()).or_default().push(index);
            }
        }
        let asked: Vec<(Key, Vec<usize>)> = asked.into_iter().collect();
        for batch in asked.chunks(crm.facts().max_lookups.max(1)) {
            let keys: Vec<Key> = batch.iter().map(|(key, _)| key.clone()).collect();
            let answers = ask(crm, &object, keys, &fields).await?;
            looked_up(batch.len() as u64);
            for ((key, indices), answer) in batch.iter().zip(answers) {
                let place = Place::of(key, answer);
                indices.iter().for_each(|index| all[*index].place = place.clone());
            }
        }
    }
    Ok(without_twins(all))
}

/// One answer for each key; an error only where the plan cannot go on.
async fn ask(
    crm: &dyn Crm,
    object: &Object,
    keys: Vec<Key>,
    fields: &[String],
) -> Result<Vec<Result<Vec<Record>, Fault>>, Fault> {
    let mut answers: Vec<Option<Result<Vec<Record>, Fault>>> = vec![None; keys.len()];
    let mut open: Vec<usize> = (0..keys.len()).collect();
    for attempt in 0..MAX_ATTEMPTS {
        let lookups: Vec<Key> = open.iter().map(|place| keys[*place].clone()).collect();
        let mut told = crm.find(object, &lookups, fields).await.into_iter();
        let (mut again, mut longest) = (Vec::new(), FIRST_WAIT * (1 << attempt));
        let mut last = Fault::transient("the CRM gave fewer answers than it was asked for");
        for place in open {
            let answer = told.next().unwrap_or_else(|| Err(last.clone()));
            match answer {
                Err(Fault::Unauthorized { reason }) => return Err(Fault::Unauthorized { reason }),
                Err(
                    fault @ (Fault::Throttled { .. }
                    | Fault::Transient { .. }
                    | Fault::Raced { .. }),
                ) => {
                    longest = longest.max(wait_of(&fault));
                    last = fault;
                    again.push(place);
                }
                answer @ (Ok(_) | Err(Fault::Permanent { .. } | Fault::Gone { .. })) => {
                    answers[place] = Some(answer);
                }
            }
        }
        if again.is_empty() {
            break;
        }
        if attempt + 1 == MAX_ATTEMPTS || longest > LONGEST_WAIT {
            return Err(last);
        }
        open = again;
        tokio::time::sleep(longest).await;
    }
    Ok(answers.into_iter().flatten().collect())
}

fn wait_of(fault: &Fault) -> Duration {
    match fault {
        Fault::Throttled { wait, .. } => *wait,
        Fault::Transient { wait, .. } => wait.unwrap_or_default(),
        Fault::Permanent { .. }
        | Fault::Gone { .. }
        | Fault::Raced { .. }
        | Fault::Unauthorized { .. } => Duration::ZERO,
    }
}

/// Rows with different keys may lead to one record.
fn without_twins(all: Vec<Found>) -> Vec<Found> {
    let mut by_id: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<Found> = Vec::with_capacity(all.len());
    for found in all {
        if let Place::There(record) = &found.place {
            if let Some(index) = by_id.get(&record.id) {
                kept[*index].pending.merge(found.pending);
                continue;
            }
            by_id.insert(record.id.clone(), kept.len());
        }
        kept.push(found);
    }
    kept
}

impl Place {
    fn of(key: &Key, answer: Result<Vec<Record>, Fault>) -> Place {
        match answer {
            Ok(mut records) => match (records.pop(), records.is_empty()) {
                (None, _) => Place::Nowhere,
                (Some(record), true) => Place::There(record),
                (Some(_), false) => Place::Unclear(format!("several records have {}", shown(key))),
            },
            Err(Fault::Gone { .. }) => Place::Nowhere,
            Err(fault) => Place::Unclear(fault.to_string()),
        }
    }
}

impl Found {
    /// What would become of it.
    pub fn planned(self, mapping: &Mapping) -> Planned {
        let Found { pending, place } = self;
        let (id, outcome, changes) = match place {
            Place::Unclear(reason) => (None, Outcome::Aside(reason), Vec::new()),
            Place::Nowhere => {
                let (outcome, changes) = absent(mapping, &pending);
                (None, outcome, changes)
            }
            Place::There(record) => {
                let changes = match mapping.policy {
                    Policy::CreateOnly => Vec::new(),
                    Policy::Upsert | Policy::UpdateOnly => changes(&pending, Some(&record)),
                };
                let outcome = if changes.is_empty() { Outcome::Unchanged } else { Outcome::Update };
                (Some(record.id), outcome, changes)
            }
        };
        Planned {
            object: mapping.label().to_owned(),
            id,
            key: pending.keys.iter().map(shown).collect::<Vec<_>>().join(" or "),
            outcome,
            changes,
            events: pending.events,
            sequence: pending.sequence,
            subject: pending.subject,
        }
    }
}

/// What becomes of a record that is not there.
fn absent(mapping: &Mapping, pending: &Pending) -> (Outcome, Vec<Change>) {
    match (mapping.policy, mapping.no_match) {
        (Policy::UpdateOnly, NoMatch::Park) => (Outcome::Waits, Vec::new()),
        (Policy::UpdateOnly, NoMatch::DeadLetter) => {
            (Outcome::Aside("no record has the key".to_owned()), Vec::new())
        }
        (Policy::UpdateOnly, NoMatch::Skip) => (Outcome::Skipped, Vec::new()),
        (Policy::Upsert | Policy::CreateOnly, _) => {
            let made_with = pending.keys.iter().find_map(|key| match key {
                Key::Field { field, value, .. } => Some((field, value)),
                Key::Id(_) => None,
            });
            let Some((field, value)) = made_with else {
                let reason = "no record has the id, and none can be made under it".to_owned();
                return (Outcome::Aside(reason), Vec::new());
            };
            let mut all = changes(pending, None);
            if !all.iter().any(|change| change.field == *field) {
                let new = Value::Text(value.clone());
                all.insert(0, Change { field: field.clone(), old: Value::Null, new });
            }
            (Outcome::Create, all)
        }
    }
}

/// The fields that would change; of a new record all that are not empty.
fn changes(pending: &Pending, record: Option<&Record>) -> Vec<Change> {
    let mut all = Vec::new();
    for (name, (_, field)) in &pending.fields {
        if record.is_some() && field.moment == Moment::Create {
            continue;
        }
        let old = record.and_then(|record| record.values.get(name)).cloned();
        let old = old.unwrap_or(Value::Null);
        if !old.same_as(&field.value) {
            all.push(Change { field: name.clone(), old, new: field.value.clone() });
        }
    }
    all
}

fn shown(key: &Key) -> String {
    match key {
        Key::Id(id) => format!("id = {id}"),
        Key::Field { field, value, .. } => format!("{field} = {value}"),
    }
}
