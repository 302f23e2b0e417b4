//! What few commits write: values that endpoints keep between fetches, and blocks of receipts that were
//! denied, without what those said. In comes what a batch has of it; out goes one parameter, nothing for
//! almost all commits. A value may be a secret and is never shown.

use std::collections::BTreeMap;

use sqlx::{SqliteConnection, SqlitePool};

use super::{block, json};
use crate::model::{EndpointName, ReceiptNumber};
use crate::store::{EndpointValue, Error};

const VALUE: &str = "SELECT value FROM endpoint_values WHERE endpoint = ? AND name = ?";
/// The block that a receipt is in.
const BLOCK_OF: &str = "
    SELECT first_receipt, block FROM receipt_blocks
    WHERE first_receipt <= ? ORDER BY first_receipt DESC LIMIT 1";

pub async fn value(
    readers: &SqlitePool,
    endpoint: &EndpointName,
    name: &str,
) -> Result<Option<String>, Error> {
    let value = sqlx::query_scalar(VALUE).bind(endpoint.as_str()).bind(name);
    Ok(value.fetch_optional(readers).await?)
}

/// The blocks of these receipts, by their first numbers, without what these receipts said.
pub async fn purged(
    connection: &mut SqliteConnection,
    denied: &[ReceiptNumber],
) -> Result<Vec<(i64, Vec<u8>)>, Error> {
    let mut blocks: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
    for number in denied {
        let row: Option<(i64, Vec<u8>)> =
            sqlx::query_as(BLOCK_OF).bind(number.0).fetch_optional(&mut *connection).await?;
        blocks.extend(row);
    }
    let purged = blocks
        .into_iter()
        .map(|(first, stored)| Ok((first, block::purged(&stored, first, denied)?)));
    purged.collect()
}

/// Both as a parameter, `None` where there is nothing.
pub fn parameter(values: &[EndpointValue], purged: &[(i64, Vec<u8>)]) -> Option<String> {
    if values.is_empty() && purged.is_empty() {
        return None;
    }
    let values: Vec<[&str; 3]> =
        values.iter().map(|one| [one.endpoint.as_str(), &one.name, &one.value]).collect();
    let purged: Vec<(i64, String)> =
        purged.iter().map(|(first, block)| (*first, hex::encode(block))).collect();
    Some(json(&serde_json::json!({ "values": values, "purged": purged })))
}
