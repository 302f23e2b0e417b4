//! What the writer reads: the end of the log and the recent keys when it takes over, and what the log has
//! of a batch before it is written.

/// Events and subjects by their keys, 16 bytes each, packed: events in ?1 (how many: ?2), subjects in ?3
/// (how many: ?4). In ?5 the numbers of subjects whose keys are known.
pub const LOOKUP: &str = "
    WITH RECURSIVE
        event(i) AS (SELECT 0 WHERE ?2 > 0 UNION ALL SELECT i + 1 FROM event WHERE i + 1 < ?2),
        subject(i) AS (SELECT 0 WHERE ?4 > 0 UNION ALL SELECT i + 1 FROM subject WHERE i + 1 < ?4)
    SELECT 0, i, sequence, NULL FROM event CROSS JOIN claims
    WHERE key = substr(?1, i * 16 + 1, 16)
    UNION ALL
    SELECT 1, i, subjects.id, state
    FROM subject CROSS JOIN subject_keys CROSS JOIN subjects
    WHERE subject_keys.key = substr(?3, i * 16 + 1, 16) AND subjects.id = subject_keys.id
    UNION ALL
    SELECT 2, json_each.key, subjects.id, state
    FROM json_each(?5) CROSS JOIN subjects WHERE subjects.id = value";

/// The last block's end, or what is before the first block where there is none.
pub const HEAD: &str = "
    SELECT max(coalesce(e.last_sequence, b.sequence), coalesce(r.last_sequence, 0)),
        coalesce(e.hash, b.hash), b.sequence + 1, coalesce(r.last_receipt, b.receipt), b.indexed
    FROM log_base AS b
    LEFT JOIN event_blocks AS e
        ON e.first_sequence = (SELECT max(first_sequence) FROM event_blocks)
    LEFT JOIN receipt_blocks AS r
        ON r.first_receipt = (SELECT max(first_receipt) FROM receipt_blocks)";
/// The keys of events that the index does not have.
pub const RECENT_EVENTS: &str =
    "SELECT first_sequence, keys FROM event_blocks WHERE first_sequence > ?";
/// The keys of subjects that the index does not have.
pub const RECENT_SUBJECTS: &str = "SELECT id, key FROM subjects WHERE id > ?";
/// When the last commit with events was.
pub const COMMITTED_AT: &str =
    "SELECT committed_at_us FROM event_blocks ORDER BY first_sequence DESC LIMIT 1";
