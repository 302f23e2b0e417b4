//! `tollgate serve`: the gateway. This is the composition root: here, and only here, the modules are
//! wired together, and here the order of a clean stop is decided.

mod meters;
mod settings;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{self, AuthMode, Config, LogFormat};
use crate::delivery::{Clock, Delivery, Shared, Tail};
use crate::grpc;
use crate::http;
use crate::ingest::fetch::{self, Fetcher};
use crate::ingest::links::{self, Links};
use crate::ingest::{self, Endpoints, Ingest, overdue};
use crate::model::EndpointName;
use crate::providers::{PROVIDERS, Provider};
use crate::store::{SqliteStore, Store};

/// How long subscriptions have to commit what was settled before the store is closed.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

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
    fetcher: Fetcher,
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
        Gateway::of_providers(PROVIDERS, store, config, listeners, clock).await
    }

    /// As `over`, with these providers.
    pub async fn of_providers(
        providers: &'static [Provider],
        store: Arc<dyn Store>,
        config: Config,
        listeners: Listeners,
        clock: Clock,
    ) -> anyhow::Result<Gateway> {
        // Metrics are registered as they are first recorded, so the recorder comes first.
        let metrics = meters::recorder();
        let head = store.head().await?;
        let tail = Arc::new(Tail::new(head.sequence));
        let endpoints = Endpoints::of(providers, config.endpoints.clone());
        let on_commit = tail.clone();
        let (ingest, writer) = ingest::start(
            store.clone(),
            endpoints,
            settings::fetch_settings(&config.fetch),
            Box::new(move |events| on_commit.push(events)),
        );
        let fetcher = fetch::start(ingest.clone(), clock.clone());
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
            fetcher,
            settle_within: SETTLE_WITHIN,
        };
        let links = gateway.links(&config).await?;
        gateway.spawn_http(&config, listeners.http, clock.clone(), links.clone());
        gateway.spawn_admin(&config, listeners.admin, metrics);
        gateway.spawn_grpc(&config, listeners.grpc, clock(), links.clone())?;
        gateway.spawn_timers(&config, clock, links);
        Ok(gateway)
    }

    async fn links(&self, config: &Config) -> anyhow::Result<Links> {
        let settings = links::Settings {
            public_url: config.http.public_url.clone(),
            allowed_hosts: config.links.allowed_hosts.clone(),
            key: config.links.key.clone(),
            visit_window: config.links.visit_window,
        };
        Ok(Links::load(self.store.clone(), self.ingest.clone(), settings).await?)
    }

    fn spawn_timers(&self, config: &Config, clock: Clock, links: Links) {
        tokio::spawn(links.tidy(clock.clone(), self.stopping.clone()));
        let (store, ingest) = (self.store.clone(), self.ingest.clone());
        let interval = config.invoices.overdue_interval;
        tokio::spawn(overdue::run(store, ingest, clock, interval, self.stopping.clone()));
    }

    fn spawn_http(&mut self, config: &Config, listener: TcpListener, clock: Clock, links: Links) {
        let visits = http::links::Visits::new(
            links,
            clock.clone(),
            config.links.max_visits_per_minute,
            config.links.trusted_proxies.clone(),
        );
        let shim = http::webhooks::Shim::new(
            self.ingest.clone(),
            clock,
            config.http.max_body_bytes,
            config.http.read_timeout,
            config.http.max_requests_per_second_per_endpoint,
        )
        .keep_refused(config.http.keep_refused);
        let limits = settings::limits(config, config.http.max_connections);
        let stopping = self.stopping.clone();
        self.servers.push(tokio::spawn(async move {
            let router = shim.router().merge(visits.router());
            http::serve(listener, router, limits, stopping).await;
            Ok(())
        }));
    }

    fn spawn_admin(&mut self, config: &Config, listener: TcpListener, metrics: PrometheusHandle) {
        let (delivery, ingest) = (self.delivery.clone(), self.ingest.clone());
        let admin = http::admin::Admin {
            metrics,
            refresh: Arc::new(move || {
                let (delivery, ingest) = (delivery.clone(), ingest.clone());
                Box::pin(async move { meters::refresh(&delivery, &ingest).await })
            }),
            ingest: self.ingest.clone(),
            stopping: self.stopping.clone(),
            allowed_hosts: config.admin.allowed_hosts.clone().into(),
        };
        let limits = settings::limits(config, settings::MAX_ADMIN_CONNECTIONS);
        let stopping = self.stopping.clone();
        tokio::spawn(meters::tidy(admin.metrics.clone(), stopping.clone()));
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
        links: Links,
    ) -> anyhow::Result<()> {
        let settings = grpc::Settings {
            max_connections: config.grpc.max_connections,
            max_streams_per_connection: config.grpc.max_streams_per_connection,
            max_message_bytes: config.grpc.max_message_bytes,
            stream_max_age: config.grpc.stream_max_age,
            heartbeat: config.grpc.heartbeat,
            keepalive: config.grpc.keepalive,
            drain: config.grpc.drain,
            keep_refused: config.http.keep_refused,
            tls: config.grpc.tls.as_ref().map(settings::read_tls).transpose()?,
        };
        let context = grpc::Context {
            delivery: self.delivery.clone(),
            ingest: self.ingest.clone(),
            links,
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
        self.ingest.reload(config.endpoints);
        Ok(self.auth.reload().await?)
    }

    /// Polls an endpoint now, besides its schedule.
    pub async fn poll(&self, endpoint: &EndpointName) -> anyhow::Result<()> {
        Ok(self.fetcher.poll(endpoint).await?)
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
        self.fetcher.stop().await;
        self.delivery.drain(self.settle_within).await;
        drop((self.delivery, self.ingest));
        // Streams that were cut may hold the writer's queue for a moment longer.
        let _ = tokio::time::timeout(self.settle_within, self.writer).await;
        self.store.close().await;
        result
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
