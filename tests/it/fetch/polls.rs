//! Polls: what they give is kept with where they go on, in one commit.

use std::sync::Arc;

use serde_json::{Value, json};
use tollgate::store::Store;
use tollgate_client::proto::ReceiptState;

use super::acme::{Acme, endpoint};
use super::api::Answer;
use crate::faulty_store::{Commits, FaultyStore};
use crate::gateway::open_store;

fn page(ids: &[&str], next: &str) -> Answer {
    let items: Vec<Value> = ids.iter().map(|id| json!({ "id": id, "status": "paid" })).collect();
    Answer::json(json!({ "items": items, "next": next }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_keeps_what_is_new_with_where_it_goes_on() {
    let acme = Acme::start(&[("poll", "yes")]).await;
    acme.api.set("/list", page(&["p1", "p2"], "c1"));
    acme.gateway.gateway().poll(&endpoint()).await.expect("polled");
    assert_eq!(acme.events().await, ["p1:", "p2:"]);
    let receipt = acme.receipt_in(ReceiptState::Translated).await;
    assert!(receipt.verified_by.starts_with("fetched from 127.0.0.1"), "{receipt:?}");
    let raw = acme.raw(&receipt.name).await;
    assert_eq!((raw.method.as_str(), raw.path.as_str()), ("GET", "/list"));
    assert!(String::from_utf8_lossy(&raw.body).contains("p2"));
    acme.retry(&receipt.name).await;
    acme.gateway.gateway().poll(&endpoint()).await.expect("polled");
    assert_eq!(acme.receipts().await.len(), 1, "the same answers are not kept again");
    assert_eq!(acme.receipts().await[0].state(), ReceiptState::Translated);
    let acme = acme.restart().await;
    acme.api.set("/list", page(&["p2", "p3"], "c2"));
    acme.gateway.gateway().poll(&endpoint()).await.expect("polled");
    assert_eq!(acme.events().await, ["p1:", "p2:", "p3:"]);
    let lines: Vec<String> =
        acme.api.calls("GET /list").into_iter().map(|call| call.line).collect();
    assert_eq!(lines, ["GET /list?after=", "GET /list?after=c1", "GET /list?after=c1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_crash_before_the_commit_of_a_poll_skips_nothing() {
    let (report, faults) = std::sync::mpsc::channel();
    let acme = Acme::over(
        &[("poll", "yes")],
        |_| {},
        |path| async move {
            let (store, faults) = FaultyStore::over(open_store(&path).await);
            report.send(faults).expect("a receiver");
            store as Arc<dyn Store>
        },
    )
    .await;
    let faults = faults.recv().expect("the store is open");
    acme.api.set("/list", page(&["p1"], "c1"));
    faults.send(Commits::Full).expect("a store");
    acme.gateway.gateway().poll(&endpoint()).await.expect_err("not stored");
    let acme = acme.restart().await;
    assert!(acme.events().await.is_empty());
    acme.gateway.gateway().poll(&endpoint()).await.expect("polled");
    assert_eq!(acme.events().await, ["p1:"]);
    assert_eq!(acme.api.calls("GET /list?after=c1").len(), 0, "the cursor moved with the events");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_polled_by_itself_and_as_a_reload_says() {
    let settings = [("poll", "yes"), ("poll_interval", "1")];
    let acme = Acme::with(&settings, |config| {
        config.fetch.first_poll = std::time::Duration::from_millis(10);
    })
    .await;
    acme.api.called("GET /list", 2).await;
    let mut config = acme.gateway.config().clone();
    config.endpoints[0].settings.remove("poll");
    acme.gateway.gateway().reload(config.clone()).await.expect("reloaded");
    acme.gateway.gateway().poll(&endpoint()).await.expect("nothing to poll");
    config.endpoints[0].settings.insert("poll".to_owned(), "again".to_owned());
    let before = acme.api.calls("GET /list").len();
    acme.gateway.gateway().reload(config).await.expect("reloaded");
    acme.api.called("GET /list", before + 1).await;
}
