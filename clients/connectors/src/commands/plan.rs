//! `tollgate-connect <crm> plan`: shows what would be written for the events of a span of time, and what that
//! costs. It watches the gateway and looks up in the CRM; it acknowledges nothing and writes nothing.

mod show;

use std::time::SystemTime;

use anyhow::{Context as _, bail};
use futures::StreamExt;
use jiff::Timestamp;
use tollgate_client::{Client, StartPosition, Watch};

use super::output;
use super::target::{OneFile, Target};
use crate::crms::Kind;
use crate::gateway;
use crate::mapping::duration;
use crate::plan::{Bounds, Gathered, compare};

/// How many records are looked up if nothing else is said.
const DEFAULT_RECORDS: usize = 5_000;
/// How much is held of them.
const MAX_BYTES: usize = 256 << 20;

/// Show what would be written, without writing
///
/// Reads the events since a time with the filter of the configuration, looks up what their records are now,
/// and shows each difference: what would be created, updated, left as it is, what would wait for its record
/// and what would be put aside. Then what writing it would cost, for all events and for the newest of each
/// record, and what is left of the day's quota. Looking up costs calls as well. The memory of what was
/// written is not asked: fields with `on_conflict` are shown as if nobody had changed them.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
    tollgate-connect CRM_NAME plan --since 7d
  All there is, of at most 500 records, for a script:
    tollgate-connect CRM_NAME plan --since earliest --records 500 --json

Exit status: 0 the plan was made, whatever it says, 1 the gateway or the CRM gave no answer.")]
pub struct Args {
    /// From when on: a span like 7d or 12h, a time like 2026-11-01T00:00:00Z, or earliest
    #[arg(long, value_name = "TIME", default_value = "1d")]
    since: Since,
    /// How many records are shown
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
    /// How many records are looked up; events about others are counted
    #[arg(long, value_name = "NUMBER", default_value_t = DEFAULT_RECORDS)]
    records: usize,
    /// One JSON object a line: the records, then the sums
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: OneFile,
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Since {
    Earliest,
    Time(SystemTime),
}

/// Makes the plan and prints it.
pub fn run(kind: &'static Kind, args: Args) -> anyhow::Result<()> {
    super::block_on(plan(kind, args))
}

async fn plan(kind: &'static Kind, args: Args) -> anyhow::Result<()> {
    let target = args.file.open(kind)?;
    let identity = target.crm.identify().await;
    let identity = identity.with_context(|| format!("{} gives no answer", kind.title))?;
    let client = gateway::client(&target.config.gateway)?;
    let bounds = Bounds { records: args.records, bytes: MAX_BYTES };
    let gathered = gather(kind, &target, &client, (args.since, bounds)).await?;
    let told = show::Told::of(&gathered, &identity);
    let bar = output::progress(gathered.records() as u64, "records looked up");
    let crm = target.crm.as_ref();
    let compared = compare(crm, &target.config.objects, gathered, |lookups| bar.inc(lookups)).await;
    bar.finish_and_clear();
    let plan = compared.context("the CRM gave no answer to a look-up")?;
    let standing = target.crm.budget().standing();
    match args.json {
        true => show::json(&plan, &told, &standing, args.limit),
        false => show::text(&plan, &told, &standing, args.limit),
    }
}

/// Reads events until the end of the log.
async fn gather(
    kind: &Kind,
    target: &Target,
    client: &Client,
    (since, bounds): (Since, Bounds),
) -> anyhow::Result<Gathered> {
    let config = &target.config;
    let start = match since {
        Since::Earliest => StartPosition::earliest(),
        Since::Time(time) => StartPosition::since(time),
    };
    // A watch would wait for a gateway that is away.
    let request = tollgate_client::proto::ListEventsRequest { page_size: 1, ..Default::default() };
    client.events().list_events(request).await.map_err(|status| {
        let error = tollgate_client::Error::from(status);
        anyhow::Error::from(error).context("the gateway gives no answer")
    })?;
    let mut watch = client.watch_events(config.gateway.filter.filter(), start);
    let bar = output::counter("events read");
    let mut gathered = Gathered::new(config, bounds);
    loop {
        match watch.next().await {
            Some(Ok(Watch::Event(event))) => {
                gathered.take(config, kind.name, &event);
                bar.inc(1);
            }
            Some(Ok(Watch::CaughtUp { .. })) => break,
            Some(Err(error)) => return Err(error).context("the gateway refuses to show events"),
            None => bail!("the watch ended"),
        }
    }
    bar.finish_and_clear();
    Ok(gathered)
}

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Since, String> {
        if text == "earliest" {
            return Ok(Since::Earliest);
        }
        if let Ok(span) = duration(text) {
            let time = SystemTime::now().checked_sub(span);
            return time.map(Since::Time).ok_or_else(|| format!("`{text}` is too long ago"));
        }
        let time = text.parse::<Timestamp>().and_then(SystemTime::try_from);
        time.map(Since::Time).map_err(|_| {
            "must be a span like 7d or 12h, a time like 2026-11-01T00:00:00Z, or earliest"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_span_a_time_or_earliest() {
        assert_eq!("earliest".parse(), Ok(Since::Earliest));
        for right in ["7d", "12h", "2026-11-01T00:00:00Z"] {
            assert!(matches!(right.parse(), Ok(Since::Time(_))), "{right}");
        }
        for wrong in ["", "7", "yesterday", "2026-11-01", "999999999999999d"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }
}
