//! Reads of the log and of the subjects: events by sequence, by subject and by time, and the states that
//! they were merged into. Takes a reader, gives what is stored; it never writes.

use std::sync::Arc;

use futures::TryStreamExt;
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use super::block::{self, StoredEvent};
use super::recent::Recent;
use super::sql_limit;
use crate::model::{Sequence, Subject, SubjectId, SubjectState};
use crate::store::{ChainEntry, Error, Logged};

/// Blocks from the one that holds a sequence on.
const BLOCKS: &str = "
    SELECT first_sequence, last_sequence, block FROM event_blocks
    WHERE first_sequence >= coalesce(
        (SELECT max(first_sequence) FROM event_blocks WHERE first_sequence <= ?1), 0)
    ORDER BY first_sequence LIMIT ?2";
/// The block that holds a sequence, if any does.
const BLOCK: &str = "
    SELECT first_sequence, last_sequence, block FROM event_blocks
    WHERE first_sequence <= ? ORDER BY first_sequence DESC LIMIT 1";
const CHAIN: &str = "
    SELECT first_sequence, last_sequence, block, salts FROM event_blocks
    WHERE first_sequence >= coalesce(
        (SELECT max(first_sequence) FROM event_blocks WHERE first_sequence <= ?1), 0)
    ORDER BY first_sequence LIMIT ?2";
const COMMITTED_AT: &str = "
    SELECT first_sequence, last_sequence, committed_at_us FROM event_blocks
    WHERE first_sequence <= ? ORDER BY first_sequence DESC LIMIT 1";
const NEWEST: &str = "SELECT last_sequence FROM event_blocks ORDER BY first_sequence DESC LIMIT 1";
const SUBJECT_SEQUENCES: &str = "
    SELECT id FROM subjects WHERE id = ?1 AND id >= ?2
    UNION ALL
    SELECT sequence FROM subject_events WHERE subject = ?1 AND sequence >= ?2
    ORDER BY 1 LIMIT ?3";
const SUBJECT: &str = "
    SELECT id, state FROM subjects
    WHERE id = coalesce(?, (SELECT id FROM subject_keys WHERE key = ?))";
const SUBJECTS: &str = "SELECT id, state FROM subjects WHERE id > ? ORDER BY id LIMIT ?";
const SUBJECTS_BY_ID: &str =
    "SELECT id, state FROM subjects WHERE id IN (SELECT value FROM json_each(?))";

pub async fn events(
    readers: &SqlitePool,
    after: Sequence,
    max_events: usize,
    max_bytes: usize,
) -> Result<Vec<Arc<Logged>>, Error> {
    let max_events = max_events.max(1);
    let mut events = Vec::new();
    let mut bytes = 0;
    let mut rows =
        sqlx::query(BLOCKS).bind(after.next().0).bind(sql_limit(max_events)).fetch(readers);
    while let Some(row) = rows.try_next().await? {
        for event in stored_events(&row)? {
            if event.logged.sequence <= after {
                continue;
            }
            bytes += event.logged.encoded.len();
            if bytes > max_bytes && !events.is_empty() {
                return Ok(events);
            }
            events.push(event.logged);
            if events.len() == max_events || bytes >= max_bytes {
                return Ok(events);
            }
        }
    }
    Ok(events)
}

pub async fn event(readers: &SqlitePool, sequence: Sequence) -> Result<Option<Arc<Logged>>, Error> {
    let row = sqlx::query(BLOCK).bind(sequence.0).fetch_optional(readers).await?;
    let Some(row) = row else { return Ok(None) };
    let found = stored_events(&row)?.into_iter().find(|event| event.logged.sequence == sequence);
    Ok(found.map(|event| event.logged))
}

pub async fn chain(
    readers: &SqlitePool,
    after: Sequence,
    max_events: usize,
) -> Result<Vec<ChainEntry>, Error> {
    let max_events = max_events.max(1);
    let mut entries = Vec::new();
    let mut rows =
        sqlx::query(CHAIN).bind(after.next().0).bind(sql_limit(max_events)).fetch(readers);
    while let Some(row) = rows.try_next().await? {
        let salts: &[u8] = row.try_get(3)?;
        for (at, event) in stored_events(&row)?.into_iter().enumerate() {
            if event.logged.sequence <= after {
                continue;
            }
            let salt = salt_at(salts, at).ok_or_else(|| {
                Error::Damaged(format!("the salt of event {} is missing", event.logged.sequence))
            })?;
            let StoredEvent { logged, commitment, hash } = event;
            entries.push(ChainEntry { logged, commitment, hash, salt });
            if entries.len() == max_events {
                return Ok(entries);
            }
        }
    }
    Ok(entries)
}

pub async fn sequence_before(readers: &SqlitePool, time: Timestamp) -> Result<Sequence, Error> {
    let time_us = time.as_microsecond();
    let newest: Option<i64> = sqlx::query_scalar(NEWEST).fetch_optional(readers).await?;
    // All up to `before` was committed before the time, nothing from `after` on was.
    let (mut before, mut after) = (0, newest.unwrap_or(0) + 1);
    while before + 1 < after {
        let middle = before + (after - before) / 2;
        let row = sqlx::query(COMMITTED_AT).bind(middle).fetch_optional(readers).await?;
        let Some(row) = row else {
            // What was dropped is older than all that is there, and no answer.
            before = middle;
            continue;
        };
        let (first, last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if row.try_get::<i64, _>(2)? < time_us {
            before = last.max(middle);
        } else {
            after = first.min(middle);
        }
    }
    let row = sqlx::query(COMMITTED_AT).bind(before).fetch_optional(readers).await?;
    Ok(Sequence(if row.is_some() { before } else { 0 }))
}

pub async fn subject_sequences(
    readers: &SqlitePool,
    subject: SubjectId,
    from: Sequence,
    limit: usize,
) -> Result<Vec<Sequence>, Error> {
    let rows: Vec<i64> = sqlx::query_scalar(SUBJECT_SEQUENCES)
        .bind(subject.0)
        .bind(from.0)
        .bind(sql_limit(limit))
        .fetch_all(readers)
        .await?;
    Ok(rows.into_iter().map(Sequence).collect())
}

pub async fn subject(
    readers: &SqlitePool,
    recent: &Recent,
    subject: &Subject,
) -> Result<Option<(SubjectId, SubjectState)>, Error> {
    // Asked first: what is no longer here by then is in the index.
    let key = subject.key();
    let recent = recent.subject(&key);
    let row = sqlx::query(SUBJECT).bind(recent).bind(key.to_vec()).fetch_optional(readers).await?;
    row.map(|row| subject_of(&row)).transpose()
}

pub async fn subjects(
    readers: &SqlitePool,
    after: SubjectId,
    limit: usize,
) -> Result<Vec<(SubjectId, SubjectState)>, Error> {
    let rows =
        sqlx::query(SUBJECTS).bind(after.0).bind(sql_limit(limit)).fetch_all(readers).await?;
    rows.iter().map(subject_of).collect()
}

pub async fn subjects_by_id(
    readers: &SqlitePool,
    ids: &[SubjectId],
) -> Result<Vec<(SubjectId, SubjectState)>, Error> {
    let ids = super::json(&ids);
    let rows = sqlx::query(SUBJECTS_BY_ID).bind(ids).fetch_all(readers).await?;
    rows.iter().map(subject_of).collect()
}

fn stored_events(row: &SqliteRow) -> Result<Vec<StoredEvent>, Error> {
    block::events(row.try_get(2)?, row.try_get(0)?, row.try_get(1)?)
}

fn subject_of(row: &SqliteRow) -> Result<(SubjectId, SubjectState), Error> {
    let id = row.try_get(0)?;
    Ok((SubjectId(id), subject_state(id, row.try_get(1)?)?))
}

/// Reads a subject's state.
pub fn subject_state(id: i64, state: &str) -> Result<SubjectState, Error> {
    serde_json::from_str(state)
        .map_err(|error| Error::Damaged(format!("the state of subject {id}: {error}")))
}

/// The salt at a place of a block: `Some(None)` where it is erased, `None` where there is no such place.
fn salt_at(salts: &[u8], at: usize) -> Option<Option<[u8; 16]>> {
    let salt = salts.as_chunks::<16>().0.get(at)?;
    Some(Some(*salt).filter(|salt| *salt != [0; 16]))
}
