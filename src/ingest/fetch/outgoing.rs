//! One call to a provider's API, kept within bounds: a place among all calls in flight and among those of
//! its endpoint, the endpoint's rate, an access token where the call wants one. In comes a call of a
//! provider module; out comes an answer that the module can read, or a failure that says whether another
//! try may help: throttling, server errors and expired tokens never reach a module.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::clients::Clients;
use super::oauth::Tokens;
use super::{Failure, Settings};
use crate::ingest::{Ingest, Registered};
use crate::model::EndpointName;
use crate::providers::{Answer, Auth, Call};

/// How many calls for keys are in flight. They have places of their own: a webhook waits for them.
const MAX_KEY_CALLS: usize = 8;
/// How much of all places one endpoint may have, as one part in so many.
const PART_OF_ENDPOINT: usize = 4;

/// All that calls share.
pub struct Outgoing {
    settings: Settings,
    clients: Result<Clients, String>,
    in_flight: Semaphore,
    key_calls: Semaphore,
    lanes: Mutex<HashMap<EndpointName, Arc<Lane>>>,
    tokens: Tokens,
}

/// What the calls of one endpoint share.
struct Lane {
    limiter: DefaultDirectRateLimiter,
    places: Semaphore,
    /// Until when the provider wants to be left alone.
    paused_until: Mutex<Option<Instant>>,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Facts that can wait.
    Facts,
    /// A key that a request waits for.
    Key,
}

impl Outgoing {
    /// Within these bounds.
    pub fn new(settings: Settings) -> Outgoing {
        let clients = Clients::new(&settings);
        if let Err(reason) = &clients {
            tracing::warn!(reason, "providers' APIs cannot be called");
        }
        Outgoing {
            in_flight: Semaphore::new(settings.max_in_flight),
            key_calls: Semaphore::new(MAX_KEY_CALLS),
            lanes: Mutex::default(),
            tokens: Tokens::default(),
            clients,
            settings,
        }
    }

    /// The bounds.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Forgets access tokens, as when secrets may have changed.
    pub fn forget_tokens(&self) {
        self.tokens.clear();
    }

    /// Waits until no access token is being got.
    pub async fn settle(&self) {
        self.tokens.settle().await;
    }

    /// Makes a call of a provider module.
    pub async fn call(
        &self,
        ingest: &Ingest,
        registered: &Arc<Registered>,
        call: &Call,
        purpose: Purpose,
    ) -> Result<Answer, Failure> {
        let answer = match &call.auth {
            Auth::None => self.send(registered, call, None, purpose).await?,
            Auth::OAuth(oauth) => {
                let token = self.tokens.get(ingest, registered, oauth).await?;
                let header = authorization(oauth.scheme, &token)?;
                let answer = self.send(registered, call, Some(header), purpose).await?;
                if answer.status == 401 {
                    self.tokens.forget(registered, oauth, &token).await;
                    let token = self.tokens.get(ingest, registered, oauth).await?;
                    let header = authorization(oauth.scheme, &token)?;
                    self.send(registered, call, Some(header), purpose).await?
                } else {
                    answer
                }
            }
        };
        match answer.status {
            401 if !call.takes_401 => Err(Failure::again(format!("{call:?}: 401"))),
            _ => Ok(answer),
        }
    }

    /// Makes a call as it is; a 401 is an answer.
    pub async fn send(
        &self,
        registered: &Registered,
        call: &Call,
        authorization: Option<HeaderValue>,
        purpose: Purpose,
    ) -> Result<Answer, Failure> {
        let clients = self.clients.as_ref().map_err(|reason| Failure::again(reason.clone()))?;
        let endpoint = &registered.endpoint;
        let lane = self.lane(&endpoint.name);
        if let Some(left) = lane.pause_left() {
            let reason = format!("{call:?}: not called, since the provider asked to wait");
            return Err(Failure::paused(reason, left));
        }
        let closed = |_| Failure::again("the gateway stops".to_owned());
        let _places = match purpose {
            Purpose::Key => (self.key_calls.acquire().await.map_err(closed)?, None),
            Purpose::Facts => {
                lane.wait_for_rate().await;
                let own = lane.places.acquire().await.map_err(closed)?;
                (self.in_flight.acquire().await.map_err(closed)?, Some(own))
            }
        };
        let started = Instant::now();
        let answer = clients.execute(registered.provider, endpoint, call, authorization).await;
        registered.meters.fetch_seconds.record(started.elapsed());
        let answer = answer?;
        let status = answer.status;
        let may_pass = matches!(status, 408 | 425 | 429);
        if !may_pass && matches!(status, 200..300 | 400..500) {
            return Ok(answer);
        }
        let wait = retry_after(&answer.headers).map(|wait| wait.min(self.settings.max_backoff));
        if let (true, Some(wait)) = (may_pass || status == 503, wait) {
            lane.pause(wait);
        }
        Err(Failure::after(format!("{call:?}: {status}"), wait))
    }

    fn lane(&self, endpoint: &EndpointName) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(endpoint) {
            return lane.clone();
        }
        let lane = Arc::new(Lane {
            limiter: RateLimiter::direct(Quota::per_second(self.settings.max_per_second)),
            places: Semaphore::new(self.settings.max_in_flight.div_ceil(PART_OF_ENDPOINT)),
            paused_until: Mutex::default(),
        });
        lanes.insert(endpoint.clone(), lane.clone());
        lane
    }
}

impl Lane {
    async fn wait_for_rate(&self) {
        while let Err(early) = self.limiter.check() {
            tokio::time::sleep(early.wait_time_from(DefaultClock::default().now())).await;
        }
    }

    fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *paused = Some(paused.map_or(until, |before| before.max(until)));
    }

    fn pause_left(&self) -> Option<Duration> {
        let until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        until?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

fn authorization(scheme: &str, token: &SecretString) -> Result<HeaderValue, Failure> {
    let value = HeaderValue::try_from(format!("{scheme} {}", token.expose_secret()));
    let mut value =
        value.map_err(|_| Failure::again("the access token is no header value".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// How long an answer asks to wait: seconds, or a time.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Duration::try_from(at.duration_since(Timestamp::now())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(RETRY_AFTER, value.parse().expect("a header"))])
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        assert_eq!(retry_after(&headers("120")), Some(Duration::from_secs(120)));
        let future = retry_after(&headers("Fri, 31 Dec 2100 23:59:59 GMT")).expect("a time");
        assert!(future > Duration::from_secs(86_400));
        for none in ["Wed, 21 Oct 2015 07:28:00 GMT", "soon", "-5", ""] {
            assert_eq!(retry_after(&headers(none)), None, "{none}");
        }
    }
}
