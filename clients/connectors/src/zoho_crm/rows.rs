//! Writes rows: upserts by a unique field, updates by id, creates, each a hundred a call. In come rows, out
//! goes the outcome of each, matched by its place in `data[]`. A call that is refused as a whole is halved
//! until the bad row is alone. Workflows are kept from running, so that a write does not come back as news.

use std::collections::BTreeMap;

use futures::future::join_all;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::caller::Call;
use super::refusal::{self, Told};
use super::schema::Schema;
use super::{Zoho, lookup};
use crate::api::Answer;
use crate::crm::{Fault, Key, Object, Target, Write, Written};
use crate::value::Value;

/// How many rows one call takes.
pub(super) const MAX_ROWS: usize = 100;
/// So many rows cost one credit.
const ROWS_A_CREDIT: u64 = 10;
/// A call of more rows counts among the heavy ones.
const MAX_LIGHT_ROWS: usize = 10;

/// What so many rows cost.
pub(super) fn credits(rows: u64) -> u64 {
    rows.div_ceil(ROWS_A_CREDIT)
}

/// One kind of call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Update,
    Create,
    /// By this field.
    Upsert(String),
}

/// A row as it is sent.
struct Ready<'a> {
    index: usize,
    target: &'a Target,
    body: Map<String, Json>,
}

type Outcome = Result<Written, Fault>;

/// One result a row, in their order.
pub(super) async fn write(zoho: &Zoho, object: &Object, rows: &[Write]) -> Vec<Outcome> {
    let needed: Vec<&str> = rows.iter().flat_map(names).collect();
    let schema = match zoho.schemas.with(&zoho.caller, &object.name, &needed).await {
        Ok(schema) => schema,
        Err(fault) => return vec![Err(fault); rows.len()],
    };
    let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
    let mut ways: BTreeMap<Way, Vec<Ready>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        match ready(&schema, index, row) {
            Ok((way, ready)) => ways.entry(way).or_default().push(ready),
            Err(fault) => drop(outcomes.insert(index, Err(fault))),
        }
    }
    let calls =
        ways.iter().flat_map(|(way, rows)| rows.chunks(MAX_ROWS).map(move |rows| (way, rows)));
    let sent = join_all(calls.map(|(way, rows)| send_apart(zoho, object, way, rows))).await;
    outcomes.extend(sent.into_iter().flatten());
    let missing = || Err(Fault::transient("the row was not sent"));
    (0..rows.len()).map(|index| outcomes.remove(&index).unwrap_or_else(missing)).collect()
}

fn names(row: &Write) -> impl Iterator<Item = &str> {
    let key = match &row.target {
        Target::Upsert(Key::Field { field, .. }) | Target::New(Key::Field { field, .. }) => {
            Some(field.as_str())
        }
        Target::Record(_) | Target::Upsert(Key::Id(_)) | Target::New(Key::Id(_)) => None,
    };
    row.fields.keys().map(String::as_str).chain(key)
}

fn ready<'a>(schema: &Schema, index: usize, row: &'a Write) -> Result<(Way, Ready<'a>), Fault> {
    let mut body = Map::new();
    for (name, value) in &row.fields {
        body.insert(name.clone(), schema.writable(name)?.render(value));
    }
    let way = match &row.target {
        Target::Record(id) => {
            body.insert("id".to_owned(), Json::String(id.clone()));
            Way::Update
        }
        Target::Upsert(Key::Field { field, value, .. }) => {
            let value = Value::Text(value.clone());
            body.insert(field.clone(), schema.writable(field)?.render(&value));
            Way::Upsert(field.clone())
        }
        Target::New(Key::Field { field, value, .. }) => {
            let value = Value::Text(value.clone());
            body.insert(field.clone(), schema.writable(field)?.render(&value));
            Way::Create
        }
        Target::Upsert(Key::Id(_)) | Target::New(Key::Id(_)) => {
            let reason = "a record cannot be created under an id of Zoho's own";
            return Err(Fault::permanent("NO_KEY", reason));
        }
    };
    Ok((way, Ready { index, target: &row.target, body }))
}

async fn send_apart(
    zoho: &Zoho,
    object: &Object,
    way: &Way,
    rows: &[Ready<'_>],
) -> Vec<(usize, Outcome)> {
    let mut outcomes = Vec::with_capacity(rows.len());
    let mut parts = vec![rows];
    while let Some(part) = parts.pop() {
        match send(zoho, object, way, part).await {
            Ok(told) => outcomes.extend(told),
            Err(refused) if part.len() > 1 && !refused.is_whole => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Err(refused) => {
                let each = part.iter().map(|row| (row.index, Err(refused.fault.clone())));
                outcomes.extend(each);
            }
        }
    }
    outcomes
}

/// A call that was refused as a whole.
struct Refused {
    fault: Fault,
    /// Whether it would be for every part of its rows.
    is_whole: bool,
}

#[derive(Deserialize)]
struct Rows {
    data: Vec<Told>,
}

async fn send(
    zoho: &Zoho,
    object: &Object,
    way: &Way,
    rows: &[Ready<'_>],
) -> Result<Vec<(usize, Outcome)>, Refused> {
    let call = call(zoho, &object.name, way, rows);
    let answer = match zoho.caller.call(&call).await {
        Ok(answer) => answer,
        Err(fault) => return Err(Refused { fault, is_whole: true }),
    };
    let told = told(zoho, &answer, rows.len())?;
    let mut outcomes = Vec::with_capacity(rows.len());
    for (row, told) in rows.iter().zip(&told) {
        outcomes.push((row.index, outcome(zoho, object, row, told).await));
    }
    Ok(outcomes)
}

fn call(zoho: &Zoho, module: &str, way: &Way, rows: &[Ready<'_>]) -> Call {
    let bodies = rows.iter().map(|row| Json::Object(row.body.clone()));
    let mut body = json!({ "data": bodies.collect::<Vec<_>>() });
    if !zoho.runs_workflows {
        body["trigger"] = json!([]);
    }
    let (method, path) = match way {
        Way::Update => (Method::PUT, format!("/{module}")),
        Way::Create => (Method::POST, format!("/{module}")),
        Way::Upsert(field) => {
            body["duplicate_check_fields"] = json!([field]);
            (Method::POST, format!("/{module}/upsert"))
        }
    };
    let credits = credits(rows.len() as u64);
    Call::of(method, path, &body, credits).heavy(rows.len() > MAX_LIGHT_ROWS)
}

/// The outcomes of an answer, one a row, or what it says of the whole call.
fn told(zoho: &Zoho, answer: &Answer, rows: usize) -> Result<Vec<Told>, Refused> {
    let refused = |fault: Fault| Refused { is_whole: refusal::is_whole(answer, &fault), fault };
    if let Ok(told) = serde_json::from_slice::<Rows>(&answer.body) {
        if told.data.len() == rows {
            return Ok(told.data);
        }
        let reason = format!("{}: {} outcomes for {rows} rows", answer.status, told.data.len());
        return Err(refused(Fault::transient(reason)));
    }
    if answer.status.is_success() {
        let reason = format!("{}: an answer without outcomes", answer.status);
        return Err(refused(Fault::transient(reason)));
    }
    match refusal::is_rate(answer) {
        true => Err(refused(zoho.caller.throttled(answer, None))),
        false => Err(refused(refusal::of_call(answer))),
    }
}

async fn outcome(zoho: &Zoho, object: &Object, row: &Ready<'_>, told: &Told) -> Outcome {
    if told.is_success() {
        let unnamed = || Fault::transient("a success without the record's id");
        return written(row.target, told.action.as_deref(), told.id().ok_or_else(unnamed)?);
    }
    match row.target {
        Target::Record(_) if told.is_missing_record() => {
            Err(Fault::Gone { reason: format!("{}: {}", told.code, told.reason()) })
        }
        Target::Upsert(key) | Target::New(key) if told.code == refusal::DUPLICATE => {
            let is_ours = match (told.field(), key) {
                (Some(named), Key::Field { field, .. }) => named == field,
                (_, _) => is_record_of_key(zoho, object, key, told).await?,
            };
            match is_ours {
                true => Err(Fault::Raced { reason: format!("{}: {}", told.code, told.reason()) }),
                false => Err(told.fault()),
            }
        }
        Target::Record(_) | Target::Upsert(_) | Target::New(_) => Err(told.fault()),
    }
}

fn written(target: &Target, action: Option<&str>, id: String) -> Outcome {
    let created = match target {
        Target::Record(wanted) if *wanted != id => {
            let reason = format!("record {id} answered in place of {wanted}");
            return Err(Fault::transient(reason));
        }
        Target::Record(_) => Some(false),
        Target::New(_) => Some(true),
        Target::Upsert(_) => match action {
            Some("insert") => Some(true),
            Some("update") => Some(false),
            Some(_) | None => None,
        },
    };
    Ok(Written { id, created })
}

/// Whether the record that stands in the way has our key, where Zoho does not tell by which field.
async fn is_record_of_key(
    zoho: &Zoho,
    object: &Object,
    key: &Key,
    told: &Told,
) -> Result<bool, Fault> {
    let Some(id) = told.id() else { return Ok(false) };
    let found = lookup::find(zoho, object, std::slice::from_ref(key), &[]).await;
    let records = found.into_iter().next().unwrap_or_else(|| Ok(Vec::new()))?;
    Ok(records.iter().any(|record| record.id == id))
}
