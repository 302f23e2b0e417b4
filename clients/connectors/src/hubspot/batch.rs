//! Batches of writes. In come rows, out goes what became of each, in their order. Rows of one kind of write
//! go into one call; a call that is refused for some of its rows is taken apart until these are alone, in
//! less than two calls a row. A row counts as written only if its record is among the results.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value as Json, json};

use super::answer::{Flaw, Page, Problem, Refused, Row, cut};
use super::calls::LOCKED;
use super::refusal::{blamed, fault_of, invalid_value};
use super::{Hubspot, MAX_INPUTS};
use crate::api::Answer;
use crate::crm::{Description, Fault, FieldKind, Key, Object, Target, Write, Written};
use crate::value::Value;

/// How often within one write a locked record's batch is taken apart, each time after a wait.
const MAX_LOCKED: u32 = 16;
/// How much of a trace is sent.
const MAX_TRACE_BYTES: usize = 100;

/// A kind of batch call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// By record id.
    Update,
    /// By this property.
    Upsert(String),
    /// With this property as what the record is known by.
    Create(String),
}

/// One row of a batch call.
#[derive(Debug)]
pub(super) struct Input<'a> {
    /// The row's number among all that are written.
    pub(super) row: usize,
    /// What names the record in the call; a new one has nothing.
    pub(super) id: Option<&'a str>,
    /// The value of the property that the record is known by.
    pub(super) key: Option<&'a str>,
    /// What is written.
    pub(super) properties: BTreeMap<String, String>,
    /// What the row is marked with.
    pub(super) trace: String,
}

/// The outcomes so far, by row.
type Outcomes = Vec<Option<Result<Written, Fault>>>;

/// One write on its way: what is still to be sent, and what is known.
struct Run<'a> {
    operation: &'a Operation,
    outcomes: &'a mut Outcomes,
    /// Sets of rows to be sent, the next one last.
    waiting: Vec<Vec<Input<'a>>>,
    /// How often a locked record was met.
    locked: u32,
    /// Whether it is known that a refusal is about rows and not about all that is written.
    is_known: bool,
}

impl Hubspot {
    /// Writes rows and tells what became of each.
    pub(super) async fn write_rows(
        &self,
        object: &Object,
        rows: &[Write],
    ) -> Vec<Result<Written, Fault>> {
        let mut outcomes: Outcomes = rows.iter().map(|_| None).collect();
        let schema = match needs_schema(rows) {
            true => match self.schema(object).await {
                Ok(schema) => Some(schema),
                Err(fault) => return rows.iter().map(|_| Err(fault.clone())).collect(),
            },
            false => None,
        };
        let mut groups: BTreeMap<Operation, Vec<Input<'_>>> = BTreeMap::new();
        for (number, row) in rows.iter().enumerate() {
            match input(number, row, schema.as_deref()) {
                Ok((operation, input)) => groups.entry(operation).or_default().push(input),
                Err(fault) => outcomes[number] = Some(Err(fault)),
            }
        }
        for (operation, inputs) in &mut groups {
            let mut waiting = Vec::new();
            while !inputs.is_empty() {
                waiting.push(inputs.drain(..inputs.len().min(MAX_INPUTS)).collect());
            }
            waiting.reverse();
            let run =
                Run { operation, outcomes: &mut outcomes, waiting, locked: 0, is_known: false };
            self.run(object, run).await;
        }
        let unsaid = || Err(Fault::transient("HubSpot's answer does not tell of this row"));
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unsaid)).collect()
    }

    async fn run(&self, object: &Object, mut run: Run<'_>) {
        let path = self.version.objects_path(&object.name, run.operation.action());
        while let Some(inputs) = run.waiting.pop() {
            let body = run.operation.body(&inputs);
            match self.post(&path, &body).await {
                Ok(answer) => self.read_results(&mut run, inputs, &answer),
                // The same would become of the others, or they would have to wait for long.
                Err(Refused::Call(fault)) => run.end(inputs, &fault),
                Err(Refused::Rows(problem)) => {
                    let property = run.operation.property();
                    let may_be_all =
                        inputs.len() > 1 && !std::mem::replace(&mut run.is_known, true);
                    if may_be_all && self.is_about_all(object, property, &problem).await {
                        run.end(inputs, &Fault::permanent(problem.code(), problem.told()));
                        continue;
                    }
                    if let Some(pause) = self.take_apart(&mut run, inputs, &problem) {
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    }

    /// A batch was refused whole: rows that are certainly to blame are done with, the others are sent
    /// again, in halves where it is not known which is to blame. Answers a wait before the next call.
    fn take_apart<'a>(
        &self,
        run: &mut Run<'a>,
        inputs: Vec<Input<'a>>,
        problem: &Problem,
    ) -> Option<Duration> {
        let is_locked = problem.status == StatusCode::LOCKED;
        run.locked += u32::from(is_locked);
        let is_enough = is_locked && run.locked > MAX_LOCKED;
        if inputs.len() == 1 || is_enough {
            for input in inputs {
                let exact = blamed(&problem.invalid, &input, &[]).map(invalid_value);
                let fault = exact
                    .unwrap_or_else(|| fault_of(problem, run.operation, self.records.budget()));
                run.outcomes[input.row] = Some(Err(fault));
            }
            return is_locked.then_some(LOCKED).filter(|_| !run.waiting.is_empty());
        }
        let faults: Vec<Option<Fault>> = inputs
            .iter()
            .map(|input| blamed(&problem.invalid, input, &inputs).map(invalid_value))
            .collect();
        let (mut rest, mut is_found) = (Vec::new(), false);
        for (input, fault) in inputs.into_iter().zip(faults) {
            match fault {
                Some(fault) => {
                    run.outcomes[input.row] = Some(Err(fault));
                    is_found = true;
                }
                None => rest.push(input),
            }
        }
        if is_found {
            run.send(rest);
        } else {
            run.halve(rest);
        }
        is_locked.then_some(LOCKED)
    }

    fn read_results<'a>(&self, run: &mut Run<'a>, mut inputs: Vec<Input<'a>>, answer: &Answer) {
        let page = answer.json::<Page>().and_then(|page| match page.status.as_str() {
            "COMPLETE" => Ok(page),
            status => Err(Fault::transient(format!("the batch is `{}`", cut(status, 40)))),
        });
        let mut page = match page {
            Ok(page) => page,
            Err(fault) => {
                inputs.iter().for_each(|one| run.outcomes[one.row] = Some(Err(fault.clone())));
                return;
            }
        };
        let flaws = page.flaws(answer.status);
        let is_single = inputs.len() == 1;
        let mut has_unnamed = false;
        for result in page.results {
            let found = match is_single && !inputs.is_empty() {
                true => Some(0),
                false => run.operation.position(&inputs, &result),
            };
            match found {
                Some(at) => {
                    let input = inputs.swap_remove(at);
                    run.outcomes[input.row] = Some(Ok(run.operation.written(result)));
                }
                None => has_unnamed = true,
            }
        }
        let budget = self.records.budget();
        for flaw in flaws {
            let is_named = |input: &Input<'_>| is_single || flaw.is_about(input);
            let named: Vec<usize> =
                (0..inputs.len()).rev().filter(|at| is_named(&inputs[*at])).collect();
            for at in &named {
                let input = inputs.remove(*at);
                let exact = blamed(&flaw.problem.invalid, &input, &[]).map(invalid_value);
                let fault = exact.unwrap_or_else(|| fault_of(&flaw.problem, run.operation, budget));
                run.outcomes[input.row] = Some(Err(fault));
            }
            has_unnamed |= named.is_empty();
        }
        if !is_single && has_unnamed {
            run.leave(inputs);
        }
    }
}

impl<'a> Run<'a> {
    /// Rows that the answer named neither as written nor as refused, where it has errors or records that
    /// are of no row by name: a record that was merged has another id, a key may be kept in another form.
    /// They are sent again in halves, until it is plain whose an answer is.
    fn leave(&mut self, inputs: Vec<Input<'a>>) {
        // A new record that may be there already is not created again here.
        if !matches!(self.operation, Operation::Create(_)) {
            self.halve(inputs);
        }
    }

    /// None of these and of those that wait is written.
    fn end(&mut self, inputs: Vec<Input<'a>>, fault: &Fault) {
        let others = std::mem::take(&mut self.waiting).into_iter().flatten();
        for input in inputs.into_iter().chain(others) {
            self.outcomes[input.row] = Some(Err(fault.clone()));
        }
    }

    fn send(&mut self, inputs: Vec<Input<'a>>) {
        if !inputs.is_empty() {
            self.waiting.push(inputs);
        }
    }

    /// In halves, the first one first.
    fn halve(&mut self, mut inputs: Vec<Input<'a>>) {
        let second = inputs.split_off(inputs.len().div_ceil(2));
        self.send(second);
        self.send(inputs);
    }
}

impl Flaw {
    fn is_about(&self, input: &Input<'_>) -> bool {
        self.traces.contains(&input.trace)
            || input.id.is_some_and(|id| self.ids.iter().any(|named| named == id))
    }
}

impl Operation {
    fn action(&self) -> &'static str {
        match self {
            Operation::Update => "batch/update",
            Operation::Upsert(_) => "batch/upsert",
            Operation::Create(_) => "batch/create",
        }
    }

    fn property(&self) -> Option<&str> {
        match self {
            Operation::Update => None,
            Operation::Upsert(property) | Operation::Create(property) => Some(property),
        }
    }

    fn body(&self, inputs: &[Input<'_>]) -> Json {
        let inputs = inputs.iter().map(|input| {
            let mut json = Map::new();
            if let Operation::Upsert(property) = self {
                json.insert("idProperty".to_owned(), json!(property));
            }
            if let Some(id) = input.id {
                json.insert("id".to_owned(), json!(id));
            }
            json.insert("objectWriteTraceId".to_owned(), json!(input.trace));
            json.insert("properties".to_owned(), json!(input.properties));
            Json::Object(json)
        });
        json!({ "inputs": inputs.collect::<Vec<_>>() })
    }

    /// Which row a result is of. HubSpot keeps some keys in lower case.
    fn position(&self, inputs: &[Input<'_>], result: &Row) -> Option<usize> {
        if let Some(trace) = &result.trace
            && let Some(at) = inputs.iter().position(|input| input.trace == *trace)
        {
            return Some(at);
        }
        let property = match self {
            Operation::Update => {
                return inputs.iter().position(|input| input.id == Some(result.id.as_str()));
            }
            Operation::Upsert(property) | Operation::Create(property) => property,
        };
        let kept = result.text(property)?;
        let exact = inputs.iter().position(|input| input.key == Some(kept));
        exact.or_else(|| {
            let kept = kept.trim().to_lowercase();
            let is_same =
                |input: &Input<'_>| input.key.is_some_and(|key| key.trim().to_lowercase() == kept);
            let mut alike = (0..inputs.len()).filter(|at| is_same(&inputs[*at]));
            alike.next().filter(|_| alike.next().is_none())
        })
    }

    fn written(&self, result: Row) -> Written {
        let created = match self {
            Operation::Update => Some(false),
            Operation::Upsert(_) => result.new,
            Operation::Create(_) => Some(true),
        };
        Written { id: result.id, created }
    }
}

/// A row as an input of a call.
fn input<'a>(
    number: usize,
    row: &'a Write,
    schema: Option<&Description>,
) -> Result<(Operation, Input<'a>), Fault> {
    let kind = |name: &str| Some(schema?.field(name)?.kind);
    let mut properties: BTreeMap<String, String> = row
        .fields
        .iter()
        .map(|(name, value)| (name.clone(), rendered(value, kind(name))))
        .collect();
    let trace = format!("{number}-{}", cut(&row.trace, MAX_TRACE_BYTES));
    let (operation, id, key) = match &row.target {
        Target::Record(id) => (Operation::Update, Some(id.as_str()), None),
        Target::Upsert(Key::Field { field, value, .. }) => {
            (Operation::Upsert(field.clone()), Some(value.as_str()), Some(value.as_str()))
        }
        Target::New(Key::Field { field, value, .. }) => {
            properties.insert(field.clone(), value.clone());
            (Operation::Create(field.clone()), None, Some(value.as_str()))
        }
        Target::Upsert(Key::Id(_)) | Target::New(Key::Id(_)) => {
            let reason = "a record cannot be created under an id of HubSpot's own";
            return Err(Fault::permanent("NO_KEY_PROPERTY", reason));
        }
    };
    Ok((operation, Input { row: number, id, key, properties, trace }))
}

/// Only days and moments are written by the kind of their property.
fn needs_schema(rows: &[Write]) -> bool {
    let mut values = rows.iter().flat_map(|row| row.fields.values());
    values.any(|value| matches!(value, Value::Date(_) | Value::Time(_)))
}

/// A value as HubSpot takes it: a text. Days are midnights in UTC, moments go to milliseconds.
fn rendered(value: &Value, kind: Option<FieldKind>) -> String {
    match (value, kind) {
        (Value::Time(time), Some(FieldKind::Date)) => {
            time.to_zoned_datetime(jiff::tz::TimeZone::UTC).date().to_string()
        }
        (Value::Time(time), _) => {
            let whole = jiff::Timestamp::from_millisecond(time.as_millisecond());
            whole.unwrap_or(*time).to_string()
        }
        (Value::Date(date), Some(FieldKind::Time)) => format!("{date}T00:00:00Z"),
        (
            Value::Date(_)
            | Value::Null
            | Value::Text(_)
            | Value::Number(_)
            | Value::Money(..)
            | Value::Boolean(_),
            _,
        ) => value.text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_moments_are_written_as_their_property_wants() {
        let time = Value::Time("2026-11-24T10:00:00.123456Z".parse().expect("a moment"));
        let date = Value::Date("2026-11-24".parse().expect("a day"));
        assert_eq!(rendered(&time, Some(FieldKind::Time)), "2026-11-24T10:00:00.123Z");
        assert_eq!(rendered(&time, Some(FieldKind::Date)), "2026-11-24");
        assert_eq!(rendered(&date, Some(FieldKind::Time)), "2026-11-24T00:00:00Z");
        assert_eq!(rendered(&date, Some(FieldKind::Date)), "2026-11-24");
        assert_eq!(rendered(&Value::Null, None), "");
    }
}
