//! The HTTP side: the shim that providers post to, and the pages for monitoring. Listeners are bounded:
//! a limited number of connections, headers and bodies that must arrive in time, bodies of a limited
//! size. A request is answered 2xx only after what it said is committed (P1).

pub mod admin;
pub mod links;
pub mod opening;
pub mod sample_api;
pub mod webhooks;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use opening::Opening;

/// How large the headers of a request may be.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// How many headers a request may have.
const MAX_HEADERS: usize = 128;
/// How long to wait after a failed accept, as when file descriptors have run out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// The bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many connections there may be.
    pub max_connections: usize,
    /// How long the first bytes, the headers, and then the body, may take to arrive.
    pub read_timeout: Duration,
    /// How long open requests may go on once the gateway stops.
    pub drain: Duration,
}

/// Who is at the other end of a request's connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Serves a router until `stopping` is cancelled and open requests are answered.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stopping: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEADER_BYTES).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(limits.read_timeout))
        .keep_alive_timeout(limits.read_timeout);
    let open = GracefulShutdown::new();
    let cut = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        // Without it small replies wait for the peer's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let answer = router.clone().oneshot(request.map(axum::body::Body::new));
            async move { answer.await as Result<_, Infallible> }
        });
        let stream = TokioIo::new(Opening::within(limits.read_timeout, stream));
        let connection = open.watch(builder.serve_connection(stream, service).into_owned());
        let cut = cut.clone();
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended early");
                },
                () = cut.cancelled() => {}
            }
            drop(place);
        });
    }
    if tokio::time::timeout(limits.drain, open.shutdown()).await.is_err() {
        cut.cancel();
        tracing::info!("drain is over; open requests were given up");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, Peer, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, Peer(address.ip()), place)),
        Err(error) => {
            tracing::warn!(%error, "could not accept a connection");
            tokio::time::sleep(ACCEPT_BACKOFF).await;
            None
        }
    }
}

/// A request's path and query as on its first line.
fn path_and_query(request: &Request) -> &str {
    request.uri().path_and_query().map_or("/", |path| path.as_str())
}
