//! One run: the options, the measures in their order, and what they share. Checks that fail are collected
//! and end the run with an error, after the table.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use crate::gateway::Gateway;
use crate::machine::Machine;
use crate::table::Table;
use crate::{backlog, delivery, idle, ingest, latency, memory, stuck};

/// How many connections post at once.
pub const CONNECTIONS: usize = 64;

/// What may be chosen.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Only these measures; all if none is named.
    #[arg(long, value_enum, value_name = "NAME")]
    pub only: Vec<Measure>,
    /// How often each measure is taken, its yardsticks beside it.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Small numbers and short windows, to see that all of it works; the figures mean nothing.
    #[arg(long)]
    pub quick: bool,
    /// The events of the backlog that subscriptions work off.
    #[arg(long)]
    events: Option<u64>,
    /// The events of the log that is watched from its beginning, and of the backlog of the memory measure.
    #[arg(long)]
    catch_up_events: Option<u64>,
    /// The seconds of each window of a latency.
    #[arg(long)]
    seconds: Option<u64>,
    /// The gateway's binary; the one beside this one if not given.
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
    /// Where stores are put, on a disk; the build's target directory if not given.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// What can be measured.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Durable ingest, closed loop.
    Ingest,
    /// From when a webhook is due to its 2xx, open loop.
    Latency,
    /// From when a webhook is due to its delivery, open loop.
    Delivery,
    /// Working off a backlog with durable acks, and watching the log from its beginning.
    Backlog,
    /// Throughput beside subjects that always fail.
    Stuck,
    /// Memory behind a backlog.
    Memory,
    /// The cost of doing nothing.
    Idle,
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Posts to the bare server in a round.
    pub bare_posts: u64,
    /// Posts to the naive server in a round.
    pub naive_posts: u64,
    /// Posts to the gateway in a round.
    pub posts: u64,
    /// The backlog that subscriptions work off.
    pub events: u64,
    /// The log that is watched from its beginning.
    pub catch_up_events: u64,
    /// Subjects, and those of them that always fail.
    pub subjects: u64,
    /// See `subjects`.
    pub stuck_subjects: u64,
    /// Idle subscriptions.
    pub idle: usize,
    /// A window of a latency, of memory or of idling.
    pub window: Duration,
    /// A window of the disk's yardstick; there is one before and one after each latency.
    pub disk_window: Duration,
}

/// A run.
pub struct Run {
    /// How often each measure is taken.
    pub rounds: usize,
    /// How much is done.
    pub sizes: Sizes,
    /// What was measured.
    pub table: Table,
    /// What was wrong with the events.
    failures: Vec<String>,
    gateway: PathBuf,
    directory: PathBuf,
    only: Vec<Measure>,
}

/// Measures, prints the table and fails if a check did.
pub async fn all(options: Options) -> anyhow::Result<()> {
    let this = std::env::current_exe()?;
    let target = this.ancestors().nth(2).context("this binary lies in no target directory")?;
    let directory = options.directory.clone().unwrap_or_else(|| target.to_owned());
    let machine = Machine::of(&directory)?;
    let gateway = options.gateway.clone().unwrap_or_else(|| this.with_file_name("tollgate"));
    anyhow::ensure!(gateway.is_file(), "{} is missing; see `make bench`", gateway.display());
    let mut run = Run {
        rounds: options.rounds.max(1),
        sizes: options.sizes(),
        table: Table::default(),
        failures: Vec::new(),
        gateway,
        directory,
        only: options.only,
    };
    run.measure().await?;
    println!("{machine}\n\n{}", run.table);
    if options.quick {
        println!("A quick run: the figures mean nothing.");
    }
    anyhow::ensure!(run.failures.is_empty(), "{}", run.failures.join("\n"));
    println!("Every accepted event was delivered and acknowledged, none twice.");
    Ok(())
}

impl Run {
    async fn measure(&mut self) -> anyhow::Result<()> {
        if self.wants(Measure::Ingest) {
            ingest::measure(self).await?;
        }
        if self.wants(Measure::Latency) {
            latency::measure(self).await?;
        }
        if self.wants(Measure::Delivery) {
            delivery::measure(self).await?;
        }
        if self.wants(Measure::Backlog) || self.wants(Measure::Memory) {
            let (gateway, log) = backlog::fill(self).await?;
            if self.wants(Measure::Backlog) {
                backlog::measure(self, &gateway, log).await?;
            }
            if self.wants(Measure::Memory) {
                memory::measure(self, &gateway).await?;
            }
        }
        if self.wants(Measure::Stuck) {
            stuck::measure(self).await?;
        }
        if self.wants(Measure::Idle) {
            idle::measure(self).await?;
        }
        Ok(())
    }

    fn wants(&self, measure: Measure) -> bool {
        self.only.is_empty() || self.only.contains(&measure)
    }

    /// A gateway over an empty store.
    pub async fn gateway(&self) -> anyhow::Result<Gateway> {
        Gateway::start(&self.gateway, self.temporary_directory()?).await
    }

    /// A directory on the measured disk that goes away with its handle.
    pub fn temporary_directory(&self) -> anyhow::Result<tempfile::TempDir> {
        let made = tempfile::Builder::new().prefix("bench-").tempdir_in(&self.directory);
        made.with_context(|| format!("{} cannot be written", self.directory.display()))
    }

    /// Notes a check that failed.
    pub fn check(&mut self, what: &str, checked: anyhow::Result<()>) {
        if let Err(error) = checked {
            self.failures.push(format!("{what}: {error:#}"));
        }
    }
}

impl Options {
    fn sizes(&self) -> Sizes {
        let full = Sizes {
            bare_posts: 300_000,
            naive_posts: 20_000,
            posts: 150_000,
            events: 200_000,
            catch_up_events: 1_000_000,
            subjects: 10_000,
            stuck_subjects: 100,
            idle: 1_000,
            window: Duration::from_secs(30),
            disk_window: Duration::from_secs(10),
        };
        let quick = Sizes {
            bare_posts: 3_000,
            naive_posts: 300,
            posts: 3_000,
            events: 5_000,
            catch_up_events: 10_000,
            subjects: 500,
            stuck_subjects: 5,
            idle: 50,
            window: Duration::from_secs(2),
            disk_window: Duration::from_millis(500),
        };
        let mut sizes = if self.quick { quick } else { full };
        sizes.events = self.events.unwrap_or(sizes.events);
        let longest = self.catch_up_events.unwrap_or(sizes.catch_up_events);
        sizes.catch_up_events = longest.max(sizes.events);
        sizes.window = self.seconds.map_or(sizes.window, Duration::from_secs);
        sizes
    }
}

/// A line about what is under way: a bar on a terminal, else one line of text.
pub fn phase(name: String, steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    if bar.is_hidden() {
        eprintln!("{name}");
    }
    let style = ProgressStyle::with_template("{msg:50} {bar:24} {human_pos}/{human_len} {elapsed}");
    bar.set_style(style.expect("the template is sound"));
    bar.set_message(name);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Waits for a window, with a bar.
pub async fn watch_window(name: String, window: Duration) {
    let seconds = window.as_secs().max(1);
    let bar = phase(name, seconds);
    for _ in 0..seconds {
        tokio::time::sleep(window / u32::try_from(seconds).unwrap_or(1)).await;
        bar.inc(1);
    }
    bar.finish_and_clear();
}
