//! The leases that ended last: by them a repeated ack or nack is told from a stale one. Bounded; what it
//! has forgotten is called stale.

use std::collections::{HashMap, VecDeque};

use super::LeaseId;
use crate::model::Sequence;

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Acked,
    Nacked,
}

/// The leases that ended last by an ack or a nack.
#[derive(Debug, Default)]
pub(super) struct Recent {
    pub(super) ended: HashMap<(Sequence, LeaseId), Ended>,
    order: VecDeque<(Sequence, LeaseId)>,
}

impl Recent {
    pub(super) fn add(&mut self, sequence: Sequence, lease: LeaseId, ended: Ended, max: usize) {
        if self.order.len() >= max
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
        self.order.push_back((sequence, lease));
        self.ended.insert((sequence, lease), ended);
    }
}
