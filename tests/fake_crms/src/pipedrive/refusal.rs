//! How the double refuses: in the form of the API v2 with a code, in the older form without one, and when the
//! plan is full. In comes the reason, out goes the vendor's answer. What is not known of the vendor is the
//! wording, so nobody may depend on it.

use serde_json::json;

use crate::Reply;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The request is not as it should be.
    Invalid(String),
    /// Anything else, with its status.
    Failed(u16, String),
    /// The plan allows no more deals.
    Full,
}

/// The request is not as it should be.
pub(super) fn invalid(reason: impl Into<String>) -> Refused {
    Refused::Invalid(reason.into())
}

/// A refusal with this status.
pub(super) fn failed(status: u16, reason: impl Into<String>) -> Refused {
    Refused::Failed(status, reason.into())
}

impl Refused {
    /// As it is answered.
    pub fn reply(&self) -> Reply {
        match self {
            Refused::Invalid(reason) => Reply::json(
                400,
                &json!({
                    "success": false,
                    "error": format!("Validation failed: {reason}"),
                    "code": "ERR_SCHEMA_VALIDATION_FAILED",
                }),
            ),
            Refused::Failed(status, reason) => Reply::json(
                *status,
                &json!({
                    "success": false,
                    "error": reason,
                    "error_info": "Please check developers.pipedrive.com for more information.",
                    "data": null,
                    "additional_data": null,
                }),
            ),
            Refused::Full => Reply::json(
                403,
                &json!({
                    "success": false,
                    "error": "The limit of open deals of your plan is reached",
                    "code": "feature_capping_deals_limit",
                    "data": null,
                }),
            ),
        }
    }
}
