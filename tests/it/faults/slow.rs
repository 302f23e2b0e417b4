//! Clients that are slow on purpose: requests that never end, connections that say nothing, a
//! subscriber that stops reading. They are cut or left alone, and nobody else notices.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_client::proto::SubscribeRequest;
use tollgate_client::{Client, StartPosition};

use futures::StreamExt;

use crate::process::{PATIENCE, Site, until};

/// What the gateway allows a request, and what may come on top on a machine that does much else.
const READ_TIMEOUT_SECONDS: u64 = 1;
const CUT_WITHIN: Duration = Duration::from_secs(15);
/// The listener's places: all of them are taken by slow clients.
const PLACES: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn slow_requests_are_cut_and_their_places_are_free_again() {
    let site = Site::new(&format!(
        "http.read_timeout_seconds = {READ_TIMEOUT_SECONDS}\nhttp.max_connections = {PLACES}"
    ));
    let process = site.start().await;
    let beginnings: [&[u8]; 6] = [
        b"",
        b"P",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"POST /webhooks/stripe/test HTTP/1.1\r\n",
        b"POST /webhooks/stripe/test HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        b"POST /webhooks/stripe/test HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n{",
    ];
    let mut slow = Vec::new();
    for number in 0..PLACES {
        let mut stream = TcpStream::connect(site.http).await.expect("connected");
        stream.write_all(beginnings[number % beginnings.len()]).await.expect("sent");
        slow.push((number, stream));
    }
    // It waits for a place, and gets one as soon as the first of them is cut.
    let sample = site.sample("payment_intent.succeeded", "one");
    until("a webhook gets through", CUT_WITHIN, async || {
        (site.post(&sample).await == Some(200)).then_some(())
    })
    .await;
    for (number, mut stream) in slow {
        let mut answer = Vec::new();
        let beginning = String::from_utf8_lossy(beginnings[number % beginnings.len()]);
        let ended = tokio::time::timeout(CUT_WITHIN, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "never cut: {beginning:?}");
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains("200 OK"), "{beginning:?} was answered {answer}");
    }
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_grpc_connections_are_cut_and_their_places_are_free_again() {
    let site = Site::new(&format!("grpc.max_connections = {PLACES}\ngrpc.keepalive_seconds = 5"));
    let process = site.start().await;
    let mut silent = Vec::new();
    for beginning in [&b""[..], b"PRI * HTTP/2.0\r\n\r\n"].iter().cycle().take(PLACES) {
        let mut stream = TcpStream::connect(site.grpc).await.expect("connected");
        stream.write_all(beginning).await.expect("sent");
        silent.push(stream);
    }
    let client = site.client();
    let mut crm = client
        .subscription("crm")
        .create_if_missing(Default::default(), StartPosition::earliest())
        .open();
    let sample = site.sample("payment_intent.succeeded", "one");
    assert_eq!(site.post(&sample).await, Some(200));
    let delivery = tokio::time::timeout(PATIENCE, crm.next()).await.expect("a place comes free");
    delivery.expect("a delivery").expect("no error").ack().await.expect("an answer");
    process.stop().await;
}

/// How many events come while a subscriber does not read.
const EVENTS: usize = 1500;
const AT_A_TIME: usize = 8;
/// Loose: the machine does much else. A gateway that waited for its subscriber would take for ever.
const SLOWEST_POST: Duration = Duration::from_secs(2);
const MOST_MEMORY_BYTES: u64 = 200 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_stops_reading_slows_nobody() {
    let site = Site::new("log.filter = \"warn\"");
    let process = site.start().await;
    let subscribe = |name: &str, auto_ack: bool| SubscribeRequest {
        subscription: name.to_owned(),
        create_if_missing: true,
        start: Some(StartPosition::earliest()),
        auto_ack,
        ..Default::default()
    };
    // On one connection, as a client that knows no better would have them.
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", site.grpc));
    let channel = channel.expect("an address").connect().await.expect("connected");
    let stuck = Client::from_channel(channel, None).expect("a client");
    let mut unread = Vec::new();
    for (name, auto_ack) in [("crm", false), ("erp", false), ("mail", true), ("audit", true)] {
        let stream = stuck.subscriptions().subscribe(subscribe(name, auto_ack)).await;
        unread.push(stream.expect("a stream"));
    }
    let client = site.client();
    let filter = Default::default();
    let quick = client.subscription("quick").create_if_missing(filter, StartPosition::earliest());
    let mut quick = quick.open();
    let reader = tokio::spawn(async move {
        for _ in 0..EVENTS {
            quick.next().await.expect("a delivery").expect("no error").ack_later();
        }
        quick.close().await;
    });

    let mut taken: Vec<Duration> = futures::stream::iter(0..EVENTS)
        .map(async |number| {
            let sample = site.sample("payment_intent.succeeded", &format!("p{number}"));
            let began = Instant::now();
            assert_eq!(site.post(&sample).await, Some(200));
            began.elapsed()
        })
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    tokio::time::timeout(PATIENCE, reader).await.expect("it keeps up").expect("no panic");
    taken.sort_unstable();
    let (middle, slowest) = (taken[EVENTS / 2], taken[EVENTS * 99 / 100]);
    let memory = process.memory_bytes();
    println!("posts {middle:?}, p99 {slowest:?}, memory {} MiB", memory >> 20);
    assert!(slowest < SLOWEST_POST, "p99 of posts {slowest:?}");
    assert!(memory < MOST_MEMORY_BYTES, "{memory} bytes of memory");
    drop(unread);
    process.stop().await;
}
