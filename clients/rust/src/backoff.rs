//! How long to wait before connecting again: exponential with full jitter, so that the clients of a gateway
//! that went away do not all come back at once. In go the lifetimes of connections, out come waits. It
//! never sleeps itself and never gives up.

use std::time::Duration;

/// A connection that lived this long was a good one: the next wait is a short one again.
const HEALTHY: Duration = Duration::from_secs(30);
/// What the waits begin with.
pub(crate) const MIN: Duration = Duration::from_millis(100);
/// What they grow to.
pub(crate) const MAX: Duration = Duration::from_secs(10);

/// The state of one reconnecting stream.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits grow from `min` to `max`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), failures: 0 }
    }

    /// The wait after a connection that lived for `lived`, not below what the gateway asked for.
    pub(crate) fn next(&mut self, lived: Duration, asked: Option<Duration>) -> Duration {
        if lived >= HEALTHY {
            self.failures = 0;
        }
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        asked.unwrap_or_default() + ceiling.mul_f64(rand::random::<f64>())
    }

    fn ceiling(&self) -> Duration {
        let factor = 2u32.saturating_pow(self.failures.min(31));
        self.min.saturating_mul(factor).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_below_a_ceiling_that_doubles_up_to_the_maximum() {
        let mut backoff = Backoff::new(MIN, MAX);
        for ceiling_ms in [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] {
            assert_eq!(backoff.ceiling(), Duration::from_millis(ceiling_ms));
            assert!(backoff.next(Duration::ZERO, None) <= Duration::from_millis(ceiling_ms));
        }
    }

    #[test]
    fn waits_differ_from_each_other() {
        let mut backoff = Backoff::new(MAX, MAX);
        let first = backoff.next(Duration::ZERO, None);
        assert!((0..20).any(|_| backoff.next(Duration::ZERO, None) != first));
    }

    #[test]
    fn a_healthy_connection_makes_the_next_wait_short() {
        let mut backoff = Backoff::new(MIN, MAX);
        for _ in 0..100 {
            let _ = backoff.next(Duration::ZERO, None);
        }
        assert!(backoff.next(HEALTHY, None) <= MIN);
    }

    #[test]
    fn the_gateway_may_ask_for_more() {
        let asked = Duration::from_secs(60);
        let wait = Backoff::new(MIN, MAX).next(Duration::ZERO, Some(asked));
        assert!(wait >= asked && wait <= asked + MIN);
    }
}
