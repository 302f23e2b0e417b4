//! Whether a Security Event Token is the bank's: a compact JWS as the whole body, by PS256 and nothing else,
//! with a key of the configured set or of the set at `jwks_url`, from the configured issuer for the
//! configured audience. In come a request and the keys at hand, out comes a proof or the request for a key
//! set. The standard sets no limit on a token's age: its `jti` is what keeps it from counting twice.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;

use crate::providers::payload::Text;
use crate::providers::{Call, Endpoint, KeyRequest, Keys, Verdict};
use crate::receipt::signature::jws::{Compact, Jwk, JwkSet};
use crate::receipt::signature::public_key::{PublicKey, Scheme, signed_by};
use crate::receipt::{Request, VerifyError};

use super::notifications::Body;
use super::{AUDIENCE, ISSUER, JWKS, JWKS_URL};

const ALGORITHM: &str = "PS256";
const BODY: &str = "body";
const CONTENT_TYPE: &str = "content-type";
/// What a token is sent as: the UK standard's type and those of RFC 8417 and RFC 7515.
const CONTENT_TYPES: &[&str] = &["application/jwt", "application/secevent+jwt", "application/jose"];
const MAX_KEY_AGE: SignedDuration = SignedDuration::from_hours(24);
/// A key set that lacks a key is fetched again, if it is not as new as this.
const FRESH_KEY_AGE: SignedDuration = SignedDuration::from_mins(5);

#[derive(Deserialize, Default)]
#[serde(default)]
struct Header {
    alg: String,
    kid: String,
    /// What a verifier must understand; there is nothing that this one does (RFC 7515, 4.1.11).
    crit: Option<Vec<String>>,
}

/// What a token says.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Claims<'a> {
    #[serde(borrow)]
    pub(super) iss: Text<'a>,
    #[serde(borrow)]
    pub(super) jti: Text<'a>,
    aud: Audience,
    pub(super) iat: Option<i64>,
    /// When it happened.
    pub(super) toe: Option<i64>,
    #[serde(borrow)]
    pub(super) events: BTreeMap<String, Body<'a>>,
}

/// One name or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Default for Audience {
    fn default() -> Audience {
        Audience::Many(Vec::new())
    }
}

pub(super) fn verify(
    request: &Request,
    endpoint: &Endpoint,
    keys: &Keys,
    now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let malformed = || VerifyError::Malformed(BODY);
    let content_type = request.header(CONTENT_TYPE)?.split(';').next().unwrap_or_default().trim();
    if !CONTENT_TYPES.iter().any(|known| content_type.eq_ignore_ascii_case(known)) {
        return Err(VerifyError::Malformed(CONTENT_TYPE));
    }
    let token = token(&request.body).ok_or_else(malformed)?;
    let header: Header = token.read_header().ok_or_else(malformed)?;
    if header.alg != ALGORITHM || header.crit.is_some() {
        return Err(malformed());
    }
    let key = match key(endpoint, keys, &header.kid, now)? {
        Found::Key(key) => key,
        Found::Asked(request) => return Ok(Verdict::NeedsKey(request)),
    };
    let is_for_signing = key.purpose.is_empty() || key.purpose == "sig";
    let key = PublicKey::from_jwk(&key)
        .filter(|_| is_for_signing)
        .ok_or_else(|| VerifyError::NoKey(header.kid.clone()))?;
    let message = token.signing_input.as_bytes();
    let (scheme, signature) = (Scheme::RsaPssSha256, &token.signature);
    let proof = signed_by(JWKS, &header.kid, &key, scheme, message, signature)?;
    let bytes = token.payload_bytes().ok_or_else(malformed)?;
    let claims: Claims<'_> = serde_json::from_slice(&bytes).map_err(|_| malformed())?;
    if claims.jti.is_empty() {
        return Err(malformed());
    }
    is_one_of(endpoint, ISSUER, std::slice::from_ref(&claims.iss.to_string()))?;
    match &claims.aud {
        Audience::One(name) => is_one_of(endpoint, AUDIENCE, std::slice::from_ref(name))?,
        Audience::Many(names) => is_one_of(endpoint, AUDIENCE, names)?,
    }
    Ok(Verdict::Verified(proof))
}

/// The token that a body is.
pub(super) fn token(body: &[u8]) -> Option<Compact<'_>> {
    Compact::parse(std::str::from_utf8(body).ok()?.trim_ascii())
}

fn is_one_of(endpoint: &Endpoint, name: &'static str, given: &[String]) -> Result<(), VerifyError> {
    let configured = endpoint.candidates(name).secrets;
    if configured.is_empty() {
        return Err(VerifyError::NotConfigured(name));
    }
    let known = |given: &String| configured.iter().any(|secret| secret.expose_secret() == given);
    match given.iter().any(known) {
        true => Ok(()),
        false => Err(VerifyError::Mismatch(name)),
    }
}

enum Found {
    Key(Box<Jwk>),
    Asked(Box<KeyRequest>),
}

fn key(endpoint: &Endpoint, keys: &Keys, kid: &str, now: Timestamp) -> Result<Found, VerifyError> {
    let missing = || VerifyError::NoKey(kid.chars().take(64).collect());
    if endpoint.secret(JWKS).is_some() {
        return configured_key(endpoint, kid).map(Box::new).map(Found::Key).ok_or_else(missing);
    }
    let url = endpoint.settings.get(JWKS_URL).ok_or(VerifyError::NotConfigured(JWKS))?;
    let ask = |max_age| {
        let call = Call::get(url.clone());
        Found::Asked(Box::new(KeyRequest { id: url.clone(), call, max_age }))
    };
    let Some(held) = keys.get(url) else { return Ok(ask(MAX_KEY_AGE)) };
    let set: JwkSet = serde_json::from_slice(&held.body).unwrap_or_default();
    match set.find(kid) {
        Some(key) => Ok(Found::Key(Box::new(key.clone()))),
        None if now.duration_since(held.fetched_at) > FRESH_KEY_AGE => Ok(ask(FRESH_KEY_AGE)),
        None => Err(missing()),
    }
}

pub(super) fn configured_key(endpoint: &Endpoint, kid: &str) -> Option<Jwk> {
    let secrets = endpoint.candidates(JWKS).secrets.iter();
    let mut sets = secrets.filter_map(|secret| read_set(secret.expose_secret()));
    sets.find_map(|set| set.find(kid).cloned())
}

/// A key set, or the list in it.
fn read_set(text: &str) -> Option<JwkSet> {
    let value: Value = serde_json::from_str(text).ok()?;
    match value {
        list @ Value::Array(_) => serde_json::from_value(list).ok().map(|keys| JwkSet { keys }),
        set => serde_json::from_value(set).ok(),
    }
}

/// Whether what is configured could verify anything.
pub(super) fn are_keys(endpoint: &Endpoint) -> bool {
    endpoint.candidates(JWKS).secrets.iter().all(|secret| {
        let set = read_set(secret.expose_secret()).unwrap_or_default();
        set.keys.iter().any(|key| matches!(PublicKey::from_jwk(key), Some(PublicKey::Rsa { .. })))
    })
}
