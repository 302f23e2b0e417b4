//! The real thing: `tollgate serve` as a process of its own, over a directory that outlives it, on ports
//! that stay the same from one start to the next. It can be killed, terminated and started again, and
//! its memory, files and threads can be counted. A process that is dropped is killed.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rand::Rng;
use tempfile::TempDir;
use tollgate::config::Config;
use tollgate::providers::{self, Endpoint, SampleOrder};
use tollgate::receipt::Request;
use tollgate_client::Client;

use crate::gateway::STRIPE_SECRET;

/// How long anything may take that should be quick, on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether something is so by now.
const POLL: Duration = Duration::from_millis(5);
/// Below what systems hand out to outgoing connections, so that no client sits on a gateway's port while
/// the gateway is down.
const PORTS: std::ops::Range<u16> = 15_000..31_000;
/// How long one request may take, from connect to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Where a gateway lives: its ports, configuration and store.
pub struct Site {
    directory: TempDir,
    store: PathBuf,
    extra: String,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    requests: reqwest::Client,
}

/// A running gateway.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Site {
    /// With one Stripe endpoint, no credentials, short heartbeats, and these settings.
    pub fn new(extra: &str) -> Site {
        let directory = TempDir::new().expect("a temporary directory");
        let store = directory.path().join("tollgate.db");
        tollgate::ingest::fetch::install_crypto();
        let requests = reqwest::Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build();
        Site {
            store,
            directory,
            extra: extra.to_owned(),
            http: free_address(),
            grpc: free_address(),
            admin: free_address(),
            requests: requests.expect("an HTTP client"),
        }
    }

    /// Keeps its store in this directory.
    pub fn store_in(mut self, directory: &Path) -> Site {
        self.store = directory.join("tollgate.db");
        self
    }

    /// Another gateway over the same store, on other ports.
    pub fn beside(&self) -> Site {
        let directory = self.store.parent().expect("the store is in a directory");
        Site::new(&self.extra).store_in(directory)
    }

    /// Where its store is.
    pub fn store_path(&self) -> &Path {
        &self.store
    }

    fn config(&self) -> String {
        let Site { http, grpc, admin, extra, .. } = self;
        let store = self.store.display();
        format!(
            r#"
            store.url = "sqlite://{store}"
            http.listen = "{http}"
            admin.listen = "{admin}"
            auth.mode = "none"
            grpc.listen = "{grpc}"
            grpc.heartbeat_seconds = 1
            {extra}
            [[endpoints]]
            provider = "stripe"
            name = "test"
            secrets.webhook_secret = "{STRIPE_SECRET}"
            "#
        )
    }

    /// Starts the gateway and waits until it is ready. A port that somebody took meanwhile is waited for.
    pub async fn start(&self) -> Process {
        let started = Instant::now();
        loop {
            let mut process = self.spawn();
            if self.ready(&mut process).await {
                return process;
            }
            let said = process.said();
            let taken = said.contains("could not listen on");
            assert!(taken && started.elapsed() < PATIENCE, "the gateway did not start: {said}");
        }
    }

    /// Starts the gateway, whatever becomes of it.
    pub fn spawn(&self) -> Process {
        self.spawn_by(Command::new(env!("CARGO_BIN_EXE_tollgate")))
    }

    /// The same, but a write beyond the limit of a file's size is an error to it and not its end.
    pub fn spawn_with_file_limits(&self) -> Process {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
        shell.arg(env!("CARGO_BIN_EXE_tollgate"));
        self.spawn_by(shell)
    }

    fn spawn_by(&self, mut command: Command) -> Process {
        let config = self.directory.path().join("tollgate.toml");
        std::fs::write(&config, self.config()).expect("the configuration can be written");
        let log = self.directory.path().join("log");
        let errors = File::create(&log).expect("the log can be written");
        let child = command
            .args(["serve", "--config"])
            .arg(&config)
            .env_clear()
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn();
        Process { child: child.expect("the binary runs"), log }
    }

    /// Waits until it is ready; false if it ended before.
    pub async fn ready(&self, process: &mut Process) -> bool {
        until("the gateway is ready", PATIENCE, async || {
            if process.ended().is_some() {
                return Some(false);
            }
            let (status, _) = self.admin_page("/readyz").await?;
            (status == 200).then_some(true)
        })
        .await
    }

    /// A page of the admin listener; `None` if nobody answers.
    pub async fn admin_page(&self, path: &str) -> Option<(u16, String)> {
        let reply = self.requests.get(format!("http://{}{path}", self.admin)).send().await.ok()?;
        Some((reply.status().as_u16(), reply.text().await.ok()?))
    }

    /// A client that connects with its first call, and again after each restart.
    pub fn client(&self) -> Client {
        let lazy = Client::builder(format!("http://{}", self.grpc)).connect_lazy();
        lazy.expect("a valid address")
    }

    /// A signed sample of a Stripe event about the payment of `seed`.
    pub fn sample(&self, event_type: &str, seed: &str) -> Request {
        let now = Timestamp::now();
        let order = SampleOrder { event_type, seed, event_id: None, occurred_at: now, now };
        let provider = providers::find("stripe").expect("a provider");
        provider.sample_request(&self.endpoint(), &order).expect("a known event type")
    }

    fn endpoint(&self) -> Endpoint {
        let config = Config::parse(&self.config(), "test", []).expect("a valid configuration");
        config.endpoints.into_iter().next().expect("one endpoint")
    }

    /// Posts a request as it is; the status code, or `None` if no answer came.
    pub async fn post(&self, request: &Request) -> Option<u16> {
        let url = format!("http://{}{}", self.http, request.path);
        let sent = self.requests.request(request.method.clone(), url);
        let sent = sent.headers(request.headers.clone()).body(request.body.clone()).send().await;
        Some(sent.ok()?.status().as_u16())
    }
}

impl Process {
    /// What SIGKILL does: it ends in the middle of whatever it does.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        let done = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(done.success(), "could not send SIGTERM");
    }

    /// Limits the size of the files that it writes, or not; false where that cannot be done.
    pub fn limit_files(&self, max_bytes: Option<u64>) -> bool {
        let limit = max_bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let mut prlimit = Command::new("prlimit");
        prlimit.arg(format!("--pid={}", self.child.id())).arg(format!("--fsize={limit}:"));
        prlimit.status().is_ok_and(|status| status.success())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its state is known")
    }

    /// Waits until it has ended.
    pub async fn wait(&mut self, within: Duration) -> ExitStatus {
        until("the gateway has ended", within, async || self.ended()).await
    }

    /// Asks it to end and waits until it has, which must go well.
    pub async fn stop(mut self) {
        self.terminate();
        let status = self.wait(PATIENCE).await;
        assert!(status.success(), "{status}: {}", self.said());
    }

    /// What it logged.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its resident memory.
    pub fn memory_bytes(&self) -> u64 {
        self.status_line("VmRSS:") * 1024
    }

    /// How many threads it has.
    pub fn threads(&self) -> u64 {
        self.status_line("Threads:")
    }

    /// How many files and connections it has open.
    pub fn open_files(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        open.expect("the process runs").count()
    }

    fn status_line(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a known line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Of a process that has ended already there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let mut said = String::new();
            let _ = writeln!(said, "the gateway's last words:");
            let log = self.said();
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(20)..] {
                let _ = writeln!(said, "  {line}");
            }
            eprintln!("{said}");
        }
    }
}

/// Waits until `look` finds something, and fails the test if it does not in time.
pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < within, "not so within {within:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Each is given out once: from a random one on, so that test runs side by side hardly ever meet.
fn free_address() -> SocketAddr {
    static GIVEN: LazyLock<AtomicU16> =
        LazyLock::new(|| AtomicU16::new(rand::rng().random_range(0..PORTS.end - PORTS.start)));
    loop {
        let offset = GIVEN.fetch_add(1, Ordering::SeqCst) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORTS.start + offset));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
