//! Requests for records: reads by id, key and filter, creates, upserts, updates, and `UpsertMultiple`. In
//! comes one request, alone or out of a batch, out goes its answer with what it wrote. A refused request
//! writes nothing.

use http::Method;
use serde_json::{Value, json};

use super::entity::Entity;
use super::key::{self, Key, Place};
use super::{BAD_PAYLOAD, Done, Dynamics, Inner, NO_SUCH_SEGMENT, Outcome, ROOT, error};
use crate::table::Fields;
use crate::{By, Life, Match, Reply, Request, RowError, Written};

const UPSERT_MULTIPLE: &str = "Microsoft.Dynamics.CRM.UpsertMultiple";
const MAX_TARGETS: usize = 1_000;

pub(super) fn answer(all: &Dynamics, inner: &mut Inner, rest: &str, request: &Request) -> Outcome {
    let no_such = || error(404, NO_SUCH_SEGMENT, "Resource not found for the segment.").into();
    let Some(Place { set, key, action }) = key::place(rest) else { return no_such() };
    let Some(at) = inner.entities.iter().position(|entity| entity.set == set) else {
        return no_such();
    };
    if let Some(action) = action {
        return match action == UPSERT_MULTIPLE && request.method == Method::POST {
            true => upsert_multiple(all, inner, at, request),
            false => no_such(),
        };
    }
    match (request.method.as_str(), key) {
        ("GET", None) => list(&inner.entities[at], request).into(),
        ("GET", Some(key)) => read(&inner.entities[at], &key, request).into(),
        ("POST", None) => written(all, inner, at, None, request),
        ("PATCH", Some(key)) => written(all, inner, at, Some(key), request),
        _ => error(405, NO_SUCH_SEGMENT, "The method is not allowed here.").into(),
    }
}

fn read(entity: &Entity, key: &Key, request: &Request) -> Reply {
    let id = match find(entity, key) {
        Ok(Some(id)) => id,
        Ok(None) => {
            return match key {
                Key::Id(id) => entity.absent(id),
                Key::Alternate { .. } => error(
                    404,
                    "0x80060891",
                    "A record with the specified key values does not exist.",
                ),
            };
        }
        Err(refused) => return refused,
    };
    match entity.json(&id, request.query_value("$select")) {
        Ok(json) => Reply::json(200, &Value::Object(json)),
        Err(refused) => refused,
    }
}

fn list(entity: &Entity, request: &Request) -> Reply {
    let condition = request.query_value("$filter").and_then(key::condition);
    let Some((column, value)) = condition else {
        return error(400, NO_SUCH_SEGMENT, "The query is not supported: it needs one condition.");
    };
    let is_known =
        column == entity.primary_id || entity.columns.iter().any(|known| known.stored() == column);
    if !is_known {
        let message = format!("Could not find a property named '{column}'.");
        return error(400, NO_SUCH_SEGMENT, &message);
    }
    let found: Vec<String> = match column == entity.primary_id {
        true => {
            value.as_str().filter(|id| is_live(entity, id)).map(str::to_owned).into_iter().collect()
        }
        false => {
            let records = entity.table.find(&column, &value, Match::IgnoreCase);
            records.into_iter().map(|record| record.id.clone()).collect()
        }
    };
    let top = request.query_value("$top").and_then(|top| top.parse().ok()).unwrap_or(5_000);
    let select = request.query_value("$select");
    let records: Result<Vec<Fields>, Reply> =
        found.iter().take(top).map(|id| entity.json(id, select)).collect();
    match records {
        Ok(records) => Reply::json(200, &json!({ "value": records })),
        Err(refused) => refused,
    }
}

/// The id of the live record of a key.
fn find(entity: &Entity, key: &Key) -> Result<Option<String>, Reply> {
    match key {
        Key::Id(id) => Ok(is_live(entity, id).then(|| id.clone())),
        Key::Alternate { column, value } => match entity.column(column) {
            Some(known) if known.is_key => Ok(entity.table.id_of(column, value)),
            Some(_) | None => Err(error(400, "0x0", "Invalid alternate key.")),
        },
    }
}

fn is_live(entity: &Entity, id: &str) -> bool {
    entity.table.get(id).is_some_and(|record| record.life == Life::Live)
}

/// A write with its conditions: `PATCH` where there is a key, else `POST`.
fn written(
    all: &Dynamics,
    inner: &mut Inner,
    at: usize,
    key: Option<Key>,
    request: &Request,
) -> Outcome {
    if request.content_type().as_deref() != Some("application/json") {
        return error(415, BAD_PAYLOAD, "The content type must be application/json.").into();
    }
    let body = match request.json() {
        Ok(Value::Object(body)) => body,
        Ok(_) | Err(_) => return error(400, BAD_PAYLOAD, "The body is no JSON object.").into(),
    };
    let fields = match inner.entities[at].fields(&body) {
        Ok(fields) => fields,
        Err(refused) => return refused.into(),
    };
    let existing = match key.as_ref().map(|key| find(&inner.entities[at], key)) {
        None => None,
        Some(Ok(existing)) => existing,
        Some(Err(refused)) => return refused.into(),
    };
    if let Some(refused) = hindrance(all, inner, at, (key.as_ref(), existing.as_deref()), request) {
        return refused.into();
    }
    let by = By::call(request, "# Tollgate", all.site.clock.now());
    let entity = &mut inner.entities[at];
    match carry_out(entity, key.as_ref(), existing, fields, &by) {
        Ok(written) => answered(all, entity, key.as_ref(), written, request),
        Err(errors) => entity.refusal(&errors).into(),
    }
}

/// What stands against a write that is well formed: conditions, plug-ins, closed records, limits.
fn hindrance(
    all: &Dynamics,
    inner: &mut Inner,
    at: usize,
    (key, existing): (Option<&Key>, Option<&str>),
    request: &Request,
) -> Option<Reply> {
    let entity = &inner.entities[at];
    let payment = match (key, existing) {
        (_, Some(id)) => entity.key_of(id),
        (Some(Key::Alternate { value, .. }), None) => value.as_str().unwrap_or_default().to_owned(),
        (Some(Key::Id(_)) | None, None) => String::new(),
    };
    if let Some((code, seconds)) = inner.throttled.remove(&payment) {
        let now = all.site.clock.now();
        let wait = std::time::Duration::from_secs(seconds);
        return Some(inner.protection.block(code, wait, now).reply(
            &all.site,
            &request.tenant,
            now,
        ));
    }
    if inner.vetoed.contains(&payment) {
        return Some(error(400, "0x80040265", "The payment must not be changed, says a plug-in."));
    }
    let version = existing.and_then(|id| entity.table.get(id)).map(|record| record.version);
    match (request.header("if-match"), existing) {
        (Some(_), None) => {
            let id = match key {
                Some(Key::Id(id)) => id.clone(),
                Some(Key::Alternate { .. }) | None => String::new(),
            };
            return Some(entity.absent(&id));
        }
        (Some(etag), Some(_)) if etag != "*" && Some(etag) != version.map(etag_of).as_deref() => {
            let message = "The version of the existing record doesn't match the RowVersion property \
                           provided.";
            return Some(error(412, "0x80060882", message));
        }
        (_, _) => {}
    }
    if request.header("if-none-match") == Some("*") && existing.is_some() {
        return Some(error(412, "", "A record with matching key values already exists."));
    }
    let is_closed = existing.is_some_and(|id| entity.closed.contains(id));
    // The code of this refusal is not documented.
    is_closed.then(|| error(400, "0x80040200", "The record is closed and cannot be updated."))
}

fn carry_out(
    entity: &mut Entity,
    key: Option<&Key>,
    existing: Option<String>,
    mut fields: Fields,
    by: &By,
) -> Result<Written, Vec<RowError>> {
    match (key, existing) {
        (Some(Key::Alternate { column, .. }), Some(id)) => {
            // The column of the key is ignored on an update.
            fields.remove(column);
            entity.table.update(&id, &fields, by)
        }
        (_, Some(id)) => entity.table.update(&id, &fields, by),
        (Some(Key::Alternate { column, value }), None) => {
            // In a create the body wins over the URL.
            let value = fields.remove(column).unwrap_or_else(|| value.clone());
            entity.table.upsert(column, &value, &fields, by)
        }
        // An upsert under an id that the caller made up is not offered: connectors have none.
        (Some(Key::Id(id)), None) => Err(vec![RowError::NotFound { record: id.clone() }]),
        (None, None) => match unused_key(entity, &fields) {
            // The same, but it may lose a race.
            Some((column, value)) => entity.table.upsert(column, &value, &fields, by),
            None => entity.table.insert(&fields, by),
        },
    }
}

/// The column of the alternate key and its value, if no record has it.
fn unused_key(entity: &Entity, fields: &Fields) -> Option<(&'static str, Value)> {
    let column = entity.columns.iter().find(|column| column.is_key)?.name;
    let value = fields.get(column)?.clone();
    entity.table.id_of(column, &value).is_none().then_some((column, value))
}

fn answered(
    all: &Dynamics,
    entity: &Entity,
    key: Option<&Key>,
    written: Written,
    request: &Request,
) -> Outcome {
    let prefers = request.header("prefer").unwrap_or_default();
    let reply = match prefers.split(',').any(|one| one.trim() == "return=representation") {
        true => match entity.json(&written.id, request.query_value("$select")) {
            Ok(json) => Reply::json(if written.created { 201 } else { 200 }, &Value::Object(json))
                .with_header("Preference-Applied", "return=representation"),
            // The write is done all the same: a connector must not select what is not there.
            Err(refused) => refused,
        },
        // Nothing tells a create from an update.
        false => Reply::empty(204),
    };
    let place = match key {
        Some(Key::Alternate { column, value }) => {
            let text = value.to_string().replace('"', "'");
            format!("{column}={text}")
        }
        Some(Key::Id(_)) | None => written.id.clone(),
    };
    let url = format!("{}{ROOT}{}({place})", all.site.api_url, entity.set);
    let reply = reply
        .with_header("OData-Version", "4.0")
        .with_header("OData-EntityId", url)
        .with_header("ETag", etag_of(written.version));
    Outcome { reply, done: vec![Done { set: entity.set.clone(), written }] }
}

fn etag_of(version: u64) -> String {
    format!("W/\"{version}\"")
}

/// All targets, or none.
fn upsert_multiple(all: &Dynamics, inner: &mut Inner, at: usize, request: &Request) -> Outcome {
    let body: Value = request.json().unwrap_or_default();
    let targets = body["Targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    if targets.is_empty() || targets.len() > MAX_TARGETS {
        return error(400, BAD_PAYLOAD, "Targets must have 1 to 1000 entries.").into();
    }
    let by = By::call(request, "# Tollgate", all.site.clock.now());
    let mut done = Vec::new();
    for target in targets {
        match upsert_one(&mut inner.entities[at], target, &by) {
            Ok(one) => done.push(one),
            Err(refused) => {
                inner.undo(done);
                return refused.into();
            }
        }
    }
    Outcome { reply: Reply::empty(204).with_header("OData-Version", "4.0"), done }
}

fn upsert_one(entity: &mut Entity, target: &Value, by: &By) -> Result<Done, Reply> {
    let object = target.as_object();
    let object = object.ok_or_else(|| error(400, BAD_PAYLOAD, "A target is no object."))?;
    let kind = format!("Microsoft.Dynamics.CRM.{}", entity.logical);
    let key = target["@odata.id"].as_str().and_then(key::place).and_then(|place| place.key);
    let (Some(key), true) = (key, target["@odata.type"] == kind.as_str()) else {
        return Err(error(400, BAD_PAYLOAD, "A target needs @odata.type and @odata.id."));
    };
    let existing = find(entity, &key)?;
    let fields = entity.fields(object)?;
    if let (Key::Alternate { column, .. }, None) = (&key, &existing)
        && fields.contains_key(column)
    {
        return Err(error(400, "0x80040216", "An item with the same key has already been added."));
    }
    let written = carry_out(entity, Some(&key), existing, fields, by);
    let written = written.map_err(|errors| entity.refusal(&errors))?;
    Ok(Done { set: entity.set.clone(), written })
}
