//! Plaid's bank transactions: what changed on an Item's accounts after a cursor comes in page by page, a
//! draft for each transaction goes out. The pages of one loop belong together: where Plaid says that the
//! data changed between them, everything read since the loop's first cursor is dropped and read again. The
//! new cursor is handed over with the drafts and never before.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::json;

use crate::model::{
    BankTransactionFact, BankTransactionStatus, Draft, Fact, Money, References, SubjectKind,
};
use crate::providers::payload::{self, Decimal, Text};
use crate::providers::{Endpoint, Fetch, Fetching, Step, TranslateError};

use super::{ACCESS_TOKEN, ACCESS_TOKENS, Told, api_error, digest, fetch_call, read_tokens, time};

const PAGE_ROWS: u32 = 500;
/// After so many loops that Plaid broke off, the bank is still at it: later.
const MAX_RESTARTS: usize = 5;
const MUTATED: &str = "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION";
/// What time or the customer mends: the cursor stays where it is until then.
const NOT_YET: &[&str] = &[
    "PRODUCT_NOT_READY",
    "ITEM_LOGIN_REQUIRED",
    "PENDING_EXPIRATION",
    "INSTITUTION_DOWN",
    "INSTITUTION_NOT_RESPONDING",
];
const MAX_AMOUNT_CHARS: usize = 64;

/// The fetch of an Item's changes.
pub(super) fn fetch_of(told: &Told) -> Result<Fetch, TranslateError> {
    super::fetch_of(format!("items/{}/transactions", told.item), told)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Page<'a> {
    #[serde(borrow)]
    added: Vec<Transaction<'a>>,
    #[serde(borrow)]
    modified: Vec<Transaction<'a>>,
    #[serde(borrow)]
    removed: Vec<Transaction<'a>>,
    next_cursor: String,
    has_more: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Transaction<'a> {
    #[serde(borrow)]
    transaction_id: Text<'a>,
    #[serde(borrow)]
    pending_transaction_id: Text<'a>,
    #[serde(borrow)]
    account_id: Text<'a>,
    amount: Decimal,
    #[serde(borrow)]
    iso_currency_code: Text<'a>,
    #[serde(borrow)]
    unofficial_currency_code: Text<'a>,
    pending: bool,
    #[serde(borrow)]
    date: Text<'a>,
    #[serde(borrow)]
    datetime: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    original_description: Text<'a>,
    #[serde(borrow)]
    merchant_name: Text<'a>,
    #[serde(borrow)]
    counterparties: Option<Vec<Counterparty<'a>>>,
    #[serde(borrow)]
    payment_meta: Option<PaymentMeta<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Counterparty<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PaymentMeta<'a> {
    #[serde(borrow)]
    reference_number: Text<'a>,
    #[serde(borrow)]
    payer: Text<'a>,
    #[serde(borrow)]
    payee: Text<'a>,
    #[serde(borrow)]
    reason: Text<'a>,
}

pub(super) fn step(fetching: &Fetching<'_>, told: &Told) -> Result<Step, TranslateError> {
    let mut rows: Vec<(Transaction<'_>, bool)> = Vec::new();
    let mut cursor = fetching.cursor.to_owned();
    let (mut has_more, mut restarts) = (true, 0);
    for answer in fetching.answers {
        if !answer.is_success() {
            let code = api_error(answer).error_code;
            if &*code == MUTATED && restarts < MAX_RESTARTS {
                restarts += 1;
                rows.clear();
                fetching.cursor.clone_into(&mut cursor);
                continue;
            }
            let later = &*code == MUTATED || NOT_YET.contains(&&*code);
            return if later {
                Ok(Step::Later(code.to_string()))
            } else {
                Err(super::refusal(answer))
            };
        }
        let page: Page<'_> = serde_json::from_slice(&answer.body)
            .map_err(|error| payload::unreadable("a page of Plaid transactions", &error))?;
        let present = page.added.into_iter().chain(page.modified);
        rows.extend(present.map(|transaction| (transaction, false)));
        rows.extend(page.removed.into_iter().map(|transaction| (transaction, true)));
        if page.has_more && page.next_cursor == cursor {
            return Err(TranslateError("the next page would be the same again".to_owned()));
        }
        (cursor, has_more) = (page.next_cursor, page.has_more);
    }
    if has_more {
        let token = access_token(fetching.endpoint, &told.item)?;
        let body = json!({ "access_token": token, "cursor": cursor, "count": PAGE_ROWS });
        return fetch_call(fetching.endpoint, "/transactions/sync", body);
    }
    Ok(Step::Done {
        drafts: drafts(fetching, told, rows)?,
        cursor: (!cursor.is_empty()).then_some(cursor),
    })
}

fn access_token(endpoint: &Endpoint, item: &str) -> Result<String, TranslateError> {
    let of_item = endpoint.secret(ACCESS_TOKENS).and_then(read_tokens);
    let of_item = of_item.and_then(|mut tokens| tokens.remove(item));
    of_item
        .or_else(|| endpoint.secret(ACCESS_TOKEN).map(str::to_owned))
        .ok_or_else(|| TranslateError("the endpoint has no access token for the Item".to_owned()))
}

/// One draft for each transaction: what the last of the loop's pages says of it.
fn drafts(
    fetching: &Fetching<'_>,
    told: &Told,
    rows: Vec<(Transaction<'_>, bool)>,
) -> Result<Vec<Draft>, TranslateError> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut drafts: Vec<Draft> = Vec::new();
    for (transaction, is_removed) in rows {
        let draft = draft(fetching, told, &transaction, is_removed)?;
        match places.get(&*transaction.transaction_id).and_then(|at| drafts.get_mut(*at)) {
            Some(before) => *before = draft,
            None => {
                places.insert(transaction.transaction_id.to_string(), drafts.len());
                drafts.push(draft);
            }
        }
    }
    Ok(drafts)
}

fn draft(
    fetching: &Fetching<'_>,
    told: &Told,
    transaction: &Transaction<'_>,
    is_removed: bool,
) -> Result<Draft, TranslateError> {
    let (status, rank) = match (is_removed, transaction.pending) {
        (true, _) => (BankTransactionStatus::Removed, 30),
        (false, true) => (BankTransactionStatus::Pending, 10),
        (false, false) => (BankTransactionStatus::Booked, 20),
    };
    let amount = amount(transaction)?;
    if amount.is_none() && !is_removed && transaction.unofficial_currency_code.is_empty() {
        return Err(TranslateError("a transaction has no amount".to_owned()));
    }
    let fact = fact(transaction, status, amount);
    let id = &*transaction.transaction_id;
    let minor = amount.map(|money| money.to_string()).unwrap_or_default();
    let key = digest(&[
        id,
        status.word(),
        &minor,
        transaction.amount.text(),
        &transaction.date,
        &fact.counterparty,
        &fact.remittance,
    ]);
    Ok(Draft {
        event_id: key.clone(),
        key,
        event_type: told.event_type.clone(),
        occurred_at: happened_at(transaction, fetching.now)?,
        // Plaid has no version of a transaction, and its dates are those of the bank: what was fetched
        // later is the newer state.
        version: fetching.now.as_microsecond(),
        rank,
        subject: payload::subject(SubjectKind::BankTransaction, &fetching.endpoint.name, id)?,
        references: references(transaction).bounded(),
        live: told.live,
        fact: Fact::BankTransaction(fact),
    })
}

fn fact(
    transaction: &Transaction<'_>,
    status: BankTransactionStatus,
    amount: Option<Money>,
) -> BankTransactionFact {
    let meta = transaction.payment_meta.as_ref();
    let other_side = meta.map_or("", |meta| match amount.map(|money| money.minor_units > 0) {
        Some(true) => &meta.payer,
        Some(false) => &meta.payee,
        None => "",
    });
    let counterparties = transaction.counterparties.as_deref().unwrap_or_default();
    let first = counterparties.first().map_or("", |counterparty| &*counterparty.name);
    BankTransactionFact {
        status,
        amount,
        counterparty: payload::first(&[&transaction.merchant_name, other_side, first]),
        remittance: payload::first(&[
            &transaction.original_description,
            &transaction.name,
            meta.map_or("", |meta| &meta.reason),
        ]),
        failure_code: String::new(),
        failure_message: String::new(),
    }
}

/// Plaid's amounts are positive where money leaves the account; ours where it comes in. Currencies that
/// ISO 4217 does not have are no money here.
fn amount(transaction: &Transaction<'_>) -> Result<Option<Money>, TranslateError> {
    if transaction.iso_currency_code.is_empty() {
        return Ok(None);
    }
    let money = transaction.amount.money(&transaction.iso_currency_code)?;
    Ok(money.map(|money| Money { minor_units: money.minor_units.saturating_neg(), ..money }))
}

fn happened_at(transaction: &Transaction<'_>, now: Timestamp) -> Result<Timestamp, TranslateError> {
    if !transaction.datetime.is_empty() {
        return time(&transaction.datetime);
    }
    if transaction.date.is_empty() {
        return Ok(now);
    }
    let not_a_date = || payload::not_a("a date", &transaction.date);
    let date: Date = transaction.date.parse().map_err(|_| not_a_date())?;
    let midnight = date.to_datetime(Time::midnight());
    TimeZone::UTC.to_timestamp(midnight).map_err(|_| not_a_date())
}

fn references(transaction: &Transaction<'_>) -> References {
    let mut references = References::default();
    let reference = transaction.payment_meta.as_ref().map_or("", |meta| &*meta.reference_number);
    let unofficial: String = match transaction.unofficial_currency_code.is_empty() {
        true => String::new(),
        false => {
            let amount = transaction.amount.text().chars().take(MAX_AMOUNT_CHARS);
            format!("{} {}", amount.collect::<String>(), &*transaction.unofficial_currency_code)
        }
    };
    let entries: [(&str, &str); 5] = [
        ("account_id", &transaction.account_id),
        ("date", &transaction.date),
        ("pending_transaction_id", &transaction.pending_transaction_id),
        ("reference_number", reference),
        ("unofficial_amount", &unofficial),
    ];
    for (name, value) in entries.into_iter().filter(|(_, value)| !value.is_empty()) {
        references.metadata.insert(name.to_owned(), value.to_owned());
    }
    references
}
