//! The loop of one connector: takes deliveries, makes rows of them, writes them in batches, and
//! acknowledges each event once all its rows are written, or gives it back with the reason. In come
//! deliveries of the gateway, out go calls to the CRM and one word a delivery. It must never acknowledge
//! what the CRM did not accept.

mod job;
mod taking;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_client::{Client, Delivery, Error, Subscription};

use crate::collapse::Collapse;
use crate::config::{Config, Mistake};
use crate::crm::{Crm, Fault};
use crate::crms::Kind;
use crate::dispatch::{Batch, Dispatch};
use crate::mapping::{Mapping, NoMatch};
use crate::memory::Memory;
use crate::report::Report;
use crate::writer::{self, Outcome, Writer};
use crate::{gateway, trace};

use job::Job;

/// A batch waits so long for more rows: deliveries that are on their way come within it.
const LINGER: Duration = Duration::from_millis(5);
/// While other calls are under way a batch that is not full waits longer: calls are what CRMs count.
const LINGER_BESIDE_CALLS: Duration = Duration::from_millis(40);
/// A credential that is refused is not tried again with the same delivery before this.
const UNAUTHORIZED_WAIT: Duration = Duration::from_secs(60);
/// How long calls under way have to end when the connector stops.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// What was not begun when the connector stops goes to the next one after this.
const HANDED_BACK_WAIT: Duration = Duration::from_secs(1);
/// How often the subscription's progress is looked at.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// A connector, ready to run.
pub struct Connector {
    config: Arc<Config>,
    kind: &'static Kind,
    client: Client,
    crm: Arc<dyn Crm>,
    memory: Arc<Memory>,
    report: Arc<Report>,
}

impl Connector {
    /// For a target that was checked.
    pub fn new(
        config: Arc<Config>,
        kind: &'static Kind,
        crm: Arc<dyn Crm>,
        memory: Arc<Memory>,
        report: Arc<Report>,
    ) -> Result<Connector, Mistake> {
        let client = gateway::client(&config.gateway)?;
        Ok(Connector { config, kind, client, crm, memory, report })
    }

    /// Runs until it is stopped, or until the subscription ends with an error that waiting cannot mend.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let gateway = &self.config.gateway;
        let subscription = gateway::subscription(&self.client, gateway, self.kind).open();
        Running::new(self).run(subscription, stop).await
    }
}

/// A connector while it runs.
struct Running {
    connector: Connector,
    mappings: Arc<[Arc<Mapping>]>,
    writers: Vec<Arc<Writer>>,
    collapse: Option<Arc<Collapse>>,
    dispatch: Dispatch,
    jobs: HashMap<u64, Job>,
    next_job: u64,
    /// The epoch of the gateway's log, once it told.
    log_epoch: String,
    work: JoinSet<Done>,
    calls: usize,
}

/// What a task of a connector comes back with.
enum Done {
    /// A batch was written.
    Batch(Batch, Vec<Outcome>, Duration),
    /// Whether a newer event makes this job needless.
    Looked(u64, bool),
}

impl Running {
    fn new(connector: Connector) -> Running {
        let mappings: Arc<[Arc<Mapping>]> =
            connector.config.objects.iter().cloned().map(Arc::new).collect();
        let subscription = &connector.config.gateway.subscription;
        let writer = |mapping: &Arc<Mapping>| {
            let (crm, memory) = (Arc::clone(&connector.crm), Memory::clone(&connector.memory));
            Arc::new(Writer::new(crm, memory, Arc::clone(mapping), subscription))
        };
        let collapse = connector.config.connector.collapse.then(|| {
            let client = connector.client.clone();
            Arc::new(Collapse::new(client, subscription, Arc::clone(&mappings)))
        });
        let objects: Vec<&str> = mappings.iter().map(|mapping| mapping.object.as_str()).collect();
        Running {
            writers: mappings.iter().map(writer).collect(),
            dispatch: Dispatch::new(&objects),
            mappings,
            collapse,
            connector,
            jobs: HashMap::new(),
            next_job: 0,
            log_epoch: String::new(),
            work: JoinSet::new(),
            calls: 0,
        }
    }

    async fn run(
        mut self,
        mut subscription: Subscription,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let mut progress = tokio::time::interval(PROGRESS_INTERVAL);
        let crm = Arc::clone(&self.connector.crm);
        // Kept from one turn to the next, so that a wait for the budget is not begun anew each time.
        let mut ready = std::pin::pin!(None);
        let mut lingers = false;
        let ended = loop {
            let is_full = self.has_full_batch();
            if (ready.is_none() || lingers && is_full) && self.may_call() {
                lingers = !is_full;
                let linger = match (is_full, self.calls) {
                    (true, _) => Duration::ZERO,
                    (false, 0) => LINGER,
                    (false, _) => LINGER_BESIDE_CALLS,
                };
                let crm = Arc::clone(&crm);
                ready.set(Some(async move {
                    tokio::time::sleep(linger).await;
                    crm.budget().ready(1).await;
                }));
            }
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                delivery = subscription.next() => match delivery {
                    Some(Ok(delivery)) => {
                        // The first word of each stream, before any delivery, tells the epoch.
                        self.come(delivery, subscription.progress().log_epoch).await;
                    }
                    Some(Err(error)) => break Err(error),
                    None => break Ok(()),
                },
                Some(done) = self.work.join_next() => self.done(done),
                Some(()) = async { ready.as_mut().as_pin_mut()?.await; Some(()) } => {
                    ready.set(None);
                    self.call();
                }
                _ = progress.tick() => self.connector.report.progress(&subscription.progress()),
            }
        };
        self.stop(&mut subscription).await;
        subscription.close().await;
        ended
    }

    /// Whether enough rows wait for the largest batch, of some kind of record.
    fn has_full_batch(&self) -> bool {
        let mut writers = self.writers.iter().enumerate();
        writers.any(|(object, writer)| self.dispatch.waiting(object) >= writer.max_batch())
    }

    fn may_call(&self) -> bool {
        self.calls < self.connector.config.connector.max_calls && self.dispatch.has_ready()
    }

    /// Begins the next batch, if there is one.
    fn call(&mut self) {
        let writers = &self.writers;
        let Some(batch) = self.dispatch.next(|object| writers[object].max_batch()) else { return };
        let writer = Arc::clone(&self.writers[batch.object]);
        let jobs: Vec<writer::Job> = batch
            .rows
            .iter()
            .filter_map(|waiting| Some(self.jobs.get(&waiting.job)?.row_job(&waiting.row)))
            .collect();
        self.calls += 1;
        self.work.spawn(async move {
            let begun = Instant::now();
            let outcomes = written(&writer, &jobs).await;
            Done::Batch(batch, outcomes, begun.elapsed())
        });
    }

    fn done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(Done::Looked(number, true)) => {
                if let Some(job) = self.jobs.remove(&number) {
                    self.acknowledge(job.delivery, "", "collapsed");
                }
            }
            Ok(Done::Looked(number, false)) => self.queue(number),
            Ok(Done::Batch(batch, outcomes, took)) => {
                self.calls -= 1;
                self.dispatch.done(&batch);
                self.connector.report.batch(batch.rows.len(), took);
                for (waiting, outcome) in batch.rows.into_iter().zip(outcomes) {
                    self.settle(waiting.job, batch.object, outcome);
                }
            }
            // Tasks catch their panics, and none is aborted while the connector runs.
            Err(error) => tracing::error!(%error, "a task ended without its outcome"),
        }
    }

    /// What became of one row of a job.
    fn settle(&mut self, number: u64, object: usize, outcome: Outcome) {
        let Some(mut job) = self.jobs.remove(&number) else { return };
        let mapping = Arc::clone(&self.mappings[object]);
        match outcome {
            Outcome::Done { record, words } => {
                self.connector.report.authorized();
                self.connector.report.settled(mapping.label(), &words);
                job.row_done(mapping.label(), &record, &words);
                self.go_on(number, job);
            }
            Outcome::NoMatch if mapping.no_match == NoMatch::Skip => {
                self.connector.report.settled(mapping.label(), "skipped");
                job.row_done(mapping.label(), "", "skipped");
                self.go_on(number, job);
            }
            Outcome::NoMatch if mapping.no_match == NoMatch::DeadLetter => {
                let reason = format!("{}: no record matches", mapping.label());
                self.put_aside(job.delivery, &reason);
            }
            Outcome::NoMatch => self.park(job, &mapping, "no record matches"),
            Outcome::Ambiguous => self.park(job, &mapping, "several records match"),
            Outcome::Failed(fault) => self.failed(job.delivery, fault),
        }
    }

    /// To the job's next row, or to its acknowledgement.
    fn go_on(&mut self, number: u64, job: Job) {
        if job.next_target().is_some() {
            self.jobs.insert(number, job);
            return self.queue(number);
        }
        let (reference, words) = (job.reference(), job.words());
        self.tell(job.delivery, &reference, &words);
    }

    /// It waits until the record appears, or until it waited long enough.
    fn park(&mut self, job: Job, mapping: &Mapping, reason: &str) {
        let reason = format!("{}: {reason}", mapping.label());
        if job.age() > mapping.park.at_most {
            let days = mapping.park.at_most.as_secs_f64() / 86_400.0;
            return self.put_aside(job.delivery, &format!("{reason}, for {days:.1} days"));
        }
        self.given_back("parked", &job.delivery, &reason);
        // Said whether it is awaited or not; if it gets lost, the event comes again.
        drop(job.delivery.throttled(mapping.park.every));
    }

    fn failed(&mut self, delivery: Delivery, fault: Fault) {
        let reason = fault.to_string();
        match fault {
            Fault::Throttled { wait, .. } => {
                self.given_back("throttled", &delivery, &reason);
                drop(delivery.throttled(wait));
            }
            Fault::Unauthorized { .. } => {
                self.connector.report.unauthorized(&reason);
                self.given_back("throttled", &delivery, &reason);
                drop(delivery.throttled(UNAUTHORIZED_WAIT));
            }
            Fault::Transient { wait, .. } => {
                self.given_back("retry", &delivery, &reason);
                drop(match wait {
                    Some(wait) => delivery.retry_after(wait, reason),
                    None => delivery.nack(reason),
                });
            }
            Fault::Gone { .. } | Fault::Raced { .. } => {
                self.given_back("retry", &delivery, &reason);
                drop(delivery.nack(reason));
            }
            Fault::Permanent { .. } => self.put_aside(delivery, &reason),
        }
    }

    /// It will never work.
    fn put_aside(&self, delivery: Delivery, reason: &str) {
        self.given_back("dead_letter", &delivery, reason);
        drop(delivery.dead_letter(reason));
    }

    fn given_back(&self, kind: &'static str, delivery: &Delivery, reason: &str) {
        let (event, trace_id) = (&delivery.event().name, trace::id(delivery.event()));
        tracing::debug!(event, trace_id, kind, reason, "given back");
        self.connector.report.nacked(kind, delivery.event(), reason);
    }

    /// An event that meant no row.
    fn acknowledge(&self, delivery: Delivery, reference: &str, words: &str) {
        self.connector.report.settled("", words);
        self.tell(delivery, reference, words);
    }

    fn tell(&self, delivery: Delivery, reference: &str, words: &str) {
        let (event, trace_id) = (&delivery.event().name, trace::id(delivery.event()));
        tracing::debug!(event, trace_id, reference, outcome = words, "acknowledged");
        // Said whether it is awaited or not; if it gets lost, the event comes again and changes nothing.
        drop(delivery.ack_with(reference, words));
    }

    /// Waits for the calls under way, and hands back what was not begun.
    async fn stop(&mut self, subscription: &mut Subscription) {
        for waiting in self.dispatch.drain() {
            if let Some(job) = self.jobs.remove(&waiting.job) {
                drop(job.delivery.throttled(HANDED_BACK_WAIT));
            }
        }
        let deadline = tokio::time::Instant::now() + STOP_PATIENCE;
        while let Ok(Some(done)) = tokio::time::timeout_at(deadline, self.work.join_next()).await {
            self.done(done);
        }
        for (_, job) in self.jobs.drain() {
            drop(job.delivery.throttled(HANDED_BACK_WAIT));
        }
        // Dropped, each would come again only after its deadline, and have spent an attempt.
        while let Some(Some(Ok(delivery))) = subscription.next().now_or_never() {
            drop(delivery.throttled(HANDED_BACK_WAIT));
        }
    }
}

/// The outcomes of a batch. A panic is a bug; it must not keep the batch's records and deliveries for ever.
async fn written(writer: &Writer, jobs: &[writer::Job]) -> Vec<Outcome> {
    let writing = AssertUnwindSafe(writer.write(jobs)).catch_unwind();
    writing.await.unwrap_or_else(|_| {
        tracing::error!(rows = jobs.len(), "a batch panicked");
        let fault = Fault::transient("the connector failed within; its log tells more");
        vec![Outcome::Failed(fault); jobs.len()]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crm::Key;
    use crate::mapping::Row;
    use crate::shelf::{self, Shelf};

    #[tokio::test]
    async fn a_panic_gives_the_deliveries_back_and_frees_their_records() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = Memory::open(&folder.path().join("memory.db")).await.expect("opens");
        let shelf = Arc::new(Shelf::default());
        let poisoned = Arc::clone(&shelf);
        let poison = move || {
            let _held = poisoned.records.lock().expect("no panic yet");
            panic!("to poison the lock");
        };
        std::thread::spawn(poison).join().expect_err("it panics");
        let config = shelf::config(
            "match = [{ field = \"order_id\", from = \"subject_id\" }]\nfields.note = \"status\"\n",
        );
        let mapping = Arc::new(config.objects[0].clone());
        let writer = Writer::new(shelf, memory, mapping, "s");
        let value = "o1".to_owned();
        let key = Key::Field { field: "order_id".to_owned(), value, unique: false };
        let row = Row { keys: vec![key], fields: Vec::new(), parent: None };
        let job = writer::Job {
            row: Arc::new(row),
            event: "events/1".to_owned(),
            sequence: 1,
            status: String::new(),
            replay: false,
        };
        let outcomes = written(&writer, &[job]).await;
        assert!(matches!(outcomes[..], [Outcome::Failed(Fault::Transient { .. })]), "{outcomes:?}");
    }
}
