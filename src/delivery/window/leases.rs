//! Deliveries that are with consumers: handing out, acks, nacks, extensions, passed deadlines and lost
//! consumers. Only the lease that an event has now can settle it: an ended one changes nothing (P5).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::holder::Consumer;
use super::lane::{Hold, Next, Use, Waiting, remember};
use super::recent::Ended;
use super::{
    AckNote, ConsumerId, Freed, LeaseId, Leased, MAX_RETRY_AFTER, Nack, NackKind, Now, Settings,
    Settled, THROTTLED_WAIT, Verdict, Window,
};
use crate::model::{Sequence, SubjectId};
use crate::store::rows::AckRecord;

/// Why an event of a passed deadline failed.
const DEADLINE_PASSED: &str = "ack deadline passed";
/// Why an event failed whose consumer's stream ended.
const DISCONNECTED: &str = "consumer disconnected";

/// A delivery that is with a consumer.
#[derive(Debug)]
pub(super) struct Lease {
    pub id: LeaseId,
    pub lane: SubjectId,
    pub consumer: ConsumerId,
    pub event: Waiting,
    pub since: Duration,
    pub deadline: Duration,
}

/// A failed attempt.
pub(super) struct Failure<'a> {
    pub kind: NackKind,
    pub reason: &'a str,
    /// How long to wait, unless it is over.
    pub wait: Option<Duration>,
    pub jitter: f64,
}

impl Window {
    /// The next delivery for a consumer that has room for `max_bytes`, under a new lease; `None` if
    /// nothing may go out to it now. A consumer that has nothing gets an event of any size.
    pub fn lease(
        &mut self,
        now: Now,
        consumer: ConsumerId,
        lease: LeaseId,
        max_bytes: usize,
    ) -> Option<Leased> {
        self.tick(now);
        if self.leases.len() >= self.settings.max_outstanding {
            return None;
        }
        let id = self.lanes.first_ready()?;
        let bytes = self.lanes.get(id)?.peek(self.now.monotonic)?.bytes;
        let total = self.outstanding_bytes.saturating_add(bytes);
        if total > self.settings.max_outstanding_bytes && !self.leases.is_empty() {
            return None;
        }
        let holder = self.consumers.entry(consumer).or_default();
        if bytes > max_bytes && !holder.leases.is_empty() {
            return None;
        }
        let deadline = self.now.monotonic.saturating_add(self.settings.ack_deadline);
        let lane = self.lanes.get_mut(id)?;
        let (event, mut leased) = lane.take(id, self.now.monotonic)?;
        leased.deadline = deadline;
        leased.replay |= event.sequence <= self.high_water;
        leased.gap_before &= self.settings.ordered;
        holder.leases.insert(event.sequence);
        holder.bytes += bytes;
        self.outstanding_bytes = total;
        self.deadlines.insert((deadline, event.sequence));
        let since = self.now.monotonic;
        let lease = Lease { id: lease, lane: id, consumer, event, since, deadline };
        self.leases.insert(event.sequence, lease);
        self.lanes.settle(id, self.now.monotonic);
        Some(leased)
    }

    /// Tells how large a leased event is whose size was not known, as of a dead letter that is delivered
    /// again, so that the limits of bytes hold for it too.
    pub fn weigh(&mut self, sequence: Sequence, bytes: usize) {
        let Some(lease) = self.leases.get_mut(&sequence) else { return };
        let more = bytes.saturating_sub(lease.event.bytes);
        lease.event.bytes += more;
        self.outstanding_bytes += more;
        if let Some(holder) = self.consumers.get_mut(&lease.consumer) {
            holder.bytes += more;
        }
    }

    /// Settles an event: it is never delivered again.
    pub fn ack(
        &mut self,
        now: Now,
        sequence: Sequence,
        lease: LeaseId,
        note: Option<AckNote>,
    ) -> Settled {
        self.tick(now);
        let Some(lease) = self.end_current(sequence, lease) else {
            return self.ended_before(sequence, lease, Ended::Acked);
        };
        self.recent.add(sequence, lease.id, Ended::Acked, self.limits.ended);
        if let Some(AckNote { external_ref, outcome }) = note {
            let acked_at = self.now.wall;
            self.changes.acked.push(AckRecord { sequence, external_ref, outcome, acked_at });
        }
        let id = lease.lane;
        match self.lane_use(id) {
            Use::Replay(_) => self.replay_acked(id, sequence),
            Use::Event(_) | Use::Free => self.settle_event(id, sequence),
        }
        self.free_lane(id);
        self.forget_if_gone(lease.consumer);
        lease.applied()
    }

    /// Gives a delivery back. `jitter`, from 0 to 1, spreads the waits.
    pub fn nack(
        &mut self,
        now: Now,
        sequence: Sequence,
        lease: LeaseId,
        nack: &Nack,
        jitter: f64,
    ) -> Settled {
        self.tick(now);
        let Some(lease) = self.end_current(sequence, lease) else {
            return self.ended_before(sequence, lease, Ended::Nacked);
        };
        self.recent.add(sequence, lease.id, Ended::Nacked, self.limits.ended);
        let wait = nack.retry_after.map(|wait| wait.min(MAX_RETRY_AFTER));
        let failure = Failure { kind: nack.kind, reason: &nack.reason, wait, jitter };
        self.failed(&lease, &failure);
        self.forget_if_gone(lease.consumer);
        lease.applied()
    }

    /// Gives a consumer more time for a delivery, counted from now.
    pub fn extend(
        &mut self,
        now: Now,
        sequence: Sequence,
        lease: LeaseId,
        extension: Duration,
    ) -> Verdict {
        self.tick(now);
        match self.leases.get_mut(&sequence) {
            Some(current) if current.id == lease => {
                self.deadlines.remove(&(current.deadline, sequence));
                current.deadline = self.now.monotonic.saturating_add(extension);
                self.deadlines.insert((current.deadline, sequence));
                Verdict::Applied
            }
            Some(_) | None => Verdict::Stale,
        }
    }

    /// Ends the leases whose deadlines passed, as failed attempts.
    pub fn expire(&mut self, now: Now, jitter: f64) -> Vec<Freed> {
        self.tick(now);
        let mut freed = Vec::new();
        while let Some((deadline, sequence)) = self.deadlines.first().copied() {
            if deadline > self.now.monotonic {
                break;
            }
            let Some(lease) = self.end(sequence) else {
                self.deadlines.remove(&(deadline, sequence));
                continue;
            };
            // The golden ratio's multiples spread evenly, so that one number serves all.
            let jitter = (jitter + 0.618_034 * freed.len() as f64).fract();
            let failure =
                Failure { kind: NackKind::Retry, reason: DEADLINE_PASSED, wait: None, jitter };
            self.failed(&lease, &failure);
            self.forget_if_gone(lease.consumer);
            freed.push(lease.freed());
        }
        freed
    }

    /// Forgets a consumer whose stream ended. What it had may go out again at once, as a further attempt
    /// that only memory counts, and gives the number of its deliveries.
    pub fn release(&mut self, now: Now, consumer: ConsumerId) -> usize {
        self.tick(now);
        let Some(holder) = self.consumers.get(&consumer) else { return 0 };
        let sequences: Vec<Sequence> = holder.leases.iter().copied().collect();
        for sequence in &sequences {
            if let Some(lease) = self.end(*sequence) {
                self.handed_back(&lease);
            }
        }
        self.consumers.remove(&consumer);
        sequences.len()
    }

    /// Forgets a consumer whose stream ended, once what it has is settled or its deadlines have passed.
    pub fn leave(&mut self, consumer: ConsumerId) {
        if let Some(holder) = self.consumers.get_mut(&consumer) {
            holder.gone = true;
        }
        self.forget_if_gone(consumer);
    }

    fn forget_if_gone(&mut self, consumer: ConsumerId) {
        let over = |holder: &Consumer| holder.gone && holder.leases.is_empty();
        if self.consumers.get(&consumer).is_some_and(over) {
            self.consumers.remove(&consumer);
        }
    }

    /// How many deliveries are with consumers.
    pub fn outstanding(&self) -> usize {
        self.leases.len()
    }

    /// How many deliveries and bytes a consumer has.
    pub fn outstanding_of(&self, consumer: ConsumerId) -> (usize, usize) {
        self.consumers.get(&consumer).map_or((0, 0), |holder| (holder.leases.len(), holder.bytes))
    }

    /// Ends the lease of an event if it is this one.
    fn end_current(&mut self, sequence: Sequence, lease: LeaseId) -> Option<Lease> {
        if self.leases.get(&sequence).is_none_or(|current| current.id != lease) {
            return None;
        }
        self.end(sequence)
    }

    /// Ends the lease of an event. Its lane stays in use until it is told what became of the event.
    pub(super) fn end(&mut self, sequence: Sequence) -> Option<Lease> {
        let lease = self.leases.remove(&sequence)?;
        self.deadlines.remove(&(lease.deadline, sequence));
        self.outstanding_bytes -= lease.event.bytes;
        if let Some(holder) = self.consumers.get_mut(&lease.consumer) {
            holder.leases.remove(&sequence);
            holder.bytes -= lease.event.bytes;
        }
        Some(lease)
    }

    /// The verdict on an ended lease.
    fn ended_before(&self, sequence: Sequence, lease: LeaseId, by: Ended) -> Settled {
        let same = self.recent.ended.get(&(sequence, lease)) == Some(&by);
        let verdict = if same { Verdict::Duplicate } else { Verdict::Stale };
        Settled { verdict, freed: None }
    }

    pub(super) fn lane_use(&self, id: SubjectId) -> Use {
        self.lanes.get(id).map_or(Use::Free, |lane| lane.in_use)
    }

    /// Lets a lane go on after its lease ended.
    pub(super) fn free_lane(&mut self, id: SubjectId) {
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.in_use = Use::Free;
        }
        self.lanes.settle(id, self.now.monotonic);
    }

    /// A lane's next event is acknowledged or a dead letter: the lane goes on after it.
    pub(super) fn settle_event(&mut self, id: SubjectId, sequence: Sequence) {
        self.changes.changed = true;
        let now = self.now;
        let Some(lane) = self.lanes.get_mut(id) else { return };
        lane.reset_attempts();
        let Some(hold) = lane.held.as_deref_mut() else {
            self.pending.remove(&sequence);
            return;
        };
        if !self.settings.ordered {
            lane.held = None;
            lane.estimated = false;
            self.changes.touch(lane, id);
            return;
        }
        let rest = match std::mem::replace(&mut hold.next, Next::Unknown) {
            Next::Known(rest) if !rest.is_empty() => Next::Known(rest),
            Next::Known(_) | Next::Unknown | Next::Asked { .. } => Next::Unknown,
        };
        *hold = Hold::new(sequence.next(), now, now.monotonic, rest);
        self.changes.touch(lane, id);
    }

    /// An attempt failed: the event waits with its lane, or becomes a dead letter.
    fn failed(&mut self, lease: &Lease, failure: &Failure<'_>) {
        let name = self.consumer_name(lease.consumer);
        match self.lane_use(lease.lane) {
            Use::Replay(sequence) => self.replay_failed(lease.lane, sequence, failure, &name),
            Use::Event(_) | Use::Free => self.event_failed(lease, failure, &name),
        }
        self.free_lane(lease.lane);
    }

    fn event_failed(&mut self, lease: &Lease, failure: &Failure<'_>, name: &str) {
        let now = self.now;
        let Some(lane) = self.lanes.get_mut(lease.lane) else { return };
        if failure.kind != NackKind::Throttled {
            lane.attempts = lane.attempts.saturating_add(1);
            remember(&mut lane.history, now, name, failure.reason);
        }
        if failure.is_last(lane.attempts, &self.settings) {
            self.bury(lease.lane, lease.event.sequence, failure.reason);
            return;
        }
        let due = now.monotonic.saturating_add(failure.wait(lane.attempts, &self.settings));
        for waiting in lane.queue.drain(..) {
            self.pending.remove(&waiting.sequence);
            lane.beyond += 1;
        }
        self.pending.remove(&lease.event.sequence);
        if let Some(Next::Known(found)) = lane.held.as_deref().map(|hold| &hold.next) {
            lane.beyond += found.len();
        }
        let next = Next::Known(VecDeque::from([lease.event]));
        lane.held = Some(Box::new(Hold::new(lease.event.sequence, now, due, next)));
        self.changes.touch(lane, lease.lane);
    }

    /// The consumer is gone: its event is next again, after one more attempt that only memory counts.
    fn handed_back(&mut self, lease: &Lease) {
        let name = self.consumer_name(lease.consumer);
        let failure = Failure {
            kind: NackKind::Retry,
            reason: DISCONNECTED,
            wait: Some(Duration::ZERO),
            jitter: 0.0,
        };
        let (id, event) = (lease.lane, lease.event);
        match self.lane_use(id) {
            Use::Replay(sequence) => self.replay_failed(id, sequence, &failure, &name),
            Use::Event(_) | Use::Free => {
                let Some(lane) = self.lanes.get_mut(id) else { return };
                lane.attempts = lane.attempts.saturating_add(1);
                remember(&mut lane.history, self.now, &name, DISCONNECTED);
                if failure.is_last(lane.attempts, &self.settings) {
                    self.bury(id, event.sequence, DISCONNECTED);
                } else if let Some(hold) = lane.held.as_deref_mut() {
                    hold.put_back(event);
                } else {
                    lane.queue.push_front(event);
                }
            }
        }
        self.free_lane(id);
    }

    fn consumer_name(&self, consumer: ConsumerId) -> Arc<str> {
        self.consumers.get(&consumer).map_or_else(|| Arc::from(""), |holder| holder.name.clone())
    }
}

impl Lease {
    pub fn freed(&self) -> Freed {
        Freed { consumer: self.consumer, bytes: self.event.bytes }
    }

    fn applied(&self) -> Settled {
        Settled { verdict: Verdict::Applied, freed: Some(self.freed()) }
    }
}

impl Failure<'_> {
    /// Whether the event is given up after so many failed attempts.
    pub fn is_last(&self, attempts: u32, settings: &Settings) -> bool {
        match self.kind {
            NackKind::DeadLetter => true,
            NackKind::Throttled => false,
            NackKind::Retry => settings.max_attempts.is_some_and(|max| attempts >= max),
        }
    }

    /// How long to wait after so many failed attempts.
    pub fn wait(&self, attempts: u32, settings: &Settings) -> Duration {
        match (self.wait, self.kind) {
            (Some(wait), _) => wait,
            (None, NackKind::Throttled) => THROTTLED_WAIT,
            (None, NackKind::Retry | NackKind::DeadLetter) => {
                let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
                let longest = settings.min_backoff.saturating_mul(doubled);
                let share = 0.5 + self.jitter.clamp(0.0, 1.0) / 2.0;
                longest.min(settings.max_backoff).mul_f64(share)
            }
        }
    }
}
