//! Durable ingest: signed posts over 64 connections in a closed loop, each answered 2xx once receipt,
//! event, projection and chain are committed and synced. Beside it, in the same round, stand a bare server
//! and a naive handler. After each round all that was accepted is delivered and acknowledged.

use std::sync::Arc;

use anyhow::Context as _;
use indicatif::ProgressBar;

use crate::consumer::{Goal, Verdict, consume};
use crate::gateway::{Gateway, Start};
use crate::load::{self, Load};
use crate::run::{Run, phase};
use crate::sample::{Webhooks, number_of};
use crate::seen::Seen;
use crate::table::{Aim, Row};
use crate::yardstick::Yardstick;

/// The subscription that sees whether all was delivered.
const CHECK: &str = "check";

/// Measures.
pub async fn measure(run: &mut Run) -> anyhow::Result<()> {
    let sizes = run.sizes;
    let gateway = run.gateway().await?;
    gateway.create(CHECK, Start::Earliest, true).await?;
    let (mut bare, mut naive, mut ingest) = (vec![], vec![], vec![]);
    let (mut per_core, mut p99) = (vec![], vec![]);
    for round in 1..=run.rounds {
        let name = |what: &str| format!("ingest, round {round}: {what}");
        let server = Yardstick::start(&["bare"]).await?;
        bare.push(post(&server, sizes.bare_posts, name("bare axum server")).await?);
        drop(server);

        let directory = run.temporary_directory()?;
        let database = directory.path().join("naive.db");
        let database = database.to_str().context("the directory's name is no text")?;
        let server = Yardstick::start(&["naive", "--database", database]).await?;
        naive.push(post(&server, sizes.naive_posts, name("naive axum + sqlx")).await?);
        drop(server);

        let cpu = gateway.cpu_seconds()?;
        let load = gateway.post(sizes.posts, None, name("gateway")).await?;
        per_core.push(load.accepted.count() as f64 / (gateway.cpu_seconds()? - cpu));
        ingest.push(load.per_second());
        p99.push(load.latency.value_at_quantile(0.99) as f64 / 1e6);
        let checked = check(&gateway, &load, name("are all delivered?")).await?;
        run.check(&format!("ingest, round {round}"), checked);
    }
    let row = |measure: &str| Row::new(measure, "events/s").figures(&ingest);
    let table = &mut run.table;
    table.add(row("durable ingest").beside("bare axum", &bare).aim(Aim::RatioAtLeast(0.2)));
    table.add(row("durable ingest").beside("naive sqlx", &naive).aim(Aim::RatioAtLeast(5.0)));
    table.add(Row::new("durable ingest, a core of the gateway", "events/s").figures(&per_core));
    table.add(Row::new("durable ingest, closed loop, p99", "ms").figures(&p99));
    Ok(())
}

async fn post(server: &Yardstick, count: u64, name: String) -> anyhow::Result<f64> {
    let bar = phase(name, count);
    let load = load::closed(server.address, Webhooks::sign(0..count, None), &bar).await?;
    bar.finish_and_clear();
    anyhow::ensure!(load.refused == 0, "a yardstick refused {} posts", load.refused);
    Ok(load.per_second())
}

/// Whether all of a load is delivered by the checking subscription, once, and acknowledged.
async fn check(gateway: &Gateway, load: &Load, name: String) -> anyhow::Result<anyhow::Result<()>> {
    let count = load.accepted.count();
    let bar = phase(name, count);
    let checked = drain(gateway, CHECK, &load.accepted, &bar).await;
    bar.finish_and_clear();
    checked
}

/// Consumes all that was accepted; the inner result tells whether it came once and was acknowledged.
pub async fn drain(
    gateway: &Gateway,
    subscription: &str,
    accepted: &Arc<Seen>,
    bar: &ProgressBar,
) -> anyhow::Result<anyhow::Result<()>> {
    let goal = Goal::acks(accepted.count());
    let seen = Seen::none_of(accepted.range());
    let take = |delivery: &tollgate_client::proto::Delivery| {
        let event = delivery.event.as_ref();
        seen.mark(event.and_then(|event| number_of(&event.provider_event_id)));
        bar.inc(1);
        Verdict::Ack
    };
    consume(gateway, subscription.to_owned(), goal.clone(), take).await?;
    Ok(seen.same_as(accepted).and_then(|()| goal.complete()))
}
