//! The rules one by one, and (`model`) a random walk beside a plain model of them.

mod model;

use std::time::Duration;

use jiff::Timestamp;

use super::leases::Failure;
use super::*;
use crate::store::{Held, LaneRow, Position, PositionUpdate, SubscriptionId};

/// A moment by both clocks, which agree in tests.
fn at(monotonic: Duration) -> Now {
    let wall = Timestamp::UNIX_EPOCH.checked_add(Duration::from_secs(1_700_000_000) + monotonic);
    Now { monotonic, wall: wall.expect("within the range") }
}

fn settings() -> Settings {
    Settings {
        ack_deadline: Duration::from_secs(30),
        max_outstanding: 1_000,
        max_outstanding_bytes: 4 << 20,
        max_attempts: Some(20),
        min_backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(600),
        ordered: true,
    }
}

const ME: ConsumerId = ConsumerId(1);
const SUBSCRIPTION: SubscriptionId = SubscriptionId(7);

/// A window with a clock, and lease ids that count up.
struct Fixture {
    window: Window,
    now: Duration,
    leases: u64,
    last: i64,
}

impl Fixture {
    fn new(settings: Settings) -> Fixture {
        let mut window = Window::new(Position::default(), settings, at(Duration::ZERO));
        window.admit(ME, "crm-1");
        Fixture { window, now: Duration::ZERO, leases: 0, last: 0 }
    }

    /// Offers the next event of the log, in a lane.
    fn offer(&mut self, lane: i64) -> Sequence {
        self.offer_paid(lane, None)
    }

    fn offer_paid(&mut self, lane: i64, paid: Option<Money>) -> Sequence {
        self.last += 1;
        let event = Scanned {
            sequence: Sequence(self.last),
            lane: SubjectId(lane),
            bytes: 100,
            matches: true,
            received_at: at(Duration::from_secs(self.last as u64)).wall,
            paid,
        };
        self.window.offer(event).expect("known lane");
        event.sequence
    }

    fn try_lease(&mut self) -> Option<(Leased, LeaseId)> {
        self.leases += 1;
        let lease = LeaseId(self.leases);
        Some((self.window.lease(at(self.now), ME, lease, usize::MAX)?, lease))
    }

    fn lease(&mut self) -> (Leased, LeaseId) {
        self.try_lease().expect("something is ready")
    }

    fn ack(&mut self, (leased, lease): (Leased, LeaseId)) -> Verdict {
        self.window.ack(at(self.now), leased.sequence, lease, None).verdict
    }

    fn nack(&mut self, (leased, lease): (Leased, LeaseId), kind: NackKind) -> Verdict {
        let nack = Nack { kind, reason: "refused".to_owned(), retry_after: None };
        self.window.nack(at(self.now), leased.sequence, lease, &nack, 1.0).verdict
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn update(&mut self) -> PositionUpdate {
        let update = self.window.take_update(SUBSCRIPTION, at(self.now)).expect("changed");
        self.window.committed();
        update
    }

    /// Answers all questions: the lanes have nothing more.
    fn resolve_to_nothing(&mut self) {
        for lookup in self.window.lanes_to_resolve(at(self.now), 100) {
            self.window.resolve(at(self.now), lookup, &[]);
        }
    }
}

#[test]
fn p4_a_failed_event_holds_back_its_lane_alone() {
    let mut fixture = Fixture::new(settings());
    let first = fixture.offer(1);
    fixture.offer(1);
    let other = fixture.offer(2);
    let failed = fixture.lease();
    assert_eq!(fixture.nack(failed, NackKind::Retry), Verdict::Applied);
    let delivery = fixture.lease();
    assert_eq!(delivery.0.sequence, other);
    assert_eq!(fixture.ack(delivery), Verdict::Applied);
    assert!(fixture.try_lease().is_none());

    let update = fixture.update();
    assert_eq!(update.position.cursor, Sequence(3), "the cursor moves past a held lane");
    let held = update.lanes[0].held.clone().expect("held");
    assert_eq!((held.first, held.attempts), (first, 1));
    assert_eq!(held.due_at, at(Duration::from_secs(1)).wall);
    assert_eq!(held.history[0].consumer, "crm-1");
    assert_eq!(held.history[0].reason, "refused");
    assert_eq!(fixture.window.next_wake(), Some(Duration::from_secs(1)));

    fixture.wait(1);
    let again = fixture.lease();
    assert_eq!((again.0.sequence, again.0.attempt, again.0.replay), (first, 2, false));
}

#[test]
fn a_lane_goes_on_after_the_ack_of_what_held_it_back() {
    let mut fixture = Fixture::new(settings());
    fixture.offer(1);
    let second = fixture.offer(1);
    let failed = fixture.lease();
    fixture.nack(failed, NackKind::Retry);
    fixture.wait(1);
    let again = fixture.lease();
    fixture.ack(again);
    let lookups = fixture.window.lanes_to_resolve(at(fixture.now), 10);
    assert_eq!((lookups[0].from, lookups[0].through), (second, second));
    let third = fixture.offer(1);
    let found = Found { sequence: second, bytes: 5, received_at: at(fixture.now).wall, paid: None };
    fixture.window.resolve(at(fixture.now), lookups[0], &[found]);
    let delivery = fixture.lease();
    assert_eq!((delivery.0.sequence, delivery.0.attempt, delivery.0.bytes), (second, 1, 5));
    fixture.ack(delivery);
    let lookups = fixture.window.lanes_to_resolve(at(fixture.now), 10);
    assert_eq!((lookups[0].from, lookups[0].through), (third, third));
    fixture.window.resolve(at(fixture.now), lookups[0], &[]);
    assert_eq!(fixture.update().lanes, vec![], "its row goes");
}

#[test]
fn what_arrives_while_the_store_is_asked_is_not_lost() {
    let mut fixture = Fixture::new(settings());
    fixture.offer(1);
    let failed = fixture.lease();
    fixture.nack(failed, NackKind::Retry);
    fixture.wait(1);
    let again = fixture.lease();
    fixture.ack(again);
    let lookups = fixture.window.lanes_to_resolve(at(fixture.now), 10);
    let late = fixture.offer(1);
    fixture.window.resolve(at(fixture.now), lookups[0], &[]);
    assert_eq!(fixture.lease().0.sequence, late);
}

#[test]
fn waits_double_up_to_the_longest_and_are_spread() {
    let failure = |jitter| Failure { kind: NackKind::Retry, reason: "", wait: None, jitter };
    let wait = |attempts, jitter| failure(jitter).wait(attempts, &settings()).as_millis();
    assert_eq!([1, 2, 3, 4].map(|attempts| wait(attempts, 1.0)), [1_000, 2_000, 4_000, 8_000]);
    assert_eq!(wait(1, 0.0), 500);
    assert_eq!([11, 33, u32::MAX].map(|attempts| wait(attempts, 1.0)), [600_000; 3]);
}

#[test]
fn throttling_pauses_the_lane_and_spends_no_attempt() {
    let mut fixture = Fixture::new(Settings { max_attempts: Some(1), ..settings() });
    fixture.offer(1);
    for _ in 0..3 {
        let delivery = fixture.lease();
        assert_eq!(delivery.0.attempt, 1);
        fixture.nack(delivery, NackKind::Throttled);
        assert!(fixture.try_lease().is_none());
        fixture.wait(1);
    }
    let update = fixture.update();
    assert_eq!(update.dead_letters, vec![]);
    assert_eq!(update.lanes[0].held.as_ref().map(|held| held.attempts), Some(0));
}

#[test]
fn p4_a_lane_goes_on_after_a_dead_letter_and_says_so() {
    let mut fixture = Fixture::new(Settings { max_attempts: Some(2), ..settings() });
    let dead = fixture.offer(1);
    let next = fixture.offer(1);
    for _ in 0..2 {
        let delivery = fixture.lease();
        assert!(!delivery.0.gap_before);
        fixture.nack(delivery, NackKind::Retry);
        fixture.wait(1);
    }
    let row = fixture.update().dead_letters.remove(0);
    assert_eq!((row.sequence, row.reason.as_str(), row.history.len()), (dead, "refused", 2));
    let lookups = fixture.window.lanes_to_resolve(at(fixture.now), 1);
    let found = Found { sequence: next, bytes: 1, received_at: at(fixture.now).wall, paid: None };
    fixture.window.resolve(at(fixture.now), lookups[0], &[found]);
    let delivery = fixture.lease();
    assert!(delivery.0.gap_before && !delivery.0.replay);
    fixture.ack(delivery);
    fixture.resolve_to_nothing();
    assert_eq!(fixture.update().lanes[0].gaps, 1);

    fixture.window.replay(at(fixture.now), row).expect("known lane");
    assert!(fixture.update().dead_letters[0].replaying);
    let replay = fixture.lease();
    assert_eq!((replay.0.sequence, replay.0.attempt), (dead, 1));
    assert!(replay.0.replay && !replay.0.gap_before);
    fixture.ack(replay);
    let update = fixture.update();
    assert_eq!(update.dead_letters_removed, vec![dead]);
    assert_eq!(update.lanes_removed, vec![SubjectId(1)]);
    fixture.offer(1);
    assert!(!fixture.lease().0.gap_before, "the gap is closed");
}

#[test]
fn a_replay_that_fails_holds_nothing_back_and_stays_a_dead_letter() {
    let mut fixture = Fixture::new(Settings { max_attempts: Some(1), ..settings() });
    let dead = fixture.offer(1);
    let delivery = fixture.lease();
    fixture.nack(delivery, NackKind::Throttled);
    fixture.wait(1);
    let delivery = fixture.lease();
    fixture.nack(delivery, NackKind::DeadLetter);
    fixture.resolve_to_nothing();
    let row = fixture.update().dead_letters.remove(0);
    fixture.window.replay(at(fixture.now), row).expect("known lane");
    let replay = fixture.lease();
    fixture.nack(replay, NackKind::Throttled);
    let next = fixture.offer(1);
    let delivery = fixture.lease();
    assert_eq!(delivery.0.sequence, next);
    fixture.ack(delivery);
    fixture.wait(1);
    let replay = fixture.lease();
    assert_eq!(replay.0.sequence, dead);
    fixture.nack(replay, NackKind::Retry);
    let row = fixture.update().dead_letters.remove(0);
    assert_eq!((row.sequence, row.replaying), (dead, false));
    assert_eq!(fixture.window.discard(at(fixture.now), dead, SubjectId(1)), Ok(None));
    assert_eq!(fixture.update().lanes_removed, vec![SubjectId(1)]);
}

#[test]
fn p5_an_ack_of_an_expired_delivery_never_settles_the_redelivery() {
    let mut fixture = Fixture::new(settings());
    fixture.offer(1);
    let old = fixture.lease();
    assert_eq!(fixture.window.next_wake(), Some(Duration::from_secs(30)));
    fixture.wait(30);
    let freed = fixture.window.expire(at(fixture.now), 1.0);
    assert_eq!(freed, vec![Freed { consumer: ME, bytes: 100 }]);
    assert_eq!(fixture.ack(old), Verdict::Stale);
    fixture.wait(1);
    let new = fixture.lease();
    assert_eq!(new.0.attempt, 2);
    assert_eq!(fixture.ack(old), Verdict::Stale);
    assert_eq!(fixture.nack(old, NackKind::DeadLetter), Verdict::Stale);
    assert_eq!(fixture.window.outstanding(), 1);
    assert_eq!(fixture.ack(new), Verdict::Applied);
    assert_eq!(fixture.ack(new), Verdict::Duplicate);
    assert_eq!(fixture.nack(new, NackKind::Retry), Verdict::Stale);
    assert_eq!(fixture.ack(old), Verdict::Stale);
}

#[test]
fn an_extension_moves_the_deadline() {
    let mut fixture = Fixture::new(settings());
    let sequence = fixture.offer(1);
    let (_, lease) = fixture.lease();
    fixture.wait(20);
    let hour = Duration::from_secs(3_600);
    let extend =
        |fixture: &mut Fixture| fixture.window.extend(at(fixture.now), sequence, lease, hour);
    assert_eq!(extend(&mut fixture), Verdict::Applied);
    fixture.wait(3_599);
    assert_eq!(fixture.window.expire(at(fixture.now), 0.0), vec![]);
    fixture.wait(1);
    assert_eq!(fixture.window.expire(at(fixture.now), 0.0).len(), 1);
    assert_eq!(extend(&mut fixture), Verdict::Stale);
}

#[test]
fn a_lost_consumers_events_go_out_at_once_until_their_attempts_are_spent() {
    let mut fixture = Fixture::new(Settings { max_attempts: Some(3), ..settings() });
    fixture.offer(1);
    for attempt in 1..=3 {
        assert!(fixture.window.take_update(SUBSCRIPTION, at(fixture.now)).is_none());
        fixture.window.admit(ME, "crm-1");
        assert_eq!(fixture.lease().0.attempt, attempt);
        assert_eq!(fixture.window.release(at(fixture.now), ME), 1);
    }
    let row = fixture.update().dead_letters.remove(0);
    assert_eq!((row.reason.as_str(), row.history.len()), ("consumer disconnected", 3));
    assert!(fixture.try_lease().is_none());
}

#[test]
fn the_history_keeps_the_last_attempts_and_short_reasons() {
    let mut fixture = Fixture::new(Settings { max_attempts: None, ..settings() });
    fixture.offer(1);
    for attempt in 0..25 {
        let (leased, lease) = fixture.lease();
        let reason = format!("{attempt} {}", "ü".repeat(1_000));
        let nack = Nack { kind: NackKind::Retry, reason, retry_after: Some(Duration::ZERO) };
        let _ = fixture.window.nack(at(fixture.now), leased.sequence, lease, &nack, 0.0);
    }
    let held = fixture.update().lanes[0].held.clone().expect("held");
    assert_eq!((held.attempts, held.history.len()), (25, MAX_HISTORY));
    assert!(held.history[0].reason.starts_with("5 ") && held.history[0].reason.len() <= 256);
}

#[test]
fn ready_lanes_are_served_in_turn() {
    let mut fixture = Fixture::new(settings());
    for lane in [1, 1, 1, 2, 3] {
        fixture.offer(lane);
    }
    let mut served = Vec::new();
    while let Some(delivery) = fixture.try_lease() {
        served.push(delivery.0.lane.0);
        fixture.ack(delivery);
    }
    assert_eq!(served, vec![1, 2, 3, 1, 1]);
}

#[test]
fn limits_hold_but_never_stop_a_large_event() {
    let small = Settings { max_outstanding: 2, max_outstanding_bytes: 150, ..settings() };
    let mut fixture = Fixture::new(small);
    for lane in 1..=4 {
        fixture.offer(lane);
    }
    let (first, _) = fixture.lease();
    assert!(fixture.try_lease().is_none(), "too many bytes");
    assert_eq!(fixture.window.outstanding_of(ME), (1, first.bytes));
    fixture.window.set_settings(Settings { max_outstanding: 2, ..settings() });
    let now = at(fixture.now);
    assert_eq!(fixture.window.lease(now, ME, LeaseId(50), 99), None, "too many for the consumer");
    assert!(fixture.window.lease(now, ConsumerId(2), LeaseId(51), 1).is_some(), "it has nothing");
    assert!(fixture.try_lease().is_none(), "too many deliveries");
}

#[test]
fn p7_a_long_lane_waits_in_the_store() {
    let mut fixture = Fixture::new(settings());
    let delivery = {
        fixture.offer(1);
        fixture.lease()
    };
    for _ in 0..10_000 {
        fixture.offer(1);
    }
    assert_eq!(fixture.window.pending(), 0);
    assert_eq!(fixture.window.backlog().events, 10_001);
    let held = fixture.update().lanes[0].held.clone().expect("held");
    assert_eq!((held.first, held.attempts), (Sequence(1), 0));
    assert_eq!(fixture.ack(delivery), Verdict::Applied);
    assert_eq!(fixture.lease().0.sequence, Sequence(2));
}

#[test]
fn p7_slow_lanes_make_way_for_others() {
    let mut fixture = Fixture::new(Settings { max_outstanding: 100, ..settings() });
    for event in 0..1_124 {
        fixture.offer(event / 30);
    }
    assert_eq!(fixture.window.room(at(fixture.now)), 0);
    while fixture.try_lease().is_some() {}
    assert_eq!(fixture.window.outstanding(), 38);
    assert_eq!(fixture.window.room(at(fixture.now)), 0, "they may be acknowledged soon");
    fixture.wait(1);
    assert!(fixture.window.room(at(fixture.now)) > 1_000);
    let other = fixture.offer(500);
    assert_eq!(fixture.lease().0.sequence, other);
}

#[test]
fn p7_the_cursor_moves_on_when_the_settled_ranges_are_too_many() {
    let mut fixture = Fixture::new(Settings { max_outstanding: 5_000, ..settings() });
    for lane in 1..=4_000 {
        fixture.offer(lane);
    }
    let deliveries: Vec<_> = (0..4_000).map(|_| fixture.lease()).collect();
    for delivery in deliveries.iter().skip(1).step_by(2) {
        fixture.ack(*delivery);
    }
    let update = fixture.update();
    assert_eq!(update.position.done.len(), MAX_DONE_RANGES);
    assert!(update.position.cursor > Sequence(1_900));
    assert_eq!(fixture.ack(deliveries[0]), Verdict::Applied, "its lease goes on");
}

#[test]
fn p7_memory_keeps_the_held_lanes_that_are_due_soonest() {
    let excess = 500;
    let mut fixture = Fixture::new(settings());
    for lane in 1..=(MAX_HELD_IN_MEMORY + excess) as i64 {
        let sequence = fixture.offer(lane);
        let (_, lease) = fixture.lease();
        let retry_after = Some(Duration::from_secs(20_000 - lane as u64));
        let nack = Nack { kind: NackKind::Retry, reason: String::new(), retry_after };
        let _ = fixture.window.nack(at(fixture.now), sequence, lease, &nack, 0.0);
    }
    assert_eq!(fixture.update().lanes.len(), MAX_HELD_IN_MEMORY + excess);
    assert_eq!(fixture.window.held_in_memory(), MAX_HELD_IN_MEMORY);
    assert!(fixture.window.must_look_up(SubjectId(1)), "due last, and forgotten");
    assert!(!fixture.window.must_look_up(SubjectId(MAX_HELD_IN_MEMORY as i64)));
    assert_eq!(fixture.window.wants_lanes(at(fixture.now)), None, "not before they are due");

    let event = Scanned {
        sequence: fixture.window.scanned().next(),
        lane: SubjectId(1),
        bytes: 1,
        matches: true,
        received_at: at(fixture.now).wall,
        paid: None,
    };
    assert_eq!(fixture.window.offer(event), Err(MustLookUp));
    let held = Held {
        first: Sequence(1),
        attempts: 1,
        due_at: at(Duration::from_secs(19_999)).wall,
        history: vec![],
    };
    let row = LaneRow { subject: SubjectId(1), held: Some(held), gaps: 0 };
    fixture.window.looked_up(at(fixture.now), [SubjectId(1)], vec![row]);
    assert_eq!(fixture.window.offer(event), Ok(()));
    assert!(fixture.try_lease().is_none(), "it waits with its lane");
}

#[test]
fn passing_over_what_does_not_match_is_durable_only_on_demand() {
    let mut fixture = Fixture::new(settings());
    fixture.window.pass_over(Sequence(5_000));
    assert!(fixture.window.take_update(SUBSCRIPTION, at(fixture.now)).is_none());
    assert_eq!(fixture.window.passed_since_update(), 5_000);
    fixture.window.persist_passed();
    assert_eq!(fixture.update().position.cursor, Sequence(5_000));
    assert_eq!(fixture.window.passed_since_update(), 0);
}

#[test]
fn a_seek_forgets_leases_and_flags_what_is_delivered_again() {
    let mut fixture = Fixture::new(settings());
    fixture.offer(1);
    fixture.offer(2);
    let old = fixture.lease();
    let freed = fixture.window.seek(Sequence(0), at(fixture.now));
    assert_eq!(freed, vec![Freed { consumer: ME, bytes: 100 }]);
    assert_eq!(fixture.ack(old), Verdict::Stale);
    let update = fixture.update();
    assert!(update.clear_lanes);
    assert_eq!((update.position.generation, update.position.high_water), (1, Sequence(2)));
    fixture.last = 0;
    for lane in 1..=3 {
        fixture.offer(lane);
    }
    let flags: Vec<bool> = (0..3).map(|_| fixture.lease().0.replay).collect();
    assert_eq!(flags, vec![true, true, false]);
}

#[test]
fn the_backlog_counts_each_subjects_latest_paid_amount_once() {
    let euros = |minor| Some(Money::new(minor, "EUR").expect("known"));
    let mut fixture = Fixture::new(settings());
    fixture.offer_paid(1, euros(500));
    fixture.offer_paid(1, euros(700));
    fixture.offer_paid(2, Money::new(9, "JPY").ok());
    let delivery = fixture.lease();
    let backlog = fixture.window.backlog();
    assert_eq!((backlog.events, backlog.subjects, backlog.exact), (3, 2, true));
    assert_eq!(backlog.oldest_received_at, Some(at(Duration::from_secs(1)).wall));
    let amounts: Vec<String> = backlog.amounts.iter().map(Money::to_string).collect();
    assert_eq!(amounts, vec!["7.00 EUR", "9 JPY"]);
    fixture.ack(delivery);
    let delivery = fixture.lease();
    fixture.ack(delivery);
    let backlog = fixture.window.backlog();
    assert_eq!((backlog.events, backlog.subjects), (1, 1));
    assert_eq!(backlog.oldest_received_at, Some(at(Duration::from_secs(2)).wall));
}

#[test]
fn p5_what_an_ack_told_is_in_the_update_with_it() {
    let mut fixture = Fixture::new(settings());
    let sequence = fixture.offer(1);
    let (_, lease) = fixture.lease();
    let note = AckNote { external_ref: "deal/5".to_owned(), outcome: "created".to_owned() };
    let _ = fixture.window.ack(at(fixture.now), sequence, lease, Some(note));
    let update = fixture.update();
    assert_eq!(update.position.cursor, sequence);
    assert_eq!(update.acked[0].external_ref, "deal/5");
}

#[test]
fn a_repeated_ack_is_told_from_a_stale_one_for_a_bounded_number() {
    let mut fixture = Fixture::new(settings());
    let mut deliveries = Vec::new();
    for lane in 0..MAX_ENDED_REMEMBERED as i64 + 1 {
        fixture.offer(lane);
        let delivery = fixture.lease();
        fixture.ack(delivery);
        deliveries.push(delivery);
    }
    assert_eq!(fixture.ack(deliveries[0]), Verdict::Stale);
    assert_eq!(fixture.ack(deliveries[1]), Verdict::Duplicate);
}
