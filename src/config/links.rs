//! `[links]` and `[invoices]`: tracked payment links, and the timer of due dates. In come their keys, out
//! come values that are valid. The key of links is a secret and is never repeated.

use std::num::NonZeroU32;
use std::time::Duration;

use secrecy::SecretString;

use super::Network;
use super::reader::{Reader, read_file};

/// So many characters a key must have.
const MIN_KEY_CHARACTERS: usize = 32;

/// `[links]`
#[derive(Clone, Debug)]
pub struct Links {
    /// The hosts that links may lead to, exactly; none lets nobody make links.
    pub allowed_hosts: Vec<String>,
    /// What authenticates the tokens of links; `None` for one that the store makes up.
    pub key: Option<SecretString>,
    /// Visits of one link within it count once.
    pub visit_window: Duration,
    /// How many visits one address may make a minute.
    pub max_visits_per_minute: NonZeroU32,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
}

/// `[invoices]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invoices {
    /// How often due dates are looked at.
    pub overdue_interval: Duration,
}

/// Reads `[links]`.
pub fn read_links(reader: &mut Reader<'_>) -> Links {
    const HOSTS: &str = "links.allowed_hosts";
    const PROXIES: &str = "links.trusted_proxies";
    let mut allowed_hosts = reader.list(HOSTS, &[]);
    for host in &mut allowed_hosts {
        let authority = host.parse::<http::uri::Authority>();
        if host.contains('@') || !authority.is_ok_and(|authority| authority.as_str() == host) {
            reader
                .refuse(HOSTS, format!("`{host}` is not a host name like `checkout.example.com`"));
        }
        host.make_ascii_lowercase();
    }
    let mut trusted_proxies = Vec::new();
    for text in reader.list(PROXIES, &[]) {
        match text.parse() {
            Ok(network) => trusted_proxies.push(network),
            Err(reason) => reader.refuse(PROXIES, reason),
        }
    }
    let most = reader.number("links.max_visits_per_minute", 30, 1..=100_000);
    Links {
        allowed_hosts,
        key: read_key(reader),
        visit_window: reader.seconds("links.visit_window_seconds", 600, 1..=7 * 24 * 3600),
        max_visits_per_minute: NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN),
        trusted_proxies,
    }
}

/// Reads `[invoices]`.
pub fn read_invoices(reader: &mut Reader<'_>) -> Invoices {
    let overdue_interval = reader.seconds("invoices.overdue_interval_seconds", 300, 1..=24 * 3600);
    Invoices { overdue_interval }
}

fn read_key(reader: &mut Reader<'_>) -> Option<SecretString> {
    const KEY: &str = "links.key";
    let written = reader.text(KEY, "");
    if written.is_empty() {
        return None;
    }
    let value = if let Some(name) = written.strip_prefix("env:") {
        let value = reader.secret_variable(name).map(str::to_owned);
        value.ok_or_else(|| format!("environment variable `{name}` is not set"))
    } else if let Some(path) = written.strip_prefix("file:") {
        let text = read_file(path.as_ref()).map_err(|reason| format!("`{path}` {reason}"));
        text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
    } else {
        Ok(written)
    };
    let value = value.and_then(|value| match value.chars().count() >= MIN_KEY_CHARACTERS {
        true => Ok(SecretString::from(value)),
        false => Err(format!("has fewer than {MIN_KEY_CHARACTERS} characters")),
    });
    value.map_err(|reason| reader.refuse(KEY, reason)).ok()
}
