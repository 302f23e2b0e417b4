//! The `Consume` stream: deliveries out; credit, acks, nacks and extensions in, on one stream. Made for
//! connectors. Settlements are pipelined: the next is taken in while the one before is being committed,
//! and results go out in their order. When the stream is about to end it says so, and takes acks until
//! the client closes its side or the time for it is over.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, stream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::subscribe::{Opening, attach, delivery, limit};
use super::{
    MAX_CONSUMER_BYTES, ack_ids, no_longer, results, settle_acks, settle_extensions, settle_nacks,
};
use crate::delivery::{
    AckStatus, Budget, Consumer, ConsumerOptions, Delivery, EndReason, Message, Settle, Snapshot,
};
use crate::grpc::auth::Identity;
use crate::grpc::status::{from_ingest, invalid, unavailable};
use crate::grpc::stream::{Due, Life, caught_up, draining, heartbeat};
use crate::grpc::{Context, proto};
use crate::ingest;
use crate::model::Sequence;
use proto::consume_request::Message as In;
use proto::consume_response::Message as Out;

/// How many settlements of one stream may be under way.
const MAX_UNDER_WAY: usize = 64;
/// How long a stream that is about to end goes on taking acks.
const LINGER: Duration = Duration::from_secs(5);
/// How often a stopped stream looks whether all is settled.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// The stream's type.
pub type Consumed = Pin<Box<dyn Stream<Item = Result<proto::ConsumeResponse, Status>> + Send>>;

/// What became of a settlement.
type Outcome = Result<Vec<AckStatus>, ingest::Error>;
/// A settlement that is being committed.
type UnderWay = (Vec<String>, oneshot::Receiver<Outcome>);

/// Settlements whose outcome is to be told, in order.
enum Told {
    Settling { ack_ids: Vec<String>, outcome: oneshot::Receiver<Outcome> },
    Stop,
    Credit(usize),
    Refused(Status),
}

struct State {
    context: Context,
    consumer: Consumer,
    life: Life,
    told: mpsc::Receiver<Told>,
    /// The settlement whose outcome comes next.
    settling: Option<UnderWay>,
    position: Sequence,
    inbound_open: bool,
    stopping: bool,
    ends_by: Option<Instant>,
    begun: bool,
    over: bool,
}

pub(super) async fn open(
    context: &Context,
    identity: Identity,
    budget: Budget,
    mut inbound: Streaming<proto::ConsumeRequest>,
) -> Result<Consumed, Status> {
    let first = inbound.message().await?.and_then(|request| request.message);
    let Some(In::Open(open)) = first else {
        return Err(invalid("message", "the first message must be `open`"));
    };
    no_longer(&open.consumer, MAX_CONSUMER_BYTES, "open.consumer")?;
    let options = ConsumerOptions {
        name: open.consumer,
        max_outstanding: limit(open.max_outstanding, "open.max_outstanding")?,
        max_outstanding_bytes: limit(open.max_outstanding_bytes, "open.max_outstanding_bytes")?,
        auto_ack: false,
        manual_credit: open.manual_credit,
        release_on_detach: true,
        budget,
    };
    let subscription =
        open.subscription.strip_prefix("subscriptions/").unwrap_or(&open.subscription).to_owned();
    let opening = Opening {
        subscription: open.subscription,
        create_if_missing: open.create_if_missing,
        filter: open.filter,
        start: open.start,
    };
    let consumer = attach(context, &identity, opening, options).await?;
    let (tell, told) = mpsc::channel(MAX_UNDER_WAY);
    let delivery = context.delivery.clone();
    tokio::spawn(take_in(inbound, delivery, subscription, tell));
    let state = State {
        context: context.clone(),
        life: Life::new(context, identity),
        consumer,
        told,
        settling: None,
        position: Sequence(0),
        inbound_open: true,
        stopping: false,
        ends_by: None,
        begun: false,
        over: false,
    };
    Ok(Box::pin(stream::unfold(state, |mut state| async move {
        let item = state.next().await?;
        Some((item.map(|message| proto::ConsumeResponse { message: Some(message) }), state))
    })))
}

/// Reads what the client says until it closes its side or the stream is gone.
async fn take_in(
    mut inbound: Streaming<proto::ConsumeRequest>,
    delivery: Delivery,
    subscription: String,
    tell: mpsc::Sender<Told>,
) {
    loop {
        let message = tokio::select! {
            message = inbound.message() => message,
            () = tell.closed() => return,
        };
        let told = match message {
            Ok(Some(request)) => match settles(request.message) {
                Ok(Request::Settle(settles)) => {
                    begin_settling(&delivery, &subscription, settles).await
                }
                Ok(Request::Credit(deliveries)) => Told::Credit(deliveries),
                Ok(Request::Stop) => Told::Stop,
                Err(status) => Told::Refused(status),
            },
            Ok(None) | Err(_) => return,
        };
        if tell.send(told).await.is_err() {
            return;
        }
    }
}

enum Request {
    Settle(Vec<Settle>),
    Credit(usize),
    Stop,
}

fn settles(message: Option<In>) -> Result<Request, Status> {
    match message {
        Some(In::Acks(acks)) => settle_acks(acks.acks).map(Request::Settle),
        Some(In::Nacks(nacks)) => settle_nacks(nacks.nacks).map(Request::Settle),
        Some(In::Extend(extend)) => {
            settle_extensions(extend.ack_ids, extend.extension).map(Request::Settle)
        }
        Some(In::Credit(credit)) => match usize::try_from(credit.deliveries) {
            Ok(deliveries) => Ok(Request::Credit(deliveries)),
            Err(_) => Err(invalid("credit.deliveries", "must not be negative")),
        },
        Some(In::Stop(_)) => Ok(Request::Stop),
        Some(In::Open(_)) => Err(invalid("message", "the stream is open already")),
        None => Err(invalid("message", "is missing")),
    }
}

async fn begin_settling(delivery: &Delivery, subscription: &str, settles: Vec<Settle>) -> Told {
    let ack_ids = ack_ids(&settles);
    match delivery.begin_settling(subscription, settles).await {
        Ok(outcome) => Told::Settling { ack_ids, outcome },
        Err(error) => Told::Refused(crate::grpc::status::from_delivery(error)),
    }
}

impl State {
    async fn next(&mut self) -> Option<Result<Out, Status>> {
        if !self.begun {
            self.begun = true;
            let (snapshot, _) = self.consumer.snapshot().await.ok()?;
            return Some(Ok(self.heartbeat(&snapshot)));
        }
        let mut due = None;
        if self.ends_by.is_none() {
            due = self.life.due_between_messages();
        }
        while !self.over {
            if let Some(due) = due.take()
                && let Some(message) = self.due(due).await
            {
                return Some(Ok(message));
            }
            if self.ends_by.is_none()
                && let Some(message) = self.consumer.try_next()
            {
                return Some(Ok(self.out(message)));
            }
            let ends_by = self.ends_by;
            tokio::select! {
                message = self.consumer.next(), if ends_by.is_none() => match message {
                    Some(message) => return Some(Ok(self.out(message))),
                    None => self.over = true,
                },
                outcome = settled(&mut self.settling), if self.settling.is_some() => {
                    return Some(self.told_outcome(outcome));
                }
                told = self.told.recv(), if self.settling.is_none() && self.inbound_open => {
                    match told {
                        Some(Told::Settling { ack_ids, outcome }) => {
                            self.settling = Some((ack_ids, outcome));
                        }
                        Some(Told::Credit(more)) => {
                            if self.consumer.credit(more).await.is_err() { self.over = true; }
                        }
                        Some(Told::Stop) => {
                            self.stopping = true;
                            if self.consumer.stop().await.is_err() { self.over = true; }
                        }
                        Some(Told::Refused(status)) => {
                            self.over = true;
                            return Some(Err(status));
                        }
                        // The client closed its side: it wants no more and will settle no more.
                        None => self.over = true,
                    }
                }
                () = tokio::time::sleep(STOP_CHECK), if self.stopping && self.settling.is_none() => {
                    if self.nothing_outstanding().await { self.over = true; }
                }
                () = tokio::time::sleep_until(ends_by.unwrap_or_else(Instant::now)), if ends_by.is_some() => {
                    self.over = true;
                }
                came = self.life.due(), if ends_by.is_none() => due = Some(came),
            }
        }
        None
    }

    /// What is to be told; `None` where the subscription is gone and its own last message tells why.
    async fn due(&mut self, due: Due) -> Option<Out> {
        match due {
            Due::End(reason) => {
                // It ends either way; what is handed out from here on would only wait.
                let _ = self.consumer.stop().await;
                Some(self.end(reason, self.position))
            }
            Due::Heartbeat => {
                let (snapshot, _) = self.consumer.snapshot().await.ok()?;
                Some(self.heartbeat(&snapshot))
            }
        }
    }

    async fn nothing_outstanding(&self) -> bool {
        self.consumer.snapshot().await.map_or(true, |(_, outstanding)| outstanding == 0)
    }

    fn told_outcome(&mut self, outcome: Option<(Vec<String>, Outcome)>) -> Result<Out, Status> {
        match outcome {
            Some((ack_ids, Ok(statuses))) => {
                Ok(Out::Results(proto::ConsumeResults { results: results(ack_ids, statuses) }))
            }
            Some((_, Err(error))) => {
                self.over = true;
                Err(from_ingest(error))
            }
            None => {
                self.over = true;
                Err(unavailable("SUBSCRIPTION_UNAVAILABLE", "the subscription is not served now"))
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
        let linger = match reason {
            EndReason::Age | EndReason::Shutdown => LINGER,
            EndReason::Deleted | EndReason::Revoked => Duration::ZERO,
        };
        self.ends_by = Some(Instant::now() + linger);
        Out::Draining(draining(&self.context, position, reason))
    }
}

/// The outcome of the settlement that comes next; `None` if its subscription is gone. Taken out only once
/// it is there, so that the wait may be dropped and begun again.
async fn settled(settling: &mut Option<UnderWay>) -> Option<(Vec<String>, Outcome)> {
    let (_, outcome) = settling.as_mut()?;
    let outcome = outcome.await;
    let (ack_ids, _) = settling.take()?;
    outcome.ok().map(|outcome| (ack_ids, outcome))
}
