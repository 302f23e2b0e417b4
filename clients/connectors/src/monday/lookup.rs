//! Looking items up: by a column's value or by their ids, many in one query. In come keys, out go the items
//! that answer to each, with the columns that were asked for. An item that is archived, deleted or on
//! another board is not found, nor one whose column only resembles the key.

use std::collections::BTreeMap;
use std::ops::Range;

use futures::FutureExt;
use serde_json::{Map, Value as Json, json};

use super::apart::{Outcome, Whole, apart};
use super::board::NAME;
use super::client::{COMPLEXITY, Call, Client, Reply};
use super::column::{answers_to, read_value};
use super::limits::Kind;
use crate::crm::{Fault, Key, Object, Record};
use crate::value::Value;

/// The alias of the items that are read by their ids.
const BY_ID: &str = "by_id";

/// Looks items up, and reads these fields of them.
pub(super) async fn find(
    client: &Client,
    object: &Object,
    lookups: &[Key],
    fields: &[String],
) -> Vec<Result<Vec<Record>, Fault>> {
    let keys = lookups.iter().filter_map(|key| match key {
        Key::Field { field, .. } => Some(field),
        Key::Id(_) => None,
    });
    let mut columns: Vec<&str> = fields.iter().chain(keys).map(String::as_str).collect();
    columns.retain(|column| *column != NAME);
    columns.sort_unstable();
    columns.dedup();
    let search = Search { client, board: &object.name, keys: lookups, columns, fields };
    apart(0..lookups.len(), |rows| search.call(rows).boxed()).await
}

struct Search<'a> {
    client: &'a Client,
    board: &'a str,
    keys: &'a [Key],
    columns: Vec<&'a str>,
    fields: &'a [String],
}

/// A query as it is put together.
#[derive(Default)]
struct Text {
    declared: Vec<String>,
    selected: String,
    variables: Map<String, Json>,
}

impl Text {
    fn declare(&mut self, name: &str, kind: &str, value: Json) {
        self.declared.push(format!("${name}: {kind}"));
        self.variables.insert(name.to_owned(), value);
    }
}

impl Search<'_> {
    async fn call(&self, rows: Range<usize>) -> Outcome<Vec<Record>> {
        let keys = &self.keys[rows];
        let (text, aliases) = self.text(keys);
        if aliases == 0 {
            return Ok(keys.iter().map(|_| Ok(Vec::new())).collect());
        }
        let Text { declared, selected, variables } = text;
        let query = format!("query Find({}) {{ {COMPLEXITY} {selected} }}", declared.join(", "));
        let variables = Json::Object(variables);
        let call = Call { kind: Kind::Lookup, aliases, query: &query, variables, key: None };
        let reply = self.client.run(&call).await.map_err(Whole::Keep)?;
        let aliases = keys.iter().enumerate().map(|(row, key)| alias_of(row, key));
        if reply.may_be_one_rows_fault(aliases) {
            let fault = reply.of(&alias_of(0, &keys[0]), false).err();
            return Err(Whole::Divide(fault.unwrap_or_else(|| Fault::transient("no answer"))));
        }
        Ok(keys.iter().enumerate().map(|(row, key)| self.found(&reply, row, key)).collect())
    }

    /// The query for these keys, and how many aliases it has; an unused variable would be refused.
    fn text(&self, keys: &[Key]) -> (Text, usize) {
        let mut text = Text::default();
        let mut values = "";
        if !self.columns.is_empty() {
            values = "column_values(ids: $columns) { id type text value }";
        }
        let mut fields = 0;
        for (row, key) in keys.iter().enumerate() {
            if let Key::Field { field, value, .. } = key {
                fields += 1;
                let wanted = json!([{ "column_id": field, "column_values": [value] }]);
                text.declare(&format!("q{row}"), "[ItemsPageByColumnValuesQuery!]", wanted);
                text.selected += &format!(
                    "f{row}: items_page_by_column_values(limit: 2, board_id: $board, \
                     columns: $q{row}) {{ items {{ id name {values} }} }} "
                );
            }
        }
        if fields > 0 {
            text.declare("board", "ID!", json!(self.board));
        }
        let ids: Vec<&str> = keys.iter().filter_map(numeric_id).collect();
        if !ids.is_empty() {
            text.declare("ids", "[ID!]", json!(ids));
            text.selected += &format!(
                "{BY_ID}: items(ids: $ids, limit: 100, exclude_nonactive: true) \
                 {{ id name state board {{ id }} {values} }} "
            );
        }
        let aliases = fields + ids.len();
        if aliases > 0 && !self.columns.is_empty() {
            text.declare("columns", "[String!]", json!(self.columns));
        }
        (text, aliases)
    }

    fn found(&self, reply: &Reply, row: usize, key: &Key) -> Result<Vec<Record>, Fault> {
        match key {
            Key::Id(_) if numeric_id(key).is_none() => Ok(Vec::new()),
            Key::Id(id) => {
                let items = reply.of(BY_ID, false)?.as_array();
                let own = items.into_iter().flatten().filter(|item| {
                    let text = |json: Option<&Json>| json.and_then(Json::as_str).map(str::to_owned);
                    let board = text(item.get("board").and_then(|board| board.get("id")));
                    text(item.get("id")).as_ref() == Some(id)
                        && text(item.get("state")).as_deref() == Some("active")
                        && board.as_deref() == Some(self.board)
                });
                own.take(1).map(|item| self.record(item)).collect()
            }
            Key::Field { field, value, .. } => {
                let page = reply.of(&alias_of(row, key), false)?;
                let Some(items) = page.get("items").and_then(Json::as_array) else {
                    return Err(Fault::transient("an answer without items"));
                };
                let own = items.iter().filter(|item| answers(item, field, value));
                own.map(|item| self.record(item)).collect()
            }
        }
    }

    fn record(&self, item: &Json) -> Result<Record, Fault> {
        let Some(id) = item.get("id").and_then(Json::as_str) else {
            return Err(Fault::transient("an item without an id"));
        };
        let columns = item.get("column_values").and_then(Json::as_array);
        let mut values: BTreeMap<String, Value> =
            columns.into_iter().flatten().filter_map(read_value).collect();
        if let Some(name) = item.get("name").and_then(Json::as_str) {
            values.insert(NAME.to_owned(), Value::Text(name.to_owned()));
        }
        values.retain(|name, _| self.fields.contains(name));
        Ok(Record { id: id.to_owned(), values })
    }
}

/// What a key is asked for as.
fn alias_of(row: usize, key: &Key) -> String {
    match key {
        Key::Id(_) => BY_ID.to_owned(),
        Key::Field { .. } => format!("f{row}"),
    }
}

/// Ids of items are numbers; asking for anything else would spoil the answer for the others.
fn numeric_id(key: &Key) -> Option<&str> {
    match key {
        Key::Id(id) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) => Some(id),
        Key::Id(_) | Key::Field { .. } => None,
    }
}

/// Whether an item's column really has the value: how look-ups compare is the vendor's to change.
fn answers(item: &Json, field: &str, wanted: &str) -> bool {
    if field == NAME {
        let name = item.get("name").and_then(Json::as_str);
        return name.is_some_and(|name| name.trim() == wanted.trim());
    }
    let columns = item.get("column_values").and_then(Json::as_array);
    let mut columns = columns.into_iter().flatten();
    let own = columns.find(|column| column.get("id").and_then(Json::as_str) == Some(field));
    own.is_some_and(|column| answers_to(column, wanted))
}
