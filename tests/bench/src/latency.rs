//! From when a webhook is due to its 2xx, open loop at 2,000 a second. The disk is measured right before
//! and right after, since nothing that is durable can be faster than its fdatasync.

use hdrhistogram::Histogram;

use crate::gateway::Start;
use crate::ingest::drain;
use crate::load;
use crate::pacer::Schedule;
use crate::run::{Run, phase};
use crate::sample::Webhooks;
use crate::table::{Aim, Row};
use crate::yardstick::disk;

/// Posts a second.
const RATE: u32 = 2_000;
/// The subscription that sees whether all was delivered.
const CHECK: &str = "check";

/// Measures.
pub async fn measure(run: &mut Run) -> anyhow::Result<()> {
    let gateway = run.gateway().await?;
    gateway.create(CHECK, Start::Earliest, true).await?;
    let mut ours = Percentiles::default();
    let mut disk = Percentiles::default();
    for round in 1..=run.rounds {
        let name = |what: &str| format!("latency, round {round}: {what}");
        let mut synced = disk::latency(run, name("fdatasync, before")).await?;
        let count = u64::from(RATE) * run.sizes.window.as_secs();
        let webhooks = Webhooks::sign(gateway.take_numbers(count), None);
        let schedule = Schedule::new(webhooks.numbers(), RATE);
        let bar = phase(name(&format!("{RATE}/s")), count);
        let load = load::open(gateway.http, webhooks, schedule, &bar).await?;
        bar.finish_and_clear();
        gateway.all_accepted(&load)?;
        synced.add(disk::latency(run, name("fdatasync, after")).await?)?;
        ours.add(&load.latency);
        disk.add(&synced);
        let bar = phase(name("are all delivered?"), count);
        let checked = drain(&gateway, CHECK, &load.accepted, &bar).await?;
        bar.finish_and_clear();
        run.check(&format!("latency, round {round}"), checked);
    }
    ours.rows(run, &format!("webhook due → 2xx, {RATE}/s"), &disk, [6.0, 40.0]);
    Ok(())
}

/// The median and the 99th percentile of each round, in microseconds.
#[derive(Default)]
pub struct Percentiles {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Percentiles {
    /// Takes those of a round.
    pub fn add(&mut self, latency: &Histogram<u64>) {
        self.p50.push(latency.value_at_quantile(0.5) as f64 / 1e3);
        self.p99.push(latency.value_at_quantile(0.99) as f64 / 1e3);
    }

    /// Adds both rows, beside the disk's.
    pub fn rows(&self, run: &mut Run, measure: &str, disk: &Percentiles, [p50, p99]: [f64; 2]) {
        let row = |of: &str, ours: &[f64], disk: &[f64], most| {
            let row = Row::new(format!("{measure}, {of}"), "µs").figures(ours);
            row.beside("fdatasync", disk).aim(Aim::RatioAtMost(most))
        };
        run.table.add(row("p50", &self.p50, &disk.p50, p50));
        run.table.add(row("p99", &self.p99, &disk.p99, p99));
    }
}
