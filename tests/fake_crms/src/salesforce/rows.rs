//! Writes: collections of rows, and the upsert of a single record. In comes a body as it was sent, out go
//! the outcomes in the rows' order, or the refusal of the whole. Nothing of a refused row is stored, and
//! nothing at all of a refused request.

use std::collections::HashMap;

use http::Method;
use jiff::fmt::rfc2822::DateTimeParser;
use serde_json::{Map, Value, json};

use super::errors::{Refusal, no_field, no_resource, of_row, refused};
use super::objects::{self, Objects};
use super::{Org, Rule, Salesforce, UnknownField};
use crate::{By, Field, Fields, Life, Match, Reply, Request, RowError, Table, Written, table};

const MAX_ROWS: usize = 200;

/// What a call does with its rows.
#[derive(Clone, Copy)]
enum Call<'c> {
    Create,
    Update,
    Upsert { object: &'c str, key: &'c str },
}

/// A row as it was sent.
struct Row {
    object: String,
    id: Option<String>,
    key: Option<Value>,
    fields: Fields,
    /// What is wrong with it before anything is written.
    refusals: Vec<Refusal>,
}

/// What a row came to.
type Outcome = Result<Written, Vec<Refusal>>;

impl Salesforce {
    /// A collection; `target` is what follows its path.
    pub(super) fn collection(&self, org: &mut Org, request: &Request, target: &[&str]) -> Reply {
        let key;
        let call = match (&request.method, target) {
            (&Method::POST, _) => Call::Create,
            (_, [object, field]) => {
                let Some(field) = org.objects.field(object, field) else {
                    return no_external_id(field);
                };
                if !objects::is_external_id(field) {
                    return no_external_id(&field.name);
                }
                key = field.name.clone();
                Call::Upsert { object, key: &key }
            }
            (_, _) => Call::Update,
        };
        let (all_or_none, rows) = match self.rows(&org.objects, request, call) {
            Ok(read) => read,
            Err(refusal) => return refusal.reply(400),
        };
        let by = By::call(request, "connector", self.site.clock.now());
        let outcomes: Vec<Outcome> = rows.iter().map(|row| write(org, call, row, &by)).collect();
        let failed = outcomes.iter().any(Result::is_err);
        let outcomes = if all_or_none && failed { undone(org, &rows, outcomes) } else { outcomes };
        for (row, outcome) in rows.iter().zip(&outcomes) {
            if let Ok(written) = outcome {
                self.commit(org, &row.object, written);
            }
        }
        Reply::json(200, &outcomes.iter().map(|outcome| told(call, outcome)).collect())
    }

    /// The upsert of a single record by an external id.
    pub(super) fn single(
        &self,
        org: &mut Org,
        request: &Request,
        (object, field, value): (&str, &str, &str),
    ) -> Reply {
        let field = match org.objects.field(object, field) {
            Some(field) if objects::is_external_id(field) => field.clone(),
            Some(_) | None => return no_external_id(field),
        };
        let Ok(Value::Object(mut sent)) = request.json() else {
            return refused(400, "JSON_PARSER_ERROR", "The body is no JSON object");
        };
        if sent.keys().any(|name| name.eq_ignore_ascii_case(&field.name)) {
            let name = &field.name;
            let message = format!("The {name} field should not be specified in the sobject data.");
            return refused(400, "INVALID_FIELD", &message);
        }
        let key = match value.parse::<serde_json::Number>() {
            Ok(number) if field.kind == crate::Kind::Number => Value::Number(number),
            Ok(_) | Err(_) => json!(value),
        };
        let Some(table) = org.objects.tables.get(object) else { return no_resource() };
        let found = same_key(table, &field, &key);
        if found.len() > 1 {
            let url = |id: &String| format!("/services/data/v66.0/sobjects/{object}/{id}");
            return Reply::json(300, &found.iter().map(url).collect());
        }
        let modified = found.first().and_then(|id| table.get(id)).map(|record| record.modified_at);
        let unmodified_since = request.header("if-unmodified-since");
        let since =
            unmodified_since.and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());
        if since.zip(modified).is_some_and(|(since, modified)| since < modified) {
            return Reply::empty(412);
        }
        sent.insert("attributes".to_owned(), json!({ "type": object }));
        sent.insert(field.name.clone(), key);
        let call = Call::Upsert { object, key: &field.name };
        let row = match self.row(&org.objects, call, &Value::Object(sent)) {
            Ok(row) => row,
            Err(refusal) => return refusal.reply(400),
        };
        let by = By::call(request, "connector", self.site.clock.now());
        match write(org, call, &row, &by) {
            Ok(written) => {
                self.commit(org, object, &written);
                let status = if written.created { 201 } else { 200 };
                let (id, created) = (&written.id, written.created);
                let body = json!({ "id": id, "success": true, "errors": [], "created": created });
                Reply::json(status, &body)
            }
            Err(refusals) => refusals[0].reply(400),
        }
    }

    fn commit(&self, org: &Org, object: &str, written: &Written) {
        let table = org.objects.tables.get(object);
        let key = objects::key(object, table.and_then(|table| table.get(&written.id)));
        self.site.journal.wrote(written.commit(object, &key));
    }

    /// The rows of a body, or what refuses it whole.
    fn rows(
        &self,
        objects: &Objects,
        request: &Request,
        call: Call<'_>,
    ) -> Result<(bool, Vec<Row>), Refusal> {
        let parser = |message: &str| Refusal::new("JSON_PARSER_ERROR", message);
        let Ok(Value::Object(body)) = request.json() else {
            return Err(parser("The body is no JSON object"));
        };
        if let Some(name) =
            body.keys().find(|name| !matches!(name.as_str(), "allOrNone" | "records"))
        {
            return Err(parser(&format!("Unrecognized field \"{name}\"")));
        }
        let all_or_none = match body.get("allOrNone") {
            None => false,
            Some(Value::Bool(yes)) => *yes,
            Some(_) => return Err(parser("allOrNone is no boolean")),
        };
        let records = match body.get("records").and_then(Value::as_array) {
            Some(records) if !records.is_empty() => records,
            Some(_) | None => return Err(Refusal::new("INVALID_INPUT", "records is empty")),
        };
        if records.len() > MAX_ROWS {
            let message = format!("cannot submit more than {MAX_ROWS} records into this call");
            return Err(Refusal::new("LIMIT_EXCEEDED", message));
        }
        let rows = records.iter().map(|record| self.row(objects, call, record));
        let mut rows = rows.collect::<Result<Vec<Row>, Refusal>>()?;
        refuse_doubles(&mut rows);
        Ok((all_or_none, rows))
    }

    /// One row as it was sent, or what refuses the request because of it.
    fn row(&self, objects: &Objects, call: Call<'_>, record: &Value) -> Result<Row, Refusal> {
        let Some(record) = record.as_object() else {
            return Err(Refusal::new("JSON_PARSER_ERROR", "A record is no JSON object"));
        };
        let object = kind(objects, call, record)?;
        let mut row =
            Row { object, id: None, key: None, fields: Fields::new(), refusals: Vec::new() };
        for (name, value) in record.iter().filter(|(name, _)| *name != "attributes") {
            if name.eq_ignore_ascii_case("id") {
                row.take_id(call, value);
                continue;
            }
            let Some(field) = objects.field(&row.object, name) else {
                let refusal = no_field(&row.object, name);
                match self.settings.unknown_field {
                    UnknownField::Request => return Err(refusal),
                    UnknownField::Row => row.refusals.push(refusal),
                }
                continue;
            };
            if let Err(error @ RowError::WrongType { .. }) = field.check(value) {
                return Err(of_row(&row.object, &[error]).remove(0));
            }
            match call {
                Call::Upsert { key, .. } if key == field.name => row.key = Some(value.clone()),
                Call::Upsert { .. } | Call::Update | Call::Create => {
                    row.fields.insert(field.name.clone(), value.clone());
                }
            }
        }
        row.refuse_without(call);
        Ok(row)
    }
}

impl Row {
    fn take_id(&mut self, call: Call<'_>, value: &Value) {
        match (call, value.as_str()) {
            (Call::Update, Some(id)) if objects::is_id(id) => self.id = Some(objects::long_id(id)),
            (Call::Update, _) => {
                self.refusals.push(Refusal::new("MALFORMED_ID", format!("malformed id {value}")));
            }
            (Call::Create | Call::Upsert { .. }, _) => {
                let message = "cannot specify Id in an insert call";
                self.refusals.push(Refusal::new("INVALID_FIELD_FOR_INSERT_UPDATE", message));
            }
        }
    }

    /// Refuses what the call cannot do without.
    fn refuse_without(&mut self, call: Call<'_>) {
        let lacks = match call {
            Call::Create => None,
            Call::Update => (self.id.is_none() && self.refusals.is_empty()).then_some("Id"),
            Call::Upsert { key, .. } => {
                let is_blank = |key: &Value| key.is_null() || key.as_str() == Some("");
                self.key.as_ref().is_none_or(is_blank).then_some(key)
            }
        };
        if let Some(name) = lacks {
            let message = format!("{name} not specified in an update call");
            self.refusals.push(Refusal::new("MISSING_ARGUMENT", message));
        }
    }

    /// What no two rows of a call may have in common.
    fn identity(&self) -> Option<String> {
        let key = self.key.as_ref().map(|key| table::field::text(key).to_lowercase());
        self.id.clone().or(key)
    }
}

/// The object of a row, which must be that of the URL.
fn kind(objects: &Objects, call: Call<'_>, record: &Map<String, Value>) -> Result<String, Refusal> {
    let sent = record.get("attributes").and_then(|attributes| attributes["type"].as_str());
    let Some(sent) = sent else {
        let message = "The entity type should be specified in the sobject data.";
        return Err(Refusal::new("INVALID_INPUT", message));
    };
    let is_right = match call {
        Call::Upsert { object, .. } => object == sent,
        Call::Create | Call::Update => objects.tables.contains_key(sent),
    };
    if !is_right {
        let message = format!("sObject type '{sent}' is not supported");
        return Err(Refusal::new("INVALID_TYPE", message));
    }
    Ok(sent.to_owned())
}

/// Of rows with the same key or id none is written: which would win is nobody's to say.
fn refuse_doubles(rows: &mut [Row]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    rows.iter().filter_map(Row::identity).for_each(|one| *seen.entry(one).or_default() += 1);
    for row in rows {
        if let Some(identity) = row.identity().filter(|identity| seen[identity] > 1) {
            let message = format!("Duplicate external id specified: {identity}");
            row.refusals.push(Refusal::new("DUPLICATE_VALUE", message));
        }
    }
}

fn write(org: &mut Org, call: Call<'_>, row: &Row, by: &By) -> Outcome {
    if !row.refusals.is_empty() {
        return Err(row.refusals.clone());
    }
    let field = match call {
        Call::Upsert { key, .. } => org.objects.field(&row.object, key).cloned(),
        Call::Create | Call::Update => None,
    };
    let ruled: Vec<Refusal> = org.rules.iter().filter_map(|rule| rule.refuses(row)).collect();
    let no_object = || vec![Refusal::new("INVALID_TYPE", format!("no object {}", row.object))];
    let table = org.objects.tables.get_mut(row.object.as_str()).ok_or_else(no_object)?;
    if !ruled.is_empty() {
        return Err(ruled);
    }
    let written = match (field, &row.key, &row.id) {
        (Some(field), Some(key), _) => {
            if same_key(table, &field, key).len() > 1 {
                let message = "external ID matches more than one record";
                return Err(vec![Refusal::new("DUPLICATE_EXTERNAL_ID", message)]);
            }
            table.upsert(&field.name, key, &row.fields, by)
        }
        (_, _, Some(id)) => table.update(id, &row.fields, by),
        (_, _, None) => table.insert(&row.fields, by),
    };
    written.map_err(|errors| of_row(&row.object, &errors))
}

/// The ids of the live records with this external id.
fn same_key(table: &Table, field: &Field, key: &Value) -> Vec<String> {
    let how = field.unique.unwrap_or(Match::IgnoreCase);
    let found = table.find(&field.name, key, how).into_iter();
    found.filter(|record| record.life == Life::Live).map(|record| record.id.clone()).collect()
}

/// All writes taken back, since one row failed.
fn undone(org: &mut Org, rows: &[Row], outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let mut undone = Vec::with_capacity(outcomes.len());
    for (row, outcome) in rows.iter().zip(outcomes).rev() {
        undone.push(outcome.and_then(|written| {
            if let Some(table) = org.objects.tables.get_mut(row.object.as_str()) {
                table.undo(written);
            }
            let message = "Record rolled back because not all records were valid and the request \
                           was using AllOrNone header";
            Err(vec![Refusal::new("ALL_OR_NONE_OPERATION_ROLLED_BACK", message)])
        }));
    }
    undone.reverse();
    undone
}

fn told(call: Call<'_>, outcome: &Outcome) -> Value {
    match (call, outcome) {
        (Call::Upsert { .. }, Ok(written)) => json!({
            "id": written.id, "success": true, "errors": [], "created": written.created,
        }),
        (Call::Create | Call::Update, Ok(written)) => {
            json!({ "id": written.id, "success": true, "errors": [] })
        }
        (Call::Create | Call::Update | Call::Upsert { .. }, Err(refusals)) => {
            let errors: Vec<Value> = refusals.iter().map(Refusal::json).collect();
            json!({ "success": false, "errors": errors })
        }
    }
}

fn no_external_id(field: &str) -> Reply {
    let message =
        format!("Provided external ID field does not exist or is not accessible: {field}");
    refused(404, "NOT_FOUND", &message)
}

impl Rule {
    fn refuses(&self, row: &Row) -> Option<Refusal> {
        let has = row.fields.get(&self.field) == Some(&self.value);
        has.then(|| Refusal::new(&self.code, self.message.clone()))
    }
}
