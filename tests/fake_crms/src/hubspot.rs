//! The double of HubSpot: deals with a property `payment_id` of unique values, and contacts with an email
//! address. In come calls of the object API in its dated and its older form, out go answers in HubSpot's
//! shapes: batches that are refused whole, results in no order, limits that tell no wait, a search that
//! lags. It must never take a call that HubSpot would refuse.
//!
//! <https://developers.hubspot.com/docs/api-reference/latest/crm/using-object-apis>,
//! <https://developers.hubspot.com/docs/api-reference/error-handling>

mod batch;
mod door;
mod error;
mod read;
mod schema;

use std::{str::FromStr, time::Duration};

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{
    Account, By, Clock, Fields, Life, Lifetime, PaymentRecord, Server, Site, State, Table, Tokens,
    clock::after, limits::Window, table::Match,
};
use schema::{Object, STATUSES};

pub use error::moving;

/// The account's id.
pub const PORTAL: u64 = 26_111_999;
/// The access token of the account's private app.
pub const TOKEN: &str = "pat-eu1-5f0c3b1e-7d0a-4a52-9a39-0c1f6b0e7a11";
/// The client id of the app that the account installed.
pub const CLIENT_ID: &str = "6f1f2a5c-1f7b-4a57-8f0e-2a1d3b4c5d6e";
/// The app's client secret.
pub const CLIENT_SECRET: &str = "d2c1b0a9-8f7e-4d6c-9b5a-49382716fedc";
/// The refresh token that the account gave the app.
pub const REFRESH_TOKEN: &str = "eu1-9a8b-7c6d-5e4f-refresh-0123456789";

const ROLLING: Duration = Duration::from_secs(10);
const SECONDLY: Duration = Duration::from_secs(1);
const DAY_SECONDS: i64 = 24 * 60 * 60;
/// How long an access token of the app lives.
const TOKEN_LIFE: Duration = Duration::from_secs(1_800);
const TENANT: &str = "portal";
/// The stages of the account's one pipeline.
const STAGES: &[&str] = &["appointmentscheduled", "contractsent", "closedwon", "closedlost"];

/// How the account behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The time that everything runs on.
    pub clock: Clock,
    /// Which credential [`Account::config`] shows.
    pub credential: Credential,
    /// Which version of the API [`Account::config`] names.
    pub api_version: &'static str,
    /// Calls within any 10 seconds.
    pub calls_per_10_seconds: u64,
    /// Calls a day.
    pub calls_per_day: u64,
    /// Searches within any second.
    pub searches_per_second: u64,
    /// Whether a 429 tells a `Retry-After`.
    pub tells_waits: bool,
    /// How long a search does not show what was written.
    pub search_lag: Duration,
    /// What becomes of a batch with a record that exists already.
    pub conflicts: Refusal,
    /// What becomes of a batch with a value that is not valid.
    pub bad_values: Refusal,
    /// Whether the words about a bad value name it.
    pub names_values: bool,
    /// Whether results carry what their rows were marked with.
    pub echoes_traces: bool,
    /// Whether a batch of which no record is there is answered 404; else 207.
    pub refuses_unknown: bool,
}

/// A way to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The private app's token.
    PrivateApp,
    /// The installed app's refresh token.
    OAuth,
}

/// What becomes of a batch with a bad row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is refused whole.
    Whole,
    /// The bad rows are named, the others written.
    Rows,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            clock: Clock::real(),
            credential: Credential::PrivateApp,
            api_version: "2026-09",
            calls_per_10_seconds: 100_000,
            calls_per_day: 100_000_000,
            searches_per_second: 10_000,
            tells_waits: false,
            search_lag: Duration::ZERO,
            conflicts: Refusal::Whole,
            bad_values: Refusal::Whole,
            names_values: true,
            echoes_traces: false,
            refuses_unknown: true,
        }
    }
}

impl Settings {
    /// The limits of a Professional account.
    pub fn real() -> Settings {
        Settings {
            calls_per_10_seconds: 190,
            calls_per_day: 625_000,
            searches_per_second: 5,
            search_lag: Duration::from_secs(3),
            ..Settings::default()
        }
    }
}

/// The account.
pub struct Hubspot {
    site: Site,
    settings: Settings,
    /// Access tokens, the private app's among them.
    pub tokens: Tokens,
    state: State<Portal>,
}

struct Portal {
    deals: Table,
    contacts: Table,
    calls: Window,
    day: Window,
    searches: Window,
    missing_scopes: Vec<String>,
}

impl Hubspot {
    /// Starts with a standard schema and no records.
    ///
    /// # Panics
    /// If the loopback has no free port.
    pub async fn start(settings: Settings) -> Server<Hubspot> {
        let clock = settings.clock.clone();
        let server = Server::start(clock, |site| Hubspot::new(site, settings)).await;
        server.expect("the loopback has two free ports")
    }

    /// At a place.
    pub fn new(site: &Site, settings: Settings) -> Hubspot {
        let tokens = Tokens::new(site.clock.clone(), Lifetime::default());
        tokens.insert(TOKEN, TENANT);
        tokens.set_life(Lifetime { time: Some(TOKEN_LIFE), ..Lifetime::default() });
        let now = site.clock.now();
        let to_midnight = DAY_SECONDS - now.as_second().rem_euclid(DAY_SECONDS);
        let midnight = after(now, Duration::from_secs(to_midnight.unsigned_abs()));
        let table = |object: Object| {
            let mut table = Table::new(object.fields(), move |n| object.record_id(n));
            table.set_lag(settings.search_lag);
            table
        };
        let portal = Portal {
            deals: table(Object::Deals),
            contacts: table(Object::Contacts),
            calls: Window::sliding(ROLLING, settings.calls_per_10_seconds),
            day: Window::daily(settings.calls_per_day, midnight),
            searches: Window::sliding(SECONDLY, settings.searches_per_second),
            missing_scopes: Vec::new(),
        };
        Hubspot { site: site.clone(), settings, tokens, state: State::new(portal) }
    }

    /// The next upsert that would create this payment's deal finds that a rival just did.
    pub fn race(&self, payment_id: &str) {
        self.state.lock().deals.race(payment_id);
    }

    /// Nobody may write this deal or contact for so long.
    pub fn lock_record(&self, id: &str, wait: Duration) {
        let until = after(self.site.clock.now(), wait);
        let mut portal = self.state.lock();
        if !portal.deals.lock(id, until) {
            portal.contacts.lock(id, until);
        }
    }

    /// Archives a deal or contact.
    pub fn archive(&self, id: &str) {
        let mut portal = self.state.lock();
        if !portal.deals.set_life(id, Life::Archived) {
            portal.contacts.set_life(id, Life::Archived);
        }
    }

    /// The app has this scope no more: `crm.objects.deals.write`.
    pub fn revoke_scope(&self, scope: &str) {
        self.state.lock().missing_scopes.push(scope.to_owned());
    }

    /// A person makes a contact; its id.
    pub fn create_contact(&self, email: &str) -> String {
        let fields = [("email", email), ("firstname", "Ada")];
        self.insert(Object::Contacts, &fields)
    }

    /// A person makes a deal with these fields; its id.
    pub fn create_deal(&self, fields: &[(&str, &str)]) -> String {
        let required = [("dealname", "By hand"), ("dealstage", "appointmentscheduled")];
        self.insert(Object::Deals, &[&required, fields].concat())
    }

    /// A field of a deal or contact that is there, as text.
    pub fn value(&self, id: &str, field: &str) -> Option<String> {
        let portal = self.state.lock();
        let record = portal.deals.get(id).or_else(|| portal.contacts.get(id))?;
        (record.life == Life::Live).then(|| record.text(field))
    }

    fn insert(&self, object: Object, fields: &[(&str, &str)]) -> String {
        let fields: Fields =
            fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let by = By::person("ada", self.site.clock.now());
        let mut portal = self.state.lock();
        let written = portal.table_mut(object).insert(&fields, &by);
        let written = written.expect("the test makes a valid record");
        let key = portal.table(object).get(&written.id).map(|made| made.text(object.key()));
        self.site.journal.wrote(written.commit(object.name(), &key.unwrap_or_default()));
        written.id
    }
}

impl Portal {
    fn table(&self, object: Object) -> &Table {
        match object {
            Object::Deals => &self.deals,
            Object::Contacts => &self.contacts,
        }
    }

    fn table_mut(&mut self, object: Object) -> &mut Table {
        match object {
            Object::Deals => &mut self.deals,
            Object::Contacts => &mut self.contacts,
        }
    }
}

impl Account for Server<Hubspot> {
    fn config(&self) -> String {
        let settings = &self.backend().settings;
        let credential = match settings.credential {
            Credential::PrivateApp => format!("auth = \"private_app\"\ntoken = \"{TOKEN}\"\n"),
            Credential::OAuth => format!(
                "auth = \"oauth\"\nclient_id = \"{CLIENT_ID}\"\n\
                 client_secret = \"{CLIENT_SECRET}\"\nrefresh_token = \"{REFRESH_TOKEN}\"\n"
            ),
        };
        let values: String =
            STATUSES.iter().map(|(word, value, _)| format!("{word} = \"{value}\"\n")).collect();
        format!(
            "[crm]\n{credential}\
             api_url = \"{}\"\nauth_url = \"{}\"\napi_version = \"{}\"\n\
             calls_per_10_seconds = {}\nsearch_calls_per_second = {}\ndaily_reserve = 0\n\
             timeout_seconds = 10\n\n\
             [[objects]]\nobject = \"deals\"\nname = \"payment\"\npolicy = \"upsert\"\n\
             match = [{{ field = \"payment_id\", from = \"subject_id\", unique = true }}]\n\n\
             [objects.fields]\n\
             dealname = {{ template = \"Payment {{subject_id}}\", on = \"create\" }}\n\
             dealstage = {{ constant = \"appointmentscheduled\", on = \"create\" }}\n\
             payment_paid = {{ from = \"amounts.paid\", default = 0 }}\n\
             payment_refunded = {{ from = \"amounts.refunded\", default = 0 }}\n\
             payment_currency = \"currency\"\n\
             payment_invoice = \"references.invoice_number\"\n\n\
             [objects.fields.payment_status]\nfrom = \"status\"\n\n\
             [objects.fields.payment_status.values]\n{values}",
            self.api_url(),
            self.auth_url(),
            settings.api_version,
            settings.calls_per_10_seconds,
            settings.searches_per_second,
        )
    }

    fn records(&self) -> Vec<PaymentRecord> {
        let commits = self.journal().commits();
        let portal = self.backend().state.lock();
        let live = portal.deals.records().filter(|record| record.life == Life::Live);
        let paid_for = live.filter(|record| !record.text("payment_id").is_empty());
        let record = |record: &crate::Record| {
            let number = |field: &str| Decimal::from_str(&record.text(field)).ok();
            let status = record.text("payment_status");
            let label = STATUSES.iter().find(|(_, value, _)| *value == status);
            let own = commits.iter().filter(|commit| commit.record == record.id && commit.call > 0);
            PaymentRecord {
                id: record.id.clone(),
                payment_id: record.text("payment_id"),
                status: label.map(|(_, _, label)| (*label).to_owned()).unwrap_or_default(),
                paid: number("payment_paid"),
                refunded: number("payment_refunded"),
                reference: Some(record.text("payment_invoice")).filter(|text| !text.is_empty()),
                writes: own.count() as u64,
            }
        };
        paid_for.map(record).collect()
    }

    fn field(&self, logical: &str) -> String {
        let name = match logical {
            "reference" => "payment_invoice",
            "payment_id" => "payment_id",
            other => return format!("payment_{other}"),
        };
        name.to_owned()
    }

    fn edit(&self, record: &str, field: &str, value: Value) {
        let hubspot = self.backend();
        let by = By::person("ada", self.clock().now());
        let fields = Fields::from_iter([(field.to_owned(), value)]);
        let mut portal = hubspot.state.lock();
        let written = portal.deals.force(record, &fields, &by);
        if let Some(written) = written {
            let key = portal.deals.get(record).map(|deal| deal.text("payment_id"));
            self.journal().wrote(written.commit("deals", &key.unwrap_or_default()));
        }
    }

    fn create(&self, payment_id: &str) -> String {
        self.backend().create_deal(&[("payment_id", payment_id)])
    }
}

/// How values of a unique property of this object are compared.
fn comparison(table: &Table, property: &str) -> Match {
    table.field(property).and_then(|field| field.unique).unwrap_or(Match::Exact)
}

#[cfg(test)]
mod tests;
