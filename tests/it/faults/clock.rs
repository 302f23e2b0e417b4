//! A wall clock that jumps by hours, back and ahead. Order comes from the log and deadlines from the
//! monotonic clock, so neither changes; what is told of time stays sane.

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use sqlx::{Connection, SqliteConnection};
use tollgate_client::proto::start_position::At;
use tollgate_client::proto::{
    Ack, AcknowledgeRequest, CreateSubscriptionRequest, DeliverySettings, GetSubscriptionRequest,
    SubscribeRequest, SubscribeResponse, Subscription, subscribe_response,
};
use tollgate_client::{AckStatus, Client, Filter, StartPosition, Watch};
use tonic::Streaming;

use crate::gateway::TestGateway;
use crate::process::PATIENCE;

/// Back and ahead, and further than any deadline.
const JUMPS_HOURS: [i64; 6] = [-1, 2, -3, 30, -50, 24];

#[tokio::test(flavor = "multi_thread")]
async fn events_keep_their_order_and_positions_in_time_stay_monotone() {
    let gateway = TestGateway::start().await;
    let begun = Timestamp::now();
    for (number, hours) in JUMPS_HOURS.into_iter().enumerate() {
        gateway.clock().set(hours_from(begun, hours));
        gateway.accept("payment_intent.succeeded", &format!("p{number}")).await;
    }
    let count = JUMPS_HOURS.len() as i64;
    let client = gateway.client().await;
    let mut watch = client.watch_events(Filter::default(), StartPosition::earliest());
    for sequence in 1..=count {
        assert_eq!(next_event(&mut watch).await, sequence);
    }
    // The clock that the store goes by stood an hour ahead at the last commit, and is right again.
    let mut gateway = gateway;
    gateway.stop().await;
    let path = gateway.store_path();
    let mut store = SqliteConnection::connect(path.to_str().expect("a path")).await.expect("open");
    let ahead = "UPDATE event_blocks SET committed_at_us = committed_at_us + 3600000000
                 WHERE last_sequence = (SELECT max(last_sequence) FROM event_blocks)";
    sqlx::query(ahead).execute(&mut store).await.expect("changed");
    store.close().await.expect("closed");
    let gateway = gateway.restart().await;
    gateway.clock().set(begun);
    gateway.accept("payment_intent.succeeded", "after").await;
    // From a later time never comes more than from an earlier one, and the ends are the ends.
    let client = gateway.client().await;
    let mut firsts = Vec::new();
    for minutes in [-6000, -1, 30, 50, 70, 6000] {
        let time = begun.checked_add(SignedDuration::from_mins(minutes)).expect("a time near now");
        let time = prost_types::Timestamp { seconds: time.as_second(), nanos: 0 };
        let start = StartPosition { at: Some(At::Time(time)), ..Default::default() };
        let mut watch = client.watch_events(Filter::default(), start);
        firsts.push(match next(&mut watch).await {
            Watch::Event(event) => event.sequence,
            Watch::CaughtUp { position } => position.sequence + 1,
        });
    }
    assert_eq!(firsts, [1, 1, count, count, count + 2, count + 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_run_by_the_monotonic_clock() {
    let gateway = TestGateway::start().await;
    let begun = Timestamp::now();
    gateway.clock().set(begun);
    let client = gateway.client().await;
    create(&client, "patient", 3600).await;
    create(&client, "hasty", 1).await;
    gateway.accept("payment_intent.succeeded", "one").await;

    // Ahead by a day: no deadline of an hour has passed.
    let mut patient = subscribe(&client, "patient").await;
    let (ack_id, attempt) = next_delivery(&mut patient).await;
    assert_eq!(attempt, 1);
    gateway.clock().set(hours_from(begun, 24));
    heartbeats(&mut patient, 2).await;
    let acks = vec![Ack { ack_id, ..Default::default() }];
    let acknowledge = AcknowledgeRequest { subscription: "patient".to_owned(), acks };
    let results = client.subscriptions().acknowledge(acknowledge).await.expect("an answer");
    assert_eq!(results.into_inner().results[0].status(), AckStatus::Applied);

    // Back by a day: a deadline of a second passes all the same.
    let mut hasty = subscribe(&client, "hasty").await;
    let (_, attempt) = next_delivery(&mut hasty).await;
    assert_eq!(attempt, 1);
    gateway.clock().set(hours_from(begun, -24));
    let (_, attempt) = next_delivery(&mut hasty).await;
    assert_eq!(attempt, 2);
    let told = describe(&client, "hasty").await;
    let backlog = told.backlog.expect("it is told");
    assert_eq!(backlog.events, 1);
    assert!(backlog.oldest_age.is_none_or(|age| age.seconds >= 0), "{backlog:?}");
}

fn hours_from(time: Timestamp, hours: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_hours(hours)).expect("a time near now")
}

async fn next(watch: &mut tollgate_client::WatchStream<Watch>) -> Watch {
    let next = tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time");
    next.expect("it never ends").expect("no error")
}

async fn next_event(watch: &mut tollgate_client::WatchStream<Watch>) -> i64 {
    loop {
        if let Watch::Event(event) = next(watch).await {
            return event.sequence;
        }
    }
}

async fn create(client: &Client, name: &str, ack_deadline_seconds: i64) {
    let soon = Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 });
    let settings = DeliverySettings {
        ack_deadline: Some(prost_types::Duration { seconds: ack_deadline_seconds, nanos: 0 }),
        min_backoff: soon,
        max_backoff: soon,
        ..Default::default()
    };
    let create = CreateSubscriptionRequest {
        subscription: name.to_owned(),
        start: Some(StartPosition::earliest()),
        settings: Some(settings),
        ..Default::default()
    };
    client.subscriptions().create_subscription(create).await.expect("created");
}

async fn subscribe(client: &Client, name: &str) -> Streaming<SubscribeResponse> {
    let subscribe = SubscribeRequest { subscription: name.to_owned(), ..Default::default() };
    client.subscriptions().subscribe(subscribe).await.expect("a stream").into_inner()
}

async fn message(stream: &mut Streaming<SubscribeResponse>) -> subscribe_response::Message {
    let next = tokio::time::timeout(PATIENCE, stream.message()).await.expect("in time");
    next.expect("no error").expect("it goes on").message.expect("a message")
}

/// The next delivery's ack id and attempt.
async fn next_delivery(stream: &mut Streaming<SubscribeResponse>) -> (String, i32) {
    loop {
        if let subscribe_response::Message::Delivery(delivery) = message(stream).await {
            return (delivery.ack_id, delivery.attempt);
        }
    }
}

/// Waits for some heartbeats, and for nothing else.
async fn heartbeats(stream: &mut Streaming<SubscribeResponse>, mut count: usize) {
    while count > 0 {
        match message(stream).await {
            subscribe_response::Message::Heartbeat(_) => count -= 1,
            subscribe_response::Message::CaughtUp(_) => {}
            other => panic!("{other:?} for no reason"),
        }
    }
}

async fn describe(client: &Client, name: &str) -> Subscription {
    let get = GetSubscriptionRequest { subscription: name.to_owned() };
    let found = client.subscriptions().get_subscription(get).await.expect("it exists");
    found.into_inner().subscription.expect("it is told")
}
