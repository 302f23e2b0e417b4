//! What Pipedrive limits: points in 2 seconds for each user, points in a day for the company, and patience
//! with those who call on after a refusal. In come the costs of calls, out goes what the headers tell, or a
//! refusal. It must never let a call through before the end of a wait that was told.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use crate::{
    Reply,
    clock::{after, until},
    limits::Window,
};

const WINDOW: Duration = Duration::from_secs(2);
const DAY_SECONDS: i64 = 24 * 60 * 60;
/// So many calls during a wait get a user locked out.
const PATIENCE: u32 = 10;

/// What the headers of an answer tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    limit: u64,
    remaining: u64,
    reset_seconds: u64,
    daily_left: u64,
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    /// A limit is reached, until then. `first` is whether this refusal began the wait.
    Over { told: Told, until: Timestamp, first: bool },
    /// The user called on and on.
    LockedOut,
}

/// The counters of a company.
#[derive(Debug)]
pub(super) struct Meter {
    points: u64,
    lockout: Duration,
    users: HashMap<String, User>,
    day: Window,
}

#[derive(Debug)]
struct User {
    window: Window,
    wait: Option<Wait>,
    locked_until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    until: Timestamp,
    calls: u32,
}

impl Meter {
    /// With so many points in 2 seconds and in a day that ends at midnight UTC.
    pub fn new(points: u64, daily: u64, lockout: Duration, now: Timestamp) -> Meter {
        let gone = now.as_second().rem_euclid(DAY_SECONDS).unsigned_abs();
        let left = Duration::from_secs(DAY_SECONDS.unsigned_abs() - gone);
        let midnight = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let day = Window::daily(daily, after(midnight, left));
        Meter { points, lockout, users: HashMap::new(), day }
    }

    /// How many points of the day are left.
    pub fn daily_left(&mut self, now: Timestamp) -> u64 {
        self.day.left(now).remaining
    }

    /// Spends points of the day, as other apps of the company do.
    pub fn spend(&mut self, points: u64, now: Timestamp) {
        self.day.charge(now, points);
    }

    /// Spends points of a user's window, as another app with the same credential does.
    pub fn spend_window(&mut self, name: &str, points: u64, now: Timestamp) {
        user(&mut self.users, name, self.points).window.charge(now, points);
    }

    /// Lets a call through, or not.
    pub fn admit(&mut self, name: &str, cost: u64, now: Timestamp) -> Result<Told, Refusal> {
        let points = self.points;
        let user = user(&mut self.users, name, points);
        if user.locked_until.is_some_and(|until| now < until) {
            return Err(Refusal::LockedOut);
        }
        let day = self.day.left(now);
        if let Some(wait) = &mut user.wait
            && now < wait.until
        {
            wait.calls += 1;
            if wait.calls >= PATIENCE {
                user.locked_until = Some(after(now, self.lockout));
                return Err(Refusal::LockedOut);
            }
            let told = Told {
                limit: points,
                remaining: 0,
                reset_seconds: ceiling(until(now, wait.until)),
                daily_left: day.remaining,
            };
            return Err(Refusal::Over { told, until: wait.until, first: false });
        }
        if day.remaining == 0 {
            let left = user.window.left(now);
            let told = Told {
                limit: points,
                remaining: left.remaining,
                reset_seconds: ceiling(left.resets_in),
                daily_left: 0,
            };
            let until = after(now, day.resets_in);
            user.wait = Some(Wait { until, calls: 0 });
            return Err(Refusal::Over { told, until, first: true });
        }
        // What costs more than the whole window goes alone.
        match user.window.take(now, cost.min(points)) {
            Ok(left) => {
                user.wait = None;
                let daily_left = self.day.charge(now, cost).remaining;
                let reset_seconds = ceiling(left.resets_in);
                Ok(Told { limit: points, remaining: left.remaining, reset_seconds, daily_left })
            }
            Err(over) => {
                let reset_seconds = ceiling(over.frees_in).max(1);
                let until = after(now, Duration::from_secs(reset_seconds));
                user.wait = Some(Wait { until, calls: 0 });
                let daily_left = day.remaining;
                let told = Told { limit: points, remaining: 0, reset_seconds, daily_left };
                Err(Refusal::Over { told, until, first: true })
            }
        }
    }
}

impl Told {
    /// The answer with what is told.
    pub fn on(self, reply: Reply) -> Reply {
        reply
            .with_header("x-ratelimit-limit", self.limit)
            .with_header("x-ratelimit-remaining", self.remaining)
            .with_header("x-ratelimit-reset", self.reset_seconds)
            .with_header("x-daily-ratelimit-token-remaining", self.daily_left)
    }
}

fn user<'a>(users: &'a mut HashMap<String, User>, name: &str, points: u64) -> &'a mut User {
    users.entry(name.to_owned()).or_insert_with(|| User {
        window: Window::sliding(WINDOW, points),
        wait: None,
        locked_until: None,
    })
}

fn ceiling(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_during_a_wait_are_refused_and_then_locked_out() {
        let start = Timestamp::from_second(1_800_000_000).expect("a time");
        let mut meter = Meter::new(20, 1_000, Duration::from_secs(60), start);
        assert!(meter.admit("u", 20, start).is_ok());
        for _ in 0..PATIENCE {
            assert!(matches!(meter.admit("u", 1, start), Err(Refusal::Over { .. })));
        }
        assert!(matches!(meter.admit("u", 1, start), Err(Refusal::LockedOut)));
        let later = after(start, Duration::from_secs(3));
        assert!(matches!(meter.admit("u", 1, later), Err(Refusal::LockedOut)));
        assert!(meter.admit("u", 1, after(start, Duration::from_secs(60))).is_ok());
    }

    #[test]
    fn a_spent_day_lasts_until_midnight() {
        let start = Timestamp::from_second(1_800_000_000).expect("a time");
        let mut meter = Meter::new(80, 5, Duration::from_secs(60), start);
        assert!(meter.admit("u", 5, start).is_ok());
        let refused = meter.admit("u", 1, after(start, Duration::from_secs(10)));
        let Err(Refusal::Over { until, told, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!((until.as_second() % DAY_SECONDS, told.daily_left), (0, 0));
        assert!(meter.admit("u", 1, until).is_ok());
    }
}
