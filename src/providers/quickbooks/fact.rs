//! The facts that QuickBooks objects come down to: status and amount come in, a fact goes out.

use crate::model::{
    BankTransactionFact, BankTransactionStatus, Collection, CustomerAction, CustomerActionFact,
    Entry, EntryState, Fact, Money, PaymentFact, PaymentStatus,
};

pub(super) fn taken(status: PaymentStatus, amount: Option<Money>) -> Fact {
    // A void shows zero where the amount was, which was asked for all the same.
    let stated = amount.filter(|_| status == PaymentStatus::Paid);
    Fact::Payment(PaymentFact {
        status: Some(status),
        amount,
        collection: Some(Collection { status, total: stated, paid: stated }),
        ..PaymentFact::default()
    })
}

/// A refund receipt stands for a sale that is not named, which was paid and is given back.
pub(super) fn given_back(id: &str, state: EntryState, amount: Option<Money>) -> Fact {
    let (status, collected) = match state {
        EntryState::Done => (PaymentStatus::Refunded, PaymentStatus::Paid),
        EntryState::Pending | EntryState::Failed => {
            (PaymentStatus::Canceled, PaymentStatus::Canceled)
        }
    };
    let stated = amount.filter(|_| state == EntryState::Done);
    Fact::Payment(PaymentFact {
        status: Some(status),
        amount,
        collection: Some(Collection { status: collected, total: stated, paid: stated }),
        refund: Some(Entry { id: id.to_owned(), amount: stated, state }),
        ..PaymentFact::default()
    })
}

pub(super) fn request(action: CustomerAction, amount: Option<Money>, detail: &str) -> Fact {
    Fact::CustomerAction(CustomerActionFact { action, amount, detail: detail.to_owned() })
}

pub(super) fn moved(
    status: BankTransactionStatus,
    amount: Option<Money>,
    counterparty: &str,
    remittance: String,
) -> Fact {
    Fact::BankTransaction(BankTransactionFact {
        status,
        amount,
        counterparty: counterparty.to_owned(),
        remittance,
        failure_code: String::new(),
        failure_message: String::new(),
    })
}
