//! The task that decides which receipts are worked on: those that were just committed, those that the store
//! has from before, and those that somebody wants tried now, as many as there is room for. In come
//! messages and pages of the store; each receipt becomes a task of its own. It must never hold what the
//! store does not have.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use super::groups::Groups;
use super::poll::Pollers;
use super::{Job, Message};
use crate::ingest::{Clock, Ingest};
use crate::model::{EndpointName, ReceiptNumber};
use crate::store::{self, ReceiptState, StoredReceipt};

/// How many receipts are worked on at a time, and how many of one endpoint.
const MAX_JOBS: usize = 4096;
const MAX_JOBS_OF_ENDPOINT: usize = 1024;
/// How many receipts one page of a scan has.
const SCAN_PAGE: usize = 128;
/// How often the store is looked through while receipts had to stay there.
const SCAN_INTERVAL: Duration = Duration::from_secs(5);
/// A scan may take this part of the time, as one part in so many.
const SCAN_PART: u32 = 10;

/// All that is being worked on.
pub struct Engine {
    ingest: Ingest,
    clock: Clock,
    groups: Arc<Groups>,
    pollers: Arc<Pollers>,
    jobs: HashMap<ReceiptNumber, Running>,
    of_endpoint: HashMap<EndpointName, usize>,
    tasks: JoinSet<()>,
    numbers: HashMap<Id, ReceiptNumber>,
    /// Not before then is the store looked through for what was left.
    next_scan: Instant,
}

struct Running {
    wake: Arc<Notify>,
    endpoint: EndpointName,
}

impl Engine {
    /// Nothing is worked on yet.
    pub fn new(ingest: Ingest, clock: Clock, groups: Arc<Groups>, pollers: Arc<Pollers>) -> Engine {
        Engine {
            ingest,
            clock,
            groups,
            pollers,
            jobs: HashMap::new(),
            of_endpoint: HashMap::new(),
            tasks: JoinSet::new(),
            numbers: HashMap::new(),
            next_scan: Instant::now(),
        }
    }

    /// Works until it is dropped.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
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
                    let is_left = self.ingest.handing.left.load(Ordering::Relaxed);
                    if is_left && self.next_scan <= Instant::now() {
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

    /// Takes up what waits in the store while there is room. A long backlog is not read all the time.
    async fn scan(&mut self) {
        let started = Instant::now();
        self.take_up().await;
        self.next_scan = Instant::now() + started.elapsed() * SCAN_PART;
    }

    /// Oldest first.
    async fn take_up(&mut self) {
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

    fn scan_later(&self, error: &store::Error) {
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
