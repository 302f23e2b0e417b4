//! P7: a slow, stuck or hostile subscriber slows neither ingest nor any other subscriber, and what the
//! gateway holds for it is bounded.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use tollgate_client::proto::nack::Kind;
use tollgate_client::proto::{
    AckStatus, DeliverySettings, ReplayDeadLettersRequest, WatchEventsRequest, WatchPaymentsRequest,
};

use crate::gateway::{StripeEvent, TestGateway};
use crate::subscriber::{
    Subscriber, create, describe, eventually, existing, from_earliest, impatient, sequence, soon,
};

const EVENTS: i64 = 3000;
/// How many posts are under way at a time.
const AT_ONCE: usize = 64;

async fn post_all(gateway: &TestGateway, from: i64, to: i64) -> Duration {
    let started = Instant::now();
    stream::iter(from..to)
        .for_each_concurrent(AT_ONCE, |number| async move {
            let (id, payment) = (format!("evt_{number}"), format!("pi_{number}"));
            gateway.accept_event(&StripeEvent::paid(&id, &payment)).await;
        })
        .await;
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_subscribers_that_never_read_or_never_ack_slow_nobody() {
    let gateway = TestGateway::start().await;
    let unread = gateway.client().await;
    // One never reads its streams, one reads and never acknowledges, one gives everything back.
    create(&unread, "unread", DeliverySettings::default()).await;
    let _unread = Subscriber::open(&unread, existing("unread")).await;
    let everything = WatchEventsRequest { filter: None, start: None };
    let _watch = unread.events().watch_events(everything).await.expect("a stream");
    let _payments = unread.payments().watch_payments(WatchPaymentsRequest::default()).await;
    let client = gateway.client().await;
    create(&client, "silent", DeliverySettings { max_outstanding: 50, ..impatient() }).await;
    let mut silent = Subscriber::open(&client, existing("silent")).await;
    let silent = tokio::spawn(async move {
        let taken = silent.deliveries(50).await;
        (silent, taken)
    });
    let other = gateway.client().await;
    let mut reader = Subscriber::open(&other, from_earliest("good")).await;
    let good = tokio::spawn(async move {
        let mut seen = 0;
        while seen < EVENTS {
            let delivery = reader.delivery().await;
            assert!(sequence(&delivery) <= EVENTS);
            reader.ack(&delivery).await;
            seen += 1;
        }
    });
    post_all(&gateway, 0, EVENTS).await;
    soon(good).await.expect("the good one got and acknowledged all");
    let (_silent, taken) = soon(silent).await.expect("it got what it may have");
    assert_eq!(taken.len(), 50);
    let now = describe(&client, "silent").await;
    assert_eq!((now.outstanding, now.position), (50, 0), "no more than it may have");
    let backlog = now.backlog.expect("told");
    assert_eq!(backlog.events, EVENTS, "all of it waits, in the store");
    let now = describe(&client, "unread").await;
    // 256 messages wait for a stream that is not read, beside what the transport took of 1,000.
    assert!(now.outstanding <= 1000, "{}", now.outstanding);
    assert_eq!(describe(&client, "good").await.position, EVENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_an_unread_stream_is_given_no_more_bytes_than_its_connection_may_have() {
    const BYTES_EACH: usize = 60_000;
    let gateway = TestGateway::start().await;
    let metadata: serde_json::Map<String, serde_json::Value> =
        (0..60).map(|number| (format!("key{number:02}"), "x".repeat(1000).into())).collect();
    let metadata = serde_json::Value::Object(metadata);
    let client = gateway.client().await;
    let settings = DeliverySettings {
        max_outstanding: 10_000,
        max_outstanding_bytes: 64 * 1024 * 1024,
        ..impatient()
    };
    create(&client, "unread", settings).await;
    for number in 0..100 {
        let (id, payment) = (format!("evt_{number}"), format!("pi_{number}"));
        let event = StripeEvent { metadata: metadata.clone(), ..StripeEvent::paid(&id, &payment) };
        gateway.accept_event(&event).await;
    }
    let _unread = Subscriber::open(&client, existing("unread")).await;
    let outstanding = eventually("it is given what it may have", || async {
        let now = describe(&client, "unread").await.outstanding;
        (now >= 50).then_some(now)
    })
    .await;
    let most = tollgate::delivery::budget::MAX_CONNECTION_BYTES / BYTES_EACH + 1;
    assert!(outstanding as usize <= most, "{outstanding} deliveries of {BYTES_EACH} bytes");
    // Another connection has its own.
    let other = gateway.client().await;
    let mut reader = Subscriber::open(&other, from_earliest("good")).await;
    let first = reader.deliveries(40).await;
    assert_eq!(first.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_dead_letters_that_are_delivered_again_count_by_their_bytes_too() {
    const BYTES_EACH: usize = 60_000;
    const EVENTS: usize = 100;
    let gateway = TestGateway::start().await;
    let metadata: serde_json::Map<String, serde_json::Value> =
        (0..60).map(|number| (format!("key{number:02}"), "x".repeat(1000).into())).collect();
    let metadata = serde_json::Value::Object(metadata);
    let client = gateway.client().await;
    let settings = DeliverySettings { max_outstanding_bytes: 64 * 1024 * 1024, ..impatient() };
    create(&client, "crm", settings).await;
    for number in 0..EVENTS {
        let (id, payment) = (format!("evt_{number}"), format!("pi_{number}"));
        let event = StripeEvent { metadata: metadata.clone(), ..StripeEvent::paid(&id, &payment) };
        gateway.accept_event(&event).await;
    }
    let mut reader = Subscriber::open(&gateway.client().await, existing("crm")).await;
    for _ in 0..EVENTS {
        let delivery = reader.delivery().await;
        reader.nack(&delivery, Kind::DeadLetter, "no").await;
    }
    drop(reader);
    let all = ReplayDeadLettersRequest {
        subscription: "crm".to_owned(),
        sequences: Vec::new(),
        all: true,
    };
    let replayed = client.subscriptions().replay_dead_letters(all).await.expect("replayed");
    assert_eq!(replayed.into_inner().replayed, EVENTS as i64);
    let mut unread = Subscriber::open(&gateway.client().await, existing("crm")).await;
    let first = unread.delivery().await;
    assert!(first.replay);
    let outstanding = eventually("it is given what it may have", || async {
        let now = describe(&client, "crm").await.outstanding;
        (now >= 45).then_some(now)
    })
    .await;
    let most = tollgate::delivery::budget::MAX_CONNECTION_BYTES / BYTES_EACH + 1;
    assert!(outstanding as usize <= most, "{outstanding} deliveries of {BYTES_EACH} bytes");
    // What is acknowledged makes room again, to the last of them.
    assert_eq!(unread.ack(&first).await, AckStatus::Applied);
    for _ in 1..EVENTS {
        let delivery = unread.delivery().await;
        assert_eq!(unread.ack(&delivery).await, AckStatus::Applied);
    }
}
