//! What the double allows: complexity points and calls a minute, calls a day, calls at once. In come calls
//! and plans, out go prices, or the vendor's refusal in the form that the settings name. Calls that are
//! refused count as calls and cost no points.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use super::Settings;
use super::graphql::{Node, Plan};
use crate::{Reply, Request, clock::after, limits::Window};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What one query may cost at most, whatever is left.
const MAX_QUERY: u64 = 5_000_000;

/// What queries cost, in complexity points.
#[derive(Clone, Debug)]
pub struct Prices {
    /// Each mutation of a request.
    pub mutation: u64,
    /// Each look-up of a request.
    pub lookup: u64,
    /// Each field that is asked for within one of them.
    pub field: u64,
}

impl Default for Prices {
    fn default() -> Prices {
        Prices { mutation: 10_000, lookup: 1_000, field: 10 }
    }
}

/// What a query cost, for those who ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Complexity {
    query: u64,
    before: u64,
    after: u64,
    resets_in: Duration,
}

impl Complexity {
    pub(super) fn json(self) -> Value {
        json!({
            "query": self.query, "before": self.before, "after": self.after,
            "reset_in_x_seconds": seconds(self.resets_in)
        })
    }
}

/// The counters of one account.
pub(super) struct Quota {
    points: Window,
    minute: Window,
    day: Window,
}

/// A refusal, and for how long nothing may be sent.
pub(super) struct Refused {
    pub(super) reply: Reply,
    pub(super) wait: Option<Duration>,
}

impl Quota {
    pub(super) fn new(settings: &Settings, now: Timestamp) -> Quota {
        let today = now.to_zoned_datetime(TimeZone::UTC).date();
        let midnight = today.to_zoned_datetime(TimeZone::UTC).map(|start| start.timestamp());
        let midnight = after(midnight.unwrap_or(now), DAY);
        Quota {
            points: Window::sliding(MINUTE, settings.points_per_minute),
            minute: Window::sliding(MINUTE, settings.calls_per_minute),
            day: Window::daily(settings.calls_per_day, midnight),
        }
    }

    /// Counts a call, and refuses it if it is one too many.
    pub(super) fn count(&mut self, settings: &Settings, request: &Request) -> Result<(), Refused> {
        let now = request.arrived;
        let day = self.day.take(now, 1);
        if day.is_err() {
            self.day.charge(now, 1);
        }
        let minute = self.minute.take(now, 1);
        if minute.is_err() {
            self.minute.charge(now, 1);
        }
        if let Err(over) = day {
            let reply = refusal(settings, "DAILY_LIMIT_EXCEEDED", None);
            return Err(Refused { reply, wait: Some(over.frees_in) });
        }
        if minute.is_err() {
            // The refused call counts as well: the wait is until there is room for the next one.
            let wait = self.minute.take(now, 1).err().map_or(MINUTE, |over| over.frees_in);
            let wait = Duration::from_secs(seconds(wait));
            let reply = refusal(settings, "RATE_LIMIT_EXCEEDED", Some(wait));
            return Err(Refused { reply, wait: Some(wait) });
        }
        if request.in_flight() > settings.max_in_flight {
            let wait = Duration::from_secs(1);
            let reply = refusal(settings, "maxConcurrencyExceeded", Some(wait));
            return Err(Refused { reply, wait: None });
        }
        Ok(())
    }

    /// Takes what a query costs, and refuses it if that is not there.
    pub(super) fn spend(
        &mut self,
        settings: &Settings,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<Complexity, Refused> {
        let query = price(&settings.prices, plan);
        if query > MAX_QUERY {
            let words = format!("the query costs {query} of {MAX_QUERY}");
            return Err(Refused { reply: plain(400, "maxComplexityExceeded", &words), wait: None });
        }
        let before = self.points.left(now).remaining;
        match self.points.take(now, query) {
            Ok(left) => {
                let resets_in = left.resets_in;
                Ok(Complexity { query, before, after: left.remaining, resets_in })
            }
            Err(over) => {
                let wait = Duration::from_secs(seconds(over.frees_in));
                let code = match settings.refuses_flat {
                    true => "ComplexityException",
                    false => "COMPLEXITY_BUDGET_EXHAUSTED",
                };
                Err(Refused { reply: refusal(settings, code, Some(wait)), wait: Some(wait) })
            }
        }
    }

    /// The answer with what is left in its headers, in the form of the IETF's draft.
    pub(super) fn told(&mut self, reply: Reply, now: Timestamp) -> Reply {
        let (minute, day) = (self.minute.left(now), self.day.left(now));
        let policies = format!(
            "\"minute\";q={};w=60, \"daily\";q={};w=86400",
            self.minute.max(),
            self.day.max()
        );
        let left = format!(
            "\"minute\";r={};t={}, \"daily\";r={};t={}",
            minute.remaining,
            seconds(minute.resets_in),
            day.remaining,
            seconds(day.resets_in)
        );
        reply.with_header("ratelimit-policy", policies).with_header("ratelimit", left)
    }
}

/// The vendor's refusal with this code; it tells the wait in the body and as `Retry-After`.
pub fn refusal(settings: &Settings, code: &str, wait: Option<Duration>) -> Reply {
    let status = if settings.refuses_with_200 { 200 } else { 429 };
    let mut reply = if settings.refuses_flat {
        let words = format!("{code}: the limit is reached");
        let data = wait.map_or(json!({}), |wait| json!({ "retry_in_seconds": seconds(wait) }));
        Reply::json(
            status,
            &json!({
                "error_code": code, "status_code": 429, "error_message": words,
                "error_data": data, "errors": [words], "account_id": super::ACCOUNT_ID
            }),
        )
    } else {
        let mut extensions = json!({ "code": code });
        if let Some(wait) = wait {
            extensions["retry_in_seconds"] = json!(seconds(wait));
        }
        let error = json!({ "message": "the limit is reached", "extensions": extensions });
        Reply::json(status, &json!({ "errors": [error] }))
    };
    if let Some(wait) = wait {
        reply = reply.with_header("retry-after", seconds(wait));
    }
    reply
}

/// An error of the whole call.
pub(super) fn plain(status: u16, code: &str, words: &str) -> Reply {
    let error = json!({ "message": words, "extensions": { "code": code, "status_code": status } });
    Reply::json(status, &json!({ "errors": [error], "account_id": super::ACCOUNT_ID }))
}

fn price(prices: &Prices, plan: &Plan) -> u64 {
    let own = if plan.is_mutation { prices.mutation } else { prices.lookup };
    let priced = plan.fields.iter().filter(|node| node.name != "complexity");
    priced.fold(1, |sum, node| {
        let fields = prices.field.saturating_mul(fields(node));
        sum.saturating_add(own).saturating_add(fields)
    })
}

fn fields(node: &Node) -> u64 {
    node.children.iter().map(|child| 1 + fields(child)).sum()
}

/// Whole seconds, and one more for a part of one.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
