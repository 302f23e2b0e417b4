//! Subscriptions: what they are, and how they come and go. Where one stands changes in a commit, through
//! `positions`.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use super::writer::Writer;
use super::{time, unreadable};
use crate::model::Sequence;
use crate::store::{Error, Position, StoredSubscription, SubscriptionId};

/// How many sequences one deletion of ack records passes, so that commits get their turn in between.
const ACKS_PER_DELETE: i64 = 20_000;

const CREATE: &str = "
    INSERT INTO subscriptions
        (name, spec, paused, created_at_us, cursor, done, high_water, generation)
    VALUES (?, ?, 0, ?, ?, '[]', 0, 0)
    ON CONFLICT (name) DO NOTHING
    RETURNING id, name, spec, paused, created_at_us, cursor, done, high_water, generation";
const ALL: &str = "
    SELECT id, name, spec, paused, created_at_us, cursor, done, high_water, generation
    FROM subscriptions ORDER BY name";
const UPDATE: &str = "UPDATE subscriptions SET spec = ?, paused = ? WHERE id = ? RETURNING id";
const DELETE: &str = "
    BEGIN IMMEDIATE;
    DELETE FROM lanes WHERE subscription = ?;
    DELETE FROM dead_letters WHERE subscription = ?;
    DELETE FROM subscriptions WHERE id = ?;
    COMMIT";
const EXISTS: &str = "SELECT id FROM subscriptions WHERE id = ?";
const DELETE_ACKS: &str =
    "DELETE FROM ack_records WHERE sequence > ? AND sequence <= ? AND subscription = ?";

pub async fn create(
    writer: &mut Writer,
    name: &str,
    spec: &str,
    position: Sequence,
    created_at: Timestamp,
) -> Result<StoredSubscription, Error> {
    let query = sqlx::query(CREATE)
        .bind(name)
        .bind(spec)
        .bind(created_at.as_microsecond())
        .bind(position.0);
    match writer.row(query).await? {
        Some(row) => subscription_of(&row),
        None => Err(Error::Exists(name.to_owned())),
    }
}

pub async fn all(readers: &SqlitePool) -> Result<Vec<StoredSubscription>, Error> {
    sqlx::query(ALL).fetch_all(readers).await?.iter().map(subscription_of).collect()
}

pub async fn update(
    writer: &mut Writer,
    id: SubscriptionId,
    spec: &str,
    paused: bool,
) -> Result<(), Error> {
    let query = sqlx::query(UPDATE).bind(spec).bind(paused).bind(id.0);
    writer.row(query).await?.map(|_| ()).ok_or_else(|| missing(id))
}

/// Deletes all but the ack records, which nobody can see any more then.
pub async fn delete(writer: &mut Writer, id: SubscriptionId) -> Result<(), Error> {
    if writer.row(sqlx::query(EXISTS).bind(id.0)).await?.is_none() {
        return Err(missing(id));
    }
    writer.run(sqlx::query(DELETE).bind(id.0).bind(id.0).bind(id.0)).await
}

/// Deletes ack records of a subscription after a sequence, a bounded piece; gives where to go on.
pub async fn delete_acks(
    writer: &mut Writer,
    id: SubscriptionId,
    after: Sequence,
) -> Result<Option<Sequence>, Error> {
    let end = after.0.saturating_add(ACKS_PER_DELETE);
    writer.row(sqlx::query(DELETE_ACKS).bind(after.0).bind(end).bind(id.0)).await?;
    Ok(Some(Sequence(end)).filter(|end| *end < writer.head().sequence))
}

fn subscription_of(row: &SqliteRow) -> Result<StoredSubscription, Error> {
    Ok(StoredSubscription {
        id: SubscriptionId(row.try_get(0)?),
        name: row.try_get(1)?,
        spec: row.try_get(2)?,
        paused: row.try_get(3)?,
        created_at: time(row.try_get(4)?)?,
        position: Position {
            cursor: Sequence(row.try_get(5)?),
            done: serde_json::from_str(row.try_get(6)?).map_err(unreadable)?,
            high_water: Sequence(row.try_get(7)?),
            generation: row.try_get(8)?,
        },
    })
}

fn missing(id: SubscriptionId) -> Error {
    Error::NotFound(format!("subscription {}", id.0))
}
