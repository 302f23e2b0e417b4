//! Asks providers for what no webhook tells, time and again: bank statements, list calls. In comes what the
//! provider module wants polled at an endpoint; out go receipts of the answers that say something new. The
//! receipt, its events and where the list goes on are one commit, so that a crash neither skips nor
//! repeats anything. Answers like those of the last time are not stored again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use rand::Rng;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::groups::{Groups, cursor, cursor_value};
use super::job::wait;
use super::steps::{Memo, Reached, Walk, walk};
use super::{Failure, Next};
use crate::ingest::{Clock, Ingest, Registered};
use crate::model::EndpointName;
use crate::providers::{Answer, Call, Fetch};
use crate::receipt::{Receipt, Request, signature};
use crate::store::{EndpointValue, NewReceipt, ReceiptState};

/// How often an endpoint is polled where its setting does not say, in seconds.
const DEFAULT_INTERVAL_SECONDS: u64 = 21_600;
const MIN_INTERVAL_SECONDS: u64 = 1;
const INTERVAL_SETTING: &str = "poll_interval";
/// What the digest of the last answers is kept under.
const POLLED: &str = "polled:";
/// By how much an interval varies, as one part in so many.
const JITTER_PART: u32 = 10;

/// The pollers of all endpoints. Dropped, they stop.
pub struct Pollers {
    ingest: Ingest,
    clock: Clock,
    groups: Arc<Groups>,
    running: Mutex<HashMap<EndpointName, Task>>,
}

/// A poller; dropped, it stops.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pollers {
    /// None runs yet.
    pub fn new(ingest: Ingest, clock: Clock, groups: Arc<Groups>) -> Pollers {
        Pollers { ingest, clock, groups, running: Mutex::default() }
    }

    /// Starts pollers of endpoints that want to be polled, and stops those of others. One that goes on
    /// keeps its time.
    pub fn restart(&self) {
        let wanted: Vec<EndpointName> = self
            .ingest
            .endpoints()
            .all()
            .into_iter()
            .filter(|one| !(one.provider.poll)(&one.endpoint).is_empty())
            .map(|one| one.endpoint.name.clone())
            .collect();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|name, task| wanted.contains(name) && !task.0.is_finished());
        for name in wanted {
            let start = || {
                let (ingest, clock) = (self.ingest.clone(), self.clock.clone());
                Task(tokio::spawn(run(ingest, clock, self.groups.clone(), name.clone())))
            };
            if !running.contains_key(&name) {
                running.insert(name.clone(), start());
            }
        }
    }

    /// Stops all.
    pub fn stop(&self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Polls one endpoint now.
    pub async fn poll(&self, name: &EndpointName) -> Result<(), Failure> {
        let registered = self.ingest.endpoints().by_name(name);
        let registered = registered
            .ok_or_else(|| Failure::for_good(format!("endpoint `{name}` is not configured")))?;
        poll(&self.ingest, &self.clock, &self.groups, &registered).await
    }
}

async fn run(ingest: Ingest, clock: Clock, groups: Arc<Groups>, name: EndpointName) {
    let first = ingest.outgoing.settings().first_poll;
    tokio::time::sleep(part_of(first)).await;
    let mut failures = 0_u32;
    while let Some(registered) = ingest.endpoints().by_name(&name) {
        let interval = interval(&registered);
        let polled = poll(&ingest, &clock, &groups, &registered).await;
        let pause = match polled {
            Ok(()) => {
                failures = 0;
                interval + part_of(interval) / JITTER_PART
            }
            Err(failure) => {
                failures = failures.saturating_add(1);
                let reason = failure.reason.as_str();
                tracing::warn!(endpoint = %name, failures, reason, "a poll failed");
                registered.health.fail_fetch(clock(), reason.to_owned());
                registered.meters.fetch_retried.increment(1);
                match failure.next {
                    Next::Never => interval,
                    next => wait(ingest.outgoing.settings(), next, failures).min(interval),
                }
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Anything up to this.
fn part_of(whole: Duration) -> Duration {
    whole.mul_f64(rand::rng().random_range(0.0..=1.0))
}

fn interval(registered: &Registered) -> Duration {
    let setting = registered.endpoint.setting(INTERVAL_SETTING, "");
    let seconds = setting.parse().unwrap_or(DEFAULT_INTERVAL_SECONDS).max(MIN_INTERVAL_SECONDS);
    Duration::from_secs(seconds)
}

/// All that the endpoint wants polled. What fails does not keep the rest from being polled.
async fn poll(
    ingest: &Ingest,
    clock: &Clock,
    groups: &Groups,
    registered: &Arc<Registered>,
) -> Result<(), Failure> {
    let mut result = Ok(());
    for fetch in (registered.provider.poll)(&registered.endpoint) {
        let endpoint = &registered.endpoint.name;
        let turn = groups.turn(endpoint, &fetch.object);
        let held = turn.lock().await;
        let polled = poll_one(ingest, clock, registered, &fetch).await;
        drop(held);
        groups.leave(endpoint, &fetch.object, turn);
        if let Err(failure) = polled {
            result = Err(failure);
        }
    }
    result
}

async fn poll_one(
    ingest: &Ingest,
    clock: &Clock,
    registered: &Arc<Registered>,
    fetch: &Fetch,
) -> Result<(), Failure> {
    let endpoint = &registered.endpoint.name;
    let from = cursor(ingest, endpoint, &fetch.object).await?;
    let now = clock();
    let of_poll = Walk { registered, fetch, received_at: now, now, cursor: &from };
    let reached = walk(ingest, of_poll, &mut Memo::default()).await?;
    let Reached::Done { drafts, cursor, first, answers } = reached else {
        registered.meters.fetch_denied.increment(1);
        return Ok(());
    };
    registered.meters.fetch_done.increment(1);
    let body = joined(&answers);
    let name = format!("{POLLED}{}", fetch.object);
    let digest = hex::encode(Sha256::digest(&body));
    let before = ingest.store.value(endpoint, &name).await;
    let before = before.map_err(|error| Failure::again(error.to_string()))?;
    if before.as_ref() == Some(&digest) && cursor.as_ref().is_none_or(|next| *next == from) {
        return Ok(());
    }
    let mut values = vec![EndpointValue { endpoint: endpoint.clone(), name, value: digest }];
    values.extend(cursor.map(|value| cursor_value(endpoint, &fetch.object, value)));
    let stored = match first.filter(|_| !drafts.is_empty()) {
        None => ingest.keep(values).await,
        Some(call) => {
            let new = NewReceipt {
                receipt: receipt(registered, &call, body, now),
                state: ReceiptState::Translated,
                drafts,
                retry_of: None,
                earlier: Vec::new(),
            };
            ingest.submit(new, values).await.map(|_| ())
        }
    };
    stored.map_err(|error| Failure::again(format!("not stored: {error}")))
}

fn joined(answers: &[Answer]) -> Bytes {
    let mut body = BytesMut::new();
    for (index, answer) in answers.iter().enumerate() {
        if index > 0 {
            body.extend_from_slice(b"\n");
        }
        body.extend_from_slice(&answer.body);
    }
    body.freeze()
}

/// The answers of a poll, as a receipt of a request that was ours.
fn receipt(registered: &Registered, call: &Call, body: Bytes, now: jiff::Timestamp) -> Receipt {
    let rest = call.url.split_once("://").map_or("", |(_, rest)| rest);
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let path = path.split('?').next().unwrap_or_default().to_owned();
    let proof = signature::fetched(host.split('?').next().unwrap_or_default());
    let request = Request { method: Method::GET, path, headers: HeaderMap::new(), body };
    let redaction = registered.provider.redaction;
    Receipt::new(request, proof, registered.endpoint.name.clone(), now, redaction)
}
