//! Calls of the API: a query and its variables go in, what came back for each alias goes out. Calls wait
//! for the budget by what they are thought to cost, and each tells what it cost. A limit that an answer
//! tells of holds for all calls from then on. It must never put a value into a query's text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use super::limits::{Day, Kind, Prices};
use super::problem::{Class, Problem};
use super::settings::Settings;
use super::{MAX_LOOKUPS, MAX_WRITES};
use crate::api::{self, Answer, Api};
use crate::budget::{Budget, Limits, Window};
use crate::config::Mistake;
use crate::crm::{Cost, Fault, Work};
use crate::orgs::{self, Orgs};
use crate::tokens::Tokens;

const MINUTE: Duration = Duration::from_secs(60);
const DAY_SECONDS: f64 = 86_400.0;
/// How many keys of creates that failed are remembered.
const MAX_FAILED_KEYS: usize = 4_096;
/// Asked for in every query: what it cost.
pub(super) const COMPLEXITY: &str = "complexity { query before after reset_in_x_seconds }";

/// The API with one token.
pub(super) struct Client {
    api: Api,
    /// Calls a minute, which the API's budget of points cannot count as well.
    calls: Arc<Budget>,
    url: String,
    version: HeaderValue,
    prices: Prices,
    day: Day,
    /// Creates that were answered with a failure, and how often: the next try is a new one.
    failed: Mutex<HashMap<String, u32>>,
}

/// A call to make.
pub(super) struct Call<'a> {
    /// What it does.
    pub(super) kind: Kind,
    /// With how many aliases.
    pub(super) aliases: usize,
    /// The query's text.
    pub(super) query: &'a str,
    /// Its variables.
    pub(super) variables: Json,
    /// What makes it happen once.
    pub(super) key: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    /// How many aliases the call had.
    aliases: usize,
    data: Map<String, Json>,
    problems: Vec<Problem>,
    /// Whether the query was refused before any of it was carried out.
    pub(super) untouched: bool,
    /// Whether it is the answer to an earlier call with the same key.
    pub(super) replayed: bool,
}

impl Client {
    /// With the budget and token that all connectors of the account share.
    pub(super) fn open(settings: &Settings, orgs: &Orgs) -> Result<Client, Mistake> {
        let url = settings.api_url.trim_end_matches('/');
        let name = orgs::name("monday", &[url, settings.token.expose()]);
        let limits = |points| Limits {
            windows: vec![Window { points, span: MINUTE }],
            max_in_flight: settings.max_calls_in_flight,
            daily_reserve: settings.daily_reserve,
        };
        let budget = orgs.budget(&name, limits(settings.points_per_minute));
        let calls = orgs.budget(&format!("{name}:calls"), limits(settings.calls_per_minute));
        let tokens = orgs.tokens(&name, || Tokens::fixed(settings.token.to_secret_string()));
        let version = HeaderValue::from_str(&settings.api_version)
            .map_err(|_| Mistake::new("crm.api_version", "is no header value"))?;
        let client = api::client(Duration::from_secs(settings.timeout_seconds));
        Ok(Client {
            api: Api::new(client, tokens, budget),
            calls,
            url: format!("{url}/v2"),
            version,
            prices: Prices::default(),
            day: Day::new(settings.calls_per_day),
            failed: Mutex::default(),
        })
    }

    /// What limits its calls.
    pub(super) fn budget(&self) -> &Budget {
        self.api.budget()
    }

    /// Makes a call. A fault is one of the whole call, for which nothing is known of any alias.
    pub(super) async fn run(&self, call: &Call<'_>) -> Result<Reply, Fault> {
        let aliases = call.aliases as u64;
        let points = self.prices.one(call.kind).saturating_mul(aliases);
        let body = json!({ "query": call.query, "variables": call.variables }).to_string();
        let _turn = self.calls.acquire(1).await?;
        self.day.begin(self.budget(), Timestamp::now());
        let request = |client: &reqwest::Client, token: &crate::tokens::Token| {
            let request = client
                .post(&self.url)
                .header(header::AUTHORIZATION, bare(token.secret.expose_secret()))
                .header(header::CONTENT_TYPE, "application/json")
                .header("api-version", self.version.clone())
                .body(body.clone());
            match &call.key {
                Some(key) => request.header("idempotency-key", key),
                None => request,
            }
        };
        let is_refused = |answer: &Answer| answer.status == StatusCode::UNAUTHORIZED;
        let answer = self.api.call(points, request, is_refused).await?;
        self.day.told(self.budget(), &answer.headers);
        let reply = Reply::read(&answer, call.aliases)?;
        self.heed(call, points, &reply);
        Ok(reply)
    }

    /// Learns from an answer.
    fn heed(&self, call: &Call<'_>, points: u64, reply: &Reply) {
        let complexity = reply.data.get("complexity");
        if let Some(cost) = complexity.and_then(|told| told.get("query")?.as_u64()) {
            self.prices.learn(call.kind, call.aliases as u64, cost);
            if !reply.replayed {
                self.budget().charge(cost.saturating_sub(points));
            }
            tracing::debug!(kind = ?call.kind, complexity = ?complexity, "what a call cost");
        }
        let now = Timestamp::now();
        let limits = reply.problems.iter().filter_map(|one| Some((one.wait(now)?, one)));
        if let Some((wait, problem)) = limits.max_by_key(|(wait, _)| *wait) {
            tracing::debug!(code = problem.code, ?wait, "the account is told to wait");
            self.budget().throttled(wait, &problem.code);
        }
    }

    /// A key for a create: the same for the same events with the same content, another one once it
    /// failed.
    pub(super) fn create_key(&self, traces: &str, variables: &Json) -> CreateKey {
        let mut hash = Sha256::new();
        for part in [traces, &variables.to_string()] {
            hash.update(part.len().to_be_bytes());
            hash.update(part.as_bytes());
        }
        let base = hex::encode(&hash.finalize()[..16]);
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = failed.get(&base).copied().unwrap_or_default();
        CreateKey { text: format!("{base}-{failures}"), base }
    }

    /// The call with this key was answered with a failure. The vendor keeps that answer; the next try
    /// must not get it again.
    pub(super) fn renew(&self, key: &CreateKey) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= MAX_FAILED_KEYS {
            failed.clear();
        }
        *failed.entry(key.base.clone()).or_default() += 1;
    }

    /// What work costs under these settings.
    pub(super) fn cost(&self, settings: &Settings, work: Work) -> Cost {
        let calls = work.lookups.div_ceil(MAX_LOOKUPS as u64)
            + work.writes.div_ceil(MAX_WRITES as u64)
            + work.creates.div_ceil(settings.creates_per_call as u64);
        let points = [
            (work.lookups, Kind::Lookup),
            (work.writes, Kind::Update),
            (work.creates, Kind::Create),
        ];
        let points = points.iter().fold(0_u64, |sum, (count, kind)| {
            sum.saturating_add(count.saturating_mul(self.prices.one(*kind)))
        });
        let by_points = points as f64 / settings.points_per_minute as f64;
        let by_calls = calls as f64 / settings.calls_per_minute as f64;
        let a_day = (settings.calls_per_day - settings.daily_reserve) as f64;
        let days = (calls as f64 / a_day).ceil() - 1.0;
        let seconds = 60.0 * by_points.max(by_calls);
        Cost { calls, seconds: seconds.max(days.max(0.0) * DAY_SECONDS) }
    }
}

/// What makes a create happen once.
#[derive(Debug)]
pub(super) struct CreateKey {
    /// As it is sent.
    pub(super) text: String,
    base: String,
}

impl Reply {
    /// Reads an answer of any status.
    fn read(answer: &Answer, aliases: usize) -> Result<Reply, Fault> {
        let replayed = answer.header("idempotency-replayed") == Some("true");
        let body = match serde_json::from_slice::<Json>(&answer.body) {
            Ok(Json::Object(body)) => body,
            Ok(_) | Err(_) if !answer.status.is_success() => {
                let problems = vec![Problem::of_status(answer)];
                return Ok(Reply {
                    aliases,
                    data: Map::new(),
                    problems,
                    untouched: true,
                    replayed,
                });
            }
            Ok(_) => return Err(Fault::transient("an answer that is no JSON object")),
            Err(error) => {
                return Err(Fault::transient(format!("{}: unreadable: {error}", answer.status)));
            }
        };
        let problems = Problem::all_of(answer, &body);
        // By the GraphQL specification `data` is there as soon as anything was carried out.
        let is_flat = body.contains_key("error_code") || body.contains_key("error_message");
        let untouched = answer.status.is_client_error() || (!body.contains_key("data") && !is_flat);
        let data = match body.into_iter().find(|(key, _)| key == "data") {
            Some((_, Json::Object(data))) => data,
            Some(_) | None => Map::new(),
        };
        Ok(Reply { aliases, data, problems, untouched, replayed })
    }

    /// What came back for an alias; the fault if nothing did.
    pub(super) fn of(&self, alias: &str, is_update: bool) -> Result<&Json, Fault> {
        if let Some(data) = self.data.get(alias).filter(|data| !data.is_null()) {
            return Ok(data);
        }
        let own = self.problems.iter().find(|problem| problem.alias.as_deref() == Some(alias));
        let whole = || self.problems.iter().find(|problem| problem.alias.is_none());
        let now = Timestamp::now();
        Err(match (own, whole()) {
            (Some(problem), _) => problem.fault(now, is_update),
            (None, Some(problem)) => problem.fault(now, is_update && self.aliases == 1),
            (None, None) => Fault::transient(format!("the answer has nothing for `{alias}`")),
        })
    }

    /// Whether an error is told of this very alias.
    pub(super) fn has_own(&self, alias: &str) -> bool {
        self.problems.iter().any(|problem| problem.alias.as_deref() == Some(alias))
    }

    /// Whether nothing came back for any of these aliases, and one that no error is told of may have been
    /// spoilt by another: an error in one can take all data with it.
    pub(super) fn may_be_one_rows_fault(&self, mut aliases: impl Iterator<Item = String>) -> bool {
        let is_empty = self.data.iter().all(|(key, data)| key == "complexity" || data.is_null());
        let is_refusal = |one: &Problem| matches!(one.class(), Class::Never | Class::Gone);
        is_empty
            && !self.problems.is_empty()
            && self.problems.iter().all(is_refusal)
            && aliases.any(|alias| !self.has_own(&alias))
    }
}

/// Not to be shown in a debug print of the request.
fn bare(token: &str) -> HeaderValue {
    // The settings refuse tokens that are no header value; the API refuses an empty one.
    let mut value = HeaderValue::from_str(token).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}
