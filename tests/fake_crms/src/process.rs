//! A gateway and connectors as processes of their own, over a folder that outlives them: they can be
//! killed, terminated, and started again on the same ports. A process that is dropped is killed. The
//! binaries are those beside the running one.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rand::Rng;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::lives;

/// How long anything may take that should be quick.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Below what systems hand out to outgoing connections.
const PORTS: std::ops::Range<u16> = 15_000..31_000;

/// A folder with a gateway's store and configurations of connectors.
pub struct Site {
    folder: TempDir,
    http: u16,
    grpc: u16,
    admin: u16,
}

/// A running process.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Site {
    /// A gateway with an endpoint `stripe/test` and these further settings. Nothing runs yet.
    pub fn new(settings: &str) -> io::Result<Site> {
        let folder = TempDir::new()?;
        let site = Site { folder, http: free_port(), grpc: free_port(), admin: free_port() };
        let (http, grpc, admin) = (site.http, site.grpc, site.admin);
        let secret = lives::SECRET;
        let config = format!(
            "auth.mode = \"none\"\n\
             store.url = \"sqlite://tollgate.db\"\n\
             http.listen = \"127.0.0.1:{http}\"\n\
             grpc.listen = \"127.0.0.1:{grpc}\"\n\
             grpc.heartbeat_seconds = 1\n\
             admin.listen = \"127.0.0.1:{admin}\"\n\
             [[endpoints]]\n\
             provider = \"stripe\"\n\
             name = \"test\"\n\
             secrets.webhook_secret = \"{secret}\"\n\
             {settings}\n"
        );
        std::fs::write(site.folder.path().join("tollgate.toml"), config)?;
        Ok(site)
    }

    /// Where everything is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where providers post.
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// Where subscribers connect.
    pub fn grpc_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }

    /// Starts the gateway and waits until it takes connections.
    pub async fn start_gateway(&self) -> io::Result<Process> {
        let mut process =
            self.spawn("tollgate", &["serve", "--config", "tollgate.toml"], "gateway")?;
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.grpc)).await.is_err() {
            if process.ended().is_some() || started.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("no gateway: {}", process.said())));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(process)
    }

    /// Writes the configuration of a connector: this subscription from the first event on, these settings
    /// below `[connector]`, and the double's tables. Its name for the other calls.
    pub fn configure(
        &self,
        subscription: &str,
        connector: &str,
        tables: &str,
    ) -> io::Result<String> {
        let name = format!("{subscription}.toml");
        let grpc = self.grpc_url();
        let config = format!(
            "[gateway]\n\
             address = \"{grpc}\"\n\
             subscription = \"{subscription}\"\n\
             start = \"earliest\"\n\
             [connector]\n\
             memory = \"{subscription}.memory.db\"\n\
             {connector}\n\
             {tables}\n"
        );
        std::fs::write(self.folder.path().join(&name), config)?;
        Ok(name)
    }

    /// Starts a connector with a configuration of [`Site::configure`].
    pub fn start_connector(&self, crm: &str, config: &str) -> io::Result<Process> {
        self.spawn("tollgate-connect", &[crm, "run", "--config", config], config)
    }

    /// Starts one process of connectors with these configurations, which logs this much.
    pub fn start_connectors(&self, crm: &str, configs: &[&str], log: &str) -> io::Result<Process> {
        let mut arguments = vec![crm, "run"];
        arguments.extend(configs.iter().flat_map(|config| ["--config", *config]));
        let file = self.folder.path().join(format!("{}.log", configs.join("+")));
        let errors = File::options().create(true).append(true).open(&file)?;
        let mut command = self.command("tollgate-connect", &arguments);
        let child =
            command.env("TOLLGATE_LOG", log).stdout(Stdio::null()).stderr(errors).spawn()?;
        Ok(Process { child, log: file })
    }

    /// Runs a command of the connectors, or of the gateway, to its end.
    pub fn run(&self, binary: &str, arguments: &[&str]) -> io::Result<Output> {
        self.command(binary, arguments).output()
    }

    fn spawn(&self, binary: &str, arguments: &[&str], log: &str) -> io::Result<Process> {
        let log = self.folder.path().join(format!("{log}.log"));
        let errors = File::options().create(true).append(true).open(&log)?;
        let mut command = self.command(binary, arguments);
        let child = command.stdout(Stdio::null()).stderr(errors).spawn()?;
        Ok(Process { child, log })
    }

    fn command(&self, binary: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary_path(binary));
        command
            .args(arguments)
            .env_clear()
            .env("TOLLGATE_LOG", "info")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }
}

impl Process {
    /// What SIGKILL does: it ends in the middle of whatever it does.
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(mut self) -> io::Result<ExitStatus> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if started.elapsed() > PATIENCE {
                return Err(io::Error::other("it does not stop"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it logged, over all its starts.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn end(&mut self) {
        // Of a process that has ended already there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(25)..].join("\n  ");
            eprintln!("last words in {}:\n  {last}", self.log.display());
        }
    }
}

/// A binary of the workspace: beside the running one, or beside the folder of tests and examples.
fn binary_path(binary: &str) -> PathBuf {
    let running = std::env::current_exe().unwrap_or_default();
    let folders = running.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(binary)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{binary} is not built: `cargo build --workspace --bins` does it")
    })
}

/// From a random place on, so that runs side by side hardly ever meet.
fn free_port() -> u16 {
    loop {
        let port = rand::rng().random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until `look` finds something; what it waited for if that takes too long.
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
