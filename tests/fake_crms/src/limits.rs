//! What a vendor limits: calls per window (sliding or fixed, weighted), calls per day, calls in
//! flight. In come costs and the double's own time; out comes what is left, or when there is room
//! again. Which answer that makes, and with which headers, is each vendor's own.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    State,
    clock::{after, until},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a window still has after a cost was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The cost that may still be taken in this window.
    pub remaining: u64,
    /// When the window has all of its room again.
    pub resets_in: Duration,
}

/// A cost that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// When the same cost fits, if nothing else is taken. The whole window if it can never fit.
    pub frees_in: Duration,
}

/// A counter of costs in a window of time.
#[derive(Clone, Debug)]
pub struct Window {
    length: Duration,
    max: u64,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    Sliding(VecDeque<(Timestamp, u64)>),
    Fixed { ends_at: Option<Timestamp>, used: u64 },
    Daily { ends_at: Timestamp, used: u64 },
}

impl Window {
    /// At most `max` in any stretch of this length.
    pub fn sliding(length: Duration, max: u64) -> Window {
        Window { length, max, shape: Shape::Sliding(VecDeque::new()) }
    }

    /// At most `max` in a window that opens with its first call and empties at its end.
    pub fn fixed(length: Duration, max: u64) -> Window {
        Window { length, max, shape: Shape::Fixed { ends_at: None, used: 0 } }
    }

    /// At most `max` a day, counted anew at this time of day.
    pub fn daily(max: u64, first_reset: Timestamp) -> Window {
        Window { length: DAY, max, shape: Shape::Daily { ends_at: first_reset, used: 0 } }
    }

    /// How much it allows.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Changes how much it allows.
    pub fn set_max(&mut self, max: u64) {
        self.max = max;
    }

    /// Takes a cost if it fits; one that does not fit takes nothing.
    pub fn take(&mut self, now: Timestamp, cost: u64) -> Result<Left, Over> {
        let used = self.used(now);
        if used.saturating_add(cost) > self.max {
            return Err(Over { frees_in: self.frees_in(now, cost) });
        }
        Ok(self.charge(now, cost))
    }

    /// Takes a cost whether it fits or not, for vendors that count refused calls too.
    pub fn charge(&mut self, now: Timestamp, cost: u64) -> Left {
        self.used(now);
        match &mut self.shape {
            Shape::Sliding(taken) => taken.push_back((now, cost)),
            Shape::Fixed { ends_at, used } => {
                ends_at.get_or_insert_with(|| after(now, self.length));
                *used = used.saturating_add(cost);
            }
            Shape::Daily { used, .. } => *used = used.saturating_add(cost),
        }
        self.left(now)
    }

    /// What is left, without taking anything.
    pub fn left(&mut self, now: Timestamp) -> Left {
        let remaining = self.max.saturating_sub(self.used(now));
        let resets_in = match &self.shape {
            Shape::Sliding(taken) => {
                taken.back().map_or(Duration::ZERO, |(at, _)| until(now, after(*at, self.length)))
            }
            Shape::Fixed { ends_at, .. } => ends_at.map_or(Duration::ZERO, |end| until(now, end)),
            Shape::Daily { ends_at, .. } => until(now, *ends_at),
        };
        Left { remaining, resets_in }
    }

    /// What was taken in the window that `now` lies in.
    pub fn used(&mut self, now: Timestamp) -> u64 {
        let length = self.length;
        match &mut self.shape {
            Shape::Sliding(taken) => {
                while taken.front().is_some_and(|(at, _)| after(*at, length) <= now) {
                    taken.pop_front();
                }
                taken.iter().fold(0, |sum, (_, cost)| sum.saturating_add(*cost))
            }
            Shape::Fixed { ends_at, used } => {
                if ends_at.is_some_and(|end| end <= now) {
                    (*ends_at, *used) = (None, 0);
                }
                *used
            }
            Shape::Daily { ends_at, used } => {
                if *ends_at <= now {
                    (*ends_at, *used) = (next_day(*ends_at, now), 0);
                }
                *used
            }
        }
    }

    fn frees_in(&self, now: Timestamp, cost: u64) -> Duration {
        match &self.shape {
            Shape::Sliding(taken) => {
                let mut used = taken.iter().fold(0u64, |sum, (_, cost)| sum.saturating_add(*cost));
                for (at, freed) in taken {
                    used = used.saturating_sub(*freed);
                    if used.saturating_add(cost) <= self.max {
                        return until(now, after(*at, self.length));
                    }
                }
                self.length
            }
            Shape::Fixed { ends_at, .. } => ends_at.map_or(self.length, |end| until(now, end)),
            Shape::Daily { ends_at, .. } => until(now, *ends_at),
        }
    }
}

fn next_day(end: Timestamp, now: Timestamp) -> Timestamp {
    let days = until(end, now).as_secs() / DAY.as_secs() + 1;
    after(end, Duration::from_secs(days.saturating_mul(DAY.as_secs())))
}

/// The calls of each tenant that have arrived and are not answered yet.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<State<HashMap<String, Vec<Arrival>>>>);

/// A call's number and when it came.
type Arrival = (u64, Timestamp);

/// One call in flight, until it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Ticket {
    meter: InFlight,
    tenant: String,
    number: u64,
}

impl InFlight {
    /// Counts a call in, and tells when the tenant's others arrived.
    pub fn enter(&self, tenant: &str, number: u64, at: Timestamp) -> (Ticket, Vec<Timestamp>) {
        let mut tenants = self.0.lock();
        let calls = tenants.entry(tenant.to_owned()).or_default();
        let others = calls.iter().map(|(_, at)| *at).collect();
        calls.push((number, at));
        (Ticket { meter: self.clone(), tenant: tenant.to_owned(), number }, others)
    }

    /// How many calls of a tenant are in flight.
    pub fn count(&self, tenant: &str) -> usize {
        self.0.lock().get(tenant).map_or(0, Vec::len)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(calls) = self.meter.0.lock().get_mut(&self.tenant) {
            calls.retain(|(number, _)| *number != self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        after(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    #[test]
    fn a_sliding_window_frees_what_it_took_first() {
        let mut window = Window::sliding(Duration::from_secs(10), 3);
        assert_eq!(window.take(at(0), 2).map(|left| left.remaining), Ok(1));
        assert_eq!(window.take(at(4), 1).map(|left| left.remaining), Ok(0));
        assert_eq!(window.take(at(5), 1), Err(Over { frees_in: Duration::from_secs(5) }));
        assert_eq!(window.take(at(5), 3), Err(Over { frees_in: Duration::from_secs(9) }));
        assert_eq!(window.take(at(10), 2).map(|left| left.remaining), Ok(0));
    }

    #[test]
    fn a_fixed_window_empties_at_its_end_and_a_day_at_its_hour() {
        let mut window = Window::fixed(Duration::from_secs(60), 2);
        assert!(window.take(at(30), 2).is_ok());
        assert_eq!(window.take(at(80), 1), Err(Over { frees_in: Duration::from_secs(10) }));
        assert!(window.take(at(90), 1).is_ok());

        let mut day = Window::daily(1, at(1_000));
        assert!(day.take(at(999), 1).is_ok());
        assert!(day.take(at(1_000), 1).is_ok());
        assert_eq!(day.take(at(1_001), 1), Err(Over { frees_in: Duration::from_secs(86_399) }));
    }

    #[test]
    fn a_call_is_in_flight_until_its_ticket_is_dropped() {
        let meter = InFlight::default();
        let (first, others) = meter.enter("t", 1, at(0));
        assert!(others.is_empty());
        let (_second, others) = meter.enter("t", 2, at(1));
        assert_eq!(others, [at(0)]);
        drop(first);
        assert_eq!((meter.count("t"), meter.count("other")), (1, 0));
    }
}
