//! What is known of the account's limits while it is used: what a query costs, and what is left of the day.
//! In come the settings and what answers tell, out go prices of the calls to come and the day's quota. It
//! must never take the account to have more than it has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::problem::until_midnight;
use crate::budget::Budget;

/// What a call does; each kind has a price of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Reads a board's columns, or who the token is.
    Describe,
    /// Looks items up.
    Lookup,
    /// Changes items.
    Update,
    /// Creates items.
    Create,
}

/// Prices of one alias, in complexity points: thought at first, then as the last answer told.
#[derive(Debug)]
pub(super) struct Prices([AtomicU64; 4]);

impl Default for Prices {
    fn default() -> Prices {
        // The vendor publishes none. A mutation costs most.
        Prices([5_000, 5_000, 10_000, 10_000].map(AtomicU64::new))
    }
}

impl Prices {
    /// What one alias of this kind costs.
    pub(super) fn one(&self, kind: Kind) -> u64 {
        self.of(kind).load(Ordering::Relaxed)
    }

    /// A call with so many aliases cost this.
    pub(super) fn learn(&self, kind: Kind, aliases: u64, cost: u64) {
        self.of(kind).store(cost.div_ceil(aliases.max(1)).max(1), Ordering::Relaxed);
    }

    fn of(&self, kind: Kind) -> &AtomicU64 {
        let [describe, lookup, update, create] = &self.0;
        match kind {
            Kind::Describe => describe,
            Kind::Lookup => lookup,
            Kind::Update => update,
            Kind::Create => create,
        }
    }
}

/// The calls of a day, which begins at midnight UTC.
#[derive(Debug)]
pub(super) struct Day {
    calls: u64,
    today: Mutex<Option<Date>>,
}

impl Day {
    /// So many, until an answer tells better.
    pub(super) fn new(calls: u64) -> Day {
        Day { calls, today: Mutex::new(None) }
    }

    /// To be called before each call: begins the day in the budget if it is a new one. A second connector
    /// of the account that begins it a little later counts some calls anew; the answers put that right.
    pub(super) fn begin(&self, budget: &Budget, now: Timestamp) {
        let date = now.to_zoned_datetime(TimeZone::UTC).date();
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        let before = today.replace(date);
        let is_known = budget.standing().daily_limit.is_some();
        if before == Some(date) || (before.is_none() && is_known) {
            return;
        }
        budget.daily(self.calls, Some(self.calls), Some(until_midnight(now)));
    }

    /// What the headers of an answer tell about the day.
    pub(super) fn told(&self, budget: &Budget, headers: &HeaderMap) {
        if let Some(told) = daily_of(headers) {
            budget.daily(told.remaining, Some(told.limit), Some(told.resets_in));
        }
    }
}

#[derive(Debug, PartialEq)]
struct Told {
    limit: u64,
    remaining: u64,
    resets_in: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The policy of a day in the headers `RateLimit-Policy: "name";q=1000;w=86400` and `RateLimit:
/// "name";r=990;t=3600`, lists of the form that the IETF's draft gives them. Names are the vendor's own,
/// so the policy is known by its window.
fn daily_of(headers: &HeaderMap) -> Option<Told> {
    let policies = headers.get("ratelimit-policy")?.to_str().ok()?;
    let standing = headers.get("ratelimit")?.to_str().ok()?;
    let policy =
        policies.split(',').find(|policy| parameter(policy, "w") == Some(DAY.as_secs()))?;
    let name = name_of(policy);
    let left = standing.split(',').find(|left| name_of(left) == name)?;
    Some(Told {
        limit: parameter(policy, "q")?,
        remaining: parameter(left, "r")?,
        resets_in: Duration::from_secs(parameter(left, "t")?).min(DAY),
    })
}

fn name_of(item: &str) -> &str {
    item.split(';').next().unwrap_or_default().trim()
}

fn parameter(item: &str, key: &str) -> Option<u64> {
    let mut parameters = item.split(';').skip(1).filter_map(|one| one.trim().split_once('='));
    parameters.find(|(name, _)| *name == key)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Limits;

    fn budget() -> Budget {
        Budget::new(Limits { windows: Vec::new(), max_in_flight: 1, daily_reserve: 0 })
    }

    #[test]
    fn the_day_is_known_by_its_window() {
        let mut headers = HeaderMap::new();
        let policies = r#""minute";q=1000;w=60, "calls";q=10000;w=86400"#;
        headers.insert("ratelimit-policy", policies.parse().expect("a header"));
        let standing = r#""minute";r=999;t=12, "calls";r=9000;t=3600"#;
        headers.insert("ratelimit", standing.parse().expect("a header"));
        let resets_in = Duration::from_secs(3_600);
        let told = Told { limit: 10_000, remaining: 9_000, resets_in };
        assert_eq!(daily_of(&headers), Some(told));
        headers.insert("ratelimit", "gibberish".parse().expect("a header"));
        assert_eq!(daily_of(&headers), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_day_begins_once_and_anew_at_midnight() {
        let (budget, day) = (budget(), Day::new(2));
        let evening: Timestamp = "2026-11-24T23:59:00Z".parse().expect("a time");
        for left in [1, 0] {
            day.begin(&budget, evening);
            let _permit = budget.acquire(1).await.expect("a call is left");
            assert_eq!(budget.standing().daily_remaining, Some(left));
        }
        assert!(budget.acquire(1).await.is_err());
        day.begin(&budget, "2026-11-25T00:00:01Z".parse().expect("a time"));
        let _permit = budget.acquire(1).await.expect("a new day");
        assert_eq!(budget.standing().daily_limit, Some(2));
    }

    #[test]
    fn prices_are_learned_by_alias() {
        let prices = Prices::default();
        prices.learn(Kind::Update, 20, 200_021);
        assert_eq!((prices.one(Kind::Update), prices.one(Kind::Create)), (10_002, 10_000));
    }
}
