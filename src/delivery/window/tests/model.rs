//! A random walk: the window, a store of plain maps, and a model that only knows the log, what was
//! settled, and who has what. After each step the model's rules must hold; in the end nothing is lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::*;
use super::{at, settings};
use crate::store::{DeadLetterRow, LaneRow, Position, PositionUpdate, SubscriptionId};

const MAX_ATTEMPTS: u32 = 3;
const DEADLINE: Duration = Duration::from_secs(10);
const SMALL: Limits = Limits {
    held: 3,
    resting: 1,
    replays: 2,
    read_ahead: 4,
    queued_per_lane: 2,
    done_ranges: 3,
    ended: 4,
};
const MAX_OUTSTANDING: usize = 5;

#[derive(Clone, Debug)]
enum Step {
    Append { lane: i64, matches: bool },
    Scan(usize),
    Lease { consumer: u64, max_bytes: usize },
    Ack(usize),
    AckEnded(usize),
    Nack { which: usize, kind: NackKind, retry_after_ms: Option<u64> },
    Extend(usize),
    Advance(u64),
    Release(u64),
    Ask,
    Answer { which: usize, limit: usize },
    GiveBack(usize),
    Take,
    PersistPassed,
    Commit,
    Crash,
    Seek(u8),
    Replay(usize),
    Discard(usize),
}

fn step(seeks: bool) -> impl Strategy<Value = Step> {
    let kind =
        prop_oneof![Just(NackKind::Retry), Just(NackKind::Throttled), Just(NackKind::DeadLetter)];
    let nack = (any::<usize>(), kind, proptest::option::of(0..30_000_u64));
    prop_oneof![
        12 => (0..6_i64, prop::bool::weighted(0.8))
            .prop_map(|(lane, matches)| Step::Append { lane, matches }),
        8 => (1..8_usize).prop_map(Step::Scan),
        14 => (0..3_u64, 0..40_usize)
            .prop_map(|(consumer, max_bytes)| Step::Lease { consumer, max_bytes }),
        9 => any::<usize>().prop_map(Step::Ack),
        2 => any::<usize>().prop_map(Step::AckEnded),
        4 => nack.prop_map(|(which, kind, retry_after_ms)| {
            Step::Nack { which, kind, retry_after_ms }
        }),
        1 => any::<usize>().prop_map(Step::Extend),
        3 => (0..15_000_u64).prop_map(Step::Advance),
        1 => (0..3_u64).prop_map(Step::Release),
        4 => Just(Step::Ask),
        5 => (any::<usize>(), 1..4_usize).prop_map(|(which, limit)| Step::Answer { which, limit }),
        1 => any::<usize>().prop_map(Step::GiveBack),
        5 => Just(Step::Take),
        1 => Just(Step::PersistPassed),
        5 => Just(Step::Commit),
        1 => Just(Step::Crash),
        1 => any::<u8>().prop_map(move |to| if seeks { Step::Seek(to) } else { Step::Take }),
        2 => any::<usize>().prop_map(Step::Replay),
        1 => any::<usize>().prop_map(Step::Discard),
    ]
}

/// What the store has.
#[derive(Clone, Default)]
struct Rows {
    position: Position,
    lanes: BTreeMap<SubjectId, LaneRow>,
    dead_letters: BTreeMap<Sequence, DeadLetterRow>,
}

impl Rows {
    fn apply(&mut self, update: &PositionUpdate) {
        self.position = update.position.clone();
        if update.clear_lanes {
            self.lanes.clear();
        }
        for row in &update.lanes {
            self.lanes.insert(row.subject, row.clone());
        }
        for subject in &update.lanes_removed {
            assert!(self.lanes.remove(subject).is_some(), "removed a row that is not there");
        }
        for row in &update.dead_letters {
            self.dead_letters.insert(row.sequence, row.clone());
        }
        for sequence in &update.dead_letters_removed {
            self.dead_letters.remove(sequence);
        }
    }
}

/// What must be true of the subscription, told without any of the window's words.
#[derive(Clone, Default)]
struct Truth {
    /// Where the last seek went.
    base: i64,
    /// Acknowledged or dead, above the base.
    settled: BTreeSet<i64>,
    /// Dead letters, and whether they are replayed.
    dead: BTreeMap<i64, bool>,
    high_water: i64,
    seeks: usize,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    sequence: Sequence,
    lane: SubjectId,
    lease: LeaseId,
    consumer: ConsumerId,
    attempt: u32,
    deadline: Duration,
    replayed: bool,
    acked: bool,
}

struct Walk {
    ordered: bool,
    log: Vec<(SubjectId, bool)>,
    now: Duration,
    window: Window,
    truth: Truth,
    committed: (Rows, Truth),
    taken: Rows,
    in_flight: VecDeque<(PositionUpdate, Truth)>,
    open: Vec<Lookup>,
    out: Vec<Out>,
    ended: Vec<Out>,
    leases: u64,
}

impl Walk {
    fn new(ordered: bool) -> Walk {
        let window = begin(&Rows::default(), ordered, Duration::ZERO);
        Walk {
            ordered,
            log: Vec::new(),
            now: Duration::ZERO,
            window,
            truth: Truth::default(),
            committed: Default::default(),
            taken: Rows::default(),
            in_flight: VecDeque::new(),
            open: Vec::new(),
            out: Vec::new(),
            ended: Vec::new(),
            leases: 0,
        }
    }

    fn now(&self) -> Now {
        at(self.now)
    }

    fn lane_of(&self, sequence: i64) -> SubjectId {
        if self.ordered { self.log[sequence as usize - 1].0 } else { SubjectId(sequence) }
    }

    fn matches(&self, sequence: i64) -> bool {
        self.log[sequence as usize - 1].1
    }

    fn lane_events(&self, lane: SubjectId) -> impl Iterator<Item = i64> + '_ {
        (1..=self.log.len() as i64).filter(move |at| self.matches(*at) && self.lane_of(*at) == lane)
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Append { lane, matches } => self.log.push((SubjectId(lane + 100), matches)),
            Step::Scan(events) => self.scan(events),
            Step::Lease { consumer, max_bytes } => {
                self.lease(ConsumerId(consumer), max_bytes);
            }
            Step::Ack(which) => {
                if let Some(index) = pick(which, self.out.len()) {
                    self.ack(index);
                }
            }
            Step::AckEnded(which) => self.ack_ended(which),
            Step::Nack { which, kind, retry_after_ms } => self.nack(which, kind, retry_after_ms),
            Step::Extend(which) => {
                if let Some(index) = pick(which, self.out.len()) {
                    let (now, out) = (self.now(), &mut self.out[index]);
                    out.deadline = now.monotonic + DEADLINE;
                    let verdict = self.window.extend(now, out.sequence, out.lease, DEADLINE);
                    assert_eq!(verdict, Verdict::Applied);
                }
            }
            Step::Advance(ms) => self.advance(Duration::from_millis(ms)),
            Step::Release(consumer) => self.release(ConsumerId(consumer)),
            Step::Ask => {
                let limit = 2;
                self.open.extend(self.window.lanes_to_resolve(at(self.now), limit));
            }
            Step::Answer { which, limit } => {
                if let Some(index) = pick(which, self.open.len()) {
                    let lookup = self.open.swap_remove(index);
                    self.answer(lookup, limit);
                }
            }
            Step::GiveBack(which) => {
                if let Some(index) = pick(which, self.open.len()) {
                    let lookup = self.open.swap_remove(index);
                    self.window.unresolved(lookup);
                }
            }
            Step::Take => self.take(),
            Step::PersistPassed => {
                self.window.persist_passed();
                self.take();
            }
            Step::Commit => self.commit(),
            Step::Crash => self.crash(),
            Step::Seek(share) => {
                let to = self.log.len() as i64 * i64::from(share) / 255;
                self.seek(to);
            }
            Step::Replay(which) => self.replay(which),
            Step::Discard(which) => self.discard(which),
        }
        self.feed();
        self.check();
    }

    fn scan(&mut self, events: usize) {
        let from = self.window.scanned().0 + 1;
        let page: Vec<i64> = (from..=self.log.len() as i64).take(events).collect();
        let asked: Vec<SubjectId> = page.iter().map(|at| self.lane_of(*at)).collect();
        self.look_up(&asked);
        for sequence in page {
            if self.window.room(self.now()) == 0 {
                break;
            }
            let lane = self.lane_of(sequence);
            let event = Scanned {
                sequence: Sequence(sequence),
                lane,
                bytes: size(sequence),
                matches: self.matches(sequence),
                received_at: at(Duration::from_millis(sequence as u64)).wall,
                paid: None,
            };
            assert_eq!(self.window.offer(event), Ok(()));
        }
    }

    /// Looks up what must be, in the store's committed rows.
    fn look_up(&mut self, lanes: &[SubjectId]) {
        let asked: Vec<SubjectId> =
            lanes.iter().copied().filter(|lane| self.window.must_look_up(*lane)).collect();
        if !asked.is_empty() {
            let rows = &self.committed.0.lanes;
            let rows = asked.iter().filter_map(|lane| rows.get(lane).cloned()).collect();
            self.window.looked_up(at(self.now), asked, rows);
        }
    }

    fn lease(&mut self, consumer: ConsumerId, max_bytes: usize) -> bool {
        self.leases += 1;
        let lease = LeaseId(self.leases);
        let Some(leased) = self.window.lease(self.now(), consumer, lease, max_bytes) else {
            return false;
        };
        let sequence = leased.sequence.0;
        assert_eq!(leased.lane, self.lane_of(sequence));
        assert!(self.matches(sequence), "{sequence} does not match");
        assert!(self.out.iter().all(|out| out.lane != leased.lane), "two leases of one lane");
        assert!((1..=MAX_ATTEMPTS).contains(&leased.attempt), "attempt {}", leased.attempt);
        let base = self.truth.base;
        let settled = |at: &i64| *at <= base || self.truth.settled.contains(at);
        let may_be_next = !settled(&sequence)
            && self.lane_events(leased.lane).filter(|at| *at < sequence).all(|at| settled(&at));
        let may_be_replay = self.truth.dead.get(&sequence) == Some(&true);
        assert!(may_be_next || may_be_replay, "{sequence} is out of order or was settled");
        let replayed = self.window.lane_use(leased.lane) == lane::Use::Replay(leased.sequence);
        assert!(if replayed { may_be_replay } else { may_be_next });
        assert_eq!(leased.replay, replayed || sequence <= self.truth.high_water);
        if self.truth.seeks == 0 && !replayed {
            let gap = self.truth.dead.keys().any(|dead| self.lane_of(*dead) == leased.lane);
            assert_eq!(leased.gap_before, gap && self.ordered, "gap before {sequence}");
        }
        self.out.push(Out {
            sequence: leased.sequence,
            lane: leased.lane,
            lease,
            consumer,
            attempt: leased.attempt,
            deadline: leased.deadline,
            replayed,
            acked: false,
        });
        true
    }

    fn ack(&mut self, index: usize) {
        let mut out = self.out.swap_remove(index);
        let settled = self.window.ack(self.now(), out.sequence, out.lease, None);
        assert_eq!(settled.verdict, Verdict::Applied);
        assert_eq!(settled.freed.map(|freed| freed.consumer), Some(out.consumer));
        if out.replayed {
            self.truth.dead.remove(&out.sequence.0);
        } else {
            self.truth.settled.insert(out.sequence.0);
        }
        out.acked = true;
        self.end(out);
    }

    /// An ack of a lease that ended changes nothing.
    fn ack_ended(&mut self, which: usize) {
        let Some(index) = pick(which, self.ended.len()) else { return };
        let out = self.ended[index];
        let settled = self.window.ack(self.now(), out.sequence, out.lease, None);
        let is_recent = index + SMALL.ended / 2 >= self.ended.len();
        if out.acked {
            let may_be_forgotten = settled.verdict == Verdict::Stale && !is_recent;
            assert!(settled.verdict == Verdict::Duplicate || may_be_forgotten);
        } else {
            assert_eq!(settled.verdict, Verdict::Stale);
        }
        assert_eq!(settled.freed, None);
    }

    fn nack(&mut self, which: usize, kind: NackKind, retry_after_ms: Option<u64>) {
        let Some(index) = pick(which, self.out.len()) else { return };
        let out = self.out.swap_remove(index);
        let retry_after = retry_after_ms.map(Duration::from_millis);
        let nack = Nack { kind, reason: "no".to_owned(), retry_after };
        let settled = self.window.nack(self.now(), out.sequence, out.lease, &nack, 0.5);
        assert_eq!(settled.verdict, Verdict::Applied);
        let is_last = match kind {
            NackKind::Retry => out.attempt >= MAX_ATTEMPTS,
            NackKind::Throttled => false,
            NackKind::DeadLetter => true,
        };
        self.failed(out, is_last);
    }

    fn failed(&mut self, out: Out, is_last: bool) {
        if is_last && !out.replayed {
            self.truth.settled.insert(out.sequence.0);
        }
        if is_last {
            self.truth.dead.insert(out.sequence.0, false);
        }
        self.end(out);
    }

    fn end(&mut self, out: Out) {
        self.ended.push(out);
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        let freed = self.window.expire(self.now(), 0.3);
        let (ended, out) = self.out.drain(..).partition(|out| out.deadline <= self.now);
        self.out = out;
        let ended: Vec<Out> = ended;
        assert_eq!(freed.len(), ended.len());
        for out in ended {
            self.failed(out, out.attempt >= MAX_ATTEMPTS);
        }
    }

    fn release(&mut self, consumer: ConsumerId) {
        let count = self.window.release(self.now(), consumer);
        let (ended, out) = self.out.drain(..).partition(|out| out.consumer == consumer);
        self.out = out;
        let ended: Vec<Out> = ended;
        assert_eq!(count, ended.len());
        assert_eq!(self.window.outstanding_of(consumer), (0, 0));
        for out in ended {
            self.failed(out, out.attempt >= MAX_ATTEMPTS);
        }
    }

    fn answer(&mut self, lookup: Lookup, limit: usize) {
        let found: Vec<Found> = self
            .lane_events(lookup.lane)
            .filter(|at| (lookup.from.0..=lookup.through.0).contains(at))
            .take(limit)
            .map(|sequence| Found {
                sequence: Sequence(sequence),
                bytes: size(sequence),
                received_at: at(Duration::from_millis(sequence as u64)).wall,
                paid: None,
            })
            .collect();
        self.window.resolve(at(self.now), lookup, &found);
    }

    fn take(&mut self) {
        let Some(update) = self.window.take_update(SubscriptionId(1), at(self.now)) else { return };
        assert!(update.position.done.len() <= SMALL.done_ranges);
        self.taken.apply(&update);
        self.in_flight.push_back((update, self.truth.clone()));
        assert_eq!(self.window.passed_since_update(), 0);
        self.check_taken();
    }

    /// An update's rows imply all that is settled, and nothing that is not, but what a row holds back.
    fn check_taken(&self) {
        let position = &self.taken.position;
        let mut before = position.cursor;
        for (first, last) in &position.done {
            assert!(before.next() < *first && first <= last, "{position:?}");
            before = *last;
        }
        for sequence in 1..=self.log.len() as i64 {
            if !self.matches(sequence) {
                continue;
            }
            let at = Sequence(sequence);
            let is_done = at <= position.cursor
                || position.done.iter().any(|(first, last)| (*first..=*last).contains(&at));
            let row = self.taken.lanes.get(&self.lane_of(sequence));
            let is_held =
                row.and_then(|row| row.held.as_ref()).is_some_and(|held| held.first <= at);
            let is_settled = sequence <= self.truth.base || self.truth.settled.contains(&sequence);
            if is_settled {
                assert!(is_done && !is_held, "{sequence} is settled, but its rows deny it");
            } else {
                assert!(!is_done || is_held, "{sequence} is lost");
            }
        }
        let dead: BTreeMap<i64, bool> =
            self.taken.dead_letters.values().map(|row| (row.sequence.0, row.replaying)).collect();
        assert_eq!(dead, self.truth.dead);
        for row in self.taken.lanes.values() {
            assert!(row.held.is_some() || row.gaps > 0, "a row that tells nothing: {row:?}");
        }
    }

    fn commit(&mut self) {
        if let Some((update, truth)) = self.in_flight.pop_front() {
            self.committed.0.apply(&update);
            self.committed.1 = truth;
            self.window.committed();
        }
    }

    fn crash(&mut self) {
        self.in_flight.clear();
        self.out.clear();
        self.ended.clear();
        self.open.clear();
        self.taken = self.committed.0.clone();
        self.truth = self.committed.1.clone();
        self.window = begin(&self.committed.0, self.ordered, self.now);
    }

    fn seek(&mut self, to: i64) {
        let scanned = self.window.scanned().max(self.window.recovered_to).0;
        let freed = self.window.seek(Sequence(to), at(self.now));
        assert_eq!(freed.len(), self.out.len());
        self.truth.base = to;
        self.truth.settled.clear();
        self.truth.high_water = self.truth.high_water.max(scanned);
        self.truth.seeks += 1;
        let out = std::mem::take(&mut self.out);
        self.ended.clear();
        self.ended.extend(out);
    }

    fn replay(&mut self, which: usize) {
        let Some(row) = self.dead_letter(which) else { return };
        self.truth.dead.insert(row.sequence.0, true);
        assert_eq!(self.window.replay(at(self.now), row), Ok(()));
    }

    fn discard(&mut self, which: usize) {
        let Some(row) = self.dead_letter(which) else { return };
        self.truth.dead.remove(&row.sequence.0);
        let freed = self.window.discard(at(self.now), row.sequence, row.subject);
        let index = self.out.iter().position(|out| out.replayed && out.sequence == row.sequence);
        assert_eq!(freed.map(|freed| freed.is_some()), Ok(index.is_some()));
        if let Some(index) = index {
            let out = self.out.swap_remove(index);
            self.end(out);
        }
    }

    /// A dead letter of the store, which is read when all is committed.
    fn dead_letter(&mut self, which: usize) -> Option<DeadLetterRow> {
        self.take();
        while !self.in_flight.is_empty() {
            self.commit();
        }
        let rows = &self.committed.0.dead_letters;
        let row = rows.values().nth(pick(which, rows.len())?)?.clone();
        self.look_up(&[row.subject]);
        Some(row)
    }

    /// Feeds what the window asks the store for.
    fn feed(&mut self) {
        for _ in 0..20 {
            let Some(after) = self.window.wants_lanes(at(self.now)) else { break };
            let (rows, more) = held_lanes(&self.committed.0, after, 2);
            self.window.learn_held(at(self.now), rows, more);
        }
        for _ in 0..20 {
            let Some(after) = self.window.wants_replays() else { break };
            if !self.in_flight.is_empty() || self.window.changes.changed {
                break;
            }
            let mut rows: Vec<DeadLetterRow> = self
                .committed
                .0
                .dead_letters
                .values()
                .filter(|row| row.replaying && row.sequence > after)
                .cloned()
                .collect();
            let more = rows.len() > 2;
            rows.truncate(2);
            let lanes: Vec<SubjectId> = rows.iter().map(|row| row.subject).collect();
            self.look_up(&lanes);
            assert_eq!(self.window.learn_replays(at(self.now), rows, more), Ok(()));
        }
    }

    fn check(&self) {
        let window = &self.window;
        assert_eq!(window.outstanding(), self.out.len());
        assert!(window.outstanding() <= MAX_OUTSTANDING);
        let recovering = window.scanned < window.recovered_to;
        assert!(recovering || window.pending() <= 2 * (MAX_OUTSTANDING + SMALL.read_ahead));
        assert!(window.replays_in_memory() <= SMALL.replays);
        let queued = window.lanes.iter().map(|lane| lane.queue.len()).max().unwrap_or_default();
        assert!(queued <= SMALL.queued_per_lane + 1);
        for sequence in window.cursor().0 + 1..=window.scanned().0 {
            let is_settled = self.truth.settled.contains(&sequence);
            let is_pending = window.pending.contains_key(&Sequence(sequence));
            assert!(!(is_settled && is_pending), "{sequence} is settled and pending");
        }
        if self.in_flight.is_empty() && !window.changes.changed && self.out.is_empty() {
            assert!(window.held_in_memory() <= SMALL.held + 8, "{}", window.held_in_memory());
        }
    }

    /// Lets everything come to its end: all that is not dead must get through.
    fn drain(&mut self) {
        for round in 0.. {
            assert!(round < 2_000, "it never ends: {:?}", self.window);
            self.scan(8);
            while self.lease(ConsumerId(9), usize::MAX) {}
            while !self.out.is_empty() {
                self.ack(0);
            }
            self.run(&Step::Ask);
            while let Some(lookup) = self.open.pop() {
                self.answer(lookup, 2);
            }
            self.take();
            while !self.in_flight.is_empty() {
                self.commit();
            }
            self.feed();
            self.check();
            if self.is_finished() {
                break;
            }
            if self.window.lanes.first_ready().is_none()
                && let Some(wake) = self.window.next_wake()
            {
                self.advance(wake.saturating_sub(self.now));
            }
        }
        self.window.persist_passed();
        self.take();
        self.commit();
        let rows = &self.committed.0;
        assert_eq!(rows.position.cursor.0, self.log.len() as i64);
        assert_eq!(rows.position.done, vec![]);
        assert!(rows.lanes.values().all(|row| row.held.is_none()));
        for (subject, row) in &rows.lanes {
            let dead = self.truth.dead.keys().filter(|dead| self.lane_of(**dead) == *subject);
            assert!(row.gaps as usize <= dead.count());
        }
        assert_eq!(self.window.backlog().events, 0);
        assert_eq!(self.window.held_in_memory(), 0);
        assert!(self.window.lanes_in_memory() <= SMALL.resting, "{:?}", self.window.lanes);
    }

    fn is_finished(&self) -> bool {
        let all = (self.truth.base + 1..=self.log.len() as i64)
            .filter(|at| self.matches(*at))
            .all(|at| self.truth.settled.contains(&at));
        let scanned = self.window.scanned().0 == self.log.len() as i64;
        let held = self.committed.0.lanes.values().any(|row| row.held.is_some());
        all && scanned && !held && self.truth.dead.values().all(|replaying| !replaying)
    }
}

fn begin(rows: &Rows, ordered: bool, now: Duration) -> Window {
    let settings = Settings {
        ack_deadline: DEADLINE,
        max_outstanding: MAX_OUTSTANDING,
        max_outstanding_bytes: 60,
        max_attempts: Some(MAX_ATTEMPTS),
        ordered,
        ..settings()
    };
    let mut window = Window::new(rows.position.clone(), settings, at(now));
    window.limits = SMALL;
    window.set_unloaded_lanes(rows.lanes.len());
    window.set_unloaded_replays();
    window
}

fn held_lanes(
    rows: &Rows,
    after: Option<(Timestamp, SubjectId)>,
    limit: usize,
) -> (Vec<LaneRow>, bool) {
    let mut held: Vec<(Timestamp, SubjectId)> = rows
        .lanes
        .values()
        .filter_map(|row| Some((row.held.as_ref()?.due_at, row.subject)))
        .filter(|key| after.is_none_or(|after| *key > after))
        .collect();
    held.sort();
    let more = held.len() > limit;
    held.truncate(limit);
    (held.into_iter().map(|(_, subject)| rows.lanes[&subject].clone()).collect(), more)
}

fn size(sequence: i64) -> usize {
    sequence as usize % 17 + 1
}

fn pick(which: usize, len: usize) -> Option<usize> {
    (len > 0).then(|| which % len)
}

fn walk(ordered: bool, steps: &[Step]) {
    let mut walk = Walk::new(ordered);
    for step in steps {
        walk.run(step);
    }
    walk.drain();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p4_p5_a_lane_is_in_order_and_nothing_is_lost_whatever_happens(
        steps in prop::collection::vec(step(false), 1..200),
    ) {
        walk(true, &steps);
    }

    #[test]
    fn p4_p5_nothing_is_lost_or_settled_twice_across_seeks(
        steps in prop::collection::vec(step(true), 1..200),
    ) {
        walk(true, &steps);
    }

    #[test]
    fn p4_p5_unordered_events_are_not_lost_either(
        steps in prop::collection::vec(step(true), 1..200),
    ) {
        walk(false, &steps);
    }
}
