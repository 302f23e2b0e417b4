//! A named, durable position in the gateway's log, consumed as a stream of deliveries. In go a name and
//! settings, out come deliveries and, at the end, the one error that no retry can mend. One task owns the
//! gRPC stream and connects again whenever it breaks. It must never settle anything by itself, and never
//! create anew a subscription that has vanished: its position would be lost without a word.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{
    backoff::{self, Backoff},
    client::Client,
    delivery::Delivery,
    error::{self, Error},
    inbox::Inbox,
    proto::{
        Backlog, ConsumeOpen, ConsumeRequest, ConsumeResponse, Filter, StartPosition,
        consume_request,
    },
    session::{Ended, OUTBOUND_REQUESTS, Session},
};

/// The gateway gives a sign of life each 15 s: three missed are a dead connection.
const SILENCE: Duration = Duration::from_secs(45);
/// How long a handler may take before its delivery is made again to another.
const MAX_EXTENSION: Duration = Duration::from_secs(60 * 60);

/// The settings of a subscription that is about to be opened.
#[derive(Debug)]
#[must_use = "nothing is delivered before `open`"]
pub struct SubscriptionBuilder {
    client: Client,
    open: ConsumeOpen,
    silence: Duration,
    max_extension: Duration,
    backoff: Backoff,
}

impl SubscriptionBuilder {
    pub(crate) fn new(client: Client, subscription: String) -> Self {
        Self {
            client,
            open: ConsumeOpen { subscription, ..Default::default() },
            silence: SILENCE,
            max_extension: MAX_EXTENSION,
            backoff: Backoff::new(backoff::MIN, backoff::MAX),
        }
    }

    /// Creates it with this filter and start if it does not exist when first opened. Once it was open it
    /// is not created again: if it vanishes, the stream ends with [`Error::NotFound`].
    pub fn create_if_missing(mut self, filter: Filter, start: impl Into<StartPosition>) -> Self {
        self.open.create_if_missing = true;
        self.open.filter = Some(filter);
        self.open.start = Some(start.into());
        self
    }

    /// At most this many unsettled deliveries at once. The subscription's own limit if not set.
    pub fn max_outstanding(mut self, deliveries: u32) -> Self {
        self.open.max_outstanding = i32::try_from(deliveries).unwrap_or(i32::MAX);
        self
    }

    /// At most this many bytes of unsettled deliveries at once. The subscription's own limit if not set.
    pub fn max_outstanding_bytes(mut self, bytes: u32) -> Self {
        self.open.max_outstanding_bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        self
    }

    /// Who consumes, for the gateway's logs and timelines.
    pub fn consumer(mut self, name: impl Into<String>) -> Self {
        self.open.consumer = name.into();
        self
    }

    /// For how long, from its arrival, the deadline of an unsettled delivery is extended. 1 h if not set;
    /// zero for never.
    pub fn max_extension(mut self, longest: Duration) -> Self {
        self.max_extension = longest;
        self
    }

    /// After how long without any message the connection is given up. 45 s if not set; the gateway gives a
    /// sign of life each 15 s.
    pub fn silence(mut self, longest: Duration) -> Self {
        self.silence = longest;
        self
    }

    /// What the waits between attempts to connect grow from and to, before jitter. 100 ms and 10 s if not
    /// set.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.backoff = Backoff::new(min, max);
        self
    }

    /// Opens it in the background, now and whenever the connection breaks. Must be called within a Tokio
    /// runtime.
    pub fn open(self) -> Subscription {
        let inbox = Arc::new(Inbox::default());
        let (sender, progress) = watch::channel(Progress::default());
        let (stop, stopped) = oneshot::channel();
        let supervisor = Supervisor {
            client: self.client,
            open: self.open,
            silence: self.silence,
            max_extension: self.max_extension,
            backoff: self.backoff,
            inbox: Arc::clone(&inbox),
            progress: sender,
        };
        let task = tokio::spawn(supervisor.run(stopped));
        Subscription { inbox, progress, stop, task }
    }
}

/// A stream of deliveries. It ends with an error that retrying cannot mend, and with nothing else.
///
/// Dropped, it asks for no more deliveries; those that are held may still be settled for 30 s.
#[must_use = "deliveries must be taken and settled"]
#[derive(Debug)]
pub struct Subscription {
    inbox: Arc<Inbox>,
    progress: watch::Receiver<Progress>,
    /// Dropped, it stops the task.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Where a subscription stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Whether the gateway answers on the stream now.
    pub connected: bool,
    /// Whether the end of what waited was reached since the stream was last opened.
    pub caught_up: bool,
    /// The subscription's position, as the last heartbeat told it.
    pub position: i64,
    /// The last sequence of the log, likewise.
    pub head: i64,
    /// The log's epoch that both belong to.
    pub log_epoch: String,
    /// What waits, likewise.
    pub backlog: Option<Backlog>,
}

impl Subscription {
    /// Where it stands now.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until the gateway answers on the stream: the subscription then exists. False if the
    /// subscription ended before; the stream has the error.
    pub async fn connected(&self) -> bool {
        self.progress.clone().wait_for(|progress| progress.connected).await.is_ok()
    }

    /// Waits until the end of what waited is reached. False if the subscription ended before.
    pub async fn caught_up(&self) -> bool {
        self.progress.clone().wait_for(|progress| progress.caught_up).await.is_ok()
    }

    /// Asks for no more deliveries, and waits, up to 30 s, until those that are held are settled and all
    /// acks are answered.
    pub async fn close(self) {
        drop(self.stop);
        // Fails only if the runtime is shutting down.
        let _ = self.task.await;
    }
}

impl Stream for Subscription {
    type Item = Result<Delivery, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inbox.poll_take(context)
    }
}

/// The task that keeps a stream open.
struct Supervisor {
    client: Client,
    open: ConsumeOpen,
    silence: Duration,
    max_extension: Duration,
    backoff: Backoff,
    inbox: Arc<Inbox>,
    progress: watch::Sender<Progress>,
}

impl Supervisor {
    async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        loop {
            let opened_at = Instant::now();
            let ended = self.serve(&mut stop).await;
            // Handlers that still hold deliveries of that stream learn it when they settle them.
            self.inbox.clear();
            self.forget_connection();
            let asked = match ended {
                Ended::Stopped => return self.inbox.end(None),
                Ended::Failed(status) if !error::is_transient(&status) => {
                    return self.inbox.end(Some(status.into()));
                }
                Ended::Failed(status) => {
                    let (subscription, error) = (&self.open.subscription, error::describe(&status));
                    tracing::warn!(subscription, error, "stream failed");
                    error::retry_after(&status)
                }
                Ended::Violated(how) => {
                    tracing::warn!(subscription = self.open.subscription, how, "stream given up");
                    None
                }
                Ended::Drained | Ended::Closed | Ended::Silent => {
                    tracing::info!(subscription = self.open.subscription, ?ended, "stream ended");
                    None
                }
            };
            let wait = self.backoff.next(opened_at.elapsed(), asked);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = &mut stop => return self.inbox.end(None),
            }
        }
    }

    async fn serve(&mut self, stop: &mut oneshot::Receiver<()>) -> Ended {
        let (outbound, requests) = mpsc::channel(OUTBOUND_REQUESTS);
        let opening = tokio::time::timeout(self.silence, self.consume(&outbound, requests));
        let inbound = tokio::select! {
            opened = opening => match opened {
                Ok(Ok(inbound)) => inbound,
                Ok(Err(status)) => return Ended::Failed(status),
                Err(_) => return Ended::Silent,
            },
            _ = &mut *stop => return Ended::Stopped,
        };
        Session::new(&self.inbox, &self.progress, self.silence, self.max_extension)
            .run(inbound, outbound, stop)
            .await
    }

    /// On a connection of its own each time, so that it may lead to another gateway.
    async fn consume(
        &self,
        outbound: &mpsc::Sender<ConsumeRequest>,
        requests: mpsc::Receiver<ConsumeRequest>,
    ) -> Result<Streaming<ConsumeResponse>, Status> {
        let open = consume_request::Message::Open(self.open.clone());
        // The channel is new and has room; it cannot fail before `requests` is dropped.
        let _ = outbound.try_send(ConsumeRequest { message: Some(open) });
        let mut subscriptions = self.client.on_own_connection().subscriptions();
        Ok(subscriptions.consume(ReceiverStream::new(requests)).await?.into_inner())
    }

    fn forget_connection(&mut self) {
        if self.progress.borrow().connected {
            // It exists from now on, and the gateway takes these only with the order to create it.
            self.open.create_if_missing = false;
            self.open.filter = None;
            self.open.start = None;
        }
        self.progress.send_modify(|progress| {
            progress.connected = false;
            progress.caught_up = false;
        });
    }
}
