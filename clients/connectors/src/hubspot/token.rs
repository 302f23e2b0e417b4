//! Access tokens of an OAuth app, each for half an hour: `POST /oauth/v1/token` with the refresh token,
//! which stays the same. In comes the app's credential, out goes a token. Of a refusal only HubSpot's code
//! is told, since its words may repeat what was sent.
//!
//! <https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/oauth/working-with-oauth>

use std::time::Duration;

use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use reqwest::Client;
use serde::Deserialize;

use super::settings::Grant;
use crate::api::{self, Answer};
use crate::crm::Fault;
use crate::tokens::{Token, TokenSource};

const PATH: &str = "/oauth/v1/token";
const FORM: &str = "application/x-www-form-urlencoded";
/// The wait after a 429 that tells none.
const THROTTLED: Duration = Duration::from_secs(10);
const MAX_CODE_BYTES: usize = 60;

/// Asks for tokens with a refresh token.
pub(super) struct Refresh {
    client: Client,
    url: String,
    grant: Grant,
}

#[derive(Deserialize)]
struct Issued {
    access_token: String,
    expires_in: u64,
}

/// HubSpot's own form, and that of the standard.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refused {
    status: String,
    error: String,
    category: String,
}

impl Refresh {
    /// At this host.
    pub(super) fn new(client: Client, auth_url: &str, grant: Grant) -> Refresh {
        let url = format!("{}{PATH}", auth_url.trim_end_matches('/'));
        Refresh { client, url, grant }
    }
}

#[async_trait]
impl TokenSource for Refresh {
    async fn ask(&self) -> Result<Token, Fault> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", &self.grant.client_id)
            .append_pair("client_secret", self.grant.client_secret.expose())
            .append_pair("refresh_token", self.grant.refresh_token.expose())
            .finish();
        let request = self.client.post(&self.url).header(CONTENT_TYPE, FORM).body(form);
        let answer = api::send(request).await.map_err(Fault::transient)?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        // The parser's words could show a part of the token.
        let issued: Issued = serde_json::from_slice(&answer.body)
            .map_err(|_| Fault::transient("the token endpoint gave an unreadable answer"))?;
        let lasts = Some(Duration::from_secs(issued.expires_in));
        Ok(Token { secret: issued.access_token.into(), api_url: None, lasts })
    }
}

fn refusal(answer: &Answer) -> Fault {
    let status = answer.status.as_u16();
    let refused: Refused = serde_json::from_slice(&answer.body).unwrap_or_default();
    let codes = [refused.category, refused.error, refused.status];
    let code = codes.into_iter().find(|code| is_code(code)).unwrap_or_default();
    let reason = format!("the token endpoint answered {status} {code}").trim_end().to_owned();
    match status {
        429 => Fault::Throttled { wait: answer.retry_after().unwrap_or(THROTTLED), reason },
        400 | 401 | 403 => {
            tracing::error!(reason, "HubSpot refuses the refresh token; somebody must act");
            Fault::Unauthorized { reason }
        }
        _ => Fault::Transient { reason, wait: answer.retry_after() },
    }
}

/// Whether it is a word that HubSpot chose and not something that it was sent.
fn is_code(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    !text.is_empty() && text.len() <= MAX_CODE_BYTES && text.bytes().all(is_letter)
}
