//! The double of monday.com: `POST /v2` with GraphQL, on two boards, one of payments and one of contacts.
//! In come queries as they were sent; they are parsed and checked against a schema of the vendor's words,
//! priced, and carried out alias by alias, so that one may fail and the others stand. Out go answers in the
//! vendor's shapes, errors with HTTP 200 as a rule.
//!
//! It is stricter than the vendor where the vendor is lenient or not documented: an unused or undeclared
//! variable, a token behind `Bearer`, a key of a create used again for another one, a label or a number in
//! any but the documented form are refused. It must never write a part of a mutation.
//!
//! Docs: <https://developer.monday.com/api-reference/docs/errors>, `/docs/rate-limits`, `/docs/idempotency`.

mod board;
mod execute;
mod graphql;
mod quota;
mod value;
pub mod webhook;

use std::{collections::HashMap, str::FromStr, time::Duration};

use http::Method;
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use crate::{
    Account, Backend, By, Clock, Host, Life, Lifetime, PaymentRecord, Reply, Request, Server, Site,
    State, Tokens, clock::after, ids,
};
use board::{Board, STATUSES};
use graphql::Schema;
use quota::Quota;

pub use quota::{Prices, refusal};

/// The token that the double knows when it starts.
pub const TOKEN: &str = "monday-token-Zx81kQ0mVbN4";
/// The board of payments.
pub const PAYMENTS: &str = "1876543210";
/// The board of contacts.
pub const CONTACTS: &str = "1876543999";
const ACCOUNT_ID: u64 = 18_888_528;
/// For how long the answer to a key is kept.
const KEY_LIFE: Duration = Duration::from_secs(30 * 60);

/// What a double allows, and how it behaves where the vendor does it in more than one way.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Complexity points in any minute.
    pub points_per_minute: u64,
    /// Calls in any minute; refused ones count.
    pub calls_per_minute: u64,
    /// Calls until midnight UTC; refused ones count.
    pub calls_per_day: u64,
    /// Calls at once.
    pub max_in_flight: usize,
    /// What queries cost.
    pub prices: Prices,
    /// Whether a spent budget is told with HTTP 200 instead of 429.
    pub refuses_with_200: bool,
    /// Whether it is told in the flat form of the versions before 2025-01.
    pub refuses_flat: bool,
    /// Whether answers tell in headers what is left of the limits.
    pub tells_limits: bool,
    /// For how long a look-up by column misses a write.
    pub search_lag: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            points_per_minute: 1_000_000_000,
            calls_per_minute: 1_000_000,
            calls_per_day: 1_000_000_000,
            max_in_flight: 1_000,
            prices: Prices::default(),
            refuses_with_200: false,
            refuses_flat: false,
            tells_limits: true,
            search_lag: Duration::ZERO,
        }
    }
}

impl Settings {
    /// The limits of a Pro account for an app's token.
    pub fn real() -> Settings {
        Settings {
            points_per_minute: 5_000_000,
            calls_per_minute: 2_500,
            calls_per_day: 10_000,
            max_in_flight: 100,
            ..Settings::default()
        }
    }
}

/// The double's backend.
pub struct Monday {
    site: Site,
    /// The tokens that it lets in.
    pub tokens: Tokens,
    schema: Schema,
    inner: State<Inner>,
}

struct Inner {
    settings: Settings,
    quota: Quota,
    boards: Vec<Board>,
    /// Answers by the key that the call carried.
    keys: HashMap<String, Kept>,
    /// Users who may look and not write, by tenant.
    viewers: Vec<String>,
}

struct Kept {
    until: Timestamp,
    body: bytes::Bytes,
    reply: Reply,
}

impl Monday {
    /// Starts with two boards and a token, ready to use.
    pub async fn start(settings: Settings) -> Server<Monday> {
        Monday::start_at(settings, Clock::real()).await
    }

    /// The same on this clock.
    pub async fn start_at(settings: Settings, clock: Clock) -> Server<Monday> {
        let make = |site: &Site| Monday::new(site, settings);
        Server::start(clock, make).await.expect("the loopback has two free ports")
    }

    /// A backend at this place.
    pub fn new(site: &Site, settings: Settings) -> Monday {
        let tokens = Tokens::new(site.clock.clone(), Lifetime::default());
        tokens.insert(TOKEN, "acme");
        let boards =
            vec![Board::payments(settings.search_lag), Board::contacts(settings.search_lag)];
        let quota = Quota::new(&settings, site.clock.now());
        let inner = Inner { settings, quota, boards, keys: HashMap::new(), viewers: Vec::new() };
        Monday { site: site.clone(), tokens, schema: Schema::new(), inner: State::new(inner) }
    }

    /// Changes the limits and modes from now on; what was spent is forgotten.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        let mut inner = self.inner.lock();
        change(&mut inner.settings);
        inner.quota = Quota::new(&inner.settings, self.site.clock.now());
        let lag = inner.settings.search_lag;
        inner.boards.iter_mut().for_each(|board| board.items.set_lag(lag));
    }

    /// Archives, deletes or restores an item.
    pub fn set_life(&self, item: &str, life: Life) {
        let mut inner = self.inner.lock();
        inner.boards.iter_mut().for_each(|board| {
            board.items.set_life(item, life);
        });
    }

    /// Another process changes an item for so long: writes to it are refused.
    pub fn lock_item(&self, item: &str, wait: Duration) {
        let until = after(self.site.clock.now(), wait);
        let mut inner = self.inner.lock();
        inner.boards.iter_mut().for_each(|board| {
            board.items.lock(item, until);
        });
    }

    /// A person adds a label to a column.
    pub fn add_label(&self, board: &str, column: &str, label: &str) {
        let mut inner = self.inner.lock();
        let boards = inner.boards.iter_mut().filter(|one| one.id == board);
        let columns = boards.flat_map(|board| &mut board.columns);
        columns.filter(|one| one.id == column).for_each(|one| one.labels.push(label.to_owned()));
    }

    /// A tenant may look at boards and not write to them.
    pub fn may_only_look(&self, tenant: &str) {
        self.inner.lock().viewers.push(tenant.to_owned());
    }

    /// The labels of a column.
    pub fn labels(&self, board: &str, column: &str) -> Vec<String> {
        let inner = self.inner.lock();
        let board = inner.boards.iter().find(|one| one.id == board);
        board.and_then(|board| board.column(column)).map(|c| c.labels.clone()).unwrap_or_default()
    }

    /// A person makes a contact; the item's id.
    pub fn create_contact(&self, email: &str) -> String {
        let fields = json!({ "name": email, board::EMAIL: email });
        self.person_makes(CONTACTS, email, fields)
    }

    fn person_makes(&self, board_id: &str, key: &str, fields: Value) -> String {
        let fields = fields.as_object().cloned().unwrap_or_default();
        let by = By::person("person", self.site.clock.now());
        let mut inner = self.inner.lock();
        let board = inner.boards.iter_mut().find(|board| board.id == board_id);
        let board = board.expect("the board is one of this double's own");
        let written = board.items.insert(&fields, &by).expect("the schema takes any value");
        self.site.journal.wrote(written.commit(board_id, key));
        written.id
    }

    fn graphql(&self, request: &Request) -> Reply {
        let sent = request.json().ok().and_then(|body| match body {
            Value::Object(body) => Some(body),
            _ => None,
        });
        let query = sent.as_ref().and_then(|body| body.get("query")).and_then(Value::as_str);
        let (Some(sent), Some(query)) = (&sent, query) else {
            return quota::plain(400, "JsonParseException", "the body is no JSON with a `query`");
        };
        let nothing = Map::new();
        let variables = match sent.get("variables") {
            None | Some(Value::Null) => &nothing,
            Some(Value::Object(variables)) => variables,
            Some(_) => return quota::plain(400, "InvalidArgumentException", "variables"),
        };
        let plan = match self.schema.plan(query, variables) {
            Ok(plan) => plan,
            Err(mistakes) => {
                let errors: Vec<Value> = mistakes.iter().map(graphql::Mistake::json).collect();
                return Reply::json(400, &json!({ "errors": errors, "account_id": ACCOUNT_ID }));
            }
        };
        let mut inner = self.inner.lock();
        let key = request.header("idempotency-key").filter(|_| plan.is_mutation);
        if let Some(reply) = key.and_then(|key| inner.kept(key, request)) {
            return reply;
        }
        let priced = {
            let Inner { settings, quota, .. } = &mut *inner;
            quota.spend(settings, &plan, request.arrived)
        };
        let complexity = match priced {
            Ok(complexity) => complexity,
            Err(refused) => return self.refused(request, refused),
        };
        let may_write = !inner.viewers.contains(&request.tenant);
        let now = self.site.clock.now();
        let by = By::call(request, "connector", now);
        let run = execute::Run { site: &self.site, by, may_write, complexity };
        let (data, errors) = run.all(&mut inner.boards, &plan);
        let mut body = json!({
            "data": data, "account_id": ACCOUNT_ID, "extensions": { "request_id": ids::uuid() }
        });
        if !errors.is_empty() {
            body["errors"] = Value::Array(errors);
        }
        let reply = Reply::json(200, &body);
        if let Some(key) = key {
            let until = after(request.arrived, KEY_LIFE);
            let kept = Kept { until, body: request.body.clone(), reply: reply.clone() };
            inner.keys.insert(key.to_owned(), kept);
        }
        reply
    }

    /// A refusal that tells how long to wait is noted, so that early calls are found.
    fn refused(&self, request: &Request, refused: quota::Refused) -> Reply {
        if let Some(wait) = refused.wait {
            self.site.journal.throttled(&request.tenant, after(request.arrived, wait));
        }
        refused.reply
    }
}

impl Inner {
    /// The answer that was given to this key before.
    fn kept(&mut self, key: &str, request: &Request) -> Option<Reply> {
        self.keys.retain(|_, kept| request.arrived < kept.until);
        let kept = self.keys.get(key)?;
        if kept.body != request.body {
            let words = "the key was used for another call";
            return Some(quota::plain(400, "IDEMPOTENCY_KEY_REUSED", words));
        }
        Some(kept.reply.clone().with_header("idempotency-replayed", "true"))
    }
}

impl Backend for Monday {
    fn handle(&self, request: &Request) -> Reply {
        if request.host != Host::Api || request.path != "/v2" {
            return quota::plain(404, "NotFound", "no such route");
        }
        if request.method != Method::POST {
            return quota::plain(405, "MethodNotAllowed", "POST it");
        }
        let token = request.header("authorization").unwrap_or_default();
        if self.tokens.check(token).is_err() {
            return Reply::json(401, &json!({ "errors": ["Not Authenticated"] }));
        }
        if request.content_type().as_deref() != Some("application/json") {
            return quota::plain(400, "BadRequest", "the body must be application/json");
        }
        let counted = {
            let mut inner = self.inner.lock();
            let Inner { settings, quota, .. } = &mut *inner;
            quota.count(settings, request)
        };
        let reply = match counted {
            Ok(()) => self.graphql(request),
            Err(refused) => self.refused(request, refused),
        };
        let mut inner = self.inner.lock();
        let tells = inner.settings.tells_limits;
        if tells { inner.quota.told(reply, request.arrived) } else { reply }
    }

    fn tenant(&self, request: &Request) -> String {
        let token = request.header("authorization").unwrap_or_default();
        self.tokens.tenant(token).unwrap_or_default()
    }
}

impl Account for Server<Monday> {
    fn config(&self) -> String {
        let values: Vec<String> =
            STATUSES.iter().map(|(word, label)| format!("{word} = \"{label}\"")).collect();
        format!(
            r#"[crm]
auth = "token"
token = "{TOKEN}"
api_url = "{api}"
points_per_minute = 1_000_000_000
calls_per_minute = 1_000_000
calls_per_day = 1_000_000_000
max_calls_in_flight = 20
timeout_seconds = 10

[[objects]]
object = "{PAYMENTS}"
name = "payment"
policy = "upsert"
options = {{ group_id = "{group}" }}

[[objects.match]]
field = "{payment_id}"
from = "subject_id"

[objects.fields]
name = {{ template = "Payment {{subject_id}}", on = "create" }}
{status} = {{ from = "status", values = {{ {values} }} }}
{paid} = {{ from = "amounts.paid", default = 0 }}
{refunded} = {{ from = "amounts.refunded", default = 0 }}
{reference} = {{ from = "references.invoice_number" }}
{currency} = {{ from = "currency" }}
"#,
            api = self.api_url(),
            group = board::GROUP,
            payment_id = board::PAYMENT_ID,
            status = board::STATUS,
            paid = board::PAID,
            refunded = board::REFUNDED,
            reference = board::REFERENCE,
            currency = board::CURRENCY,
            values = values.join(", "),
        )
    }

    fn records(&self) -> Vec<PaymentRecord> {
        let commits = self.journal().commits();
        let writes_of = |id: &str| {
            commits.iter().filter(|commit| commit.record == id && commit.call > 0).count()
        };
        let inner = self.backend().inner.lock();
        let board = inner.boards.iter().find(|board| board.id == PAYMENTS);
        let items = board.into_iter().flat_map(|board| board.items.records());
        let live = items.filter(|item| item.life == Life::Live);
        let number = |text: String| Decimal::from_str(&text).ok();
        live.map(|item| PaymentRecord {
            id: item.id.clone(),
            payment_id: item.text(board::PAYMENT_ID),
            status: item.text(board::STATUS),
            paid: number(item.text(board::PAID)),
            refunded: number(item.text(board::REFUNDED)),
            reference: Some(item.text(board::REFERENCE)).filter(|text| !text.is_empty()),
            writes: writes_of(&item.id) as u64,
        })
        .collect()
    }

    fn field(&self, logical: &str) -> String {
        let name = match logical {
            "payment_id" => board::PAYMENT_ID,
            "status" => board::STATUS,
            "paid" => board::PAID,
            "refunded" => board::REFUNDED,
            "reference" => board::REFERENCE,
            "currency" => board::CURRENCY,
            other => other,
        };
        name.to_owned()
    }

    fn edit(&self, record: &str, field: &str, value: Value) {
        let backend = self.backend();
        let by = By::person("person", backend.site.clock.now());
        let mut inner = backend.inner.lock();
        for board in &mut inner.boards {
            let fields = Map::from_iter([(field.to_owned(), value.clone())]);
            if let Some(written) = board.items.force(record, &fields, &by) {
                let key = board.key_of(record);
                backend.site.journal.wrote(written.commit(&board.id, &key));
            }
        }
    }

    fn create(&self, payment_id: &str) -> String {
        let fields = json!({
            "name": format!("Payment {payment_id}"), board::PAYMENT_ID: payment_id
        });
        self.backend().person_makes(PAYMENTS, payment_id, fields)
    }
}

#[cfg(test)]
mod tests;
