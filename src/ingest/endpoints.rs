//! The endpoints that are configured now, by path and by name, with what happened at each since the
//! gateway started. A reload swaps the whole table; the counts of an endpoint that stays are kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use metrics::{Counter, Histogram, counter, histogram};

use super::fetch::keys::KeyRing;
use super::refused::Ring;
use crate::model::EndpointName;
use crate::providers::{Endpoint, PROVIDERS, Provider};

/// The table of endpoints. Cheap to clone.
#[derive(Clone)]
pub struct Endpoints {
    table: Arc<ArcSwap<Table>>,
    providers: &'static [Provider],
}

#[derive(Default)]
struct Table {
    by_path: HashMap<String, Arc<Registered>>,
    by_name: HashMap<EndpointName, Arc<Registered>>,
}

/// One endpoint with its provider and its health.
pub struct Registered {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its provider.
    pub provider: &'static Provider,
    /// What happened at it.
    pub health: Arc<Health>,
    /// What is counted of it, with handles that are looked up once.
    pub meters: Meters,
    /// The keys that its provider publishes.
    pub keys: KeyRing,
}

/// The counters of one endpoint.
pub struct Meters {
    /// How long its requests took, answer included.
    pub latency: Histogram,
    /// Requests that were answered 200.
    pub accepted: Counter,
    /// Receipts that were translated.
    pub translated: Counter,
    /// Receipts whose facts must be fetched.
    pub fetching: Counter,
    /// Receipts of a type that is not translated.
    pub unknown: Counter,
    /// Receipts that could not be read.
    pub unreadable: Counter,
    /// How long calls to its provider took.
    pub fetch_seconds: Histogram,
    /// Fetches that gave their facts.
    pub fetch_done: Counter,
    /// Fetches of what the provider does not know.
    pub fetch_denied: Counter,
    /// Fetches that are tried again.
    pub fetch_retried: Counter,
    /// Fetches that are given up.
    pub fetch_failed: Counter,
}

/// What happened at an endpoint since the gateway started.
#[derive(Default)]
pub struct Health {
    accepted: AtomicU64,
    refused: AtomicU64,
    last_accepted_us: AtomicI64,
    last_refusal: Mutex<Option<(Timestamp, String)>>,
    last_fetch_failure: Mutex<Option<(Timestamp, String)>>,
    unconfirmed: AtomicU64,
    refused_requests: Ring,
}

impl Endpoints {
    /// A table of these endpoints; those of an unknown provider are left out.
    pub fn new(endpoints: Vec<Endpoint>) -> Endpoints {
        Endpoints::of(PROVIDERS, endpoints)
    }

    /// As `new`, of these providers.
    pub fn of(providers: &'static [Provider], endpoints: Vec<Endpoint>) -> Endpoints {
        let table = Endpoints { table: Arc::default(), providers };
        table.replace(endpoints);
        table
    }

    /// Swaps the table.
    pub fn replace(&self, endpoints: Vec<Endpoint>) {
        let before = self.table.load();
        let mut table = Table::default();
        for endpoint in endpoints {
            let name = endpoint.name.provider();
            let Some(provider) = self.providers.iter().find(|one| one.name == name) else {
                continue;
            };
            let known = before.by_name.get(&endpoint.name);
            let health = known.map(|known| known.health.clone()).unwrap_or_default();
            let path = endpoint.path.clone();
            let meters = Meters::of(&endpoint.name);
            let keys = KeyRing::default();
            let registered = Arc::new(Registered { endpoint, provider, health, meters, keys });
            table.by_path.insert(path, registered.clone());
            table.by_name.insert(registered.endpoint.name.clone(), registered);
        }
        self.table.store(Arc::new(table));
    }

    /// The endpoint that this path belongs to.
    pub fn by_path(&self, path: &str) -> Option<Arc<Registered>> {
        self.table.load().by_path.get(path).cloned()
    }

    /// The endpoint of this name.
    pub fn by_name(&self, name: &EndpointName) -> Option<Arc<Registered>> {
        self.table.load().by_name.get(name).cloned()
    }

    /// All endpoints, by name.
    pub fn all(&self) -> Vec<Arc<Registered>> {
        let mut all: Vec<_> = self.table.load().by_name.values().cloned().collect();
        all.sort_by(|left, right| left.endpoint.name.cmp(&right.endpoint.name));
        all
    }
}

impl Meters {
    fn of(endpoint: &EndpointName) -> Meters {
        let label = || endpoint.to_string();
        let receipts = |outcome: &'static str| counter!("tollgate_receipts_total", "endpoint" => label(), "outcome" => outcome);
        let fetches = |outcome: &'static str| counter!("tollgate_fetches_total", "endpoint" => label(), "outcome" => outcome);
        Meters {
            latency: histogram!("tollgate_webhook_seconds", "endpoint" => label()),
            accepted: counter!("tollgate_webhooks_total", "endpoint" => label(), "status" => "200"),
            translated: receipts("translated"),
            fetching: receipts("fetching"),
            unknown: receipts("unknown"),
            unreadable: receipts("unreadable"),
            fetch_seconds: histogram!("tollgate_fetch_seconds", "endpoint" => label()),
            fetch_done: fetches("done"),
            fetch_denied: fetches("denied"),
            fetch_retried: fetches("retried"),
            fetch_failed: fetches("failed"),
        }
    }
}

impl Health {
    /// Notes an authentic request.
    pub fn accept(&self, at: Timestamp) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.last_accepted_us.store(at.as_microsecond(), Ordering::Relaxed);
    }

    /// Notes a refused request. The reason holds no secret.
    pub fn refuse(&self, at: Timestamp, reason: String) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, reason));
    }

    /// Notes that its provider's API could not be asked. The reason holds no secret.
    pub fn fail_fetch(&self, at: Timestamp, reason: String) {
        let mut last = self.last_fetch_failure.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((at, reason));
    }

    /// When and why its provider's API could not be asked last.
    pub fn last_fetch_failure(&self) -> Option<(Timestamp, String)> {
        self.last_fetch_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a receipt that waits to be confirmed; how many waited before.
    pub fn add_unconfirmed(&self) -> u64 {
        self.unconfirmed.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts one less.
    pub fn remove_unconfirmed(&self) {
        let one_less = |waiting: u64| waiting.checked_sub(1);
        // None waits where a receipt was counted before the gateway started.
        let _ = self.unconfirmed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
    }

    /// The last refused requests, where they are kept.
    pub fn refused_requests(&self) -> &Ring {
        &self.refused_requests
    }

    /// How many were authentic.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// When the last authentic one came.
    pub fn last_accepted(&self) -> Option<Timestamp> {
        match self.last_accepted_us.load(Ordering::Relaxed) {
            0 => None,
            at => Timestamp::from_microsecond(at).ok(),
        }
    }

    /// When and why the last one was refused.
    pub fn last_refusal(&self) -> Option<(Timestamp, String)> {
        self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
