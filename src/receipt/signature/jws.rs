//! JSON Web Signatures in their compact form, and JSON Web Keys (RFC 7515, RFC 7517). In comes a text out
//! of a request, out come its parts. Nothing here says whether it is authentic: a header is what its
//! sender claims until the signature over `signing_input` is checked with a key that was not taken from it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// More than this is no token of a webhook.
const MAX_BYTES: usize = 256 * 1024;

/// A compact JWS, taken apart.
pub struct Compact<'a> {
    /// What stands before the first dot, as it came.
    pub header: &'a str,
    /// What stands between the dots, as it came; empty where it is detached.
    pub payload: &'a str,
    /// What is signed where the payload is not detached.
    pub signing_input: &'a str,
    /// The signature.
    pub signature: Vec<u8>,
}

/// What every JOSE header may hold.
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(default)]
pub struct Header {
    /// The algorithm.
    pub alg: String,
    /// Which key.
    pub kid: String,
}

/// A key set.
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(default)]
pub struct JwkSet {
    /// Its keys.
    pub keys: Vec<Jwk>,
}

/// A public key.
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(default)]
pub struct Jwk {
    /// `RSA` or `EC`.
    pub kty: String,
    /// `P-256` or `P-521`.
    pub crv: String,
    /// Which it is.
    pub kid: String,
    /// What it is for: `sig`.
    #[serde(rename = "use")]
    pub purpose: String,
    /// The modulus.
    pub n: Base64Url,
    /// The exponent.
    pub e: Base64Url,
    /// The first coordinate.
    pub x: Base64Url,
    /// The second coordinate.
    pub y: Base64Url,
    /// When it was retired, in seconds.
    #[serde(deserialize_with = "null_or_number")]
    pub expired_at: Option<i64>,
}

/// Bytes written in base64url.
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(transparent)]
pub struct Base64Url(String);

impl<'a> Compact<'a> {
    /// Takes a token apart; `None` if it is none.
    pub fn parse(text: &'a str) -> Option<Compact<'a>> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let (header, rest) = text.split_once('.')?;
        let (payload, signature) = rest.split_once('.')?;
        let signature = BASE64_URL.decode(signature).ok()?;
        let signing_input = &text[..header.len() + 1 + payload.len()];
        Some(Compact { header, payload, signing_input, signature })
    }

    /// The header, read as JSON.
    pub fn read_header<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&BASE64_URL.decode(self.header).ok()?).ok()
    }

    /// The payload's bytes.
    pub fn payload_bytes(&self) -> Option<Vec<u8>> {
        BASE64_URL.decode(self.payload).ok()
    }
}

impl JwkSet {
    /// The key with this id.
    pub fn find(&self, kid: &str) -> Option<&Jwk> {
        self.keys.iter().find(|key| key.kid == kid)
    }
}

impl Base64Url {
    /// The bytes; `None` where it is empty or cannot be read.
    pub fn decoded(&self) -> Option<Vec<u8>> {
        let bytes = BASE64_URL.decode(self.0.trim_end_matches('=')).ok()?;
        (!bytes.is_empty()).then_some(bytes)
    }
}

/// Text as base64url, for making signed samples.
pub fn base64_url(bytes: &[u8]) -> String {
    BASE64_URL.encode(bytes)
}

fn null_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Option::deserialize(deserializer)
}
