//! The newest events in memory, shared by every stream that is up to date: they never touch the store.
//! Commits push, readers read on from a sequence; who fell behind what is kept reads pages from the
//! store. Bounded in events and bytes.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::model::Sequence;
use crate::store::Logged;

/// How many events are kept.
const MAX_EVENTS: usize = 4096;
/// How many bytes of encoded events are kept.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The newest events.
pub struct Tail {
    kept: RwLock<Kept>,
    head: watch::Sender<Sequence>,
}

struct Kept {
    events: VecDeque<Arc<Logged>>,
    bytes: usize,
}

impl Tail {
    /// An empty tail behind a log that ends at `head`.
    pub fn new(head: Sequence) -> Tail {
        let kept = RwLock::new(Kept { events: VecDeque::new(), bytes: 0 });
        Tail { kept, head: watch::Sender::new(head) }
    }

    /// Takes the events of a commit and wakes the readers.
    pub fn push(&self, events: &[Arc<Logged>]) {
        let Some(last) = events.last() else { return };
        {
            let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
            for event in events {
                kept.bytes += event.encoded.len();
                kept.events.push_back(event.clone());
            }
            while kept.events.len() > MAX_EVENTS || kept.bytes > MAX_BYTES {
                let Some(dropped) = kept.events.pop_front() else { break };
                kept.bytes -= dropped.encoded.len();
            }
        }
        self.head.send_replace(last.sequence);
    }

    /// Events after a sequence, at most `max`; empty at the end. `None` if they are no longer kept.
    pub fn read(&self, after: Sequence, max: usize) -> Option<Vec<Arc<Logged>>> {
        if after >= self.head() {
            return Some(Vec::new());
        }
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let first = kept.events.front()?.sequence;
        let skip = usize::try_from(after.0 + 1 - first.0).ok()?;
        Some(kept.events.iter().skip(skip).take(max).cloned().collect())
    }

    /// The last sequence.
    pub fn head(&self) -> Sequence {
        *self.head.borrow()
    }

    /// Tells of each new head.
    pub fn watch(&self) -> watch::Receiver<Sequence> {
        self.head.subscribe()
    }
}
