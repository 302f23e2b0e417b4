-- Facts about the database itself: `log_epoch`, `format`.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- What is before the first block, and how far the index is: one row. The end of the log is that of its last
-- blocks, so that a commit has no row of its own to change.
CREATE TABLE log_base (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    sequence INTEGER NOT NULL,
    hash     BLOB NOT NULL,
    receipt  INTEGER NOT NULL,
    -- The keys of all events and subjects up to here are in `claims` and `subject_keys`.
    indexed  INTEGER NOT NULL
);
INSERT INTO log_base (id, sequence, hash, receipt, indexed) VALUES (1, 0, zeroblob(32), 0, 0);

-- The events of one commit each, framed in `block`. One row a commit, since each row dirties a page.
CREATE TABLE event_blocks (
    first_sequence  INTEGER PRIMARY KEY,
    last_sequence   INTEGER NOT NULL,
    committed_at_us INTEGER NOT NULL,
    -- The chain's value at the last.
    hash            BLOB NOT NULL,
    -- 16 bytes for each, apart from the block so that they can be erased (all zero: erased).
    salts           BLOB NOT NULL,
    -- The key of each, 16 bytes.
    keys            BLOB NOT NULL,
    block           BLOB NOT NULL
);

-- The keys of all events ever stored, but those above `log_base.indexed`.
CREATE TABLE claims (
    key      BLOB PRIMARY KEY,
    sequence INTEGER NOT NULL
) WITHOUT ROWID;

-- The receipts of one commit each, framed in `block`.
CREATE TABLE receipt_blocks (
    first_receipt INTEGER PRIMARY KEY,
    last_receipt  INTEGER NOT NULL,
    -- The log's last sequence after the commit, so that an end that was cut off shows.
    last_sequence INTEGER NOT NULL,
    block         BLOB NOT NULL
);

-- Where a receipt's state is not `translated`, or not what its block says any more.
CREATE TABLE receipt_states (
    receipt    INTEGER PRIMARY KEY,
    state      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    sequences  TEXT NOT NULL,
    duplicates INTEGER NOT NULL
);
CREATE INDEX receipt_states_unreadable ON receipt_states (receipt) WHERE state = 'unreadable';
CREATE INDEX receipt_states_waiting ON receipt_states (receipt)
    WHERE state IN ('fetching', 'unconfirmed');

-- What endpoints keep between fetches: where a list goes on, the refresh token that came last.
CREATE TABLE endpoint_values (
    endpoint TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (endpoint, name)
) WITHOUT ROWID;

-- Subjects: the id is the sequence of the first event.
CREATE TABLE subjects (
    id    INTEGER PRIMARY KEY,
    key   BLOB NOT NULL,
    state TEXT NOT NULL
);

-- The keys of subjects, but those whose id is above `log_base.indexed`.
CREATE TABLE subject_keys (
    key BLOB PRIMARY KEY,
    id  INTEGER NOT NULL
) WITHOUT ROWID;

-- The second and later events of subjects.
CREATE TABLE subject_events (
    subject  INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (subject, sequence)
) WITHOUT ROWID;

CREATE TABLE subscriptions (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT NOT NULL UNIQUE,
    spec          TEXT NOT NULL,
    paused        INTEGER NOT NULL,
    created_at_us INTEGER NOT NULL,
    cursor        INTEGER NOT NULL,
    done          TEXT NOT NULL,
    high_water    INTEGER NOT NULL,
    generation    INTEGER NOT NULL
);

-- Lanes that are held back (`first` is set) or have dead letters.
CREATE TABLE lanes (
    subscription INTEGER NOT NULL,
    subject      INTEGER NOT NULL,
    first        INTEGER,
    attempts     INTEGER NOT NULL,
    due_at_us    INTEGER NOT NULL,
    history      TEXT NOT NULL,
    gaps         INTEGER NOT NULL,
    PRIMARY KEY (subscription, subject)
) WITHOUT ROWID;
CREATE INDEX lanes_due ON lanes (subscription, due_at_us, subject) WHERE first IS NOT NULL;

CREATE TABLE dead_letters (
    subscription INTEGER NOT NULL,
    sequence     INTEGER NOT NULL,
    subject      INTEGER NOT NULL,
    reason       TEXT NOT NULL,
    history      TEXT NOT NULL,
    dead_at_us   INTEGER NOT NULL,
    replaying    INTEGER NOT NULL,
    PRIMARY KEY (subscription, sequence)
) WITHOUT ROWID;
CREATE INDEX dead_letters_replaying ON dead_letters (subscription, sequence) WHERE replaying = 1;

-- What consumers said that they did with an event.
CREATE TABLE ack_records (
    sequence     INTEGER NOT NULL,
    subscription INTEGER NOT NULL,
    external_ref TEXT NOT NULL,
    outcome      TEXT NOT NULL,
    acked_at_us  INTEGER NOT NULL,
    PRIMARY KEY (sequence, subscription)
) WITHOUT ROWID;

CREATE TABLE tokens (
    id            TEXT PRIMARY KEY,
    hash          BLOB NOT NULL,
    description   TEXT NOT NULL,
    scopes        TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER,
    revoked_at_us INTEGER
) WITHOUT ROWID;
