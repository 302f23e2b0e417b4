//! What Worldpay's events mean, by the name that each of its schemes gives them, and where the rank of each
//! stands in the life of a payment. Many facts of WPG have only a day, so that ranks decide within it.

use crate::model::{BankTransactionStatus, DisputeState, EntryState, PaymentStatus};

/// What an event says about a payment; the numbers are ranks of the evidence.
#[derive(Clone, Copy)]
pub(super) enum Meaning {
    /// How far the collection is.
    Collection(PaymentStatus, u8),
    Refund(EntryState, u8),
    Dispute(DisputeState, u8),
}

/// The types of Access Worldpay's payment events.
#[rustfmt::skip]
pub(super) const ACCESS: [(&str, Meaning); 18] = [
    ("sentForAuthorization", Meaning::Collection(PaymentStatus::Pending, 10)),
    ("refused", Meaning::Collection(PaymentStatus::Failed, 20)),
    ("error", Meaning::Collection(PaymentStatus::Failed, 20)),
    ("authorized", Meaning::Collection(PaymentStatus::Authorized, 30)),
    ("expired", Meaning::Collection(PaymentStatus::Canceled, 40)),
    ("requestExpired", Meaning::Collection(PaymentStatus::Canceled, 40)),
    ("cancelled", Meaning::Collection(PaymentStatus::Canceled, 42)),
    ("cancelledByCustomer", Meaning::Collection(PaymentStatus::Canceled, 42)),
    ("sentForSettlement", Meaning::Collection(PaymentStatus::Paid, 50)),
    ("settlementInstructed", Meaning::Collection(PaymentStatus::Paid, 51)),
    ("settled", Meaning::Collection(PaymentStatus::Paid, 55)),
    ("settlementFailed", Meaning::Collection(PaymentStatus::Failed, 57)),
    ("settlementRejected", Meaning::Collection(PaymentStatus::Failed, 57)),
    ("sentForRefund", Meaning::Refund(EntryState::Done, 70)),
    ("refunded", Meaning::Refund(EntryState::Done, 72)),
    ("refundFailed", Meaning::Refund(EntryState::Failed, 74)),
    ("informationRequested", Meaning::Dispute(DisputeState::Open, 80)),
    ("chargedBack", Meaning::Dispute(DisputeState::Lost, 90)),
];

/// The types of Access Worldpay's payout events; `refused` is one of them too.
pub(super) const PAYOUTS: [(&str, BankTransactionStatus, u8); 5] = [
    ("requested", BankTransactionStatus::Pending, 10),
    ("pending", BankTransactionStatus::Pending, 12),
    ("approved", BankTransactionStatus::Pending, 14),
    ("disbursed", BankTransactionStatus::Booked, 20),
    (PAYOUT_REFUSED, BankTransactionStatus::Failed, 30),
];

/// The type of a payout that was refused, which a payment's shares.
const PAYOUT_REFUSED: &str = "refused";

/// Access Worldpay's events that say nothing about money that was asked for.
pub(super) const SILENT: [&str; 1] = ["tokenCreated"];

/// The journal types of WPG.
#[rustfmt::skip]
pub(super) const WPG: [(&str, Meaning); 20] = [
    ("SENT_FOR_AUTHORISATION", Meaning::Collection(PaymentStatus::Pending, 10)),
    ("REFUSED", Meaning::Collection(PaymentStatus::Failed, 20)),
    ("ERROR", Meaning::Collection(PaymentStatus::Failed, 20)),
    ("AUTHORISED", Meaning::Collection(PaymentStatus::Authorized, 30)),
    ("EXPIRED", Meaning::Collection(PaymentStatus::Canceled, 40)),
    ("CANCELLED", Meaning::Collection(PaymentStatus::Canceled, 42)),
    ("CAPTURED", Meaning::Collection(PaymentStatus::Paid, 50)),
    ("CAPTURE_FAILED", Meaning::Collection(PaymentStatus::Failed, 52)),
    ("SETTLED", Meaning::Collection(PaymentStatus::Paid, 55)),
    ("SETTLED_BY_MERCHANT", Meaning::Collection(PaymentStatus::Paid, 56)),
    ("SENT_FOR_REFUND", Meaning::Refund(EntryState::Done, 70)),
    ("REFUNDED", Meaning::Refund(EntryState::Done, 72)),
    ("REFUNDED_BY_MERCHANT", Meaning::Refund(EntryState::Done, 73)),
    ("REFUND_FAILED", Meaning::Refund(EntryState::Failed, 74)),
    ("INFORMATION_REQUESTED", Meaning::Dispute(DisputeState::Open, 80)),
    ("INFORMATION_SUPPLIED", Meaning::Dispute(DisputeState::Open, 82)),
    ("DISPUTE_RESERVED_FUNDS", Meaning::Dispute(DisputeState::Open, 84)),
    ("DISPUTE_EXPIRED", Meaning::Dispute(DisputeState::Open, 86)),
    ("CHARGED_BACK", Meaning::Dispute(DisputeState::Lost, 90)),
    ("CHARGEBACK_REVERSED", Meaning::Dispute(DisputeState::Won, 95)),
];

/// What a dispute does to the status of its payment.
pub(super) fn disputed(state: DisputeState) -> PaymentStatus {
    match state {
        DisputeState::Open => PaymentStatus::Disputed,
        DisputeState::Won => PaymentStatus::Paid,
        DisputeState::Lost => PaymentStatus::ChargedBack,
    }
}

/// A payment's refunds and disputes are told without an id of their own in many set-ups.
pub(super) const CHARGEBACK: &str = "chargeback";

const COUNT: usize = ACCESS.len() + PAYOUTS.len() - 1 + SILENT.len() + WPG.len();

/// All names of both schemes.
pub(super) const EVENT_TYPES: [&str; COUNT] = {
    let mut names = [""; COUNT];
    let mut count = 0;
    let mut index = 0;
    while index < ACCESS.len() {
        names[count] = ACCESS[index].0;
        count += 1;
        index += 1;
    }
    index = 0;
    // The last is among the payments' already.
    while index < PAYOUTS.len() - 1 {
        names[count] = PAYOUTS[index].0;
        count += 1;
        index += 1;
    }
    index = 0;
    while index < SILENT.len() {
        names[count] = SILENT[index];
        count += 1;
        index += 1;
    }
    index = 0;
    while index < WPG.len() {
        names[count] = WPG[index].0;
        count += 1;
        index += 1;
    }
    names
};
