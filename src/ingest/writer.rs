//! The writer's task: takes all that callers have queued, commits it as one batch, and tells each caller
//! what became of its own part. It must never answer before the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::Error;
use crate::model::Sequence;
use crate::store::{
    Batch, EndpointValue, Logged, NewReceipt, Own, PositionUpdate, Recorded, Store,
};

/// How many items one commit takes.
const MAX_BATCH_ITEMS: usize = 512;
/// How many bytes of bodies one commit takes beyond its first receipt.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How often the store may tidy up while it is busy.
const MAINTENANCE_INTERVAL: Duration = Duration::from_millis(100);

/// Called with the new events of each commit, in order, before their callers are answered.
pub type OnCommit = Box<dyn Fn(&[Arc<Logged>]) + Send>;

/// What a caller wants committed.
pub enum Work {
    /// A receipt, and what its endpoint keeps from now on.
    Receipt {
        /// The receipt.
        new: Box<NewReceipt>,
        /// What the endpoint keeps.
        values: Vec<EndpointValue>,
        /// Who waits.
        reply: oneshot::Sender<Result<Recorded, Error>>,
    },
    /// What an endpoint keeps.
    Values { values: Vec<EndpointValue>, reply: oneshot::Sender<Result<(), Error>> },
    /// Where a subscription stands.
    Position { update: Box<PositionUpdate>, reply: oneshot::Sender<Result<(), Error>> },
    /// An event of the gateway's own.
    Own { own: Box<Own>, reply: oneshot::Sender<Result<Option<Sequence>, Error>> },
}

/// Runs until every caller's way to it is gone and the queue is empty.
pub async fn write(
    store: Arc<dyn Store>,
    mut work: mpsc::Receiver<Work>,
    on_commit: OnCommit,
    stopped: Arc<AtomicBool>,
) {
    let committed_since = Arc::new(AtomicBool::new(true));
    let tidy = tokio::spawn(maintain(store.clone(), committed_since.clone()));
    while let Some(first) = work.recv().await {
        let (batch, callers) = collect(first, &mut work);
        let started = Instant::now();
        let items = callers.len();
        let result = store.commit(batch).await;
        committed_since.store(true, Ordering::Relaxed);
        match result {
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
    own: Vec<oneshot::Sender<Result<Option<Sequence>, Error>>>,
    others: Vec<oneshot::Sender<Result<(), Error>>>,
}

/// Takes all that wait, up to the limits.
fn collect(first: Work, work: &mut mpsc::Receiver<Work>) -> (Batch, Callers) {
    let mut batch = Batch::default();
    let mut callers = Callers::default();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(item) = next {
        match item {
            Work::Receipt { new, values, reply } => {
                bytes += new.receipt.body().len();
                batch.receipts.push(*new);
                batch.values.extend(values);
                callers.receipts.push(reply);
            }
            Work::Position { update, reply } => {
                batch.positions.push(*update);
                callers.others.push(reply);
            }
            Work::Values { values, reply } => {
                batch.values.extend(values);
                callers.others.push(reply);
            }
            Work::Own { own, reply } => {
                batch.own.push(*own);
                callers.own.push(reply);
            }
        }
        let full = callers.len() >= MAX_BATCH_ITEMS;
        next = if full || bytes >= MAX_BATCH_BYTES { None } else { work.try_recv().ok() };
    }
    (batch, callers)
}

impl Callers {
    fn len(&self) -> usize {
        self.receipts.len() + self.own.len() + self.others.len()
    }

    /// A caller that is gone meanwhile needs no answer.
    fn answer(self, recorded: Vec<Recorded>, own: Vec<Option<Sequence>>) {
        for (reply, recorded) in self.receipts.into_iter().zip(recorded) {
            let _ = reply.send(Ok(recorded));
        }
        for (reply, sequence) in self.own.into_iter().zip(own) {
            let _ = reply.send(Ok(sequence));
        }
        for reply in self.others {
            let _ = reply.send(Ok(()));
        }
    }

    fn refuse(self, error: &Error) {
        for reply in self.receipts {
            let _ = reply.send(Err(error.clone()));
        }
        for reply in self.own {
            let _ = reply.send(Err(error.clone()));
        }
        for reply in self.others {
            let _ = reply.send(Err(error.clone()));
        }
    }
}

/// Tidies up while there are commits: an idle gateway has nothing to tidy.
async fn maintain(store: Arc<dyn Store>, committed_since: Arc<AtomicBool>) {
    let mut interval = tokio::time::interval(MAINTENANCE_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if !committed_since.swap(false, Ordering::Relaxed) {
            continue;
        }
        if let Err(error) = store.maintain().await {
            tracing::warn!(%error, "the store could not tidy up");
        }
    }
}
