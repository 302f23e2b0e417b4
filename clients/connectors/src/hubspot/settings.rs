//! The `[crm]` table of HubSpot: which credential, which account's hosts, which version of the API, which
//! limits. In comes the table, out go checked settings or the first mistake. No secret may be shown.

use std::time::Duration;

use jiff::tz::TimeZone;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::api;
use crate::config::{Mistake, Secret};

const API_URL: &str = "https://api.hubapi.com";
/// Versions are dated, one each March and September; older paths are still served.
const DEFAULT_VERSION: &str = "2026-09";
/// What the smallest plans allow an app within 10 seconds. Professional and Enterprise allow 190.
const DEFAULT_CALLS: u64 = 100;
const DEFAULT_SEARCHES: u64 = 5;
const DEFAULT_IN_FLIGHT: usize = 10;
/// Of 250,000 calls a day in the smallest plans, which all private apps of an account share.
const DEFAULT_RESERVE: u64 = 2_500;
const MAX_TIMEOUT_SECONDS: u64 = 600;
/// What stands in paths as it is.
const OBJECT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The `[crm]` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// `private_app` or `oauth`.
    auth: Auth,
    /// With `private_app`: the access token of a private app, or a service key.
    token: Option<Secret>,
    /// With `oauth`: the app's client id.
    client_id: Option<String>,
    /// With `oauth`: the app's client secret.
    client_secret: Option<Secret>,
    /// With `oauth`: the refresh token of the account that installed the app.
    refresh_token: Option<Secret>,
    /// Where records are.
    #[serde(default = "default_url")]
    pub(super) api_url: String,
    /// Where tokens are issued.
    #[serde(default = "default_url")]
    pub(super) auth_url: String,
    /// A dated version of the API, such as `2026-09`, or `v3`.
    #[serde(default = "default_version")]
    api_version: String,
    /// The account's time zone, at whose midnight the day's quota begins anew; asked for if not set.
    time_zone: Option<String>,
    /// Calls within any 10 seconds. Where it is not set, what HubSpot's answers tell counts.
    pub(super) calls_per_10_seconds: Option<u64>,
    /// Searches within any second.
    #[serde(default = "default_searches")]
    pub(super) search_calls_per_second: u64,
    /// Calls at once.
    #[serde(default = "default_in_flight")]
    pub(super) max_calls_in_flight: usize,
    /// How many calls of the day's quota are left to others.
    #[serde(default = "default_reserve")]
    pub(super) daily_reserve: u64,
    /// How long a call may take.
    timeout_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Auth {
    PrivateApp,
    #[serde(rename = "oauth")]
    OAuth,
}

/// What is shown to HubSpot.
pub(super) enum Credential {
    /// A token that does not end.
    PrivateApp {
        /// The token.
        token: Secret,
    },
    /// Tokens of half an hour, each for the refresh token.
    OAuth(Grant),
}

/// What access tokens are asked for with.
pub(super) struct Grant {
    /// The app.
    pub(super) client_id: String,
    /// Its secret.
    pub(super) client_secret: Secret,
    /// What the account gave the app.
    pub(super) refresh_token: Secret,
}

impl Settings {
    /// The credential that `auth` names, with all that it needs and nothing that it does not.
    pub(super) fn credential(&self) -> Result<Credential, Mistake> {
        let needed = |key: &str| Mistake::new(format!("crm.{key}"), "is missing");
        let unused = |key: &str, there: bool| match there {
            true => Err(Mistake::new(format!("crm.{key}"), "is not for this `auth`")),
            false => Ok(()),
        };
        match self.auth {
            Auth::PrivateApp => {
                unused("client_id", self.client_id.is_some())?;
                unused("client_secret", self.client_secret.is_some())?;
                unused("refresh_token", self.refresh_token.is_some())?;
                let token = self.token.clone().ok_or_else(|| needed("token"))?;
                Ok(Credential::PrivateApp { token })
            }
            Auth::OAuth => {
                unused("token", self.token.is_some())?;
                let secret =
                    |key: &str, value: &Option<Secret>| value.clone().ok_or_else(|| needed(key));
                Ok(Credential::OAuth(Grant {
                    client_id: self.client_id.clone().ok_or_else(|| needed("client_id"))?,
                    client_secret: secret("client_secret", &self.client_secret)?,
                    refresh_token: secret("refresh_token", &self.refresh_token)?,
                }))
            }
        }
    }

    /// Checks all but the credential; answers the version.
    pub(super) fn check(&self) -> Result<Version, Mistake> {
        for (key, url) in [("crm.api_url", &self.api_url), ("crm.auth_url", &self.auth_url)] {
            api::check_url(url).map_err(|reason| Mistake::new(key, reason))?;
        }
        let positive = [
            ("crm.calls_per_10_seconds", self.calls()),
            ("crm.search_calls_per_second", self.search_calls_per_second),
            ("crm.max_calls_in_flight", self.max_calls_in_flight as u64),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(Mistake::new(*key, "must be more than 0"));
        }
        let seconds = self.timeout().as_secs();
        if seconds == 0 || seconds > MAX_TIMEOUT_SECONDS {
            let reason = format!("must be from 1 to {MAX_TIMEOUT_SECONDS}");
            return Err(Mistake::new("crm.timeout_seconds", reason));
        }
        Version::parse(&self.api_version)
    }

    /// Calls within any 10 seconds, as far as they are known before the first answer.
    pub(super) fn calls(&self) -> u64 {
        self.calls_per_10_seconds.unwrap_or(DEFAULT_CALLS)
    }

    /// How long a call may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout_seconds.map_or(api::DEFAULT_TIMEOUT, Duration::from_secs)
    }

    /// The configured time zone.
    pub(super) fn zone(&self) -> Result<Option<TimeZone>, Mistake> {
        let Some(name) = &self.time_zone else { return Ok(None) };
        let reason = |_| format!("`{name}` is no time zone, such as `Europe/Berlin`");
        let zone = TimeZone::get(name).map_err(reason);
        zone.map(Some).map_err(|reason| Mistake::new("crm.time_zone", reason))
    }
}

impl Credential {
    /// What an org is known by: its API and its credential.
    pub(super) fn parts<'a>(&'a self, api_url: &'a str) -> Vec<&'a str> {
        match self {
            Credential::PrivateApp { token } => vec![api_url, token.expose()],
            Credential::OAuth(grant) => {
                vec![api_url, &grant.client_id, grant.refresh_token.expose()]
            }
        }
    }
}

/// A version of the API, which shapes its paths.
#[derive(Clone, Debug)]
pub(super) enum Version {
    /// `/crm/v3/objects/deals`.
    V3,
    /// `/crm/objects/2026-09/deals`.
    Dated(String),
}

impl Version {
    fn parse(text: &str) -> Result<Version, Mistake> {
        let is_dated = text.split_once('-').is_some_and(|(year, month)| {
            year.len() == 4
                && year.bytes().all(|byte| byte.is_ascii_digit())
                && matches!(month, "03" | "09")
        });
        match text {
            "v3" => Ok(Version::V3),
            _ if is_dated => Ok(Version::Dated(text.to_owned())),
            _ => {
                let reason = format!("`{text}` is neither `v3` nor a version such as `2026-09`");
                Err(Mistake::new("crm.api_version", reason))
            }
        }
    }

    /// What is done with records of a kind: `batch/upsert`, `search`.
    pub(super) fn objects_path(&self, object: &str, action: &str) -> String {
        let object = utf8_percent_encode(object, OBJECT);
        match self {
            Version::V3 => format!("/crm/v3/objects/{object}/{action}"),
            Version::Dated(date) => format!("/crm/objects/{date}/{object}/{action}"),
        }
    }

    /// The properties of a kind of record.
    pub(super) fn properties_path(&self, object: &str) -> String {
        let object = utf8_percent_encode(object, OBJECT);
        match self {
            Version::V3 => format!("/crm/v3/properties/{object}"),
            Version::Dated(date) => format!("/crm/properties/{date}/{object}"),
        }
    }

    /// The account itself.
    pub(super) fn account_path(&self) -> String {
        match self {
            Version::V3 => "/account-info/v3/details".to_owned(),
            Version::Dated(date) => format!("/account-info/{date}/details"),
        }
    }
}

fn default_url() -> String {
    API_URL.to_owned()
}

fn default_version() -> String {
    DEFAULT_VERSION.to_owned()
}

fn default_searches() -> u64 {
    DEFAULT_SEARCHES
}

fn default_in_flight() -> usize {
    DEFAULT_IN_FLIGHT
}

fn default_reserve() -> u64 {
    DEFAULT_RESERVE
}
