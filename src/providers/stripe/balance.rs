//! Stripe's payouts and cash balances: one of these objects comes in, drafts about bank transactions go
//! out. Amounts are signed as seen from the account that the money is on: a payout comes in at the
//! merchant's bank. It must never read a merchant's balance as a payment.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::{BankTransactionFact, BankTransactionStatus, Draft, Fact, Money, References};
use crate::providers::TranslateError;
use crate::providers::payload::{Scalars, Text};

use super::{Event, optional, required};

fn rank(status: BankTransactionStatus) -> u8 {
    match status {
        BankTransactionStatus::Pending => 10,
        BankTransactionStatus::Booked => 20,
        BankTransactionStatus::Failed => 30,
        BankTransactionStatus::Removed => 40,
        BankTransactionStatus::Returned => 50,
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Payout<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    amount: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    statement_descriptor: Text<'a>,
    #[serde(borrow)]
    failure_code: Text<'a>,
    #[serde(borrow)]
    failure_message: Text<'a>,
    metadata: Scalars,
}

pub(super) fn payout(
    event: &Event<'_>,
    status: BankTransactionStatus,
) -> Result<Draft, TranslateError> {
    let payout: Payout<'_> = event.read("a Stripe payout")?;
    let fact = BankTransactionFact {
        status,
        amount: Some(required(payout.amount, &payout.currency, "the payout")?),
        counterparty: String::new(),
        remittance: payout.statement_descriptor.to_string(),
        failure_code: payout.failure_code.to_string(),
        failure_message: payout.failure_message.to_string(),
    };
    let references = References { metadata: payout.metadata.0, ..References::default() };
    event.draft(&payout.id, rank(status), references, Fact::BankTransaction(fact))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CashBalance<'a> {
    #[serde(borrow)]
    customer: Text<'a>,
    available: Option<BTreeMap<String, i64>>,
}

/// One draft a currency. The balance has no id of its own; the customer's stands for it.
pub(super) fn cash_balance(event: &Event<'_>) -> Result<Vec<Draft>, TranslateError> {
    let balance: CashBalance<'_> = event.read("a Stripe cash balance")?;
    if balance.customer.is_empty() {
        return Err(TranslateError("the cash balance has no customer".to_owned()));
    }
    let available = balance.available.unwrap_or_default();
    let mut drafts = Vec::with_capacity(available.len());
    for (index, (currency, amount)) in available.iter().enumerate() {
        let amount = required(Some(*amount), currency, "the cash balance")?;
        let id = format!("{}:{currency}", &*balance.customer);
        let fact = booked(Some(amount), BankTransactionStatus::Booked);
        let references =
            References { customer: balance.customer.to_string(), ..References::default() };
        let mut draft = event.draft(
            &id,
            rank(BankTransactionStatus::Booked),
            references,
            Fact::BankTransaction(fact),
        )?;
        if index > 0 {
            draft.key = format!("{}#{index}", draft.key);
        }
        drafts.push(draft);
    }
    Ok(drafts)
}

fn booked(amount: Option<Money>, status: BankTransactionStatus) -> BankTransactionFact {
    BankTransactionFact {
        status,
        amount,
        counterparty: String::new(),
        remittance: String::new(),
        failure_code: String::new(),
        failure_message: String::new(),
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CashTransaction<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    customer: Text<'a>,
    net_amount: Option<i64>,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    funded: Option<Funded<'a>>,
    #[serde(borrow)]
    applied_to_payment: Option<OfPayment<'a>>,
    #[serde(borrow)]
    unapplied_from_payment: Option<OfPayment<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Funded<'a> {
    #[serde(borrow)]
    bank_transfer: Option<BankTransfer<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BankTransfer<'a> {
    #[serde(borrow)]
    reference: Text<'a>,
    #[serde(borrow)]
    eu_bank_transfer: Option<Sender<'a>>,
    #[serde(borrow)]
    gb_bank_transfer: Option<Sender<'a>>,
    #[serde(borrow)]
    jp_bank_transfer: Option<Sender<'a>>,
    #[serde(borrow)]
    us_bank_transfer: Option<Sender<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Sender<'a> {
    #[serde(borrow)]
    sender_name: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OfPayment<'a> {
    #[serde(borrow)]
    payment_intent: Text<'a>,
}

pub(super) fn cash_transaction(event: &Event<'_>) -> Result<Draft, TranslateError> {
    let transaction: CashTransaction<'_> = event.read("a Stripe cash balance transaction")?;
    let status = match &*transaction.kind {
        "return_initiated" => BankTransactionStatus::Returned,
        _ => BankTransactionStatus::Booked,
    };
    let amount = optional(transaction.net_amount, &transaction.currency)?;
    let mut fact = booked(amount, status);
    let transfer = transaction.funded.and_then(|funded| funded.bank_transfer);
    if let Some(transfer) = transfer {
        fact.remittance = transfer.reference.to_string();
        let senders = [
            transfer.eu_bank_transfer,
            transfer.gb_bank_transfer,
            transfer.jp_bank_transfer,
            transfer.us_bank_transfer,
        ];
        let sender = senders.into_iter().flatten().next().unwrap_or_default();
        fact.counterparty = sender.sender_name.to_string();
    }
    let payment = transaction.applied_to_payment.or(transaction.unapplied_from_payment);
    let references = References {
        payment: payment.unwrap_or_default().payment_intent.to_string(),
        customer: transaction.customer.to_string(),
        ..References::default()
    };
    event.draft(&transaction.id, rank(status), references, Fact::BankTransaction(fact))
}
