//! The two subscribers of the demo: a watcher that only looks on, and a connector that writes every event
//! to a pretended CRM and acknowledges it with the record. Each runs on its own, over gRPC, and reports
//! what it met; the connector can be told to have trouble with its next delivery.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tollgate_client::proto::LiveMode;
use tollgate_client::{AckStatus, Client, Delivery, Filter, StartPosition, Subscription, Watch};

/// The connector's subscription.
pub const SUBSCRIPTION: &str = "crm";
/// What a busy CRM has the connector wait.
const BUSY_FOR: Duration = Duration::from_millis(500);
/// What a CRM says when it is busy.
const BUSY: &str = "the CRM answered 503";
/// How long anything may take to arrive.
const PATIENCE: Duration = Duration::from_secs(15);
const MAX_REPORTS: usize = 64;

/// Looks on from the beginning of the log.
pub struct Watcher(Reports<tollgate_client::Event>);

/// Consumes the subscription.
pub struct Connector {
    reports: Reports<Handled>,
    trouble: Arc<Mutex<Option<Trouble>>>,
}

/// What is wrong at the connector's next delivery.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// The CRM is busy, so that the delivery is given back.
    Busy,
    /// The connector ends without a word about it.
    Crash,
}

/// What the connector did with a delivery.
#[derive(Clone, Debug)]
pub struct Handled {
    /// The event.
    pub sequence: i64,
    /// Which attempt it was.
    pub attempt: u32,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Written and acknowledged: the record, and what was done to it.
    Acked(String, &'static str),
    /// Given back, with the reason.
    Nacked(&'static str),
    /// Held when the connector ended.
    Left,
}

/// The records of the pretended CRM: one for each subject. It outlives the connector.
#[derive(Clone, Default)]
pub struct Crm(Arc<Mutex<HashMap<String, String>>>);

/// A task and what it reports. Dropped, it ends the task.
struct Reports<T> {
    receiver: mpsc::Receiver<anyhow::Result<T>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Begins.
    pub fn begin(client: &Client) -> Watcher {
        let mut watch = client.watch_events(all_modes(), StartPosition::earliest());
        let (sender, receiver) = mpsc::channel(MAX_REPORTS);
        let task = tokio::spawn(async move {
            while let Some(watched) = watch.next().await {
                let report = match watched {
                    Ok(Watch::Event(event)) => Ok(*event),
                    Ok(Watch::CaughtUp { .. }) => continue,
                    Err(error) => Err(anyhow::Error::from(error)),
                };
                if sender.send(report).await.is_err() {
                    return;
                }
            }
        });
        Watcher(Reports { receiver, task })
    }

    /// The next event.
    pub async fn next(&mut self) -> anyhow::Result<tollgate_client::Event> {
        self.0.next("the watcher").await
    }

    /// Whether there is none that was not asked for.
    pub fn is_idle(&self) -> bool {
        self.0.receiver.is_empty()
    }
}

impl Connector {
    /// Opens the subscription, which is made if it is not there.
    pub fn begin(client: &Client, crm: &Crm) -> Connector {
        let subscription = client
            .subscription(SUBSCRIPTION)
            .create_if_missing(all_modes(), StartPosition::earliest())
            .consumer("demo-connector")
            .open();
        let (sender, receiver) = mpsc::channel(MAX_REPORTS);
        let trouble = Arc::new(Mutex::new(None));
        let task = tokio::spawn(consume(subscription, crm.clone(), trouble.clone(), sender));
        Connector { reports: Reports { receiver, task }, trouble }
    }

    /// Lets something be wrong at the next delivery.
    pub fn trouble(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    /// The next delivery that it is through with.
    pub async fn next(&mut self) -> anyhow::Result<Handled> {
        self.reports.next("the connector").await
    }

    /// Whether there is none that was not asked for.
    pub fn is_idle(&self) -> bool {
        self.reports.receiver.is_empty()
    }

    /// Waits until it has ended by itself.
    pub async fn ended(mut self) -> anyhow::Result<()> {
        let ended = tokio::time::timeout(PATIENCE, &mut self.reports.task).await;
        Ok(ended.context("the connector did not end")??)
    }
}

async fn consume(
    mut subscription: Subscription,
    crm: Crm,
    trouble: Arc<Mutex<Option<Trouble>>>,
    sender: mpsc::Sender<anyhow::Result<Handled>>,
) {
    while let Some(delivery) = subscription.next().await {
        let trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        let handled = match delivery {
            Ok(delivery) => handle(delivery, &crm, trouble).await,
            Err(error) => Err(error.into()),
        };
        if sender.send(handled).await.is_err() || matches!(trouble, Some(Trouble::Crash)) {
            break;
        }
    }
    subscription.close().await;
}

async fn handle(
    delivery: Delivery,
    crm: &Crm,
    trouble: Option<Trouble>,
) -> anyhow::Result<Handled> {
    let (sequence, attempt) = (delivery.event().sequence, delivery.attempt());
    let outcome = match trouble {
        Some(Trouble::Busy) => {
            applied(delivery.retry_after(BUSY_FOR, BUSY).await?)?;
            Outcome::Nacked(BUSY)
        }
        Some(Trouble::Crash) => Outcome::Left,
        None => {
            let (record, done) = crm.upsert(&delivery.event().subject);
            applied(delivery.ack_with(record.clone(), done).await?)?;
            Outcome::Acked(record, done)
        }
    };
    Ok(Handled { sequence, attempt, outcome })
}

fn applied(status: AckStatus) -> anyhow::Result<()> {
    match status {
        AckStatus::Applied => Ok(()),
        AckStatus::Unspecified | AckStatus::Duplicate | AckStatus::Stale | AckStatus::Unknown => {
            bail!("the gateway answered an ack with {status:?}")
        }
    }
}

impl Crm {
    /// Writes what is known of a subject; its record, and what was done to it.
    fn upsert(&self, subject: &str) -> (String, &'static str) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = records.get(subject) {
            return (record.clone(), "updated");
        }
        let record = format!("deal-{}", records.len() + 1);
        records.insert(subject.to_owned(), record.clone());
        (record, "created")
    }
}

impl<T> Reports<T> {
    async fn next(&mut self, who: &str) -> anyhow::Result<T> {
        let report = tokio::time::timeout(PATIENCE, self.receiver.recv()).await;
        let report = report.with_context(|| {
            format!("expected {who} to receive something, saw nothing for {PATIENCE:?}")
        })?;
        report.with_context(|| format!("{who} has ended"))?
    }
}

impl<T> Drop for Reports<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the samples say is partly live and partly test.
fn all_modes() -> Filter {
    Filter { live_mode: LiveMode::All.into(), ..Filter::default() }
}
