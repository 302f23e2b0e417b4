//! SubscriptionService: the calls that manage and use subscriptions. The streams are in `subscribe` and
//! `consume`; both are doors to the same deliveries.

mod consume;
mod manage;
mod subscribe;

use tonic::{Request, Response, Status, Streaming};

use super::auth::{Identity, Scope};
use super::connection::ConnectionInfo;
use super::status::{from_delivery, invalid};
use super::{Context, convert, proto, request, stream};
use crate::delivery::spec::{MAX_ACK_DEADLINE, MAX_BACKOFF};
use crate::delivery::window::{Nack, NackKind};
use crate::delivery::{AckStatus, Action, Described, MAX_SETTLE, Settle};

/// The longest external ref of an ack, in bytes.
const MAX_EXTERNAL_REF_BYTES: usize = 256;
/// The longest outcome of an ack, in bytes.
const MAX_OUTCOME_BYTES: usize = 64;
/// The longest reason of a nack, in bytes.
const MAX_REASON_BYTES: usize = 1024;
/// The longest name of a consumer, in bytes.
const MAX_CONSUMER_BYTES: usize = 128;

/// The service.
pub struct Service {
    context: Context,
}

impl Service {
    /// With what every service has at hand.
    pub fn new(context: Context) -> Service {
        Service { context }
    }
}

/// Whether this may name a subscription: 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`.
pub fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte)
        })
}

/// Reads `crm` or `subscriptions/crm`.
fn name(text: &str) -> Result<&str, Status> {
    let name = text.strip_prefix("subscriptions/").unwrap_or(text);
    if !is_name(name) {
        return Err(invalid("subscription", "must be 1 to 63 of a-z, 0-9, -, _ and ."));
    }
    Ok(name)
}

/// The caller may use this subscription; its name.
fn usable<'a, T>(request: &Request<T>, subscription: &'a str) -> Result<&'a str, Status> {
    let name = name(subscription)?;
    Identity::of(request)?.require(Scope::Subscribe(name))?;
    Ok(name)
}

fn to_proto(context: &Context, described: &Described) -> proto::Subscription {
    let now = (context.delivery.shared().clock)();
    let snapshot = &described.snapshot;
    proto::Subscription {
        name: format!("subscriptions/{}", described.name),
        filter: Some(request::filter_to_proto(&described.spec.filter)),
        settings: Some(request::settings_to_proto(&described.spec.settings)),
        paused: described.paused,
        position: snapshot.position.0,
        head: snapshot.head.0,
        log_epoch: stream::epoch(context),
        backlog: Some(stream::backlog(&snapshot.backlog, now)),
        outstanding: i32::try_from(snapshot.outstanding).unwrap_or(i32::MAX),
        held_back: snapshot.held_back,
        dead_letters: snapshot.dead_letters,
        created_at: Some(convert::timestamp(described.created_at)),
    }
}

fn settle_acks(acks: Vec<proto::Ack>) -> Result<Vec<Settle>, Status> {
    bounded(acks.len(), "acks")?;
    acks.into_iter()
        .map(|ack| {
            no_longer(&ack.external_ref, MAX_EXTERNAL_REF_BYTES, "acks.external_ref")?;
            no_longer(&ack.outcome, MAX_OUTCOME_BYTES, "acks.outcome")?;
            let action = Action::Ack { external_ref: ack.external_ref, outcome: ack.outcome };
            Ok(Settle { ack_id: ack.ack_id, action })
        })
        .collect()
}

fn settle_nacks(nacks: Vec<proto::Nack>) -> Result<Vec<Settle>, Status> {
    bounded(nacks.len(), "nacks")?;
    nacks
        .into_iter()
        .map(|nack| {
            no_longer(&nack.reason, MAX_REASON_BYTES, "nacks.reason")?;
            let kind = match proto::nack::Kind::try_from(nack.kind) {
                Ok(proto::nack::Kind::Unspecified | proto::nack::Kind::Retry) => NackKind::Retry,
                Ok(proto::nack::Kind::Throttled) => NackKind::Throttled,
                Ok(proto::nack::Kind::DeadLetter) => NackKind::DeadLetter,
                Err(_) => return Err(invalid("nacks.kind", "is not a kind")),
            };
            let least = std::time::Duration::ZERO;
            let retry_after = nack
                .retry_after
                .map(|wait| request::duration(wait, least, MAX_BACKOFF, "nacks.retry_after"))
                .transpose()?;
            let action = Action::Nack(Nack { kind, reason: nack.reason, retry_after });
            Ok(Settle { ack_id: nack.ack_id, action })
        })
        .collect()
}

fn settle_extensions(
    ack_ids: Vec<String>,
    extension: Option<prost_types::Duration>,
) -> Result<Vec<Settle>, Status> {
    bounded(ack_ids.len(), "ack_ids")?;
    let least = std::time::Duration::from_secs(1);
    let extension = extension
        .map(|time| request::duration(time, least, MAX_ACK_DEADLINE, "extension"))
        .transpose()?;
    let settle = |ack_id| Settle { ack_id, action: Action::Extend(extension) };
    Ok(ack_ids.into_iter().map(settle).collect())
}

fn bounded(count: usize, field: &str) -> Result<(), Status> {
    if count > MAX_SETTLE {
        return Err(invalid(field, format!("has more than {MAX_SETTLE} items")));
    }
    Ok(())
}

fn no_longer(text: &str, max: usize, field: &str) -> Result<(), Status> {
    if text.len() > max {
        return Err(invalid(field, format!("is longer than {max} bytes")));
    }
    Ok(())
}

fn results(ack_ids: Vec<String>, statuses: Vec<AckStatus>) -> Vec<proto::AckResult> {
    let status = |status| match status {
        AckStatus::Applied => proto::AckStatus::Applied,
        AckStatus::Duplicate => proto::AckStatus::Duplicate,
        AckStatus::Stale => proto::AckStatus::Stale,
        AckStatus::Unknown => proto::AckStatus::Unknown,
    };
    ack_ids
        .into_iter()
        .zip(statuses)
        .map(|(ack_id, one)| proto::AckResult { ack_id, status: status(one).into() })
        .collect()
}

fn ack_ids(settles: &[Settle]) -> Vec<String> {
    settles.iter().map(|settle| settle.ack_id.clone()).collect()
}

impl Service {
    async fn settle(
        &self,
        name: &str,
        settles: Vec<Settle>,
    ) -> Result<Vec<proto::AckResult>, Status> {
        let ids = ack_ids(&settles);
        let statuses = self.context.delivery.settle(name, settles).await.map_err(from_delivery)?;
        Ok(results(ids, statuses))
    }
}

#[tonic::async_trait]
impl proto::subscription_service_server::SubscriptionService for Service {
    type SubscribeStream = subscribe::Subscribed;
    type ConsumeStream = consume::Consumed;

    async fn subscribe(
        &self,
        request: Request<proto::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let identity = Identity::of(&request)?;
        let budget = ConnectionInfo::of(&request).budget;
        let subscribe = request.into_inner();
        subscribe::open(&self.context, identity, budget, subscribe).await.map(Response::new)
    }

    async fn consume(
        &self,
        request: Request<Streaming<proto::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let identity = Identity::of(&request)?;
        let budget = ConnectionInfo::of(&request).budget;
        let inbound = request.into_inner();
        consume::open(&self.context, identity, budget, inbound).await.map(Response::new)
    }

    async fn acknowledge(
        &self,
        request: Request<proto::AcknowledgeRequest>,
    ) -> Result<Response<proto::AcknowledgeResponse>, Status> {
        usable(&request, &request.get_ref().subscription)?;
        let proto::AcknowledgeRequest { subscription, acks } = request.into_inner();
        let results = self.settle(name(&subscription)?, settle_acks(acks)?).await?;
        Ok(Response::new(proto::AcknowledgeResponse { results }))
    }

    async fn nack(
        &self,
        request: Request<proto::NackRequest>,
    ) -> Result<Response<proto::NackResponse>, Status> {
        usable(&request, &request.get_ref().subscription)?;
        let proto::NackRequest { subscription, nacks } = request.into_inner();
        let results = self.settle(name(&subscription)?, settle_nacks(nacks)?).await?;
        Ok(Response::new(proto::NackResponse { results }))
    }

    async fn extend_deadlines(
        &self,
        request: Request<proto::ExtendDeadlinesRequest>,
    ) -> Result<Response<proto::ExtendDeadlinesResponse>, Status> {
        usable(&request, &request.get_ref().subscription)?;
        let proto::ExtendDeadlinesRequest { subscription, ack_ids, extension } =
            request.into_inner();
        let settles = settle_extensions(ack_ids, extension)?;
        let results = self.settle(name(&subscription)?, settles).await?;
        Ok(Response::new(proto::ExtendDeadlinesResponse { results }))
    }

    async fn create_subscription(
        &self,
        request: Request<proto::CreateSubscriptionRequest>,
    ) -> Result<Response<proto::CreateSubscriptionResponse>, Status> {
        usable(&request, &request.get_ref().subscription)?;
        let subscription = manage::create(&self.context, request.into_inner()).await?;
        Ok(Response::new(proto::CreateSubscriptionResponse { subscription: Some(subscription) }))
    }

    async fn get_subscription(
        &self,
        request: Request<proto::GetSubscriptionRequest>,
    ) -> Result<Response<proto::GetSubscriptionResponse>, Status> {
        let identity = Identity::of(&request)?;
        let name = name(&request.get_ref().subscription)?;
        identity.require(Scope::Read).or_else(|_| identity.require(Scope::Subscribe(name)))?;
        let described = self.context.delivery.describe(name).await.map_err(from_delivery)?;
        let subscription = Some(to_proto(&self.context, &described));
        Ok(Response::new(proto::GetSubscriptionResponse { subscription }))
    }

    async fn list_subscriptions(
        &self,
        request: Request<proto::ListSubscriptionsRequest>,
    ) -> Result<Response<proto::ListSubscriptionsResponse>, Status> {
        Identity::of(&request)?.require(Scope::Read)?;
        manage::list(&self.context, request.into_inner()).await.map(Response::new)
    }

    async fn update_subscription(
        &self,
        request: Request<proto::UpdateSubscriptionRequest>,
    ) -> Result<Response<proto::UpdateSubscriptionResponse>, Status> {
        let given = request.get_ref().subscription.as_ref();
        let given = given.ok_or_else(|| invalid("subscription", "is missing"))?;
        usable(&request, &given.name)?;
        let subscription = manage::update(&self.context, request.into_inner()).await?;
        Ok(Response::new(proto::UpdateSubscriptionResponse { subscription: Some(subscription) }))
    }

    async fn delete_subscription(
        &self,
        request: Request<proto::DeleteSubscriptionRequest>,
    ) -> Result<Response<proto::DeleteSubscriptionResponse>, Status> {
        let name = usable(&request, &request.get_ref().subscription)?;
        self.context.delivery.delete(name).await.map_err(from_delivery)?;
        Ok(Response::new(proto::DeleteSubscriptionResponse {}))
    }

    async fn seek(
        &self,
        request: Request<proto::SeekRequest>,
    ) -> Result<Response<proto::SeekResponse>, Status> {
        usable(&request, &request.get_ref().subscription)?;
        let subscription = manage::seek(&self.context, request.into_inner()).await?;
        Ok(Response::new(proto::SeekResponse { subscription: Some(subscription) }))
    }

    async fn pause_subscription(
        &self,
        request: Request<proto::PauseSubscriptionRequest>,
    ) -> Result<Response<proto::PauseSubscriptionResponse>, Status> {
        let name = usable(&request, &request.get_ref().subscription)?;
        let subscription = Some(manage::set_paused(&self.context, name, true).await?);
        Ok(Response::new(proto::PauseSubscriptionResponse { subscription }))
    }

    async fn resume_subscription(
        &self,
        request: Request<proto::ResumeSubscriptionRequest>,
    ) -> Result<Response<proto::ResumeSubscriptionResponse>, Status> {
        let name = usable(&request, &request.get_ref().subscription)?;
        let subscription = Some(manage::set_paused(&self.context, name, false).await?);
        Ok(Response::new(proto::ResumeSubscriptionResponse { subscription }))
    }

    async fn list_dead_letters(
        &self,
        request: Request<proto::ListDeadLettersRequest>,
    ) -> Result<Response<proto::ListDeadLettersResponse>, Status> {
        usable(&request, &request.get_ref().subscription)?;
        manage::list_dead_letters(&self.context, request.into_inner()).await.map(Response::new)
    }

    async fn replay_dead_letters(
        &self,
        request: Request<proto::ReplayDeadLettersRequest>,
    ) -> Result<Response<proto::ReplayDeadLettersResponse>, Status> {
        let name = usable(&request, &request.get_ref().subscription)?;
        let which = manage::which(&request.get_ref().sequences, request.get_ref().all)?;
        let replayed = self.context.delivery.replay(name, which).await.map_err(from_delivery)?;
        Ok(Response::new(proto::ReplayDeadLettersResponse { replayed }))
    }

    async fn discard_dead_letters(
        &self,
        request: Request<proto::DiscardDeadLettersRequest>,
    ) -> Result<Response<proto::DiscardDeadLettersResponse>, Status> {
        let name = usable(&request, &request.get_ref().subscription)?;
        let which = manage::which(&request.get_ref().sequences, request.get_ref().all)?;
        let discarded = self.context.delivery.discard(name, which).await.map_err(from_delivery)?;
        Ok(Response::new(proto::DiscardDeadLettersResponse { discarded }))
    }
}
