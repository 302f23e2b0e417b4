//! `tollgate-connect <crm> run`: runs connectors until it is told to stop. Each configuration is first held
//! against its CRM; one that is refused does not run, and a CRM that gives no answer is waited for. This
//! wires and waits; what a connector does is the connector's.

use std::collections::{HashMap, HashSet};
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::ValueEnum;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::check::examine;
use super::target::{Target, open_all};
use crate::check::Severity;
use crate::connector::Connector;
use crate::crm::Fault;
use crate::crms::Kind;
use crate::memory::Memory;
use crate::operations::Operations;
use crate::report::{Phase, Report};

/// What is logged, as a tracing filter.
const LOG_VARIABLE: &str = "TOLLGATE_LOG";
/// A CRM that gives no answer is asked again after this, then after twice as long each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Up to this, or for as long as the CRM itself asks.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A CRM that asks for more is asked earlier: somebody may have raised the limit.
const LONGEST_ASKED_WAIT: Duration = Duration::from_secs(15 * 60);

/// Write what becomes of payments to the CRM, until told to stop
///
/// First the same checks as `check` are made: a configuration with errors does not run. Events are
/// acknowledged once the CRM has accepted what they mean; what is not acknowledged comes again, so that the
/// process may be stopped and started at any time. SIGTERM or SIGINT lets calls under way end, a second one
/// does not.
///
/// Several configurations run side by side and share the limits of an org that they have in common. One
/// that ends with an error leaves the others running; /healthz then says 503.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
    tollgate-connect CRM_NAME run
  Two targets in one process, with logs for machines:
    tollgate-connect CRM_NAME run --config eu.toml --config us.toml --log-format json
  More in the log:
    TOLLGATE_LOG=info,tollgate_connectors=debug tollgate-connect CRM_NAME run

Exit status: 0 stopped as it was told to, 1 a configuration was refused or a connector ended with an error.")]
pub struct Args {
    /// A connector's configuration, once for each; CRM.toml if not set
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// How a line of the log looks; TOLLGATE_LOG says what is logged, for example info
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    log_format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people
    Pretty,
    /// One JSON object a line
    Json,
}

/// Runs until all connectors have ended.
pub fn run(kind: &'static Kind, args: Args) -> anyhow::Result<()> {
    start_log(args.log_format)?;
    super::block_on(serve(kind, args))
}

fn start_log(format: LogFormat) -> anyhow::Result<()> {
    let words = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(&words)
        .with_context(|| format!("{LOG_VARIABLE}: `{words}` is not a filter"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Told on the same stream, a failure to write would panic in whatever is being done.
        .log_internal_errors(false);
    // A logger that is set already, as in tests, stays.
    let _ = match format {
        LogFormat::Pretty => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    Ok(())
}

/// A connector that is about to live.
struct Life {
    kind: &'static Kind,
    target: Target,
    memory: Arc<Memory>,
    report: Arc<Report>,
}

async fn serve(kind: &'static Kind, args: Args) -> anyhow::Result<()> {
    let targets = open_all(kind, &args.config)?;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    live_all(kind, targets, stop).await
}

/// Runs all until each has ended; the last error is the one that is told.
async fn live_all(
    kind: &'static Kind,
    targets: Vec<Target>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut lives = Vec::with_capacity(targets.len());
    refuse_mixed_memories(kind, &targets)?;
    let mut memories = HashMap::new();
    for target in targets {
        let memory = memory(kind, &target, &mut memories).await?;
        let (name, subscription) = (&target.name, &target.config.gateway.subscription);
        let crm = Arc::clone(&target.crm);
        let report = Arc::new(Report::new(kind.name, name, subscription, crm));
        lives.push(Life { kind, target, memory, report });
    }
    // The pages stay until the last connector has ended.
    let closing = CancellationToken::new();
    let mut pages = listen(&lives, &closing).await?;
    let mut running = JoinSet::new();
    for life in lives {
        running.spawn(life.live(stop.clone()));
    }
    let mut result = Ok(());
    while let Some(ended) = running.join_next().await {
        let ended = ended.map_err(anyhow::Error::from).flatten();
        if let Err(error) = ended {
            tracing::error!(error = format!("{error:#}"), "a connector ended");
            result = Err(error);
        }
    }
    tracing::info!("stopped");
    closing.cancel();
    while pages.join_next().await.is_some() {}
    result
}

/// In one file, what is remembered is told apart by the subscription alone: two of one name, at different
/// gateways or for different orgs, would take each other's records for their own.
fn refuse_mixed_memories(kind: &Kind, targets: &[Target]) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    for target in targets {
        let (path, subscription) =
            (target.config.memory(kind), &target.config.gateway.subscription);
        if !seen.insert((path.clone(), subscription)) {
            let (name, path) = (&target.name, path.display());
            bail!(
                "{name}: connector.memory: another configuration keeps subscription \
                 `{subscription}` in {path} too; give each a file of its own"
            );
        }
    }
    Ok(())
}

/// Connectors with the same file share it.
async fn memory(
    kind: &Kind,
    target: &Target,
    open: &mut HashMap<PathBuf, Arc<Memory>>,
) -> anyhow::Result<Arc<Memory>> {
    let path = target.config.memory(kind);
    if let Some(memory) = open.get(&path) {
        return Ok(Arc::clone(memory));
    }
    let memory = Memory::open(&path)
        .await
        .with_context(|| format!("connector.memory: could not open {}", path.display()))?;
    let memory = Arc::new(memory);
    open.insert(path, Arc::clone(&memory));
    Ok(memory)
}

/// One listener for each address; each tells of all connectors.
async fn listen(lives: &[Life], stop: &CancellationToken) -> anyhow::Result<JoinSet<()>> {
    let reports: Vec<_> = lives.iter().map(|life| Arc::clone(&life.report)).collect();
    let settings = || lives.iter().map(|life| &life.target.config.connector);
    let hosts: Vec<String> = settings().flat_map(|of| of.allowed_hosts.clone()).collect();
    let mut addresses: Vec<SocketAddr> = settings().filter_map(|of| of.listen).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut pages = JoinSet::new();
    for address in addresses {
        let operations = Operations::new(reports.clone(), hosts.clone());
        let listening = operations.listen(address, stop.clone()).await;
        let (bound, serving) = listening
            .with_context(|| format!("connector.listen: could not listen on {address}"))?;
        tracing::info!(%bound, "the operations pages are there");
        pages.spawn(serving);
    }
    Ok(pages)
}

fn stop_on_signals(stop: CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("could not wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not wait for SIGINT")?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                tracing::warn!("stopping at once; what is not acknowledged comes again");
                std::process::exit(1);
            }
            tracing::info!(
                "stopping once calls under way have ended; a second signal does not wait"
            );
            stop.cancel();
        }
    });
    Ok(())
}

impl Life {
    /// From the first look at the CRM to the end.
    #[tracing::instrument(skip_all, fields(crm = self.kind.name, target = self.target.name))]
    async fn live(self, stop: CancellationToken) -> anyhow::Result<()> {
        let report = Arc::clone(&self.report);
        let name = self.target.name.clone();
        let result = self.lived(stop).await.with_context(|| name);
        report.phase(Phase::Stopped(match &result {
            Ok(()) => "as it was told to".to_owned(),
            Err(error) => format!("{error:#}"),
        }));
        result
    }

    async fn lived(self, stop: CancellationToken) -> anyhow::Result<()> {
        match stop.run_until_cancelled(wait_for_crm(&self.target, &self.report)).await {
            Some(checked) => checked?,
            None => return Ok(()),
        }
        let Life { kind, target, memory, report } = self;
        let connector =
            Connector::new(target.config, kind, target.crm, memory, Arc::clone(&report))?;
        report.phase(Phase::Running);
        tracing::info!("running");
        connector.run(stop).await.context("the subscription ended")
    }
}

/// Until the CRM has told what the mappings are held against.
async fn wait_for_crm(target: &Target, report: &Report) -> anyhow::Result<()> {
    let mut wait = FIRST_WAIT;
    loop {
        let asked = match examine(&target.config, target.crm.as_ref()).await {
            Ok(examined) => {
                report.identity(&examined.identity);
                report.authorized();
                tracing::info!(identity = examined.identity, "signed in");
                return admit(examined.findings());
            }
            Err(Fault::Unauthorized { reason }) => {
                report.unauthorized(&reason);
                bail!("the CRM refuses the credential: {reason}");
            }
            Err(fault @ (Fault::Permanent { .. } | Fault::Gone { .. })) => {
                return Err(anyhow!(fault).context("the CRM refuses"));
            }
            Err(Fault::Throttled { wait, reason }) => (Some(wait), reason),
            Err(Fault::Transient { wait, reason }) => (wait, reason),
            Err(Fault::Raced { reason }) => (None, reason),
        };
        let (told, reason) = asked;
        let pause = wait.max(told.unwrap_or_default().min(LONGEST_ASKED_WAIT));
        tracing::warn!(reason, pause_seconds = pause.as_secs_f64(), "waits for the CRM");
        report.phase(Phase::Waiting(reason));
        tokio::time::sleep(pause).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Tells all findings, and lets nothing run with an error among them.
fn admit<'a>(findings: impl Iterator<Item = &'a crate::check::Finding>) -> anyhow::Result<()> {
    let mut errors = Vec::new();
    for finding in findings {
        match finding.severity {
            Severity::Error => {
                tracing::error!(key = finding.key, "{}", finding.words);
                errors.push(format!("{}: {}", finding.key, finding.words));
            }
            Severity::Warning => tracing::warn!(key = finding.key, "{}", finding.words),
        }
    }
    match errors.as_slice() {
        [] => Ok(()),
        _ => bail!("the configuration does not fit the CRM: {}", errors.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shelf::{self, KIND, Shelf};

    const RIGHT: &str = "policy = \"update_only\"\nmatch = [{ field = \"payment_id\", from = \
                         \"references.payment\", unique = true }]\n";

    fn target(folder: &tempfile::TempDir, field: &str, shelf: Shelf) -> Target {
        let mut config = shelf::config(&format!("{RIGHT}fields.{field} = \"status\"\n"));
        config.connector.memory = Some(folder.path().join("memory.db"));
        Target { name: "eu".to_owned(), config: Arc::new(config), crm: Arc::new(shelf) }
    }

    #[tokio::test]
    async fn a_mapping_that_does_not_fit_does_not_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let targets = vec![target(&folder, "nots", Shelf::default())];
        let refused =
            live_all(&KIND, targets, CancellationToken::new()).await.expect_err("refused");
        let refused = format!("{refused:#}");
        assert!(
            refused.contains("objects[0].fields.nots") && refused.contains("`note`"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn two_subscriptions_of_one_name_do_not_share_a_memory() {
        let folder = tempfile::tempdir().expect("a folder");
        let targets = (0..2).map(|_| target(&folder, "note", Shelf::default())).collect();
        let refused =
            live_all(&KIND, targets, CancellationToken::new()).await.expect_err("refused");
        assert!(refused.to_string().contains("connector.memory"), "{refused:#}");
    }

    #[tokio::test]
    async fn a_credential_that_is_refused_ends_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::default();
        let refusal = Fault::Unauthorized { reason: "invalid_client".to_owned() };
        shelf.faults.lock().expect("no panic").push_back(refusal);
        let targets = vec![target(&folder, "note", shelf)];
        let refused =
            live_all(&KIND, targets, CancellationToken::new()).await.expect_err("refused");
        assert!(format!("{refused:#}").contains("invalid_client"), "{refused:#}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crm_that_is_away_is_waited_for() {
        let shelf = Shelf::default();
        for _ in 0..3 {
            shelf.faults.lock().expect("no panic").push_back(Fault::transient("502"));
        }
        let target = Target {
            name: "eu".to_owned(),
            config: Arc::new(shelf::config(&format!("{RIGHT}fields.note = \"status\"\n"))),
            crm: Arc::new(shelf),
        };
        let report = Report::new("shelf", "eu", "crm", Arc::clone(&target.crm));
        let began = tokio::time::Instant::now();
        wait_for_crm(&target, &report).await.expect("it is there in the end");
        assert_eq!(began.elapsed(), Duration::from_secs(1 + 2 + 4));
        assert_eq!(report.status().identity, "the shelf");
    }

    #[tokio::test]
    async fn without_a_gateway_it_waits_and_stops_when_it_is_told_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let stop = CancellationToken::new();
        let targets = vec![target(&folder, "note", Shelf::default())];
        let mut running = tokio::spawn(live_all(&KIND, targets, stop.clone()));
        let waits = tokio::time::timeout(Duration::from_millis(300), &mut running).await;
        assert!(waits.is_err(), "{waits:?}");
        stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(20), running).await;
        ended.expect("it stops").expect("no panic").expect("as it was told to");
    }
}
