//! What a watch promises: it goes on from its position, in the same log or not at all.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;
use tollgate_client::{
    Error, Filter, Payment, Position, StartPosition, Watch, WatchPayments, WatchPaymentsRequest,
    WatchStream,
    proto::{
        Draining, SnapshotComplete, WatchEventsResponse, WatchPaymentsResponse,
        watch_events_response as events, watch_payments_response as payments,
    },
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::gateway::{Gateway, caught_up, event, heartbeat};

type Sender<T> = tokio::sync::mpsc::Sender<Result<T, Status>>;

async fn say(stream: &Sender<WatchEventsResponse>, message: events::Message) {
    stream.send(Ok(WatchEventsResponse { message: Some(message) })).await.unwrap();
}

async fn show(stream: &Sender<WatchPaymentsResponse>, message: payments::Message) {
    stream.send(Ok(WatchPaymentsResponse { message: Some(message) })).await.unwrap();
}

fn position(sequence: i64, log_epoch: &str) -> Position {
    Position { sequence, log_epoch: log_epoch.to_owned() }
}

async fn next<T>(watch: &mut WatchStream<T>) -> T {
    watch.next().await.unwrap().unwrap()
}

fn sequence(watch: Watch) -> i64 {
    match watch {
        Watch::Event(event) => event.sequence,
        Watch::CaughtUp { .. } => panic!("not an event"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_goes_on_after_the_last_event_in_the_same_epoch() {
    let mut gateway = Gateway::start();
    let mut watch = gateway.client.watch_events(Filter::default(), StartPosition::earliest());
    let played = async {
        let (request, stream) = gateway.watch_events().await;
        assert_eq!(request.start, Some(StartPosition::earliest()));
        say(&stream, events::Message::Heartbeat(heartbeat(0, "e1"))).await;
        say(&stream, events::Message::Event(event(1))).await;
        say(&stream, events::Message::Event(event(5))).await;
        drop(stream);
        let (request, stream) = gateway.watch_events().await;
        assert_eq!(request.start, Some(position(5, "e1").into()));
        say(&stream, events::Message::Event(event(6))).await;
        stream.send(Err(Status::unavailable("restart"))).await.unwrap();
        let (request, stream) = gateway.watch_events().await;
        assert_eq!(request.start, Some(position(6, "e1").into()));
        say(&stream, events::Message::Event(event(7))).await;
        stream
    };
    let seen = async {
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(sequence(next(&mut watch).await));
        }
        seen
    };
    let (_stream, seen) = tokio::join!(played, seen);
    assert_eq!(seen, [1, 5, 6, 7]);
    assert_eq!(watch.position(), position(7, "e1"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_never_began_begins_where_it_was_asked_to() {
    let mut gateway = Gateway::start();
    gateway.refuse_connections(3);
    let mut watch = gateway.client.watch_events(Filter::default(), StartPosition::latest());
    let played = async {
        let (request, stream) = gateway.watch_events().await;
        assert_eq!(gateway.refusals_left(), 0);
        assert_eq!(request.start, Some(StartPosition::latest()));
        say(&stream, events::Message::Event(event(8))).await;
        stream
    };
    let (_stream, seen) = tokio::join!(played, next(&mut watch));
    assert_eq!(sequence(seen), 8);
}

#[tokio::test(start_paused = true)]
async fn a_draining_watch_goes_on_from_the_position_passed() {
    let mut gateway = Gateway::start();
    let mut watch = gateway.client.watch_events(Filter::default(), StartPosition::earliest());
    let played = async {
        let (_, stream) = gateway.watch_events().await;
        say(&stream, events::Message::CaughtUp(caught_up(3, "e1"))).await;
        say(&stream, events::Message::Heartbeat(heartbeat(4, "e1"))).await;
        let draining = Draining { position: 9, log_epoch: "e1".into(), ..Default::default() };
        say(&stream, events::Message::Draining(draining)).await;
        let (request, second) = gateway.watch_events().await;
        assert_eq!(request.start, Some(position(9, "e1").into()));
        say(&second, events::Message::Event(event(10))).await;
        (stream, second)
    };
    let seen = async { (next(&mut watch).await, next(&mut watch).await) };
    let (_streams, (end, last)) = tokio::join!(played, seen);
    assert_eq!(end, Watch::CaughtUp { position: position(3, "e1") });
    assert_eq!(sequence(last), 10);
}

#[tokio::test(start_paused = true)]
async fn another_epoch_ends_a_watch_whoever_notices_it() {
    let mut gateway = Gateway::start();
    let mut watch = gateway.client.watch_events(Filter::default(), position(5, "e1"));
    let played = async {
        let (_, stream) = gateway.watch_events().await;
        say(&stream, events::Message::Heartbeat(heartbeat(5, "e2"))).await;
        stream
    };
    let (_stream, seen) = tokio::join!(played, watch.next());
    let error = seen.unwrap().unwrap_err();
    assert!(matches!(error, Error::LogEpochChanged { current: Some(epoch) } if epoch == "e2"));
    assert!(watch.next().await.is_none());

    let mut watch = gateway.client.watch_events(Filter::default(), position(5, "e1"));
    let played = async {
        let (_, stream) = gateway.watch_events().await;
        let none = [] as [(String, String); 0];
        let details = ErrorDetails::with_error_info("LOG_EPOCH_CHANGED", "tollgate.dev", none);
        let status = Status::with_error_details(Code::FailedPrecondition, "no", details);
        stream.send(Err(status)).await.unwrap();
    };
    let ((), seen) = tokio::join!(played, watch.next());
    assert!(matches!(seen, Some(Err(Error::LogEpochChanged { current: None }))));
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_is_given_up() {
    let mut gateway = Gateway::start();
    let mut watch = gateway.client.watch_events(Filter::default(), StartPosition::earliest());
    let played = async {
        let (_, silent) = gateway.watch_events().await;
        let silent_since = Instant::now();
        let (_, stream) = gateway.watch_events().await;
        let waited = silent_since.elapsed();
        assert!(waited >= Duration::from_secs(45) && waited < Duration::from_secs(46));
        say(&stream, events::Message::Event(event(1))).await;
        (silent, stream)
    };
    let (_streams, seen) = tokio::join!(played, next(&mut watch));
    assert_eq!(sequence(seen), 1);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_snapshot_begins_again_and_a_complete_one_does_not() {
    let payment = |name: &str, last_sequence| {
        payments::Message::Payment(Payment {
            name: name.into(),
            last_sequence,
            ..Default::default()
        })
    };
    let mut gateway = Gateway::start();
    let mut watch = gateway.client.watch_payments(WatchPaymentsRequest::default());
    let played = async {
        let (_, stream) = gateway.watch_payments().await;
        show(&stream, payments::Message::Heartbeat(heartbeat(20, "e1"))).await;
        show(&stream, payment("a", 12)).await;
        drop(stream);

        let (request, stream) = gateway.watch_payments().await;
        assert_eq!(request.after_sequence, 0, "the snapshot was not complete");
        show(&stream, payment("a", 12)).await;
        let complete = SnapshotComplete { position: 20, log_epoch: "e1".into() };
        show(&stream, payments::Message::SnapshotComplete(complete)).await;
        show(&stream, payment("b", 30)).await;
        show(&stream, payments::Message::Heartbeat(heartbeat(22, "e1"))).await;
        drop(stream);

        let (request, stream) = gateway.watch_payments().await;
        assert_eq!(request.after_sequence, 22, "a row is no position");
        assert_eq!(request.log_epoch, "e1");
        show(&stream, payment("c", 23)).await;
        stream
    };
    let seen = async {
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(match next(&mut watch).await {
                WatchPayments::Payment(payment) => payment.name,
                WatchPayments::SnapshotComplete { position } => position.sequence.to_string(),
            });
        }
        seen
    };
    let (_stream, seen) = tokio::join!(played, seen);
    assert_eq!(seen, ["a", "a", "20", "b", "c"]);
}
