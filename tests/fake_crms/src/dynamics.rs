//! The double of Microsoft Dynamics 365: Entra ID's token endpoint and the Dataverse Web API v9.2 with a
//! table of payments and one of contacts. In come calls as they were sent, out go answers as Dataverse words
//! them, or stricter. It never accepts what Dataverse is known to refuse.
//! <https://learn.microsoft.com/power-apps/developer/data-platform/webapi/overview>

mod account;
mod batch;
mod entity;
mod key;
mod metadata;
mod protection;
mod records;
mod settings;
mod sign_in;

use std::collections::{HashMap, HashSet};

use http::Method;
use serde_json::{Value, json};

use crate::table::Fields;
use crate::{Backend, Clock, Host, Lifetime, Reply, Request, Server, Site, State, Tokens, Written};

pub use entity::{CONTACTS, PAYMENTS, STATUSES};
pub use settings::{Certificate, ENVIRONMENT, Settings};

use entity::Entity;
use protection::Protection;
use sign_in::SignIn;

const ROOT: &str = "/api/data/v9.2/";
const USER: &str = "7f1c3a52-0d8e-4f0b-9a55-2f6f0c1d9e01";
const NO_SUCH_SEGMENT: &str = "0x80060888";
const BAD_PAYLOAD: &str = "0x80048d19";

/// One environment.
pub struct Dynamics {
    site: Site,
    settings: Settings,
    sign_in: SignIn,
    /// The tokens it issued.
    pub tokens: Tokens,
    inner: State<Inner>,
}

/// What the calls of an environment share.
struct Inner {
    entities: Vec<Entity>,
    protection: Protection,
    /// Payments whose writes a plug-in refuses.
    vetoed: HashSet<String>,
    /// Payments whose next write as a part of a batch is throttled alone: the code, and for how long.
    throttled: HashMap<String, (&'static str, u64)>,
}

/// A write that was carried out and may have to be taken back.
struct Done {
    set: String,
    written: Written,
}

/// The answer to one request, with what it wrote.
struct Outcome {
    reply: Reply,
    done: Vec<Done>,
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Outcome {
        Outcome { reply, done: Vec::new() }
    }
}

impl Dynamics {
    /// Starts an environment with its standard tables, ready to be signed in to.
    pub async fn start(settings: Settings) -> Server<Dynamics> {
        Dynamics::start_with(Clock::real(), settings).await
    }

    /// The same on a clock that a test moves.
    pub async fn start_with(clock: Clock, settings: Settings) -> Server<Dynamics> {
        let started = Server::start(clock, |site| Dynamics::new(site, settings)).await;
        started.expect("the loopback has two free ports")
    }

    fn new(site: &Site, settings: Settings) -> Dynamics {
        let life = Lifetime { time: Some(settings.token_life), ..Lifetime::default() };
        Dynamics {
            tokens: Tokens::new(site.clock.clone(), life),
            sign_in: SignIn::new(site, &settings),
            inner: State::new(Inner {
                entities: entity::standard(),
                protection: Protection::new(&settings),
                vetoed: HashSet::new(),
                throttled: HashMap::new(),
            }),
            site: site.clone(),
            settings,
        }
    }

    /// The next write that would create this payment loses a race.
    pub fn race(&self, payment: &str) {
        self.with(PAYMENTS, |entity| entity.table.race(payment));
    }

    /// A plug-in refuses all writes to this payment from now on.
    pub fn veto(&self, payment: &str) {
        self.inner.lock().vetoed.insert(payment.to_owned());
    }

    /// The next write to this payment within a batch is throttled, and no other.
    pub fn throttle_part(&self, payment: &str, code: &'static str, seconds: u64) {
        self.inner.lock().throttled.insert(payment.to_owned(), (code, seconds));
    }

    /// A record is closed, as invoices are: it refuses updates.
    pub fn close(&self, set: &str, id: &str) {
        self.with(set, |entity| entity.closed.insert(id.to_owned()));
    }

    /// A record is deleted.
    pub fn delete(&self, set: &str, id: &str) {
        self.with(set, |entity| entity.table.set_life(id, crate::Life::Deleted));
    }

    /// A person makes a record with these fields; its id.
    pub fn insert(&self, set: &str, fields: &Fields) -> String {
        let by = crate::By::person("person", self.site.clock.now());
        self.with(set, |entity| {
            let written =
                entity.table.insert(fields, &by).expect("a person fills in what is valid");
            let key = entity.key_of(&written.id);
            self.site.journal.wrote(written.commit(&entity.set, &key));
            written.id
        })
    }

    /// The fields of a record that are set; none if there is no such record.
    pub fn fields(&self, set: &str, id: &str) -> Option<Fields> {
        self.with(set, |entity| entity.table.get(id).map(|record| record.fields.clone()))
    }

    fn with<T>(&self, set: &str, act: impl FnOnce(&mut Entity) -> T) -> T {
        let mut inner = self.inner.lock();
        let entity = inner.entities.iter_mut().find(|entity| entity.set == set);
        act(entity.expect("the double has a table of this name"))
    }

    fn api(&self, request: &Request) -> Reply {
        let token = request.credential("Bearer").unwrap_or_default();
        if self.tokens.check(token).is_err() {
            let place = format!(
                "Bearer authorization_uri={}/common/oauth2/authorize, resource_id={ENVIRONMENT}/",
                self.site.auth_url
            );
            return Reply::empty(401).with_header("WWW-Authenticate", place);
        }
        if !self.settings.has_app_user {
            return error(403, "0x80072560", "The user is not a member of the organization.");
        }
        let now = self.site.clock.now();
        let mut inner = self.inner.lock();
        if let Err(refused) = inner.protection.enter(request, now) {
            return refused.reply(&self.site, &request.tenant, now);
        }
        let reply = self.checked(&mut inner, request);
        inner.protection.tell(reply, now)
    }

    /// A call that may be made: of the right version, to a place that is there.
    fn checked(&self, inner: &mut Inner, request: &Request) -> Reply {
        for name in ["odata-version", "odata-maxversion"] {
            if request.header(name) != Some("4.0") {
                return error(400, "", &format!("The header {name} must be 4.0."));
            }
        }
        if !request.path.starts_with(ROOT) {
            return Reply::empty(404);
        }
        if request.path == format!("{ROOT}$batch") {
            return match request.method {
                Method::POST => self.batch(inner, request),
                _ => error(405, "0x80060888", "The method is not allowed for $batch."),
            };
        }
        let Outcome { reply, done } = self.counted(inner, request);
        self.commit(inner, done);
        reply
    }

    /// One request, alone or as a part of a batch: it counts, and may be throttled.
    fn counted(&self, inner: &mut Inner, request: &Request) -> Outcome {
        let now = self.site.clock.now();
        match inner.protection.take(now) {
            Ok(()) => self.one(inner, request),
            Err(refused) => refused.reply(&self.site, &request.tenant, now).into(),
        }
    }

    fn one(&self, inner: &mut Inner, request: &Request) -> Outcome {
        let rest = request.path.strip_prefix(ROOT).unwrap_or_default();
        let is_read = request.method == Method::GET;
        match rest {
            "WhoAmI" | "WhoAmI()" if is_read => Reply::json(
                200,
                &json!({
                    "@odata.context": format!("{}{ROOT}$metadata#Microsoft.Dynamics.CRM.WhoAmIResponse", self.site.api_url),
                    "BusinessUnitId": "0b7c9d5e-8a1f-4c63-8c11-5d7e2f3a4b01",
                    "UserId": USER,
                    "OrganizationId": "3e2d1c0b-9a8f-4e7d-8c6b-5a4f3e2d1c01",
                }),
            )
            .into(),
            _ if rest.starts_with("systemusers(") && is_read => self.user(rest, request).into(),
            _ if rest.starts_with("EntityDefinitions") => match is_read {
                true => metadata::answer(&inner.entities, rest, request).into(),
                false => error(405, NO_SUCH_SEGMENT, "Metadata is only read here.").into(),
            },
            _ => records::answer(self, inner, rest, request),
        }
    }

    fn user(&self, rest: &str, request: &Request) -> Reply {
        if rest != format!("systemusers({USER})") {
            return error(404, "0x80040217", "systemuser Does Not Exist");
        }
        match request.query_value("$select") {
            Some("fullname") => Reply::json(
                200,
                &json!({ "systemuserid": USER, "fullname": "# Tollgate", "@odata.etag": "W/\"1\"" }),
            ),
            _ => error(400, NO_SUCH_SEGMENT, "Could not find a property of this name."),
        }
    }

    fn commit(&self, inner: &Inner, done: Vec<Done>) {
        for Done { set, written } in done {
            let entity = inner.entities.iter().find(|entity| entity.set == set);
            let key = entity.map(|entity| entity.key_of(&written.id)).unwrap_or_default();
            self.site.journal.wrote(written.commit(&set, &key));
        }
    }
}

impl Inner {
    fn undo(&mut self, done: Vec<Done>) {
        for Done { set, written } in done.into_iter().rev() {
            if let Some(entity) = self.entities.iter_mut().find(|entity| entity.set == set) {
                entity.table.undo(written);
            }
        }
    }
}

impl Backend for Dynamics {
    fn handle(&self, request: &Request) -> Reply {
        match request.host {
            Host::Auth => self.sign_in.answer(request, &self.tokens),
            Host::Api => self.api(request),
        }
    }

    fn tenant(&self, request: &Request) -> String {
        let token = request.credential("Bearer").unwrap_or_default();
        self.tokens.tenant(token).unwrap_or_default()
    }
}

/// An error in the form of Dataverse.
fn error(status: u16, code: &str, message: &str) -> Reply {
    let body: Value = json!({ "error": { "code": code, "message": message } });
    Reply::json(status, &body).with_header("OData-Version", "4.0")
}
