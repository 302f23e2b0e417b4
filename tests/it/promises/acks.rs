//! P5: an ack that was answered is durable, and one of an ended delivery never settles another.

use std::sync::Arc;
use std::time::Duration;

use tollgate::store::Store;
use tollgate_client::StartPosition;
use tollgate_client::proto::nack::Kind;
use tollgate_client::proto::{
    Ack, AckStatus, AcknowledgeRequest, DeliverySettings, ExtendDeadlinesRequest, SeekRequest,
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::faulty_store::{Commits, Faults, FaultyStore};
use crate::gateway::{StripeEvent, TestGateway, config, open_store};
use crate::subscriber::{
    Subscriber, ack, create, describe, existing, from_earliest, impatient, sequence, soon, wire,
};

async fn faulty() -> (TestGateway, Faults) {
    let (sender, faults) = tokio::sync::oneshot::channel();
    let gateway = TestGateway::over_store(config(""), |path| async move {
        let (store, faults) = FaultyStore::over(open_store(&path).await);
        let _ = sender.send(faults);
        store as Arc<dyn Store>
    });
    (gateway.await, faults.await.expect("it was opened"))
}

fn acks(ids: &[&str]) -> AcknowledgeRequest {
    let acks = ids.iter().map(|id| Ack { ack_id: (*id).to_owned(), ..Ack::default() }).collect();
    AcknowledgeRequest { subscription: "crm".to_owned(), acks }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_an_answered_ack_is_there_after_a_restart() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    for number in 1..=3 {
        let (id, payment) = (format!("evt_{number}"), format!("pi_{number}"));
        gateway.accept_event(&StripeEvent::paid(&id, &payment)).await;
    }
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    let three = subscriber.deliveries(3).await;
    assert_eq!(subscriber.ack(&three[2]).await, AckStatus::Applied);
    assert_eq!(subscriber.ack(&three[0]).await, AckStatus::Applied);
    drop(subscriber);
    let gateway = gateway.restart().await;
    let client = gateway.client().await;
    let mut subscriber = Subscriber::open(&client, existing("crm")).await;
    let left: Vec<i64> = subscriber.until_caught_up().await.iter().map(sequence).collect();
    assert_eq!(left, [2], "only what was not acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_an_ack_is_not_answered_before_its_commit() {
    let (gateway, faults) = faulty().await;
    let client = gateway.client().await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    let delivery = subscriber.delivery().await;
    faults.send_replace(Commits::Wait);
    let mut calls = client.subscriptions();
    let answer = ack(&mut calls, "crm", &delivery.ack_id);
    tokio::pin!(answer);
    for _ in 0..2 {
        tokio::select! {
            status = &mut answer => panic!("answered {status:?} before the commit"),
            _ = subscriber.heartbeat() => {}
        }
    }
    faults.send_replace(Commits::Pass);
    assert_eq!(soon(answer).await, AckStatus::Applied);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_an_ack_that_could_not_be_stored_is_refused_until_it_is() {
    let (gateway, faults) = faulty().await;
    let client = gateway.client().await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    let delivery = subscriber.delivery().await;
    faults.send_replace(Commits::Full);
    let refused = soon(subscriber.calls.acknowledge(acks(&[&delivery.ack_id]))).await;
    let refused = refused.expect_err("the disk is full");
    assert_eq!(refused.code(), Code::Unavailable);
    let info = refused.get_details_error_info().expect("a reason");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("STORE_FULL", "tollgate.dev"));
    assert!(refused.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()));
    faults.send_replace(Commits::Pass);
    // The connector says it again, and now it is durable.
    assert_eq!(subscriber.ack(&delivery).await, AckStatus::Duplicate);
    drop(subscriber);
    let gateway = gateway.restart().await;
    let mut subscriber = Subscriber::open(&gateway.client().await, existing("crm")).await;
    assert!(subscriber.until_caught_up().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_no_ack_is_confirmed_once_the_writer_has_stopped() {
    let (gateway, faults) = faulty().await;
    let client = gateway.client().await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    let delivery = subscriber.delivery().await;
    faults.send_replace(Commits::Stopped);
    for attempt in 1..=3 {
        let refused = soon(subscriber.calls.acknowledge(acks(&[&delivery.ack_id]))).await;
        let refused = refused.expect_err(&format!("attempt {attempt} was confirmed"));
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        let info = refused.get_details_error_info().expect("a reason");
        assert_eq!(info.reason, "STORE_STOPPED");
    }
    drop(subscriber);
    let gateway = gateway.restart().await;
    let mut subscriber = Subscriber::open(&gateway.client().await, existing("crm")).await;
    assert_eq!(sequence(&subscriber.delivery().await), 1, "it comes again");
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_an_ack_given_twice_is_a_duplicate() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    let delivery = subscriber.delivery().await;
    let both = acks(&[&delivery.ack_id, &delivery.ack_id]);
    let results = subscriber.calls.acknowledge(both).await.expect("an answer").into_inner().results;
    let statuses: Vec<AckStatus> = results.iter().map(|result| result.status()).collect();
    assert_eq!(statuses, [AckStatus::Applied, AckStatus::Duplicate]);
    assert_eq!(subscriber.ack(&delivery).await, AckStatus::Duplicate);
    // The contrary of what was said before is not a repetition of it.
    assert_eq!(subscriber.nack(&delivery, Kind::Retry, "late").await, AckStatus::Stale);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_late_ack_is_stale_and_does_not_settle_the_redelivery() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    let settings = DeliverySettings { ack_deadline: wire(Duration::from_secs(1)), ..impatient() };
    create(&client, "crm", settings).await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    let mut slow = Subscriber::open(&client, existing("crm")).await;
    let late = slow.delivery().await;
    let mut other = Subscriber::open(&client, existing("crm")).await;
    let again = tokio::select! {
        again = slow.delivery() => again,
        again = other.delivery() => again,
    };
    assert_eq!((sequence(&again), again.attempt), (1, 2));
    assert_ne!(again.ack_id, late.ack_id);
    assert_eq!(slow.ack(&late).await, AckStatus::Stale);
    assert_eq!(slow.nack(&late, Kind::DeadLetter, "late").await, AckStatus::Stale);
    let extend = ExtendDeadlinesRequest {
        subscription: "crm".to_owned(),
        ack_ids: vec![late.ack_id.clone()],
        extension: None,
    };
    let extended = client.subscriptions().extend_deadlines(extend).await.expect("an answer");
    assert_eq!(extended.into_inner().results[0].status(), AckStatus::Stale);
    let now = describe(&client, "crm").await;
    assert_eq!((now.outstanding, now.held_back, now.dead_letters), (1, 1, 0), "not settled by it");
    assert_eq!(slow.ack(&again).await, AckStatus::Applied);
    let now = describe(&client, "crm").await;
    assert_eq!((now.outstanding, now.position), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_ids_of_nobody_or_of_another_subscription_are_unknown() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    let mut crm = Subscriber::open(&client, from_earliest("crm")).await;
    let mut mail = Subscriber::open(&client, from_earliest("mail")).await;
    let (of_crm, of_mail) = (crm.delivery().await, mail.delivery().await);
    let long = "A".repeat(10_000);
    for id in ["", "garbage", "AAAA", "%", &long, of_mail.ack_id.as_str()] {
        assert_eq!(ack(&mut crm.calls, "crm", id).await, AckStatus::Unknown, "{id}");
    }
    assert_eq!(describe(&client, "mail").await.outstanding, 1, "the other one's delivery stays");
    assert_eq!(mail.ack(&of_mail).await, AckStatus::Applied);
    assert_eq!(crm.ack(&of_crm).await, AckStatus::Applied);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_after_a_seek_the_acks_of_before_are_stale() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    for number in 1..=2 {
        let (id, payment) = (format!("evt_{number}"), format!("pi_{number}"));
        gateway.accept_event(&StripeEvent::paid(&id, &payment)).await;
    }
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    let before = subscriber.deliveries(2).await;
    assert_eq!(subscriber.ack(&before[0]).await, AckStatus::Applied);
    let seek = SeekRequest { subscription: "crm".to_owned(), to: Some(StartPosition::earliest()) };
    client.subscriptions().seek(seek).await.expect("moved");
    for delivery in &before {
        assert_eq!(subscriber.ack(delivery).await, AckStatus::Stale);
    }
    for number in 1..=2 {
        let again = subscriber.delivery().await;
        assert_eq!((sequence(&again), again.replay), (number, number == 1 || again.replay));
        assert_eq!(subscriber.ack(&again).await, AckStatus::Applied);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_an_ack_of_before_a_restart_settles_nothing_after_it() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    let before = subscriber.delivery().await;
    drop(subscriber);
    let gateway = gateway.restart().await;
    let client = gateway.client().await;
    let mut subscriber = Subscriber::open(&client, existing("crm")).await;
    let again = subscriber.delivery().await;
    assert_eq!(subscriber.ack(&before).await, AckStatus::Stale);
    assert_eq!(describe(&client, "crm").await.outstanding, 1);
    assert_eq!(subscriber.ack(&again).await, AckStatus::Applied);
}
