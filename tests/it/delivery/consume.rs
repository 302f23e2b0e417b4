//! The raw `Consume` stream, message by message.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tollgate_client::Client;
use tollgate_client::proto::consume_request::Message as In;
use tollgate_client::proto::consume_response::Message as Out;
use tollgate_client::proto::nack::Kind;
use tollgate_client::proto::{
    Ack, AckStatus, ConsumeAcks, ConsumeCredit, ConsumeExtend, ConsumeNacks, ConsumeOpen,
    ConsumeRequest, ConsumeResponse, ConsumeStop, Delivery, Nack,
};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::gateway::{StripeEvent, TestGateway};
use crate::subscriber::{
    Subscriber, create, describe, existing, from_earliest, impatient, sequence, soon,
};

struct Consumer {
    say: mpsc::Sender<ConsumeRequest>,
    stream: Streaming<ConsumeResponse>,
}

impl Consumer {
    async fn open(client: &Client, open: ConsumeOpen) -> Consumer {
        Consumer::begin(client, In::Open(open)).await.expect("the stream opens")
    }

    async fn begin(client: &Client, first: In) -> Result<Consumer, Status> {
        let (say, said) = mpsc::channel(16);
        say.send(ConsumeRequest { message: Some(first) }).await.expect("room");
        let stream = soon(client.subscriptions().consume(ReceiverStream::new(said))).await?;
        Ok(Consumer { say, stream: stream.into_inner() })
    }

    async fn say(&self, message: In) {
        self.say.send(ConsumeRequest { message: Some(message) }).await.expect("it listens");
    }

    async fn message(&mut self) -> Result<Option<Out>, Status> {
        Ok(soon(self.stream.message()).await?.map(|response| response.message.expect("a message")))
    }

    async fn next(&mut self) -> Out {
        loop {
            match self.message().await.expect("it goes on").expect("it has not ended") {
                Out::Heartbeat(_) | Out::CaughtUp(_) => {}
                other => return other,
            }
        }
    }

    async fn delivery(&mut self) -> Delivery {
        match self.next().await {
            Out::Delivery(delivery) => delivery,
            other => panic!("{other:?}"),
        }
    }

    async fn results(&mut self) -> Vec<AckStatus> {
        match self.next().await {
            Out::Results(results) => results.results.iter().map(|one| one.status()).collect(),
            other => panic!("{other:?}"),
        }
    }
}

fn open(name: &str) -> ConsumeOpen {
    ConsumeOpen { subscription: name.to_owned(), ..ConsumeOpen::default() }
}

fn acks(deliveries: &[&Delivery]) -> In {
    let acks = deliveries
        .iter()
        .map(|delivery| Ack { ack_id: delivery.ack_id.clone(), ..Ack::default() })
        .collect();
    In::Acks(ConsumeAcks { acks })
}

async fn filled(events: usize) -> (TestGateway, Client) {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    create(&client, "crm", impatient()).await;
    for number in 1..=events {
        let (id, payment) = (format!("evt_{number}"), format!("pi_{number}"));
        gateway.accept_event(&StripeEvent::paid(&id, &payment)).await;
    }
    (gateway, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_must_open_and_only_the_first() {
    let (_gateway, client) = filled(0).await;
    let refused = Consumer::begin(&client, In::Credit(ConsumeCredit { deliveries: 1 })).await;
    let refused = refused.err().expect("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(
        refused.get_details_bad_request().expect("details").field_violations[0].field,
        "message"
    );
    let mut consumer = Consumer::open(&client, open("crm")).await;
    consumer.say(In::Open(open("crm"))).await;
    let refused = loop {
        match consumer.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_wait_for_credit() {
    let (_gateway, client) = filled(5).await;
    let mut consumer =
        Consumer::open(&client, ConsumeOpen { manual_credit: true, ..open("crm") }).await;
    for _ in 0..2 {
        let Some(Out::Heartbeat(_)) = consumer.message().await.expect("it goes on") else {
            panic!("a delivery without credit")
        };
    }
    consumer.say(In::Credit(ConsumeCredit { deliveries: 2 })).await;
    let two = [consumer.delivery().await, consumer.delivery().await];
    // Acks give no credit.
    consumer.say(acks(&[&two[0], &two[1]])).await;
    assert_eq!(consumer.results().await, [AckStatus::Applied, AckStatus::Applied]);
    assert_eq!(describe(&client, "crm").await.outstanding, 0);
    consumer.say(In::Credit(ConsumeCredit { deliveries: 1 })).await;
    assert_eq!(sequence(&consumer.delivery().await), 3);
    assert_eq!(describe(&client, "crm").await.outstanding, 1);
    consumer.say(In::Credit(ConsumeCredit { deliveries: -1 })).await;
    let refused = loop {
        match consumer.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_come_in_the_order_of_what_was_said() {
    let (_gateway, client) = filled(4).await;
    let mut consumer = Consumer::open(&client, open("crm")).await;
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(consumer.delivery().await);
    }
    let nack = Nack {
        ack_id: all[3].ack_id.clone(),
        kind: Kind::DeadLetter.into(),
        reason: "no".to_owned(),
        retry_after: None,
    };
    consumer.say(acks(&[&all[0], &all[1]])).await;
    consumer.say(acks(&[&all[1]])).await;
    let extend = ConsumeExtend {
        ack_ids: vec![all[2].ack_id.clone(), "garbage".to_owned()],
        extension: None,
    };
    consumer.say(In::Extend(extend)).await;
    consumer.say(In::Nacks(ConsumeNacks { nacks: vec![nack] })).await;
    assert_eq!(consumer.results().await, [AckStatus::Applied, AckStatus::Applied]);
    assert_eq!(consumer.results().await, [AckStatus::Duplicate]);
    assert_eq!(consumer.results().await, [AckStatus::Applied, AckStatus::Unknown]);
    assert_eq!(consumer.results().await, [AckStatus::Applied]);
    let now = describe(&client, "crm").await;
    assert_eq!((now.outstanding, now.dead_letters), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_stream_ends_once_all_is_settled() {
    let (gateway, client) = filled(2).await;
    let mut consumer = Consumer::open(&client, open("crm")).await;
    let two = [consumer.delivery().await, consumer.delivery().await];
    consumer.say(In::Stop(ConsumeStop {})).await;
    consumer.say(acks(&[&two[0]])).await;
    assert_eq!(consumer.results().await, [AckStatus::Applied]);
    gateway.accept_event(&StripeEvent::paid("evt_3", "pi_3")).await;
    // Another consumer gets what is new.
    let mut other = Subscriber::open(&client, existing("crm")).await;
    assert_eq!(sequence(&other.delivery().await), 3);
    consumer.say(acks(&[&two[1]])).await;
    let mut settled = false;
    while let Some(message) = consumer.message().await.expect("a clean end") {
        match message {
            Out::Results(_) => settled = true,
            Out::Heartbeat(_) | Out::CaughtUp(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(settled, "the last ack was answered before the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broken_consumer_had_goes_to_another_at_once() {
    let (_gateway, client) = filled(3).await;
    let mut consumer = Consumer::open(&client, open("crm")).await;
    for _ in 0..3 {
        consumer.delivery().await;
    }
    let started = std::time::Instant::now();
    drop(consumer);
    let mut other = Subscriber::open(&client, existing("crm")).await;
    let again = other.deliveries(3).await;
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "not at the deadline");
    assert!(again.iter().all(|delivery| delivery.attempt == 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn consume_creates_a_subscription_and_shares_it_with_subscribe() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    let request = from_earliest("fresh");
    let create = ConsumeOpen {
        create_if_missing: true,
        filter: request.filter,
        start: request.start,
        ..open("subscriptions/fresh")
    };
    let mut consumer = Consumer::open(&client, create).await;
    let delivery = consumer.delivery().await;
    // Acks by a call of its own are as good.
    let mut calls = client.subscriptions();
    let status = crate::subscriber::ack(&mut calls, "fresh", &delivery.ack_id).await;
    assert_eq!(status, AckStatus::Applied);
    consumer.say(acks(&[&delivery])).await;
    assert_eq!(consumer.results().await, [AckStatus::Duplicate]);
}
