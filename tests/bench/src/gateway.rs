//! The gateway under measurement: the release binary as a process of its own over a new store, with a
//! configuration that is all defaults but for its ports. In come posts and calls by others; out come what
//! its process used of memory and processors, read from `/proc`. It is killed at the end: its store is
//! thrown away.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::ProgressBar;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tollgate_client::{Client, proto};

use crate::load::{self, Load};
use crate::run::phase;
use crate::sample::{PATH, SECRET, Webhooks};

/// How long it may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How many webhooks are signed at once; a signature is good for five minutes.
const SIGNED_AT_ONCE: u64 = 100_000;
/// Linux counts processor time in hundredths of a second, on every machine that matters.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running gateway.
pub struct Gateway {
    child: Child,
    /// Providers post here.
    pub http: SocketAddr,
    /// Subscribers call here.
    pub grpc: SocketAddr,
    next: AtomicU64,
    log: PathBuf,
    _directory: TempDir,
}

impl Gateway {
    /// Starts it and waits until it is ready.
    pub async fn start(binary: &Path, directory: TempDir) -> anyhow::Result<Gateway> {
        let [http, grpc, admin] = free_ports()?;
        let file = directory.path().join("tollgate.toml");
        std::fs::write(&file, configuration(directory.path(), [http, grpc, admin]))?;
        let log = directory.path().join("gateway.log");
        let mut child = Command::new(binary)
            .args(["serve", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", binary.display()))?;
        let begun = Instant::now();
        while !load::get(admin, "/readyz").await.is_ok_and(|status| status.is_success()) {
            let ended = child.try_wait()?.is_some() || begun.elapsed() > READY_WITHIN;
            anyhow::ensure!(!ended, "the gateway is not ready:\n{}", read(&log));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let next = AtomicU64::new(0);
        Ok(Gateway { child, http, grpc, next, log, _directory: directory })
    }

    /// A client on a connection of its own.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(format!("http://{}", self.grpc)).await?)
    }

    /// Takes the numbers of as many webhooks that were never sent.
    pub fn take_numbers(&self, count: u64) -> std::ops::Range<u64> {
        let from = self.next.fetch_add(count, Ordering::Relaxed);
        from..from + count
    }

    /// Posts new webhooks in a closed loop.
    pub async fn post(
        &self,
        count: u64,
        subjects: Option<u64>,
        name: String,
    ) -> anyhow::Result<Load> {
        let bar = phase(name, count);
        let numbers = self.take_numbers(count);
        let load = load::closed(self.http, Webhooks::sign(numbers, subjects), &bar).await?;
        bar.finish_and_clear();
        self.all_accepted(&load)?;
        Ok(load)
    }

    /// Posts new webhooks until the log has as many more events.
    pub async fn fill(
        &self,
        count: u64,
        subjects: Option<u64>,
        name: String,
    ) -> anyhow::Result<()> {
        let bar = phase(name, count);
        let mut left = count;
        while left > 0 {
            let numbers = self.take_numbers(left.min(SIGNED_AT_ONCE));
            left -= numbers.end - numbers.start;
            let part = ProgressBar::hidden();
            let webhooks = Webhooks::sign(numbers, subjects);
            let load = load::closed(self.http, webhooks, &part).await?;
            self.all_accepted(&load)?;
            bar.inc(load.accepted.count());
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Nothing here sends more than the gateway must take, so a refusal is an error.
    pub fn all_accepted(&self, load: &Load) -> anyhow::Result<()> {
        let log = || read(&self.log);
        anyhow::ensure!(load.refused == 0, "{} posts were refused:\n{}", load.refused, log());
        Ok(())
    }

    /// Creates a subscription. It may have more outstanding than by default where that is asked for.
    pub async fn create(&self, name: &str, start: Start, wide: bool) -> anyhow::Result<()> {
        use proto::start_position::At;
        let at = match start {
            Start::Earliest => At::Earliest(true),
            Start::Latest => At::Latest(true),
            Start::After(sequence) => At::Sequence(sequence),
        };
        let stats = self.stats().await?;
        let settings = wide.then(|| proto::DeliverySettings {
            max_outstanding: WIDE_OUTSTANDING,
            max_outstanding_bytes: WIDE_OUTSTANDING_BYTES,
            ..Default::default()
        });
        let request = proto::CreateSubscriptionRequest {
            subscription: name.to_owned(),
            start: Some(proto::StartPosition { at: Some(at), log_epoch: stats.log_epoch }),
            settings,
            ..Default::default()
        };
        self.client().await?.subscriptions().create_subscription(request).await?;
        Ok(())
    }

    /// Deletes a subscription.
    pub async fn delete(&self, name: &str) -> anyhow::Result<()> {
        let request = proto::DeleteSubscriptionRequest { subscription: name.to_owned() };
        self.client().await?.subscriptions().delete_subscription(request).await?;
        Ok(())
    }

    /// What it says about itself.
    pub async fn stats(&self) -> anyhow::Result<proto::GetStatsResponse> {
        let answer = self.client().await?.admin().get_stats(proto::GetStatsRequest {}).await?;
        Ok(answer.into_inner())
    }

    /// How much memory is resident, in megabytes.
    pub fn resident_mb(&self) -> anyhow::Result<f64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB"));
        let kilobytes: f64 = kilobytes.context("no VmRSS")?.trim().parse()?;
        Ok(kilobytes * 1024.0 / 1e6)
    }

    /// How many seconds of processors it has used.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        const USER: usize = 11;
        let stat = self.proc("stat")?;
        // The name in parentheses may hold blanks.
        let (_, fields) = stat.rsplit_once(')').context("no name")?;
        let fields = fields.split_whitespace().skip(USER).take(2);
        let ticks = fields.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        Ok(ticks / TICKS_PER_SECOND)
    }

    fn proc(&self, file: &str) -> anyhow::Result<String> {
        let id = self.child.id().context("the gateway has ended")?;
        Ok(std::fs::read_to_string(format!("/proc/{id}/{file}"))?)
    }
}

/// What a wide subscription may have outstanding.
pub const WIDE_OUTSTANDING: i32 = 10_000;
const WIDE_OUTSTANDING_BYTES: i32 = 64 << 20;

/// Where a subscription begins.
#[derive(Clone, Copy, Debug)]
pub enum Start {
    /// At the first event.
    Earliest,
    /// After the last.
    Latest,
    /// After this one.
    After(i64),
}

fn configuration(directory: &Path, [http, grpc, admin]: [SocketAddr; 3]) -> String {
    let store = directory.join("tollgate.db");
    format!(
        r#"
        [store]
        url = "sqlite://{}"
        [http]
        listen = "{http}"
        [grpc]
        listen = "{grpc}"
        [admin]
        listen = "{admin}"
        [auth]
        mode = "none"
        [[endpoints]]
        provider = "stripe"
        name = "bench"
        path = "{PATH}"
        secrets.webhook_secret = "{SECRET}"
        "#,
        store.display()
    )
}

/// Ports that were free a moment ago.
fn free_ports<const N: usize>() -> anyhow::Result<[SocketAddr; N]> {
    let listeners: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let mut ports = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?;
    }
    Ok(ports)
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_else(|error| error.to_string())
}
