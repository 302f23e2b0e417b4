//! The gateway that the demo runs: its temporary folder, its addresses, its endpoints with made-up
//! secrets, and what is said about them. It is started and stopped as `serve` does it.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::commands::output::line;
use crate::commands::send::samples;
use crate::commands::serve::{Gateway, Listeners};
use crate::config::{self, Config};
use crate::http::sample_api::{SampleApi, url_settings};
use crate::providers::{Endpoint, PROVIDERS, Provider};

/// The name of every endpoint here.
const ENDPOINT: &str = "demo";
/// Where the demo's payment link may lead.
pub const LINK_HOST: &str = "shop.example.com";
/// How long streams have to end at a stop.
const DRAIN_SECONDS: u32 = 2;

/// The gateway and where it is.
pub struct Stage {
    directory: TempDir,
    config: Config,
    gateway: Option<Gateway>,
    api: SampleApi,
}

impl Stage {
    /// Starts it, on the usual ports if they are wanted and free.
    pub async fn open(usual_ports: bool) -> anyhow::Result<Stage> {
        let directory = tempfile::Builder::new().prefix("tollgate-demo-").tempdir()?;
        let usual = Config::default();
        let port = |address: SocketAddr| if usual_ports { address.port() } else { 0 };
        let listeners = Listeners {
            http: bind(port(usual.http.listen)).await?,
            grpc: bind(port(usual.grpc.listen)).await?,
            admin: bind(port(usual.admin.listen)).await?,
        };
        let api = SampleApi::start((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let text = configuration(&listeners, &directory.path().join("tollgate.db"), &api.url())?;
        let file = directory.path().join("tollgate.toml");
        std::fs::write(&file, &text)
            .with_context(|| format!("could not write {}", file.display()))?;
        let config = Config::parse(&text, &file.display().to_string(), [])?;
        let gateway = Gateway::start(config.clone(), listeners, Arc::new(Timestamp::now)).await?;
        Ok(Stage { directory, config, gateway: Some(gateway), api })
    }

    /// Starts it again, at the same addresses and on the same store.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let listeners = Listeners::bind(&self.config).await?;
        let gateway = Gateway::start(self.config.clone(), listeners, Arc::new(Timestamp::now));
        self.gateway = Some(gateway.await?);
        Ok(())
    }

    /// Stops it cleanly.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.gateway.take() {
            Some(gateway) => gateway.stop().await,
            None => Ok(()),
        }
    }

    /// Where it takes webhooks.
    pub fn webhooks_url(&self) -> String {
        format!("http://{}", self.config.http.listen)
    }

    /// Where subscribers call.
    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.config.grpc.listen)
    }

    /// The API of every provider, which answers as samples say.
    pub fn api(&self) -> &SampleApi {
        &self.api
    }

    /// Its store's file.
    pub fn store_path(&self) -> PathBuf {
        self.config.store.path.clone()
    }

    /// A provider's endpoint.
    pub fn endpoint(&self, provider: &Provider) -> anyhow::Result<&Endpoint> {
        let endpoint =
            self.config.endpoints.iter().find(|one| one.name.provider() == provider.name);
        endpoint.with_context(|| format!("the demo has no endpoint of {}", provider.name))
    }

    /// Says what runs where.
    pub fn introduce(&self) -> anyhow::Result<()> {
        let names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.title).collect();
        line(&format!("A gateway runs on this machine, in {}", self.directory.path().display()))?;
        line(&format!("  webhooks      {}", self.webhooks_url()))?;
        line(&format!("  gRPC          {}", self.grpc_url()))?;
        line(&format!("  metrics       http://{}/metrics", self.config.admin.listen))?;
        line(&format!("  endpoints of  {}", names.join(", ")))?;
        Ok(line("Two subscribers are connected: a connector that writes to a CRM, and a watcher.")?)
    }

    /// Says how to go on without it.
    pub fn farewell(self) -> anyhow::Result<()> {
        line("  tollgate demo --keep   the same, and the gateway goes on running to be tried")?;
        Ok(line("  tollgate init          a configuration for a gateway of your own")?)
    }

    /// Says what to try while it runs.
    pub fn invite(&self) -> anyhow::Result<()> {
        let grpc = self.config.grpc.listen;
        let service = "tollgate.v1.SubscriptionService";
        let file = self.directory.path().join("tollgate.toml");
        line(&format!("\nThe gateway goes on running. Try, with grpcurl:\n  {}", [
            "# what it offers",
            &format!("grpcurl -plaintext {grpc} list"),
            "# the events from the beginning, as a subscription of your own",
            &format!(
                "grpcurl -plaintext -d '{{\"subscription\":\"mine\",\"createIfMissing\":true,\
                 \"start\":{{\"earliest\":true}}}}' {grpc} {service}/Subscribe"
            ),
            "# say that one is handled, with an ackId from above; the rest comes again after 30 s",
            &format!(
                "grpcurl -plaintext -d '{{\"subscription\":\"mine\",\"acks\":[{{\"ackId\":\
                 \"ACK_ID\",\"externalRef\":\"deal-7\"}}]}}' {grpc} {service}/Acknowledge"
            ),
            "# what became of the first payment",
            &format!(
                "grpcurl -plaintext -d '{{\"name\":\"payments/stripe/{ENDPOINT}/pi_1001\"}}' \
                 {grpc} tollgate.v1.PaymentService/GetPayment"
            ),
        ].join("\n  ")))?;
        line(&format!(
            "\nOr with this program, in another terminal:\n  {}",
            [
                &format!("tollgate tail --address {} --from earliest", self.grpc_url()),
                &format!("tollgate send stripe --config {}", file.display()),
                &format!("tollgate subscriptions list --address {}", self.grpc_url()),
            ]
            .map(String::as_str)
            .join("\n  ")
        ))?;
        Ok(line("\nCtrl-C stops it and removes the folder.")?)
    }
}

/// Waits for Ctrl-C or SIGTERM.
pub async fn until_stopped() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Listens on this machine alone: on the port, or on any if it is taken.
async fn bind(port: u16) -> anyhow::Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?),
    }
}

/// A configuration with an endpoint of each provider.
fn configuration(
    listeners: &Listeners,
    store: &std::path::Path,
    api: &str,
) -> anyhow::Result<String> {
    let (http, grpc, admin) =
        (listeners.http.local_addr()?, listeners.grpc.local_addr()?, listeners.admin.local_addr()?);
    let mut text = format!(
        "[store]\nurl = \"sqlite://{}\"\n[http]\nlisten = \"{http}\"\n[grpc]\nlisten = \"{grpc}\"\n\
         heartbeat_seconds = 1\ndrain_seconds = {DRAIN_SECONDS}\n[admin]\nlisten = \"{admin}\"\n\
         [auth]\nmode = \"none\"\n[links]\nallowed_hosts = [\"{LINK_HOST}\"]\n",
        store.display()
    );
    for provider in PROVIDERS {
        write!(text, "[[endpoints]]\nprovider = \"{}\"\nname = \"{ENDPOINT}\"\n", provider.name)?;
        for (key, value) in samples::made_up_keys(provider) {
            writeln!(text, "{key} = {}", config::quoted(&value))?;
        }
        for setting in url_settings(provider.settings) {
            writeln!(text, "{setting} = \"{api}\"")?;
        }
    }
    Ok(text)
}
