//! `tollgate doctor`, as people run it: over captured requests, and over what a running gateway refused.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate::config::Config;
use tollgate::receipt::Request;
use tollgate_client::proto::ListRefusedRequestsRequest;
use tonic_types::StatusExt;

use crate::commands::{Ran, run};
use crate::gateway::{STRIPE_SECRET, StripeEvent, TestGateway, config, signed_with};
use crate::subscriber::soon;

fn signed(secret: &str) -> Request {
    signed_with(secret, jiff::Timestamp::now(), StripeEvent::paid("evt_1", "pi_1").body())
}

fn configured(directory: &Path, secrets: &[(&str, &str)]) {
    let mut text = String::new();
    for (name, secret) in secrets {
        text.push_str(&format!(
            "[[endpoints]]\nprovider = \"stripe\"\nname = \"{name}\"\n\
             secrets.webhook_secret = {secret:?}\n"
        ));
    }
    std::fs::write(directory.join("tollgate.toml"), text).expect("written");
}

fn captured(directory: &Path, request: &Request) {
    let mut file = format!("{} {} HTTP/1.1\r\n", request.method, request.path).into_bytes();
    for (name, value) in &request.headers {
        file.extend(format!("{name}: ").bytes());
        file.extend(value.as_bytes());
        file.extend(b"\r\n");
    }
    file.extend(b"\r\n");
    file.extend(&request.body);
    std::fs::write(directory.join("request.http"), file).expect("written");
}

async fn doctor(directory: &Path, more: &[&str]) -> Ran {
    let arguments = [&["doctor", "stripe", "--request", "request.http"], more].concat();
    let ran = run(directory, &arguments).await;
    assert!(!format!("{ran:?}").contains("0123456789abcdef"), "a secret is shown: {ran:?}");
    ran
}

#[tokio::test]
async fn a_captured_request_is_explained() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path();
    captured(path, &signed(STRIPE_SECRET));

    configured(path, &[("test", STRIPE_SECRET)]);
    let good = doctor(path, &[]).await;
    assert!(
        good.ok && good.out.contains("verifies at stripe/test, by webhook_secret[0]"),
        "{good:?}"
    );

    configured(path, &[("test", "whsec_other"), ("live", STRIPE_SECRET)]);
    let swapped = doctor(path, &["--endpoint", "test"]).await;
    assert!(
        !swapped.ok && swapped.out.contains("with the secrets of endpoint `stripe/live`"),
        "{swapped:?}"
    );
    let which = doctor(path, &[]).await;
    assert!(!which.ok && which.err.contains("--endpoint must say which"), "{which:?}");

    configured(path, &[("test", &format!("{STRIPE_SECRET} "))]);
    let blank = doctor(path, &["--json"]).await;
    let blank: Value = serde_json::from_str(&blank.out).unwrap_or_else(|_| panic!("{blank:?}"));
    assert_eq!(blank["verified"], false);
    assert_eq!(blank["findings"][0]["cause"], "secret");

    configured(path, &[("test", STRIPE_SECRET)]);
    let late = doctor(path, &["--now", "2030-01-01T00:00:00Z"]).await;
    assert!(!late.ok && late.out.contains("clock"), "{late:?}");

    let mut request = signed(STRIPE_SECRET);
    let value: Value = serde_json::from_slice(&request.body).expect("JSON");
    request.body = serde_json::to_vec_pretty(&value).expect("JSON").into();
    captured(path, &request);
    let pretty = doctor(path, &[]).await;
    assert!(!pretty.ok && pretty.out.contains("with the body"), "{pretty:?}");

    captured(path, &signed("whsec_nobody_has_it"));
    let forged = doctor(path, &[]).await;
    assert!(!forged.ok && forged.out.contains("None of"), "{forged:?}");
}

#[tokio::test]
async fn a_request_may_be_json() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path();
    configured(path, &[("test", STRIPE_SECRET)]);
    let request = signed(STRIPE_SECRET);
    let text = |name: &str| request.headers[name].to_str().expect("text");
    let file = json!({
        "method": "POST",
        "url": format!("https://hooks.example.com{}", request.path),
        "headers": { "Stripe-Signature": text("stripe-signature") },
        "body": String::from_utf8_lossy(&request.body),
    });
    std::fs::write(path.join("request.http"), file.to_string()).expect("written");
    let good = doctor(path, &[]).await;
    assert!(good.ok, "{good:?}");
    std::fs::write(path.join("request.http"), "nothing").expect("written");
    let broken = doctor(path, &[]).await;
    assert!(!broken.ok && broken.err.contains("holds no HTTP request"), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_tells_what_it_refused_and_why() {
    let mut config: Config = config("");
    config.http.keep_refused = true;
    let gateway = TestGateway::with(config).await;
    let address = format!("http://{}", gateway.grpc);
    let ask = ["doctor", "stripe", "--from-gateway", "--address", &address];
    let none = run(gateway.directory(), &ask).await;
    assert!(none.ok && none.out.contains("no refused requests"), "{none:?}");

    let mut request = gateway.signed(StripeEvent::paid("evt_1", "pi_1").body());
    request.body = [&request.body[..], b"\n"].concat().into();
    request.headers.insert("authorization", "Bearer hunter2".parse().expect("a value"));
    assert_eq!(gateway.post(request).await, 401);
    let told = run(gateway.directory(), &ask).await;
    assert!(!told.ok, "{told:?}");
    for part in ["stripe/test", "without the line feed at its end", "1 request refused"] {
        assert!(format!("{}{}", told.out, told.err).contains(part), "{part}: {told:?}");
    }
    let json = run(gateway.directory(), &[&ask[..], &["--json"]].concat()).await;
    let one: Value = serde_json::from_str(&json.out).unwrap_or_else(|_| panic!("{json:?}"));
    assert_eq!(one["findings"][0]["cause"], "body");
    assert!(!json.out.contains("hunter2"), "{json:?}");

    let other = TestGateway::start().await;
    let request = ListRefusedRequestsRequest::default();
    let refused = soon(other.client().await.admin().list_refused_requests(request)).await;
    let info = refused.expect_err("not kept").get_details_error_info().expect("a reason");
    assert_eq!(info.reason, "REFUSED_REQUESTS_NOT_KEPT");
}
