//! Rows written to Salesforce, in collections of 200: by id, by a field that is an external id, or as new
//! records. In come rows, out goes one result each. A collection that is refused whole is taken apart; a
//! row is reported as written only if the org's answer has a success in its place.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::answers::{self, Reason, Refused, Scope, UNKNOWN_FIELD};
use super::schema::Schema;
use super::{MAX_ROWS, Salesforce, segment};
use crate::crm::{Fault, Key, Target, Write, Written};

/// Names that are no fields in a collection.
const RESERVED: &[&str] = &["id", "attributes"];

/// What a collection does with its rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    Update,
    Upsert(String),
    Create,
}

/// A row as it is sent.
struct Prepared<'r> {
    index: usize,
    row: &'r Write,
    record: Map<String, Json>,
}

/// The org's word on a row.
#[derive(Deserialize)]
struct Judged {
    id: Option<String>,
    success: bool,
    created: Option<bool>,
    #[serde(default, deserialize_with = "answers::or_none")]
    errors: Vec<Reason>,
}

/// Rows of one object on their way.
struct Batch<'b> {
    crm: &'b Salesforce,
    object: &'b str,
    results: Vec<Option<Result<Written, Fault>>>,
}

/// Writes rows: one result a row.
pub(super) async fn write(
    crm: &Salesforce,
    object: &str,
    rows: &[Write],
) -> Vec<Result<Written, Fault>> {
    let mut batch = Batch { crm, object, results: rows.iter().map(|_| None).collect() };
    let schema = match crm.schemas.with(crm, object, rows.iter().flat_map(names)).await {
        Ok(schema) => schema,
        Err(fault) => return rows.iter().map(|_| Err(fault.clone())).collect(),
    };
    let mut calls: BTreeMap<Call, Vec<Prepared<'_>>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        match prepared(object, &schema, row) {
            Ok((call, record)) => {
                calls.entry(call).or_default().push(Prepared { index, row, record });
            }
            Err(fault) => batch.results[index] = Some(Err(fault)),
        }
    }
    for (call, mut prepared) in calls {
        while prepared.len() > MAX_ROWS {
            let rest = prepared.split_off(MAX_ROWS);
            batch.send_apart(&call, std::mem::replace(&mut prepared, rest)).await;
        }
        batch.send_apart(&call, prepared).await;
    }
    let missing = || Err(Fault::transient("a row was not sent"));
    batch.results.into_iter().map(|result| result.unwrap_or_else(missing)).collect()
}

impl Batch<'_> {
    /// Sends rows in one call, and in halves where a call is refused because of some of them.
    async fn send_apart(&mut self, call: &Call, rows: Vec<Prepared<'_>>) {
        let mut heaps = vec![rows];
        let mut knows_fields = false;
        while let Some(mut heap) = heaps.pop() {
            let refused = match self.send(call, &heap).await {
                Ok(judged) => {
                    let mut again = self.keep(call, heap, judged);
                    let half = again.split_off(again.len() / 2);
                    heaps.extend([half, again].into_iter().filter(|heap| !heap.is_empty()));
                    continue;
                }
                Err(refused) => refused,
            };
            match refused.scope {
                Scope::Moment | Scope::Call => {
                    let rest = heap.iter().chain(heaps.iter().flatten());
                    rest.for_each(|row| self.results[row.index] = Some(Err(refused.fault.clone())));
                    return;
                }
                Scope::Rows if heap.len() == 1 => {
                    self.results[heap[0].index] = Some(Err(refused.fault));
                }
                Scope::Rows => {
                    // The fields changed since they were read: their names tell the rows without a call
                    // for each.
                    if refused.is_unknown_field() && !knows_fields {
                        knows_fields = true;
                        let before = heap.len();
                        heap = self.without_unknown(heap).await;
                        if heap.len() < before {
                            heaps.extend(Some(heap).filter(|heap| !heap.is_empty()));
                            continue;
                        }
                    }
                    let half = heap.split_off(heap.len() / 2);
                    heaps.extend([half, heap]);
                }
            }
        }
    }

    async fn send(&self, call: &Call, rows: &[Prepared<'_>]) -> Result<Vec<Json>, Refused> {
        let path = match call {
            Call::Update | Call::Create => "/composite/sobjects".to_owned(),
            Call::Upsert(field) => {
                format!("/composite/sobjects/{}/{}", segment(self.object), segment(field))
            }
        };
        let method = match call {
            Call::Update | Call::Upsert(_) => Method::PATCH,
            Call::Create => Method::POST,
        };
        let records: Vec<&Map<String, Json>> = rows.iter().map(|row| &row.record).collect();
        let body = json!({ "allOrNone": false, "records": records }).to_string();
        let answer = self.crm.call(method, &path, Some(Bytes::from(body))).await?;
        let judged: Vec<Json> = answer.json().map_err(Refused::at_the_moment)?;
        if judged.len() != rows.len() {
            let reason = format!("{} results for {} rows", judged.len(), rows.len());
            return Err(Refused::at_the_moment(Fault::transient(reason)));
        }
        Ok(judged)
    }

    /// Keeps what the org said of each row; answers those that are to be sent with fewer others.
    fn keep<'r>(
        &mut self,
        call: &Call,
        rows: Vec<Prepared<'r>>,
        judged: Vec<Json>,
    ) -> Vec<Prepared<'r>> {
        let is_alone = rows.len() == 1;
        let mut again = Vec::new();
        for (row, judged) in rows.into_iter().zip(judged) {
            // A row whose answer cannot be read takes no other with it.
            let judged: Result<Judged, _> = serde_json::from_value(judged);
            let is_of_the_call = judged.as_ref().is_ok_and(|judged| {
                !judged.success && judged.errors.iter().any(Reason::is_of_the_call)
            });
            if is_of_the_call && !is_alone {
                again.push(row);
                continue;
            }
            let result = match judged {
                Ok(judged) => outcome(call, &row.row.target, judged),
                Err(error) => Err(Fault::transient(format!("unreadable answer of a row: {error}"))),
            };
            self.results[row.index] = Some(result);
        }
        again
    }

    /// The rows whose fields are all there, by a describe that is read now if need be.
    async fn without_unknown<'r>(&mut self, rows: Vec<Prepared<'r>>) -> Vec<Prepared<'r>> {
        let Ok(schema) = self.crm.schemas.read(self.crm, self.object).await else {
            return rows;
        };
        let (unknown, known) = rows
            .into_iter()
            .partition::<Vec<_>, _>(|row| names(row.row).any(|name| schema.column(name).is_none()));
        for row in unknown {
            let fault = prepared(self.object, &schema, row.row).err();
            self.results[row.index] = fault.map(Err);
        }
        known
    }
}

/// All names of fields in a row.
fn names(row: &Write) -> impl Iterator<Item = &str> {
    let key = match &row.target {
        Target::Record(_) => None,
        Target::Upsert(key) | Target::New(key) => match key {
            Key::Id(_) => None,
            Key::Field { field, .. } => Some(field.as_str()),
        },
    };
    key.into_iter().chain(row.fields.keys().map(String::as_str))
}

/// A row in the form that the org takes, and the call that takes it.
fn prepared(
    object: &str,
    schema: &Schema,
    row: &Write,
) -> Result<(Call, Map<String, Json>), Fault> {
    let column = |name: &str| {
        let unknown = || {
            let reason = format!("`{object}` has no field `{name}`, or the user may not see it");
            Fault::permanent(UNKNOWN_FIELD, reason)
        };
        schema.column(name).ok_or_else(unknown)
    };
    let mut record = Map::new();
    record.insert("attributes".to_owned(), json!({ "type": object }));
    for (name, value) in &row.fields {
        if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            let reason = format!("`{name}` is not a field that can be written");
            return Err(Fault::permanent("INVALID_FIELD_FOR_INSERT_UPDATE", reason));
        }
        record.insert(name.clone(), column(name)?.json(value));
    }
    let mut with_key = |key: &Key| match key {
        Key::Field { field, value, .. } => {
            let value = crate::value::Value::Text(value.clone());
            record.insert(field.clone(), column(field)?.json(&value));
            Ok(field.clone())
        }
        Key::Id(_) => {
            Err(Fault::permanent("MISSING_ARGUMENT", "a new record cannot be given its id"))
        }
    };
    let call = match &row.target {
        Target::Record(id) => {
            record.insert("id".to_owned(), json!(id));
            Call::Update
        }
        Target::Upsert(key) => Call::Upsert(with_key(key)?),
        Target::New(key) => with_key(key).map(|_| Call::Create)?,
    };
    Ok((call, record))
}

fn outcome(call: &Call, target: &Target, judged: Judged) -> Result<Written, Fault> {
    if !judged.success {
        let key = match target {
            Target::Upsert(Key::Field { field, .. }) | Target::New(Key::Field { field, .. }) => {
                Some(field.as_str())
            }
            Target::Record(_) | Target::Upsert(Key::Id(_)) | Target::New(Key::Id(_)) => None,
        };
        return Err(answers::row(&judged.errors, target, key));
    }
    let id = judged.id.ok_or_else(|| Fault::transient("a success without an id was answered"))?;
    let created = match call {
        Call::Update => Some(false),
        Call::Upsert(_) => judged.created,
        Call::Create => Some(true),
    };
    Ok(Written { id, created })
}
