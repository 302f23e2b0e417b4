//! From when a webhook is due to when its delivery is received, open loop, with one subscription and with
//! 16 at once, each acknowledging as it goes. Each subscription must get every event once.

use std::ops::Range;
use std::sync::Arc;

use futures::future::try_join_all;
use hdrhistogram::Histogram;
use tollgate_client::proto::Delivery;

use crate::consumer::{Goal, Verdict, consume};
use crate::gateway::{Gateway, Start};
use crate::latency::Percentiles;
use crate::load::{self, histogram, nanoseconds};
use crate::pacer::Schedule;
use crate::run::{Run, phase};
use crate::sample::{Webhooks, number_of};
use crate::seen::Seen;
use crate::yardstick::disk;

/// Posts a second and subscriptions.
const CASES: [(u32, usize); 4] = [(500, 1), (500, 16), (2_000, 1), (2_000, 16)];

/// Measures.
pub async fn measure(run: &mut Run) -> anyhow::Result<()> {
    let gateway = run.gateway().await?;
    let mut results: Vec<[Percentiles; 2]> = CASES.iter().map(|_| Default::default()).collect();
    for round in 1..=run.rounds {
        let name = |what: &str| format!("delivery, round {round}: {what}");
        let mut before = disk::latency(run, name("fdatasync")).await?;
        for ((rate, subscriptions), [ours, disk]) in CASES.into_iter().zip(&mut results) {
            let what = name(&format!("{rate}/s to {subscriptions}"));
            let (latency, checked) = case(run, &gateway, rate, subscriptions, &what).await?;
            let after = disk::latency(run, name("fdatasync")).await?;
            ours.add(&latency);
            before.add(&after)?;
            disk.add(&before);
            before = after;
            run.check(&what, checked);
        }
    }
    for ((rate, subscriptions), [ours, disk]) in CASES.into_iter().zip(&results) {
        let measure = format!("webhook due → delivery, {rate}/s, {subscriptions} subscriptions");
        ours.rows(run, &measure, disk, [8.0, 50.0]);
    }
    Ok(())
}

async fn case(
    run: &Run,
    gateway: &Gateway,
    rate: u32,
    subscriptions: usize,
    what: &str,
) -> anyhow::Result<(Histogram<u64>, anyhow::Result<()>)> {
    let count = u64::from(rate) * run.sizes.window.as_secs();
    let numbers = gateway.take_numbers(count);
    let names: Vec<String> = (0..subscriptions).map(|at| format!("live-{at}")).collect();
    for name in &names {
        gateway.create(name, Start::Latest, false).await?;
    }
    let webhooks = Webhooks::sign(numbers.clone(), None);
    let schedule = Schedule::new(numbers.clone(), rate);
    let bar = phase(what.to_owned(), count);
    let mut watchers: Vec<Watcher> = names.iter().map(|_| Watcher::new(&numbers)).collect();
    let consumers = names.iter().zip(&mut watchers).map(|(name, watcher)| {
        let (goal, schedule) = (watcher.goal.clone(), schedule.clone());
        consume(gateway, name.clone(), goal, move |delivery| watcher.take(delivery, &schedule))
    });
    let (load, _) = tokio::try_join!(
        load::open(gateway.http, webhooks, schedule.clone(), &bar),
        try_join_all(consumers)
    )?;
    bar.finish_and_clear();
    gateway.all_accepted(&load)?;
    for name in &names {
        gateway.delete(name).await?;
    }
    let mut latency = histogram();
    for watcher in &watchers {
        latency.add(&watcher.latency)?;
    }
    let complete = |one: &Watcher| one.seen.complete().and_then(|()| one.goal.complete());
    Ok((latency, watchers.iter().try_for_each(complete)))
}

/// What one subscription received.
struct Watcher {
    goal: Arc<Goal>,
    seen: Seen,
    latency: Histogram<u64>,
}

impl Watcher {
    fn new(numbers: &Range<u64>) -> Watcher {
        Watcher {
            goal: Goal::acks(numbers.end - numbers.start),
            seen: Seen::none_of(numbers.clone()),
            latency: histogram(),
        }
    }

    fn take(&mut self, delivery: &Delivery, schedule: &Schedule) -> Verdict {
        let event = delivery.event.as_ref();
        let number = event.and_then(|event| number_of(&event.provider_event_id));
        if let Some(number) = number.filter(|_| self.seen.mark(number)) {
            self.latency.saturating_record(nanoseconds(schedule.due(number).elapsed()));
        }
        Verdict::Ack
    }
}
