//! What a connector did and where it stands, for those who watch over it. In comes each thing as it happens,
//! out go metrics and a [`Status`]. All that is held is bounded. It must never hold up the connector, and
//! never hold a credential or a value of a record.

pub mod status;
mod throughput;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use metrics::{counter, gauge, histogram};
use tollgate_client::{Event, Progress};

use crate::crm::Crm;
use crate::trace;
use status::{Lag, Quota, Rates, Status, Trouble, Waiting};
use throughput::{LONGEST, Throughput};

/// How many events that were given back are told.
const MAX_TROUBLES: usize = 20;
/// How much of a reason is kept.
const MAX_REASON_BYTES: usize = 500;
/// How many outcomes are told apart, all objects together.
const MAX_OUTCOMES: usize = 64;
/// What the others count as.
const OTHER: &str = "other";

/// The observer of one connector.
pub struct Report {
    crm_name: &'static str,
    target: String,
    subscription: String,
    crm: Arc<dyn Crm>,
    started_at: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    identity: String,
    /// Why the CRM refuses the credential.
    unauthorized: Option<String>,
    progress: Progress,
    throughput: Throughput,
    acks: BTreeMap<String, BTreeMap<String, u64>>,
    nacks: BTreeMap<&'static str, u64>,
    troubles: VecDeque<Trouble>,
    /// Currencies that waited once: their gauges must come down to nothing again.
    currencies: BTreeSet<String>,
}

/// Where a connector is in its life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It checks its mapping.
    #[default]
    Starting,
    /// It waits for the CRM, for this reason.
    Waiting(String),
    /// It takes deliveries.
    Running,
    /// It ended, for this reason.
    Stopped(String),
}

/// An event that something is told about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    name: String,
    trace_id: String,
}

impl From<&Event> for Told {
    fn from(event: &Event) -> Told {
        Told { name: event.name.clone(), trace_id: trace::id(event) }
    }
}

/// By its name alone: its trace id is then not told.
impl From<&str> for Told {
    fn from(name: &str) -> Told {
        Told { name: name.to_owned(), trace_id: String::new() }
    }
}

impl Report {
    /// Of the connector of this CRM and configuration file that consumes this subscription.
    pub fn new(
        crm_name: &'static str,
        target: impl Into<String>,
        subscription: impl Into<String>,
        crm: Arc<dyn Crm>,
    ) -> Report {
        Report {
            crm_name,
            target: target.into(),
            subscription: subscription.into(),
            crm,
            started_at: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// The name of the configuration's file.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Where it is in its life.
    pub fn phase(&self, phase: Phase) {
        self.lock().phase = phase;
    }

    /// Who it is signed in as.
    pub fn identity(&self, identity: &str) {
        self.lock().identity = identity.to_owned();
    }

    /// An event was acknowledged with this outcome.
    pub fn settled(&self, object_label: &str, outcome: &str) {
        let second = self.started_at.elapsed().as_secs();
        let mut state = self.lock();
        state.throughput.count(second);
        let outcome = state.acknowledge(object_label, outcome);
        drop(state);
        let labels = [
            ("crm", self.crm_name.to_owned()),
            ("target", self.target.clone()),
            ("object", object_label.to_owned()),
            ("outcome", outcome),
        ];
        counter!("tollgate_connector_acks_total", &labels).increment(1);
    }

    /// An event was given back: `retry`, `throttled`, `parked` or `dead_letter`.
    pub fn nacked(&self, kind: &'static str, event: impl Into<Told>, reason: &str) {
        let Told { name, trace_id } = event.into();
        let trouble = Trouble {
            at: Timestamp::now().to_string(),
            kind: kind.to_owned(),
            event: name,
            trace_id,
            reason: shortened(reason),
        };
        let mut state = self.lock();
        *state.nacks.entry(kind).or_default() += 1;
        if state.troubles.len() == MAX_TROUBLES {
            state.troubles.pop_front();
        }
        state.troubles.push_back(trouble);
        drop(state);
        let labels = [
            ("crm", self.crm_name.to_owned()),
            ("target", self.target.clone()),
            ("kind", kind.to_owned()),
        ];
        counter!("tollgate_connector_nacks_total", &labels).increment(1);
    }

    /// A batch of so many rows was written or refused, and how long that took.
    pub fn batch(&self, rows: usize, took: Duration) {
        histogram!("tollgate_connector_batch_items", &self.labels()).record(rows as f64);
        histogram!("tollgate_connector_batch_seconds", &self.labels()).record(took.as_secs_f64());
    }

    /// Where the subscription stands.
    pub fn progress(&self, progress: &Progress) {
        self.lock().progress.clone_from(progress);
    }

    /// The CRM refuses the credential; somebody must act.
    pub fn unauthorized(&self, reason: &str) {
        self.lock().unauthorized = Some(shortened(reason));
    }

    /// The CRM takes the credential.
    pub fn authorized(&self) {
        self.lock().unauthorized = None;
    }

    /// Whether it works, and if not, why.
    pub fn health(&self) -> Result<(), String> {
        let state = self.lock();
        if let Some(reason) = &state.unauthorized {
            return Err(format!("the CRM refuses the credential: {reason}"));
        }
        match &state.phase {
            Phase::Stopped(reason) => Err(format!("stopped: {reason}")),
            Phase::Starting | Phase::Waiting(_) | Phase::Running => Ok(()),
        }
    }

    /// Whether it takes deliveries, and if not, why.
    pub fn readiness(&self) -> Result<(), String> {
        self.health()?;
        let state = self.lock();
        match &state.phase {
            Phase::Starting => Err("starting".to_owned()),
            Phase::Waiting(reason) => Err(format!("waits for the CRM: {reason}")),
            Phase::Running if !state.progress.connected => Err("no gateway answers".to_owned()),
            Phase::Running => Ok(()),
            Phase::Stopped(reason) => Err(format!("stopped: {reason}")),
        }
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        let (health, readiness) = (self.health(), self.readiness());
        let quota = self.quota();
        let second = self.started_at.elapsed().as_secs();
        let state = self.lock();
        Status {
            crm: self.crm_name.to_owned(),
            target: self.target.clone(),
            subscription: self.subscription.clone(),
            identity: state.identity.clone(),
            healthy: health.is_ok(),
            reason: readiness.err().unwrap_or_default(),
            connected: state.progress.connected,
            caught_up: state.progress.caught_up,
            lag: lag(&state.progress),
            throughput: state.rates(second),
            quota,
            acks: state.acks.clone(),
            nacks: state.nacks.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
            last_errors: state.troubles.iter().cloned().collect(),
        }
    }

    /// Brings the gauges up to date.
    pub fn refresh(&self) {
        let status = self.status();
        let set = |metric: &'static str, value: f64| gauge!(metric, &self.labels()).set(value);
        set("tollgate_connector_healthy", f64::from(u8::from(status.healthy)));
        set("tollgate_connector_connected", f64::from(u8::from(status.connected)));
        set("tollgate_connector_backlog_events", status.lag.events as f64);
        set("tollgate_connector_lag_seconds", status.lag.oldest_age_seconds as f64);
        set("tollgate_connector_events_per_second", status.throughput.last_1_minute);
        set("tollgate_connector_blocked_seconds", status.quota.blocked_seconds.unwrap_or(0.0));
        if let Some(remaining) = status.quota.remaining {
            set("tollgate_connector_quota_remaining", remaining as f64);
        }
        // Of the org: connectors of one org tell the same numbers.
        let count = |metric: &'static str, value: u64| {
            counter!(metric, &self.labels()).absolute(value);
        };
        count("tollgate_connector_calls_total", status.quota.calls);
        count("tollgate_connector_throttled_total", status.quota.throttled);
        count("tollgate_connector_failed_calls_total", status.quota.failed);
        for (currency, minor_units) in self.lock().waiting_money() {
            let labels = [
                ("crm", self.crm_name.to_owned()),
                ("target", self.target.clone()),
                ("currency", currency),
            ];
            gauge!("tollgate_connector_backlog_minor_units", &labels).set(minor_units as f64);
        }
    }

    fn labels(&self) -> [(&'static str, String); 2] {
        [("crm", self.crm_name.to_owned()), ("target", self.target.clone())]
    }

    fn quota(&self) -> Quota {
        let standing = self.crm.budget().standing();
        let (blocked_seconds, blocked_reason) = match standing.blocked {
            Some((wait, reason)) => (Some(wait.as_secs_f64()), shortened(&reason)),
            None => (None, String::new()),
        };
        Quota {
            remaining: standing.daily_remaining,
            limit: standing.daily_limit,
            blocked_seconds,
            blocked_reason,
            calls: standing.counts.calls,
            throttled: standing.counts.throttled,
            failed: standing.counts.failed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts it, and tells what it counts as.
    fn acknowledge(&mut self, object: &str, outcome: &str) -> String {
        let known = self.acks.get(object).is_some_and(|of| of.contains_key(outcome));
        let many = self.acks.values().map(BTreeMap::len).sum::<usize>() >= MAX_OUTCOMES;
        let outcome = if many && !known { OTHER } else { outcome };
        let of = self.acks.entry(object.to_owned()).or_default();
        *of.entry(outcome.to_owned()).or_default() += 1;
        outcome.to_owned()
    }

    /// By currency, also of those of which nothing waits any more.
    fn waiting_money(&mut self) -> BTreeMap<String, i64> {
        let waits = self.progress.backlog.as_ref().map_or(&[][..], |backlog| &backlog.amounts);
        self.currencies.extend(waits.iter().map(|money| money.currency.clone()));
        let mut all: BTreeMap<String, i64> =
            self.currencies.iter().map(|currency| (currency.clone(), 0)).collect();
        all.extend(waits.iter().map(|money| (money.currency.clone(), money.minor_units)));
        all
    }

    fn rates(&self, second: u64) -> Rates {
        let rate = |span: u64| {
            // A connector that just began is measured by what it has lived.
            self.throughput.within(span, second) as f64 / span.min(second.max(1)) as f64
        };
        Rates { last_1_minute: rate(60), last_15_minutes: rate(LONGEST) }
    }
}

fn lag(progress: &Progress) -> Lag {
    let backlog = progress.backlog.as_ref();
    Lag {
        position: progress.position,
        head: progress.head,
        events: backlog.map_or(0, |backlog| backlog.events),
        subjects: backlog.map_or(0, |backlog| backlog.subjects),
        oldest_age_seconds: backlog
            .and_then(|backlog| backlog.oldest_age.as_ref())
            .map_or(0, |age| age.seconds),
        exact: backlog.is_none_or(|backlog| backlog.exact),
        money: backlog
            .map(|backlog| backlog.amounts.as_slice())
            .unwrap_or_default()
            .iter()
            .map(|money| Waiting {
                minor_units: money.minor_units,
                currency: money.currency.clone(),
            })
            .collect(),
    }
}

fn shortened(reason: &str) -> String {
    reason[..reason.floor_char_boundary(MAX_REASON_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use tollgate_client::proto::{Backlog, Money};

    use super::*;
    use crate::shelf::Shelf;

    fn report() -> Report {
        Report::new("shelf", "eu", "crm", Arc::new(Shelf::default()))
    }

    #[test]
    fn it_tells_outcomes_and_the_last_events_that_were_given_back() {
        let report = report();
        report.settled("deals", "updated");
        report.settled("deals", "updated");
        for number in 0..30 {
            report.nacked("retry", format!("events/{number}").as_str(), "503: busy");
        }
        let event =
            Event { name: "events/31".to_owned(), hash: "ab".repeat(32), ..Event::default() };
        report.nacked("parked", &event, &"x".repeat(2_000));
        let status = report.status();
        assert_eq!(status.acks["deals"]["updated"], 2);
        assert_eq!((status.nacks["retry"], status.nacks["parked"]), (30, 1));
        assert_eq!(status.last_errors.len(), MAX_TROUBLES);
        let last = status.last_errors.last().expect("the newest");
        assert_eq!((last.event.as_str(), last.trace_id.len()), ("events/31", 32));
        assert_eq!(last.reason.len(), MAX_REASON_BYTES);
        assert!(status.throughput.last_1_minute > 0.0);
    }

    #[test]
    fn outcomes_without_end_are_counted_together() {
        let report = report();
        for number in 0..1_000 {
            report.settled("deals", &format!("outcome {number}"));
        }
        let status = report.status();
        assert_eq!(status.acks["deals"].len(), MAX_OUTCOMES + 1);
        assert_eq!(status.acks["deals"][OTHER], 1_000 - MAX_OUTCOMES as u64);
    }

    #[test]
    fn a_refused_credential_is_unhealthy_until_it_is_taken() {
        let report = report();
        assert!(report.health().is_ok() && report.readiness().is_err());
        report.phase(Phase::Running);
        report.progress(&Progress { connected: true, ..Progress::default() });
        assert_eq!(report.readiness(), Ok(()));
        report.unauthorized("invalid_client");
        let status = report.status();
        assert!(!status.healthy && status.reason.contains("invalid_client"), "{}", status.reason);
        report.authorized();
        assert!(report.status().healthy);
        report.phase(Phase::Stopped("the subscription is gone".to_owned()));
        assert!(report.health().is_err());
    }

    #[test]
    fn money_that_waits_no_more_is_told_as_nothing() {
        let report = report();
        let waits = |amounts| Progress {
            backlog: Some(Backlog { events: 1, amounts, ..Backlog::default() }),
            ..Progress::default()
        };
        let euros = Money { minor_units: 12_995, currency: "EUR".to_owned() };
        report.progress(&waits(vec![euros]));
        assert_eq!(report.status().lag.money[0].minor_units, 12_995);
        assert_eq!(report.lock().waiting_money()["EUR"], 12_995);
        report.progress(&waits(Vec::new()));
        assert_eq!(report.lock().waiting_money()["EUR"], 0);
    }
}
