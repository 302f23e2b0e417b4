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
use tollgate::grpc::convert::CODEC;
use tollgate::ingest::fetch::install_crypto;
use tollgate::providers::{self, Endpoint, PROVIDERS, Provider, SampleOrder};
use tollgate::receipt::Request;
use tollgate::receipt::signature::sign_hmac_sha256;
use tollgate::store::{SqliteStore, Store};
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
    providers: &'static [Provider],
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
        TestGateway::over_store(config, |path| async move {
            Arc::new(open_store(&path).await) as Arc<dyn Store>
        })
        .await
    }

    /// With this configuration, over the store that `open` gives for the path of a new database.
    pub async fn over_store<F: Future<Output = Arc<dyn Store>>>(
        config: Config,
        open: impl FnOnce(PathBuf) -> F,
    ) -> TestGateway {
        TestGateway::of_providers(PROVIDERS, config, open).await
    }

    /// As `over_store`, with these providers.
    pub async fn of_providers<F: Future<Output = Arc<dyn Store>>>(
        providers: &'static [Provider],
        config: Config,
        open: impl FnOnce(PathBuf) -> F,
    ) -> TestGateway {
        let directory = Arc::new(TempDir::new().expect("a temporary directory"));
        let store = open(directory.path().join("tollgate.db")).await;
        TestGateway::over(store, directory, config, TestClock::default(), providers).await
    }

    async fn over(
        store: Arc<dyn Store>,
        directory: Arc<TempDir>,
        mut config: Config,
        clock: TestClock,
        providers: &'static [Provider],
    ) -> TestGateway {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        config.store.path = directory.path().join("tollgate.db");
        let bind = || async { TcpListener::bind(any).await.expect("a free port") };
        let listeners = Listeners { http: bind().await, grpc: bind().await, admin: bind().await };
        let address = |listener: &TcpListener| listener.local_addr().expect("bound");
        let (http, grpc, admin) =
            (address(&listeners.http), address(&listeners.grpc), address(&listeners.admin));
        let time = clock.clone();
        let clock_of = Arc::new(move || time.now());
        let gateway = Gateway::of_providers(providers, store, config.clone(), listeners, clock_of);
        let gateway = Some(gateway.await.expect("the gateway starts"));
        install_crypto();
        let requests = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        TestGateway { gateway, config, clock, http, grpc, admin, directory, providers, requests }
    }

    /// Stops it cleanly and starts it again over the same store, on other ports.
    pub async fn restart(mut self) -> TestGateway {
        self.stop().await;
        let store = Arc::new(open_store(&self.store_path()).await);
        let (directory, config) = (self.directory.clone(), self.config.clone());
        TestGateway::over(store, directory, config, self.clock.clone(), self.providers).await
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

    /// A client with a new token of these scopes, and the token's text.
    pub async fn client_for(&self, scopes: &[&str]) -> (Client, String) {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let created = self.gateway().auth().create("a test".to_owned(), scopes, None).await;
        let (_, secret) = created.expect("a token");
        (self.client_with(&secret).await, secret)
    }

    /// A client that shows this token.
    pub async fn client_with(&self, token: &str) -> Client {
        let builder = Client::builder(format!("http://{}", self.grpc)).token(token);
        builder.connect().await.expect("the gateway answers")
    }

    /// The configuration that it runs with.
    pub fn config(&self) -> &Config {
        &self.config
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
        self.sample_of_at("stripe/test", event_type, seed, occurred_at)
    }

    /// As `sample`, of any provider's endpoint.
    pub fn sample_of(&self, endpoint: &str, event_type: &str, seed: &str) -> Request {
        self.sample_of_at(endpoint, event_type, seed, self.clock.now())
    }

    /// As `sample_of`, happening at this time.
    pub fn sample_of_at(
        &self,
        endpoint: &str,
        event_type: &str,
        seed: &str,
        occurred_at: Timestamp,
    ) -> Request {
        let endpoint = self.endpoint(endpoint);
        let provider = providers::find(endpoint.name.provider()).expect("a provider");
        let now = self.clock.now();
        let order = SampleOrder { event_type, seed, event_id: None, occurred_at, now };
        provider.sample_request(endpoint, &order).expect("a known event type")
    }

    /// A request with this body as Stripe would sign it now.
    pub fn signed(&self, body: impl Into<Vec<u8>>) -> Request {
        signed_with(STRIPE_SECRET, self.clock.now(), body.into())
    }

    /// Posts a signed Stripe event and expects it accepted.
    pub async fn accept_event(&self, event: &StripeEvent<'_>) {
        let (status, text) = self.post_for_reply(self.signed(event.body())).await;
        assert_eq!(status, 200, "{}: {text}", event.id);
    }

    /// Posts a request as it is; the status code of the answer.
    pub async fn post(&self, request: Request) -> u16 {
        self.post_for_reply(request).await.0
    }

    /// Posts a request as it is; the whole answer.
    pub async fn post_raw(&self, request: Request) -> reqwest::Response {
        let url = format!("http://{}{}", self.http, request.path);
        let mut headers = request.headers;
        headers.remove(http::header::HOST);
        let reply = self.requests.request(request.method, url).headers(headers).body(request.body);
        reply.send().await.expect("an answer")
    }

    /// Posts a request as it is; the status code and body of the answer.
    pub async fn post_for_reply(&self, request: Request) -> (u16, String) {
        let reply = self.post_raw(request).await;
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

/// The store at this path, as the gateway opens it.
pub async fn open_store(path: &Path) -> SqliteStore {
    SqliteStore::open(&path.to_string_lossy(), CODEC).await.expect("the store opens")
}

/// A request to the Stripe endpoint, signed with this secret at this time.
pub fn signed_with(secret: &str, at: Timestamp, body: Vec<u8>) -> Request {
    let time = at.as_second().to_string();
    let signature = sign_hmac_sha256(secret.as_bytes(), &[time.as_bytes(), b".", &body]);
    let mut headers = http::HeaderMap::new();
    let value = format!("t={time},v1={}", hex::encode(signature));
    headers.insert("stripe-signature", value.parse().expect("a header"));
    headers.insert("content-type", "application/json".parse().expect("a header"));
    let path = "/webhooks/stripe/test".to_owned();
    Request { method: http::Method::POST, path, headers, body: body.into() }
}

/// An event about a Stripe payment intent, with all that tests vary.
pub struct StripeEvent<'a> {
    /// The provider's id of the event.
    pub id: &'a str,
    pub event_type: &'a str,
    /// The provider's id of the payment.
    pub payment: &'a str,
    /// When it happened, in seconds since 1970.
    pub created: i64,
    pub amount: i64,
    pub currency: &'a str,
    pub live: bool,
    pub metadata: serde_json::Value,
}

impl<'a> StripeEvent<'a> {
    /// A live payment of 12.50 EUR that succeeded.
    pub fn paid(id: &'a str, payment: &'a str) -> StripeEvent<'a> {
        StripeEvent {
            id,
            event_type: "payment_intent.succeeded",
            payment,
            created: 1_790_000_000,
            amount: 1250,
            currency: "eur",
            live: true,
            metadata: serde_json::json!({}),
        }
    }

    /// As Stripe writes it.
    pub fn body(&self) -> Vec<u8> {
        let event = serde_json::json!({
            "id": self.id,
            "object": "event",
            "type": self.event_type,
            "created": self.created,
            "livemode": self.live,
            "data": { "object": {
                "id": self.payment,
                "object": "payment_intent",
                "amount": self.amount,
                "currency": self.currency,
                "metadata": self.metadata,
            } },
        });
        serde_json::to_vec(&event).expect("JSON")
    }
}
