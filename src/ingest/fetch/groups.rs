//! Fetches of one object that wait at the same time run as one group: each with what its own webhook told,
//! all with the same answers. One group of an object runs at a time, so that a webhook that comes while
//! its object is being fetched has it fetched anew, and cursors move in one order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use tokio::sync::{Mutex as AsyncMutex, oneshot};

use super::Failure;
use super::steps::{Memo, Reached, Walk, walk};
use crate::ingest::{Clock, Error, Ingest, Registered};
use crate::model::{EndpointName, ReceiptNumber, Sequence};
use crate::providers::Fetch;
use crate::receipt::Receipt;
use crate::store::{EndpointValue, NewReceipt, ReceiptState, Recorded};

/// What the fetch of an object left to go on from is kept under.
const CURSOR: &str = "cursor:";

/// The groups that wait or run, by what they are about.
#[derive(Default)]
pub struct Groups {
    by_object: Mutex<HashMap<(EndpointName, String), Group>>,
}

#[derive(Default)]
struct Group {
    /// Held by the group that runs.
    turn: Turn,
    /// The group that waits. Its first member leads it.
    waiting: Vec<(Ask, oneshot::Sender<Outcome>)>,
}

/// Whoever holds it may fetch the object.
pub type Turn = Arc<AsyncMutex<()>>;

/// A fetch that a receipt asks for.
pub struct Ask {
    /// Whose it is.
    pub registered: Arc<Registered>,
    /// The fetch.
    pub fetch: Fetch,
    /// The receipt.
    pub number: ReceiptNumber,
    /// The receipt, without its content.
    pub receipt: Receipt,
    /// The events that it gave already.
    pub earlier: Vec<Sequence>,
    /// What becomes of the receipt if this gives its facts.
    pub state: ReceiptState,
}

/// How a fetch of a receipt ended.
pub enum Outcome {
    /// Its facts are committed.
    Done(Recorded),
    /// The provider does not know of it.
    Denied,
    /// It failed.
    Failed(Failure),
    /// The writer is stopped.
    Stopped,
}

impl Groups {
    /// Runs a fetch with all others of its object that wait, and commits what it gives.
    pub async fn run(&self, ingest: &Ingest, clock: &Clock, ask: Ask) -> Outcome {
        let (endpoint, object) = (ask.registered.endpoint.name.clone(), ask.fetch.object.clone());
        let (reply, outcome) = oneshot::channel();
        let (turn, leads) = {
            let mut groups = self.by_object.lock().unwrap_or_else(PoisonError::into_inner);
            let group = groups.entry((endpoint.clone(), object.clone())).or_default();
            let leads = group.waiting.is_empty();
            group.waiting.push((ask, reply));
            (group.turn.clone(), leads)
        };
        if leads {
            let held = turn.lock().await;
            let members = self.close(&endpoint, &object);
            run_all(ingest, clock, (&endpoint, &object), members).await;
            drop(held);
        }
        self.leave(&endpoint, &object, turn);
        outcome.await.unwrap_or_else(|_| {
            Outcome::Failed(Failure::again("the fetch of the object was given up".to_owned()))
        })
    }

    /// The turn of an object, for whoever fetches it without a receipt.
    pub fn turn(&self, endpoint: &EndpointName, object: &str) -> Turn {
        let mut groups = self.by_object.lock().unwrap_or_else(PoisonError::into_inner);
        groups.entry((endpoint.clone(), object.to_owned())).or_default().turn.clone()
    }

    /// Gives a turn back.
    pub fn leave(&self, endpoint: &EndpointName, object: &str, turn: Turn) {
        let key = (endpoint.clone(), object.to_owned());
        let mut groups = self.by_object.lock().unwrap_or_else(PoisonError::into_inner);
        drop(turn);
        let is_unused =
            |group: &Group| group.waiting.is_empty() && Arc::strong_count(&group.turn) == 1;
        if groups.get(&key).is_some_and(is_unused) {
            groups.remove(&key);
        }
    }

    /// Lets nobody join any more: who comes now waits for the next group.
    fn close(&self, endpoint: &EndpointName, object: &str) -> Vec<(Ask, oneshot::Sender<Outcome>)> {
        let mut groups = self.by_object.lock().unwrap_or_else(PoisonError::into_inner);
        let group = groups.get_mut(&(endpoint.clone(), object.to_owned()));
        group.map(|group| std::mem::take(&mut group.waiting)).unwrap_or_default()
    }
}

/// Where the last fetch of an object ended; empty at first.
pub async fn cursor(
    ingest: &Ingest,
    endpoint: &EndpointName,
    object: &str,
) -> Result<String, Failure> {
    let kept = ingest.store.value(endpoint, &format!("{CURSOR}{object}")).await;
    Ok(kept.map_err(|error| Failure::again(error.to_string()))?.unwrap_or_default())
}

/// A cursor as it is kept.
pub fn cursor_value(endpoint: &EndpointName, object: &str, value: String) -> EndpointValue {
    EndpointValue { endpoint: endpoint.clone(), name: format!("{CURSOR}{object}"), value }
}

/// Walks the members one after the other, so that they share answers, and commits what they give together.
async fn run_all(
    ingest: &Ingest,
    clock: &Clock,
    (endpoint, object): (&EndpointName, &str),
    members: Vec<(Ask, oneshot::Sender<Outcome>)>,
) {
    let cursor = cursor(ingest, endpoint, object).await;
    let mut memo = Memo::default();
    let mut reached = Vec::with_capacity(members.len());
    for (ask, reply) in members {
        let end = match &cursor {
            Ok(cursor) => {
                let of_ask = Walk {
                    registered: &ask.registered,
                    fetch: &ask.fetch,
                    received_at: ask.receipt.received_at(),
                    now: clock(),
                    cursor,
                };
                walk(ingest, of_ask, &mut memo).await
            }
            Err(failure) => Err(failure.clone()),
        };
        reached.push((ask, end, reply));
    }
    let commits = reached.into_iter().map(|(ask, end, reply)| async move {
        // Who asked may be gone: the store has it.
        let _ = reply.send(committed(ingest, ask, end).await);
    });
    join_all(commits).await;
}

async fn committed(ingest: &Ingest, ask: Ask, end: Result<Reached, Failure>) -> Outcome {
    let (drafts, cursor) = match end {
        Ok(Reached::Done { drafts, cursor, .. }) => (drafts, cursor),
        Ok(Reached::Denied) => return Outcome::Denied,
        Err(failure) => return Outcome::Failed(failure),
    };
    let endpoint = &ask.registered.endpoint.name;
    let moved = cursor.map(|value| cursor_value(endpoint, &ask.fetch.object, value));
    let new = NewReceipt {
        receipt: ask.receipt,
        state: ask.state,
        drafts,
        retry_of: Some(ask.number),
        earlier: ask.earlier,
    };
    match ingest.submit(new, moved.into_iter().collect()).await {
        Ok(recorded) => Outcome::Done(recorded),
        Err(Error::Stopped) => Outcome::Stopped,
        Err(error) => Outcome::Failed(Failure::again(format!("not stored: {error}"))),
    }
}
