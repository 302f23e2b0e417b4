//! Looking records up: by their id, by a field of the account's own through the search of one field, by a
//! name, a title or an email address through the search of their kind. In comes a key, out go the records
//! that hold it, read one by one, since what a search says is some seconds old. It must never give a record
//! that does not hold the key now, or that was deleted or archived.
//! Search: <https://developers.pipedrive.com/docs/api/v1/ItemSearch>

use std::sync::Arc;

use serde_json::Value as Json;

use super::Pipedrive;
use super::calls::{Ask, READ_POINTS, SEARCH_POINTS, about_no_record};
use super::entities::{Entity, Search};
use super::schema::{Known, Schema};
use super::values::{self, Choices};
use crate::crm::{Fault, Key, Record};

/// How many hits of a search are asked for: the most that every search gives.
const HITS: &str = "100";
/// How many of them are read: some may be stale, and two are enough.
const MAX_READ: usize = 10;
/// More records than this are as good as many.
const ENOUGH: usize = 2;
/// The longest id.
const MAX_ID_DIGITS: usize = 19;

/// One look-up.
pub(super) struct Lookup<'a> {
    /// What is looked up.
    pub entity: &'static Entity,
    /// Its fields.
    pub schema: Arc<Schema>,
    /// What is read of each record.
    pub fields: &'a [String],
    /// How choices are told.
    pub choices: Choices,
}

/// Whether a text can be an id at all: the path of a call is made of it.
pub(super) fn is_id(text: &str) -> bool {
    (1..=MAX_ID_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An id as it came, a number or a text.
pub(super) fn id_of(record: &Json) -> Option<String> {
    let id = match record.get("id")? {
        Json::Number(number) => number.to_string(),
        Json::String(text) => text.clone(),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return None,
    };
    is_id(&id).then_some(id)
}

impl Pipedrive {
    /// The records of a key, at most two.
    pub(super) async fn look_up(
        &self,
        lookup: &Lookup<'_>,
        key: &Key,
    ) -> Result<Vec<Record>, Fault> {
        let (name, value) = match key {
            Key::Id(id) => {
                let record = self.read(lookup.entity, id).await?;
                let record = record.map(|json| record_of(lookup, id, &json)).transpose()?;
                return Ok(record.into_iter().collect());
            }
            Key::Field { field, value, .. } => (field, value),
        };
        let field = lookup.schema.field(name)?;
        let mut records = Vec::new();
        for id in self.search(lookup.entity, field, value).await?.iter().take(MAX_READ) {
            if let Some(json) = self.read(lookup.entity, id).await?
                && values::holds(field, &json, value)
            {
                records.push(record_of(lookup, id, &json)?);
            }
            if records.len() == ENOUGH {
                break;
            }
        }
        Ok(records)
    }

    /// The ids of what a search finds.
    async fn search(
        &self,
        entity: &Entity,
        field: &Known,
        value: &str,
    ) -> Result<Vec<String>, Fault> {
        let ask = match field.search {
            Search::ByField => {
                let query = [
                    ("entity_type", entity.search_type),
                    ("field", &field.code),
                    ("match", "exact"),
                    ("term", value),
                    ("limit", HITS),
                ];
                Ask::get(SEARCH_POINTS, "/api/v2/itemSearch/field", &query)
            }
            Search::Within(fields) => {
                let query =
                    [("term", value), ("fields", fields), ("exact_match", "true"), ("limit", HITS)];
                Ask::get(SEARCH_POINTS, &entity.path(Some("search")), &query)
            }
            Search::Never => {
                let reason = format!("Pipedrive cannot search by `{}`", field.label);
                return Err(Fault::permanent("not_searchable", reason));
            }
        };
        let found = self.calls.send(&ask).await.map_err(about_no_record)?;
        let unreadable = || Fault::transient("unreadable result of a search");
        let ids: Option<Vec<String>> = match field.search {
            Search::Within(_) => {
                let items = found.data.get("items").and_then(Json::as_array);
                let items = items.ok_or_else(unreadable)?.iter();
                items.map(|hit| id_of(hit.get("item")?)).collect()
            }
            Search::ByField | Search::Never => {
                let items = found.data.as_array().ok_or_else(unreadable)?.iter();
                items.map(id_of).collect()
            }
        };
        let mut ids = ids.ok_or_else(unreadable)?;
        let mut seen = std::collections::HashSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        Ok(ids)
    }

    /// A record, if it is there and was neither deleted nor archived.
    async fn read(&self, entity: &Entity, id: &str) -> Result<Option<Json>, Fault> {
        if !is_id(id) {
            return Ok(None);
        }
        let ask = Ask::get(READ_POINTS, &entity.path(Some(id)), &[]);
        let record = match self.calls.send(&ask).await {
            Ok(found) => found.data,
            Err(Fault::Gone { .. }) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        if id_of(&record).is_none_or(|told| told != id) {
            return Err(Fault::transient(format!("the answer is not the record `{id}`")));
        }
        let is = |flag: &str| record.get(flag).and_then(Json::as_bool) == Some(true);
        let is_there = !is("is_deleted") && !is("is_archived");
        Ok(is_there.then_some(record))
    }
}

fn record_of(lookup: &Lookup<'_>, id: &str, json: &Json) -> Result<Record, Fault> {
    let values = values::read(&lookup.schema, json, lookup.fields, lookup.choices)?;
    Ok(Record { id: id.to_owned(), values })
}
