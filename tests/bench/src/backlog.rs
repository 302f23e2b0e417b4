//! Working off a backlog: deliveries with durable acks by one consumer, by the SDK's `Subscription`, by
//! eight that compete and by 16 subscriptions at once; and `WatchEvents` over the whole log. Beside them
//! stands a tonic stream of the same bytes from memory. Each event must come once and its ack be applied.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use futures::StreamExt;
use futures::future::try_join_all;
use tollgate_client::proto::{
    Delivery, StartPosition, SubscribeResponse, WatchEventsRequest, start_position,
    subscribe_response, watch_events_response,
};

use crate::consumer::{Goal, Verdict, consume};
use crate::gateway::{Gateway, Start};
use crate::run::{Run, phase};
use crate::seen::Seen;
use crate::table::{Aim, Row};
use crate::yardstick::{Yardstick, stream};

/// Consumers that compete.
const COMPETING: usize = 8;
/// Subscriptions at once.
const SUBSCRIPTIONS: usize = 16;
/// How many deliveries are kept for the yardstick, which sends them over and over.
const KEPT: usize = 20_000;

/// A log that was filled: its sequences.
pub type Log = Range<u64>;

/// Fills a gateway's log.
pub async fn fill(run: &Run) -> anyhow::Result<(Gateway, Log)> {
    let gateway = run.gateway().await?;
    let count = run.sizes.catch_up_events;
    gateway.fill(count, None, format!("filling the log with {count} events")).await?;
    let head = u64::try_from(gateway.stats().await?.head)?;
    anyhow::ensure!(head == count, "the log has {head} events after {count} were accepted");
    Ok((gateway, 1..head + 1))
}

/// The ways to work off a backlog.
#[derive(Clone, Copy)]
enum Way {
    One,
    Sdk,
    Competing,
    Subscriptions,
}

const WAYS: [Way; 4] = [Way::One, Way::Sdk, Way::Competing, Way::Subscriptions];

/// What the rounds of one way gave.
#[derive(Default)]
struct Figures {
    per_second: Vec<f64>,
    per_core: Vec<f64>,
}

/// Measures.
pub async fn measure(run: &mut Run, gateway: &Gateway, log: Log) -> anyhow::Result<()> {
    let backlog = log.end - run.sizes.events..log.end;
    let mut figures: [Figures; 4] = Default::default();
    let (mut from_memory, mut watched) = (vec![], Figures::default());
    let directory = run.temporary_directory()?;
    let messages = directory.path().join("messages");
    keep(gateway, &backlog, &messages).await?;
    let messages = messages.to_str().context("the directory's name is no text")?;
    for round in 1..=run.rounds {
        let count = run.sizes.events;
        let bar = phase(format!("backlog, round {round}: a stream from memory"), 1);
        let arguments = ["stream", "--messages", messages, "--count", &count.to_string()];
        let server = Yardstick::start(&arguments).await?;
        from_memory.push(stream::read(&server, count).await?);
        drop(server);
        bar.finish_and_clear();
        for (way, figures) in WAYS.into_iter().zip(&mut figures) {
            let what = format!("backlog, round {round}: {}", way.name());
            let bar = phase(what.clone(), 1);
            let cpu = gateway.cpu_seconds()?;
            let (checked, seconds) = work_off(gateway, &backlog, way, round).await?;
            bar.finish_and_clear();
            run.check(&what, checked);
            let deliveries = (count * way.subscriptions() as u64) as f64;
            figures.per_second.push(deliveries / seconds);
            figures.per_core.push(deliveries / (gateway.cpu_seconds()? - cpu));
        }
        let what = format!("backlog, round {round}: WatchEvents");
        let bar = phase(what.clone(), 1);
        let cpu = gateway.cpu_seconds()?;
        let (checked, seconds) = watch(gateway, &log).await?;
        bar.finish_and_clear();
        run.check(&what, checked);
        let events = (log.end - log.start) as f64;
        watched.per_second.push(events / seconds);
        watched.per_core.push(events / (gateway.cpu_seconds()? - cpu));
    }
    report(run, &figures, &from_memory, &watched);
    Ok(())
}

fn report(run: &mut Run, figures: &[Figures; 4], from_memory: &[f64], watched: &Figures) {
    let per_core = |name: &str, figures: &Figures| {
        let name = format!("{name}, a core of the gateway");
        Row::new(name, "events/s").figures(&figures.per_core)
    };
    let events = run.sizes.events;
    for (way, figures) in WAYS.into_iter().zip(figures) {
        let name = format!("backlog of {events}, durable acks, {}", way.name());
        let row = Row::new(name.as_str(), "events/s").figures(&figures.per_second);
        if let Way::One = way {
            run.table.add(row.aim(Aim::AtLeast(50_000.0)));
            let row = Row::new(name.as_str(), "events/s").figures(&figures.per_second);
            let row = row.beside("tonic from memory", from_memory);
            run.table.add(row.aim(Aim::RatioAtLeast(0.15)));
        } else {
            run.table.add(row.beside("tonic from memory", from_memory));
        }
        run.table.add(per_core(&name, figures));
    }
    let name = format!("WatchEvents over {} events", run.sizes.catch_up_events);
    let row = Row::new(name.as_str(), "events/s").figures(&watched.per_second);
    run.table.add(row.aim(Aim::AtLeast(150_000.0)));
    run.table.add(per_core(&name, watched));
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::One => "one `Consume` (raw client)",
            Way::Sdk => "one `Subscription` (SDK, `ack_later`)",
            Way::Competing => "8 competing `Consume`",
            Way::Subscriptions => "16 subscriptions at once, summed",
        }
    }

    fn subscriptions(self) -> usize {
        match self {
            Way::One | Way::Sdk | Way::Competing => 1,
            Way::Subscriptions => SUBSCRIPTIONS,
        }
    }

    fn consumers(self) -> usize {
        match self {
            Way::One | Way::Sdk | Way::Subscriptions => 1,
            Way::Competing => COMPETING,
        }
    }
}

/// Works off a backlog and tells how many seconds that took, until the last ack was durable.
async fn work_off(
    gateway: &Gateway,
    backlog: &Log,
    way: Way,
    round: usize,
) -> anyhow::Result<(anyhow::Result<()>, f64)> {
    let start = Start::After(i64::try_from(backlog.start - 1)?);
    let mut subscriptions = Vec::new();
    for at in 0..way.subscriptions() {
        let name = format!("backlog-{round}-{}-{at}", way as u8);
        gateway.create(&name, start, true).await?;
        let goal = Goal::acks(backlog.end - backlog.start);
        subscriptions.push((name, goal, Seen::none_of(backlog.clone())));
    }
    let begun = Instant::now();
    let ended = match way {
        Way::Sdk => {
            let (name, goal, seen) = &subscriptions[0];
            sdk(gateway, name, goal, seen).await?
        }
        Way::One | Way::Competing | Way::Subscriptions => {
            let consumers = subscriptions.iter().flat_map(|(name, goal, seen)| {
                (0..way.consumers()).map(move |_| {
                    consume(gateway, name.clone(), goal.clone(), |delivery: &Delivery| {
                        seen.mark(sequence(delivery));
                        Verdict::Ack
                    })
                })
            });
            try_join_all(consumers).await?;
            Instant::now()
        }
    };
    let seconds = (ended - begun).as_secs_f64();
    for (name, ..) in &subscriptions {
        gateway.delete(name).await?;
    }
    let complete = |(_, goal, seen): &(String, Arc<Goal>, Seen)| {
        seen.complete().and_then(|()| goal.complete())
    };
    Ok((subscriptions.iter().try_for_each(complete), seconds))
}

/// Works off a subscription by the SDK, and tells when all was acknowledged: when the gateway's position
/// is at the end.
async fn sdk(gateway: &Gateway, name: &str, goal: &Goal, seen: &Seen) -> anyhow::Result<Instant> {
    let client = gateway.client().await?;
    let mut subscription = client.subscription(name).open();
    let range = seen.range();
    let mut left = range.end - range.start;
    while left > 0 {
        let delivery = subscription.next().await.context("the subscription ended")??;
        seen.mark(u64::try_from(delivery.event().sequence).ok());
        delivery.ack_later();
        left -= 1;
    }
    // Ends once all acks are answered.
    subscription.close().await;
    let ended = Instant::now();
    let request = tollgate_client::proto::GetSubscriptionRequest { subscription: name.to_owned() };
    let answer = client.subscriptions().get_subscription(request).await?.into_inner();
    let position = answer.subscription.map_or(0, |subscription| subscription.position);
    if u64::try_from(position)? + 1 == range.end {
        goal.applied(range.end - range.start);
    }
    Ok(ended)
}

/// Watches a whole log and tells how many seconds that took.
async fn watch(gateway: &Gateway, log: &Log) -> anyhow::Result<(anyhow::Result<()>, f64)> {
    let seen = Seen::none_of(log.clone());
    let client = gateway.client().await?;
    let begun = Instant::now();
    let at = Some(start_position::At::Earliest(true));
    let start = Some(StartPosition { at, ..Default::default() });
    let request = WatchEventsRequest { start, ..Default::default() };
    let mut stream = client.events().watch_events(request).await?.into_inner();
    let mut left = log.end - log.start;
    while left > 0 {
        let response = stream.message().await?.context("the stream ended")?;
        if let Some(watch_events_response::Message::Event(event)) = response.message {
            seen.mark(u64::try_from(event.sequence).ok());
            left -= 1;
        }
    }
    Ok((seen.complete(), begun.elapsed().as_secs_f64()))
}

/// Keeps deliveries of a backlog as they came, for the yardstick.
async fn keep(gateway: &Gateway, backlog: &Log, file: &std::path::Path) -> anyhow::Result<()> {
    const NAME: &str = "kept";
    let count = usize::try_from(backlog.end - backlog.start)?.min(KEPT);
    gateway.create(NAME, Start::After(i64::try_from(backlog.start - 1)?), true).await?;
    let mut kept = Vec::with_capacity(count);
    let goal = Goal::acks(count as u64);
    consume(gateway, NAME.to_owned(), goal, |delivery| {
        if kept.len() < count {
            let message = Some(subscribe_response::Message::Delivery(delivery.clone()));
            kept.push(SubscribeResponse { message });
        }
        Verdict::Ack
    })
    .await?;
    gateway.delete(NAME).await?;
    stream::keep(file, &kept)
}

fn sequence(delivery: &Delivery) -> Option<u64> {
    u64::try_from(delivery.event.as_ref()?.sequence).ok()
}
