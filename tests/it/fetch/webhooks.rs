//! Thin webhooks: answered before anything is fetched, fetched until it succeeds, never lost.

use std::time::Duration;

use serde_json::json;
use tollgate_client::proto::ReceiptState;

use super::acme::{Acme, PATIENCE, TOKEN, payment, request};
use super::api::Answer;

const P1: &str = "/payments/p1";
const GET_P1: &str = "GET /payments/p1";

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_thin_webhook_is_answered_before_the_fetch() {
    let acme = Acme::start(&[]).await;
    let (answer, release) = Answer::json(payment("p1", "paid")).held();
    acme.api.set(P1, answer);
    acme.accept(&["p1"], "a").await;
    acme.api.called(GET_P1, 1).await;
    assert_eq!(acme.receipts().await[0].state(), ReceiptState::Fetching);
    assert!(acme.events().await.is_empty());
    release.send(true).expect("held");
    let receipt = acme.receipt_in(ReceiptState::Translated).await;
    assert_eq!(receipt.events, ["events/1"]);
    assert_eq!(acme.events().await, ["p1:a"]);
    let (_, metrics) = acme.gateway.admin_page("/metrics").await;
    let counted = "tollgate_fetches_total{endpoint=\"acme/test\",outcome=\"done\"}";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("tollgate_fetching_receipts"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_what_keeps_failing_is_visible_with_its_reason_and_can_be_retried() {
    let acme = Acme::with(&[], |config| {
        config.fetch.timeout = Duration::from_millis(300);
        config.fetch.max_response_bytes = 2000;
    })
    .await;
    let (slow, _held) = Answer::status(200).held();
    let elsewhere = format!("{}/elsewhere", acme.api.url);
    let call = format!("GET {}{P1}: ", acme.api.url);
    for (answer, reason) in [
        (Answer::status(500), "500"),
        (Answer::status(429), "429"),
        (Answer::status(401), "401"),
        (Answer::status(302).header("location", elsewhere), "302"),
        (Answer::status(200).body("{\"id\":\"p1"), "no JSON"),
        (Answer::json(payment("p1", "paid")).cut(), "the answer broke off"),
        (Answer::status(200).body(vec![b' '; 3000]), "the answer is over 2000 bytes"),
        (slow, "no answer in time"),
    ] {
        acme.api.set(P1, answer);
        acme.accept(&["p1"], reason).await;
        let receipt = acme.receipt_in(ReceiptState::FetchFailed).await;
        assert_eq!(receipt.reason, format!("{call}{reason}"));
        acme.api.set(P1, Answer::json(payment("p1", "paid")));
        acme.retry(&receipt.name).await;
        let receipt = acme.receipt_in(ReceiptState::Translated).await;
        assert_eq!(receipt.events.len(), 1, "{reason}");
    }
    assert_eq!(acme.events().await.len(), 8);
    let list = tollgate_client::proto::ListEndpointsRequest::default();
    let endpoints = acme.gateway.client().await.admin().list_endpoints(list).await;
    let health = endpoints.expect("listed").into_inner().endpoints.remove(0);
    assert_eq!(health.last_fetch_failure, format!("{call}no answer in time"));
    assert!(health.last_fetch_failed_at.is_some());
    assert!(acme.api.calls("GET /elsewhere").is_empty(), "a redirect was followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fetch_is_tried_again_until_it_succeeds() {
    let acme = Acme::start(&[]).await;
    let throttled = Answer::status(429).header("retry-after", "1");
    let paid = Answer::json(payment("p1", "paid"));
    acme.api.queue(P1, vec![Answer::status(503), throttled, paid]);
    let started = std::time::Instant::now();
    acme.accept(&["p1"], "a").await;
    acme.receipt_in(ReceiptState::Translated).await;
    assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After was not heeded");
    assert_eq!(acme.api.calls(GET_P1).len(), 3);
    assert_eq!(acme.events().await, ["p1:a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_restart_in_the_middle_loses_and_repeats_nothing() {
    let acme = Acme::start(&[]).await;
    acme.api.set(P1, Answer::json(payment("p1", "paid")));
    let (held, _release) = Answer::json(payment("p2", "paid")).held();
    acme.api.set("/payments/p2", held);
    acme.accept(&["p1", "p2", "p3"], "a").await;
    acme.api.called("GET /payments/p2", 1).await;
    assert_eq!(acme.events().await, ["p1:a"], "each fetch is committed as it comes");
    let acme = acme.restart().await;
    acme.api.called("GET /payments/p2", 2).await;
    acme.api.set("/payments/p2", Answer::json(payment("p2", "paid")));
    acme.api.set("/payments/p3", Answer::json(payment("p3", "paid")));
    let acme = acme.restart().await;
    let receipt = acme.receipt_in(ReceiptState::Translated).await;
    assert_eq!(acme.events().await, ["p1:a", "p2:a", "p3:a"]);
    assert_eq!(acme.receipts().await.len(), 1);
    for event in ["events/1", "events/2", "events/3"] {
        assert!(receipt.events.iter().any(|one| one == event), "{receipt:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_of_one_object_that_wait_share_their_answers() {
    let acme = Acme::start(&[]).await;
    let (held, release) = Answer::json(payment("p1", "open")).held();
    acme.api.queue(P1, vec![held, Answer::json(payment("p1", "paid"))]);
    acme.accept(&["p1"], "a").await;
    acme.api.called(GET_P1, 1).await;
    for told in ["b", "c", "d"] {
        acme.accept(&["p1"], told).await;
    }
    // Another object is not held up. Its webhook came last, so the others wait by now.
    acme.api.set("/payments/p2", Answer::json(payment("p2", "paid")));
    acme.accept(&["p2"], "e").await;
    acme.receipt_in(ReceiptState::Translated).await;
    assert_eq!(acme.api.calls(GET_P1).len(), 1, "one group of an object at a time");
    release.send(true).expect("held");
    let all = |receipts: Vec<tollgate_client::proto::Receipt>| {
        receipts.iter().all(|receipt| receipt.state() == ReceiptState::Translated)
    };
    while !all(acme.receipts().await) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut events = acme.events().await;
    events.sort();
    assert_eq!(events, ["p1:a", "p1:b", "p1:c", "p1:d", "p2:e"]);
    assert_eq!(acme.api.calls(GET_P1).len(), 2, "those that came meanwhile needed a new answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_more_receipts_than_memory_holds_are_taken_up_from_the_store() {
    const WEBHOOKS: usize = 1100;
    let acme = Acme::start(&[]).await;
    let (held, release) = Answer::json(payment("p1", "paid")).held();
    acme.api.set(P1, held);
    let told: Vec<String> = (0..WEBHOOKS).map(|number| format!("t{number}")).collect();
    let posts = told.iter().map(|told| acme.accept(&["p1"], told));
    futures::future::join_all(posts).await;
    release.send(true).expect("held");
    let started = std::time::Instant::now();
    while waiting(&acme).await > 0 {
        assert!(started.elapsed() < PATIENCE, "{} wait", waiting(&acme).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let events: std::collections::BTreeSet<String> = acme.all_events().await.into_iter().collect();
    assert_eq!(events.len(), WEBHOOKS);
    let calls = acme.api.calls(GET_P1).len();
    assert!(calls < 20, "{calls} calls for what few could tell");
}

async fn waiting(acme: &Acme) -> i64 {
    let (_, metrics) = acme.gateway.admin_page("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("tollgate_fetching_receipts "));
    line.and_then(|count| count.parse().ok()).expect("a gauge")
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_only_allowed_hosts_at_public_addresses_are_called() {
    let acme = Acme::start(&[]).await;
    for (object, reason) in [
        ("private", "GET https://localhost/payments/p1: the host has no public address"),
        ("elsewhere", "GET https://elsewhere.example.test/payments/p1: the host is not allowed"),
    ] {
        acme.accept(&[object], "a").await;
        let receipt = acme.receipt_in(ReceiptState::FetchFailed).await;
        assert_eq!(receipt.reason, reason);
    }
    assert!(acme.events().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_does_not_know_gives_no_event() {
    let acme = Acme::start(&[]).await;
    acme.accept(&["p404"], "a").await;
    let receipt = acme.receipt_in(ReceiptState::Translated).await;
    assert!(receipt.events.is_empty());
    assert!(!acme.raw(&receipt.name).await.body.is_empty(), "it was authentic and is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_types_and_challenges_have_replies_of_their_own_and_head_is_refused() {
    let acme = Acme::start(&[]).await;
    let unknown = request(&[("x-token", TOKEN)], json!({ "type": "x.y" }).to_string());
    assert_eq!(acme.gateway.post_for_reply(unknown).await, (202, "unknown".to_owned()));
    assert_eq!(acme.receipts().await[0].state(), ReceiptState::Unknown);
    let mut head = request(&[("x-token", TOKEN)], String::new());
    head.method = http::Method::HEAD;
    assert_eq!(acme.gateway.post(head.clone()).await, 405);
    head.method = http::Method::GET;
    let answer = acme.gateway.post_raw(head).await;
    assert_eq!(answer.headers().get("content-type").expect("a type"), "text/plain");
    assert_eq!(answer.text().await.expect("a body"), "echo");
    assert_eq!(acme.receipts().await.len(), 1, "a challenge is not kept");
}
