//! Batches and searches that read. In come ids or filters, out go records with the properties that were
//! asked for, in no order; a search shows the past and is bounded as HubSpot's is.

use serde_json::{Map, Value, json};

use super::{
    Hubspot,
    batch::{check_unique, inputs, is_live},
    comparison,
    error::{absent, error_with, invalid},
    schema::Object,
};
use crate::{Kind, Record, Reply, Request, Table, table::Match};

const MAX_PAGE: usize = 200;
const MAX_VALUES: usize = 100;
const MAX_BODY: usize = 3_000;
const MAX_RESULTS: usize = 10_000;
/// What every answer has, asked for or not.
const ALWAYS: &[&str] = &["hs_object_id", "createdate", "hs_lastmodifieddate"];

impl Hubspot {
    pub(super) fn read(&self, request: &Request, object: Object) -> Reply {
        self.try_read(request, object).unwrap_or_else(|refusal| refusal)
    }

    fn try_read(&self, request: &Request, object: Object) -> Result<Reply, Reply> {
        let body = request.json().map_err(|_| invalid("Invalid input JSON"))?;
        let portal = self.state.lock();
        let table = portal.table(object);
        let names = asked(&body, table)?;
        let property = match body.get("idProperty") {
            None => None,
            Some(name) => Some(name.as_str().ok_or_else(|| invalid("idProperty is not a text"))?),
        };
        let how = property.map_or(Match::Exact, |property| comparison(table, property));
        if let Some(property) = property {
            check_unique(property, table, object)?;
        }
        let mut ids: Vec<&Value> = Vec::new();
        for input in inputs(&body)? {
            let id = input.get("id").filter(|id| id.as_str().is_some_and(|id| !id.is_empty()));
            let id = id.ok_or_else(|| invalid("Some required fields were not set: [id]"))?;
            if ids.iter().any(|other| how.same(other, id)) {
                return Err(invalid("Duplicate IDs found in batch input"));
            }
            let is_number = |id: &str| id.bytes().all(|byte| byte.is_ascii_digit());
            if property.is_none() && !id.as_str().is_some_and(is_number) {
                return Err(invalid("An id is not valid"));
            }
            ids.push(id);
        }
        let (mut results, mut missing) = (Vec::new(), Vec::new());
        for id in ids {
            let record = match property {
                Some(property) => table.find(property, id, how).first().copied(),
                None => id.as_str().and_then(|id| table.get(id)).filter(|record| is_live(record)),
            };
            match record {
                Some(record) => results.push(rendered(record, &names)),
                None => missing.push(id),
            }
        }
        if results.is_empty() && self.settings.refuses_unknown {
            let more = Map::from_iter([("context".to_owned(), json!({ "ids": missing }))]);
            return Err(error_with(404, "OBJECT_NOT_FOUND", &absent(object), more));
        }
        let now = self.site.clock.now().to_string();
        let mut body = json!({
            "status": "COMPLETE",
            "results": shuffled(results),
            "startedAt": now,
            "completedAt": now,
        });
        if missing.is_empty() {
            return Ok(Reply::json(200, &body));
        }
        body["numErrors"] = json!(1);
        body["errors"] = json!([{
            "status": "error",
            "category": "OBJECT_NOT_FOUND",
            "message": absent(object),
            "context": { "ids": missing },
            "links": {},
        }]);
        Ok(Reply::json(207, &body))
    }

    pub(super) fn search(&self, request: &Request, object: Object) -> Reply {
        self.try_search(request, object).unwrap_or_else(|refusal| refusal)
    }

    fn try_search(&self, request: &Request, object: Object) -> Result<Reply, Reply> {
        if request.body.len() > MAX_BODY {
            return Err(invalid("The request body is longer than 3000 characters"));
        }
        let body = request.json().map_err(|_| invalid("Invalid input JSON"))?;
        let number = |name: &str| match body.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => {
                text.parse::<usize>().map(Some).map_err(|_| invalid("not a number"))
            }
            Some(value) => {
                let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
                number.map(Some).ok_or_else(|| invalid("not a number"))
            }
        };
        let limit = number("limit")?.unwrap_or(10);
        if limit == 0 || limit > MAX_PAGE {
            return Err(invalid(&format!("limit must be from 1 to {MAX_PAGE}")));
        }
        let from = number("after")?.unwrap_or(0);
        if from + limit > MAX_RESULTS {
            return Err(invalid("More than 10000 results cannot be paged through"));
        }
        let portal = self.state.lock();
        let table = portal.table(object);
        let names = asked(&body, table)?;
        let (property, values) = filter(&body, table)?;
        let now = self.site.clock.now();
        // Of texts the index has the lower case alone.
        let is_text = table.field(property).is_some_and(|f| matches!(f.kind, Kind::Text { .. }));
        let how = if is_text { Match::IgnoreCase } else { Match::Exact };
        let is_indexed = |value: &&Value| !is_text || is_lower_case(value);
        let mut found: Vec<&Record> = Vec::new();
        for value in values.iter().filter(is_indexed) {
            for record in table.search(property, value, how, now) {
                if !found.iter().any(|other| other.id == record.id) {
                    found.push(record);
                }
            }
        }
        found.sort_by_key(|record| record.created_at);
        let page = found.iter().skip(from).take(limit).map(|record| rendered(record, &names));
        let mut body = json!({ "total": found.len(), "results": page.collect::<Vec<_>>() });
        if from + limit < found.len() {
            body["paging"] = json!({ "next": { "after": (from + limit).to_string() } });
        }
        Ok(Reply::json(200, &body))
    }
}

fn is_lower_case(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.to_lowercase() == text)
}

/// The one filter: `EQ` with a value or `IN` with several.
fn filter<'a>(body: &'a Value, table: &Table) -> Result<(&'a str, Vec<Value>), Reply> {
    let wrong = || invalid("There was a problem with the request.");
    let groups = body.get("filterGroups").and_then(Value::as_array).ok_or_else(wrong)?;
    let [group] = groups.as_slice() else { return Err(wrong()) };
    let filters = group.get("filters").and_then(Value::as_array).ok_or_else(wrong)?;
    let [filter] = filters.as_slice() else { return Err(wrong()) };
    let property = filter.get("propertyName").and_then(Value::as_str).ok_or_else(wrong)?;
    if table.field(property).is_none() {
        return Err(wrong());
    }
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let values = match filter.get("operator").and_then(Value::as_str) {
        Some("EQ") => {
            // A single value is compared in any case.
            let value = filter.get("value").and_then(Value::as_str).ok_or_else(wrong)?;
            vec![json!(value.to_lowercase())]
        }
        Some("IN") => filter.get("values").and_then(Value::as_array).cloned().ok_or_else(wrong)?,
        _ => return Err(wrong()),
    };
    let is_right = !values.is_empty() && values.len() <= MAX_VALUES && values.iter().all(is_text);
    if is_right { Ok((property, values)) } else { Err(wrong()) }
}

/// The properties that a body asks for; those that do not exist are passed over.
fn asked<'a>(body: &'a Value, table: &Table) -> Result<Vec<&'a str>, Reply> {
    let names = match body.get("properties") {
        None => return Ok(Vec::new()),
        Some(names) => names.as_array().ok_or_else(|| invalid("properties is not a list"))?,
    };
    let names = names.iter().map(|name| name.as_str());
    let names: Option<Vec<&str>> = names.collect();
    let mut names = names.ok_or_else(|| invalid("A property is not a text"))?;
    names.retain(|name| table.field(name).is_some());
    Ok(names)
}

/// A record as answers have it: every value a text, an empty one null.
pub(super) fn rendered(record: &Record, names: &[&str]) -> Value {
    let mut properties = Map::new();
    for name in names.iter().chain(ALWAYS) {
        let value = match *name {
            "hs_object_id" => json!(record.id),
            "createdate" => json!(record.created_at.to_string()),
            "hs_lastmodifieddate" => json!(record.modified_at.to_string()),
            name => record.fields.get(name).map_or(Value::Null, |_| json!(record.text(name))),
        };
        properties.insert((*name).to_owned(), value);
    }
    json!({
        "id": record.id,
        "properties": properties,
        "createdAt": record.created_at.to_string(),
        "updatedAt": record.modified_at.to_string(),
        "archived": !is_live(record),
    })
}

/// In another order each time.
pub(super) fn shuffled(results: Vec<Value>) -> Vec<Value> {
    let mut dealt: Vec<(u64, Value)> =
        results.into_iter().map(|result| (rand::random(), result)).collect();
    dealt.sort_by_key(|(order, _)| *order);
    dealt.into_iter().map(|(_, result)| result).collect()
}
