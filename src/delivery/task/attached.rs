//! A consumer as its subscription's task sees it: what it may take and what it has.

use tokio::sync::mpsc;

use crate::delivery::budget::Budget;
use crate::delivery::consumer::{ConsumerOptions, Message};
use crate::delivery::spec::Settings;

/// A consumer as the task sees it.
pub(super) struct Attached {
    pub(super) name: String,
    pub(super) messages: mpsc::Sender<Message>,
    pub(super) max_outstanding: usize,
    pub(super) max_outstanding_bytes: usize,
    pub(super) outstanding: usize,
    pub(super) outstanding_bytes: usize,
    pub(super) credit: Option<usize>,
    pub(super) quiet: bool,
    pub(super) auto_ack: bool,
    pub(super) release_on_detach: bool,
    pub(super) budget: Budget,
    pub(super) caught_up: bool,
}

impl Attached {
    /// What a consumer asked for, within the subscription's limits.
    pub(super) fn new(
        options: ConsumerOptions,
        settings: &Settings,
        messages: mpsc::Sender<Message>,
    ) -> Attached {
        let within = |asked: Option<usize>, limit: usize| asked.unwrap_or(limit).clamp(1, limit);
        Attached {
            name: options.name,
            messages,
            max_outstanding: within(options.max_outstanding, settings.max_outstanding),
            max_outstanding_bytes: within(
                options.max_outstanding_bytes,
                settings.max_outstanding_bytes,
            ),
            outstanding: 0,
            outstanding_bytes: 0,
            credit: options.manual_credit.then_some(0),
            quiet: false,
            auto_ack: options.auto_ack,
            release_on_detach: options.release_on_detach,
            budget: options.budget,
            caught_up: false,
        }
    }

    /// Whether it may be handed another event now.
    pub(super) fn may_take(&self) -> bool {
        !self.quiet
            && self.outstanding < self.max_outstanding
            && self.outstanding_bytes < self.max_outstanding_bytes
            && self.credit != Some(0)
            && self.messages.capacity() > 1
            && !self.messages.is_closed()
            && self.budget.left() > 0
    }

    /// The largest event that it may be handed now. The first may be of any size.
    pub(super) fn max_bytes(&self) -> usize {
        if self.outstanding == 0 {
            return self.budget.left();
        }
        self.budget.left().min(self.max_outstanding_bytes - self.outstanding_bytes)
    }
}
