//! ReceiptService: what arrived, verbatim, and another try at translating it.

use tonic::{Request, Response, Status};

use super::auth::{Identity, Scope};
use super::status::{from_ingest, from_store, invalid, not_found};
use super::{Context, convert, page, proto};
use crate::model::{EndpointName, ReceiptNumber};
use crate::store::{ReceiptQuery, ReceiptState, StoredReceipt};

/// How many endpoints a listing may ask for.
const MAX_ENDPOINTS: usize = 100;
/// How many pages a listing looks through before it answers with what it has.
const MAX_PAGES_A_CALL: usize = 8;

/// The service.
pub struct Service {
    context: Context,
}

impl Service {
    /// With what every service has at hand.
    pub fn new(context: Context) -> Service {
        Service { context }
    }

    async fn stored(&self, name: &str) -> Result<StoredReceipt, Status> {
        let number = number(name)?;
        let stored = self.context.delivery.shared().store.receipt(number).await;
        stored.map_err(from_store)?.ok_or_else(|| not_found("receipt", name))
    }
}

fn number(name: &str) -> Result<ReceiptNumber, Status> {
    let number = name.strip_prefix("receipts/").and_then(|number| number.parse().ok());
    number.map(ReceiptNumber).ok_or_else(|| invalid("name", "must read like receipts/17"))
}

#[tonic::async_trait]
impl proto::receipt_service_server::ReceiptService for Service {
    async fn list_receipts(
        &self,
        request: Request<proto::ListReceiptsRequest>,
    ) -> Result<Response<proto::ListReceiptsResponse>, Status> {
        const LIST: &str = "receipts";
        Identity::of(&request)?.require(Scope::Read)?;
        let list = request.into_inner();
        if list.endpoints.len() > MAX_ENDPOINTS {
            return Err(invalid("endpoints", format!("has more than {MAX_ENDPOINTS} values")));
        }
        let endpoints: Result<Vec<EndpointName>, _> =
            list.endpoints.iter().map(|name| name.parse()).collect();
        let states = states(&list.states)?;
        let size = page::size(list.page_size)?;
        let mut query = ReceiptQuery {
            endpoints: endpoints.map_err(|error| invalid("endpoints", error.to_string()))?,
            only_open: !states.is_empty() && !states.contains(&proto::ReceiptState::Translated),
            before: page::after_number(LIST, &list.page_token)?.map(ReceiptNumber),
            limit: size,
        };
        let store = &self.context.delivery.shared().store;
        let mut receipts = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES_A_CALL {
            query.limit = size - receipts.len();
            let (page, before) = store.receipts(&query).await.map_err(from_store)?;
            let wanted = page
                .iter()
                .filter(|stored| states.is_empty() || states.contains(&state(&stored.state)));
            receipts.extend(wanted.map(|stored| to_proto(stored, false)));
            next = before;
            query.before = before;
            if next.is_none() || receipts.len() == size {
                break;
            }
        }
        let next_page_token =
            next.map(|before| page::token(LIST, &before.0.to_string())).unwrap_or_default();
        Ok(Response::new(proto::ListReceiptsResponse { receipts, next_page_token }))
    }

    async fn get_receipt(
        &self,
        request: Request<proto::GetReceiptRequest>,
    ) -> Result<Response<proto::GetReceiptResponse>, Status> {
        let identity = Identity::of(&request)?;
        let get = request.into_inner();
        identity.require(if get.raw { Scope::Receipts } else { Scope::Read })?;
        let stored = self.stored(&get.name).await?;
        if get.raw {
            tracing::info!(token = identity.id(), receipt = get.name, "raw receipt read");
        }
        let receipt = Some(to_proto(&stored, get.raw));
        Ok(Response::new(proto::GetReceiptResponse { receipt }))
    }

    async fn retry_receipt(
        &self,
        request: Request<proto::RetryReceiptRequest>,
    ) -> Result<Response<proto::RetryReceiptResponse>, Status> {
        Identity::of(&request)?.require(Scope::Admin)?;
        let name = request.into_inner().name;
        self.context.ingest.retry(number(&name)?).await.map_err(from_ingest)?;
        let receipt = Some(to_proto(&self.stored(&name).await?, false));
        Ok(Response::new(proto::RetryReceiptResponse { receipt }))
    }
}

fn states(given: &[i32]) -> Result<Vec<proto::ReceiptState>, Status> {
    given
        .iter()
        .map(|state| {
            proto::ReceiptState::try_from(*state)
                .ok()
                .filter(|state| *state != proto::ReceiptState::Unspecified)
                .ok_or_else(|| invalid("states", format!("{state} is not a state")))
        })
        .collect()
}

fn state(state: &ReceiptState) -> proto::ReceiptState {
    match state {
        ReceiptState::Translated => proto::ReceiptState::Translated,
        ReceiptState::Unknown(_) => proto::ReceiptState::Unknown,
        ReceiptState::Unreadable(_) => proto::ReceiptState::Unreadable,
        ReceiptState::Fetching(_) => proto::ReceiptState::Fetching,
        ReceiptState::FetchFailed(_) => proto::ReceiptState::FetchFailed,
        ReceiptState::Unconfirmed(_) => proto::ReceiptState::Unconfirmed,
        ReceiptState::Denied => proto::ReceiptState::Denied,
    }
}

fn to_proto(stored: &StoredReceipt, raw: bool) -> proto::Receipt {
    let receipt = &stored.receipt;
    let reason = match &stored.state {
        ReceiptState::Translated | ReceiptState::Denied => String::new(),
        ReceiptState::Unknown(reason)
        | ReceiptState::Unreadable(reason)
        | ReceiptState::Fetching(reason)
        | ReceiptState::FetchFailed(reason)
        | ReceiptState::Unconfirmed(reason) => reason.clone(),
    };
    proto::Receipt {
        name: stored.number.to_string(),
        endpoint: receipt.endpoint().to_string(),
        received_at: Some(convert::timestamp(receipt.received_at())),
        state: state(&stored.state).into(),
        reason,
        digest: hex::encode(receipt.digest()),
        verified_by: receipt.verified_by().to_owned(),
        events: stored.sequences.iter().map(|one| convert::event_name(*one)).collect(),
        duplicates: i32::try_from(stored.duplicates).unwrap_or(i32::MAX),
        body_bytes: i64::try_from(receipt.body().len()).unwrap_or(i64::MAX),
        raw: raw.then(|| proto::RawRequest {
            method: receipt.method().to_owned(),
            path: receipt.path().to_owned(),
            headers: receipt
                .headers()
                .iter()
                .map(|(name, value)| proto::Header { name: name.clone(), value: value.clone() })
                .collect(),
            body: receipt.body().clone(),
        }),
    }
}
