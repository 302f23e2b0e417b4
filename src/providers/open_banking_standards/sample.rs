//! Signed tokens as UK banks send them, for every event type that the module translates, with what the bank
//! answers about the payment. They are signed with a key of the samples' own, and only for an endpoint
//! whose `secrets.jwks` has that key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use http::Method;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::providers::{Endpoint, Sample, SampleAnswer, SampleOrder, samples};
use crate::receipt::signature::jws::base64_url;

use super::notifications::{EVENT_TYPES, RESOURCE_UPDATE};
use super::verification::configured_key;
use super::{AUDIENCE, ISSUER, JWKS};

const KEY: &str = include_str!("sample_key.pem");
const KEY_ID: &str = "sample-bank-key";
const BANK: &str = "https://bank.example.com";
const SOFTWARE: &str = "sample-software";

/// The secrets of an endpoint that trusts the samples.
pub fn sample_secrets() -> Vec<(&'static str, String)> {
    let key = key_pair().map(|pair| public_key(&pair));
    let set = key.map(|key| json!({ "keys": [key] }).to_string());
    vec![
        (JWKS, set.unwrap_or_default()),
        (ISSUER, BANK.to_owned()),
        (AUDIENCE, SOFTWARE.to_owned()),
    ]
}

/// The settings of an endpoint that trusts the samples.
#[cfg(test)]
pub fn sample_settings() -> Vec<(&'static str, String)> {
    vec![(super::API_URL, BANK.to_owned())]
}

/// The sample of an event type; `None` for one that the module does not know, and for an endpoint that
/// does not trust the samples' key.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    if !EVENT_TYPES.contains(&order.event_type) {
        return None;
    }
    let pair = key_pair()?;
    let trusted = configured_key(endpoint, KEY_ID)?.n.decoded()?;
    if public_key(&pair)["n"].as_str() != Some(base64_url(&trusted).as_str()) {
        return None;
    }
    let token = sign(&pair, &claims(endpoint, order))?;
    let headers = [
        ("content-type", "application/jwt"),
        ("x-fapi-financial-id", "sample-bank"),
        ("x-fapi-interaction-id", "93bac548-d2de-4546-b106-880a5018460d"),
    ];
    let request = samples::post(endpoint, &headers, token.into_bytes())?;
    let answers =
        if order.event_type == RESOURCE_UPDATE { vec![answer(order)] } else { Vec::new() };
    Some(Sample { request, answers })
}

fn key_pair() -> Option<RsaKeyPair> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).ok()?;
    RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok()
}

fn public_key(pair: &RsaKeyPair) -> Value {
    let key: RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
    let (n, e) = (BASE64_URL.encode(key.n), BASE64_URL.encode(key.e));
    json!({ "alg": "PS256", "e": e, "kid": KEY_ID, "kty": "RSA", "n": n, "use": "sig" })
}

fn sign(pair: &RsaKeyPair, claims: &Value) -> Option<String> {
    let header = json!({ "alg": "PS256", "kid": KEY_ID, "typ": "secevent+jwt" }).to_string();
    let (header, claims) = (base64_url(header.as_bytes()), claims.to_string());
    let input = format!("{header}.{}", base64_url(claims.as_bytes()));
    let mut signature = vec![0; pair.public().modulus_len()];
    let random = SystemRandom::new();
    pair.sign(&RSA_PSS_SHA256, &random, input.as_bytes(), &mut signature).ok()?;
    Some(format!("{input}.{}", base64_url(&signature)))
}

fn claims(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    let (id, kind, path) = match order.event_type == RESOURCE_UPDATE {
        true => (payment_id(seed), "domestic-payment", payment_path(seed)),
        false => {
            let id = format!("consent-{seed}");
            let path = format!("/open-banking/v4.0/aisp/account-access-consents/{id}");
            (id, "account-access-consent", path)
        }
    };
    let issuer = endpoint.secret(ISSUER).unwrap_or(BANK);
    let link = format!("{}{path}", issuer.trim_end_matches('/'));
    json!({
        "iss": issuer,
        "iat": order.now.as_second(),
        "jti": samples::event_id(order),
        "aud": endpoint.secret(AUDIENCE).unwrap_or(SOFTWARE),
        "sub": link,
        "txn": format!("txn-{seed}"),
        "toe": order.occurred_at.as_second(),
        "events": { order.event_type: { "subject": {
            "subject_type": "http://openbanking.org.uk/rid_http://openbanking.org.uk/rty",
            "http://openbanking.org.uk/rid": id,
            "http://openbanking.org.uk/rty": kind,
            "http://openbanking.org.uk/rlk": [{ "version": "v4.0", "link": link }],
        } } },
    })
}

fn answer(order: &SampleOrder<'_>) -> SampleAnswer {
    let seed = order.seed;
    let amount = samples::amount(seed);
    let amount = format!("{}.{:02}", amount / 100, amount % 100);
    let body = json!({
        "Data": {
            "DomesticPaymentId": payment_id(seed),
            "ConsentId": format!("consent-{seed}"),
            "CreationDateTime": order.occurred_at.to_string(),
            "StatusCode": "ACSC",
            "StatusUpdateDateTime": order.occurred_at.to_string(),
            "Initiation": {
                "InstructionIdentification": format!("instruction-{seed}"),
                "EndToEndIdentification": format!("order-{seed}"),
                "InstructedAmount": { "Amount": amount, "Currency": "GBP" },
            },
        },
        "Links": { "Self": payment_path(seed) },
        "Meta": {},
    });
    samples::answer(Method::GET, payment_path(seed), &body)
}

fn payment_id(seed: &str) -> String {
    format!("payment-{seed}")
}

fn payment_path(seed: &str) -> String {
    format!("/open-banking/v4.0/pisp/domestic-payments/{}", payment_id(seed))
}
