//! The single writer. Receipts with their events, and the positions that acks move, come in from many
//! callers; `fetch` asks providers' APIs for what receipts leave out and hands it in here too; each batch is one transaction and one fsync in the store, and every caller waits for its
//! own. A batch closes when the commit before is done, so an idle gateway adds no delay and a busy one
//! amortises. It must never answer a caller before the commit, nor drop what it was handed.

pub mod endpoints;
pub mod fetch;
pub mod links;
pub mod overdue;
pub mod refused;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use governor::clock::DefaultClock;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::model::{EndpointName, ReceiptNumber, Sequence};
use crate::providers::{Endpoint, Fetch, KeyRequest, Translation};
use crate::receipt::Receipt;
use crate::store::{
    self, EndpointValue, NewReceipt, Own, PositionUpdate, ReceiptState, Recorded, Store,
    StoredReceipt,
};
use fetch::keys::KeyError;
use fetch::outgoing::Outgoing;

use writer::Work;

pub use endpoints::{Endpoints, Registered};
pub use writer::OnCommit;

/// How many callers may wait before new ones wait for a place.
const MAX_QUEUED: usize = 4096;
/// How long a caller waits for a place in the queue.
const MAX_QUEUE_WAIT: Duration = Duration::from_secs(5);

/// The verified_by of receipts that nothing proved.
const UNCONFIRMED: &str = "unconfirmed";
/// With this begins the verified_by of answers that were polled.
const FETCHED: &str = "fetched from ";

/// The wall clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

type Limiter = RateLimiter<EndpointName, DashMapStateStore<EndpointName>, DefaultClock>;

/// The way to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    queue: mpsc::Sender<Work>,
    store: Arc<dyn Store>,
    endpoints: Endpoints,
    stopped: Arc<AtomicBool>,
    outgoing: Arc<Outgoing>,
    handing: Arc<fetch::Handing>,
    unconfirmed: Arc<Limiter>,
}

/// What became of a request that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The receipt; `None` where nothing is kept, since nothing proves or could confirm it.
    pub receipt: Option<ReceiptNumber>,
    /// Whether its provider event type is not translated.
    pub is_unknown: bool,
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
    /// Too many receipts of the endpoint wait to be confirmed already.
    #[error("too many receipts wait to be confirmed")]
    TooManyUnconfirmed,
    /// Nothing proves it and nothing could confirm it.
    #[error("nothing could confirm it")]
    Unconfirmable,
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

/// Starts the writer. It ends when every `Ingest` is gone and the queue is empty.
pub fn start(
    store: Arc<dyn Store>,
    endpoints: Endpoints,
    settings: fetch::Settings,
    on_commit: OnCommit,
) -> (Ingest, JoinHandle<()>) {
    let (queue, work) = mpsc::channel(MAX_QUEUED);
    let stopped = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(writer::write(store.clone(), work, on_commit, stopped.clone()));
    let unconfirmed =
        Arc::new(Limiter::keyed(Quota::per_second(settings.max_unconfirmed_per_second)));
    let outgoing = Arc::new(Outgoing::new(settings));
    let handing = Arc::default();
    (Ingest { queue, store, endpoints, stopped, outgoing, handing, unconfirmed }, writer)
}

impl Ingest {
    /// Translates a receipt and commits it with its events, or to have its facts fetched.
    pub async fn receive(
        &self,
        receipt: Receipt,
        registered: &Arc<Registered>,
    ) -> Result<Received, Error> {
        let (new, fetches) = translated(receipt, registered, None);
        let is_unknown = matches!(new.state, ReceiptState::Unknown(_));
        if fetches.is_empty() {
            let receipt = Some(self.submit(new, Vec::new()).await?.receipt);
            return Ok(Received { receipt, is_unknown });
        }
        let kept = new.receipt.clone();
        let recorded = self.submit(new, Vec::new()).await?;
        self.handing.waiting(fetch::Job::new(&recorded, &kept, registered.clone(), fetches, false));
        Ok(Received { receipt: Some(recorded.receipt), is_unknown })
    }

    /// Commits a receipt that nothing proves yet, to have the provider's API confirm it. What that could
    /// not confirm is not kept.
    pub async fn receive_unconfirmed(
        &self,
        receipt: Receipt,
        registered: &Arc<Registered>,
    ) -> Result<Received, Error> {
        let fetches = match (registered.provider.translate)(&receipt, &registered.endpoint) {
            Ok(Translation::Fetches(fetches)) if !fetches.is_empty() => fetches,
            Ok(Translation::Unknown(_)) => {
                return Ok(Received { receipt: None, is_unknown: true });
            }
            Ok(Translation::Events(_) | Translation::Partly(..) | Translation::Fetches(_))
            | Err(_) => {
                return Err(Error::Unconfirmable);
            }
        };
        let health = &registered.health;
        if self.unconfirmed.check_key(&registered.endpoint.name).is_err() {
            return Err(Error::TooManyUnconfirmed);
        }
        if health.add_unconfirmed() >= self.outgoing.settings().max_unconfirmed {
            health.remove_unconfirmed();
            return Err(Error::TooManyUnconfirmed);
        }
        registered.meters.fetching.increment(1);
        let state = ReceiptState::Unconfirmed(String::new());
        let kept = receipt.clone();
        let new =
            NewReceipt { receipt, state, drafts: Vec::new(), retry_of: None, earlier: Vec::new() };
        let recorded = match self.submit(new, Vec::new()).await {
            Ok(recorded) => recorded,
            Err(error) => {
                health.remove_unconfirmed();
                return Err(error);
            }
        };
        self.handing.waiting(fetch::Job::new(&recorded, &kept, registered.clone(), fetches, true));
        Ok(Received { receipt: Some(recorded.receipt), is_unknown: false })
    }

    /// Gets a key that `verify` asked for, so that it is among the endpoint's keys. `seen` is when the one
    /// was fetched that `verify` had, if any.
    pub async fn obtain_key(
        &self,
        registered: &Arc<Registered>,
        wanted: &KeyRequest,
        (seen, now): (Option<Timestamp>, Timestamp),
    ) -> Result<(), KeyError> {
        registered.keys.obtain(self, registered, wanted, (seen, now)).await
    }

    /// Translates a stored receipt again, or has its facts fetched now. Events that the log has already
    /// are not repeated; what was denied or polled stays as it is.
    pub async fn retry(&self, number: ReceiptNumber) -> Result<(), Error> {
        let stored = self.stored(number).await?;
        match &stored.state {
            ReceiptState::Fetching(_) | ReceiptState::Unconfirmed(_) => {
                self.registered(&stored)?;
                self.handing.wake(number);
                Ok(())
            }
            ReceiptState::Denied => Ok(()),
            _ if stored.receipt.verified_by().starts_with(FETCHED) => Ok(()),
            ReceiptState::Translated
            | ReceiptState::Unknown(_)
            | ReceiptState::Unreadable(_)
            | ReceiptState::FetchFailed(_) => self.translate(stored).await,
        }
    }

    /// Translates a receipt again that waits no longer to be fetched for.
    async fn translate_again(&self, number: ReceiptNumber) -> Result<(), Error> {
        let stored = self.stored(number).await?;
        self.translate(stored).await
    }

    async fn translate(&self, stored: StoredReceipt) -> Result<(), Error> {
        let number = stored.number;
        let registered = self.registered(&stored)?;
        if matches!(stored.state, ReceiptState::Unconfirmed(_)) {
            registered.health.remove_unconfirmed();
        }
        // The API's word for it is in its events, if it has any.
        let is_unconfirmed =
            stored.receipt.verified_by() == UNCONFIRMED && stored.sequences.is_empty();
        let (mut new, fetches) = translated(stored.receipt, &registered, Some(number));
        new.earlier = match new.state {
            // Its drafts are all of its events.
            ReceiptState::Translated => Vec::new(),
            _ => stored.sequences,
        };
        if is_unconfirmed {
            new.drafts.clear();
            new.state = match fetches.is_empty() {
                true => ReceiptState::Unreadable(Error::Unconfirmable.to_string()),
                false => ReceiptState::Unconfirmed(String::new()),
            };
            if !fetches.is_empty() {
                registered.health.add_unconfirmed();
            }
        }
        self.submit(new, Vec::new()).await?;
        if !fetches.is_empty() {
            self.handing.wake(number);
        }
        Ok(())
    }

    async fn stored(&self, number: ReceiptNumber) -> Result<StoredReceipt, Error> {
        let stored = self.store.receipt(number).await.map_err(Error::from)?;
        stored.ok_or(Error::UnknownReceipt(number))
    }

    fn registered(&self, stored: &StoredReceipt) -> Result<Arc<Registered>, Error> {
        let name = stored.receipt.endpoint();
        self.endpoints.by_name(name).ok_or_else(|| Error::UnknownEndpoint(name.to_string()))
    }

    /// Takes up changed endpoints and secrets.
    pub fn reload(&self, endpoints: Vec<Endpoint>) {
        self.endpoints.replace(endpoints);
        self.outgoing.forget_tokens();
        self.handing.reload();
    }

    /// How many receipts wait for their provider's API.
    pub async fn waiting_receipts(&self) -> Result<i64, Error> {
        self.store.waiting_receipts_count().await.map_err(Error::from)
    }

    /// Commits what an endpoint keeps between fetches.
    async fn keep(&self, values: Vec<EndpointValue>) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Work::Values { values, reply }).await?;
        answer.await.map_err(|_| Error::Stopped)?
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

    /// Commits a receipt, and with it what its endpoint keeps.
    async fn submit(&self, new: NewReceipt, values: Vec<EndpointValue>) -> Result<Recorded, Error> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Work::Receipt { new: Box::new(new), values, reply }).await?;
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

/// What a receipt means, and what is to be fetched for it. What cannot be translated is kept all the same,
/// with the reason (P8).
fn translated(
    receipt: Receipt,
    registered: &Registered,
    retry_of: Option<ReceiptNumber>,
) -> (NewReceipt, Vec<Fetch>) {
    let meters = &registered.meters;
    let mut drafts = Vec::new();
    let mut fetches = Vec::new();
    let (state, meter) = match (registered.provider.translate)(&receipt, &registered.endpoint) {
        Ok(Translation::Events(found)) => {
            drafts = found;
            (ReceiptState::Translated, &meters.translated)
        }
        Ok(Translation::Partly(found, error)) => {
            drafts = found;
            (ReceiptState::Unreadable(error.to_string()), &meters.unreadable)
        }
        Ok(Translation::Fetches(found)) if found.is_empty() => {
            (ReceiptState::Translated, &meters.translated)
        }
        Ok(Translation::Fetches(found)) => {
            fetches = found;
            (ReceiptState::Fetching(String::new()), &meters.fetching)
        }
        Ok(Translation::Unknown(kind)) => (ReceiptState::Unknown(kind), &meters.unknown),
        Err(error) => (ReceiptState::Unreadable(error.to_string()), &meters.unreadable),
    };
    meter.increment(1);
    (NewReceipt { receipt, state, drafts, retry_of, earlier: Vec::new() }, fetches)
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
