//! Boards and their columns, read once in a while and kept: how a value is written depends on its column's
//! type. In comes a board's id, out go its columns, and the description that people see. A column that was
//! added a minute ago must be found.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::{COMPLEXITY, Call, Client};
use super::column::Column;
use super::limits::Kind;
use crate::crm::{Description, Fault, Field, FieldKind};

/// For how long columns are taken to be as they were.
const KEPT: Duration = Duration::from_secs(15 * 60);
/// How soon a board is read again for the sake of a column that it did not have.
const READ_AGAIN: Duration = Duration::from_secs(60);
const MAX_BOARDS: usize = 256;
/// The longest name of an item.
pub(super) const MAX_NAME_CHARS: usize = 255;
/// The column that every board has: the item's name.
pub(super) const NAME: &str = "name";

/// The boards that were read.
#[derive(Default)]
pub(super) struct Boards(Mutex<HashMap<String, (Arc<Board>, Instant)>>);

/// A board.
#[derive(Debug)]
pub(super) struct Board {
    label: String,
    columns: Vec<Column>,
}

impl Boards {
    /// The board, as it was at most a quarter of an hour ago; read again if it lacks one of these columns.
    pub(super) async fn with(
        &self,
        client: &Client,
        id: &str,
        columns: &[&str],
    ) -> Result<Arc<Board>, Fault> {
        let mut boards = self.0.lock().await;
        if let Some((board, read_at)) = boards.get(id) {
            let has_all = columns.iter().all(|column| board.column(column).is_some());
            if read_at.elapsed() < if has_all { KEPT } else { READ_AGAIN } {
                return Ok(Arc::clone(board));
            }
        }
        // The lock is held meanwhile: of all who need the board one reads it.
        let board = Arc::new(Board::read(client, id).await?);
        if boards.len() >= MAX_BOARDS {
            boards.clear();
        }
        boards.insert(id.to_owned(), (Arc::clone(&board), Instant::now()));
        Ok(board)
    }

    /// The board as it is now.
    pub(super) async fn fresh(&self, client: &Client, id: &str) -> Result<Arc<Board>, Fault> {
        self.0.lock().await.remove(id);
        self.with(client, id, &[]).await
    }
}

impl Board {
    async fn read(client: &Client, id: &str) -> Result<Board, Fault> {
        let query = format!(
            "query Board($ids: [ID!]) {{ {COMPLEXITY} boards(ids: $ids, limit: 1) {{ \
             id name state columns {{ id title type archived settings }} }} }}"
        );
        let variables = json!({ "ids": [id] });
        let kind = Kind::Describe;
        let call = Call { kind, aliases: 1, query: &query, variables, key: None };
        let reply = client.run(&call).await?;
        let board = reply.of("boards", false)?.get(0);
        let active = board.filter(|board| {
            board.get("state").and_then(Json::as_str).is_none_or(|state| state == "active")
        });
        let Some(board) = active else {
            let reason = format!("no board that this token may see has the id `{id}`");
            return Err(Fault::permanent("InvalidBoardIdException", reason));
        };
        let columns = board.get("columns").and_then(Json::as_array);
        let columns = columns.into_iter().flatten().filter_map(Column::read).collect();
        let label = board.get("name").and_then(Json::as_str).unwrap_or(id).to_owned();
        Ok(Board { label, columns })
    }

    /// The column of this id.
    pub(super) fn column(&self, id: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.id == id)
    }

    /// As people see it.
    pub(super) fn description(&self) -> Description {
        let name = Field {
            name: NAME.to_owned(),
            label: "Name".to_owned(),
            kind: FieldKind::Text,
            writable: true,
            // Where it is not mapped, a new item is named by its key.
            required: false,
            unique: false,
            options: Vec::new(),
            max_length: Some(MAX_NAME_CHARS),
        };
        let columns = self.columns.iter().filter(|column| column.id != NAME);
        let fields = std::iter::once(name).chain(columns.map(Column::field)).collect();
        Description { label: self.label.clone(), fields }
    }
}

/// Who the token is.
pub(super) async fn identify(client: &Client) -> Result<String, Fault> {
    let query = format!("query {{ {COMPLEXITY} me {{ id name account {{ id name slug }} }} }}");
    let (kind, variables) = (Kind::Describe, json!({}));
    let call = Call { kind, aliases: 1, query: &query, variables, key: None };
    let reply = client.run(&call).await?;
    let me = reply.of("me", false)?;
    let text = |json: Option<&Json>| json.and_then(Json::as_str).unwrap_or("?").to_owned();
    let slug = text(me.get("account").and_then(|account| account.get("slug")));
    Ok(format!("{slug}.monday.com as {}", text(me.get("name"))))
}
