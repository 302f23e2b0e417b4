//! A provider's API that answers as samples say, on this machine alone: thin webhooks, keys and
//! confirmations of samples are asked for here. In come calls of a gateway, out go the answers of the
//! samples that were added, each call by the newest that fits it; a token endpoint gives a token to
//! anybody. It must never be reachable from elsewhere, for it checks nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::providers::{Endpoint, SampleAnswer};

/// Where another program on this machine posts answers of samples that it sends, as a JSON list.
pub const ANSWERS_PATH: &str = "/tollgate-sample-answers";
/// How large such a list may be.
const MAX_LIST_BYTES: usize = 4 << 20;
/// How many answers are kept; the oldest go first.
const MAX_ANSWERS: usize = 10_000;
/// What setting names end in that say where an API is.
const URL_SETTING: &str = "_url";
/// What every OAuth client is given.
const TOKEN: &str = r#"{"access_token":"sample","token_type":"Bearer","expires_in":3600}"#;

/// A running API. Dropped, it ends.
pub struct SampleApi {
    answers: Answers,
    address: SocketAddr,
    server: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Answers {
    kept: Arc<Mutex<Vec<SampleAnswer>>>,
    asked: Arc<Notify>,
}

impl SampleApi {
    /// Listens here; port 0 takes any.
    pub async fn start(address: SocketAddr) -> io::Result<SampleApi> {
        if !address.ip().is_loopback() {
            return Err(io::Error::other(format!("{address} is not on this machine")));
        }
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let answers = Answers::default();
        let router = Router::new().fallback(answer).with_state(answers.clone());
        let server = tokio::spawn(async move {
            // It only fails with its listener, and then the calls show it.
            let _ = axum::serve(listener, router).await;
        });
        Ok(SampleApi { answers, address, server })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes in what samples say.
    pub fn add(&self, answers: Vec<SampleAnswer>) {
        self.answers.add(answers);
    }

    /// Waits until nothing was asked for so long.
    pub async fn idle(&self, quiet: Duration) {
        while tokio::time::timeout(quiet, self.answers.asked.notified()).await.is_ok() {}
    }
}

impl Answers {
    fn add(&self, answers: Vec<SampleAnswer>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(answers);
        let over = kept.len().saturating_sub(MAX_ANSWERS);
        kept.drain(..over);
    }
}

/// Answers as the list that is posted to `ANSWERS_PATH`.
pub fn list_of(answers: &[SampleAnswer]) -> Value {
    let answers = answers.iter().map(|one| {
        let body = String::from_utf8_lossy(&one.body);
        json!({ "method": one.method.as_str(), "path": one.path, "status": one.status, "body": body })
    });
    answers.collect()
}

fn answers_in(list: &[u8]) -> Option<Vec<SampleAnswer>> {
    let list: Vec<Value> = serde_json::from_slice(list).ok()?;
    let answers = list.iter().map(|one| {
        Some(SampleAnswer {
            method: one["method"].as_str()?.parse().ok()?,
            path: one["path"].as_str()?.to_owned(),
            status: u16::try_from(one["status"].as_u64()?).ok()?,
            body: one["body"].as_str()?.to_owned().into(),
        })
    });
    answers.collect()
}

impl Drop for SampleApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Where an endpoint's API is, if all of its settings say that it is at one address of this machine.
pub fn local_api_of(endpoint: &Endpoint) -> Option<SocketAddr> {
    let mut urls =
        endpoint.settings.iter().filter(|(name, _)| name.ends_with(URL_SETTING)).map(|(_, url)| {
            let rest = url.strip_prefix("http://")?;
            rest.split('/').next()?.parse::<SocketAddr>().ok().filter(|at| at.ip().is_loopback())
        });
    let first = urls.next()??;
    urls.all(|one| one == Some(first)).then_some(first)
}

/// The names of a provider's settings that say where its API is.
pub fn url_settings(settings: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    settings.iter().copied().filter(|name| name.ends_with(URL_SETTING))
}

async fn answer(State(answers): State<Answers>, request: Request) -> Response {
    answers.asked.notify_one();
    if request.uri().path() == ANSWERS_PATH {
        let list = axum::body::to_bytes(request.into_body(), MAX_LIST_BYTES).await.ok();
        let added = list.and_then(|list| answers_in(&list)).map(|list| answers.add(list));
        let mut response = Response::new(Body::empty());
        if added.is_none() {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        return response;
    }
    let (method, path) = (request.method(), request.uri().path());
    let found = {
        let kept = answers.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |one: &&SampleAnswer| one.method == *method && one.path == path;
        kept.iter().rev().find(fits).map(|one| (one.status, Body::from(one.body.clone())))
    };
    let is_token = path.contains("token") || path.contains("oauth");
    let (status, body) = found.unwrap_or_else(|| match is_token {
        true => (200, Body::from(TOKEN)),
        false => (404, Body::from("{}")),
    });
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
