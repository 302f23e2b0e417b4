//! `$batch` of the double: multipart bodies with CRLF, at most 1,000 requests, change sets that are all or
//! nothing, and the first failure that ends a batch unless the caller prefers to go on. In comes the call,
//! out goes a multipart answer.
//! <https://learn.microsoft.com/power-apps/developer/data-platform/webapi/execute-batch-operations-using-web-api>

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{BAD_PAYLOAD, Dynamics, Inner, Outcome, ROOT, error};
use crate::{Reply, Request, ids};

const MAX_REQUESTS: usize = 1_000;
const CONTINUE: &str = "odata.continue-on-error";

/// A part of a batch.
enum Part {
    One(Box<Request>),
    ChangeSet(Vec<Request>),
}

impl Dynamics {
    pub(super) fn batch(&self, inner: &mut Inner, request: &Request) -> Reply {
        let parts = match parts(request) {
            Ok(parts) => parts,
            Err(reason) => return error(400, BAD_PAYLOAD, reason),
        };
        let count: usize = parts
            .iter()
            .map(|part| match part {
                Part::One(_) => 1,
                Part::ChangeSet(requests) => requests.len(),
            })
            .sum();
        if count > MAX_REQUESTS {
            return error(400, BAD_PAYLOAD, "A batch has at most 1000 operations.");
        }
        let prefers = request.header("prefer").unwrap_or_default();
        let goes_on = self.settings.continues_on_error && prefers.contains(CONTINUE);
        let boundary = format!("batchresponse_{}", ids::uuid());
        let mut body = Vec::new();
        let mut status = 200;
        for part in parts {
            let reply = match part {
                Part::One(request) => {
                    let Outcome { reply, done } = self.counted(inner, &request);
                    self.commit(inner, done);
                    write_part(&mut body, &boundary, &written(&reply));
                    reply
                }
                Part::ChangeSet(requests) => self.change_set(inner, requests, &boundary, &mut body),
            };
            if !reply.status.is_success() && !goes_on {
                status = reply.status.as_u16();
                break;
            }
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        Reply::of(status, &format!("multipart/mixed; boundary={boundary}"), body)
            .with_header("OData-Version", "4.0")
    }

    /// All of it or nothing; a failure stands for the whole.
    fn change_set(
        &self,
        inner: &mut Inner,
        requests: Vec<Request>,
        outer: &str,
        body: &mut Vec<u8>,
    ) -> Reply {
        let boundary = format!("changesetresponse_{}", ids::uuid());
        let mut section =
            format!("Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n").into_bytes();
        let mut all = Vec::new();
        let mut last = Reply::empty(200);
        for request in requests {
            let Outcome { reply, done } = self.counted(inner, &request);
            all.extend(done);
            if !reply.status.is_success() {
                inner.undo(all);
                write_part(body, outer, &written(&reply));
                return reply;
            }
            write_part(&mut section, &boundary, &written(&reply));
            last = reply;
        }
        self.commit(inner, all);
        section.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        write_part(body, outer, &section);
        last
    }
}

fn parts(batch: &Request) -> Result<Vec<Part>, &'static str> {
    let boundary = batch.header("content-type").and_then(boundary);
    let boundary = boundary.ok_or("The content type must be multipart/mixed with a boundary.")?;
    let body = std::str::from_utf8(&batch.body).map_err(|_| "The body is no text.")?;
    if body.replace("\r\n", "").contains('\n') {
        return Err("The lines of a batch must end with CRLF.");
    }
    let mut parts = Vec::new();
    for section in sections(body, boundary)? {
        let (headers, content) = head(section).ok_or("A part has no empty line.")?;
        let kind = headers.get("content-type").and_then(|value| value.to_str().ok());
        match kind.and_then(self::boundary) {
            Some(inner) => {
                let requests = sections(content, inner)?.into_iter().map(|section| {
                    let (headers, content) = head(section).ok_or("A part has no empty line.")?;
                    if !headers.contains_key("content-id") {
                        return Err("A part of a change set needs a Content-ID.");
                    }
                    let request = one(batch, &headers, content)?;
                    match request.method == Method::GET {
                        true => Err("A change set must not read."),
                        false => Ok(request),
                    }
                });
                parts.push(Part::ChangeSet(requests.collect::<Result<_, _>>()?));
            }
            None => parts.push(Part::One(Box::new(one(batch, &headers, content)?))),
        }
    }
    Ok(parts)
}

/// What lies between the delimiters, which must all be there.
fn sections<'a>(body: &'a str, boundary: &str) -> Result<Vec<&'a str>, &'static str> {
    let delimiter = format!("--{boundary}");
    let body = body.strip_prefix(&delimiter).ok_or("The body does not begin with its boundary.")?;
    let separator = format!("\r\n{delimiter}");
    let mut pieces: Vec<&str> = body.split(separator.as_str()).collect();
    let end = pieces.pop().filter(|end| end.starts_with("--") && !pieces.is_empty());
    end.ok_or("The body does not end with its boundary.")?;
    let inner = |piece: &'a str| piece.strip_prefix("\r\n").ok_or("A boundary is not a line.");
    pieces.into_iter().map(inner).collect()
}

fn one(batch: &Request, headers: &HeaderMap, content: &str) -> Result<Request, &'static str> {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|sent| sent == value);
    if !is("content-type", "application/http") || !is("content-transfer-encoding", "binary") {
        return Err("A part must be application/http and binary.");
    }
    let (line, rest) = content.split_once("\r\n").ok_or("A part has no request line.")?;
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Err("A request line is wrong.") };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| "A method is wrong.")?;
    if !target.starts_with(ROOT) || target.contains("$batch") {
        return Err("A part must be for a resource of the same service.");
    }
    let (headers, body) = head(rest).ok_or("A request has no empty line.")?;
    let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    let body = body.strip_suffix("\r\n").unwrap_or(body);
    if length.is_some_and(|length: usize| length != body.len()) {
        return Err("A Content-Length is wrong.");
    }
    Ok(batch.part(method, target, headers, Bytes::copy_from_slice(body.as_bytes())))
}

/// Headers up to an empty line, and what follows.
fn head(text: &str) -> Option<(HeaderMap, &str)> {
    let mut headers = HeaderMap::new();
    let mut rest = text;
    loop {
        let (line, after) = rest.split_once("\r\n")?;
        rest = after;
        if line.is_empty() {
            return Some((headers, rest));
        }
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
        headers.insert(name, HeaderValue::from_str(value.trim()).ok()?);
    }
}

fn boundary(content_type: &str) -> Option<&str> {
    let rest = content_type.strip_prefix("multipart/mixed")?;
    let (_, value) = rest.split_once("boundary=")?;
    Some(value.trim().trim_matches('"'))
}

/// An answer as it stands within a part.
fn written(reply: &Reply) -> Vec<u8> {
    let reason = reply.status.canonical_reason().unwrap_or_default();
    let mut text = format!(
        "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nHTTP/1.1 {} \
         {reason}\r\n",
        reply.status.as_u16()
    );
    for (name, value) in &reply.headers {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&reply.body);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn write_part(body: &mut Vec<u8>, boundary: &str, section: &[u8]) {
    body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
    body.extend_from_slice(section);
}
