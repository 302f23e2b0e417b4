//! What Wise's event types are about.

/// What a notification is about.
#[derive(Clone, Copy)]
pub(super) enum Meaning {
    TransferState,
    TransferRefund,
    PayoutFailure,
    ActiveCases,
    BatchPayment,
    CardDispute,
    Balance,
    PayIn,
    SwiftCredit,
    CardTransaction,
    Settlement,
    /// About profiles, users and cards themselves, not about money.
    Silent,
}

/// The event types.
#[rustfmt::skip]
pub(super) const EVENTS: [(&str, Meaning); 23] = [
    ("transfers#state-change", Meaning::TransferState),
    ("transfers#refund", Meaning::TransferRefund),
    ("transfers#payout-failure", Meaning::PayoutFailure),
    ("transfers#active-cases", Meaning::ActiveCases),
    ("balances#update", Meaning::Balance),
    ("balances#credit", Meaning::Balance),
    ("account-details-payment#state-change", Meaning::PayIn),
    ("swift-in#credit", Meaning::SwiftCredit),
    ("batch-payment-initiations#state-change", Meaning::BatchPayment),
    ("bulk-settlement#payment-received", Meaning::Settlement),
    ("transaction-disputes#update", Meaning::CardDispute),
    ("cards#transaction-state-change", Meaning::CardTransaction),
    ("balances#account-state-change", Meaning::Silent),
    ("profiles#verification-state-change", Meaning::Silent),
    ("profiles#cdd-check-state-change", Meaning::Silent),
    ("profiles#overdraft-limit-threshold", Meaning::Silent),
    ("users#state-change", Meaning::Silent),
    ("cards#card-status-change", Meaning::Silent),
    ("cards#card-order-status-change", Meaning::Silent),
    ("cards#card-production-status-change", Meaning::Silent),
    ("kyc-reviews#state-change", Meaning::Silent),
    ("partner-support#case-changed", Meaning::Silent),
    ("account-details-order#order-state-change", Meaning::Silent),
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

/// What an event type means; `None` for one that is not known. Whatever happens to a profile, a user or
/// the state of a card is no matter of money, whatever it is called.
pub(super) fn meaning(event_type: &str) -> Option<Meaning> {
    let row = EVENTS.iter().find(|(name, _)| *name == event_type);
    let silent = || {
        event_type.starts_with("profiles#")
            || event_type.starts_with("users#")
            || (event_type.starts_with("cards#") && event_type.ends_with("-status-change"))
    };
    row.map(|(_, meaning)| *meaning).or_else(|| silent().then_some(Meaning::Silent))
}
