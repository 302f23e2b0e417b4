//! Calls of Pipedrive's API: in comes what is asked and what it costs, out goes the answer's data, or the
//! fault that the status and code mean. Every answer's headers feed the budget. It must never send anything
//! for a credential before a wait that Pipedrive asked for is over: ten such calls lock it out.
//! Limits: <https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting>. Statuses:
//! <https://pipedrive.readme.io/docs/core-api-concepts-http-status-codes>

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value as Json;

use super::settings::{Access, DEFAULT_URL, Settings};
use crate::api::{Answer, Api};
use crate::budget::Budget;
use crate::crm::Fault;
use crate::tokens::Token;

/// What calls cost, in points.
pub(super) const READ_POINTS: u64 = 1;
/// A list, such as the fields of an object.
pub(super) const LIST_POINTS: u64 = 10;
/// A search of any kind.
pub(super) const SEARCH_POINTS: u64 = 20;
/// A record created or changed.
pub(super) const WRITE_POINTS: u64 = 5;
/// Who the credential is: a call of the API v1, which costs double.
pub(super) const IDENTITY_POINTS: u64 = 2;

/// A refusal without a time is waited out for the length of the window.
const WINDOW: Duration = Duration::from_secs(2);
/// Times are told in whole seconds; a little more is waited.
const WAIT_MARGIN: Duration = Duration::from_millis(100);
/// For how long a lockout, which tells no time either, is waited out.
const LOCKOUT: Duration = Duration::from_secs(10 * 60);
/// Between calls while the day's points are used up and the hour of the reset was wrong.
const DAY_RETRY: Duration = Duration::from_secs(15 * 60);
const DAY_SECONDS: i64 = 24 * 60 * 60;
/// So soon after the hour of the reset a refusal means that the hour is another.
const RESET_GRACE: Duration = Duration::from_secs(60 * 60);
/// How much of a refusal's words is told.
const MAX_REASON_CHARS: usize = 300;
const MAX_CODE_CHARS: usize = 64;

/// Where a call's token is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `x-api-token`.
    ApiToken,
    /// `Authorization: Bearer`.
    Bearer,
}

/// One call.
pub(super) struct Ask {
    /// What it costs.
    pub points: u64,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub target: String,
    /// Its body, JSON.
    pub body: Option<Bytes>,
}

/// The data of an answer.
#[derive(Debug)]
pub(super) struct Found {
    /// What `data` holds.
    pub data: Json,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
}

/// Pipedrive's API, for one credential.
pub(super) struct Calls {
    api: Api,
    scheme: Scheme,
    url: Option<String>,
    most_points: Option<u64>,
    points: AtomicU64,
    day_begins_at_utc_hour: u8,
}

impl Ask {
    /// A read.
    pub fn get(points: u64, path: &str, query: &[(&str, &str)]) -> Ask {
        let mut target = path.to_owned();
        if !query.is_empty() {
            let pairs =
                form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
            target = format!("{target}?{pairs}");
        }
        Ask { points, method: Method::GET, target, body: None }
    }

    /// A write.
    pub fn write(method: Method, path: String, body: &Json) -> Ask {
        let body = Some(Bytes::from(body.to_string()));
        Ask { points: WRITE_POINTS, method, target: path, body }
    }
}

impl Calls {
    /// With what the settings lead to.
    pub fn new(settings: &Settings, access: Access) -> Calls {
        Calls {
            api: Api::new(access.client, access.tokens, access.budget),
            scheme: access.scheme,
            url: settings.url.clone(),
            most_points: settings.points_per_2_seconds,
            points: AtomicU64::new(settings.first_points()),
            day_begins_at_utc_hour: settings.day_begins_at_utc_hour,
        }
    }

    /// What limits the calls.
    pub fn budget(&self) -> &Budget {
        self.api.budget()
    }

    /// How many points may be spent in 2 seconds, as far as is known.
    pub fn points(&self) -> u64 {
        self.points.load(Ordering::Relaxed)
    }

    /// Makes a call. A record that is not there is [`Fault::Gone`].
    pub async fn send(&self, ask: &Ask) -> Result<Found, Fault> {
        let request = |client: &Client, token: &Token| self.request(client, token, ask);
        let is_expired = |answer: &Answer| answer.status == StatusCode::UNAUTHORIZED;
        let answer = self.api.call(ask.points, request, is_expired).await?;
        let day_ends_in = self.day_ends_in(&answer);
        self.learn(&answer, day_ends_in);
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            return Err(self.throttled(&answer, day_ends_in));
        }
        if !answer.status.is_success() {
            return Err(self.refused(&answer));
        }
        let body: Body = answer.json()?;
        match body.success {
            Some(true) => {}
            Some(false) => return Err(self.refused(&answer)),
            // Not the API's own: a write may or may not have been carried out.
            None => return Err(Fault::transient("the answer does not say whether it succeeded")),
        }
        let next_cursor = body.additional_data.get("next_cursor").and_then(Json::as_str);
        Ok(Found { next_cursor: next_cursor.map(str::to_owned), data: body.data })
    }

    fn request(&self, client: &Client, token: &Token, ask: &Ask) -> RequestBuilder {
        let base = self.url.as_deref().or(token.api_url.as_deref()).unwrap_or(DEFAULT_URL);
        let url = format!("{}{}", base.trim_end_matches('/'), ask.target);
        let mut request = client.request(ask.method.clone(), url);
        if let Some(body) = &ask.body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.clone());
        }
        let secret = token.secret.expose_secret();
        match self.scheme {
            Scheme::Bearer => request.bearer_auth(secret),
            Scheme::ApiToken => match HeaderValue::from_str(secret) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    request.header("x-api-token", value)
                }
                // Refused when the settings are read; without it the answer is a 401.
                Err(_) => request,
            },
        }
    }

    /// What an answer tells about the limits.
    fn learn(&self, answer: &Answer, day_ends_in: Duration) {
        if let Some(limit) = number(answer, "x-ratelimit-limit").filter(|limit| *limit > 0) {
            let points = self.most_points.map_or(limit, |most| most.min(limit));
            self.points.store(points, Ordering::Relaxed);
            self.budget().set_points(0, points);
        }
        if let Some(left) = number(answer, "x-daily-ratelimit-token-remaining") {
            self.budget().daily_points(left, None, Some(day_ends_in));
        }
    }

    fn throttled(&self, answer: &Answer, day_ends_in: Duration) -> Fault {
        let (wait, reason) = if number(answer, "x-daily-ratelimit-token-remaining") == Some(0) {
            let day = Duration::from_secs(DAY_SECONDS.unsigned_abs());
            let wait = if day_ends_in > day - RESET_GRACE { DAY_RETRY } else { day_ends_in };
            self.budget().daily_points(0, None, Some(wait));
            (wait, "429: the company's points of the day are used up")
        } else {
            let told = number(answer, "x-ratelimit-reset").map(Duration::from_secs);
            let wait = told.filter(|wait| !wait.is_zero()).unwrap_or(WINDOW);
            let longest = Duration::from_secs(DAY_SECONDS.unsigned_abs());
            (wait.min(longest) + WAIT_MARGIN, "429: the rate limit is reached")
        };
        self.budget().throttled(wait, reason);
        Fault::Throttled { wait, reason: reason.to_owned() }
    }

    /// What a refusal means, by its status and code.
    fn refused(&self, answer: &Answer) -> Fault {
        let body: Option<Body> = serde_json::from_slice(&answer.body).ok();
        let is_pipedrives = body.as_ref().is_some_and(|body| body.success.is_some());
        let body = body.unwrap_or_default();
        let words = body.error.as_str().filter(|words| !words.trim().is_empty());
        let words = words.unwrap_or("no reason was told");
        let words: String = words.chars().take(MAX_REASON_CHARS).collect();
        let status = answer.status;
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                Fault::Gone { reason: format!("{status}: {words}") }
            }
            StatusCode::PAYMENT_REQUIRED => {
                let reason = format!("the account is closed or unpaid: {status}: {words}");
                tracing::error!(reason, "Pipedrive refuses the account; somebody must act");
                Fault::Unauthorized { reason }
            }
            // Not the API's own: what stands before it locks out who calls on after a 429.
            StatusCode::FORBIDDEN if !is_pipedrives => {
                let reason = "403: locked out for calling too often";
                self.budget().throttled(LOCKOUT, reason);
                Fault::Throttled { wait: LOCKOUT, reason: reason.to_owned() }
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY => {
                Fault::transient(format!("{status}: {words}"))
            }
            // Nothing of the API redirects: something in between does, for now.
            _ if status.is_redirection() => Fault::transient(format!("{status}: a redirect")),
            _ => {
                let code = body.code.as_str().filter(|code| !code.is_empty());
                let code = code.map(|code| code.chars().take(MAX_CODE_CHARS).collect());
                let code = code.unwrap_or_else(|| format!("HTTP_{}", status.as_u16()));
                Fault::permanent(code, words)
            }
        }
    }

    /// For how long the day lasts, by the clock of who answered.
    fn day_ends_in(&self, answer: &Answer) -> Duration {
        let told = answer.header("date").and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        let now = told.map_or_else(Timestamp::now, |date| date.timestamp());
        let begins = i64::from(self.day_begins_at_utc_hour) * 60 * 60;
        let gone = (now.as_second() - begins).rem_euclid(DAY_SECONDS);
        Duration::from_secs((DAY_SECONDS - gone).unsigned_abs())
    }
}

/// A fault of a call that is about no record: what is not there then is the thing that was called.
pub(super) fn about_no_record(fault: Fault) -> Fault {
    match fault {
        Fault::Gone { reason } => Fault::permanent("HTTP_404", reason),
        Fault::Throttled { .. }
        | Fault::Transient { .. }
        | Fault::Permanent { .. }
        | Fault::Raced { .. }
        | Fault::Unauthorized { .. } => fault,
    }
}

/// What every answer's body is; what an error's parts are differs from route to route.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    success: Option<bool>,
    data: Json,
    additional_data: Json,
    error: Json,
    code: Json,
}

/// A header's number; less than nothing is nothing.
fn number(answer: &Answer, header: &str) -> Option<u64> {
    let number: i64 = answer.header(header)?.trim().parse().ok()?;
    Some(u64::try_from(number).unwrap_or(0))
}
