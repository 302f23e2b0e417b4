//! Handing out: reading on in the log, resolving lanes that are due, and giving each ready event to the
//! next consumer that may take one.

use std::sync::Arc;

use rand::Rng;

use super::{
    Attached, MAX_LANES_A_TURN, MAX_PAGE_BYTES, MAX_PAGE_EVENTS, MAX_UNRECORDED, Task,
};
use crate::delivery::ack_id::AckId;
use crate::delivery::consumer::{Handed, Message};
use crate::delivery::window::{ConsumerId, LeaseId, Leased, Scanned};
use crate::model::{Sequence, SubjectId};
use crate::store::{self, Logged};

/// How many deliveries are handed out before commands are looked at again.
const MAX_HANDED_A_TURN: usize = 256;
/// How many dead letters being replayed are fed to the window at once.
const MAX_REPLAYS_A_TURN: usize = 100;

impl Task {
    /// Does what can be done now. True if there may be more.
    pub(super) async fn advance(&mut self) -> Result<bool, store::Error> {
        let now = self.now();
        let jitter = rand::rng().random();
        let before = self.window.dead_lettered();
        for (consumer, bytes) in self.window.expire(now, jitter) {
            metrics::counter!("tollgate_expired_deliveries_total").increment(1);
            self.free(consumer, bytes);
        }
        let dead = self.window.dead_lettered() - before;
        self.dead_letters += i64::try_from(dead).unwrap_or(0);
        if !self.is_serving() {
            return Ok(false);
        }
        self.load_replays().await?;
        self.load_lanes().await?;
        self.resolve_lanes().await?;
        let mut handed = self.hand_out().await?;
        let mut read = 0;
        if handed < MAX_HANDED_A_TURN && self.is_serving() {
            read = self.scan().await?;
            handed += self.hand_out().await?;
        }
        if read == 0 && handed == 0 {
            self.tell_caught_up();
        }
        Ok(read > 0 || handed > 0)
    }

    /// Dead letters that are to be delivered again, as far as the window takes them.
    async fn load_replays(&mut self) -> Result<(), store::Error> {
        let Some(after) = self.replays_loaded else { return Ok(()) };
        let page =
            self.shared.store.dead_letters(self.id, after, MAX_REPLAYS_A_TURN, true).await?;
        self.replays_loaded = match page.last() {
            Some(last) if page.len() == MAX_REPLAYS_A_TURN => Some(last.sequence),
            _ => None,
        };
        self.learn_gaps_of(&page).await?;
        for row in page {
            self.window.replay(row);
        }
        Ok(())
    }

    /// Finds the next event of lanes whose time has come.
    async fn resolve_lanes(&mut self) -> Result<(), store::Error> {
        let now = self.now();
        for (lane, from) in self.window.lanes_to_resolve(now, MAX_LANES_A_TURN) {
            let next = self.next_of_lane(lane, from).await?;
            if let Some(logged) = &next {
                self.cache.put(logged.sequence, logged.clone());
            }
            let next = match next {
                Some(logged) => Some(self.scanned_event(&logged, true)?),
                None => None,
            };
            self.window.resolve(lane, next);
        }
        Ok(())
    }

    /// The first event of a lane at or after a sequence that the scan has passed and the filter takes.
    async fn next_of_lane(
        &self,
        lane: SubjectId,
        from: Sequence,
    ) -> Result<Option<Arc<Logged>>, store::Error> {
        if !self.spec.settings.ordered {
            let logged = self.shared.store.event(Sequence(lane.0)).await?;
            return Ok(logged.filter(|logged| logged.sequence >= from));
        }
        let mut from = from;
        loop {
            let page =
                self.shared.store.subject_sequences(lane, from, MAX_LANES_A_TURN).await?;
            let Some(last) = page.last() else { return Ok(None) };
            from = last.next();
            for sequence in page {
                if sequence > self.window.scanned() {
                    return Ok(None);
                }
                let Some(logged) = self.shared.store.event(sequence).await? else { continue };
                if self.spec.filter.takes(&logged, self.shared.codec)? {
                    return Ok(Some(logged));
                }
            }
        }
    }

    /// Offers the next page of the log to the window. Returns how many events it had.
    async fn scan(&mut self) -> Result<usize, store::Error> {
        let room = self.window.room().min(MAX_PAGE_EVENTS);
        if room == 0 {
            return Ok(0);
        }
        let after = self.window.scanned();
        let page = match self.shared.tail.read(after, room) {
            Some(page) => page,
            None => {
                self.consumers.values_mut().for_each(|attached| attached.caught_up = false);
                self.shared.store.events(after, room, MAX_PAGE_BYTES).await?
            }
        };
        let mut unknown: Vec<SubjectId> = page
            .iter()
            .map(|logged| self.lane_of(logged))
            .filter(|lane| self.window.must_look_up(*lane))
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        self.look_up(&unknown).await?;
        for logged in &page {
            let takes = self.spec.filter.takes(logged, self.shared.codec)?;
            let scanned = self.scanned_event(logged, takes)?;
            self.window.offer(scanned);
            if takes {
                self.cache.put(logged.sequence, logged.clone());
            }
        }
        if self.window.passed_since_update() > MAX_UNRECORDED {
            self.window.touch();
        }
        Ok(page.len())
    }

    async fn look_up(&mut self, lanes: &[SubjectId]) -> Result<(), store::Error> {
        for lanes in lanes.chunks(MAX_LANES_A_TURN) {
            let rows = self.shared.store.lanes(self.id, lanes).await?;
            let now = self.now();
            for row in rows {
                self.window.learn(row, now);
            }
        }
        Ok(())
    }

    async fn learn_gaps_of(&mut self, rows: &[store::DeadLetterRow]) -> Result<(), store::Error> {
        let lanes: Vec<SubjectId> = rows
            .iter()
            .map(|row| row.subject)
            .filter(|lane| self.window.must_look_up(*lane))
            .collect();
        self.look_up(&lanes).await
    }

    fn scanned_event(&self, logged: &Logged, matches: bool) -> Result<Scanned, store::Error> {
        let (received_at, paid) = match matches {
            true => {
                let event = logged.event(self.shared.codec)?;
                (event.received_at, event.report.paid())
            }
            false => (jiff::Timestamp::UNIX_EPOCH, None),
        };
        Ok(Scanned {
            sequence: logged.sequence,
            lane: self.lane_of(logged),
            bytes: logged.encoded.len(),
            matches,
            received_at,
            paid,
        })
    }

    /// Gives ready events to consumers in turn. Returns how many went out.
    async fn hand_out(&mut self) -> Result<usize, store::Error> {
        let mut handed = 0;
        while handed < MAX_HANDED_A_TURN {
            let Some(consumer) = self.next_consumer() else { break };
            let max_bytes = self.consumers[&consumer].max_bytes();
            let lease = LeaseId(rand::rng().random());
            let now = self.now();
            let Some(leased) = self.window.lease(now, consumer, lease, max_bytes) else { break };
            let logged = match self.cache.pop(&leased.sequence) {
                Some(logged) => logged,
                None => self.fetch(leased.sequence).await?,
            };
            self.hand(consumer, lease, &leased, logged);
            handed += 1;
        }
        Ok(handed)
    }

    async fn fetch(&self, sequence: Sequence) -> Result<Arc<Logged>, store::Error> {
        let logged = self.shared.store.event(sequence).await?;
        logged.ok_or_else(|| store::Error::Damaged(format!("event {sequence} is missing")))
    }

    fn hand(
        &mut self,
        consumer: ConsumerId,
        lease: LeaseId,
        leased: &Leased,
        logged: Arc<Logged>,
    ) {
        let deadline = self.wall_time_of(leased.deadline);
        let ack_id =
            AckId { subscription: self.id, sequence: leased.sequence, lease }.encode();
        let bytes = leased.bytes;
        let message = Message::Delivery(Handed {
            ack_id,
            attempt: leased.attempt,
            deadline,
            replay: leased.replay,
            gap_before: leased.gap_before,
            logged,
        });
        if leased.attempt > 1 {
            metrics::counter!("tollgate_redeliveries_total").increment(1);
        }
        metrics::counter!("tollgate_deliveries_total").increment(1);
        let Some(attached) = self.consumers.get_mut(&consumer) else { return };
        attached.credit = attached.credit.map(|left| left.saturating_sub(1));
        let sent = attached.messages.try_send(message).is_ok();
        if attached.auto_ack && sent {
            let now = self.now();
            self.window.ack(now, leased.sequence, lease, None);
            return;
        }
        attached.outstanding += 1;
        attached.outstanding_bytes += bytes;
        attached.budget.take(bytes);
        if !sent {
            // The stream is gone or did not read; its detach or the deadline makes the event come again.
            tracing::debug!(subscription = self.name, "a delivery was not taken by its stream");
        }
    }

    /// The next consumer in turn that may take an event.
    fn next_consumer(&mut self) -> Option<ConsumerId> {
        let later = self.consumers.range((
            std::ops::Bound::Excluded(self.turn),
            std::ops::Bound::Unbounded,
        ));
        let found = later
            .chain(self.consumers.iter())
            .find(|(_, attached)| Attached::may_take(attached))
            .map(|(id, _)| *id)?;
        self.turn = found;
        Some(found)
    }

    /// Tells each consumer once that the end of what waited was reached.
    fn tell_caught_up(&mut self) {
        let position = self.window.scanned();
        if position < self.shared.tail.head() || self.window.room() == 0 {
            return;
        }
        for attached in self.consumers.values_mut().filter(|attached| !attached.caught_up) {
            attached.caught_up = attached.messages.try_send(Message::CaughtUp { position }).is_ok();
        }
    }
}
