//! The end of a gateway and the beginning of the next: a bounded drain under load, one gateway at a
//! time on a store, and a lock that dies with its process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tollgate_client::proto::{
    SubscribeRequest, WatchEventsRequest, subscribe_response, watch_events_response,
};
use tollgate_client::{Client, StartPosition};
use tonic::transport::Endpoint;

use crate::process::{PATIENCE, Site, until};

const DRAIN: Duration = Duration::from_secs(3);
/// What may come on top of the drain: settling, closing the store, and a machine that does much else.
const GRACE: Duration = Duration::from_secs(12);
/// More than fits into the windows of a stream that nobody reads.
const EVENTS: usize = 400;
const SMALL_WINDOW_BYTES: u32 = 64 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_drains_in_bounded_time_whoever_does_not_read() {
    let drain = format!("log.filter = \"info\"\ngrpc.drain_seconds = {}", DRAIN.as_secs());
    let site = Arc::new(Site::new(&drain));
    let mut process = site.start().await;
    for number in 0..EVENTS {
        let sample = site.sample("payment_intent.succeeded", &format!("before{number}"));
        assert_eq!(site.post(&sample).await, Some(200));
    }
    // A stream that nobody reads, on a connection with small windows: it cannot be told to end.
    let narrow = Endpoint::from_shared(format!("http://{}", site.grpc)).expect("an address");
    let narrow = narrow.initial_connection_window_size(SMALL_WINDOW_BYTES);
    let narrow = Client::from_channel(narrow.connect_lazy(), None).expect("a client");
    let watch = WatchEventsRequest { start: Some(StartPosition::earliest()), ..Default::default() };
    let unread = narrow.events().watch_events(watch.clone()).await.expect("a stream");
    // Connections that never say anything, and one that stops in the middle of its headers.
    let silent = TcpStream::connect(site.http).await.expect("connected");
    let silent_grpc = TcpStream::connect(site.grpc).await.expect("connected");
    let mut parked = TcpStream::connect(site.http).await.expect("connected");
    parked.write_all(b"POST /webhooks/stripe/test HTTP/1.1\r\nHost: a\r\n").await.expect("sent");
    let subscribed = tokio::spawn(draining_position_of_subscribe(site.client()));
    let watched = tokio::spawn(draining_position_of_watch(site.client(), watch));
    let posting = Arc::new(AtomicBool::new(true));
    let poster = tokio::spawn(post_on(site.clone(), posting.clone()));
    until("both streams and load go on", PATIENCE, async || {
        let (_, metrics) = site.admin_page("/metrics").await?;
        let streams = metrics.contains("tollgate_subscription_outstanding{subscription=\"crm\"}");
        streams.then_some(())
    })
    .await;

    let asked = Instant::now();
    process.terminate();
    let status = process.wait(DRAIN + GRACE).await;
    println!("ended after {:?}", asked.elapsed());
    assert!(status.success(), "{status}: {}", process.said());
    posting.store(false, Ordering::SeqCst);
    let accepted = poster.await.expect("the poster");
    let subscribed = tokio::time::timeout(PATIENCE, subscribed).await.expect("in time");
    assert!(subscribed.expect("told") >= 0);
    let (seen, position) = watched.await.expect("told");
    assert_eq!(seen, position, "a watch ends with the position of what it has sent");
    drop((unread, silent, silent_grpc, parked));

    // What was accepted up to the last moment is there.
    let process = site.start().await;
    let head = head(&site).await;
    assert!(head >= (EVENTS + accepted) as i64, "{head} of {EVENTS} and {accepted} events");
    process.stop().await;
}

/// Reads to the end of a subscription's stream, acknowledging nothing; the position that it ended with.
async fn draining_position_of_subscribe(client: Client) -> i64 {
    let subscribe = SubscribeRequest {
        subscription: "crm".to_owned(),
        create_if_missing: true,
        start: Some(StartPosition::earliest()),
        ..Default::default()
    };
    let mut stream =
        client.subscriptions().subscribe(subscribe).await.expect("a stream").into_inner();
    while let Some(message) = stream.message().await.expect("no error before the end") {
        if let Some(subscribe_response::Message::Draining(draining)) = message.message {
            assert_eq!(draining.reason, "shutdown");
            assert!(!draining.log_epoch.is_empty());
            return draining.position;
        }
    }
    panic!("the stream ended without a word");
}

/// Reads to the end of the log's stream; the last sequence seen and the position that it ended with.
async fn draining_position_of_watch(client: Client, watch: WatchEventsRequest) -> (i64, i64) {
    let mut stream = client.events().watch_events(watch).await.expect("a stream").into_inner();
    let mut seen = 0;
    while let Some(message) = stream.message().await.expect("no error before the end") {
        match message.message {
            Some(watch_events_response::Message::Event(event)) => seen = event.sequence,
            Some(watch_events_response::Message::Draining(draining)) => {
                assert_eq!(draining.reason, "shutdown");
                return (seen, draining.position);
            }
            Some(
                watch_events_response::Message::Heartbeat(_)
                | watch_events_response::Message::CaughtUp(_),
            )
            | None => {}
        }
    }
    panic!("the stream ended without a word");
}

/// Posts until it is told to stop; how many were accepted.
async fn post_on(site: Arc<Site>, posting: Arc<AtomicBool>) -> usize {
    let mut accepted = 0;
    while posting.load(Ordering::SeqCst) {
        let sample = site.sample("payment_intent.succeeded", &format!("during{accepted}"));
        match site.post(&sample).await {
            Some(200) => accepted += 1,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    accepted
}

async fn head(site: &Site) -> i64 {
    let latest = WatchEventsRequest { start: Some(StartPosition::latest()), ..Default::default() };
    let stream = site.client().events().watch_events(latest).await.expect("a stream");
    let first = stream.into_inner().message().await.expect("no error").expect("a message");
    match first.message {
        Some(watch_events_response::Message::Heartbeat(heartbeat)) => heartbeat.head,
        other => panic!("a heartbeat comes first, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_on_a_store_is_refused_while_the_first_lives() {
    let first_site = Site::new("log.filter = \"warn\"");
    let first = first_site.start().await;
    let second_site = first_site.beside();
    let mut second = second_site.spawn();
    let status = second.wait(PATIENCE).await;
    assert_eq!(status.code(), Some(1));
    let said = second.said();
    let store = first_site.store_path().canonicalize().expect("it is there");
    assert!(said.contains("is in use by another gateway"), "{said}");
    assert!(said.contains(&*store.to_string_lossy()), "{said}");
    let sample = first_site.sample("payment_intent.succeeded", "one");
    assert_eq!(first_site.post(&sample).await, Some(200), "the first goes on");

    first.kill();
    let second = second_site.start().await;
    assert_eq!(second_site.post(&sample).await, Some(200), "the lock died with the first");
    assert_eq!(head(&second_site).await, 1);
    second.stop().await;
}
