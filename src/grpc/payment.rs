//! PaymentService: the current state of subjects, as a read, a list, a stream, or with their history.

mod link;
mod timeline;
mod watch;

use tonic::{Request, Response, Status};

use super::auth::{Identity, Scope};
use super::status::{from_store, invalid, not_found};
use super::{Context, convert, page, proto, request};
use crate::model::{Subject, SubjectId, SubjectState};

/// How many pages a listing looks through before it answers with what it has.
const MAX_PAGES_A_CALL: usize = 8;
/// How many statuses a listing may ask for.
const MAX_STATUSES: usize = 50;

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

async fn find(context: &Context, name: &str) -> Result<(SubjectId, SubjectState), Status> {
    let subject: Subject = name
        .parse()
        .map_err(|error: crate::model::ids::IdError| invalid("name", error.to_string()))?;
    let found = context.delivery.shared().store.subject(&subject).await.map_err(from_store)?;
    found.ok_or_else(|| not_found("payment", name))
}

#[tonic::async_trait]
impl proto::payment_service_server::PaymentService for Service {
    type WatchPaymentsStream = watch::Watched;

    async fn get_payment(
        &self,
        request: Request<proto::GetPaymentRequest>,
    ) -> Result<Response<proto::GetPaymentResponse>, Status> {
        Identity::of(&request)?.require(Scope::Read)?;
        let (_, state) = find(&self.context, &request.get_ref().name).await?;
        Ok(Response::new(proto::GetPaymentResponse { payment: Some(convert::payment(&state)) }))
    }

    async fn list_payments(
        &self,
        request: Request<proto::ListPaymentsRequest>,
    ) -> Result<Response<proto::ListPaymentsResponse>, Status> {
        const LIST: &str = "payments";
        Identity::of(&request)?.require(Scope::Read)?;
        let list = request.into_inner();
        let size = page::size(list.page_size)?;
        let kinds = request::kinds(&list.kinds, "kinds")?;
        let mode = request::live_mode(list.live_mode, "live_mode")?;
        if list.statuses.len() > MAX_STATUSES {
            return Err(invalid("statuses", format!("has more than {MAX_STATUSES} values")));
        }
        let wanted = |state: &SubjectState| {
            let status = state.status().map_or("", |status| status.word());
            mode.takes(state.live())
                && (kinds.is_empty() || kinds.contains(&state.subject().kind))
                && (list.statuses.is_empty() || list.statuses.iter().any(|word| word == status))
        };
        let mut after = SubjectId(page::after_number(LIST, &list.page_token)?.unwrap_or(0));
        let store = &self.context.delivery.shared().store;
        let mut payments = Vec::new();
        let mut more = true;
        for _ in 0..MAX_PAGES_A_CALL {
            let rows = store.subjects(after, size).await.map_err(from_store)?;
            more = rows.len() == size;
            for (id, state) in rows {
                if payments.len() == size {
                    more = true;
                    break;
                }
                after = id;
                if wanted(&state) {
                    payments.push(convert::payment(&state));
                }
            }
            if !more || payments.len() == size {
                break;
            }
        }
        let next_page_token =
            if more { page::token(LIST, &after.0.to_string()) } else { String::new() };
        Ok(Response::new(proto::ListPaymentsResponse { payments, next_page_token }))
    }

    async fn watch_payments(
        &self,
        request: Request<proto::WatchPaymentsRequest>,
    ) -> Result<Response<Self::WatchPaymentsStream>, Status> {
        let identity = Identity::of(&request)?;
        identity.require(Scope::Read)?;
        watch::open(&self.context, identity, request.into_inner()).await.map(Response::new)
    }

    async fn create_payment_link(
        &self,
        request: Request<proto::CreatePaymentLinkRequest>,
    ) -> Result<Response<proto::CreatePaymentLinkResponse>, Status> {
        Identity::of(&request)?.require(Scope::Links)?;
        link::create(&self.context, request.into_inner()).await.map(Response::new)
    }

    async fn get_timeline(
        &self,
        request: Request<proto::GetTimelineRequest>,
    ) -> Result<Response<proto::GetTimelineResponse>, Status> {
        Identity::of(&request)?.require(Scope::Read)?;
        timeline::get(&self.context, request.into_inner()).await.map(Response::new)
    }
}
