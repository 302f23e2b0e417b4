//! The deliveries of one stream that the gateway has not answered for: which are held and need more time,
//! which were settled and who waits for the answer. Pure: the time comes in, ack ids to extend and answers
//! go out. It must never extend what was settled or dropped.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::{
    delivery::Answer,
    proto::{AckResult, AckStatus},
};

/// At most this often is everything looked through, so that deadlines in a row cost one look, not many.
const MIN_SCAN_GAP: Duration = Duration::from_millis(100);

/// What the gateway still counts as ours.
pub(crate) struct Unsettled {
    entries: HashMap<String, Entry>,
    /// How long the gateway gives for a delivery, and for an extension of it.
    lease: Duration,
    max_extension: Duration,
    next_scan: Option<Instant>,
}

struct Entry {
    received: Instant,
    extend_at: Option<Instant>,
    /// Extensions that the gateway has not answered. It answers those before the ack of the same id.
    extensions: u32,
    stage: Stage,
}

enum Stage {
    Held,
    Settled(Option<Answer>),
}

impl Unsettled {
    /// Extends each delivery for as long as `max_extension`.
    pub(crate) fn new(max_extension: Duration) -> Self {
        Self { entries: HashMap::new(), lease: Duration::ZERO, max_extension, next_scan: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A delivery came, to be settled within `lease`.
    pub(crate) fn hold(&mut self, ack_id: String, lease: Duration, now: Instant) {
        self.lease = lease;
        let extend_at = now + self.renewal();
        let entry =
            Entry { received: now, extend_at: Some(extend_at), extensions: 0, stage: Stage::Held };
        self.entries.insert(ack_id, entry);
        self.next_scan = Some(self.next_scan.map_or(extend_at, |next| next.min(extend_at)));
    }

    /// It was acked or nacked.
    pub(crate) fn settle(&mut self, ack_id: &str, answer: Option<Answer>, now: Instant) {
        let stage = Stage::Settled(answer);
        if let Some(entry) = self.entries.get_mut(ack_id) {
            entry.stage = stage;
            entry.extend_at = None;
        } else {
            let entry = Entry { received: now, extend_at: None, extensions: 0, stage };
            self.entries.insert(ack_id.to_owned(), entry);
        }
    }

    /// It was dropped.
    pub(crate) fn abandon(&mut self, ack_id: &str) {
        self.entries.remove(ack_id);
    }

    /// The gateway answered an ack, a nack or an extension.
    pub(crate) fn answer(&mut self, result: &AckResult) {
        let Some(entry) = self.entries.get_mut(&result.ack_id) else { return };
        if entry.extensions > 0 {
            entry.extensions -= 1;
            if result.status() != AckStatus::Applied {
                entry.extend_at = None;
            }
            return;
        }
        if matches!(entry.stage, Stage::Held) {
            return;
        }
        if let Some(Entry { stage: Stage::Settled(Some(answer)), .. }) =
            self.entries.remove(&result.ack_id)
        {
            // Nobody may be waiting any more.
            let _ = answer.send(result.status());
        }
    }

    /// When to ask for `due` next.
    pub(crate) fn next_scan(&self) -> Option<Instant> {
        self.next_scan
    }

    /// What needs more time now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<String> {
        if self.next_scan.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let again = now + self.renewal();
        let mut due = Vec::new();
        let mut earliest: Option<Instant> = None;
        for (ack_id, entry) in &mut self.entries {
            let Some(mut extend_at) = entry.extend_at else { continue };
            if extend_at <= now {
                if now.duration_since(entry.received) >= self.max_extension {
                    entry.extend_at = None;
                    continue;
                }
                entry.extensions += 1;
                extend_at = again;
                entry.extend_at = Some(again);
                due.push(ack_id.clone());
            }
            earliest = Some(earliest.map_or(extend_at, |other| other.min(extend_at)));
        }
        self.next_scan = earliest.map(|at| at.max(now + MIN_SCAN_GAP));
        due
    }

    /// With a third of the lease left.
    fn renewal(&self) -> Duration {
        self.lease * 2 / 3
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn result(ack_id: &str, status: AckStatus) -> AckResult {
        AckResult { ack_id: ack_id.into(), status: status.into() }
    }

    #[test]
    fn what_is_held_is_extended_with_a_third_left_until_the_maximum() {
        let start = Instant::now();
        let mut unsettled = Unsettled::new(Duration::from_secs(50));
        unsettled.hold("a".into(), LEASE, start);
        assert_eq!(unsettled.next_scan(), Some(start + LEASE * 2 / 3));
        assert!(unsettled.due(start + Duration::from_secs(19)).is_empty());
        assert_eq!(unsettled.due(start + Duration::from_secs(20)), ["a"]);
        assert_eq!(unsettled.due(start + Duration::from_secs(40)), ["a"]);
        assert!(unsettled.due(start + Duration::from_secs(60)).is_empty());
        assert_eq!(unsettled.next_scan(), None);
    }

    #[test]
    fn what_is_settled_or_dropped_is_not_extended() {
        let start = Instant::now();
        let mut unsettled = Unsettled::new(LEASE * 10);
        for ack_id in ["settled", "dropped", "held"] {
            unsettled.hold(ack_id.into(), LEASE, start);
        }
        unsettled.settle("settled", None, start);
        unsettled.abandon("dropped");
        assert_eq!(unsettled.due(start + LEASE), ["held"]);
    }

    #[test]
    fn what_the_gateway_calls_stale_is_not_extended_again() {
        let start = Instant::now();
        let mut unsettled = Unsettled::new(LEASE * 10);
        unsettled.hold("a".into(), LEASE, start);
        assert_eq!(unsettled.due(start + LEASE), ["a"]);
        unsettled.answer(&result("a", AckStatus::Stale));
        assert!(unsettled.due(start + LEASE * 2).is_empty());
    }

    #[test]
    fn the_answer_of_an_extension_is_not_taken_for_that_of_the_ack() {
        let start = Instant::now();
        let mut unsettled = Unsettled::new(LEASE * 10);
        unsettled.hold("a".into(), LEASE, start);
        assert_eq!(unsettled.due(start + LEASE), ["a"]);
        let (sender, mut answer) = oneshot::channel();
        unsettled.settle("a", Some(sender), start + LEASE);
        unsettled.answer(&result("a", AckStatus::Applied));
        assert!(answer.try_recv().is_err());
        unsettled.answer(&result("a", AckStatus::Stale));
        assert_eq!(answer.try_recv(), Ok(AckStatus::Stale));
        assert_eq!(unsettled.len(), 0);
    }

    #[test]
    fn deadlines_in_a_row_are_looked_through_together() {
        let start = Instant::now();
        let mut unsettled = Unsettled::new(LEASE * 10);
        for number in 0..50u32 {
            unsettled.hold(number.to_string(), LEASE, start + Duration::from_millis(1) * number);
        }
        let first = start + LEASE * 2 / 3;
        assert_eq!(unsettled.due(first).len(), 1);
        assert_eq!(unsettled.next_scan(), Some(first + MIN_SCAN_GAP));
        assert_eq!(unsettled.due(first + MIN_SCAN_GAP).len(), 49);
    }
}
