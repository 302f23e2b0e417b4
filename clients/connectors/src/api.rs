//! Calls of a CRM's API: in comes a request that is about to be made, out goes its answer with a bounded
//! body, whatever its status. The budget is asked before, the token is added and renewed once if the answer
//! says that it ended, and a call that got no answer, or a 5xx, makes the org pause. What an answer means
//! is the CRM module's to say. It must never follow a redirect, since that would carry the token elsewhere,
//! and never print a token.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use reqwest::{Client, RequestBuilder, Url, redirect};
use serde::de::DeserializeOwned;

use crate::budget::Budget;
use crate::crm::Fault;
use crate::tokens::{Token, Tokens};

/// The largest answer that is read.
const MAX_BODY_BYTES: usize = 16 << 20;
/// How much of an answer's text is told in a fault.
const MAX_TOLD_BYTES: usize = 500;
const USER_AGENT: &str = concat!("tollgate-connect/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How calls are made when nothing else is configured.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// The API of one org.
#[derive(Clone)]
pub struct Api {
    client: Client,
    tokens: Arc<Tokens>,
    budget: Arc<Budget>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
}

impl Api {
    /// With a client of [`client`], the tokens of a credential and the budget of its org.
    pub fn new(client: Client, tokens: Arc<Tokens>, budget: Arc<Budget>) -> Api {
        Api { client, tokens, budget }
    }

    /// What limits its calls.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The current token, for a module that needs its `api_url` beforehand.
    pub async fn token(&self) -> Result<Arc<Token>, Fault> {
        self.tokens.current().await
    }

    /// Makes a call of `points` that `request` makes up with the token, and once more with another token if
    /// `is_expired` says so of the answer. Any status is an answer but 5xx, for which the org pauses; a
    /// module that knows a 5xx to be about the request itself uses [`Api::call_any`].
    pub async fn call(
        &self,
        points: u64,
        request: impl Fn(&Client, &Token) -> RequestBuilder,
        is_expired: impl Fn(&Answer) -> bool,
    ) -> Result<Answer, Fault> {
        let answer = self.call_any(points, request, is_expired).await?;
        if answer.status.is_server_error() {
            let (reason, wait) = (answer.told(), answer.retry_after());
            let pause = self.budget.failed(&reason);
            tracing::warn!(reason, ?pause, "a call failed");
            return Err(Fault::Transient { reason, wait });
        }
        self.budget.succeeded();
        Ok(answer)
    }

    /// As [`Api::call`], but a 5xx is an answer too.
    pub async fn call_any(
        &self,
        points: u64,
        request: impl Fn(&Client, &Token) -> RequestBuilder,
        is_expired: impl Fn(&Answer) -> bool,
    ) -> Result<Answer, Fault> {
        let token = self.tokens.current().await?;
        let answer = self.attempt(points, request(&self.client, &token)).await?;
        if !is_expired(&answer) {
            return Ok(answer);
        }
        let token = self.tokens.after_refusal(&token).await?;
        let answer = self.attempt(points, request(&self.client, &token)).await?;
        if is_expired(&answer) {
            let reason = format!("the credential is refused: {}", answer.told());
            tracing::error!(reason, "a CRM refuses the credential; somebody must act");
            return Err(Fault::Unauthorized { reason });
        }
        Ok(answer)
    }

    async fn attempt(&self, points: u64, request: RequestBuilder) -> Result<Answer, Fault> {
        let _permit = self.budget.acquire(points).await?;
        send(request).await.map_err(|reason| {
            let pause = self.budget.failed(&reason);
            tracing::warn!(reason, ?pause, "a call got no answer");
            Fault::Transient { reason, wait: None }
        })
    }
}

impl Answer {
    /// The body as JSON. An answer that is not what it should be may be right the next time: a proxy's
    /// page, a body that was cut off.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Fault::transient(format!("{}: unreadable answer: {error}", self.status))
        })
    }

    /// A header as text; `None` where it is absent or no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The seconds of `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.header("retry-after")?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// The status and the beginning of the body, for people.
    pub fn told(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text = text.trim();
        format!("{}: {}", self.status, &text[..text.floor_char_boundary(MAX_TOLD_BYTES)])
    }
}

/// A client for a CRM's hosts.
pub fn client(timeout: Duration) -> Client {
    // A second call finds it installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .build()
        .expect("the client's settings are constant")
}

/// Sends a request and reads the answer whole; the reason if there was none. For calls outside an org's
/// budget: those to a token endpoint.
pub async fn send(request: RequestBuilder) -> Result<Answer, String> {
    let mut response = request.send().await.map_err(describe)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(describe)? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(format!("{status}: an answer of more than {MAX_BODY_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body: body.freeze() })
}

/// Whether a base URL may be called: https, or http on this machine.
pub fn check_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|_| format!("`{text}` is not a URL"))?;
    let host = url.host_str().unwrap_or_default();
    let is_local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_local => Ok(url),
        _ => Err(format!("`{text}` must begin with https://")),
    }
}

/// Without the URL, which may have a secret in its query.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_this_machine_are_called() {
        for right in ["https://api.hubapi.com", "http://127.0.0.1:8080", "http://localhost:1/x"] {
            assert!(check_url(right).is_ok(), "{right}");
        }
        for wrong in
            ["http://api.hubapi.com", "ftp://x", "api.hubapi.com", "http://127.0.0.1.evil.com"]
        {
            assert!(check_url(wrong).is_err(), "{wrong}");
        }
    }
}
