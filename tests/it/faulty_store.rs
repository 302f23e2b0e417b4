//! A store whose commits a test may hold up or fail, over a real one: what the gateway does while a disk
//! is slow, full or broken. Everything but commits goes straight through.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;
use tokio::sync::watch;
use tollgate::model::{
    EndpointName, LogEpoch, ReceiptNumber, Sequence, Subject, SubjectId, SubjectState,
};
use tollgate::store::{
    AckRecord, Batch, ChainEntry, Committed, DeadLetterRow, DueInvoice, Error, Head, LaneRow,
    LinkRow, Logged, OwnStore, ReceiptQuery, SqliteStore, Store, StoredReceipt, StoredSubscription,
    SubscriptionId, TokenRow,
};

/// What becomes of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commits {
    /// They go through.
    Pass,
    /// They wait.
    Wait,
    /// They fail as on a full disk.
    Full,
    /// They fail as after an I/O error.
    Stopped,
}

/// The store.
pub struct FaultyStore {
    inner: SqliteStore,
    commits: watch::Receiver<Commits>,
}

/// Decides what becomes of commits.
pub type Faults = watch::Sender<Commits>;

impl FaultyStore {
    /// Over a store; its commits pass until told otherwise.
    pub fn over(inner: SqliteStore) -> (Arc<FaultyStore>, Faults) {
        let (faults, commits) = watch::channel(Commits::Pass);
        (Arc::new(FaultyStore { inner, commits }), faults)
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        let mut commits = self.commits.clone();
        let now = commits.wait_for(|commits| *commits != Commits::Wait).await;
        let now = now.map_or(Commits::Pass, |now| *now);
        match now {
            Commits::Pass | Commits::Wait => self.inner.commit(batch).await,
            Commits::Full => Err(Error::Full),
            Commits::Stopped => Err(Error::Stopped),
        }
    }

    async fn head(&self) -> Result<Head, Error> {
        self.inner.head().await
    }

    fn epoch(&self) -> LogEpoch {
        self.inner.epoch()
    }

    async fn events(
        &self,
        after: Sequence,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<Arc<Logged>>, Error> {
        self.inner.events(after, max_events, max_bytes).await
    }

    async fn event(&self, sequence: Sequence) -> Result<Option<Arc<Logged>>, Error> {
        self.inner.event(sequence).await
    }

    async fn subject_sequences(
        &self,
        subject: SubjectId,
        from: Sequence,
        limit: usize,
    ) -> Result<Vec<Sequence>, Error> {
        self.inner.subject_sequences(subject, from, limit).await
    }

    async fn sequence_before(&self, time: Timestamp) -> Result<Sequence, Error> {
        self.inner.sequence_before(time).await
    }

    async fn chain(&self, after: Sequence, max_events: usize) -> Result<Vec<ChainEntry>, Error> {
        self.inner.chain(after, max_events).await
    }

    async fn subject(&self, subject: &Subject) -> Result<Option<(SubjectId, SubjectState)>, Error> {
        self.inner.subject(subject).await
    }

    async fn subjects(
        &self,
        after: SubjectId,
        limit: usize,
    ) -> Result<Vec<(SubjectId, SubjectState)>, Error> {
        self.inner.subjects(after, limit).await
    }

    async fn subjects_by_id(
        &self,
        ids: &[SubjectId],
    ) -> Result<Vec<(SubjectId, SubjectState)>, Error> {
        self.inner.subjects_by_id(ids).await
    }

    async fn receipts(
        &self,
        query: &ReceiptQuery,
    ) -> Result<(Vec<StoredReceipt>, Option<ReceiptNumber>), Error> {
        self.inner.receipts(query).await
    }

    async fn receipt(&self, number: ReceiptNumber) -> Result<Option<StoredReceipt>, Error> {
        self.inner.receipt(number).await
    }

    async fn unreadable_receipts(&self) -> Result<i64, Error> {
        self.inner.unreadable_receipts().await
    }

    async fn waiting_receipts(
        &self,
        after: ReceiptNumber,
        limit: usize,
    ) -> Result<Vec<StoredReceipt>, Error> {
        self.inner.waiting_receipts(after, limit).await
    }

    async fn waiting_receipts_count(&self) -> Result<i64, Error> {
        self.inner.waiting_receipts_count().await
    }

    async fn value(&self, endpoint: &EndpointName, name: &str) -> Result<Option<String>, Error> {
        self.inner.value(endpoint, name).await
    }

    async fn create_subscription(
        &self,
        name: &str,
        spec: &str,
        position: Sequence,
        created_at: Timestamp,
    ) -> Result<StoredSubscription, Error> {
        self.inner.create_subscription(name, spec, position, created_at).await
    }

    async fn subscriptions(&self) -> Result<Vec<StoredSubscription>, Error> {
        self.inner.subscriptions().await
    }

    async fn update_subscription(
        &self,
        id: SubscriptionId,
        spec: &str,
        paused: bool,
    ) -> Result<(), Error> {
        self.inner.update_subscription(id, spec, paused).await
    }

    async fn delete_subscription(&self, id: SubscriptionId) -> Result<(), Error> {
        self.inner.delete_subscription(id).await
    }

    async fn held_lanes(
        &self,
        subscription: SubscriptionId,
        after: Option<(Timestamp, SubjectId)>,
        limit: usize,
    ) -> Result<Vec<LaneRow>, Error> {
        self.inner.held_lanes(subscription, after, limit).await
    }

    async fn lanes(
        &self,
        subscription: SubscriptionId,
        subjects: &[SubjectId],
    ) -> Result<Vec<LaneRow>, Error> {
        self.inner.lanes(subscription, subjects).await
    }

    async fn lane_counts(&self, subscription: SubscriptionId) -> Result<(i64, i64), Error> {
        self.inner.lane_counts(subscription).await
    }

    async fn dead_letters(
        &self,
        subscription: SubscriptionId,
        after: Sequence,
        limit: usize,
        only_replaying: bool,
    ) -> Result<Vec<DeadLetterRow>, Error> {
        self.inner.dead_letters(subscription, after, limit, only_replaying).await
    }

    async fn dead_letter(
        &self,
        subscription: SubscriptionId,
        sequence: Sequence,
    ) -> Result<Option<DeadLetterRow>, Error> {
        self.inner.dead_letter(subscription, sequence).await
    }

    async fn dead_letter_count(&self, subscription: SubscriptionId) -> Result<i64, Error> {
        self.inner.dead_letter_count(subscription).await
    }

    async fn ack_records(
        &self,
        sequences: &[Sequence],
    ) -> Result<Vec<(SubscriptionId, AckRecord)>, Error> {
        self.inner.ack_records(sequences).await
    }

    async fn put_token(&self, token: &TokenRow) -> Result<(), Error> {
        self.inner.put_token(token).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, Error> {
        self.inner.tokens().await
    }

    async fn maintain(&self) -> Result<(), Error> {
        self.inner.maintain().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl OwnStore for FaultyStore {
    async fn link_key(&self) -> Result<[u8; 32], Error> {
        self.inner.link_key().await
    }

    async fn put_link(&self, link: &LinkRow) -> Result<(), Error> {
        self.inner.put_link(link).await
    }

    async fn link(&self, id: &[u8; 16]) -> Result<Option<LinkRow>, Error> {
        self.inner.link(id).await
    }

    async fn forget_links(&self, expired_before: Timestamp) -> Result<(), Error> {
        self.inner.forget_links(expired_before).await
    }

    async fn due_invoices(
        &self,
        before: Date,
        after: Option<(Date, SubjectId)>,
        limit: usize,
    ) -> Result<Vec<DueInvoice>, Error> {
        self.inner.due_invoices(before, after, limit).await
    }
}
