//! The settings of a subscription: deadlines, attempts, backoff, limits, order, pause.

use std::time::{Duration, Instant};

use tollgate_client::proto::nack::Kind;
use tollgate_client::proto::{
    AckStatus, DeadLetter, DeliverySettings, DiscardDeadLettersRequest, ExtendDeadlinesRequest,
    ListDeadLettersRequest, Nack, NackRequest, PauseSubscriptionRequest, ReplayDeadLettersRequest,
    ResumeSubscriptionRequest, Subscription, UpdateSubscriptionRequest,
};
use tollgate_client::{Client, Filter};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::gateway::{StripeEvent, TestGateway};
use crate::subscriber::{
    Subscriber, create, describe, existing, from_earliest, impatient, sequence, subject, wire,
};

async fn accept(gateway: &TestGateway, number: usize, payment: &str) {
    gateway.accept_event(&StripeEvent::paid(&format!("evt_{number}"), payment)).await;
}

async fn update(
    client: &Client,
    subscription: Subscription,
    mask: &[&str],
) -> Result<Subscription, Status> {
    let paths = mask.iter().map(|path| (*path).to_owned()).collect();
    let request = UpdateSubscriptionRequest {
        subscription: Some(subscription),
        update_mask: Some(prost_types::FieldMask { paths }),
    };
    let updated = client.subscriptions().update_subscription(request).await?.into_inner();
    Ok(updated.subscription.expect("told"))
}

async fn dead_letters(client: &Client, name: &str) -> Vec<DeadLetter> {
    let request = ListDeadLettersRequest {
        subscription: name.to_owned(),
        ..ListDeadLettersRequest::default()
    };
    let listed = client.subscriptions().list_dead_letters(request).await.expect("listed");
    listed.into_inner().dead_letters
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_subscription_delivers_nothing_and_takes_acks() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    accept(&gateway, 1, "pi_1").await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    let first = subscriber.delivery().await;
    let pause = PauseSubscriptionRequest { subscription: "crm".to_owned() };
    let paused = subscriber.calls.pause_subscription(pause).await.expect("paused").into_inner();
    assert!(paused.subscription.expect("told").paused);
    accept(&gateway, 2, "pi_2").await;
    assert_eq!(subscriber.ack(&first).await, AckStatus::Applied);
    for _ in 0..2 {
        // `heartbeat` skips deliveries, `message` does not.
        let next = subscriber.message().await.expect("it goes on").expect("it has not ended");
        let delivered = format!("{next:?}");
        assert!(!delivered.starts_with("Delivery"), "{delivered}");
    }
    // It stays paused over a restart.
    drop(subscriber);
    let gateway = gateway.restart().await;
    let client = gateway.client().await;
    assert!(describe(&client, "crm").await.paused);
    let mut subscriber = Subscriber::open(&client, existing("crm")).await;
    let resume = ResumeSubscriptionRequest { subscription: "crm".to_owned() };
    let resumed = subscriber.calls.resume_subscription(resume).await.expect("resumed").into_inner();
    assert!(!resumed.subscription.expect("told").paused);
    assert_eq!(sequence(&subscriber.delivery().await), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_what_its_mask_names_and_nothing_else() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    let created = create(&client, "crm", DeliverySettings { max_attempts: 7, ..impatient() }).await;
    let settings = DeliverySettings {
        ack_deadline: wire(Duration::from_secs(90)),
        max_attempts: 3,
        ..DeliverySettings::default()
    };
    let filter = Some(Filter { changes_only: true, ..Filter::default() });
    let wanted = Subscription {
        name: "crm".to_owned(),
        filter,
        settings: Some(settings),
        ..Subscription::default()
    };
    let updated = update(&client, wanted.clone(), &["settings.ack_deadline"]).await;
    let updated = updated.expect("updated");
    let (before, after) = (created.settings.expect("told"), updated.settings.expect("told"));
    assert_eq!(after.ack_deadline, wire(Duration::from_secs(90)));
    let same = DeliverySettings { ack_deadline: before.ack_deadline, ..after };
    assert_eq!(same, before, "the rest stays");
    assert!(!updated.filter.expect("told").changes_only);
    let updated = update(&client, wanted.clone(), &["filter"]).await.expect("updated");
    assert!(updated.filter.expect("told").changes_only);
    assert_eq!(updated.settings.expect("told"), after);
    // `settings` as a whole goes back to the defaults where nothing is given.
    let updated = update(&client, wanted.clone(), &["settings"]).await.expect("updated");
    let whole = updated.settings.expect("told");
    assert_eq!((whole.max_attempts, whole.min_backoff), (3, wire(Duration::from_secs(1))));
    // And all of it is there after a restart.
    let gateway = gateway.restart().await;
    let client = gateway.client().await;
    let kept = describe(&client, "crm").await;
    assert_eq!(kept.settings.expect("told"), whole);
    assert!(kept.filter.expect("told").changes_only);
    for (mask, field) in [
        (&[][..], "update_mask"),
        (&["name"][..], "update_mask"),
        (&["settings.speed"][..], "update_mask"),
    ] {
        let refused = update(&client, wanted.clone(), mask).await.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument);
        let details = refused.get_details_bad_request().expect("details");
        assert_eq!(details.field_violations[0].field, field);
    }
    let unordered = DeliverySettings { unordered: true, ..DeliverySettings::default() };
    let unordered = Subscription { settings: Some(unordered), ..wanted };
    let refused = update(&client, unordered, &["settings.unordered"]).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument, "order is fixed at creation");
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_of_different_fields_at_once_all_hold() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    for turn in 0..10 {
        let name = format!("s{turn}");
        create(&client, &name, DeliverySettings::default()).await;
        let settings = DeliverySettings {
            ack_deadline: wire(Duration::from_secs(77)),
            max_outstanding: 77,
            max_attempts: 77,
            ..DeliverySettings::default()
        };
        let wanted = || Subscription {
            name: name.clone(),
            settings: Some(settings),
            ..Subscription::default()
        };
        let (one, two, three) = tokio::join!(
            update(&client, wanted(), &["settings.ack_deadline"]),
            update(&client, wanted(), &["settings.max_outstanding"]),
            update(&client, wanted(), &["settings.max_attempts"]),
        );
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
        let now = describe(&client, &name).await.settings.expect("told");
        let told = (now.ack_deadline, now.max_outstanding, now.max_attempts);
        assert_eq!(told, (wire(Duration::from_secs(77)), 77, 77));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_filter_applies_to_what_comes() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    accept(&gateway, 1, "pi_1").await;
    let first = subscriber.delivery().await;
    subscriber.ack(&first).await;
    let filter = Filter { statuses: vec!["FAILED".to_owned()], ..Filter::default() };
    let wanted =
        Subscription { name: "crm".to_owned(), filter: Some(filter), ..Subscription::default() };
    update(&client, wanted, &["filter"]).await.expect("updated");
    accept(&gateway, 2, "pi_2").await;
    let failed = StripeEvent {
        event_type: "payment_intent.payment_failed",
        ..StripeEvent::paid("evt_3", "pi_3")
    };
    gateway.accept_event(&failed).await;
    assert_eq!(sequence(&subscriber.delivery().await), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extended_delivery_stays_where_the_others_expire() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    let settings = DeliverySettings { ack_deadline: wire(Duration::from_secs(1)), ..impatient() };
    create(&client, "crm", settings).await;
    accept(&gateway, 1, "pi_1").await;
    accept(&gateway, 2, "pi_2").await;
    let mut subscriber = Subscriber::open(&client, existing("crm")).await;
    let both = subscriber.deliveries(2).await;
    let extend = ExtendDeadlinesRequest {
        subscription: "crm".to_owned(),
        ack_ids: vec![both[0].ack_id.clone(), "garbage".to_owned()],
        extension: wire(Duration::from_secs(60)),
    };
    let extended = subscriber.calls.extend_deadlines(extend).await.expect("told").into_inner();
    let statuses: Vec<AckStatus> = extended.results.iter().map(|result| result.status()).collect();
    assert_eq!(statuses, [AckStatus::Applied, AckStatus::Unknown]);
    // The other one comes again twice, each time after its second.
    for attempt in 2..=3 {
        let again = subscriber.delivery().await;
        assert_eq!((sequence(&again), again.attempt), (2, attempt));
    }
    assert_eq!(subscriber.ack(&both[0]).await, AckStatus::Applied, "its time is not over");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_back_off_and_end_as_a_dead_letter_with_their_history() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    let settings = DeliverySettings {
        max_attempts: 3,
        min_backoff: wire(Duration::from_millis(200)),
        max_backoff: wire(Duration::from_millis(400)),
        ..DeliverySettings::default()
    };
    create(&client, "crm", settings).await;
    accept(&gateway, 1, "pi_1").await;
    let mut request = existing("crm");
    request.consumer = "worker-7".to_owned();
    let mut subscriber = Subscriber::open(&client, request).await;
    // Doubled from 200 ms, up to 400 ms, less at most half by jitter.
    for (attempt, least) in [(1, 100), (2, 200)] {
        let delivery = subscriber.delivery().await;
        assert_eq!(delivery.attempt, attempt);
        let nacked = Instant::now();
        let reason = format!("attempt {attempt} failed");
        assert_eq!(subscriber.nack(&delivery, Kind::Retry, &reason).await, AckStatus::Applied);
        let waiting = Subscriber::open(&client, existing("crm")).await;
        drop(waiting);
        let again = subscriber.delivery().await;
        assert!(nacked.elapsed() >= Duration::from_millis(least), "{:?}", nacked.elapsed());
        assert_eq!(again.attempt, attempt + 1);
        if attempt == 2 {
            assert_eq!(subscriber.nack(&again, Kind::Unspecified, "no").await, AckStatus::Applied);
            break;
        }
        // What a consumer asks for goes before the backoff.
        let nack = Nack {
            ack_id: again.ack_id,
            kind: Kind::Throttled.into(),
            reason: String::new(),
            retry_after: wire(Duration::ZERO),
        };
        let request = NackRequest { subscription: "crm".to_owned(), nacks: vec![nack] };
        subscriber.calls.nack(request).await.expect("taken");
    }
    let dead = dead_letters(&client, "crm").await;
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (dead[0].name.as_str(), dead[0].reason.as_str()),
        ("subscriptions/crm/deadLetters/1", "no")
    );
    assert_eq!(dead[0].event.as_ref().expect("the event").sequence, 1);
    let history: Vec<(&str, &str)> = dead[0]
        .attempts
        .iter()
        .map(|attempt| (attempt.consumer.as_str(), attempt.reason.as_str()))
        .collect();
    let expected =
        [("worker-7", "attempt 1 failed"), ("worker-7", "attempt 2 failed"), ("worker-7", "no")];
    assert_eq!(history, expected);
    assert_eq!(describe(&client, "crm").await.dead_letters, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passed_deadline_counts_as_an_attempt() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    let settings = DeliverySettings {
        max_attempts: 1,
        ack_deadline: wire(Duration::from_secs(1)),
        ..impatient()
    };
    create(&client, "crm", settings).await;
    accept(&gateway, 1, "pi_1").await;
    accept(&gateway, 2, "pi_1").await;
    let mut subscriber = Subscriber::open(&client, existing("crm")).await;
    assert_eq!(sequence(&subscriber.delivery().await), 1);
    let next = subscriber.delivery().await;
    assert_eq!((sequence(&next), next.gap_before), (2, true));
    subscriber.ack(&next).await;
    let dead = dead_letters(&client, "crm").await;
    assert_eq!(dead[0].attempts[0].reason, "ack deadline passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_spends_no_attempt() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    create(&client, "crm", DeliverySettings { max_attempts: 2, ..impatient() }).await;
    accept(&gateway, 1, "pi_1").await;
    let mut subscriber = Subscriber::open(&client, existing("crm")).await;
    for _ in 0..5 {
        let delivery = subscriber.delivery().await;
        assert_eq!(delivery.attempt, 1);
        let nack = Nack {
            ack_id: delivery.ack_id,
            kind: Kind::Throttled.into(),
            reason: "429".to_owned(),
            retry_after: wire(Duration::from_millis(1)),
        };
        let request = NackRequest { subscription: "crm".to_owned(), nacks: vec![nack] };
        let told = subscriber.calls.nack(request).await.expect("taken").into_inner();
        assert_eq!(told.results[0].status(), AckStatus::Applied);
    }
    let delivery = subscriber.delivery().await;
    assert_eq!(subscriber.ack(&delivery).await, AckStatus::Applied);
    assert!(dead_letters(&client, "crm").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_replayed_and_discarded_by_choice() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    create(&client, "crm", impatient()).await;
    let mut subscriber = Subscriber::open(&client, existing("crm")).await;
    for number in 1..=4 {
        accept(&gateway, number, "pi_1").await;
        let delivery = subscriber.delivery().await;
        assert_eq!(subscriber.nack(&delivery, Kind::DeadLetter, "no").await, AckStatus::Applied);
    }
    let sequences = |sequences: &[i64]| sequences.to_vec();
    let discard = DiscardDeadLettersRequest {
        subscription: "crm".to_owned(),
        sequences: sequences(&[2, 77]),
        all: false,
    };
    let discarded = subscriber.calls.discard_dead_letters(discard).await.expect("discarded");
    assert_eq!(discarded.into_inner().discarded, 1, "only what is there");
    let replay = |all, sequences| ReplayDeadLettersRequest {
        subscription: "crm".to_owned(),
        sequences,
        all,
    };
    for (all, given) in [(false, vec![]), (true, vec![1])] {
        let refused = subscriber.calls.replay_dead_letters(replay(all, given)).await;
        assert_eq!(refused.expect_err("either or").code(), Code::InvalidArgument);
    }
    let all = subscriber.calls.replay_dead_letters(replay(true, vec![])).await.expect("replayed");
    assert_eq!(all.into_inner().replayed, 3);
    let mut again = Vec::new();
    for _ in 0..3 {
        let delivery = subscriber.delivery().await;
        assert!(delivery.replay);
        again.push(sequence(&delivery));
        assert_eq!(subscriber.ack(&delivery).await, AckStatus::Applied);
    }
    assert_eq!(again, [1, 3, 4], "in order, as they share a payment");
    assert!(dead_letters(&client, "crm").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unordered_subscription_does_not_wait_within_a_payment() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    for number in 1..=3 {
        accept(&gateway, number, "pi_1").await;
    }
    create(&client, "ordered", impatient()).await;
    create(&client, "unordered", DeliverySettings { unordered: true, ..impatient() }).await;
    let mut unordered = Subscriber::open(&client, existing("unordered")).await;
    let all = unordered.deliveries(3).await;
    assert_eq!(all.iter().map(sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(unordered.nack(&all[0], Kind::Retry, "once more").await, AckStatus::Applied);
    assert_eq!(unordered.ack(&all[2]).await, AckStatus::Applied);
    let again = unordered.delivery().await;
    assert_eq!((sequence(&again), again.attempt), (1, 2));
    let mut ordered = Subscriber::open(&client, existing("ordered")).await;
    assert_eq!(sequence(&ordered.delivery().await), 1);
    assert_eq!(describe(&client, "ordered").await.outstanding, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_ack_asks_for_no_acks() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    for number in 1..=3 {
        accept(&gateway, number, "pi_1").await;
    }
    let mut request = from_earliest("crm");
    request.auto_ack = true;
    let mut subscriber = Subscriber::open(&client, request).await;
    let all = subscriber.until_caught_up().await;
    assert_eq!(all.iter().map(sequence).collect::<Vec<_>>(), [1, 2, 3]);
    let now = describe(&client, "crm").await;
    assert_eq!((now.position, now.outstanding), (3, 0));
    assert_eq!(subscriber.ack(&all[0]).await, AckStatus::Duplicate);
    drop(subscriber);
    let gateway = gateway.restart().await;
    let mut subscriber = Subscriber::open(&gateway.client().await, existing("crm")).await;
    assert!(subscriber.until_caught_up().await.is_empty(), "nothing is made again");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_outstanding_than_allowed() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    for number in 1..=9 {
        accept(&gateway, number, &format!("pi_{number}")).await;
    }
    create(&client, "crm", DeliverySettings { max_outstanding: 5, ..impatient() }).await;
    let mut narrow = existing("crm");
    narrow.max_outstanding = 2;
    let mut narrow = Subscriber::open(&client, narrow).await;
    let two = narrow.deliveries(2).await;
    narrow.heartbeat().await;
    assert_eq!(describe(&client, "crm").await.outstanding, 2, "the stream's own limit");
    let mut wide = Subscriber::open(&client, existing("crm")).await;
    let three = wide.deliveries(3).await;
    wide.heartbeat().await;
    assert_eq!(describe(&client, "crm").await.outstanding, 5, "the limit of all together");
    assert_eq!(narrow.ack(&two[0]).await, AckStatus::Applied);
    assert_eq!(wide.ack(&three[0]).await, AckStatus::Applied);
    crate::subscriber::eventually("their places are taken", || async {
        (describe(&client, "crm").await.outstanding == 5).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_bytes_are_outstanding_than_allowed() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    for number in 1..=3 {
        accept(&gateway, number, &format!("pi_{number}")).await;
    }
    let settings = DeliverySettings { max_outstanding_bytes: 1, ..impatient() };
    create(&client, "crm", settings).await;
    let mut subscriber = Subscriber::open(&client, existing("crm")).await;
    for number in 1..=3 {
        // Any single event passes, however large.
        let delivery = subscriber.delivery().await;
        assert_eq!(subject(&delivery), format!("payments/stripe/test/pi_{number}"));
        assert_eq!(describe(&client, "crm").await.outstanding, 1);
        assert_eq!(subscriber.ack(&delivery).await, AckStatus::Applied);
    }
    let mut request = from_earliest("by-stream");
    request.max_outstanding_bytes = 1;
    let mut subscriber = Subscriber::open(&client, request).await;
    subscriber.delivery().await;
    subscriber.heartbeat().await;
    assert_eq!(describe(&client, "by-stream").await.outstanding, 1, "the stream's own limit");
}
