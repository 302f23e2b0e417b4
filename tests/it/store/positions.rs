//! Where subscriptions stand, what they gave up on, what consumers did; and tokens.

use tollgate::model::{Sequence, SubjectId};
use tollgate::store::{
    AckRecord, Attempt, Batch, DeadLetterRow, Error, Held, LaneRow, Position, PositionUpdate,
    Store, StoredSubscription, SubscriptionId, TokenRow,
};

use super::Engine;
use super::drafts::{at, batch_of, single};

async fn subscription(store: &dyn Store, name: &str) -> SubscriptionId {
    store.create_subscription(name, "{}", Sequence(0), at(0)).await.expect("creates").id
}

async fn by_name(store: &dyn Store, name: &str) -> StoredSubscription {
    let all = store.subscriptions().await.expect("reads");
    all.into_iter().find(|subscription| subscription.name == name).expect("is there")
}

fn update(subscription: SubscriptionId) -> PositionUpdate {
    PositionUpdate {
        subscription,
        position: Position::default(),
        lanes: Vec::new(),
        lanes_removed: Vec::new(),
        dead_letters: Vec::new(),
        dead_letters_removed: Vec::new(),
        acked: Vec::new(),
        clear_lanes: false,
    }
}

async fn record(store: &dyn Store, positions: Vec<PositionUpdate>) {
    let committed = store.commit(Batch { positions, ..Batch::default() }).await.expect("commits");
    assert!(committed.events.is_empty());
}

fn attempts() -> Vec<Attempt> {
    let attempt = |seconds| Attempt {
        ended_at: at(seconds),
        consumer: "crm \"1\"".to_owned(),
        reason: "it's closed".to_owned(),
    };
    vec![attempt(1), attempt(2)]
}

fn held(subject: i64, due: i64) -> LaneRow {
    LaneRow {
        subject: SubjectId(subject),
        held: Some(Held {
            first: Sequence(subject + 1),
            attempts: 2,
            due_at: at(due),
            history: attempts(),
        }),
        gaps: 0,
    }
}

fn gaps(subject: i64, gaps: u32) -> LaneRow {
    LaneRow { subject: SubjectId(subject), held: None, gaps }
}

fn dead(sequence: i64, replaying: bool) -> DeadLetterRow {
    DeadLetterRow {
        sequence: Sequence(sequence),
        subject: SubjectId(1),
        reason: "gave up".to_owned(),
        history: attempts(),
        dead_at: at(9),
        replaying,
    }
}

pub async fn subscriptions_come_and_go(engine: Engine) {
    let store = engine.open().await;
    let crm = store.create_subscription("crm", "{\"a\":1}", Sequence(7), at(5)).await;
    let crm = crm.expect("creates");
    subscription(&*store, "books").await;
    let twice = store.create_subscription("crm", "{}", Sequence(0), at(6)).await;
    assert!(matches!(twice, Err(Error::Exists(name)) if name == "crm"));

    let store = engine.reopen(store).await;
    let all = store.subscriptions().await.expect("reads");
    let names: Vec<&str> = all.iter().map(|subscription| &*subscription.name).collect();
    assert_eq!(names, ["books", "crm"]);
    assert_eq!((&*all[1].spec, all[1].paused, all[1].created_at), ("{\"a\":1}", false, at(5)));
    assert_eq!(all[1].position, Position { cursor: Sequence(7), ..Position::default() });

    store.update_subscription(crm.id, "{\"a\":2}", true).await.expect("updates");
    let changed = by_name(&*store, "crm").await;
    assert_eq!((&*changed.spec, changed.paused), ("{\"a\":2}", true));
    assert_eq!(changed.position.cursor, Sequence(7));

    store.delete_subscription(crm.id).await.expect("deletes");
    assert_eq!(store.subscriptions().await.expect("reads").len(), 1);
    let gone = store.update_subscription(crm.id, "{}", true).await;
    assert!(matches!(gone, Err(Error::NotFound(_))));
    assert!(matches!(store.delete_subscription(crm.id).await, Err(Error::NotFound(_))));
    let anew = subscription(&*store, "crm").await;
    assert_ne!(anew, crm.id, "a number is never given twice");
}

pub async fn a_position_is_what_the_last_update_says(engine: Engine) {
    let store = engine.open().await;
    let id = subscription(&*store, "crm").await;
    let other = subscription(&*store, "books").await;
    let position = |cursor, done: &[(i64, i64)]| Position {
        cursor: Sequence(cursor),
        done: done.iter().map(|(first, last)| (Sequence(*first), Sequence(*last))).collect(),
        high_water: Sequence(40),
        generation: 3,
    };
    let moved = |cursor, done: &[(i64, i64)]| PositionUpdate {
        position: position(cursor, done),
        ..update(id)
    };
    record(&*store, vec![moved(10, &[]), moved(20, &[(22, 25), (30, 30)])]).await;
    let store = engine.reopen(store).await;
    assert_eq!(by_name(&*store, "crm").await.position, position(20, &[(22, 25), (30, 30)]));
    record(&*store, vec![moved(30, &[])]).await;
    assert_eq!(by_name(&*store, "crm").await.position, position(30, &[]));
    assert_eq!(by_name(&*store, "books").await.id, other);
    assert_eq!(by_name(&*store, "books").await.position, Position::default());
}

pub async fn held_lanes_come_soonest_due_first(engine: Engine) {
    let store = engine.open().await;
    let id = subscription(&*store, "crm").await;
    let other = subscription(&*store, "books").await;
    let lanes = vec![held(1, 50), held(2, 10), gaps(3, 1), held(4, 10), held(5, 30)];
    let others = PositionUpdate { lanes: vec![held(9, 1)], ..update(other) };
    record(&*store, vec![PositionUpdate { lanes, ..update(id) }, others]).await;
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let page = store.held_lanes(id, after, 2).await.expect("reads");
        let Some(last) = page.last() else { break };
        after = last.held.as_ref().map(|held| (held.due_at, last.subject));
        seen.extend(page);
    }
    assert_eq!(seen, [held(2, 10), held(4, 10), held(5, 30), held(1, 50)]);
}

pub async fn lanes_are_written_counted_and_forgotten(engine: Engine) {
    let store = engine.open().await;
    let id = subscription(&*store, "crm").await;
    let with_lanes = |lanes| PositionUpdate { lanes, ..update(id) };
    let of = async |subjects: &[i64]| {
        let subjects: Vec<SubjectId> = subjects.iter().copied().map(SubjectId).collect();
        let mut lanes = store.lanes(id, &subjects).await.expect("reads");
        lanes.sort_by_key(|lane| lane.subject);
        lanes
    };
    record(&*store, vec![with_lanes(vec![held(1, 5), gaps(2, 3), held(3, 5)])]).await;
    assert_eq!(store.lane_counts(id).await.expect("counts"), (3, 2));
    assert_eq!(of(&[1, 2, 7]).await, [held(1, 5), gaps(2, 3)]);
    // Written again, one forgotten; then both in one batch, the later over the earlier.
    let forgets = PositionUpdate { lanes_removed: vec![SubjectId(3)], ..update(id) };
    record(&*store, vec![with_lanes(vec![gaps(1, 1)]), forgets.clone()]).await;
    assert_eq!(of(&[1, 2, 3]).await, [gaps(1, 1), gaps(2, 3)]);
    record(&*store, vec![with_lanes(vec![held(3, 1)]), forgets.clone()]).await;
    assert_eq!(store.lane_counts(id).await.expect("counts"), (2, 0));
    record(&*store, vec![forgets, with_lanes(vec![held(3, 1)])]).await;
    assert_eq!(store.lane_counts(id).await.expect("counts"), (3, 1));

    let seek = PositionUpdate { clear_lanes: true, lanes: vec![held(8, 8)], ..update(id) };
    record(&*store, vec![with_lanes(vec![held(4, 1)]), seek]).await;
    assert_eq!(store.lane_counts(id).await.expect("counts"), (1, 1));
    assert_eq!(of(&[1, 2, 3, 4, 8]).await, [held(8, 8)]);
}

pub async fn dead_letters_are_kept_until_they_are_removed(engine: Engine) {
    let store = engine.open().await;
    let id = subscription(&*store, "crm").await;
    let other = subscription(&*store, "books").await;
    let dead_letters = vec![dead(3, false), dead(5, true), dead(8, false), dead(9, true)];
    record(&*store, vec![PositionUpdate { dead_letters, ..update(id) }]).await;
    let page = store.dead_letters(id, Sequence(3), 2, false).await.expect("reads");
    assert_eq!(page, [dead(5, true), dead(8, false)]);
    let replaying = store.dead_letters(id, Sequence(0), 10, true).await.expect("reads");
    assert_eq!(replaying, [dead(5, true), dead(9, true)]);
    let one = store.dead_letter(id, Sequence(8)).await.expect("reads");
    assert_eq!(one, Some(dead(8, false)));
    assert!(store.dead_letter(other, Sequence(8)).await.expect("reads").is_none());

    let changes = PositionUpdate {
        dead_letters: vec![dead(3, true)],
        dead_letters_removed: vec![Sequence(5), Sequence(8)],
        ..update(id)
    };
    record(&*store, vec![changes]).await;
    assert_eq!(store.dead_letter_count(id).await.expect("counts"), 2);
    assert_eq!(store.dead_letter_count(other).await.expect("counts"), 0);
    let all = store.dead_letters(id, Sequence(0), 10, false).await.expect("reads");
    assert_eq!(all, [dead(3, true), dead(9, true)]);
}

pub async fn ack_records_tell_what_consumers_did(engine: Engine) {
    let store = engine.open().await;
    let id = subscription(&*store, "crm").await;
    let other = subscription(&*store, "books").await;
    let ack = |sequence, external_ref: &str| AckRecord {
        sequence: Sequence(sequence),
        external_ref: external_ref.to_owned(),
        outcome: "created".to_owned(),
        acked_at: at(sequence),
    };
    let acks = |subscription, acked| PositionUpdate { acked, ..update(subscription) };
    record(&*store, vec![acks(id, vec![ack(1, "a"), ack(2, "b")])]).await;
    record(&*store, vec![acks(other, vec![ack(2, "c")]), acks(id, vec![ack(1, "d")])]).await;
    let found = store.ack_records(&[Sequence(1), Sequence(2), Sequence(3)]).await.expect("reads");
    assert_eq!(found, [(id, ack(1, "d")), (id, ack(2, "b")), (other, ack(2, "c"))]);
    assert!(store.ack_records(&[]).await.expect("reads").is_empty());
}

pub async fn acks_and_events_share_a_commit(engine: Engine) {
    let store = engine.open().await;
    let id = subscription(&*store, "crm").await;
    let position = Position { cursor: Sequence(4), ..Position::default() };
    let moved =
        PositionUpdate { position: position.clone(), lanes: vec![held(1, 1)], ..update(id) };
    let batch = Batch { positions: vec![moved], ..batch_of(vec![single(1), single(2)]) };
    let committed = store.commit(batch).await.expect("commits");
    assert_eq!(committed.head.sequence, Sequence(2));
    let store = engine.reopen(store).await;
    assert_eq!(by_name(&*store, "crm").await.position, position);
    assert_eq!(store.lane_counts(id).await.expect("counts"), (1, 1));
    assert_eq!(store.head().await.expect("a head"), committed.head);
}

pub async fn a_deleted_subscription_leaves_nothing_even_by_a_late_ack(engine: Engine) {
    let store = engine.open().await;
    store.commit(batch_of(vec![single(1), single(2)])).await.expect("commits");
    let id = subscription(&*store, "crm").await;
    let ack = AckRecord {
        sequence: Sequence(1),
        external_ref: "a".to_owned(),
        outcome: String::new(),
        acked_at: at(1),
    };
    let everything = PositionUpdate {
        lanes: vec![held(1, 1)],
        dead_letters: vec![dead(2, false)],
        acked: vec![ack],
        ..update(id)
    };
    record(&*store, vec![everything.clone()]).await;
    assert_eq!(store.lane_counts(id).await.expect("counts"), (1, 1));
    store.delete_subscription(id).await.expect("deletes");
    for late in [false, true] {
        if late {
            record(&*store, vec![everything.clone()]).await;
        }
        assert_eq!(store.lane_counts(id).await.expect("counts"), (0, 0), "late: {late}");
        assert_eq!(store.dead_letter_count(id).await.expect("counts"), 0, "late: {late}");
        assert!(store.ack_records(&[Sequence(1)]).await.expect("reads").is_empty());
    }
}

pub async fn tokens_are_kept_with_their_newest_state(engine: Engine) {
    let store = engine.open().await;
    let token = |id: &str, created| TokenRow {
        id: id.to_owned(),
        hash: [7; 32],
        description: "for \"the\" CRM".to_owned(),
        scopes: vec!["subscribe".to_owned(), "events.read".to_owned()],
        created_at: at(created),
        expires_at: Some(at(1000)),
        revoked_at: None,
    };
    store.put_token(&token("b", 1)).await.expect("keeps");
    store.put_token(&token("a", 2)).await.expect("keeps");
    let revoked = TokenRow { revoked_at: Some(at(3)), expires_at: None, ..token("b", 1) };
    store.put_token(&revoked).await.expect("keeps");
    let store = engine.reopen(store).await;
    assert_eq!(store.tokens().await.expect("reads"), [revoked, token("a", 2)]);
}
