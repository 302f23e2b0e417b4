//! Delivery: durable subscriptions, each with a task of its own that owns all of its I/O. The task reads
//! the log (the shared tail, or pages of the store when behind), asks the pure `window` what may go out,
//! hands it to attached consumers and commits what they settle. A slow consumer costs nobody else
//! anything; no queue here is without a bound.

pub mod ack_id;
pub mod budget;
pub mod consumer;
pub mod filter;
pub mod reader;
pub mod spec;
pub mod tail;
pub mod task;
pub mod window;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::ingest::{self, Ingest};
use crate::model::{LogEpoch, Sequence};
use crate::store::{self, Codec, DeadLetterRow, Store, StoredSubscription, SubscriptionId};

pub use budget::Budget;
pub use consumer::{Consumer, ConsumerOptions, EndReason, Handed, Message};
pub use filter::{Filter, LiveMode};
pub use reader::Reader;
pub use spec::{Settings, Spec};
pub use tail::Tail;
pub use task::{AckStatus, Action, Settle, Snapshot};

use task::Command;

/// How many commands may wait for a subscription's task.
const MAX_COMMANDS: usize = 256;
/// How many subscriptions a gateway keeps.
pub const MAX_SUBSCRIPTIONS: usize = 10_000;
/// How many events may be settled by one call.
pub const MAX_SETTLE: usize = 1000;

/// The clock that tells when something happened. Deadlines run on the monotonic clock instead.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What all subscriptions share.
pub struct Shared {
    /// The store, for reading.
    pub store: Arc<dyn Store>,
    /// The way to the writer.
    pub ingest: Ingest,
    /// The newest events.
    pub tail: Arc<Tail>,
    /// How events become bytes and back.
    pub codec: Codec,
    /// The wall clock.
    pub clock: Clock,
    /// What monotonic time is counted from.
    pub started: Instant,
}

/// All subscriptions of the gateway. Cheap to clone.
#[derive(Clone)]
pub struct Delivery {
    shared: Arc<Shared>,
    subscriptions: Arc<Mutex<BTreeMap<String, Handle>>>,
    /// Creating, changing and deleting happen one at a time.
    registry: Arc<tokio::sync::Mutex<()>>,
}

/// A subscription's task.
#[derive(Clone)]
struct Handle {
    id: SubscriptionId,
    created_at: Timestamp,
    commands: mpsc::Sender<Command>,
}

/// A subscription as it is now.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// What it is.
    pub spec: Spec,
    /// Whether it is paused.
    pub paused: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// Where it stands.
    pub snapshot: Snapshot,
}

/// Where to begin or go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first event that the log has.
    Earliest,
    /// After the last.
    Latest,
    /// After this sequence.
    After(Sequence),
    /// At the first event that was received at or after this time.
    Time(Timestamp),
}

/// Why a call on a subscription failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of this name.
    #[error("subscription `{0}` does not exist")]
    NotFound(String),
    /// There is one of this name.
    #[error("subscription `{0}` exists already")]
    Exists(String),
    /// The gateway has as many as it may.
    #[error("there are {MAX_SUBSCRIPTIONS} subscriptions already")]
    TooMany,
    /// A position after the end of the log.
    #[error("sequence {asked} is after the end of the log at {head}")]
    AfterHead {
        /// What was asked for.
        asked: Sequence,
        /// The end.
        head: Sequence,
    },
    /// The subscription's task is gone, or the gateway is stopping.
    #[error("the subscription is not served now")]
    Unavailable,
    /// What was settled could not be committed.
    #[error("could not commit: {0}")]
    Commit(#[from] ingest::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Delivery {
    /// Starts a task for each stored subscription.
    pub async fn start(shared: Shared) -> Result<Delivery, Error> {
        let delivery = Delivery {
            shared: Arc::new(shared),
            subscriptions: Arc::default(),
            registry: Arc::default(),
        };
        for stored in delivery.shared.store.subscriptions().await? {
            delivery.spawn(stored)?;
        }
        Ok(delivery)
    }

    /// What all subscriptions share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The log's epoch.
    pub fn epoch(&self) -> LogEpoch {
        self.shared.store.epoch()
    }

    /// The sequence that a start stands for: delivery begins after it.
    pub async fn resolve(&self, start: Start) -> Result<Sequence, Error> {
        let head = self.shared.tail.head();
        match start {
            Start::Earliest => {
                let first = self.shared.store.head().await?.first;
                Ok(Sequence((first.0 - 1).max(0)))
            }
            Start::Latest => Ok(head),
            Start::After(asked) if asked > head => Err(Error::AfterHead { asked, head }),
            Start::After(asked) => Ok(Sequence(asked.0.max(0))),
            Start::Time(time) => Ok(self.shared.store.sequence_before(time).await?),
        }
    }

    /// Creates a subscription.
    pub async fn create(&self, name: &str, spec: Spec, start: Start) -> Result<Described, Error> {
        self.register(name, spec, start).await?;
        self.describe(name).await
    }

    /// Makes a subscription and starts its task.
    async fn register(&self, name: &str, spec: Spec, start: Start) -> Result<(), Error> {
        let (delivery, name) = (self.clone(), name.to_owned());
        to_its_end(async move {
            let _one_at_a_time = delivery.registry.lock().await;
            if delivery.handle(&name).is_ok() {
                return Err(Error::Exists(name));
            }
            if delivery.lock().len() >= MAX_SUBSCRIPTIONS {
                return Err(Error::TooMany);
            }
            let position = delivery.resolve(start).await?;
            let now = (delivery.shared.clock)();
            let (store, text) = (&delivery.shared.store, spec.to_text());
            let stored = store.create_subscription(&name, &text, position, now).await?;
            delivery.spawn(stored)
        })
        .await
    }

    /// A subscription as it is now.
    pub async fn describe(&self, name: &str) -> Result<Described, Error> {
        let handle = self.handle(name)?;
        let (reply, answer) = oneshot::channel();
        handle.send(Command::Describe { reply }).await?;
        let (spec, paused, snapshot) = answer.await.map_err(|_| Error::Unavailable)??;
        Ok(Described {
            name: name.to_owned(),
            spec,
            paused,
            created_at: handle.created_at,
            snapshot,
        })
    }

    /// The names after one, in order.
    pub fn names(&self, after: &str, limit: usize) -> Vec<String> {
        let from = (std::ops::Bound::Excluded(after.to_owned()), std::ops::Bound::Unbounded);
        self.lock().range::<String, _>(from).take(limit).map(|(name, _)| name.clone()).collect()
    }

    /// The name of a subscription by its number.
    pub fn name_of(&self, id: SubscriptionId) -> Option<String> {
        self.lock().iter().find(|(_, handle)| handle.id == id).map(|(name, _)| name.clone())
    }

    /// The number of a subscription.
    pub fn id_of(&self, name: &str) -> Result<SubscriptionId, Error> {
        Ok(self.handle(name)?.id)
    }

    /// Changes what a subscription is. A changed filter applies to what was not read ahead yet.
    pub async fn update(
        &self,
        name: &str,
        change: impl FnOnce(&mut Spec, &mut bool) + Send,
    ) -> Result<Described, Error> {
        let one_at_a_time = self.registry.clone().lock_owned().await;
        let handle = self.handle(name)?;
        let Described { mut spec, mut paused, .. } = self.describe(name).await?;
        change(&mut spec, &mut paused);
        let store = self.shared.store.clone();
        to_its_end(async move {
            let _one_at_a_time = one_at_a_time;
            store.update_subscription(handle.id, &spec.to_text(), paused).await?;
            handle.send(Command::Configure { spec: Box::new(spec), paused }).await
        })
        .await?;
        self.describe(name).await
    }

    /// Deletes a subscription; its streams end.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let (delivery, name) = (self.clone(), name.to_owned());
        to_its_end(async move {
            let _one_at_a_time = delivery.registry.lock().await;
            let handle = delivery.handle(&name)?;
            // What the task still commits of a subscription that the store has forgotten leaves nothing.
            match delivery.shared.store.delete_subscription(handle.id).await {
                // An earlier call came as far as this.
                Ok(()) | Err(store::Error::NotFound(_)) => {}
                Err(error) => return Err(Error::Store(error)),
            }
            let (reply, answer) = oneshot::channel();
            if handle.send(Command::Stop { reason: EndReason::Deleted, reply }).await.is_ok() {
                let _ = answer.await;
            }
            delivery.lock().remove(&name);
            Ok(())
        })
        .await
    }

    /// Attaches a consumer.
    pub async fn attach(&self, name: &str, options: ConsumerOptions) -> Result<Consumer, Error> {
        let handle = self.handle(name)?;
        let (reply, answer) = oneshot::channel();
        let commands = handle.commands.clone();
        handle.send(Command::Attach { options, commands, reply }).await?;
        answer.await.map_err(|_| Error::Unavailable)
    }

    /// Attaches a consumer, and creates the subscription first if it does not exist.
    pub async fn attach_or_create(
        &self,
        name: &str,
        spec: Spec,
        start: Start,
        options: ConsumerOptions,
    ) -> Result<Consumer, Error> {
        let exists = self.handle(name).is_ok();
        match if exists { Ok(()) } else { self.register(name, spec, start).await } {
            // It may exist by now: somebody else was faster.
            Ok(()) | Err(Error::Exists(_)) => self.attach(name, options).await,
            Err(error) => Err(error),
        }
    }

    /// Settles deliveries. When this returns, what is APPLIED or DUPLICATE is durable.
    pub async fn settle(&self, name: &str, items: Vec<Settle>) -> Result<Vec<AckStatus>, Error> {
        let answer = self.begin_settling(name, items).await?;
        answer.await.map_err(|_| Error::Unavailable)?.map_err(Error::from)
    }

    /// Begins to settle deliveries; what it gives resolves once that is durable.
    pub async fn begin_settling(
        &self,
        name: &str,
        items: Vec<Settle>,
    ) -> Result<oneshot::Receiver<Result<Vec<AckStatus>, ingest::Error>>, Error> {
        let (reply, answer) = oneshot::channel();
        self.handle(name)?.send(Command::Settle { items, reply }).await?;
        Ok(answer)
    }

    /// Moves a subscription.
    pub async fn seek(&self, name: &str, to: Start) -> Result<Described, Error> {
        let position = self.resolve(to).await?;
        let (reply, answer) = oneshot::channel();
        self.handle(name)?.send(Command::Seek { to: position, reply }).await?;
        answer.await.map_err(|_| Error::Unavailable)??;
        self.describe(name).await
    }

    /// Delivers dead letters again: all of them, or those of these events.
    pub async fn replay(&self, name: &str, which: Option<Vec<Sequence>>) -> Result<i64, Error> {
        let (reply, answer) = oneshot::channel();
        self.handle(name)?.send(Command::Replay { which, reply }).await?;
        answer.await.map_err(|_| Error::Unavailable)?
    }

    /// Gives dead letters up: all of them, or those of these events.
    pub async fn discard(&self, name: &str, which: Option<Vec<Sequence>>) -> Result<i64, Error> {
        let (reply, answer) = oneshot::channel();
        self.handle(name)?.send(Command::Discard { which, reply }).await?;
        answer.await.map_err(|_| Error::Unavailable)?
    }

    /// Dead letters after a sequence.
    pub async fn dead_letters(
        &self,
        name: &str,
        after: Sequence,
        limit: usize,
    ) -> Result<Vec<DeadLetterRow>, Error> {
        let id = self.handle(name)?.id;
        Ok(self.shared.store.dead_letters(id, after, limit, false).await?)
    }

    /// Ends all streams with their position and stops the tasks, having committed what was settled.
    pub async fn drain(&self, within: Duration) {
        let handles: Vec<Handle> = self.lock().values().cloned().collect();
        let stops = handles.into_iter().map(|handle| async move {
            let (reply, answer) = oneshot::channel();
            if handle.send(Command::Stop { reason: EndReason::Shutdown, reply }).await.is_ok() {
                let _ = answer.await;
            }
        });
        let all = futures::future::join_all(stops);
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!("some subscriptions did not stop in time");
        }
    }

    fn spawn(&self, stored: StoredSubscription) -> Result<(), Error> {
        let (commands, inbox) = mpsc::channel(MAX_COMMANDS);
        let name = stored.name.clone();
        let handle = Handle { id: stored.id, created_at: stored.created_at, commands };
        let spec = Spec::from_text(&stored.spec)
            .map_err(|error| store::Error::Damaged(format!("subscription `{name}`: {error}")))?;
        tokio::spawn(task::run(self.shared.clone(), stored, spec, inbox));
        self.lock().insert(name, handle);
        Ok(())
    }

    fn handle(&self, name: &str) -> Result<Handle, Error> {
        self.lock().get(name).cloned().ok_or_else(|| Error::NotFound(name.to_owned()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Handle>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does all of it, even if nobody waits for it any more. A call that is cancelled is dropped at whatever
/// it waits for: a subscription would be stored and have no task, or have a task and not be stored.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work).await.map_err(|_| Error::Unavailable)?
}

impl Handle {
    async fn send(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).await.map_err(|_| Error::Unavailable)
    }
}
