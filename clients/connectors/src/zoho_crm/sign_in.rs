//! Asks Zoho's accounts host for an access token with the refresh token. In comes nothing, out goes a token
//! with the API host that belongs to it, or why there is none: errors come with status 200. The token must
//! go to no host but Zoho's own, or the one that the operator set, and Zoho must never be asked more than
//! ten times in ten minutes, after which it locks the refresh token.

use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use serde::Deserialize;

use super::settings::{Hosts, Settings};
use crate::api::{self, Answer, check_url};
use crate::budget::{Budget, Limits, Window};
use crate::config::Secret;
use crate::crm::Fault;
use crate::tokens::{Token, TokenSource};

/// So often in so long a refresh token may be used.
const MAX_REFRESHES: u64 = 10;
const REFRESH_SPAN: Duration = Duration::from_secs(10 * 60);
/// An access token lasts this long; older accounts tell it in milliseconds.
const LASTS_SECONDS: u64 = 3_600;
/// An error that nobody knows is asked about again after this, so that refreshes are left.
const UNKNOWN_ERROR_PAUSE: Duration = Duration::from_secs(60);
/// A longer pause that an answer tells of is not believed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
const MAX_TOLD_BYTES: usize = 200;

/// What is told when the refresh token was used too often.
const TOO_OFTEN: &str = "Access Denied";
/// What is told of a credential that is wrong and stays so.
const REFUSED: &[&str] = &[
    "access_denied",
    "invalid_client",
    "invalid_client_secret",
    "invalid_code",
    "invalid_grant",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
];
/// The domains of Zoho's APIs, one or two a data centre.
const API_DOMAINS: &[&str] = &[
    "zohoapis.com",
    "zohoapis.eu",
    "zohoapis.in",
    "zohoapis.com.au",
    "zohoapis.com.cn",
    "zohoapis.jp",
    "zohoapis.sa",
    "zohoapis.ca",
    "zohocloud.ca",
];

/// A refresh token and what belongs to it.
pub(super) struct Refresh {
    client: Client,
    hosts: Hosts,
    client_id: String,
    client_secret: Secret,
    refresh_token: Secret,
    /// How often it may be asked.
    asks: Budget,
}

impl Refresh {
    pub(super) fn new(client: Client, hosts: Hosts, settings: &Settings) -> Refresh {
        let windows = vec![Window { points: MAX_REFRESHES, span: REFRESH_SPAN }];
        Refresh {
            client,
            hosts,
            client_id: settings.client_id.clone(),
            client_secret: settings.client_secret.clone(),
            refresh_token: settings.refresh_token.clone(),
            asks: Budget::new(Limits { windows, max_in_flight: 1, daily_reserve: 0 }),
        }
    }

    fn token(&self, answer: &Answer) -> Result<Token, Fault> {
        let status = answer.status;
        if status.is_server_error() {
            return Err(Fault::transient(format!("{status} to a request for a token")));
        }
        let Ok(told) = serde_json::from_slice::<Told>(&answer.body) else {
            // The body is not told: it may be a token that was cut off.
            return Err(Fault::transient(format!("{status}: unreadable answer about a token")));
        };
        if let Some(code) = told.error {
            return Err(self.refused(&code, told.error_description.as_deref()));
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            let told = answer.retry_after().map(|wait| wait.min(LONGEST_PAUSE));
            let wait = told.unwrap_or(REFRESH_SPAN);
            return Err(Fault::Throttled { wait, reason: "too many tokens were asked for".into() });
        }
        let Some(secret) = told.access_token.filter(|token| !token.is_empty()) else {
            return Err(Fault::transient(format!("{status}: an answer without a token")));
        };
        let lasts = told.expires_in.unwrap_or(LASTS_SECONDS).min(LASTS_SECONDS);
        Ok(Token {
            secret: secret.into(),
            api_url: Some(self.api_host(told.api_domain.as_deref())?),
            lasts: Some(Duration::from_secs(lasts)),
        })
    }

    fn refused(&self, code: &str, description: Option<&str>) -> Fault {
        let reason = match description {
            Some(description) => format!("no token: {code}: {description}"),
            None => format!("no token: {code}"),
        };
        let reason = self.without_secrets(&reason);
        if code == TOO_OFTEN {
            return Fault::Throttled { wait: REFRESH_SPAN, reason };
        }
        if REFUSED.contains(&code) {
            tracing::error!(reason, "Zoho refuses the credential; somebody must act");
            return Fault::Unauthorized { reason };
        }
        Fault::Transient { reason, wait: Some(UNKNOWN_ERROR_PAUSE) }
    }

    /// Where the token may go.
    fn api_host(&self, told: Option<&str>) -> Result<String, Fault> {
        if let Some(api) = &self.hosts.api {
            return Ok(api.clone());
        }
        let Some(told) = told else {
            return Err(Fault::transient("the token came without the host of the API"));
        };
        let url = check_url(told).ok().filter(|url| self.is_trusted(url));
        if url.is_none() {
            let host = self.without_secrets(told);
            let reason = format!("the token is for `{host}`, which is no host of Zoho's API");
            tracing::error!(reason, "the token is not used; somebody must act");
            return Err(Fault::Unauthorized { reason });
        }
        Ok(told.trim_end_matches('/').to_owned())
    }

    fn is_trusted(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let is_zoho = |domain: &&str| {
            host.strip_suffix(*domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if url.scheme() == "https" && url.port().is_none() && API_DOMAINS.iter().any(is_zoho) {
            return true;
        }
        // An accounts host of the operator's own speaks for APIs on the same machine.
        let own = check_url(&self.hosts.accounts).ok();
        self.hosts.is_own_accounts && own.is_some_and(|own| own.host_str() == url.host_str())
    }

    fn without_secrets(&self, text: &str) -> String {
        let secrets = [self.client_secret.expose(), self.refresh_token.expose()];
        let hidden =
            secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, ".."));
        hidden[..hidden.floor_char_boundary(MAX_TOLD_BYTES)].to_owned()
    }
}

#[async_trait]
impl TokenSource for Refresh {
    async fn ask(&self) -> Result<Token, Fault> {
        let _permit = self.asks.acquire(1).await.map_err(|fault| match fault {
            Fault::Throttled { wait, .. } => {
                let reason = "ten tokens were asked for in ten minutes".to_owned();
                Fault::Throttled { wait, reason }
            }
            fault => fault,
        })?;
        // In the body and not in the query, which proxies write down.
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", &self.client_id)
            .append_pair("client_secret", self.client_secret.expose())
            .append_pair("refresh_token", self.refresh_token.expose())
            .finish();
        let url = format!("{}/oauth/v2/token", self.hosts.accounts);
        let request = self.client.post(url);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        let answer = api::send(request).await.map_err(Fault::transient)?;
        self.token(&answer)
    }
}

#[derive(Deserialize)]
struct Told {
    access_token: Option<String>,
    api_domain: Option<String>,
    expires_in: Option<u64>,
    error: Option<String>,
    error_description: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refresh(accounts: &str, api: Option<&str>) -> Refresh {
        let mut text = format!(
            "client_id = \"1000.A\"\nclient_secret = \"s3cret\"\nrefresh_token = \"r3fresh\"\n\
             accounts_url = \"{accounts}\"\n"
        );
        if let Some(api) = api {
            text.push_str(&format!("api_url = \"{api}\"\n"));
        }
        let settings: Settings = toml::from_str(&text).expect("settings");
        let mut hosts = settings.check().expect("hosts");
        hosts.is_own_accounts = accounts.contains("127.0.0.1");
        Refresh::new(api::client(Duration::from_secs(1)), hosts, &settings)
    }

    #[test]
    fn a_token_goes_to_zohos_hosts_and_to_those_that_were_set() {
        let zoho = refresh("https://accounts.zoho.eu", None);
        for right in ["https://www.zohoapis.eu", "https://www.zohoapis.com.au/"] {
            assert_eq!(
                zoho.api_host(Some(right)).expect("trusted"),
                right.trim_end_matches('/').to_owned()
            );
        }
        for wrong in [
            "http://www.zohoapis.eu",
            "https://www.zohoapis.eu.evil.com",
            "https://evilzohoapis.eu",
            "https://www.zohoapis.eu:444",
            "https://a@evil.com",
            "http://127.0.0.1:9",
        ] {
            let fault = zoho.api_host(Some(wrong)).expect_err(wrong);
            assert!(matches!(fault, Fault::Unauthorized { .. }), "{wrong}");
        }
        let local = refresh("http://127.0.0.1:1", None);
        assert!(local.api_host(Some("http://127.0.0.1:2")).is_ok());
        assert!(local.api_host(Some("https://evil.com")).is_err());
        let set = refresh("https://accounts.zoho.eu", Some("https://proxy.internal/zoho/"));
        let host = set.api_host(Some("https://evil.com")).expect("the one that was set");
        assert_eq!(host, "https://proxy.internal/zoho");
    }

    #[test]
    fn a_pause_beyond_reason_is_not_believed() {
        let mut headers = http::HeaderMap::new();
        headers.insert("retry-after", u64::MAX.to_string().parse().expect("a header"));
        let answer = Answer { status: StatusCode::TOO_MANY_REQUESTS, headers, body: "{}".into() };
        let told = refresh("https://accounts.zoho.eu", None).token(&answer);
        assert!(matches!(told, Err(Fault::Throttled { wait, .. }) if wait == LONGEST_PAUSE));
    }

    #[test]
    fn what_is_told_of_a_refusal_has_no_secret() {
        let zoho = refresh("https://accounts.zoho.eu", None);
        let fault = zoho.refused("invalid_client", Some("s3cret does not go with r3fresh"));
        assert!(matches!(fault, Fault::Unauthorized { .. }));
        let told = format!("{fault} {fault:?}");
        assert!(!told.contains("s3cret") && !told.contains("r3fresh"), "{told}");
    }
}
