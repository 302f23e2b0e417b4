//! `GetTimeline`: the events of one subject, and what each subscription did with each of them.

use tonic::Status;

use super::find;
use crate::delivery::Spec;
use crate::grpc::status::from_store;
use crate::grpc::{Context, convert, page, proto};
use crate::model::{Sequence, SubjectId};
use crate::store::{self, AckRecord, LaneRow, Logged, StoredSubscription, SubscriptionId};

/// How many events a page may have: each asks several things of each subscription.
const MAX_EVENTS: usize = 100;

pub(super) async fn get(
    context: &Context,
    get: proto::GetTimelineRequest,
) -> Result<proto::GetTimelineResponse, Status> {
    const LIST: &str = "timeline";
    let size = page::size(get.page_size)?.min(MAX_EVENTS);
    let (id, state) = find(context, &get.name).await?;
    let from =
        page::after_number(LIST, &get.page_token)?.map_or(id.0, |after| after.saturating_add(1));
    let store = &context.delivery.shared().store;
    let sequences = store.subject_sequences(id, Sequence(from), size + 1).await;
    let mut sequences = sequences.map_err(from_store)?;
    let more = sequences.len() > size;
    sequences.truncate(size);
    let next_page_token = match sequences.last() {
        Some(last) if more => page::token(LIST, &last.to_string()),
        _ => String::new(),
    };
    let subscriptions = store.subscriptions().await.map_err(from_store)?;
    let acks = store.ack_records(&sequences).await.map_err(from_store)?;
    let mut entries = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        let Some(logged) = store.event(sequence).await.map_err(from_store)? else { continue };
        let mut deliveries = Vec::new();
        for subscription in &subscriptions {
            let one = delivery(context, subscription, id, &logged, &acks).await;
            deliveries.extend(one.map_err(from_store)?);
        }
        entries.push(proto::TimelineEntry { event: logged.encoded.clone(), deliveries });
    }
    let payment = Some(convert::payment(&state));
    Ok(proto::GetTimelineResponse { payment, entries, next_page_token })
}

/// What one subscription did with one event; `None` if its filter does not take it.
async fn delivery(
    context: &Context,
    subscription: &StoredSubscription,
    subject: SubjectId,
    logged: &Logged,
    acks: &[(SubscriptionId, AckRecord)],
) -> Result<Option<proto::TimelineDelivery>, store::Error> {
    let shared = context.delivery.shared();
    let spec = Spec::from_text(&subscription.spec)
        .map_err(|error| store::Error::Damaged(error.to_string()))?;
    if !spec.filter.takes(logged, shared.codec)? {
        return Ok(None);
    }
    let mut told = proto::TimelineDelivery {
        subscription: format!("subscriptions/{}", subscription.name),
        ..proto::TimelineDelivery::default()
    };
    let ack = acks
        .iter()
        .find(|(id, record)| *id == subscription.id && record.sequence == logged.sequence);
    if let Some((_, record)) = ack {
        told.acked_at = Some(convert::timestamp(record.acked_at));
        told.external_ref.clone_from(&record.external_ref);
        told.outcome.clone_from(&record.outcome);
    }
    let lane = if spec.settings.ordered { subject } else { SubjectId(logged.sequence.0) };
    let rows = shared.store.lanes(subscription.id, &[lane]).await?;
    let dead = shared.store.dead_letter(subscription.id, logged.sequence).await?;
    let state = match (dead, holds(&rows, logged.sequence)) {
        (Some(dead), _) => {
            told.failed_attempts = i32::try_from(dead.history.len()).unwrap_or(i32::MAX);
            told.reason = dead.reason;
            "dead_letter"
        }
        (None, Some(held)) => {
            if held.first == logged.sequence {
                told.failed_attempts = i32::try_from(held.attempts).unwrap_or(i32::MAX);
                told.reason =
                    held.history.last().map(|last| last.reason.clone()).unwrap_or_default();
            }
            "held_back"
        }
        (None, None) if is_done(subscription, logged.sequence) => "acked",
        (None, None) => "waiting",
    };
    state.clone_into(&mut told.state);
    Ok(Some(told))
}

fn holds(rows: &[LaneRow], sequence: Sequence) -> Option<&store::Held> {
    rows.iter().filter_map(|row| row.held.as_ref()).find(|held| held.first <= sequence)
}

fn is_done(subscription: &StoredSubscription, sequence: Sequence) -> bool {
    let position = &subscription.position;
    sequence <= position.cursor
        || position.done.iter().any(|(first, last)| (*first..=*last).contains(&sequence))
}
