//! For those who watch over connectors: `/metrics` for Prometheus, `/healthz` (it works), `/readyz` (it
//! takes deliveries) and `/status`, the whole story as JSON. It is served where the configuration says and
//! nowhere else. Metrics and status are refused under a Host that is not allowed, so that a page in
//! somebody's browser cannot read them under another name. No credential may be on any page.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::report::Report;
use crate::report::status::Statuses;

/// How often recorded samples are folded into their buckets.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// The buckets of seconds: a batch lasts as long as a CRM takes.
const SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// The buckets of the sizes of batches.
const ITEMS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 500.0];

/// The pages of a process.
#[derive(Clone)]
pub struct Operations {
    reports: Arc<[Arc<Report>]>,
    metrics: PrometheusHandle,
    allowed_hosts: Arc<[String]>,
}

impl Operations {
    /// Of these connectors; beside loopback names, the pages may be asked for under these hosts.
    pub fn new(reports: Vec<Arc<Report>>, allowed_hosts: Vec<String>) -> Operations {
        Operations {
            reports: reports.into(),
            metrics: recorder(),
            allowed_hosts: allowed_hosts.into(),
        }
    }

    /// Begins to listen; the pages are there until `stop`. The future is the serving.
    pub async fn listen(
        self,
        address: SocketAddr,
        stop: CancellationToken,
    ) -> io::Result<(SocketAddr, impl Future<Output = ()> + Send + use<>)> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        let metrics = self.metrics.clone();
        let serving = async move {
            let upkeep = tidy(metrics, stop.clone());
            let server = axum::serve(listener, self.router());
            let served = stop.run_until_cancelled(async move { server.await });
            let (served, ()) = tokio::join!(served, upkeep);
            if let Some(Err(error)) = served {
                tracing::error!(%error, "the operations pages are gone");
            }
        };
        Ok((bound, serving))
    }

    fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/status", get(status))
            .layer(from_fn_with_state(self.clone(), check_host))
            // Probes ask under the address of the machine.
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(self)
    }
}

/// The recorder is one for the process.
fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let handle = RECORDER.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Suffix("_items".to_owned()), ITEMS)
            })
            .expect("the buckets are not empty")
            .build_recorder();
        let handle = recorder.handle();
        // Only a second recorder could fail here, and this runs once.
        let _ = metrics::set_global_recorder(recorder);
        handle
    });
    handle.clone()
}

/// Where nobody asks for the metrics, samples would pile up.
async fn tidy(metrics: PrometheusHandle, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(METRICS_UPKEEP)).await.is_some() {
        metrics.run_upkeep();
    }
}

async fn metrics(State(operations): State<Operations>) -> Response {
    operations.reports.iter().for_each(|report| report.refresh());
    let text = operations.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn status(State(operations): State<Operations>) -> Response {
    let connectors = operations.reports.iter().map(|report| report.status()).collect();
    Json(Statuses { connectors }).into_response()
}

async fn healthz(State(operations): State<Operations>) -> Response {
    probe(&operations.reports, Report::health)
}

async fn readyz(State(operations): State<Operations>) -> Response {
    probe(&operations.reports, Report::readiness)
}

/// Good if it is of all; else each reason on a line of its own.
fn probe(reports: &[Arc<Report>], ask: fn(&Report) -> Result<(), String>) -> Response {
    let told = |report: &Arc<Report>| {
        let reason = ask(report).err()?;
        Some(format!("{}: {reason}\n", report.target()))
    };
    let reasons: String = reports.iter().filter_map(told).collect();
    match reasons.as_str() {
        "" => "ok\n".into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, reasons).into_response(),
    }
}

async fn check_host(
    State(operations): State<Operations>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().host()).unwrap_or_default();
    if is_allowed(host, &operations.allowed_hosts) {
        return next.run(request).await;
    }
    let refusal = "host not allowed; see connector.allowed_hosts\n";
    (StatusCode::MISDIRECTED_REQUEST, refusal).into_response()
}

fn is_allowed(host: &str, allowed: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let loopback = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    loopback || allowed.iter().any(|one| one.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Phase;
    use crate::shelf::Shelf;

    async fn get(address: SocketAddr, path: &str, host: &str) -> (u16, String) {
        let client = crate::api::client(Duration::from_secs(5));
        let request = client.get(format!("http://{address}{path}")).header("host", host);
        let answer = crate::api::send(request).await.expect("an answer");
        (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
    }

    #[tokio::test]
    async fn the_pages_tell_how_it_is_and_only_under_allowed_hosts() {
        let report = Arc::new(Report::new("shelf", "eu", "crm", Arc::new(Shelf::default())));
        let operations =
            Operations::new(vec![Arc::clone(&report)], vec!["ops.example.test".to_owned()]);
        let stop = CancellationToken::new();
        let loopback = "127.0.0.1:0".parse().expect("an address");
        let (address, serving) =
            operations.listen(loopback, stop.clone()).await.expect("a free port");
        let serving = tokio::spawn(serving);

        let (code, told) = get(address, "/readyz", "localhost").await;
        assert_eq!((code, told.as_str()), (503, "eu: starting\n"));
        assert_eq!(get(address, "/healthz", "10.0.0.1").await.0, 200);
        report.phase(Phase::Running);
        report.settled("deals", "updated");
        report.unauthorized("invalid_client");
        let (code, told) = get(address, "/healthz", "localhost").await;
        assert!(code == 503 && told.contains("invalid_client"), "{told}");

        let (code, told) = get(address, "/status", "ops.example.test").await;
        let told: Statuses = serde_json::from_str(&told).expect("JSON");
        assert_eq!((code, told.connectors[0].acks["deals"]["updated"]), (200, 1));
        let (code, told) = get(address, "/metrics", "localhost").await;
        assert_eq!(code, 200);
        assert!(told.contains("tollgate_connector_acks_total{"), "{told}");
        for page in ["/metrics", "/status"] {
            assert_eq!(get(address, page, "evil.example.test").await.0, 421);
        }
        stop.cancel();
        serving.await.expect("it ends");
    }

    #[test]
    fn only_loopback_and_configured_hosts_are_served() {
        let allowed = ["ops.example.test".to_owned()];
        for host in ["localhost:9464", "127.0.0.1", "[::1]:9464", "ops.example.test:9464"] {
            assert!(is_allowed(host, &allowed), "{host}");
        }
        for host in ["", "evil.example.test", "127.0.0.1.evil.test", "10.0.0.1:9464"] {
            assert!(!is_allowed(host, &allowed), "{host}");
        }
    }
}
