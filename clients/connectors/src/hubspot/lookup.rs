//! Look-ups. In come keys, out go the records of each, at most two. Ids and properties with unique values
//! are read in batches, which shows what was just written; other properties are searched, 100 values a
//! call, which lags. It must never take a record that is like another's key for the one that was meant.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value as Json, json};

use super::answer::{Page, Refused, Row};
use super::batch::Operation;
use super::refusal::fault_of;
use super::{Hubspot, MAX_INPUTS};
use crate::crm::{Fault, Key, Object, Record};
use crate::value::Value;

/// HubSpot's name for its own id, where it is taken for a property.
const ID_PROPERTY: &str = "hs_object_id";
/// HubSpot's category where there is no such record.
const NOT_THERE: &str = "OBJECT_NOT_FOUND";
/// How many records a page of a search has at most.
const PAGE: usize = 200;
/// How many values an `IN` filter takes.
const MAX_VALUES: usize = 100;
/// How long the body of a search may be.
const MAX_SEARCH_BYTES: usize = 3_000;
/// How many records of a look-up are told; more than one is ambiguous.
const ENOUGH: usize = 2;

/// What records are looked up by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Id,
    Unique(String),
    Search(String),
}

/// The look-ups of one value, by their numbers.
#[derive(Debug)]
struct Wanted<'a> {
    value: &'a str,
    lookups: Vec<usize>,
}

/// The results so far, by look-up.
type Found = Vec<Result<Vec<Record>, Fault>>;

impl Hubspot {
    /// Looks records up and reads fields of them.
    pub(super) async fn look_up(
        &self,
        object: &Object,
        lookups: &[Key],
        fields: &[String],
    ) -> Found {
        let mut found: Found = lookups.iter().map(|_| Ok(Vec::new())).collect();
        for (by, wanted) in groups(lookups) {
            let (mut waiting, mut is_known) = (Vec::new(), false);
            let mut rest = wanted;
            while !rest.is_empty() {
                let after = rest.split_off(rest.len().min(MAX_INPUTS));
                waiting.push(std::mem::replace(&mut rest, after));
            }
            while let Some(set) = waiting.pop() {
                if by.must_be_halved(&set, fields) {
                    halve(&mut waiting, set);
                    continue;
                }
                match self.read(object, &by, &set, fields).await {
                    Ok(page) if page.goes_on() && set.len() > 1 => halve(&mut waiting, set),
                    Ok(mut page) => {
                        settle(&by, &set, &page.results, fields, &mut found);
                        self.heed_flaws(&set, &mut page, &mut found);
                    }
                    Err(Refused::Rows(problem)) if set.len() > 1 => {
                        let may_be_all = !std::mem::replace(&mut is_known, true);
                        let property = by.property();
                        if may_be_all && self.is_about_all(object, property, &problem).await {
                            let others = std::mem::take(&mut waiting).into_iter().flatten();
                            let fault = Fault::permanent(problem.code(), problem.told());
                            fail(set.into_iter().chain(others), &fault, &mut found);
                        } else {
                            halve(&mut waiting, set);
                        }
                    }
                    Err(refused @ Refused::Rows(_)) => {
                        fail(set, &refused.into_fault(), &mut found);
                    }
                    Err(Refused::Call(fault)) => {
                        let others = std::mem::take(&mut waiting).into_iter().flatten();
                        fail(set.into_iter().chain(others), &fault, &mut found);
                    }
                }
            }
        }
        found
    }

    /// Look-ups that found nothing because they could not be answered: that is not the same as no record.
    fn heed_flaws(&self, set: &[Wanted<'_>], page: &mut Page, found: &mut Found) {
        let flaws = page.flaws(StatusCode::MULTI_STATUS).into_iter();
        for flaw in flaws.filter(|flaw| flaw.problem.category() != NOT_THERE) {
            let fault = fault_of(&flaw.problem, &Operation::Update, self.records.budget());
            let is_about = |one: &&Wanted<'_>| {
                flaw.ids.is_empty() || flaw.ids.iter().any(|id| id == one.value)
            };
            for lookup in set.iter().filter(is_about).flat_map(|one| &one.lookups) {
                if found[*lookup].as_ref().is_ok_and(Vec::is_empty) {
                    found[*lookup] = Err(fault.clone());
                }
            }
        }
    }

    async fn read(
        &self,
        object: &Object,
        by: &By,
        set: &[Wanted<'_>],
        fields: &[String],
    ) -> Result<Page, Refused> {
        let body = by.body(set, fields);
        let answer = match by {
            By::Search(_) => {
                let path = self.version.objects_path(&object.name, "search");
                self.post_search(&path, &body).await
            }
            By::Id | By::Unique(_) => {
                let path = self.version.objects_path(&object.name, "batch/read");
                self.post(&path, &body).await
            }
        };
        match answer {
            Ok(answer) => Ok(answer.json()?),
            // None of them is there.
            Err(Refused::Rows(problem)) if problem.category() == NOT_THERE => Ok(Page::none()),
            Err(refused) => Err(refused),
        }
    }
}

/// What is looked up by what; a value that is there twice is looked up once.
fn groups(lookups: &[Key]) -> BTreeMap<By, Vec<Wanted<'_>>> {
    let mut groups: BTreeMap<By, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
    for (number, key) in lookups.iter().enumerate() {
        let (by, value) = match key {
            Key::Id(id) => (By::Id, id),
            Key::Field { field, value, .. } if field == ID_PROPERTY => (By::Id, value),
            Key::Field { field, value, unique: true } => (By::Unique(field.clone()), value),
            Key::Field { field, value, unique: false } => (By::Search(field.clone()), value),
        };
        // HubSpot's ids are digits; anything else is no record's and would spoil the whole call.
        let is_no_id = value.is_empty() || value.bytes().any(|byte| !byte.is_ascii_digit());
        if by == By::Id && is_no_id {
            continue;
        }
        groups.entry(by).or_default().entry(value.as_str()).or_default().push(number);
    }
    let wanted = |(value, lookups)| Wanted { value, lookups };
    groups.into_iter().map(|(by, all)| (by, all.into_iter().map(wanted).collect())).collect()
}

impl By {
    fn property(&self) -> Option<&str> {
        match self {
            By::Id => None,
            By::Unique(property) | By::Search(property) => Some(property),
        }
    }

    fn body(&self, set: &[Wanted<'_>], fields: &[String]) -> Json {
        let mut properties: Vec<&str> = fields.iter().map(String::as_str).collect();
        let property = self.property().filter(|property| !properties.contains(property));
        properties.extend(property);
        let inputs = || set.iter().map(|one| json!({ "id": one.value })).collect::<Vec<_>>();
        match self {
            By::Id => json!({ "properties": properties, "inputs": inputs() }),
            By::Unique(property) => {
                json!({ "idProperty": property, "properties": properties, "inputs": inputs() })
            }
            By::Search(property) => {
                let values = searched(set);
                let filter =
                    json!({ "propertyName": property, "operator": "IN", "values": values });
                json!({
                    "filterGroups": [{ "filters": [filter] }],
                    "properties": properties,
                    "limit": PAGE,
                })
            }
        }
    }

    /// Searches are bounded in their values and their length.
    fn must_be_halved(&self, set: &[Wanted<'_>], fields: &[String]) -> bool {
        let is_long = || {
            searched(set).len() > MAX_VALUES
                || self.body(set, fields).to_string().len() > MAX_SEARCH_BYTES
        };
        matches!(self, By::Search(_)) && set.len() > 1 && is_long()
    }
}

/// The values as `IN` takes them: of texts in lower case, of options as they are. Both are sent, since
/// what a result matches is looked at afterwards.
fn searched(set: &[Wanted<'_>]) -> Vec<String> {
    let both = set.iter().flat_map(|one| [one.value.to_owned(), one.value.to_lowercase()]);
    let mut values: Vec<String> = both.collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// Gives each look-up its records.
fn settle(by: &By, set: &[Wanted<'_>], rows: &[Row], fields: &[String], found: &mut Found) {
    let live: Vec<&Row> = rows.iter().filter(|row| !row.archived).collect();
    for one in set {
        let key = |row: &Row| match by {
            By::Id => Value::Text(row.id.clone()),
            By::Unique(property) | By::Search(property) => {
                row.property(property).map_or(Value::Null, Value::of_json)
            }
        };
        let matching = |same: &dyn Fn(&Value) -> bool| -> Vec<Record> {
            let rows = live.iter().filter(|row| same(&key(row)));
            rows.take(ENOUGH).map(|row| record(row, fields)).collect()
        };
        let mut records = matching(&|value| value.text() == one.value);
        if records.is_empty() {
            // HubSpot's comparison of texts knows no case, and numbers may be written otherwise.
            let (wanted, folded) = (Value::Text(one.value.to_owned()), fold(one.value));
            records = matching(&|value| value.same_as(&wanted) || fold(&value.text()) == folded);
        }
        for lookup in &one.lookups {
            found[*lookup] = Ok(records.clone());
        }
    }
}

fn fold(text: &str) -> String {
    text.trim().to_lowercase()
}

fn record(row: &Row, fields: &[String]) -> Record {
    let values = fields.iter().filter_map(|name| {
        let value = row.property(name)?;
        Some((name.clone(), Value::of_json(value)))
    });
    Record { id: row.id.clone(), values: values.collect() }
}

fn fail<'a>(set: impl IntoIterator<Item = Wanted<'a>>, fault: &Fault, found: &mut Found) {
    for lookup in set.into_iter().flat_map(|one| one.lookups) {
        found[lookup] = Err(fault.clone());
    }
}

fn halve<'a>(waiting: &mut Vec<Vec<Wanted<'a>>>, mut set: Vec<Wanted<'a>>) {
    let second = set.split_off(set.len().div_ceil(2));
    waiting.push(second);
    waiting.push(set);
}
