//! Access tokens: got once, got anew when they are refused, and a rotated refresh token is safe before its
//! access token is used.

use serde_json::json;
use tollgate_client::proto::ReceiptState;

use super::acme::{Acme, payment};
use super::api::Answer;
use crate::log_capture::Capture;

fn token(access: &str, refresh: Option<&str>) -> Answer {
    let mut answer = json!({ "access_token": access, "expires_in": 3600, "token_type": "bearer" });
    if let Some(refresh) = refresh {
        answer["refresh_token"] = refresh.into();
    }
    Answer::json(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_got_once_and_anew_when_it_is_refused() {
    let acme = Acme::start(&[("auth", "client")]).await;
    acme.api.queue("/token", vec![token("t1", None), token("t2", None)]);
    for object in ["p1", "p2", "p3"] {
        let path = format!("/payments/{object}");
        acme.api.set(&path, Answer::json(payment(object, "paid")));
    }
    acme.accept(&["p1", "p2"], "a").await;
    acme.receipt_in(ReceiptState::Translated).await;
    let calls = acme.api.calls("POST /token");
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].body, "grant_type=client_credentials&scope=read");
    assert_eq!(calls[0].authorization, "Basic Y2xpZW50Omh1c2gtaHVzaA==");
    assert_eq!(acme.api.calls("GET /payments/p2")[0].authorization, "Bearer t1");
    let paid = Answer::json(payment("p3", "paid"));
    acme.api.queue("/payments/p3", vec![Answer::status(401), paid]);
    acme.accept(&["p3"], "b").await;
    acme.receipt_in(ReceiptState::Translated).await;
    let calls = acme.api.calls("GET /payments/p3");
    let shown: Vec<&str> = calls.iter().map(|call| call.authorization.as_str()).collect();
    assert_eq!(shown, ["Bearer t1", "Bearer t2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_needs_a_token_waits_for_the_same_one() {
    let acme = Acme::start(&[("auth", "client")]).await;
    let (held, release) = token("t1", None).held();
    acme.api.set("/token", held);
    let objects = ["p1", "p2", "p3", "p4", "p5"];
    for object in objects {
        let path = format!("/payments/{object}");
        acme.api.set(&path, Answer::json(payment(object, "paid")));
        acme.accept(&[object], "a").await;
    }
    acme.api.called("POST /token", 1).await;
    release.send(true).expect("held");
    for object in objects {
        acme.api.called(&format!("GET /payments/{object}"), 1).await;
    }
    assert_eq!(acme.api.calls("POST /token").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_refresh_token_is_safe_before_its_access_token_is_used() {
    let log = Capture::start();
    let acme = Acme::start(&[("auth", "refresh")]).await;
    acme.api.set("/token", token("access-1", Some("refresh-2")));
    let (held, _release) = Answer::json(payment("p1", "paid")).held();
    acme.api.set("/payments/p1", held);
    acme.accept(&["p1"], "a").await;
    acme.api.called("GET /payments/p1", 1).await;
    let first = acme.api.calls("POST /token");
    assert_eq!(first.len(), 1);
    assert!(first[0].body.contains("refresh_token=refresh-1"), "{first:?}");
    // The access token is in use and nothing has come of it yet.
    let acme = acme.restart().await;
    acme.api.called("POST /token", 2).await;
    let again = acme.api.calls("POST /token").remove(1);
    assert!(again.body.contains("refresh_token=refresh-2"), "{again:?}");
    acme.api.set("/payments/p1", Answer::json(payment("p1", "paid")));
    let acme = acme.restart().await;
    acme.receipt_in(ReceiptState::Translated).await;
    assert_eq!(acme.events().await, ["p1:a"]);
    let bad = Answer::status(400).body("{\"error\":\"invalid_grant\",\"hint\":\"refresh-2\"}");
    acme.api.set("/token", bad);
    acme.api.set("/payments/p2", Answer::status(401));
    acme.accept(&["p2"], "b").await;
    let failed = acme.receipt_in(ReceiptState::FetchFailed).await;
    assert_eq!(failed.reason, format!("POST {}/token: 400 invalid_grant", acme.api.url));
    let text = log.text();
    for secret in ["refresh-1", "refresh-2", "access-1", "hush-hush", "secret=1"] {
        assert!(!text.contains(secret), "`{secret}` is in the log");
    }
}
