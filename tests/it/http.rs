//! The HTTP side as the internet sees it: what is refused and how, hostile bodies, headers and
//! connections, reloads, and the pages for monitoring.

mod hostile;
mod monitoring;

use std::num::NonZeroU32;

use http::Method;
use tollgate::config::Config;
use tollgate_client::Client;
use tollgate_client::proto::{ListEndpointsRequest, ListReceiptsRequest, Receipt};

use crate::gateway::{STRIPE_SECRET, StripeEvent, TestGateway, config, signed_with};

const ADYEN: &str = r#"
    [[endpoints]]
    provider = "adyen"
    name = "shop"
    secrets.hmac_key_hex = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
"#;

async fn receipts(client: &Client) -> Vec<Receipt> {
    let listed = client.receipts().list_receipts(ListReceiptsRequest::default()).await;
    listed.expect("listed").into_inner().receipts
}

/// A configuration whose Stripe endpoint has these secrets and path.
fn stripe(name: &str, path: &str, secrets: &[&str]) -> Config {
    let path = if path.is_empty() { String::new() } else { format!("path = \"{path}\"") };
    let text = format!(
        "[auth]\nmode = \"none\"\n[[endpoints]]\nprovider = \"stripe\"\nname = \"{name}\"\n{path}\n\
         secrets.webhook_secret = {secrets:?}\n"
    );
    Config::parse(&text, "test", []).expect("valid")
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_are_refused() {
    let gateway = TestGateway::start().await;
    let body = StripeEvent::paid("evt_1", "pi_1").body();
    for path in ["/", "/webhooks/stripe/nobody", "/webhooks/stripe/test/", "/webhooks/stripe/TEST"]
    {
        let mut request = gateway.signed(body.clone());
        request.path = path.to_owned();
        let (status, text) = gateway.post_for_reply(request).await;
        assert_eq!((status, text.as_str()), (404, "no endpoint has this path\n"), "{path}");
    }
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let mut request = gateway.signed(body.clone());
        request.method = method.clone();
        let reply = gateway.post_raw(request).await;
        assert_eq!(reply.status().as_u16(), 405, "{method}");
        assert_eq!(reply.headers()["allow"], "POST");
    }
    // A query does not hide the endpoint.
    let mut request = gateway.signed(body);
    request.path.push_str("?from=stripe");
    assert_eq!(gateway.post(request).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_refuses_what_is_over_it_at_that_endpoint() {
    let mut config = config(ADYEN);
    config.http.max_requests_per_second_per_endpoint = NonZeroU32::new(1);
    let gateway = TestGateway::with(config).await;
    let mut refused = 0;
    for number in 0..5 {
        let event = StripeEvent::paid("evt_1", "pi_1");
        let reply = gateway.post_raw(gateway.signed(event.body())).await;
        match reply.status().as_u16() {
            200 => {}
            429 => {
                assert_eq!(reply.headers()["retry-after"], "5");
                refused += 1;
            }
            other => panic!("{number}: {other}"),
        }
    }
    assert!(refused >= 3, "{refused}");
    let other = gateway.sample_of("adyen/shop", "AUTHORISATION", "one");
    assert_eq!(gateway.post(other).await, 200, "each endpoint has its own rate");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_provider_is_answered_what_it_expects() {
    let gateway = TestGateway::with(config(ADYEN)).await;
    let reply = gateway.post_raw(gateway.sample_of("adyen/shop", "AUTHORISATION", "one")).await;
    assert_eq!(reply.status().as_u16(), 200);
    assert_eq!(reply.headers()["content-type"], "text/plain");
    assert_eq!(reply.text().await.expect("a body"), "[accepted]");
    let stripe = gateway.sample("payment_intent.succeeded", "one");
    assert_eq!(gateway.post_for_reply(stripe).await, (200, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_may_have_a_path_of_its_own() {
    let gateway = TestGateway::with(stripe("shop", "/hooks/in", &[STRIPE_SECRET])).await;
    let mut request = gateway.signed(StripeEvent::paid("evt_1", "pi_1").body());
    assert_eq!(gateway.post(request.clone()).await, 404, "not where the default would be");
    request.path = "/hooks/in".to_owned();
    assert_eq!(gateway.post(request).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_overlap_while_they_are_rotated_and_a_reload_takes_the_old_one_away() {
    let gateway = TestGateway::with(stripe("test", "", &["whsec_new", "whsec_old"])).await;
    let client = gateway.client().await;
    let sign = |secret: &str, id: &str| {
        signed_with(secret, gateway.clock().now(), StripeEvent::paid(id, "pi_1").body())
    };
    assert_eq!(gateway.post(sign("whsec_old", "evt_1")).await, 200);
    assert_eq!(gateway.post(sign("whsec_new", "evt_2")).await, 200);
    let by: Vec<String> =
        receipts(&client).await.into_iter().map(|receipt| receipt.verified_by).collect();
    assert_eq!(by, ["webhook_secret[0]", "webhook_secret[1]"], "newest first");
    let reloaded = gateway.gateway().reload(stripe("test", "", &["whsec_new"])).await;
    reloaded.expect("reloaded");
    assert_eq!(gateway.post(sign("whsec_old", "evt_3")).await, 401);
    assert_eq!(gateway.post(sign("whsec_new", "evt_4")).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_swaps_endpoints_and_cuts_nobody_off() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    let mut subscriber =
        crate::subscriber::Subscriber::open(&client, crate::subscriber::from_earliest("crm")).await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    let health = || async {
        let listed = client.admin().list_endpoints(ListEndpointsRequest {}).await.expect("listed");
        let endpoints = listed.into_inner().endpoints.into_iter();
        endpoints.map(|one| (one.name, one.accepted, one.refused)).collect::<Vec<_>>()
    };
    assert_eq!(health().await, [("stripe/test".to_owned(), 1, 0)]);
    let both = config(
        "[[endpoints]]\nprovider = \"stripe\"\nname = \"second\"\n\
         secrets.webhook_secret = \"whsec_second\"\n",
    );
    gateway.gateway().reload(both).await.expect("reloaded");
    let mut request = signed_with(
        "whsec_second",
        gateway.clock().now(),
        StripeEvent::paid("evt_2", "pi_2").body(),
    );
    request.path = "/webhooks/stripe/second".to_owned();
    assert_eq!(gateway.post(request.clone()).await, 200);
    let counts = [("stripe/second".to_owned(), 1, 0), ("stripe/test".to_owned(), 1, 0)];
    assert_eq!(health().await, counts, "what was counted stays");
    gateway.gateway().reload(config("")).await.expect("reloaded");
    assert_eq!(gateway.post(request).await, 404);
    for number in 1..=2 {
        assert_eq!(crate::subscriber::sequence(&subscriber.delivery().await), number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_counted_with_their_reason_at_their_endpoint() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    let body = StripeEvent::paid("evt_1", "pi_1").body();
    let forged = signed_with("whsec_wrong", gateway.clock().now(), body);
    assert_eq!(gateway.post(forged).await, 401);
    let listed = client.admin().list_endpoints(ListEndpointsRequest {}).await.expect("listed");
    let endpoint = listed.into_inner().endpoints.remove(0);
    assert_eq!((endpoint.accepted, endpoint.refused), (0, 1));
    assert_eq!(endpoint.last_refusal, "no configured `webhook_secret` matches");
    assert!(endpoint.last_refused_at.is_some() && endpoint.last_accepted_at.is_none());
}
