//! The gateway's own affairs as they are stored: the key of links and the links, and the days on which open
//! invoices are due. The latter are kept by the commit that changes an invoice (`statements`); other subjects
//! cost nothing.

use std::collections::HashMap;

use async_trait::async_trait;
use jiff::civil::{Date, date};
use jiff::{Span, Timestamp, Unit};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::recent::Key;
use super::{SqliteStore, json, log, sql_limit, time, unreadable};
use crate::model::SubjectId;
use crate::store::append::Touched;
use crate::store::{DueInvoice, Error, LinkRow, OwnStore};

const EPOCH: Date = date(1970, 1, 1);

const MAKE_KEY: &str = "INSERT OR IGNORE INTO meta (name, value) VALUES ('link_key', ?)";
const KEY: &str = "SELECT value FROM meta WHERE name = 'link_key'";
const PUT: &str = "
    INSERT INTO links
        (id, target_url, subject, references_, live, created_at_us, expires_at_us)
    VALUES (?, ?, ?, ?, ?, ?, ?)";
const LINK: &str = "
    SELECT id, target_url, subject, references_, live, created_at_us, expires_at_us
    FROM links WHERE id = ?";
const FORGET: &str = "DELETE FROM links WHERE id IN
    (SELECT id FROM links WHERE expires_at_us < ? ORDER BY expires_at_us LIMIT 1000)";
const DUE: &str = "
    SELECT due, id, state FROM due_invoices JOIN subjects ON id = subject
    WHERE due < ?1 AND (due, subject) > (?2, ?3) ORDER BY due, subject LIMIT ?4";

#[async_trait]
impl OwnStore for SqliteStore {
    async fn link_key(&self) -> Result<[u8; 32], Error> {
        let kept: Option<String> = sqlx::query_scalar(KEY).fetch_optional(&self.readers).await?;
        let text = match kept {
            Some(text) => text,
            None => {
                let made_up = hex::encode(rand::random::<[u8; 32]>());
                let mut writer = self.writer().await?;
                writer.row(sqlx::query(MAKE_KEY).bind(made_up)).await?;
                sqlx::query_scalar(KEY).fetch_one(&self.readers).await?
            }
        };
        let mut key = [0; 32];
        hex::decode_to_slice(text, &mut key)
            .map_err(|_| Error::Damaged("the key of links".to_owned()))?;
        Ok(key)
    }

    async fn put_link(&self, link: &LinkRow) -> Result<(), Error> {
        let query = sqlx::query(PUT)
            .bind(link.id.to_vec())
            .bind(&link.target_url)
            .bind(&link.subject)
            .bind(json(&link.references))
            .bind(link.live)
            .bind(link.created_at.as_microsecond())
            .bind(link.expires_at.map(|time| time.as_microsecond()));
        self.writer().await?.row(query).await.map(|_| ())
    }

    async fn link(&self, id: &[u8; 16]) -> Result<Option<LinkRow>, Error> {
        let row = sqlx::query(LINK).bind(id.to_vec()).fetch_optional(&self.readers).await?;
        row.map(|row| link_of(&row)).transpose()
    }

    async fn forget_links(&self, expired_before: Timestamp) -> Result<(), Error> {
        let query = sqlx::query(FORGET).bind(expired_before.as_microsecond());
        self.writer().await?.row(query).await.map(|_| ())
    }

    async fn due_invoices(
        &self,
        before: Date,
        after: Option<(Date, SubjectId)>,
        limit: usize,
    ) -> Result<Vec<DueInvoice>, Error> {
        let (due, subject) = after.map_or((i64::MIN, i64::MIN), |(due, id)| (day(due), id.0));
        let rows = sqlx::query(DUE)
            .bind(day(before))
            .bind(due)
            .bind(subject)
            .bind(sql_limit(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(due_invoice_of).collect()
    }
}

/// `[[subject, day that it no longer awaits, day that it awaits now]]`; NULL where no invoice's day is
/// another than before.
pub fn due_parameter(subjects: &HashMap<Key, Touched>) -> Option<String> {
    let rows: Vec<(SubjectId, Option<i64>, Option<i64>)> = subjects
        .values()
        .filter(|touched| touched.changed)
        .map(|touched| (touched.id, touched.awaited, touched.state.awaited_due_date()))
        .filter(|(_, before, now)| before != now)
        .map(|(id, before, now)| (id, before.map(day), now.map(day)))
        .collect();
    (!rows.is_empty()).then(|| json(&rows))
}

/// Days since 1970.
fn day(date: Date) -> i64 {
    let span = EPOCH.until((Unit::Day, date));
    span.map_or(0, |span| i64::from(span.get_days()))
}

fn due_invoice_of(row: &SqliteRow) -> Result<DueInvoice, Error> {
    let id: i64 = row.try_get(1)?;
    let days: i64 = row.try_get(0)?;
    let due = Span::new().try_days(days).and_then(|days| EPOCH.checked_add(days));
    let due = due.map_err(|error| Error::Damaged(format!("a due date: {error}")))?;
    Ok(DueInvoice { due, id: SubjectId(id), state: log::subject_state(id, row.try_get(2)?)? })
}

fn link_of(row: &SqliteRow) -> Result<LinkRow, Error> {
    let id: Vec<u8> = row.try_get(0)?;
    Ok(LinkRow {
        id: id.try_into().map_err(|_| Error::Damaged("a link's id".to_owned()))?,
        target_url: row.try_get(1)?,
        subject: row.try_get(2)?,
        references: serde_json::from_str(row.try_get(3)?).map_err(unreadable)?,
        live: row.try_get(4)?,
        created_at: time(row.try_get(5)?)?,
        expires_at: row.try_get::<Option<i64>, _>(6)?.map(time).transpose()?,
    })
}
