//! What becomes of a delivery when it comes: settled at once, because it means nothing for this CRM or is
//! our own write come back, or a job whose first row waits for a batch.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tollgate_client::{Delivery, Event};

use super::job::{self, Job};
use super::{Done, HANDED_BACK_WAIT, Running};
use crate::config::OwnEvents;
use crate::crm::Key;
use crate::dispatch::Waiting;
use crate::mapping::Row;
use crate::memory::Known;
use crate::{collapse, crms, echo, intake};

impl Running {
    /// Takes a delivery of the log of this epoch.
    pub(super) async fn come(&mut self, delivery: Delivery, log_epoch: String) {
        if self.log_epoch != log_epoch && !log_epoch.is_empty() && !self.enter(&log_epoch).await {
            drop(delivery.throttled(HANDED_BACK_WAIT));
            return;
        }
        self.take(delivery).await;
    }

    /// Into another epoch, once nothing of the one before is under way.
    async fn enter(&mut self, log_epoch: &str) -> bool {
        if !self.log_epoch.is_empty() {
            // Their stream is gone, and nobody hears what is said about them.
            self.dispatch.drain();
            while let Some(done) = self.work.join_next().await {
                self.done(done);
            }
            self.dispatch.drain();
            self.jobs.clear();
        }
        let subscription = &self.connector.config.gateway.subscription;
        match self.connector.memory.enter_epoch(subscription, log_epoch).await {
            Ok(()) => log_epoch.clone_into(&mut self.log_epoch),
            Err(error) => {
                tracing::error!(%error, "what was written cannot be remembered");
                return false;
            }
        }
        true
    }

    /// Makes a delivery a job, or settles it at once.
    pub(super) async fn take(&mut self, delivery: Delivery) {
        let event = delivery.event();
        let (own_events, crm) =
            (self.connector.config.connector.own_events, self.connector.kind.name);
        if let Some(words) = self.passed_over(&delivery, own_events, crm).await {
            return self.acknowledge(delivery, "", words);
        }
        let mut targets = Vec::new();
        for (object, mapping) in self.mappings.iter().enumerate() {
            match mapping.row(event) {
                Ok(Some(row)) => targets.push((object, Arc::new(row))),
                Ok(None) => {}
                Err(reason) => {
                    let reason = format!("{}: {reason}", mapping.label());
                    return self.put_aside(delivery, &reason);
                }
            }
        }
        if crms::find(&event.provider).is_some() {
            targets.retain(|(object, _)| {
                !intake::names_a_foreign_record(event, &self.mappings[*object])
            });
            if self.is_repeated(&delivery, &targets).await {
                return self.acknowledge(delivery, "", "echo");
            }
        }
        if targets.is_empty() {
            return self.acknowledge(delivery, "", "skipped");
        }
        let number = self.next_job;
        self.next_job += 1;
        let collapse = self.collapse.clone().filter(|_| collapse::tells_only_a_status(event));
        if let Some(collapse) = collapse {
            let event = event.clone();
            self.work.spawn(async move {
                let looked = AssertUnwindSafe(collapse.is_overtaken(&event)).catch_unwind().await;
                // After a panic, which is a bug, the event is written as any other.
                Done::Looked(number, looked.unwrap_or(false))
            });
            self.jobs.insert(number, Job::new(delivery, targets));
        } else {
            self.jobs.insert(number, Job::new(delivery, targets));
            self.queue(number);
        }
    }

    /// Why an event is not written at all, for its timeline.
    async fn passed_over(
        &self,
        delivery: &Delivery,
        own_events: OwnEvents,
        crm: &str,
    ) -> Option<&'static str> {
        let event = delivery.event();
        let passes = intake::passes(event, own_events, crm);
        if event.provider != crm {
            return passes;
        }
        // Our own write comes back as the CRM's news: known by the record and what was written to it.
        let references = event.references.as_ref();
        let Some(record) = references.and_then(|all| all.metadata.get("record_id")) else {
            return passes;
        };
        for writer in &self.writers {
            // A memory that cannot be read lets nothing be written either: the batch gives the event back.
            let known = self.connector.memory.recall_records(writer.scope(), &[record]).await;
            let known = known.ok().and_then(|known| known.into_iter().next().flatten());
            if known.is_some_and(|known| is_ours(&known, event)) {
                return Some("echo");
            }
        }
        passes
    }

    /// Whether a CRM repeats what this connector wrote of the payment last. Which CRM it is does not matter:
    /// two that are told by one payment provider tell each other of the same change.
    async fn is_repeated(&self, delivery: &Delivery, targets: &[(usize, Arc<Row>)]) -> bool {
        let event = delivery.event();
        for (object, row) in targets.iter().filter(|_| !delivery.replay()) {
            let keys = row.keys.iter().filter(|key| intake::names_the_payment(event, key));
            let keys: Vec<&Key> = keys.collect();
            let scope = self.writers[*object].scope();
            // A memory that cannot be read lets nothing be written either: the batch gives the event back.
            let known = self.connector.memory.recall(scope, &keys).await.unwrap_or_default();
            if known.iter().flatten().any(|known| is_ours(known, event)) {
                return true;
            }
        }
        false
    }

    /// Its next row waits for a batch.
    pub(super) fn queue(&mut self, number: u64) {
        let Some(job) = self.jobs.get(&number) else { return };
        let Some((object, row)) = job.next_target() else { return };
        let row = Arc::clone(row);
        if self.collapse.is_some() && job.is_untouched() {
            self.pass_over_waiting(number, object, &row);
        }
        self.dispatch.push(object, Waiting { job: number, row });
    }

    /// Of events of several subjects that wait for one record, only the newest is written.
    fn pass_over_waiting(&mut self, number: u64, object: usize, row: &Row) {
        let Some(newer) = self.jobs.get(&number) else { return };
        let jobs = &self.jobs;
        let taken = self.dispatch.take_waiting(object, &row.keys, |waiting| {
            jobs.get(&waiting).is_some_and(|older| newer.makes_needless(older))
        });
        if let Some(job) = taken.and_then(|waiting| self.jobs.remove(&waiting.job)) {
            self.acknowledge(job.delivery, "", "collapsed");
        }
    }
}

/// Whether an event of a CRM tells what this connector wrote itself.
fn is_ours(known: &Known, event: &Event) -> bool {
    let occurred_at = event.occurred_at.map(|time| time.seconds);
    echo::is_ours(&known.statuses, &job::status_digest(event), occurred_at)
}
