//! How many bytes of unacknowledged events may be under way on one client connection, all of its
//! streams together. A client that leaves streams unread fills its own connection window, and then even
//! the reply to an ack could not reach it; kept below what clients give a connection, acks always pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Below the connection window of the usual clients (5 MiB in hyper), with room for replies.
pub const MAX_CONNECTION_BYTES: usize = 3 * 1024 * 1024;

/// The budget of one connection, shared by its streams.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    used: Arc<AtomicUsize>,
}

impl Budget {
    /// How many bytes are left. All of them while nothing is under way, so that an event larger than
    /// the budget passes alone.
    pub fn left(&self) -> usize {
        match self.used.load(Ordering::Relaxed) {
            0 => usize::MAX,
            used => MAX_CONNECTION_BYTES.saturating_sub(used),
        }
    }

    /// Takes bytes.
    pub fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives bytes back.
    pub fn give_back(&self, bytes: usize) {
        let less = |used: usize| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}
