//! The way of one call through a server: read it, journal it, let a fault strike or the backend
//! answer, and send what comes of that. A write that a fault lets happen has happened before anyone
//! hears of the fault, and stays even if the client has left.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, Sleep},
};

use super::{Backend, Host, Reply, Request, Shared};
use crate::{
    clock::after,
    faults::{Effect, Strike, Write},
};

const MAX_BODY: usize = 16 * 1024 * 1024;
/// Long enough that what was sent before the connection is cut has left the machine's buffers.
const BEFORE_CUT: Duration = Duration::from_millis(20);
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(10);

pub(super) async fn accept<B: Backend>(shared: Arc<Shared<B>>, host: Host, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.spawn(converse(Arc::clone(&shared), host, stream)),
            // Out of file descriptors: others must close theirs first.
            Err(_) => {
                tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
    }
}

async fn converse<B: Backend>(shared: Arc<Shared<B>>, host: Host, stream: TcpStream) {
    // Without it answers are only slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(Arc::clone(&shared), host, request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new());
    // A connection ends as its client or a fault likes; neither is an error here.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer<B: Backend>(
    shared: Arc<Shared<B>>,
    host: Host,
    incoming: http::Request<Incoming>,
) -> Result<Response<Sending>, Cut> {
    let (head, body) = incoming.into_parts();
    let (body, too_large) = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => (body.to_bytes(), false),
        Err(error) if error.is::<LengthLimitError>() => (Bytes::new(), true),
        Err(_) => return Err(Cut),
    };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::new(head.method, target, head.headers, body);
    request.host = host;
    request.number = shared.calls.fetch_add(1, Ordering::Relaxed) + 1;
    request.arrived = shared.site.clock.now();
    request.tenant = shared.backend.tenant(&request);
    let (_ticket, others) =
        shared.in_flight.enter(&request.tenant, request.number, request.arrived);
    request.others = others;
    shared.site.journal.arrived(&request);
    if too_large {
        return Ok(shared.send(request.number, Reply::empty(413)));
    }
    match shared.faults.strike(&request) {
        Some(strike) => struck(shared, Arc::new(request), strike).await,
        None => {
            let (number, latency) = (request.number, shared.faults.latency());
            let reply = handle_after(latency, &shared, Arc::new(request)).await?;
            Ok(shared.send(number, reply))
        }
    }
}

/// Carries out a call after a while, whether or not its client is still there.
async fn handle_after<B: Backend>(
    wait: Duration,
    shared: &Arc<Shared<B>>,
    request: Arc<Request>,
) -> Result<Reply, Cut> {
    if wait.is_zero() {
        return Ok(shared.backend.handle(&request));
    }
    let shared = Arc::clone(shared);
    let later = tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        shared.backend.handle(&request)
    });
    later.await.map_err(|_| Cut)
}

async fn struck<B: Backend>(
    shared: Arc<Shared<B>>,
    request: Arc<Request>,
    strike: Strike,
) -> Result<Response<Sending>, Cut> {
    let number = request.number;
    let applied = |write: Write| match write {
        Write::Applied => Some(shared.backend.handle(&request)),
        Write::Lost => None,
    };
    let real = || {
        let reply = shared.backend.handle(&request);
        strike.hit();
        reply
    };
    match strike.effect {
        Effect::Answer(write, ref reply) => {
            applied(write);
            shared.note_wait(&request, reply);
            strike.hit();
            Ok(shared.send(number, reply.clone()))
        }
        Effect::Delay(wait) => {
            strike.hit();
            let reply = handle_after(wait, &shared, Arc::clone(&request)).await?;
            Ok(shared.send(number, reply))
        }
        Effect::DelayAnswer(wait) => {
            let reply = real();
            tokio::time::sleep(wait).await;
            Ok(shared.send(number, reply))
        }
        Effect::Hang(write) => {
            applied(write);
            strike.hit();
            std::future::pending().await
        }
        Effect::Close(write) => {
            applied(write);
            strike.hit();
            Err(Cut)
        }
        Effect::Truncate => {
            let reply = real();
            if reply.body.is_empty() {
                return Err(Cut);
            }
            let cut_at = reply.body.len() / 2;
            Ok(shared.send(number, reply).map(|body| Sending { cut_at: Some(cut_at), ..body }))
        }
        Effect::ContentType(content_type) => {
            Ok(shared.send(number, real().with_header("content-type", content_type)))
        }
        Effect::Drip(piece, pause) => {
            let drip = Some((piece.max(1), pause));
            Ok(shared.send(number, real()).map(|body| Sending { drip, ..body }))
        }
    }
}

impl<B: Backend> Shared<B> {
    /// A fault that refuses with a wait binds the tenant to it as the backend's own refusal does.
    fn note_wait(&self, request: &Request, reply: &Reply) {
        if let (StatusCode::TOO_MANY_REQUESTS, Some(wait)) = (reply.status, reply.retry_after()) {
            let until = after(self.site.clock.now(), wait);
            self.site.journal.throttled(&request.tenant, until);
        }
    }

    fn send(&self, number: u64, reply: Reply) -> Response<Sending> {
        self.site.journal.answered(number, &reply);
        let mut response = Response::new(Sending { rest: reply.body, ..Sending::default() });
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        let server = HeaderValue::from_static("fake-crms");
        response.headers_mut().entry(header::SERVER).or_insert(server);
        response
    }
}

/// The body of an answer on its way: whole, in slow pieces, or cut in the middle.
#[derive(Default)]
struct Sending {
    rest: Bytes,
    sent: usize,
    drip: Option<(usize, Duration)>,
    cut_at: Option<usize>,
    pausing: Option<Pin<Box<Sleep>>>,
}

impl Sending {
    /// What may leave before the next pause, and the pause before it.
    fn next(&self) -> (usize, Duration) {
        let left = self.rest.len();
        match (self.drip, self.cut_at) {
            (Some((piece, pause)), _) => (left.min(piece), pause),
            (None, Some(cut_at)) if self.sent < cut_at => (cut_at - self.sent, Duration::ZERO),
            (None, Some(_)) => (0, BEFORE_CUT),
            (None, None) => (left, Duration::ZERO),
        }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let (size, pause) = self.next();
        if !pause.is_zero() {
            let pausing = self
                .pausing
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + pause)));
            if pausing.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.pausing = None;
        }
        if size == 0 {
            return Poll::Ready(Some(Err(Cut)));
        }
        self.sent += size;
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// Ends a connection without another byte.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection is cut")
    }
}

impl std::error::Error for Cut {}
