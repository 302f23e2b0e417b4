//! One `Consume` stream from open to end. Deliveries come in and go to the inbox; acks, nacks and
//! extensions go out in batches; the gateway's answers go to whoever waits for them. It ends when the
//! stream breaks, falls silent or drains, or when nobody wants it any more. It must never wait for the
//! network before it reads on: answers to acks come in between the deliveries.

use std::time::{Duration, SystemTime};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tonic::{Status, Streaming};

use crate::{
    delivery::{Command, Delivery},
    inbox::Inbox,
    proto::{
        Ack, ConsumeAcks, ConsumeExtend, ConsumeNacks, ConsumeRequest, ConsumeResponse,
        ConsumeStop, Heartbeat, Nack, consume_request, consume_response,
    },
    subscription::Progress,
    unsettled::Unsettled,
};

/// How many requests may wait for the transport. No more than one flush needs: while the transport is
/// busy, batches grow.
pub(crate) const OUTBOUND_REQUESTS: usize = REQUESTS_PER_FLUSH;
/// Acks and nacks are sent when no more wait, or when there are this many.
const MAX_BATCH: usize = 500;
/// The gateway's limit of ids in one message.
const MAX_EXTENSIONS: usize = 1_000;
/// Extensions, acks, nacks and the stop: what one flush sends at most.
const REQUESTS_PER_FLUSH: usize = 4;
/// Twice the gateway's limit of a subscription: expired deliveries may still be in handlers.
const MAX_UNSETTLED: usize = 20_000;
/// How long handlers may finish what they hold when the stream is to end.
const SETTLE_GRACE: Duration = Duration::from_secs(30);
/// The gateway's limits of a deadline.
const MIN_LEASE: Duration = Duration::from_secs(1);
const MAX_LEASE: Duration = Duration::from_secs(60 * 60);
/// What is believed of a deadline while the gateway's clock is not known.
const MAX_GUESSED_LEASE: Duration = Duration::from_secs(15);

/// Why a stream ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Nobody wants it any more.
    Stopped,
    /// The gateway asked to go elsewhere, and all that was held is settled.
    Drained,
    /// The gateway or the transport failed it.
    Failed(Status),
    /// The gateway ended it without a word.
    Closed,
    /// Nothing came for too long.
    Silent,
    /// The gateway sent what it must not.
    Violated(&'static str),
}

/// The state of one stream.
pub(crate) struct Session<'a> {
    inbox: &'a Inbox,
    progress: &'a watch::Sender<Progress>,
    silence: Duration,
    sender: mpsc::UnboundedSender<Command>,
    commands: mpsc::UnboundedReceiver<Command>,
    received: Vec<Command>,
    batch: Batch,
    unsettled: Unsettled,
    clock: GatewayClock,
    last_message: Instant,
    leaving: Option<Leaving>,
}

/// The stream is to end, at the latest at this time.
enum Leaving {
    Draining(Instant),
    Stopping(Instant),
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        inbox: &'a Inbox,
        progress: &'a watch::Sender<Progress>,
        silence: Duration,
        max_extension: Duration,
    ) -> Self {
        let (sender, commands) = mpsc::unbounded_channel();
        Self {
            inbox,
            progress,
            silence,
            sender,
            commands,
            received: Vec::with_capacity(MAX_BATCH),
            batch: Batch::default(),
            unsettled: Unsettled::new(max_extension),
            clock: GatewayClock::default(),
            last_message: Instant::now(),
            leaving: None,
        }
    }

    /// Serves the stream until it ends. `stop` resolves when nobody wants it any more.
    pub(crate) async fn run(
        mut self,
        mut inbound: Streaming<ConsumeResponse>,
        outbound: mpsc::Sender<ConsumeRequest>,
        stop: &mut oneshot::Receiver<()>,
    ) -> Ended {
        let timer = tokio::time::sleep_until(self.next_look());
        tokio::pin!(timer);
        let mut writable = true;
        loop {
            if let Some(ended) = self.left() {
                return ended;
            }
            let next_look = self.next_look();
            if next_look < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(next_look);
            }
            tokio::select! {
                biased;
                count = self.commands.recv_many(&mut self.received, MAX_BATCH - self.batch.len()),
                    if self.batch.len() < MAX_BATCH =>
                {
                    self.take_commands(count).await;
                }
                permits = outbound.reserve_many(REQUESTS_PER_FLUSH),
                    if writable && !self.batch.is_empty() =>
                {
                    match permits {
                        Ok(permits) => self.batch.flush(permits),
                        // The stream is ending; the reading side is about to tell why.
                        Err(_) => writable = false,
                    }
                }
                _ = &mut *stop, if !self.stopping() => self.stop(),
                () = &mut timer => {
                    if self.last_message.elapsed() >= self.silence {
                        return if self.stopping() { Ended::Stopped } else { Ended::Silent };
                    }
                    self.batch.extensions.extend(self.unsettled.due(Instant::now()));
                }
                message = inbound.message() => {
                    if let Err(ended) = self.take_message(message) {
                        return if self.stopping() { Ended::Stopped } else { ended };
                    }
                }
            }
        }
    }

    /// Takes what handlers said, and, to make batches, what they say while this task steps aside once.
    async fn take_commands(&mut self, count: usize) {
        let now = Instant::now();
        let mut received = std::mem::take(&mut self.received);
        for command in received.drain(..) {
            self.take_command(command, now);
        }
        self.received = received;
        if count < MAX_BATCH && self.batch.len() < MAX_BATCH {
            tokio::task::yield_now().await;
            while self.batch.len() < MAX_BATCH
                && let Ok(command) = self.commands.try_recv()
            {
                self.take_command(command, now);
            }
        }
    }

    fn take_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Ack(ack, answer) => {
                self.unsettled.settle(&ack.ack_id, answer, now);
                self.batch.acks.push(ack);
            }
            Command::Nack(nack, answer) => {
                self.unsettled.settle(&nack.ack_id, Some(answer), now);
                self.batch.nacks.push(nack);
            }
            Command::Abandon(ack_id) => self.unsettled.abandon(&ack_id),
        }
    }

    fn take_message(
        &mut self,
        message: Result<Option<ConsumeResponse>, Status>,
    ) -> Result<(), Ended> {
        use consume_response::Message;

        let response = message.map_err(Ended::Failed)?.ok_or(Ended::Closed)?;
        self.last_message = Instant::now();
        if !self.progress.borrow().connected {
            self.progress.send_modify(|progress| progress.connected = true);
        }
        match response.message {
            Some(Message::Delivery(delivery)) => self.take_delivery(delivery)?,
            Some(Message::Results(answered)) => {
                for result in &answered.results {
                    self.unsettled.answer(result);
                }
            }
            Some(Message::Heartbeat(heartbeat)) => self.take_heartbeat(heartbeat),
            Some(Message::CaughtUp(_)) => {
                self.progress.send_modify(|progress| progress.caught_up = true);
            }
            Some(Message::Draining(draining)) => {
                tracing::debug!(reason = draining.reason, "the gateway drains the stream");
                self.drain();
            }
            // A newer gateway says what this client does not know yet.
            None => {}
        }
        Ok(())
    }

    fn take_delivery(&mut self, message: crate::proto::Delivery) -> Result<(), Ended> {
        if self.leaving.is_some() {
            // It was on its way; when the stream ends it goes to another consumer.
            return Ok(());
        }
        if self.unsettled.len() >= MAX_UNSETTLED {
            return Err(Ended::Violated("more deliveries than may be outstanding"));
        }
        let ack_id = message.ack_id.clone();
        let lease = self.clock.until(message.ack_deadline, self.last_message);
        let delivery = Delivery::new(message, self.sender.clone())
            .ok_or(Ended::Violated("a delivery without an event"))?;
        self.unsettled.hold(ack_id, lease, self.last_message);
        self.inbox.push(delivery);
        Ok(())
    }

    fn take_heartbeat(&mut self, heartbeat: Heartbeat) {
        self.clock.set(heartbeat.time, self.last_message);
        self.progress.send_modify(|progress| {
            progress.position = heartbeat.position;
            progress.head = heartbeat.head;
            progress.log_epoch = heartbeat.log_epoch;
            progress.backlog = heartbeat.backlog;
        });
    }

    /// The gateway asked to go elsewhere: what nobody began is dropped, what is held may be finished.
    fn drain(&mut self) {
        if self.leaving.is_none() {
            self.leaving = Some(Leaving::Draining(Instant::now() + SETTLE_GRACE));
            self.inbox.clear();
        }
    }

    /// Nobody wants the stream any more: the same, but for good.
    fn stop(&mut self) {
        self.leaving = Some(Leaving::Stopping(Instant::now() + SETTLE_GRACE));
        self.batch.stop = true;
        self.inbox.clear();
    }

    fn stopping(&self) -> bool {
        matches!(self.leaving, Some(Leaving::Stopping(_)))
    }

    /// Whether the stream was to end and now can.
    fn left(&self) -> Option<Ended> {
        let (until, ended) = match self.leaving {
            None => return None,
            Some(Leaving::Draining(until)) => (until, Ended::Drained),
            Some(Leaving::Stopping(until)) => (until, Ended::Stopped),
        };
        let settled = self.unsettled.len() == 0 && self.batch.is_empty();
        (settled || Instant::now() >= until).then_some(ended)
    }

    /// When there may be something to do though nothing came.
    fn next_look(&self) -> Instant {
        let mut next = self.last_message + self.silence;
        if let Some(scan) = self.unsettled.next_scan() {
            next = next.min(scan);
        }
        match self.leaving {
            Some(Leaving::Draining(until) | Leaving::Stopping(until)) => next.min(until),
            None => next,
        }
    }
}

/// What waits to be sent.
#[derive(Default)]
struct Batch {
    extensions: Vec<String>,
    acks: Vec<Ack>,
    nacks: Vec<Nack>,
    stop: bool,
}

impl Batch {
    /// Acks and nacks.
    fn len(&self) -> usize {
        self.acks.len() + self.nacks.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0 && self.extensions.is_empty() && !self.stop
    }

    /// Extensions go first: the one of an ack id must reach the gateway before its ack.
    fn flush(&mut self, mut permits: mpsc::PermitIterator<'_, ConsumeRequest>) {
        use consume_request::Message;

        let mut send = |message| {
            if let Some(permit) = permits.next() {
                permit.send(ConsumeRequest { message: Some(message) });
            }
        };
        if !self.extensions.is_empty() {
            let count = self.extensions.len().min(MAX_EXTENSIONS);
            let ack_ids = self.extensions.drain(..count).collect();
            send(Message::Extend(ConsumeExtend { ack_ids, extension: None }));
        }
        if !self.acks.is_empty() {
            send(Message::Acks(ConsumeAcks { acks: std::mem::take(&mut self.acks) }));
        }
        if !self.nacks.is_empty() {
            send(Message::Nacks(ConsumeNacks { nacks: std::mem::take(&mut self.nacks) }));
        }
        if std::mem::take(&mut self.stop) {
            send(Message::Stop(ConsumeStop {}));
        }
    }
}

/// The gateway's clock, which deadlines are told by, as heartbeats show it.
#[derive(Default)]
struct GatewayClock {
    shown: Option<(SystemTime, Instant)>,
}

impl GatewayClock {
    fn set(&mut self, time: Option<prost_types::Timestamp>, now: Instant) {
        if let Some(time) = time.and_then(|time| SystemTime::try_from(time).ok()) {
            self.shown = Some((time, now));
        }
    }

    /// How long it is until `deadline`.
    fn until(&self, deadline: Option<prost_types::Timestamp>, now: Instant) -> Duration {
        let (gateway_now, longest) = match self.shown {
            Some((time, at)) => (time + now.duration_since(at), MAX_LEASE),
            None => (SystemTime::now(), MAX_GUESSED_LEASE),
        };
        deadline
            .and_then(|deadline| SystemTime::try_from(deadline).ok())
            .and_then(|deadline| deadline.duration_since(gateway_now).ok())
            .unwrap_or_default()
            .clamp(MIN_LEASE, longest)
    }
}
