//! What is known of an invoice: the newest report of its provider, the day on which it is due, and how far
//! due dates have passed. In come facts with their keys, out comes the status. That a due date has passed
//! is a fact of its own, which no report of an open invoice takes back: only money, an end of the invoice or
//! a later due date does. So it never beats a payment, and an open invoice that is reported late stays
//! overdue.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::key::{Key, Latest, raise};
use crate::model::{InvoiceFact, InvoiceStatus};

/// What is known of an invoice.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct InvoiceAxes {
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    reported: Option<Latest<InvoiceFact>>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    due: Option<Latest<Date>>,
    /// Up to this due date an open invoice is overdue.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    overdue_through: Option<Date>,
}

impl InvoiceAxes {
    /// Takes in one fact and tells whether anything was taken from it. `|` and not `||`: every part must
    /// take its share.
    pub fn merge(&mut self, key: Key, fact: &InvoiceFact) -> bool {
        let through = fact.due_date.filter(|_| fact.status == InvoiceStatus::Overdue);
        let further = through > self.overdue_through;
        if further {
            self.overdue_through = through;
        }
        further
            | fact.due_date.is_some_and(|due| raise(&mut self.due, key, due))
            | raise(&mut self.reported, key, fact.clone())
    }

    /// The newest report.
    pub fn reported(&self) -> Option<&InvoiceFact> {
        self.reported.as_ref().map(|latest| &latest.value)
    }

    /// The status; `None` before the first fact.
    pub fn status(&self) -> Option<InvoiceStatus> {
        let reported = self.reported()?.status;
        let overdue = self.due_date().is_some_and(|due| Some(due) <= self.overdue_through);
        Some(if is_open(reported) && overdue { InvoiceStatus::Overdue } else { reported })
    }

    /// The day on which it is due.
    pub fn due_date(&self) -> Option<Date> {
        self.due.map(|latest| latest.value)
    }

    /// The due date after whose end it is overdue; `None` where it is paid, over, or overdue already.
    pub fn awaited(&self) -> Option<Date> {
        let is_open = self.status().is_some_and(is_open);
        self.due_date().filter(|_| is_open)
    }
}

fn is_open(status: InvoiceStatus) -> bool {
    match status {
        InvoiceStatus::Open | InvoiceStatus::PartiallyPaid => true,
        InvoiceStatus::Draft
        | InvoiceStatus::Paid
        | InvoiceStatus::Overdue
        | InvoiceStatus::PaymentFailed
        | InvoiceStatus::Void
        | InvoiceStatus::Uncollectible
        | InvoiceStatus::PartiallyRefunded
        | InvoiceStatus::Refunded
        | InvoiceStatus::Disputed => false,
    }
}
