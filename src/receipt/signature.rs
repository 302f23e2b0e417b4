//! The checks that prove a request authentic: keyed digests, signatures by a provider's key, basic auth and
//! shared tokens, compared in constant time, and timestamp tolerance. Only this module, with its children,
//! can make a `Proof`.

pub mod certificate;
pub mod jws;
pub mod public_key;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

/// That a request is authentic, and which secret showed it.
#[derive(Debug)]
#[must_use = "a proof is what turns a request into a receipt"]
pub struct Proof {
    verified_by: String,
}

/// Why a request is not authentic. The text never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A header that carries the signature is missing.
    #[error("header `{0}` is missing")]
    MissingHeader(&'static str),
    /// The signature, or what carries it, cannot be read.
    #[error("`{0}` cannot be read")]
    Malformed(&'static str),
    /// The signed time is too far from now.
    #[error("signed {age_seconds} s ago, which is outside the tolerance of {tolerance_seconds} s")]
    Stale {
        /// How old it is; negative in the future.
        age_seconds: i64,
        /// What is allowed.
        tolerance_seconds: i64,
    },
    /// No secret of the endpoint gives this signature.
    #[error("no configured `{0}` matches")]
    Mismatch(&'static str),
    /// The endpoint has no such secret, so nothing can be verified.
    #[error("the endpoint has no secret `{0}`")]
    NotConfigured(&'static str),
    /// The key that it names is not at hand, or there is no such key.
    #[error("there is no key `{0}`")]
    NoKey(String),
}

/// The secrets of one name at one endpoint, any of which may match.
#[derive(Clone, Copy)]
pub struct Candidates<'a> {
    /// The name of the endpoint's secret.
    pub name: &'static str,
    /// Its values, newest first.
    pub secrets: &'a [SecretString],
}

impl Proof {
    /// Which secret: `webhook_secret[0]`.
    pub fn verified_by(&self) -> &str {
        &self.verified_by
    }
}

impl Candidates<'_> {
    fn first_match(&self, matches: impl Fn(&str) -> bool) -> Result<Proof, VerifyError> {
        // A blank secret would be a key that everybody knows.
        let usable = |secret: &SecretString| !secret.expose_secret().trim().is_empty();
        if !self.secrets.iter().any(usable) {
            return Err(VerifyError::NotConfigured(self.name));
        }
        self.secrets
            .iter()
            .position(|secret| usable(secret) && matches(secret.expose_secret()))
            .map(|index| Proof { verified_by: format!("{}[{index}]", self.name) })
            .ok_or(VerifyError::Mismatch(self.name))
    }
}

/// HMAC-SHA256 of `parts` in a row, keyed with the secret's text. Any of `signatures` may match.
pub fn hmac_sha256(
    candidates: Candidates<'_>,
    parts: &[&[u8]],
    signatures: &[Vec<u8>],
) -> Result<Proof, VerifyError> {
    candidates.first_match(|secret| matches_any(secret.as_bytes(), parts, signatures))
}

/// As `hmac_sha256`, keyed with the bytes that the secret's hex text stands for.
pub fn hmac_sha256_hex_key(
    candidates: Candidates<'_>,
    parts: &[&[u8]],
    signatures: &[Vec<u8>],
) -> Result<Proof, VerifyError> {
    candidates.first_match(|secret| {
        hex::decode(secret.trim()).is_ok_and(|key| matches_any(&key, parts, signatures))
    })
}

/// The digest of an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// As `hmac_sha256`, with any digest and the key that `key_of` makes of the secret's text.
pub fn hmac(
    digest: Digest,
    candidates: Candidates<'_>,
    key_of: impl Fn(&str) -> Option<Vec<u8>>,
    parts: &[&[u8]],
    signatures: &[Vec<u8>],
) -> Result<Proof, VerifyError> {
    candidates.first_match(|secret| {
        let Some(key) = key_of(secret).filter(|key| !key.is_empty()) else { return false };
        match digest {
            Digest::Sha1 => verifies(keyed::<Hmac<Sha1>>(&key, parts), signatures),
            Digest::Sha256 => verifies(mac_of(&key, parts), signatures),
            Digest::Sha512 => verifies(keyed::<Hmac<Sha512>>(&key, parts), signatures),
        }
    })
}

/// The HMAC of `parts` in a row with any digest; for making signed samples.
pub fn sign_hmac(digest: Digest, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    match digest {
        Digest::Sha1 => keyed::<Hmac<Sha1>>(key, parts).finalize().into_bytes().to_vec(),
        Digest::Sha256 => sign_hmac_sha256(key, parts),
        Digest::Sha512 => keyed::<Hmac<Sha512>>(key, parts).finalize().into_bytes().to_vec(),
    }
}

/// A secret that the request itself carries: in its URL, a header or its body.
pub fn shared_token(candidates: Candidates<'_>, given: &str) -> Result<Proof, VerifyError> {
    candidates.first_match(|secret| secret.as_bytes().ct_eq(given.as_bytes()).into())
}

/// A request that nothing proves: what it says becomes no event until the provider's API confirms it.
pub fn unconfirmed() -> Proof {
    Proof { verified_by: "unconfirmed".to_owned() }
}

/// What a provider's API itself answered, over TLS, at this host.
pub fn fetched(host: &str) -> Proof {
    Proof { verified_by: format!("fetched from {host}") }
}

/// HTTP Basic credentials, compared as a whole.
pub fn basic_auth(
    user: Candidates<'_>,
    password: Candidates<'_>,
    headers: &HeaderMap,
) -> Result<Proof, VerifyError> {
    const HEADER: &str = "authorization";
    let value = headers.get(HEADER).ok_or(VerifyError::MissingHeader(HEADER))?;
    let text = value.to_str().map_err(|_| VerifyError::Malformed(HEADER))?;
    let (scheme, credentials) = text.split_once(' ').ok_or(VerifyError::Malformed(HEADER))?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(VerifyError::Malformed(HEADER));
    }
    let given = BASE64.decode(credentials.trim()).map_err(|_| VerifyError::Malformed(HEADER))?;
    password.first_match(|password| {
        user.secrets.iter().any(|user| {
            let expected = format!("{}:{password}", user.expose_secret());
            bool::from(expected.as_bytes().ct_eq(&given))
        })
    })
}

/// Refuses a signed time more than `tolerance_seconds` before or after now.
pub fn fresh(signed_at: i64, now: Timestamp, tolerance_seconds: i64) -> Result<(), VerifyError> {
    let age_seconds = now.as_second().saturating_sub(signed_at);
    if age_seconds.checked_abs().is_none_or(|distance| distance > tolerance_seconds) {
        return Err(VerifyError::Stale { age_seconds, tolerance_seconds });
    }
    Ok(())
}

/// The HMAC-SHA256 of `parts` in a row; for making signed samples.
pub fn sign_hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    mac_of(key, parts).finalize().into_bytes().to_vec()
}

fn matches_any(key: &[u8], parts: &[&[u8]], signatures: &[Vec<u8>]) -> bool {
    verifies(mac_of(key, parts), signatures)
}

fn verifies(mac: impl Mac + Clone, signatures: &[Vec<u8>]) -> bool {
    signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
}

fn mac_of(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    keyed(key, parts)
}

fn keyed<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> M {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("an HMAC key may have any length");
    for part in parts {
        mac.update(part);
    }
    mac
}
