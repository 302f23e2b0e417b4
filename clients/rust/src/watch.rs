//! Streams whose position the client keeps: the events of the log, and the state of payments. In go a
//! filter and a start, out come items for as long as they are polled; when the connection breaks, the
//! stream goes on from its position. It must never skip an item, and never go on in another log than the
//! one that its position belongs to.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt, stream::BoxStream};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use crate::{
    backoff::{self, Backoff},
    client::Client,
    error::{self, Error},
    position::Position,
    proto::{
        Event, Filter, Payment, StartPosition, WatchEventsRequest, WatchEventsResponse,
        WatchPaymentsRequest, WatchPaymentsResponse, start_position::At, watch_events_response,
        watch_payments_response,
    },
};

/// The gateway gives a sign of life each 15 s: three missed are a dead connection.
const SILENCE: Duration = Duration::from_secs(45);

/// What a watch of events yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Watch {
    /// An event.
    Event(Box<Event>),
    /// The end of the log was reached; what follows is new. Comes again after a reconnect.
    CaughtUp {
        /// The end of the log at that moment.
        position: Position,
    },
}

/// What a watch of payments yields.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchPayments {
    /// A subject as it is now.
    Payment(Box<Payment>),
    /// Every subject was shown; what follows are changes. May come again after a reconnect.
    SnapshotComplete {
        /// Where the changes begin.
        position: Position,
    },
}

/// A stream that reconnects by itself and ends with an error that retrying cannot mend. It reads on only
/// while it is polled.
#[must_use = "a watch does nothing unless polled"]
pub struct WatchStream<T> {
    items: BoxStream<'static, Result<T, Error>>,
    position: SharedPosition,
}

impl<T> WatchStream<T> {
    /// Where it has come to, to go on from in another process: all that was yielded lies before. Of a
    /// watch of payments it says something only after `SnapshotComplete`.
    pub fn position(&self) -> Position {
        self.position.lock().clone()
    }

    fn new<S: Source<Item = T>>(client: Client, source: S, position: SharedPosition) -> Self {
        let watcher = Watcher {
            client,
            source,
            connection: None,
            backoff: Backoff::new(backoff::MIN, backoff::MAX),
            wait: Duration::ZERO,
            over: false,
        };
        let items = futures::stream::unfold(watcher, |mut watcher| async {
            let item = watcher.next().await?;
            Some((item, watcher))
        });
        Self { items: items.boxed(), position }
    }
}

impl<T> Stream for WatchStream<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.poll_next_unpin(context)
    }
}

impl<T> std::fmt::Debug for WatchStream<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WatchStream").field("position", &self.position()).finish()
    }
}

/// Watches events.
pub(crate) fn events(client: Client, filter: Filter, start: StartPosition) -> WatchStream<Watch> {
    let sequence = match start.at {
        Some(At::Sequence(sequence)) => sequence,
        Some(At::Earliest(_) | At::Latest(_) | At::Time(_)) | None => 0,
    };
    let position = SharedPosition::new(sequence, start.log_epoch.clone());
    let source = Events { filter, start: Some(start), position: position.clone() };
    WatchStream::new(client, source, position)
}

/// Watches payments.
pub(crate) fn payments(
    client: Client,
    request: WatchPaymentsRequest,
) -> WatchStream<WatchPayments> {
    let position = SharedPosition::new(request.after_sequence, request.log_epoch.clone());
    let source = Payments { request, in_snapshot: true, position: position.clone() };
    WatchStream::new(client, source, position)
}

/// One kind of watch: how it is opened from where it stands, and what its messages mean.
trait Source: Send + 'static {
    type Message: Send + 'static;
    type Item: Send + 'static;

    fn open(
        &mut self,
        client: &Client,
    ) -> impl Future<Output = Result<Streaming<Self::Message>, Status>> + Send;

    fn take(&mut self, message: Self::Message) -> Result<Step<Self::Item>, Error>;
}

enum Step<T> {
    Item(T),
    Nothing,
    Reconnect,
}

struct Watcher<S: Source> {
    client: Client,
    source: S,
    connection: Option<Connection<S::Message>>,
    backoff: Backoff,
    wait: Duration,
    over: bool,
}

struct Connection<M> {
    messages: Streaming<M>,
    opened_at: Instant,
}

impl<S: Source> Watcher<S> {
    async fn next(&mut self) -> Option<Result<S::Item, Error>> {
        if self.over {
            return None;
        }
        loop {
            match self.step().await {
                Ok(Some(item)) => return Some(Ok(item)),
                Ok(None) => {}
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
    }

    /// Opens the stream or reads one message.
    async fn step(&mut self) -> Result<Option<S::Item>, Error> {
        let Some(connection) = &mut self.connection else {
            tokio::time::sleep(std::mem::take(&mut self.wait)).await;
            let opened_at = Instant::now();
            let client = self.client.on_own_connection();
            match tokio::time::timeout(SILENCE, self.source.open(&client)).await {
                Ok(Ok(messages)) => self.connection = Some(Connection { messages, opened_at }),
                Ok(Err(status)) => self.reconnect(Some(status))?,
                Err(_) => self.reconnect(None)?,
            }
            return Ok(None);
        };
        match tokio::time::timeout(SILENCE, connection.messages.message()).await {
            Ok(Ok(Some(message))) => match self.source.take(message)? {
                Step::Item(item) => return Ok(Some(item)),
                Step::Nothing => {}
                Step::Reconnect => self.reconnect(None)?,
            },
            Ok(Err(status)) => self.reconnect(Some(status))?,
            Ok(Ok(None)) | Err(_) => self.reconnect(None)?,
        }
        Ok(None)
    }

    /// Has the next step open the stream again, after a wait.
    fn reconnect(&mut self, status: Option<Status>) -> Result<(), Error> {
        let asked = match status {
            Some(status) if !error::is_transient(&status) => return Err(status.into()),
            Some(status) => {
                tracing::warn!(error = error::describe(&status), "watch failed");
                error::retry_after(&status)
            }
            None => None,
        };
        let lived = self.connection.take().map_or(Duration::ZERO, |old| old.opened_at.elapsed());
        self.wait = self.backoff.next(lived, asked);
        Ok(())
    }
}

struct Events {
    filter: Filter,
    /// Where to begin, until the gateway has told a position.
    start: Option<StartPosition>,
    position: SharedPosition,
}

impl Source for Events {
    type Message = WatchEventsResponse;
    type Item = Watch;

    async fn open(&mut self, client: &Client) -> Result<Streaming<Self::Message>, Status> {
        let start = self.start.clone().unwrap_or_else(|| self.position.lock().clone().into());
        let request = WatchEventsRequest { filter: Some(self.filter.clone()), start: Some(start) };
        Ok(client.events().watch_events(request).await?.into_inner())
    }

    fn take(&mut self, message: Self::Message) -> Result<Step<Self::Item>, Error> {
        use watch_events_response::Message;

        let (step, sequence, log_epoch) = match message.message {
            Some(Message::Event(event)) => {
                let sequence = event.sequence;
                (Step::Item(Watch::Event(Box::new(event))), sequence, String::new())
            }
            Some(Message::Heartbeat(beat)) => (Step::Nothing, beat.position, beat.log_epoch),
            Some(Message::CaughtUp(end)) => {
                let position =
                    Position { sequence: end.position, log_epoch: end.log_epoch.clone() };
                (Step::Item(Watch::CaughtUp { position }), end.position, end.log_epoch)
            }
            Some(Message::Draining(end)) => (Step::Reconnect, end.position, end.log_epoch),
            // A newer gateway says what this client does not know yet.
            None => return Ok(Step::Nothing),
        };
        self.position.check_epoch(log_epoch)?;
        self.position.advance(sequence);
        self.start = None;
        Ok(step)
    }
}

struct Payments {
    request: WatchPaymentsRequest,
    /// Until then positions mean nothing, since an interrupted snapshot begins again.
    in_snapshot: bool,
    position: SharedPosition,
}

impl Source for Payments {
    type Message = WatchPaymentsResponse;
    type Item = WatchPayments;

    async fn open(&mut self, client: &Client) -> Result<Streaming<Self::Message>, Status> {
        let position = self.position.lock().clone();
        self.in_snapshot = position.sequence == 0;
        let request = WatchPaymentsRequest {
            after_sequence: position.sequence,
            log_epoch: position.log_epoch,
            ..self.request.clone()
        };
        Ok(client.payments().watch_payments(request).await?.into_inner())
    }

    fn take(&mut self, message: Self::Message) -> Result<Step<Self::Item>, Error> {
        use watch_payments_response::Message;

        let (step, sequence, log_epoch) = match message.message {
            // Its last sequence may lie ahead of changes of others that are still to come, so it is no
            // position.
            Some(Message::Payment(payment)) => {
                return Ok(Step::Item(WatchPayments::Payment(Box::new(payment))));
            }
            Some(Message::SnapshotComplete(end)) => {
                self.in_snapshot = false;
                let position =
                    Position { sequence: end.position, log_epoch: end.log_epoch.clone() };
                let item = WatchPayments::SnapshotComplete { position };
                (Step::Item(item), end.position, end.log_epoch)
            }
            Some(Message::Heartbeat(beat)) => (Step::Nothing, beat.position, beat.log_epoch),
            Some(Message::Draining(end)) => (Step::Reconnect, end.position, end.log_epoch),
            // A newer gateway says what this client does not know yet.
            None => return Ok(Step::Nothing),
        };
        self.position.check_epoch(log_epoch)?;
        if !self.in_snapshot {
            self.position.advance(sequence);
        }
        Ok(step)
    }
}

/// The position of a watch, which its stream moves and its owner reads.
#[derive(Clone)]
struct SharedPosition(Arc<Mutex<Position>>);

impl SharedPosition {
    fn new(sequence: i64, log_epoch: String) -> Self {
        Self(Arc::new(Mutex::new(Position { sequence, log_epoch })))
    }

    fn lock(&self) -> MutexGuard<'_, Position> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, sequence: i64) {
        let mut position = self.lock();
        position.sequence = position.sequence.max(sequence);
    }

    fn check_epoch(&self, told: String) -> Result<(), Error> {
        let mut position = self.lock();
        if told.is_empty() || told == position.log_epoch {
            return Ok(());
        }
        if position.log_epoch.is_empty() {
            position.log_epoch = told;
            return Ok(());
        }
        Err(Error::LogEpochChanged { current: Some(told) })
    }
}
