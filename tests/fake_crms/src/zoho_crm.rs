//! The double of Zoho CRM, API v8, with modules Deals and Contacts. In come token requests at the accounts
//! host and calls of the API, out go Zoho's answers: errors of tokens with status 200, rows that each have
//! an outcome, credits that are counted down in a header once half of them are used, refusals that never
//! tell how long. Fields that it does not know it passes over in silence, as Zoho does, unless it is told
//! to refuse them. It must never say more than Zoho says.
//!
//! - Upsert: <https://www.zoho.com/crm/developer/docs/api/v8/upsert-records.html>
//! - COQL: <https://www.zoho.com/crm/developer/docs/api/v8/COQL-Overview.html>
//! - Status codes: <https://www.zoho.com/crm/developer/docs/api/v8/status-codes.html>

mod account;
mod metadata;
mod query;
mod rows;
mod sign_in;
mod watch;

use std::{collections::BTreeMap, time::Duration};

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Backend, By, Clock, Fields, Host, Lifetime, Reply, Request, Server, Site, State, Table, Tokens,
    clock::after, limits::Window, table::Life,
};

pub use sign_in::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The tenant of all calls: a double is one org.
const ORG: &str = "org";
const ACCOUNTS: &str = "accounts";

/// How this org is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The time of tokens and credits.
    pub clock: Clock,
    /// The credits of any 24 hours.
    pub credits_per_day: u64,
    /// How many calls may be in flight.
    pub max_in_flight: usize,
    /// What becomes of a field that is not there.
    pub unknown_fields: UnknownFields,
    /// Whether rows of which some failed come with status 200, and not 207.
    pub mixed_is_200: bool,
    /// Whether rows that were all created come with status 201, and not 200.
    pub created_is_201: bool,
    /// Whether `DUPLICATE_DATA` tells by which field.
    pub duplicates_name_field: bool,
    /// What the token may do.
    pub scopes: Vec<&'static str>,
    /// How long tokens last.
    pub tokens: Lifetime,
}

/// What becomes of a field that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownFields {
    /// It is passed over, and the row is a success.
    Ignored,
    /// The row is refused.
    Refused,
}

impl Default for Settings {
    fn default() -> Settings {
        let hour = Some(Duration::from_secs(3_600));
        Settings {
            clock: Clock::real(),
            credits_per_day: 5_000_000,
            max_in_flight: 1_000,
            unknown_fields: UnknownFields::Ignored,
            mixed_is_200: false,
            created_is_201: true,
            duplicates_name_field: true,
            scopes: vec![
                "ZohoCRM.modules.ALL",
                "ZohoCRM.settings.fields.READ",
                "ZohoCRM.coql.READ",
                "ZohoCRM.users.READ",
                "ZohoCRM.notifications.ALL",
            ],
            tokens: Lifetime { time: hour, active: Some(15), ..Lifetime::default() },
        }
    }
}

impl Settings {
    /// The limits of the Professional edition with twenty users.
    pub fn real() -> Settings {
        Settings { credits_per_day: 60_000, max_in_flight: 15, ..Settings::default() }
    }
}

/// The org.
#[derive(Debug)]
pub struct ZohoCrm {
    /// The access tokens that it issued.
    pub tokens: Tokens,
    site: Site,
    settings: Settings,
    refreshes: State<Window>,
    credits: State<Window>,
    modules: State<BTreeMap<&'static str, Table>>,
    watches: watch::Watches,
}

impl ZohoCrm {
    /// Starts an org with its standard modules.
    pub async fn start(settings: Settings) -> Server<ZohoCrm> {
        let clock = settings.clock.clone();
        let started = Server::start(clock, |site| ZohoCrm::new(site, settings)).await;
        started.expect("the loopback has two free ports")
    }

    /// An org at this place.
    pub fn new(site: &Site, settings: Settings) -> ZohoCrm {
        ZohoCrm {
            tokens: Tokens::new(site.clock.clone(), settings.tokens),
            site: site.clone(),
            refreshes: State::new(sign_in::refreshes()),
            credits: State::new(Window::sliding(DAY, settings.credits_per_day)),
            modules: State::new(metadata::modules()),
            watches: watch::Watches::default(),
            settings,
        }
    }

    /// The next upsert that would create a deal of this payment loses a race.
    pub fn race(&self, payment: &str) {
        if let Some(deals) = self.modules.lock().get_mut("Deals") {
            deals.race(payment);
        }
    }

    /// Refuses writes to a record for a while. Tells whether it is there.
    pub fn lock(&self, record: &str, time: Duration) -> bool {
        let until = after(self.site.clock.now(), time);
        self.modules.lock().values_mut().any(|table| table.lock(record, until))
    }

    /// Moves a record to the bin. Tells whether it was there.
    pub fn delete(&self, record: &str) -> bool {
        self.modules.lock().values_mut().any(|table| table.set_life(record, Life::Deleted))
    }

    /// A person makes a record in any module, past its rules; its id.
    pub fn insert(&self, module: &str, fields: &Fields) -> Option<String> {
        let by = By::person("person", self.site.clock.now());
        let mut modules = self.modules.lock();
        let table = modules.get_mut(module)?;
        let written = table.insert(fields, &by).ok()?;
        let key = metadata::key_of(module, table, &written.id);
        self.site.journal.wrote(written.commit(module, &key));
        Some(written.id)
    }

    /// The fields of a record.
    pub fn fields(&self, module: &str, record: &str) -> Option<Fields> {
        let modules = self.modules.lock();
        modules.get(module)?.get(record).map(|record| record.fields.clone())
    }

    /// How many credits were used in the last 24 hours.
    pub fn credits_used(&self) -> u64 {
        self.credits.lock().used(self.site.clock.now())
    }

    /// Sends what the watched modules have to tell, each call once. Answers how many were received well.
    pub async fn notify(&self) -> usize {
        self.watches.send().await
    }

    fn api(&self, request: &Request) -> Reply {
        let Some(token) = request.header("authorization").and_then(sign_in::shown_token) else {
            return error(401, "AUTHENTICATION_FAILURE", json!({}), "Authentication failed");
        };
        if self.tokens.check(token).is_err() {
            return error(401, "INVALID_TOKEN", json!({}), "invalid oauth token");
        }
        if request.in_flight() > self.settings.max_in_flight {
            return too_many();
        }
        let segments = request.segments();
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        let Some(["crm", "v7" | "v8", path @ ..]) = parts.get(..) else {
            return error(404, "INVALID_URL_PATTERN", json!({}), "Please check the URL");
        };
        let (scope, methods): (&str, &[Method]) = match path {
            ["settings", "fields"] => ("ZohoCRM.settings.fields.READ", &[Method::GET]),
            ["users"] => ("ZohoCRM.users.READ", &[Method::GET]),
            ["coql"] => ("ZohoCRM.coql.READ", &[Method::POST]),
            ["actions", "watch"] => ("ZohoCRM.notifications.ALL", &[Method::POST, Method::PUT]),
            [_, "upsert"] => ("ZohoCRM.modules.ALL", &[Method::POST]),
            [_] => ("ZohoCRM.modules.ALL", &[Method::GET, Method::POST, Method::PUT]),
            _ => return error(404, "INVALID_URL_PATTERN", json!({}), "Please check the URL"),
        };
        if !methods.contains(&request.method) {
            return error(405, "INVALID_REQUEST_METHOD", json!({}), "The http method is wrong");
        }
        if !self.settings.scopes.contains(&scope) {
            return error(401, "OAUTH_SCOPE_MISMATCH", json!({}), "invalid oauth scope");
        }
        let has_body = request.method != Method::GET;
        if has_body && request.content_type().as_deref() != Some("application/json") {
            return error(415, "INVALID_DATA", json!({}), "the content type is not JSON");
        }
        let body = if has_body { request.json() } else { Ok(Value::Null) };
        let Ok(body) = body else {
            let details = json!({ "expected_data_type": "jsonobject" });
            return error(400, "INVALID_DATA", details, "body");
        };
        self.charged(request, path, &body)
    }

    fn charged(&self, request: &Request, path: &[&str], body: &Value) -> Reply {
        let cost = match path {
            ["coql"] => query::credits(body),
            [_, "upsert"] => rows::credits(body),
            [_] if request.method != Method::GET => rows::credits(body),
            _ => 1,
        };
        let taken = self.credits.lock().take(request.arrived, cost);
        let reply = match taken {
            Ok(_) => self.carry_out(request, path, body),
            Err(_) => too_many(),
        };
        let mut credits = self.credits.lock();
        let (used, max) = (credits.used(request.arrived), credits.max());
        match used.saturating_mul(2) >= max {
            true => reply.with_header("X-API-CREDITS-REMAINING", max.saturating_sub(used)),
            false => reply,
        }
    }

    fn carry_out(&self, request: &Request, path: &[&str], body: &Value) -> Reply {
        match (path, &request.method) {
            (["settings", "fields"], _) => self.describe(request),
            (["users"], _) => users(request),
            (["coql"], _) => self.query(body),
            (["actions", "watch"], _) => self.watch(body),
            ([module, "upsert"], _) => self.upsert(request, module, body),
            ([module], &Method::GET) => self.by_ids(request, module),
            ([module], &Method::PUT) => self.update(request, module, body),
            ([module], _) => self.create(request, module, body),
            (_, _) => error(404, "INVALID_URL_PATTERN", json!({}), "Please check the URL"),
        }
    }
}

impl Backend for ZohoCrm {
    fn handle(&self, request: &Request) -> Reply {
        match request.host {
            Host::Auth => self.sign_in(request),
            Host::Api => self.api(request),
        }
    }

    fn tenant(&self, request: &Request) -> String {
        match request.host {
            Host::Auth => ACCOUNTS.to_owned(),
            Host::Api => ORG.to_owned(),
        }
    }
}

fn users(request: &Request) -> Reply {
    if request.query_value("type") != Some("CurrentUser") {
        return error(400, "INVALID_DATA", json!({ "param_name": "type" }), "invalid data");
    }
    let user = json!({
        "id": "5725700000000000900", "full_name": "Tollgate Integration",
        "email": "integration@example.com", "status": "active",
    });
    Reply::json(200, &json!({ "users": [user] }))
}

/// Zoho's form of an error that is not about a row.
fn error(status: u16, code: &str, details: Value, message: &str) -> Reply {
    let body = json!({ "code": code, "details": details, "message": message, "status": "error" });
    Reply::json(status, &body)
}

/// Zoho tells neither which limit it is nor for how long.
fn too_many() -> Reply {
    error(429, "TOO_MANY_REQUESTS", json!({}), "You crossed the limit. Please try again later.")
}

fn unknown_module() -> Reply {
    error(400, "INVALID_MODULE", json!({}), "the module name given seems to be invalid")
}

/// A time as Zoho tells it: with an offset, without fractions of a second.
fn told(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

#[cfg(test)]
mod tests;
