//! Sends one webhook as a vendor does: a POST to an address on the loopback, bounded in time and in
//! what it reads back. When and how often to try again is each vendor's own.

use std::{io, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Reply;

const MAX_ANSWER: usize = 1024 * 1024;

/// Posts a body to `http://127.0.0.1:PORT/...` and gives the answer, or why there was none.
pub async fn post(
    url: &str,
    headers: &[(&str, &str)],
    body: Bytes,
    timeout: Duration,
) -> io::Result<Reply> {
    let sent = send(url, headers, body);
    tokio::time::timeout(timeout, sent).await.map_err(|_| io::ErrorKind::TimedOut)?
}

async fn send(url: &str, headers: &[(&str, &str)], body: Bytes) -> io::Result<Reply> {
    let uri: http::Uri = url.parse().map_err(io::Error::other)?;
    let authority = uri.authority().ok_or(io::ErrorKind::InvalidInput)?;
    if !matches!(authority.host(), "127.0.0.1" | "localhost" | "[::1]") {
        return Err(io::Error::other("a double calls only the loopback"));
    }
    let stream = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = http::Request::post(path).header("host", authority.as_str());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body)).map_err(io::Error::other)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(io::Error::other)?;
        Ok(Reply { status: head.status, headers: head.headers, body: body.to_bytes() })
    };
    // The connection only moves bytes for the exchange; whatever ends it shows in the exchange.
    let driver = tokio::spawn(connection);
    let answer = exchange.await;
    driver.abort();
    answer
}
