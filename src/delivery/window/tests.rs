//! The rules one by one, and (`model`) a random walk beside a plain model of them.

mod model;

use std::time::Duration;

use jiff::Timestamp;

use super::*;

/// A moment by both clocks, which agree in tests.
fn at(monotonic: Duration) -> Now {
    let wall = Timestamp::UNIX_EPOCH.checked_add(Duration::from_secs(1_700_000_000) + monotonic);
    Now { monotonic, wall: wall.expect("within the range") }
}

fn settings() -> Settings {
    Settings {
        ack_deadline: Duration::from_secs(30),
        max_outstanding: 1_000,
        max_outstanding_bytes: 4 << 20,
        max_attempts: Some(20),
        min_backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(600),
        ordered: true,
    }
}
