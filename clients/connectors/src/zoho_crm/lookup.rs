//! Finds records: by id with `GET /{module}?ids=`, by a field's value with COQL, fifty values a query. In
//! come look-ups, out go at most two records for each. The search API is not used: its index lags behind,
//! and what it calls equal is any value that contains the one looked for. What COQL finds is compared once
//! more, so that no record is taken for another.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::Zoho;
use super::caller::Call;
use super::refusal;
use super::schema::Schema;
use crate::api::Answer;
use crate::crm::{Fault, Key, Object, Record};

/// How many values one `in` of COQL takes.
pub(super) const MAX_VALUES: usize = 50;
/// How many bytes of values one query takes.
const MAX_QUERY_BYTES: usize = 10_000;
/// How many records one query answers for one credit.
const MAX_RECORDS: usize = 200;
/// How many fields one query or read takes, without the id and the field that is looked by.
const MAX_FIELDS: usize = 48;
/// Two are enough to see that one is not the only one.
const ENOUGH: usize = 2;
const MAX_ID_DIGITS: usize = 20;

type Found = Result<Vec<Record>, Fault>;

/// One result a look-up, in their order.
pub(super) async fn find(
    zoho: &Zoho,
    object: &Object,
    lookups: &[Key],
    fields: &[String],
) -> Vec<Found> {
    let keys = lookups.iter().filter_map(field_of);
    let needed: Vec<&str> = fields.iter().map(String::as_str).chain(keys).collect();
    let schema = zoho.schemas.with(&zoho.caller, &object.name, &needed).await;
    let asked = schema.and_then(|schema| {
        if fields.len() > MAX_FIELDS {
            let reason = format!("more than {MAX_FIELDS} fields cannot be read at once");
            return Err(Fault::permanent("TOO_MANY_FIELDS", reason));
        }
        fields.iter().try_for_each(|name| schema.readable(name).map(|_| ()))?;
        Ok(schema)
    });
    let schema = match asked {
        Ok(schema) => schema,
        Err(fault) => return vec![Err(fault); lookups.len()],
    };
    let search = Search { zoho, module: &object.name, schema: &schema, fields };
    let mut ids = BTreeSet::new();
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for lookup in lookups {
        match lookup {
            Key::Id(id) => ids.insert(id.as_str()),
            Key::Field { field, value, .. } => values.entry(field).or_default().insert(value),
        };
    }
    let ids: Vec<&str> = ids.into_iter().collect();
    let by_field = values.into_iter().map(|(field, values)| async move {
        (field, search.by_values(field, values.into_iter().collect()).await)
    });
    let (by_id, by_field) = futures::join!(search.by_ids(&ids), join_all(by_field));
    let by_field: BTreeMap<&str, BTreeMap<&str, Found>> = by_field.into_iter().collect();
    let found = |lookup: &Key| match lookup {
        Key::Id(id) => by_id.get(id.as_str()).cloned(),
        Key::Field { field, value, .. } => {
            by_field.get(field.as_str()).and_then(|values| values.get(value.as_str())).cloned()
        }
    };
    let missing = || Err(Fault::transient("the look-up was not made"));
    lookups.iter().map(|lookup| found(lookup).unwrap_or_else(missing)).collect()
}

fn field_of(key: &Key) -> Option<&str> {
    match key {
        Key::Id(_) => None,
        Key::Field { field, .. } => Some(field),
    }
}

/// One kind of record and what is read of it.
#[derive(Clone, Copy)]
struct Search<'a> {
    zoho: &'a Zoho,
    module: &'a str,
    schema: &'a Schema,
    fields: &'a [String],
}

impl Search<'_> {
    async fn by_ids<'k>(&self, ids: &[&'k str]) -> BTreeMap<&'k str, Found> {
        // Zoho refuses the whole call for a text that cannot be an id; no record has such a one.
        let is_id = |id: &str| id.len() <= MAX_ID_DIGITS && id.bytes().all(|b| b.is_ascii_digit());
        let (real, other): (Vec<&str>, Vec<&str>) = ids.iter().partition(|id| is_id(id));
        let mut found: BTreeMap<&str, Found> =
            other.into_iter().map(|id| (id, Ok(vec![]))).collect();
        for part in real.chunks(MAX_VALUES) {
            let names = self.names(None).join(",");
            let path = format!("/{}?ids={}&fields={names}", self.module, part.join(","));
            let rows = match self.zoho.caller.call(&Call::get(path)).await {
                Ok(answer) => rows(&answer).map(|rows| rows.data),
                Err(fault) => Err(fault),
            };
            for id in part {
                let of_id = |row: &&Map<String, Json>| self.id(row).as_deref() == Some(*id);
                let records = rows.as_ref().map(|rows| {
                    let same = rows.iter().filter(of_id).take(1);
                    same.filter_map(|row| self.record(row)).collect()
                });
                found.insert(id, records.map_err(Fault::clone));
            }
        }
        found
    }

    /// A query that is refused, or that finds more than it answers, is halved until its values are alone.
    async fn by_values<'k>(&self, field: &str, values: Vec<&'k str>) -> BTreeMap<&'k str, Found> {
        let known = match self.schema.readable(field) {
            Ok(known) => known,
            Err(fault) => return values.into_iter().map(|v| (v, Err(fault.clone()))).collect(),
        };
        let mut found = BTreeMap::new();
        let mut literals = Vec::new();
        for value in values {
            match known.literal(value) {
                Some(literal) => literals.push((value, literal)),
                None => drop(found.insert(value, Ok(Vec::new()))),
            }
        }
        let mut parts = vec![&literals[..]];
        while let Some(part) = parts.pop() {
            let bytes: usize = part.iter().map(|(_, literal)| literal.len()).sum();
            if part.is_empty() {
                continue;
            }
            let is_large = part.len() > MAX_VALUES || bytes > MAX_QUERY_BYTES;
            let asked = match is_large && part.len() > 1 {
                true => Asked::TooMuch,
                false => self.ask(field, part).await,
            };
            match asked {
                Asked::TooMuch if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Asked::TooMuch => {
                    let reason = "the query is refused as too much".to_owned();
                    let fault = Fault::permanent("TOO_MUCH", reason);
                    found.extend(part.iter().map(|(value, _)| (*value, Err(fault.clone()))));
                }
                Asked::Refused(fault) => {
                    found.extend(part.iter().map(|(value, _)| (*value, Err(fault.clone()))));
                }
                Asked::Answered(rows) => found.extend(part.iter().map(|(value, _)| {
                    let empty = Json::Null;
                    let same = |row: &&Map<String, Json>| {
                        known.is_same(value, row.get(field).unwrap_or(&empty))
                    };
                    let records = rows.iter().filter(same).filter_map(|row| self.record(row));
                    (*value, Ok(records.take(ENOUGH).collect()))
                })),
            }
        }
        found
    }

    async fn ask(&self, field: &str, values: &[(&str, String)]) -> Asked {
        let names = self.names(Some(field)).join(", ");
        let literals: Vec<&str> = values.iter().map(|(_, literal)| literal.as_str()).collect();
        let condition = match literals[..] {
            [literal] => format!("{field} = {literal}"),
            _ => format!("{field} in ({})", literals.join(", ")),
        };
        let module = self.module;
        let query = format!("select {names} from {module} where ({condition}) limit {MAX_RECORDS}");
        let body = json!({ "select_query": query });
        let call = Call::of(Method::POST, "/coql".to_owned(), &body, 1).heavy(true);
        let answer = match self.zoho.caller.call(&call).await {
            Ok(answer) => answer,
            Err(fault) => return Asked::Refused(fault),
        };
        match rows(&answer) {
            // Alone, two of more than two hundred are enough.
            Ok(rows) if rows.info.more_records && values.len() > 1 => Asked::TooMuch,
            Ok(rows) => Asked::Answered(rows.data),
            Err(fault) if values.len() > 1 && !refusal::is_whole(&answer, &fault) => Asked::TooMuch,
            Err(fault) => Asked::Refused(fault),
        }
    }

    /// The id, what is looked by, and what is read, none of them twice.
    fn names<'n>(&'n self, key: Option<&'n str>) -> Vec<&'n str> {
        let mut names = vec!["id"];
        for name in key.into_iter().chain(self.fields.iter().map(String::as_str)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    fn id(&self, row: &Map<String, Json>) -> Option<String> {
        row.get("id").and_then(refusal::id)
    }

    fn record(&self, row: &Map<String, Json>) -> Option<Record> {
        let value = |name: &String| {
            let known = self.schema.readable(name).ok()?;
            Some((name.clone(), known.read(row.get(name)?)))
        };
        Some(Record { id: self.id(row)?, values: self.fields.iter().filter_map(value).collect() })
    }
}

enum Asked {
    Answered(Vec<Map<String, Json>>),
    /// Fewer values may be answered.
    TooMuch,
    Refused(Fault),
}

#[derive(Default, Deserialize)]
struct Rows {
    data: Vec<Map<String, Json>>,
    #[serde(default)]
    info: Info,
}

#[derive(Default, Deserialize)]
struct Info {
    #[serde(default)]
    more_records: bool,
}

/// The records of an answer; none come as one without a body.
fn rows(answer: &Answer) -> Result<Rows, Fault> {
    if !answer.status.is_success() {
        return Err(refusal::of_call(answer));
    }
    if answer.body.is_empty() && answer.status.as_u16() == 204 {
        return Ok(Rows::default());
    }
    answer.json()
}
