//! Where a bank is and how it is called. In come an endpoint's settings and links out of answers and
//! tokens, out come calls. A link is followed only at the bank's own host: that of `api_url`, or of the
//! issuer, whose paths are then those of `api_url`.

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::providers::payload;
use crate::providers::{Auth, Call, Endpoint, OAuth, TranslateError};

use super::{
    ACCESS_TOKEN, API_URL, CLIENT_ID, CLIENT_SECRET, CONSENT_ID, ISSUER, REFRESH_TOKEN, Standard,
    TOKEN_URL,
};

/// What must not stand bare in a part of a path.
const PATH_PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The scheme with the host, and the path, of a URL that names no user.
pub(super) fn split(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) =
        url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "https" | "http"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(end)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_plain) {
        return None;
    }
    Some((url.get(..scheme.len() + 3 + end)?, path))
}

/// The URL at the bank that a path of ours stands at.
pub(super) fn url(endpoint: &Endpoint, path: &str) -> Result<String, TranslateError> {
    Ok(format!("{}{path}", base(endpoint)?))
}

fn base(endpoint: &Endpoint) -> Result<&str, TranslateError> {
    let url = endpoint.settings.get(API_URL).map(String::as_str).or(endpoint.secret(ISSUER));
    let url = url.filter(|url| split(url).is_some());
    let missing = || TranslateError("the endpoint has no `api_url`".to_owned());
    Ok(url.ok_or_else(missing)?.trim_end_matches('/'))
}

/// The URL that a link means, which stands in an answer from `current` or in a token.
pub(super) fn link(
    endpoint: &Endpoint,
    link: &str,
    current: &str,
) -> Result<String, TranslateError> {
    let foreign = || payload::not_a("a link of the bank's", link);
    if !link.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return Err(foreign());
    }
    let base = base(endpoint)?;
    let (origin, base_path) = split(base).ok_or_else(foreign)?;
    if let Some((of_link, path)) = split(link) {
        let issuer = endpoint.secret(ISSUER).and_then(split).map(|(origin, _)| origin);
        let is_known = |known: &str| known.eq_ignore_ascii_case(of_link);
        return match is_known(origin) || issuer.is_some_and(is_known) {
            true => Ok(format!("{origin}{path}")),
            false => Err(foreign()),
        };
    }
    let rest = link.strip_prefix('/').filter(|rest| !rest.starts_with('/'));
    match (link.strip_prefix('?'), rest) {
        (Some(_), _) if current.is_empty() => Err(foreign()),
        (Some(query), _) => {
            let before = current.split('?').next().unwrap_or_default();
            Ok(format!("{before}?{query}"))
        }
        // Some banks write paths from their API's base on, others from the host on.
        (None, Some(rest))
            if base_path.is_empty() || link.starts_with(&format!("{base_path}/")) =>
        {
            Ok(format!("{origin}/{rest}"))
        }
        (None, Some(rest)) => Ok(format!("{base}/{rest}")),
        (None, None) => Err(foreign()),
    }
}

/// An id as a part of a path.
pub(super) fn path_part(id: &str) -> Result<String, TranslateError> {
    match matches!(id, "" | "." | "..") {
        true => Err(payload::not_a("an id", id)),
        false => Ok(utf8_percent_encode(id, PATH_PART).to_string()),
    }
}

/// A GET at the bank. `object` and the time make the request's id, which banks ask for.
pub(super) fn get(
    endpoint: &Endpoint,
    url: String,
    scope: &'static str,
    (object, now, page): (&str, Timestamp, usize),
) -> Call {
    let id = request_id(&format!("{} {object} {now} {page}", endpoint.name));
    let secret = |name| endpoint.secret(name);
    let call = match (Standard::of(endpoint), secret(CONSENT_ID)) {
        (Some(Standard::Berlin), Some(consent)) => {
            Call::get(url).header("x-request-id", id).header("consent-id", consent)
        }
        (Some(Standard::Berlin), None) => Call::get(url).header("x-request-id", id),
        (Some(Standard::Uk) | None, _) => Call::get(url).header("x-fapi-interaction-id", id),
    };
    // Consent ends without a word but this.
    let call = call.taking_401();
    let oauth = endpoint.settings.get(TOKEN_URL).zip(secret(CLIENT_ID)).zip(secret(CLIENT_SECRET));
    match (oauth, secret(ACCESS_TOKEN)) {
        (Some(((token_url, client_id), client_secret)), _) => {
            call.auth(Auth::OAuth(Box::new(OAuth {
                token_url: token_url.clone(),
                client_id: client_id.to_owned().into(),
                client_secret: client_secret.to_owned().into(),
                credentials_in_body: false,
                refresh_token: secret(REFRESH_TOKEN).map(|token| token.to_owned().into()),
                scope,
                scheme: "Bearer",
            })))
        }
        (None, Some(token)) => call.header("authorization", format!("Bearer {token}")),
        (None, None) => call,
    }
}

/// A UUID of version 4 in form, made of what it is for: the same step asks under the same id.
fn request_id(text: &str) -> String {
    let hex = hex::encode(Sha256::digest(text));
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    let parts = (part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32));
    format!("{}-{}-4{}-a{}-{}", parts.0, parts.1, parts.2, parts.3, parts.4)
}
