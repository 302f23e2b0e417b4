//! The keys that an endpoint's signatures need and that its provider publishes. In comes what `verify`
//! asked for; the key is fetched once however many requests wait for it, kept as long as it is good, and
//! handed to every later `verify`. Ids come from requests that nothing proves yet, so what they can make
//! the gateway do is bounded: keys kept, ids known to be none, fetches a minute.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex as AsyncMutex;

use super::outgoing::Purpose;
use crate::ingest::{Ingest, Registered};
use crate::providers::{KeyRequest, Keys, calls::Key};

/// How many keys, and how many ids that are none, an endpoint keeps.
const MAX_KEYS: usize = 64;
const MAX_ABSENT: usize = 256;
/// How many keys an endpoint fetches a minute.
const MAX_FETCHES_A_MINUTE: NonZeroU32 = NonZeroU32::new(30).expect("more than none");
/// How long a request waits for a key, at most.
const FETCHED_WITHIN: Duration = Duration::from_secs(10);
/// For so long an id that is none stays none, and a key is not fetched anew.
const SETTLED_FOR: SignedDuration = SignedDuration::from_secs(60);

/// The keys of one endpoint.
pub struct KeyRing {
    at_hand: ArcSwap<Keys>,
    /// When the first of them ends, in microseconds.
    ends_us: AtomicI64,
    known: Mutex<Known>,
    limiter: DefaultDirectRateLimiter,
}

#[derive(Default)]
struct Known {
    keys: HashMap<String, (Key, Timestamp)>,
    /// Ids that the provider has no key for, until when.
    absent: HashMap<String, Timestamp>,
    /// Who fetches a key holds its lock.
    flights: HashMap<String, Flight>,
}

/// When and why the last fetch of a key failed.
type Flight = Arc<AsyncMutex<Option<(Instant, String)>>>;

/// Why a key is not at hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The provider has none of this id, or had none a moment ago.
    #[error("there is no key `{0}`")]
    Absent(String),
    /// It could not be fetched; another try may help.
    #[error("{0}")]
    Failed(String),
}

impl Default for KeyRing {
    fn default() -> KeyRing {
        KeyRing {
            at_hand: ArcSwap::from_pointee(Keys::default()),
            ends_us: AtomicI64::new(i64::MAX),
            known: Mutex::default(),
            limiter: RateLimiter::direct(Quota::per_minute(MAX_FETCHES_A_MINUTE)),
        }
    }
}

impl KeyRing {
    /// The keys that are good now.
    pub fn at_hand(&self, now: Timestamp) -> Guard<Arc<Keys>> {
        if now.as_microsecond() >= self.ends_us.load(Ordering::Relaxed) {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.keys.retain(|_, (_, ends)| *ends > now);
            self.publish(&known);
        }
        self.at_hand.load()
    }

    /// Gets a key that `verify` asked for, although it had `seen` one of when it was fetched, if any.
    pub async fn obtain(
        &self,
        ingest: &Ingest,
        registered: &Arc<Registered>,
        wanted: &KeyRequest,
        (seen, now): (Option<Timestamp>, Timestamp),
    ) -> Result<(), KeyError> {
        let began = Instant::now();
        let flight = self.flight(&wanted.id);
        let mut flight = flight.lock().await;
        if let Some((at, reason)) = flight.as_ref()
            && *at >= began
        {
            return Err(KeyError::Failed(reason.clone()));
        }
        let found = self.fetched_at(&wanted.id);
        if found > seen {
            return Ok(());
        }
        let settled = |at: Timestamp| now.duration_since(at).abs() < SETTLED_FOR;
        if found.is_some_and(settled) || self.is_absent(&wanted.id, now) {
            return Err(KeyError::Absent(wanted.id.clone()));
        }
        if self.limiter.check().is_err() {
            return Err(KeyError::Failed("too many keys are asked for".to_owned()));
        }
        let answer = ingest.outgoing.call(ingest, registered, &wanted.call, Purpose::Key);
        let answer = match tokio::time::timeout(FETCHED_WITHIN, answer).await {
            Ok(answer) => answer.map_err(|failure| failure.reason),
            Err(_) => Err(format!("{:?}: no answer in time", wanted.call)),
        };
        let answer = answer.map_err(|reason| {
            *flight = Some((Instant::now(), reason.clone()));
            KeyError::Failed(reason)
        })?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *known;
        known.flights.remove(&wanted.id);
        if !answer.is_success() {
            drop_soonest(&mut known.absent, MAX_ABSENT, |until| *until);
            known.absent.insert(wanted.id.clone(), later(now, SETTLED_FOR));
            return Err(KeyError::Absent(wanted.id.clone()));
        }
        drop_soonest(&mut known.keys, MAX_KEYS, |(_, ends)| *ends);
        let key = Key { body: answer.body, fetched_at: now };
        known.keys.insert(wanted.id.clone(), (key, later(now, wanted.max_age)));
        self.publish(known);
        Ok(())
    }

    fn publish(&self, known: &Known) {
        let keys = known.keys.iter().map(|(id, (key, _))| (id.clone(), key.clone())).collect();
        self.at_hand.store(Arc::new(Keys::new(keys)));
        let ends = known.keys.values().map(|(_, ends)| ends.as_microsecond()).min();
        self.ends_us.store(ends.unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    fn fetched_at(&self, id: &str) -> Option<Timestamp> {
        self.at_hand.load().get(id).map(|key| key.fetched_at)
    }

    fn is_absent(&self, id: &str, now: Timestamp) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.absent.get(id).is_some_and(|until| *until > now)
    }

    fn flight(&self, id: &str) -> Flight {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.flights.len() >= MAX_ABSENT {
            // Those that nobody holds are of fetches that failed.
            known.flights.retain(|_, flight| Arc::strong_count(flight) > 1);
        }
        known.flights.entry(id.to_owned()).or_default().clone()
    }
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Makes room for one more.
fn drop_soonest<T>(map: &mut HashMap<String, T>, max: usize, ends: impl Fn(&T) -> Timestamp) {
    if map.len() < max {
        return;
    }
    let soonest = map.iter().min_by_key(|(_, value)| ends(value)).map(|(id, _)| id.clone());
    if let Some(id) = soonest {
        map.remove(&id);
    }
}
