//! PayPal, by two schemes. REST webhooks: `PAYPAL-TRANSMISSION-SIG` is an RSA PKCS #1 signature with
//! SHA-256 over `transmission id|transmission time|webhook id|CRC-32 of the body in decimal`, by the
//! certificate at `PAYPAL-CERT-URL`, whose host is one of PayPal's, whose chain leads to a trusted root and
//! whose common name is one of PayPal's. IPN: a form that proves nothing until PayPal answers `VERIFIED`
//! to its very bytes posted back. In comes a request, out come payments by the id of their capture or
//! sale, which IPN calls `txn_id`, invoices and orders.
//! Only the CRC-32 protects a webhook's body, and that is no protection: whoever holds one genuine message
//! can change its body. An event is therefore known by its transmission, which is signed; and where the
//! endpoint has API credentials, what counts is the event as PayPal's API gives it.
//! It must never fetch a certificate from any other host, nor take an IPN for true before the postback.
//! Spec: <https://developer.paypal.com/api/rest/webhooks/rest/>,
//! <https://developer.paypal.com/api/nvp-soap/ipn/IPNImplementation/>

mod api;
mod disputes;
mod events;
mod form;
mod invoices;
mod ipn;
mod payments;
mod refunds;
mod sample;
mod transactions;
mod webhook;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::receipt::signature::certificate;
use crate::receipt::{Receipt, Redaction, Request, VerifyError};

use super::{
    Endpoint, Fetching, Keys, Mistake, Provider, REPLIES, SecretKey, Step, TranslateError,
    Translation, Verdict, no_poll,
};

#[cfg(test)]
use sample::sample_secrets;

/// PayPal.
pub const PROVIDER: Provider = Provider {
    name: "paypal",
    title: "PayPal",
    secrets: &[
        SecretKey { name: WEBHOOK_ID, required: false },
        SecretKey { name: TRUSTED_ROOT, required: false },
        SecretKey { name: NAME_SUFFIX, required: false },
        SecretKey { name: CERT_FIXTURES, required: false },
        SecretKey { name: RECEIVER_EMAIL, required: false },
        SecretKey { name: api::CLIENT_ID, required: false },
        SecretKey { name: api::CLIENT_SECRET, required: false },
        SecretKey { name: api::ACCESS_TOKEN, required: false },
    ],
    settings: &[SCHEME, api::API_URL, ipn::IPN_URL],
    structured: &[CERT_FIXTURES],
    events: &EVENT_TYPES,
    redaction: Redaction { headers: &[], query: &[], body_members: &[] },
    hosts: &[
        "api-m.paypal.com",
        "api-m.sandbox.paypal.com",
        "api.paypal.com",
        "api.sandbox.paypal.com",
        "ipnpb.paypal.com",
        "ipnpb.sandbox.paypal.com",
    ],
    check,
    verify,
    translate,
    fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: sample::sample,
    example: sample::sample_secrets,
};

/// `webhook` or `ipn`; without it the content type tells.
const SCHEME: &str = "scheme";
const WEBHOOK: &str = "webhook";
const IPN: &str = "ipn";
/// The id of the webhook as registered at PayPal. It is signed, and binds a message to the endpoint.
const WEBHOOK_ID: &str = "webhook_id";
/// Trusted in the place of the public roots that PayPal's certificates lead to; it may hold several.
const TRUSTED_ROOT: &str = "trusted_root_pem";
const NAME_SUFFIX: &str = "expected_cert_cn_suffix";
const DEFAULT_NAME_SUFFIX: &str = ".paypal.com";
/// Certificates by URL, in the place of fetching them.
const CERT_FIXTURES: &str = "cert_fixtures";
/// Who must be paid: the account's email address or id.
const RECEIVER_EMAIL: &str = "receiver_email";
const FORM: &str = "application/x-www-form-urlencoded";

/// The roots that PayPal's certificates have led to: DigiCert's.
const PUBLIC_ROOTS: &str = include_str!("paypal/roots.pem");

const EVENT_TYPES: [&str; events::EVENTS.len() + ipn::TYPES.len()] = {
    let mut names = [""; events::EVENTS.len() + ipn::TYPES.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = match index < events::EVENTS.len() {
            true => events::EVENTS[index].0,
            false => ipn::TYPES[index - events::EVENTS.len()],
        };
        index += 1;
    }
    names
};

/// What a receipt told, for the steps of its fetch.
#[derive(Serialize, Deserialize)]
enum Told {
    /// The bytes of an IPN, in base64.
    #[serde(rename = "ipn")]
    Ipn(String),
    #[serde(rename = "webhook")]
    Webhook(events::Transmission),
}

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let mistake = |key, reason: &str| Err(Mistake { key, reason: reason.to_owned() });
    let has = |name| endpoint.secret(name).is_some();
    match endpoint.setting(SCHEME, "") {
        WEBHOOK if !has(WEBHOOK_ID) => return mistake("secrets.webhook_id", "is missing"),
        IPN if !has(RECEIVER_EMAIL) => return mistake("secrets.receiver_email", "is missing"),
        "" if !has(WEBHOOK_ID) && !has(RECEIVER_EMAIL) => {
            return mistake("secrets.webhook_id", "is missing, and so is receiver_email for IPN");
        }
        "" | WEBHOOK | IPN => {}
        _ => return mistake(SCHEME, "is neither `webhook` nor `ipn`"),
    }
    if has(TRUSTED_ROOT) && !certificate::are_roots(&webhook::roots(endpoint)) {
        return mistake("secrets.trusted_root_pem", "holds no certificates in PEM");
    }
    if endpoint.secret(NAME_SUFFIX).is_some_and(|suffix| !suffix.starts_with('.')) {
        return mistake("secrets.expected_cert_cn_suffix", "does not begin with a dot");
    }
    if has(CERT_FIXTURES) && webhook::fixtures(endpoint).is_none() {
        return mistake("secrets.cert_fixtures", "is no table of certificates by URL");
    }
    if has(api::CLIENT_ID) != has(api::CLIENT_SECRET) {
        return mistake("secrets.client_id", "goes with secrets.client_secret, and one is missing");
    }
    for name in [api::API_URL, ipn::IPN_URL] {
        let url = endpoint.setting(name, "https://");
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return mistake(name, "is no URL");
        }
    }
    Ok(())
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    keys: &Keys,
    now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let content_type = request.headers.get(http::header::CONTENT_TYPE);
    match is_ipn(endpoint, content_type.and_then(|value| value.to_str().ok())) {
        true => ipn::verify(request, endpoint),
        false => webhook::verify(request, endpoint, keys, now),
    }
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    match is_ipn(endpoint, receipt.header("content-type")) {
        true => ipn::translate(receipt),
        false => events::translate(receipt, endpoint),
    }
}

fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let told = serde_json::from_str(&fetching.fetch.told)
        .map_err(|_| TranslateError("what the receipt told cannot be read".to_owned()))?;
    match told {
        Told::Ipn(body) => ipn::fetch(fetching, &body),
        Told::Webhook(transmission) => events::fetch(fetching, &transmission),
    }
}

fn is_ipn(endpoint: &Endpoint, content_type: Option<&str>) -> bool {
    match endpoint.setting(SCHEME, "") {
        IPN => true,
        WEBHOOK => false,
        _ => {
            let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
            kind.trim().eq_ignore_ascii_case(FORM)
        }
    }
}

#[cfg(test)]
mod tests;
