//! P1 (a 2xx only after the commit), P2 (each provider event once) and P8 (nothing authentic is dropped,
//! nothing forged gets in).

use std::sync::Arc;

use futures::future::join_all;
use serde_json::json;
use tollgate::store::{SqliteOptions, SqliteStore, Store};
use tollgate_client::proto::{
    GetReceiptRequest, GetStatsRequest, GetStatsResponse, ListReceiptsRequest, Receipt,
    ReceiptState, RetryReceiptRequest,
};
use tollgate_client::{Client, Event, Filter, StartPosition};

use crate::faulty_store::{Commits, Faults, FaultyStore};
use crate::gateway::{StripeEvent, TestGateway, config, open_store, signed_with};
use crate::subscriber::{Subscriber, from_earliest, sequence, soon};

/// A gateway whose commits the test decides on.
async fn faulty() -> (TestGateway, Faults) {
    let (sender, faults) = tokio::sync::oneshot::channel();
    let gateway = TestGateway::over_store(config(""), |path| async move {
        let (store, faults) = FaultyStore::over(open_store(&path).await);
        let _ = sender.send(faults);
        store as Arc<dyn Store>
    });
    (gateway.await, faults.await.expect("it was opened"))
}

async fn stats(client: &Client) -> GetStatsResponse {
    client.admin().get_stats(GetStatsRequest {}).await.expect("stats").into_inner()
}

/// All events of the log, test events too.
async fn all_events(client: &Client) -> Vec<Event> {
    let request = tollgate_client::proto::ListEventsRequest {
        filter: Some(Filter { live_mode: 3, ..Filter::default() }),
        page_size: 1000,
        ..Default::default()
    };
    let page = client.events().list_events(request).await.expect("events").into_inner();
    assert_eq!(page.next_page_token, "", "one page holds them all");
    page.events
}

async fn receipts(client: &Client, states: &[ReceiptState]) -> Vec<Receipt> {
    let request = ListReceiptsRequest {
        states: states.iter().map(|state| (*state).into()).collect(),
        ..ListReceiptsRequest::default()
    };
    client.receipts().list_receipts(request).await.expect("receipts").into_inner().receipts
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_webhook_is_not_answered_before_its_commit() {
    let (gateway, faults) = faulty().await;
    let client = gateway.client().await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    faults.send_replace(Commits::Wait);
    let post = gateway.post(gateway.sample("payment_intent.succeeded", "held"));
    tokio::pin!(post);
    // Two signs of life on the stream go by: the gateway runs, and neither the provider nor the
    // subscriber has been told anything.
    for _ in 0..2 {
        tokio::select! {
            status = &mut post => panic!("answered {status} before the commit"),
            beat = subscriber.heartbeat() => assert_eq!(beat.head, 0),
        }
    }
    faults.send_replace(Commits::Pass);
    assert_eq!(soon(post).await, 200);
    assert_eq!(sequence(&subscriber.delivery().await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_failed_commit_is_a_503_stores_nothing_and_passes() {
    let (gateway, faults) = faulty().await;
    let client = gateway.client().await;
    gateway.accept("payment_intent.succeeded", "before").await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    faults.send_replace(Commits::Full);
    let refused = gateway.post_raw(gateway.sample("payment_intent.succeeded", "lost")).await;
    assert_eq!(refused.status().as_u16(), 503);
    assert_eq!(refused.headers()["retry-after"], "5");
    // Reads and streams go on.
    assert_eq!(sequence(&subscriber.delivery().await), 1);
    let stats_now = stats(&client).await;
    assert_eq!((stats_now.head, stats_now.receipts), (1, 1), "nothing of it is stored");
    assert_eq!(all_events(&client).await.len(), 1);
    assert_eq!(gateway.admin_page("/readyz").await.0, 200, "a full disk passes");
    faults.send_replace(Commits::Pass);
    // The provider tries again.
    gateway.accept("payment_intent.succeeded", "lost").await;
    assert_eq!(sequence(&subscriber.delivery().await), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_stopped_writer_answers_503_until_a_restart_and_is_not_ready() {
    let (gateway, faults) = faulty().await;
    let client = gateway.client().await;
    faults.send_replace(Commits::Stopped);
    assert_eq!(gateway.post(gateway.sample("payment_intent.succeeded", "one")).await, 503);
    assert_eq!(gateway.admin_page("/readyz").await.0, 503);
    assert_eq!(gateway.admin_page("/healthz").await.0, 200);
    assert_eq!(stats(&client).await.head, 0, "reads go on");
    let gateway = gateway.restart().await;
    gateway.accept("payment_intent.succeeded", "one").await;
    assert_eq!(gateway.admin_page("/readyz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_database_at_its_limit_refuses_and_keeps_all_that_it_accepted() {
    let options = SqliteOptions { max_page_count: Some(80) };
    let gateway = TestGateway::over_store(config(""), |path| async move {
        let codec = tollgate::grpc::convert::CODEC;
        let store = SqliteStore::open_with(&path.to_string_lossy(), codec, options).await;
        Arc::new(store.expect("the store opens")) as Arc<dyn Store>
    });
    let gateway = gateway.await;
    let client = gateway.client().await;
    let padding = json!({ "note": "x".repeat(900) });
    let mut accepted = Vec::new();
    let mut refused = 0;
    for number in 0..200 {
        let (id, payment) = (format!("evt_{number}"), format!("pi_{number}"));
        let event = StripeEvent { metadata: padding.clone(), ..StripeEvent::paid(&id, &payment) };
        match gateway.post(gateway.signed(event.body())).await {
            200 => accepted.push(id.clone()),
            503 => refused += 1,
            other => panic!("{other}"),
        }
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3, "the disk became full");
    assert!(!accepted.is_empty());
    let stored = all_events(&client).await;
    let stored: Vec<&str> = stored.iter().map(|event| event.provider_event_id.as_str()).collect();
    assert_eq!(stored, accepted, "what was answered 200 is there, what was answered 503 is not");
    let gateway = gateway.restart().await;
    let client = gateway.client().await;
    assert_eq!(all_events(&client).await.len(), accepted.len(), "and after a restart too");
    // With room again the provider's next try is taken.
    let next = format!("evt_{}", accepted.len());
    gateway.accept_event(&StripeEvent::paid(&next, "pi_next")).await;
    assert_eq!(all_events(&client).await.len(), accepted.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_the_same_event_is_stored_once_however_it_arrives() {
    let gateway = TestGateway::start().await;
    let event = StripeEvent::paid("evt_1", "pi_1");
    gateway.accept_event(&event).await;
    gateway.accept_event(&event).await;
    let at_once = join_all((0..50).map(|_| gateway.accept_event(&event)));
    at_once.await;
    // In one body of its own shape too: what counts is the provider's event id.
    let changed = StripeEvent { amount: 999, ..StripeEvent::paid("evt_1", "pi_1") };
    gateway.accept_event(&changed).await;
    let gateway = gateway.restart().await;
    gateway.accept_event(&event).await;
    let client = gateway.client().await;
    let events = all_events(&client).await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].provider_event_id, "evt_1");
    let receipts = receipts(&client, &[]).await;
    assert_eq!(receipts.len(), 54, "each arrival is kept");
    let duplicates = receipts.iter().filter(|receipt| receipt.duplicates == 1).count();
    assert_eq!(duplicates, 53);
    assert!(receipts.iter().all(|receipt| receipt.events == ["events/1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_first_arrival_fifty_times_at_once_is_one_event() {
    let gateway = TestGateway::start().await;
    let events: Vec<(String, String)> =
        (0..10).map(|number| (format!("evt_{number}"), format!("pi_{number}"))).collect();
    let posts = (0..50).map(|turn| {
        let (id, payment) = &events[turn % events.len()];
        let event = StripeEvent::paid(id, payment);
        let request = gateway.signed(event.body());
        gateway.post(request)
    });
    assert!(join_all(posts).await.iter().all(|status| *status == 200));
    let stored = all_events(&gateway.client().await).await;
    assert_eq!(stored.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_different_events_of_one_second_stay_apart() {
    let gateway = TestGateway::start().await;
    let one = StripeEvent::paid("evt_1", "pi_1");
    let other = StripeEvent { id: "evt_2", ..StripeEvent::paid("evt_2", "pi_1") };
    assert_eq!(one.created, other.created);
    gateway.accept_event(&one).await;
    gateway.accept_event(&other).await;
    let events = all_events(&gateway.client().await).await;
    let ids: Vec<&str> = events.iter().map(|event| event.provider_event_id.as_str()).collect();
    assert_eq!(ids, ["evt_1", "evt_2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_one_event_id_at_two_endpoints_is_two_events() {
    let gateway = TestGateway::with(config(
        r#"
        [[endpoints]]
        provider = "stripe"
        name = "second"
        secrets.webhook_secret = "whsec_test_0123456789abcdef"
        "#,
    ))
    .await;
    let event = StripeEvent::paid("evt_1", "pi_1");
    gateway.accept_event(&event).await;
    let mut request = gateway.signed(event.body());
    request.path = "/webhooks/stripe/second".to_owned();
    assert_eq!(gateway.post(request).await, 200);
    let events = all_events(&gateway.client().await).await;
    let endpoints: Vec<&str> = events.iter().map(|event| event.endpoint.as_str()).collect();
    assert_eq!(endpoints, ["stripe/test", "stripe/second"]);
}

const ADYEN: &str = r#"
    [[endpoints]]
    provider = "adyen"
    name = "shop"
    secrets.hmac_key_hex = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn p2_an_item_counts_once_in_however_many_batches_it_comes() {
    let gateway = TestGateway::with(config(ADYEN)).await;
    let sample = |code, seed| gateway.sample_of("adyen/shop", code, seed);
    let item = |request: &tollgate::receipt::Request| -> serde_json::Value {
        let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        body["notificationItems"][0].clone()
    };
    let mut alone = sample("AUTHORISATION", "a");
    let first = item(&alone);
    let second = item(&sample("AUTHORISATION", "b"));
    assert_eq!(gateway.post_for_reply(alone.clone()).await, (200, "[accepted]".to_owned()));
    let batch = json!({ "live": "true", "notificationItems": [first, second, first] });
    alone.body = serde_json::to_vec(&batch).expect("JSON").into();
    assert_eq!(gateway.post(alone.clone()).await, 200);
    assert_eq!(gateway.post(alone).await, 200);
    let client = gateway.client().await;
    let events = all_events(&client).await;
    let subjects: Vec<&str> = events.iter().map(|event| event.subject.as_str()).collect();
    assert_eq!(subjects, ["payments/adyen/shop/PSP-a", "payments/adyen/shop/PSP-b"]);
    let newest = &receipts(&client, &[]).await[0];
    assert_eq!((newest.events.len(), newest.duplicates), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_an_unknown_event_type_is_kept_and_listed_with_its_type() {
    let gateway = TestGateway::start().await;
    let unknown = StripeEvent { event_type: "tax.settings.updated", ..StripeEvent::paid("e", "p") };
    let body = unknown.body();
    gateway.accept_event(&unknown).await;
    let client = gateway.client().await;
    let listed = receipts(&client, &[ReceiptState::Unknown]).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].reason, "tax.settings.updated");
    assert!(receipts(&client, &[ReceiptState::Translated]).await.is_empty());
    let request = GetReceiptRequest { name: listed[0].name.clone(), raw: true };
    let kept = client.receipts().get_receipt(request).await.expect("kept").into_inner();
    let raw = kept.receipt.expect("a receipt").raw.expect("raw");
    assert_eq!(raw.body, body, "verbatim");
    assert!(all_events(&client).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_what_cannot_be_read_is_kept_with_the_reason_and_retried() {
    let gateway = TestGateway::start().await;
    // Authentic, of a known type, in a currency that nobody knows.
    let odd = StripeEvent { currency: "zzz", ..StripeEvent::paid("evt_odd", "pi_odd") };
    gateway.accept_event(&odd).await;
    assert_eq!(gateway.post(gateway.signed(*b"{ not json")).await, 200);
    let client = gateway.client().await;
    let listed = receipts(&client, &[ReceiptState::Unreadable]).await;
    let reasons: Vec<&str> = listed.iter().map(|receipt| receipt.reason.as_str()).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[1].contains("zzz") || reasons[1].contains("ZZZ"), "{reasons:?}");
    assert!(!reasons[0].is_empty());
    assert_eq!(stats(&client).await.unreadable_receipts, 2);
    let retry = RetryReceiptRequest { name: listed[1].name.clone() };
    let retried = client.receipts().retry_receipt(retry).await.expect("retried").into_inner();
    let retried = retried.receipt.expect("a receipt");
    assert_eq!(retried.state(), ReceiptState::Unreadable, "it still cannot be read");
    let gateway = gateway.restart().await;
    let client = gateway.client().await;
    assert_eq!(receipts(&client, &[ReceiptState::Unreadable]).await.len(), 2, "still kept");
    // The provider's corrected event, under its own id, is not held up by it.
    gateway.accept_event(&StripeEvent::paid("evt_right", "pi_odd")).await;
    assert_eq!(all_events(&client).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_retry_of_what_is_in_the_log_repeats_nothing() {
    let gateway = TestGateway::start().await;
    gateway.accept("payment_intent.succeeded", "one").await;
    let client = gateway.client().await;
    let retry = RetryReceiptRequest { name: "receipts/1".to_owned() };
    let retried = client.receipts().retry_receipt(retry).await.expect("retried").into_inner();
    assert_eq!(retried.receipt.expect("a receipt").events, ["events/1"]);
    assert_eq!(all_events(&client).await.len(), 1);
    assert_eq!(stats(&client).await.receipts, 1, "no second receipt");
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_what_fails_verification_leaves_nothing() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    let mut subscription = client
        .subscription("crm")
        .create_if_missing(Filter::default(), StartPosition::earliest())
        .open();
    assert!(soon(subscription.connected()).await);
    let body = StripeEvent::paid("evt_forged", "pi_forged").body();
    let now = gateway.clock().now();
    let hour_ago = now - jiff::SignedDuration::from_hours(1);
    let mut flipped = gateway.signed(body.clone());
    let mut bytes = flipped.body.to_vec();
    bytes[20] ^= 1;
    flipped.body = bytes.into();
    let mut bare = gateway.signed(body.clone());
    bare.headers.clear();
    let forged = [
        signed_with("whsec_of_somebody_else", now, body.clone()),
        signed_with("", now, body.clone()),
        signed_with(crate::gateway::STRIPE_SECRET, hour_ago, body.clone()),
        flipped,
        bare,
    ];
    for request in forged {
        let (status, text) = gateway.post_for_reply(request).await;
        assert_eq!((status, text.as_str()), (401, "verification failed\n"));
    }
    gateway.accept("payment_intent.succeeded", "real").await;
    let first = soon(futures::StreamExt::next(&mut subscription)).await;
    let first = first.expect("a delivery").expect("no error");
    assert_eq!(first.event().subject, "payments/stripe/test/pi_real");
    assert_eq!(stats(&client).await.receipts, 1, "no receipt of a forged request");
}
