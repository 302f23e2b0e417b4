//! What a subscription is: its filter and its settings, as they are stored.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::filter::Filter;
pub use super::window::Settings;

/// The longest ack deadline and extension.
pub const MAX_ACK_DEADLINE: Duration = Duration::from_secs(3600);
/// The longest backoff and `retry_after`.
pub const MAX_BACKOFF: Duration = Duration::from_secs(24 * 3600);
/// The most deliveries that may be unacknowledged.
pub const MAX_OUTSTANDING: usize = 10_000;
/// The most bytes of events that may be unacknowledged.
pub const MAX_OUTSTANDING_BYTES: usize = 64 * 1024 * 1024;

/// What a subscription is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// What it receives.
    pub filter: Filter,
    /// How it is delivered.
    pub settings: Settings,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            ack_deadline: Duration::from_secs(30),
            max_outstanding: 1000,
            max_outstanding_bytes: 4 * 1024 * 1024,
            max_attempts: Some(20),
            min_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(600),
            ordered: true,
        }
    }
}

impl Spec {
    /// As it is stored.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a spec has string keys only")
    }

    /// Reads it back.
    pub fn from_text(text: &str) -> Result<Spec, serde_json::Error> {
        serde_json::from_str(text)
    }
}
