//! Batches that write. In comes a batch of at most 100 inputs, out go results in no order and errors by
//! what the inputs were marked with; or a refusal, with which nothing is written.

use serde_json::{Map, Value, json};

use super::{
    Hubspot, Portal, Refusal, comparison,
    error::{absent, bad_values, conflict, error, error_with, invalid},
    read::{rendered, shuffled},
    schema::Object,
};
use crate::{
    By, Fields, Kind, Life, Reply, Request, RowError, Table,
    table::{self, Match},
};

const MAX_INPUTS: usize = 100;
const KNOWN: &[&str] = &["id", "idProperty", "objectWriteTraceId", "properties"];

/// What the batch does.
#[derive(Clone, Debug, PartialEq)]
enum Action {
    Create,
    Update,
    /// By this property.
    Upsert(String),
}

/// An input that is in order.
struct Input {
    id: String,
    trace: Option<String>,
    fields: Fields,
}

/// Why an input is not written.
enum Flaw {
    Values(Vec<RowError>),
    Required,
    Exists(String),
    Absent,
    Locked,
}

impl Hubspot {
    pub(super) fn write(&self, request: &Request, object: Object, action: &str) -> Reply {
        let mut portal = self.state.lock();
        let parsed = parse(request, portal.table(object), object, action);
        let (action, inputs) = match parsed {
            Ok(parsed) => parsed,
            Err(refusal) => return refusal,
        };
        let by = By::call(request, "connector", self.site.clock.now());
        let mut written = Vec::new();
        let mut flaws = Vec::new();
        for (at, input) in inputs.iter().enumerate() {
            match portal.write_one(object, &action, input, &by) {
                Ok(done) => written.push((at, done)),
                Err(flaw) => flaws.push((at, flaw)),
            }
        }
        if let Some(refusal) = self.refusal(object, &inputs, &flaws) {
            for (_, done) in written.into_iter().rev() {
                portal.table_mut(object).undo(done);
            }
            return refusal;
        }
        let mut results = Vec::new();
        for (at, done) in &written {
            let Some(record) = portal.table(object).get(&done.id) else { continue };
            self.site.journal.wrote(done.commit(object.name(), &record.text(object.key())));
            let mut names: Vec<&str> = inputs[*at].fields.keys().map(String::as_str).collect();
            if let Action::Upsert(property) = &action {
                names.push(property);
            }
            let mut result = rendered(record, &names);
            if let Action::Upsert(_) = &action {
                result["new"] = json!(done.created);
            }
            if self.settings.echoes_traces {
                result["objectWriteTraceId"] = json!(inputs[*at].trace);
            }
            results.push(result);
        }
        let errors: Vec<Value> =
            flaws.iter().map(|(at, flaw)| self.flaw(object, &inputs[*at], flaw)).collect();
        let success = if action == Action::Create { 201 } else { 200 };
        let now = self.site.clock.now().to_string();
        let mut body = json!({
            "status": "COMPLETE",
            "results": shuffled(results),
            "startedAt": now,
            "completedAt": now,
        });
        if errors.is_empty() {
            return Reply::json(success, &body);
        }
        body["numErrors"] = json!(errors.len());
        body["errors"] = json!(errors);
        Reply::json(207, &body)
    }

    /// The answer if the batch is refused whole.
    fn refusal(&self, object: Object, inputs: &[Input], flaws: &[(usize, Flaw)]) -> Option<Reply> {
        let find =
            |wanted: fn(&Flaw) -> bool| flaws.iter().map(|(_, flaw)| flaw).find(|f| wanted(f));
        if self.settings.bad_values == Refusal::Whole {
            match find(|flaw| matches!(flaw, Flaw::Values(_) | Flaw::Required)) {
                Some(Flaw::Values(errors)) => {
                    return Some(invalid(&bad_values(errors, self.settings.names_values)));
                }
                Some(_) => return Some(invalid(&required(object))),
                None => {}
            }
        }
        if find(|flaw| matches!(flaw, Flaw::Locked)).is_some() {
            return Some(error(423, "", "The record is locked."));
        }
        if self.settings.conflicts == Refusal::Whole
            && let Some(Flaw::Exists(record)) = find(|flaw| matches!(flaw, Flaw::Exists(_)))
        {
            return Some(error(409, "CONFLICT", &conflict(object, record)));
        }
        let all_absent = flaws.len() == inputs.len()
            && flaws.iter().all(|(_, flaw)| matches!(flaw, Flaw::Absent));
        (all_absent && self.settings.refuses_unknown).then(|| {
            let ids: Vec<&str> = inputs.iter().map(|input| input.id.as_str()).collect();
            let more = Map::from_iter([("context".to_owned(), json!({ "ids": ids }))]);
            error_with(404, "OBJECT_NOT_FOUND", &absent(object), more)
        })
    }

    /// The error of one row.
    fn flaw(&self, object: Object, input: &Input, flaw: &Flaw) -> Value {
        let (category, message) = match flaw {
            Flaw::Values(errors) => {
                ("VALIDATION_ERROR", bad_values(errors, self.settings.names_values))
            }
            Flaw::Required => ("VALIDATION_ERROR", required(object)),
            Flaw::Exists(record) => ("CONFLICT", conflict(object, record)),
            Flaw::Absent => ("OBJECT_NOT_FOUND", absent(object)),
            Flaw::Locked => ("LOCKED", "The record is locked.".to_owned()),
        };
        let context = match (flaw, &input.trace) {
            (Flaw::Absent, _) => json!({ "ids": [input.id] }),
            (_, Some(trace)) => json!({ "objectWriteTraceId": [trace] }),
            (_, None) => json!({}),
        };
        json!({
            "status": "error",
            "category": category,
            "message": message,
            "context": context,
            "errors": [],
            "links": {},
        })
    }
}

impl Portal {
    fn write_one(
        &mut self,
        object: Object,
        action: &Action,
        input: &Input,
        by: &By,
    ) -> Result<table::Written, Flaw> {
        let table = self.table_mut(object);
        let errors = table.check(&input.fields, false);
        if !errors.is_empty() {
            return Err(Flaw::Values(errors));
        }
        let done = match action {
            Action::Create => table.insert(&input.fields, by),
            Action::Update => table.update(&input.id, &input.fields, by),
            Action::Upsert(property) => table.upsert(property, &json!(input.id), &input.fields, by),
        };
        done.map_err(|errors| {
            let flaw = |error: &RowError| match error {
                RowError::MissingRequired { .. } => Flaw::Required,
                RowError::Duplicate { record, .. } => Flaw::Exists(record.clone()),
                RowError::Locked { .. } => Flaw::Locked,
                RowError::Deleted { .. } | RowError::NotFound { .. } => Flaw::Absent,
                RowError::UnknownField { .. }
                | RowError::BadOption { .. }
                | RowError::WrongType { .. }
                | RowError::TooLong { .. }
                | RowError::ReadOnly { .. } => Flaw::Values(vec![error.clone()]),
            };
            errors.first().map_or(Flaw::Absent, flaw)
        })
    }
}

fn required(object: Object) -> String {
    format!("Error creating {}. Some required properties were not set.", object.word())
}

/// The inputs of a call, whose ids are all named and all different.
fn parse(
    request: &Request,
    table: &Table,
    object: Object,
    action: &str,
) -> Result<(Action, Vec<Input>), Reply> {
    let body = request.json().map_err(|error| invalid(&format!("Invalid input JSON: {error}")))?;
    let inputs = inputs(&body)?;
    let action = match action {
        "create" => Action::Create,
        "update" => Action::Update,
        _ => Action::Upsert(id_property(inputs, table, object)?),
    };
    let parsed: Result<Vec<Input>, Reply> =
        inputs.iter().map(|input| parse_one(input, &action, table)).collect();
    let parsed = parsed?;
    if action != Action::Create {
        let how = match &action {
            Action::Upsert(property) => comparison(table, property),
            Action::Create | Action::Update => Match::Exact,
        };
        let same = |one: &Input, other: &Input| how.same(&json!(one.id), &json!(other.id));
        let is_twice =
            parsed.iter().enumerate().any(|(at, one)| parsed[..at].iter().any(|o| same(o, one)));
        if is_twice {
            return Err(invalid("Duplicate IDs found in batch input"));
        }
    }
    Ok((action, parsed))
}

/// From 1 to 100 of them.
pub(super) fn inputs(body: &Value) -> Result<&Vec<Value>, Reply> {
    let inputs = body.get("inputs").and_then(Value::as_array);
    let inputs = inputs.ok_or_else(|| invalid("Some required fields were not set: [inputs]"))?;
    match inputs.len() {
        1..=MAX_INPUTS => Ok(inputs),
        0 => Err(invalid("No inputs were given")),
        many => Err(invalid(&format!("{many} inputs are more than {MAX_INPUTS}"))),
    }
}

fn id_property(inputs: &[Value], table: &Table, object: Object) -> Result<String, Reply> {
    let property =
        |input: &Value| input.get("idProperty").and_then(Value::as_str).map(str::to_owned);
    let first = inputs.first().and_then(property);
    let name = first.ok_or_else(|| invalid("Some required fields were not set: [idProperty]"))?;
    if inputs.iter().any(|input| property(input).as_ref() != Some(&name)) {
        return Err(invalid("All inputs must have the same idProperty"));
    }
    check_unique(&name, table, object)?;
    Ok(name)
}

/// Records are only named by a property with unique values.
pub(super) fn check_unique(name: &str, table: &Table, object: Object) -> Result<(), Reply> {
    if table.field(name).is_some_and(|field| field.unique.is_some()) {
        return Ok(());
    }
    let (kind, portal) = (object.type_id(), super::PORTAL);
    let words = "Unable to perform update/upsert by non-unique";
    Err(invalid(&format!("{words} {kind} property {name} in portal ID {portal}")))
}

fn parse_one(input: &Value, action: &Action, table: &Table) -> Result<Input, Reply> {
    let map = input.as_object().ok_or_else(|| invalid("An input is not an object"))?;
    if let Some(unknown) = map.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(invalid(&format!("Unknown field {unknown}")));
    }
    let named = match map.get("id") {
        None => None,
        Some(id) => Some(id.as_str().ok_or_else(|| invalid("An id is not a text"))?),
    };
    let id = match (action, named) {
        (Action::Create, None) => String::new(),
        (Action::Create, Some(_)) => return Err(invalid("A new record has no id")),
        (Action::Update, Some(id)) if !id.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(invalid("An id is not valid"));
        }
        (Action::Update, Some(_)) if map.contains_key("idProperty") => {
            return Err(invalid("idProperty is not for this batch"));
        }
        // HubSpot keeps addresses in lower case.
        (Action::Upsert(property), Some(id)) if property == "email" => id.to_lowercase(),
        (Action::Update | Action::Upsert(_), Some(id)) if !id.is_empty() => id.to_owned(),
        (Action::Update | Action::Upsert(_), _) => {
            return Err(invalid("Some required fields were not set: [id]"));
        }
    };
    let properties = map.get("properties").and_then(Value::as_object);
    let properties = properties.ok_or_else(|| invalid("properties is not an object"))?;
    let mut fields = Fields::new();
    for (name, value) in properties {
        let text = value.as_str().ok_or_else(|| invalid("A property's value is not a text"))?;
        fields.insert(name.clone(), kept(table, name, text));
    }
    let trace = map.get("objectWriteTraceId").and_then(Value::as_str).map(str::to_owned);
    Ok(Input { id, trace, fields })
}

/// How a value is kept: an empty text empties the property, moments may come as milliseconds.
fn kept(table: &Table, name: &str, text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    let is_moment = table.field(name).is_some_and(|field| field.kind == Kind::DateTime);
    let moment = text.parse().ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    match moment.filter(|_| is_moment) {
        Some(moment) => json!(moment.to_string()),
        None => json!(text),
    }
}

/// Whether it can be read and written.
pub(super) fn is_live(record: &crate::Record) -> bool {
    record.life == Life::Live
}
