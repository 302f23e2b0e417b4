//! `CreatePaymentLink`: a link of the gateway's own that leads to a payment page and tells when it was
//! opened.

use tonic::{Code, Status};

use crate::grpc::status::{from_store, invalid, with_reason};
use crate::grpc::{Context, convert, proto};
use crate::ingest::links::{Order, Refusal};
use crate::model::Subject;
use crate::model::ids::IdError;

pub(super) async fn create(
    context: &Context,
    create: proto::CreatePaymentLinkRequest,
) -> Result<proto::CreatePaymentLinkResponse, Status> {
    let now = (context.delivery.shared().clock)();
    let subject = match create.subject.as_str() {
        "" => None,
        text => {
            let subject = text.parse::<Subject>();
            Some(subject.map_err(|error: IdError| invalid("subject", error.to_string()))?)
        }
    };
    let expires_at = create.expires_at.map(|time| convert::timestamp_back(Some(time))).transpose();
    let expires_at = expires_at.map_err(|error| invalid("expires_at", error.0))?;
    if expires_at.is_some_and(|at| at <= now) {
        return Err(invalid("expires_at", "is in the past"));
    }
    let order = Order {
        target_url: create.target_url,
        subject,
        references: convert::references_back(create.references.unwrap_or_default()),
        live: !create.test,
        expires_at,
    };
    let (url, link) = context.links.create(order, now).await.map_err(from_refusal)?;
    Ok(proto::CreatePaymentLinkResponse {
        url,
        subject: link.subject,
        expires_at: link.expires_at.map(convert::timestamp),
    })
}

fn from_refusal(refusal: Refusal) -> Status {
    match refusal {
        refusal @ Refusal::NotConfigured => {
            with_reason(Code::FailedPrecondition, "LINKS_NOT_CONFIGURED", refusal.to_string())
        }
        Refusal::Target(reason) => invalid("target_url", reason),
        Refusal::Subject(reason) => invalid("subject", reason),
        Refusal::Store(error) => from_store(error),
    }
}
