//! Calls to PayPal's REST API, as data: the event anew, and the capture or sale that a refund belongs to.
//! In come the endpoint and ids out of payloads, out come calls to the configured host alone, with the
//! ids encoded, so that none of them can name another path.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;

use crate::providers::Endpoint;
use crate::providers::calls::{Auth, Call, OAuth};

/// Where the API is: `https://api-m.sandbox.paypal.com` for the sandbox.
pub(super) const API_URL: &str = "api_url";
pub(super) const CLIENT_ID: &str = "client_id";
pub(super) const CLIENT_SECRET: &str = "client_secret";
/// A token that something else keeps fresh, in the place of client id and secret.
pub(super) const ACCESS_TOKEN: &str = "access_token";
const DEFAULT_API_URL: &str = "https://api-m.paypal.com";
const TOKEN_PATH: &str = "/v1/oauth2/token";
/// What an id may hold as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// Whether the endpoint can ask.
pub(super) fn is_configured(endpoint: &Endpoint) -> bool {
    endpoint.secret(CLIENT_ID).is_some() || endpoint.secret(ACCESS_TOKEN).is_some()
}

/// The path of an event.
pub(super) fn event_path(id: &str) -> String {
    format!("/v1/notifications/webhooks-events/{}", encoded(id))
}

/// The path of an object under `parent`, such as `/v2/payments/captures/`.
pub(super) fn object_path(parent: &str, id: &str) -> String {
    format!("{parent}{}", encoded(id))
}

/// A GET of the path.
pub(super) fn get(endpoint: &Endpoint, path: &str) -> Call {
    let base = endpoint.setting(API_URL, DEFAULT_API_URL).trim_end_matches('/');
    let call = Call::get(format!("{base}{path}")).taking_401();
    if let (Some(id), Some(secret)) = (endpoint.secret(CLIENT_ID), endpoint.secret(CLIENT_SECRET)) {
        return call.auth(Auth::OAuth(Box::new(OAuth {
            token_url: format!("{base}{TOKEN_PATH}"),
            client_id: SecretString::from(id),
            client_secret: SecretString::from(secret),
            credentials_in_body: false,
            refresh_token: None,
            scope: "",
            scheme: "Bearer",
        })));
    }
    match endpoint.secret(ACCESS_TOKEN) {
        Some(token) => call.header("authorization", format!("Bearer {token}")),
        None => call,
    }
}

fn encoded(id: &str) -> String {
    utf8_percent_encode(id, ENCODED).to_string()
}
