-- Tracked links. The key that authenticates them, if none is configured, is `link_key` in `meta`.
CREATE TABLE links (
    id            BLOB PRIMARY KEY,
    target_url    TEXT NOT NULL,
    subject       TEXT NOT NULL,
    references_   TEXT NOT NULL,
    live          INTEGER NOT NULL,
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER
) WITHOUT ROWID;
CREATE INDEX links_expiring ON links (expires_at_us) WHERE expires_at_us IS NOT NULL;

-- Open invoices with the day on which they are due, in days since 1970, until they are paid or overdue.
CREATE TABLE due_invoices (
    due     INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    PRIMARY KEY (due, subject)
) WITHOUT ROWID;
