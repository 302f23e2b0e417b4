//! The `WatchPayments` stream: the head is noted, every subject's state is read in pages by number, then
//! changes after that head follow, without those that the snapshot has shown already.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;

use futures::{Stream, stream};
use tonic::Status;

use crate::delivery::{EndReason, Filter, LiveMode, Reader, Start};
use crate::grpc::auth::Identity;
use crate::grpc::status::{epoch_changed, from_delivery, from_store};
use crate::grpc::stream::{Due, Life, draining, epoch, watch_heartbeat};
use crate::grpc::{Context, convert, proto, request};
use crate::model::{Sequence, SubjectId, SubjectKind, SubjectState};
use proto::watch_payments_response::Message as Out;

/// How many subjects one read of the snapshot has.
const SNAPSHOT_PAGE: usize = 200;
/// How many rows that are newer than the snapshot's head are remembered. Past it some are sent twice.
const MAX_REMEMBERED: usize = 100_000;

/// The stream's type.
pub type Watched = Pin<Box<dyn Stream<Item = Result<proto::WatchPaymentsResponse, Status>> + Send>>;

struct State {
    context: Context,
    life: Life,
    kinds: Vec<SubjectKind>,
    mode: LiveMode,
    /// The snapshot's next page; `None` once it is complete.
    snapshot: Option<SubjectId>,
    head: Sequence,
    reader: Reader,
    /// Rows shown that are newer than what the reader has passed.
    shown: HashMap<SubjectId, Sequence>,
    ready: VecDeque<Out>,
    begun: bool,
    over: bool,
}

pub(super) async fn open(
    context: &Context,
    identity: Identity,
    watch: proto::WatchPaymentsRequest,
) -> Result<Watched, Status> {
    if !watch.log_epoch.is_empty() && watch.log_epoch != epoch(context) {
        return Err(epoch_changed());
    }
    let shared = context.delivery.shared().clone();
    let only_changes = watch.after_sequence > 0;
    let start =
        if only_changes { Start::After(Sequence(watch.after_sequence)) } else { Start::Latest };
    let head = context.delivery.resolve(start).await.map_err(from_delivery)?;
    let mode = request::live_mode(watch.live_mode, "live_mode")?;
    let kinds = request::kinds(&watch.kinds, "kinds")?;
    let filter = Filter { live_mode: mode, kinds: kinds.clone(), ..Filter::default() };
    let state = State {
        life: Life::new(context, identity),
        kinds,
        mode,
        snapshot: (!only_changes).then_some(SubjectId(0)),
        head,
        reader: Reader::new(shared, filter, head),
        shown: HashMap::new(),
        ready: VecDeque::new(),
        context: context.clone(),
        begun: false,
        over: false,
    };
    Ok(Box::pin(stream::unfold(state, |mut state| async move {
        let item = state.next().await?;
        let item = item.map(|message| proto::WatchPaymentsResponse { message: Some(message) });
        Some((item, state))
    })))
}

impl State {
    async fn next(&mut self) -> Option<Result<Out, Status>> {
        if self.over {
            return None;
        }
        if !self.begun {
            self.begun = true;
            return Some(Ok(Out::Heartbeat(watch_heartbeat(&self.context, self.head))));
        }
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(Ok(message));
            }
            let snapshot = self.snapshot;
            tokio::select! {
                biased;
                due = self.life.due() => match due {
                    Due::Heartbeat => {
                        let position = self.reader.position();
                        return Some(Ok(Out::Heartbeat(watch_heartbeat(&self.context, position))));
                    }
                    Due::End(reason) => return Some(Ok(self.end(reason))),
                },
                () = self.reader.more(), if snapshot.is_none() => {}
                () = std::future::ready(()), if snapshot.is_some() => {}
            }
            let filled = match snapshot {
                Some(after) => self.fill_from_snapshot(after).await,
                None => self.fill_from_changes().await,
            };
            if let Err(status) = filled {
                self.over = true;
                return Some(Err(status));
            }
        }
    }

    async fn fill_from_snapshot(&mut self, after: SubjectId) -> Result<(), Status> {
        let store = self.context.delivery.shared().store.clone();
        let rows = store.subjects(after, SNAPSHOT_PAGE).await.map_err(from_store)?;
        self.snapshot = match rows.last() {
            Some((last, _)) if rows.len() == SNAPSHOT_PAGE => Some(*last),
            _ => None,
        };
        for (id, state) in rows {
            if state.last_sequence() > self.head && self.shown.len() < MAX_REMEMBERED {
                self.shown.insert(id, state.last_sequence());
            }
            if self.wants(&state) {
                self.ready.push_back(Out::Payment(convert::payment(&state)));
            }
        }
        if self.snapshot.is_none() {
            let complete =
                proto::SnapshotComplete { position: self.head.0, log_epoch: epoch(&self.context) };
            self.ready.push_back(Out::SnapshotComplete(complete));
        }
        Ok(())
    }

    async fn fill_from_changes(&mut self) -> Result<(), Status> {
        let events = self.reader.page().await.map_err(from_delivery)?;
        let passed = self.reader.position();
        let mut changed: Vec<SubjectId> = events
            .iter()
            .filter(|event| {
                self.shown.get(&event.subject).is_none_or(|shown| event.sequence > *shown)
            })
            .map(|event| event.subject)
            .collect();
        changed.sort_unstable();
        changed.dedup();
        let store = self.context.delivery.shared().store.clone();
        let mut rows = store.subjects_by_id(&changed).await.map_err(from_store)?;
        rows.sort_by_key(|(_, state)| state.last_sequence());
        self.shown.retain(|_, shown| *shown > passed);
        for (id, state) in rows {
            if state.last_sequence() > passed && self.shown.len() < MAX_REMEMBERED {
                self.shown.insert(id, state.last_sequence());
            }
            self.ready.push_back(Out::Payment(convert::payment(&state)));
        }
        Ok(())
    }

    fn wants(&self, state: &SubjectState) -> bool {
        self.mode.takes(state.live())
            && (self.kinds.is_empty() || self.kinds.contains(&state.subject().kind))
    }

    fn end(&mut self, reason: EndReason) -> Out {
        self.over = true;
        let position = if self.snapshot.is_some() { Sequence(0) } else { self.reader.position() };
        Out::Draining(draining(&self.context, position, reason))
    }
}
