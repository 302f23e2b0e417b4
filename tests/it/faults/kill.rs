//! Killed twenty times in the middle of load. Clients write down all that they were promised: every
//! 2xx, every ack answered OK, every event that they saw with its hash. In the end the log must keep
//! every one of these promises.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tollgate::grpc::convert::CODEC;
use tollgate::model::Sequence;
use tollgate::store::{SqliteStore, Store, chain};
use tollgate_client::proto::{CreateSubscriptionRequest, DeliverySettings, GetSubscriptionRequest};
use tollgate_client::{
    AckStatus, Client, Delivery, Event, Filter, StartPosition, Subscription, Watch,
};

use crate::process::{PATIENCE, Site, until};

const KILLS: usize = 20;
const POSTERS: usize = 4;
const CONSUMERS: usize = 2;
/// How many payments one poster has under way.
const PAYMENTS_UNDER_WAY: usize = 3;
/// The share of accepted events that are posted again.
const POSTED_AGAIN: f64 = 0.1;
/// The share of deliveries that are given back.
const GIVEN_BACK: f64 = 0.05;
/// The share of kills that come while the gateway is still starting.
const KILLED_AT_START: f64 = 0.2;
/// What must have come of a start before it may be killed: so many events and acks.
const LEAST_EVENTS: usize = 20;
const LEAST_ACKS: usize = 10;
/// The longest that load goes on after that.
const MAX_LOAD_MS: u64 = 250;
/// How long a client waits before it tries again.
const RETRY: Duration = Duration::from_millis(10);
/// What happens to each payment.
const LIFE: &[&str] = &[
    "payment_intent.created",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
];

/// What the clients were promised and saw.
#[derive(Clone, Default)]
struct Ledger {
    /// Provider event ids that were answered 2xx.
    accepted: HashSet<String>,
    /// Sequences whose ack was answered APPLIED or DUPLICATE.
    acked: HashSet<i64>,
    /// The hash of each sequence that anybody saw.
    hashes: BTreeMap<i64, String>,
    /// The subject's last event that was delivered for the first time.
    newest: HashMap<String, i64>,
    delivered: HashSet<i64>,
    /// The last sequence that the watch saw.
    watched: i64,
    posted_again: usize,
    given_back: usize,
    redelivered: usize,
    broken: Vec<String>,
}

impl Ledger {
    fn see(&mut self, event: &Event) {
        let before = self.hashes.insert(event.sequence, event.hash.clone());
        if before.is_some_and(|hash| hash != event.hash) {
            self.broken.push(format!("{} changed its hash", event.name));
        }
    }

    fn deliver(&mut self, delivery: &Delivery) {
        let event = delivery.event();
        self.see(event);
        if self.acked.contains(&event.sequence) && !delivery.replay() {
            self.broken.push(format!("{} was delivered after its ack", event.name));
        }
        if !self.delivered.insert(event.sequence) {
            self.redelivered += 1;
            return;
        }
        let newest = self.newest.entry(event.subject.clone()).or_default();
        if *newest > event.sequence {
            self.broken.push(format!("{} first came after event {newest}", event.name));
        }
        *newest = event.sequence;
    }

    fn watch(&mut self, event: &Event) {
        self.see(event);
        if event.sequence != self.watched + 1 {
            self.broken.push(format!("the watch saw {} after {}", event.sequence, self.watched));
        }
        self.watched = event.sequence;
    }
}

/// The ledger, shared by all clients.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Ledger>>);

impl Book {
    fn open(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> (usize, usize) {
        let ledger = self.open();
        (ledger.accepted.len(), ledger.acked.len())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_twenty_times_breaks_no_promise() {
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let site = Arc::new(Site::new("log.filter = \"warn\""));
    let book = Book::default();
    create(&site).await;

    let posting = Arc::new(AtomicBool::new(true));
    let posters: Vec<_> = (0..POSTERS)
        .map(|number| {
            let random = StdRng::seed_from_u64(seed ^ number as u64);
            tokio::spawn(post(site.clone(), book.clone(), posting.clone(), number, random))
        })
        .collect();
    let mut consumers = Consumers::open(&site, &book, seed);
    let (incarnation, incarnations) = watch::channel(0);
    let watcher = tokio::spawn(watch_log(site.client(), book.clone(), incarnations));

    let mut killed_at_start = 0;
    for kill in 1..=KILLS {
        let at_start = random.random_bool(KILLED_AT_START);
        let process = if at_start {
            killed_at_start += 1;
            site.spawn()
        } else {
            site.start().await
        };
        incarnation.send_replace(kill);
        if !at_start {
            let (events, acks) = book.progress();
            until("load goes on", PATIENCE, async || {
                let now = book.progress();
                (now.0 >= events + LEAST_EVENTS && now.1 >= acks + LEAST_ACKS).then_some(())
            })
            .await;
        }
        // The moment is to be any.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..MAX_LOAD_MS))).await;
        process.kill();
        consumers.notice(kill).await;
    }

    let process = site.start().await;
    incarnation.send_replace(KILLS + 1);
    posting.store(false, Ordering::SeqCst);
    for poster in posters {
        poster.await.expect("a poster");
    }
    let head = drained(&site, &book).await;
    watcher.abort();
    consumers.tasks.iter().for_each(|(_, task)| task.abort());
    process.stop().await;
    check(&site, &book, head).await;
    let ledger = book.open();
    println!(
        "{KILLS} kills ({killed_at_start} at start), {} events accepted, {} posted again, head {head}, \
         {} acked, {} given back, {} redelivered",
        ledger.accepted.len(),
        ledger.posted_again,
        ledger.acked.len(),
        ledger.given_back,
        ledger.redelivered,
    );
}

async fn create(site: &Site) {
    let process = site.start().await;
    let settings = DeliverySettings {
        min_backoff: Some(prost_types::Duration { seconds: 0, nanos: 10_000_000 }),
        max_backoff: Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }),
        max_attempts: -1,
        ..Default::default()
    };
    let create = CreateSubscriptionRequest {
        subscription: "crm".to_owned(),
        start: Some(StartPosition::earliest()),
        settings: Some(settings),
        ..Default::default()
    };
    site.client().subscriptions().create_subscription(create).await.expect("created");
    process.kill();
}

/// Posts the lives of payments, each event until it is accepted, some of them again.
async fn post(
    site: Arc<Site>,
    book: Book,
    posting: Arc<AtomicBool>,
    number: usize,
    mut random: StdRng,
) {
    let mut payments = 0;
    let mut under_way: Vec<(String, usize)> = Vec::new();
    loop {
        while posting.load(Ordering::SeqCst) && under_way.len() < PAYMENTS_UNDER_WAY {
            payments += 1;
            under_way.push((format!("{number}x{payments}"), 0));
        }
        if under_way.is_empty() {
            return;
        }
        let at = random.random_range(0..under_way.len());
        let (payment, step) = under_way[at].clone();
        let event_id = format!("evt_{payment}_{}", LIFE[step]);
        accept(&site, LIFE[step], &payment).await;
        book.open().accepted.insert(event_id);
        if random.random_bool(POSTED_AGAIN) {
            accept(&site, LIFE[step], &payment).await;
            book.open().posted_again += 1;
        }
        under_way[at].1 += 1;
        under_way.retain(|(_, step)| *step < LIFE.len());
    }
}

/// Posts one event until it is accepted.
async fn accept(site: &Site, event_type: &str, payment: &str) {
    let request = site.sample(event_type, payment);
    while site.post(&request).await != Some(200) {
        tokio::time::sleep(RETRY).await;
    }
}

/// Consumers that compete for one subscription.
struct Consumers {
    kills: watch::Sender<usize>,
    tasks: Vec<(watch::Receiver<usize>, JoinHandle<()>)>,
}

impl Consumers {
    fn open(site: &Site, book: &Book, seed: u64) -> Consumers {
        let (kills, killed) = watch::channel(0);
        let open = |number: usize| {
            let subscription = site
                .client()
                .subscription("crm")
                .consumer(format!("consumer-{number}"))
                .backoff(Duration::from_millis(10), Duration::from_millis(50))
                .open();
            let (noticed, notices) = watch::channel(0);
            let random = StdRng::seed_from_u64(seed.rotate_left(17) ^ number as u64);
            let consumer = Consumer { book: book.clone(), killed: killed.clone(), noticed, random };
            (notices, tokio::spawn(consumer.consume(subscription)))
        };
        Consumers { tasks: (0..CONSUMERS).map(open).collect(), kills }
    }

    /// Waits until none of them holds a delivery of the life that has ended: one that came after would
    /// look like a delivery of the next life.
    async fn notice(&mut self, kill: usize) {
        self.kills.send_replace(kill);
        for (noticed, _) in &mut self.tasks {
            let noticed = noticed.wait_for(|noticed| *noticed >= kill);
            let noticed = tokio::time::timeout(PATIENCE, noticed).await;
            noticed.expect("consumers notice that the gateway is gone").expect("a consumer");
        }
    }
}

struct Consumer {
    book: Book,
    /// How often the gateway was killed, and how often it was noticed.
    killed: watch::Receiver<usize>,
    noticed: watch::Sender<usize>,
    random: StdRng,
}

impl Consumer {
    async fn consume(mut self, mut subscription: Subscription) {
        let mut look = tokio::time::interval(RETRY);
        loop {
            tokio::select! {
                delivery = subscription.next() => {
                    let delivery = delivery.expect("it never ends").expect("no error ends it");
                    self.take(delivery);
                }
                _ = look.tick() => {
                    let killed = *self.killed.borrow();
                    if !subscription.progress().connected {
                        self.noticed.send_replace(killed);
                    }
                }
            }
        }
    }

    /// Writes a delivery down, and settles it on the side.
    fn take(&mut self, delivery: Delivery) {
        self.book.open().deliver(&delivery);
        let sequence = delivery.event().sequence;
        let book = self.book.clone();
        let give_back = self.random.random_bool(GIVEN_BACK);
        let settling = if give_back { delivery.nack("not now") } else { delivery.ack() };
        tokio::spawn(async move {
            let answered = settling.await;
            let done = matches!(answered, Ok(AckStatus::Applied | AckStatus::Duplicate));
            match (done, give_back) {
                (true, false) => drop(book.open().acked.insert(sequence)),
                (true, true) => book.open().given_back += 1,
                (false, _) => {}
            }
        });
    }
}

/// Watches the log from its beginning to its end, in each life from where the one before ended.
async fn watch_log(client: Client, book: Book, mut lives: watch::Receiver<usize>) {
    let mut start = StartPosition::earliest();
    loop {
        let mut events = client.watch_events(Filter::default(), start);
        while !lives.has_changed().expect("the test goes on") {
            tokio::select! {
                event = events.next() => match event.expect("it never ends").expect("no error") {
                    Watch::Event(event) => book.open().watch(&event),
                    Watch::CaughtUp { .. } => {}
                },
                _ = lives.changed() => break,
            }
        }
        lives.mark_unchanged();
        start = events.position().into();
    }
}

/// Waits until all is delivered, acked and watched; the head.
async fn drained(site: &Site, book: &Book) -> i64 {
    let mut subscriptions = site.client().subscriptions();
    until("everything is acknowledged", PATIENCE, async || {
        let get = GetSubscriptionRequest { subscription: "crm".to_owned() };
        let crm = subscriptions.get_subscription(get).await.ok()?.into_inner().subscription?;
        assert_eq!(crm.dead_letters, 0);
        let done = crm.position == crm.head
            && (crm.outstanding, crm.held_back) == (0, 0)
            && book.open().watched == crm.head;
        done.then_some(crm.head)
    })
    .await
}

/// Holds the ledger against the log.
async fn check(site: &Site, book: &Book, head: i64) {
    let path = site.store_path().to_str().expect("a readable path");
    let store = SqliteStore::open(path, CODEC).await.expect("the lock is free");
    let mut previous = chain::BEGINNING;
    let mut sequences: HashMap<String, i64> = HashMap::new();
    let ledger = book.open().clone();
    loop {
        let entries = store.chain(previous.0, 500).await.expect("a readable log");
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            // Each follows the one before without a gap.
            chain::check(CODEC, &mut previous, &entry).expect("an unbroken chain");
            let event = entry.logged.event(CODEC).expect("a readable event");
            let seen = ledger.hashes.get(&event.sequence.0);
            assert!(seen.is_none_or(|hash| *hash == hex::encode(event.hash)), "{}", event.sequence);
            let twice = sequences.insert(event.event_id.clone(), event.sequence.0);
            assert_eq!(twice, None, "{} is in the log twice", event.event_id);
        }
    }
    store.close().await;
    assert_eq!(previous.0, Sequence(head));
    assert_eq!(ledger.broken, Vec::<String>::new());
    let lost: Vec<&String> =
        ledger.accepted.iter().filter(|id| !sequences.contains_key(*id)).collect();
    assert!(lost.is_empty(), "answered 2xx and lost: {lost:?}");
    let undelivered: Vec<i64> =
        (1..=head).filter(|sequence| !ledger.delivered.contains(sequence)).collect();
    assert!(undelivered.is_empty(), "never delivered: {undelivered:?}");
    assert_eq!(ledger.hashes.keys().next_back(), Some(&head), "somebody saw what is not there");
}
