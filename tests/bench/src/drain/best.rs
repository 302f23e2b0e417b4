//! The least time in which a CRM's limits let a backlog be drained: as many calls as the work needs with
//! the CRM's largest batches, each record's events one after the other, at once as many calls as a connector
//! makes by default, each as long as a call takes; or, if that is longer, the time in which the points that
//! the work costs come free. Arithmetic on the vendors' numbers alone, the same that the doubles enforce.

use std::time::Duration;

/// How many calls a connector makes at once by default.
const CALLS_AT_ONCE: usize = 4;

/// What a CRM's limits make of work.
struct Limits {
    name: &'static str,
    /// Rows that one call writes.
    rows_per_call: usize,
    /// Records that one call looks up. Each record is looked up once: every mapping of the doubles has fields
    /// that only new records get.
    look_ups_per_call: usize,
    /// Points for looking one record up.
    points_per_look_up: u64,
    /// Points for creating one record.
    points_per_create: u64,
    /// Points for writing one record.
    points_per_write: u64,
    /// Points in any span of this length.
    points: u64,
    span: Duration,
}

#[rustfmt::skip]
const LIMITS: &[Limits] = &[
    // 6,000 requests in 5 minutes, each part of a batch being one; batches of about ten.
    Limits { name: "dynamics", rows_per_call: 10, look_ups_per_call: 10, points_per_look_up: 1, points_per_create: 1, points_per_write: 1, points: 6_000, span: Duration::from_secs(300) },
    // 190 calls in 10 s, a hundred rows each: hundredths of a call.
    Limits { name: "hubspot", rows_per_call: 100, look_ups_per_call: 100, points_per_look_up: 1, points_per_create: 1, points_per_write: 1, points: 19_000, span: Duration::from_secs(10) },
    // 5,000,000 points of complexity a minute: a mutation is priced at 10,010 here, a look-up at 1,030.
    Limits { name: "monday", rows_per_call: 20, look_ups_per_call: 25, points_per_look_up: 1_030, points_per_create: 10_010, points_per_write: 10_010, points: 5_000_000, span: Duration::from_secs(60) },
    // 80 points in 2 s: a search costs 20, a write 5; nothing goes in batches.
    Limits { name: "pipedrive", rows_per_call: 1, look_ups_per_call: 1, points_per_look_up: 20, points_per_create: 5, points_per_write: 5, points: 80, span: Duration::from_secs(2) },
    // Calls a day alone, which this does not come near.
    Limits { name: "salesforce", rows_per_call: 200, look_ups_per_call: 200, points_per_look_up: 1, points_per_create: 1, points_per_write: 1, points: u64::MAX, span: Duration::from_secs(86_400) },
    // Credits a day alone.
    Limits { name: "zoho_crm", rows_per_call: 100, look_ups_per_call: 50, points_per_look_up: 1, points_per_create: 1, points_per_write: 1, points: u64::MAX, span: Duration::from_secs(86_400) },
];

/// The least time for so many events of each of so many records that are not there yet.
pub fn best(name: &str, records: usize, events: usize, latency: Duration) -> Duration {
    let Some(limits) = LIMITS.iter().find(|limits| limits.name == name) else {
        return Duration::ZERO;
    };
    let turns = |rows_per_call: usize| records.div_ceil(rows_per_call).div_ceil(CALLS_AT_ONCE);
    let turns = turns(limits.rows_per_call) * events + turns(limits.look_ups_per_call);
    let turns = u32::try_from(turns).unwrap_or(u32::MAX);
    let (records, writes) = (count(records), count(records * (events.max(1) - 1)));
    let points = records * (limits.points_per_look_up + limits.points_per_create)
        + writes * limits.points_per_write;
    let spans = u32::try_from((points.max(1) - 1) / limits.points).unwrap_or(u32::MAX);
    (latency * turns).max(limits.span * spans)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
