//! The one connection that writes. A commit is two trips to it: a lookup of what the log has already, and
//! one statement that writes all of the batch. What is kept in memory (the head, subjects' states) changes
//! only after a commit; a failed one is rolled back whole, and after an I/O error nothing is written any
//! more.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use lru::LruCache;
use rand::Rng;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row, SqliteConnection};

use super::log;
use super::recent::{Key, Recent};
use super::statements::{self, End, Statement};
use crate::model::{EventKey, ReceiptNumber, Sequence, SubjectId, SubjectState};
use crate::store::append::{self, Incoming, Known, Touched};
use crate::store::{Batch, Codec, Committed, Error, Head, NewReceipt};

/// How many subjects' states are kept in memory.
const CACHED_SUBJECTS: NonZeroUsize = NonZeroUsize::new(4_096).expect("more than none");

/// Events and subjects by their keys, 16 bytes each, packed: events in ?1 (how many: ?2), subjects in ?3
/// (how many: ?4). In ?5 the numbers of subjects whose keys are known.
const LOOKUP: &str = "
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

const HEAD: &str = "SELECT sequence, hash, first, receipt, indexed FROM log_head";
const RECENT_EVENTS: &str = "SELECT first_sequence, keys FROM recent_keys";
const RECENT_SUBJECTS: &str = "SELECT id, key FROM subjects WHERE id > ?";
const COMMITTED_AT: &str =
    "SELECT committed_at_us FROM event_blocks ORDER BY first_sequence DESC LIMIT 1";

/// The writing connection and what it remembers.
pub struct Writer {
    connection: SqliteConnection,
    codec: Codec,
    head: Head,
    committed_at_us: i64,
    subjects: LruCache<[u8; 16], (SubjectId, SubjectState)>,
    recent: Arc<Recent>,
    /// Whether a call was dropped before it knew what became of its statements.
    in_doubt: bool,
    stopped: bool,
}

impl Writer {
    /// Takes over a connection to a database whose schema is up to date.
    pub async fn new(connection: SqliteConnection, codec: Codec) -> Result<Writer, Error> {
        let mut writer = Writer {
            connection,
            codec,
            head: Head {
                sequence: Sequence(0),
                hash: [0; 32],
                first: Sequence(1),
                receipt: ReceiptNumber(0),
            },
            committed_at_us: 0,
            subjects: LruCache::new(CACHED_SUBJECTS),
            recent: Arc::default(),
            in_doubt: false,
            stopped: false,
        };
        writer.read_head().await?;
        Ok(writer)
    }

    /// The end of the log.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The keys that are not in the index yet.
    pub fn recent(&self) -> Arc<Recent> {
        self.recent.clone()
    }

    /// Lets nothing be written any more.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Closes the connection.
    pub async fn close(self) -> Result<(), Error> {
        Ok(self.connection.close().await?)
    }

    /// Commits a batch.
    pub async fn commit(&mut self, batch: Batch, now: Timestamp) -> Result<Committed, Error> {
        self.ready().await?;
        let Batch { receipts: mut batch_receipts, positions: updates, own } = batch;
        if batch_receipts.is_empty() && own.is_empty() {
            if !updates.is_empty() {
                self.run(statements::of_positions(updates)).await?;
            }
            return Ok(Committed {
                receipts: Vec::new(),
                own: Vec::new(),
                events: Vec::new(),
                head: self.head,
            });
        }
        let mut end = End {
            receipt: self.head.receipt,
            committed_at_us: self.committed_at_us.max(now.as_microsecond()),
        };
        let mut incoming = number(&mut batch_receipts, &mut end.receipt);
        incoming.extend(own.into_iter().map(Incoming::from));
        let known = self.known(&incoming).await?;
        let appended =
            append::append(self.head, self.codec, incoming, known, || rand::rng().random());
        let head = Head {
            sequence: appended.head.0,
            hash: appended.head.1,
            receipt: end.receipt,
            first: self.head.first,
        };
        let committed_at_us = end.committed_at_us;
        let part = self.recent.next_part(appended.events.len(), self.head.sequence.0);
        self.run(statements::of_batch(&appended, &batch_receipts, &part, end, updates)?).await?;

        let events: Vec<(Key, i64)> =
            appended.events.iter().map(|event| (event.key.0, event.logged.sequence.0)).collect();
        let is_new = |touched: &Touched| touched.id.0 > self.head.sequence.0;
        let subjects: Vec<(Key, i64)> = appended
            .subjects
            .iter()
            .filter(|(_, touched)| is_new(touched))
            .map(|(key, touched)| (*key, touched.id.0))
            .collect();
        self.recent.committed(&part, &events, &subjects);

        self.head = head;
        self.committed_at_us = committed_at_us;
        for (key, Touched { id, state, .. }) in appended.subjects {
            self.subjects.put(key, (id, state));
        }
        let events = appended.events.into_iter().map(|event| event.logged).collect();
        Ok(Committed { receipts: appended.recorded, own: appended.own, events, head: self.head })
    }

    /// Runs one statement that is a transaction of its own, and gives its row.
    pub async fn row(&mut self, query: Statement<'_>) -> Result<Option<SqliteRow>, Error> {
        self.ready().await?;
        self.in_doubt = true;
        // All rows, since a statement that is left at its first row commits unseen.
        match query.fetch_all(&mut self.connection).await {
            Ok(mut rows) => {
                self.in_doubt = false;
                Ok(rows.pop())
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// Runs what is one transaction, be it one statement or some from BEGIN to COMMIT.
    pub async fn run(&mut self, query: Statement<'_>) -> Result<(), Error> {
        self.ready().await?;
        self.in_doubt = true;
        let started = Instant::now();
        let written = query.execute(&mut self.connection).await;
        // Almost all of it is the fsync, unless the batch is large.
        metrics::histogram!("tollgate_store_write_seconds").record(started.elapsed());
        match written {
            Ok(_) => {
                self.in_doubt = false;
                Ok(())
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// What the log has of a batch. Nobody else writes, so it stays true until the commit. Subjects leave
    /// the cache until then: what is dropped with a failed commit is read again.
    async fn known(&mut self, incoming: &[Incoming]) -> Result<Known, Error> {
        let drafts = || incoming.iter().flat_map(|receipt| &receipt.drafts);
        let mut known = Known::default();
        let mut missing = Vec::new();
        let mut recent = Vec::new();
        let wanted: HashSet<Key> = drafts().map(|keyed| keyed.subject).collect();
        for subject in wanted {
            match (self.subjects.pop(&subject), self.recent.subject(&subject)) {
                (Some(found), _) => drop(known.subjects.insert(subject, found)),
                (None, Some(id)) => recent.push((subject, id)),
                (None, None) => missing.push(subject),
            }
        }
        let mut keys: Vec<EventKey> = Vec::new();
        for key in drafts().map(|keyed| keyed.key) {
            match self.recent.event(&key.0) {
                Some(sequence) => drop(known.claims.insert(key, Sequence(sequence))),
                None => keys.push(key),
            }
        }
        if keys.is_empty() && missing.is_empty() && recent.is_empty() {
            return Ok(known);
        }
        let ids: Vec<i64> = recent.iter().map(|(_, id)| *id).collect();
        let query = sqlx::query(LOOKUP)
            .bind(keys.iter().flat_map(|key| key.0).collect::<Vec<u8>>())
            .bind(super::sql_limit(keys.len()))
            .bind(missing.concat())
            .bind(super::sql_limit(missing.len()))
            .bind(super::json(&ids));
        let rows = match query.fetch_all(&mut self.connection).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.failed(error).await),
        };
        for row in rows {
            let at = usize::try_from(row.try_get::<i64, _>(1)?).unwrap_or(usize::MAX);
            let number: i64 = row.try_get(2)?;
            let kind: i64 = row.try_get(0)?;
            let subject = match kind {
                0 => {
                    let key = keys.get(at).copied();
                    known.claims.extend(key.map(|key| (key, Sequence(number))));
                    None
                }
                1 => missing.get(at).copied(),
                _ => recent.get(at).map(|(key, _)| *key),
            };
            if let Some(key) = subject {
                let state = log::subject_state(number, row.try_get(3)?)?;
                known.subjects.insert(key, (SubjectId(number), state));
            }
        }
        Ok(known)
    }

    async fn read_head(&mut self) -> Result<(), Error> {
        let row = sqlx::query(HEAD).fetch_one(&mut self.connection).await?;
        let hash: Vec<u8> = row.try_get(1)?;
        self.head = Head {
            sequence: Sequence(row.try_get(0)?),
            hash: hash.try_into().map_err(|_| Error::Damaged("the head's hash".to_owned()))?,
            first: Sequence(row.try_get(2)?),
            receipt: ReceiptNumber(row.try_get(3)?),
        };
        let newest = sqlx::query_scalar(COMMITTED_AT).fetch_optional(&mut self.connection).await?;
        self.committed_at_us = newest.unwrap_or(i64::MIN);
        self.read_recent(row.try_get(4)?).await
    }

    /// The keys that the index does not have.
    async fn read_recent(&mut self, indexed: i64) -> Result<(), Error> {
        let mut events = HashMap::new();
        for row in sqlx::query(RECENT_EVENTS).fetch_all(&mut self.connection).await? {
            let first: i64 = row.try_get(0)?;
            let keys: &[u8] = row.try_get(1)?;
            let (keys, rest) = keys.as_chunks::<16>();
            if !rest.is_empty() {
                return Err(Error::Damaged(format!("the recent keys from {first} on")));
            }
            events.extend(keys.iter().copied().zip(first..));
        }
        let mut subjects = HashMap::new();
        let rows = sqlx::query(RECENT_SUBJECTS).bind(indexed);
        for row in rows.fetch_all(&mut self.connection).await? {
            let id: i64 = row.try_get(0)?;
            let key: Vec<u8> = row.try_get(1)?;
            let key = key.try_into().map_err(|_| Error::Damaged(format!("subject {id}'s key")))?;
            subjects.insert(key, id);
        }
        self.recent.reset(events, subjects);
        Ok(())
    }

    /// Lets the next statement begin on a connection whose state is known.
    async fn ready(&mut self) -> Result<(), Error> {
        if self.stopped {
            return Err(Error::Stopped);
        }
        if self.in_doubt {
            self.rollback().await?;
            self.subjects.clear();
            self.read_head().await?;
            self.in_doubt = false;
        }
        Ok(())
    }

    /// Undoes what failed and tells whether the writer may go on.
    async fn failed(&mut self, error: sqlx::Error) -> Error {
        let verdict = Verdict::of(&error);
        if verdict == Verdict::Stop || self.rollback().await.is_err() {
            self.stopped = true;
            tracing::error!(%error, "the store's writer is stopped until a restart");
            return Error::Stopped;
        }
        self.in_doubt = false;
        match verdict {
            Verdict::Full => Error::Full,
            Verdict::GoOn | Verdict::Stop => Error::Engine(error),
        }
    }

    async fn rollback(&mut self) -> Result<(), Error> {
        match sqlx::query("ROLLBACK").execute(&mut self.connection).await {
            Ok(_) => Ok(()),
            // SQLite has rolled back by itself, or the transaction had not begun.
            Err(error) if code(&error) == Some(SQLITE_ERROR) => Ok(()),
            Err(error) => Err(Error::Engine(error)),
        }
    }
}

/// What an error means for the writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The disk is full; nothing happened.
    Full,
    /// The statement failed and the connection is sound.
    GoOn,
    /// What the disk holds is not known any more.
    Stop,
}

const SQLITE_ERROR: i32 = 1;
const SQLITE_FULL: i32 = 13;
/// BUSY, LOCKED, NOMEM, INTERRUPT, TOOBIG, CONSTRAINT, MISMATCH: refused before anything was written.
const HARMLESS: [i32; 8] = [SQLITE_ERROR, 5, 6, 7, 9, 18, 19, 20];

impl Verdict {
    /// By SQLite's result code; whatever is not known to be harmless stops the writer.
    pub fn of(error: &sqlx::Error) -> Verdict {
        match code(error) {
            Some(SQLITE_FULL) => Verdict::Full,
            Some(code) if HARMLESS.contains(&code) => Verdict::GoOn,
            Some(_) | None => Verdict::Stop,
        }
    }
}

/// SQLite's primary result code.
fn code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// Gives each receipt its number and takes its drafts.
fn number(batch_receipts: &mut [NewReceipt], last: &mut ReceiptNumber) -> Vec<Incoming> {
    let numbered = batch_receipts.iter_mut().map(|new| {
        let number = new.retry_of.unwrap_or_else(|| {
            last.0 += 1;
            *last
        });
        Incoming::new(number, new)
    });
    numbered.collect()
}
