//! What the configuration means to the parts that `serve` wires: in comes the configuration, out come the
//! settings of each part in its own types. Nothing is decided here that the configuration leaves open.

use std::path::Path;

use anyhow::Context as _;
use jiff::SignedDuration;

use crate::config::{self, Config};
use crate::ingest::fetch;
use crate::{grpc, http};

/// How many connections the monitoring listener holds.
pub const MAX_ADMIN_CONNECTIONS: usize = 64;

/// What a listener for HTTP bears.
pub fn limits(config: &Config, max_connections: usize) -> http::Limits {
    http::Limits {
        max_connections,
        read_timeout: config.http.read_timeout,
        drain: config.grpc.drain,
    }
}

/// How providers' APIs are asked.
pub fn fetch_settings(config: &config::Fetch) -> fetch::Settings {
    fetch::Settings {
        max_in_flight: config.max_in_flight,
        max_per_second: config.max_per_second,
        connect_timeout: config.connect_timeout,
        timeout: config.timeout,
        max_response_bytes: config.max_response_bytes,
        min_backoff: config.min_backoff,
        max_backoff: config.max_backoff,
        max_attempts: config.max_attempts,
        max_unconfirmed: config.max_unconfirmed,
        max_unconfirmed_per_second: config.max_unconfirmed_per_second,
        unconfirmed_max_age: config.unconfirmed_max_age.try_into().unwrap_or(SignedDuration::MAX),
        first_poll: config.first_poll,
    }
}

/// Reads the files of certificates and keys.
pub fn read_tls(tls: &config::Tls) -> anyhow::Result<grpc::Tls> {
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
