//! Subjects: their states and their events.

use tollgate::model::{PaymentStatus, Sequence, Status, SubjectId, SubjectState};

use super::Engine;
use super::drafts::{batch_of, draft, payment, single};

pub async fn states_are_those_of_all_facts_in_turn(engine: Engine) {
    let facts = [
        draft("a", "pi_1", PaymentStatus::Pending, 1),
        draft("b", "pi_1", PaymentStatus::Paid, 3),
        draft("c", "pi_1", PaymentStatus::Failed, 2),
    ];
    let mut expected = SubjectState::begin(&payment("pi_1"));
    for (fact, sequence) in facts.iter().zip(1..) {
        expected.apply(fact, Sequence(sequence));
    }
    let mut store = engine.open().await;
    let [first, rest @ ..] = &facts;
    store.commit(batch_of(vec![first.clone()])).await.expect("commits");
    store = engine.reopen(store).await;
    store.commit(batch_of(rest.to_vec())).await.expect("commits");
    let found = store.subject(&payment("pi_1")).await.expect("reads").expect("is there");
    assert_eq!(found, (SubjectId(1), expected));
    assert_eq!(found.1.status(), Some(Status::Payment(PaymentStatus::Paid)));
    assert!(store.subject(&payment("pi_2")).await.expect("reads").is_none());
}

pub async fn subjects_come_in_the_order_of_their_first_events(engine: Engine) {
    let store = engine.open().await;
    store.commit(batch_of((0..5).map(single).collect())).await.expect("commits");
    let late = draft("late", "pi_0", PaymentStatus::Failed, 0);
    store.commit(batch_of(vec![late, single(9)])).await.expect("commits");
    let ids = |page: Vec<(SubjectId, SubjectState)>| -> Vec<i64> {
        page.into_iter().map(|(id, _)| id.0).collect()
    };
    let page = store.subjects(SubjectId(0), 4).await.expect("reads");
    assert_eq!(page[0].1.subject(), &payment("pi_0"));
    assert_eq!(ids(page), [1, 2, 3, 4]);
    assert_eq!(ids(store.subjects(SubjectId(4), 4).await.expect("reads")), [5, 7]);
    let mut some = ids(store
        .subjects_by_id(&[SubjectId(7), SubjectId(2), SubjectId(6)])
        .await
        .expect("reads"));
    some.sort_unstable();
    assert_eq!(some, [2, 7], "6 is an event, and no subject");
}

pub async fn a_subject_has_the_sequences_of_its_events(engine: Engine) {
    let store = engine.open().await;
    for number in 0..6 {
        let one = draft(&format!("a{number}"), "pi_a", PaymentStatus::Paid, number);
        let other = draft(&format!("b{number}"), "pi_b", PaymentStatus::Paid, number);
        store.commit(batch_of(vec![one, other])).await.expect("commits");
    }
    let of = async |subject, from, limit| -> Vec<i64> {
        let found = store.subject_sequences(SubjectId(subject), Sequence(from), limit).await;
        found.expect("reads").into_iter().map(|sequence| sequence.0).collect()
    };
    assert_eq!(of(1, 0, 100).await, [1, 3, 5, 7, 9, 11]);
    assert_eq!(of(2, 2, 3).await, [2, 4, 6]);
    assert_eq!(of(2, 5, 100).await, [6, 8, 10, 12]);
    assert!(of(3, 0, 100).await.is_empty(), "3 is an event, and no subject");
}
