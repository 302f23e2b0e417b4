//! The last refused requests of an endpoint, in memory alone and only where the configuration asks for it,
//! so that `doctor` can say why they were refused. Nothing of them is stored or becomes an event. What is
//! shown of one has its credentials replaced by digests, as a receipt has.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;

use super::{Endpoints, Registered};
use crate::providers::Endpoint;
use crate::providers::diagnosis::{Case, diagnose};
use crate::receipt::{Redacted, Request};

pub use crate::providers::diagnosis::{Diagnosis, Finding};

/// How many requests of an endpoint are kept.
const MAX_KEPT: usize = 20;
/// How many bytes of bodies of an endpoint are kept. A larger body is left out.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

/// The last refused requests, newest last.
#[derive(Default)]
pub struct Ring {
    requests: Mutex<VecDeque<Arc<Refused>>>,
}

/// A request that was refused.
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// Whether its body was too large to be kept.
    pub body_left_out: bool,
    request: Request,
}

impl Ring {
    /// Keeps a request, and forgets the oldest ones beyond the bounds.
    pub fn keep(&self, at: Timestamp, reason: String, mut request: Request) {
        let body_left_out = request.body.len() > MAX_KEPT_BYTES;
        if body_left_out {
            request.body = Bytes::new();
        }
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push_back(Arc::new(Refused { at, reason, body_left_out, request }));
        let bytes = |requests: &VecDeque<Arc<Refused>>| {
            requests.iter().map(|refused| refused.request.body.len()).sum::<usize>()
        };
        while requests.len() > MAX_KEPT || bytes(&requests) > MAX_KEPT_BYTES {
            requests.pop_front();
        }
    }

    /// All that are kept, newest first.
    pub fn all(&self) -> Vec<Arc<Refused>> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().rev().cloned().collect()
    }
}

impl Refused {
    /// The request, its credentials replaced by digests.
    pub fn redacted(&self, registered: &Registered) -> Redacted {
        Redacted::of(&self.request, registered.provider.redaction)
    }

    /// Why it does not verify, by what was received and by the endpoints that are configured now. It takes
    /// a moment.
    pub fn diagnose(&self, registered: &Registered, endpoints: &Endpoints) -> Diagnosis {
        let all = endpoints.all();
        let others: Vec<Endpoint> = all
            .iter()
            .map(|other| &other.endpoint)
            .filter(|other| other.name.provider() == registered.provider.name)
            .filter(|other| other.name != registered.endpoint.name)
            .cloned()
            .collect();
        diagnose(Case {
            provider: registered.provider,
            endpoint: &registered.endpoint,
            others: &others,
            request: &self.request,
            now: self.at,
            key: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_within_bounds() {
        let ring = Ring::default();
        let request = |bytes: usize| Request {
            method: http::Method::POST,
            path: "/".to_owned(),
            headers: http::HeaderMap::new(),
            body: Bytes::from(vec![0; bytes]),
        };
        for second in 0..30 {
            let at = Timestamp::from_second(second).expect("a time");
            ring.keep(at, second.to_string(), request(10));
        }
        let all = ring.all();
        assert_eq!((all.len(), all[0].reason.as_str()), (MAX_KEPT, "29"));
        ring.keep(Timestamp::UNIX_EPOCH, "huge".to_owned(), request(MAX_KEPT_BYTES + 1));
        assert!(ring.all()[0].body_left_out);
        ring.keep(Timestamp::UNIX_EPOCH, "large".to_owned(), request(MAX_KEPT_BYTES));
        assert!(
            ring.all().iter().map(|one| one.request.body.len()).sum::<usize>() <= MAX_KEPT_BYTES
        );
    }
}
