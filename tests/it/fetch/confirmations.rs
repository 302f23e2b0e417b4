//! Receipts that nothing proves: no event before the provider's API confirms them, nothing kept of what it
//! denies, and never too many of them.

use jiff::SignedDuration;
use serde_json::json;
use tollgate::receipt::Request;
use tollgate_client::proto::ReceiptState;

use super::acme::{Acme, payment, request};
use super::api::Answer;

fn unconfirmed(objects: &[&str]) -> Request {
    let body = json!({ "objects": objects, "told": "a", "iban": "DE00 not to be kept" });
    request(&[("x-unconfirmed", "1")], body.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_what_the_api_confirms_becomes_events_and_what_it_denies_is_purged() {
    let acme = Acme::start(&[]).await;
    let (held, release) = Answer::json(payment("p1", "paid")).held();
    acme.api.set("/payments/p1", held);
    assert_eq!(acme.gateway.post(unconfirmed(&["p1"])).await, 200);
    acme.api.called("GET /payments/p1", 1).await;
    let receipt = acme.receipts().await.remove(0);
    assert_eq!(
        (receipt.state(), receipt.verified_by.as_str()),
        (ReceiptState::Unconfirmed, "unconfirmed")
    );
    assert!(acme.events().await.is_empty());
    release.send(true).expect("held");
    acme.receipt_in(ReceiptState::Translated).await;
    assert_eq!(acme.events().await, ["p1:a"]);

    let (held, release) = Answer::status(404).held();
    acme.api.set("/payments/p2", held);
    assert_eq!(acme.gateway.post(unconfirmed(&["p2"])).await, 200);
    acme.api.called("GET /payments/p2", 1).await;
    let before = acme.receipts().await.remove(0);
    let raw = acme.raw(&before.name).await;
    assert!(!raw.body.is_empty() && !raw.headers.is_empty() && raw.path.contains("private"));
    release.send(true).expect("held");
    let denied = acme.receipt_in(ReceiptState::Denied).await;
    assert_eq!(denied.digest, before.digest);
    let raw = acme.raw(&denied.name).await;
    assert!(raw.body.is_empty() && raw.headers.is_empty(), "{raw:?}");
    assert_eq!(raw.path, "/webhooks/acme/test");
    assert_eq!(acme.retry(&denied.name).await.state(), ReceiptState::Denied);
    assert_eq!(acme.events().await, ["p1:a"]);
    let kept = acme.raw("receipts/1").await;
    assert!(!kept.body.is_empty(), "what shares nothing with it stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_receipts_that_nothing_confirms_are_capped_and_end() {
    let acme = Acme::with(&[], |config| config.fetch.max_unconfirmed = 2).await;
    acme.api.set("/payments/p1", Answer::status(503));
    assert_eq!(acme.gateway.post(unconfirmed(&["p1"])).await, 200);
    assert_eq!(acme.gateway.post(unconfirmed(&["p1"])).await, 200);
    assert_eq!(acme.gateway.post(unconfirmed(&["p1"])).await, 503);
    let waiting = acme.receipt_when(|receipt| !receipt.reason.is_empty()).await;
    assert_eq!(waiting.state(), ReceiptState::Unconfirmed);
    // After a restart they are counted all the same.
    let acme = acme.restart().await;
    acme.api.called("GET /payments/p1", 5).await;
    assert_eq!(acme.gateway.post(unconfirmed(&["p1"])).await, 503);
    let later = acme.gateway.clock().now() + SignedDuration::from_hours(25);
    acme.gateway.clock().set(later);
    for receipt in acme.receipts().await {
        acme.retry(&receipt.name).await;
    }
    acme.receipt_when(|receipt| receipt.state() == ReceiptState::Denied).await;
    assert!(acme.events().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_what_nothing_could_confirm_is_not_kept() {
    let acme = Acme::start(&[]).await;
    assert_eq!(acme.gateway.post(unconfirmed(&[])).await, 401);
    let garbage = request(&[("x-unconfirmed", "1")], "garbage".to_owned());
    assert_eq!(acme.gateway.post(garbage).await, 401);
    let unknown = request(&[("x-unconfirmed", "1")], json!({ "type": "x.y" }).to_string());
    assert_eq!(acme.gateway.post(unknown).await, 202);
    assert!(acme.receipts().await.is_empty());
}
