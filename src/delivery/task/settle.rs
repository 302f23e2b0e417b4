//! Settling: acks, nacks and extensions go through the window, and what that changes is committed before
//! anybody is answered. A commit that fails is tried again with the same content, so that nothing that
//! the window has forgotten is lost; who waited for it is told that it failed.

use std::future::pending;

use rand::Rng;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Action, RETRY_AFTER_FAILURE, Settle, Task};
use crate::delivery::Error;
use crate::delivery::ack_id::AckId;
use crate::delivery::window::{AckNote, Freed, Settled, Verdict};
use crate::ingest::{self, Ingest};
use crate::model::Sequence;
use crate::store::{self, DeadLetterRow, PositionUpdate};

/// How many dead letters are read at once.
const DEAD_LETTER_PAGE: usize = 500;

/// What became of an ack, nack or extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckStatus {
    /// Done.
    Applied,
    /// Done before by the same delivery.
    Duplicate,
    /// The delivery had ended before.
    Stale,
    /// No delivery of this subscription ever had this id.
    Unknown,
}

/// Somebody who is to be told once the next commit is durable.
type Waiter = Box<dyn FnOnce(Result<(), ingest::Error>) + Send + Sync>;

/// The commits of one subscription: at most one under way.
pub(super) struct Commits {
    ingest: Ingest,
    under_way: Option<JoinHandle<(PositionUpdate, Result<(), ingest::Error>)>>,
    waiting_for_it: Vec<Waiter>,
    waiting_for_next: Vec<Waiter>,
    outcome: Option<(PositionUpdate, Result<(), ingest::Error>)>,
    /// The writer has stopped: what the window holds to be settled was not committed and never will be.
    stopped: bool,
}

impl Commits {
    pub(super) fn new(ingest: Ingest) -> Commits {
        Commits {
            ingest,
            under_way: None,
            waiting_for_it: Vec::new(),
            waiting_for_next: Vec::new(),
            outcome: None,
            stopped: false,
        }
    }

    /// Answers with `result` once what was decided so far is durable.
    pub(super) fn then<T: Send + Sync + 'static, E: From<ingest::Error> + Send + Sync + 'static>(
        &mut self,
        result: Result<T, E>,
        reply: oneshot::Sender<Result<T, E>>,
    ) {
        self.waiting_for_next.push(Box::new(move |committed| {
            let _ = reply.send(match committed {
                Ok(()) => result,
                Err(error) => Err(E::from(error)),
            });
        }));
    }

    /// Nothing is under way and nobody waits.
    pub(super) fn settled(&self) -> bool {
        self.under_way.is_none() && self.outcome.is_none() && self.waiting_for_next.is_empty()
    }

    /// Waits until the commit under way has ended; for ever if there is none.
    pub(super) async fn finished(&mut self) {
        let Some(commit) = &mut self.under_way else { return pending().await };
        // The commit only panics if the writer does; then the gateway is stopping.
        if let Ok(outcome) = commit.await {
            self.outcome = Some(outcome);
        }
        self.under_way = None;
    }

    /// Takes in the commit that has ended, if one has: true if it succeeded.
    fn take_in(&mut self) -> bool {
        match self.outcome.take() {
            None => false,
            Some((_, Ok(()))) => {
                tell(&mut self.waiting_for_it, &Ok(()));
                true
            }
            Some((update, Err(error))) => {
                tell(&mut self.waiting_for_it, &Err(error.clone()));
                tell(&mut self.waiting_for_next, &Err(error.clone()));
                self.stopped = error == ingest::Error::Stopped;
                if !self.stopped {
                    self.begin(update, true);
                }
                false
            }
        }
    }

    /// Begins the next commit, or tells those who wait at once if there is nothing to commit.
    fn go_on(&mut self, next: impl FnOnce() -> Option<PositionUpdate>) {
        if self.under_way.is_some() {
            return;
        }
        // Only a restart knows what is durable; an ack that is repeated must not be confirmed meanwhile.
        if self.stopped {
            return tell(&mut self.waiting_for_next, &Err(ingest::Error::Stopped));
        }
        match next() {
            Some(update) => {
                self.waiting_for_it = std::mem::take(&mut self.waiting_for_next);
                self.begin(update, false);
            }
            None => tell(&mut self.waiting_for_next, &Ok(())),
        }
    }

    fn begin(&mut self, update: PositionUpdate, again: bool) {
        let ingest = self.ingest.clone();
        self.under_way = Some(tokio::spawn(async move {
            if again {
                tokio::time::sleep(RETRY_AFTER_FAILURE).await;
            }
            let result = ingest.record(update.clone()).await;
            (update, result)
        }));
    }
}

fn tell(waiters: &mut Vec<Waiter>, result: &Result<(), ingest::Error>) {
    for waiter in waiters.drain(..) {
        waiter(result.clone());
    }
}

impl Task {
    /// Commits what the window changed, unless a commit is under way.
    pub(super) fn record(&mut self) {
        if self.commits.take_in() {
            self.window.committed();
        }
        let now = self.now();
        let (window, meters, id) = (&mut self.window, &self.meters, self.id);
        self.commits.go_on(|| {
            let update = window.take_update(id, now)?;
            let buried = update.dead_letters.iter().filter(|row| !row.replaying).count();
            meters.dead_letters.increment(buried as u64);
            Some(update)
        });
    }

    /// Settles deliveries; the answer follows once that is durable.
    pub(super) fn settle(
        &mut self,
        items: Vec<Settle>,
        reply: oneshot::Sender<Result<Vec<AckStatus>, ingest::Error>>,
    ) {
        let statuses = items.into_iter().map(|item| self.settle_one(item)).collect();
        self.commits.then(Ok(statuses), reply);
    }

    fn settle_one(&mut self, item: Settle) -> AckStatus {
        let head = self.shared.tail.head();
        let known = AckId::decode(&item.ack_id)
            .filter(|id| id.subscription == self.id && id.sequence <= head);
        let Some(id) = known else { return AckStatus::Unknown };
        let now = self.now();
        let settled = match item.action {
            Action::Ack { external_ref, outcome } => {
                let note = (!external_ref.is_empty() || !outcome.is_empty())
                    .then_some(AckNote { external_ref, outcome });
                self.window.ack(now, id.sequence, id.lease, note)
            }
            Action::Nack(nack) => {
                let jitter = rand::rng().random();
                self.window.nack(now, id.sequence, id.lease, &nack, jitter)
            }
            Action::Extend(extension) => {
                let extension = extension.unwrap_or(self.spec.settings.ack_deadline);
                let verdict = self.window.extend(now, id.sequence, id.lease, extension);
                Settled { verdict, freed: None }
            }
        };
        if let Some(freed) = settled.freed {
            self.meters.settled.increment(1);
            self.free(freed);
        }
        match settled.verdict {
            Verdict::Applied => AckStatus::Applied,
            Verdict::Duplicate => AckStatus::Duplicate,
            Verdict::Stale => AckStatus::Stale,
        }
    }

    /// A delivery is no longer with its consumer.
    pub(super) fn free(&mut self, freed: Freed) {
        if let Some(attached) = self.consumers.get_mut(&freed.consumer) {
            attached.outstanding = attached.outstanding.saturating_sub(1);
            attached.outstanding_bytes = attached.outstanding_bytes.saturating_sub(freed.bytes);
            attached.budget.give_back(freed.bytes);
        }
    }

    /// Marks dead letters for replay.
    pub(super) async fn replay(&mut self, which: Option<Vec<Sequence>>) -> Result<i64, Error> {
        let mut replayed = 0;
        for row in self.chosen(which).await?.into_iter().filter(|row| !row.replaying) {
            self.look_up_if_needed(&[row.subject]).await?;
            let now = self.now();
            if self.window.replay(now, row).is_ok() {
                replayed += 1;
            }
        }
        Ok(replayed)
    }

    /// Gives dead letters up.
    pub(super) async fn discard(&mut self, which: Option<Vec<Sequence>>) -> Result<i64, Error> {
        let mut discarded = 0;
        for row in self.chosen(which).await? {
            self.look_up_if_needed(&[row.subject]).await?;
            let now = self.now();
            if let Ok(freed) = self.window.discard(now, row.sequence, row.subject) {
                discarded += 1;
                freed.into_iter().for_each(|freed| self.free(freed));
            }
        }
        self.dead_letters = (self.dead_letters - discarded).max(0);
        Ok(discarded)
    }

    async fn chosen(
        &self,
        which: Option<Vec<Sequence>>,
    ) -> Result<Vec<DeadLetterRow>, store::Error> {
        let store = &self.shared.store;
        let mut rows = Vec::new();
        match which {
            Some(sequences) => {
                for sequence in sequences {
                    rows.extend(store.dead_letter(self.id, sequence).await?);
                }
            }
            None => {
                let mut after = Sequence(0);
                loop {
                    let page = store.dead_letters(self.id, after, DEAD_LETTER_PAGE, false).await?;
                    let Some(last) = page.last() else { break };
                    after = last.sequence;
                    rows.extend(page);
                }
            }
        }
        Ok(rows)
    }
}
