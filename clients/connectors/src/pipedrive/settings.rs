//! The `[crm]` table of Pipedrive and the two ways to sign in: a user's API token, which never ends, or OAuth,
//! where a refresh token and the app's credentials are shown for an access token of an hour. In comes the
//! table, out go checked settings and the tokens of the credential. A secret must never be shown.
//! OAuth: <https://pipedrive.readme.io/docs/marketplace-oauth-authorization>

use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, StatusCode, header};
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::calls::Scheme;
use crate::api;
use crate::budget::{Limits, Window};
use crate::config::{self, Mistake, Secret};
use crate::crm::Fault;
use crate::orgs::{self, Orgs};
use crate::tokens::{Token, TokenSource, Tokens};

/// Where the API is, unless a token's answer or `url` tells otherwise.
pub(super) const DEFAULT_URL: &str = "https://api.pipedrive.com";
const DEFAULT_AUTH_URL: &str = "https://oauth.pipedrive.com";
/// What the smallest plan allows a user.
const LOWEST_POINTS: u64 = 20;
const POINTS_SPAN: Duration = Duration::from_secs(2);
/// Ten calls while a limit is reached get the credential locked out: fewer may be on their way when the
/// first refusal arrives.
const MOST_CALLS_IN_FLIGHT: usize = 8;
/// After a token endpoint's 429, which tells no time.
const TOKEN_PAUSE: Duration = Duration::from_secs(60);
/// What a token's answer tells of more time than this is not believed.
const LONGEST_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// How much of a refusal's code is told.
const MAX_CODE_CHARS: usize = 64;

/// The `[crm]` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// How to sign in: `api_token` or `oauth`.
    auth: Auth,
    /// With `api_token`: the token of a user, from their personal preferences.
    api_token: Option<Secret>,
    /// With `oauth`: the app's client id.
    client_id: Option<String>,
    /// With `oauth`: the app's client secret.
    client_secret: Option<Secret>,
    /// With `oauth`: the refresh token that the app was given when it was installed.
    refresh_token: Option<Secret>,
    /// The API's host: `https://acme.pipedrive.com`.
    pub url: Option<String>,
    /// The host that gives tokens.
    auth_url: Option<String>,
    /// After how long a call is given up.
    #[serde(default = "default_timeout_seconds")]
    timeout_seconds: u64,
    /// How many calls are made at once.
    #[serde(default = "default_calls")]
    max_calls_in_flight: usize,
    /// How many points may be spent in 2 seconds. If not set, 20, and then what the answers tell.
    pub points_per_2_seconds: Option<u64>,
    /// How many points of the company's day are left to others.
    #[serde(default)]
    daily_reserve: u64,
    /// At which hour of UTC the company's points are counted anew.
    #[serde(default)]
    pub day_begins_at_utc_hour: u8,
    /// The currency of amounts that have none, such as a constant 0. If not set, the user's default.
    pub default_currency: Option<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Auth {
    ApiToken,
    Oauth,
}

/// Which credential was configured, with all that it needs.
enum Credential {
    ApiToken(Secret),
    Oauth { client_id: String, client_secret: Secret, refresh_token: Secret },
}

/// How calls are signed, by which tokens, within whose budget.
pub(super) struct Access {
    /// The client that calls are made with.
    pub client: Client,
    /// Where the token is put.
    pub scheme: Scheme,
    /// The tokens of the credential.
    pub tokens: std::sync::Arc<Tokens>,
    /// The budget of the credential.
    pub budget: std::sync::Arc<crate::budget::Budget>,
}

impl Settings {
    /// Reads the table.
    pub fn read(table: toml::Table) -> Result<Settings, Mistake> {
        let settings: Settings = config::read_crm(table)?;
        let wrong = |key: &str, reason: &str| Err(Mistake::new(format!("crm.{key}"), reason));
        for (key, url) in [("url", &settings.url), ("auth_url", &settings.auth_url)] {
            if let Some(url) = url {
                api::check_url(url).map_err(|reason| Mistake::new(format!("crm.{key}"), reason))?;
            }
        }
        if settings.timeout_seconds == 0 {
            return wrong("timeout_seconds", "must be more than 0");
        }
        if !(1..=MOST_CALLS_IN_FLIGHT).contains(&settings.max_calls_in_flight) {
            return wrong("max_calls_in_flight", "must be 1 to 8: ten calls too many lock us out");
        }
        if settings.points_per_2_seconds == Some(0) {
            return wrong("points_per_2_seconds", "must be more than 0");
        }
        if settings.day_begins_at_utc_hour > 23 {
            return wrong("day_begins_at_utc_hour", "must be 0 to 23");
        }
        let is_code =
            |code: &String| code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase());
        if !settings.default_currency.as_ref().is_none_or(is_code) {
            return wrong("default_currency", "must read like EUR");
        }
        settings.credential()?;
        Ok(settings)
    }

    /// What the org shares: its tokens and its budget.
    pub fn access(&self, orgs: &Orgs) -> Result<Access, Mistake> {
        let client = api::client(Duration::from_secs(self.timeout_seconds));
        let window = Window {
            points: self.points_per_2_seconds.unwrap_or(LOWEST_POINTS),
            span: POINTS_SPAN,
        };
        let limits = Limits {
            windows: vec![window],
            max_in_flight: self.max_calls_in_flight,
            daily_reserve: self.daily_reserve,
        };
        let url = self.url.as_deref().unwrap_or(DEFAULT_URL);
        let auth_url = self.auth_url.as_deref().unwrap_or(DEFAULT_AUTH_URL).trim_end_matches('/');
        let (name, scheme, tokens) = match self.credential()? {
            Credential::ApiToken(token) => {
                let name = orgs::name("pipedrive", &[url, token.expose()]);
                let tokens = orgs.tokens(&name, || Tokens::fixed(token.to_secret_string()));
                (name, Scheme::ApiToken, tokens)
            }
            Credential::Oauth { client_id, client_secret, refresh_token } => {
                let parts = [auth_url, &client_id, refresh_token.expose()];
                let name = orgs::name("pipedrive", &parts);
                let source = Refresh {
                    client: client.clone(),
                    url: format!("{auth_url}/oauth/token"),
                    client_id,
                    client_secret,
                    refresh_token: Mutex::new(refresh_token.to_secret_string()),
                };
                let tokens = orgs.tokens(&name, || Tokens::new(source));
                (name, Scheme::Bearer, tokens)
            }
        };
        let budget = orgs.budget(&name, limits);
        Ok(Access { client, scheme, tokens, budget })
    }

    /// The points that may be spent in 2 seconds before an answer tells.
    pub fn first_points(&self) -> u64 {
        self.points_per_2_seconds.unwrap_or(LOWEST_POINTS)
    }

    fn credential(&self) -> Result<Credential, Mistake> {
        let missing = |key: &str| {
            let auth = match self.auth {
                Auth::ApiToken => "api_token",
                Auth::Oauth => "oauth",
            };
            Mistake::new(format!("crm.{key}"), format!("is needed with `auth = \"{auth}\"`"))
        };
        let foreign = |key: &str| {
            Mistake::new(format!("crm.{key}"), "does not belong to the `auth` that is set")
        };
        match self.auth {
            Auth::ApiToken => {
                let token = self.api_token.clone().ok_or_else(|| missing("api_token"))?;
                if HeaderValue::from_str(token.expose()).is_err() {
                    return Err(Mistake::new("crm.api_token", "cannot be sent in a header"));
                }
                let others = [
                    ("client_id", self.client_id.is_some()),
                    ("client_secret", self.client_secret.is_some()),
                    ("refresh_token", self.refresh_token.is_some()),
                    ("auth_url", self.auth_url.is_some()),
                ];
                match others.iter().find(|(_, is_set)| *is_set) {
                    Some((key, _)) => Err(foreign(key)),
                    None => Ok(Credential::ApiToken(token)),
                }
            }
            Auth::Oauth => {
                if self.api_token.is_some() {
                    return Err(foreign("api_token"));
                }
                Ok(Credential::Oauth {
                    client_id: self.client_id.clone().ok_or_else(|| missing("client_id"))?,
                    client_secret: self
                        .client_secret
                        .clone()
                        .ok_or_else(|| missing("client_secret"))?,
                    refresh_token: self
                        .refresh_token
                        .clone()
                        .ok_or_else(|| missing("refresh_token"))?,
                })
            }
        }
    }
}

/// Shows a refresh token for an access token.
struct Refresh {
    client: Client,
    url: String,
    client_id: String,
    client_secret: Secret,
    /// The latest: an answer may bring another one.
    refresh_token: Mutex<SecretString>,
}

/// What the token endpoint gives. Not printable, as it is made of secrets.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
    api_domain: Option<String>,
}

#[derive(Default, Deserialize)]
struct Refused {
    error: Option<String>,
}

#[async_trait]
impl TokenSource for Refresh {
    async fn ask(&self) -> Result<Token, Fault> {
        let mut refresh_token = self.refresh_token.lock().await;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", refresh_token.expose_secret())
            .finish();
        let request = self
            .client
            .post(&self.url)
            .basic_auth(&self.client_id, Some(self.client_secret.expose()))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let answer = api::send(request).await.map_err(Fault::transient)?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        // The reader's own words could quote a secret.
        let granted: Granted = serde_json::from_slice(&answer.body)
            .map_err(|_| Fault::transient("the token endpoint's answer is unreadable"))?;
        if let Some(domain) = &granted.api_domain {
            api::check_url(domain).map_err(|reason| Fault::permanent("api_domain", reason))?;
        }
        if let Some(next) = granted.refresh_token.filter(|next| !next.is_empty()) {
            *refresh_token = next.into();
        }
        Ok(Token {
            secret: granted.access_token.into(),
            api_url: granted.api_domain,
            lasts: granted.expires_in.map(|told| Duration::from_secs(told).min(LONGEST_TIME)),
        })
    }
}

fn refusal(answer: &api::Answer) -> Fault {
    let refused: Refused = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code: String = refused.error.unwrap_or_default().chars().take(MAX_CODE_CHARS).collect();
    let reason =
        format!("the token endpoint answered {} {code}", answer.status).trim_end().to_owned();
    let told = answer.retry_after().map(|wait| wait.min(LONGEST_TIME));
    if answer.status == StatusCode::TOO_MANY_REQUESTS {
        return Fault::Throttled { wait: told.unwrap_or(TOKEN_PAUSE), reason };
    }
    if answer.status.is_server_error() || answer.status == StatusCode::REQUEST_TIMEOUT {
        return Fault::Transient { reason, wait: told };
    }
    tracing::error!(reason, "Pipedrive gives no token; somebody must act");
    Fault::Unauthorized { reason }
}

fn default_timeout_seconds() -> u64 {
    api::DEFAULT_TIMEOUT.as_secs()
}

fn default_calls() -> usize {
    MOST_CALLS_IN_FLIGHT
}
