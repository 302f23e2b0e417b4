//! Credentials as they are stored: a digest and what it allows, never the text.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use super::writer::Writer;
use super::{json, time, unreadable};
use crate::store::{Error, TokenRow};

const PUT: &str = "
    INSERT INTO tokens
        (id, hash, description, scopes, created_at_us, expires_at_us, revoked_at_us)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, description = excluded.description,
        scopes = excluded.scopes, created_at_us = excluded.created_at_us,
        expires_at_us = excluded.expires_at_us, revoked_at_us = excluded.revoked_at_us";
const ALL: &str = "
    SELECT id, hash, description, scopes, created_at_us, expires_at_us, revoked_at_us
    FROM tokens ORDER BY created_at_us, id";

pub async fn put(writer: &mut Writer, token: &TokenRow) -> Result<(), Error> {
    let query = sqlx::query(PUT)
        .bind(&token.id)
        .bind(token.hash.to_vec())
        .bind(&token.description)
        .bind(json(&token.scopes))
        .bind(token.created_at.as_microsecond())
        .bind(token.expires_at.map(|time| time.as_microsecond()))
        .bind(token.revoked_at.map(|time| time.as_microsecond()));
    writer.row(query).await.map(|_| ())
}

pub async fn all(readers: &SqlitePool) -> Result<Vec<TokenRow>, Error> {
    sqlx::query(ALL).fetch_all(readers).await?.iter().map(token_of).collect()
}

fn token_of(row: &SqliteRow) -> Result<TokenRow, Error> {
    let hash: Vec<u8> = row.try_get(1)?;
    Ok(TokenRow {
        id: row.try_get(0)?,
        hash: hash.try_into().map_err(|_| Error::Damaged("a token's digest".to_owned()))?,
        description: row.try_get(2)?,
        scopes: serde_json::from_str(row.try_get(3)?).map_err(unreadable)?,
        created_at: time(row.try_get(4)?)?,
        expires_at: row.try_get::<Option<i64>, _>(5)?.map(time).transpose()?,
        revoked_at: row.try_get::<Option<i64>, _>(6)?.map(time).transpose()?,
    })
}
