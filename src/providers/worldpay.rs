//! Worldpay has two schemes, told apart by the content type.
//!
//! Access Worldpay sends JSON events. `Event-Signature` is a list of `{keyId}/{hash}/{signature}`, in any
//! order, separated by commas: the signature is the hex HMAC-SHA256 of the raw body, keyed with the shared
//! secret of that key id as text, and `SHA256` is the only hash. Nothing tells the time of signing.
//!
//! The gateway (WPG) sends XML order notifications, which nothing signs. They are taken only at a URL that
//! ends in the endpoint's `url_token` (or has it as the query parameter `token`, which is not stored), and
//! only for its merchant codes, where those are configured. Their DOCTYPE is never followed, and one with
//! declarations of its own is refused.
//!
//! In comes a request, out come payments known by the merchant's order, and payouts. Both schemes are
//! answered `[OK]`, and 400 where they are not authentic; anything else makes Worldpay hold later ones back.
//! Spec: <https://docs.worldpay.com/access/products/events>,
//! <https://developer.worldpay.com/docs/wpg/manage/>

mod access;
mod facts;
mod sample;
mod wpg;

use std::collections::BTreeMap;

use http::Method;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use secrecy::ExposeSecret;

use crate::receipt::signature::{Digest, hmac, shared_token};
use crate::receipt::{LAST_SEGMENT, Proof, Receipt, Redaction, Request, VerifyError};

use super::{
    Endpoint, Keys, Mistake, Provider, Replies, Reply, SecretKey, TranslateError, Translation,
    Verdict, no_fetch, no_poll,
};
use facts::EVENT_TYPES;

#[cfg(test)]
use sample::sample_secrets;

/// Worldpay.
pub const PROVIDER: Provider = Provider {
    name: "worldpay",
    title: "Worldpay",
    secrets: &[
        SecretKey { name: SIGNATURE_KEYS, required: false },
        SecretKey { name: URL_TOKEN, required: false },
        SecretKey { name: MERCHANT_CODES, required: false },
    ],
    settings: &[ENVIRONMENT],
    structured: &[SIGNATURE_KEYS],
    events: &EVENT_TYPES,
    redaction: Redaction {
        headers: &[],
        query: &[TOKEN_PARAMETER, LAST_SEGMENT],
        body_members: &["cardNumber", "accountNumber", "iban"],
    },
    hosts: &[],
    check,
    verify,
    translate,
    fetch: no_fetch,
    poll: no_poll,
    replies: Replies {
        accepted: OK,
        unknown: OK,
        refused: Reply {
            status: 400,
            content_type: "text/plain; charset=utf-8",
            body: "verification failed\n",
        },
        methods: &[Method::POST],
    },
    sample: sample::sample,
    example: sample::sample_secrets,
};

const OK: Reply = Reply { status: 200, content_type: "text/plain; charset=utf-8", body: "[OK]" };
/// The shared secrets of Access Worldpay by their key ids: `{ 1 = "…", 2 = "…" }`.
const SIGNATURE_KEYS: &str = "event_signature_keys";
/// What the URL ends in that WPG posts to.
const URL_TOKEN: &str = "url_token";
const TOKEN_PARAMETER: &str = "token";
/// The merchant codes that WPG may write about; any where none are configured.
const MERCHANT_CODES: &str = "wpg_merchant_codes";
/// `production` or `test`: whether money is real, which WPG does not tell.
const ENVIRONMENT: &str = "environment";
const PRODUCTION: &str = "production";
const TEST: &str = "test";
const HEADER: &str = "event-signature";
const HASH: &str = "SHA256";
const SIGNATURE_BYTES: usize = 32;

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let environment = endpoint.setting(ENVIRONMENT, PRODUCTION);
    if environment != PRODUCTION && environment != TEST {
        let reason = format!("`{environment}` is neither {PRODUCTION} nor {TEST}");
        return Err(Mistake { key: ENVIRONMENT, reason });
    }
    let keys = endpoint.candidates(SIGNATURE_KEYS).secrets;
    let is_good = |json: &str| {
        signature_keys(json).is_some_and(|keys| {
            let is_blank = |text: &String| text.trim().is_empty();
            !keys.is_empty() && !keys.iter().any(|(id, key)| is_blank(id) || is_blank(key))
        })
    };
    if !keys.iter().all(|json| is_good(json.expose_secret())) {
        return Err(Mistake {
            key: "secrets.event_signature_keys",
            reason: "is not a table of secrets by key id, `{ 1 = \"env:NAME\" }`".to_owned(),
        });
    }
    if keys.is_empty() && endpoint.candidates(URL_TOKEN).secrets.is_empty() {
        return Err(Mistake {
            key: "secrets.url_token",
            reason: "is missing; requests cannot be verified without it or `event_signature_keys`"
                .to_owned(),
        });
    }
    Ok(())
}

fn signature_keys(json: &str) -> Option<BTreeMap<String, String>> {
    serde_json::from_str(json).ok()
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let content_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match content_type.is_some_and(is_xml) {
        true => verify_notification(request, endpoint),
        false => verify_event(request, endpoint),
    }
    .map(Verdict::Verified)
}

/// `text/xml`, `application/xml` and the like.
fn is_xml(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.ends_with("/xml") || essence.ends_with("+xml")
}

fn verify_event(request: &Request, endpoint: &Endpoint) -> Result<Proof, VerifyError> {
    let lines = request.headers.get_all(HEADER);
    if lines.iter().next().is_none() {
        return Err(VerifyError::MissingHeader(HEADER));
    }
    // A list may also be spread over several lines.
    let texts = lines.iter().filter_map(|line| line.to_str().ok());
    let mut result = Err(VerifyError::Malformed(HEADER));
    for (key_id, signature) in texts.flat_map(|text| text.split(',')).filter_map(signature) {
        result = hmac(
            Digest::Sha256,
            endpoint.candidates(SIGNATURE_KEYS),
            |json| signature_keys(json)?.remove(key_id).map(String::into_bytes),
            &[&request.body],
            &[signature],
        );
        if result.is_ok() {
            break;
        }
    }
    result
}

/// `2/SHA256/ab…`. A hash that Worldpay does not use is no signature.
fn signature(part: &str) -> Option<(&str, Vec<u8>)> {
    let (rest, digits) = part.trim().rsplit_once('/')?;
    let (key_id, hash) = rest.rsplit_once('/')?;
    let bytes = hex::decode(digits).ok().filter(|bytes| bytes.len() == SIGNATURE_BYTES)?;
    (hash == HASH && !key_id.is_empty()).then_some((key_id, bytes))
}

fn verify_notification(request: &Request, endpoint: &Endpoint) -> Result<Proof, VerifyError> {
    let proof = shared_token(endpoint.candidates(URL_TOKEN), &given_token(&request.path))?;
    let malformed = || VerifyError::Malformed("body");
    let text = wpg::text(&request.body).ok_or_else(malformed)?;
    let document = wpg::parse(&text).ok_or_else(malformed)?;
    let code = wpg::merchant_code(&document).ok_or_else(malformed)?;
    let codes = endpoint.candidates(MERCHANT_CODES).secrets;
    match codes.is_empty() || codes.iter().any(|known| known.expose_secret() == code) {
        true => Ok(proof),
        false => Err(VerifyError::Mismatch(MERCHANT_CODES)),
    }
}

/// The token that the URL carries: the parameter, else the last part of the path.
fn given_token(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parameter = form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == TOKEN_PARAMETER)
        .map(|(_, value)| value.into_owned());
    let last = || {
        let part = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
    };
    parameter.unwrap_or_else(last)
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let live = endpoint.setting(ENVIRONMENT, PRODUCTION) != TEST;
    // What a request was verified as is what its body is: neither scheme's can be read as the other's.
    let Some(text) = wpg::text(receipt.body()) else {
        return access::event(receipt.body(), live, &endpoint.name);
    };
    let document = wpg::parse(&text)
        .ok_or_else(|| TranslateError("cannot read an order notification".to_owned()))?;
    let notification = wpg::Notification {
        document: &document,
        received_at: receipt.received_at(),
        live,
        endpoint: &endpoint.name,
    };
    notification.translation()
}

#[cfg(test)]
mod tests;
