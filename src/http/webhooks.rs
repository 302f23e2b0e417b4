//! The shim: reads a bounded body, finds the endpoint by path, has its provider verify it, hands the
//! receipt to `ingest` and answers what the provider expects once it is committed. What fails
//! verification is refused and nothing of it is kept.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use governor::clock::DefaultClock;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;

use super::path_and_query;
use crate::ingest::fetch::keys::KeyError;
use crate::ingest::{Clock, Error as IngestError, Ingest, Registered};
use crate::model::EndpointName;
use crate::providers::{Challenge, REPLIES, Replies, Reply, Verdict};
use crate::receipt::{Receipt, Request, VerifyError};

/// When a provider is to try again after a passing failure, in seconds.
const RETRY_AFTER_SECONDS: &str = "5";

/// How many keys one request may need.
const MAX_KEYS: usize = 3;

type Limiter = RateLimiter<EndpointName, DashMapStateStore<EndpointName>, DefaultClock>;

/// What the shim needs.
#[derive(Clone)]
pub struct Shim {
    ingest: Ingest,
    clock: Clock,
    max_body_bytes: usize,
    read_timeout: Duration,
    limiter: Option<Arc<Limiter>>,
    keep_refused: bool,
}

/// What an accepted request is answered with.
enum Answer {
    /// What its provider expects of a committed receipt.
    Committed,
    /// What it expects where the provider event type is not translated.
    Unknown,
    /// What it asked for.
    Challenge(Challenge),
}

/// Why a request was not accepted. This is the one map from errors to HTTP codes.
#[derive(Debug)]
enum Refusal {
    /// 404: no endpoint has this path.
    NoEndpoint,
    /// 405: webhooks are posted.
    Method,
    /// 413: the body is over the limit.
    TooLarge,
    /// 408: the body did not arrive in time.
    Slow,
    /// 400: the body broke off.
    Broken,
    /// 429: over the endpoint's rate.
    TooMany,
    /// 401: not authentic.
    NotAuthentic,
    /// 503: a key that tells whether it is authentic could not be fetched.
    NoKey(String),
    /// 503: not committed; the provider will try again.
    NotCommitted(IngestError),
}

impl Shim {
    /// A shim that hands receipts to `ingest`.
    pub fn new(
        ingest: Ingest,
        clock: Clock,
        max_body_bytes: usize,
        read_timeout: Duration,
        max_requests_per_second: Option<NonZeroU32>,
    ) -> Shim {
        let limiter =
            max_requests_per_second.map(|rate| Arc::new(Limiter::keyed(Quota::per_second(rate))));
        Shim { ingest, clock, max_body_bytes, read_timeout, limiter, keep_refused: false }
    }

    /// Keeps the last refused requests of each endpoint in memory, for `doctor`.
    pub fn keep_refused(self, keep_refused: bool) -> Shim {
        Shim { keep_refused, ..self }
    }

    /// All paths go through one handler: which of them are endpoints changes while the gateway runs.
    pub fn router(self) -> Router {
        Router::new().fallback(handle).with_state(self)
    }

    async fn receive(
        &self,
        request: HttpRequest,
        registered: &Arc<Registered>,
    ) -> Result<Answer, Refusal> {
        let endpoint = &registered.endpoint;
        let method = request.method();
        if method == Method::HEAD || !registered.provider.replies.methods.contains(method) {
            return Err(Refusal::Method);
        }
        if let Some(limiter) = &self.limiter
            && limiter.check_key(&endpoint.name).is_err()
        {
            return Err(Refusal::TooMany);
        }
        let request = self.read(request).await?;
        let now = (self.clock)();
        let (proof, is_proved) = match self.verify(&request, registered, now).await? {
            Verdict::Verified(proof) => (proof, true),
            Verdict::NeedsConfirmation(proof) => (proof, false),
            Verdict::Challenge(challenge) => return Ok(Answer::Challenge(challenge)),
            Verdict::NeedsKey(wanted) => {
                let error = VerifyError::NoKey(wanted.id);
                return Err(self.not_authentic(registered, Some(&request), now, &error));
            }
        };
        let redaction = registered.provider.redaction;
        let receipt = Receipt::new(request, proof, endpoint.name.clone(), now, redaction);
        let received = match is_proved {
            true => self.ingest.receive(receipt, registered).await,
            false => self.ingest.receive_unconfirmed(receipt, registered).await,
        };
        let received = received.map_err(|error| match error {
            IngestError::Unconfirmable => self.not_authentic(registered, None, now, &error),
            error => Refusal::NotCommitted(error),
        })?;
        registered.health.accept(now);
        tracing::debug!(endpoint = %endpoint.name, receipt = ?received.receipt, "committed");
        Ok(if received.is_unknown { Answer::Unknown } else { Answer::Committed })
    }

    /// Has the provider verify a request, with the keys at hand first and then with those that it asks for.
    async fn verify(
        &self,
        request: &Request,
        registered: &Arc<Registered>,
        now: Timestamp,
    ) -> Result<Verdict, Refusal> {
        let (provider, endpoint) = (registered.provider, &registered.endpoint);
        let mut needed = 0;
        loop {
            let (wanted, seen) = {
                let keys = registered.keys.at_hand(now);
                match (provider.verify)(request, endpoint, &keys, now) {
                    Ok(Verdict::NeedsKey(wanted)) if needed < MAX_KEYS => {
                        let seen = keys.get(&wanted.id).map(|key| key.fetched_at);
                        (wanted, seen)
                    }
                    Ok(verdict) => return Ok(verdict),
                    Err(error) => {
                        return Err(self.not_authentic(registered, Some(request), now, &error));
                    }
                }
            };
            needed += 1;
            match self.ingest.obtain_key(registered, &wanted, (seen, now)).await {
                Ok(()) => {}
                Err(error @ KeyError::Absent(_)) => {
                    return Err(self.not_authentic(registered, Some(request), now, &error));
                }
                Err(KeyError::Failed(reason)) => {
                    registered.health.fail_fetch(now, reason.clone());
                    return Err(Refusal::NoKey(reason));
                }
            }
        }
    }

    /// Notes why a request is refused.
    fn not_authentic(
        &self,
        registered: &Registered,
        request: Option<&Request>,
        now: Timestamp,
        error: &dyn std::error::Error,
    ) -> Refusal {
        let provider = registered.provider.name;
        tracing::warn!(provider, endpoint = %registered.endpoint.name, %error, "request refused");
        registered.health.refuse(now, error.to_string());
        if let Some(request) = request.filter(|_| self.keep_refused) {
            let ring = registered.health.refused_requests();
            ring.keep(now, error.to_string(), request.clone());
        }
        Refusal::NotAuthentic
    }

    async fn read(&self, request: HttpRequest) -> Result<Request, Refusal> {
        let path = path_and_query(&request).to_owned();
        let (parts, body) = request.into_parts();
        let announced = parts.headers.get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|bytes| bytes > self.max_body_bytes as u64) {
            return Err(Refusal::TooLarge);
        }
        let body = Limited::new(body, self.max_body_bytes).collect();
        let body = tokio::time::timeout(self.read_timeout, body).await;
        let body = body.map_err(|_| Refusal::Slow)?.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                Refusal::TooLarge
            } else {
                Refusal::Broken
            }
        })?;
        Ok(Request { method: parts.method, path, headers: parts.headers, body: body.to_bytes() })
    }
}

async fn handle(State(shim): State<Shim>, request: HttpRequest) -> Response {
    let started = Instant::now();
    let registered = shim.ingest.endpoints().by_path(request.uri().path());
    let Some(registered) = registered else {
        let answer = refused(&Refusal::NoEndpoint, &REPLIES);
        count("none".to_owned(), answer.status());
        return answer;
    };
    let answer = match shim.receive(request, &registered).await {
        Ok(Answer::Committed) => reply(registered.provider.replies.accepted),
        Ok(Answer::Unknown) => reply(registered.provider.replies.unknown),
        Ok(Answer::Challenge(challenge)) => answer_to(challenge),
        Err(refusal) => refused(&refusal, &registered.provider.replies),
    };
    match answer.status() {
        StatusCode::OK => registered.meters.accepted.increment(1),
        status => count(registered.endpoint.name.to_string(), status),
    }
    registered.meters.latency.record(started.elapsed());
    answer
}

fn count(endpoint: String, status: StatusCode) {
    let status = status.as_str().to_owned();
    metrics::counter!("tollgate_webhooks_total", "endpoint" => endpoint, "status" => status)
        .increment(1);
}

fn reply(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    if !reply.content_type.is_empty() {
        let value = HeaderValue::from_static(reply.content_type);
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

fn answer_to(challenge: Challenge) -> Response {
    let mut response = Response::new(Body::from(challenge.body));
    *response.status_mut() = StatusCode::from_u16(challenge.status).unwrap_or(StatusCode::OK);
    for (name, value) in challenge.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn refused(refusal: &Refusal, replies: &Replies) -> Response {
    let (status, text) = match refusal {
        Refusal::NoEndpoint => (StatusCode::NOT_FOUND, "no endpoint has this path\n"),
        Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "webhooks are posted\n"),
        Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n"),
        Refusal::Slow => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n"),
        Refusal::Broken => (StatusCode::BAD_REQUEST, "the body broke off\n"),
        Refusal::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too many requests\n"),
        Refusal::NotAuthentic => return reply(replies.refused),
        Refusal::NoKey(reason) => {
            tracing::warn!(reason, "answered 503: a key could not be fetched");
            (StatusCode::SERVICE_UNAVAILABLE, "cannot be verified now; try again\n")
        }
        Refusal::NotCommitted(error) => {
            tracing::warn!(%error, "answered 503");
            (StatusCode::SERVICE_UNAVAILABLE, "not stored; try again\n")
        }
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let methods: Vec<&str> = replies.methods.iter().map(Method::as_str).collect();
        headers.extend(HeaderValue::from_str(&methods.join(", ")).map(|all| (header::ALLOW, all)));
    }
    response
}
