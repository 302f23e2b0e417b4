//! `/metrics`, `/healthz` and `/readyz`, and who may read them.

use crate::gateway::{StripeEvent, TestGateway, config};
use crate::subscriber::{Subscriber, from_earliest};

/// The value of a metric with these labels.
fn value(metrics: &str, name: &str, labels: &str) -> Option<f64> {
    let start = format!("{name}{{{labels}}} ");
    let start = if labels.is_empty() { format!("{name} ") } else { start };
    let line = metrics.lines().find(|line| line.starts_with(&start))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened() {
    let gateway = TestGateway::with(config(
        "[[endpoints]]\nprovider = \"stripe\"\nname = \"metered\"\n\
         secrets.webhook_secret = \"whsec_test_0123456789abcdef\"\n",
    ))
    .await;
    let client = gateway.client().await;
    for (number, payment) in ["pi_1", "pi_2", "pi_3"].into_iter().enumerate() {
        let id = format!("evt_{number}");
        let mut request = gateway.signed(StripeEvent::paid(&id, payment).body());
        request.path = "/webhooks/stripe/metered".to_owned();
        assert_eq!(gateway.post(request).await, 200);
    }
    let mut forged = gateway.signed(StripeEvent::paid("evt_9", "pi_9").body());
    forged.path = "/webhooks/stripe/metered".to_owned();
    forged.headers.clear();
    assert_eq!(gateway.post(forged).await, 401);
    let mut subscriber = Subscriber::open(&client, from_earliest("metered")).await;
    let first = subscriber.deliveries(3).await;
    subscriber.ack(&first[0]).await;
    let (status, metrics) = gateway.admin_page("/metrics").await;
    assert_eq!(status, 200);
    let endpoint = "endpoint=\"stripe/metered\"";
    let webhooks = |status: &str| {
        value(&metrics, "tollgate_webhooks_total", &format!("{endpoint},status=\"{status}\""))
    };
    assert_eq!((webhooks("200"), webhooks("401")), (Some(3.0), Some(1.0)));
    let receipts = format!("{endpoint},outcome=\"translated\"");
    assert_eq!(value(&metrics, "tollgate_receipts_total", &receipts), Some(3.0));
    let count = value(&metrics, "tollgate_webhook_seconds_count", endpoint);
    assert_eq!(count, Some(4.0));
    let of_subscription = |name: &str| value(&metrics, name, "subscription=\"metered\"");
    assert_eq!(of_subscription("tollgate_deliveries_total"), Some(3.0));
    assert_eq!(of_subscription("tollgate_subscription_position"), Some(1.0));
    assert_eq!(of_subscription("tollgate_subscription_backlog_events"), Some(2.0));
    assert_eq!(of_subscription("tollgate_subscription_outstanding"), Some(2.0));
    assert_eq!(of_subscription("tollgate_subscription_held_back"), Some(0.0));
    assert_eq!(of_subscription("tollgate_subscription_dead_letters"), Some(0.0));
    assert!(of_subscription("tollgate_subscription_lag_seconds").expect("shown") > 0.0);
    // Shared by all gateways of the process, so only their presence is sure.
    for name in [
        "tollgate_events_total",
        "tollgate_head_sequence",
        "tollgate_commit_seconds_count",
        "tollgate_store_write_seconds_count",
        "tollgate_commit_items_count",
    ] {
        assert!(value(&metrics, name, "").expect(name) >= 1.0, "{name}");
    }
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        assert!(line.starts_with("tollgate_"), "{line}");
        let number = line.rsplit(' ').next().expect("a value");
        assert!(number.parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_refused_under_a_host_that_is_not_allowed() {
    let mut config = config("");
    config.admin.allowed_hosts = vec!["ops.example.test".to_owned()];
    let gateway = TestGateway::with(config).await;
    let requests = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let ask = |path: &str, host: &str| {
        let request = requests.get(format!("http://{}{path}", gateway.admin)).header("host", host);
        async move { request.send().await.expect("an answer").status().as_u16() }
    };
    assert_eq!(ask("/metrics", "ops.example.test:9090").await, 200);
    assert_eq!(ask("/metrics", "localhost").await, 200);
    for host in ["evil.example.test", "127.0.0.1.evil.test", "ops.example.test.evil.test"] {
        assert_eq!(ask("/metrics", host).await, 421, "{host}");
        // Probes come under the address of the machine.
        assert_eq!(ask("/healthz", host).await, 200);
        assert_eq!(ask("/readyz", host).await, 200);
    }
    assert_eq!(ask("/nothing", "localhost").await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_listener_has_no_pages_and_the_admin_one_takes_no_webhooks() {
    let gateway = TestGateway::start().await;
    let requests = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    for path in ["/metrics", "/healthz", "/readyz"] {
        let reply = requests.get(format!("http://{}{path}", gateway.http)).send().await;
        assert_eq!(reply.expect("an answer").status().as_u16(), 404, "{path}");
        assert_eq!(gateway.admin_page(path).await.0, 200, "{path}");
    }
    let reply =
        requests.post(format!("http://{}/webhooks/stripe/test", gateway.admin)).send().await;
    assert_eq!(reply.expect("an answer").status().as_u16(), 404);
}
