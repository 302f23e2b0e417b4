//! A consumer and what it has.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::Sequence;

/// A consumer and what it has.
#[derive(Debug)]
pub(super) struct Consumer {
    pub name: Arc<str>,
    pub leases: BTreeSet<Sequence>,
    pub bytes: usize,
    /// Its stream ended and what it has stays until it is settled.
    pub gone: bool,
}

impl Default for Consumer {
    fn default() -> Consumer {
        Consumer { name: Arc::from(""), leases: BTreeSet::new(), bytes: 0, gone: false }
    }
}
