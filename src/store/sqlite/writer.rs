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

use super::reads::{COMMITTED_AT, HEAD, LOOKUP, RECENT_EVENTS, RECENT_SUBJECTS};
use super::recent::{Key, Recent};
use super::statements::{self, End, Presumed, Rest, Statement};
use super::verdict::{self, Verdict};
use super::{log, more};
use crate::model::{EventKey, ReceiptNumber, Sequence, SubjectId, SubjectState};
use crate::store::append::{self, Incoming, Known, Touched};
use crate::store::{
    Batch, Codec, Committed, Error, Head, NewReceipt, PositionUpdate, ReceiptState,
};

/// Up to so many keys are taken to be new without a trip to look them up first: they nearly always are.
const MAX_PRESUMED: usize = 16;
/// How many subjects' states are kept in memory.
const CACHED_SUBJECTS: NonZeroUsize = NonZeroUsize::new(4_096).expect("more than none");

/// The writing connection and what it remembers.
pub struct Writer {
    connection: SqliteConnection,
    codec: Codec,
    head: Head,
    committed_at_us: i64,
    subjects: LruCache<[u8; 16], (SubjectId, SubjectState)>,
    recent: Arc<Recent>,
    /// Whether keys that are not in memory are taken to be new: until one is not, and again once all were.
    presume: bool,
    /// Whether a call was dropped before it knew what became of its statements.
    in_doubt: bool,
    stopped: bool,
}

/// What is in memory of a batch's keys.
#[derive(Default)]
struct AtHand {
    known: Known,
    /// Subjects whose number is known and whose state is not.
    recent: Vec<(Key, i64)>,
    /// Of which nothing is.
    missing: Presumed,
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
            presume: true,
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
        let Batch { receipts: mut batch_receipts, positions: updates, values, own } = batch;
        let purged = self.purged(&batch_receipts).await?;
        let more = more::parameter(&values, &purged);
        if batch_receipts.is_empty() && own.is_empty() {
            if !updates.is_empty() || more.is_some() {
                self.run(statements::of_positions(updates, more)).await?;
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
        let mut incoming = append::number(&mut batch_receipts, &mut end.receipt);
        incoming.extend(own.into_iter().map(Incoming::from));
        let at_hand = self.at_hand(&incoming);
        if self.presumes_new(&at_hand, &updates) {
            let rest = (updates.clone(), more.clone());
            let part = (incoming.clone(), at_hand.known.clone(), rest);
            if let Some(committed) =
                self.write(part, &at_hand.missing, &batch_receipts, end).await?
            {
                return Ok(committed);
            }
        }
        let known = self.look_up(at_hand).await?;
        let all = (incoming, known, (updates, more));
        let written = self.write(all, &Presumed::default(), &batch_receipts, end).await?;
        written.ok_or_else(|| Error::Damaged("a key is in the index and was not found".to_owned()))
    }

    /// Whether a batch is written without a trip to look its keys up: small batches are waited for, and
    /// their keys are nearly always new.
    fn presumes_new(&self, at_hand: &AtHand, updates: &[PositionUpdate]) -> bool {
        let missing = at_hand.missing.events.len() + at_hand.missing.subjects.len();
        self.presume
            && at_hand.recent.is_empty()
            && (1..=MAX_PRESUMED).contains(&missing)
            && updates.len() <= MAX_PRESUMED
    }

    /// Appends to the log and writes it; `None`, with nothing written, if a key that was presumed new is
    /// in the index.
    async fn write(
        &mut self,
        (incoming, known, rest): (Vec<Incoming>, Known, Rest),
        presumed: &Presumed,
        batch_receipts: &[NewReceipt],
        end: End,
    ) -> Result<Option<Committed>, Error> {
        let appended =
            append::append(self.head, self.codec, incoming, known, || rand::rng().random());
        let part = self.recent.next_part(appended.events.len(), self.head.sequence.0);
        let statement =
            statements::of_batch(&appended, batch_receipts, &part, end, presumed, rest)?;
        if !self.run_unless_known(statement).await? {
            self.presume = false;
            return Ok(None);
        }
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

        self.head = Head {
            sequence: appended.head.0,
            hash: appended.head.1,
            receipt: end.receipt,
            first: self.head.first,
        };
        self.committed_at_us = end.committed_at_us;
        for (key, Touched { id, state, .. }) in appended.subjects {
            self.subjects.put(key, (id, state));
        }
        let events = appended.events.into_iter().map(|event| event.logged).collect();
        Ok(Some(Committed {
            receipts: appended.recorded,
            own: appended.own,
            events,
            head: self.head,
        }))
    }

    /// The blocks of receipts that the batch denies, without what those said.
    async fn purged(&mut self, receipts: &[NewReceipt]) -> Result<Vec<(i64, Vec<u8>)>, Error> {
        let denied: Vec<ReceiptNumber> = receipts
            .iter()
            .filter(|new| new.state == ReceiptState::Denied)
            .filter_map(|new| new.retry_of)
            .collect();
        if denied.is_empty() {
            return Ok(Vec::new());
        }
        match more::purged(&mut self.connection, &denied).await {
            Err(Error::Engine(error)) => Err(self.failed(error).await),
            purged => purged,
        }
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
        self.run_unless_known(query).await.map(drop)
    }

    /// As `run`; false, with nothing written, if a key that was presumed new is in the index.
    async fn run_unless_known(&mut self, query: Statement<'_>) -> Result<bool, Error> {
        self.ready().await?;
        self.in_doubt = true;
        let started = Instant::now();
        let written = query.execute(&mut self.connection).await;
        // Almost all of it is the fsync, unless the batch is large.
        metrics::histogram!("tollgate_store_write_seconds").record(started.elapsed());
        match written {
            Ok(_) => {
                self.in_doubt = false;
                Ok(true)
            }
            // The one statement is undone, and with it its transaction.
            Err(error) if statements::is_known(&error) => {
                self.in_doubt = false;
                Ok(false)
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// What is in memory of a batch. Subjects leave the cache until the commit: what is dropped with a
    /// failed one is read again.
    fn at_hand(&mut self, incoming: &[Incoming]) -> AtHand {
        let drafts = || incoming.iter().flat_map(|receipt| &receipt.drafts);
        let mut at_hand = AtHand::default();
        let wanted: HashSet<Key> = drafts().map(|keyed| keyed.subject).collect();
        for subject in wanted {
            match (self.subjects.pop(&subject), self.recent.subject(&subject)) {
                (Some(found), _) => drop(at_hand.known.subjects.insert(subject, found)),
                (None, Some(id)) => at_hand.recent.push((subject, id)),
                (None, None) => at_hand.missing.subjects.push(subject),
            }
        }
        for key in drafts().map(|keyed| keyed.key) {
            match self.recent.event(&key.0) {
                Some(sequence) => drop(at_hand.known.claims.insert(key, Sequence(sequence))),
                None => at_hand.missing.events.push(key.0),
            }
        }
        at_hand
    }

    /// Adds what the index has. Nobody else writes, so it stays true until the commit.
    async fn look_up(&mut self, at_hand: AtHand) -> Result<Known, Error> {
        let AtHand { mut known, recent, missing: Presumed { events: keys, subjects: missing } } =
            at_hand;
        if keys.is_empty() && missing.is_empty() && recent.is_empty() {
            return Ok(known);
        }
        let ids: Vec<i64> = recent.iter().map(|(_, id)| *id).collect();
        let query = sqlx::query(LOOKUP)
            .bind(keys.concat())
            .bind(super::sql_limit(keys.len()))
            .bind(missing.concat())
            .bind(super::sql_limit(missing.len()))
            .bind(super::json(&ids));
        let rows = match query.fetch_all(&mut self.connection).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.failed(error).await),
        };
        self.presume = rows.len() == recent.len();
        for row in rows {
            let at = usize::try_from(row.try_get::<i64, _>(1)?).unwrap_or(usize::MAX);
            let number: i64 = row.try_get(2)?;
            let kind: i64 = row.try_get(0)?;
            let subject = match kind {
                0 => {
                    let key = keys.get(at).copied();
                    known.claims.extend(key.map(|key| (EventKey(key), Sequence(number))));
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
        let rows = sqlx::query(RECENT_EVENTS).bind(indexed);
        for row in rows.fetch_all(&mut self.connection).await? {
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
            Err(error) if verdict::is_plain(&error) => Ok(()),
            Err(error) => Err(Error::Engine(error)),
        }
    }
}
