//! monday.com: items of boards, through its GraphQL API. An object is a board, by its id; a field is a
//! column of it, by the column's id, and `name` is the item's name. In come look-ups and writes, out go its
//! answers, alias by alias of one request.
//!
//! - One route, `POST /v2`, with the bare token as `Authorization` and a pinned `API-Version`. All values
//!   travel as variables; nothing of an event may ever become a part of a query's text.
//! - No column is unique and there is no upsert: items are looked up (`items_page_by_column_values`), then
//!   changed (`change_multiple_column_values`) or created (`create_item`). A create carries an
//!   `Idempotency-Key` made of its event, so that one whose answer was lost is answered again and not
//!   carried out again.
//! - Errors come with HTTP 200 as a rule, each with the path of the alias that it is about; only what
//!   comes back with an id was written.
//! - Limits: complexity points and calls a minute, calls at once, calls a day until midnight UTC.
//!
//! It must never create labels, and never take an alias without an answer for written.
//!
//! Docs: <https://developer.monday.com/api-reference/docs/rate-limits>, `/docs/error-handling`,
//! `/docs/idempotency`, `/docs/api-versioning`, `/reference/column-types-reference`.

mod apart;
mod board;
mod client;
mod column;
mod limits;
mod lookup;
mod mutation;
mod problem;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::budget::Budget;
use crate::config::{self, Mistake};
use crate::crm::{Cost, Crm, Description, Facts, Fault, Key, Object, Record, Work, Write, Written};
use crate::crms::Kind;
use crate::orgs::Orgs;

use board::Boards;
use client::Client;
use settings::Settings;

/// The row of monday.com among the CRMs.
pub const KIND: Kind = Kind {
    name: "monday",
    title: "monday.com",
    object_options: &["group_id"],
    open,
    example: include_str!("../examples/monday.toml"),
};

/// More aliases in one request get near what one request may cost.
const MAX_WRITES: usize = 20;
const MAX_LOOKUPS: usize = 25;

static FACTS: Facts = Facts {
    upserts_by_key: false,
    max_writes: MAX_WRITES,
    max_lookups: MAX_LOOKUPS,
    // The API does not say how soon a look-up by column sees a new item; seconds were seen.
    search_lag: Duration::from_secs(10),
};

/// One account, with one token.
struct Monday {
    client: Client,
    boards: Boards,
    settings: Settings,
}

fn open(table: toml::Table, orgs: &Orgs) -> Result<Arc<dyn Crm>, Mistake> {
    let settings: Settings = config::read_crm(table)?;
    settings.check()?;
    let client = Client::open(&settings, orgs)?;
    Ok(Arc::new(Monday { client, boards: Boards::default(), settings }))
}

#[async_trait]
impl Crm for Monday {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn budget(&self) -> &Budget {
        self.client.budget()
    }

    async fn identify(&self) -> Result<String, Fault> {
        board::identify(&self.client).await
    }

    async fn describe(&self, object: &Object) -> Result<Description, Fault> {
        let board = self.boards.fresh(&self.client, &object.name).await?;
        Ok(board.description())
    }

    async fn find(
        &self,
        object: &Object,
        lookups: &[Key],
        fields: &[String],
    ) -> Vec<Result<Vec<Record>, Fault>> {
        lookup::find(&self.client, object, lookups, fields).await
    }

    async fn write(&self, object: &Object, rows: &[Write]) -> Vec<Result<Written, Fault>> {
        let place = mutation::Place {
            client: &self.client,
            boards: &self.boards,
            object,
            creates_per_call: self.settings.creates_per_call,
        };
        mutation::write(&place, rows).await
    }

    fn cost(&self, work: Work) -> Cost {
        self.client.cost(&self.settings, work)
    }
}
