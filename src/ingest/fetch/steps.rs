//! One fetch from its first call to its end: the provider module says which call comes next, this makes it
//! and hands back the answers. In comes a fetch and where the last one of its object ended; out come
//! drafts, a denial, or a failure. It commits nothing.

use std::collections::HashMap;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::Failure;
use super::outgoing::Purpose;
use crate::ingest::{Ingest, Registered};
use crate::model::Draft;
use crate::providers::{Answer, Auth, Call, Fetch, Fetching, Step};
use std::sync::Arc;

/// How many calls one fetch may make, and how much they may answer in all.
const MAX_CALLS: usize = 100;
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// A fetch to be carried out.
pub struct Walk<'a> {
    /// The endpoint.
    pub registered: &'a Arc<Registered>,
    /// The fetch.
    pub fetch: &'a Fetch,
    /// When what asked for it was received.
    pub received_at: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// Where the last fetch of this object ended.
    pub cursor: &'a str,
}

/// How a fetch ended.
pub enum Reached {
    /// With these facts.
    Done {
        /// The facts.
        drafts: Vec<Draft>,
        /// Where the next one goes on.
        cursor: Option<String>,
        /// The first call.
        first: Option<Call>,
        /// What was answered.
        answers: Vec<Answer>,
    },
    /// The provider does not know of it.
    Denied,
}

/// Answers that the fetches of one group share, by call and by how often it was made before.
#[derive(Default)]
pub struct Memo(HashMap<([u8; 32], usize), Answer>);

/// Walks a fetch to its end.
pub async fn walk(ingest: &Ingest, walk: Walk<'_>, memo: &mut Memo) -> Result<Reached, Failure> {
    let mut answers: Vec<Answer> = Vec::new();
    let mut made: HashMap<[u8; 32], usize> = HashMap::new();
    let mut first: Option<Call> = None;
    let mut last = String::new();
    let mut bytes = 0_usize;
    loop {
        let fetching = Fetching {
            endpoint: &walk.registered.endpoint,
            fetch: walk.fetch,
            received_at: walk.received_at,
            now: walk.now,
            cursor: walk.cursor,
            answers: &answers,
        };
        let step = (walk.registered.provider.fetch)(&fetching);
        let call = match step.map_err(|error| Failure::again(format!("{last}: {error}")))? {
            Step::Call(call) => call,
            Step::Done { drafts, cursor } => {
                return Ok(Reached::Done { drafts, cursor, first, answers });
            }
            Step::Denied => return Ok(Reached::Denied),
            Step::Later(reason) => return Err(Failure::again(reason)),
        };
        last = format!("{call:?}");
        if answers.len() >= MAX_CALLS || bytes > MAX_ANSWER_BYTES {
            return Err(Failure::again(format!("{last}: the fetch takes too many calls")));
        }
        let digest = digest(&call);
        let times = made.entry(digest).or_default();
        let answer = match memo.0.get(&(digest, *times)) {
            Some(answer) => answer.clone(),
            None => {
                let answer =
                    ingest.outgoing.call(ingest, walk.registered, &call, Purpose::Facts).await?;
                memo.0.insert((digest, *times), answer.clone());
                answer
            }
        };
        *times += 1;
        bytes = bytes.saturating_add(answer.body.len());
        answers.push(answer);
        first.get_or_insert(call);
    }
}

/// What tells calls apart.
fn digest(call: &Call) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    part(call.method.as_str().as_bytes());
    part(call.url.as_bytes());
    part(&call.body);
    for (name, value) in &call.headers {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    match &call.auth {
        Auth::None => {}
        Auth::OAuth(oauth) => part(oauth.token_url.as_bytes()),
    }
    hasher.finalize().into()
}
