//! The double of Salesforce: an org with opportunities, which hold payments, and contacts. In come calls to
//! its token endpoint and its REST API, out go answers in Salesforce's forms, each with the day's usage. It
//! is at least as strict as an org: JSON types, restricted picklists, external ids, the length of a URL, the
//! daily quota and the number of long calls at once.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm>
//! <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/errorcodes.htm>
//!
//! At `http://localhost:PORT` its token endpoint is the generic login host, at `http://127.0.0.1:PORT` the
//! org's own.

mod account;
mod errors;
mod login;
mod objects;
mod rows;
mod soql;

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::limits::Window;
use crate::{Backend, By, Clock, Fields, Host, Life, Lifetime, Reply, Request, Server, Site};
use crate::{State, Tokens, clock::after};

use errors::refused;
use objects::Objects;

/// The consumer key of the app.
pub const CLIENT_ID: &str = "3MVG9fakeConsumerKey";
/// The app's secret.
pub const CLIENT_SECRET: &str = "fake-consumer-secret-0123456789";
/// The user whose assertions are taken.
pub const USERNAME: &str = "payments@acme.example";
/// The app's key, PKCS#8 in PEM. It opens nothing but doubles.
pub const PRIVATE_KEY: &str = include_str!("salesforce/key.pem");

/// The versions of the API that it serves.
const VERSIONS: std::ops::RangeInclusive<u16> = 46..=66;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ORG_ID: &str = "00D5g000000aBcDEAU";
const USER_ID: &str = "0055g000001XyZaAAK";
/// The longest URL with all headers.
const MAX_HEAD_BYTES: usize = 16_384;
/// A call that runs this long counts among those at once.
const LONG_CALL: Duration = Duration::from_secs(20);

/// How an org is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its time.
    pub clock: Clock,
    /// Calls in any 24 hours.
    pub daily_calls: u64,
    /// Calls of 20 s and more at once.
    pub max_long_calls: usize,
    /// How long a token lives.
    pub token_life: Lifetime,
    /// What a field that is not there does to a collection.
    pub unknown_field: UnknownField,
    /// Audiences of assertions beside those of Salesforce itself.
    pub audiences: Vec<String>,
    /// Records in one page of a query.
    pub page_rows: usize,
}

/// What a field that is not there does to a collection; orgs were seen to do both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownField {
    /// Its row is refused.
    Row,
    /// The whole request is refused.
    Request,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            clock: Clock::real(),
            daily_calls: 5_000_000,
            max_long_calls: 25,
            token_life: Lifetime::default(),
            unknown_field: UnknownField::Request,
            audiences: Vec::new(),
            page_rows: 2_000,
        }
    }
}

impl Settings {
    /// An Enterprise org of 25 users: 100,000 calls and 1,000 for each.
    pub fn real() -> Settings {
        let hours = Some(Duration::from_secs(2 * 60 * 60));
        Settings {
            daily_calls: 125_000,
            token_life: Lifetime { time: hours, ..Lifetime::default() },
            ..Settings::default()
        }
    }
}

/// An org.
pub struct Salesforce {
    site: Site,
    settings: Settings,
    /// Its access tokens.
    pub tokens: Tokens,
    public_key: Vec<u8>,
    org: State<Org>,
}

/// What changes in an org.
struct Org {
    objects: Objects,
    usage: Window,
    rules: Vec<Rule>,
    is_approved: bool,
    is_in_maintenance: bool,
}

/// What a validation rule, a duplicate rule or a trigger refuses.
struct Rule {
    field: String,
    value: Value,
    code: String,
    message: String,
}

impl Salesforce {
    /// Starts an org with the standard schema and credentials.
    pub async fn start(settings: Settings) -> Server<Salesforce> {
        let clock = settings.clock.clone();
        let server = Server::start(clock, |site| Salesforce::new(site, settings)).await;
        server.expect("two free ports of the loopback")
    }

    /// An org in this place.
    pub fn new(site: &Site, settings: Settings) -> Salesforce {
        let org = Org {
            objects: Objects::standard(),
            usage: Window::sliding(DAY, settings.daily_calls),
            rules: Vec::new(),
            is_approved: true,
            is_in_maintenance: false,
        };
        Salesforce {
            tokens: Tokens::new(site.clock.clone(), settings.token_life),
            public_key: login::public_key(PRIVATE_KEY),
            org: State::new(org),
            site: site.clone(),
            settings,
        }
    }

    /// An administrator approves the user for the app, or takes that back.
    pub fn approve(&self, is_approved: bool) {
        self.org.lock().is_approved = is_approved;
    }

    /// The org goes into maintenance, or comes back.
    pub fn maintain(&self, is_in_maintenance: bool) {
        self.org.lock().is_in_maintenance = is_in_maintenance;
    }

    /// Refuses rows with this value of a field, as validation rules, duplicate rules and triggers do.
    pub fn refuse(&self, field: &str, value: Value, code: &str, message: &str) {
        let (field, code, message) = (field.to_owned(), code.to_owned(), message.to_owned());
        self.org.lock().rules.push(Rule { field, value, code, message });
    }

    /// Somebody's long transaction locks a record for a while.
    pub fn lock(&self, record: &str, time: Duration) {
        let until = after(self.site.clock.now(), time);
        self.org.lock().objects.tables.values_mut().for_each(|table| {
            table.lock(record, until);
        });
    }

    /// The next upsert that would create this payment loses to another.
    pub fn race(&self, payment_id: &str) {
        if let Some(table) = self.org.lock().objects.tables.get_mut(objects::OPPORTUNITY) {
            table.race(payment_id);
        }
    }

    /// Somebody deletes a record.
    pub fn delete(&self, record: &str) {
        self.org.lock().objects.tables.values_mut().for_each(|table| {
            table.set_life(record, Life::Deleted);
        });
    }

    /// An administrator declares a field, or declares it anew.
    pub fn declare(&self, object: &str, field: crate::Field) {
        if let Some(table) = self.org.lock().objects.tables.get_mut(object) {
            table.declare(field);
        }
    }

    /// An administrator takes a field from the user's sight, as field-level security does.
    pub fn hide(&self, field: &str) {
        self.org.lock().objects.hidden.insert(field.to_owned());
    }

    /// Somebody makes a record of any object; its id, or why the schema refuses it.
    pub fn insert(&self, object: &str, fields: &Fields) -> Result<String, Vec<crate::RowError>> {
        let by = By::person("person", self.site.clock.now());
        let mut org = self.org.lock();
        let no_table = || crate::RowError::NotFound { record: object.to_owned() };
        let table = org.objects.tables.get_mut(object).ok_or_else(|| vec![no_table()])?;
        let written = table.insert(fields, &by)?;
        let key = objects::key(object, table.get(&written.id));
        self.site.journal.wrote(written.commit(object, &key));
        Ok(written.id)
    }

    fn serve(&self, request: &Request) -> Reply {
        let segments = request.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let rest = match &segments[..] {
            ["services", "data"] | ["services", "data", ""] => return versions(request),
            ["services", "data", version, rest @ ..] if is_served(version) => rest,
            ["services", "data", _, ..] => {
                return refused(400, "UNSUPPORTED_API_VERSION", "Invalid Api version specified");
            }
            _ => return errors::no_resource(),
        };
        let token = request.credential("Bearer").unwrap_or_default();
        if self.tokens.check(token).is_err() {
            return refused(401, "INVALID_SESSION_ID", "Session expired or invalid");
        }
        let mut org = self.org.lock();
        if let Some(reply) = self.limited(&mut org, request) {
            return reply;
        }
        match (request.method.as_str(), rest) {
            ("GET", [] | [""]) => resources(),
            ("GET", ["query"]) => soql::answer(&org.objects, request, self.settings.page_rows),
            ("GET", ["sobjects", object, "describe"]) => org.objects.describe(object),
            ("POST" | "PATCH", ["composite", "sobjects"])
            | ("PATCH", ["composite", "sobjects", _, _]) => {
                self.collection(&mut org, request, &rest[2..])
            }
            ("PATCH", ["sobjects", object, field, value]) => {
                self.single(&mut org, request, (object, field, value))
            }
            (
                _,
                []
                | [""]
                | ["query"]
                | ["sobjects", _, "describe"]
                | ["composite", "sobjects"]
                | ["composite", "sobjects", _, _]
                | ["sobjects", _, _, _],
            ) => {
                let message = format!("HTTP Method '{}' not allowed", request.method);
                refused(405, "METHOD_NOT_ALLOWED", &message)
            }
            _ => errors::no_resource(),
        }
    }

    /// What stops a call before anybody looks at it.
    fn limited(&self, org: &mut Org, request: &Request) -> Option<Reply> {
        if org.is_in_maintenance {
            let message = "We are down for maintenance. Sorry for the inconvenience.";
            return Some(refused(503, "SERVER_UNAVAILABLE", message));
        }
        if request.in_flight_for(LONG_CALL) >= self.settings.max_long_calls {
            let message = "ConcurrentRequests (Concurrent API Requests) Limit exceeded.";
            return Some(refused(403, "REQUEST_LIMIT_EXCEEDED", message));
        }
        if org.usage.take(self.site.clock.now(), 1).is_err() {
            let message = "TotalRequests Limit exceeded.";
            return Some(refused(403, "REQUEST_LIMIT_EXCEEDED", message));
        }
        if head_bytes(request) > MAX_HEAD_BYTES {
            return Some(refused(414, "URI_TOO_LONG", "The URI and headers are too long"));
        }
        let has_body = request.method != Method::GET;
        if has_body && request.content_type().as_deref() != Some("application/json") {
            let message = "The content type is not application/json";
            return Some(refused(415, "UNSUPPORTED_MEDIA_TYPE", message));
        }
        None
    }
}

impl Backend for Salesforce {
    fn handle(&self, request: &Request) -> Reply {
        match request.host {
            Host::Auth => self.login(request),
            Host::Api => {
                let reply = self.serve(request);
                let used = self.org.lock().usage.used(self.site.clock.now());
                let told = format!("api-usage={used}/{}", self.settings.daily_calls);
                reply.with_header("Sforce-Limit-Info", told)
            }
        }
    }

    fn tenant(&self, request: &Request) -> String {
        let token = request.credential("Bearer").unwrap_or_default();
        self.tokens.tenant(token).unwrap_or_default()
    }
}

fn is_served(version: &str) -> bool {
    let number = version.strip_prefix('v').and_then(|rest| rest.strip_suffix(".0"));
    number.and_then(|number| number.parse().ok()).is_some_and(|number| VERSIONS.contains(&number))
}

fn versions(request: &Request) -> Reply {
    if request.method != Method::GET {
        return refused(405, "METHOD_NOT_ALLOWED", "HTTP Method not allowed. Allowed are GET");
    }
    let version = |number: u16| {
        json!({
            "label": format!("API {number}"),
            "url": format!("/services/data/v{number}.0"),
            "version": format!("{number}.0"),
        })
    };
    Reply::json(200, &VERSIONS.map(version).collect())
}

fn resources() -> Reply {
    Reply::json(
        200,
        &json!({
            "composite": "/services/data/v66.0/composite",
            "identity": format!("https://login.salesforce.com/id/{ORG_ID}/{USER_ID}"),
            "query": "/services/data/v66.0/query",
            "sobjects": "/services/data/v66.0/sobjects",
        }),
    )
}

/// The length of the URL and the headers, as they are sent.
fn head_bytes(request: &Request) -> usize {
    let query = request.query.iter().map(|(name, value)| {
        let encoded = |text: &str| {
            form_urlencoded::byte_serialize(text.as_bytes()).map(str::len).sum::<usize>()
        };
        encoded(name) + encoded(value) + 2
    });
    let headers = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    request.path.len() + query.sum::<usize>() + headers.sum::<usize>()
}

#[cfg(test)]
mod tests;
