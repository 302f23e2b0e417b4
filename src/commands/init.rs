//! `tollgate init`: writes a configuration with every key, its default and what it is for, and an
//! example endpoint of every provider. In comes the path; out comes the file. It must never overwrite
//! one without `--force`, since what stands there may be the only copy.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::config;
use crate::providers::{PROVIDERS, Provider};

/// All keys but those of endpoints. What stands behind `# ` is the default.
const TEMPLATE: &str = r#"# The configuration of a Tollgate gateway: `tollgate serve --config tollgate.toml`.
#
# Every key has a default, which is shown behind `# `; remove that to change it. A variable goes before
# the file: TOLLGATE_GRPC__LISTEN is `listen` of `[grpc]`. Paths are relative to the working directory.
# SIGHUP takes up changed endpoints and secrets without dropping a connection.

[store]
# The log. There may be one gateway on a file.
# url = "sqlite://tollgate.db"

[http]
# Providers post to POST /webhooks/{provider}/{name} here.
# listen = "127.0.0.1:8080"
# How providers reach it from outside; some sign the URL that they call. Default: http:// and `listen`.
# public_url = "http://127.0.0.1:8080"
# 1024 to 67108864.
# max_body_bytes = 1048576
# How long a request may take to arrive.
# read_timeout_seconds = 10
# max_connections = 4096
# 0 for any number.
# max_requests_per_second_per_endpoint = 0
# Whether the last 20 refused requests of each endpoint are kept in memory, for `tollgate doctor
# --from-gateway`. They may hold personal data.
# keep_refused = false

[grpc]
# Subscribers call here.
# listen = "127.0.0.1:50051"
# Beyond loopback, TLS is needed, or `true` here behind a proxy that encrypts.
# plaintext = false
# max_connections = 1024
# max_streams_per_connection = 100
# 65536 to 67108864.
# max_message_bytes = 4194304
# After about this long a stream is asked to connect again, so that load spreads over gateways.
# stream_max_age_seconds = 3600
# How often an idle connection is probed.
# keepalive_seconds = 20
# How often a quiet stream gets a heartbeat; at most 15.
# heartbeat_seconds = 10
# How long open streams have to end at shutdown.
# drain_seconds = 20

[grpc.tls]
# PEM files; empty for none.
# certificate = ""
# key = ""
# With it, clients must show a certificate of this authority.
# client_ca = ""

[admin]
# /metrics, /healthz, /readyz.
# listen = "127.0.0.1:9090"
# The names under which it may be called, without port.
# allowed_hosts = ["localhost", "127.0.0.1", "[::1]"]

[fetch]
# Some webhooks only name what changed, and some must be confirmed: then the provider's API is asked.
# Calls in flight, in all.
# max_in_flight = 32
# Calls a second, by endpoint.
# max_per_second = 20
# connect_timeout_seconds = 5
# How long a call may take as a whole.
# timeout_seconds = 30
# 1024 to 67108864.
# max_response_bytes = 8388608
# After a failure it is tried again, the longer after the more often it failed.
# min_backoff_ms = 1000
# max_backoff_seconds = 3600
# Then its receipt is shown as failed; `tollgate receipts retry` tries again.
# max_attempts = 30
# Receipts of one endpoint that wait to be confirmed; over it they are answered 503.
# max_unconfirmed = 10000
# max_unconfirmed_per_second = 50
# What nothing confirmed for so long is denied, and what it said is purged.
# unconfirmed_max_age_seconds = 86400
# Endpoints that are polled are polled first within so long after the start.
# first_poll_seconds = 10

[auth]
# "token", or "none" while every listener is on loopback.
# mode = "token"

[links]
# The hosts that payment links may lead to, exactly, for example ["checkout.example.com"]. Without one
# nobody can make links.
# allowed_hosts = []
# What authenticates links, at least 32 characters: `env:NAME`, `file:PATH` or the value. Empty for one that
# the store makes up.
# key = ""
# Visits of one link within this time count once.
# visit_window_seconds = 600
# From one address.
# max_visits_per_minute = 30
# Proxies whose X-Forwarded-For is believed: addresses or networks, "10.0.0.0/8". Behind a proxy that is
# not named here all visitors share one limit.
# trusted_proxies = []

[invoices]
# How often is looked for open invoices whose due date has passed.
# overdue_interval_seconds = 300

[log]
# "pretty" or "json".
# format = "pretty"
# For example "info,tollgate::delivery=debug".
# filter = "info"

# Endpoints: one for each account at a provider. A secret is `env:NAME`, `file:PATH` or the value itself;
# a list of them is tried in turn, so that an old one may overlap with a new one while it is rotated.
# `path` may be given; the default is /webhooks/{provider}/{name}.
"#;

/// Write a commented configuration file.
///
/// It shows every key with its default and what it is for, and an example endpoint of each provider.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  tollgate init
  tollgate init /etc/tollgate/tollgate.toml")]
pub struct Args {
    /// Where to.
    #[arg(default_value = "tollgate.toml")]
    path: PathBuf,
    /// Overwrite a file that is there.
    #[arg(long)]
    force: bool,
}

/// Writes the file and says what to do next.
pub fn run(args: Args) -> anyhow::Result<()> {
    let path = args.path.display();
    let mut options = OpenOptions::new();
    options.write(true);
    match args.force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    // Only its owner may read it: secrets may be written into it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = match options.open(&args.path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{path} exists already; --force overwrites it")
        }
        Err(error) => return Err(error).with_context(|| format!("{path} cannot be written")),
    };
    file.write_all(configuration(PROVIDERS).as_bytes())
        .with_context(|| format!("{path} cannot be written"))?;
    println!("Wrote {path}. Add an endpoint, then: tollgate serve --config {path}");
    Ok(())
}

fn configuration(providers: &[Provider]) -> String {
    let mut text = TEMPLATE.to_owned();
    for provider in providers {
        text.push_str(&example(provider));
    }
    text
}

/// An example endpoint, commented out. Secrets that may be left out are commented twice.
fn example(provider: &Provider) -> String {
    let mut text = format!(
        "\n# {}\n# [[endpoints]]\n# provider = \"{}\"\n# name = \"main\"\n",
        provider.title, provider.name
    );
    let given = (provider.example)();
    let value_of = |name: &str| given.iter().find(|(known, _)| *known == name);
    let one_is_needed = !given.is_empty() || provider.secrets.iter().any(|secret| secret.required);
    for (index, secret) in provider.secrets.iter().enumerate() {
        let is_given = value_of(secret.name).is_some();
        let optional = !secret.required && !is_given && (one_is_needed || index > 0);
        let variable = format!("{}_{}", provider.name, secret.name).to_ascii_uppercase();
        let hidden = if optional { "# " } else { "" };
        writeln!(text, "# {hidden}secrets.{} = \"env:{variable}\"", secret.name)
            .expect("writing to a String cannot fail");
    }
    for setting in provider.settings {
        let (hidden, value) = match value_of(setting) {
            Some((_, value)) => ("", value.as_str()),
            None => ("# ", "..."),
        };
        writeln!(text, "# {hidden}{setting} = {}", config::quoted(value))
            .expect("writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::config::{Config, known_keys};

    /// The text with its keys in force.
    fn uncommented(text: &str) -> String {
        let is_key = |line: &str| {
            line.starts_with('[')
                || line.split_once(" = ").is_some_and(|(key, _)| {
                    key.bytes().all(|byte| byte.is_ascii_lowercase() || b"_.".contains(&byte))
                })
        };
        text.lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(bare) if is_key(bare) => format!("{bare}\n"),
                Some(_) | None => format!("{line}\n"),
            })
            .collect()
    }

    #[test]
    fn the_template_shows_every_key_with_its_default() {
        let text = uncommented(TEMPLATE);
        let shown = Config::parse(&text, "template", []).expect("valid");
        assert_eq!(format!("{shown:?}"), format!("{:?}", Config::default()));
        let table: toml::Table = text.parse().expect("TOML");
        for key in known_keys() {
            let value =
                key.split('.').try_fold(toml::Value::Table(table.clone()), |value, part| {
                    value.get(part).cloned()
                });
            assert!(value.is_some(), "{key} is missing");
        }
    }

    #[test]
    fn the_file_loads_as_it_is_and_with_all_examples_in_force() {
        let text = configuration(PROVIDERS);
        let config = Config::parse(&text, "as written", []).expect("valid");
        assert!(config.endpoints.is_empty());

        let text = uncommented(&text);
        let examples: HashMap<String, String> = PROVIDERS
            .iter()
            .flat_map(|provider| {
                let named = |name| format!("{}_{name}", provider.name).to_ascii_uppercase();
                (provider.example)().into_iter().map(move |(name, value)| (named(name), value))
            })
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let named: Vec<(String, String)> = text
            .split("\"env:")
            .skip(1)
            .filter_map(|rest| {
                let variable = rest.split_once('"')?.0.to_owned();
                let value = examples.get(&variable).cloned().unwrap_or_else(|| "s".to_owned());
                Some((variable, value))
            })
            .collect();
        let config = Config::parse(&text, "in force", named).expect("valid");
        let names: Vec<&str> = config.endpoints.iter().map(|one| one.name.provider()).collect();
        let all: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
        assert_eq!(names, all);
    }

    #[test]
    fn a_file_that_is_there_is_kept_without_force() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("t.toml");
        std::fs::write(&path, "mine").expect("written");
        let refused = run(Args { path: path.clone(), force: false }).expect_err("it is there");
        assert!(
            refused.to_string().ends_with("exists already; --force overwrites it"),
            "{refused}"
        );
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "mine");
        run(Args { path: path.clone(), force: true }).expect("forced");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), configuration(PROVIDERS));
    }
}
