//! What happened at a double: every call with its answer, every committed write, every wait a tenant
//! was told. Tests read it to hold a connector to its promises: no second create for one key, never
//! an older value over a newer one, no call during a wait. It decides nothing and is never sent out.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde_json::Value;

use crate::{Clock, Host, Reply, Request, State, clock::after};

const MAX_KEPT_BODY: usize = 64 * 1024;

/// One call and what became of it. Authorization headers do not show in its debug form.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its place in the order of arrival, from 1.
    pub number: u64,
    /// The host it came to.
    pub host: Host,
    /// Whose call it is, as the backend tells.
    pub tenant: String,
    /// Its method.
    pub method: Method,
    /// Its path as sent.
    pub path: String,
    /// Its query, decoded.
    pub query: Vec<(String, String)>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, without what goes beyond 64 KiB.
    pub body: Bytes,
    /// When it arrived.
    pub at: Timestamp,
    /// How many calls of the tenant were in flight then, itself among them.
    pub in_flight: usize,
    /// The status it was answered with; none if it got no answer (yet).
    pub status: Option<u16>,
    /// The body of the answer, without what goes beyond 64 KiB.
    pub answer: Bytes,
}

/// One committed write to one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The object, module, table or board.
    pub object: String,
    /// The id of the record.
    pub record: String,
    /// The key the record is known by outside, such as the payment id.
    pub key: String,
    /// The fields that this write changed, with their new values.
    pub fields: Vec<(String, Value)>,
    /// Whether it created the record.
    pub created: bool,
    /// When it was committed.
    pub at: Timestamp,
    /// The number of the call that wrote it; 0 if a test or a simulated person did.
    pub call: u64,
}

#[derive(Clone, Debug)]
struct Wait {
    tenant: String,
    told_at: Timestamp,
    until: Timestamp,
}

/// The journal of one server; its clones share it.
#[derive(Clone, Debug)]
pub struct Journal {
    clock: Clock,
    pages: Arc<State<Pages>>,
}

#[derive(Debug, Default)]
struct Pages {
    calls: Vec<Call>,
    commits: Vec<Commit>,
    waits: Vec<Wait>,
}

impl Journal {
    /// An empty journal on this clock.
    pub fn new(clock: Clock) -> Journal {
        Journal { clock, pages: Arc::default() }
    }

    /// Records a committed write. Backends call this while they hold their state.
    pub fn wrote(&self, commit: Commit) {
        self.pages.lock().commits.push(commit);
    }

    /// Records that a tenant was told to send nothing before this time.
    pub fn throttled(&self, tenant: &str, until: Timestamp) {
        let told_at = self.clock.now();
        self.pages.lock().waits.push(Wait { tenant: tenant.to_owned(), told_at, until });
    }

    /// All calls in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.pages.lock().calls.clone()
    }

    /// The calls whose path contains this text.
    pub fn calls_to(&self, path: &str) -> Vec<Call> {
        self.calls_where(|call| call.path.contains(path))
    }

    /// The calls of a tenant.
    pub fn calls_of(&self, tenant: &str) -> Vec<Call> {
        self.calls_where(|call| call.tenant == tenant)
    }

    /// The calls for which this holds.
    pub fn calls_where(&self, holds: impl Fn(&Call) -> bool) -> Vec<Call> {
        self.pages.lock().calls.iter().filter(|call| holds(call)).cloned().collect()
    }

    /// How many calls had a path that contains this text.
    pub fn count(&self, path: &str) -> usize {
        self.pages.lock().calls.iter().filter(|call| call.path.contains(path)).count()
    }

    /// All committed writes in their order.
    pub fn commits(&self) -> Vec<Commit> {
        self.pages.lock().commits.clone()
    }

    /// The committed writes to the records known by this key.
    pub fn commits_of(&self, key: &str) -> Vec<Commit> {
        self.pages.lock().commits.iter().filter(|commit| commit.key == key).cloned().collect()
    }

    /// The creates of a key for which there was a create in the same object before.
    pub fn second_creates(&self) -> Vec<Commit> {
        let mut seen = std::collections::HashSet::new();
        let pages = self.pages.lock();
        let creates = pages.commits.iter().filter(|commit| commit.created);
        creates.filter(|c| !seen.insert((&c.object, &c.key))).cloned().collect()
    }

    /// The values that one field of the records known by this key took, in order.
    pub fn values(&self, key: &str, field: &str) -> Vec<Value> {
        let pages = self.pages.lock();
        let of_key = pages.commits.iter().filter(|commit| commit.key == key);
        of_key.filter_map(|commit| commit.value(field)).cloned().collect()
    }

    /// The writes that put an older value of a field over a newer one on the same record, where
    /// `older(new, before)` says that the new value is the older one.
    pub fn went_back(&self, field: &str, older: impl Fn(&Value, &Value) -> bool) -> Vec<Commit> {
        let mut latest = std::collections::HashMap::new();
        let pages = self.pages.lock();
        let mut back = Vec::new();
        for commit in &pages.commits {
            let Some(value) = commit.value(field) else { continue };
            let before = latest.insert((&commit.object, &commit.record), value);
            if before.is_some_and(|before| older(value, before)) {
                back.push(commit.clone());
            }
        }
        back
    }

    /// The calls that came before the end of a wait their tenant had been told. Calls within
    /// `grace` of the telling are let off: they may have been on their way already.
    pub fn early_calls(&self, grace: Duration) -> Vec<Call> {
        let pages = self.pages.lock();
        let early = |call: &&Call| {
            pages.waits.iter().any(|wait| {
                let told = after(wait.told_at, grace);
                wait.tenant == call.tenant && call.at > told && call.at < wait.until
            })
        };
        pages.calls.iter().filter(early).cloned().collect()
    }

    /// The most calls of one tenant that were ever in flight at once.
    pub fn most_in_flight(&self) -> usize {
        self.pages.lock().calls.iter().map(|call| call.in_flight).max().unwrap_or(0)
    }

    /// Forgets everything but the numbering, for a test that counts from here.
    pub fn forget(&self) {
        let mut pages = self.pages.lock();
        pages.calls.clear();
        pages.commits.clear();
        pages.waits.clear();
    }

    pub(crate) fn arrived(&self, request: &Request) {
        let mut headers = request.headers.clone();
        for name in ["authorization", "x-api-token"] {
            if let Some(value) = headers.get_mut(name) {
                value.set_sensitive(true);
            }
        }
        self.pages.lock().calls.push(Call {
            number: request.number,
            host: request.host,
            tenant: request.tenant.clone(),
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers,
            body: kept(&request.body),
            at: request.arrived,
            in_flight: request.in_flight(),
            status: None,
            answer: Bytes::new(),
        });
    }

    pub(crate) fn answered(&self, number: u64, reply: &Reply) {
        let mut pages = self.pages.lock();
        // The call is most often among the last: look from the end.
        if let Some(call) = pages.calls.iter_mut().rev().find(|call| call.number == number) {
            call.status = Some(reply.status.as_u16());
            call.answer = kept(&reply.body);
        }
    }
}

impl Commit {
    /// The new value of a field, if this write changed it.
    pub fn value(&self, field: &str) -> Option<&Value> {
        self.fields.iter().find(|(name, _)| name == field).map(|(_, value)| value)
    }
}

fn kept(body: &Bytes) -> Bytes {
    match body.len() {
        0..=MAX_KEPT_BODY => body.clone(),
        _ => Bytes::copy_from_slice(&body[..MAX_KEPT_BODY]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn commit(record: &str, value: i64, created: bool) -> Commit {
        Commit {
            object: "deal".to_owned(),
            record: record.to_owned(),
            key: "pay_1".to_owned(),
            fields: vec![("sequence".to_owned(), json!(value))],
            created,
            at: Timestamp::UNIX_EPOCH,
            call: 1,
        }
    }

    #[test]
    fn a_second_create_and_an_older_value_are_found() {
        let journal = Journal::new(Clock::standing(Timestamp::UNIX_EPOCH));
        journal.wrote(commit("1", 1, true));
        journal.wrote(commit("1", 3, false));
        let older = |new: &Value, before: &Value| new.as_i64() < before.as_i64();
        assert!(journal.second_creates().is_empty());
        assert!(journal.went_back("sequence", older).is_empty());

        journal.wrote(commit("1", 2, false));
        journal.wrote(commit("2", 9, true));
        assert_eq!(journal.second_creates(), [commit("2", 9, true)]);
        assert_eq!(journal.went_back("sequence", older), [commit("1", 2, false)]);
        assert_eq!(journal.values("pay_1", "sequence"), [json!(1), json!(3), json!(2), json!(9)]);
    }
}
