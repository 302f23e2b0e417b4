//! For monitoring: `/metrics` for Prometheus, `/healthz` (the process runs) and `/readyz` (it takes
//! webhooks and serves streams). The metrics are refused under a Host that is not allowed, so that a
//! page in somebody's browser cannot read them under another name.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::ingest::Ingest;

/// Brings gauges up to date before they are shown.
pub type Refresh = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What the pages need.
#[derive(Clone)]
pub struct Admin {
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// Brings gauges up to date.
    pub refresh: Refresh,
    /// Whose writer must run for the gateway to be ready.
    pub ingest: Ingest,
    /// Cancelled when the gateway begins to stop.
    pub stopping: CancellationToken,
    /// Host names, without port, under which the pages may be asked for, beside loopback ones.
    pub allowed_hosts: Arc<[String]>,
}

impl Admin {
    /// The pages.
    pub fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .layer(from_fn_with_state(self.clone(), check_host))
            // Probes ask under the address of the machine, and these two tell nothing.
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .with_state(self)
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    (admin.refresh)().await;
    let text = admin.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn ready(State(admin): State<Admin>) -> Response {
    if admin.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    if admin.ingest.is_stopped() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the store takes no writes\n").into_response();
    }
    "ready\n".into_response()
}

async fn check_host(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().host()).unwrap_or_default();
    if is_allowed(host, &admin.allowed_hosts) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, "host not allowed; see admin.allowed_hosts\n").into_response()
}

fn is_allowed(host: &str, allowed: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let loopback = name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    loopback || allowed.iter().any(|one| one.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_configured_hosts_are_served() {
        let allowed = ["ops.example.test".to_owned()];
        for host in ["localhost:9090", "127.0.0.1", "[::1]:9090", "ops.example.test:9090"] {
            assert!(is_allowed(host, &allowed), "{host}");
        }
        for host in ["", "evil.example.test", "127.0.0.1.evil.test", "10.0.0.1:9090"] {
            assert!(!is_allowed(host, &allowed), "{host}");
        }
    }
}
