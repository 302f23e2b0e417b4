//! The `$batch` of OData: in come requests, out goes one multipart body with CRLF and a boundary; in comes
//! the multipart answer, out go the answers in their order. Only what stands whole between two boundaries
//! counts, so that a body that was cut off says nothing of the rows that it lost.
//! <https://learn.microsoft.com/power-apps/developer/data-platform/webapi/execute-batch-operations-using-web-api>

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::api::Answer;

/// How many lines of headers of a part are read.
const MAX_HEADERS: usize = 64;

/// A request that goes into a batch.
#[derive(Clone, Debug)]
pub struct Part {
    /// `GET`, `PATCH`, `POST`.
    pub method: &'static str,
    /// Path and query below the API's root, percent-encoded: `new_payments(new_paymentid='pay_1')`.
    pub target: String,
    /// Headers beside those that all parts have.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body, as JSON.
    pub body: Option<String>,
}

impl Part {
    /// A request that reads.
    pub fn get(target: String) -> Part {
        Part { method: "GET", target, headers: Vec::new(), body: None }
    }
}

/// A batch as it is sent.
#[derive(Debug)]
pub struct Batch {
    /// The content type, with the boundary.
    pub content_type: String,
    /// The body.
    pub body: String,
}

/// Puts parts together; `root` is the path of the API's root.
pub fn encode(root: &str, parts: &[Part]) -> Batch {
    let boundary = format!("batch_{}", hex::encode(rand::random::<[u8; 16]>()));
    let mut body = String::new();
    for (index, part) in parts.iter().enumerate() {
        let Part { method, target, headers, body: json } = part;
        let _ = write!(
            body,
            "--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: \
             binary\r\nContent-ID: {}\r\n\r\n{method} {root}/{target} HTTP/1.1\r\nOData-MaxVersion: \
             4.0\r\nOData-Version: 4.0\r\nAccept: application/json\r\n",
            index + 1
        );
        for (name, value) in headers {
            let _ = write!(body, "{name}: {value}\r\n");
        }
        if let Some(json) = json {
            let length = json.len();
            let _ = write!(
                body,
                "Content-Type: application/json; type=entry\r\nContent-Length: {length}\r\n\r\n\
                 {json}\r\n"
            );
        } else {
            body.push_str("\r\n\r\n");
        }
    }
    let _ = write!(body, "--{boundary}--\r\n");
    Batch { content_type: format!("multipart/mixed; boundary=\"{boundary}\""), body }
}

/// Takes an answer apart; `None` if it is no multipart body.
pub fn decode(answer: &Answer) -> Option<Vec<Answer>> {
    let boundary = boundary(answer.header("content-type")?)?;
    let delimiter = format!("--{boundary}");
    let mut sections = split(&answer.body, delimiter.as_bytes()).into_iter();
    // What precedes the first boundary is no part, and what follows the last may be cut off.
    sections.next()?;
    let mut sections: Vec<&[u8]> = sections.collect();
    sections.pop();
    Some(sections.into_iter().map_while(part).collect())
}

fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    let mut pairs = parameters.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
    Some(value.trim().trim_matches('"')).filter(|boundary| !boundary.is_empty())
}

/// What lies between the delimiters that stand at the beginning of a line.
fn split<'a>(body: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let mut sections = Vec::new();
    let (mut from, mut at) = (0, 0);
    while at + delimiter.len() <= body.len() {
        let begins_line = at == 0 || body[at - 1] == b'\n';
        if begins_line && body[at..].starts_with(delimiter) {
            sections.push(&body[from..at]);
            at += delimiter.len();
            from = at;
        } else {
            at += 1;
        }
    }
    sections.push(&body[from..]);
    sections
}

/// The answer within a part: after the part's own headers a status line, headers, a body.
fn part(section: &[u8]) -> Option<Answer> {
    let mut rest = section;
    loop {
        let line = line(&mut rest)?;
        if line.starts_with("HTTP/") {
            let status = line.split_ascii_whitespace().nth(1)?;
            let status = StatusCode::from_bytes(status.as_bytes()).ok()?;
            let headers = headers(&mut rest)?;
            let body = Bytes::copy_from_slice(rest.trim_ascii());
            return Some(Answer { status, headers, body });
        }
    }
}

fn headers(rest: &mut &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for _ in 0..MAX_HEADERS {
        let line = line(rest)?;
        if line.is_empty() {
            return Some(headers);
        }
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
        headers.insert(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    None
}

/// The next line, without its end.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "--batchresponse_1\r\nContent-Type: application/http\r\n\
        Content-Transfer-Encoding: binary\r\nContent-ID: 1\r\n\r\nHTTP/1.1 204 No Content\r\n\
        OData-Version: 4.0\r\n\r\n\r\n--batchresponse_1\r\nContent-Type: application/http\r\n\r\n\
        HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\r\n\
        {\"error\":{\"code\":\"0x1\",\"message\":\"--batchresponse_1 \"}}\r\n--batchresponse_1--\r\n";

    fn answer(content_type: &str, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_str(content_type).expect("a value"));
        Answer { status: StatusCode::OK, headers, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    #[test]
    fn answers_are_taken_apart_in_order() {
        for kind in [
            "multipart/mixed; boundary=batchresponse_1",
            "Multipart/Mixed;\
             charset=utf-8; Boundary=\"batchresponse_1\"",
        ] {
            let parts = decode(&answer(kind, ANSWER)).expect("multipart");
            let statuses: Vec<u16> = parts.iter().map(|part| part.status.as_u16()).collect();
            assert_eq!(statuses, [204, 400]);
            assert!(parts[0].body.is_empty());
            assert_eq!(parts[1].header("content-type"), Some("application/json"));
        }
        assert!(decode(&answer("application/json", "{}")).is_none());
    }

    #[test]
    fn what_was_cut_off_says_nothing_and_nothing_panics() {
        let kind = "multipart/mixed; boundary=batchresponse_1";
        for end in 0..ANSWER.len() {
            let parts = decode(&answer(kind, &ANSWER[..end])).unwrap_or_default();
            assert!(parts.len() <= 2);
            assert!(parts.iter().all(|part| part.status == 204 || part.body.ends_with(b"}}")));
        }
    }
}
