//! Carries out what provider modules ask of their providers' APIs. The stored receipt is the job: whatever
//! waits in the store is taken up at the start and after each commit, its fetches are run, their drafts are
//! committed as they come, and its state says in the end what became of it. In memory is only what is
//! being worked on, up to a limit; the rest stays in the store until there is room. Nothing is ever given
//! up silently: what fails too often is `FetchFailed` with its reason and can be retried.

pub mod clients;
mod groups;
mod job;
pub mod keys;
mod oauth;
pub mod outgoing;
mod poll;
mod steps;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::{Notify, mpsc};
use tokio::task::{Id, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Clock, Ingest};
use crate::model::{EndpointName, ReceiptNumber};
use crate::store::{ReceiptState, StoredReceipt};
use groups::Groups;
use poll::Pollers;

pub use clients::install_crypto;
pub use job::Job;

/// How many receipts are worked on at a time, and how many of one endpoint.
const MAX_JOBS: usize = 4096;
const MAX_JOBS_OF_ENDPOINT: usize = 1024;
/// How many messages wait for the engine; receipts beyond them stay in the store.
const MAX_MESSAGES: usize = 1024;
/// How many receipts one page of a scan has.
const SCAN_PAGE: usize = 128;
/// How often the store is looked through while receipts had to stay there.
const SCAN_INTERVAL: Duration = Duration::from_secs(5);
/// How long a reason may be, in characters.
const MAX_REASON: usize = 300;

/// The bounds of all that is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many calls are in flight.
    pub max_in_flight: usize,
    /// How many calls a second one endpoint makes.
    pub max_per_second: NonZeroU32,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a call may take as a whole.
    pub timeout: Duration,
    /// The largest answer.
    pub max_response_bytes: usize,
    /// How long after a first failure the next try is.
    pub min_backoff: Duration,
    /// How long between two tries, at most.
    pub max_backoff: Duration,
    /// How many tries a receipt has.
    pub max_attempts: u32,
    /// How many receipts of one endpoint may wait to be confirmed.
    pub max_unconfirmed: u64,
    /// How many such receipts a second one endpoint takes.
    pub max_unconfirmed_per_second: NonZeroU32,
    /// After so long a receipt that nothing confirmed is denied.
    pub unconfirmed_max_age: SignedDuration,
    /// How soon after its start an endpoint is polled first, at most.
    pub first_poll: Duration,
}

/// Why a fetch did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// In words, without secrets.
    pub reason: String,
    /// Whether and when to try again.
    pub next: Next,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another try, not sooner than this.
    Again(Option<Duration>),
    /// Another try, and this one does not count: nothing was called.
    Uncounted(Duration),
    /// None: only a change of the configuration would help.
    Never,
}

/// The way to the engine.
pub struct Handing {
    sender: mpsc::Sender<Message>,
    /// Taken by the engine when it starts.
    receiver: Mutex<Option<mpsc::Receiver<Message>>>,
    /// Whether receipts were left to a scan.
    left: AtomicBool,
}

enum Message {
    /// A receipt that was just committed.
    Waiting(Box<Job>),
    /// Try this one now.
    Wake(ReceiptNumber),
    /// The endpoints have changed.
    Reload,
}

/// The engine at work. Dropped, it stops.
pub struct Fetcher {
    task: JoinHandle<()>,
    stopping: CancellationToken,
    pollers: Arc<Pollers>,
}

struct Engine {
    ingest: Ingest,
    clock: Clock,
    groups: Arc<Groups>,
    pollers: Arc<Pollers>,
    jobs: HashMap<ReceiptNumber, Running>,
    of_endpoint: HashMap<EndpointName, usize>,
    tasks: JoinSet<()>,
    numbers: HashMap<Id, ReceiptNumber>,
}

struct Running {
    wake: Arc<Notify>,
    endpoint: EndpointName,
}

impl Failure {
    /// Another try may help.
    pub fn again(reason: String) -> Failure {
        Failure::after(reason, None)
    }

    /// Another try may help, after a while.
    pub fn after(reason: String, wait: Option<Duration>) -> Failure {
        Failure { reason: bounded(reason), next: Next::Again(wait) }
    }

    /// Nothing was called, since the provider wants to be left alone for so long.
    pub fn paused(reason: String, left: Duration) -> Failure {
        Failure { reason: bounded(reason), next: Next::Uncounted(left) }
    }

    /// Another try would not help.
    pub fn for_good(reason: String) -> Failure {
        Failure { reason: bounded(reason), next: Next::Never }
    }
}

fn bounded(reason: String) -> String {
    match reason.char_indices().nth(MAX_REASON) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason,
    }
}

impl Default for Handing {
    fn default() -> Handing {
        let (sender, receiver) = mpsc::channel(MAX_MESSAGES);
        let receiver = Mutex::new(Some(receiver));
        Handing { sender, receiver, left: AtomicBool::new(false) }
    }
}

impl Handing {
    /// Hands over a receipt that was committed.
    pub fn waiting(&self, job: Job) {
        self.send(Message::Waiting(Box::new(job)));
    }

    /// Has a receipt tried now.
    pub fn wake(&self, number: ReceiptNumber) {
        self.send(Message::Wake(number));
    }

    /// Tells that the endpoints have changed.
    pub fn reload(&self) {
        self.send(Message::Reload);
    }

    fn send(&self, message: Message) {
        if self.sender.try_send(message).is_err() {
            self.left.store(true, Ordering::Relaxed);
        }
    }
}

/// Starts the engine, which takes up what waits in the store.
pub fn start(ingest: Ingest, clock: Clock) -> Fetcher {
    let stopping = CancellationToken::new();
    let groups = Arc::new(Groups::default());
    let pollers = Arc::new(Pollers::new(ingest.clone(), clock.clone(), groups.clone()));
    let receiver = &ingest.handing.receiver;
    let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
    let engine = Engine {
        ingest,
        clock,
        groups,
        pollers: pollers.clone(),
        jobs: HashMap::new(),
        of_endpoint: HashMap::new(),
        tasks: JoinSet::new(),
        numbers: HashMap::new(),
    };
    let stop = stopping.clone();
    let task = tokio::spawn(async move {
        if let Some(messages) = receiver {
            // What is under way is dropped with the engine: the store still has it.
            let _ = stop.run_until_cancelled(engine.run(messages)).await;
        }
    });
    Fetcher { task, stopping, pollers }
}

impl Fetcher {
    /// Stops; what is not done is taken up at the next start.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.pollers.stop();
        // A panic was logged where it happened.
        let _ = self.task.await;
    }

    /// Polls an endpoint now, besides its schedule.
    pub async fn poll(&self, endpoint: &EndpointName) -> Result<(), Failure> {
        self.pollers.poll(endpoint).await
    }
}

impl Engine {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        self.count_unconfirmed().await;
        self.pollers.restart();
        self.scan().await;
        let mut interval = tokio::time::interval(SCAN_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::Waiting(job)) => self.admit(*job),
                    Some(Message::Wake(number)) => self.wake(number).await,
                    Some(Message::Reload) => {
                        self.pollers.restart();
                        self.scan().await;
                    }
                    None => return,
                },
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                _ = interval.tick() => {
                    if self.ingest.handing.left.load(Ordering::Relaxed) {
                        self.scan().await;
                    }
                }
            }
        }
    }

    /// Works on a receipt if there is room; else it stays in the store.
    fn admit(&mut self, job: Job) {
        if self.jobs.contains_key(&job.number) {
            return;
        }
        let endpoint = job.registered.endpoint.name.clone();
        let of_endpoint = self.of_endpoint.entry(endpoint.clone()).or_default();
        if self.jobs.len() >= MAX_JOBS || *of_endpoint >= MAX_JOBS_OF_ENDPOINT {
            self.ingest.handing.left.store(true, Ordering::Relaxed);
            return;
        }
        *of_endpoint += 1;
        let (number, wake) = (job.number, Arc::new(Notify::new()));
        self.jobs.insert(number, Running { wake: wake.clone(), endpoint });
        let work = job.run(self.ingest.clone(), self.clock.clone(), self.groups.clone(), wake);
        let task = self.tasks.spawn(work);
        self.numbers.insert(task.id(), number);
    }

    fn ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a fetch was given up; its receipt is taken up again");
                self.ingest.handing.left.store(true, Ordering::Relaxed);
                error.id()
            }
        };
        let running = self.numbers.remove(&id).and_then(|number| self.jobs.remove(&number));
        let Some(Running { endpoint, .. }) = running else { return };
        if let Some(count) = self.of_endpoint.get_mut(&endpoint) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_endpoint.remove(&endpoint);
            }
        }
    }

    async fn wake(&mut self, number: ReceiptNumber) {
        if let Some(running) = self.jobs.get(&number) {
            running.wake.notify_one();
            return;
        }
        match self.ingest.store.receipt(number).await {
            Ok(Some(stored)) => self.admit_stored(stored),
            Ok(None) => {}
            Err(error) => self.scan_later(&error),
        }
    }

    /// Takes up what waits in the store, oldest first, while there is room.
    async fn scan(&mut self) {
        self.ingest.handing.left.store(false, Ordering::Relaxed);
        let mut after = ReceiptNumber(0);
        loop {
            let page = match self.ingest.store.waiting_receipts(after, SCAN_PAGE).await {
                Ok(page) => page,
                Err(error) => return self.scan_later(&error),
            };
            let Some(last) = page.last() else { return };
            after = last.number;
            for stored in page {
                self.admit_stored(stored);
            }
            if self.jobs.len() >= MAX_JOBS {
                self.ingest.handing.left.store(true, Ordering::Relaxed);
                return;
            }
        }
    }

    fn scan_later(&self, error: &crate::store::Error) {
        tracing::warn!(%error, "the receipts to fetch for could not be read");
        self.ingest.handing.left.store(true, Ordering::Relaxed);
    }

    fn admit_stored(&mut self, stored: StoredReceipt) {
        if self.jobs.contains_key(&stored.number) {
            return;
        }
        // A receipt whose endpoint is not configured waits until it is.
        let registered = self.ingest.endpoints().by_name(stored.receipt.endpoint());
        let Some(registered) = registered else { return };
        if let Some(job) = Job::of_stored(&stored, registered) {
            self.admit(job);
            return;
        }
        // It is no longer one to fetch for, as after an upgrade.
        let (ingest, number) = (self.ingest.clone(), stored.number);
        self.tasks.spawn(async move {
            if let Err(error) = ingest.translate_again(number).await {
                tracing::warn!(%error, receipt = %number, "could not be translated again");
            }
        });
    }

    /// How many wait to be confirmed, for the cap of each endpoint.
    async fn count_unconfirmed(&self) {
        let mut after = ReceiptNumber(0);
        while let Ok(page) = self.ingest.store.waiting_receipts(after, SCAN_PAGE).await {
            let Some(last) = page.last() else { return };
            after = last.number;
            let unconfirmed =
                page.iter().filter(|stored| matches!(stored.state, ReceiptState::Unconfirmed(_)));
            for stored in unconfirmed {
                if let Some(registered) = self.ingest.endpoints().by_name(stored.receipt.endpoint())
                {
                    registered.health.add_unconfirmed();
                }
            }
        }
    }
}
