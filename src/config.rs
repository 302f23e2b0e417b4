//! The gateway's configuration: one struct, read from a TOML file and the environment, checked once at
//! start. In come the file and the variables (`TOLLGATE_GRPC__LISTEN` goes before `listen` of `[grpc]`);
//! out comes a `Config` whose values are all valid and fit together, or all mistakes at once, each with
//! its file, key and reason. It never opens a listener or the store, and never shows a secret: neither
//! in a mistake nor in its debug form.

mod endpoints;
mod fetch;
mod links;
mod log;
mod mistake;
mod network;
mod reader;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::providers::{Endpoint, PROVIDERS, Provider};
use reader::{Environment, Reader};

pub use fetch::Fetch;
pub use links::{Invoices, Links};
pub use log::{Log, LogFormat};
pub use mistake::{Error, Mistake};
pub use network::Network;

/// A text as it is written in a configuration.
pub fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// What a variable's name begins with.
pub const ENVIRONMENT_PREFIX: &str = "TOLLGATE_";
/// The largest configuration, certificate or secret file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the log is kept.
    pub store: Store,
    /// The listener that providers post to.
    pub http: Http,
    /// The listener that subscribers call.
    pub grpc: Grpc,
    /// The listener for people and monitoring.
    pub admin: Admin,
    /// What providers' APIs are asked for.
    pub fetch: Fetch,
    /// Who may call.
    pub auth: Auth,
    /// Tracked payment links.
    pub links: Links,
    /// What is done about invoices.
    pub invoices: Invoices,
    /// What is logged.
    pub log: Log,
    /// The accounts at providers.
    pub endpoints: Vec<Endpoint>,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The SQLite file of `url`, as written: relative to the working directory or absolute.
    pub path: PathBuf,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How the outside reaches it, without a slash at the end; some providers sign the URL they call.
    pub public_url: String,
    /// The largest request body.
    pub max_body_bytes: usize,
    /// How long a request may take to arrive.
    pub read_timeout: Duration,
    /// How many connections it holds.
    pub max_connections: usize,
    /// How many requests a second one endpoint may get; `None` for any number.
    pub max_requests_per_second_per_endpoint: Option<NonZeroU32>,
    /// Whether the last refused requests are kept in memory, for `doctor`.
    pub keep_refused: bool,
}

/// `[grpc]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grpc {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether it may serve others than this machine without TLS.
    pub plaintext: bool,
    /// How many connections it holds.
    pub max_connections: usize,
    /// How many streams one connection may have.
    pub max_streams_per_connection: u32,
    /// The largest message that it reads or writes.
    pub max_message_bytes: usize,
    /// How long a stream lives before it is asked to connect again; each gets its own jitter.
    pub stream_max_age: Duration,
    /// How often an idle connection is probed.
    pub keepalive: Duration,
    /// How often a quiet stream gets a heartbeat.
    pub heartbeat: Duration,
    /// How long open streams have to end at shutdown.
    pub drain: Duration,
    /// Its TLS; `None` for plaintext.
    pub tls: Option<Tls>,
}

/// `[grpc.tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The PEM file of the certificate chain.
    pub certificate: PathBuf,
    /// The PEM file of its private key.
    pub key: PathBuf,
    /// The PEM file of the authority that clients' certificates must come from; `None` asks for none.
    pub client_ca: Option<PathBuf>,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The names under which it may be called, without port.
    pub allowed_hosts: Vec<String>,
}

/// `[auth]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth {
    /// How a caller shows who it is.
    pub mode: AuthMode,
}

/// How a caller shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// By a token.
    Token,
    /// Not at all; only with every listener on loopback.
    None,
}

impl Config {
    /// Reads and checks a file and these variables. Loading again is how a running gateway takes up
    /// changed endpoints.
    pub fn load(
        path: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, Error> {
        let file = path.display().to_string();
        let text = reader::read_file(path).map_err(|reason| {
            let place = file.clone();
            Error(vec![Mistake { place, key: String::new(), reason }])
        })?;
        Config::parse(&text, &file, environment)
    }

    /// Checks the text of a file and these variables; `file` is what mistakes call the text.
    pub fn parse(
        text: &str,
        file: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, Error> {
        parse_for(PROVIDERS, text, file, environment.into_iter().collect())
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::parse("", "defaults", []).expect("the defaults are valid and fit together")
    }
}

/// The variables of this process, without those that are not text.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn parse_for(
    providers: &'static [Provider],
    text: &str,
    file: &str,
    environment: Environment,
) -> Result<Config, Error> {
    let mut reader = Reader::new(text, file, &environment)?;
    let http = read_http(&mut reader);
    let mut config = Config {
        store: read_store(&mut reader),
        grpc: read_grpc(&mut reader),
        admin: read_admin(&mut reader),
        fetch: fetch::read(&mut reader),
        auth: Auth {
            mode: reader
                .choice("auth.mode", &[("token", AuthMode::Token), ("none", AuthMode::None)]),
        },
        links: links::read_links(&mut reader),
        invoices: links::read_invoices(&mut reader),
        log: log::read(&mut reader),
        endpoints: Vec::new(),
        http,
    };
    check_listeners(&config, &mut reader);
    config.endpoints = endpoints::read(&mut reader, providers, &config.http.public_url);
    reader.finish()?;
    Ok(config)
}

fn read_store(reader: &mut Reader<'_>) -> Store {
    const KEY: &str = "store.url";
    let url = reader.text(KEY, "sqlite://tollgate.db");
    let path = match url.split_once("://") {
        Some(("sqlite", path)) if path.contains(['?', '#']) => {
            Err("takes no parameters: how the file is opened and synced is fixed".to_owned())
        }
        Some(("sqlite", path)) if !path.is_empty() && !path.starts_with(':') => Ok(path),
        Some(("postgres" | "postgresql", _)) => {
            Err("this build has no PostgreSQL store; use `sqlite://PATH`".to_owned())
        }
        // The value is not repeated: a URL of another kind may hold a password.
        Some(_) | None => Err("is not of the form `sqlite://PATH`".to_owned()),
    };
    let path = path.unwrap_or_else(|reason| {
        reader.refuse(KEY, reason);
        ""
    });
    Store { path: PathBuf::from(path) }
}

fn read_http(reader: &mut Reader<'_>) -> Http {
    let listen = reader.address("http.listen", "127.0.0.1:8080");
    Http {
        listen,
        public_url: read_public_url(reader, listen),
        max_body_bytes: reader.size("http.max_body_bytes", 1024 * 1024, 1024..=64 * 1024 * 1024),
        read_timeout: reader.seconds("http.read_timeout_seconds", 10, 1..=300),
        max_connections: reader.size("http.max_connections", 4096, 1..=1_000_000),
        max_requests_per_second_per_endpoint: NonZeroU32::new(reader.number(
            "http.max_requests_per_second_per_endpoint",
            0,
            0..=1_000_000,
        )),
        keep_refused: reader.switch("http.keep_refused", false),
    }
}

fn read_public_url(reader: &mut Reader<'_>, listen: SocketAddr) -> String {
    const KEY: &str = "http.public_url";
    let url = reader.text(KEY, "");
    if url.is_empty() {
        return format!("http://{listen}");
    }
    let valid = url.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.query().is_none()
    });
    if !valid || url.contains('#') {
        reader.refuse(KEY, "is not of the form `https://hooks.example.com`".to_owned());
    }
    url.trim_end_matches('/').to_owned()
}

fn read_grpc(reader: &mut Reader<'_>) -> Grpc {
    const DAY_SECONDS: u32 = 24 * 60 * 60;
    Grpc {
        listen: reader.address("grpc.listen", "127.0.0.1:50051"),
        plaintext: reader.switch("grpc.plaintext", false),
        max_connections: reader.size("grpc.max_connections", 1024, 1..=1_000_000),
        max_streams_per_connection: reader.number(
            "grpc.max_streams_per_connection",
            100,
            1..=10_000,
        ),
        max_message_bytes: reader.size(
            "grpc.max_message_bytes",
            4 * 1024 * 1024,
            64 * 1024..=64 * 1024 * 1024,
        ),
        stream_max_age: reader.seconds("grpc.stream_max_age_seconds", 3600, 10..=7 * DAY_SECONDS),
        keepalive: reader.seconds("grpc.keepalive_seconds", 20, 5..=600),
        heartbeat: reader.seconds("grpc.heartbeat_seconds", 10, 1..=15),
        drain: reader.seconds("grpc.drain_seconds", 20, 1..=600),
        tls: read_tls(reader),
    }
}

fn read_tls(reader: &mut Reader<'_>) -> Option<Tls> {
    let certificate = reader.path("grpc.tls.certificate");
    let key = reader.path("grpc.tls.key");
    let client_ca = reader.path("grpc.tls.client_ca");
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Tls { certificate, key, client_ca }),
        (Some(_), None) => {
            let reason = "needs `grpc.tls.key` too".to_owned();
            reader.refuse("grpc.tls.certificate", reason);
            None
        }
        (None, Some(_)) => {
            let reason = "needs `grpc.tls.certificate` too".to_owned();
            reader.refuse("grpc.tls.key", reason);
            None
        }
        (None, None) => {
            if client_ca.is_some() {
                let reason = "needs `grpc.tls.certificate` and `grpc.tls.key` too".to_owned();
                reader.refuse("grpc.tls.client_ca", reason);
            }
            None
        }
    }
}

fn read_admin(reader: &mut Reader<'_>) -> Admin {
    const KEY: &str = "admin.allowed_hosts";
    let listen = reader.address("admin.listen", "127.0.0.1:9090");
    let allowed_hosts = reader.list(KEY, &["localhost", "127.0.0.1", "[::1]"]);
    for host in &allowed_hosts {
        let authority = host.parse::<http::uri::Authority>();
        if !authority.is_ok_and(|authority| authority.host() == host) {
            reader.refuse(KEY, format!("`{host}` is not a host name or address without port"));
        }
    }
    Admin { listen, allowed_hosts }
}

/// Refuses listeners that would serve strangers without the protection they need.
fn check_listeners(config: &Config, reader: &mut Reader<'_>) {
    let listeners = [
        ("http.listen", config.http.listen),
        ("grpc.listen", config.grpc.listen),
        ("admin.listen", config.admin.listen),
    ];
    for (index, (key, address)) in listeners.iter().enumerate() {
        let taken = listeners[..index].iter().find(|(_, other)| other == address);
        if let Some((other, _)) = taken.filter(|_| address.port() != 0) {
            reader.refuse(key, format!("`{address}` is taken by `{other}` already"));
        }
    }
    let open = listeners.iter().find(|(_, address)| !address.ip().is_loopback());
    if let (AuthMode::None, Some((key, address))) = (config.auth.mode, open) {
        let reason = format!(
            "`none` lets anyone in, so every listener must be on loopback, but `{key}` is `{address}`"
        );
        reader.refuse("auth.mode", reason);
    }
    let grpc = &config.grpc;
    if !grpc.listen.ip().is_loopback() && grpc.tls.is_none() && !grpc.plaintext {
        let reason = format!(
            "`{}` is not on loopback and has no TLS, so tokens and payments would cross the network in \
             plain text; configure `[grpc.tls]`, or set `grpc.plaintext = true` behind a proxy that \
             encrypts",
            grpc.listen
        );
        reader.refuse("grpc.listen", reason);
    }
    if grpc.plaintext && grpc.tls.is_some() {
        reader.refuse("grpc.plaintext", "contradicts `[grpc.tls]`; remove one of them".to_owned());
    }
}

/// All keys but those of endpoints, so that whatever lists them can be checked.
#[cfg(test)]
pub(crate) fn known_keys() -> Vec<&'static str> {
    let environment = Environment::new();
    let mut reader = Reader::new("", "", &environment).expect("an empty file is valid");
    read_http(&mut reader);
    read_store(&mut reader);
    read_grpc(&mut reader);
    read_admin(&mut reader);
    fetch::read(&mut reader);
    log::read(&mut reader);
    links::read_links(&mut reader);
    links::read_invoices(&mut reader);
    reader.choice("auth.mode", &[("token", ())]);
    reader.known().to_vec()
}

#[cfg(test)]
mod tests;
