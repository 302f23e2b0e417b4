//! Receipts: kept verbatim, listed from the newest, translated again.

use tollgate::model::{PaymentStatus, ReceiptNumber, Sequence};
use tollgate::store::{
    Batch, EndpointValue, NewReceipt, ReceiptQuery, ReceiptState, Store, StoredReceipt,
};

use super::Engine;
use super::codec::CODEC;
use super::drafts::{batch, draft, endpoint, open, receipt, single, translated};

fn query() -> ReceiptQuery {
    ReceiptQuery { limit: 100, ..ReceiptQuery::default() }
}

/// All numbers by pages of `limit`.
async fn numbers(store: &dyn Store, mut query: ReceiptQuery) -> Vec<i64> {
    let mut all = Vec::new();
    loop {
        let (page, next) = store.receipts(&query).await.expect("reads");
        assert!(page.len() <= query.limit);
        all.extend(page.iter().map(|stored| stored.number.0));
        match next {
            Some(next) => query.before = Some(next),
            None => return all,
        }
    }
}

async fn stored(store: &dyn Store, number: i64) -> StoredReceipt {
    store.receipt(ReceiptNumber(number)).await.expect("reads").expect("is there")
}

pub async fn p8_receipts_are_kept_verbatim(engine: Engine) {
    let store = engine.open().await;
    let body = "{\"a\": \"\u{0}Łódź\"}\r\n";
    let unreadable = ReceiptState::Unreadable("no `id`".to_owned());
    let mut new = open("acme", unreadable.clone());
    new.receipt = receipt("acme", body);
    let expected = new.receipt.clone();
    store.commit(batch(vec![translated(vec![single(1)]), new])).await.expect("commits");
    let store = engine.reopen(store).await;
    let found = stored(&*store, 2).await;
    assert_eq!(found.state, unreadable);
    assert_eq!(found.receipt.body().as_ref(), body.as_bytes());
    assert_eq!(found.receipt.headers(), expected.headers());
    assert_eq!(found.receipt.path(), expected.path());
    assert_eq!(found.receipt.method(), "POST");
    assert_eq!(found.receipt.received_at(), expected.received_at());
    assert_eq!(found.receipt.verified_by(), "webhook_secret[0]");
    assert_eq!(found.receipt.compute_digest(), expected.digest());
    assert_eq!(found.receipt.digest(), expected.digest());
    let event = store.event(Sequence(1)).await.expect("reads").expect("is there");
    let reference = event.event(CODEC).expect("decodes").receipt.expect("has a receipt");
    let of_event = stored(&*store, reference.number.0).await;
    assert_eq!(of_event.receipt.digest(), reference.digest);
    assert_eq!(of_event.sequences, [Sequence(1)]);
    assert!(store.receipt(ReceiptNumber(3)).await.expect("reads").is_none());
    assert!(store.receipt(ReceiptNumber(0)).await.expect("reads").is_none());
}

pub async fn receipts_page_from_the_newest(engine: Engine) {
    let store = engine.open().await;
    for size in [3, 1, 4] {
        let receipts = (0..size).map(|at| match at % 2 {
            0 => translated(vec![]),
            _ => open("other", ReceiptState::Unknown("x.y".to_owned())),
        });
        store.commit(batch(receipts.collect())).await.expect("commits");
    }
    for limit in [1, 2, 3, 100] {
        let all = numbers(&*store, ReceiptQuery { limit, ..query() }).await;
        assert_eq!(all, [8, 7, 6, 5, 4, 3, 2, 1], "by {limit}");
        let endpoints = vec![endpoint("other")];
        let of_other = numbers(&*store, ReceiptQuery { limit, endpoints, ..query() }).await;
        assert_eq!(of_other, [8, 6, 2], "by {limit}");
    }
    let before = Some(ReceiptNumber(4));
    assert_eq!(numbers(&*store, ReceiptQuery { before, ..query() }).await, [3, 2, 1]);
}

pub async fn open_receipts_are_listed_until_a_retry_translates_them(engine: Engine) {
    let store = engine.open().await;
    let unknown = || ReceiptState::Unknown("x.y".to_owned());
    let unreadable = || ReceiptState::Unreadable("no `id`".to_owned());
    let receipts = vec![
        open("acme", unreadable()),
        translated(vec![single(1)]),
        open("acme", unknown()),
        open("other", unreadable()),
    ];
    store.commit(batch(receipts)).await.expect("commits");
    store.commit(batch(vec![open("acme", unreadable())])).await.expect("commits");
    let open_ones = ReceiptQuery { only_open: true, ..query() };
    for limit in [1, 2, 100] {
        let all = numbers(&*store, ReceiptQuery { limit, ..open_ones.clone() }).await;
        assert_eq!(all, [5, 4, 3, 1], "by {limit}");
    }
    let endpoints = vec![endpoint("other")];
    assert_eq!(numbers(&*store, ReceiptQuery { endpoints, ..open_ones.clone() }).await, [4]);
    assert_eq!(store.unreadable_receipts().await.expect("counts"), 3);

    let again = |number, drafts, state| NewReceipt {
        receipt: receipt("acme", "{}"),
        state,
        drafts,
        retry_of: Some(ReceiptNumber(number)),
        earlier: Vec::new(),
    };
    let retries = vec![
        again(1, vec![single(2)], ReceiptState::Translated),
        again(5, vec![], ReceiptState::Unreadable("still no `id`".to_owned())),
    ];
    store.commit(batch(retries)).await.expect("commits");
    let store = engine.reopen(store).await;
    assert_eq!(numbers(&*store, open_ones).await, [5, 4, 3]);
    assert_eq!(store.unreadable_receipts().await.expect("counts"), 2);
    assert_eq!(stored(&*store, 1).await.state, ReceiptState::Translated);
    let still = ReceiptState::Unreadable("still no `id`".to_owned());
    assert_eq!(stored(&*store, 5).await.state, still);
}

pub async fn a_retry_appends_what_is_new_and_names_the_stored_receipt(engine: Engine) {
    let store = engine.open().await;
    let known = || draft("known", "pi_1", PaymentStatus::Pending, 1);
    let missed = || draft("missed", "pi_1", PaymentStatus::Paid, 2);
    let first = store.commit(batch(vec![translated(vec![known()])])).await.expect("commits");
    store.commit(batch(vec![translated(vec![single(7)])])).await.expect("commits");
    let number = first.receipts[0].receipt;
    let before = stored(&*store, number.0).await;
    let retry = NewReceipt {
        receipt: before.receipt.clone(),
        state: ReceiptState::Translated,
        drafts: vec![known(), missed()],
        retry_of: Some(number),
        earlier: Vec::new(),
    };
    let mixed = vec![retry, translated(vec![single(8)])];
    let committed = store.commit(batch(mixed)).await.expect("commits");
    assert_eq!(committed.receipts[0].receipt, number);
    assert_eq!(committed.receipts[0].sequences, [Sequence(1), Sequence(3)]);
    assert_eq!(committed.receipts[0].duplicates, 1);
    assert_eq!(committed.receipts[1].receipt, ReceiptNumber(3), "a retry takes no number");
    let event = committed.events[0].event(CODEC).expect("decodes");
    let reference = event.receipt.expect("has a receipt");
    assert_eq!((reference.number, reference.digest), (number, before.receipt.digest()));
    assert_eq!(event.received_at, before.receipt.received_at());
    let after = stored(&*store, number.0).await;
    assert_eq!(after.sequences, [Sequence(1), Sequence(3)]);
    assert_eq!(after.duplicates, 1);
    assert_eq!(numbers(&*store, query()).await, [3, 2, 1]);
}

pub async fn receipts_that_wait_are_listed_from_the_oldest(engine: Engine) {
    let store = engine.open().await;
    let fetching = || open("acme", ReceiptState::Fetching(String::new()));
    let unconfirmed = || open("acme", ReceiptState::Unconfirmed("503".to_owned()));
    let failed = || open("acme", ReceiptState::FetchFailed("503".to_owned()));
    let first = vec![fetching(), translated(vec![single(1)]), unconfirmed(), failed()];
    store.commit(batch(first)).await.expect("commits");
    store.commit(batch(vec![fetching(), fetching()])).await.expect("commits");
    let store = engine.reopen(store).await;
    let waiting = async |after, limit| -> Vec<i64> {
        let page = store.waiting_receipts(ReceiptNumber(after), limit).await.expect("reads");
        page.iter().map(|stored| stored.number.0).collect()
    };
    assert_eq!(waiting(0, 100).await, [1, 3, 5, 6]);
    assert_eq!(waiting(0, 2).await, [1, 3]);
    assert_eq!(waiting(3, 2).await, [5, 6]);
    assert_eq!(waiting(6, 2).await, [0; 0]);
    assert_eq!(store.waiting_receipts_count().await.expect("counts"), 4);
    let state = ReceiptState::Translated;
    let done = NewReceipt { retry_of: Some(ReceiptNumber(3)), ..open("acme", state) };
    store.commit(batch(vec![done])).await.expect("commits");
    assert_eq!(waiting(0, 100).await, [1, 5, 6]);
}

pub async fn p8_what_is_denied_is_purged_in_the_commit_that_says_so(engine: Engine) {
    let store = engine.open().await;
    let unconfirmed = || open("acme", ReceiptState::Unconfirmed(String::new()));
    store.commit(batch(vec![unconfirmed(), unconfirmed()])).await.expect("commits");
    let before = stored(&*store, 1).await;
    let denied =
        NewReceipt { retry_of: Some(ReceiptNumber(1)), ..open("acme", ReceiptState::Denied) };
    store.commit(batch(vec![denied, translated(vec![single(1)])])).await.expect("commits");
    let store = engine.reopen(store).await;
    let after = stored(&*store, 1).await;
    assert_eq!(after.state, ReceiptState::Denied);
    assert!(after.receipt.body().is_empty() && after.receipt.headers().is_empty());
    assert_eq!(after.receipt.path(), "/webhooks/stripe/acme");
    assert_eq!(after.receipt.digest(), before.receipt.digest());
    assert_eq!(after.receipt.received_at(), before.receipt.received_at());
    let beside = stored(&*store, 2).await;
    assert_eq!(beside.receipt.compute_digest(), before.receipt.digest());
    assert_eq!(stored(&*store, 3).await.sequences, [Sequence(1)]);
}

pub async fn values_are_kept_with_the_commit(engine: Engine) {
    let store = engine.open().await;
    let value = |name: &str, value: &str| EndpointValue {
        endpoint: endpoint("acme"),
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let alone =
        Batch { values: vec![value("a", "1"), value("b", "ü\"\u{0}")], ..Batch::default() };
    store.commit(alone).await.expect("commits");
    let with_events =
        Batch { values: vec![value("a", "2")], ..batch(vec![translated(vec![single(1)])]) };
    store.commit(with_events).await.expect("commits");
    let store = engine.reopen(store).await;
    let read = async |name: &str, name_of_value: &str| {
        store.value(&endpoint(name), name_of_value).await.expect("reads")
    };
    assert_eq!(read("acme", "a").await.as_deref(), Some("2"));
    assert_eq!(read("acme", "b").await.as_deref(), Some("ü\"\u{0}"));
    assert_eq!(read("acme", "c").await, None);
    assert_eq!(read("other", "a").await, None);
    assert_eq!(format!("{:?}", value("a", "secret")), "a of stripe/acme");
}
