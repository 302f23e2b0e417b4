//! Reading the log without a subscription: from a position that the caller keeps, over the tail where it
//! reaches, over pages of the store otherwise.

use std::sync::Arc;

use tokio::sync::watch;

use super::filter::Filter;
use super::{Error, Shared};
use crate::model::Sequence;
use crate::store::Logged;

/// How many events a page looks at.
const MAX_PAGE_EVENTS: usize = 512;
/// How many bytes of events a page has.
const MAX_PAGE_BYTES: usize = 512 * 1024;

/// A reader of the log.
pub struct Reader {
    shared: Arc<Shared>,
    filter: Filter,
    position: Sequence,
    head: watch::Receiver<Sequence>,
}

impl Reader {
    /// Reads on after `position`.
    pub fn new(shared: Arc<Shared>, filter: Filter, position: Sequence) -> Reader {
        let head = shared.tail.watch();
        Reader { shared, filter, position, head }
    }

    /// All up to here was looked at.
    pub fn position(&self) -> Sequence {
        self.position
    }

    /// Whether there is more to look at now.
    pub fn is_behind(&self) -> bool {
        self.position < self.shared.tail.head()
    }

    /// What of the next page the filter takes. It may be nothing while `is_behind` still holds.
    pub async fn page(&mut self) -> Result<Vec<Arc<Logged>>, Error> {
        let page = match self.shared.tail.read(self.position, MAX_PAGE_EVENTS) {
            Some(page) => page,
            None => {
                let store = &self.shared.store;
                store.events(self.position, MAX_PAGE_EVENTS, MAX_PAGE_BYTES).await?
            }
        };
        let Some(last) = page.last() else { return Ok(page) };
        let last = last.sequence;
        let mut taken = Vec::with_capacity(page.len());
        for logged in page {
            let takes = self.filter.takes(&logged, self.shared.codec);
            if takes.map_err(crate::store::Error::from)? {
                taken.push(logged);
            }
        }
        self.position = last;
        Ok(taken)
    }

    /// Waits until there is more to look at.
    pub async fn more(&mut self) {
        while !self.is_behind() {
            if self.head.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
