//! Xero's bank transactions: an answer with one of them comes in, a draft about it goes out. They have no
//! webhook and come by lists alone. Money that was received is positive, money that was spent negative.

use serde::Deserialize;

use crate::model::{BankTransactionFact, BankTransactionStatus, Draft, Fact, Money, References};
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{Answer, TranslateError, accounting};

use super::draft::{Contact, Context, State, only};

#[derive(Deserialize)]
struct Transactions<'a> {
    #[serde(borrow, rename = "BankTransactions")]
    transactions: Vec<Transaction<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Transaction<'a> {
    #[serde(borrow, rename = "BankTransactionID")]
    id: Text<'a>,
    #[serde(borrow, rename = "Type")]
    kind: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
    total: Decimal,
    #[serde(borrow)]
    currency_code: Text<'a>,
    #[serde(borrow, deserialize_with = "accounting::or_default")]
    contact: Contact<'a>,
    #[serde(borrow, rename = "UpdatedDateUTC")]
    updated: Text<'a>,
}

/// What the transaction says.
pub(super) fn transaction(context: &Context<'_>, answer: &Answer) -> Result<Draft, TranslateError> {
    let transactions: Transactions<'_> = accounting::read(answer, "a Xero bank transaction")?;
    let transaction = only(transactions.transactions, "bank transaction")?;
    let total = transaction.total.required(&transaction.currency_code, "the transaction")?;
    let minor_units = match transaction.kind.split('-').next() {
        Some("RECEIVE") => Some(total.minor_units),
        Some("SPEND") => total.minor_units.checked_neg(),
        Some(_) | None => return Err(payload::unknown("transaction type", &transaction.kind)),
    };
    let minor_units =
        minor_units.ok_or_else(|| payload::not_a("an amount", transaction.total.text()))?;
    let amount = Money { minor_units, ..total };
    let (status, rank) = match &*transaction.status {
        "AUTHORISED" => (BankTransactionStatus::Booked, 50),
        "DELETED" | "VOIDED" => (BankTransactionStatus::Removed, 80),
        other => return Err(payload::unknown("transaction status", other)),
    };
    let fact = BankTransactionFact {
        status,
        amount: Some(amount),
        counterparty: transaction.contact.name.to_string(),
        remittance: transaction.reference.to_string(),
        failure_code: String::new(),
        failure_message: String::new(),
    };
    let references = References {
        order: transaction.reference.to_string(),
        customer: transaction.contact.id.to_string(),
        customer_name: transaction.contact.name.to_string(),
        email: transaction.contact.email.to_string(),
        ..References::default()
    };
    let shown = amount.to_string();
    let values = [status.word(), shown.as_str()];
    let state = State { updated: &transaction.updated, rank, values: &values };
    context.draft(&transaction.id, &state, references, Fact::BankTransaction(fact))
}
