//! What moves on Wise's balances: credits and debits, pay-ins to account details, SWIFT credits, card
//! transactions and settlements. A notification comes in, a draft of a bank transaction goes out; what came
//! in is positive. Wise writes amounts as JSON numbers in major units, which are read digit by digit.

use serde::Deserialize;

use crate::model::{BankTransactionFact, BankTransactionStatus, Draft, Fact, Money, References};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Decimal, Text};

use super::Source;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resource<'a> {
    #[serde(borrow)]
    id: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Balance<'a> {
    #[serde(borrow)]
    resource: Option<Resource<'a>>,
    amount: Decimal,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    balance_id: Text<'a>,
    #[serde(borrow)]
    channel_name: Text<'a>,
    #[serde(borrow)]
    occurred_at: Text<'a>,
    #[serde(borrow)]
    step_id: Text<'a>,
    #[serde(borrow)]
    transaction_type: Text<'a>,
    #[serde(borrow)]
    transfer_reference: Text<'a>,
}

/// A credit or debit of a balance.
pub(super) fn balance(source: &Source<'_>) -> Result<Draft, TranslateError> {
    let data: Balance<'_> = source.read("a Wise balance")?;
    let amount = data.amount.required(&data.currency, "the balance update")?;
    let amount = match &*data.transaction_type {
        "credit" => incoming(amount),
        "debit" => outgoing(amount),
        // The older type says it by its name.
        "" if source.event_type == "balances#credit" => incoming(amount),
        other => return Err(payload::unknown("transaction type", other)),
    };
    let account = data.resource.unwrap_or_default().id;
    let event = source.event(&account, &data.occurred_at, &data.step_id)?;
    // Older schemas number no steps; the account and the time are all that they tell apart.
    let id = match data.step_id.is_empty() {
        true => format!("{}-{}", &*account, event.at),
        false => data.step_id.to_string(),
    };
    let mut references = References::default();
    let kept = [("balance_id", &data.balance_id), ("channel_name", &data.channel_name)];
    for (name, value) in kept.into_iter().filter(|(_, value)| !value.is_empty()) {
        references.metadata.insert(name.to_owned(), value.to_string());
    }
    let fact = BankTransactionFact {
        remittance: data.transfer_reference.to_string(),
        ..movement(BankTransactionStatus::Booked, Some(amount))
    };
    event.draft(&id, 20, references, Fact::BankTransaction(fact), source.endpoint)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PayIn<'a> {
    #[serde(borrow)]
    resource: Option<Resource<'a>>,
    #[serde(borrow)]
    transfer: Option<PayInTransfer<'a>>,
    #[serde(borrow)]
    sender: Option<Party<'a>>,
    /// In the transfer, in newer versions.
    amount: Decimal,
    #[serde(borrow)]
    currency: Text<'a>,
    /// `current_status` until the fourth version.
    #[serde(borrow)]
    current_state: Text<'a>,
    #[serde(borrow)]
    current_status: Text<'a>,
    #[serde(borrow)]
    occurred_at: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PayInTransfer<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow, rename = "type")]
    direction: Text<'a>,
    amount: Decimal,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Party<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

/// Money paid to the account details of a profile.
pub(super) fn pay_in(source: &Source<'_>) -> Result<Draft, TranslateError> {
    let data: PayIn<'_> = source.read("a Wise pay-in")?;
    let state = payload::first(&[&data.current_state, &data.current_status]);
    let (status, rank) = match &*state {
        "PENDING" | "PROCESSING" => (BankTransactionStatus::Pending, 10),
        "COMPLETED" => (BankTransactionStatus::Booked, 20),
        "CANCELLED" => (BankTransactionStatus::Removed, 30),
        "REFUNDED" => (BankTransactionStatus::Returned, 40),
        other => return Err(payload::unknown("pay-in state", other)),
    };
    let transfer = data.transfer.unwrap_or_default();
    let account = data.resource.unwrap_or_default().id;
    let id = payload::first(&[&transfer.id, &account]);
    let event = source.event(&id, &data.occurred_at, &state)?;
    let amount = match transfer.amount.money(&transfer.currency)? {
        Some(amount) => Some(amount),
        None => data.amount.money(&data.currency)?,
    };
    let amount = match &*transfer.direction {
        "debit" => amount.map(outgoing),
        _pay_in => amount.map(incoming),
    };
    let fact = BankTransactionFact {
        counterparty: data.sender.unwrap_or_default().name.to_string(),
        remittance: transfer.reference.to_string(),
        ..movement(status, amount)
    };
    let references =
        References { customer_name: fact.counterparty.clone(), ..References::default() };
    event.draft(&id, rank, references, Fact::BankTransaction(fact), source.endpoint)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Swift<'a> {
    #[serde(borrow)]
    action: Option<Resource<'a>>,
    #[serde(borrow)]
    resource: Option<SwiftResource<'a>>,
    #[serde(borrow)]
    occurred_at: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SwiftResource<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    uetr: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
    #[serde(borrow)]
    sender: Option<Party<'a>>,
    #[serde(borrow)]
    settled_amount: Option<Amount<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Amount<'a> {
    value: Decimal,
    #[serde(borrow)]
    currency: Text<'a>,
}

impl Amount<'_> {
    fn money(&self) -> Result<Option<Money>, TranslateError> {
        self.value.money(&self.currency)
    }
}

/// A SWIFT payment on a balance, with what was settled of it.
pub(super) fn swift_credit(source: &Source<'_>) -> Result<Draft, TranslateError> {
    let data: Swift<'_> = source.read("a Wise SWIFT credit")?;
    let resource = data.resource.unwrap_or_default();
    let transfer = data.action.unwrap_or_default().id;
    let id = payload::first(&[&transfer, &resource.id]);
    let event = source.event(&id, &data.occurred_at, "credit")?;
    let amount = resource.settled_amount.as_ref().map_or(Ok(None), Amount::money)?;
    let fact = BankTransactionFact {
        counterparty: resource.sender.unwrap_or_default().name.to_string(),
        remittance: resource.reference.to_string(),
        ..movement(BankTransactionStatus::Booked, amount.map(incoming))
    };
    let mut references =
        References { customer_name: fact.counterparty.clone(), ..References::default() };
    if !resource.uetr.is_empty() {
        references.metadata.insert("uetr".to_owned(), resource.uetr.to_string());
    }
    event.draft(&id, 20, references, Fact::BankTransaction(fact), source.endpoint)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Card<'a> {
    #[serde(borrow)]
    transaction_id: Text<'a>,
    is_debit: Option<bool>,
    #[serde(borrow)]
    decline_reason: Text<'a>,
    #[serde(borrow)]
    transaction_state: Text<'a>,
    #[serde(borrow)]
    transaction_step_type: Text<'a>,
    #[serde(borrow)]
    transaction_amount: Option<Amount<'a>>,
    #[serde(borrow)]
    merchant: Option<Party<'a>>,
    #[serde(borrow)]
    occurred_at: Text<'a>,
}

/// A payment by one of the profile's cards. A positive amount is spent, a negative one comes back.
pub(super) fn card_transaction(source: &Source<'_>) -> Result<Draft, TranslateError> {
    let data: Card<'_> = source.read("a Wise card transaction")?;
    let (status, rank) = match &*data.transaction_state {
        "IN_PROGRESS" | "UNKNOWN" => (BankTransactionStatus::Pending, 10),
        "COMPLETED" => (BankTransactionStatus::Booked, 20),
        "DECLINED" => (BankTransactionStatus::Failed, 30),
        "CANCELLED" => (BankTransactionStatus::Removed, 40),
        other => return Err(payload::unknown("card transaction state", other)),
    };
    let what = format!("{}/{}", &*data.transaction_state, &*data.transaction_step_type);
    let event = source.event(&data.transaction_id, &data.occurred_at, &what)?;
    let amount = data.transaction_amount.as_ref().map_or(Ok(None), Amount::money)?;
    let amount = amount.map(|money| match (money.minor_units < 0, data.is_debit) {
        (true, _) | (false, Some(false)) => incoming(money),
        (false, Some(true) | None) => outgoing(money),
    });
    let fact = BankTransactionFact {
        counterparty: data.merchant.unwrap_or_default().name.to_string(),
        failure_code: data.decline_reason.to_string(),
        ..movement(status, amount)
    };
    let id = &data.transaction_id;
    let references = References::default();
    event.draft(id, rank, references, Fact::BankTransaction(fact), source.endpoint)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Settlement<'a> {
    #[serde(borrow)]
    resource: Option<SettlementResource<'a>>,
    #[serde(borrow)]
    occurred_at: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SettlementResource<'a> {
    #[serde(borrow)]
    settlement_reference: Text<'a>,
    #[serde(borrow)]
    source_currency: Text<'a>,
    target_amount: Decimal,
}

/// Money that Wise received for a settlement, all of it together so far.
pub(super) fn settlement(source: &Source<'_>) -> Result<Draft, TranslateError> {
    let data: Settlement<'_> = source.read("a Wise settlement")?;
    let resource = data.resource.unwrap_or_default();
    let id = &resource.settlement_reference;
    let amount = resource.target_amount.money(&resource.source_currency)?;
    let event = source.event(id, &data.occurred_at, resource.target_amount.text())?;
    let fact = BankTransactionFact {
        remittance: id.to_string(),
        ..movement(BankTransactionStatus::Booked, amount)
    };
    let references = References::default();
    event.draft(id, 20, references, Fact::BankTransaction(fact), source.endpoint)
}

fn movement(status: BankTransactionStatus, amount: Option<Money>) -> BankTransactionFact {
    BankTransactionFact {
        status,
        amount,
        counterparty: String::new(),
        remittance: String::new(),
        failure_code: String::new(),
        failure_message: String::new(),
    }
}

fn incoming(money: Money) -> Money {
    Money { minor_units: money.minor_units.saturating_abs(), ..money }
}

fn outgoing(money: Money) -> Money {
    Money { minor_units: money.minor_units.saturating_abs().saturating_neg(), ..money }
}
