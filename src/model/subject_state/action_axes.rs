//! What was done with a payment request: the newest of what moves it, and the newest look at it. In come
//! facts with their keys, out comes what counts. Somebody who opens a link again after the checkout was
//! completed, expired or was withdrawn does not take it back.

use serde::{Deserialize, Serialize};

use super::key::{Key, Latest, raise};
use crate::model::{CustomerAction, CustomerActionFact};

/// What was done with a payment request.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ActionAxes {
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    moved: Option<Latest<CustomerActionFact>>,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    looked_at: Option<Latest<CustomerActionFact>>,
}

impl ActionAxes {
    /// Takes in one fact and tells whether anything was taken from it.
    pub fn merge(&mut self, key: Key, fact: &CustomerActionFact) -> bool {
        let axis = if is_look(fact.action) { &mut self.looked_at } else { &mut self.moved };
        raise(axis, key, fact.clone())
    }

    /// What counts; `None` before the first fact.
    pub fn current(&self) -> Option<&CustomerActionFact> {
        let over = |fact: &&Latest<CustomerActionFact>| is_over(fact.value.action);
        let current = match self.moved.as_ref().filter(over) {
            Some(over) => Some(over),
            None => self.moved.as_ref().max(self.looked_at.as_ref()),
        };
        current.map(|latest| &latest.value)
    }
}

/// Whether it only says that somebody looked.
fn is_look(action: CustomerAction) -> bool {
    match action {
        CustomerAction::LinkOpened | CustomerAction::InvoiceViewed => true,
        CustomerAction::CheckoutStarted
        | CustomerAction::CheckoutCompleted
        | CustomerAction::CheckoutExpired
        | CustomerAction::PartialPayment
        | CustomerAction::MandateChanged
        | CustomerAction::RequestCreated
        | CustomerAction::RequestAccepted
        | CustomerAction::RequestCanceled => false,
    }
}

/// Whether nothing more is to be done.
fn is_over(action: CustomerAction) -> bool {
    match action {
        CustomerAction::CheckoutCompleted
        | CustomerAction::CheckoutExpired
        | CustomerAction::RequestCanceled => true,
        CustomerAction::LinkOpened
        | CustomerAction::InvoiceViewed
        | CustomerAction::CheckoutStarted
        | CustomerAction::PartialPayment
        | CustomerAction::MandateChanged
        | CustomerAction::RequestCreated
        | CustomerAction::RequestAccepted => false,
    }
}
