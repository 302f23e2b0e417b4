//! The `Subscribe` stream: deliveries out, acks by calls of their own. Made for grpcurl and scripts.

use std::pin::Pin;

use futures::{Stream, stream};
use tonic::Status;

use super::{MAX_CONSUMER_BYTES, name, no_longer};
use crate::delivery::{
    Budget, Consumer, ConsumerOptions, EndReason, Handed, Message, Settings, Snapshot, Spec, Start,
};
use crate::grpc::auth::{Identity, Scope};
use crate::grpc::status::{from_delivery, invalid};
use crate::grpc::stream::{Due, Life, caught_up, draining, heartbeat};
use crate::grpc::{Context, convert, proto, request};
use crate::model::Sequence;
use proto::subscribe_response::Message as Out;

/// The stream's type.
pub type Subscribed = Pin<Box<dyn Stream<Item = Result<proto::SubscribeResponse, Status>> + Send>>;

struct State {
    context: Context,
    consumer: Consumer,
    life: Life,
    position: Sequence,
    begun: bool,
    over: bool,
}

pub(super) async fn open(
    context: &Context,
    identity: Identity,
    budget: Budget,
    subscribe: proto::SubscribeRequest,
) -> Result<Subscribed, Status> {
    no_longer(&subscribe.consumer, MAX_CONSUMER_BYTES, "consumer")?;
    let options = ConsumerOptions {
        name: subscribe.consumer,
        max_outstanding: limit(subscribe.max_outstanding, "max_outstanding")?,
        max_outstanding_bytes: limit(subscribe.max_outstanding_bytes, "max_outstanding_bytes")?,
        auto_ack: subscribe.auto_ack,
        manual_credit: false,
        release_on_detach: false,
        budget,
    };
    let opening = Opening {
        subscription: subscribe.subscription,
        create_if_missing: subscribe.create_if_missing,
        filter: subscribe.filter,
        start: subscribe.start,
    };
    let consumer = attach(context, &identity, opening, options).await?;
    let state = State {
        context: context.clone(),
        life: Life::new(context, identity),
        consumer,
        position: Sequence(0),
        begun: false,
        over: false,
    };
    Ok(Box::pin(stream::unfold(state, |mut state| async move {
        let message = state.next().await?;
        Some((Ok(proto::SubscribeResponse { message: Some(message) }), state))
    })))
}

/// How both streams name the subscription and create it if asked.
pub(super) struct Opening {
    pub(super) subscription: String,
    pub(super) create_if_missing: bool,
    pub(super) filter: Option<proto::Filter>,
    pub(super) start: Option<proto::StartPosition>,
}

pub(super) async fn attach(
    context: &Context,
    identity: &Identity,
    opening: Opening,
    options: ConsumerOptions,
) -> Result<Consumer, Status> {
    let name = name(&opening.subscription)?;
    identity.require(Scope::Subscribe(name))?;
    let delivery = &context.delivery;
    let attached = if opening.create_if_missing {
        let filter = request::filter(opening.filter, "filter")?;
        let spec = Spec { filter, settings: Settings::default() };
        let start = request::start(opening.start, Start::Latest, delivery, "start")?;
        delivery.attach_or_create(name, spec, start, options).await
    } else {
        if opening.filter.is_some() || opening.start.is_some() {
            return Err(invalid(
                "create_if_missing",
                "filter and start are taken only when the subscription is created",
            ));
        }
        delivery.attach(name, options).await
    };
    attached.map_err(from_delivery)
}

/// Reads a limit: zero means the subscription's own.
pub(super) fn limit(value: i32, field: &str) -> Result<Option<usize>, Status> {
    match usize::try_from(value) {
        Ok(0) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(invalid(field, "must not be negative")),
    }
}

/// A delivery on the wire.
pub(super) fn delivery(handed: Handed) -> proto::Delivery {
    proto::Delivery {
        ack_id: handed.ack_id,
        attempt: i32::try_from(handed.attempt).unwrap_or(i32::MAX),
        ack_deadline: Some(convert::timestamp(handed.deadline)),
        event: handed.logged.encoded.clone(),
        replay: handed.replay,
        gap_before: handed.gap_before,
    }
}

impl State {
    async fn next(&mut self) -> Option<Out> {
        if self.over {
            return None;
        }
        if !self.begun {
            self.begun = true;
            let (snapshot, _) = self.consumer.snapshot().await.ok()?;
            return Some(self.heartbeat(&snapshot));
        }
        let mut due = self.life.due_between_messages();
        loop {
            if let Some(due) = due.take()
                && let Some(message) = self.due(due).await
            {
                return Some(message);
            }
            if let Some(message) = self.consumer.try_next() {
                return Some(self.out(message));
            }
            tokio::select! {
                message = self.consumer.next() => {
                    return message.map(|message| self.out(message));
                }
                came = self.life.due() => due = Some(came),
            }
        }
    }

    /// What is to be told; `None` where the subscription is gone and its own last message tells why.
    async fn due(&mut self, due: Due) -> Option<Out> {
        match due {
            Due::End(reason) => Some(self.end(reason, self.position)),
            Due::Heartbeat => {
                let (snapshot, _) = self.consumer.snapshot().await.ok()?;
                Some(self.heartbeat(&snapshot))
            }
        }
    }

    fn heartbeat(&mut self, snapshot: &Snapshot) -> Out {
        self.position = snapshot.position;
        Out::Heartbeat(heartbeat(&self.context, snapshot))
    }

    fn out(&mut self, message: Message) -> Out {
        match message {
            Message::Delivery(handed) => Out::Delivery(delivery(handed)),
            Message::CaughtUp { position } => Out::CaughtUp(caught_up(&self.context, position)),
            Message::End { reason, position } => self.end(reason, position),
        }
    }

    fn end(&mut self, reason: EndReason, position: Sequence) -> Out {
        self.over = true;
        Out::Draining(draining(&self.context, position, reason))
    }
}
