//! What only the SQLite engine has: its lock, a full disk, a file that somebody changed, its write-ahead
//! log.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;
use tollgate::model::{PaymentStatus, Sequence};
use tollgate::store::chain::{self, Break};
use tollgate::store::{Error, SqliteOptions, SqliteStore, Store};

use super::codec::CODEC;
use super::drafts::{batch_of, draft, payment, single};

fn place() -> (TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log.db").display().to_string();
    (directory, path)
}

async fn open(path: &str) -> SqliteStore {
    SqliteStore::open(path, CODEC).await.expect("opens")
}

/// A connection of somebody who changes the file behind the gateway's back.
async fn intruder(path: &str) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.expect("connects")
}

/// Checks the whole chain.
async fn verify(store: &SqliteStore) -> Result<(Sequence, [u8; 32]), Break> {
    let mut previous = chain::BEGINNING;
    for entry in store.chain(Sequence(0), 1000).await.expect("reads") {
        chain::check(CODEC, &mut previous, &entry)?;
    }
    Ok(previous)
}

/// A closed log of two blocks with five events, changed by one statement.
async fn changed(statement: &'static str, parameters: &[&[u8]]) -> (TempDir, SqliteStore) {
    let (directory, path) = place();
    let store = open(&path).await;
    store.commit(batch_of((0..3).map(single).collect())).await.expect("commits");
    store.commit(batch_of((3..5).map(single).collect())).await.expect("commits");
    store.close().await;
    let mut connection = intruder(&path).await;
    let mut query = sqlx::query(statement);
    for parameter in parameters {
        query = query.bind(parameter.to_vec());
    }
    let done = query.execute(&mut connection).await.expect("changes");
    assert_eq!(done.rows_affected(), 1);
    connection.close().await.expect("closes");
    let store = open(&path).await;
    (directory, store)
}

/// Replaces bytes in a block by as many others.
const REPLACE: &str = "
    UPDATE event_blocks SET block = CAST(replace(hex(block), hex(?), hex(?)) AS TEXT)
    WHERE first_sequence = 4";
const UNHEX: &str = "UPDATE event_blocks SET block = unhex(block) WHERE first_sequence = 4";

async fn with_replaced(from: &str, to: &str) -> (TempDir, SqliteStore) {
    let (directory, store) = changed(REPLACE, &[from.as_bytes(), to.as_bytes()]).await;
    store.close().await;
    let path = directory.path().join("log.db").display().to_string();
    let mut connection = intruder(&path).await;
    sqlx::query(UNHEX).execute(&mut connection).await.expect("changes");
    connection.close().await.expect("closes");
    (directory, open(&path).await)
}

#[tokio::test]
async fn a_second_gateway_on_the_file_is_refused_until_the_first_is_gone() {
    let (directory, path) = place();
    let first = open(&path).await;
    let by_another_path = directory.path().join(".").join("log.db").display().to_string();
    for path in [&path, &by_another_path, &format!("sqlite://{path}")] {
        let second = SqliteStore::open(path, CODEC).await.err();
        assert!(matches!(second, Some(Error::Locked(_))), "{second:?}");
    }
    first.close().await;
    let second = open(&path).await;
    assert!(matches!(first.commit(batch_of(vec![single(1)])).await, Err(Error::Stopped)));
    drop(second);
    open(&path).await;
}

#[tokio::test]
async fn a_full_disk_fails_the_commit_alone() {
    let (_directory, path) = place();
    let options = SqliteOptions { max_page_count: Some(100) };
    let store = SqliteStore::open_with(&path, CODEC, options).await.expect("opens");
    let mut acknowledged = 0;
    let refused = loop {
        let drafts = (0..20).map(|more| single(acknowledged + more)).collect();
        match store.commit(batch_of(drafts)).await {
            Ok(committed) => acknowledged = committed.head.sequence.0 as usize,
            Err(error) => break error,
        }
        assert!(acknowledged < 10_000, "the disk is never full");
    };
    assert!(matches!(refused, Error::Full), "{refused:?}");
    assert!(acknowledged > 0);
    let head = store.head().await.expect("a head");
    assert_eq!(head.sequence.0 as usize, acknowledged);
    let first_refused = format!("pi_{acknowledged}");
    assert!(store.subject(&payment(&first_refused)).await.expect("reads").is_none());

    // Still full, still the same; and a smaller batch that fits goes in behind the head.
    let drafts = (0..20).map(|more| single(acknowledged + more)).collect();
    assert!(matches!(store.commit(batch_of(drafts)).await, Err(Error::Full)));
    assert_eq!(store.head().await.expect("a head"), head);
    store.close().await;
    drop(store);

    let store = open(&path).await;
    assert_eq!(store.head().await.expect("a head"), head);
    let last = verify(&store).await.expect("the chain holds");
    assert_eq!(last, (head.sequence, head.hash));
    let drafts = (0..20).map(|more| single(acknowledged + more)).collect();
    let committed = store.commit(batch_of(drafts)).await.expect("there is room again");
    assert_eq!(committed.head.sequence.0 as usize, acknowledged + 20);
    assert_eq!(committed.receipts[0].receipt.0 as usize, acknowledged + 1);
    verify(&store).await.expect("the chain goes on");
}

#[tokio::test]
async fn a_refused_commit_leaves_subjects_as_they_were() {
    let (_directory, path) = place();
    let options = SqliteOptions { max_page_count: Some(60) };
    let store = SqliteStore::open_with(&path, CODEC, options).await.expect("opens");
    let pending = draft("a", "pi_x", PaymentStatus::Pending, 1);
    store.commit(batch_of(vec![pending])).await.expect("commits");
    let before = store.subject(&payment("pi_x")).await.expect("reads").expect("is there");
    let paid = || draft("b", "pi_x", PaymentStatus::Paid, 2);
    let too_much = (0..500).map(single).chain([paid()]).collect();
    assert!(matches!(store.commit(batch_of(too_much)).await, Err(Error::Full)));
    let after = store.subject(&payment("pi_x")).await.expect("reads").expect("is there");
    assert_eq!(after, before);
    let committed = store.commit(batch_of(vec![paid()])).await.expect("commits");
    assert_eq!(committed.receipts[0].sequences, [Sequence(2)]);
    assert_eq!(committed.receipts[0].duplicates, 0, "its key was not claimed by the refused one");
    let event = committed.events[0].event(CODEC).expect("decodes").change;
    assert_eq!(event.previous, before.1.status(), "it was not merged by the refused one");
}

#[tokio::test]
async fn p9_a_changed_event_breaks_the_chain_where_it_stands() {
    let (_directory, store) = with_replaced("1250", "9250").await;
    assert_eq!(verify(&store).await, Err(Break::Event { sequence: Sequence(4) }));
}

#[tokio::test]
async fn p9_a_changed_personal_field_is_told_from_other_changes() {
    let (_directory, store) = with_replaced("pi_4@example.com", "pi_5@example.com").await;
    assert_eq!(verify(&store).await, Err(Break::Personal { sequence: Sequence(5) }));
}

#[tokio::test]
async fn p9_an_erased_salt_leaves_the_chain_whole() {
    let erase = "UPDATE event_blocks SET salts = zeroblob(length(salts)) WHERE first_sequence = 4";
    let (_directory, store) = changed(erase, &[]).await;
    let entries = store.chain(Sequence(0), 10).await.expect("reads");
    let erased: Vec<bool> = entries.iter().map(|entry| entry.salt.is_none()).collect();
    assert_eq!(erased, [false, false, false, true, true]);
    assert_eq!(verify(&store).await.expect("holds").0, Sequence(5));
}

#[tokio::test]
async fn p9_a_removed_block_is_a_gap() {
    let (_directory, store) =
        changed("DELETE FROM event_blocks WHERE first_sequence = 1", &[]).await;
    let gap = Break::Gap { expected: Sequence(1), found: Sequence(4) };
    assert_eq!(verify(&store).await, Err(gap));
}

#[tokio::test]
async fn a_damaged_block_is_an_error_and_no_panic() {
    let damage = "UPDATE event_blocks SET block = substr(block, 1, 100) WHERE first_sequence = 4";
    let (_directory, store) = changed(damage, &[]).await;
    assert_eq!(store.events(Sequence(0), 3, usize::MAX).await.expect("reads").len(), 3);
    let damaged = store.events(Sequence(3), 3, usize::MAX).await.err();
    assert!(matches!(damaged, Some(Error::Damaged(_))), "{damaged:?}");
    assert!(matches!(store.event(Sequence(5)).await, Err(Error::Damaged(_))));
    let damage = "UPDATE receipt_blocks SET block = x'ff' || block WHERE first_receipt = 4";
    let (_directory, store) = changed(damage, &[]).await;
    let damaged = store.receipt(tollgate::model::ReceiptNumber(4)).await;
    assert!(matches!(damaged, Err(Error::Damaged(_))));
}

#[tokio::test]
async fn a_dropped_commit_leaves_the_store_sound() {
    let (_directory, path) = place();
    let store = open(&path).await;
    for number in 0..50 {
        // Polled a few times and dropped, wherever it is then.
        let commit =
            store.commit(batch_of((0..10).map(|more| single(number * 10 + more)).collect()));
        let mut commit = std::pin::pin!(commit);
        for _ in 0..number % 5 {
            if futures::poll!(&mut commit).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let committed = store.commit(batch_of(vec![single(9999)])).await.expect("commits");
    assert_eq!(committed.receipts[0].duplicates, 0);
    assert_eq!(verify(&store).await.expect("holds").0, committed.head.sequence);
}

#[tokio::test]
async fn checkpoints_move_the_log_into_the_database_beside_commits() {
    let (_directory, path) = place();
    let store = open(&path).await;
    let bytes = |path: String| Path::new(&path).metadata().map_or(0, |file| file.len());
    let mut number = 0;
    while bytes(format!("{path}-wal")) < 5 << 20 {
        let drafts = (0..200).map(|more| single(number + more)).collect();
        number += 200;
        store.commit(batch_of(drafts)).await.expect("commits");
    }
    let before = bytes(path.clone());
    store.maintain().await.expect("maintains");
    assert!(bytes(path.clone()) > before + (1 << 20), "nothing was copied");
    store.commit(batch_of(vec![single(number)])).await.expect("commits");
    store.close().await;
    assert_eq!(bytes(format!("{path}-wal")), 0, "a closed store has no log left");
    let store = open(&path).await;
    assert_eq!(store.head().await.expect("a head").sequence.0 as usize, number + 1);
    verify(&store).await.expect("holds");
}

/// Past the first run of the index, keys are no longer in memory, and a small batch takes its keys to be
/// new without asking for them: what is known must still be found.
#[tokio::test]
async fn p2_what_left_the_memory_for_the_index_is_still_known() {
    const EVENTS: usize = 66_000;
    let (_directory, path) = place();
    let store = open(&path).await;
    for first in (0..EVENTS).step_by(1_000) {
        store
            .commit(batch_of((first..first + 1_000).map(single).collect()))
            .await
            .expect("commits");
    }
    for (number, draft) in [
        (1, single(0)),
        // A new event of an old payment.
        (EVENTS as i64 + 1, draft("later", "pi_7", PaymentStatus::Failed, 0)),
        (EVENTS as i64 + 2, single(EVENTS)),
    ] {
        let committed = store.commit(batch_of(vec![draft])).await.expect("commits");
        assert_eq!(committed.receipts[0].sequences, [Sequence(number)]);
    }
    let (subject, state) = store.subject(&payment("pi_7")).await.expect("reads").expect("known");
    assert_eq!((subject.0, state.event_count()), (8, 2), "it is the same payment");
}
