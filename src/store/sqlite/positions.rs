//! Where subscriptions stand: their positions, lanes, dead letters and ack records. Updates of one batch
//! are merged here into the parameters of one statement text; reads come by page.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use super::{json, sql_limit, time, unreadable};
use crate::model::{Sequence, SubjectId};
use crate::store::{
    AckRecord, DeadLetterRow, Error, Held, LaneRow, Position, PositionUpdate, SubscriptionId,
};

const HELD_LANES: &str = "
    SELECT subject, first, attempts, due_at_us, history, gaps FROM lanes
    WHERE subscription = ? AND first IS NOT NULL AND (due_at_us, subject) > (?, ?)
    ORDER BY due_at_us, subject LIMIT ?";
const LANES: &str = "
    SELECT subject, first, attempts, due_at_us, history, gaps FROM lanes
    WHERE subscription = ? AND subject IN (SELECT value FROM json_each(?))";
const LANE_COUNTS: &str = "SELECT count(*), count(first) FROM lanes WHERE subscription = ?";
const DEAD_LETTERS: &str = "
    SELECT sequence, subject, reason, history, dead_at_us, replaying FROM dead_letters
    WHERE subscription = ? AND sequence > ? ORDER BY sequence LIMIT ?";
const REPLAYING: &str = "
    SELECT sequence, subject, reason, history, dead_at_us, replaying
    FROM dead_letters INDEXED BY dead_letters_replaying
    WHERE subscription = ? AND sequence > ? AND replaying = 1 ORDER BY sequence LIMIT ?";
const DEAD_LETTER: &str = "
    SELECT sequence, subject, reason, history, dead_at_us, replaying FROM dead_letters
    WHERE subscription = ? AND sequence = ?";
const DEAD_LETTER_COUNT: &str = "SELECT count(*) FROM dead_letters WHERE subscription = ?";
const ACK_RECORDS: &str = "
    SELECT subscription, sequence, external_ref, outcome, acked_at_us FROM ack_records
    WHERE sequence IN (SELECT value FROM json_each(?))
        AND EXISTS (SELECT 1 FROM subscriptions WHERE id = subscription)
    ORDER BY sequence, subscription";

/// The parameters of a batch's position updates, in the order of the statements that take them. Each is
/// a JSON array of rows.
pub struct Parameters {
    /// `[subscription]`
    pub cleared: String,
    /// `[[subscription, subject]]`
    pub lanes_removed: String,
    /// `[[subscription, subject, first, attempts, due, history, gaps]]`
    pub lanes: String,
    /// `[[subscription, sequence]]`
    pub dead_letters_removed: String,
    /// `[[subscription, sequence, subject, reason, history, dead_at, replaying]]`
    pub dead_letters: String,
    /// `[[sequence, subscription, external_ref, outcome, acked_at]]`
    pub acked: String,
    /// `[[subscription, cursor, done, high_water, generation]]`
    pub positions: String,
}

/// All updates of one subscription in a batch, the later over the earlier.
#[derive(Default)]
struct Merged {
    position: Position,
    cleared: bool,
    lanes: BTreeMap<SubjectId, Option<LaneRow>>,
    dead_letters: BTreeMap<Sequence, Option<DeadLetterRow>>,
    acked: BTreeMap<Sequence, AckRecord>,
}

/// Merges the updates of a batch and writes them down as parameters.
pub fn parameters(updates: Vec<PositionUpdate>) -> Parameters {
    let mut merged: BTreeMap<i64, Merged> = BTreeMap::new();
    for update in updates {
        merged.entry(update.subscription.0).or_default().take(update);
    }
    let lanes = merged.iter().flat_map(|(id, merged)| {
        merged.lanes.iter().map(move |(subject, lane)| (*id, subject, lane.as_ref()))
    });
    let dead_letters = merged.iter().flat_map(|(id, merged)| {
        merged.dead_letters.iter().map(move |(sequence, row)| (*id, sequence, row.as_ref()))
    });
    let acked = merged.iter().flat_map(|(id, merged)| {
        merged.acked.values().map(move |ack| {
            let acked_at = ack.acked_at.as_microsecond();
            (ack.sequence, *id, &ack.external_ref, &ack.outcome, acked_at)
        })
    });
    let positions = merged.iter().map(|(id, merged)| {
        let Position { cursor, done, high_water, generation } = &merged.position;
        (*id, cursor, done, high_water, generation)
    });
    let cleared = merged.iter().filter(|(_, merged)| merged.cleared).map(|(id, _)| *id);
    Parameters {
        cleared: rows(cleared),
        lanes_removed: rows(
            lanes
                .clone()
                .filter(|(_, _, lane)| lane.is_none())
                .map(|(id, subject, _)| (id, subject)),
        ),
        lanes: rows(lanes.filter_map(|(id, _, lane)| lane.map(|lane| lane_parameters(id, lane)))),
        dead_letters_removed: rows(
            dead_letters.clone().filter(|(_, _, row)| row.is_none()).map(|(id, at, _)| (id, at)),
        ),
        dead_letters: rows(
            dead_letters.filter_map(|(id, _, row)| row.map(|row| dead_letter_parameters(id, row))),
        ),
        acked: rows(acked),
        positions: rows(positions),
    }
}

pub async fn held_lanes(
    readers: &SqlitePool,
    subscription: SubscriptionId,
    after: Option<(Timestamp, SubjectId)>,
    limit: usize,
) -> Result<Vec<LaneRow>, Error> {
    let (due_at_us, subject) = after
        .map_or((i64::MIN, i64::MIN), |(due_at, subject)| (due_at.as_microsecond(), subject.0));
    let rows = sqlx::query(HELD_LANES)
        .bind(subscription.0)
        .bind(due_at_us)
        .bind(subject)
        .bind(sql_limit(limit))
        .fetch_all(readers)
        .await?;
    rows.iter().map(lane_of).collect()
}

pub async fn lanes(
    readers: &SqlitePool,
    subscription: SubscriptionId,
    subjects: &[SubjectId],
) -> Result<Vec<LaneRow>, Error> {
    let query = sqlx::query(LANES).bind(subscription.0).bind(json(&subjects));
    query.fetch_all(readers).await?.iter().map(lane_of).collect()
}

pub async fn lane_counts(
    readers: &SqlitePool,
    subscription: SubscriptionId,
) -> Result<(i64, i64), Error> {
    Ok(sqlx::query_as(LANE_COUNTS).bind(subscription.0).fetch_one(readers).await?)
}

pub async fn dead_letters(
    readers: &SqlitePool,
    subscription: SubscriptionId,
    after: Sequence,
    limit: usize,
    only_replaying: bool,
) -> Result<Vec<DeadLetterRow>, Error> {
    let rows = sqlx::query(if only_replaying { REPLAYING } else { DEAD_LETTERS })
        .bind(subscription.0)
        .bind(after.0)
        .bind(sql_limit(limit))
        .fetch_all(readers)
        .await?;
    rows.iter().map(dead_letter_of).collect()
}

pub async fn dead_letter(
    readers: &SqlitePool,
    subscription: SubscriptionId,
    sequence: Sequence,
) -> Result<Option<DeadLetterRow>, Error> {
    let query = sqlx::query(DEAD_LETTER).bind(subscription.0).bind(sequence.0);
    query.fetch_optional(readers).await?.map(|row| dead_letter_of(&row)).transpose()
}

pub async fn dead_letter_count(
    readers: &SqlitePool,
    subscription: SubscriptionId,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(DEAD_LETTER_COUNT).bind(subscription.0).fetch_one(readers).await?)
}

pub async fn ack_records(
    readers: &SqlitePool,
    sequences: &[Sequence],
) -> Result<Vec<(SubscriptionId, AckRecord)>, Error> {
    let rows = sqlx::query(ACK_RECORDS).bind(json(&sequences)).fetch_all(readers).await?;
    let record = |row: &SqliteRow| {
        let record = AckRecord {
            sequence: Sequence(row.try_get(1)?),
            external_ref: row.try_get(2)?,
            outcome: row.try_get(3)?,
            acked_at: time(row.try_get(4)?)?,
        };
        Ok((SubscriptionId(row.try_get(0)?), record))
    };
    rows.iter().map(record).collect()
}

impl Merged {
    fn take(&mut self, update: PositionUpdate) {
        self.position = update.position;
        if update.clear_lanes {
            self.cleared = true;
            self.lanes.clear();
        }
        self.lanes.extend(update.lanes_removed.into_iter().map(|subject| (subject, None)));
        self.lanes.extend(update.lanes.into_iter().map(|lane| (lane.subject, Some(lane))));
        let removed = update.dead_letters_removed.into_iter().map(|sequence| (sequence, None));
        self.dead_letters.extend(removed);
        let written = update.dead_letters.into_iter().map(|row| (row.sequence, Some(row)));
        self.dead_letters.extend(written);
        self.acked.extend(update.acked.into_iter().map(|ack| (ack.sequence, ack)));
    }
}

fn lane_parameters(subscription: i64, lane: &LaneRow) -> impl serde::Serialize {
    let held = lane.held.as_ref();
    (
        subscription,
        lane.subject,
        held.map(|held| held.first),
        held.map_or(0, |held| held.attempts),
        held.map_or(0, |held| held.due_at.as_microsecond()),
        held.map(|held| held.history.clone()).unwrap_or_default(),
        lane.gaps,
    )
}

fn dead_letter_parameters(subscription: i64, row: &DeadLetterRow) -> impl serde::Serialize {
    (
        subscription,
        row.sequence,
        row.subject,
        row.reason.clone(),
        row.history.clone(),
        row.dead_at.as_microsecond(),
        row.replaying,
    )
}

/// A JSON array of rows; the same few bytes where there are none, as mostly.
fn rows<T: serde::Serialize>(rows: impl Iterator<Item = T>) -> String {
    json(&rows.collect::<Vec<T>>())
}

fn lane_of(row: &SqliteRow) -> Result<LaneRow, Error> {
    let held = match row.try_get::<Option<i64>, _>(1)? {
        Some(first) => Some(Held {
            first: Sequence(first),
            attempts: row.try_get(2)?,
            due_at: time(row.try_get(3)?)?,
            history: serde_json::from_str(row.try_get(4)?).map_err(unreadable)?,
        }),
        None => None,
    };
    Ok(LaneRow { subject: SubjectId(row.try_get(0)?), held, gaps: row.try_get(5)? })
}

fn dead_letter_of(row: &SqliteRow) -> Result<DeadLetterRow, Error> {
    Ok(DeadLetterRow {
        sequence: Sequence(row.try_get(0)?),
        subject: SubjectId(row.try_get(1)?),
        reason: row.try_get(2)?,
        history: serde_json::from_str(row.try_get(3)?).map_err(unreadable)?,
        dead_at: time(row.try_get(4)?)?,
        replaying: row.try_get(5)?,
    })
}
