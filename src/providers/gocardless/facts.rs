//! What GoCardless's events mean, by the type of their resource and their action, and where the rank of
//! each stands in the life of what it is about.

use crate::model::{
    BankTransactionStatus, CustomerAction, DisputeState, EntryState, InvoiceStatus, PaymentStatus,
};

/// What an event says; the numbers are ranks of the evidence.
#[derive(Clone, Copy)]
pub(super) enum Meaning {
    /// How far the collection is.
    Payment(PaymentStatus, u8),
    Chargeback(DisputeState, u8),
    Refund(EntryState, u8),
    /// Of the resource in this collection, whose money goes this way.
    Bank(Account, BankTransactionStatus, u8),
    Mandate(u8),
    BillingRequest(CustomerAction, u8),
    Instalments(InvoiceStatus, u8),
    /// About agreements whose payments have events of their own.
    Silent,
}

/// A collection of what moves on bank accounts.
#[derive(Clone, Copy)]
pub(super) enum Account {
    Payouts,
    OutboundPayments,
    Credits,
    Debits,
}

impl Meaning {
    /// Where the API has what the event leaves out; `None` where it tells all.
    pub(super) fn collection(self) -> Option<&'static str> {
        match self {
            Meaning::Payment(..) | Meaning::Chargeback(..) => Some("payments"),
            Meaning::Refund(..) => Some("refunds"),
            Meaning::Bank(account, ..) => Some(account.collection()),
            Meaning::Mandate(_)
            | Meaning::BillingRequest(..)
            | Meaning::Instalments(..)
            | Meaning::Silent => None,
        }
    }

    /// The name of the link to the resource.
    pub(super) fn link(self) -> &'static str {
        match self {
            Meaning::Payment(..) | Meaning::Chargeback(..) => "payment",
            Meaning::Refund(..) => "refund",
            Meaning::Bank(Account::Payouts, ..) => "payout",
            Meaning::Bank(Account::OutboundPayments, ..) => "outbound_payment",
            Meaning::Bank(Account::Credits | Account::Debits, ..) => "payment_account_transaction",
            Meaning::Mandate(_) => "mandate",
            Meaning::BillingRequest(..) => "billing_request",
            Meaning::Instalments(..) => "instalment_schedule",
            Meaning::Silent => "",
        }
    }
}

impl Account {
    /// Its name in the API, which is also that of the object in an answer.
    pub(super) fn collection(self) -> &'static str {
        match self {
            Account::Payouts => "payouts",
            Account::OutboundPayments => "outbound_payments",
            Account::Credits | Account::Debits => "payment_account_transactions",
        }
    }

    /// Whether money goes out of the merchant's accounts.
    pub(super) fn is_out(self) -> bool {
        match self {
            Account::Payouts | Account::Credits => false,
            Account::OutboundPayments | Account::Debits => true,
        }
    }
}

/// The event types.
#[rustfmt::skip]
pub(super) const EVENTS: [(&str, Meaning); 69] = [
    ("payments.created", Meaning::Payment(PaymentStatus::Pending, 10)),
    ("payments.customer_approval_granted", Meaning::Payment(PaymentStatus::Pending, 12)),
    ("payments.customer_approval_denied", Meaning::Payment(PaymentStatus::Canceled, 30)),
    ("payments.submitted", Meaning::Payment(PaymentStatus::Pending, 20)),
    ("payments.resubmission_requested", Meaning::Payment(PaymentStatus::Pending, 45)),
    ("payments.cancelled", Meaning::Payment(PaymentStatus::Canceled, 32)),
    ("payments.failed", Meaning::Payment(PaymentStatus::Failed, 40)),
    ("payments.confirmed", Meaning::Payment(PaymentStatus::Paid, 50)),
    ("payments.paid_out", Meaning::Payment(PaymentStatus::Paid, 60)),
    ("payments.late_failure_settled", Meaning::Payment(PaymentStatus::Failed, 70)),
    ("payments.charged_back", Meaning::Chargeback(DisputeState::Open, 80)),
    ("payments.chargeback_cancelled", Meaning::Chargeback(DisputeState::Won, 90)),
    ("payments.chargeback_settled", Meaning::Chargeback(DisputeState::Lost, 100)),
    ("refunds.created", Meaning::Refund(EntryState::Done, 72)),
    ("refunds.paid", Meaning::Refund(EntryState::Done, 74)),
    ("refunds.refund_settled", Meaning::Refund(EntryState::Done, 76)),
    ("refunds.failed", Meaning::Refund(EntryState::Failed, 78)),
    ("refunds.bounced", Meaning::Refund(EntryState::Failed, 78)),
    ("refunds.funds_returned", Meaning::Refund(EntryState::Failed, 79)),
    ("mandates.created", Meaning::Mandate(10)),
    ("mandates.customer_approval_granted", Meaning::Mandate(12)),
    ("mandates.customer_approval_skipped", Meaning::Mandate(12)),
    ("mandates.submitted", Meaning::Mandate(20)),
    ("mandates.active", Meaning::Mandate(30)),
    ("mandates.reinstated", Meaning::Mandate(50)),
    ("mandates.transferred", Meaning::Mandate(40)),
    ("mandates.replaced", Meaning::Mandate(40)),
    ("mandates.resubmission_requested", Meaning::Mandate(40)),
    ("mandates.consumed", Meaning::Mandate(60)),
    ("mandates.blocked", Meaning::Mandate(60)),
    ("mandates.cancelled", Meaning::Mandate(60)),
    ("mandates.failed", Meaning::Mandate(60)),
    ("mandates.expired", Meaning::Mandate(60)),
    ("billing_requests.created", Meaning::BillingRequest(CustomerAction::RequestCreated, 10)),
    ("billing_requests.flow_created", Meaning::BillingRequest(CustomerAction::RequestCreated, 12)),
    ("billing_requests.flow_visited", Meaning::BillingRequest(CustomerAction::LinkOpened, 20)),
    ("billing_requests.flow_exited", Meaning::BillingRequest(CustomerAction::LinkOpened, 22)),
    ("billing_requests.collect_customer_details", Meaning::BillingRequest(CustomerAction::CheckoutStarted, 30)),
    ("billing_requests.collect_bank_account", Meaning::BillingRequest(CustomerAction::CheckoutStarted, 32)),
    ("billing_requests.payer_details_confirmed", Meaning::BillingRequest(CustomerAction::RequestAccepted, 40)),
    ("billing_requests.bank_authorisation_visited", Meaning::BillingRequest(CustomerAction::CheckoutStarted, 34)),
    ("billing_requests.bank_authorisation_authorised", Meaning::BillingRequest(CustomerAction::RequestAccepted, 44)),
    ("billing_requests.bank_authorisation_denied", Meaning::BillingRequest(CustomerAction::CheckoutStarted, 42)),
    ("billing_requests.bank_authorisation_failed", Meaning::BillingRequest(CustomerAction::CheckoutStarted, 42)),
    ("billing_requests.bank_authorisation_expired", Meaning::BillingRequest(CustomerAction::CheckoutStarted, 42)),
    ("billing_requests.fulfilled", Meaning::BillingRequest(CustomerAction::CheckoutCompleted, 60)),
    ("billing_requests.cancelled", Meaning::BillingRequest(CustomerAction::RequestCanceled, 50)),
    ("billing_requests.failed", Meaning::BillingRequest(CustomerAction::RequestCanceled, 50)),
    ("instalment_schedules.created", Meaning::Instalments(InvoiceStatus::Open, 10)),
    ("instalment_schedules.creation_failed", Meaning::Instalments(InvoiceStatus::PaymentFailed, 20)),
    ("instalment_schedules.errored", Meaning::Instalments(InvoiceStatus::PaymentFailed, 20)),
    ("instalment_schedules.cancelled", Meaning::Instalments(InvoiceStatus::Void, 30)),
    ("instalment_schedules.completed", Meaning::Instalments(InvoiceStatus::Paid, 40)),
    ("payouts.paid", Meaning::Bank(Account::Payouts, BankTransactionStatus::Booked, 20)),
    ("payouts.fx_rate_confirmed", Meaning::Silent),
    ("outbound_payments.created", Meaning::Bank(Account::OutboundPayments, BankTransactionStatus::Pending, 10)),
    ("outbound_payments.scheduled", Meaning::Bank(Account::OutboundPayments, BankTransactionStatus::Pending, 12)),
    ("outbound_payments.executing", Meaning::Bank(Account::OutboundPayments, BankTransactionStatus::Pending, 14)),
    ("outbound_payments.executed", Meaning::Bank(Account::OutboundPayments, BankTransactionStatus::Booked, 20)),
    ("outbound_payments.failed", Meaning::Bank(Account::OutboundPayments, BankTransactionStatus::Failed, 30)),
    ("outbound_payments.cancelled", Meaning::Bank(Account::OutboundPayments, BankTransactionStatus::Removed, 30)),
    ("payment_account_transactions.credited", Meaning::Bank(Account::Credits, BankTransactionStatus::Booked, 20)),
    ("payment_account_transactions.debited", Meaning::Bank(Account::Debits, BankTransactionStatus::Booked, 20)),
    ("subscriptions.created", Meaning::Silent),
    ("subscriptions.payment_created", Meaning::Silent),
    ("subscriptions.amended", Meaning::Silent),
    ("subscriptions.paused", Meaning::Silent),
    ("subscriptions.finished", Meaning::Silent),
    ("subscriptions.cancelled", Meaning::Silent),
];

/// Their names.
pub(super) const EVENT_TYPES: [&str; EVENTS.len()] = {
    let mut names = [""; EVENTS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = EVENTS[index].0;
        index += 1;
    }
    names
};
