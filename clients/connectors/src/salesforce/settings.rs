//! The `[crm]` table of a Salesforce target. In comes the table, out goes a checked way to sign in and what
//! the org allows, or the first mistake with its key. No secret may be shown.

use serde::Deserialize;

use super::auth::{Grant, Login};
use crate::api::{self, DEFAULT_TIMEOUT};
use crate::config::{Mistake, Secret};

/// Hosts that sign users of any org in. They serve no client credentials.
const GENERIC_HOSTS: &[&str] = &["login.salesforce.com", "test.salesforce.com"];
/// Calls of more than 20 s that a production org runs at once; nothing is gained by more than these.
const MOST_IN_FLIGHT: usize = 25;

/// The table as it stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// How to sign in.
    auth: Auth,
    /// The host that issues tokens: `https://login.salesforce.com`, `https://test.salesforce.com` for a
    /// sandbox, or the org's own `https://acme.my.salesforce.com`, which client credentials need.
    #[serde(default = "login_url")]
    login_url: String,
    /// Where the API is; the token's answer tells if it is not set.
    api_url: Option<String>,
    /// The consumer key of the app.
    client_id: String,
    /// The consumer secret, for `client_credentials`.
    client_secret: Option<Secret>,
    /// Who is signed in, for `jwt_bearer`.
    username: Option<String>,
    /// The RSA key whose certificate the app has, in PEM, for `jwt_bearer`.
    private_key: Option<Secret>,
    /// What the assertion is for, for `jwt_bearer`: `login_url` if not set. A site has its own URL.
    audience: Option<String>,
    /// The version of the API: `v66.0`.
    #[serde(default = "api_version")]
    pub(super) api_version: String,
    /// After how long a call is given up.
    #[serde(default = "timeout_seconds")]
    pub(super) timeout_seconds: u64,
    /// Calls at once. A Developer org runs 5 long ones, others 25.
    #[serde(default = "max_calls_in_flight")]
    pub(super) max_calls_in_flight: usize,
    /// Calls in 24 hours, for plans; the org's answers tell what really is. A Developer org has 15,000,
    /// others 100,000 and more by their licences.
    #[serde(default = "daily_calls")]
    pub(super) daily_calls: u64,
    /// How many of the day's calls are left to others.
    #[serde(default = "daily_reserve")]
    pub(super) daily_reserve: u64,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Auth {
    /// An assertion signed with a key, for a user who is approved beforehand.
    JwtBearer,
    /// The app's secret, as the app's run-as user.
    ClientCredentials,
}

impl Settings {
    /// Refuses what no call could make right.
    pub(super) fn check(&self) -> Result<(), Mistake> {
        let login = api::check_url(&self.login_url)
            .map_err(|reason| Mistake::new("crm.login_url", reason))?;
        if let Some(url) = &self.api_url {
            api::check_url(url).map_err(|reason| Mistake::new("crm.api_url", reason))?;
        }
        let is_generic = login.host_str().is_some_and(|host| GENERIC_HOSTS.contains(&host));
        if self.auth == Auth::ClientCredentials && is_generic {
            let reason = "client credentials are only served by the org's own host, \
                          https://<name>.my.salesforce.com";
            return Err(Mistake::new("crm.login_url", reason));
        }
        let number = self.api_version.strip_prefix('v').and_then(|rest| rest.strip_suffix(".0"));
        // Collections take upserts since 46.
        if !number.is_some_and(|number| number.parse::<u16>().is_ok_and(|number| number >= 46)) {
            return Err(Mistake::new(
                "crm.api_version",
                "must read like v66.0, and be v46.0 or later",
            ));
        }
        if self.timeout_seconds == 0 {
            return Err(Mistake::new("crm.timeout_seconds", "must be more than 0"));
        }
        if !(1..=MOST_IN_FLIGHT).contains(&self.max_calls_in_flight) {
            let reason = format!("must be 1 to {MOST_IN_FLIGHT}");
            return Err(Mistake::new("crm.max_calls_in_flight", reason));
        }
        if self.daily_calls <= self.daily_reserve {
            return Err(Mistake::new("crm.daily_reserve", "leaves none of `daily_calls`"));
        }
        Ok(())
    }

    /// The way to sign in.
    pub(super) fn login(&self) -> Result<Login, Mistake> {
        let client =
            api::client(DEFAULT_TIMEOUT.min(std::time::Duration::from_secs(self.timeout_seconds)));
        Ok(Login::new(client, &self.login_url, self.api_url.clone(), self.grant()?))
    }

    /// What the org is known by: connectors with the same share a budget.
    pub(super) fn org(&self) -> [&str; 4] {
        let user = self.username.as_deref().unwrap_or_default();
        [&self.login_url, self.api_url.as_deref().unwrap_or_default(), &self.client_id, user]
    }

    /// What the credential is known by: connectors with the same share tokens.
    pub(super) fn credential(&self) -> Vec<&str> {
        let secrets = [&self.client_secret, &self.private_key];
        let secrets = secrets.map(|secret| secret.as_ref().map_or("", Secret::expose));
        let audience = self.audience.as_deref().unwrap_or_default();
        self.org().into_iter().chain(secrets).chain([audience]).collect()
    }

    fn grant(&self) -> Result<Grant, Mistake> {
        let missing = |key: &str, of: &str| {
            Mistake::new(format!("crm.{key}"), format!("`auth = \"{of}\"` needs it"))
        };
        let needless = |key: &str, of: &str| {
            Mistake::new(format!("crm.{key}"), format!("`auth = \"{of}\"` does not take it"))
        };
        match self.auth {
            Auth::JwtBearer => {
                let of = "jwt_bearer";
                if self.client_secret.is_some() {
                    return Err(needless("client_secret", of));
                }
                let key = self.private_key.as_ref().ok_or_else(|| missing("private_key", of))?;
                let user = self.username.as_deref().ok_or_else(|| missing("username", of))?;
                let audience = self.audience.as_deref().unwrap_or(&self.login_url);
                Grant::jwt_bearer(&self.client_id, user, audience.trim_end_matches('/'), key)
                    .map_err(|reason| Mistake::new("crm.private_key", reason))
            }
            Auth::ClientCredentials => {
                let of = "client_credentials";
                let jwt = [
                    ("private_key", self.private_key.is_some()),
                    ("username", self.username.is_some()),
                    ("audience", self.audience.is_some()),
                ];
                if let Some((key, _)) = jwt.iter().find(|(_, is_set)| *is_set) {
                    return Err(needless(key, of));
                }
                let secret = self.client_secret.clone();
                let secret = secret.ok_or_else(|| missing("client_secret", of))?;
                Ok(Grant::ClientCredentials { client_id: self.client_id.clone(), secret })
            }
        }
    }
}

fn login_url() -> String {
    "https://login.salesforce.com".to_owned()
}

fn api_version() -> String {
    "v66.0".to_owned()
}

fn timeout_seconds() -> u64 {
    DEFAULT_TIMEOUT.as_secs()
}

fn max_calls_in_flight() -> usize {
    5
}

fn daily_calls() -> u64 {
    15_000
}

fn daily_reserve() -> u64 {
    1_000
}
