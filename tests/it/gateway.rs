//! `TestGateway`: the whole gateway in this process, on free ports, over a temporary store, with a
//! clock that tests may hold. Requests go in over real HTTP, everything else over real gRPC by the SDK.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tollgate::commands::serve::{Gateway, Listeners};
use tollgate::config::Config;
use tollgate::providers::{self, Endpoint, SampleOrder};
use tollgate::receipt::Request;
use tollgate_client::Client;

/// The secret of the Stripe endpoint that every test gateway has.
pub const STRIPE_SECRET: &str = "whsec_test_0123456789abcdef";

/// A gateway under test.
pub struct TestGateway {
    gateway: Option<Gateway>,
    config: Config,
    clock: TestClock,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    directory: Arc<TempDir>,
    requests: reqwest::Client,
}

/// A clock that runs on its own until a test sets it.
#[derive(Clone, Default)]
pub struct TestClock {
    fixed_us: Arc<AtomicI64>,
}

impl TestClock {
    /// Stands at this time from now on.
    pub fn set(&self, time: Timestamp) {
        self.fixed_us.store(time.as_microsecond(), Ordering::SeqCst);
    }

    pub fn now(&self) -> Timestamp {
        match self.fixed_us.load(Ordering::SeqCst) {
            0 => Timestamp::now(),
            at => Timestamp::from_microsecond(at).expect("a time that was set"),
        }
    }
}

/// The configuration of a test gateway: one Stripe endpoint, no credentials, short heartbeats.
pub fn config(extra: &str) -> Config {
    let text = format!(
        r#"
        [auth]
        mode = "none"
        [grpc]
        heartbeat_seconds = 1
        drain_seconds = 5
        [[endpoints]]
        provider = "stripe"
        name = "test"
        secrets.webhook_secret = "{STRIPE_SECRET}"
        {extra}
        "#
    );
    Config::parse(&text, "test", []).expect("a valid test configuration")
}

impl TestGateway {
    /// With the usual configuration.
    pub async fn start() -> TestGateway {
        TestGateway::with(config("")).await
    }

    /// With this configuration, over a store of its own.
    pub async fn with(config: Config) -> TestGateway {
        let directory = Arc::new(TempDir::new().expect("a temporary directory"));
        TestGateway::over(directory, config, TestClock::default()).await
    }

    async fn over(directory: Arc<TempDir>, mut config: Config, clock: TestClock) -> TestGateway {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        config.store.path = directory.path().join("tollgate.db");
        let bind = || async { TcpListener::bind(any).await.expect("a free port") };
        let listeners = Listeners { http: bind().await, grpc: bind().await, admin: bind().await };
        let address = |listener: &TcpListener| listener.local_addr().expect("bound");
        let (http, grpc, admin) =
            (address(&listeners.http), address(&listeners.grpc), address(&listeners.admin));
        let time = clock.clone();
        let gateway = Gateway::start(config.clone(), listeners, Arc::new(move || time.now()));
        let gateway = Some(gateway.await.expect("the gateway starts"));
        let requests = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        TestGateway { gateway, config, clock, http, grpc, admin, directory, requests }
    }

    /// Stops it cleanly and starts it again over the same store, on other ports.
    pub async fn restart(mut self) -> TestGateway {
        self.stop().await;
        TestGateway::over(self.directory.clone(), self.config.clone(), self.clock.clone()).await
    }

    /// Stops it cleanly.
    pub async fn stop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop().await.expect("a clean stop");
        }
    }

    /// The running gateway.
    pub fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("running")
    }

    /// The clock that it goes by.
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// Where its store is.
    pub fn store_path(&self) -> PathBuf {
        self.directory.path().join("tollgate.db")
    }

    /// Its temporary directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A client without a credential.
    pub async fn client(&self) -> Client {
        Client::connect(format!("http://{}", self.grpc)).await.expect("the gateway answers")
    }

    /// One of its endpoints.
    pub fn endpoint(&self, name: &str) -> &Endpoint {
        let found = self.config.endpoints.iter().find(|one| one.name.as_str() == name);
        found.expect("a configured endpoint")
    }

    /// A signed sample of a Stripe event about the payment of `seed`.
    pub fn sample(&self, event_type: &str, seed: &str) -> Request {
        self.sample_at(event_type, seed, self.clock.now())
    }

    /// As `sample`, happening at this time.
    pub fn sample_at(&self, event_type: &str, seed: &str, occurred_at: Timestamp) -> Request {
        let endpoint = self.endpoint("stripe/test");
        let provider = providers::find("stripe").expect("a provider");
        let now = self.clock.now();
        let order = SampleOrder { event_type, seed, event_id: None, occurred_at, now };
        (provider.sample)(endpoint, &order).expect("a known event type")
    }

    /// Posts a request as it is; the status code of the answer.
    pub async fn post(&self, request: Request) -> u16 {
        self.post_for_reply(request).await.0
    }

    /// Posts a request as it is; the status code and body of the answer.
    pub async fn post_for_reply(&self, request: Request) -> (u16, String) {
        let url = format!("http://{}{}", self.http, request.path);
        let mut headers = request.headers;
        headers.remove(http::header::HOST);
        let reply = self.requests.request(request.method, url).headers(headers).body(request.body);
        let reply = reply.send().await.expect("an answer");
        (reply.status().as_u16(), reply.text().await.expect("a body"))
    }

    /// Posts a sample and expects it accepted.
    pub async fn accept(&self, event_type: &str, seed: &str) {
        assert_eq!(self.post(self.sample(event_type, seed)).await, 200, "{event_type} {seed}");
    }

    /// A page of the admin listener.
    pub async fn admin_page(&self, path: &str) -> (u16, String) {
        let reply = self.requests.get(format!("http://{}{path}", self.admin)).send().await;
        let reply = reply.expect("an answer");
        (reply.status().as_u16(), reply.text().await.expect("a body"))
    }
}
