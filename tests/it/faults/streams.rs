//! Streams that are opened and dropped at any moment, a thousand of them, and one that is never read.
//! Nothing of them may stay behind, and nobody else may notice them.

use std::time::{Duration, Instant};

use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tollgate_client::proto::{
    ConsumeOpen, ConsumeRequest, CreateSubscriptionRequest, DeleteSubscriptionRequest,
    DeliverySettings, GetSubscriptionRequest, SubscribeRequest, WatchEventsRequest,
    consume_request,
};
use tollgate_client::{Client, Filter, StartPosition};

use crate::process::{PATIENCE, Site, until};

const STREAMS: usize = 1000;
/// How many connections they share, and how many are opened at a time.
const CONNECTIONS: usize = 50;
const AT_A_TIME: usize = 50;
/// How many subscriptions they make as they go.
const MADE: usize = 100;
/// The longest that a stream is given before it is dropped.
const MAX_LIFE_US: u64 = 4000;
/// What may be open or run more than before: connections that are kept alive, and the store's readers.
const SLACK: usize = 24;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_opened_and_dropped_leave_nothing_behind() {
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let site = Site::new("log.filter = \"warn\"");
    let process = site.start().await;
    create(&site, "crm").await;
    post(&site, "first", 20).await;
    let (open_files, threads) = (process.open_files(), process.threads());

    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| site.client()).collect();
    let streams = (0..STREAMS).map(|number| {
        let client = clients[number % CONNECTIONS].clone();
        let mut random = StdRng::seed_from_u64(seed ^ number as u64);
        async move {
            let life = Duration::from_micros(random.random_range(0..MAX_LIFE_US));
            // Dropped before its headers, before its first message or in the middle.
            let _ = tokio::time::timeout(life, open_and_read(client, number)).await;
        }
    });
    futures::stream::iter(streams).buffer_unordered(AT_A_TIME).collect::<Vec<()>>().await;
    drop(clients);

    nobody_is_left(&site).await;
    every_subscription_works(&site).await;
    until("its files are closed", PATIENCE, async || {
        (process.open_files() <= open_files + SLACK).then_some(())
    })
    .await;
    let now = process.threads();
    assert!(now <= threads + SLACK as u64, "{threads} threads became {now}");
    process.stop().await;
}

async fn create(site: &Site, name: &str) {
    let soon = Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 });
    let settings = DeliverySettings {
        ack_deadline: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        min_backoff: soon,
        max_backoff: soon,
        max_attempts: -1,
        ..Default::default()
    };
    let create = CreateSubscriptionRequest {
        subscription: name.to_owned(),
        start: Some(StartPosition::earliest()),
        settings: Some(settings),
        ..Default::default()
    };
    site.client().subscriptions().create_subscription(create).await.expect("created");
}

async fn post(site: &Site, name: &str, count: usize) {
    for number in 0..count {
        let sample = site.sample("payment_intent.succeeded", &format!("{name}{number}"));
        assert_eq!(site.post(&sample).await, Some(200));
    }
}

/// One stream of some kind, read until it is dropped. That it fails is the server's right: it cuts a
/// connection on which too many streams are reset.
async fn open_and_read(client: Client, number: usize) -> Result<(), tonic::Status> {
    let made = format!("made-{}", number / 4 % MADE);
    let mut subscriptions = client.subscriptions();
    match number % 4 {
        0 => {
            let crm = SubscribeRequest { subscription: "crm".to_owned(), ..Default::default() };
            let stream = subscriptions.subscribe(crm).await?.into_inner();
            stream.for_each(async |_| {}).await;
        }
        1 => {
            let open = ConsumeOpen { subscription: "crm".to_owned(), ..Default::default() };
            let open = consume_request::Message::Open(open);
            let first = ConsumeRequest { message: Some(open) };
            // Dropped with this call, the sender closes the client's side. The transport would keep a
            // stream whose requests go on, whoever has stopped to read it.
            let (sender, requests) = tokio::sync::mpsc::channel(1);
            sender.try_send(first).expect("room for one");
            let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
            let stream = subscriptions.consume(requests).await?.into_inner();
            stream.for_each(async |_| {}).await;
            drop(sender);
        }
        2 => {
            let stream = subscriptions.subscribe(make(&made)).await?.into_inner();
            stream.for_each(async |_| {}).await;
        }
        _ => {
            let stream = client.events().watch_events(WatchEventsRequest::default()).await?;
            stream.into_inner().for_each(async |_| {}).await;
        }
    }
    Ok(())
}

fn make(name: &str) -> SubscribeRequest {
    SubscribeRequest {
        subscription: name.to_owned(),
        create_if_missing: true,
        filter: Some(Filter::default()),
        start: Some(StartPosition::earliest()),
        ..Default::default()
    }
}

/// What was handed out comes back, and new events are handed to nobody, until somebody asks.
async fn nobody_is_left(site: &Site) {
    until("nothing is outstanding", Duration::from_secs(20), async || {
        (outstanding(site, "crm").await == 0).then_some(())
    })
    .await;
    post(site, "second", 5).await;
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(2) {
        assert_eq!(outstanding(site, "crm").await, 0, "a stream that is gone was handed events");
    }
    let mut crm = site.client().subscription("crm").open();
    for _ in 0..25 {
        let delivery = tokio::time::timeout(PATIENCE, crm.next()).await.expect("in time");
        delivery.expect("a delivery").expect("no error").ack().await.expect("an answer");
    }
}

async fn outstanding(site: &Site, name: &str) -> i32 {
    let get = GetSubscriptionRequest { subscription: name.to_owned() };
    let found = site.client().subscriptions().get_subscription(get).await.expect("it exists");
    found.into_inner().subscription.expect("it is told").outstanding
}

/// Whether a subscription's making was broken off or not, it can be used, deleted and made again.
async fn every_subscription_works(site: &Site) {
    let mut subscriptions = site.client().subscriptions();
    for number in 0..MADE {
        let name = format!("made-{number}");
        for _ in 0..2 {
            let stream = subscriptions.subscribe(make(&name)).await;
            let mut stream = stream.unwrap_or_else(|error| panic!("{name}: {error}")).into_inner();
            let first = tokio::time::timeout(PATIENCE, stream.message()).await.expect("in time");
            first.expect("no error").expect("a message");
            let delete = DeleteSubscriptionRequest { subscription: name.clone() };
            subscriptions.delete_subscription(delete).await.expect("deleted");
        }
    }
}
