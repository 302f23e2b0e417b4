//! Keys that signatures need: fetched once however many wait, kept, and never asked for at the bidding of
//! forgers without end.

use futures::future::join_all;
use serde_json::json;
use tollgate::receipt::Request;

use super::acme::{Acme, TOKEN, payment, request};
use super::api::Answer;

fn signed(key: &str) -> Request {
    let headers = [("x-token", TOKEN), ("x-key", key), ("x-signature", "signed")];
    request(&headers, json!({ "objects": ["p1"], "told": key }).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_fetched_once_for_all_that_wait_and_kept() {
    let acme = Acme::start(&[]).await;
    acme.api.set("/payments/p1", Answer::json(payment("p1", "paid")));
    let (held, release) = Answer::status(200).body("signed").held();
    acme.api.set("/keys/k1", held);
    let posts = join_all((0..20).map(|_| acme.gateway.post(signed("k1"))));
    let (answers, ()) = tokio::join!(posts, async {
        acme.api.called("GET /keys/k1", 1).await;
        release.send(true).expect("held");
    });
    assert_eq!(answers, [200; 20]);
    assert_eq!(acme.gateway.post(signed("k1")).await, 200);
    assert_eq!(acme.api.calls("GET /keys/").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_wait_for_a_key_share_its_failure() {
    let acme = Acme::start(&[]).await;
    let (held, release) = Answer::status(500).held();
    acme.api.set("/keys/k1", held);
    let posts = join_all((0..8).map(|_| acme.gateway.post(signed("k1"))));
    let (answers, ()) = tokio::join!(posts, async {
        acme.api.called("GET /keys/k1", 1).await;
        // The others were sent before this one, on connections that are answered in turn.
        assert_eq!(acme.gateway.post(signed("none")).await, 401);
        release.send(true).expect("held");
    });
    assert_eq!(answers, [503; 8]);
    assert!(acme.api.calls("GET /keys/k1").len() < 4, "{:?}", acme.api.calls("GET /keys/k1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_without_its_key_nothing_is_accepted() {
    let acme = Acme::start(&[]).await;
    acme.api.set("/keys/k1", Answer::status(500));
    assert_eq!(acme.gateway.post(signed("k1")).await, 503, "the provider tries again");
    acme.api.set("/keys/k1", Answer::status(200).body("another"));
    assert_eq!(acme.gateway.post(signed("k1")).await, 401);
    for _ in 0..3 {
        assert_eq!(acme.gateway.post(signed("none")).await, 401);
    }
    assert_eq!(acme.api.calls("GET /keys/none").len(), 1, "that there is none is remembered");
    let forged = join_all((0..60).map(|id| acme.gateway.post(signed(&format!("forged{id}")))));
    let refused = forged.await;
    assert!(refused.iter().all(|status| [401, 503].contains(status)), "{refused:?}");
    assert!(acme.api.calls("GET /keys/forged").len() <= 30, "a forger makes us no hammer");
    assert!(acme.receipts().await.is_empty());
}
