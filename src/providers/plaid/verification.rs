//! Whether a request is Plaid's: a JWT in its header, the key that it names, and the digest of the body
//! that it holds. In come a request and the keys at hand, out comes a proof or the request for a key. A key
//! that Plaid retired verifies nothing, whether it was fetched or configured.

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::providers::{Endpoint, KeyRequest, Keys, Verdict};
use crate::receipt::signature::fresh;
use crate::receipt::signature::jws::{self, Compact, Jwk, JwkSet};
use crate::receipt::signature::public_key::{PublicKey, Scheme, signed_by};
use crate::receipt::{Receipt, Request, VerifyError};

use super::{API_URL, CLIENT_ID, HEADER, JWKS, PRODUCTION, call};

const ALGORITHM: &str = "ES256";
pub(super) const BODY_DIGEST: &str = "request_body_sha256";
const TOLERANCE_SECONDS: i64 = 300;
/// A fetched key is looked at again, since Plaid may have retired it.
const MAX_KEY_AGE: SignedDuration = SignedDuration::from_hours(6);
const MAX_KEY_ID_BYTES: usize = 128;

/// What the JWT says.
#[derive(Deserialize)]
struct Claims {
    iat: i64,
    request_body_sha256: String,
}

pub(super) fn verify(
    request: &Request,
    endpoint: &Endpoint,
    keys: &Keys,
    now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let malformed = || VerifyError::Malformed(HEADER);
    let token = Compact::parse(request.header(HEADER)?).ok_or_else(malformed)?;
    let header: jws::Header = token.read_header().ok_or_else(malformed)?;
    if header.alg != ALGORITHM || !is_key_id(&header.kid) {
        return Err(malformed());
    }
    // Time and digest prove nothing before the signature does, yet spare a call for a key on noise.
    let claims = read_claims(&token).ok_or_else(malformed)?;
    fresh(claims.iat, now, TOLERANCE_SECONDS)?;
    let digest = hex::encode(Sha256::digest(&request.body));
    if !bool::from(digest.as_bytes().ct_eq(claims.request_body_sha256.as_bytes())) {
        return Err(VerifyError::Mismatch(BODY_DIGEST));
    }
    let key = match endpoint.secret(JWKS) {
        Some(_) => configured_key(endpoint, &header.kid),
        None => match keys.get(&key_id(endpoint, &header.kid)) {
            Some(key) => serde_json::from_slice(&key.body).ok().map(|body: KeyBody| body.key),
            None => return key_request(endpoint, &header.kid),
        },
    };
    let key = key
        .filter(|key| key.kid == header.kid && key.expired_at.is_none())
        .filter(|key| key.purpose.is_empty() || key.purpose == "sig")
        .and_then(|key| PublicKey::from_jwk(&key))
        .ok_or_else(|| VerifyError::NoKey(header.kid.clone()))?;
    let message = token.signing_input.as_bytes();
    signed_by(JWKS, &header.kid, &key, Scheme::EcdsaP256, message, &token.signature)
        .map(Verdict::Verified)
}

fn read_claims(token: &Compact<'_>) -> Option<Claims> {
    serde_json::from_slice(&token.payload_bytes()?).ok()
}

fn is_key_id(kid: &str) -> bool {
    !kid.is_empty()
        && kid.len() <= MAX_KEY_ID_BYTES
        && kid.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A list of keys, or a key set.
pub(super) fn read_keys(text: &str) -> Option<Vec<Jwk>> {
    let list = serde_json::from_str::<Vec<Jwk>>(text);
    list.or_else(|_| serde_json::from_str::<JwkSet>(text).map(|set| set.keys)).ok()
}

pub(super) fn configured_key(endpoint: &Endpoint, kid: &str) -> Option<Jwk> {
    let secrets = endpoint.candidates(JWKS).secrets.iter();
    let keys = secrets.filter_map(|secret| read_keys(secret.expose_secret())).flatten();
    keys.into_iter().find(|key| key.kid == kid)
}

/// The answer that holds a key.
#[derive(Deserialize)]
struct KeyBody {
    key: Jwk,
}

fn key_id(endpoint: &Endpoint, kid: &str) -> String {
    format!("{} {kid}", endpoint.setting(API_URL, PRODUCTION))
}

fn key_request(endpoint: &Endpoint, kid: &str) -> Result<Verdict, VerifyError> {
    let call = call(endpoint, "/webhook_verification_key/get", json!({ "key_id": kid }))
        .ok_or(VerifyError::NotConfigured(CLIENT_ID))?;
    let request = KeyRequest { id: key_id(endpoint, kid), call, max_age: MAX_KEY_AGE };
    Ok(Verdict::NeedsKey(Box::new(request)))
}

/// When a stored receipt was signed; `None` where its header is no JWT.
pub(super) fn signed_at(receipt: &Receipt) -> Option<Timestamp> {
    let claims = read_claims(&Compact::parse(receipt.header(HEADER)?)?)?;
    Timestamp::from_second(claims.iat).ok()
}
