//! Reads of receipts. A receipt's block says what it was when it was committed; a row of
//! `receipt_states`, where there is one, says what became of it since and wins.

use std::collections::HashMap;

use futures::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use super::{block, json, sql_limit};
use crate::model::{ReceiptNumber, Sequence};
use crate::store::{Error, ReceiptQuery, ReceiptState, Recorded, StoredReceipt};

/// How many blocks one page looks through for receipts that match.
const MAX_BLOCKS_PER_PAGE: usize = 256;

const BLOCKS_BEFORE: &str = "
    SELECT first_receipt, block FROM receipt_blocks
    WHERE first_receipt < ? ORDER BY first_receipt DESC LIMIT ?";
/// Receipts that are not translated, each with its block's number.
const OPEN_BEFORE: &str = "
    SELECT receipt,
        (SELECT max(first_receipt) FROM receipt_blocks WHERE first_receipt <= receipt)
    FROM receipt_states
    WHERE receipt < ? AND state <> 'translated' ORDER BY receipt DESC LIMIT ?";
const STATES: &str = "
    SELECT receipt, state, reason, sequences, duplicates FROM receipt_states
    WHERE receipt IN (SELECT value FROM json_each(?))";
const UNREADABLE: &str = "SELECT count(*) FROM receipt_states WHERE state = 'unreadable'";
/// Receipts to be fetched for, each with its block's number.
const WAITING_AFTER: &str = "
    SELECT receipt,
        (SELECT max(first_receipt) FROM receipt_blocks WHERE first_receipt <= receipt)
    FROM receipt_states
    WHERE state IN ('fetching', 'unconfirmed') AND receipt > ? ORDER BY receipt LIMIT ?";
const WAITING: &str =
    "SELECT count(*) FROM receipt_states WHERE state IN ('fetching', 'unconfirmed')";

pub async fn receipts(
    readers: &SqlitePool,
    query: &ReceiptQuery,
) -> Result<(Vec<StoredReceipt>, Option<ReceiptNumber>), Error> {
    let before = query.before.unwrap_or(ReceiptNumber(i64::MAX));
    let limit = query.limit.max(1);
    let (mut page, next) = match query.only_open {
        false => page_of_all(readers, query, before, limit).await?,
        true => page_of_open(readers, before, limit).await?,
    };
    apply_states(readers, &mut page).await?;
    if query.only_open {
        let is_wanted = |stored: &StoredReceipt| {
            stored.state != ReceiptState::Translated && of_endpoints(query, stored)
        };
        page.retain(is_wanted);
    }
    Ok((page, next))
}

pub async fn receipt(
    readers: &SqlitePool,
    number: ReceiptNumber,
) -> Result<Option<StoredReceipt>, Error> {
    let Some(before) = number.0.checked_add(1) else { return Ok(None) };
    let row = sqlx::query(BLOCKS_BEFORE).bind(before).bind(1).fetch_optional(readers).await?;
    let Some(row) = row else { return Ok(None) };
    let mut found = receipts_of(&row)?;
    found.retain(|stored| stored.number == number);
    apply_states(readers, &mut found).await?;
    Ok(found.pop())
}

pub async fn unreadable_receipts(readers: &SqlitePool) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(UNREADABLE).fetch_one(readers).await?)
}

pub async fn waiting(
    readers: &SqlitePool,
    after: ReceiptNumber,
    limit: usize,
) -> Result<Vec<StoredReceipt>, Error> {
    let found: Vec<(i64, i64)> = sqlx::query_as(WAITING_AFTER)
        .bind(after.0)
        .bind(sql_limit(limit.clamp(1, MAX_BLOCKS_PER_PAGE)))
        .fetch_all(readers)
        .await?;
    let mut page: Vec<StoredReceipt> = Vec::with_capacity(found.len());
    for of_block in found.chunk_by(|one, other| one.1 == other.1) {
        let before = of_block[0].1.saturating_add(1);
        let row = sqlx::query(BLOCKS_BEFORE).bind(before).bind(1).fetch_optional(readers).await?;
        let Some(row) = row else { continue };
        let is_wanted =
            |stored: &StoredReceipt| of_block.iter().any(|(number, _)| *number == stored.number.0);
        page.extend(receipts_of(&row)?.into_iter().filter(is_wanted));
    }
    apply_states(readers, &mut page).await?;
    Ok(page)
}

pub async fn waiting_count(readers: &SqlitePool) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(WAITING).fetch_one(readers).await?)
}

/// What `receipt_states` is to hold after a commit, as a parameter.
pub fn states_parameter<'a>(
    states: impl Iterator<Item = (&'a ReceiptState, &'a Recorded)>,
) -> String {
    let rows: Vec<(i64, &str, &str, &[Sequence], usize)> = states
        .map(|(state, recorded)| {
            let (word, reason) = state_columns(state);
            (recorded.receipt.0, word, reason, &*recorded.sequences, recorded.duplicates)
        })
        .collect();
    json(&rows)
}

fn state_columns(state: &ReceiptState) -> (&'static str, &str) {
    match state {
        ReceiptState::Translated => ("translated", ""),
        ReceiptState::Unknown(event_type) => ("unknown", event_type),
        ReceiptState::Unreadable(reason) => ("unreadable", reason),
        ReceiptState::Fetching(reason) => ("fetching", reason),
        ReceiptState::FetchFailed(reason) => ("fetch_failed", reason),
        ReceiptState::Unconfirmed(reason) => ("unconfirmed", reason),
        ReceiptState::Denied => ("denied", ""),
    }
}

fn state_of(word: &str, reason: String) -> Option<ReceiptState> {
    Some(match word {
        "translated" => ReceiptState::Translated,
        "unknown" => ReceiptState::Unknown(reason),
        "unreadable" => ReceiptState::Unreadable(reason),
        "fetching" => ReceiptState::Fetching(reason),
        "fetch_failed" => ReceiptState::FetchFailed(reason),
        "unconfirmed" => ReceiptState::Unconfirmed(reason),
        "denied" => ReceiptState::Denied,
        _ => return None,
    })
}

async fn page_of_all(
    readers: &SqlitePool,
    query: &ReceiptQuery,
    before: ReceiptNumber,
    limit: usize,
) -> Result<(Vec<StoredReceipt>, Option<ReceiptNumber>), Error> {
    let mut page = Vec::new();
    let (mut blocks, mut last) = (0, before);
    let mut rows = sqlx::query(BLOCKS_BEFORE)
        .bind(before.0)
        .bind(sql_limit(MAX_BLOCKS_PER_PAGE))
        .fetch(readers);
    while let Some(row) = rows.try_next().await? {
        blocks += 1;
        for stored in receipts_of(&row)?.into_iter().rev() {
            if stored.number >= before {
                continue;
            }
            last = stored.number;
            if of_endpoints(query, &stored) {
                page.push(stored);
            }
            if page.len() == limit {
                return Ok((page, Some(last).filter(|last| last.0 > 1)));
            }
        }
    }
    Ok((page, Some(last).filter(|last| blocks == MAX_BLOCKS_PER_PAGE && last.0 > 1)))
}

async fn page_of_open(
    readers: &SqlitePool,
    before: ReceiptNumber,
    limit: usize,
) -> Result<(Vec<StoredReceipt>, Option<ReceiptNumber>), Error> {
    // One block at least for each receipt, at worst.
    let limit = limit.min(MAX_BLOCKS_PER_PAGE);
    let open: Vec<(i64, i64)> = sqlx::query_as(OPEN_BEFORE)
        .bind(before.0)
        .bind(sql_limit(limit))
        .fetch_all(readers)
        .await?;
    let mut page: Vec<StoredReceipt> = Vec::with_capacity(open.len());
    for of_block in open.chunk_by(|one, other| one.1 == other.1) {
        let first = of_block[0].1;
        let row =
            sqlx::query(BLOCKS_BEFORE).bind(first + 1).bind(1).fetch_optional(readers).await?;
        let Some(row) = row else { continue };
        let is_open =
            |stored: &StoredReceipt| of_block.iter().any(|(number, _)| *number == stored.number.0);
        page.extend(receipts_of(&row)?.into_iter().rev().filter(is_open));
    }
    let next = open.last().filter(|_| open.len() == limit);
    Ok((page, next.map(|(number, _)| ReceiptNumber(*number))))
}

async fn apply_states(readers: &SqlitePool, page: &mut [StoredReceipt]) -> Result<(), Error> {
    if page.is_empty() {
        return Ok(());
    }
    let numbers: Vec<i64> = page.iter().map(|stored| stored.number.0).collect();
    let rows = sqlx::query(STATES).bind(json(&numbers)).fetch_all(readers).await?;
    let mut rows: HashMap<i64, SqliteRow> = rows
        .into_iter()
        .map(|row| Ok((row.try_get(0)?, row)))
        .collect::<Result<_, sqlx::Error>>()?;
    for stored in page {
        let Some(row) = rows.remove(&stored.number.0) else { continue };
        let damaged = |what: &str| Error::Damaged(format!("the {what} of {}", stored.number));
        let reason: String = row.try_get(2)?;
        stored.state = state_of(row.try_get(1)?, reason).ok_or_else(|| damaged("state"))?;
        stored.sequences =
            serde_json::from_str(row.try_get(3)?).map_err(|_| damaged("sequences"))?;
        stored.duplicates = usize::try_from(row.try_get::<i64, _>(4)?).unwrap_or(0);
    }
    Ok(())
}

fn receipts_of(row: &SqliteRow) -> Result<Vec<StoredReceipt>, Error> {
    block::receipts(row.try_get(1)?, row.try_get(0)?)
}

fn of_endpoints(query: &ReceiptQuery, stored: &StoredReceipt) -> bool {
    query.endpoints.is_empty() || query.endpoints.contains(stored.receipt.endpoint())
}
