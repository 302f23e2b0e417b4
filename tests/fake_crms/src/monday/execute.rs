//! Carries out a plan, alias by alias in their order. In come checked fields, out go the data and the
//! errors of an answer. An alias that fails leaves nothing behind and the others standing; a look-up that
//! fails takes the whole data with it, as its type has it, and has changed nothing.

use serde_json::{Map, Value, json};

use super::board::{self, Board, Column};
use super::graphql::{Node, Plan};
use super::quota::Complexity;
use super::value::{self, Failure};
use crate::{By, Fields, Life, Match, Record, Site};

/// The most items that one look-up may ask for.
const MAX_PAGE: u64 = 500;
const MAX_ITEMS: u64 = 100;

/// One call.
pub(super) struct Run<'a> {
    pub(super) site: &'a Site,
    pub(super) by: By,
    pub(super) may_write: bool,
    pub(super) complexity: Complexity,
}

impl Run<'_> {
    /// The data and the errors of the answer.
    pub(super) fn all(&self, boards: &mut [Board], plan: &Plan) -> (Value, Vec<Value>) {
        let mut data = Map::new();
        let (mut errors, mut is_lost) = (Vec::new(), false);
        for node in &plan.fields {
            let value = self.one(boards, node).unwrap_or_else(|failure| {
                errors.push(error(node, &failure));
                is_lost |= !node.is_nullable;
                Value::Null
            });
            data.insert(node.alias.clone(), value);
        }
        (if is_lost { Value::Null } else { Value::Object(data) }, errors)
    }

    fn one(&self, boards: &mut [Board], node: &Node) -> Result<Value, Failure> {
        match node.name.as_str() {
            "complexity" => Ok(chosen(&self.complexity.json(), &node.children)),
            "me" => {
                let account = json!({ "id": "18888528", "name": "Acme", "slug": "acme" });
                let me = json!({
                    "id": "4012689", "name": "Tollgate", "email": "tollgate@acme.example",
                    "account": account
                });
                Ok(chosen(&me, &node.children))
            }
            "boards" => Ok(boards_asked_for(boards, node)),
            "items" => items_by_id(boards, node),
            "items_page_by_column_values" => self.items_by_value(boards, node),
            "change_multiple_column_values" => self.change(boards, node),
            "create_item" => self.create(boards, node),
            other => Err(Failure::new("undefinedField", other)),
        }
    }

    fn items_by_value(&self, boards: &[Board], node: &Node) -> Result<Value, Failure> {
        let board = boards.iter().find(|board| Some(board.id.as_str()) == text(node, "board_id"));
        let board = board.ok_or_else(no_board)?;
        let limit = node.arguments.get("limit").and_then(Value::as_u64).unwrap_or_default();
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Failure::new("InvalidArgumentException", "limit is 1 to 500"));
        }
        let columns = node.arguments.get("columns").and_then(Value::as_array);
        let columns = columns.filter(|columns| !columns.is_empty()).ok_or_else(|| {
            Failure::new("InvalidArgumentException", "columns or a cursor must be given")
        })?;
        let mut found: Option<Vec<&Record>> = None;
        for column in columns {
            let id = column.get("column_id").and_then(Value::as_str).unwrap_or_default();
            if id != "name" && board.column(id).is_none() {
                let words = format!("no column {id}");
                let data = json!({ "column_id": id });
                return Err(Failure { data, ..Failure::new("InvalidColumnIdException", words) });
            }
            let wanted = column.get("column_values").and_then(Value::as_array);
            let now = self.by.at;
            let hits: Vec<&Record> = wanted
                .into_iter()
                .flatten()
                .flat_map(|value| board.items.search(id, value, Match::Exact, now))
                .collect();
            found = Some(match found {
                None => hits,
                Some(before) => before
                    .into_iter()
                    .filter(|one| hits.iter().any(|hit| hit.id == one.id))
                    .collect(),
            });
        }
        let found = found.unwrap_or_default();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let cursor = (found.len() > limit)
            .then_some("MSw5NzI4MDA5MDAsaV9YcmxJb0p1VEdYc1VWeGlxeF9kLDg4MiwzNXw0MTQ1NzU1MTE5");
        let mut page = Map::new();
        for child in &node.children {
            let value = match child.name.as_str() {
                "items" => {
                    let items = found.iter().take(limit);
                    items.map(|item| shown(board, item, &child.children)).collect()
                }
                _ => json!(cursor),
            };
            page.insert(child.alias.clone(), value);
        }
        Ok(Value::Object(page))
    }

    fn change(&self, boards: &mut [Board], node: &Node) -> Result<Value, Failure> {
        let board = self.writable(boards, node)?;
        let Some(id) = text(node, "item_id").map(str::to_owned) else {
            return Err(Failure::new("InvalidArgumentException", "item_id must be given"));
        };
        // An item that was archived meanwhile cannot be changed, like one that never was.
        if board.items.get(&id).is_none_or(|item| item.life != Life::Live) {
            let words = format!("no active item {id} on the board");
            return Err(Failure::new("InvalidItemIdException", words));
        }
        let fields = sent_values(board, node)?;
        self.locked(board, &id)?;
        let written = board
            .items
            .update(&id, &fields, &self.by)
            .map_err(|errors| Failure::new("InvalidArgumentException", format!("{errors:?}")))?;
        let key = board.key_of(&id);
        self.site.journal.wrote(written.commit(&board.id, &key));
        Ok(answered(board, &id, node))
    }

    /// A board that another process changes is locked for a while.
    fn locked(&self, board: &Board, id: &str) -> Result<(), Failure> {
        let locked = board.items.get(id).and_then(|item| item.locked_until);
        if locked.is_some_and(|until| self.by.at < until) {
            let words = "Resource is currently locked, please try again later";
            return Err(Failure { status: 423, ..Failure::new("ResourceLocked", words) });
        }
        Ok(())
    }

    fn create(&self, boards: &mut [Board], node: &Node) -> Result<Value, Failure> {
        let board = self.writable(boards, node)?;
        if let Some(group) = text(node, "group_id")
            && !board.groups.iter().any(|known| known == group)
        {
            return Err(Failure::new("ResourceNotFoundException", "no such group"));
        }
        let name = value::name(node.arguments.get("item_name").unwrap_or(&Value::Null))?;
        let mut fields = match node.arguments.get("column_values") {
            Some(_) => sent_values(board, node)?,
            None => Fields::new(),
        };
        fields.insert("name".to_owned(), json!(name));
        let written = board
            .items
            .insert(&fields, &self.by)
            .map_err(|errors| Failure::new("InvalidArgumentException", format!("{errors:?}")))?;
        let key = board.key_of(&written.id);
        self.site.journal.wrote(written.commit(&board.id, &key));
        Ok(answered(board, &written.id, node))
    }

    fn writable<'b>(&self, boards: &'b mut [Board], node: &Node) -> Result<&'b mut Board, Failure> {
        let wanted = text(node, "board_id");
        let board = boards.iter_mut().find(|board| Some(board.id.as_str()) == wanted);
        let board = board.ok_or_else(no_board)?;
        if !self.may_write {
            let words = "User unauthorized to perform action";
            return Err(Failure {
                status: 403,
                ..Failure::new("UserUnauthorizedException", words)
            });
        }
        Ok(board)
    }
}

fn sent_values(board: &mut Board, node: &Node) -> Result<Fields, Failure> {
    let sent = node.arguments.get("column_values").unwrap_or(&Value::Null);
    let creates = node.arguments.get("create_labels_if_missing") == Some(&Value::Bool(true));
    value::read(board, sent, creates)
}

fn answered(board: &Board, id: &str, node: &Node) -> Value {
    board.items.get(id).map_or(Value::Null, |item| shown(board, item, &node.children))
}

fn boards_asked_for(boards: &[Board], node: &Node) -> Value {
    let wanted = node.arguments.get("ids").and_then(Value::as_array);
    let asked = boards.iter().filter(|board| {
        wanted.is_none_or(|ids| ids.iter().any(|id| id.as_str() == Some(&board.id)))
    });
    asked.map(|board| board_json(board, &node.children)).collect()
}

fn items_by_id(boards: &[Board], node: &Node) -> Result<Value, Failure> {
    let limit = node.arguments.get("limit").and_then(Value::as_u64).unwrap_or_default();
    let ids = node.arguments.get("ids").and_then(Value::as_array);
    let ids = ids.map(Vec::as_slice).unwrap_or_default();
    if !(1..=MAX_ITEMS).contains(&limit) || ids.len() as u64 > MAX_ITEMS {
        return Err(Failure::new("InvalidArgumentException", "at most 100 items"));
    }
    let only_active = node.arguments.get("exclude_nonactive") == Some(&Value::Bool(true));
    let mut items = Vec::new();
    for board in boards {
        let own = ids.iter().filter_map(|id| board.items.get(id.as_str()?));
        let own = own.filter(|item| item.life == Life::Live || !only_active);
        items.extend(own.map(|item| shown(board, item, &node.children)));
    }
    items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(Value::Array(items))
}

fn board_json(board: &Board, children: &[Node]) -> Value {
    let mut shown = Map::new();
    for child in children {
        let value = match child.name.as_str() {
            "id" => json!(board.id),
            "name" => json!(board.name),
            "state" => json!("active"),
            "columns" => {
                let columns =
                    asked_for(board, child).map(|column| chosen(&column.json(), &child.children));
                columns.collect()
            }
            _ => {
                let group =
                    |id: &String| chosen(&json!({ "id": id, "title": id }), &child.children);
                board.groups.iter().map(group).collect()
            }
        };
        shown.insert(child.alias.clone(), value);
    }
    Value::Object(shown)
}

/// An item with the fields that were asked for.
fn shown(board: &Board, item: &Record, children: &[Node]) -> Value {
    let mut shown = Map::new();
    for child in children {
        let value = match child.name.as_str() {
            "id" => json!(item.id),
            "name" => json!(item.text("name")),
            "state" => json!(board::state_of(item)),
            "board" => board_json(board, &child.children),
            "column_values" => asked_for(board, child)
                .map(|column| chosen(&column.shown(item), &child.children))
                .collect(),
            _ => chosen(&json!({ "id": board::GROUP, "title": board::GROUP }), &child.children),
        };
        shown.insert(child.alias.clone(), value);
    }
    Value::Object(shown)
}

/// The columns whose `ids` were given; all of them if none were.
fn asked_for<'b>(board: &'b Board, node: &Node) -> impl Iterator<Item = &'b Column> {
    let ids = node.arguments.get("ids").and_then(Value::as_array).cloned();
    board.columns.iter().filter(move |column| {
        let wanted = |ids: &Vec<Value>| ids.iter().any(|id| id.as_str() == Some(&column.id));
        ids.as_ref().is_none_or(|ids| ids.is_empty() || wanted(ids))
    })
}

/// The fields of an object that were asked for.
fn chosen(object: &Value, children: &[Node]) -> Value {
    let mut shown = Map::new();
    for child in children {
        let value = object.get(&child.name).unwrap_or(&Value::Null);
        let value = match child.children.is_empty() {
            true => value.clone(),
            false => chosen(value, &child.children),
        };
        shown.insert(child.alias.clone(), value);
    }
    Value::Object(shown)
}

fn text<'n>(node: &'n Node, argument: &str) -> Option<&'n str> {
    node.arguments.get(argument).and_then(Value::as_str)
}

fn no_board() -> Failure {
    Failure::new("InvalidBoardIdException", "no such board")
}

fn error(node: &Node, failure: &Failure) -> Value {
    let (line, column) = node.at;
    json!({
        "message": failure.words,
        "locations": [{ "line": line, "column": column }],
        "path": [node.alias],
        "extensions": {
            "code": failure.code, "status_code": failure.status, "error_data": failure.data
        }
    })
}
