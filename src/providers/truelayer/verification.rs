//! Whether a request is TrueLayer's: a detached JWS over the request line, listed headers and the body. In
//! come a request and the keys at hand, out comes a proof or the request for a key set. The header is
//! checked as it came, byte by byte, and a key set's URL that is not exactly TrueLayer's is never fetched.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use serde::Deserialize;

use crate::providers::{Call, Endpoint, KeyRequest, Keys, Verdict};
use crate::receipt::signature::fresh;
use crate::receipt::signature::jws::{Compact, Jwk, JwkSet, base64_url};
use crate::receipt::signature::public_key::{PublicKey, Scheme, signed_by};
use crate::receipt::{Proof, Receipt, Request, VerifyError};

use super::{JWKS, JWKS_URL, SIGNED_PATH, TOLERANCE, TOLERANCE_SECONDS};

pub(super) const HEADER: &str = "tl-signature";
pub(super) const TIMESTAMP_HEADER: &str = "x-tl-webhook-timestamp";
pub(super) const SANDBOX_KEYS: &str = "https://webhooks.truelayer-sandbox.com/.well-known/jwks";
pub(super) const PRODUCTION_KEYS: &str = "https://webhooks.truelayer.com/.well-known/jwks";
const KEYS_PATH: &str = "/.well-known/jwks";
const ALGORITHM: &str = "ES512";
const VERSION: &str = "2";
/// Twice the 66 bytes of a coordinate.
const SIGNATURE_BYTES: usize = 132;
const MAX_KEY_AGE: SignedDuration = SignedDuration::from_hours(24);
/// A key set that lacks a key is fetched again, if it is not as new as this.
const FRESH_KEY_AGE: SignedDuration = SignedDuration::from_mins(5);
/// How far TrueLayer's clock may be ahead.
const MAX_AHEAD_SECONDS: i64 = 300;
/// How much is shown of a key's id that nobody proved.
const MAX_SHOWN_CHARS: usize = 64;
const MAX_SIGNED_HEADERS: usize = 16;

/// The JOSE header. It says what is signed, and that is believed once the signature holds.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Header {
    alg: String,
    kid: String,
    tl_version: String,
    tl_headers: String,
    jku: String,
}

pub(super) fn verify(
    request: &Request,
    endpoint: &Endpoint,
    keys: &Keys,
    now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let malformed = || VerifyError::Malformed(HEADER);
    let token = Compact::parse(request.header(HEADER)?).ok_or_else(malformed)?;
    let header: Header = token.read_header().ok_or_else(malformed)?;
    let is_known = header.alg == ALGORITHM && header.tl_version == VERSION;
    if !is_known || !token.payload.is_empty() || token.signature.len() != SIGNATURE_BYTES {
        return Err(malformed());
    }
    let url = [PRODUCTION_KEYS, SANDBOX_KEYS].into_iter().find(|url| *url == header.jku);
    let url = url.ok_or_else(malformed)?;
    let names = signed_names(&header.tl_headers).ok_or_else(malformed)?;
    let signed_headers = signed_headers(request, &names)?;
    let sent_at: Timestamp = request
        .header(TIMESTAMP_HEADER)?
        .parse()
        .map_err(|_| VerifyError::Malformed(TIMESTAMP_HEADER))?;
    let tolerance = match sent_at > now {
        true => MAX_AHEAD_SECONDS,
        false => tolerance_seconds(endpoint).unwrap_or(TOLERANCE_SECONDS),
    };
    fresh(sent_at.as_second(), now, tolerance)?;
    let key = match key(endpoint, keys, url, &header.kid, now) {
        Found::Key(key) => PublicKey::from_jwk(&key),
        Found::Asked(request) => return Ok(Verdict::NeedsKey(request)),
        Found::Nothing => None,
    };
    let key =
        key.ok_or_else(|| VerifyError::NoKey(header.kid.chars().take(MAX_SHOWN_CHARS).collect()))?;
    signed(request, endpoint, &token, &signed_headers, (&header.kid, &key)).map(Verdict::Verified)
}

fn signed(
    request: &Request,
    endpoint: &Endpoint,
    token: &Compact<'_>,
    signed_headers: &str,
    (kid, key): (&str, &PublicKey),
) -> Result<Proof, VerifyError> {
    let mut result = Err(VerifyError::Mismatch(JWKS));
    for path in paths(endpoint) {
        let message = message(token.header, &path, signed_headers, &request.body);
        let (scheme, signature) = (Scheme::EcdsaP521, &token.signature);
        result = signed_by(JWKS, kid, key, scheme, message.as_bytes(), signature);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// What is signed: the header as it came, and the request.
pub(super) fn message(header: &str, path: &str, signed_headers: &str, body: &[u8]) -> String {
    let mut payload = format!("POST {path}\n{signed_headers}").into_bytes();
    payload.extend_from_slice(body);
    format!("{header}.{}", base64_url(&payload))
}

/// The headers that are signed, as the signature writes their names. The time of sending must be one.
fn signed_names(list: &str) -> Option<Vec<&str>> {
    let names: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let is_timed = names.iter().any(|name| name.eq_ignore_ascii_case(TIMESTAMP_HEADER));
    (is_timed && names.len() <= MAX_SIGNED_HEADERS).then_some(names)
}

/// `Name: value` by line, in the order of the signature's list.
fn signed_headers(request: &Request, names: &[&str]) -> Result<String, VerifyError> {
    let mut lines = String::new();
    for name in names {
        let mut values = request.headers.get_all(*name).iter();
        let value = values.next().ok_or(VerifyError::MissingHeader("tl_headers"))?;
        let value = value.to_str().map_err(|_| VerifyError::Malformed("tl_headers"))?;
        if values.next().is_some() {
            return Err(VerifyError::Malformed("tl_headers"));
        }
        lines.push_str(&format!("{name}: {value}\n"));
    }
    Ok(lines)
}

/// The path that TrueLayer calls, as it stands and with the slash at its end put or left out: TrueLayer
/// and the server before the gateway need not agree on it.
fn paths(endpoint: &Endpoint) -> [String; 2] {
    let path = endpoint.setting(SIGNED_PATH, &endpoint.path);
    let other = match path.strip_suffix('/') {
        Some(without) => without.to_owned(),
        None => format!("{path}/"),
    };
    [path.to_owned(), other]
}

enum Found {
    Key(Box<Jwk>),
    Asked(Box<KeyRequest>),
    Nothing,
}

fn key(endpoint: &Endpoint, keys: &Keys, url: &str, kid: &str, now: Timestamp) -> Found {
    if endpoint.secret(JWKS).is_some() {
        return configured_key(endpoint, url, kid)
            .map_or(Found::Nothing, |key| Found::Key(Box::new(key)));
    }
    let ask = |max_age| {
        let call = Call::get(match endpoint.settings.get(JWKS_URL) {
            Some(base) => format!("{}{KEYS_PATH}", base.trim_end_matches('/')),
            None => url.to_owned(),
        });
        Found::Asked(Box::new(KeyRequest { id: url.to_owned(), call, max_age }))
    };
    let Some(held) = keys.get(url) else { return ask(MAX_KEY_AGE) };
    let set: JwkSet = serde_json::from_slice(&held.body).unwrap_or_default();
    match set.find(kid) {
        Some(key) => Found::Key(Box::new(key.clone())),
        None if now.duration_since(held.fetched_at) > FRESH_KEY_AGE => ask(FRESH_KEY_AGE),
        None => Found::Nothing,
    }
}

pub(super) fn configured_key(endpoint: &Endpoint, url: &str, kid: &str) -> Option<Jwk> {
    let secrets = endpoint.candidates(JWKS).secrets.iter();
    let sets = secrets.filter_map(|secret| read_sets(secret.expose_secret()));
    let mut sets = sets.filter_map(|mut sets| sets.remove(url));
    sets.find_map(|set| set.find(kid).cloned())
}

fn read_sets(text: &str) -> Option<BTreeMap<String, JwkSet>> {
    serde_json::from_str(text).ok()
}

/// Whether what is configured could verify anything.
pub(super) fn are_key_sets(endpoint: &Endpoint) -> bool {
    endpoint.candidates(JWKS).secrets.iter().all(|secret| {
        let sets = read_sets(secret.expose_secret()).unwrap_or_default();
        let is_ours = |url: &String| url == PRODUCTION_KEYS || url == SANDBOX_KEYS;
        let usable = |set: &JwkSet| set.keys.iter().any(|key| PublicKey::from_jwk(key).is_some());
        !sets.is_empty() && sets.keys().all(is_ours) && sets.values().any(usable)
    })
}

/// `None` where the setting is no number.
pub(super) fn tolerance_seconds(endpoint: &Endpoint) -> Option<i64> {
    match endpoint.settings.get(TOLERANCE) {
        Some(text) => text.parse().ok(),
        None => Some(TOLERANCE_SECONDS),
    }
}

/// Whether a stored receipt was signed with a key of TrueLayer's sandbox.
pub(super) fn is_sandbox(receipt: &Receipt) -> bool {
    let token = receipt.header(HEADER).and_then(Compact::parse);
    let header: Option<Header> = token.and_then(|token| token.read_header());
    header.is_some_and(|header| header.jku == SANDBOX_KEYS)
}
