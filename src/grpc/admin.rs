//! AdminService: the gateway's own affairs. Every call needs the scope `admin`.

mod refused;

use tonic::{Request, Response, Status};

use super::auth::{self, Identity, MAX_SCOPES, Scope};
use super::status::{from_store, invalid, not_found};
use super::{Context, convert, proto, stream};
use crate::ingest::Registered;
use crate::store::TokenRow;

/// The longest description of a token, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 256;

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

#[tonic::async_trait]
impl proto::admin_service_server::AdminService for Service {
    async fn list_endpoints(
        &self,
        request: Request<proto::ListEndpointsRequest>,
    ) -> Result<Response<proto::ListEndpointsResponse>, Status> {
        Identity::of(&request)?.require(Scope::Admin)?;
        let all = self.context.ingest.endpoints().all();
        let endpoints = all.iter().map(|registered| endpoint(registered)).collect();
        Ok(Response::new(proto::ListEndpointsResponse { endpoints }))
    }

    async fn get_stats(
        &self,
        request: Request<proto::GetStatsRequest>,
    ) -> Result<Response<proto::GetStatsResponse>, Status> {
        Identity::of(&request)?.require(Scope::Admin)?;
        let delivery = &self.context.delivery;
        let store = &delivery.shared().store;
        let head = store.head().await.map_err(from_store)?;
        let unreadable = store.unreadable_receipts().await.map_err(from_store)?;
        let subscriptions = delivery.names("", crate::delivery::MAX_SUBSCRIPTIONS).len();
        Ok(Response::new(proto::GetStatsResponse {
            head: head.sequence.0,
            head_hash: hex::encode(head.hash),
            first_sequence: head.first.0,
            receipts: head.receipt.0,
            unreadable_receipts: unreadable,
            subscriptions: i64::try_from(subscriptions).unwrap_or(i64::MAX),
            log_epoch: stream::epoch(&self.context),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Some(convert::timestamp(self.context.started_at)),
        }))
    }

    async fn list_refused_requests(
        &self,
        request: Request<proto::ListRefusedRequestsRequest>,
    ) -> Result<Response<proto::ListRefusedRequestsResponse>, Status> {
        let identity = Identity::of(&request)?;
        identity.require(Scope::Admin)?;
        tracing::info!(by = identity.id(), "refused requests read");
        refused::list(&self.context, request.into_inner()).await.map(Response::new)
    }

    async fn create_token(
        &self,
        request: Request<proto::CreateTokenRequest>,
    ) -> Result<Response<proto::CreateTokenResponse>, Status> {
        let identity = Identity::of(&request)?;
        identity.require(Scope::Admin)?;
        let create = request.into_inner();
        if create.scopes.is_empty() || create.scopes.len() > MAX_SCOPES {
            return Err(invalid("scopes", format!("must have 1 to {MAX_SCOPES} values")));
        }
        for scope in &create.scopes {
            auth::check_scope(scope).map_err(|error| invalid("scopes", error))?;
        }
        if create.description.len() > MAX_DESCRIPTION_BYTES {
            return Err(invalid("description", "is too long"));
        }
        let expires_at = create
            .expires_at
            .map(|time| convert::timestamp_back(Some(time)))
            .transpose()
            .map_err(|error| invalid("expires_at", error.0))?;
        let created = self.context.auth.create(create.description, create.scopes, expires_at).await;
        let (row, secret) = created.map_err(from_store)?;
        tracing::info!(by = identity.id(), token = row.id, "token created");
        Ok(Response::new(proto::CreateTokenResponse { token: Some(token(&row)), secret }))
    }

    async fn list_tokens(
        &self,
        request: Request<proto::ListTokensRequest>,
    ) -> Result<Response<proto::ListTokensResponse>, Status> {
        Identity::of(&request)?.require(Scope::Admin)?;
        let rows = self.context.delivery.shared().store.tokens().await.map_err(from_store)?;
        let tokens = rows.iter().map(token).collect();
        Ok(Response::new(proto::ListTokensResponse { tokens }))
    }

    async fn revoke_token(
        &self,
        request: Request<proto::RevokeTokenRequest>,
    ) -> Result<Response<proto::RevokeTokenResponse>, Status> {
        let identity = Identity::of(&request)?;
        identity.require(Scope::Admin)?;
        let id = &request.get_ref().id;
        let row = self.context.auth.revoke(id).await.map_err(from_store)?;
        let row = row.ok_or_else(|| not_found("token", id))?;
        tracing::info!(by = identity.id(), token = row.id, "token revoked");
        Ok(Response::new(proto::RevokeTokenResponse { token: Some(token(&row)) }))
    }
}

fn token(row: &TokenRow) -> proto::Token {
    proto::Token {
        id: row.id.clone(),
        description: row.description.clone(),
        scopes: row.scopes.clone(),
        created_at: Some(convert::timestamp(row.created_at)),
        expires_at: row.expires_at.map(convert::timestamp),
        revoked_at: row.revoked_at.map(convert::timestamp),
    }
}

fn endpoint(registered: &Registered) -> proto::Endpoint {
    let health = &registered.health;
    let refusal = health.last_refusal();
    let failure = health.last_fetch_failure();
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    proto::Endpoint {
        name: registered.endpoint.name.to_string(),
        provider: registered.endpoint.name.provider().to_owned(),
        path: registered.endpoint.path.clone(),
        accepted: number(health.accepted()),
        refused: number(health.refused()),
        last_accepted_at: health.last_accepted().map(convert::timestamp),
        last_refused_at: refusal.as_ref().map(|(at, _)| convert::timestamp(*at)),
        last_refusal: refusal.map(|(_, reason)| reason).unwrap_or_default(),
        last_fetch_failed_at: failure.as_ref().map(|(at, _)| convert::timestamp(*at)),
        last_fetch_failure: failure.map(|(_, reason)| reason).unwrap_or_default(),
    }
}
