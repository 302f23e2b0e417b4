//! Changing and creating items, several in one request, each under an alias of its own. In come rows, out
//! goes for each what came back under its alias. A create must not happen twice because its answer was
//! lost: it is asked for again with the same key, and the answer to an earlier call is believed only if the
//! item is still there.

use std::ops::Range;

use futures::{FutureExt, StreamExt, stream};
use serde_json::{Map, Value as Json, json};

use super::apart::{Outcome, Whole, apart};
use super::board::{Board, Boards, MAX_NAME_CHARS, NAME};
use super::client::{COMPLEXITY, Call, Client, Reply};
use super::limits::Kind;
use super::lookup;
use crate::crm::{Fault, Key, Object, Target, Write, Written};
use crate::value::Value;

/// The option that says in which group of the board items are created.
const GROUP: &str = "group_id";

/// Where rows are written.
pub(super) struct Place<'a> {
    pub(super) client: &'a Client,
    pub(super) boards: &'a Boards,
    pub(super) object: &'a Object,
    /// How many items one call creates.
    pub(super) creates_per_call: usize,
}

/// A row as the API takes it.
enum Change {
    Update { id: String, values: String },
    Create(Create),
}

struct Create {
    name: String,
    values: String,
    trace: String,
}

/// Writes rows, one result for each.
pub(super) async fn write(place: &Place<'_>, rows: &[Write]) -> Vec<Result<Written, Fault>> {
    let columns = columns_of(rows);
    let board = match place.boards.with(place.client, &place.object.name, &columns).await {
        Ok(board) => board,
        Err(fault) => return rows.iter().map(|_| Err(fault.clone())).collect(),
    };
    let mut results: Vec<Option<Result<Written, Fault>>> = Vec::with_capacity(rows.len());
    let (mut updates, mut creates) = (Vec::new(), Vec::new());
    for (index, row) in rows.iter().enumerate() {
        match change(&board, row) {
            Ok(Change::Update { id, values }) => updates.push((index, (id, values))),
            Ok(Change::Create(create)) => creates.push((index, create)),
            Err(fault) => {
                results.push(Some(Err(fault)));
                continue;
            }
        }
        results.push(None);
    }
    let (update_rows, updates): (Vec<usize>, Vec<_>) = updates.into_iter().unzip();
    let (create_rows, creates): (Vec<usize>, Vec<_>) = creates.into_iter().unzip();
    let (updated, created) = futures::join!(
        apart(0..updates.len(), |range| place.update(&updates[range]).boxed()),
        place.create_all(&creates),
    );
    let written = update_rows.into_iter().zip(updated);
    for (index, result) in written.chain(create_rows.into_iter().zip(created)) {
        results[index] = Some(result);
    }
    let missing = || Err(Fault::transient("the row was not sent"));
    results.into_iter().map(|result| result.unwrap_or_else(missing)).collect()
}

/// The columns that rows name.
fn columns_of(rows: &[Write]) -> Vec<&str> {
    let mut columns: Vec<&str> = Vec::new();
    for row in rows {
        columns.extend(row.fields.keys().map(String::as_str));
        if let Target::New(Key::Field { field, .. }) = &row.target {
            columns.push(field);
        }
    }
    columns.retain(|column| *column != NAME);
    columns
}

fn change(board: &Board, row: &Write) -> Result<Change, Fault> {
    let mut values = Map::new();
    for (name, value) in &row.fields {
        values.insert(name.clone(), rendered(board, name, value)?);
    }
    match &row.target {
        Target::Record(id) => {
            Ok(Change::Update { id: id.clone(), values: Json::Object(values).to_string() })
        }
        Target::New(Key::Field { field, value: key, .. }) => {
            let key_value = Value::Text(key.clone());
            values.insert(field.clone(), rendered(board, field, &key_value)?);
            // The name is an argument of its own.
            let name = values.remove(NAME).and_then(|name| name.as_str().map(str::to_owned));
            let name = name
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| key.chars().take(MAX_NAME_CHARS).collect());
            let values = Json::Object(values).to_string();
            Ok(Change::Create(Create { name, values, trace: row.trace.clone() }))
        }
        Target::New(Key::Id(_)) => {
            Err(Fault::permanent("NoKey", "an item cannot be created under an id"))
        }
        Target::Upsert(_) => {
            Err(Fault::permanent("NoUniqueKey", "no column is unique: nothing is written by key"))
        }
    }
}

fn rendered(board: &Board, name: &str, value: &Value) -> Result<Json, Fault> {
    if name == NAME {
        return Ok(Json::String(value.text()));
    }
    match board.column(name) {
        Some(column) => column.render(value),
        None => {
            let reason = format!("the board has no column `{name}`");
            Err(Fault::permanent("InvalidColumnIdException", reason))
        }
    }
}

impl Place<'_> {
    async fn update(&self, rows: &[(String, String)]) -> Outcome<Written> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut declared = "$board: ID!".to_owned();
        let mut selected = String::new();
        let mut variables = Map::new();
        variables.insert("board".to_owned(), json!(self.object.name));
        for (row, (id, values)) in rows.iter().enumerate() {
            declared += &format!(", $i{row}: ID!, $v{row}: JSON!");
            selected += &format!(
                " u{row}: change_multiple_column_values(board_id: $board, item_id: $i{row}, \
                 column_values: $v{row}, create_labels_if_missing: false) {{ id }}"
            );
            variables.insert(format!("i{row}"), json!(id));
            variables.insert(format!("v{row}"), json!(values));
        }
        let query = format!("mutation Update({declared}) {{ {COMPLEXITY}{selected} }}");
        let (kind, variables) = (Kind::Update, Json::Object(variables));
        let call = Call { kind, aliases: rows.len(), query: &query, variables, key: None };
        let reply = self.client.run(&call).await.map_err(Whole::Keep)?;
        let written = written(&reply, 'u', rows.len());
        match written.first() {
            Some(Err(fault)) if reply.may_be_one_rows_fault(aliases('u', rows.len())) => {
                Err(Whole::Divide(fault.clone()))
            }
            Some(_) | None => Ok(written),
        }
    }

    async fn create_all(&self, rows: &[Create]) -> Vec<Result<Written, Fault>> {
        let starts = (0..rows.len()).step_by(self.creates_per_call);
        let chunks = starts.map(|start| start..rows.len().min(start + self.creates_per_call));
        let create =
            |chunk: Range<usize>| apart(chunk, |range| self.create(&rows[range]).boxed()).boxed();
        let chunks: Vec<_> = chunks.map(create).collect();
        let side_by_side = self.client.budget().max_in_flight();
        let results: Vec<_> = stream::iter(chunks).buffered(side_by_side).collect().await;
        results.into_iter().flatten().collect()
    }

    async fn create(&self, rows: &[Create]) -> Outcome<Written> {
        let (query, variables) = self.create_text(rows);
        let traces: Vec<&str> = rows.iter().map(|row| row.trace.as_str()).collect();
        let key = self.client.create_key(&traces.join("\n"), &variables);
        let call = Call {
            kind: Kind::Create,
            aliases: rows.len(),
            query: &query,
            variables,
            key: Some(key.text.clone()),
        };
        let reply = match self.client.run(&call).await {
            // Perhaps it was carried out and only the answer was lost: the same key finds out.
            Err(Fault::Transient { .. }) => self.client.run(&call).await,
            other => other,
        };
        let reply = reply.map_err(Whole::Keep)?;
        let mut written = written(&reply, 'c', rows.len());
        if reply.replayed {
            self.believe(&mut written).await;
        }
        if written.iter().all(Result::is_ok) {
            return Ok(written);
        }
        self.client.renew(&key);
        let is_refused = reply.may_be_one_rows_fault(aliases('c', rows.len()));
        match written.first() {
            Some(Err(fault)) if is_refused && reply.untouched => {
                return Err(Whole::Divide(fault.clone()));
            }
            Some(_) | None => {}
        }
        if is_refused && rows.len() > 1 {
            // Some may have been created, untold: they are looked up before they are tried again.
            for (row, alias) in written.iter_mut().zip(aliases('c', rows.len())) {
                if let Err(fault) = row
                    && !reply.has_own(&alias)
                {
                    *fault = Fault::transient(fault.to_string());
                }
            }
        }
        Ok(written)
    }

    fn create_text(&self, rows: &[Create]) -> (String, Json) {
        let mut declared = "$board: ID!".to_owned();
        let mut selected = String::new();
        let mut variables = Map::new();
        variables.insert("board".to_owned(), json!(self.object.name));
        let mut group = "";
        if let Some(id) = self.object.options.get(GROUP) {
            declared += ", $group: String";
            group = "group_id: $group, ";
            variables.insert("group".to_owned(), json!(id));
        }
        for (row, Create { name, values, .. }) in rows.iter().enumerate() {
            declared += &format!(", $n{row}: String!, $v{row}: JSON");
            selected += &format!(
                " c{row}: create_item(board_id: $board, {group}item_name: $n{row}, \
                 column_values: $v{row}, create_labels_if_missing: false) {{ id }}"
            );
            variables.insert(format!("n{row}"), json!(name));
            variables.insert(format!("v{row}"), json!(values));
        }
        let query = format!("mutation Create({declared}) {{ {COMPLEXITY}{selected} }}");
        (query, Json::Object(variables))
    }

    /// Of the answer to an earlier call only items count that are still there. A failure of then may
    /// have another outcome now.
    async fn believe(&self, written: &mut [Result<Written, Fault>]) {
        let keys: Vec<Key> =
            written.iter().flatten().map(|written| Key::Id(written.id.clone())).collect();
        let mut there = lookup::find(self.client, self.object, &keys, &[]).await.into_iter();
        for row in written {
            let is_there = match row {
                Ok(_) => there.next(),
                Err(Fault::Permanent { code, reason }) => {
                    let reason = format!("{code}: {reason} (an earlier answer)");
                    *row = Err(Fault::transient(reason));
                    continue;
                }
                Err(_) => continue,
            };
            match is_there {
                Some(Ok(items)) if !items.is_empty() => {}
                Some(Err(fault)) => *row = Err(fault),
                Some(Ok(_)) | None => {
                    let reason = "it was created before, and is not there any more";
                    *row = Err(Fault::transient(reason));
                }
            }
        }
    }
}

/// What rows are written as.
fn aliases(letter: char, rows: usize) -> impl Iterator<Item = String> {
    (0..rows).map(move |row| format!("{letter}{row}"))
}

/// What came back for each row under its alias.
fn written(reply: &Reply, letter: char, rows: usize) -> Vec<Result<Written, Fault>> {
    let is_update = letter == 'u';
    let one = |alias: String| {
        let item = reply.of(&alias, is_update)?;
        match item.get("id").and_then(Json::as_str) {
            Some(id) => Ok(Written { id: id.to_owned(), created: Some(!is_update) }),
            None => Err(Fault::transient("an item without an id came back")),
        }
    };
    aliases(letter, rows).map(one).collect()
}
