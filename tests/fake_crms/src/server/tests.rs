//! What the server promises of every double, shown on one that counts what it is sent.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{Commit, Effect, Fault, State, Write, callback, faults::bad_gateway};

struct Counter {
    site: Site,
    sum: State<u64>,
}

impl Backend for Counter {
    fn handle(&self, request: &Request) -> Reply {
        if request.segments() != ["add", "a b"] {
            return Reply::json(404, &json!({ "error": "NOT_FOUND" }));
        }
        if request.method != Method::POST {
            return Reply::empty(405);
        }
        let mut sum = self.sum.lock();
        *sum += 1;
        self.site.journal.wrote(Commit {
            object: "sum".to_owned(),
            record: "1".to_owned(),
            key: String::from_utf8_lossy(&request.body).into_owned(),
            fields: vec![("sum".to_owned(), json!(*sum))],
            created: *sum == 1,
            at: request.arrived,
            call: request.number,
        });
        Reply::json(200, &json!({ "sum": *sum, "in_flight": request.in_flight() }))
    }
}

async fn counter() -> Server<Counter> {
    let make = |site: &Site| Counter { site: site.clone(), sum: State::new(0) };
    Server::start(Clock::real(), make).await.expect("two ports of the loopback")
}

/// All that comes back before the connection ends.
async fn exchange(server: &Server<Counter>, method: &str, body: &str) -> String {
    let address = server.api_url().strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let length = body.len();
    let call = format!(
        "{method} /add/a%20b?x=1 HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer t\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(call.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // A cut connection may end in a reset: what came before it counts.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_call_is_answered_and_journaled() {
    let server = counter().await;
    assert!(exchange(&server, "POST", "pay_1").await.ends_with(r#"{"in_flight":1,"sum":1}"#));
    assert!(exchange(&server, "GET", "").await.starts_with("HTTP/1.1 405 "));
    let calls = server.journal().calls();
    let seen: Vec<_> = calls.iter().map(|call| (call.number, call.status)).collect();
    assert_eq!(seen, [(1, Some(200)), (2, Some(405))]);
    assert_eq!((&calls[0].body[..], &calls[0].tenant[..]), (&b"pay_1"[..], "Bearer t"));
    assert!(!format!("{:?}", calls[0].headers).contains("Bearer"));
    assert_ne!(server.auth_url(), server.api_url());
}

#[tokio::test]
async fn a_lost_answer_keeps_the_write_and_a_lost_write_does_not() {
    let server = counter().await;
    let faults = server.faults();
    let lost_answer = faults.add(Fault::new(Effect::Close(Write::Applied)).containing("pay_1"));
    faults.add(Fault::new(Effect::Close(Write::Lost)).containing("pay_2").nth(2));
    assert_eq!(exchange(&server, "POST", "pay_1").await, "");
    lost_answer.hit().await;
    assert_eq!((server.journal().commits_of("pay_1").len(), lost_answer.hits()), (1, 1));
    assert!(exchange(&server, "POST", "pay_2").await.contains(r#""sum":2"#));
    assert_eq!(exchange(&server, "POST", "pay_2").await, "");
    assert_eq!(server.journal().commits().len(), 2);
    assert_eq!(server.journal().calls()[0].status, None);
}

#[tokio::test]
async fn an_answer_can_be_cut_replaced_mistyped_or_slow() {
    let server = counter().await;
    let faults = server.faults();
    faults.add(Fault::new(Effect::Truncate));
    let cut = exchange(&server, "POST", "").await;
    assert!(cut.contains("content-length: 23") && cut.ends_with("\r\n\r\n{\"in_flight"), "{cut}");

    faults.add(Fault::new(Effect::Answer(Write::Applied, bad_gateway(502))));
    let page = exchange(&server, "POST", "").await;
    assert!(page.starts_with("HTTP/1.1 502 ") && page.contains("text/html"), "{page}");

    faults.add(Fault::new(Effect::ContentType("text/plain")));
    assert!(exchange(&server, "POST", "").await.contains("content-type: text/plain\r\n"));

    faults.add(Fault::new(Effect::Drip(20, Duration::from_millis(5))));
    assert!(exchange(&server, "POST", "").await.ends_with(r#"{"in_flight":1,"sum":4}"#));
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_a_late_write() {
    let server = counter().await;
    let late = server.faults().add(Fault::new(Effect::Delay(Duration::from_millis(40))));
    let hung = server.faults().add(Fault::new(Effect::Hang(Write::Applied)).nth(2));
    for armed in [late, hung] {
        tokio::select! {
            _ = exchange(&server, "POST", "pay_1") => panic!("answered"),
            () = armed.hit() => {}
        }
    }
    while server.journal().commits().len() < 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_call_during_a_wait_is_found() {
    let server = counter().await;
    let refused = Reply::empty(429).with_header("Retry-After", 60);
    server.faults().add(Fault::new(Effect::Answer(Write::Lost, refused)));
    exchange(&server, "POST", "").await;
    exchange(&server, "POST", "").await;
    server.clock().advance(Duration::from_secs(60));
    exchange(&server, "POST", "").await;
    let early = server.journal().early_calls(Duration::ZERO);
    assert_eq!(early.iter().map(|call| call.number).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused() {
    let server = counter().await;
    let body = "x".repeat(16 * 1024 * 1024 + 1);
    assert!(exchange(&server, "POST", &body).await.starts_with("HTTP/1.1 413 "));
    assert_eq!(server.journal().commits().len(), 0);
}

#[tokio::test]
async fn a_callback_reaches_a_server_and_nothing_beyond_the_loopback() {
    let server = counter().await;
    let post = |url: String| async move {
        let body = bytes::Bytes::from_static(b"{}");
        callback::post(&url, &[("x-sign", "1")], body, Duration::from_secs(5)).await
    };
    let reply = post(format!("{}/add/a%20b", server.api_url())).await.expect("an answer");
    assert_eq!(reply.body_json().expect("JSON")["sum"], 1);
    assert_eq!(server.journal().calls()[0].headers["x-sign"], "1");
    assert!(post("http://192.0.2.1/".to_owned()).await.is_err());
}
