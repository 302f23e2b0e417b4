//! A consumer over the raw generated client of the SDK: one `Consume` stream on a connection of its own,
//! acks in batches as large as the stream allows. It is as thin as a client can be, so that what is
//! measured is the gateway. Out come the gateway's answers: an ack counts once it is told to be durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use futures::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tollgate_client::proto::consume_request::Message as Ask;
use tollgate_client::proto::consume_response::Message as Answer;
use tollgate_client::proto::{
    Ack, AckResult, AckStatus, ConsumeAcks, ConsumeNacks, ConsumeOpen, ConsumeRequest,
    ConsumeResponse, Delivery, Nack, nack,
};

use crate::gateway::Gateway;

/// Acks are sent when nothing more has come, or when there are this many.
const MAX_BATCH: usize = 500;

/// What consumers of one subscription are to reach together.
pub struct Goal {
    expected: u64,
    applied: AtomicU64,
    other: AtomicU64,
    reached: watch::Sender<Option<Instant>>,
}

/// What a consumer does with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is handled.
    Ack,
    /// It failed.
    Nack,
}

impl Goal {
    /// As many acks are to be durable.
    pub fn acks(expected: u64) -> Arc<Goal> {
        let reached = watch::Sender::new((expected == 0).then(Instant::now));
        let zero = || AtomicU64::new(0);
        Arc::new(Goal { expected, applied: zero(), other: zero(), reached })
    }

    /// Waits until it is reached, and tells when that was.
    pub async fn reached(&self) -> Instant {
        let mut reached = self.reached.subscribe();
        loop {
            if let Some(at) = *reached.borrow_and_update() {
                return at;
            }
            if reached.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Notes acks that are durable.
    pub fn applied(&self, count: u64) {
        let applied = self.applied.fetch_add(count, Ordering::Relaxed) + count;
        if applied >= self.expected {
            self.reached.send_if_modified(|at| {
                let first = at.is_none();
                at.get_or_insert_with(Instant::now);
                first
            });
        }
    }

    /// Fails if an ack was answered anything but that it is applied, or there were too many.
    pub fn complete(&self) -> anyhow::Result<()> {
        let (applied, other) =
            (self.applied.load(Ordering::Relaxed), self.other.load(Ordering::Relaxed));
        anyhow::ensure!(
            applied == self.expected && other == 0,
            "{applied} of {} acks were applied, {other} were not",
            self.expected
        );
        Ok(())
    }
}

/// Consumes a subscription until its goal is reached.
pub async fn consume(
    gateway: &Gateway,
    subscription: String,
    goal: Arc<Goal>,
    take: impl FnMut(&Delivery) -> Verdict,
) -> anyhow::Result<()> {
    let (requests, outbound) = mpsc::unbounded_channel();
    let open = Ask::Open(ConsumeOpen { subscription, ..Default::default() });
    requests.send(ConsumeRequest { message: Some(open) })?;
    let client = gateway.client().await?;
    let outbound = UnboundedReceiverStream::new(outbound);
    let inbound = client.subscriptions().consume(outbound).await?.into_inner();
    let mut stream =
        Stream { requests, acks: vec![], nacks: vec![], asked: VecDeque::new(), goal, take };
    stream.run(inbound).await
}

struct Stream<F> {
    requests: mpsc::UnboundedSender<ConsumeRequest>,
    acks: Vec<Ack>,
    nacks: Vec<Nack>,
    /// What was asked and is not answered yet. Answers come in the order of the requests.
    asked: VecDeque<Verdict>,
    goal: Arc<Goal>,
    take: F,
}

impl<F: FnMut(&Delivery) -> Verdict> Stream<F> {
    async fn run(&mut self, mut inbound: tonic::Streaming<ConsumeResponse>) -> anyhow::Result<()> {
        let goal = self.goal.clone();
        loop {
            let message = match inbound.message().now_or_never() {
                Some(message) => message,
                None => {
                    self.flush()?;
                    tokio::select! {
                        message = inbound.message() => message,
                        _ = goal.reached() => return Ok(()),
                    }
                }
            };
            let message = message?.context("the gateway ended the stream")?.message;
            match message.context("an empty message")? {
                Answer::Delivery(delivery) => self.take(delivery)?,
                Answer::Results(results) => self.count(&results.results),
                Answer::Draining(draining) => anyhow::bail!("draining: {}", draining.reason),
                Answer::Heartbeat(_) | Answer::CaughtUp(_) => {}
            }
        }
    }

    fn take(&mut self, delivery: Delivery) -> anyhow::Result<()> {
        match (self.take)(&delivery) {
            Verdict::Ack => {
                self.acks.push(Ack { ack_id: delivery.ack_id, ..Default::default() });
            }
            Verdict::Nack => self.nacks.push(Nack {
                ack_id: delivery.ack_id,
                kind: nack::Kind::Retry.into(),
                reason: "always fails".to_owned(),
                retry_after: None,
            }),
        }
        if self.acks.len() >= MAX_BATCH || self.nacks.len() >= MAX_BATCH {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if !self.acks.is_empty() {
            let acks = std::mem::take(&mut self.acks);
            self.asked.push_back(Verdict::Ack);
            let acks = Ask::Acks(ConsumeAcks { acks });
            self.requests.send(ConsumeRequest { message: Some(acks) })?;
        }
        if !self.nacks.is_empty() {
            let nacks = std::mem::take(&mut self.nacks);
            self.asked.push_back(Verdict::Nack);
            let nacks = Ask::Nacks(ConsumeNacks { nacks });
            self.requests.send(ConsumeRequest { message: Some(nacks) })?;
        }
        Ok(())
    }

    fn count(&mut self, results: &[AckResult]) {
        let is_applied = |result: &&AckResult| result.status == i32::from(AckStatus::Applied);
        let applied = results.iter().filter(is_applied).count() as u64;
        self.goal.other.fetch_add(results.len() as u64 - applied, Ordering::Relaxed);
        if self.asked.pop_front() == Some(Verdict::Ack) {
            self.goal.applied(applied);
        }
    }
}
