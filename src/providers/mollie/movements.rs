//! What moves on Mollie's balances and bank accounts: payouts, transfers and balance transactions. An
//! object of an event comes in, a draft of a bank transaction goes out.

use serde::Deserialize;

use crate::model::{BankTransactionFact, BankTransactionStatus, Draft, Fact, Money, References};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Text};

use super::facts::Direction;
use super::{Amount, Found, Origin, Told, money};

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Movement<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    mode: Text<'a>,
    #[serde(borrow)]
    amount: Option<Amount<'a>>,
    /// What a balance transaction did to the balance, with its sign.
    #[serde(borrow)]
    result_amount: Option<Amount<'a>>,
    #[serde(borrow)]
    description: Text<'a>,
    #[serde(borrow)]
    remittance_information: Option<Remittance<'a>>,
    #[serde(borrow)]
    source: Option<Party<'a>>,
    #[serde(borrow)]
    creditor: Option<Party<'a>>,
    #[serde(borrow)]
    status_reason: Option<Reason<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Remittance<'a> {
    #[serde(borrow)]
    unstructured: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Party<'a> {
    #[serde(borrow)]
    account_holder_name: Text<'a>,
    #[serde(borrow)]
    full_name: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reason<'a> {
    #[serde(borrow)]
    code: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
}

/// The draft of a movement.
pub(super) fn movement(
    origin: &Origin<'_>,
    event: &Told,
    (status, direction): (BankTransactionStatus, Direction),
    entity: &[u8],
) -> Result<Draft, TranslateError> {
    let movement: Movement<'_> = serde_json::from_slice(entity)
        .map_err(|error| payload::unreadable("a Mollie bank movement", &error))?;
    let amount = money(movement.result_amount.as_ref().or(movement.amount.as_ref()))?;
    let amount = amount.map(|money| match direction {
        Direction::AsWritten => money,
        Direction::Out => {
            Money { minor_units: money.minor_units.saturating_abs().saturating_neg(), ..money }
        }
    });
    let rank = match status {
        BankTransactionStatus::Pending => 10,
        BankTransactionStatus::Booked => 20,
        BankTransactionStatus::Failed | BankTransactionStatus::Removed => 30,
        BankTransactionStatus::Returned => 40,
    };
    let party = movement.source.or(movement.creditor).unwrap_or_default();
    let remittance = movement.remittance_information.unwrap_or_default();
    let reason = movement.status_reason.unwrap_or_default();
    let id = payload::first(&[&movement.id, &event.entity_id]);
    origin.draft(Found {
        id: &id,
        state: event.event_type.clone(),
        digest: Vec::new(),
        at: event.created_at,
        rank,
        live: &*movement.mode != "test",
        references: References::default(),
        fact: Fact::BankTransaction(BankTransactionFact {
            status,
            amount,
            counterparty: payload::first(&[&party.account_holder_name, &party.full_name]),
            remittance: payload::first(&[&remittance.unstructured, &movement.description]),
            failure_code: reason.code.to_string(),
            failure_message: reason.message.to_string(),
        }),
    })
}
