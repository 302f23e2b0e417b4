//! Reads a captured request: HTTP/1.1 as text, or JSON. In comes a file, out comes the request with every
//! byte of its body as it stands there; only what an editor added behind the announced length is cut.

use std::path::Path;

use anyhow::{Context as _, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;
use serde_json::Value;

use crate::receipt::Request;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// A request as JSON.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    method: String,
    #[serde(alias = "path", alias = "uri", default)]
    url: String,
    #[serde(default)]
    headers: Value,
    #[serde(default)]
    body: Option<String>,
    #[serde(alias = "bodyBase64", default)]
    body_base64: Option<String>,
}

/// Reads a key as the provider's API answered it.
pub fn read_key(path: &Path) -> anyhow::Result<Bytes> {
    read_bytes(path).map(Bytes::from)
}

/// Reads a request.
pub fn read(path: &Path) -> anyhow::Result<Request> {
    let bytes = read_bytes(path)?;
    let request = match bytes.trim_ascii_start().starts_with(b"{") {
        true => from_json(&bytes),
        false => from_http(&bytes),
    };
    request.with_context(|| format!("{} holds no HTTP request", path.display()))
}

fn read_bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let file = std::fs::metadata(path).with_context(|| format!("{shown} cannot be read"))?;
    ensure!(file.len() <= MAX_FILE_BYTES, "{shown} is larger than {MAX_FILE_BYTES} bytes");
    std::fs::read(path).with_context(|| format!("{shown} cannot be read"))
}

fn from_http(bytes: &[u8]) -> anyhow::Result<Request> {
    let (head, body) = split_head(bytes);
    let head = std::str::from_utf8(head).context("its head is no text")?;
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default();
    let mut words = line.split_whitespace();
    let method = words.next().context("it has no request line")?;
    let target = words.next().context("its first line has no path")?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').context("a header has no `:`")?;
        append(&mut headers, name.trim(), value.trim())?;
    }
    let body = cut_to_length(&headers, body);
    Ok(Request {
        method: method.parse::<Method>().context("its method is none")?,
        path: path_of(target, &mut headers),
        headers,
        body: Bytes::copy_from_slice(body),
    })
}

/// The head, and what stands behind the first empty line.
fn split_head(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = |mark: &[u8]| memchr::memmem::find(bytes, mark).map(|at| (at, mark.len()));
    let ends = [end(b"\r\n\r\n"), end(b"\n\n")];
    let Some((at, length)) = ends.into_iter().flatten().min() else { return (bytes, &[]) };
    let body = bytes.get(at + length..).unwrap_or_default();
    (bytes.get(..at).unwrap_or_default(), body)
}

/// What an editor adds at the end is not part of the body that the request announced.
fn cut_to_length<'a>(headers: &HeaderMap, body: &'a [u8]) -> &'a [u8] {
    let announced = headers.get(http::header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let Some((announced, rest)) = announced.and_then(|bytes| body.split_at_checked(bytes)) else {
        return body;
    };
    if rest.trim_ascii().is_empty() { announced } else { body }
}

fn from_json(bytes: &[u8]) -> anyhow::Result<Request> {
    let written: Written = serde_json::from_slice(bytes).context("its JSON cannot be read")?;
    let mut headers = HeaderMap::new();
    match &written.headers {
        Value::Object(pairs) => {
            for (name, value) in pairs {
                append_value(&mut headers, name, value)?;
            }
        }
        Value::Array(items) => {
            for item in items {
                let part = |name: &str, at: usize| item.get(name).or_else(|| item.get(at));
                let name =
                    part("name", 0).and_then(Value::as_str).context("a header has no name")?;
                append_value(&mut headers, name, part("value", 1).unwrap_or(&Value::Null))?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    let body = match (written.body_base64, written.body) {
        (Some(text), _) => STANDARD.decode(text.trim()).context("`body_base64` is no base64")?,
        (None, text) => text.unwrap_or_default().into_bytes(),
    };
    let method = if written.method.is_empty() { "POST" } else { &written.method };
    let method = method.to_ascii_uppercase().parse::<Method>().context("its method is none")?;
    let path = path_of(&written.url, &mut headers);
    Ok(Request { method, path, headers, body: body.into() })
}

fn append_value(headers: &mut HeaderMap, name: &str, value: &Value) -> anyhow::Result<()> {
    match value {
        Value::Array(values) => values.iter().try_for_each(|one| append_value(headers, name, one)),
        Value::String(text) => append(headers, name, text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            append(headers, name, &value.to_string())
        }
    }
}

/// The value is not repeated: it may be a credential.
fn append(headers: &mut HeaderMap, name: &str, value: &str) -> anyhow::Result<()> {
    let key = name.parse::<HeaderName>();
    let key = key.with_context(|| format!("`{name}` is not the name of a header"))?;
    let value = HeaderValue::from_bytes(value.as_bytes());
    headers.append(key, value.with_context(|| format!("header `{name}` has no readable value"))?);
    Ok(())
}

/// Path and query of a target that may be a whole URL, whose host then is the request's.
fn path_of(target: &str, headers: &mut HeaderMap) -> String {
    let Some((_, rest)) = target.split_once("://") else { return target.to_owned() };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(at).unwrap_or((rest, ""));
    if let Ok(value) = HeaderValue::from_str(host) {
        headers.entry(http::header::HOST).or_insert(value);
    }
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_text_and_as_json() {
        let raw = b"POST /hook?a=1 HTTP/1.1\r\nHost: h.example.com\r\nX-Sig: a\r\nX-Sig: b\r\n\r\n{\"a\":\n1}\n";
        let request = from_http(raw).expect("a request");
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook?a=1"));
        assert_eq!(request.headers.get_all("x-sig").iter().count(), 2);
        assert_eq!(&request.body[..], b"{\"a\":\n1}\n");

        let unix = from_http(b"POST /hook\nContent-Length: 2\n\n{}\n").expect("a request");
        assert_eq!(&unix.body[..], b"{}");

        let json = br#"{"url":"https://h.example.com/hook","headers":{"X-Sig":["a","b"]},"body_base64":"AP8="}"#;
        let request = from_json(json).expect("a request");
        assert_eq!(request.headers["host"], "h.example.com");
        assert_eq!((request.path.as_str(), &request.body[..]), ("/hook", &b"\x00\xff"[..]));
        let pairs =
            br#"{"method":"get","path":"/x","headers":[["a","1"],{"name":"b","value":"2"}]}"#;
        let request = from_json(pairs).expect("a request");
        assert_eq!((request.method.as_str(), request.headers.len()), ("GET", 2));
        for broken in [&b""[..], b"POST", b"POST /x\nno header\n\n", b"\xff\xfe"] {
            assert!(from_http(broken).is_err());
        }
    }
}
