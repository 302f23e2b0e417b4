//! The log: sequences, duplicates, pages, times and the chain.

use jiff::Timestamp;
use tollgate::model::{PaymentStatus, Sequence};
use tollgate::store::{Batch, Store, chain};

use super::Engine;
use super::codec::CODEC;
use super::drafts::{batch, batch_of, draft, receipt, single, translated};

/// All sequences by pages of `page`.
async fn sequences(store: &dyn Store, page: usize) -> Vec<i64> {
    let mut all = Vec::new();
    loop {
        let after = Sequence(all.last().copied().unwrap_or(0));
        let events = store.events(after, page, usize::MAX).await.expect("reads");
        if events.is_empty() {
            return all;
        }
        all.extend(events.iter().map(|event| event.sequence.0));
    }
}

pub async fn p3_sequences_have_no_gaps_and_survive_a_restart(engine: Engine) {
    let store = engine.open().await;
    let mut number = 0;
    for size in [1, 3, 1, 64, 2] {
        let drafts = (0..size).map(|more| single(number + more)).collect();
        number += size;
        let committed = store.commit(batch_of(drafts)).await.expect("commits");
        assert_eq!(committed.head.sequence.0, number as i64);
        assert_eq!(committed.events.len(), size);
        assert_eq!(
            committed.events.last().map(|event| event.sequence),
            Some(committed.head.sequence)
        );
        assert_eq!(store.head().await.expect("a head"), committed.head);
    }
    let before = store.head().await.expect("a head");
    let store = engine.reopen(store).await;
    assert_eq!(store.head().await.expect("a head"), before);
    let committed = store.commit(batch_of(vec![single(number)])).await.expect("commits");
    assert_eq!(committed.head.sequence, before.sequence.next());
    assert_eq!(committed.receipts[0].receipt.0, before.receipt.0 + 1);
    for page in [1, 2, 7, 64, 1000] {
        let expected: Vec<i64> = (1..=number as i64 + 1).collect();
        assert_eq!(sequences(&*store, page).await, expected, "by {page}");
    }
}

pub async fn p2_a_key_gives_one_event_within_and_across_batches_and_after_a_restart(
    engine: Engine,
) {
    let store = engine.open().await;
    let one = || draft("one", "pi_1", PaymentStatus::Pending, 1);
    let two = || draft("two", "pi_1", PaymentStatus::Paid, 2);
    let first =
        store.commit(batch(vec![translated(vec![one(), two(), one()]), translated(vec![two()])]));
    let first = first.await.expect("commits");
    assert_eq!(first.events.len(), 2);
    assert_eq!(first.receipts[0].sequences, [Sequence(1), Sequence(2), Sequence(1)]);
    assert_eq!(first.receipts[0].duplicates, 1);
    assert_eq!(first.receipts[1].sequences, [Sequence(2)]);
    assert_eq!(first.receipts[1].duplicates, 1);

    let store = engine.reopen(store).await;
    let again = store.commit(batch_of(vec![two(), single(3), one()])).await.expect("commits");
    assert_eq!(again.events.len(), 1);
    let found: Vec<i64> = again.receipts.iter().map(|recorded| recorded.sequences[0].0).collect();
    assert_eq!(found, [2, 3, 1]);
    let only_known = store.commit(batch_of(vec![one()])).await.expect("commits");
    assert!(only_known.events.is_empty());
    assert_eq!(only_known.head.sequence, Sequence(3));
    assert_eq!(sequences(&*store, 10).await, [1, 2, 3]);

    // The same key at another account is another event.
    let mut elsewhere = translated(vec![one()]);
    elsewhere.receipt = receipt("other", "{}");
    let elsewhere = store.commit(batch(vec![elsewhere])).await.expect("commits");
    assert_eq!(elsewhere.receipts[0].sequences, [Sequence(4)]);
}

pub async fn an_event_reads_back_as_it_was_committed(engine: Engine) {
    let store = engine.open().await;
    let mut test_mode = single(2);
    test_mode.live = false;
    let committed = store.commit(batch_of(vec![single(1), test_mode])).await.expect("commits");
    let store = engine.reopen(store).await;
    for expected in committed.events {
        let found = store.event(expected.sequence).await.expect("reads").expect("is there");
        assert_eq!(found.encoded, expected.encoded);
        assert_eq!((found.subject, found.live), (expected.subject, expected.live));
        let event = found.event(CODEC).expect("decodes");
        assert_eq!(event, expected.event(CODEC).expect("decodes"));
        assert_eq!(event.sequence, expected.sequence);
        assert!(event.receipt.is_some());
    }
    assert!(store.event(Sequence(3)).await.expect("reads").is_none());
    assert!(store.event(Sequence(0)).await.expect("reads").is_none());
}

pub async fn pages_of_events_keep_to_their_bounds_and_end_only_at_the_head(engine: Engine) {
    let store = engine.open().await;
    store.commit(batch_of((0..10).map(single).collect())).await.expect("commits");
    store.commit(batch_of((10..12).map(single).collect())).await.expect("commits");
    let page = store.events(Sequence(4), 3, usize::MAX).await.expect("reads");
    assert_eq!(page.iter().map(|event| event.sequence.0).collect::<Vec<_>>(), [5, 6, 7]);
    let one_bytes = page[0].encoded.len();
    let page = store.events(Sequence(4), 100, 1).await.expect("reads");
    assert_eq!(page.len(), 1, "one event goes out whatever its size");
    let page = store.events(Sequence(4), 100, one_bytes * 2 + one_bytes / 2).await.expect("reads");
    assert_eq!(page.len(), 2);
    assert!(store.events(Sequence(12), 100, 1).await.expect("reads").is_empty());
    assert!(store.events(Sequence(99), 100, 1).await.expect("reads").is_empty());
}

pub async fn an_empty_batch_changes_nothing(engine: Engine) {
    let store = engine.open().await;
    store.commit(batch_of(vec![single(1)])).await.expect("commits");
    let before = store.head().await.expect("a head");
    let committed = store.commit(Batch::default()).await.expect("commits");
    assert_eq!(committed.head, before);
    assert!(committed.events.is_empty() && committed.receipts.is_empty());
}

pub async fn the_epoch_stays(engine: Engine) {
    let store = engine.open().await;
    let epoch = store.epoch();
    assert!(epoch.0.len() >= 16);
    assert_eq!(engine.reopen(store).await.epoch(), epoch);
    assert_ne!(Engine::sqlite().open().await.epoch(), epoch);
}

pub async fn times_are_found_by_when_events_were_committed(engine: Engine) {
    let store = engine.open().await;
    let none = store.sequence_before(Timestamp::now()).await.expect("reads");
    assert_eq!(none, Sequence(0));
    let mut moments = vec![(Timestamp::now(), Sequence(0))];
    for number in 0..9 {
        let drafts = (0..=number % 3).map(|more| single(number * 10 + more)).collect();
        let committed = store.commit(batch_of(drafts)).await.expect("commits");
        // The clock counts more finely than a commit takes.
        moments.push((Timestamp::now(), committed.head.sequence));
    }
    for (moment, expected) in moments {
        assert_eq!(store.sequence_before(moment).await.expect("reads"), expected);
    }
    let ages_ago = Timestamp::from_second(0).expect("in range");
    assert_eq!(store.sequence_before(ages_ago).await.expect("reads"), Sequence(0));
}

pub async fn p9_the_chain_holds_over_restarts(engine: Engine) {
    let store = engine.open().await;
    store.commit(batch_of((0..5).map(single).collect())).await.expect("commits");
    let store = engine.reopen(store).await;
    store.commit(batch_of((5..8).map(single).collect())).await.expect("commits");
    let mut previous = chain::BEGINNING;
    loop {
        let page = store.chain(previous.0, 3).await.expect("reads");
        if page.is_empty() {
            break;
        }
        for entry in page {
            assert!(entry.salt.is_some());
            chain::check(CODEC, &mut previous, &entry).expect("follows");
        }
    }
    let head = store.head().await.expect("a head");
    assert_eq!(previous, (head.sequence, head.hash));
}
