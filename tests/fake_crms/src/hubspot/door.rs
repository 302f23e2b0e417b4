//! What every call passes: credential, limits, scope, path. In comes a call, out goes the answer of what it
//! asks for, or a refusal with which nothing was done.

use std::time::Duration;

use http::Method;
use serde_json::{Map, json};

use super::{
    CLIENT_ID, CLIENT_SECRET, Hubspot, PORTAL, REFRESH_TOKEN, ROLLING, SECONDLY, TENANT, TOKEN,
    TOKEN_LIFE,
    error::{error, error_with, invalid, no_path},
    schema::{Object, described},
};
use crate::{Backend, Host, Reply, Request, clock::after, limits::Left, tokens};

const VERSIONS: &[&str] = &["2026-03", "2026-09"];
const OLD_VERSION: &str = "v3";

/// What a path asks for.
enum Ask {
    /// About the account.
    Account,
    /// The properties of a kind of record.
    Properties(String),
    /// A search in a kind of record.
    Search(String),
    /// A batch of a kind of record: `upsert`, `update`, `create`, `read`.
    Batch(String, String),
}

impl Backend for Hubspot {
    fn handle(&self, request: &Request) -> Reply {
        match request.host {
            Host::Auth => self.issue(request),
            Host::Api => self.enter(request),
        }
    }

    fn tenant(&self, request: &Request) -> String {
        let token = request.credential("Bearer").unwrap_or_default();
        self.tokens.tenant(token).unwrap_or_default()
    }
}

impl Hubspot {
    /// `POST /oauth/v1/token`.
    fn issue(&self, request: &Request) -> Reply {
        if request.path != "/oauth/v1/token" {
            return no_path();
        }
        if request.method != Method::POST {
            return error(405, "", "method not allowed");
        }
        if request.content_type().as_deref() != Some("application/x-www-form-urlencoded") {
            return error(415, "", "unsupported media type");
        }
        let form = request.form();
        let value = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, v)| v.as_str());
        let refused = |status: &str, message: &str| {
            Reply::json(400, &json!({ "status": status, "message": message }))
        };
        if value("grant_type") != Some("refresh_token") {
            return refused("BAD_GRANT_TYPE", "missing or unknown grant type");
        }
        if value("client_id") != Some(CLIENT_ID) {
            return refused("BAD_CLIENT_ID", "missing or unknown client id");
        }
        if value("client_secret") != Some(CLIENT_SECRET) {
            return refused("BAD_CLIENT_SECRET", "missing or invalid client secret");
        }
        if value("refresh_token") != Some(REFRESH_TOKEN) {
            return refused("BAD_REFRESH_TOKEN", "missing or invalid refresh token");
        }
        let token = self.tokens.issue(TENANT);
        let life = self.tokens.ends_in(&token).unwrap_or(TOKEN_LIFE);
        let body = json!({
            "token_type": "bearer",
            "refresh_token": REFRESH_TOKEN,
            "access_token": token,
            "expires_in": life.as_secs(),
        });
        Reply::json(200, &body)
    }

    fn enter(&self, request: &Request) -> Reply {
        let Some(token) = request.credential("Bearer") else {
            return error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.");
        };
        match self.tokens.check(token) {
            Ok(_) => {}
            Err(tokens::Refusal::Unknown) => {
                let words = "Authentication credentials not found.";
                return error(401, "INVALID_AUTHENTICATION", words);
            }
            Err(tokens::Refusal::Expired) => {
                return error(401, "EXPIRED_AUTHENTICATION", "The token expired.");
            }
        }
        let ask = match asked(request) {
            Ok(ask) => ask,
            Err(refusal) => return refusal,
        };
        let is_search = matches!(ask, Ask::Search(_));
        let left = match self.take(is_search) {
            Ok(left) => left,
            Err(refusal) => return refusal,
        };
        let reply = self.answer(request, &ask);
        if is_search { reply } else { self.with_limits(reply, left, token == TOKEN) }
    }

    fn answer(&self, request: &Request, ask: &Ask) -> Reply {
        let wanted = match ask {
            Ask::Account | Ask::Properties(_) => Method::GET,
            Ask::Search(_) | Ask::Batch(..) => Method::POST,
        };
        if request.method != wanted {
            return error(405, "", "method not allowed");
        }
        let is_json = request.content_type().as_deref() == Some("application/json");
        if wanted == Method::POST && !is_json {
            return error(415, "", "unsupported media type");
        }
        let (name, right) = match ask {
            Ask::Account => return account(),
            Ask::Properties(name) => (name, "schemas:read"),
            Ask::Search(name) => (name, "objects:read"),
            Ask::Batch(name, action) if action == "read" => (name, "objects:read"),
            Ask::Batch(name, _) => (name, "objects:write"),
        };
        let Some(object) = Object::named(name) else {
            return invalid(&format!("Unable to infer object type from: {name}"));
        };
        if let Some(refusal) = self.lacks(object, right) {
            return refusal;
        }
        match ask {
            Ask::Account => account(),
            Ask::Properties(_) => self.properties(object),
            Ask::Search(_) => self.search(request, object),
            Ask::Batch(_, action) if action == "read" => self.read(request, object),
            Ask::Batch(_, action) => self.write(request, object, action),
        }
    }

    /// Takes a call off the limits.
    fn take(&self, is_search: bool) -> Result<(Left, Left), Reply> {
        let now = self.site.clock.now();
        let mut portal = self.state.lock();
        if is_search && portal.searches.take(now, 1).is_err() {
            return Err(limited("SECONDLY", "secondly", self.wait(SECONDLY)));
        }
        let day = match portal.day.take(now, 1) {
            Ok(left) => left,
            Err(over) => {
                self.site.journal.throttled(TENANT, after(now, over.frees_in));
                return Err(limited("DAILY", "daily", self.wait(over.frees_in)));
            }
        };
        match portal.calls.take(now, 1) {
            Ok(left) => Ok((left, day)),
            Err(_) => {
                // No wait is told: HubSpot's own client waits this long.
                self.site.journal.throttled(TENANT, after(now, ROLLING));
                Err(limited("TEN_SECONDLY_ROLLING", "ten_secondly_rolling", self.wait(ROLLING)))
            }
        }
    }

    fn wait(&self, wait: Duration) -> Option<Duration> {
        self.settings.tells_waits.then_some(wait)
    }

    fn with_limits(&self, reply: Reply, (rolling, day): (Left, Left), is_private: bool) -> Reply {
        let max = self.settings.calls_per_10_seconds;
        let reply = reply
            .with_header("x-hubspot-ratelimit-max", max)
            .with_header("x-hubspot-ratelimit-remaining", rolling.remaining)
            .with_header("x-hubspot-ratelimit-interval-milliseconds", ROLLING.as_millis());
        if !is_private {
            return reply;
        }
        reply
            .with_header("x-hubspot-ratelimit-daily", self.settings.calls_per_day)
            .with_header("x-hubspot-ratelimit-daily-remaining", day.remaining)
    }

    fn lacks(&self, object: Object, right: &str) -> Option<Reply> {
        let (what, may) = right.split_once(':').unwrap_or((right, ""));
        let scope = format!("crm.{what}.{}.{may}", object.name());
        let is_missing = self.state.lock().missing_scopes.contains(&scope);
        let context = json!({ "requiredGranularScopes": [scope] });
        let errors = json!([{ "message": "A scope is required.", "context": context }]);
        let more = Map::from_iter([("errors".to_owned(), errors)]);
        let words = "This app hasn't been granted all required scopes to make this call.";
        is_missing.then(|| error_with(403, "MISSING_SCOPES", words, more))
    }

    fn properties(&self, object: Object) -> Reply {
        let portal = self.state.lock();
        let fields = portal.table(object).schema().iter();
        let results: Vec<_> = fields.map(|field| described(object, field)).collect();
        Reply::json(200, &json!({ "results": results }))
    }
}

fn account() -> Reply {
    let body = json!({
        "portalId": PORTAL,
        "accountType": "STANDARD",
        "timeZone": "UTC",
        "companyCurrency": "EUR",
        "additionalCurrencies": [],
        "utcOffset": "+00:00",
        "utcOffsetMilliseconds": 0,
        "uiDomain": "app-eu1.hubspot.com",
        "dataHostingLocation": "eu1",
    });
    Reply::json(200, &body)
}

fn limited(policy: &str, word: &str, wait: Option<Duration>) -> Reply {
    let more = Map::from_iter([
        ("errorType".to_owned(), json!("RATE_LIMIT")),
        ("policyName".to_owned(), json!(policy)),
    ]);
    let reply = error_with(429, "", &format!("You have reached your {word} limit."), more);
    match wait {
        Some(wait) => reply.with_header("retry-after", wait.as_secs().max(1)),
        None => reply,
    }
}

/// What the path asks for, in the dated form or in the older one.
fn asked(request: &Request) -> Result<Ask, Reply> {
    let segments = request.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (family, version, rest) = match &parts[..] {
        ["crm", OLD_VERSION, family @ ("objects" | "properties"), rest @ ..] => {
            (*family, OLD_VERSION, rest)
        }
        ["crm", family @ ("objects" | "properties"), version, rest @ ..]
        | [family @ "account-info", version, rest @ ..] => (*family, *version, rest),
        _ => return Err(no_path()),
    };
    let is_old = version == OLD_VERSION && (family == "account-info" || parts[1] == OLD_VERSION);
    if !is_old && !VERSIONS.contains(&version) {
        return Err(no_path());
    }
    match (family, rest) {
        ("account-info", ["details"]) => Ok(Ask::Account),
        ("properties", [object]) => Ok(Ask::Properties((*object).to_owned())),
        ("objects", [object, "search"]) => Ok(Ask::Search((*object).to_owned())),
        ("objects", [object, "batch", action @ ("upsert" | "update" | "create" | "read")]) => {
            Ok(Ask::Batch((*object).to_owned(), (*action).to_owned()))
        }
        _ => Err(no_path()),
    }
}
