//! Memory of the gateway's process behind a backlog: with a subscriber that reads and never acknowledges,
//! and one that never reads, while webhooks keep coming. It must stay below a bound and not grow.

use std::time::Duration;

use futures::StreamExt;
use tollgate_client::proto::SubscribeRequest;

use crate::gateway::{Gateway, Start};
use crate::load;
use crate::pacer::Schedule;
use crate::run::{Run, phase};
use crate::sample::Webhooks;
use crate::table::{Aim, Row};

/// Posts a second meanwhile.
const RATE: u32 = 500;
/// How much more memory the second half of a window may have than the first.
const FLAT: f64 = 1.05;
const MAX_MB: f64 = 150.0;

/// Measures.
pub async fn measure(run: &mut Run, gateway: &Gateway) -> anyhow::Result<()> {
    let before = gateway.resident_mb()?;
    for name in ["never-acks", "never-reads"] {
        gateway.create(name, Start::Earliest, true).await?;
    }
    let (mut most, mut growth) = (vec![], vec![]);
    for round in 1..=run.rounds {
        let client = gateway.client().await?;
        let mut never_acks = client.subscription("never-acks").open();
        let reading = tokio::spawn(async move {
            // Kept, so that they are neither acknowledged nor given back.
            let mut kept = Vec::new();
            while let Some(Ok(delivery)) = never_acks.next().await {
                kept.push(delivery);
            }
        });
        let request =
            SubscribeRequest { subscription: "never-reads".to_owned(), ..Default::default() };
        let never_read = gateway.client().await?.subscriptions().subscribe(request).await?;
        let samples = sample(run, gateway, round).await?;
        reading.abort();
        drop(never_read);
        let (first, second) = samples.split_at(samples.len() / 2);
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        most.push(samples.iter().copied().fold(0.0, f64::max));
        growth.push(mean(second) / mean(first));
    }
    let events = run.sizes.catch_up_events;
    let table = &mut run.table;
    let row = Row::new(format!("memory after {events} events were taken in"), "MB");
    table.add(row.figures(&[before]).aim(Aim::AtMost(MAX_MB)));
    let name = "memory, one subscriber never acks and one never reads";
    table.add(Row::new(name, "MB").figures(&most).aim(Aim::AtMost(MAX_MB)));
    let row = Row::new(format!("{name}: second half of a window to its first"), "");
    table.add(row.figures(&growth).aim(Aim::AtMost(FLAT)));
    Ok(())
}

/// The resident memory, twice a second, while webhooks come.
async fn sample(run: &Run, gateway: &Gateway, round: usize) -> anyhow::Result<Vec<f64>> {
    const INTERVAL: Duration = Duration::from_millis(500);
    let count = u64::from(RATE) * run.sizes.window.as_secs();
    let webhooks = Webhooks::sign(gateway.take_numbers(count), None);
    let schedule = Schedule::new(webhooks.numbers(), RATE);
    let bar = phase(format!("memory, round {round}"), count);
    let load = load::open(gateway.http, webhooks, schedule, &bar);
    tokio::pin!(load);
    let mut samples = Vec::new();
    let load = loop {
        tokio::select! {
            load = &mut load => break load?,
            () = tokio::time::sleep(INTERVAL) => samples.push(gateway.resident_mb()?),
        }
    };
    bar.finish_and_clear();
    gateway.all_accepted(&load)?;
    Ok(samples)
}
