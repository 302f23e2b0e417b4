//! The clock of a double: real time plus an offset that a test sets, or a time that stands still
//! until it is moved. Token lifetimes, rate windows and quotas all read it; delays and hangs do not,
//! since the connector on the other side waits in real time.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::State;

/// A clock that its clones share.
#[derive(Clone, Debug)]
pub struct Clock(Arc<State<Hands>>);

#[derive(Clone, Copy, Debug)]
enum Hands {
    Running { ahead: SignedDuration },
    Standing { at: Timestamp },
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::real()
    }
}

impl Clock {
    /// Real time, until it is moved; it runs on from there.
    pub fn real() -> Clock {
        Clock(Arc::new(State::new(Hands::Running { ahead: SignedDuration::ZERO })))
    }

    /// A clock that stands at this time until it is moved.
    pub fn standing(at: Timestamp) -> Clock {
        Clock(Arc::new(State::new(Hands::Standing { at })))
    }

    /// The time it shows.
    pub fn now(&self) -> Timestamp {
        match *self.0.lock() {
            Hands::Running { ahead } => after_signed(Timestamp::now(), ahead),
            Hands::Standing { at } => at,
        }
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        let mut hands = self.0.lock();
        match &mut *hands {
            Hands::Running { ahead } => *ahead = ahead.saturating_add(signed(by)),
            Hands::Standing { at } => *at = after(*at, by),
        }
    }

    /// Sets it to this time; a running clock runs on from there.
    pub fn set(&self, to: Timestamp) {
        let mut hands = self.0.lock();
        match &mut *hands {
            Hands::Running { ahead } => *ahead = to.duration_since(Timestamp::now()),
            Hands::Standing { at } => *at = to,
        }
    }
}

/// The time this much after another, at most the last one there is.
pub fn after(at: Timestamp, by: Duration) -> Timestamp {
    after_signed(at, signed(by))
}

/// How long it is from one time to a later one; nothing if it is not later.
pub fn until(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or(Duration::ZERO)
}

fn signed(by: Duration) -> SignedDuration {
    SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX)
}

fn after_signed(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_clock_runs_on_and_a_standing_one_stands() {
        let running = Clock::real();
        let start = running.now();
        running.clone().advance(Duration::from_secs(3_600));
        assert!(until(start, running.now()) >= Duration::from_secs(3_600));

        let at = Timestamp::from_second(1_800_000_000).expect("a valid time");
        let standing = Clock::standing(at);
        standing.advance(Duration::from_millis(1));
        assert_eq!(standing.now(), after(at, Duration::from_millis(1)));
        assert_eq!(until(standing.now(), at), Duration::ZERO);
    }
}
