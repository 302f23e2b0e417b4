//! The streams themselves: signs of life, the backlog as money, their end, and that an unread one does
//! not get in the way of acks on the same connection.

use std::time::Duration;

use tollgate_client::Client;
use tollgate_client::proto::subscribe_response::Message;
use tollgate_client::proto::{
    AckStatus, DeleteSubscriptionRequest, DeliverySettings, Draining, Money, WatchEventsRequest,
    watch_events_response,
};
use tonic::transport::Endpoint;

use crate::gateway::{StripeEvent, TestGateway, config};
use crate::subscriber::{
    Subscriber, ack, create, describe, eventually, existing, from_earliest, impatient, sequence,
    soon,
};

fn draining(message: &Message) -> Option<Draining> {
    match message {
        Message::Draining(end) => Some(end.clone()),
        Message::Delivery(_) | Message::Heartbeat(_) | Message::CaughtUp(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_tell_what_waits_as_money() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_a")).await;
    let more =
        StripeEvent { amount: 2000, created: 1_790_000_100, ..StripeEvent::paid("evt_2", "pi_a") };
    gateway.accept_event(&more).await;
    let dollars =
        StripeEvent { amount: 500, currency: "usd", ..StripeEvent::paid("evt_3", "pi_b") };
    gateway.accept_event(&dollars).await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    let first = subscriber.delivery().await;
    let exact = |message: &Message| match message {
        Message::Heartbeat(beat) if beat.backlog.as_ref().is_some_and(|backlog| backlog.exact) => {
            Some(beat.clone())
        }
        _ => None,
    };
    let beat = subscriber.wait_for(exact).await;
    let backlog = beat.backlog.expect("told");
    let money = |minor_units, currency: &str| Money { minor_units, currency: currency.to_owned() };
    assert_eq!((backlog.events, backlog.subjects), (3, 2));
    // The latest paid amount of each payment, once.
    assert_eq!(backlog.amounts, [money(2000, "EUR"), money(500, "USD")]);
    assert!(backlog.oldest_age.is_some());
    assert_eq!((beat.position, beat.head), (0, 3));
    assert!(!beat.log_epoch.is_empty() && beat.time.is_some());
    subscriber.ack(&first).await;
    let second = subscriber.delivery().await;
    let third = if sequence(&second) == 2 { second } else { subscriber.delivery().await };
    subscriber.ack(&third).await;
    let beat = subscriber
        .wait_for(|message| {
            exact(message)
                .filter(|beat| beat.backlog.as_ref().is_some_and(|backlog| backlog.events == 1))
        })
        .await;
    assert_eq!(beat.backlog.expect("told").amounts, [money(500, "USD")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_what_waited_is_marked_once() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    for number in 1..=3 {
        let (id, payment) = (format!("evt_{number}"), format!("pi_{number}"));
        gateway.accept_event(&StripeEvent::paid(&id, &payment)).await;
    }
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    let before = subscriber.until_caught_up().await;
    assert_eq!(before.len(), 3);
    gateway.accept_event(&StripeEvent::paid("evt_4", "pi_4")).await;
    let mut delivered = false;
    // New events are no backlog: the mark does not come again with them.
    for _ in 0..4 {
        match subscriber.message().await.expect("it goes on").expect("it has not ended") {
            Message::Delivery(delivery) => delivered = sequence(&delivery) == 4,
            Message::Heartbeat(_) => {}
            other => panic!("{other:?}"),
        }
        if delivered {
            break;
        }
    }
    assert!(delivered);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_their_position_when_the_gateway_stops() {
    let mut gateway = TestGateway::start().await;
    let client = gateway.client().await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    let first = subscriber.delivery().await;
    assert_eq!(subscriber.ack(&first).await, AckStatus::Applied);
    subscriber.heartbeat().await;
    let mut calls = client.events();
    let watch = calls.watch_events(WatchEventsRequest::default()).await;
    let mut watch = watch.expect("a stream").into_inner();
    let stopping = async {
        let end = subscriber.wait_for(draining).await;
        assert_eq!(end.reason, "shutdown");
        assert!(!end.log_epoch.is_empty());
        assert!(subscriber.message().await.expect("a clean end").is_none());
        let mut last = None;
        while let Some(message) = soon(watch.message()).await.expect("a clean end") {
            last = message.message;
        }
        let Some(watch_events_response::Message::Draining(end)) = last else { panic!("{last:?}") };
        assert_eq!((end.reason.as_str(), end.position), ("shutdown", 1));
    };
    let started = std::time::Instant::now();
    tokio::join!(gateway.stop(), stopping);
    let limit = gateway.config().grpc.drain;
    assert!(started.elapsed() < limit, "{:?}: nobody held it up", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn old_streams_are_asked_to_connect_again() {
    let mut config = config("");
    config.grpc.stream_max_age = Duration::from_millis(300);
    let gateway = TestGateway::with(config).await;
    let client = gateway.client().await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    let end = subscriber.wait_for(draining).await;
    assert_eq!(end.reason, "age");
    assert!(subscriber.message().await.expect("a clean end").is_none());
    // The SDK goes on over one stream after the other.
    let quick = (Duration::from_millis(5), Duration::from_millis(20));
    let mut sdk = client.subscription("crm").backoff(quick.0, quick.1).open();
    for number in 1..=3 {
        let (id, payment) = (format!("evt_{number}"), format!("pi_{number}"));
        gateway.accept_event(&StripeEvent::paid(&id, &payment)).await;
        loop {
            let next = soon(futures::StreamExt::next(&mut sdk)).await;
            let delivery = next.expect("it goes on").expect("no error");
            let of = delivery.event().sequence;
            if delivery.ack().await.is_ok() && of == number {
                break;
            }
        }
        // As long as a stream lives.
        let mut other = Subscriber::open(&client, from_earliest("other")).await;
        assert_eq!(other.wait_for(draining).await.reason, "age");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_subscription_ends_its_streams() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    subscriber.heartbeat().await;
    let delete = DeleteSubscriptionRequest { subscription: "crm".to_owned() };
    client.subscriptions().delete_subscription(delete).await.expect("deleted");
    assert_eq!(subscriber.wait_for(draining).await.reason, "deleted");
    assert!(subscriber.message().await.expect("a clean end").is_none());
    let refused = Subscriber::try_open(&client, existing("crm")).await.err().expect("it is gone");
    assert_eq!(refused.code(), tonic::Code::NotFound);
    // Its name may be used again, and starts anew.
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    assert_eq!(sequence(&subscriber.delivery().await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_pass_beside_four_unread_streams_of_one_default_connection() {
    const EVENTS: usize = 60;
    const BYTES_EACH: usize = 60_000;
    let gateway = TestGateway::start().await;
    let metadata: serde_json::Map<String, serde_json::Value> =
        (0..60).map(|number| (format!("key{number:02}"), "x".repeat(1000).into())).collect();
    let metadata = serde_json::Value::Object(metadata);
    for number in 0..EVENTS {
        let (id, payment) = (format!("evt_{number}"), format!("pi_{number}"));
        let event = StripeEvent { metadata: metadata.clone(), ..StripeEvent::paid(&id, &payment) };
        gateway.accept_event(&event).await;
    }
    // The settings of tonic as they come.
    let endpoint = Endpoint::try_from(format!("http://{}", gateway.grpc)).expect("an address");
    let channel = endpoint.connect().await.expect("connected");
    let client = Client::from_channel(channel, None).expect("a client");
    let other = gateway.client().await;
    let mut unread = Vec::new();
    let mut first = None;
    for number in 0..4 {
        let name = format!("s{number}");
        let settings = DeliverySettings {
            max_outstanding: 10_000,
            max_outstanding_bytes: 64 * 1024 * 1024,
            ..impatient()
        };
        create(&other, &name, settings).await;
        let mut subscriber = Subscriber::open(&client, existing(&name)).await;
        if number == 0 {
            first = Some(subscriber.delivery().await);
        }
        unread.push(subscriber);
    }
    // All that the connection may carry is under way, and nobody reads it.
    let full = tollgate::delivery::budget::MAX_CONNECTION_BYTES - BYTES_EACH * 2;
    eventually("the connection is full", || async {
        let mut outstanding = 0;
        for number in 0..4 {
            outstanding += describe(&other, &format!("s{number}")).await.outstanding as usize;
        }
        (outstanding * BYTES_EACH >= full).then_some(())
    })
    .await;
    let mut calls = client.subscriptions();
    let first = first.expect("one was read");
    let answer = tokio::time::timeout(Duration::from_secs(2), ack(&mut calls, "s0", &first.ack_id));
    assert_eq!(answer.await.expect("within two seconds"), AckStatus::Applied);
}
