//! `tollgate tail`: prints events as they come, one a line. It watches: the position is kept here and
//! nothing is acknowledged, so that looking on never takes an event from a subscription.

use anyhow::bail;
use futures::StreamExt;
use tollgate_client::{StartPosition, Watch};

use super::connection::{Connection, refused};
use super::filter_options::{FilterOptions, Start};
use super::{output, wire_json, wire_text};

/// Print events as they come
///
/// One line an event: when it was received, its sequence, the headline, the amount, the subject, and what
/// changed. It only watches: nothing is acknowledged and no subscription is needed. When the connection
/// breaks it goes on where it was.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  Everything from now on:
    tollgate tail
  The last hour's refunds and disputes, as JSON:
    tollgate tail --from 2026-11-24T08:00:00Z --headline refunded --headline disputed --json
  All events about one payment so far, then exit:
    tollgate tail --from earliest --subject payments/stripe/main/pi_123 --no-follow")]
pub struct Args {
    /// Where to begin: earliest, latest, a sequence, or a time like 2026-11-24T08:00:00Z
    #[arg(long, value_name = "START", default_value = "latest")]
    from: Start,
    /// Stop after so many events
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Stop at the end of the log instead of waiting for more
    #[arg(long)]
    no_follow: bool,
    /// One JSON object a line, as Protocol Buffers write it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterOptions,
    #[command(flatten)]
    connection: Connection,
}

/// Watches until it has printed enough.
pub fn run(args: Args) -> anyhow::Result<()> {
    super::block_on(tail(args))
}

async fn tail(args: Args) -> anyhow::Result<()> {
    let client = args.connection.connect().await?;
    let mut watch = client.watch_events(args.filter.filter(), StartPosition::from(args.from));
    let mut printed = 0;
    while args.count.is_none_or(|count| printed < count) {
        match watch.next().await {
            Some(Ok(Watch::Event(event))) => {
                match args.json {
                    true => output::json(&wire_json::event(&event))?,
                    false => output::line(&wire_text::event_line(&event))?,
                }
                printed += 1;
            }
            Some(Ok(Watch::CaughtUp { .. })) if args.no_follow => return Ok(()),
            Some(Ok(Watch::CaughtUp { position })) => {
                output::note(&format!(
                    "(the end of the log, at {}; waiting for more, Ctrl-C ends)",
                    position.sequence
                ));
            }
            Some(Err(error)) => return Err(refused(error)),
            None => bail!("the watch ended"),
        }
    }
    Ok(())
}
