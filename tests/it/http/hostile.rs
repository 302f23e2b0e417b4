//! Requests that no provider sends, byte by byte over plain sockets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate::config::Config;
use tollgate_client::proto::ReceiptState;

use super::receipts;
use crate::gateway::{StripeEvent, TestGateway, config};
use crate::subscriber::soon;

/// How long a request may take to arrive in these tests.
const READ_TIMEOUT: Duration = Duration::from_millis(500);

fn strict() -> Config {
    let mut config = config("");
    config.http.max_body_bytes = 4096;
    config.http.read_timeout = READ_TIMEOUT;
    config
}

/// Sends bytes and reads until the gateway closes, without closing first.
async fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    // The gateway may close before it has read all.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = soon(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn head(length: &str) -> String {
    format!(
        "POST /webhooks/stripe/test HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{length}\r\n\r\n"
    )
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_before_or_while_it_is_read() {
    let gateway = TestGateway::with(strict()).await;
    let announced = talk(gateway.http, head("content-length: 4097").as_bytes()).await;
    assert_eq!(status(&announced), "413", "{announced}");
    let mut streamed = head("transfer-encoding: chunked").into_bytes();
    for _ in 0..5 {
        streamed.extend(b"400\r\n");
        streamed.extend([b'x'; 1024]);
        streamed.extend(b"\r\n");
    }
    let answer = talk(gateway.http, &streamed).await;
    assert_eq!(status(&answer), "413", "{answer}");
    // Exactly as much as is allowed is read, and then found not to be signed.
    let mut whole = head("content-length: 4096").into_bytes();
    whole.extend([b'x'; 4096]);
    assert_eq!(status(&talk(gateway.http, &whole).await), "401");
    let absurd = talk(gateway.http, head("content-length: 99999999999999999999").as_bytes()).await;
    assert_eq!(status(&absurd), "400", "{absurd}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_in_time_is_a_408() {
    let gateway = TestGateway::with(strict()).await;
    let started = Instant::now();
    let mut slow = head("content-length: 100").into_bytes();
    slow.extend(b"ten bytes.");
    let answer = talk(gateway.http, &slow).await;
    assert_eq!(status(&answer), "408", "{answer}");
    assert!(started.elapsed() >= READ_TIMEOUT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_sends_no_whole_header_is_closed_in_time() {
    let gateway = TestGateway::with(strict()).await;
    let cases: [&[u8]; 6] = [
        b"",
        b"P",
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /webhooks/stripe/test HTTP/1.1\r\n",
        b"POST /webhooks/stripe/test HTTP/1.1\r\nhost: x\r\nx-slow: ",
    ];
    for sent in cases {
        let started = Instant::now();
        talk(gateway.http, sent).await;
        let took = started.elapsed();
        let text = String::from_utf8_lossy(sent).into_owned();
        assert!(took < READ_TIMEOUT * 6, "{text:?} was held for {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_take_the_places_of_others_for_good() {
    let mut config = strict();
    config.http.max_connections = 4;
    let gateway = TestGateway::with(config).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(gateway.http).await.expect("connected"));
    }
    soon(gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_leaves_nothing() {
    let gateway = TestGateway::with(strict()).await;
    let request = gateway.signed(StripeEvent::paid("evt_1", "pi_1").body());
    let signature = request.headers["stripe-signature"].to_str().expect("text");
    let length = format!("stripe-signature: {signature}\r\ncontent-length: 4000");
    let mut stream = TcpStream::connect(gateway.http).await.expect("connected");
    stream.write_all(head(&length).as_bytes()).await.expect("sent");
    stream.write_all(&request.body).await.expect("sent");
    drop(stream);
    // Those that come after it show that nothing of it is there.
    gateway.accept_event(&StripeEvent::paid("evt_2", "pi_2")).await;
    let kept = receipts(&gateway.client().await).await;
    assert_eq!(kept.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_bounded_in_size_and_number() {
    let gateway = TestGateway::with(strict()).await;
    let large = format!("x-large: {}", "x".repeat(100_000));
    let answer = talk(gateway.http, head(&large).as_bytes()).await;
    assert_eq!(status(&answer), "431", "{answer}");
    let many: Vec<String> = (0..200).map(|number| format!("x-{number}: 1")).collect();
    let answer = talk(gateway.http, head(&many.join("\r\n")).as_bytes()).await;
    assert_eq!(status(&answer), "431", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_signature_header_is_refused() {
    let gateway = TestGateway::start().await;
    let body = StripeEvent::paid("evt_1", "pi_1").body();
    let mut request = gateway.signed(body);
    let right = request.headers["stripe-signature"].clone();
    request.headers.append("stripe-signature", right);
    assert_eq!(gateway.post(request.clone()).await, 401);
    let wrong = "t=1,v1=00".parse().expect("a header");
    request.headers.insert("stripe-signature", wrong);
    assert_eq!(gateway.post(request.clone()).await, 401);
    let binary = http::HeaderValue::from_bytes(b"t=1,v1=\xff\xfe").expect("a header");
    request.headers.insert("stripe-signature", binary);
    assert_eq!(gateway.post(request).await, 401);
    assert!(receipts(&gateway.client().await).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn authentic_bodies_of_any_shape_are_kept_and_harm_nothing() {
    let gateway = TestGateway::start().await;
    let whole = StripeEvent::paid("evt_1", "pi_1").body();
    let mut deep = br#"{"id":"evt_deep","type":"payment_intent.succeeded","data":"#.to_vec();
    deep.extend(vec![b'['; 200_000]);
    let mut long = br#"{"id":""#.to_vec();
    long.extend(vec![b'x'; 900_000]);
    long.extend(br#"","type":"payment_intent.succeeded"}"#);
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("null", b"null".to_vec()),
        ("list", b"[]".to_vec()),
        ("text", b"\"text\"".to_vec()),
        ("number", b"1e999".to_vec()),
        ("not UTF-8", b"\xff\xfe{\"id\":1}".to_vec()),
        ("zero bytes", vec![0; 1000]),
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("deep", deep),
        ("long", long),
        ("surrogate", br#"{"id":"\ud800","type":"payment_intent.succeeded"}"#.to_vec()),
        (
            "huge number",
            br#"{"id":"e","type":"payment_intent.succeeded","created":1e400}"#.to_vec(),
        ),
    ];
    let count = table.len();
    for (what, body) in table {
        let status = gateway.post(gateway.signed(body)).await;
        assert_eq!(status, 200, "{what}: it is authentic, so it is kept");
    }
    let kept = receipts(&gateway.client().await).await;
    assert_eq!(kept.len(), count);
    for receipt in kept {
        assert_ne!(receipt.state(), ReceiptState::Translated, "{}", receipt.name);
        assert!(receipt.events.is_empty());
        assert!(receipt.reason.len() < 1000, "{}", receipt.reason);
    }
    gateway.accept_event(&StripeEvent::paid("evt_after", "pi_after")).await;
}
