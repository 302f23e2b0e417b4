//! The token that monday.com sends with a webhook: a request comes in, out goes the proof that a token of
//! the app's came with it, for this endpoint and not ended yet. Its claims are read only once its
//! signature holds.

use jiff::Timestamp;
use serde::Deserialize;

use crate::providers::Endpoint;
use crate::receipt::signature::hmac_sha256;
use crate::receipt::signature::jws::{Compact, Header};
use crate::receipt::{Proof, Request, VerifyError};

use super::{AUDIENCE, AUTHORIZATION, REQUIRE_AUDIENCE, SIGNING_SECRET};

pub(super) const ALGORITHM: &str = "HS256";
const SIGNATURE_BYTES: usize = 32;

#[derive(Deserialize)]
struct Claims {
    /// In seconds; a token without an end is refused.
    exp: serde_json::Number,
    #[serde(default)]
    aud: Option<Audience>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

pub(super) fn verify(
    request: &Request,
    endpoint: &Endpoint,
    now: Timestamp,
) -> Result<Proof, VerifyError> {
    let malformed = VerifyError::Malformed(AUTHORIZATION);
    let token = Compact::parse(request.header(AUTHORIZATION)?).ok_or(malformed.clone())?;
    let header: Header = token.read_header().ok_or(malformed.clone())?;
    if header.alg != ALGORITHM || token.signature.len() != SIGNATURE_BYTES {
        return Err(malformed);
    }
    let signed: [&[u8]; 1] = [token.signing_input.as_bytes()];
    let signatures = [token.signature.clone()];
    let proof = hmac_sha256(endpoint.candidates(SIGNING_SECRET), &signed, &signatures)?;
    let payload = token.payload_bytes().ok_or(malformed.clone())?;
    let claims: Claims = serde_json::from_slice(&payload).map_err(|_| malformed.clone())?;
    check_end(&claims.exp, now)?;
    let is_required = endpoint.setting(REQUIRE_AUDIENCE, "true") != "false";
    match is_required && !names(claims.aud.as_ref(), &audiences(endpoint, &request.path)) {
        true => Err(malformed),
        false => Ok(proof),
    }
}

fn check_end(exp: &serde_json::Number, now: Timestamp) -> Result<(), VerifyError> {
    // A fraction of a second is left out, which never makes a token live longer.
    let whole = exp.to_string();
    let whole = whole.split('.').next().unwrap_or_default();
    let exp: i64 = whole.parse().map_err(|_| VerifyError::Malformed(AUTHORIZATION))?;
    let age_seconds = now.as_second().saturating_sub(exp);
    match age_seconds < 0 {
        true => Ok(()),
        false => Err(VerifyError::Stale { age_seconds, tolerance_seconds: 0 }),
    }
}

/// What a token may be meant for: as configured, else the endpoint's URL, with its query or without.
fn audiences(endpoint: &Endpoint, path: &str) -> Vec<String> {
    let configured = endpoint.setting(AUDIENCE, "").trim();
    if !configured.is_empty() {
        return vec![configured.to_owned()];
    }
    let mut audiences = vec![endpoint.url.clone()];
    if let Some((_, query)) = path.split_once('?') {
        audiences.push(format!("{}?{query}", endpoint.url));
    }
    audiences
}

fn names(audience: Option<&Audience>, ours: &[String]) -> bool {
    match audience {
        Some(Audience::One(one)) => ours.contains(one),
        Some(Audience::Several(all)) => all.iter().any(|one| ours.contains(one)),
        None => false,
    }
}
