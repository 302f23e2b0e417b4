//! Whether a REST webhook of PayPal's is authentic. In comes a request, out comes a proof, or the URL of
//! the certificate that is needed to tell. A certificate's URL is looked at before anything is asked for:
//! https, one of PayPal's own hosts, and the path under which PayPal keeps its certificates.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;

use crate::providers::calls::Call;
use crate::providers::{Endpoint, KeyRequest, Keys, Verdict};
use crate::receipt::signature::certificate;
use crate::receipt::signature::public_key::{Scheme, signed_by};
use crate::receipt::{Request, VerifyError};

use super::{
    CERT_FIXTURES, DEFAULT_NAME_SUFFIX, NAME_SUFFIX, PUBLIC_ROOTS, TRUSTED_ROOT, WEBHOOK_ID,
};

pub(super) const TRANSMISSION_ID: &str = "paypal-transmission-id";
pub(super) const TRANSMISSION_TIME: &str = "paypal-transmission-time";
pub(super) const SIGNATURE: &str = "paypal-transmission-sig";
pub(super) const CERT_URL: &str = "paypal-cert-url";
pub(super) const ALGORITHM: &str = "paypal-auth-algo";
pub(super) const SHA256_WITH_RSA: &str = "SHA256withRSA";
const CERT_HOSTS: [&str; 4] =
    ["api.paypal.com", "api.sandbox.paypal.com", "api-m.paypal.com", "api-m.sandbox.paypal.com"];
const CERT_PATH: &str = "v1/notifications/certs/";
const MAX_CERT_NAME_BYTES: usize = 200;
/// A certificate has a URL of its own, so that an old answer stays right until the certificate ends.
const CERT_MAX_AGE: SignedDuration = SignedDuration::from_hours(24);

pub(super) fn verify(
    request: &Request,
    endpoint: &Endpoint,
    keys: &Keys,
    now: Timestamp,
) -> Result<Verdict, VerifyError> {
    // The SHA-1 of old is refused.
    if request.header(ALGORITHM)? != SHA256_WITH_RSA {
        return Err(VerifyError::Malformed(ALGORITHM));
    }
    let id = request.header(TRANSMISSION_ID)?;
    let time = request.header(TRANSMISSION_TIME)?;
    if id.is_empty() || id.contains('|') || time.is_empty() || time.contains('|') {
        return Err(VerifyError::Malformed(TRANSMISSION_ID));
    }
    let signature = BASE64.decode(request.header(SIGNATURE)?);
    let signature = signature.map_err(|_| VerifyError::Malformed(SIGNATURE))?;
    let webhook_ids = endpoint.candidates(WEBHOOK_ID).secrets;
    if webhook_ids.iter().all(|id| id.expose_secret().trim().is_empty()) {
        return Err(VerifyError::NotConfigured(WEBHOOK_ID));
    }
    let url = request.header(CERT_URL)?;
    if !is_cert_url(url) {
        return Err(VerifyError::Malformed(CERT_URL));
    }
    let chain = match (fixtures(endpoint), keys.get(url)) {
        (Some(mut fixtures), _) => {
            fixtures.remove(url).ok_or_else(|| VerifyError::NoKey(url.to_owned()))?.into()
        }
        (None, Some(key)) => key.body.clone(),
        (None, None) => return Ok(Verdict::NeedsKey(Box::new(key_request(url)))),
    };
    let suffix = endpoint.secret(NAME_SUFFIX).unwrap_or(DEFAULT_NAME_SUFFIX);
    let key = certificate::trusted_key(&chain, &roots(endpoint), suffix, now)
        .ok_or(VerifyError::Mismatch(TRUSTED_ROOT))?;
    let mut result = Err(VerifyError::Mismatch(WEBHOOK_ID));
    for (index, webhook_id) in webhook_ids.iter().enumerate() {
        let message = signed_text(id, time, webhook_id.expose_secret(), &request.body);
        let (index, scheme) = (index.to_string(), Scheme::RsaPkcs1Sha256);
        result = signed_by(WEBHOOK_ID, &index, &key, scheme, message.as_bytes(), &signature);
        if result.is_ok() {
            break;
        }
    }
    result.map(Verdict::Verified)
}

/// What PayPal signs.
pub(super) fn signed_text(id: &str, time: &str, webhook_id: &str, body: &[u8]) -> String {
    format!("{id}|{time}|{webhook_id}|{}", crc32fast::hash(body))
}

/// The certificates that are trusted for this endpoint.
pub(super) fn roots(endpoint: &Endpoint) -> Vec<u8> {
    let own = endpoint.candidates(TRUSTED_ROOT).secrets;
    let own: Vec<&str> = own.iter().map(ExposeSecret::expose_secret).collect();
    match own.is_empty() {
        true => PUBLIC_ROOTS.into(),
        false => own.join("\n").into(),
    }
}

/// The certificates that stand in the configuration.
pub(super) fn fixtures(endpoint: &Endpoint) -> Option<BTreeMap<String, String>> {
    serde_json::from_str(endpoint.secret(CERT_FIXTURES)?).ok()
}

fn key_request(url: &str) -> KeyRequest {
    let call = Call::new(Method::GET, url.to_owned(), Bytes::new());
    KeyRequest { id: url.to_owned(), call, max_age: CERT_MAX_AGE }
}

fn is_cert_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else { return false };
    let Some((host, path)) = rest.split_once('/') else { return false };
    let name = path.strip_prefix(CERT_PATH).unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    CERT_HOSTS.contains(&host)
        && (1..=MAX_CERT_NAME_BYTES).contains(&name.len())
        && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_come_from_paypal_alone() {
        for good in [
            "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-1d93a270",
            "https://api-m.sandbox.paypal.com/v1/notifications/certs/CERT-1",
        ] {
            assert!(is_cert_url(good), "{good}");
        }
        for bad in [
            "http://api.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com.example/v1/notifications/certs/CERT-1",
            "https://example.com/api.paypal.com/v1/notifications/certs/CERT-1",
            "https://x@api.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com:444/v1/notifications/certs/CERT-1",
            "https://api.paypal.com/v1/notifications/certs/",
            "https://api.paypal.com/v1/notifications/certs/../CERT-1",
            "https://api.paypal.com/v1/notifications/certs/CERT-1?x=1",
            "https://api.paypal.com/v1/other/CERT-1",
            "https://www.paypal.com/v1/notifications/certs/CERT-1",
            "",
        ] {
            assert!(!is_cert_url(bad), "{bad}");
        }
    }
}
