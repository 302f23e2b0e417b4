//! The load generator: keep-alive HTTP/1.1 connections that post signed webhooks, in a closed loop (each
//! connection posts its next one when it has its answer) or an open loop (each is posted when it is due).
//! Out come which were accepted and how long they took. It never tries again: what failed is counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use indicatif::ProgressBar;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::pacer::Schedule;
use crate::run::CONNECTIONS;
use crate::sample::Webhooks;
use crate::seen::Seen;

/// How many answers are counted before the bar moves.
const BAR_STEP: u64 = 256;

/// What came of a load.
pub struct Load {
    /// The numbers that were answered 2xx.
    pub accepted: Arc<Seen>,
    /// How many were not.
    pub refused: u64,
    /// How long each took, in nanoseconds.
    pub latency: Histogram<u64>,
    /// How long all took.
    pub elapsed: Duration,
}

impl Load {
    /// Accepted posts a second.
    pub fn per_second(&self) -> f64 {
        self.accepted.count() as f64 / self.elapsed.as_secs_f64()
    }
}

/// An empty histogram of nanoseconds, up to a minute.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("three digits are allowed")
}

/// A number of nanoseconds.
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Posts all as fast as they are answered.
pub async fn closed(
    address: SocketAddr,
    webhooks: Webhooks,
    bar: &ProgressBar,
) -> anyhow::Result<Load> {
    let next = Arc::new(AtomicU64::new(webhooks.numbers().start));
    let end = webhooks.numbers().end;
    let load = Posting::new(webhooks, bar);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(address).await?);
    }
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for mut connection in connections {
        let (load, next) = (load.clone(), next.clone());
        workers.spawn(async move {
            let mut latency = histogram();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return Ok(latency);
                }
                let sent = Instant::now();
                load.post(&mut connection, number).await?;
                latency.saturating_record(nanoseconds(sent.elapsed()));
            }
        });
    }
    load.end(workers, begun).await
}

/// Posts each when it is due.
pub async fn open(
    address: SocketAddr,
    webhooks: Webhooks,
    schedule: Schedule,
    bar: &ProgressBar,
) -> anyhow::Result<Load> {
    let load = Posting::new(webhooks, bar);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(address).await?);
    }
    let begun = schedule.due(load.webhooks.numbers().start);
    let due = Arc::new(Mutex::new(schedule.clone().run()));
    let mut workers = JoinSet::new();
    for mut connection in connections {
        let (load, due, schedule) = (load.clone(), due.clone(), schedule.clone());
        workers.spawn(async move {
            let mut latency = histogram();
            loop {
                let Some(number) = due.lock().await.recv().await else { return Ok(latency) };
                load.post(&mut connection, number).await?;
                latency.saturating_record(nanoseconds(schedule.due(number).elapsed()));
            }
        });
    }
    load.end(workers, begun).await
}

/// The status code of a GET.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<StatusCode> {
    let mut connection = connect(address).await?;
    let request = Request::get(path).header("host", address.ip().to_string());
    let answer = connection.send_request(request.body(Full::default())?).await?;
    Ok(answer.status())
}

/// What the connections of a load share.
#[derive(Clone)]
struct Posting {
    webhooks: Arc<Webhooks>,
    accepted: Arc<Seen>,
    answered: Arc<AtomicU64>,
    bar: ProgressBar,
}

impl Posting {
    fn new(webhooks: Webhooks, bar: &ProgressBar) -> Posting {
        Posting {
            accepted: Arc::new(Seen::none_of(webhooks.numbers())),
            webhooks: Arc::new(webhooks),
            answered: Arc::default(),
            bar: bar.clone(),
        }
    }

    async fn post(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
        number: u64,
    ) -> anyhow::Result<()> {
        let answer = connection.send_request(self.webhooks.request(number)).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        connection.ready().await?;
        if status.is_success() {
            self.accepted.mark(Some(number));
        }
        let answered = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        if answered.is_multiple_of(BAR_STEP) {
            self.bar.inc(BAR_STEP);
        }
        Ok(())
    }

    async fn end(
        self,
        mut workers: JoinSet<anyhow::Result<Histogram<u64>>>,
        begun: Instant,
    ) -> anyhow::Result<Load> {
        let mut latency = histogram();
        while let Some(worker) = workers.join_next().await {
            latency.add(worker.context("a connection panicked")??)?;
        }
        let elapsed = begun.elapsed();
        let refused = self.answered.load(Ordering::Relaxed) - self.accepted.count();
        Ok(Load { accepted: self.accepted, refused, latency, elapsed })
    }
}

async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("at {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Its errors reach whoever waits for an answer.
    tokio::spawn(connection);
    Ok(sender)
}
