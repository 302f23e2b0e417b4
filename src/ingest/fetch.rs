//! Carries out what provider modules ask of their providers' APIs. The stored receipt is the job: whatever
//! waits in the store is taken up at the start and after each commit, its fetches are run, their drafts are
//! committed as they come, and its state says in the end what became of it. In memory is only what is
//! being worked on, up to a limit; the rest stays in the store until there is room. Nothing is ever given
//! up silently: what fails too often is `FetchFailed` with its reason and can be retried.

pub mod clients;
mod engine;
mod groups;
mod job;
pub mod keys;
mod oauth;
pub mod outgoing;
mod poll;
mod steps;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Clock, Ingest};
use crate::model::{EndpointName, ReceiptNumber};
use engine::Engine;
use groups::Groups;
use outgoing::Outgoing;
use poll::Pollers;

pub use clients::install_crypto;
pub use job::Job;

/// How many messages wait for the engine; receipts beyond them stay in the store.
const MAX_MESSAGES: usize = 1024;
/// How long a stop waits for access tokens that are being got, so that what is rotated is saved.
const SETTLE_WITHIN: Duration = Duration::from_secs(3);
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
    stopping: DropGuard,
    pollers: Arc<Pollers>,
    outgoing: Arc<Outgoing>,
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
    let outgoing = ingest.outgoing.clone();
    let engine = Engine::new(ingest, clock, groups, pollers.clone());
    let stop = stopping.clone();
    let of_engine = pollers.clone();
    let task = tokio::spawn(async move {
        if let Some(messages) = receiver {
            // What is under way is dropped with the engine: the store still has it.
            let _ = stop.run_until_cancelled(engine.run(messages)).await;
        }
        of_engine.stop();
    });
    Fetcher { task, stopping: stopping.drop_guard(), pollers, outgoing }
}

impl Fetcher {
    /// Stops; what is not done is taken up at the next start.
    pub async fn stop(self) {
        drop(self.stopping);
        // A panic was logged where it happened.
        let _ = self.task.await;
        if tokio::time::timeout(SETTLE_WITHIN, self.outgoing.settle()).await.is_err() {
            tracing::warn!("access tokens were still being asked for; they are given up");
        }
    }

    /// Polls an endpoint now, besides its schedule.
    pub async fn poll(&self, endpoint: &EndpointName) -> Result<(), Failure> {
        self.pollers.poll(endpoint).await
    }
}
