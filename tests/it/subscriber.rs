//! A consumer of the raw `Subscribe` stream, as a script would be one: deliveries by the stream, acks by
//! calls. Nothing waits for ever: each wait fails the test after `PATIENCE`.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tollgate_client::proto::nack::Kind;
use tollgate_client::proto::subscribe_response::Message;
use tollgate_client::proto::subscription_service_client::SubscriptionServiceClient;
use tollgate_client::proto::{
    Ack, AckStatus, AcknowledgeRequest, CreateSubscriptionRequest, Delivery, DeliverySettings,
    GetSubscriptionRequest, Heartbeat, Nack, NackRequest, SubscribeRequest, SubscribeResponse,
    Subscription,
};
use tollgate_client::{Client, Filter, StartPosition, Transport};
use tonic::{Status, Streaming};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How far two looks at a condition are apart.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Waits for what must come soon.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it did not come in time")
}

/// Looks again and again until `look` gives something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    loop {
        interval.tick().await;
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what}: not in time");
    }
}

/// The raw subscription calls of a client.
pub type Calls = SubscriptionServiceClient<Transport>;

/// One open `Subscribe` stream and the calls that go with it.
pub struct Subscriber {
    pub calls: Calls,
    pub name: String,
    stream: Streaming<SubscribeResponse>,
}

/// What opens a subscription at the beginning of the log, creating it first.
pub fn from_earliest(name: &str) -> SubscribeRequest {
    SubscribeRequest {
        subscription: name.to_owned(),
        create_if_missing: true,
        filter: Some(Filter::default()),
        start: Some(StartPosition::earliest()),
        consumer: "test".to_owned(),
        ..SubscribeRequest::default()
    }
}

/// What opens a subscription that exists.
pub fn existing(name: &str) -> SubscribeRequest {
    SubscribeRequest { subscription: name.to_owned(), ..SubscribeRequest::default() }
}

/// Creates a subscription at the beginning of the log.
pub async fn create(client: &Client, name: &str, settings: DeliverySettings) -> Subscription {
    let request = CreateSubscriptionRequest {
        subscription: name.to_owned(),
        filter: None,
        start: Some(StartPosition::earliest()),
        settings: Some(settings),
    };
    let created = soon(client.subscriptions().create_subscription(request)).await;
    created.expect("created").into_inner().subscription.expect("a subscription")
}

/// A duration on the wire.
pub fn wire(duration: Duration) -> Option<prost_types::Duration> {
    Some(duration.try_into().expect("a short duration"))
}

/// Settings with hardly any backoff.
pub fn impatient() -> DeliverySettings {
    DeliverySettings {
        min_backoff: wire(Duration::from_millis(1)),
        max_backoff: wire(Duration::from_millis(20)),
        ..DeliverySettings::default()
    }
}

impl Subscriber {
    /// Opens a stream.
    pub async fn open(client: &Client, request: SubscribeRequest) -> Subscriber {
        Subscriber::try_open(client, request).await.expect("the stream opens")
    }

    /// As `open`, where it may be refused.
    pub async fn try_open(
        client: &Client,
        request: SubscribeRequest,
    ) -> Result<Subscriber, Status> {
        let mut calls = client.subscriptions();
        let name = request.subscription.clone();
        let stream = soon(calls.subscribe(request)).await?.into_inner();
        Ok(Subscriber { calls, name, stream })
    }

    /// The next message, whatever it is; `None` at the end of the stream.
    pub async fn message(&mut self) -> Result<Option<Message>, Status> {
        Ok(soon(self.stream.message()).await?.map(|response| response.message.expect("a message")))
    }

    /// The next message that `wanted` takes; a stream that ends or fails before fails the test.
    pub async fn wait_for<T: Debug>(&mut self, wanted: impl Fn(&Message) -> Option<T>) -> T {
        soon(async {
            loop {
                let message = self.stream.message().await.expect("the stream goes on");
                let message = message.expect("the stream has not ended").message;
                if let Some(found) = wanted(&message.expect("a message")) {
                    return found;
                }
            }
        })
        .await
    }

    /// The next delivery.
    pub async fn delivery(&mut self) -> Delivery {
        self.wait_for(|message| match message {
            Message::Delivery(delivery) => Some(delivery.clone()),
            Message::Heartbeat(_) | Message::CaughtUp(_) => None,
            Message::Draining(end) => panic!("the stream is about to end: {end:?}"),
        })
        .await
    }

    /// The next deliveries.
    pub async fn deliveries(&mut self, count: usize) -> Vec<Delivery> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(self.delivery().await);
        }
        all
    }

    /// Waits for the end of what waits; what is delivered before is given.
    pub async fn until_caught_up(&mut self) -> Vec<Delivery> {
        let mut all = Vec::new();
        loop {
            match self.message().await.expect("the stream goes on").expect("it has not ended") {
                Message::Delivery(delivery) => all.push(delivery),
                Message::CaughtUp(_) => return all,
                Message::Heartbeat(_) => {}
                Message::Draining(end) => panic!("the stream is about to end: {end:?}"),
            }
        }
    }

    /// The next heartbeat.
    pub async fn heartbeat(&mut self) -> Heartbeat {
        self.wait_for(|message| match message {
            Message::Heartbeat(beat) => Some(beat.clone()),
            Message::Delivery(_) | Message::CaughtUp(_) | Message::Draining(_) => None,
        })
        .await
    }

    /// Acknowledges.
    pub async fn ack(&mut self, delivery: &Delivery) -> AckStatus {
        ack(&mut self.calls, &self.name, &delivery.ack_id).await
    }

    /// Gives back, to be retried with the subscription's backoff.
    pub async fn nack(&mut self, delivery: &Delivery, kind: Kind, reason: &str) -> AckStatus {
        nack(&mut self.calls, &self.name, &delivery.ack_id, kind, reason).await
    }
}

/// Acknowledges one delivery by its id.
pub async fn ack(calls: &mut Calls, subscription: &str, ack_id: &str) -> AckStatus {
    let ack = Ack { ack_id: ack_id.to_owned(), ..Ack::default() };
    let request = AcknowledgeRequest { subscription: subscription.to_owned(), acks: vec![ack] };
    let results = soon(calls.acknowledge(request)).await.expect("an answer").into_inner().results;
    results[0].status()
}

/// Gives one delivery back by its id.
pub async fn nack(
    calls: &mut Calls,
    subscription: &str,
    ack_id: &str,
    kind: Kind,
    reason: &str,
) -> AckStatus {
    let nack = Nack {
        ack_id: ack_id.to_owned(),
        kind: kind.into(),
        reason: reason.to_owned(),
        retry_after: None,
    };
    let request = NackRequest { subscription: subscription.to_owned(), nacks: vec![nack] };
    let results = soon(calls.nack(request)).await.expect("an answer").into_inner().results;
    results[0].status()
}

/// The sequence of a delivery's event.
pub fn sequence(delivery: &Delivery) -> i64 {
    delivery.event.as_ref().expect("an event").sequence
}

/// The subject of a delivery's event.
pub fn subject(delivery: &Delivery) -> &str {
    &delivery.event.as_ref().expect("an event").subject
}

/// A subscription as it is now.
pub async fn describe(client: &Client, name: &str) -> Subscription {
    let request = GetSubscriptionRequest { subscription: name.to_owned() };
    let found = soon(client.subscriptions().get_subscription(request)).await.expect("it exists");
    found.into_inner().subscription.expect("a subscription")
}
