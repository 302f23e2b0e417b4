//! The `[crm]` table of Dynamics: in comes the table as it was read, out go checked settings, or the first
//! mistake with its key. No secret may be shown.

use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use crate::api::{DEFAULT_TIMEOUT, check_url};
use crate::budget::{Limits, Window};
use crate::config::{Mistake, Secret, read_crm};

/// What Dataverse takes in one `$batch`.
pub const MAX_BATCH: usize = 1_000;
/// What Dataverse lets one user have in flight.
const MAX_IN_FLIGHT: usize = 52;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The window of the service protection limits.
const WINDOW: Duration = Duration::from_secs(5 * 60);
/// How much of the allowed execution time is used: it is measured here, so it is not quite the CRM's.
const EXECUTION_SHARE: f64 = 0.95;

/// The settings of a `[crm]` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The environment, `https://acme.crm4.dynamics.com`: the scope of tokens, and where the API is.
    pub environment_url: String,
    /// Another host for the API.
    pub api_url: Option<String>,
    /// Another host for tokens, as sovereign clouds have it.
    #[serde(default = "default_auth_url")]
    pub auth_url: String,
    /// The directory's id or domain.
    pub tenant: String,
    /// How to sign in.
    pub auth: Auth,
    /// The application's id.
    pub client_id: String,
    /// The application's secret, with `auth = "client_secret"`.
    pub client_secret: Option<Secret>,
    /// The application's certificate as PEM, with `auth = "client_certificate"`.
    pub certificate: Option<Secret>,
    /// The certificate's RSA key as PEM, with `auth = "client_certificate"`.
    pub private_key: Option<Secret>,
    /// How long an answer is waited for.
    pub timeout_seconds: Option<u64>,
    /// How many rows one `$batch` has.
    #[serde(default = "default_batch_size")]
    pub batch_size: usize,
    /// How many batches are on their way at once.
    #[serde(default = "default_calls")]
    pub max_calls_in_flight: usize,
    /// How many requests the user may make in five minutes; a part of a batch is one.
    #[serde(default = "default_requests")]
    pub requests_per_window: u64,
    /// How many seconds of execution the user may use in five minutes.
    #[serde(default = "default_execution")]
    pub execution_seconds_per_window: u64,
    /// How many requests may be made in 24 hours; the API does not tell, so it must be told here.
    pub requests_per_day: Option<u64>,
    /// How many of these are left to others.
    #[serde(default)]
    pub daily_reserve: u64,
}

/// A way to sign in.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// With a secret of the application.
    ClientSecret,
    /// With an assertion signed by the key of its certificate.
    ClientCertificate,
}

impl Settings {
    /// Reads and checks a table.
    pub fn read(table: toml::Table) -> Result<Settings, Mistake> {
        let settings: Settings = read_crm(table)?;
        for (key, url) in [
            ("environment_url", Some(&settings.environment_url)),
            ("api_url", settings.api_url.as_ref()),
            ("auth_url", Some(&settings.auth_url)),
        ] {
            if let Some(Err(reason)) = url.map(|url| check_url(url)) {
                return mistake(key, reason);
            }
        }
        for (key, text) in [("tenant", &settings.tenant), ("client_id", &settings.client_id)] {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            if text.is_empty() || !text.chars().all(plain) {
                return mistake(key, format!("`{text}` is no id and no domain"));
            }
        }
        settings.check_credential()?;
        settings.check_numbers()?;
        Ok(settings)
    }

    /// What tokens are asked for.
    pub fn scope(&self) -> String {
        format!("{}/.default", self.environment_url.trim_end_matches('/'))
    }

    /// Where tokens are asked for.
    pub fn token_url(&self) -> String {
        format!("{}/{}/oauth2/v2.0/token", self.auth_url.trim_end_matches('/'), self.tenant)
    }

    /// The API's host: `https://acme.api.crm4.dynamics.com`.
    pub fn api_host(&self) -> String {
        let url = match &self.api_url {
            Some(url) => url.clone(),
            None => own_api_host(&self.environment_url),
        };
        url.trim_end_matches('/').to_owned()
    }

    /// How long an answer is waited for.
    pub fn timeout(&self) -> Duration {
        self.timeout_seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs)
    }

    /// What the user may call.
    pub fn limits(&self) -> Limits {
        let mut windows = vec![Window { points: self.requests_per_window, span: WINDOW }];
        if let Some(requests) = self.requests_per_day {
            windows.push(Window { points: requests - self.daily_reserve, span: DAY });
        }
        Limits { windows, max_in_flight: self.max_calls_in_flight, daily_reserve: 0 }
    }

    /// How long the user's calls may take together; a point is a millisecond.
    pub fn execution_limits(&self) -> Limits {
        let milliseconds = self.execution_seconds_per_window as f64 * 1_000.0 * EXECUTION_SHARE;
        let window = Window { points: milliseconds as u64, span: WINDOW };
        Limits { windows: vec![window], max_in_flight: self.max_calls_in_flight, daily_reserve: 0 }
    }

    /// The seconds that so many requests take at the least.
    pub fn least_seconds(&self, requests: u64) -> f64 {
        let full_windows = requests.saturating_sub(1) / self.requests_per_window;
        full_windows as f64 * WINDOW.as_secs_f64()
    }

    fn check_credential(&self) -> Result<(), Mistake> {
        let has = |key: &str| match key {
            "client_secret" => self.client_secret.is_some(),
            "certificate" => self.certificate.is_some(),
            _ => self.private_key.is_some(),
        };
        let (word, needed, foreign): (_, &[&str], &[&str]) = match self.auth {
            Auth::ClientSecret => {
                ("client_secret", &["client_secret"], &["certificate", "private_key"])
            }
            Auth::ClientCertificate => {
                ("client_certificate", &["certificate", "private_key"], &["client_secret"])
            }
        };
        if let Some(key) = needed.iter().find(|key| !has(key)) {
            return mistake(key, format!("`auth = \"{word}\"` needs it"));
        }
        if let Some(key) = foreign.iter().find(|key| has(key)) {
            return mistake(key, format!("`auth = \"{word}\"` has no use for it"));
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), Mistake> {
        if !(1..=MAX_BATCH).contains(&self.batch_size) {
            return mistake("batch_size", format!("must be 1 to {MAX_BATCH}"));
        }
        if !(1..=MAX_IN_FLIGHT).contains(&self.max_calls_in_flight) {
            return mistake("max_calls_in_flight", format!("must be 1 to {MAX_IN_FLIGHT}"));
        }
        if self.requests_per_window < self.batch_size as u64 {
            let reason = "must be at least `batch_size`: each row of a batch is a request";
            return mistake("requests_per_window", reason.to_owned());
        }
        if self.execution_seconds_per_window == 0 || self.timeout_seconds == Some(0) {
            let reason = "these seconds must be more than 0".to_owned();
            return mistake("execution_seconds_per_window, timeout_seconds", reason);
        }
        if let Some(requests) = self.requests_per_day
            && requests <= self.daily_reserve
        {
            let reason = "must be less than `requests_per_day`, or nothing would be sent";
            return mistake("daily_reserve", reason.to_owned());
        }
        if self.requests_per_day.is_none() && self.daily_reserve > 0 {
            let reason = "needs `requests_per_day`: the API does not tell what is left of a day";
            return mistake("daily_reserve", reason.to_owned());
        }
        Ok(())
    }
}

fn mistake<T>(key: &str, reason: String) -> Result<T, Mistake> {
    Err(Mistake::new(format!("crm.{key}"), reason))
}

/// An environment's API has a host of its own beside that of its pages; other hosts serve both.
fn own_api_host(environment_url: &str) -> String {
    let Ok(mut url) = environment_url.parse::<Url>() else { return environment_url.to_owned() };
    let host = url.host_str().unwrap_or_default().to_owned();
    if let Some((org, rest)) = host.split_once('.')
        && rest.starts_with("crm")
        && rest.ends_with(".dynamics.com")
        && url.set_host(Some(&format!("{org}.api.{rest}"))).is_err()
    {
        return environment_url.to_owned();
    }
    url.to_string()
}

fn default_auth_url() -> String {
    "https://login.microsoftonline.com".to_owned()
}

fn default_batch_size() -> usize {
    10
}

fn default_calls() -> usize {
    16
}

fn default_requests() -> u64 {
    6_000
}

fn default_execution() -> u64 {
    20 * 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_apis_host_is_beside_the_environments() {
        for (environment, api) in [
            ("https://acme.crm4.dynamics.com", "https://acme.api.crm4.dynamics.com/"),
            ("https://acme.crm.dynamics.com/", "https://acme.api.crm.dynamics.com/"),
            ("https://acme.api.crm4.dynamics.com", "https://acme.api.crm4.dynamics.com/"),
            ("http://127.0.0.1:99", "http://127.0.0.1:99/"),
        ] {
            assert_eq!(own_api_host(environment), api);
        }
    }
}
