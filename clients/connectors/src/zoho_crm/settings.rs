//! The `[crm]` table of Zoho CRM. In comes TOML, out go checked hosts and limits, or the first mistake. A
//! host that is not https, and not this machine, must be refused.

use std::time::Duration;

use serde::Deserialize;

use crate::api::{DEFAULT_TIMEOUT, check_url};
use crate::budget::{Limits, Window};
use crate::config::{Mistake, Secret};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The Free edition's: whoever has more says so.
const DEFAULT_CREDITS: u64 = 5_000;
const DEFAULT_CALLS: usize = 5;
/// More than any edition sells.
const MAX_CREDITS: u64 = 10_000_000;
const MAX_CALLS: usize = 25;
const MAX_TIMEOUT_SECONDS: u64 = 600;

/// By the name of a data centre, the host that issues its tokens.
const DATA_CENTERS: &[(&str, &str)] = &[
    ("com", "https://accounts.zoho.com"),
    ("us", "https://accounts.zoho.com"),
    ("eu", "https://accounts.zoho.eu"),
    ("in", "https://accounts.zoho.in"),
    ("com.au", "https://accounts.zoho.com.au"),
    ("au", "https://accounts.zoho.com.au"),
    ("com.cn", "https://accounts.zoho.com.cn"),
    ("cn", "https://accounts.zoho.com.cn"),
    ("jp", "https://accounts.zoho.jp"),
    ("sa", "https://accounts.zoho.sa"),
    ("ca", "https://accounts.zohocloud.ca"),
];

/// The table as it is read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// How to sign in. There is one way: a refresh token that somebody made once in Zoho's API console.
    #[serde(default, rename = "auth")]
    _auth: Auth,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret,
    /// The refresh token. Its scopes: `ZohoCRM.modules.ALL`, `ZohoCRM.settings.fields.READ`,
    /// `ZohoCRM.coql.READ`, and `ZohoCRM.users.READ` to be told as whom.
    pub refresh_token: Secret,
    /// Where the org lives: `com`, `eu`, `in`, `com.au`, `com.cn`, `jp`, `sa`, `ca`.
    data_center: Option<String>,
    /// The host that issues tokens, instead of the data centre's.
    accounts_url: Option<String>,
    /// The host of the API, instead of the one that comes with the token.
    api_url: Option<String>,
    /// Whether writes run the org's workflows, approvals and blueprints.
    #[serde(default)]
    pub run_workflows: bool,
    /// The credits of the edition in any 24 hours.
    #[serde(default = "default_credits")]
    pub credits_per_day: u64,
    /// How many of them are left to others.
    #[serde(default)]
    daily_reserve: u64,
    /// The calls at once that the edition allows an app.
    #[serde(default = "default_calls")]
    max_calls_in_flight: usize,
    /// After how long a call is given up.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Auth {
    #[default]
    RefreshToken,
}

/// Where to go, without slashes at the ends.
pub(super) struct Hosts {
    /// The host that issues tokens.
    pub accounts: String,
    /// Whether it was set by hand and may name any API host of its own.
    pub is_own_accounts: bool,
    /// The host of the API, where it was set by hand.
    pub api: Option<String>,
}

impl Settings {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<Hosts, Mistake> {
        if self.client_id.trim().is_empty() {
            return Err(Mistake::new("crm.client_id", "is empty"));
        }
        within("crm.credits_per_day", self.credits_per_day, MAX_CREDITS)?;
        within("crm.max_calls_in_flight", self.max_calls_in_flight as u64, MAX_CALLS as u64)?;
        within("crm.timeout_seconds", self.timeout_seconds, MAX_TIMEOUT_SECONDS)?;
        if self.daily_reserve >= self.credits_per_day {
            let reason = "must be less than `credits_per_day`, or nothing is ever sent";
            return Err(Mistake::new("crm.daily_reserve", reason));
        }
        let accounts = match (&self.accounts_url, &self.data_center) {
            (Some(url), _) => host("crm.accounts_url", url)?,
            (None, Some(name)) => of_data_center(name)?.to_owned(),
            (None, None) => {
                let reason = format!("is missing: one of {}", data_centers());
                return Err(Mistake::new("crm.data_center", reason));
            }
        };
        let api = self.api_url.as_ref().map(|url| host("crm.api_url", url)).transpose()?;
        Ok(Hosts { accounts, is_own_accounts: self.accounts_url.is_some(), api })
    }

    /// What Zoho allows the org and the operator allows us. Credits are the points of the one window.
    pub fn limits(&self) -> Limits {
        let points = self.credits_per_day - self.daily_reserve.min(self.credits_per_day);
        Limits {
            windows: vec![Window { points, span: DAY }],
            max_in_flight: self.max_calls_in_flight,
            daily_reserve: self.daily_reserve,
        }
    }
}

/// So many at once, and nothing else.
pub(super) fn heavy_limits(max_in_flight: usize) -> Limits {
    Limits { windows: Vec::new(), max_in_flight, daily_reserve: 0 }
}

fn within(key: &str, value: u64, max: u64) -> Result<(), Mistake> {
    match value {
        0 => Err(Mistake::new(key, "must be more than 0")),
        value if value > max => Err(Mistake::new(key, format!("must not be more than {max}"))),
        _ => Ok(()),
    }
}

fn host(key: &str, url: &str) -> Result<String, Mistake> {
    check_url(url).map_err(|reason| Mistake::new(key, reason))?;
    Ok(url.trim_end_matches('/').to_owned())
}

fn of_data_center(name: &str) -> Result<&'static str, Mistake> {
    let found = DATA_CENTERS.iter().find(|(known, _)| *known == name);
    found.map(|(_, url)| *url).ok_or_else(|| {
        Mistake::new("crm.data_center", format!("`{name}` is none of {}", data_centers()))
    })
}

fn data_centers() -> String {
    let names: Vec<&str> = DATA_CENTERS.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

fn default_credits() -> u64 {
    DEFAULT_CREDITS
}

fn default_calls() -> usize {
    DEFAULT_CALLS
}

fn default_timeout() -> u64 {
    DEFAULT_TIMEOUT.as_secs()
}
