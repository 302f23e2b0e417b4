//! The cost of doing nothing: 1,000 subscriptions, each with an open stream, and no events.

use anyhow::Context as _;
use tollgate_client::Client;
use tollgate_client::proto::{StartPosition, SubscribeRequest, start_position};

use crate::run::{Run, phase, watch_window};
use crate::table::{Aim, Row};

/// Streams of one connection; the gateway allows 100.
const STREAMS: usize = 50;

/// Measures.
pub async fn measure(run: &mut Run) -> anyhow::Result<()> {
    let gateway = run.gateway().await?;
    let idle = run.sizes.idle;
    let bar = phase(format!("opening {idle} subscriptions"), idle as u64);
    let mut client: Option<Client> = None;
    let mut streams = Vec::new();
    for at in 0..idle {
        if at % STREAMS == 0 {
            client = Some(gateway.client().await?);
        }
        let client = client.as_ref().context("the first round makes one")?;
        let start = start_position::At::Earliest(true);
        let request = SubscribeRequest {
            subscription: format!("idle-{at}"),
            create_if_missing: true,
            start: Some(StartPosition { at: Some(start), ..Default::default() }),
            ..Default::default()
        };
        let mut stream = client.subscriptions().subscribe(request).await?.into_inner();
        streams
            .push(tokio::spawn(async move { while let Ok(Some(_)) = stream.message().await {} }));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut percent = Vec::new();
    for round in 1..=run.rounds {
        let cpu = gateway.cpu_seconds()?;
        let window = run.sizes.window;
        watch_window(format!("idle, round {round}"), window).await;
        percent.push((gateway.cpu_seconds()? - cpu) / window.as_secs_f64() * 100.0);
    }
    anyhow::ensure!(!streams.iter().any(|stream| stream.is_finished()), "a stream ended");
    let memory = gateway.resident_mb()?;
    let row = Row::new(format!("{idle} idle subscriptions"), "% of a core").figures(&percent);
    run.table.add(row.aim(Aim::AtMost(1.0)));
    let row = Row::new(format!("{idle} idle subscriptions, memory"), "MB").figures(&[memory]);
    run.table.add(row);
    Ok(())
}
