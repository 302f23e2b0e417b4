//! The double of Pipedrive: a company with deals, persons and organizations behind its API v2, as strict as the
//! vendor. In come calls with a user's token or an app's access token, each within points of 2 seconds and of
//! the day; out go the vendor's answers. There is neither a batch nor an upsert nor a unique field, searches
//! lag behind, and who calls on after a 429 is locked out. It must never repair what was sent.
//!
//! What is not known of the vendor and was chosen strictly: the wording of errors, that a wait binds all calls
//! of the user, the page that a lockout answers with, and that the day ends at midnight UTC.

mod account;
pub mod entities;
mod limits;
mod refusal;
mod routes;
pub mod webhooks;

use std::{collections::HashMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::{Value, json};

use crate::{
    Backend, By, Clock, Host, Life, Lifetime, Reply, Request, Server, Site, State, Table, Tokens,
    ids,
};
use account::{PAYMENT_ID, column, own_fields};
use entities::{Entity, Spec};
use limits::{Meter, Refusal};
use refusal::failed;
use routes::{Route, shown};

/// The user that every credential acts as.
const USER: &str = "integration@acme";
const TOKEN_SECONDS: u64 = 3_599;

/// Which credential the configuration signs in with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// A user's API token.
    #[default]
    ApiToken,
    /// An app's refresh token.
    Oauth,
}

/// How the double behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its time.
    pub clock: Clock,
    /// Which credential the configuration signs in with.
    pub auth: Auth,
    /// Points in any 2 seconds.
    pub points_per_2_seconds: u64,
    /// Points of the company's day.
    pub daily_points: u64,
    /// How long a user is locked out who called on ten times after a refusal.
    pub lockout: Duration,
    /// How long a search does not show what was written.
    pub search_lag: Duration,
    /// How long access tokens live.
    pub token_life: Lifetime,
    /// What a write to a deleted record is answered with: 404 or 410.
    pub deleted_status: u16,
    /// How many deals the plan allows.
    pub max_deals: Option<usize>,
    /// Whether writing a deal's `value` resets what comes of its products.
    pub value_resets_products: bool,
    /// The id of the first record of each kind.
    pub first_id: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            clock: Clock::real(),
            auth: Auth::default(),
            points_per_2_seconds: 1_000_000,
            daily_points: 1_000_000_000,
            lockout: Duration::from_secs(600),
            search_lag: Duration::from_secs(3),
            token_life: Lifetime {
                time: Some(Duration::from_secs(TOKEN_SECONDS)),
                ..Lifetime::default()
            },
            deleted_status: 404,
            max_deals: None,
            value_resets_products: false,
            first_id: 31,
        }
    }
}

impl Settings {
    /// The limits of a plan in the middle with five users.
    pub fn real() -> Settings {
        Settings { points_per_2_seconds: 80, daily_points: 30_000 * 2 * 5, ..Settings::default() }
    }
}

/// The double.
pub struct Pipedrive {
    site: Site,
    settings: Settings,
    /// The access tokens of the app.
    pub tokens: Tokens,
    /// The API tokens of the user.
    pub api_tokens: Tokens,
    secrets: Secrets,
    state: State<Company>,
}

/// What the connector signs in with.
struct Secrets {
    api_token: String,
    client_id: String,
    client_secret: String,
    refresh_token: String,
}

/// The company's data.
pub(crate) struct Company {
    kinds: [(Vec<Spec>, Table); 3],
    meter: Meter,
    /// How often connectors wrote each deal.
    writes: HashMap<String, u64>,
    /// Whether the account is closed.
    closed: bool,
    /// How many fields a page of a list has at most.
    fields_page: usize,
}

impl Pipedrive {
    /// Starts one with the standard fields and credentials.
    ///
    /// # Panics
    /// If the loopback has no free port.
    pub async fn start(settings: Settings) -> Server<Pipedrive> {
        let clock = settings.clock.clone();
        let started = Server::start(clock, |site| Pipedrive::new(settings, site)).await;
        started.expect("the loopback has two free ports")
    }

    /// The double at a place.
    pub fn new(settings: Settings, site: &Site) -> Pipedrive {
        let clock = &site.clock;
        let secrets = Secrets {
            api_token: format!("{}{}", ids::hex_32(), &ids::hex_32()[..8]),
            client_id: ids::hex_32()[..16].to_owned(),
            client_secret: ids::hex_32(),
            refresh_token: format!("4711:7:{}", ids::hex_32()),
        };
        let api_tokens = Tokens::new(clock.clone(), Lifetime::default());
        api_tokens.insert(&secrets.api_token, USER);
        let meter = Meter::new(
            settings.points_per_2_seconds,
            settings.daily_points,
            settings.lockout,
            clock.now(),
        );
        let kinds = Entity::ALL.map(|kind| {
            let specs: Vec<Spec> = kind.standard().into_iter().chain(own_fields(kind)).collect();
            let first = settings.first_id;
            let schema = specs.iter().map(column).collect();
            let mut table = Table::new(schema, move |n| (first + n - 1).to_string());
            table.set_lag(settings.search_lag);
            (specs, table)
        });
        let company =
            Company { kinds, meter, writes: HashMap::new(), closed: false, fields_page: 500 };
        Pipedrive {
            tokens: Tokens::new(clock.clone(), settings.token_life),
            api_tokens,
            secrets,
            state: State::new(company),
            site: site.clone(),
            settings,
        }
    }

    /// Texts that must never be shown.
    pub fn secrets(&self) -> Vec<String> {
        let Secrets { api_token, client_id: _, client_secret, refresh_token } = &self.secrets;
        vec![api_token.clone(), client_secret.clone(), refresh_token.clone()]
    }

    /// The account is closed or unpaid from now on, or no longer.
    pub fn close_account(&self, closed: bool) {
        self.state.lock().closed = closed;
    }

    /// Other apps of the company spend points of the day.
    pub fn spend_daily(&self, points: u64) {
        let now = self.site.clock.now();
        self.state.lock().meter.spend(points, now);
    }

    /// Another app of the same user spends points of these 2 seconds.
    pub fn spend(&self, points: u64) {
        let now = self.site.clock.now();
        self.state.lock().meter.spend_window(USER, points, now);
    }

    /// How many points of the day are left.
    pub fn daily_left(&self) -> u64 {
        let now = self.site.clock.now();
        self.state.lock().meter.daily_left(now)
    }

    /// Lists of fields come in pages of so many.
    pub fn page_fields(&self, fields: usize) {
        self.state.lock().fields_page = fields.max(1);
    }

    /// A person makes a field.
    pub fn add_field(&self, kind: Entity, spec: Spec) {
        let mut company = self.state.lock();
        let (specs, table) = company.kind_mut(kind);
        table.declare(column(&spec));
        specs.push(spec);
    }

    /// A person adds an option to a field of deals; its id.
    pub fn add_option(&self, field: &str, label: &str) -> i64 {
        let mut company = self.state.lock();
        let (specs, _) = company.kind_mut(Entity::Deals);
        let all = specs.iter().flat_map(|spec| &spec.options).map(|(id, _)| *id);
        let next = all.max().unwrap_or(0) + 1;
        let spec = specs.iter_mut().find(|spec| spec.code == field);
        if let Some(spec) = spec {
            spec.options.push((next, label.to_owned()));
        }
        next
    }

    /// A person makes a record of these fields, as they are stored; its id.
    ///
    /// # Panics
    /// If there are no such fields: a slip in the test.
    pub fn insert(&self, kind: Entity, fields: &Value) -> String {
        let by = By::person("maria@acme", self.site.clock.now());
        let fields = fields.as_object().cloned().unwrap_or_default();
        let mut company = self.state.lock();
        let made = company.table_mut(kind).insert(&fields, &by).expect("fields of the schema");
        let commit = made.commit(kind.path(), &company.key(kind, &made.id));
        self.site.journal.wrote(commit);
        made.id
    }

    /// A record as the API shows it.
    pub fn record(&self, kind: Entity, id: &str) -> Option<Value> {
        let company = self.state.lock();
        let record = company.table(kind).get(id)?;
        Some(shown(company.specs(kind), record))
    }

    /// A person deletes, archives or restores a record.
    pub fn set_life(&self, kind: Entity, id: &str, life: Life) {
        self.state.lock().table_mut(kind).set_life(id, life);
    }

    fn token(&self, request: &Request) -> Reply {
        let refused = |status: u16, error: &str| {
            Reply::json(status, &json!({ "success": false, "error": error, "message": error }))
        };
        if request.segments() != ["oauth", "token"] {
            return refused(404, "not_found");
        }
        if request.method != "POST" {
            return refused(405, "method_not_allowed");
        }
        if request.content_type().as_deref() != Some("application/x-www-form-urlencoded") {
            return refused(400, "invalid_request");
        }
        let Secrets { client_id, client_secret, refresh_token, .. } = &self.secrets;
        let expected = STANDARD.encode(format!("{client_id}:{client_secret}"));
        if request.credential("Basic") != Some(expected.as_str()) {
            return refused(401, "invalid_client");
        }
        let form = request.form();
        let value = |name: &str| {
            let mut values = form.iter().filter(|(key, _)| key == name);
            let value = values.next().map(|(_, value)| value.as_str());
            value.filter(|_| values.next().is_none())
        };
        if value("grant_type") != Some("refresh_token") {
            return refused(400, "unsupported_grant_type");
        }
        if value("refresh_token") != Some(refresh_token) {
            return refused(400, "invalid_grant");
        }
        let seconds = self.settings.token_life.time.map_or(TOKEN_SECONDS, |time| time.as_secs());
        Reply::json(
            200,
            &json!({
                "access_token": self.tokens.issue(USER),
                "token_type": "Bearer",
                "refresh_token": refresh_token,
                "scope": "base,deals:full,contacts:full,search:read",
                "expires_in": seconds,
                "api_domain": self.site.api_url,
            }),
        )
    }

    fn user_of(&self, request: &Request) -> Option<String> {
        match (request.header("x-api-token"), request.header("authorization")) {
            (Some(token), None) => self.api_tokens.check(token).ok(),
            (None, Some(_)) => self.tokens.check(request.credential("Bearer")?).ok(),
            (_, _) => None,
        }
    }

    fn api(&self, request: &Request) -> Reply {
        let now = self.site.clock.now();
        let Some(user) = self.user_of(request) else {
            return Reply::json(
                401,
                &json!({
                    "success": false,
                    "error": "unauthorized access",
                    "errorCode": 401,
                    "error_info": "Please check developers.pipedrive.com",
                }),
            );
        };
        let mut company = self.state.lock();
        if company.closed {
            return failed(402, "The company account is not open (possible payment required)")
                .reply();
        }
        let route = Route::of(request);
        let cost = route.as_ref().map_or(1, |route| route.cost(request));
        let told = match company.meter.admit(&user, cost, now) {
            Ok(told) => told,
            Err(Refusal::Over { told, until, first }) => {
                if first {
                    self.site.journal.throttled(&request.tenant, until);
                }
                let body =
                    json!({ "success": false, "error": "request over limit", "errorCode": 429 });
                return told.on(Reply::json(429, &body));
            }
            Err(Refusal::LockedOut) => {
                return Reply::html(403, "<html><body><h1>Access denied</h1></body></html>");
            }
        };
        let reply = match route {
            Some(route) => self.routed(&mut company, &route, request),
            None => failed(404, "Unknown method.").reply(),
        };
        told.on(reply)
    }
}

impl Company {
    fn kind_mut(&mut self, kind: Entity) -> &mut (Vec<Spec>, Table) {
        &mut self.kinds[kind as usize]
    }

    fn table(&self, kind: Entity) -> &Table {
        &self.kinds[kind as usize].1
    }

    fn table_mut(&mut self, kind: Entity) -> &mut Table {
        &mut self.kinds[kind as usize].1
    }

    fn specs(&self, kind: Entity) -> &[Spec] {
        &self.kinds[kind as usize].0
    }

    /// What a record is known by outside: its payment, or itself.
    fn key(&self, kind: Entity, id: &str) -> String {
        let payment = self.table(kind).get(id).map(|record| record.text(PAYMENT_ID));
        payment.filter(|payment| !payment.is_empty()).unwrap_or_else(|| id.to_owned())
    }
}

impl Backend for Pipedrive {
    fn handle(&self, request: &Request) -> Reply {
        let reply = match request.host {
            Host::Auth => self.token(request),
            Host::Api => self.api(request),
        };
        let now = DateTimePrinter::new().timestamp_to_rfc9110_string(&self.site.clock.now());
        match now {
            Ok(now) => reply.with_header("date", now),
            Err(_) => reply,
        }
    }

    fn tenant(&self, request: &Request) -> String {
        let known = request.header("x-api-token").and_then(|token| self.api_tokens.tenant(token));
        let bearer = request.credential("Bearer").and_then(|token| self.tokens.tenant(token));
        known.or(bearer).unwrap_or_default()
    }
}
