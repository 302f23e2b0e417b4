//! The metrics of a running gateway: one recorder for the process, its buckets, the upkeep of what is
//! recorded, and the gauges that are brought up to date when somebody asks.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use crate::delivery::Delivery;

/// How often recorded samples are folded into their buckets.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// The buckets of all histograms of seconds.
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];
/// The buckets of the sizes of commits.
const ITEMS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// The recorder is one for the process, however many gateways it runs.
pub fn recorder() -> PrometheusHandle {
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

/// Folds recorded samples into their buckets: where nobody asks for the metrics they would pile up.
pub async fn tidy(metrics: PrometheusHandle, stopping: CancellationToken) {
    while stopping.run_until_cancelled(tokio::time::sleep(METRICS_UPKEEP)).await.is_some() {
        metrics.run_upkeep();
    }
}

/// Brings the gauges of subscriptions up to date.
pub async fn refresh(delivery: &Delivery) {
    let now = (delivery.shared().clock)();
    for name in delivery.names("", crate::delivery::MAX_SUBSCRIPTIONS) {
        let Ok(described) = delivery.describe(&name).await else { continue };
        let snapshot = described.snapshot;
        let set = |metric: &'static str, value: f64| {
            metrics::gauge!(metric, "subscription" => name.clone()).set(value);
        };
        set("tollgate_subscription_position", snapshot.position.0 as f64);
        set("tollgate_subscription_backlog_events", snapshot.backlog.events as f64);
        set("tollgate_subscription_outstanding", snapshot.outstanding as f64);
        set("tollgate_subscription_held_back", snapshot.held_back as f64);
        set("tollgate_subscription_dead_letters", snapshot.dead_letters as f64);
        let lag = snapshot.backlog.oldest_received_at;
        let lag = lag.map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64().max(0.0));
        set("tollgate_subscription_lag_seconds", lag);
    }
}
