//! The rows of an account's list, as UK banks and as banks of the Berlin Group write them: a page comes in,
//! rows of one form go out with the link to the next page. UK amounts are positive beside a direction,
//! those of the Berlin Group signed. Nothing here tells rows apart that the bank gave no id.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::model::{BankTransactionStatus, Money};
use crate::providers::TranslateError;
use crate::providers::payload::{self, Decimal, Text};

use super::Standard;
use super::notifications::Amount;

const NOT_PROVIDED: &str = "NOTPROVIDED";

/// A page of an account's list.
pub(super) struct Page {
    pub(super) rows: Vec<Row>,
    /// The link to the next page, as the bank wrote it.
    pub(super) next: Option<String>,
}

/// An entry on an account.
pub(super) struct Row {
    /// The bank's id; empty where it gives none.
    pub(super) id: String,
    pub(super) status: BankTransactionStatus,
    /// Positive came in.
    pub(super) amount: Money,
    pub(super) day: Date,
    pub(super) at: Timestamp,
    pub(super) counterparty: String,
    pub(super) remittance: String,
    /// The reference that goes along with the payment.
    pub(super) reference: String,
}

pub(super) fn read(
    standard: Standard,
    body: &[u8],
    now: Timestamp,
) -> Result<Page, TranslateError> {
    let unreadable = |error| payload::unreadable("a list of transactions", &error);
    match standard {
        Standard::Uk => uk(serde_json::from_slice(body).map_err(unreadable)?),
        Standard::Berlin => berlin(serde_json::from_slice(body).map_err(unreadable)?, now),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UkPage<'a> {
    #[serde(borrow)]
    data: UkData<'a>,
    #[serde(borrow)]
    links: Option<UkLinks<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct UkData<'a> {
    #[serde(borrow)]
    transaction: Option<Vec<UkRow<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct UkLinks<'a> {
    #[serde(borrow)]
    next: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct UkRow<'a> {
    #[serde(borrow)]
    transaction_id: Text<'a>,
    #[serde(borrow)]
    transaction_reference: Text<'a>,
    #[serde(borrow)]
    credit_debit_indicator: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    booking_date_time: Text<'a>,
    #[serde(borrow)]
    amount: Amount<'a>,
    #[serde(borrow)]
    transaction_information: Text<'a>,
    #[serde(borrow)]
    debtor_account: Option<UkParty<'a>>,
    #[serde(borrow)]
    creditor_account: Option<UkParty<'a>>,
    #[serde(borrow)]
    merchant_details: Option<UkMerchant<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct UkParty<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct UkMerchant<'a> {
    #[serde(borrow)]
    merchant_name: Text<'a>,
}

fn uk(page: UkPage<'_>) -> Result<Page, TranslateError> {
    let mut rows = Vec::new();
    for row in page.data.transaction.unwrap_or_default() {
        rows.extend(uk_row(&row)?);
    }
    let next = page.links.unwrap_or_default().next.to_string();
    Ok(Page { rows, next: (!next.is_empty()).then_some(next) })
}

/// `None` for entries that are for information only, or planned.
fn uk_row(row: &UkRow<'_>) -> Result<Option<Row>, TranslateError> {
    let status = match &*row.status {
        "BOOK" | "Booked" => BankTransactionStatus::Booked,
        "PDNG" | "Pending" => BankTransactionStatus::Pending,
        "RJCT" | "Rejected" => BankTransactionStatus::Failed,
        "INFO" | "Information" | "FUTR" | "Future" => return Ok(None),
        other => return Err(payload::unknown("transaction status", other)),
    };
    let is_credit = match &*row.credit_debit_indicator {
        "Credit" | "CRDT" => true,
        "Debit" | "DBIT" => false,
        other => return Err(payload::unknown("direction", other)),
    };
    let money = row.amount.amount.required(&row.amount.currency, "the transaction")?;
    if money.minor_units < 0 {
        return Err(TranslateError(format!("{money} has a direction and a sign")));
    }
    let minor_units =
        if is_credit { money.minor_units } else { money.minor_units.saturating_neg() };
    let party = if is_credit { &row.debtor_account } else { &row.creditor_account };
    let party = party.as_ref().map_or("", |party| &*party.name);
    let merchant = row.merchant_details.as_ref().map_or("", |merchant| &*merchant.merchant_name);
    let (day, at) = uk_time(&row.booking_date_time)?;
    Ok(Some(Row {
        id: row.transaction_id.to_string(),
        status,
        amount: Money { minor_units, ..money },
        day,
        at,
        counterparty: payload::first(&[party, merchant]),
        remittance: row.transaction_information.to_string(),
        reference: row.transaction_reference.to_string(),
    }))
}

/// With an offset as the standard has it, or without one as some banks do. The day is that of the place.
pub(super) fn uk_time(text: &str) -> Result<(Date, Timestamp), TranslateError> {
    let not_a_time = || payload::not_a("a time", text);
    match (text.parse::<Timestamp>(), text.parse::<DateTime>()) {
        (Ok(at), Ok(local)) => Ok((local.date(), at)),
        // `Z` stands for no place at all, so that jiff reads no local time from it.
        (Ok(at), Err(_)) => Ok((TimeZone::UTC.to_datetime(at).date(), at)),
        (Err(_), Ok(local)) => {
            let at = TimeZone::UTC.to_timestamp(local).map_err(|_| not_a_time())?;
            Ok((local.date(), at))
        }
        (Err(_), Err(_)) => Err(not_a_time()),
    }
}

#[derive(Deserialize)]
struct BerlinPage<'a> {
    #[serde(borrow)]
    transactions: BerlinLists<'a>,
    #[serde(borrow, rename = "_links")]
    links: Option<BerlinLinks<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BerlinLists<'a> {
    #[serde(borrow)]
    booked: Option<Vec<BerlinRow<'a>>>,
    #[serde(borrow)]
    pending: Option<Vec<BerlinRow<'a>>>,
    #[serde(borrow, rename = "_links")]
    links: Option<BerlinLinks<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BerlinLinks<'a> {
    #[serde(borrow)]
    next: Option<Href<'a>>,
    #[serde(borrow)]
    download: Option<Href<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Href<'a> {
    #[serde(borrow)]
    href: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct BerlinRow<'a> {
    #[serde(borrow)]
    transaction_id: Text<'a>,
    #[serde(borrow)]
    entry_reference: Text<'a>,
    #[serde(borrow)]
    end_to_end_id: Text<'a>,
    #[serde(borrow)]
    booking_date: Text<'a>,
    #[serde(borrow)]
    value_date: Text<'a>,
    #[serde(borrow)]
    transaction_amount: BerlinAmount<'a>,
    #[serde(borrow)]
    creditor_name: Text<'a>,
    #[serde(borrow)]
    debtor_name: Text<'a>,
    #[serde(borrow)]
    remittance_information_unstructured: Text<'a>,
    #[serde(borrow)]
    remittance_information_unstructured_array: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    remittance_information_structured: Option<Structured<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BerlinAmount<'a> {
    amount: Decimal,
    #[serde(borrow)]
    currency: Text<'a>,
}

/// A reference by itself, or in an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Structured<'a> {
    Object {
        #[serde(borrow)]
        reference: Text<'a>,
    },
    Text(#[serde(borrow)] Text<'a>),
}

fn berlin(page: BerlinPage<'_>, now: Timestamp) -> Result<Page, TranslateError> {
    let lists = page.transactions;
    let links = [lists.links.unwrap_or_default(), page.links.unwrap_or_default()];
    let is_listed = lists.booked.is_some() || lists.pending.is_some();
    if !is_listed && links.iter().any(|links| links.download.is_some()) {
        return Err(TranslateError("the bank gives the list as a download only".to_owned()));
    }
    let mut rows = Vec::new();
    for row in lists.booked.unwrap_or_default() {
        rows.push(berlin_row(&row, BankTransactionStatus::Booked, now)?);
    }
    for row in lists.pending.unwrap_or_default() {
        rows.push(berlin_row(&row, BankTransactionStatus::Pending, now)?);
    }
    let next = links.into_iter().find_map(|links| links.next).map(|next| next.href.to_string());
    Ok(Page { rows, next: next.filter(|next| !next.is_empty()) })
}

fn berlin_row(
    row: &BerlinRow<'_>,
    status: BankTransactionStatus,
    now: Timestamp,
) -> Result<Row, TranslateError> {
    let amount = &row.transaction_amount;
    let money = amount.amount.required(&amount.currency, "the transaction")?;
    let counterparty = match money.minor_units {
        0.. => [&row.debtor_name, &row.creditor_name],
        _ => [&row.creditor_name, &row.debtor_name],
    };
    let several = row.remittance_information_unstructured_array.as_deref().unwrap_or_default();
    let several: Vec<&str> = several.iter().map(|text| &**text).collect();
    let structured = match &row.remittance_information_structured {
        Some(Structured::Object { reference }) => reference,
        Some(Structured::Text(text)) => text,
        None => "",
    };
    let end_to_end = &*row.end_to_end_id;
    let day = payload::first(&[&row.booking_date, &row.value_date]);
    let (day, at) = match day.as_str() {
        // An entry that is not booked may have no day yet.
        "" => (TimeZone::UTC.to_datetime(now).date(), now),
        text => berlin_time(text)?,
    };
    Ok(Row {
        id: payload::first(&[&row.transaction_id, &row.entry_reference]),
        status,
        amount: money,
        day,
        at,
        counterparty: payload::first(&counterparty.map(|name| &**name)),
        remittance: payload::first(&[
            &row.remittance_information_unstructured,
            &several.join(" "),
            structured,
        ]),
        reference: if end_to_end == NOT_PROVIDED { String::new() } else { end_to_end.to_owned() },
    })
}

fn berlin_time(text: &str) -> Result<(Date, Timestamp), TranslateError> {
    let not_a_date = || payload::not_a("a date", text);
    let day: Date = text.parse().map_err(|_| not_a_date())?;
    let midnight = day.to_datetime(Time::midnight());
    let at = TimeZone::UTC.to_timestamp(midnight).map_err(|_| not_a_date())?;
    Ok((day, at))
}
