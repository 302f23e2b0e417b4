//! The statements of a commit, from BEGIN to COMMIT in one text, and the parameters for them: the batch's
//! records packed so that text and prepared form are the same whatever the batch's size. In come what
//! `append` made and how subscriptions moved; out go queries for `writer` to run.
//!
//! sqlx gives a parameter to each plain `?` in the order of the text, over all its statements. Numbered
//! ones (`?1`) would shift the count from the second statement on, so there must be none here.

use std::collections::HashMap;

use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;

use super::{block, json, positions, receipts};
use crate::model::{ReceiptNumber, Sequence, SubjectId};
use crate::store::append::{Appended, NewEvent, Touched};
use crate::store::{Error, NewReceipt, PositionUpdate, ReceiptState, Recorded};

/// A query with its parameters.
pub type Statements<'a> = Query<'a, Sqlite, SqliteArguments>;

/// Puts the events, receipts and subjects of a batch in their tables.
macro_rules! append {
    () => {
        "INSERT INTO event_blocks (first_sequence, last_sequence, committed_at_us, block)
            SELECT * FROM (SELECT ? AS first, ?, ?, ?) WHERE first IS NOT NULL;
        INSERT INTO salts (first_sequence, salts)
            SELECT * FROM (SELECT ? AS first, ?) WHERE first IS NOT NULL;
        INSERT INTO receipt_blocks (first_receipt, last_receipt, block)
            SELECT * FROM (SELECT ? AS first, ?, ?) WHERE first IS NOT NULL;
        INSERT INTO receipt_states (receipt, state, reason, sequences, duplicates)
            SELECT value ->> 0, value ->> 1, value ->> 2, value -> 3, value ->> 4
            FROM json_each(?) WHERE true
            ON CONFLICT (receipt) DO UPDATE SET state = excluded.state, reason = excluded.reason,
                sequences = excluded.sequences, duplicates = excluded.duplicates;
        INSERT INTO claims (key, sequence)
            WITH RECURSIVE event(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM event LIMIT ?)
            SELECT substr(?, i * 16 - 15, 16), ? + i FROM event;
        INSERT INTO subjects (id, key, state)
            SELECT value ->> 0, unhex(value ->> 1),
                CAST(substr(?, value ->> 2, value ->> 3) AS TEXT)
            FROM json_each(?) WHERE true
            ON CONFLICT (id) DO UPDATE SET state = excluded.state;
        INSERT INTO subject_events (subject, sequence)
            SELECT value ->> 0, value ->> 1 FROM json_each(?);
        UPDATE log_head SET sequence = ?, hash = ?, receipt = ?;"
    };
}

/// Moves subscriptions. One that was deleted meanwhile leaves nothing.
macro_rules! move_positions {
    () => {
        "DELETE FROM lanes WHERE subscription IN (SELECT value FROM json_each(?));
        DELETE FROM lanes WHERE (subscription, subject) IN
            (SELECT value ->> 0, value ->> 1 FROM json_each(?));
        INSERT INTO lanes (subscription, subject, first, attempts, due_at_us, history, gaps)
            SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value -> 5,
                value ->> 6
            FROM json_each(?) WHERE EXISTS (SELECT 1 FROM subscriptions WHERE id = value ->> 0)
            ON CONFLICT (subscription, subject) DO UPDATE SET first = excluded.first,
                attempts = excluded.attempts, due_at_us = excluded.due_at_us,
                history = excluded.history, gaps = excluded.gaps;
        DELETE FROM dead_letters WHERE (subscription, sequence) IN
            (SELECT value ->> 0, value ->> 1 FROM json_each(?));
        INSERT INTO dead_letters
            (subscription, sequence, subject, reason, history, dead_at_us, replaying)
            SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value -> 4, value ->> 5,
                value ->> 6
            FROM json_each(?) WHERE EXISTS (SELECT 1 FROM subscriptions WHERE id = value ->> 0)
            ON CONFLICT (subscription, sequence) DO UPDATE SET subject = excluded.subject,
                reason = excluded.reason, history = excluded.history,
                dead_at_us = excluded.dead_at_us, replaying = excluded.replaying;
        INSERT INTO ack_records (sequence, subscription, external_ref, outcome, acked_at_us)
            SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
            FROM json_each(?) WHERE EXISTS (SELECT 1 FROM subscriptions WHERE id = value ->> 1)
            ON CONFLICT (sequence, subscription) DO UPDATE SET
                external_ref = excluded.external_ref, outcome = excluded.outcome,
                acked_at_us = excluded.acked_at_us;
        UPDATE subscriptions SET cursor = moved.cursor, done = moved.done,
                high_water = moved.high_water, generation = moved.generation
            FROM (SELECT value ->> 0 AS id, value ->> 1 AS cursor, value -> 2 AS done,
                value ->> 3 AS high_water, value ->> 4 AS generation FROM json_each(?)) AS moved
            WHERE subscriptions.id = moved.id;"
    };
}

/// A batch of receipts.
pub const APPEND: &str = concat!("BEGIN IMMEDIATE;", append!(), "COMMIT");
/// A batch of acks alone: the head is not touched.
pub const MOVE: &str = concat!("BEGIN IMMEDIATE;", move_positions!(), "COMMIT");
/// A batch of both.
pub const APPEND_AND_MOVE: &str =
    concat!("BEGIN IMMEDIATE;", append!(), move_positions!(), "COMMIT");

/// Adds the parameters of the append statements.
pub fn bind_log<'a>(
    query: Statements<'a>,
    appended: &Appended,
    batch_receipts: &[NewReceipt],
    committed_at_us: i64,
    last_receipt: ReceiptNumber,
) -> Result<Statements<'a>, Error> {
    let events = &appended.events;
    let first = events.first().map(|event| event.logged.sequence.0);
    let recorded = || batch_receipts.iter().zip(&appended.recorded);
    let stored = || recorded().filter(|(new, _)| new.retry_of.is_none());
    let first_receipt = stored().next().map(|(_, recorded)| recorded.receipt.0);
    let has_state = |(new, _): &(&NewReceipt, &Recorded)| {
        new.retry_of.is_some() || new.state != ReceiptState::Translated
    };
    let states = recorded().filter(has_state).map(|(new, recorded)| (&new.state, recorded));
    let (subject_states, subjects) = subject_parameters(&appended.subjects)?;
    let is_later = |event: &&NewEvent| event.logged.subject.0 != event.logged.sequence.0;
    let later: Vec<(SubjectId, Sequence)> = events
        .iter()
        .filter(is_later)
        .map(|event| (event.logged.subject, event.logged.sequence))
        .collect();
    Ok(query
        .bind(first)
        .bind(appended.head.0.0)
        .bind(committed_at_us)
        .bind(first.map(|_| block::of_events(events)))
        .bind(first)
        .bind(events.iter().flat_map(|event| event.salt).collect::<Vec<u8>>())
        .bind(first_receipt)
        .bind(last_receipt.0)
        .bind(first_receipt.map(|_| block::of_receipts(stored())))
        .bind(receipts::states_parameter(states))
        .bind(super::sql_limit(events.len()))
        .bind(events.iter().flat_map(|event| event.key.0).collect::<Vec<u8>>())
        .bind(first.unwrap_or(0) - 1)
        .bind(subject_states)
        .bind(subjects)
        .bind(json(&later))
        .bind(appended.head.0.0)
        .bind(appended.head.1.to_vec())
        .bind(last_receipt.0))
}

/// The states of changed subjects one behind the other, and `[[id, key, place, length]]`.
fn subject_parameters(subjects: &HashMap<[u8; 16], Touched>) -> Result<(Vec<u8>, String), Error> {
    let mut states = Vec::new();
    let mut rows = Vec::new();
    for (key, touched) in subjects.iter().filter(|(_, touched)| touched.changed) {
        let start = states.len();
        serde_json::to_writer(&mut states, &touched.state)
            .map_err(|error| Error::Damaged(format!("a subject's new state: {error}")))?;
        rows.push((touched.id, hex::encode(key), start + 1, states.len() - start));
    }
    Ok((states, json(&rows)))
}

/// Adds the parameters of the statements that move subscriptions.
pub fn bind_positions(query: Statements<'_>, updates: Vec<PositionUpdate>) -> Statements<'_> {
    let parameters = positions::parameters(updates);
    query
        .bind(parameters.cleared)
        .bind(parameters.lanes_removed)
        .bind(parameters.lanes)
        .bind(parameters.dead_letters_removed)
        .bind(parameters.dead_letters)
        .bind(parameters.acked)
        .bind(parameters.positions)
}
