//! The single writer. Receipts with their events, and the positions that acks move, come in from many
//! callers; each batch is one transaction and one fsync in the store, and every caller waits for its
//! own. A batch closes when the commit before is done, so an idle gateway adds no delay and a busy one
//! amortises. It must never answer a caller before the commit, nor drop what it was handed.

pub mod endpoints;
pub mod links;
pub mod overdue;
pub mod refused;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::model::{ReceiptNumber, Sequence};
use crate::providers::Translation;
use crate::receipt::Receipt;
use crate::store::{
    self, Batch, Logged, NewReceipt, Own, PositionUpdate, ReceiptState, Recorded, Store,
};

pub use endpoints::{Endpoints, Registered};

/// How many callers may wait before new ones wait for a place.
const MAX_QUEUED: usize = 4096;
/// How many items one commit takes.
const MAX_BATCH_ITEMS: usize = 512;
/// How many bytes of bodies one commit takes beyond its first receipt.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long a caller waits for a place in the queue.
const MAX_QUEUE_WAIT: Duration = Duration::from_secs(5);
/// How often the store may tidy up while it is busy.
const MAINTENANCE_INTERVAL: Duration = Duration::from_millis(100);

/// Called with the new events of each commit, in order, before their callers are answered.
pub type OnCommit = Box<dyn Fn(&[Arc<Logged>]) + Send>;

/// The way to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    queue: mpsc::Sender<Work>,
    store: Arc<dyn Store>,
    endpoints: Endpoints,
    stopped: Arc<AtomicBool>,
}

/// Why something was not committed. The caller may try again, but for `Stopped`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// The writer stopped after an I/O error; only a restart helps.
    #[error("the writer is stopped")]
    Stopped,
    /// Too many wait already.
    #[error("the writer is busy")]
    Busy,
    /// The store failed.
    #[error("{0}")]
    Failed(String),
    /// There is no such receipt.
    #[error("{0} does not exist")]
    UnknownReceipt(ReceiptNumber),
    /// The receipt's endpoint is no longer configured.
    #[error("endpoint `{0}` is not configured")]
    UnknownEndpoint(String),
}

enum Work {
    Receipt { new: Box<NewReceipt>, reply: oneshot::Sender<Result<Recorded, Error>> },
    Position { update: Box<PositionUpdate>, reply: oneshot::Sender<Result<(), Error>> },
    Own { own: Box<Own>, reply: oneshot::Sender<Result<Option<Sequence>, Error>> },
}

/// Starts the writer. It ends when every `Ingest` is gone and the queue is empty.
pub fn start(
    store: Arc<dyn Store>,
    endpoints: Endpoints,
    on_commit: OnCommit,
) -> (Ingest, JoinHandle<()>) {
    let (queue, work) = mpsc::channel(MAX_QUEUED);
    let stopped = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(store.clone(), work, on_commit, stopped.clone()));
    (Ingest { queue, store, endpoints, stopped }, writer)
}

impl Ingest {
    /// Translates a receipt and commits it with its events.
    pub async fn receive(
        &self,
        receipt: Receipt,
        registered: &Registered,
    ) -> Result<Recorded, Error> {
        self.submit(translated(receipt, registered, None)).await
    }

    /// Translates a stored receipt again. Events that the log has already are not repeated.
    pub async fn retry(&self, number: ReceiptNumber) -> Result<Recorded, Error> {
        let stored = self.store.receipt(number).await.map_err(Error::from)?;
        let stored = stored.ok_or(Error::UnknownReceipt(number))?;
        let name = stored.receipt.endpoint();
        let registered =
            self.endpoints.by_name(name).ok_or_else(|| Error::UnknownEndpoint(name.to_string()))?;
        self.submit(translated(stored.receipt, &registered, Some(number))).await
    }

    /// Commits where a subscription stands.
    pub async fn record(&self, update: PositionUpdate) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Work::Position { update: Box::new(update), reply }).await?;
        answer.await.map_err(|_| Error::Stopped)?
    }

    /// Appends an event of the gateway's own; `None` if its condition did not hold. One that the log has
    /// already keeps its sequence.
    pub async fn append(&self, own: Own) -> Result<Option<Sequence>, Error> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Work::Own { own: Box::new(own), reply }).await?;
        answer.await.map_err(|_| Error::Stopped)?
    }

    /// Whether the store's writer has stopped, so that only a restart helps.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// The configured endpoints.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    async fn submit(&self, new: NewReceipt) -> Result<Recorded, Error> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Work::Receipt { new: Box::new(new), reply }).await?;
        answer.await.map_err(|_| Error::Stopped)?
    }

    async fn enqueue(&self, work: Work) -> Result<(), Error> {
        match self.queue.send_timeout(work, MAX_QUEUE_WAIT).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(Error::Busy),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Error::Stopped),
        }
    }
}

/// What cannot be translated is kept all the same, with the reason (P8).
fn translated(
    receipt: Receipt,
    registered: &Registered,
    retry_of: Option<ReceiptNumber>,
) -> NewReceipt {
    let meters = &registered.meters;
    let (state, drafts, meter) =
        match (registered.provider.translate)(&receipt, &registered.endpoint) {
            Ok(Translation::Events(drafts)) => {
                (ReceiptState::Translated, drafts, &meters.translated)
            }
            Ok(Translation::Fetches(fetches)) if fetches.is_empty() => {
                (ReceiptState::Translated, Vec::new(), &meters.translated)
            }
            Ok(Translation::Fetches(_)) => {
                (ReceiptState::Fetching(String::new()), Vec::new(), &meters.fetching)
            }
            Ok(Translation::Unknown(kind)) => {
                (ReceiptState::Unknown(kind), Vec::new(), &meters.unknown)
            }
            Err(error) => {
                (ReceiptState::Unreadable(error.to_string()), Vec::new(), &meters.unreadable)
            }
        };
    meter.increment(1);
    NewReceipt { receipt, state, drafts, retry_of, earlier: Vec::new() }
}

async fn write(
    store: Arc<dyn Store>,
    mut work: mpsc::Receiver<Work>,
    on_commit: OnCommit,
    stopped: Arc<AtomicBool>,
) {
    let tidy = tokio::spawn(maintain(store.clone()));
    while let Some(first) = work.recv().await {
        let (batch, callers) = collect(first, &mut work);
        let started = Instant::now();
        let items = callers.receipts.len() + callers.positions.len() + callers.own.len();
        match store.commit(batch).await {
            Ok(committed) => {
                metrics::histogram!("tollgate_commit_seconds").record(started.elapsed());
                metrics::histogram!("tollgate_commit_items").record(items as f64);
                metrics::counter!("tollgate_events_total").increment(committed.events.len() as u64);
                metrics::gauge!("tollgate_head_sequence").set(committed.head.sequence.0 as f64);
                on_commit(&committed.events);
                callers.answer(committed.receipts, committed.own);
            }
            Err(error) => {
                tracing::error!(%error, items, "commit failed; callers were told to try again");
                metrics::counter!("tollgate_commit_failures_total").increment(1);
                let error = Error::from(error);
                stopped.store(error == Error::Stopped, Ordering::Relaxed);
                callers.refuse(&error);
            }
        }
    }
    tidy.abort();
}

#[derive(Default)]
struct Callers {
    receipts: Vec<oneshot::Sender<Result<Recorded, Error>>>,
    positions: Vec<oneshot::Sender<Result<(), Error>>>,
    own: Vec<oneshot::Sender<Result<Option<Sequence>, Error>>>,
}

/// Takes all that wait, up to the limits.
fn collect(first: Work, work: &mut mpsc::Receiver<Work>) -> (Batch, Callers) {
    let mut batch = Batch::default();
    let mut callers = Callers::default();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(item) = next {
        match item {
            Work::Receipt { new, reply } => {
                bytes += new.receipt.body().len();
                batch.receipts.push(*new);
                callers.receipts.push(reply);
            }
            Work::Position { update, reply } => {
                batch.positions.push(*update);
                callers.positions.push(reply);
            }
            Work::Own { own, reply } => {
                batch.own.push(*own);
                callers.own.push(reply);
            }
        }
        let items = batch.receipts.len() + batch.positions.len() + batch.own.len();
        let full = items >= MAX_BATCH_ITEMS;
        next = if full || bytes >= MAX_BATCH_BYTES { None } else { work.try_recv().ok() };
    }
    (batch, callers)
}

impl Callers {
    /// A caller that is gone meanwhile needs no answer.
    fn answer(self, recorded: Vec<Recorded>, own: Vec<Option<Sequence>>) {
        for (reply, recorded) in self.receipts.into_iter().zip(recorded) {
            let _ = reply.send(Ok(recorded));
        }
        for (reply, sequence) in self.own.into_iter().zip(own) {
            let _ = reply.send(Ok(sequence));
        }
        for reply in self.positions {
            let _ = reply.send(Ok(()));
        }
    }

    fn refuse(self, error: &Error) {
        for reply in self.receipts {
            let _ = reply.send(Err(error.clone()));
        }
        for reply in self.positions {
            let _ = reply.send(Err(error.clone()));
        }
        for reply in self.own {
            let _ = reply.send(Err(error.clone()));
        }
    }
}

async fn maintain(store: Arc<dyn Store>) {
    let mut interval = tokio::time::interval(MAINTENANCE_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Err(error) = store.maintain().await {
            tracing::warn!(%error, "the store could not tidy up");
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        match error {
            store::Error::Full => Error::Full,
            store::Error::Stopped => Error::Stopped,
            other => Error::Failed(other.to_string()),
        }
    }
}
