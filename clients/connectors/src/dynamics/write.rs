//! Writes rows: each a request of its own in a batch, so that each has its own outcome. In come rows, out
//! goes the outcome of each. Upserts go by `PATCH` with the alternate key in the URL; keys that cannot stand
//! there go by a filter and then by the record's id, or a `POST` that the key's index guards. A row must
//! never be told as written without a 2xx of its own.
//! <https://learn.microsoft.com/power-apps/developer/data-platform/use-upsert-insert-update-record>

use http::StatusCode;
use serde_json::{Map, Value as Json};

use super::answer::{self, Asked};
use super::batch::Part;
use super::connection::Connection;
use super::schema::{Schema, guid};
use super::target;
use crate::api::Answer;
use crate::crm::{Fault, Key, Object, Target, Write, Written};

/// A race is run a second time; who loses again is told so.
const ROUNDS: usize = 2;
const RETURN: (&str, &str) = ("Prefer", "return=representation");

/// What a request of a row is for.
struct Request<'a> {
    row: usize,
    asked: Asked,
    /// The record's id where it is known beforehand.
    id: Option<&'a str>,
    part: Part,
}

/// The rows of one call and what belongs to all of them.
pub struct Rows<'a> {
    /// The API.
    pub api: &'a Connection,
    /// The kind of record.
    pub object: &'a Object,
    /// Its schema.
    pub schema: &'a Schema,
    /// The rows.
    pub rows: &'a [Write],
}

type Outcome = Result<Written, Fault>;

impl Rows<'_> {
    /// Writes them.
    pub async fn write(&self) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = self.rows.iter().map(|_| None).collect();
        for _ in 0..ROUNDS {
            let open: Vec<usize> = (0..self.rows.len())
                .filter(|row| self.is_open(*row, outcomes[*row].as_ref()))
                .collect();
            if open.is_empty() {
                break;
            }
            for (row, outcome) in self.round(&open).await {
                outcomes[row] = Some(outcome);
            }
        }
        let missing = || Err(Fault::transient("the row was not sent"));
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect()
    }

    /// Whether a row is to be sent: it was not, or lost a race that it wins as an update.
    fn is_open(&self, row: usize, outcome: Option<&Outcome>) -> bool {
        match (outcome, &self.rows[row].target) {
            (None, _) => true,
            (Some(Err(Fault::Raced { .. } | Fault::Gone { .. })), Target::Upsert(_)) => true,
            (Some(_), _) => false,
        }
    }

    async fn round(&self, open: &[usize]) -> Vec<(usize, Outcome)> {
        let found = self.look_up(open).await;
        let mut outcomes = Vec::with_capacity(open.len());
        let mut requests = Vec::with_capacity(open.len());
        for (row, found) in open.iter().zip(&found) {
            match found.as_ref().map_err(Clone::clone).and_then(|id| self.request(*row, id)) {
                Ok(request) => requests.push(request),
                Err(fault) => outcomes.push((*row, Err(fault))),
            }
        }
        let parts = requests.iter().map(|request| request.part.clone()).collect();
        let answers = self.api.send(parts).await;
        for (request, answer) in requests.iter().zip(answers) {
            let outcome = answer.and_then(|answer| self.outcome(request, &answer));
            outcomes.push((request.row, outcome));
        }
        outcomes
    }

    /// The ids of the records whose keys cannot stand in a URL. `Ok(None)`: none, or not needed.
    async fn look_up(&self, open: &[usize]) -> Vec<Result<Option<String>, Fault>> {
        let mut parts = Vec::new();
        let mut found: Vec<Result<Option<String>, Fault>> = Vec::with_capacity(open.len());
        let mut asked = Vec::new();
        for (place, row) in open.iter().enumerate() {
            found.push(Ok(None));
            if let Target::Upsert(Key::Field { field, value, .. }) = &self.rows[*row].target
                && !target::is_usable_in_key(value)
                && let Some(literal) = self.schema.literal(field, value)
            {
                let select = [self.schema.primary_id.as_str()];
                let target = target::filtered(&self.object.name, field, &literal, &select);
                parts.push(Part::get(target));
                asked.push(place);
            }
        }
        for (place, answer) in asked.into_iter().zip(self.api.send(parts).await) {
            found[place] = answer.and_then(|answer| self.only_id(&answer));
        }
        found
    }

    fn only_id(&self, answer: &Answer) -> Result<Option<String>, Fault> {
        if !answer.status.is_success() {
            return Err(answer::fault(answer, Asked::Read));
        }
        let body: Json = answer.json()?;
        let ids: Vec<&str> = body["value"]
            .as_array()
            .ok_or_else(|| Fault::transient("unreadable answer: no records"))?
            .iter()
            .filter_map(|record| record[&self.schema.primary_id].as_str())
            .collect();
        match ids.as_slice() {
            [] => Ok(None),
            [id] => Ok(Some((*id).to_owned())),
            _ => Err(Fault::permanent("ambiguous_key", "several records have this key")),
        }
    }

    /// The request of a row; `found` is the record's id where its key cannot stand in a URL.
    fn request<'a>(&'a self, row: usize, found: &'a Option<String>) -> Result<Request<'a>, Fault> {
        let set = &self.object.name;
        let write = &self.rows[row];
        match (&write.target, found) {
            (Target::Record(id), _) => match guid(id) {
                Some(id) => Ok(self.update(row, id)),
                None => Err(Fault::Gone { reason: format!("`{id}` is no id of a record") }),
            },
            (Target::Upsert(_), Some(id)) => Ok(self.update(row, id)),
            (Target::Upsert(key), None) => {
                let (field, value, literal) = self.field(key)?;
                if !target::is_usable_in_key(value) {
                    return Ok(self.create(row, field, value));
                }
                let target = target::keyed(set, field, &literal, &self.select());
                Ok(self.patch(row, Asked::Upsert, target, vec![RETURN]))
            }
            (Target::New(key), _) => {
                let (field, value, literal) = self.field(key)?;
                let is_unique = matches!(key, Key::Field { unique: true, .. });
                if !is_unique || !target::is_usable_in_key(value) {
                    return Ok(self.create(row, field, value));
                }
                let target = target::keyed(set, field, &literal, &self.select());
                let headers = vec![("If-None-Match", "*"), RETURN];
                Ok(self.patch(row, Asked::Create, target, headers))
            }
        }
    }

    fn field<'k>(&self, key: &'k Key) -> Result<(&'k str, &'k str, String), Fault> {
        match key {
            Key::Field { field, value, .. } => match self.schema.literal(field, value) {
                Some(literal) => Ok((field, value, literal)),
                None => {
                    let reason = format!("`{value}` is no value that `{field}` can have");
                    Err(Fault::permanent("invalid_key", reason))
                }
            },
            Key::Id(_) => {
                let reason = "a record is not made under an id of the CRM's own";
                Err(Fault::permanent("invalid_key", reason))
            }
        }
    }

    fn update<'a>(&self, row: usize, id: &'a str) -> Request<'a> {
        let target = target::record(&self.object.name, id, &[]);
        let request = self.patch(row, Asked::Update, target, vec![("If-Match", "*")]);
        Request { id: Some(id), ..request }
    }

    fn create<'a>(&self, row: usize, field: &str, value: &str) -> Request<'a> {
        let mut fields = self.fields(row);
        let key = crate::value::Value::Text(value.to_owned());
        fields.insert(field.to_owned(), self.schema.written(field, &key));
        let part = Part {
            method: "POST",
            target: target::set(&self.object.name, &self.select()),
            headers: vec![RETURN],
            body: Some(Json::Object(fields).to_string()),
        };
        Request { row, asked: Asked::Create, id: None, part }
    }

    fn patch<'a>(
        &self,
        row: usize,
        asked: Asked,
        target: String,
        headers: Vec<(&'static str, &'static str)>,
    ) -> Request<'a> {
        let body = Some(Json::Object(self.fields(row)).to_string());
        Request { row, asked, id: None, part: Part { method: "PATCH", target, headers, body } }
    }

    fn fields(&self, row: usize) -> Map<String, Json> {
        let fields = self.rows[row].fields.iter();
        fields.map(|(name, value)| (name.clone(), self.schema.written(name, value))).collect()
    }

    fn select(&self) -> [&str; 1] {
        [self.schema.primary_id.as_str()]
    }

    fn outcome(&self, request: &Request<'_>, answer: &Answer) -> Outcome {
        if !answer.status.is_success() {
            return Err(answer::fault(answer, request.asked));
        }
        let body: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
        let told = body[&self.schema.primary_id].as_str().or_else(|| entity_id(answer));
        let id = request.id.or(told).ok_or_else(|| {
            Fault::transient(format!("{}: the answer does not tell the record", answer.status))
        })?;
        let created = match (request.asked, answer.status) {
            (Asked::Update, _) => Some(false),
            (Asked::Create, _) | (_, StatusCode::CREATED) => Some(true),
            (_, StatusCode::OK) => Some(false),
            (_, _) => None,
        };
        Ok(Written { id: id.to_owned(), created })
    }
}

/// The id in `OData-EntityId`, which may also hold the key by which the record was addressed.
fn entity_id(answer: &Answer) -> Option<&str> {
    let url = answer.header("odata-entityid")?;
    let (_, id) = url.strip_suffix(')')?.rsplit_once('(')?;
    guid(id)
}
