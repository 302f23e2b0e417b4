//! `tollgate serve`: the gateway. This is the composition root: here, and only here, the modules are
//! wired together, and here the order of a clean stop is decided.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{self, AuthMode, Config, LogFormat};
use crate::delivery::{Clock, Delivery, Shared, Tail};
use crate::grpc;
use crate::http;
use crate::ingest::{self, Endpoints, Ingest};
use crate::store::{SqliteStore, Store};

/// How long subscriptions have to commit what was settled before the store is closed.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);
/// How often recorded samples are folded into their buckets.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// The buckets of all histograms of seconds.
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];
/// The buckets of the sizes of commits.
const ITEMS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Run the gateway.
///
/// Providers post webhooks to http.listen, subscribers call grpc.listen, monitoring asks admin.listen. It
/// runs until SIGTERM or Ctrl-C, which drain it; SIGHUP takes up changed endpoints, secrets and tokens.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  tollgate serve
  tollgate serve --config /etc/tollgate/tollgate.toml
  One key from the environment instead of the file:
    TOLLGATE_GRPC__LISTEN=127.0.0.1:6000 tollgate serve")]
pub struct Args {
    /// The configuration; `tollgate init` writes a commented one.
    #[arg(long, short, default_value = "tollgate.toml", env = "TOLLGATE_CONFIG")]
    config: PathBuf,
}

/// The bound listeners of a gateway.
pub struct Listeners {
    /// Providers post here.
    pub http: TcpListener,
    /// Subscribers call here.
    pub grpc: TcpListener,
    /// Monitoring asks here.
    pub admin: TcpListener,
}

/// A running gateway.
pub struct Gateway {
    store: Arc<dyn Store>,
    ingest: Ingest,
    delivery: Delivery,
    auth: grpc::Auth,
    stopping: CancellationToken,
    servers: Vec<JoinHandle<anyhow::Result<()>>>,
    writer: JoinHandle<()>,
    settle_within: Duration,
}

/// Runs until SIGTERM or SIGINT, then drains. SIGHUP loads endpoints, secrets and tokens again.
pub fn run(args: Args) -> anyhow::Result<()> {
    let config = Config::load(&args.config, config::process_environment())?;
    start_log(&config);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?
        .block_on(serve(&args.config, config))
}

async fn serve(path: &Path, config: Config) -> anyhow::Result<()> {
    let listeners = Listeners::bind(&config).await?;
    if config.endpoints.is_empty() {
        tracing::warn!("no endpoints are configured: every webhook will be answered 404");
    }
    let (http, grpc, admin) = listeners.addresses()?;
    let gateway = Gateway::start(config, listeners, Arc::new(now)).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %http, %grpc, %admin, "ready");
    wait_for_stop(path, &gateway).await?;
    tracing::info!("draining");
    gateway.stop().await
}

/// The wall clock in microseconds, the precision of what is stored.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

async fn wait_for_stop(path: &Path, gateway: &Gateway) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = gateway.failed() => anyhow::bail!("a listener failed; see the log"),
            _ = hang_up.recv() => match Config::load(path, config::process_environment()) {
                Ok(config) => match gateway.reload(config).await {
                    Ok(()) => tracing::info!("endpoints, secrets and tokens were loaded again"),
                    Err(error) => tracing::error!(%error, "could not reload"),
                },
                Err(error) => tracing::error!(%error, "the configuration stays as it was"),
            },
        }
    }
}

impl Listeners {
    /// Binds all three.
    pub async fn bind(config: &Config) -> anyhow::Result<Listeners> {
        let bind = |key: &'static str, address| async move {
            let bound = TcpListener::bind(address).await;
            bound.with_context(|| format!("{key}: could not listen on {address}"))
        };
        Ok(Listeners {
            http: bind("http.listen", config.http.listen).await?,
            grpc: bind("grpc.listen", config.grpc.listen).await?,
            admin: bind("admin.listen", config.admin.listen).await?,
        })
    }

    /// Where they listen, for webhooks, gRPC and monitoring: a configured port 0 is another one by now.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr, SocketAddr)> {
        Ok((self.http.local_addr()?, self.grpc.local_addr()?, self.admin.local_addr()?))
    }
}

impl Gateway {
    /// Opens the store and starts everything.
    pub async fn start(
        config: Config,
        listeners: Listeners,
        clock: Clock,
    ) -> anyhow::Result<Gateway> {
        let path = config.store.path.to_string_lossy().into_owned();
        let store = SqliteStore::open(&path, grpc::convert::CODEC).await;
        let store = store.with_context(|| format!("store.url: could not open {path}"))?;
        Gateway::over(Arc::new(store), config, listeners, clock).await
    }

    /// Starts everything over a store that is open already.
    pub async fn over(
        store: Arc<dyn Store>,
        config: Config,
        listeners: Listeners,
        clock: Clock,
    ) -> anyhow::Result<Gateway> {
        // Metrics are registered as they are first recorded, so the recorder comes first.
        let metrics = recorder();
        let head = store.head().await?;
        let tail = Arc::new(Tail::new(head.sequence));
        let endpoints = Endpoints::new(config.endpoints.clone());
        let on_commit = tail.clone();
        let (ingest, writer) =
            ingest::start(store.clone(), endpoints, Box::new(move |events| on_commit.push(events)));
        let delivery = Delivery::start(Shared {
            store: store.clone(),
            ingest: ingest.clone(),
            tail,
            codec: grpc::convert::CODEC,
            clock: clock.clone(),
            started: Instant::now(),
        })
        .await?;
        let required = config.auth.mode == AuthMode::Token;
        let auth = grpc::Auth::load(store.clone(), clock.clone(), required).await?;
        let stopping = CancellationToken::new();
        let mut gateway = Gateway {
            store,
            ingest,
            delivery,
            auth,
            stopping,
            servers: Vec::new(),
            writer,
            settle_within: SETTLE_WITHIN,
        };
        gateway.spawn_http(&config, listeners.http, clock.clone());
        gateway.spawn_admin(&config, listeners.admin, metrics);
        gateway.spawn_grpc(&config, listeners.grpc, clock())?;
        Ok(gateway)
    }

    fn spawn_http(&mut self, config: &Config, listener: TcpListener, clock: Clock) {
        let shim = http::webhooks::Shim::new(
            self.ingest.clone(),
            clock,
            config.http.max_body_bytes,
            config.http.read_timeout,
            config.http.max_requests_per_second_per_endpoint,
        );
        let limits = limits(config, config.http.max_connections);
        let stopping = self.stopping.clone();
        self.servers.push(tokio::spawn(async move {
            http::serve(listener, shim.router(), limits, stopping).await;
            Ok(())
        }));
    }

    fn spawn_admin(&mut self, config: &Config, listener: TcpListener, metrics: PrometheusHandle) {
        let delivery = self.delivery.clone();
        let admin = http::admin::Admin {
            metrics,
            refresh: Arc::new(move || {
                let delivery = delivery.clone();
                Box::pin(async move { refresh(&delivery).await })
            }),
            ingest: self.ingest.clone(),
            stopping: self.stopping.clone(),
            allowed_hosts: config.admin.allowed_hosts.clone().into(),
        };
        let limits = limits(config, MAX_ADMIN_CONNECTIONS);
        let stopping = self.stopping.clone();
        tokio::spawn(tidy_metrics(admin.metrics.clone(), stopping.clone()));
        self.servers.push(tokio::spawn(async move {
            http::serve(listener, admin.router(), limits, stopping).await;
            Ok(())
        }));
    }

    fn spawn_grpc(
        &mut self,
        config: &Config,
        listener: TcpListener,
        started_at: Timestamp,
    ) -> anyhow::Result<()> {
        let settings = grpc::Settings {
            max_connections: config.grpc.max_connections,
            max_streams_per_connection: config.grpc.max_streams_per_connection,
            max_message_bytes: config.grpc.max_message_bytes,
            stream_max_age: config.grpc.stream_max_age,
            heartbeat: config.grpc.heartbeat,
            keepalive: config.grpc.keepalive,
            drain: config.grpc.drain,
            tls: config.grpc.tls.as_ref().map(read_tls).transpose()?,
        };
        let context = grpc::Context {
            delivery: self.delivery.clone(),
            ingest: self.ingest.clone(),
            auth: self.auth.clone(),
            settings: Arc::new(settings),
            stopping: self.stopping.clone(),
            started_at,
        };
        self.servers.push(tokio::spawn(async move {
            grpc::serve(listener, context).await.map_err(anyhow::Error::from)
        }));
        Ok(())
    }

    /// Takes in endpoints and secrets of a configuration, and the tokens that the store has now.
    pub async fn reload(&self, config: Config) -> anyhow::Result<()> {
        self.ingest.endpoints().replace(config.endpoints);
        Ok(self.auth.reload().await?)
    }

    /// The credentials.
    pub fn auth(&self) -> &grpc::Auth {
        &self.auth
    }

    /// Waits until a listener ends by itself; for ever while all run.
    async fn failed(&self) {
        loop {
            if self.servers.iter().any(JoinHandle::is_finished) {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Drains: no new requests, streams end with their position, what was settled is committed, then the
    /// store is closed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stopping.cancel();
        let mut result = Ok(());
        for server in self.servers {
            let ended = server.await.context("a listener panicked");
            if let Err(error) = ended.and_then(|ended| ended) {
                tracing::error!(%error, "a listener failed");
                result = Err(error);
            }
        }
        self.delivery.drain(self.settle_within).await;
        drop((self.delivery, self.ingest));
        // Streams that were cut may hold the writer's queue for a moment longer.
        let _ = tokio::time::timeout(self.settle_within, self.writer).await;
        self.store.close().await;
        result
    }
}

/// How many connections the monitoring listener holds.
const MAX_ADMIN_CONNECTIONS: usize = 64;

fn limits(config: &Config, max_connections: usize) -> http::Limits {
    http::Limits {
        max_connections,
        read_timeout: config.http.read_timeout,
        drain: config.grpc.drain,
    }
}

fn read_tls(tls: &config::Tls) -> anyhow::Result<grpc::Tls> {
    let read = |key: &str, path: &Path| {
        std::fs::read(path)
            .with_context(|| format!("grpc.tls.{key}: could not read {}", path.display()))
    };
    Ok(grpc::Tls {
        certificate: read("certificate", &tls.certificate)?,
        key: read("key", &tls.key)?,
        client_ca: match &tls.client_ca {
            Some(path) => Some(read("client_ca", path)?),
            None => None,
        },
    })
}

/// The recorder is one for the process, however many gateways it runs.
fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let handle = RECORDER.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Suffix("_items".to_owned()), ITEMS)
            })
            .expect("the buckets are not empty")
            .build_recorder();
        let handle = recorder.handle();
        // Only a second recorder could fail here, and this runs once.
        let _ = metrics::set_global_recorder(recorder);
        handle
    });
    handle.clone()
}

/// Folds recorded samples into their buckets: where nobody asks for the metrics they would pile up.
async fn tidy_metrics(metrics: PrometheusHandle, stopping: CancellationToken) {
    while stopping.run_until_cancelled(tokio::time::sleep(METRICS_UPKEEP)).await.is_some() {
        metrics.run_upkeep();
    }
}

/// Brings the gauges of subscriptions up to date.
async fn refresh(delivery: &Delivery) {
    let now = (delivery.shared().clock)();
    for name in delivery.names("", crate::delivery::MAX_SUBSCRIPTIONS) {
        let Ok(described) = delivery.describe(&name).await else { continue };
        let snapshot = described.snapshot;
        let set = |metric: &'static str, value: f64| {
            metrics::gauge!(metric, "subscription" => name.clone()).set(value);
        };
        set("tollgate_subscription_position", snapshot.position.0 as f64);
        set("tollgate_subscription_backlog_events", snapshot.backlog.events as f64);
        set("tollgate_subscription_outstanding", snapshot.outstanding as f64);
        set("tollgate_subscription_held_back", snapshot.held_back as f64);
        set("tollgate_subscription_dead_letters", snapshot.dead_letters as f64);
        let lag = snapshot.backlog.oldest_received_at;
        let lag = lag.map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64().max(0.0));
        set("tollgate_subscription_lag_seconds", lag);
    }
}

fn start_log(config: &Config) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(&config.log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Told on the same stream, a failure to write would panic in whatever is being served.
        .log_internal_errors(false);
    // A logger that is set already, as in tests, stays.
    let _ = match config.log.format {
        LogFormat::Pretty => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
