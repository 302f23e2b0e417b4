//! What a commit writes, as one statement: a row goes into the view `commits`, and its triggers put the
//! parts where they belong. The row holds the batch's records packed, so that the text and its prepared
//! form are the same whatever the batch's size. In come what `append` made and how subscriptions moved;
//! out goes a query for `writer` to run.
//!
//! One statement is one transaction without BEGIN and COMMIT, undone whole when any part of it fails, and
//! one trip to the connection's thread. Statement by statement, the trips cost more than the writing.

use std::collections::HashMap;

use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;

use super::recent::{Key, Part};
use super::{block, json, own, positions, receipts};
use crate::model::{ReceiptNumber, Sequence, SubjectId};
use crate::store::append::{Appended, NewEvent, Touched};
use crate::store::{Error, NewReceipt, PositionUpdate, ReceiptState, Recorded};

/// How subscriptions moved, and what few commits write besides.
pub type Rest = (Vec<PositionUpdate>, Option<String>);

/// A query with its parameters.
pub type Statement<'a> = Query<'a, Sqlite, SqliteArguments>;

/// Keys that are taken to be new. If the index has one of them, the statement fails with `is_known` and
/// writes nothing.
#[derive(Default)]
pub struct Presumed {
    /// Of events.
    pub events: Vec<Key>,
    /// Of subjects.
    pub subjects: Vec<Key>,
}

/// The end of the log after a commit.
#[derive(Clone, Copy)]
pub struct End {
    /// The last receipt.
    pub receipt: ReceiptNumber,
    /// When it is committed.
    pub committed_at_us: i64,
}

/// Made anew on each writing connection, so that it is always this version's.
pub const PREPARE: &str = "
CREATE TEMP VIEW commits AS SELECT
    NULL AS last_sequence, NULL AS hash, NULL AS last_receipt, NULL AS committed_at_us,
    NULL AS new_events, NULL AS new_subjects,
    NULL AS first_sequence, NULL AS events, NULL AS salts, NULL AS keys,
    NULL AS later, NULL AS subjects, NULL AS subject_states,
    NULL AS indexed, NULL AS claim_keys, NULL AS claims, NULL AS subject_keys, NULL AS subject_ids,
    NULL AS first_receipt, NULL AS receipts, NULL AS receipt_states,
    NULL AS lanes_cleared, NULL AS lanes_removed, NULL AS lanes,
    NULL AS dead_letters_removed, NULL AS dead_letters, NULL AS acked, NULL AS positions,
    NULL AS more, NULL AS due;

CREATE TEMP TRIGGER append INSTEAD OF INSERT ON commits WHEN NEW.last_receipt IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'known') WHERE EXISTS
        (SELECT 1 FROM json_each(NEW.new_events) AS new CROSS JOIN claims
            WHERE claims.key = unhex(new.value))
        OR EXISTS (SELECT 1 FROM json_each(NEW.new_subjects) AS new CROSS JOIN subject_keys
            WHERE subject_keys.key = unhex(new.value));
    INSERT INTO event_blocks
        (first_sequence, last_sequence, committed_at_us, hash, salts, keys, block)
        SELECT NEW.first_sequence, NEW.last_sequence, NEW.committed_at_us, NEW.hash, NEW.salts,
            NEW.keys, NEW.events
        WHERE NEW.first_sequence IS NOT NULL;
    INSERT INTO claims (key, sequence)
        SELECT substr(NEW.claim_keys, key * 16 + 1, 16), value FROM json_each(NEW.claims)
        WHERE true ON CONFLICT DO NOTHING;
    INSERT INTO subject_keys (key, id)
        SELECT substr(NEW.subject_keys, key * 16 + 1, 16), value FROM json_each(NEW.subject_ids)
        WHERE true ON CONFLICT DO NOTHING;
    INSERT INTO subjects (id, key, state)
        SELECT value ->> 0, unhex(value ->> 1),
            CAST(substr(NEW.subject_states, value ->> 2, value ->> 3) AS TEXT)
        FROM json_each(NEW.subjects) WHERE true
        ON CONFLICT (id) DO UPDATE SET state = excluded.state;
    INSERT INTO subject_events (subject, sequence)
        SELECT value ->> 0, value ->> 1 FROM json_each(NEW.later);
    INSERT INTO receipt_blocks (first_receipt, last_receipt, last_sequence, block)
        SELECT NEW.first_receipt, NEW.last_receipt, NEW.last_sequence, NEW.receipts
        WHERE NEW.first_receipt IS NOT NULL;
    INSERT INTO receipt_states (receipt, state, reason, sequences, duplicates)
        SELECT value ->> 0, value ->> 1, value ->> 2, value -> 3, value ->> 4
        FROM json_each(NEW.receipt_states) WHERE true
        ON CONFLICT (receipt) DO UPDATE SET state = excluded.state, reason = excluded.reason,
            sequences = excluded.sequences, duplicates = excluded.duplicates;
    UPDATE log_base SET indexed = NEW.indexed WHERE NEW.indexed IS NOT NULL;
END;

-- A subscription that was deleted meanwhile leaves nothing.
CREATE TEMP TRIGGER move INSTEAD OF INSERT ON commits WHEN NEW.positions IS NOT NULL
BEGIN
    DELETE FROM lanes WHERE subscription IN (SELECT value FROM json_each(NEW.lanes_cleared));
    DELETE FROM lanes WHERE (subscription, subject) IN
        (SELECT value ->> 0, value ->> 1 FROM json_each(NEW.lanes_removed));
    INSERT INTO lanes (subscription, subject, first, attempts, due_at_us, history, gaps)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value -> 5,
            value ->> 6
        FROM json_each(NEW.lanes) AS row
        WHERE EXISTS (SELECT 1 FROM subscriptions WHERE id = row.value ->> 0)
        ON CONFLICT (subscription, subject) DO UPDATE SET first = excluded.first,
            attempts = excluded.attempts, due_at_us = excluded.due_at_us,
            history = excluded.history, gaps = excluded.gaps;
    DELETE FROM dead_letters WHERE (subscription, sequence) IN
        (SELECT value ->> 0, value ->> 1 FROM json_each(NEW.dead_letters_removed));
    INSERT INTO dead_letters
        (subscription, sequence, subject, reason, history, dead_at_us, replaying)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value -> 4, value ->> 5,
            value ->> 6
        FROM json_each(NEW.dead_letters) AS row
        WHERE EXISTS (SELECT 1 FROM subscriptions WHERE id = row.value ->> 0)
        ON CONFLICT (subscription, sequence) DO UPDATE SET subject = excluded.subject,
            reason = excluded.reason, history = excluded.history,
            dead_at_us = excluded.dead_at_us, replaying = excluded.replaying;
    INSERT INTO ack_records (sequence, subscription, external_ref, outcome, acked_at_us)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
        FROM json_each(NEW.acked) AS row
        WHERE EXISTS (SELECT 1 FROM subscriptions WHERE id = row.value ->> 1)
        ON CONFLICT (sequence, subscription) DO UPDATE SET external_ref = excluded.external_ref,
            outcome = excluded.outcome, acked_at_us = excluded.acked_at_us;
    UPDATE subscriptions SET cursor = moved.cursor, done = moved.done,
            high_water = moved.high_water, generation = moved.generation
        FROM (SELECT value ->> 0 AS id, value ->> 1 AS cursor, value -> 2 AS done,
            value ->> 3 AS high_water, value ->> 4 AS generation
            FROM json_each(NEW.positions)) AS moved
        WHERE subscriptions.id = moved.id;
END;

CREATE TEMP TRIGGER add_more INSTEAD OF INSERT ON commits WHEN NEW.more IS NOT NULL
BEGIN
    UPDATE receipt_blocks SET block = purged.block
        FROM (SELECT value ->> 0 AS first, unhex(value ->> 1) AS block
            FROM json_each(NEW.more, '$.purged')) AS purged
        WHERE first_receipt = purged.first;
    INSERT INTO endpoint_values (endpoint, name, value)
        SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(NEW.more, '$.values')
        WHERE true ON CONFLICT (endpoint, name) DO UPDATE SET value = excluded.value;
END;

CREATE TEMP TRIGGER await_due INSTEAD OF INSERT ON commits WHEN NEW.due IS NOT NULL
BEGIN
    DELETE FROM due_invoices WHERE (due, subject) IN
        (SELECT value ->> 1, value ->> 0 FROM json_each(NEW.due) WHERE value ->> 1 IS NOT NULL);
    INSERT INTO due_invoices (due, subject)
        SELECT value ->> 2, value ->> 0 FROM json_each(NEW.due) WHERE value ->> 2 IS NOT NULL
        ON CONFLICT DO NOTHING;
END;";

const COMMIT: &str = "
    INSERT INTO commits (last_sequence, hash, last_receipt, committed_at_us, new_events, new_subjects,
        first_sequence, events, salts, keys, later, subjects, subject_states,
        indexed, claim_keys, claims, subject_keys, subject_ids, first_receipt, receipts, receipt_states,
        due, lanes_cleared, lanes_removed, lanes, dead_letters_removed, dead_letters, acked,
        positions, more)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const MOVE: &str = "
    INSERT INTO commits (lanes_cleared, lanes_removed, lanes, dead_letters_removed, dead_letters,
        acked, positions, more)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

/// A batch without receipts: the head is not touched.
pub fn of_positions(updates: Vec<PositionUpdate>, more: Option<String>) -> Statement<'static> {
    bind_positions(sqlx::query(MOVE), updates).bind(more)
}

/// A batch with receipts.
pub fn of_batch(
    appended: &Appended,
    batch_receipts: &[NewReceipt],
    part: &Part,
    end: End,
    presumed: &Presumed,
    (updates, more): Rest,
) -> Result<Statement<'static>, Error> {
    let query = sqlx::query(COMMIT)
        .bind(appended.head.0.0)
        .bind(appended.head.1.to_vec())
        .bind(end.receipt.0)
        .bind(end.committed_at_us)
        .bind(hex_list(&presumed.events))
        .bind(hex_list(&presumed.subjects));
    let query = bind_part(bind_events(query, appended)?, part);
    let query = bind_receipts(query, appended, batch_receipts);
    let query = query.bind(own::due_parameter(&appended.subjects));
    Ok(bind_positions(query, updates).bind(more))
}

/// Whether a statement failed because a key that was presumed new is not.
pub fn is_known(error: &sqlx::Error) -> bool {
    /// SQLITE_CONSTRAINT_TRIGGER.
    const RAISED: &str = "1811";
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == RAISED)
}

/// Keys for `json_each`; NULL for none.
fn hex_list(keys: &[Key]) -> Option<String> {
    (!keys.is_empty()).then(|| json(&keys.iter().map(hex::encode).collect::<Vec<_>>()))
}

fn bind_events<'a>(query: Statement<'a>, appended: &Appended) -> Result<Statement<'a>, Error> {
    let events = &appended.events;
    if events.is_empty() {
        let none = None::<Vec<u8>>;
        return Ok((0..7).fold(query, |query, _| query.bind(none.clone())));
    }
    let is_later = |event: &&NewEvent| event.logged.subject.0 != event.logged.sequence.0;
    let later: Vec<(SubjectId, Sequence)> = events
        .iter()
        .filter(is_later)
        .map(|event| (event.logged.subject, event.logged.sequence))
        .collect();
    let (subjects, states) = subject_parameters(&appended.subjects)?;
    Ok(query
        .bind(events.first().map(|event| event.logged.sequence.0))
        .bind(block::of_events(events))
        .bind(events.iter().flat_map(|event| event.salt).collect::<Vec<u8>>())
        .bind(events.iter().flat_map(|event| event.key.0).collect::<Vec<u8>>())
        .bind(json(&later))
        .bind(subjects)
        .bind(states))
}

fn bind_part<'a>(query: Statement<'a>, part: &Part) -> Statement<'a> {
    let packed = |keys: &[(Key, i64)]| keys.iter().flat_map(|(key, _)| *key).collect::<Vec<u8>>();
    let numbers =
        |keys: &[(Key, i64)]| json(&keys.iter().map(|(_, number)| *number).collect::<Vec<i64>>());
    query
        .bind(part.indexed)
        .bind(packed(&part.events))
        .bind(numbers(&part.events))
        .bind(packed(&part.subjects))
        .bind(numbers(&part.subjects))
}

fn bind_receipts<'a>(
    query: Statement<'a>,
    appended: &Appended,
    batch_receipts: &[NewReceipt],
) -> Statement<'a> {
    let recorded = || batch_receipts.iter().zip(&appended.recorded);
    let stored = || recorded().filter(|(new, _)| new.retry_of.is_none());
    let first = stored().next().map(|(_, recorded)| recorded.receipt.0);
    let has_state = |(new, _): &(&NewReceipt, &Recorded)| {
        new.retry_of.is_some() || new.state != ReceiptState::Translated
    };
    let states = recorded().filter(has_state).map(|(new, recorded)| (&new.state, recorded));
    query
        .bind(first)
        .bind(first.map(|_| block::of_receipts(stored())))
        .bind(receipts::states_parameter(states))
}

/// `[[id, key, place, length]]` of changed subjects, and their states one behind the other.
fn subject_parameters(subjects: &HashMap<[u8; 16], Touched>) -> Result<(String, Vec<u8>), Error> {
    let mut states = Vec::new();
    let mut rows = Vec::new();
    for (key, touched) in subjects.iter().filter(|(_, touched)| touched.changed) {
        let start = states.len();
        serde_json::to_writer(&mut states, &touched.state)
            .map_err(|error| Error::Damaged(format!("a subject's new state: {error}")))?;
        rows.push((touched.id, hex::encode(key), start + 1, states.len() - start));
    }
    Ok((json(&rows), states))
}

fn bind_positions(query: Statement<'_>, updates: Vec<PositionUpdate>) -> Statement<'_> {
    if updates.is_empty() {
        return (0..7).fold(query, |query, _| query.bind(None::<String>));
    }
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
