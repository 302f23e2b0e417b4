//! What Mollie's webhooks are called and mean: the next-generation event types, and the names that the
//! module gives to the states of the classic form, which has none of its own.

use crate::model::{BankTransactionStatus, InvoiceStatus};

/// What a next-generation event is about.
#[derive(Clone, Copy)]
pub(super) enum Meaning {
    LinkPaid,
    Invoice(InvoiceStatus),
    Dispute {
        resolved: bool,
    },
    Bank(BankTransactionStatus, Direction),
    /// About accounts and files, not about money.
    Silent,
}

/// Which way the money of a bank event goes.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    /// As the sign of the amount tells.
    AsWritten,
    Out,
}

/// The next-generation event types.
#[rustfmt::skip]
pub(super) const EVENTS: [(&str, Meaning); 35] = [
    ("payment-link.paid", Meaning::LinkPaid),
    ("sales-invoice.created", Meaning::Invoice(InvoiceStatus::Draft)),
    ("sales-invoice.issued", Meaning::Invoice(InvoiceStatus::Open)),
    ("sales-invoice.paid", Meaning::Invoice(InvoiceStatus::Paid)),
    ("sales-invoice.canceled", Meaning::Invoice(InvoiceStatus::Void)),
    ("dispute.created", Meaning::Dispute { resolved: false }),
    ("dispute.updated", Meaning::Dispute { resolved: false }),
    ("dispute.resolved", Meaning::Dispute { resolved: true }),
    ("unmatched-credit-transfer.received", bank(BankTransactionStatus::Pending)),
    ("unmatched-credit-transfer.matched", bank(BankTransactionStatus::Booked)),
    ("unmatched-credit-transfer.returned", bank(BankTransactionStatus::Returned)),
    ("unmatched-credit-transfer.expired", bank(BankTransactionStatus::Removed)),
    ("balance-transaction.created", bank(BankTransactionStatus::Booked)),
    ("business-account-transfer.requested", bank_out(BankTransactionStatus::Pending)),
    ("business-account-transfer.initiated", bank_out(BankTransactionStatus::Pending)),
    ("business-account-transfer.pending-review", bank_out(BankTransactionStatus::Pending)),
    ("business-account-transfer.processed", bank_out(BankTransactionStatus::Booked)),
    ("business-account-transfer.failed", bank_out(BankTransactionStatus::Failed)),
    ("business-account-transfer.blocked", bank_out(BankTransactionStatus::Failed)),
    ("business-account-transfer.returned", bank_out(BankTransactionStatus::Returned)),
    ("payout.initiated", bank(BankTransactionStatus::Pending)),
    ("payout.processing-at-bank", bank(BankTransactionStatus::Pending)),
    ("payout.completed", bank(BankTransactionStatus::Booked)),
    ("payout.canceled", bank(BankTransactionStatus::Removed)),
    ("payout.failed", bank(BankTransactionStatus::Failed)),
    ("connect-balance-transfer.succeeded", bank(BankTransactionStatus::Booked)),
    ("connect-balance-transfer.failed", bank(BankTransactionStatus::Failed)),
    ("profile.created", Meaning::Silent),
    ("profile.verified", Meaning::Silent),
    ("profile.blocked", Meaning::Silent),
    ("profile.deleted", Meaning::Silent),
    ("file.accepted", Meaning::Silent),
    ("file.rejected", Meaning::Silent),
    ("file.failed", Meaning::Silent),
    ("hook.ping", Meaning::Silent),
];

/// What the states that a classic webhook may lead to are called.
pub(super) const STATES: [&str; 17] = [
    "payment.open",
    "payment.pending",
    "payment.failed",
    "payment.authorized",
    "payment.canceled",
    "payment.expired",
    "payment.paid",
    "payment.partially_refunded",
    "payment.refunded",
    "payment.charged_back",
    "order.created",
    "order.authorized",
    "order.shipping",
    "order.paid",
    "order.completed",
    "order.canceled",
    "order.expired",
];

/// All names that drafts have.
pub(super) const EVENT_TYPES: [&str; STATES.len() + EVENTS.len()] = {
    let mut names = [""; STATES.len() + EVENTS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = match index < STATES.len() {
            true => STATES[index],
            false => EVENTS[index - STATES.len()].0,
        };
        index += 1;
    }
    names
};

const fn bank(status: BankTransactionStatus) -> Meaning {
    Meaning::Bank(status, Direction::AsWritten)
}

const fn bank_out(status: BankTransactionStatus) -> Meaning {
    Meaning::Bank(status, Direction::Out)
}
