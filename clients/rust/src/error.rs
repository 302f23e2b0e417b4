//! What can go wrong, as callers act on it. In goes a `tonic::Status` with its details (reason, field
//! violations, retry time), out comes an [`Error`]. It also knows which statuses are worth another try. It
//! must never contain a token or key.

use std::{fmt, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The domain of the gateway's reasons.
const DOMAIN: &str = "tollgate.dev";
/// The reason of a status that refuses a position of another epoch.
const LOG_EPOCH_CHANGED: &str = "LOG_EPOCH_CHANGED";

/// Why a call failed or a stream ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The gateway's address is not an `http` or `https` URI.
    #[error("invalid gateway address `{0}`")]
    InvalidAddress(String),
    /// The token has characters that a header cannot carry.
    #[error("the token has characters that a header cannot carry")]
    InvalidToken,
    /// An `https` address without a certificate authority to check the gateway's certificate against.
    #[error("an https address needs a certificate authority")]
    NoCertificateAuthority,
    /// The connection could not be made or configured.
    #[error("cannot connect to the gateway")]
    Connect(#[source] tonic::transport::Error),
    /// The token is missing, unknown, expired or revoked.
    #[error("unauthenticated: {message}")]
    Unauthenticated {
        /// The gateway's words.
        message: String,
    },
    /// The token does not allow this.
    #[error("permission denied: {message}")]
    PermissionDenied {
        /// The gateway's words.
        message: String,
    },
    /// There is no such thing.
    #[error("not found: {message}")]
    NotFound {
        /// The gateway's words.
        message: String,
    },
    /// The request is wrong.
    #[error("invalid argument: {message}{}", List(.violations))]
    InvalidArgument {
        /// The gateway's words.
        message: String,
        /// What is wrong with which field.
        violations: Vec<FieldViolation>,
    },
    /// The gateway's log was restored and is another one than the position belongs to. Begin again from a
    /// position that you know to be right.
    #[error("the log's epoch changed, the position belongs to another log")]
    LogEpochChanged {
        /// The epoch of the log as it is now, where the gateway told it.
        current: Option<String>,
    },
    /// The stream that the delivery came on has ended before the gateway answered. The event comes again,
    /// unless what was said about it arrived just before.
    #[error("disconnected before the gateway answered")]
    Disconnected,
    /// Any other answer of the gateway.
    #[error("{code:?}: {message}")]
    Gateway {
        /// The gRPC code.
        code: Code,
        /// The gateway's stable reason, where it gave one.
        reason: Option<String>,
        /// The gateway's words.
        message: String,
        /// When the gateway asks to try again.
        retry_after: Option<Duration>,
    },
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field, for example `filter.currencies[0]`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
        if let Some(info) = info.as_ref().filter(|info| info.reason == LOG_EPOCH_CHANGED) {
            return Self::LogEpochChanged { current: info.metadata.get("log_epoch").cloned() };
        }
        match status.code() {
            Code::Unauthenticated => Self::Unauthenticated { message },
            Code::PermissionDenied => Self::PermissionDenied { message },
            Code::NotFound => Self::NotFound { message },
            Code::InvalidArgument => {
                Self::InvalidArgument { message, violations: violations(&status) }
            }
            code => Self::Gateway {
                code,
                reason: info.map(|info| info.reason),
                message,
                retry_after: retry_after(&status),
            },
        }
    }
}

/// Whether the same call may succeed later.
pub(crate) fn is_transient(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable
        | Code::Aborted
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Internal
        | Code::Unknown => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

/// How long the gateway asks to wait.
pub(crate) fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

/// The words of a status and of what caused it, for logs: a transport error hides why in its sources.
pub(crate) fn describe(status: &Status) -> String {
    let mut words = format!("{:?}: {}", status.code(), status.message());
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        words.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    words
}

fn violations(status: &Status) -> Vec<FieldViolation> {
    let request = status.get_details_bad_request();
    let fields = request.map(|request| request.field_violations).unwrap_or_default();
    fields
        .into_iter()
        .map(|of| FieldViolation { field: of.field, description: of.description })
        .collect()
}

struct List<'a>(&'a [FieldViolation]);

impl fmt::Display for List<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, violation) in self.0.iter().enumerate() {
            let separator = if number == 0 { " (" } else { ", " };
            write!(formatter, "{separator}{}: {}", violation.field, violation.description)?;
        }
        if self.0.is_empty() { Ok(()) } else { formatter.write_str(")") }
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn status(code: Code, details: ErrorDetails) -> Status {
        Status::with_error_details(code, "words", details)
    }

    #[test]
    fn field_violations_are_kept_and_shown() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("filter.currencies[0]", "unknown currency `XTS`");
        let error = Error::from(status(Code::InvalidArgument, details));
        assert_eq!(
            error.to_string(),
            "invalid argument: words (filter.currencies[0]: unknown currency `XTS`)"
        );
    }

    #[test]
    fn a_changed_epoch_is_told_by_its_reason_not_by_its_code() {
        let mut details = ErrorDetails::new();
        let metadata = [("log_epoch".to_owned(), "e2".to_owned())];
        details.set_error_info(LOG_EPOCH_CHANGED, DOMAIN, metadata);
        let error = Error::from(status(Code::FailedPrecondition, details));
        assert!(matches!(error, Error::LogEpochChanged { current: Some(epoch) } if epoch == "e2"));
    }

    #[test]
    fn reasons_of_other_domains_are_not_ours() {
        let details = ErrorDetails::with_error_info(
            LOG_EPOCH_CHANGED,
            "example.com",
            [] as [(String, String); 0],
        );
        let error = Error::from(status(Code::FailedPrecondition, details));
        assert!(matches!(error, Error::Gateway { code: Code::FailedPrecondition, .. }));
    }

    #[test]
    fn the_time_to_retry_is_read() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(7)));
        let status = status(Code::Unavailable, details);
        assert!(is_transient(&status));
        assert_eq!(retry_after(&status), Some(Duration::from_secs(7)));
    }

    #[test]
    fn what_no_retry_can_mend_is_permanent() {
        for code in [
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::NotFound,
            Code::InvalidArgument,
            Code::FailedPrecondition,
        ] {
            assert!(!is_transient(&Status::new(code, "")), "{code:?}");
        }
    }
}
