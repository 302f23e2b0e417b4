//! How long connectors take to drain a backlog into each CRM at its real rate limits, beside the best that
//! those limits allow. In comes nothing but numbers, out comes a table, and an error if a record is not as
//! the gateway says, if an attempt was spent on a limit, or if a call came before a wait was over.

mod best;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use fake_crms::lives;
use fake_crms::process::{Process, Site};
use fake_crms::{Double, Limits};
use futures::StreamExt;
use jiff::Timestamp;
use tollgate_client::Client;
use tollgate_client::proto::{GetSubscriptionRequest, Subscription};

/// How many webhooks are posted at once.
const POSTS: usize = 32;
/// The connectors tell of each delivery that they give back.
const LOG: &str = "info,tollgate_connectors::connector=debug";
/// How often the subscriptions are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// A drain that takes this much longer than the best is given up.
const PATIENCE: f64 = 4.0;
const LEAST_PATIENCE: Duration = Duration::from_secs(120);

/// What may be chosen.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Only these CRMs; all six, side by side, if none is named.
    #[arg(long, value_name = "CRM")]
    only: Vec<String>,
    /// How many records.
    #[arg(long, default_value_t = 1_000)]
    records: usize,
    /// How many events of each.
    #[arg(long, default_value_t = 10)]
    events_per_record: usize,
    /// How long the doubles take for each call.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 100)]
    latency_ms: u64,
}

/// A CRM that is drained into.
struct Target {
    name: &'static str,
    double: Box<dyn Double>,
    config: String,
    best: Duration,
}

/// What came of it.
struct Drained {
    took: Duration,
    calls: usize,
    refused: usize,
    spent_attempts: usize,
    early_calls: usize,
}

/// Drains.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let events = options.records * options.events_per_record;
    let site = Site::new("")?;
    let _gateway = site.start_gateway().await?;
    let client = Client::connect(site.grpc_url()).await?;
    eprintln!("posting {events} events of {} payments", options.records);
    post(&site, &options).await;
    let names = fake_crms::NAMES
        .iter()
        .filter(|name| options.only.is_empty() || options.only.iter().any(|only| only == *name));
    let mut drains = Vec::new();
    for name in names {
        let target = target(name, &site, &options).await?;
        eprintln!("{name}: {:.1} s at best", target.best.as_secs_f64());
        drains.push(drain(target, &site, &client, &options));
    }
    println!(
        "| CRM | took | best | ratio | calls | 429s | attempts spent on limits | calls before a wait ended |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut wrong = Vec::new();
    // Side by side: each waits for its CRM, not for the machine.
    let mut drains: futures::stream::FuturesUnordered<_> = drains.into_iter().collect();
    while let Some((name, best, drained)) = drains.next().await {
        match drained {
            Ok(drained) => {
                let (took, best) = (drained.took.as_secs_f64(), best.as_secs_f64());
                let Drained { calls, refused, spent_attempts, early_calls, .. } = drained;
                println!(
                    "| {name} | {took:.1} s | {best:.1} s | {:.2} | {calls} | {refused} | \
                     {spent_attempts} | {early_calls} |",
                    took / best
                );
                if spent_attempts + early_calls > 0 {
                    wrong.push(format!("{name}: attempts were spent or waits not kept"));
                }
            }
            Err(error) => {
                eprintln!("{name}: {error:#}");
                wrong.push(format!("{name}: {error:#}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

async fn post(site: &Site, options: &Options) {
    let begun_at = Timestamp::now();
    let (url, steps) = (site.http_url(), options.events_per_record);
    let lives: Vec<_> =
        (0..options.records).map(|number| lives::long_life(number, begun_at, steps)).collect();
    // A step of all payments before the next of any, as events of many payers come.
    for step in 0..steps {
        let posts = lives.iter().filter_map(|life| life.get(step)).map(|event| event.deliver(&url));
        futures::stream::iter(posts).buffer_unordered(POSTS).collect::<()>().await;
    }
}

async fn target(name: &'static str, site: &Site, options: &Options) -> anyhow::Result<Target> {
    let double = fake_crms::start(name, Limits::Real).await;
    double.faults().set_latency(Duration::from_millis(options.latency_ms));
    let config = site.configure(name, "", &double.config())?;
    let latency = Duration::from_millis(options.latency_ms);
    let best = best::best(name, options.records, options.events_per_record, latency);
    Ok(Target { name, double, config, best })
}

async fn drain(
    target: Target,
    site: &Site,
    client: &Client,
    options: &Options,
) -> (&'static str, Duration, anyhow::Result<Drained>) {
    let (name, best) = (target.name, target.best);
    (name, best, drained(target, site, client, options).await)
}

async fn drained(
    target: Target,
    site: &Site,
    client: &Client,
    options: &Options,
) -> anyhow::Result<Drained> {
    let mut connector = site.start_connectors(target.name, &[&target.config], LOG)?;
    let began = began(&mut connector).await?;
    let patience = target.best.mul_f64(PATIENCE).max(LEAST_PATIENCE);
    while !is_drained(client, target.name).await? {
        ensure!(connector.ended().is_none(), "the connector ended: {}", connector.said());
        ensure!(
            began.elapsed() < patience,
            "not drained: {:?}",
            standing(client, target.name).await
        );
        tokio::time::sleep(LOOK).await;
    }
    let took = began.elapsed();
    check_records(&target, options)?;
    let journal = target.double.journal();
    ensure!(journal.second_creates().is_empty(), "a record was created twice");
    let calls = journal.calls();
    let refused = calls.iter().filter(|call| matches!(call.status, Some(429 | 403))).count();
    let spent_attempts = spent_attempts(&connector.said());
    let early_calls = journal.early_calls(Duration::ZERO).len();
    connector.stop().await?;
    Ok(Drained { took, calls: calls.len(), refused, spent_attempts, early_calls })
}

/// When the connector had signed in and looked at the CRM: what that takes is not the limits' doing.
async fn began(connector: &mut Process) -> anyhow::Result<Instant> {
    while !connector.said().contains("running") {
        ensure!(connector.ended().is_none(), "the connector ended: {}", connector.said());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(Instant::now())
}

/// Nothing before the connector has made its subscription.
async fn standing(client: &Client, name: &str) -> anyhow::Result<Option<Subscription>> {
    let request = GetSubscriptionRequest { subscription: name.to_owned() };
    match client.subscriptions().get_subscription(request).await {
        Ok(got) => Ok(got.into_inner().subscription),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(status.into()),
    }
}

async fn is_drained(client: &Client, name: &str) -> anyhow::Result<bool> {
    let Some(subscription) = standing(client, name).await? else { return Ok(false) };
    let waiting = subscription.backlog.map_or(0, |backlog| backlog.events);
    Ok(subscription.position == subscription.head && waiting == 0 && subscription.held_back == 0)
}

fn check_records(target: &Target, options: &Options) -> anyhow::Result<()> {
    let mut records: HashMap<String, String> = HashMap::new();
    for record in target.double.records() {
        records.insert(record.payment_id, record.status);
    }
    ensure!(records.len() == options.records, "{} records", records.len());
    let wrong = records.iter().find(|(_, status)| *status != "Paid");
    ensure!(wrong.is_none(), "not as the gateway says: {wrong:?}");
    Ok(())
}

/// How many deliveries the connector gave back with an attempt spent, as its log tells.
fn spent_attempts(log: &str) -> usize {
    let given_back = log.lines().filter(|line| line.contains("given back"));
    given_back.filter(|line| line.contains("kind=\"retry\"")).count()
}
