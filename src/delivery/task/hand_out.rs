//! Handing out: reading on in the log, resolving lanes that are due, and giving each ready event to the
//! next consumer that may take one.

use std::sync::Arc;

use rand::Rng;

use super::{MAX_LANES_A_TURN, MAX_PAGE_BYTES, MAX_PAGE_EVENTS, MAX_UNRECORDED, Task};
use crate::delivery::ack_id::AckId;
use crate::delivery::consumer::{Handed, Message};
use crate::delivery::window::{ConsumerId, Found, LeaseId, Leased, Lookup, Scanned};
use crate::model::{Sequence, SubjectId};
use crate::store::{self, Logged};

/// How many deliveries are handed out before commands are looked at again.
const MAX_HANDED_A_TURN: usize = 256;
/// How many dead letters being replayed are fed to the window at once.
const MAX_REPLAYS_A_TURN: usize = 100;
/// How many events of a held lane are looked for at once.
const MAX_FOUND_A_LANE: usize = 16;

impl Task {
    /// Does what can be done now. True if there may be more.
    pub(super) async fn advance(&mut self) -> Result<bool, store::Error> {
        let now = self.now();
        let jitter = rand::rng().random();
        for freed in self.window.expire(now, jitter) {
            self.meters.expired.increment(1);
            self.free(freed);
        }
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
        let Some(after) = self.window.wants_replays() else { return Ok(()) };
        let page = self.shared.store.dead_letters(self.id, after, MAX_REPLAYS_A_TURN, true).await?;
        let lanes: Vec<SubjectId> = page.iter().map(|row| row.subject).collect();
        self.look_up_if_needed(&lanes).await?;
        let more = page.len() == MAX_REPLAYS_A_TURN;
        let now = self.now();
        self.window
            .learn_replays(now, page, more)
            .map_err(|error| store::Error::Damaged(error.to_string()))
    }

    /// Held lanes that memory has room for, soonest due first.
    async fn load_lanes(&mut self) -> Result<(), store::Error> {
        let now = self.now();
        while let Some(after) = self.window.wants_lanes(now) {
            let rows = self.shared.store.held_lanes(self.id, after, MAX_LANES_A_TURN).await?;
            let more = rows.len() == MAX_LANES_A_TURN;
            let now = self.now();
            self.window.learn_held(now, rows, more);
        }
        Ok(())
    }

    /// Finds the next events of lanes whose time has come.
    async fn resolve_lanes(&mut self) -> Result<(), store::Error> {
        let now = self.now();
        for lookup in self.window.lanes_to_resolve(now, MAX_LANES_A_TURN) {
            match self.next_of_lane(lookup).await {
                Ok(found) => {
                    let now = self.now();
                    self.window.resolve(now, lookup, &found);
                }
                Err(error) => {
                    self.window.unresolved(lookup);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The next events of a lane that the filter takes, ascending.
    async fn next_of_lane(&mut self, lookup: Lookup) -> Result<Vec<Found>, store::Error> {
        let store = self.shared.store.clone();
        let mut from = lookup.from;
        loop {
            let page = match self.spec.settings.ordered {
                true => store.subject_sequences(lookup.lane, from, MAX_FOUND_A_LANE).await?,
                false => vec![Sequence(lookup.lane.0)],
            };
            let full = page.len() == MAX_FOUND_A_LANE;
            let mut found = Vec::new();
            for sequence in page {
                from = sequence.next();
                if !(lookup.from..=lookup.through).contains(&sequence) {
                    continue;
                }
                let Some(logged) = store.event(sequence).await? else { continue };
                if self.spec.filter.takes(&logged, self.shared.codec)? {
                    let scanned = self.scanned_event(&logged, true)?;
                    found.push(Found {
                        sequence,
                        bytes: scanned.bytes,
                        received_at: scanned.received_at,
                        paid: scanned.paid,
                    });
                    self.cache.put(sequence, logged);
                }
            }
            if !found.is_empty() || !full || from > lookup.through {
                return Ok(found);
            }
        }
    }

    /// Offers the next page of the log to the window. Returns how many events it had.
    async fn scan(&mut self) -> Result<usize, store::Error> {
        // A whole turn's worth waits already. Read on, events would leave the cache before they go out, and
        // each would be read again from the store with the whole block that it lies in.
        if self.window.ready_lanes() >= MAX_HANDED_A_TURN {
            return Ok(0);
        }
        let now = self.now();
        let room = self.window.room(now).min(MAX_PAGE_EVENTS);
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
        let lanes: Vec<SubjectId> = page.iter().map(|logged| self.lane_of(logged)).collect();
        self.look_up_if_needed(&lanes).await?;
        for logged in &page {
            let takes = self.spec.filter.takes(logged, self.shared.codec)?;
            let scanned = self.scanned_event(logged, takes)?;
            if self.window.offer(scanned).is_err() {
                break;
            }
            if takes {
                self.cache.put(logged.sequence, logged.clone());
            }
        }
        if self.window.passed_since_update() > MAX_UNRECORDED {
            self.window.persist_passed();
        }
        Ok(page.len())
    }

    /// Asks the store for the rows of lanes that the window may not know. What it learns holds for what
    /// it is told next.
    pub(super) async fn look_up_if_needed(
        &mut self,
        lanes: &[SubjectId],
    ) -> Result<(), store::Error> {
        let mut unknown: Vec<SubjectId> =
            lanes.iter().copied().filter(|lane| self.window.must_look_up(*lane)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        unknown.sort_unstable();
        unknown.dedup();
        let rows = self.shared.store.lanes(self.id, &unknown).await?;
        let now = self.now();
        self.window.looked_up(now, unknown, rows);
        Ok(())
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
            self.window.weigh(leased.sequence, logged.encoded.len());
            self.hand(consumer, lease, &leased, logged);
            handed += 1;
        }
        Ok(handed)
    }

    async fn fetch(&self, sequence: Sequence) -> Result<Arc<Logged>, store::Error> {
        let logged = self.shared.store.event(sequence).await?;
        logged.ok_or_else(|| store::Error::Damaged(format!("event {sequence} is missing")))
    }

    fn hand(&mut self, consumer: ConsumerId, lease: LeaseId, leased: &Leased, logged: Arc<Logged>) {
        let deadline = self.wall_time_of(leased.deadline);
        let ack_id = AckId { subscription: self.id, sequence: leased.sequence, lease }.encode();
        let bytes = leased.bytes.max(logged.encoded.len());
        let message = Message::Delivery(Handed {
            ack_id,
            attempt: leased.attempt,
            deadline,
            replay: leased.replay,
            gap_before: leased.gap_before,
            logged,
        });
        if leased.attempt > 1 {
            self.meters.redeliveries.increment(1);
        }
        self.meters.deliveries.increment(1);
        let Some(attached) = self.consumers.get_mut(&consumer) else { return };
        attached.credit = attached.credit.map(|left| left.saturating_sub(1));
        let sent = attached.messages.try_send(message).is_ok();
        if attached.auto_ack && sent {
            let now = self.now();
            let _ = self.window.ack(now, leased.sequence, lease, None);
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
        let later = self
            .consumers
            .range((std::ops::Bound::Excluded(self.turn), std::ops::Bound::Unbounded));
        let found = later
            .chain(self.consumers.iter())
            .find(|(_, attached)| attached.may_take())
            .map(|(id, _)| *id)?;
        self.turn = found;
        Some(found)
    }

    /// Tells each consumer once that the end of what waited was reached.
    fn tell_caught_up(&mut self) {
        let position = self.window.scanned();
        if position < self.shared.tail.head() {
            return;
        }
        for attached in self.consumers.values_mut().filter(|attached| !attached.caught_up) {
            attached.caught_up = attached.messages.try_send(Message::CaughtUp { position }).is_ok();
        }
    }
}
