//! Writes of rows: upsert, create, update. In come at most a hundred rows, out goes an outcome for each in
//! their order, with a status that tells whether all, some or none were written. A call that is not as it
//! must be is refused whole, and nothing of it is written.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{UnknownFields, ZohoCrm, error, metadata, told, unknown_module};
use crate::{By, Field, Fields, Kind, Reply, Request, RowError, Table, Written};

const MAX_ROWS: usize = 100;
/// What a body may have beside the rows.
const KNOWN_KEYS: &[&str] =
    &["data", "duplicate_check_fields", "trigger", "skip_feature_execution", "process"];

/// Why a row is not written: Zoho's outcome of it.
type Refused = Value;

/// A row that was written, and how it was found.
struct Done {
    written: Written,
    found_by: Option<String>,
}

/// Ten rows cost one credit.
pub(super) fn credits(body: &Value) -> u64 {
    let rows = body["data"].as_array().map_or(1, |rows| rows.len().max(1));
    rows.div_ceil(10) as u64
}

impl ZohoCrm {
    pub(super) fn upsert(&self, request: &Request, module: &str, body: &Value) -> Reply {
        let mut modules = self.modules.lock();
        let Some(table) = modules.get_mut(module) else { return unknown_module() };
        let checks = match checks(module, table, body) {
            Ok(checks) => checks,
            Err(reply) => return reply,
        };
        self.each(request, module, table, body, |table, row, by| {
            if row.contains_key("id") {
                return Err(refused("INVALID_DATA", json!({ "api_name": "id" }), "invalid data"));
            }
            let fields = self.cleaned(table, row)?;
            let given = |name: &&String| fields.get(*name).is_some_and(|value| !value.is_null());
            let hit = checks
                .iter()
                .filter(given)
                .find_map(|name| table.id_of(name, &fields[name]).map(|id| (name.clone(), id)));
            if let Some((name, id)) = hit {
                unmodified(request, table, &id)?;
                let mut fields = fields.clone();
                fields.remove(&name);
                let written = table.update(&id, &fields, by);
                let written = written.map_err(|errors| self.outcome(table, &errors))?;
                return Ok(Done { written, found_by: Some(name) });
            }
            let written = match checks.iter().find(given) {
                Some(name) => table.upsert(name, &fields[name], &fields, by),
                None => table.insert(&fields, by),
            };
            let written = written.map_err(|errors| self.outcome(table, &errors))?;
            Ok(Done { written, found_by: None })
        })
    }

    pub(super) fn create(&self, request: &Request, module: &str, body: &Value) -> Reply {
        let mut modules = self.modules.lock();
        let Some(table) = modules.get_mut(module) else { return unknown_module() };
        self.each(request, module, table, body, |table, row, by| {
            let fields = self.cleaned(table, row)?;
            let written = table.insert(&fields, by);
            let written = written.map_err(|errors| self.outcome(table, &errors))?;
            Ok(Done { written, found_by: None })
        })
    }

    pub(super) fn update(&self, request: &Request, module: &str, body: &Value) -> Reply {
        let mut modules = self.modules.lock();
        let Some(table) = modules.get_mut(module) else { return unknown_module() };
        self.each(request, module, table, body, |table, row, by| {
            let details = json!({ "api_name": "id" });
            let Some(id) = row.get("id") else {
                return Err(refused("MANDATORY_NOT_FOUND", details, "required field not found"));
            };
            // An id that went through a number has lost digits.
            let Some(id) = id.as_str() else {
                return Err(refused("INVALID_DATA", details, "the id given seems to be invalid"));
            };
            let fields = self.cleaned(table, row)?;
            unmodified(request, table, id)?;
            let written = table.update(id, &fields, by);
            let written = written.map_err(|errors| self.outcome(table, &errors))?;
            Ok(Done { written, found_by: None })
        })
    }

    /// Carries out each row by itself and tells of all.
    fn each(
        &self,
        request: &Request,
        module: &str,
        table: &mut Table,
        body: &Value,
        mut write: impl FnMut(&mut Table, &Fields, &By) -> Result<Done, Refused>,
    ) -> Reply {
        let rows = match rows(body) {
            Ok(rows) => rows,
            Err(reply) => return reply,
        };
        let is_upsert = request.path.ends_with("/upsert");
        let by = By::call(request, "connector", self.site.clock.now());
        let (mut outcomes, mut created) = (Vec::new(), 0);
        for (index, row) in rows.iter().enumerate() {
            let done = match row.as_object() {
                Some(fields) => write(table, fields, &by),
                None => Err(refused("INVALID_DATA", json!({}), "invalid data")),
            };
            outcomes.push(match done {
                Ok(done) => {
                    created += usize::from(done.written.created);
                    let key = metadata::key_of(module, table, &done.written.id);
                    self.site.journal.wrote(done.written.commit(module, &key));
                    self.watches.changed(&self.site, module, table, &done.written);
                    succeeded(table, &done, is_upsert)
                }
                Err(outcome) => placed(outcome, index),
            });
        }
        Reply::json(self.status(&outcomes, created), &json!({ "data": outcomes }))
    }

    fn status(&self, outcomes: &[Value], created: usize) -> u16 {
        let count = |name: &str, value: &str| {
            outcomes.iter().filter(|outcome| outcome[name] == *value).count()
        };
        let (good, all) = (count("status", "success"), outcomes.len());
        if good == 0 && count("code", "ALREADY_MODIFIED") == all {
            return 412;
        }
        match good {
            0 => 400,
            good if good < all => {
                if self.settings.mixed_is_200 {
                    200
                } else {
                    207
                }
            }
            _ if created == all && self.settings.created_is_201 => 201,
            _ => 200,
        }
    }

    /// The fields that count: those that are not there, or that only Zoho writes, are passed over.
    fn cleaned(&self, table: &Table, row: &Fields) -> Result<Fields, Refused> {
        let mut fields = Fields::new();
        for (name, value) in row.iter().filter(|(name, _)| *name != "id") {
            match table.field(name) {
                Some(field) if field.read_only => {}
                Some(field) => {
                    checked_time(field, value)?;
                    fields.insert(name.clone(), value.clone());
                }
                None if self.settings.unknown_fields == UnknownFields::Ignored => {}
                None => {
                    let details = json!({ "api_name": name });
                    return Err(refused("INVALID_DATA", details, "invalid data"));
                }
            }
        }
        Ok(fields)
    }

    /// What Zoho says of these errors; of several, that there are several.
    fn outcome(&self, table: &Table, errors: &[RowError]) -> Refused {
        let mut told: Vec<Value> = errors.iter().map(|error| self.one(table, error)).collect();
        match told.len() {
            1 => told.remove(0),
            _ => refused("MULTIPLE_OR_MULTI_ERRORS", json!({ "errors": told }), "multiple errors"),
        }
    }

    fn one(&self, table: &Table, error: &RowError) -> Refused {
        let about = |field: &String| {
            let expected = table.field(field).map_or("", |field| metadata::data_type(field).1);
            json!({ "api_name": field, "expected_data_type": expected })
        };
        let invalid = |details: Value| refused("INVALID_DATA", details, "invalid data");
        match error {
            RowError::UnknownField { field } | RowError::ReadOnly { field } => {
                invalid(json!({ "api_name": field }))
            }
            RowError::BadOption { field, .. } | RowError::WrongType { field, .. } => {
                invalid(about(field))
            }
            RowError::TooLong { field, max } => {
                let mut details = about(field);
                details["maximum_length"] = json!(max);
                invalid(details)
            }
            RowError::MissingRequired { field } => {
                let details = json!({ "api_name": field });
                refused("MANDATORY_NOT_FOUND", details, "required field not found")
            }
            RowError::Duplicate { field, record } => {
                let details = match self.settings.duplicates_name_field {
                    true => json!({ "api_name": field, "id": record }),
                    false => json!({ "id": record }),
                };
                refused("DUPLICATE_DATA", details, "duplicate data")
            }
            RowError::Locked { record } => {
                refused("RECORD_LOCKED", json!({ "id": record }), "the record is locked")
            }
            RowError::Deleted { .. } | RowError::NotFound { .. } => {
                let details = json!({ "api_name": "id" });
                refused("INVALID_DATA", details, "the id given seems to be invalid")
            }
        }
    }
}

/// The rows of a body, which has nothing else that Zoho does not know.
fn rows(body: &Value) -> Result<&Vec<Value>, Reply> {
    let keys = body.as_object().into_iter().flat_map(|body| body.keys());
    if let Some(key) = keys.into_iter().find(|key| !KNOWN_KEYS.contains(&key.as_str())) {
        return Err(error(400, "INVALID_DATA", json!({ "api_name": key }), "invalid data"));
    }
    if body.get("trigger").is_some_and(|trigger| !trigger.is_array()) {
        let details = json!({ "api_name": "trigger", "expected_data_type": "jsonarray" });
        return Err(error(400, "INVALID_DATA", details, "invalid data"));
    }
    match body["data"].as_array() {
        Some(rows) if (1..=MAX_ROWS).contains(&rows.len()) => Ok(rows),
        Some(_) => {
            let details = json!({ "api_name": "data", "maximum_length": MAX_ROWS });
            Err(error(400, "INVALID_DATA", details, "invalid data"))
        }
        None => Err(error(400, "MANDATORY_NOT_FOUND", json!({ "api_name": "data" }), "no data")),
    }
}

/// The fields by which an upsert looks for its record, which must be unique.
fn checks(module: &str, table: &Table, body: &Value) -> Result<Vec<String>, Reply> {
    let unique = |name: &str| table.field(name).is_some_and(|field| field.unique.is_some());
    let Some(sent) = body.get("duplicate_check_fields") else {
        // Zoho's own first, then those that somebody marked.
        let own = metadata::key_field(module);
        let mut names: Vec<String> = table.schema().iter().map(|f| f.name.clone()).collect();
        names.retain(|name| unique(name));
        names.sort_by_key(|name| name != own);
        return Ok(names);
    };
    let invalid = |index: usize| {
        let details = json!({
            "api_name": "duplicate_check_fields",
            "json_path": format!("$.duplicate_check_fields[{index}]"),
        });
        error(400, "INVALID_DATA", details, "invalid data")
    };
    let names = sent.as_array().filter(|names| !names.is_empty()).ok_or_else(|| invalid(0))?;
    let named = names.iter().enumerate().map(|(index, name)| {
        let name = name.as_str().filter(|name| unique(name));
        name.map(str::to_owned).ok_or_else(|| invalid(index))
    });
    named.collect()
}

/// Times have an offset and no fractions of a second.
fn checked_time(field: &Field, value: &Value) -> Result<(), Refused> {
    let is_told = |text: &str| text.parse::<Timestamp>().is_ok_and(|time| told(time) == text);
    match (&field.kind, value.as_str()) {
        (Kind::DateTime, Some(text)) if !is_told(text) => {
            let details = json!({ "api_name": field.name, "expected_data_type": "datetime" });
            Err(refused("INVALID_DATA", details, "invalid data"))
        }
        _ => Ok(()),
    }
}

/// Refuses where the record changed after the time that the call names.
fn unmodified(request: &Request, table: &Table, record: &str) -> Result<(), Refused> {
    let Some(since) = request.header("if-unmodified-since") else { return Ok(()) };
    let Ok(since) = since.parse::<Timestamp>() else {
        let details = json!({ "header": "If-Unmodified-Since" });
        return Err(refused("INVALID_DATA", details, "invalid data"));
    };
    match table.get(record) {
        Some(found) if found.modified_at.as_second() > since.as_second() => {
            let details = json!({ "id": record });
            Err(refused("ALREADY_MODIFIED", details, "the record was modified"))
        }
        _ => Ok(()),
    }
}

fn refused(code: &str, details: Value, message: &str) -> Refused {
    json!({ "code": code, "details": details, "message": message, "status": "error" })
}

/// With the path of the field in the body.
fn placed(mut outcome: Value, index: usize) -> Value {
    if let Some(name) = outcome["details"]["api_name"].as_str() {
        outcome["details"]["json_path"] = json!(format!("$.data[{index}].{name}"));
    }
    outcome
}

fn succeeded(table: &Table, done: &Done, is_upsert: bool) -> Value {
    let written = &done.written;
    let person = |name: &str| json!({ "id": "5725700000000000900", "name": name });
    let mut details = json!({ "id": written.id });
    if let Some(record) = table.get(&written.id) {
        details["Created_Time"] = json!(told(record.created_at));
        details["Modified_Time"] = json!(told(record.modified_at));
        details["Created_By"] = person(&record.created_by);
        details["Modified_By"] = person(&record.modified_by);
    }
    let message = if written.created { "record added" } else { "record updated" };
    let mut outcome =
        json!({ "code": "SUCCESS", "details": details, "message": message, "status": "success" });
    if is_upsert {
        outcome["action"] = json!(if written.created { "insert" } else { "update" });
        outcome["duplicate_field"] = json!(done.found_by);
    }
    outcome
}
