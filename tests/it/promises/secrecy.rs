//! P10: no call without a credential that allows it, streams end with their token, and no secret, token
//! or signature key is in any log, error, debug print or stored receipt.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use tollgate::config::{AuthMode, Config};
use tollgate_client::proto::subscribe_response::Message;
use tollgate_client::proto::{
    CreateTokenRequest, GetPaymentRequest, GetReceiptRequest, GetStatsRequest,
    GetSubscriptionRequest, ListDeadLettersRequest, ListEndpointsRequest, ListEventsRequest,
    ListReceiptsRequest, ListSubscriptionsRequest, ListTokensRequest, RetryReceiptRequest,
    RevokeTokenRequest, WatchEventsRequest, WatchPaymentsRequest, watch_events_response,
    watch_payments_response,
};
use tollgate_client::{Client, Error};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::gateway::{StripeEvent, TestGateway, config, signed_with};
use crate::log_capture::Capture;
use crate::subscriber::{Subscriber, existing, from_earliest, soon};

fn with_tokens(extra: &str) -> Config {
    let mut config = config(extra);
    config.auth.mode = AuthMode::Token;
    config
}

/// The code of a call's answer: OK where it succeeded.
fn code<T>(answer: Result<T, tonic::Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// What each call answers to this client.
async fn answers(client: &Client) -> Vec<(&'static str, Code)> {
    let crm = || "crm".to_owned();
    let receipt = |raw| GetReceiptRequest { name: "receipts/1".to_owned(), raw };
    let payment = GetPaymentRequest { name: "payments/stripe/test/pi_one".to_owned() };
    let get = GetSubscriptionRequest { subscription: crm() };
    let dead = ListDeadLettersRequest { subscription: crm(), ..Default::default() };
    let retry = RetryReceiptRequest { name: "receipts/1".to_owned() };
    let listing = ListReceiptsRequest::default();
    let other = client.subscriptions().subscribe(existing("mail")).await;
    vec![
        ("events", code(client.events().list_events(ListEventsRequest::default()).await)),
        ("watch", code(client.events().watch_events(WatchEventsRequest::default()).await)),
        ("payment", code(client.payments().get_payment(payment).await)),
        ("receipts", code(client.receipts().list_receipts(listing).await)),
        ("receipt", code(client.receipts().get_receipt(receipt(false)).await)),
        ("raw", code(client.receipts().get_receipt(receipt(true)).await)),
        ("retry", code(client.receipts().retry_receipt(retry).await)),
        ("list", code(client.subscriptions().list_subscriptions(list_all()).await)),
        ("get crm", code(client.subscriptions().get_subscription(get).await)),
        ("crm", code(client.subscriptions().subscribe(existing("crm")).await)),
        ("mail", code(other)),
        ("dead letters", code(client.subscriptions().list_dead_letters(dead).await)),
        ("stats", code(client.admin().get_stats(GetStatsRequest {}).await)),
        ("token", code(client.admin().create_token(CreateTokenRequest::default()).await)),
    ]
}

fn list_all() -> ListSubscriptionsRequest {
    ListSubscriptionsRequest::default()
}

/// A gateway that asks for tokens, with one event and two subscriptions.
async fn guarded() -> (TestGateway, Client) {
    let gateway = TestGateway::with(with_tokens("")).await;
    gateway.accept("payment_intent.succeeded", "one").await;
    let (admin, _) = gateway.client_for(&["admin"]).await;
    for name in ["crm", "mail"] {
        drop(Subscriber::open(&admin, from_earliest(name)).await);
    }
    (gateway, admin)
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_without_a_token_nothing_answers_but_health() {
    let (gateway, _) = guarded().await;
    for client in [gateway.client().await, gateway.client_with("tgt_made_up").await] {
        for (call, code) in answers(&client).await {
            assert_eq!(code, Code::Unauthenticated, "{call}");
        }
    }
    let channel = tonic::transport::Endpoint::try_from(format!("http://{}", gateway.grpc));
    let channel = channel.expect("an address").connect().await.expect("connected");
    let v1 = crate::reflection::services_v1(channel.clone(), None).await;
    assert_eq!(code(v1), Code::Unauthenticated, "reflection v1");
    let v1alpha = crate::reflection::services_v1alpha(channel.clone(), None).await;
    assert_eq!(code(v1alpha), Code::Unauthenticated, "reflection v1alpha");
    // The scheme must be Bearer, and a digest of a token is not the token.
    let (_, secret) = gateway.client_for(&["read"]).await;
    for wrong in [format!("Basic {secret}"), secret.clone(), format!("Bearer {secret}x")] {
        let answer = crate::reflection::services_v1(channel.clone(), Some(&wrong)).await;
        assert_eq!(code(answer), Code::Unauthenticated);
    }
    let right = format!("Bearer {secret}");
    let services = crate::reflection::services_v1(channel.clone(), Some(&right)).await;
    assert!(services.expect("allowed").contains(&"tollgate.v1.EventService".to_owned()));
    let health = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    assert_eq!(health.expect("open").into_inner().status(), ServingStatus::Serving);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_each_scope_allows_its_calls_and_no_others() {
    let (gateway, _) = guarded().await;
    let of_read = ["events", "watch", "payment", "receipts", "receipt", "list", "get crm"];
    let of_crm = ["get crm", "crm", "dead letters"];
    let of_all = ["get crm", "crm", "mail", "dead letters"];
    let of_admin = [&of_read[..], &of_all[..], &["retry", "stats", "token"]].concat();
    let table: [(&str, &[&str]); 6] = [
        ("read", &of_read),
        ("subscribe:crm", &of_crm),
        ("subscribe:*", &of_all),
        ("receipts", &["raw"]),
        ("links", &[]),
        ("admin", &of_admin),
    ];
    for (scope, allowed) in table {
        let (client, _) = gateway.client_for(&[scope]).await;
        for (call, code) in answers(&client).await {
            let expected = match (allowed.contains(&call), call) {
                (false, _) => Code::PermissionDenied,
                // Allowed, and then refused for what the request lacks.
                (true, "token") => Code::InvalidArgument,
                (true, _) => Code::Ok,
            };
            assert_eq!(code, expected, "{call} with {scope}");
        }
    }
    let (reader, _) = gateway.client_for(&["read"]).await;
    let refused = reader.admin().get_stats(GetStatsRequest {}).await.expect_err("not allowed");
    let info = refused.get_details_error_info().expect("a reason");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("SCOPE_MISSING", "tollgate.dev"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_revoked_token_ends_its_streams_and_no_others() {
    let (gateway, admin) = guarded().await;
    let request = CreateTokenRequest {
        description: "a connector".to_owned(),
        scopes: vec!["read".to_owned(), "subscribe:*".to_owned()],
        expires_at: None,
    };
    let created = admin.admin().create_token(request).await.expect("created").into_inner();
    let client = gateway.client_with(&created.secret).await;
    let mut crm = Subscriber::open(&client, existing("crm")).await;
    crm.heartbeat().await;
    let watch = client.events().watch_events(WatchEventsRequest::default()).await;
    let mut watch = watch.expect("allowed").into_inner();
    let payments = client.payments().watch_payments(WatchPaymentsRequest::default()).await;
    let mut payments = payments.expect("allowed").into_inner();
    let mut sdk = client.subscription("mail").open();
    assert!(soon(sdk.connected()).await);
    let mut other = Subscriber::open(&admin, existing("crm")).await;
    other.heartbeat().await;

    let id = created.token.expect("told").id;
    admin.admin().revoke_token(RevokeTokenRequest { id }).await.expect("revoked");
    let reason = crm
        .wait_for(|message| match message {
            Message::Draining(end) => Some(end.reason.clone()),
            Message::Delivery(_) | Message::Heartbeat(_) | Message::CaughtUp(_) => None,
        })
        .await;
    assert_eq!(reason, "revoked");
    assert!(crm.message().await.expect("a clean end").is_none());
    soon(async {
        while let Some(message) = watch.message().await.expect("a clean end") {
            if let Some(watch_events_response::Message::Draining(end)) = message.message {
                assert_eq!(end.reason, "revoked");
            }
        }
        while let Some(message) = payments.message().await.expect("a clean end") {
            if let Some(watch_payments_response::Message::Draining(end)) = message.message {
                assert_eq!(end.reason, "revoked");
            }
        }
    })
    .await;
    // The SDK connects again and is refused for good.
    let ended = soon(async {
        loop {
            match futures::StreamExt::next(&mut sdk).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("it ended without an error"),
            }
        }
    });
    assert!(matches!(ended.await, Error::Unauthenticated { .. }));
    assert_eq!(answers(&client).await[0].1, Code::Unauthenticated);
    other.heartbeat().await;
    // Revoked it stays, after a restart too.
    let gateway = gateway.restart().await;
    let client = gateway.client_with(&created.secret).await;
    assert_eq!(answers(&client).await[0].1, Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_revoked_token_ends_a_stream_that_always_has_more() {
    const EVENTS: usize = 120;
    let gateway = TestGateway::with(with_tokens("")).await;
    let metadata: serde_json::Map<String, serde_json::Value> =
        (0..60).map(|number| (format!("key{number:02}"), "x".repeat(1000).into())).collect();
    let metadata = serde_json::Value::Object(metadata);
    for number in 0..EVENTS {
        let (id, payment) = (format!("evt_{number}"), format!("pi_{number}"));
        let event = StripeEvent { metadata: metadata.clone(), ..StripeEvent::paid(&id, &payment) };
        gateway.accept_event(&event).await;
    }
    let (_, secret) = gateway.client_for(&["subscribe:*"]).await;
    // A client with small windows, so that what it has not read waits in the gateway.
    let channel = tonic::transport::Endpoint::try_from(format!("http://{}", gateway.grpc));
    let channel = channel.expect("an address").initial_stream_window_size(65_535);
    let channel = channel.connect().await.expect("connected");
    let client = Client::from_channel(channel, Some(&secret)).expect("a token");
    let mut request = from_earliest("crm");
    request.auto_ack = true;
    let mut subscriber = Subscriber::open(&client, request).await;
    subscriber.deliveries(3).await;
    let tokens = gateway.gateway().auth();
    let id = token_id(&gateway).await;
    tokens.revoke(&id).await.expect("revoked").expect("it was there");
    let mut delivered = 3;
    let mut reason = None;
    while let Some(message) = subscriber.message().await.expect("a clean end") {
        match message {
            Message::Delivery(_) => delivered += 1,
            Message::Draining(end) => reason = Some(end.reason),
            Message::Heartbeat(_) | Message::CaughtUp(_) => {}
        }
        assert!(delivered < EVENTS, "the stream went on to the end");
    }
    assert_eq!(reason.as_deref(), Some("revoked"), "after {delivered}");
}

async fn token_id(gateway: &TestGateway) -> String {
    let (admin, _) = gateway.client_for(&["admin"]).await;
    let tokens =
        admin.admin().list_tokens(ListTokensRequest {}).await.expect("listed").into_inner();
    let wanted = |token: &&tollgate_client::proto::Token| token.scopes == ["subscribe:*"];
    tokens.tokens.iter().find(wanted).expect("it is listed").id.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_an_expired_token_is_refused_and_its_streams_end() {
    let gateway = TestGateway::with(with_tokens("")).await;
    let expires_at = Timestamp::now() + SignedDuration::from_secs(3600);
    let scopes = vec!["read".to_owned(), "subscribe:*".to_owned()];
    let auth = gateway.gateway().auth().clone();
    let (_, secret) =
        auth.create("short".to_owned(), scopes, Some(expires_at)).await.expect("made");
    let client = gateway.client_with(&secret).await;
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    subscriber.heartbeat().await;
    gateway.clock().set(expires_at - SignedDuration::from_secs(1));
    assert_eq!(code(client.events().list_events(ListEventsRequest::default()).await), Code::Ok);
    gateway.clock().set(expires_at);
    let refused = client.events().list_events(ListEventsRequest::default()).await;
    assert_eq!(code(refused), Code::Unauthenticated);
    soon(async {
        // It ends with the next sign of life.
        while subscriber.message().await.expect("a clean end").is_some() {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_no_secret_is_in_logs_errors_or_debug_prints() {
    const SECRET: &str = "whsec_only_in_the_logging_test_0aa1";
    const OTHER: &str = "whsec_of_a_forger_in_the_logging_test";
    const CLIENT_SECRET: &str = "pi_logged_secret_sample";
    let mut with = with_tokens("");
    let shown = format!(
        "{:?}",
        config(&format!(
            "[[endpoints]]\nprovider = \"stripe\"\nname = \"shown\"\nsecrets.webhook_secret = \"{SECRET}\""
        ))
    );
    assert!(!shown.contains(SECRET), "debug print of the configuration");
    let secret = secrecy::SecretString::from(SECRET);
    for values in with.endpoints[0].secrets.values_mut() {
        *values = vec![secret.clone()];
    }
    assert!(!format!("{:?}", with.endpoints[0]).contains(SECRET), "debug print of an endpoint");
    let capture = Capture::start();
    let gateway = TestGateway::with(with).await;
    let (client, token) = gateway.client_for(&["admin", "receipts"]).await;
    assert!(!format!("{client:?}").contains(&token), "debug print of a client");
    let body = || gateway.sample("payment_intent.succeeded", "logged");
    let mut signatures = Vec::new();
    let mut keep_signature = |request: &tollgate::receipt::Request| {
        let header = request.headers["stripe-signature"].to_str().expect("text");
        signatures.push(header.split_once("v1=").expect("signed").1.to_owned());
    };
    // A whole flow: accepted, refused, streamed, acknowledged, read raw, refused by the gateway.
    let mut accepted = body();
    accepted.headers.insert("authorization", HeaderValue::from_static("Basic bG9nZ2VkOnBhc3M="));
    keep_signature(&accepted);
    assert_eq!(gateway.post(accepted).await, 200);
    let forged = signed_with(OTHER, gateway.clock().now(), body().body.to_vec());
    let (status, text) = gateway.post_for_reply(forged).await;
    assert_eq!(status, 401);
    assert!(!text.contains(SECRET) && !text.contains(OTHER));
    let mut subscriber = Subscriber::open(&client, from_earliest("crm")).await;
    let delivery = subscriber.delivery().await;
    subscriber.ack(&delivery).await;
    let raw = GetReceiptRequest { name: "receipts/1".to_owned(), raw: true };
    client.receipts().get_receipt(raw).await.expect("allowed");
    let wrong = gateway.client_with("tgt_wrong_in_the_logging_test").await;
    let refused = wrong.events().list_events(ListEventsRequest::default()).await;
    let refused = refused.expect_err("no such token");
    let told = format!("{refused:?} {refused}");
    assert!(!told.contains("tgt_"), "{told}");
    let endpoints = client.admin().list_endpoints(ListEndpointsRequest {}).await.expect("listed");
    let endpoints = format!("{endpoints:?}");
    drop(subscriber);
    drop(gateway.restart().await);
    let log = capture.text();
    assert!(log.contains("request refused"), "the log was captured");
    for (what, secret) in [
        ("endpoint secret", SECRET),
        ("forger's secret", OTHER),
        ("token", token.as_str()),
        ("wrong token", "tgt_wrong_in_the_logging_test"),
        ("signature", signatures[0].as_str()),
        ("authorization", "bG9nZ2VkOnBhc3M="),
        ("client secret", CLIENT_SECRET),
        ("email of the customer", "customer@example.com"),
    ] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{what} in the log: {}", line.unwrap_or_default());
        assert!(!endpoints.contains(secret), "{what} in ListEndpoints");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_credentials_and_declared_secrets_are_stored_as_digests() {
    const CREDENTIALS: &str = "Basic c3RvcmVkOnBhc3N3b3Jk";
    let mut gateway = TestGateway::start().await;
    let mut request = gateway.sample("payment_intent.succeeded", "kept");
    request.headers.insert("authorization", HeaderValue::from_static(CREDENTIALS));
    request.headers.insert("cookie", HeaderValue::from_static("session=very-secret-cookie"));
    assert_eq!(gateway.post(request).await, 200);
    // Authentic and broken: not text, and cut off within the secret.
    let broken = [
        b"\xff{\"client_secret\": \"pi_broken_secret_bytes\"}".to_vec(),
        b"{\"a\":{\"client_secret\":\"pi_broken_secret_cut".to_vec(),
    ];
    for body in broken {
        assert_eq!(gateway.post(gateway.signed(body)).await, 200);
    }
    let client = gateway.client().await;
    let mut raw = Vec::new();
    for number in 1..=3 {
        let request = GetReceiptRequest { name: format!("receipts/{number}"), raw: true };
        let receipt = client.receipts().get_receipt(request).await.expect("kept").into_inner();
        raw.push(receipt.receipt.expect("a receipt").raw.expect("raw"));
    }
    let header = |name: &str| {
        let found = raw[0].headers.iter().find(|header| header.name == name);
        found.expect("kept").value.clone()
    };
    assert!(header("authorization").starts_with("sha256:"), "{}", header("authorization"));
    assert!(header("cookie").starts_with("sha256:"));
    let body = String::from_utf8_lossy(&raw[0].body);
    assert!(body.contains("\"client_secret\": \"sha256:"), "{body}");
    assert!(body.contains("\"amount_received\""), "the rest is verbatim");
    gateway.stop().await;
    // Whatever file the store keeps.
    for file in std::fs::read_dir(gateway.directory()).expect("a directory") {
        let path = file.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("readable");
        for secret in ["c3RvcmVkOnBhc3N3b3Jk", "very-secret-cookie", "_secret_"] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {}", path.display());
        }
    }
    assert_eq!(BASE64.encode("stored:password"), "c3RvcmVkOnBhc3N3b3Jk");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_tokens_are_stored_by_digest_alone() {
    let mut gateway = TestGateway::with(with_tokens("")).await;
    let (client, token) = gateway.client_for(&["admin"]).await;
    let listed = client.admin().list_tokens(ListTokensRequest {}).await.expect("listed");
    assert!(!format!("{listed:?}").contains(&token));
    gateway.stop().await;
    for file in std::fs::read_dir(gateway.directory()).expect("a directory") {
        let bytes = std::fs::read(file.expect("an entry").path()).expect("readable");
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_tokens_made_at_once_all_work_and_revoked_at_once_none_does() {
    let gateway = TestGateway::with(with_tokens("")).await;
    let made = (0..16).map(|_| async {
        let auth = gateway.gateway().auth().clone();
        let made = tokio::spawn(async move {
            auth.create(String::new(), vec!["read".to_owned()], None).await.expect("made")
        });
        made.await.expect("made")
    });
    let made = futures::future::join_all(made).await;
    let mut answered = Vec::new();
    for (_, secret) in &made {
        let client = gateway.client_with(secret).await;
        answered.push(code(client.events().list_events(ListEventsRequest::default()).await));
    }
    assert_eq!(answered, vec![Code::Ok; 16]);
    let auth = gateway.gateway().auth();
    let revoked = made.iter().map(|(row, _)| auth.revoke(&row.id));
    assert!(futures::future::join_all(revoked).await.iter().all(Result::is_ok));
    for (_, secret) in &made {
        let client = gateway.client_with(secret).await;
        let refused = client.events().list_events(ListEventsRequest::default()).await;
        assert_eq!(code(refused), Code::Unauthenticated);
    }
}
