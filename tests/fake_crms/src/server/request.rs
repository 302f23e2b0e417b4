//! A call as it was sent, and the answer to it, in the plain form that backends work with. Nothing
//! is normalized on the way in: a backend judges what the connector really sent.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::Value;

use super::Host;
use crate::clock::until;

/// One call.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its place in the order of arrival, from 1; goes into [`crate::Commit::call`].
    pub number: u64,
    /// The host it came to.
    pub host: Host,
    /// Whose call it is, as [`super::Backend::tenant`] tells.
    pub tenant: String,
    /// Its method.
    pub method: Method,
    /// Its path as sent, still percent-encoded.
    pub path: String,
    /// Its query, decoded.
    pub query: Vec<(String, String)>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// When it arrived, by the double's clock.
    pub arrived: Timestamp,
    /// When the tenant's other calls arrived that are still in flight.
    pub others: Vec<Timestamp>,
}

impl Request {
    /// A call to the API made of its parts, for tests and for the parts of a batch.
    pub fn new(method: Method, target: &str, headers: HeaderMap, body: Bytes) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request {
            number: 0,
            host: Host::Api,
            tenant: String::new(),
            method,
            path: path.to_owned(),
            query: pairs(query.as_bytes()),
            headers,
            body,
            arrived: Timestamp::UNIX_EPOCH,
            others: Vec::new(),
        }
    }

    /// A call that came as a part of this one, such as one of a batch.
    pub fn part(&self, method: Method, target: &str, headers: HeaderMap, body: Bytes) -> Request {
        Request {
            number: self.number,
            host: self.host,
            tenant: self.tenant.clone(),
            arrived: self.arrived,
            others: self.others.clone(),
            ..Request::new(method, target, headers, body)
        }
    }

    /// The value of a header, if it came and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The credential of this scheme in the authorization header: `credential("Bearer")`.
    pub fn credential(&self, scheme: &str) -> Option<&str> {
        let (sent, credential) = self.header("authorization")?.split_once(' ')?;
        sent.eq_ignore_ascii_case(scheme).then(|| credential.trim())
    }

    /// The content type in lower case and without its parameters.
    pub fn content_type(&self) -> Option<String> {
        let value = self.header("content-type")?;
        Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }

    /// The first value of a name in the query.
    pub fn query_value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(sent, _)| sent == name).map(|(_, value)| value.as_str())
    }

    /// The parts of the path between slashes, each decoded after it was split.
    pub fn segments(&self) -> Vec<String> {
        self.path.split('/').skip(1).map(|part| decoded(part).into_owned()).collect()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// The body as the pairs of a form. Judge the content type beforehand.
    pub fn form(&self) -> Vec<(String, String)> {
        pairs(&self.body)
    }

    /// How many calls of the tenant are in flight, this one among them.
    pub fn in_flight(&self) -> usize {
        self.others.len() + 1
    }

    /// How many other calls of the tenant have been in flight for at least this long.
    pub fn in_flight_for(&self, age: Duration) -> usize {
        self.others.iter().filter(|at| until(**at, self.arrived) >= age).count()
    }
}

fn pairs(encoded: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(encoded).into_owned().collect()
}

fn decoded(part: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy()
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// An answer without a body.
    pub fn empty(status: u16) -> Reply {
        // A status that HTTP does not know is a slip in the double itself.
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Reply { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// A body of some content type.
    pub fn of(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
        let reply = Reply { body: body.into(), ..Reply::empty(status) };
        reply.with_header("content-type", content_type)
    }

    /// A JSON body.
    pub fn json(status: u16, body: &Value) -> Reply {
        Reply::of(status, "application/json;charset=UTF-8", body.to_string())
    }

    /// A plain text.
    pub fn text(status: u16, body: &str) -> Reply {
        Reply::of(status, "text/plain; charset=utf-8", body.to_owned())
    }

    /// An HTML page.
    pub fn html(status: u16, body: &str) -> Reply {
        Reply::of(status, "text/html; charset=utf-8", body.to_owned())
    }

    /// The same with a header, in place of any it has of that name. What cannot stand in a header
    /// is left out.
    pub fn with_header(mut self, name: &str, value: impl ToString) -> Reply {
        let text: String = value.to_string().chars().filter(|c| !c.is_ascii_control()).collect();
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&text)) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The seconds its `Retry-After` tells, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        seconds.parse().ok().map(Duration::from_secs)
    }

    /// The body as JSON, for tests.
    pub fn body_json(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}
