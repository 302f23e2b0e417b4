//! A request as it came, and a receipt: a request that was proved authentic, kept verbatim. A receipt is
//! made of a request and a `Proof`, or read back from the store; nothing else can make one. Before it is
//! stored, authentication headers and the secrets that its provider declares become digests.

pub mod signature;

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::model::EndpointName;

pub use signature::{Proof, VerifyError};

/// Headers that carry credentials whoever sends them, in lower case.
const CREDENTIAL_HEADERS: &[&str] =
    &["authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token"];

/// In `Redaction::headers` and `Redaction::query`: all of them, for providers whose endpoints name by
/// configuration what carries the secret. Headers of HTTP itself stay readable.
pub const ALL: &str = "*";

/// In `Redaction::query`: the last segment of the path too, for providers whose URLs end in a secret.
pub const LAST_SEGMENT: &str = "/";

/// The headers that stay readable under `ALL`.
const PLAIN_HEADERS: &[&str] =
    &["accept", "accept-encoding", "content-length", "content-type", "host", "user-agent"];

/// One HTTP request as it came.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query, as on the request line.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, complete and bounded.
    pub body: Bytes,
}

/// What of a provider's requests must not be stored as it came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Redaction {
    /// Headers that carry a secret, in lower case, beside the usual credential headers.
    pub headers: &'static [&'static str],
    /// Query parameters that carry a secret.
    pub query: &'static [&'static str],
    /// Members of a JSON body, at any depth, whose string values are secrets or payment instruments; in a
    /// body of XML or a form, the elements or fields of these names.
    pub body_members: &'static [&'static str],
}

/// One authentic request, as it is stored.
#[derive(Clone)]
pub struct Receipt {
    endpoint: EndpointName,
    received_at: Timestamp,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    verified_by: String,
    digest: [u8; 32],
}

/// The parts of a stored receipt, for the store to write and read back.
#[derive(Clone)]
pub struct Parts {
    /// Whose it is.
    pub endpoint: EndpointName,
    /// When it came.
    pub received_at: Timestamp,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// Which secret verified it: `webhook_secret[0]`.
    pub verified_by: String,
    /// SHA-256 of the rest.
    pub digest: [u8; 32],
}

/// A request as it may be stored and shown: authentication headers and declared secrets are digests.
#[derive(Clone)]
pub struct Redacted {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Redacted {
    /// What may be kept of a request.
    pub fn of(request: &Request, redaction: Redaction) -> Redacted {
        let headers = request
            .headers
            .iter()
            .map(|(name, value)| {
                let name = name.as_str().to_owned();
                let secret = CREDENTIAL_HEADERS.contains(&name.as_str())
                    || redaction.headers.contains(&name.as_str())
                    || (redaction.headers.contains(&ALL)
                        && !PLAIN_HEADERS.contains(&name.as_str()));
                let value = match secret {
                    true => digest_text(value.as_bytes()),
                    false => String::from_utf8_lossy(value.as_bytes()).into_owned(),
                };
                (name, value)
            })
            .collect();
        Redacted {
            method: request.method.as_str().to_owned(),
            path: redact_query(&request.path, redaction.query),
            headers,
            body: redact_body(request.body.clone(), redaction.body_members),
        }
    }
}

impl Request {
    /// The value of a header that must stand exactly once and be readable text.
    pub fn header(&self, name: &'static str) -> Result<&str, VerifyError> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().ok_or(VerifyError::MissingHeader(name))?;
        if values.next().is_some() {
            return Err(VerifyError::Malformed(name));
        }
        value.to_str().map_err(|_| VerifyError::Malformed(name))
    }
}

impl Receipt {
    /// An authentic request becomes a receipt.
    pub fn new(
        request: Request,
        proof: Proof,
        endpoint: EndpointName,
        received_at: Timestamp,
        redaction: Redaction,
    ) -> Receipt {
        let Redacted { method, path, headers, body } = Redacted::of(&request, redaction);
        let mut receipt = Receipt {
            endpoint,
            received_at,
            method,
            path,
            headers,
            body,
            verified_by: proof.verified_by().to_owned(),
            digest: [0; 32],
        };
        receipt.digest = receipt.compute_digest();
        receipt
    }

    /// A receipt that the store kept.
    pub fn from_stored(parts: Parts) -> Receipt {
        Receipt {
            endpoint: parts.endpoint,
            received_at: parts.received_at,
            method: parts.method,
            path: parts.path,
            headers: parts.headers,
            body: parts.body,
            verified_by: parts.verified_by,
            digest: parts.digest,
        }
    }

    /// Whose it is.
    pub fn endpoint(&self) -> &EndpointName {
        &self.endpoint
    }

    /// When it came.
    pub fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The headers, names in lower case.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The first value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Which secret verified it: `webhook_secret[0]`.
    pub fn verified_by(&self) -> &str {
        &self.verified_by
    }

    /// SHA-256 of what is stored: method, path, headers and body, each with its length before it.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Computes the digest again, to check a stored one.
    pub fn compute_digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        part(self.method.as_bytes());
        part(self.path.as_bytes());
        for (name, value) in &self.headers {
            part(name.as_bytes());
            part(value.as_bytes());
        }
        part(&self.body);
        hasher.finalize().into()
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Receipt")
            .field("endpoint", &self.endpoint)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Request").field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}

fn digest_text(secret: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(secret)))
}

fn redact_query(path: &str, names: &[&str]) -> String {
    let (before, query) =
        path.split_once('?').map_or((path, None), |(before, query)| (before, Some(query)));
    let before = match before.rsplit_once('/') {
        Some((rest, last)) if names.contains(&LAST_SEGMENT) => {
            format!("{rest}/{}", digest_text(last.as_bytes()))
        }
        _ => before.to_owned(),
    };
    let Some(query) = query.filter(|_| !names.is_empty()) else {
        return query.map_or(before.clone(), |query| format!("{before}?{query}"));
    };
    let parts: Vec<String> = query
        .split('&')
        .map(|part| match part.split_once('=') {
            Some((name, value)) if names.contains(&name) || names.contains(&ALL) => {
                format!("{name}={}", digest_text(value.as_bytes()))
            }
            None if names.contains(&ALL) => digest_text(part.as_bytes()),
            _ => part.to_owned(),
        })
        .collect();
    format!("{before}?{}", parts.join("&"))
}

/// Replaces the values of the named members in place; the rest of the bytes stay as they are. A body that
/// is cut off or no text is searched all the same: it may hold a secret and is kept.
fn redact_body(body: Bytes, members: &[&str]) -> Bytes {
    let mut redacted = Vec::new();
    let mut copied = 0;
    for (start, end) in secret_values(&body, members) {
        if start >= copied {
            redacted.extend_from_slice(&body[copied..start]);
            redacted.extend_from_slice(digest_text(&body[start..end]).as_bytes());
            copied = end;
        }
    }
    if copied == 0 {
        return body;
    }
    redacted.extend_from_slice(&body[copied..]);
    Bytes::from(redacted)
}

/// The ranges of the named members' values, ascending.
fn secret_values(body: &[u8], members: &[&str]) -> Vec<(usize, usize)> {
    let json = names(body, members).into_iter().filter_map(|end| string_value(body, end));
    let mut ranges: Vec<(usize, usize)> = json.collect();
    let is_json = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let is_json = is_json.is_some_and(|byte| b"{[".contains(byte));
    for member in members.iter().filter(|_| !is_json) {
        let found = memchr::memmem::find_iter(body, member.as_bytes());
        ranges.extend(found.filter_map(|start| bare_value(body, start, start + member.len())));
    }
    ranges.sort_unstable();
    ranges
}

/// The range of the value of an XML element or form field whose name stands here.
fn bare_value(body: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let before = start.checked_sub(1).and_then(|at| body.get(at));
    let (from, until) = match (before, body.get(end)) {
        (None | Some(b'&'), Some(b'=')) => (end + 1, b'&'),
        (Some(b'<' | b':'), Some(b'>' | b' ' | b'\t' | b'\r' | b'\n')) => {
            let close = end + memchr::memchr(b'>', &body[end..])?;
            (body.get(close - 1) != Some(&b'/')).then_some((close + 1, b'<'))?
        }
        _ => return None,
    };
    let rest = body.get(from..)?;
    let length = memchr::memchr(until, rest).unwrap_or(rest.len());
    (length > 0).then_some((from, from + length))
}

/// Where each quoted name of `members` ends, ascending.
fn names(body: &[u8], members: &[&str]) -> Vec<usize> {
    let mut ends: Vec<usize> = Vec::new();
    for member in members {
        let quoted = format!("\"{member}\"");
        let found = memchr::memmem::find_iter(body, quoted.as_bytes());
        ends.extend(found.map(|start| start + quoted.len()));
    }
    ends.sort_unstable();
    ends
}

/// The range of the string, without quotes, that is the value of the member whose name ends here.
fn string_value(body: &[u8], after_name: usize) -> Option<(usize, usize)> {
    let colon = skip_space(body, after_name);
    let quote = skip_space(body, colon + 1);
    if body.get(colon) != Some(&b':') || body.get(quote) != Some(&b'"') {
        return None;
    }
    let end = string_end(body, quote + 1);
    (end > quote + 1).then_some((quote + 1, end))
}

fn skip_space(bytes: &[u8], from: usize) -> usize {
    let space = |byte: &&u8| byte.is_ascii_whitespace();
    from + bytes.get(from..).map_or(0, |rest| rest.iter().take_while(space).count())
}

/// The place of the closing quote, or the end of a body that is cut off before it.
fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_declared_secrets_become_digests_before_storing() {
        let body = Bytes::from_static(br#"{"a":{"client_secret" : "pi_\"x","b":"client_secret"}}"#);
        let text = String::from_utf8(redact_body(body, &["client_secret"]).to_vec()).expect("text");
        assert!(!text.contains("pi_"), "{text}");
        assert!(text.starts_with(r#"{"a":{"client_secret" : "sha256:"#), "{text}");
        assert!(text.ends_with(r#"","b":"client_secret"}}"#), "{text}");
        for broken in
            [&b"{\"iban\":\"DE02 cut"[..], b"{\"iban\":\"DE02\\", b"\xff{\"iban\":\"DE02\"}"]
        {
            let kept = redact_body(Bytes::copy_from_slice(broken), &["client_secret", "iban"]);
            assert!(
                memchr::memmem::find(&kept, b"sha256:").is_some()
                    && memchr::memmem::find(&kept, b"DE02").is_none()
            );
        }
        assert_eq!(redact_query("/a?k=1&b=2", &["b"]), format!("/a?k=1&b={}", digest_text(b"2")));
    }

    #[test]
    fn p10_declared_secrets_of_xml_and_forms_become_digests_too() {
        let redacted = |text: &str| {
            let body = redact_body(Bytes::copy_from_slice(text.as_bytes()), &["SessionId"]);
            String::from_utf8(body.to_vec()).expect("text")
        };
        for (text, secret) in [
            ("<a><SessionId>s1!x</SessionId></a>", "s1!x"),
            ("<a><n:SessionId x=\"1\" >s1!x</n:SessionId><b>2</b></a>", "s1!x"),
            ("<a><SessionId>s1!x", "s1!x"),
            ("SessionId=s1&b=2", "s1"),
            ("b=2&SessionId=s1", "s1"),
        ] {
            let kept = redacted(text);
            assert_eq!(kept, text.replacen(secret, &digest_text(secret.as_bytes()), 1));
        }
        for text in
            ["<SessionId/>", "<SessionId x=\"1\"/>2", "<SessionId></SessionId>", "SessionIds=1"]
        {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn p10_secrets_whose_names_are_configured_become_digests() {
        let all = redact_query("/a?%6B=1&x", &[ALL]);
        assert_eq!(all, format!("/a?%6B={}&{}", digest_text(b"1"), digest_text(b"x")));
        let path = redact_query("/a/token", &[LAST_SEGMENT]);
        assert_eq!(path, format!("/a/{}", digest_text(b"token")));
        assert_eq!(redact_query("/a/b?c=1", &[]), "/a/b?c=1");
    }
}
