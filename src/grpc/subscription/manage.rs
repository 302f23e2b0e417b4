//! The calls that create, list, change and move subscriptions, and list dead letters.

use tonic::Status;

use super::{name, to_proto};
use crate::delivery::{Described, MAX_SETTLE, Settings, Spec, Start};
use crate::grpc::status::{from_delivery, from_store, invalid};
use crate::grpc::{Context, convert, page, proto, request};
use crate::model::Sequence;
use crate::store::DeadLetterRow;

pub(super) async fn create(
    context: &Context,
    create: proto::CreateSubscriptionRequest,
) -> Result<proto::Subscription, Status> {
    let start = request::start(create.start, Start::Latest, &context.delivery, "start")?;
    let spec = Spec {
        filter: request::filter(create.filter, "filter")?,
        settings: request::settings(create.settings, Settings::default(), "settings")?,
    };
    let name = name(&create.subscription)?;
    let described = context.delivery.create(name, spec, start).await.map_err(from_delivery)?;
    Ok(to_proto(context, &described))
}

pub(super) async fn list(
    context: &Context,
    list: proto::ListSubscriptionsRequest,
) -> Result<proto::ListSubscriptionsResponse, Status> {
    const LIST: &str = "subscriptions";
    let size = page::size(list.page_size)?;
    let after = page::after(LIST, &list.page_token)?.unwrap_or_default();
    let mut names = context.delivery.names(&after, size + 1);
    let more = names.len() > size;
    names.truncate(size);
    let mut subscriptions = Vec::with_capacity(names.len());
    for name in &names {
        match context.delivery.describe(name).await {
            Ok(described) => subscriptions.push(to_proto(context, &described)),
            // Deleted while the list was made.
            Err(crate::delivery::Error::NotFound(_) | crate::delivery::Error::Unavailable) => {}
            Err(error) => return Err(from_delivery(error)),
        }
    }
    let last = names.last().filter(|_| more);
    let next_page_token = last.map(|last| page::token(LIST, last)).unwrap_or_default();
    Ok(proto::ListSubscriptionsResponse { subscriptions, next_page_token })
}

pub(super) async fn update(
    context: &Context,
    update: proto::UpdateSubscriptionRequest,
) -> Result<proto::Subscription, Status> {
    let given = update.subscription.ok_or_else(|| invalid("subscription", "is missing"))?;
    let mask = update.update_mask.unwrap_or_default().paths;
    if mask.is_empty() {
        return Err(invalid("update_mask", "must name what to change"));
    }
    let name = name(&given.name)?;
    // Applied to what is stored at that moment: two updates of different fields both hold.
    let mut outcome = Ok(());
    let change = |stored: &mut Spec, _: &mut bool| match changed(stored, &given, &mask) {
        Ok(spec) => *stored = spec,
        Err(status) => outcome = Err(status),
    };
    let described = context.delivery.update(name, change).await.map_err(from_delivery)?;
    outcome.map(|()| to_proto(context, &described))
}

/// A spec with what the mask names as given.
fn changed(stored: &Spec, given: &proto::Subscription, mask: &[String]) -> Result<Spec, Status> {
    let mut spec = stored.clone();
    for path in mask {
        match path.as_str() {
            "filter" => {
                spec.filter = request::filter(given.filter.clone(), "subscription.filter")?;
            }
            "settings" => {
                spec.settings = changed_settings(given, Settings::default(), None)?;
            }
            other => match other.strip_prefix("settings.") {
                Some(field) => {
                    spec.settings = changed_settings(given, spec.settings, Some(field))?;
                }
                None => {
                    return Err(invalid("update_mask", format!("`{other}` cannot be changed")));
                }
            },
        }
    }
    if spec.settings.ordered != stored.settings.ordered {
        return Err(invalid("subscription.settings.unordered", "is fixed at creation"));
    }
    Ok(spec)
}

/// The settings as given, or only one field of them over `base`.
fn changed_settings(
    given: &proto::Subscription,
    base: Settings,
    only: Option<&str>,
) -> Result<Settings, Status> {
    const AT: &str = "subscription.settings";
    let given = given.settings.unwrap_or_default();
    let Some(field) = only else { return request::settings(Some(given), base, AT) };
    let mut one = proto::DeliverySettings { unordered: !base.ordered, ..Default::default() };
    match field {
        "ack_deadline" => one.ack_deadline = given.ack_deadline,
        "max_outstanding" => one.max_outstanding = given.max_outstanding,
        "max_outstanding_bytes" => one.max_outstanding_bytes = given.max_outstanding_bytes,
        "max_attempts" => one.max_attempts = given.max_attempts,
        "min_backoff" => one.min_backoff = given.min_backoff,
        "max_backoff" => one.max_backoff = given.max_backoff,
        "unordered" => one.unordered = given.unordered,
        other => {
            return Err(invalid("update_mask", format!("settings have no field `{other}`")));
        }
    }
    request::settings(Some(one), base, AT)
}

pub(super) async fn seek(
    context: &Context,
    seek: proto::SeekRequest,
) -> Result<proto::Subscription, Status> {
    let to = seek.to.ok_or_else(|| invalid("to", "is missing"))?;
    if to.at.is_none() {
        return Err(invalid("to", "must say where"));
    }
    let to = request::start(Some(to), Start::Latest, &context.delivery, "to")?;
    let name = name(&seek.subscription)?;
    let described = context.delivery.seek(name, to).await.map_err(from_delivery)?;
    Ok(to_proto(context, &described))
}

pub(super) async fn set_paused(
    context: &Context,
    name: &str,
    paused: bool,
) -> Result<proto::Subscription, Status> {
    let change = |_: &mut Spec, stored: &mut bool| *stored = paused;
    let described: Described =
        context.delivery.update(name, change).await.map_err(from_delivery)?;
    Ok(to_proto(context, &described))
}

pub(super) async fn list_dead_letters(
    context: &Context,
    list: proto::ListDeadLettersRequest,
) -> Result<proto::ListDeadLettersResponse, Status> {
    const LIST: &str = "deadLetters";
    let name = name(&list.subscription)?;
    let size = page::size(list.page_size)?;
    let after = page::after_number(LIST, &list.page_token)?.unwrap_or(0);
    let delivery = &context.delivery;
    let rows = delivery.dead_letters(name, Sequence(after), size + 1).await;
    let mut rows = rows.map_err(from_delivery)?;
    let more = rows.len() > size;
    rows.truncate(size);
    let next_page_token = match rows.last() {
        Some(last) if more => page::token(LIST, &last.sequence.to_string()),
        _ => String::new(),
    };
    let mut dead_letters = Vec::with_capacity(rows.len());
    for row in rows {
        let logged = delivery.shared().store.event(row.sequence).await.map_err(from_store)?;
        let event = logged.map(|logged| logged.encoded.clone()).unwrap_or_default();
        dead_letters.push(dead_letter(name, row, event));
    }
    Ok(proto::ListDeadLettersResponse { dead_letters, next_page_token })
}

fn dead_letter(subscription: &str, row: DeadLetterRow, event: bytes::Bytes) -> proto::DeadLetter {
    proto::DeadLetter {
        name: format!("subscriptions/{subscription}/deadLetters/{}", row.sequence),
        event,
        reason: row.reason,
        attempts: row
            .history
            .into_iter()
            .map(|attempt| proto::Attempt {
                ended_at: Some(convert::timestamp(attempt.ended_at)),
                consumer: attempt.consumer,
                reason: attempt.reason,
            })
            .collect(),
        dead_at: Some(convert::timestamp(row.dead_at)),
        replaying: row.replaying,
    }
}

/// Which dead letters: all (`None`) or those of some events.
pub(super) fn which(sequences: &[i64], all: bool) -> Result<Option<Vec<Sequence>>, Status> {
    match (sequences.is_empty(), all) {
        (true, true) => Ok(None),
        (false, false) if sequences.len() <= MAX_SETTLE => {
            Ok(Some(sequences.iter().map(|sequence| Sequence(*sequence)).collect()))
        }
        (false, false) => Err(invalid("sequences", format!("has more than {MAX_SETTLE} values"))),
        _ => Err(invalid("sequences", "give either sequences or all")),
    }
}
