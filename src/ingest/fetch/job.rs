//! One stored receipt that waits for its provider's API, from its first try to its end: all of its facts
//! are committed, or it is denied, or it failed too often. In comes the receipt with its fetches; out go
//! commits that say what became of it. It is given up only with a state that shows why.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::Notify;

use super::groups::{Ask, Groups, Outcome};
use super::{Failure, Next, Settings};
use crate::ingest::{Clock, Error, Ingest, Registered};
use crate::model::{ReceiptNumber, Sequence};
use crate::providers::{Fetch, Translation};
use crate::receipt::{Parts, Receipt};
use crate::store::{NewReceipt, ReceiptState, Recorded, StoredReceipt};

/// A receipt with what is to be fetched for it.
pub struct Job {
    /// The receipt's number.
    pub number: ReceiptNumber,
    /// Whose it is.
    pub registered: Arc<Registered>,
    receipt: Receipt,
    fetches: Vec<Fetch>,
    /// Whether nothing proved or confirmed it yet.
    unconfirmed: bool,
    /// The events that it gave.
    sequences: Vec<Sequence>,
    /// The reason that the store shows.
    shown: String,
}

/// How a round of tries ended.
enum Round {
    /// The receipt has its final state.
    Ended,
    /// Something is left to try.
    Failed(Failure),
}

impl Job {
    /// A receipt that was just committed with the state of one that waits.
    pub fn new(
        recorded: &Recorded,
        receipt: &Receipt,
        registered: Arc<Registered>,
        fetches: Vec<Fetch>,
        unconfirmed: bool,
    ) -> Job {
        Job {
            number: recorded.receipt,
            registered,
            receipt: without_content(receipt),
            fetches,
            unconfirmed,
            sequences: recorded.sequences.clone(),
            shown: String::new(),
        }
    }

    /// A stored receipt, if it waits and translates to fetches.
    pub fn of_stored(stored: &StoredReceipt, registered: Arc<Registered>) -> Option<Job> {
        let (shown, unconfirmed) = match &stored.state {
            ReceiptState::Fetching(reason) => (reason.clone(), false),
            ReceiptState::Unconfirmed(reason) => (reason.clone(), true),
            ReceiptState::Translated
            | ReceiptState::Unknown(_)
            | ReceiptState::Unreadable(_)
            | ReceiptState::FetchFailed(_)
            | ReceiptState::Denied => return None,
        };
        let translation = (registered.provider.translate)(&stored.receipt, &registered.endpoint);
        let Ok(Translation::Fetches(fetches)) = translation else { return None };
        if fetches.is_empty() {
            return None;
        }
        Some(Job {
            number: stored.number,
            registered,
            receipt: without_content(&stored.receipt),
            fetches,
            unconfirmed,
            sequences: stored.sequences.clone(),
            shown,
        })
    }

    /// Tries until it ends. A notification has it tried at once.
    pub async fn run(
        mut self,
        ingest: Ingest,
        clock: Clock,
        groups: Arc<Groups>,
        wake: Arc<Notify>,
    ) {
        let mut attempts = 0_u32;
        loop {
            let name = &self.registered.endpoint.name;
            // Its secrets may have changed; a receipt whose endpoint is gone waits in the store.
            let Some(registered) = ingest.endpoints().by_name(name) else { return };
            self.registered = registered;
            let failure = match self.round(&ingest, &clock, &groups).await {
                Round::Ended => return,
                Round::Failed(failure) => failure,
            };
            if !matches!(failure.next, Next::Uncounted(_)) {
                attempts = attempts.saturating_add(1);
            }
            let wait = match self.after(&ingest, &clock, &failure, attempts).await {
                Some(wait) => wait,
                None => return,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = wake.notified() => attempts = 0,
            }
        }
    }

    /// Tries all fetches that are left, one after the other.
    async fn round(&mut self, ingest: &Ingest, clock: &Clock, groups: &Groups) -> Round {
        let mut left = Vec::new();
        let mut failed: Option<Failure> = None;
        let mut is_stored = false;
        let fetches = std::mem::take(&mut self.fetches);
        let last = fetches.len().saturating_sub(1);
        for (index, fetch) in fetches.into_iter().enumerate() {
            let is_end = index == last && failed.is_none();
            let ask = Ask {
                registered: self.registered.clone(),
                fetch: fetch.clone(),
                number: self.number,
                receipt: self.receipt.clone(),
                earlier: self.sequences.clone(),
                state: match is_end {
                    true => ReceiptState::Translated,
                    // One fetch that succeeds confirms it.
                    false => ReceiptState::Fetching(self.shown.clone()),
                },
            };
            match groups.run(ingest, clock, ask).await {
                Outcome::Done(recorded) => {
                    self.registered.meters.fetch_done.increment(1);
                    self.sequences = recorded.sequences;
                    self.confirm();
                    is_stored = is_end;
                }
                Outcome::Denied => self.registered.meters.fetch_denied.increment(1),
                Outcome::Failed(failure) => {
                    left.push(fetch);
                    failed = Some(failure);
                }
                Outcome::Stopped => return Round::Ended,
            }
        }
        self.fetches = left;
        match failed {
            Some(failure) => Round::Failed(failure),
            None if is_stored => Round::Ended,
            None if self.unconfirmed => self.end(ingest, ReceiptState::Denied).await,
            None => self.end(ingest, ReceiptState::Translated).await,
        }
    }

    fn confirm(&mut self) {
        if self.unconfirmed {
            self.unconfirmed = false;
            self.registered.health.remove_unconfirmed();
        }
    }

    /// How long to wait after a failure; `None` where the receipt is given up, and says so.
    async fn after(
        &mut self,
        ingest: &Ingest,
        clock: &Clock,
        failure: &Failure,
        attempts: u32,
    ) -> Option<Duration> {
        let endpoint = &self.registered.endpoint.name;
        let reason = failure.reason.as_str();
        tracing::warn!(%endpoint, receipt = %self.number, attempts, reason, "a fetch failed");
        self.registered.health.fail_fetch(clock(), reason.to_owned());
        let settings = ingest.outgoing.settings();
        let age = clock().duration_since(self.receipt.received_at());
        let end = match (self.unconfirmed, failure.next) {
            (true, _) if age > settings.unconfirmed_max_age => Some(ReceiptState::Denied),
            // Nobody else speaks for it: it waits until it is confirmed or too old.
            (true, _) => None,
            (false, Next::Never) => Some(ReceiptState::FetchFailed(reason.to_owned())),
            (false, _) if attempts >= settings.max_attempts => {
                Some(ReceiptState::FetchFailed(reason.to_owned()))
            }
            (false, _) => None,
        };
        if let Some(end) = end {
            self.registered.meters.fetch_failed.increment(1);
            if let Round::Ended = self.end(ingest, end).await {
                return None;
            }
        } else {
            self.registered.meters.fetch_retried.increment(1);
            self.show(ingest, reason).await;
        }
        Some(wait(settings, failure.next, attempts))
    }

    /// Lets the store show what went wrong, unless it does already.
    async fn show(&mut self, ingest: &Ingest, reason: &str) {
        if self.shown == reason {
            return;
        }
        let state = match self.unconfirmed {
            true => ReceiptState::Unconfirmed(reason.to_owned()),
            false => ReceiptState::Fetching(reason.to_owned()),
        };
        match ingest.submit(self.in_state(state), Vec::new()).await {
            Ok(_) => self.shown = reason.to_owned(),
            Err(error) => {
                tracing::warn!(%error, receipt = %self.number, "its state was not stored")
            }
        }
    }

    /// Commits the final state.
    async fn end(&mut self, ingest: &Ingest, state: ReceiptState) -> Round {
        match ingest.submit(self.in_state(state), Vec::new()).await {
            Ok(_) => {
                self.confirm();
                Round::Ended
            }
            Err(Error::Stopped) => Round::Ended,
            Err(error) => Round::Failed(Failure::again(format!("not stored: {error}"))),
        }
    }

    fn in_state(&self, state: ReceiptState) -> NewReceipt {
        NewReceipt {
            receipt: self.receipt.clone(),
            state,
            drafts: Vec::new(),
            retry_of: Some(self.number),
            earlier: self.sequences.clone(),
        }
    }
}

/// Exponential, with full jitter, and no sooner than the provider asked for.
pub fn wait(settings: &Settings, next: Next, attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(20);
    let most = settings.min_backoff.saturating_mul(1 << doublings).min(settings.max_backoff);
    let jittered = most.mul_f64(rand::rng().random_range(0.0..=1.0));
    let least = match next {
        Next::Again(wait) => wait.unwrap_or_default(),
        Next::Uncounted(left) => left,
        // Only an unconfirmed receipt is tried again then.
        Next::Never => settings.max_backoff,
    };
    // Full jitter alone may be no wait at all.
    jittered.max(settings.min_backoff / 10).max(least)
}

/// What a new translation of a stored receipt needs of it.
fn without_content(receipt: &Receipt) -> Receipt {
    Receipt::from_stored(Parts {
        endpoint: receipt.endpoint().clone(),
        received_at: receipt.received_at(),
        method: receipt.method().to_owned(),
        path: String::new(),
        headers: Vec::new(),
        body: bytes::Bytes::new(),
        verified_by: receipt.verified_by().to_owned(),
        digest: receipt.digest(),
    })
}
