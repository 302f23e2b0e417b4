//! The service protection limits of Dataverse: requests and execution time in a sliding window, calls in
//! flight. In comes each call and each request of it, out goes leave or a refusal with a wait. Whoever calls
//! during a wait waits longer.
//! <https://learn.microsoft.com/power-apps/developer/data-platform/api-limits>

use std::time::Duration;

use jiff::Timestamp;

use super::error;
use super::settings::Settings;
use crate::clock::{after, until};
use crate::limits::Window;
use crate::{Reply, Request, Site};

/// Too many requests.
pub(super) const REQUESTS: &str = "0x80072322";
/// Too much execution time.
pub(super) const EXECUTION: &str = "0x80072321";
/// Too many calls at once.
pub(super) const CONCURRENCY: &str = "0x80072326";

/// What is waited for calls in flight to end.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(2);

/// The limits of the one user.
pub(super) struct Protection {
    requests: Window,
    execution: Window,
    execution_per_request: Duration,
    max_in_flight: usize,
    wait_grows_by: Duration,
    /// Nothing may be sent before, and the code that said so.
    blocked: Option<(Timestamp, &'static str)>,
}

/// A refusal.
pub(super) struct Refused {
    pub(super) code: &'static str,
    pub(super) wait: Duration,
}

impl Protection {
    pub(super) fn new(settings: &Settings) -> Protection {
        let execution_ms = milliseconds(settings.execution_per_window);
        Protection {
            requests: Window::sliding(settings.window, settings.requests_per_window),
            execution: Window::sliding(settings.window, execution_ms),
            execution_per_request: settings.execution_per_request,
            max_in_flight: settings.max_in_flight,
            wait_grows_by: settings.wait_grows_by,
            blocked: None,
        }
    }

    /// A call arrives.
    pub(super) fn enter(&mut self, request: &Request, now: Timestamp) -> Result<(), Refused> {
        if let Some((end, code)) = self.blocked
            && end > now
        {
            let end = after(end, self.wait_grows_by);
            self.blocked = Some((end, code));
            return Err(Refused { code, wait: until(now, end) });
        }
        self.blocked = None;
        if request.in_flight() > self.max_in_flight {
            return Err(self.block(CONCURRENCY, WAIT_FOR_OTHERS, now));
        }
        Ok(())
    }

    /// A request of a call is to be carried out.
    pub(super) fn take(&mut self, now: Timestamp) -> Result<(), Refused> {
        if let Err(over) = self.requests.take(now, 1) {
            return Err(self.block(REQUESTS, over.frees_in, now));
        }
        if let Err(over) = self.execution.take(now, milliseconds(self.execution_per_request)) {
            return Err(self.block(EXECUTION, over.frees_in, now));
        }
        Ok(())
    }

    /// Blocks the user for so long.
    pub(super) fn block(&mut self, code: &'static str, wait: Duration, now: Timestamp) -> Refused {
        // The wait is told in whole seconds, and must be over then.
        let wait =
            Duration::from_secs(wait.as_secs_f64().ceil() as u64).max(Duration::from_secs(1));
        self.blocked = Some((after(now, wait), code));
        Refused { code, wait }
    }

    /// Tells what is left, as all answers do that are no refusals of this kind.
    pub(super) fn tell(&mut self, reply: Reply, now: Timestamp) -> Reply {
        if reply.status == 429 {
            return reply;
        }
        let (requests, execution) = (self.requests.left(now), self.execution.left(now));
        reply
            .with_header("x-ms-ratelimit-burst-remaining-xrm-requests", requests.remaining)
            .with_header(
                "x-ms-ratelimit-time-remaining-xrm-requests",
                format!("{:.2}", execution.remaining as f64 / 1_000.0),
            )
    }
}

impl Refused {
    pub(super) fn reply(&self, site: &Site, tenant: &str, now: Timestamp) -> Reply {
        site.journal.throttled(tenant, after(now, self.wait));
        let seconds = self.wait.as_secs_f64().ceil();
        error(429, self.code, "Number of requests exceeded the limit over the time window.")
            .with_header("Retry-After", seconds)
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
