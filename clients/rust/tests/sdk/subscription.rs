//! What a subscription promises: nothing is lost, answers find their acks, dead connections are noticed,
//! handlers have time, and only what no retry can mend ends it.

use std::{collections::BTreeSet, time::Duration};

use futures::{FutureExt, StreamExt, future::join_all};
use tokio::time::{Instant, timeout};
use tollgate_client::{
    AckStatus, Delivery, Error, Filter, StartPosition, Subscription,
    proto::{consume_request::Message, nack::Kind},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::gateway::{Consume, Gateway, LEASE};

async fn open() -> (Gateway, Subscription, Consume) {
    let mut gateway = Gateway::start();
    let subscription = gateway.client.subscription("crm").open();
    let stream = gateway.consume().await;
    stream.heartbeat().await;
    (gateway, subscription, stream)
}

async fn next(subscription: &mut Subscription) -> Delivery {
    subscription.next().await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn opens_with_its_settings_and_token_and_creates_only_until_it_was_open() {
    let mut gateway = Gateway::start();
    let filter = Filter { changes_only: true, ..Default::default() };
    let subscription = gateway
        .client
        .subscription("crm")
        .create_if_missing(filter.clone(), StartPosition::earliest())
        .max_outstanding(7)
        .consumer("writer")
        .open();

    let stream = gateway.consume().await;
    assert_eq!(stream.authorization, "Bearer token");
    assert_eq!(stream.open.subscription, "crm");
    assert_eq!(stream.open.consumer, "writer");
    assert_eq!(stream.open.max_outstanding, 7);
    assert_eq!(stream.open.filter, Some(filter));
    assert_eq!(stream.open.start, Some(StartPosition::earliest()));
    drop(stream);

    let stream = gateway.consume().await;
    assert!(stream.open.create_if_missing, "it was never open");
    stream.heartbeat().await;
    assert!(subscription.connected().await);
    drop(stream);
    assert!(!gateway.consume().await.open.create_if_missing, "its position would be lost");
}

#[tokio::test(start_paused = true)]
async fn streams_that_break_again_and_again_lose_nothing() {
    const EVENTS: i64 = 100;
    let mut gateway = Gateway::start();
    let mut subscription = gateway.client.subscription("crm").open();
    let consumer = tokio::spawn(async move {
        let mut disconnected = 0;
        loop {
            match subscription.next().await.unwrap() {
                Ok(delivery) => match delivery.ack().await {
                    Ok(status) => assert_eq!(status, AckStatus::Applied),
                    Err(Error::Disconnected) => disconnected += 1,
                    Err(error) => panic!("{error}"),
                },
                Err(error) => return (error, disconnected),
            }
        }
    });

    let mut acked = BTreeSet::new();
    let mut streams = 0;
    while acked.len() < EVENTS as usize {
        let mut stream = gateway.consume().await;
        streams += 1;
        let tag = format!("@{streams}");
        for sequence in (1..=EVENTS).filter(|sequence| !acked.contains(sequence)) {
            stream.deliver(sequence, &tag).await;
        }
        for number in 0..7 {
            let Some(ack) = stream.acks().await.pop() else { panic!("an empty message") };
            let sequence = ack.ack_id.strip_suffix(&tag).expect("an ack of this stream");
            let sequence: i64 = sequence.parse().unwrap();
            acked.insert(sequence);
            if number < 6 {
                stream.answer(&ack.ack_id, AckStatus::Applied).await;
            }
            if sequence == EVENTS {
                break;
            }
        }
    }
    assert_eq!(acked, (1..=EVENTS).collect());

    gateway.consume().await.fail(Status::not_found("gone")).await;
    let (error, disconnected) = consumer.await.unwrap();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert!(streams > 10 && disconnected > 10, "{streams} streams, {disconnected} disconnected");
}

#[tokio::test(start_paused = true)]
async fn acks_go_in_batches_and_each_gets_its_own_answer() {
    const EVENTS: i64 = 1_200;
    let (_gateway, mut subscription, mut stream) = open().await;
    for sequence in 1..=EVENTS {
        stream.deliver(sequence, "").await;
    }
    let mut answers = Vec::new();
    for sequence in 1..=EVENTS {
        let delivery = next(&mut subscription).await;
        assert_eq!(delivery.event().sequence, sequence);
        answers.push(delivery.ack_with(format!("record-{sequence}"), "updated"));
    }

    let mut sizes = Vec::new();
    let mut sequence = 0;
    while sequence < EVENTS {
        let acks = stream.acks().await;
        sizes.push(acks.len());
        for ack in acks {
            sequence += 1;
            assert_eq!(ack.ack_id, sequence.to_string());
            assert_eq!(ack.external_ref, format!("record-{sequence}"));
            stream.answer(&ack.ack_id, status_of(sequence)).await;
        }
    }
    assert!(sizes.iter().all(|size| *size <= 500), "{sizes:?}");
    assert!(sizes.len() <= 4, "{sizes:?}");
    for (answer, sequence) in join_all(answers).await.into_iter().zip(1..) {
        assert_eq!(answer.unwrap(), status_of(sequence));
    }
}

fn status_of(sequence: i64) -> AckStatus {
    match sequence % 3 {
        0 => AckStatus::Applied,
        1 => AckStatus::Duplicate,
        _ => AckStatus::Stale,
    }
}

#[tokio::test(start_paused = true)]
async fn acks_that_nobody_awaits_are_sent_and_close_waits_for_their_answers() {
    let (_gateway, mut subscription, mut stream) = open().await;
    for sequence in 1..=3 {
        stream.deliver(sequence, "").await;
    }
    for _ in 1..=3 {
        next(&mut subscription).await.ack_later();
    }
    let mut closing = Box::pin(subscription.close());
    assert!(timeout(LEASE / 2, &mut closing).await.is_err(), "no answer came");

    let mut acked = 0;
    while acked < 3 {
        match stream.heard().await {
            Some(Message::Acks(acks)) => {
                acked += acks.acks.len();
                for ack in acks.acks {
                    stream.answer(&ack.ack_id, AckStatus::Applied).await;
                }
            }
            Some(Message::Stop(_)) => {}
            other => panic!("neither acks nor stop: {other:?}"),
        }
    }
    closing.await;
}

#[tokio::test(start_paused = true)]
async fn each_way_to_give_back_says_what_it_means() {
    let (_gateway, mut subscription, mut stream) = open().await;
    for sequence in 1..=4 {
        stream.deliver(sequence, "").await;
    }
    let wait = Duration::from_millis(1_500);
    let answers = [
        next(&mut subscription).await.nack("refused"),
        next(&mut subscription).await.retry_after(wait, "busy"),
        next(&mut subscription).await.throttled(wait),
        next(&mut subscription).await.dead_letter("no such deal"),
    ];
    let Some(Message::Nacks(nacks)) = stream.heard().await else { panic!("no nacks") };
    let said: Vec<_> = nacks.nacks.iter().map(|nack| (nack.kind(), nack.reason.as_str())).collect();
    assert_eq!(
        said,
        [
            (Kind::Retry, "refused"),
            (Kind::Retry, "busy"),
            (Kind::Throttled, ""),
            (Kind::DeadLetter, "no such deal"),
        ]
    );
    let waits: Vec<_> = nacks
        .nacks
        .iter()
        .map(|nack| nack.retry_after.map(|wait| Duration::try_from(wait).unwrap()))
        .collect();
    assert_eq!(waits, [None, Some(wait), Some(wait), None]);
    for nack in &nacks.nacks {
        stream.answer(&nack.ack_id, AckStatus::Applied).await;
    }
    for answer in join_all(answers).await {
        assert_eq!(answer.unwrap(), AckStatus::Applied);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_given_up_and_a_quiet_one_is_not() {
    let (mut gateway, subscription, stream) = open().await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(40)).await;
        stream.heartbeat().await;
    }
    assert!(gateway.is_idle(), "heartbeats keep the stream");

    let silent_since = Instant::now();
    let again = gateway.consume().await;
    let waited = silent_since.elapsed();
    again.heartbeat().await;
    assert!(waited >= Duration::from_secs(45) && waited < Duration::from_secs(46), "{waited:?}");
    assert!(subscription.connected().await);
}

#[tokio::test(start_paused = true)]
async fn what_no_retry_can_mend_ends_the_stream_with_its_error() {
    for code in [
        Code::Unauthenticated,
        Code::PermissionDenied,
        Code::NotFound,
        Code::InvalidArgument,
        Code::FailedPrecondition,
    ] {
        let (mut gateway, mut subscription, stream) = open().await;
        stream.fail(Status::new(code, "no")).await;
        let error = subscription.next().await.unwrap().unwrap_err();
        let right = match code {
            Code::Unauthenticated => matches!(error, Error::Unauthenticated { .. }),
            Code::PermissionDenied => matches!(error, Error::PermissionDenied { .. }),
            Code::NotFound => matches!(error, Error::NotFound { .. }),
            Code::InvalidArgument => matches!(error, Error::InvalidArgument { .. }),
            _ => matches!(error, Error::Gateway { code: Code::FailedPrecondition, .. }),
        };
        assert!(right, "{code:?}: {error:?}");
        assert!(subscription.next().await.is_none());
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(gateway.is_idle(), "{code:?} must not be retried");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_asks_to_wait_is_left_alone_for_that_long() {
    let (mut gateway, _subscription, stream) = open().await;
    let asked = Duration::from_secs(20);
    let details = ErrorDetails::with_retry_info(Some(asked));
    let failed_at = Instant::now();
    stream.fail(Status::with_error_details(Code::Unavailable, "later", details)).await;
    let _stream = gateway.consume().await;
    let waited = failed_at.elapsed();
    assert!(waited >= asked && waited <= asked + Duration::from_millis(150), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_down_at_first_is_waited_for() {
    let mut gateway = Gateway::start();
    gateway.refuse_connections(5);
    let mut subscription = gateway.client.subscription("crm").open();
    let stream = gateway.consume().await;
    assert_eq!(gateway.refusals_left(), 0);
    stream.deliver(1, "").await;
    assert_eq!(next(&mut subscription).await.event().sequence, 1);
}

#[tokio::test(start_paused = true)]
async fn a_draining_stream_is_left_once_what_is_held_is_settled() {
    let (mut gateway, mut subscription, mut stream) = open().await;
    stream.deliver(1, "").await;
    stream.deliver(2, "").await;
    let held = next(&mut subscription).await;
    stream.drain().await;
    assert!(timeout(LEASE / 2, stream.heard()).await.is_err());
    assert!(gateway.is_idle(), "a delivery is still held");

    let answer = held.ack();
    assert_eq!(stream.acks().await[0].ack_id, "1");
    stream.answer("1", AckStatus::Applied).await;
    assert_eq!(answer.await.unwrap(), AckStatus::Applied);
    assert!(stream.heard().await.is_none(), "the SDK ends the stream");

    let stream = gateway.consume().await;
    stream.deliver(2, "again").await;
    let delivery = next(&mut subscription).await;
    assert_eq!(delivery.ack_id(), "2again", "what nobody had begun was dropped");
}

#[tokio::test(start_paused = true)]
async fn deliveries_of_a_broken_stream_are_thrown_away_and_their_acks_disconnected() {
    let (mut gateway, mut subscription, stream) = open().await;
    for sequence in 1..=3 {
        stream.deliver(sequence, "old").await;
    }
    let held = next(&mut subscription).await;
    stream.fail(Status::unavailable("restart")).await;

    let mut stream = gateway.consume().await;
    assert!(matches!(held.ack().await, Err(Error::Disconnected)));
    stream.deliver(1, "new").await;
    let delivery = next(&mut subscription).await;
    assert_eq!(delivery.ack_id(), "1new");
    delivery.ack_later();
    let acks = stream.acks().await;
    assert_eq!(acks.len(), 1, "{acks:?}");
    assert_eq!(acks[0].ack_id, "1new");
}

#[tokio::test(start_paused = true)]
async fn a_slow_handler_gets_more_time_with_a_third_left_up_to_the_maximum() {
    let mut gateway = Gateway::start();
    let maximum = Duration::from_secs(70);
    let mut subscription =
        gateway.client.subscription("crm").max_extension(maximum).silence(LEASE * 100).open();
    let mut stream = gateway.consume().await;
    stream.heartbeat().await;
    stream.deliver(1, "").await;
    let held = next(&mut subscription).await;

    let began = Instant::now();
    for number in 1..=3 {
        let Some(Message::Extend(extend)) = stream.heard().await else { panic!("no extension") };
        assert_eq!(extend.ack_ids, ["1"]);
        assert_eq!(began.elapsed().as_secs(), 20 * number);
        stream.answer("1", AckStatus::Applied).await;
    }
    assert!(timeout(LEASE * 10, stream.heard()).await.is_err(), "the maximum is reached");

    let answer = held.ack();
    assert_eq!(stream.acks().await[0].ack_id, "1");
    stream.answer("1", AckStatus::Stale).await;
    assert_eq!(answer.await.unwrap(), AckStatus::Stale);
}

#[tokio::test(start_paused = true)]
async fn while_the_gateways_clock_is_unknown_deadlines_are_extended_early() {
    let mut gateway = Gateway::start();
    let mut subscription = gateway.client.subscription("crm").open();
    let mut stream = gateway.consume().await;
    stream.deliver(1, "").await;
    let _held = next(&mut subscription).await;
    let began = Instant::now();
    let Some(Message::Extend(_)) = stream.heard().await else { panic!("no extension") };
    assert!(began.elapsed() < LEASE / 2);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_delivery_is_neither_settled_nor_extended_and_comes_again() {
    let (_gateway, mut subscription, mut stream) = open().await;
    stream.deliver(1, "first").await;
    drop(next(&mut subscription).await);
    let said = timeout(LEASE, stream.heard()).await;
    assert!(said.is_err(), "{said:?}");

    stream.deliver(1, "second").await;
    let delivery = next(&mut subscription).await;
    assert_eq!(delivery.event().name, "events/1");
    delivery.ack_later();
    assert_eq!(stream.acks().await[0].ack_id, "1second");
}

#[tokio::test(start_paused = true)]
async fn a_delivery_without_an_event_is_not_taken_for_handled() {
    let (mut gateway, mut subscription, stream) = open().await;
    stream
        .say(tollgate_client::proto::consume_response::Message::Delivery(Default::default()))
        .await;
    let stream = gateway.consume().await;
    stream.deliver(1, "").await;
    assert_eq!(next(&mut subscription).await.event().sequence, 1);
}

#[tokio::test(start_paused = true)]
async fn dropped_it_asks_for_no_more_and_what_is_held_may_still_be_settled() {
    let (mut gateway, mut subscription, mut stream) = open().await;
    stream.deliver(1, "").await;
    stream.deliver(2, "").await;
    let held = next(&mut subscription).await;
    drop(subscription);
    assert!(matches!(stream.heard().await, Some(Message::Stop(_))));

    let answer = held.ack();
    assert_eq!(stream.acks().await[0].ack_id, "1");
    stream.answer("1", AckStatus::Applied).await;
    assert_eq!(answer.await.unwrap(), AckStatus::Applied);
    assert!(stream.heard().await.is_none());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(gateway.is_idle());
}

#[tokio::test(start_paused = true)]
async fn its_progress_follows_the_heartbeats_and_is_forgotten_with_the_connection() {
    let (mut gateway, subscription, stream) = open().await;
    assert!(subscription.connected().await);
    assert!(subscription.caught_up().now_or_never().is_none());
    let end = crate::gateway::caught_up(9, "e1");
    stream.say(tollgate_client::proto::consume_response::Message::CaughtUp(end)).await;
    assert!(subscription.caught_up().await);
    drop(stream);
    let _stream = gateway.consume().await;
    assert!(!subscription.progress().connected && !subscription.progress().caught_up);
}
