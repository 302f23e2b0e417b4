//! `[fetch]`: the bounds of what providers' APIs are asked for. In comes the reader; out comes a table whose
//! values are all within bounds, with the default standing in for a wrong one.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::Reader;

/// `[fetch]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// How many calls are in flight.
    pub max_in_flight: usize,
    /// How many calls a second one endpoint makes.
    pub max_per_second: NonZeroU32,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a call may take as a whole.
    pub timeout: Duration,
    /// The largest answer.
    pub max_response_bytes: usize,
    /// How long after a first failure the next try is.
    pub min_backoff: Duration,
    /// How long between two tries, at most.
    pub max_backoff: Duration,
    /// How many tries a receipt has.
    pub max_attempts: u32,
    /// How many receipts of one endpoint may wait to be confirmed.
    pub max_unconfirmed: u64,
    /// How many such receipts a second one endpoint takes.
    pub max_unconfirmed_per_second: NonZeroU32,
    /// After so long a receipt that nothing confirmed is denied.
    pub unconfirmed_max_age: Duration,
    /// How soon after its start an endpoint is polled first, at most.
    pub first_poll: Duration,
}

/// Reads the table; mistakes go to the reader.
pub fn read(reader: &mut Reader<'_>) -> Fetch {
    const DAY_SECONDS: u32 = 24 * 60 * 60;
    let fetch = Fetch {
        max_in_flight: reader.size("fetch.max_in_flight", 32, 1..=10_000),
        max_per_second: rate(reader, "fetch.max_per_second", 20, 1..=10_000),
        connect_timeout: reader.seconds("fetch.connect_timeout_seconds", 5, 1..=60),
        timeout: reader.seconds("fetch.timeout_seconds", 30, 1..=600),
        max_response_bytes: reader.size(
            "fetch.max_response_bytes",
            8 * 1024 * 1024,
            1024..=64 * 1024 * 1024,
        ),
        min_backoff: Duration::from_millis(
            reader.number("fetch.min_backoff_ms", 1000, 10..=600_000).into(),
        ),
        max_backoff: reader.seconds("fetch.max_backoff_seconds", 3600, 1..=DAY_SECONDS),
        max_attempts: reader.number("fetch.max_attempts", 30, 1..=1000),
        max_unconfirmed: reader.number("fetch.max_unconfirmed", 10_000, 1..=1_000_000).into(),
        max_unconfirmed_per_second: rate(
            reader,
            "fetch.max_unconfirmed_per_second",
            50,
            1..=10_000,
        ),
        unconfirmed_max_age: reader.seconds(
            "fetch.unconfirmed_max_age_seconds",
            DAY_SECONDS,
            60..=30 * DAY_SECONDS,
        ),
        first_poll: reader.seconds("fetch.first_poll_seconds", 10, 1..=DAY_SECONDS),
    };
    if fetch.min_backoff > fetch.max_backoff {
        let reason = "is longer than `fetch.max_backoff_seconds`".to_owned();
        reader.refuse("fetch.min_backoff_ms", reason);
    }
    fetch
}

/// A number that is not zero.
fn rate(
    reader: &mut Reader<'_>,
    key: &'static str,
    default: u32,
    bounds: RangeInclusive<u32>,
) -> NonZeroU32 {
    NonZeroU32::new(reader.number(key, default, bounds)).unwrap_or(NonZeroU32::MIN)
}
