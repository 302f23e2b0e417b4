//! The only map from errors to `tonic::Status`. Each has a stable reason (domain `tollgate.dev`), field
//! violations where an argument is at fault, and a time to retry after where waiting helps. Causes are
//! logged here, once, and never sent out.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{delivery, ingest, store};

/// The domain of all reasons.
pub const DOMAIN: &str = "tollgate.dev";
/// When to try again after a passing failure.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A status with a reason.
pub fn with_reason(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// INVALID_ARGUMENT for one field.
pub fn invalid(field: &str, description: impl Into<String>) -> Status {
    let description = description.into();
    let mut details = ErrorDetails::with_bad_request_violation(field, description.clone());
    details.set_error_info("INVALID_FIELD", DOMAIN, HashMap::new());
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {description}"), details)
}

/// NOT_FOUND for a resource.
pub fn not_found(kind: &str, name: &str) -> Status {
    let reason = format!("{}_NOT_FOUND", kind.to_uppercase());
    let mut details = ErrorDetails::with_resource_info(kind, name, "", "");
    details.set_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(Code::NotFound, format!("{kind} `{name}` does not exist"), details)
}

/// UNAVAILABLE, to be tried again.
pub fn unavailable(reason: &str, message: impl Into<String>) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::Unavailable, message, details)
}

/// A position of another epoch of the log.
pub fn epoch_changed() -> Status {
    with_reason(
        Code::FailedPrecondition,
        "LOG_EPOCH_CHANGED",
        "the log was restored since this position was given; start again from a position of the new epoch",
    )
}

/// What a failed delivery call is on the wire.
pub fn from_delivery(error: delivery::Error) -> Status {
    match error {
        delivery::Error::NotFound(name) => not_found("subscription", &name),
        delivery::Error::Exists(name) => with_reason(
            Code::AlreadyExists,
            "SUBSCRIPTION_EXISTS",
            format!("subscription `{name}` exists already"),
        ),
        error @ delivery::Error::TooMany => {
            with_reason(Code::ResourceExhausted, "TOO_MANY_SUBSCRIPTIONS", error.to_string())
        }
        error @ delivery::Error::AfterHead { .. } => {
            with_reason(Code::OutOfRange, "POSITION_AFTER_HEAD", error.to_string())
        }
        error @ delivery::Error::Unavailable => {
            unavailable("SUBSCRIPTION_UNAVAILABLE", error.to_string())
        }
        delivery::Error::Commit(error) => from_ingest(error),
        delivery::Error::Store(error) => from_store(error),
    }
}

/// What a failed commit is on the wire.
pub fn from_ingest(error: ingest::Error) -> Status {
    match error {
        ingest::Error::Full => unavailable("STORE_FULL", "the disk is full; nothing was changed"),
        ingest::Error::Stopped => {
            unavailable("STORE_STOPPED", "the store's writer is stopped; nothing was changed")
        }
        error @ (ingest::Error::TooManyUnconfirmed | ingest::Error::Unconfirmable) => {
            unavailable("NOT_CONFIRMED", error.to_string())
        }
        ingest::Error::Busy => unavailable("STORE_BUSY", "the store is busy; nothing was changed"),
        ingest::Error::Failed(cause) => internal(&cause),
        ingest::Error::UnknownReceipt(number) => not_found("receipt", &number.to_string()),
        ingest::Error::UnknownEndpoint(name) => with_reason(
            Code::FailedPrecondition,
            "ENDPOINT_NOT_CONFIGURED",
            format!("endpoint `{name}` is not configured"),
        ),
    }
}

/// What a failed read or write of the store is on the wire.
pub fn from_store(error: store::Error) -> Status {
    match error {
        store::Error::Full => from_ingest(ingest::Error::Full),
        store::Error::Stopped => from_ingest(ingest::Error::Stopped),
        store::Error::NotFound(name) => not_found("resource", &name),
        store::Error::Exists(name) => {
            with_reason(Code::AlreadyExists, "EXISTS", format!("{name} exists already"))
        }
        error @ (store::Error::Locked(_)
        | store::Error::Damaged(_)
        | store::Error::Engine(_)
        | store::Error::Migrate(_)) => internal(&error.to_string()),
    }
}

fn internal(cause: &str) -> Status {
    tracing::error!(cause, "a call failed inside the gateway");
    with_reason(Code::Internal, "INTERNAL", "the gateway failed; its log has the cause")
}
