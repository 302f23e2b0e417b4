//! P3 (no event ever appears at or below what was seen) and P4 (at least once, in order per payment, and
//! a stuck payment holds back itself alone).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tollgate_client::proto::nack::Kind;
use tollgate_client::proto::start_position::At;
use tollgate_client::proto::watch_events_response::Message;
use tollgate_client::proto::{
    AckStatus, DeliverySettings, ListEventsRequest, Nack, NackRequest, ReplayDeadLettersRequest,
    SeekRequest, WatchEventsRequest,
};
use tollgate_client::{Client, StartPosition};

use crate::gateway::{StripeEvent, TestGateway};
use crate::subscriber::{
    Subscriber, create, existing, from_earliest, impatient, sequence, soon, subject, wire,
};

fn after(sequence: i64) -> StartPosition {
    StartPosition { at: Some(At::Sequence(sequence)), log_epoch: String::new() }
}

/// Watches from a position until `last`, and checks that each event is the one after the one before.
async fn watch_without_gaps(client: Client, start: i64, last: i64) {
    let request = WatchEventsRequest { filter: None, start: Some(after(start)) };
    let mut stream = client.events().watch_events(request).await.expect("a stream").into_inner();
    let mut seen = start;
    while seen < last {
        let message = soon(stream.message()).await.expect("it goes on").expect("it has not ended");
        match message.message.expect("a message") {
            Message::Event(event) => {
                assert_eq!(event.sequence, seen + 1, "from {start}");
                seen = event.sequence;
            }
            Message::Heartbeat(beat) => assert!(beat.position <= seen, "{beat:?} at {seen}"),
            Message::CaughtUp(end) => assert_eq!(end.position, seen),
            Message::Draining(end) => panic!("{end:?}"),
        }
    }
}

/// Lists the whole log again and again until it has `last`: what was seen never gets a neighbour below.
async fn list_without_gaps(client: Client, last: i64) {
    let mut seen = 0;
    while seen < last {
        let request = ListEventsRequest { page_size: 1000, ..ListEventsRequest::default() };
        let page = client.events().list_events(request).await.expect("a page").into_inner();
        let sequences: Vec<i64> = page.events.iter().map(|event| event.sequence).collect();
        let head = sequences.last().copied().unwrap_or(0);
        assert!(sequences.iter().copied().eq(1..=head), "{sequences:?}");
        assert!(head >= seen, "{head} after {seen}");
        seen = head;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_readers_never_meet_an_event_at_or_below_what_they_saw() {
    const EVENTS: i64 = 500;
    const TASKS: i64 = 32;
    let gateway = Arc::new(TestGateway::start().await);
    let client = gateway.client().await;
    let mut readers = vec![tokio::spawn(list_without_gaps(client.clone(), EVENTS))];
    for _ in 0..3 {
        readers.push(tokio::spawn(watch_without_gaps(gateway.client().await, 0, EVENTS)));
    }
    let posts = (0..TASKS).map(|task| {
        let gateway = gateway.clone();
        tokio::spawn(async move {
            for number in (task..EVENTS).step_by(TASKS as usize) {
                let (id, payment) = (format!("evt_{number}"), format!("pi_{}", number % 50));
                gateway.accept_event(&StripeEvent::paid(&id, &payment)).await;
            }
        })
    });
    let posts: Vec<_> = posts.collect();
    // Some come while events are being committed, from wherever the log ends at that moment.
    for start in [10, 60, 200] {
        crate::subscriber::eventually("the log grows", || async {
            let stats = client.admin().get_stats(tollgate_client::proto::GetStatsRequest {}).await;
            (stats.expect("stats").into_inner().head >= start).then_some(())
        })
        .await;
        readers.push(tokio::spawn(watch_without_gaps(gateway.client().await, start, EVENTS)));
    }
    for done in join_all(posts).await {
        done.expect("all were accepted");
    }
    for done in soon(join_all(readers)).await {
        done.expect("no reader met a gap");
    }
}

/// For each payment its events that are not acknowledged yet, in order.
type Expected = Arc<Mutex<HashMap<String, VecDeque<i64>>>>;

/// Consumes until all is acknowledged: each delivery must be its payment's next event. Some are given
/// back at random.
async fn consume(client: Client, expected: Expected, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut subscription = client.subscription("crm").max_outstanding(16).open();
    while !expected.lock().expect("no panic").is_empty() {
        let next = tokio::time::timeout(Duration::from_millis(100), subscription.next()).await;
        let Ok(next) = next else { continue };
        let delivery = next.expect("it goes on").expect("no error");
        let event = delivery.event().clone();
        {
            let expected = expected.lock().expect("no panic");
            let waiting = expected.get(&event.subject).expect("a payment that has events left");
            assert_eq!(waiting.front(), Some(&event.sequence), "{} out of order", event.subject);
        }
        if random.random_bool(0.3) {
            assert_eq!(delivery.nack("at random").await.expect("told"), AckStatus::Applied);
            continue;
        }
        {
            // Before the ack is sent: the next event may be with another consumer before it is answered.
            let mut expected = expected.lock().expect("no panic");
            let waiting = expected.get_mut(&event.subject).expect("it was there");
            waiting.pop_front();
            if waiting.is_empty() {
                expected.remove(&event.subject);
            }
        }
        assert_eq!(delivery.ack().await.expect("told"), AckStatus::Applied);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_competing_consumers_get_each_payments_events_in_order() {
    const PAYMENTS: usize = 20;
    const EVENTS_EACH: usize = 8;
    let gateway = TestGateway::start().await;
    let mut expected: HashMap<String, VecDeque<i64>> = HashMap::new();
    let mut sequence = 0;
    for turn in 0..EVENTS_EACH {
        for payment in 0..PAYMENTS {
            let (id, name) = (format!("evt_{turn}_{payment}"), format!("pi_{payment}"));
            gateway.accept_event(&StripeEvent::paid(&id, &name)).await;
            sequence += 1;
            let subject = format!("payments/stripe/test/{name}");
            expected.entry(subject).or_default().push_back(sequence);
        }
    }
    let client = gateway.client().await;
    let settings = DeliverySettings { max_attempts: -1, ..impatient() };
    create(&client, "crm", settings).await;
    let expected: Expected = Arc::new(Mutex::new(expected));
    let consumers =
        (0..4).map(|seed| tokio::spawn(consume(client.clone(), expected.clone(), seed)));
    for done in soon(join_all(consumers)).await {
        done.expect("all in order");
    }
    let position = crate::subscriber::describe(&client, "crm").await.position;
    assert_eq!(position, sequence, "every event was acknowledged once");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_stuck_payment_holds_back_itself_alone() {
    const STUCK: usize = 150;
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    // Far fewer may be outstanding than payments are stuck.
    create(&client, "crm", DeliverySettings { max_outstanding: 20, ..impatient() }).await;
    let mut subscriber = Subscriber::open(&client, existing("crm")).await;
    for number in 0..STUCK {
        let (id, payment) = (format!("evt_{number}"), format!("pi_stuck{number}"));
        gateway.accept_event(&StripeEvent::paid(&id, &payment)).await;
    }
    for _ in 0..STUCK {
        let delivery = subscriber.delivery().await;
        let nack = Nack {
            ack_id: delivery.ack_id,
            kind: Kind::Retry.into(),
            reason: "the CRM refuses it".to_owned(),
            retry_after: wire(Duration::from_secs(3600)),
        };
        let request = NackRequest { subscription: "crm".to_owned(), nacks: vec![nack] };
        subscriber.calls.nack(request).await.expect("taken");
    }
    // A later event of a stuck payment waits with it, events of others pass.
    gateway.accept_event(&StripeEvent::paid("evt_late", "pi_stuck0")).await;
    for number in 0..50 {
        let (id, payment) = (format!("evt_free{number}"), format!("pi_free{number}"));
        gateway.accept_event(&StripeEvent::paid(&id, &payment)).await;
    }
    for number in 0..50 {
        let delivery = subscriber.delivery().await;
        assert_eq!(subject(&delivery), format!("payments/stripe/test/pi_free{number}"));
        assert_eq!(subscriber.ack(&delivery).await, AckStatus::Applied);
    }
    let now = crate::subscriber::describe(&client, "crm").await;
    assert_eq!((now.held_back, now.outstanding), (STUCK as i64, 0));
    assert_eq!(now.position, now.head, "the cursor does not wait for them");
    // And after a restart they still wait.
    drop(subscriber);
    let gateway = gateway.restart().await;
    let client = gateway.client().await;
    let mut subscriber = Subscriber::open(&client, existing("crm")).await;
    gateway.accept_event(&StripeEvent::paid("evt_after", "pi_after")).await;
    let delivery = subscriber.delivery().await;
    assert_eq!(subject(&delivery), "payments/stripe/test/pi_after");
    assert_eq!(crate::subscriber::describe(&client, "crm").await.held_back, STUCK as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_after_a_dead_letter_the_lane_goes_on_with_gap_before() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    create(&client, "crm", impatient()).await;
    for (id, payment) in
        [("evt_1", "pi_a"), ("evt_2", "pi_a"), ("evt_3", "pi_b"), ("evt_4", "pi_a")]
    {
        gateway.accept_event(&StripeEvent::paid(id, payment)).await;
    }
    let mut subscriber = Subscriber::open(&client, existing("crm")).await;
    let first = subscriber.delivery().await;
    assert_eq!((sequence(&first), first.gap_before, first.replay), (1, false, false));
    assert_eq!(
        subscriber.nack(&first, Kind::DeadLetter, "no such order").await,
        AckStatus::Applied
    );
    let mut seen = HashMap::new();
    for _ in 0..3 {
        let delivery = subscriber.delivery().await;
        seen.insert(sequence(&delivery), (delivery.gap_before, delivery.replay));
        assert_eq!(subscriber.ack(&delivery).await, AckStatus::Applied);
    }
    let of_payment = (true, false);
    assert_eq!(seen, HashMap::from([(2, of_payment), (3, (false, false)), (4, of_payment)]));
    // The gap is known after a restart, and closed by the replay.
    drop(subscriber);
    let gateway = gateway.restart().await;
    let client = gateway.client().await;
    let mut subscriber = Subscriber::open(&client, existing("crm")).await;
    gateway.accept_event(&StripeEvent::paid("evt_5", "pi_a")).await;
    let fifth = subscriber.delivery().await;
    assert_eq!((sequence(&fifth), fifth.gap_before), (5, true));
    assert_eq!(subscriber.ack(&fifth).await, AckStatus::Applied);
    let replay =
        ReplayDeadLettersRequest { subscription: "crm".to_owned(), sequences: vec![1], all: false };
    let replayed = client.subscriptions().replay_dead_letters(replay).await.expect("replayed");
    assert_eq!(replayed.into_inner().replayed, 1);
    let again = subscriber.delivery().await;
    assert_eq!((sequence(&again), again.replay), (1, true));
    assert_eq!(subscriber.ack(&again).await, AckStatus::Applied);
    gateway.accept_event(&StripeEvent::paid("evt_6", "pi_a")).await;
    let sixth = subscriber.delivery().await;
    assert_eq!((sequence(&sixth), sixth.gap_before, sixth.replay), (6, false, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_seek_back_delivers_again_flagged_replay() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    create(&client, "crm", impatient()).await;
    for number in 1..=3 {
        gateway.accept_event(&StripeEvent::paid(&format!("evt_{number}"), "pi_a")).await;
    }
    let mut subscriber = Subscriber::open(&client, existing("crm")).await;
    for number in 1..=3 {
        let delivery = subscriber.delivery().await;
        assert_eq!((sequence(&delivery), delivery.replay), (number, false));
        assert_eq!(subscriber.ack(&delivery).await, AckStatus::Applied);
    }
    let seek = SeekRequest { subscription: "crm".to_owned(), to: Some(after(1)) };
    let moved = client.subscriptions().seek(seek).await.expect("moved").into_inner();
    assert_eq!(moved.subscription.expect("told").position, 1);
    gateway.accept_event(&StripeEvent::paid("evt_4", "pi_a")).await;
    for (number, replay) in [(2, true), (3, true), (4, false)] {
        let delivery = subscriber.delivery().await;
        assert_eq!((sequence(&delivery), delivery.replay), (number, replay));
        assert_eq!(subscriber.ack(&delivery).await, AckStatus::Applied);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_what_was_not_acknowledged_comes_again_after_a_restart() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    for number in 1..=6 {
        let (id, payment) = (format!("evt_{number}"), format!("pi_{}", number % 3));
        gateway.accept_event(&StripeEvent::paid(&id, &payment)).await;
    }
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    let first = subscriber.deliveries(3).await;
    // The middle one alone: 1 and 3 stay open, 5 becomes deliverable.
    assert_eq!(sequence(&first[1]), 2);
    assert_eq!(subscriber.ack(&first[1]).await, AckStatus::Applied);
    assert_eq!(sequence(&subscriber.delivery().await), 5);
    drop(subscriber);
    let gateway = gateway.restart().await;
    let client = gateway.client().await;
    let mut subscriber = Subscriber::open(&client, existing("crm")).await;
    let mut order: HashMap<String, Vec<i64>> = HashMap::new();
    for _ in 0..5 {
        let delivery = subscriber.delivery().await;
        order.entry(subject(&delivery).to_owned()).or_default().push(sequence(&delivery));
        assert_eq!(subscriber.ack(&delivery).await, AckStatus::Applied);
    }
    let of = |payment: &str| order[&format!("payments/stripe/test/{payment}")].clone();
    assert_eq!((of("pi_1"), of("pi_2"), of("pi_0")), (vec![1, 4], vec![5], vec![3, 6]));
}
