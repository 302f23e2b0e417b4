//! The task of one subscription: commands come in from streams and calls, events from the tail or the
//! store, and deliveries go out to consumers as the window allows. What is settled is committed through
//! the writer before anybody is told. One commit is under way at a time; acks that arrive meanwhile go
//! with the next.

mod attached;
mod hand_out;
mod meters;
mod settle;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lru::LruCache;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::consumer::{Attachment, Consumer, ConsumerOptions, EndReason, Message};
use super::spec::Spec;
use super::window::{Backlog, ConsumerId, Nack, Now, Window};
use super::{Error, Shared};
use crate::ingest;
use crate::model::{Sequence, SubjectId};
use crate::store::{self, Logged, StoredSubscription, SubscriptionId};

use attached::Attached;
use meters::Meters;
pub use settle::AckStatus;
use settle::Commits;

/// How many messages may wait for a stream that does not read.
const MAX_STREAM_MESSAGES: usize = 256;
/// How many events are looked at before commands are looked at again.
const MAX_PAGE_EVENTS: usize = 256;
/// How many bytes of events one page may have.
const MAX_PAGE_BYTES: usize = 1024 * 1024;
/// How many waiting events are kept decoded for hand-off.
const MAX_CACHED_EVENTS: usize = 1024;
/// How many held lanes are loaded, looked up or resolved at once.
const MAX_LANES_A_TURN: usize = 256;
/// How far the cursor may move over events that do not match before that is written down.
const MAX_UNRECORDED: u64 = 5000;
/// How many commands are taken before deliveries are looked at again.
const MAX_COMMANDS_A_TURN: usize = 64;
/// The shortest sleep, so that nothing can make the task spin.
const MIN_SLEEP: Duration = Duration::from_millis(1);
/// How long after an I/O failure the task tries again.
const RETRY_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// What becomes of one delivery.
#[derive(Clone, Debug)]
pub struct Settle {
    /// The delivery.
    pub ack_id: String,
    /// What is to be done.
    pub action: Action,
}

/// What is to be done with a delivery.
#[derive(Clone, Debug)]
pub enum Action {
    /// It is handled.
    Ack {
        /// The record that was written.
        external_ref: String,
        /// What was done.
        outcome: String,
    },
    /// It is given back.
    Nack(Nack),
    /// It needs more time.
    Extend(Option<Duration>),
}

/// Where a subscription stands.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Everything at or below it is settled or held back.
    pub position: Sequence,
    /// The end of the log.
    pub head: Sequence,
    /// What waits.
    pub backlog: Backlog,
    /// Deliveries with consumers.
    pub outstanding: usize,
    /// Lanes held back, as far as they are in memory.
    pub held_back: i64,
    /// Dead letters.
    pub dead_letters: i64,
}

type Described = Result<(Spec, bool, Snapshot), Error>;

/// What the task is told.
pub enum Command {
    /// A consumer comes.
    Attach {
        options: ConsumerOptions,
        commands: mpsc::Sender<Command>,
        reply: oneshot::Sender<Consumer>,
    },
    /// A consumer is gone.
    Detach { consumer: ConsumerId },
    /// A consumer allows more.
    Credit { consumer: ConsumerId, deliveries: usize },
    /// A consumer wants no more.
    Quiet { consumer: ConsumerId },
    /// A heartbeat needs the state.
    Snapshot { consumer: ConsumerId, reply: oneshot::Sender<(Snapshot, usize)> },
    /// Deliveries are settled.
    Settle { items: Vec<Settle>, reply: oneshot::Sender<Result<Vec<AckStatus>, ingest::Error>> },
    /// Somebody asks.
    Describe { reply: oneshot::Sender<Described> },
    /// What it is has changed.
    Configure { spec: Box<Spec>, paused: bool },
    /// It moves.
    Seek { to: Sequence, reply: oneshot::Sender<Result<(), Error>> },
    /// Dead letters are to be delivered again.
    Replay { which: Option<Vec<Sequence>>, reply: oneshot::Sender<Result<i64, Error>> },
    /// Dead letters are given up.
    Discard { which: Option<Vec<Sequence>>, reply: oneshot::Sender<Result<i64, Error>> },
    /// It ends.
    Stop { reason: EndReason, reply: oneshot::Sender<()> },
}

struct Task {
    shared: Arc<Shared>,
    id: SubscriptionId,
    name: String,
    spec: Spec,
    paused: bool,
    window: Window,
    consumers: BTreeMap<ConsumerId, Attached>,
    read_on: Arc<Notify>,
    next_consumer: u64,
    /// Whose turn it is.
    turn: ConsumerId,
    cache: LruCache<Sequence, Arc<Logged>>,
    commits: Commits,
    dead_letters: i64,
    meters: Meters,
    stopped: Option<oneshot::Sender<()>>,
}

/// Serves one subscription until it is stopped.
pub async fn run(
    shared: Arc<Shared>,
    stored: StoredSubscription,
    spec: Spec,
    mut inbox: mpsc::Receiver<Command>,
) {
    let mut tail = shared.tail.watch();
    let mut task = Task::new(shared, stored, spec);
    while let Err(error) = task.load().await {
        tracing::error!(subscription = task.name, %error, "could not load the subscription");
        tokio::time::sleep(RETRY_AFTER_FAILURE).await;
    }
    loop {
        let idle = match task.advance().await {
            Ok(progress) => !progress,
            Err(error) => {
                tracing::error!(subscription = task.name, %error, "delivery paused");
                tokio::time::sleep(RETRY_AFTER_FAILURE).await;
                false
            }
        };
        task.record();
        if task.stopped.is_some() && task.commits.settled() {
            break;
        }
        if !task.wait(idle, &mut inbox, &mut tail).await {
            break;
        }
    }
    if let Some(done) = task.stopped.take() {
        let _ = done.send(());
    }
}

impl Task {
    fn new(shared: Arc<Shared>, stored: StoredSubscription, spec: Spec) -> Task {
        let cached = NonZeroUsize::new(MAX_CACHED_EVENTS).expect("the constant is not zero");
        Task {
            commits: Commits::new(shared.ingest.clone()),
            window: Window::new(stored.position, spec.settings.clone(), now_of(&shared)),
            shared,
            id: stored.id,
            meters: Meters::of(&stored.name),
            name: stored.name,
            spec,
            paused: stored.paused,
            consumers: BTreeMap::new(),
            read_on: Arc::default(),
            next_consumer: 1,
            turn: ConsumerId(0),
            cache: LruCache::new(cached),
            dead_letters: 0,
            stopped: None,
        }
    }

    /// Tells the window what the store has beside the log; it asks for it when it has room.
    async fn load(&mut self) -> Result<(), store::Error> {
        self.dead_letters = self.shared.store.dead_letter_count(self.id).await?;
        let (rows, _) = self.shared.store.lane_counts(self.id).await?;
        self.window.set_unloaded_lanes(usize::try_from(rows).unwrap_or(0));
        if self.dead_letters > 0 {
            self.window.set_unloaded_replays();
        }
        Ok(())
    }

    /// Waits for something to do, and takes what came. False once nobody can command it any more.
    async fn wait(
        &mut self,
        idle: bool,
        inbox: &mut mpsc::Receiver<Command>,
        tail: &mut watch::Receiver<Sequence>,
    ) -> bool {
        let mut first = None;
        if idle {
            let serving = self.is_serving();
            // Without anybody to hand events to, a lane that is due changes nothing.
            let wake = if serving { self.window.next_wake() } else { self.window.next_deadline() };
            let wake = wake.map(|at| at.saturating_sub(self.now().monotonic).max(MIN_SLEEP));
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => first = Some(command),
                    None => return false,
                },
                _ = tail.changed(), if serving => {}
                () = self.read_on.notified() => {}
                () = self.commits.finished() => {}
                () = tokio::time::sleep(wake.unwrap_or(Duration::MAX)), if wake.is_some() => {}
            }
        } else {
            tokio::task::yield_now().await;
        }
        for _ in 0..MAX_COMMANDS_A_TURN {
            let Some(command) = first.take().or_else(|| inbox.try_recv().ok()) else { break };
            self.obey(command).await;
        }
        true
    }

    /// Whether new events could go to somebody.
    fn is_serving(&self) -> bool {
        !self.paused && self.stopped.is_none() && self.consumers.values().any(Attached::may_take)
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Attach { options, commands, reply } => self.attach(options, commands, reply),
            Command::Detach { consumer } => self.detach(consumer),
            Command::Credit { consumer, deliveries } => {
                if let Some(attached) = self.consumers.get_mut(&consumer) {
                    attached.credit = attached.credit.map(|left| left.saturating_add(deliveries));
                }
            }
            Command::Quiet { consumer } => {
                if let Some(attached) = self.consumers.get_mut(&consumer) {
                    attached.quiet = true;
                }
            }
            Command::Snapshot { consumer, reply } => {
                let outstanding =
                    self.consumers.get(&consumer).map_or(0, |attached| attached.outstanding);
                let _ = reply.send((self.quick_snapshot(), outstanding));
            }
            Command::Settle { items, reply } => self.settle(items, reply),
            Command::Describe { reply } => {
                let described = self.snapshot().await;
                let described =
                    described.map(|snapshot| (self.spec.clone(), self.paused, snapshot));
                let _ = reply.send(described.map_err(Error::from));
            }
            Command::Configure { spec, paused } => {
                self.spec = *spec;
                self.paused = paused;
                self.window.set_settings(self.spec.settings.clone());
            }
            Command::Seek { to, reply } => self.seek(to, reply),
            Command::Replay { which, reply } => {
                let replayed = self.replay(which).await;
                self.commits.then(replayed, reply);
            }
            Command::Discard { which, reply } => {
                let discarded = self.discard(which).await;
                self.commits.then(discarded, reply);
            }
            Command::Stop { reason, reply } => self.stop(reason, reply),
        }
    }

    fn attach(
        &mut self,
        options: ConsumerOptions,
        commands: mpsc::Sender<Command>,
        reply: oneshot::Sender<Consumer>,
    ) {
        let id = ConsumerId(self.next_consumer);
        self.next_consumer += 1;
        let (sender, messages) = mpsc::channel(MAX_STREAM_MESSAGES);
        let attached = Attached::new(options, &self.spec.settings, sender);
        if self.stopped.is_none() {
            self.window.admit(id, &attached.name);
            self.consumers.insert(id, attached);
            // Whoever asked may be gone, now or before it takes the answer: dropped, it detaches.
            let attachment = Attachment { id, messages, read_on: self.read_on.clone() };
            let _ = reply.send(Consumer::new(attachment, commands));
        }
    }

    fn detach(&mut self, consumer: ConsumerId) {
        let Some(attached) = self.consumers.remove(&consumer) else { return };
        attached.budget.give_back(attached.outstanding_bytes);
        if attached.release_on_detach {
            let now = self.now();
            self.window.release(now, consumer);
        } else {
            self.window.leave(consumer);
        }
    }

    fn seek(&mut self, to: Sequence, reply: oneshot::Sender<Result<(), Error>>) {
        for attached in self.consumers.values_mut() {
            attached.budget.give_back(attached.outstanding_bytes);
            attached.outstanding = 0;
            attached.outstanding_bytes = 0;
            attached.caught_up = false;
        }
        let now = self.now();
        self.window.seek(to, now);
        self.cache.clear();
        self.commits.then(Ok(()), reply);
    }

    fn stop(&mut self, reason: EndReason, reply: oneshot::Sender<()>) {
        let position = self.window.cursor();
        for attached in std::mem::take(&mut self.consumers).into_values() {
            attached.budget.give_back(attached.outstanding_bytes);
            let _ = attached.messages.try_send(Message::End { reason, position });
        }
        self.stopped = Some(reply);
    }

    /// Where it stands, from memory alone. What lies beyond the scan is counted by sequence.
    fn quick_snapshot(&self) -> Snapshot {
        let head = self.shared.tail.head();
        let mut backlog = self.window.backlog();
        let beyond = usize::try_from(head.0 - self.window.scanned().0).unwrap_or(0);
        backlog.events += beyond;
        backlog.exact &= beyond == 0;
        Snapshot {
            position: self.window.cursor(),
            head,
            backlog,
            outstanding: self.window.outstanding(),
            held_back: i64::try_from(self.window.held_in_memory()).unwrap_or(i64::MAX),
            dead_letters: self.dead_letters,
        }
    }

    async fn snapshot(&mut self) -> Result<Snapshot, store::Error> {
        let (_, held_back) = self.shared.store.lane_counts(self.id).await?;
        self.dead_letters = self.shared.store.dead_letter_count(self.id).await?;
        let mut snapshot = self.quick_snapshot();
        snapshot.held_back = snapshot.held_back.max(held_back);
        if snapshot.backlog.oldest_received_at.is_none() && snapshot.backlog.events > 0 {
            let next = self.shared.store.events(snapshot.position, 1, 1).await?;
            if let Some(logged) = next.first() {
                let event = logged.event(self.shared.codec)?;
                snapshot.backlog.oldest_received_at = Some(event.received_at);
            }
        }
        Ok(snapshot)
    }

    fn now(&self) -> Now {
        now_of(&self.shared)
    }

    /// The lane of an event: its subject, or the event alone where order is not asked for.
    fn lane_of(&self, logged: &Logged) -> SubjectId {
        if self.spec.settings.ordered { logged.subject } else { SubjectId(logged.sequence.0) }
    }

    fn wall_time_of(&self, monotonic: Duration) -> Timestamp {
        let now = self.now();
        let ahead = monotonic.saturating_sub(now.monotonic);
        now.wall.checked_add(ahead).unwrap_or(Timestamp::MAX)
    }
}

fn now_of(shared: &Shared) -> Now {
    Now { monotonic: shared.started.elapsed(), wall: (shared.clock)() }
}
