//! The embedded engine: one SQLite file in WAL mode, `synchronous = FULL`. One connection writes, a few
//! read beside it, one checkpoints. Commits go in as one transaction each; the write-ahead log is bounded
//! by `maintain`, never on the way of a commit. It must never write on a second connection, and never
//! acknowledge what is not fsynced.
//!
//! What it stores, and why so: `migrations/sqlite`. The SQL stands with what it is about: `statements` for
//! all that a commit writes, `log`, `receipts`, `positions`, `subscriptions` and `tokens` for the rest.

mod block;
mod checkpoint;
mod connect;
mod log;
mod more;
mod own;
mod positions;
mod reads;
mod receipts;
mod recent;
mod statements;
mod subscriptions;
mod tokens;
mod verdict;
mod writer;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::{Mutex as SyncMutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::{Connection, SqliteConnection, SqlitePool};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use self::{recent::Recent, verdict::Verdict, writer::Writer};
use super::{
    AckRecord, Batch, ChainEntry, Codec, Committed, DeadLetterRow, Error, Head, LaneRow, Logged,
    ReceiptQuery, Store, StoredReceipt, StoredSubscription, SubscriptionId, TokenRow,
};

use crate::model::{
    EndpointName, LogEpoch, ReceiptNumber, Sequence, Subject, SubjectId, SubjectState,
};

/// Settings that hardly anybody needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SqliteOptions {
    /// The most pages of 4 KiB that the database may have; a commit that needs more is `Error::Full`.
    pub max_page_count: Option<u32>,
}

/// A log in one SQLite file.
pub struct SqliteStore {
    readers: SqlitePool,
    recent: Arc<Recent>,
    writer: Mutex<Option<Writer>>,
    checkpointer: Mutex<Option<SqliteConnection>>,
    head: SyncMutex<Head>,
    epoch: LogEpoch,
    wal: PathBuf,
    /// Released last, when all connections are gone.
    lock: SyncMutex<Option<File>>,
}

impl SqliteStore {
    /// Opens a database by `sqlite://path` or by its path, and makes it if it is not there.
    pub async fn open(url: &str, codec: Codec) -> Result<SqliteStore, Error> {
        SqliteStore::open_with(url, codec, SqliteOptions::default()).await
    }

    /// As `open`, with settings.
    pub async fn open_with(
        url: &str,
        codec: Codec,
        options: SqliteOptions,
    ) -> Result<SqliteStore, Error> {
        let (path, lock) = connect::lock(&connect::path_of(url))?;
        let mut connection = connect::writer(&path, options).await?;
        let epoch = connect::epoch(&mut connection).await?;
        let writer = Writer::new(connection, codec).await?;
        Ok(SqliteStore {
            readers: connect::readers(&path),
            recent: writer.recent(),
            checkpointer: Mutex::new(Some(connect::checkpointer(&path).await?)),
            head: SyncMutex::new(writer.head()),
            writer: Mutex::new(Some(writer)),
            epoch,
            wal: connect::beside(&path, "-wal"),
            lock: SyncMutex::new(Some(lock)),
        })
    }

    async fn writer(&self) -> Result<MappedMutexGuard<'_, Writer>, Error> {
        let guard = self.writer.lock().await;
        MutexGuard::try_map(guard, Option::as_mut).map_err(|_| Error::Stopped)
    }

    fn set_head(&self, head: Head) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }

    /// Copies what is committed from the write-ahead log into the database, and begins the log anew when
    /// it has become long.
    async fn checkpoint(&self, connection: &mut SqliteConnection) -> Result<(), Error> {
        if let Some(last) = checkpoint::approach(connection, &self.wal).await? {
            // When nothing is left to copy, the next commit begins the log anew.
            let _held = self.writer().await?;
            checkpoint::run(connection, last).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        let mut writer = self.writer().await?;
        let committed = writer.commit(batch, Timestamp::now()).await?;
        self.set_head(committed.head);
        Ok(committed)
    }

    async fn head(&self) -> Result<Head, Error> {
        Ok(*self.head.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn epoch(&self) -> LogEpoch {
        self.epoch.clone()
    }

    async fn events(
        &self,
        after: Sequence,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<Arc<Logged>>, Error> {
        log::events(&self.readers, after, max_events, max_bytes).await
    }

    async fn event(&self, sequence: Sequence) -> Result<Option<Arc<Logged>>, Error> {
        log::event(&self.readers, sequence).await
    }

    async fn subject_sequences(
        &self,
        subject: SubjectId,
        from: Sequence,
        limit: usize,
    ) -> Result<Vec<Sequence>, Error> {
        log::subject_sequences(&self.readers, subject, from, limit).await
    }

    async fn sequence_before(&self, time: Timestamp) -> Result<Sequence, Error> {
        log::sequence_before(&self.readers, time).await
    }

    async fn chain(&self, after: Sequence, max_events: usize) -> Result<Vec<ChainEntry>, Error> {
        log::chain(&self.readers, after, max_events).await
    }

    async fn subject(&self, subject: &Subject) -> Result<Option<(SubjectId, SubjectState)>, Error> {
        log::subject(&self.readers, &self.recent, subject).await
    }

    async fn subjects(
        &self,
        after: SubjectId,
        limit: usize,
    ) -> Result<Vec<(SubjectId, SubjectState)>, Error> {
        log::subjects(&self.readers, after, limit).await
    }

    async fn subjects_by_id(
        &self,
        ids: &[SubjectId],
    ) -> Result<Vec<(SubjectId, SubjectState)>, Error> {
        log::subjects_by_id(&self.readers, ids).await
    }

    async fn receipts(
        &self,
        query: &ReceiptQuery,
    ) -> Result<(Vec<StoredReceipt>, Option<ReceiptNumber>), Error> {
        receipts::receipts(&self.readers, query).await
    }

    async fn receipt(&self, number: ReceiptNumber) -> Result<Option<StoredReceipt>, Error> {
        receipts::receipt(&self.readers, number).await
    }

    async fn unreadable_receipts(&self) -> Result<i64, Error> {
        receipts::unreadable_receipts(&self.readers).await
    }

    async fn waiting_receipts(
        &self,
        after: ReceiptNumber,
        limit: usize,
    ) -> Result<Vec<StoredReceipt>, Error> {
        receipts::waiting(&self.readers, after, limit).await
    }

    async fn waiting_receipts_count(&self) -> Result<i64, Error> {
        receipts::waiting_count(&self.readers).await
    }

    async fn value(&self, endpoint: &EndpointName, name: &str) -> Result<Option<String>, Error> {
        more::value(&self.readers, endpoint, name).await
    }

    async fn create_subscription(
        &self,
        name: &str,
        spec: &str,
        position: Sequence,
        created_at: Timestamp,
    ) -> Result<StoredSubscription, Error> {
        let mut writer = self.writer().await?;
        subscriptions::create(&mut writer, name, spec, position, created_at).await
    }

    async fn subscriptions(&self) -> Result<Vec<StoredSubscription>, Error> {
        subscriptions::all(&self.readers).await
    }

    async fn update_subscription(
        &self,
        id: SubscriptionId,
        spec: &str,
        paused: bool,
    ) -> Result<(), Error> {
        subscriptions::update(&mut *self.writer().await?, id, spec, paused).await
    }

    async fn delete_subscription(&self, id: SubscriptionId) -> Result<(), Error> {
        subscriptions::delete(&mut *self.writer().await?, id).await?;
        let mut rest = Some(Sequence(0));
        while let Some(after) = rest {
            rest = subscriptions::delete_acks(&mut *self.writer().await?, id, after).await?;
        }
        Ok(())
    }

    async fn held_lanes(
        &self,
        subscription: SubscriptionId,
        after: Option<(Timestamp, SubjectId)>,
        limit: usize,
    ) -> Result<Vec<LaneRow>, Error> {
        positions::held_lanes(&self.readers, subscription, after, limit).await
    }

    async fn lanes(
        &self,
        subscription: SubscriptionId,
        subjects: &[SubjectId],
    ) -> Result<Vec<LaneRow>, Error> {
        positions::lanes(&self.readers, subscription, subjects).await
    }

    async fn lane_counts(&self, subscription: SubscriptionId) -> Result<(i64, i64), Error> {
        positions::lane_counts(&self.readers, subscription).await
    }

    async fn dead_letters(
        &self,
        subscription: SubscriptionId,
        after: Sequence,
        limit: usize,
        only_replaying: bool,
    ) -> Result<Vec<DeadLetterRow>, Error> {
        positions::dead_letters(&self.readers, subscription, after, limit, only_replaying).await
    }

    async fn dead_letter(
        &self,
        subscription: SubscriptionId,
        sequence: Sequence,
    ) -> Result<Option<DeadLetterRow>, Error> {
        positions::dead_letter(&self.readers, subscription, sequence).await
    }

    async fn dead_letter_count(&self, subscription: SubscriptionId) -> Result<i64, Error> {
        positions::dead_letter_count(&self.readers, subscription).await
    }

    async fn ack_records(
        &self,
        sequences: &[Sequence],
    ) -> Result<Vec<(SubscriptionId, AckRecord)>, Error> {
        positions::ack_records(&self.readers, sequences).await
    }

    async fn put_token(&self, token: &TokenRow) -> Result<(), Error> {
        tokens::put(&mut *self.writer().await?, token).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, Error> {
        tokens::all(&self.readers).await
    }

    async fn maintain(&self) -> Result<(), Error> {
        let mut guard = self.checkpointer.lock().await;
        let Some(connection) = guard.as_mut() else { return Ok(()) };
        let Err(error) = self.checkpoint(connection).await else { return Ok(()) };
        match error {
            Error::Engine(error) => match Verdict::of(&error) {
                Verdict::Full => Err(Error::Full),
                Verdict::GoOn => Err(Error::Engine(error)),
                Verdict::Stop => {
                    // What a failed fsync left on the disk is not known, here as in a commit.
                    tracing::error!(%error, "a checkpoint failed; the store's writer is stopped");
                    self.writer().await?.stop();
                    Err(Error::Engine(error))
                }
            },
            error => Err(error),
        }
    }

    async fn close(&self) {
        let writer = self.writer.lock().await.take();
        self.readers.close().await;
        let checkpointer = self.checkpointer.lock().await.take();
        let closed = async {
            if let Some(mut connection) = checkpointer {
                checkpoint::run(&mut connection, checkpoint::TRUNCATE).await?;
                connection.close().await?;
            }
            match writer {
                Some(writer) => writer.close().await,
                None => Ok(()),
            }
        };
        if let Err(error) = closed.await {
            // Nothing is lost: what is left in the write-ahead log is read at the next start.
            tracing::warn!(%error, "the store was not closed cleanly");
        }
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// A limit as SQL takes it.
fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A list as one parameter, for `json_each`.
fn json<T: Serialize + ?Sized>(rows: &T) -> String {
    serde_json::to_string(rows).expect("plain rows can be written")
}

/// A stored time.
fn time(microseconds: i64) -> Result<Timestamp, Error> {
    Timestamp::from_microsecond(microseconds)
        .map_err(|error| Error::Damaged(format!("a stored time: {error}")))
}

/// A stored JSON text that cannot be read.
fn unreadable(error: serde_json::Error) -> Error {
    Error::Damaged(format!("a stored list: {error}"))
}
