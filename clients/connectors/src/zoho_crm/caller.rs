//! Calls of Zoho's API: in comes a call with what it costs, out goes its answer, unless that is a 429. Zoho
//! tells neither for how long it refuses nor whether by credits or by calls at once: the header that counts
//! the credits down tells which, and each refusal in a row makes the wait longer. It must never send while
//! such a wait lasts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use reqwest::{Client, RequestBuilder, Url};
use secrecy::ExposeSecret;
use serde_json::Value as Json;
use tokio::time::Instant;

use super::refusal;
use crate::api::{Answer, Api};
use crate::budget::Budget;
use crate::crm::Fault;
use crate::tokens::Token;

const BASE: &str = "/crm/v8";
/// It comes once half of the credits are used.
const CREDITS_HEADER: &str = "x-api-credits-remaining";
/// The most that one of our calls costs.
const MAX_CREDITS_A_CALL: u64 = 10;
/// Without credits the next look is after this: of those of 24 hours some come back every minute.
const CREDITS_WAIT: Duration = Duration::from_secs(15 * 60);
/// Calls at once are free again as soon as one ends: so long at first, twice as long each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// A call to be made.
pub(super) struct Call {
    method: Method,
    /// Below the version, with its query.
    path: String,
    body: Option<Bytes>,
    credits: u64,
    /// Whether it counts among the calls of which Zoho takes fewer at once.
    is_heavy: bool,
}

impl Call {
    /// A call that only reads.
    pub fn get(path: String) -> Call {
        Call { method: Method::GET, path, body: None, credits: 1, is_heavy: false }
    }

    /// A call with a body.
    pub fn of(method: Method, path: String, body: &Json, credits: u64) -> Call {
        let body = Some(Bytes::from(body.to_string()));
        Call { method, path, body, credits, is_heavy: false }
    }

    /// The same, of the heavy kind.
    pub fn heavy(self, is_heavy: bool) -> Call {
        Call { is_heavy, ..self }
    }

    fn request(&self, client: &Client, token: &Token) -> RequestBuilder {
        let base = token.api_url.as_deref().unwrap_or_default();
        let request = client.request(self.method.clone(), format!("{base}{BASE}{}", self.path));
        let shown = format!("Zoho-oauthtoken {}", token.secret.expose_secret());
        let request = match HeaderValue::from_str(&shown) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            // A token with a line break in it is none: the call is refused without it.
            Err(_) => request,
        };
        match &self.body {
            Some(body) => request.header(CONTENT_TYPE, "application/json").body(body.clone()),
            None => request,
        }
    }
}

/// Makes calls within the limits of one org.
pub(super) struct Caller {
    api: Api,
    heavy: Arc<Budget>,
    credits_per_day: u64,
    refusals: Mutex<Refusals>,
}

/// 429s in a row that did not tell of credits.
struct Refusals {
    count: u32,
    until: Instant,
}

impl Caller {
    pub(super) fn new(api: Api, heavy: Arc<Budget>, credits_per_day: u64) -> Caller {
        let refusals = Mutex::new(Refusals { count: 0, until: Instant::now() });
        Caller { api, heavy, credits_per_day, refusals }
    }

    pub(super) fn budget(&self) -> &Budget {
        self.api.budget()
    }

    /// The host that the token is for.
    pub(super) async fn host(&self) -> Result<String, Fault> {
        let token = self.api.token().await?;
        let url = token.api_url.as_deref().unwrap_or_default();
        let host = url.parse::<Url>().ok().and_then(|url| url.host_str().map(str::to_owned));
        Ok(host.unwrap_or_else(|| url.to_owned()))
    }

    /// Makes a call. Whatever status the answer has but 5xx and 429 is the asker's to understand.
    pub(super) async fn call(&self, call: &Call) -> Result<Answer, Fault> {
        let _slot = match call.is_heavy {
            true => Some(self.heavy.acquire(1).await?),
            false => None,
        };
        let request = |client: &Client, token: &Token| call.request(client, token);
        let answer = self.api.call(call.credits, request, refusal::is_of_token).await?;
        let left = answer.header(CREDITS_HEADER).and_then(|text| text.trim().parse::<u64>().ok());
        if let Some(left) = left {
            // The budget counts the day's calls, of which each may cost several credits.
            let in_flight = self.budget().max_in_flight() as u64;
            let left = left.saturating_sub(in_flight * (MAX_CREDITS_A_CALL - 1));
            self.budget().daily(left, Some(self.credits_per_day), None);
        }
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            return Err(self.throttled(&answer, left));
        }
        self.lock().count = 0;
        Ok(answer)
    }

    /// What follows from a refusal by a limit: nothing is sent for a while.
    pub(super) fn throttled(&self, answer: &Answer, left: Option<u64>) -> Fault {
        let is_credits = left.is_some_and(|left| left < MAX_CREDITS_A_CALL);
        let wait = if is_credits { CREDITS_WAIT } else { self.next_wait() };
        let limit = if is_credits { "credits" } else { "calls at once" };
        let reason = format!("{} ({limit})", answer.told());
        self.budget().throttled(wait, &reason);
        Fault::Throttled { wait, reason }
    }

    /// Calls that were refused side by side count as one refusal.
    fn next_wait(&self) -> Duration {
        let mut refusals = self.lock();
        let now = Instant::now();
        if refusals.until > now {
            return refusals.until - now;
        }
        let wait = FIRST_WAIT.saturating_mul(1 << refusals.count.min(10)).min(LONGEST_WAIT);
        // Apps that were refused together do not come back together.
        let wait = wait.mul_f64(1.0 + rand::random::<f64>() / 4.0);
        refusals.count = refusals.count.saturating_add(1);
        refusals.until = now + wait;
        wait
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
