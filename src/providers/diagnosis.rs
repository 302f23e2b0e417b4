//! Why a request does not verify: tries what is known to go wrong (another endpoint's secret, a secret that
//! was copied with a blank, a URL behind a proxy, a body that was written anew, a clock) over a provider's
//! own `verify`, and says with which change it would have verified. In come a request and endpoints, out come
//! findings in words. It accepts nothing: a proof that it finds is dropped. No finding holds a secret.

mod body;
mod header;
mod secret;
mod url;

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use super::calls::Key;
use super::{Endpoint, Keys, Provider, Verdict};
use crate::receipt::{Request, VerifyError};

/// How many findings are told.
const MAX_FINDINGS: usize = 5;
/// How often `verify` is asked at most, and over how many bytes of bodies.
const MAX_ATTEMPTS: usize = 6_000;
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// What is to be explained.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The provider.
    pub provider: &'a Provider,
    /// The endpoint that it should verify at.
    pub endpoint: &'a Endpoint,
    /// The other endpoints of the provider.
    pub others: &'a [Endpoint],
    /// The request.
    pub request: &'a Request,
    /// When it came, or now.
    pub now: Timestamp,
    /// The key of the provider's that the request may name, as its API answered.
    pub key: Option<&'a Bytes>,
}

/// What was found.
#[derive(Debug)]
pub enum Diagnosis {
    /// It verifies as it is; by which secret.
    Verified(String),
    /// It would verify with each of these changes.
    Explained(Vec<Finding>),
    /// It cannot be told without this key, which is fetched from the provider.
    NeedsKey(String),
    /// Nothing that is known to go wrong explains it.
    Unexplained {
        /// Why it does not verify.
        reason: String,
        /// How many changes were tried.
        attempts: usize,
    },
}

/// One change with which the request verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub cause: Cause,
    /// With what change it verified.
    pub found: String,
    /// What to do.
    pub advice: String,
}

/// What may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The time at which it was signed.
    Clock,
    /// A secret.
    Secret,
    /// The URL that was signed.
    Url,
    /// The body.
    Body,
    /// A header.
    Header,
}

impl Cause {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Clock => "clock",
            Cause::Secret => "secret",
            Cause::Url => "url",
            Cause::Body => "body",
            Cause::Header => "header",
        }
    }
}

/// One thing that could be otherwise.
struct Change {
    cause: Cause,
    found: String,
    advice: String,
    edit: Edit,
}

enum Edit {
    /// All secrets are these.
    Secrets(BTreeMap<String, Vec<SecretString>>),
    /// One secret has this value.
    Secret(String, String),
    /// One setting has this value.
    Setting(String, String),
    /// The endpoint is known by this URL.
    Url(String),
    /// The request came to this path.
    Path(String),
    /// The request has this body.
    Body(Bytes),
    /// The request has these headers.
    Headers(Box<HeaderMap>),
}

/// An attempt that verified.
struct Proved {
    by: String,
    /// How old the signature is, where that alone was wrong too.
    age_seconds: Option<i64>,
}

/// Counts what was tried.
struct Trials<'a> {
    case: Case<'a>,
    attempts: usize,
}

/// Says why a request does not verify, or by what it does.
pub fn diagnose(case: Case<'_>) -> Diagnosis {
    let mut trials = Trials { case, attempts: 0 };
    let reason = match trials.verify(&[]) {
        Ok(Proved { by, age_seconds: None }) => return Diagnosis::Verified(by),
        Ok(Proved { age_seconds: Some(age), .. }) => {
            return Diagnosis::Explained(vec![clock_finding(age)]);
        }
        Err(VerifyError::NoKey(id)) => return Diagnosis::NeedsKey(id),
        Err(reason) => reason,
    };
    let changes = changes(&case);
    let mut findings = singles(&mut trials, &changes);
    if findings.is_empty() {
        findings = pairs(&mut trials, &changes);
    }
    match findings.is_empty() {
        true => Diagnosis::Unexplained { reason: reason.to_string(), attempts: trials.attempts },
        false => Diagnosis::Explained(findings),
    }
}

/// Everything that is tried, the likeliest first.
fn changes(case: &Case<'_>) -> Vec<Change> {
    let mut changes = secret::changes(case);
    changes.extend(url::changes(case));
    changes.extend(header::changes(case.request));
    changes.extend(body::changes(&case.request.body));
    changes
}

fn singles(trials: &mut Trials<'_>, changes: &[Change]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut causes = Vec::new();
    for change in changes {
        // One way to change a body or URL that fits is enough; the others say the same.
        if causes.contains(&change.cause) && change.cause != Cause::Secret {
            continue;
        }
        if let Some(proved) = trials.prove(&[change]) {
            causes.push(change.cause);
            push(&mut findings, change);
            findings.extend(proved.age_seconds.map(clock_finding));
        }
        if findings.len() >= MAX_FINDINGS || trials.spent() {
            break;
        }
    }
    findings.dedup();
    findings
}

/// Two things at once, of different kinds.
fn pairs(trials: &mut Trials<'_>, changes: &[Change]) -> Vec<Finding> {
    for (at, first) in changes.iter().enumerate() {
        if first.cause == Cause::Body {
            continue;
        }
        for second in changes.iter().skip(at + 1).filter(|other| other.cause != first.cause) {
            if trials.spent() {
                return Vec::new();
            }
            if let Some(proved) = trials.prove(&[first, second]) {
                let mut findings = Vec::new();
                push(&mut findings, first);
                push(&mut findings, second);
                findings.extend(proved.age_seconds.map(clock_finding));
                return findings;
            }
        }
    }
    Vec::new()
}

fn push(findings: &mut Vec<Finding>, change: &Change) {
    let Change { cause, found, advice, .. } = change;
    findings.push(Finding { cause: *cause, found: found.clone(), advice: advice.clone() });
}

fn clock_finding(age_seconds: i64) -> Finding {
    let (distance, side) = match age_seconds {
        age if age < 0 => (age.saturating_neg(), "after"),
        age => (age, "before"),
    };
    Finding {
        cause: Cause::Clock,
        found: format!("it was signed {distance} s {side} the time it is held against"),
        advice: "for a request that was captured earlier this is as it must be; for one that just came, \
                 set the clock of this machine, or find out what held the request up"
            .to_owned(),
    }
}

impl Trials<'_> {
    fn spent(&self) -> bool {
        let bytes = self.attempts.saturating_mul(self.case.request.body.len().max(1));
        self.attempts >= MAX_ATTEMPTS || bytes >= MAX_BYTES
    }

    /// As `verify`, with changes; a challenge proves nothing.
    fn prove(&mut self, changes: &[&Change]) -> Option<Proved> {
        self.verify(changes).ok().filter(|proved| proved.by != CHALLENGE)
    }

    /// Asks the provider. Where only the time is wrong, asks again as of the time of the signature.
    fn verify(&mut self, changes: &[&Change]) -> Result<Proved, VerifyError> {
        let mut endpoint = self.case.endpoint.clone();
        let mut request = self.case.request.clone();
        for change in changes {
            change.edit.apply(&mut endpoint, &mut request);
        }
        let now = self.case.now;
        match self.ask(&request, &endpoint, now) {
            Ok(by) => Ok(Proved { by, age_seconds: None }),
            Err(VerifyError::Stale { age_seconds, tolerance_seconds }) => {
                let stale = VerifyError::Stale { age_seconds, tolerance_seconds };
                let signed_at = now.checked_sub(SignedDuration::from_secs(age_seconds));
                let by = self.ask(&request, &endpoint, signed_at.map_err(|_| stale)?)?;
                Ok(Proved { by, age_seconds: Some(age_seconds) })
            }
            Err(error) => Err(error),
        }
    }

    fn ask(
        &mut self,
        request: &Request,
        endpoint: &Endpoint,
        now: Timestamp,
    ) -> Result<String, VerifyError> {
        self.attempts += 1;
        let verify = self.case.provider.verify;
        let mut verdict = verify(request, endpoint, &Keys::default(), now)?;
        if let (Verdict::NeedsKey(needed), Some(body)) = (&verdict, self.case.key) {
            let key = Key { body: body.clone(), fetched_at: now };
            verdict =
                verify(request, endpoint, &Keys::new([(needed.id.clone(), key)].into()), now)?;
        }
        match verdict {
            Verdict::Verified(proof) | Verdict::NeedsConfirmation(proof) => {
                Ok(proof.verified_by().to_owned())
            }
            Verdict::Challenge(_) => Ok(CHALLENGE.to_owned()),
            Verdict::NeedsKey(needed) => Err(VerifyError::NoKey(needed.id)),
        }
    }
}

/// What verified a request that only asks whether somebody is there.
const CHALLENGE: &str = "nothing: it is a challenge and is answered";

impl Edit {
    fn apply(&self, endpoint: &mut Endpoint, request: &mut Request) {
        match self {
            Edit::Secrets(secrets) => endpoint.secrets.clone_from(secrets),
            Edit::Secret(name, value) => {
                endpoint.secrets.insert(name.clone(), vec![SecretString::from(value.as_str())]);
            }
            Edit::Setting(name, value) => {
                endpoint.settings.insert(name.clone(), value.clone());
            }
            Edit::Url(url) => endpoint.url.clone_from(url),
            Edit::Path(path) => request.path.clone_from(path),
            Edit::Body(body) => request.body = body.clone(),
            Edit::Headers(headers) => request.headers = (**headers).clone(),
        }
    }
}

#[cfg(test)]
mod tests;
