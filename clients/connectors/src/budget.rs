//! What an org allows: calls or points within sliding windows, calls at once, a daily quota, and waits that
//! the CRM asked for. In comes each call before it is made and what its answer told, out goes a permit, or
//! a wait that is too long to be waited here. It must never let through more than the CRM allows, so that a
//! 429 is the exception.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::crm::Fault;

/// A longer wait is not waited for with a delivery in hand: the delivery is given back meanwhile.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Windows are taken to be this much longer than the CRM says, since calls need unequal times to get there.
const WINDOW_MARGIN: Duration = Duration::from_millis(40);
/// After a whole call failed, calls pause: so long at first, twice as long each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A daily quota whose reset is not known is looked at again after this.
const QUOTA_RETRY: Duration = Duration::from_secs(15 * 60);
/// No wait that a CRM asks for is believed beyond this.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// A window's calls are kept in pieces of this part of its span, so that one of a day keeps few.
const PIECES: u32 = 1_000;

/// What an org allows, as far as it is known before the first call.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Each holds.
    pub windows: Vec<Window>,
    /// Calls at once.
    pub max_in_flight: usize,
    /// How many of the daily quota are left to others.
    pub daily_reserve: u64,
}

/// So many calls, or points, in any span of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Calls or points.
    pub points: u64,
    /// The span.
    pub span: Duration,
}

/// One org's budget. Cheap to share.
#[derive(Debug)]
pub struct Budget {
    in_flight: Arc<Semaphore>,
    max_in_flight: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    windows: Vec<Spent>,
    daily_reserve: u64,
    daily: Option<Daily>,
    /// Nothing is sent before, and why.
    blocked: Option<(Instant, String)>,
    /// Whole calls that failed in a row.
    failures: u32,
    counts: Counts,
}

/// A window and what was spent in it.
#[derive(Debug)]
struct Spent {
    window: Window,
    pieces: VecDeque<Piece>,
    points: u64,
}

/// Calls that were made close together.
#[derive(Debug)]
struct Piece {
    begun: Instant,
    ended: Instant,
    points: u64,
}

#[derive(Clone, Copy, Debug)]
struct Daily {
    remaining: u64,
    limit: Option<u64>,
    resets_at: Option<Instant>,
    told_at: Instant,
    /// Whether it counts points and not calls.
    in_points: bool,
}

/// What was done, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that were let through.
    pub calls: u64,
    /// Points that they cost.
    pub points: u64,
    /// Answers that told to wait.
    pub throttled: u64,
    /// Calls that failed as a whole.
    pub failed: u64,
}

/// Where a budget stands, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// What was done so far.
    pub counts: Counts,
    /// Left of the daily quota, as last told.
    pub daily_remaining: Option<u64>,
    /// The daily quota, as last told.
    pub daily_limit: Option<u64>,
    /// For how long nothing will be sent, and why.
    pub blocked: Option<(Duration, String)>,
}

/// Leave to make one call; given back when dropped.
#[must_use = "the call must be made while it is held"]
#[derive(Debug)]
pub struct Permit {
    _slot: OwnedSemaphorePermit,
}

impl Budget {
    /// With nothing spent.
    pub fn new(limits: Limits) -> Budget {
        let spent = |window| Spent { window, pieces: VecDeque::new(), points: 0 };
        let max_in_flight = limits.max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        Budget {
            in_flight: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
            state: Mutex::new(State {
                windows: limits.windows.into_iter().map(spent).collect(),
                daily_reserve: limits.daily_reserve,
                daily: None,
                blocked: None,
                failures: 0,
                counts: Counts::default(),
            }),
        }
    }

    /// Waits until a call of this many points may be made. A wait beyond [`PATIENCE`] is answered as
    /// [`Fault::Throttled`] at once.
    pub async fn acquire(&self, points: u64) -> Result<Permit, Fault> {
        let slot = Arc::clone(&self.in_flight).acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        loop {
            let wait = match self.lock().take(points, Instant::now()) {
                Ok(()) => return Ok(Permit { _slot: slot }),
                Err((wait, reason)) if wait > PATIENCE => {
                    return Err(Fault::Throttled { wait, reason });
                }
                Err((wait, _)) => wait,
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Waits until a call would be let through now, without making it; at most [`PATIENCE`]. Whoever makes
    /// up batches waits here first, so that they are as full as they can be.
    pub async fn ready(&self, points: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let wait = self.lock().wait_for(points, Instant::now()).map(|(wait, _)| wait);
            match wait {
                Some(wait) if Instant::now() + wait < deadline => tokio::time::sleep(wait).await,
                Some(_) | None => return,
            }
        }
    }

    /// The CRM asked for this wait: nothing is sent before it is over.
    pub fn throttled(&self, wait: Duration, reason: &str) {
        let mut state = self.lock();
        state.counts.throttled += 1;
        state.block(Instant::now() + wait.min(LONGEST_WAIT), reason);
    }

    /// A call failed as a whole: a pause, longer each time. Answers how long.
    pub fn failed(&self, reason: &str) -> Duration {
        let mut state = self.lock();
        state.counts.failed += 1;
        let pause = FIRST_PAUSE.saturating_mul(1 << state.failures.min(10)).min(LONGEST_PAUSE);
        state.failures = state.failures.saturating_add(1);
        state.block(Instant::now() + pause, reason);
        pause
    }

    /// A call got its answer.
    pub fn succeeded(&self) {
        self.lock().failures = 0;
    }

    /// What the CRM told about the day's quota, and when it begins anew where that is known.
    pub fn daily(&self, remaining: u64, limit: Option<u64>, resets_in: Option<Duration>) {
        let now = Instant::now();
        let resets_at = resets_in.map(|wait| now + wait.min(LONGEST_WAIT));
        let daily = Daily { remaining, limit, resets_at, told_at: now, in_points: false };
        self.lock().daily = Some(daily);
    }

    /// As [`Budget::daily`], of a quota that counts points.
    pub fn daily_points(&self, remaining: u64, limit: Option<u64>, resets_in: Option<Duration>) {
        let now = Instant::now();
        let resets_at = resets_in.map(|wait| now + wait.min(LONGEST_WAIT));
        let daily = Daily { remaining, limit, resets_at, told_at: now, in_points: true };
        self.lock().daily = Some(daily);
    }

    /// What the CRM told about its windows, in the order of [`Limits::windows`]: the points of one of them
    /// are other than thought.
    pub fn set_points(&self, window: usize, points: u64) {
        if let Some(spent) = self.lock().windows.get_mut(window) {
            spent.window.points = points.max(1);
        }
    }

    /// A call turned out to cost this much more than it was let through for.
    pub fn charge(&self, points: u64) {
        let now = Instant::now();
        let mut state = self.lock();
        state.counts.points = state.counts.points.saturating_add(points);
        state.windows.iter_mut().for_each(|spent| spent.spend(points, now));
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        let state = self.lock();
        let now = Instant::now();
        let blocked = state.blocked.as_ref().filter(|(until, _)| *until > now);
        Standing {
            counts: state.counts,
            daily_remaining: state.daily.map(|daily| daily.remaining),
            daily_limit: state.daily.and_then(|daily| daily.limit),
            blocked: blocked.map(|(until, reason)| (*until - now, reason.clone())),
        }
    }

    /// How many calls may be made at once.
    pub fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Spends the points, or tells how long they are not there.
    fn take(&mut self, points: u64, now: Instant) -> Result<(), (Duration, String)> {
        if let Some(wait) = self.wait_for(points, now) {
            return Err(wait);
        }
        self.windows.iter_mut().for_each(|spent| spent.spend(points, now));
        if let Some(daily) = &mut self.daily {
            daily.remaining = daily.remaining.saturating_sub(daily.price(points));
        }
        self.counts.calls += 1;
        self.counts.points = self.counts.points.saturating_add(points);
        Ok(())
    }

    fn wait_for(&mut self, points: u64, now: Instant) -> Option<(Duration, String)> {
        if let Some((until, reason)) = &self.blocked {
            if *until > now {
                return Some((*until - now, reason.clone()));
            }
            self.blocked = None;
        }
        if let Some(wait) = self.daily_wait(points, now) {
            return Some((wait, "the daily quota is used up".to_owned()));
        }
        let waits = self.windows.iter_mut().filter_map(|spent| spent.wait_for(points, now));
        waits.max().map(|wait| (wait, "the rate limit is reached".to_owned()))
    }

    fn daily_wait(&mut self, points: u64, now: Instant) -> Option<Duration> {
        let reserve = self.daily_reserve;
        let daily = self
            .daily
            .filter(|daily| daily.remaining < reserve.saturating_add(daily.price(points)))?;
        // Without a known reset one call in a while finds out.
        let until = daily.resets_at.unwrap_or(daily.told_at + QUOTA_RETRY);
        if until <= now {
            self.daily = None;
            return None;
        }
        Some(until - now)
    }

    /// A longer block stays.
    fn block(&mut self, until: Instant, reason: &str) {
        if self.blocked.as_ref().is_none_or(|(before, _)| *before < until) {
            self.blocked = Some((until, reason.to_owned()));
        }
    }
}

impl Daily {
    /// What a call of this many points takes off it.
    fn price(&self, points: u64) -> u64 {
        if self.in_points { points } else { 1 }
    }
}

impl Spent {
    fn wait_for(&mut self, points: u64, now: Instant) -> Option<Duration> {
        let span = self.window.span + WINDOW_MARGIN;
        while let Some(piece) = self.pieces.pop_front_if(|piece| piece.ended + span <= now) {
            self.points = self.points.saturating_sub(piece.points);
        }
        // What costs more than the whole window goes alone.
        let allowed = self.window.points.max(points);
        let mut over = self.points.saturating_add(points).saturating_sub(allowed);
        if over == 0 {
            return None;
        }
        for piece in &self.pieces {
            over = over.saturating_sub(piece.points);
            if over == 0 {
                return Some(piece.ended + span - now);
            }
        }
        None
    }

    /// What is spent with others is free again with the last of them, never before its own time.
    fn spend(&mut self, points: u64, now: Instant) {
        self.points = self.points.saturating_add(points);
        let length = self.window.span / PIECES;
        match self.pieces.back_mut() {
            Some(piece) if now.saturating_duration_since(piece.begun) < length => {
                piece.ended = piece.ended.max(now);
                piece.points = piece.points.saturating_add(points);
            }
            Some(_) | None => self.pieces.push_back(Piece { begun: now, ended: now, points }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(points: u64, seconds: u64) -> Limits {
        let span = Duration::from_secs(seconds);
        Limits { windows: vec![Window { points, span }], max_in_flight: 10, daily_reserve: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn no_span_of_the_windows_length_has_more_than_its_points() {
        let budget = Budget::new(limits(80, 2));
        let calls = (0..100).map(|call| {
            let (budget, points) = (&budget, if call % 4 == 0 { 20 } else { 5 });
            async move {
                let _permit = budget.acquire(points).await.expect("no long wait");
                (Instant::now(), points)
            }
        });
        let mut spent: Vec<(Instant, u64)> = futures::future::join_all(calls).await;
        spent.sort();
        for (start, _) in &spent {
            let end = *start + Duration::from_secs(2);
            let within = spent.iter().filter(|(at, _)| at >= start && *at < end);
            assert!(within.map(|(_, points)| points).sum::<u64>() <= 80);
        }
        let took = spent[99].0 - spent[0].0;
        let best = Duration::from_secs_f64((25.0 * 20.0 + 75.0 * 5.0 - 80.0) / 40.0);
        assert!(took < best.mul_f64(1.15), "{took:?} for {best:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_days_window_keeps_few_pieces_and_frees_none_too_soon() {
        let day = 24 * 60 * 60;
        let budget = Budget::new(limits(10_000, day));
        let begun = Instant::now();
        for _ in 0..10_000 {
            drop(budget.acquire(1).await.expect("it is left"));
            tokio::time::advance(Duration::from_secs(8)).await;
        }
        assert!(budget.lock().windows[0].pieces.len() <= PIECES as usize + 1);
        tokio::time::advance(Duration::from_secs(day) - begun.elapsed()).await;
        assert!(budget.acquire(1).await.is_err(), "the first is in the window still");
        // By now the first piece is over, of which each call is.
        tokio::time::advance(Duration::from_secs(90)).await;
        drop(budget.acquire(1).await.expect("the first are free"));
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_beyond_reason_do_no_harm() {
        let huge = Limits { max_in_flight: usize::MAX, ..limits(100, 10) };
        let budget = Budget::new(huge);
        drop(budget.acquire(u64::MAX).await.expect("it goes alone"));
        budget.charge(u64::MAX);
        budget.throttled(Duration::MAX, "wait for ever");
        budget.daily(1, None, Some(Duration::MAX));
        assert!(matches!(budget.acquire(u64::MAX).await, Err(Fault::Throttled { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_is_told_and_a_short_one_is_waited() {
        let budget = Budget::new(limits(100, 10));
        budget.throttled(Duration::from_secs(300), "slow down");
        let told = budget.acquire(1).await.expect_err("blocked for long");
        assert!(matches!(told, Fault::Throttled { wait, .. } if wait.as_secs() == 300));
        tokio::time::advance(Duration::from_secs(290)).await;
        let before = Instant::now();
        let _permit = budget.acquire(1).await.expect("a short wait");
        assert!(before.elapsed() >= Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_call_cost_beyond_its_price_counts() {
        let budget = Budget::new(limits(100, 10));
        drop(budget.acquire(10).await.expect("all is left"));
        budget.charge(60);
        let before = Instant::now();
        drop(budget.acquire(30).await.expect("enough is left"));
        assert_eq!(before.elapsed(), Duration::ZERO);
        drop(budget.acquire(1).await.expect("a short wait"));
        assert!(before.elapsed() >= Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn the_days_reserve_is_left_alone_until_the_reset() {
        let budget = Budget::new(Limits { daily_reserve: 50, ..limits(100, 1) });
        budget.daily(51, Some(1_000), Some(Duration::from_secs(3_600)));
        let _permit = budget.acquire(1).await.expect("one is left");
        assert!(matches!(budget.acquire(1).await, Err(Fault::Throttled { .. })));
        tokio::time::advance(Duration::from_secs(3_601)).await;
        let _permit = budget.acquire(1).await.expect("a new day");
    }

    #[tokio::test(start_paused = true)]
    async fn a_days_quota_of_points_is_spent_in_points() {
        let budget = Budget::new(Limits { daily_reserve: 10, ..limits(1_000, 1) });
        budget.daily_points(36, None, Some(Duration::from_secs(3_600)));
        let _permit = budget.acquire(20).await.expect("16 are left");
        assert!(matches!(budget.acquire(20).await, Err(Fault::Throttled { .. })));
        let _permit = budget.acquire(5).await.expect("11 are left");
        assert!(matches!(budget.acquire(5).await, Err(Fault::Throttled { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end_with_an_answer() {
        let budget = Budget::new(limits(100, 1));
        assert_eq!(budget.failed("502"), Duration::from_millis(500));
        assert_eq!(budget.failed("502"), Duration::from_secs(1));
        budget.succeeded();
        assert_eq!(budget.failed("502"), Duration::from_millis(500));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_without_end_is_a_day() {
        let budget = Budget::new(limits(100, 1));
        budget.daily(5, None, Some(Duration::MAX));
        budget.throttled(Duration::MAX, "come back never");
        let told = budget.acquire(1).await.expect_err("blocked for long");
        assert!(matches!(told, Fault::Throttled { wait, .. } if wait == LONGEST_WAIT), "{told:?}");
    }
}
