//! The token endpoint of Entra ID, for one application of one directory: client credentials with a secret or
//! with a signed assertion. In comes the call, out goes a token or the refusal with its AADSTS number.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use ring::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};

use super::settings::{Certificate, ENVIRONMENT, Settings};
use crate::{Reply, Request, Site, State, Tokens};

/// The directory.
pub(super) const TENANT: &str = "acme.onmicrosoft.com";
/// The application.
pub(super) const CLIENT: &str = "5c8e7b0a-4d57-4a2e-9e0f-6a1b2c3d4e5f";
/// Its secret.
pub(super) const SECRET: &str = "fake~dynamics~secret~8Q3";

const FORM: &str = "application/x-www-form-urlencoded";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The longest that an assertion may hold.
const MAX_ASSERTION_SECONDS: i64 = 15 * 60;

pub(super) struct SignIn {
    site: Site,
    certificate: Option<Certificate>,
    token_life: Duration,
    used_assertions: State<HashSet<String>>,
}

impl SignIn {
    pub(super) fn new(site: &Site, settings: &Settings) -> SignIn {
        SignIn {
            site: site.clone(),
            certificate: settings.certificate.clone(),
            token_life: settings.token_life,
            used_assertions: State::default(),
        }
    }

    pub(super) fn answer(&self, request: &Request, tokens: &Tokens) -> Reply {
        let segments = request.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let [tenant, "oauth2", "v2.0", "token"] = segments[..] else { return Reply::empty(404) };
        if request.method != Method::POST {
            return refused(405, "invalid_request", 900_561);
        }
        if tenant != TENANT {
            return refused(400, "invalid_request", 90_002);
        }
        if request.content_type().as_deref() != Some(FORM) {
            return refused(400, "invalid_request", 900_144);
        }
        let form = request.form();
        let value = |name: &str| {
            let mut values = form.iter().filter(|(sent, _)| sent == name);
            values.next().map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        if value("grant_type") != "client_credentials" {
            return refused(400, "unsupported_grant_type", 70_003);
        }
        if value("client_id") != CLIENT {
            return refused(400, "unauthorized_client", 700_016);
        }
        if value("scope") != format!("{ENVIRONMENT}/.default") {
            return refused(400, "invalid_scope", 70_011);
        }
        let proof = match (value("client_secret"), value("client_assertion")) {
            ("", "") => Err(7_000_218),
            (secret, "") => {
                if secret == SECRET {
                    Ok(())
                } else {
                    Err(7_000_215)
                }
            }
            ("", assertion) if value("client_assertion_type") == ASSERTION_TYPE => {
                self.check(assertion)
            }
            (_, _) => Err(900_144),
        };
        match proof {
            Ok(()) => {
                let seconds = self.token_life.as_secs();
                let body = json!({
                    "token_type": "Bearer",
                    "expires_in": seconds,
                    "ext_expires_in": seconds,
                    "access_token": tokens.issue(CLIENT),
                });
                Reply::json(200, &body)
            }
            Err(number) => refused(401, "invalid_client", number),
        }
    }

    fn check(&self, assertion: &str) -> Result<(), u64> {
        const BAD_ASSERTION: u64 = 50_027;
        let known = self.certificate.as_ref().ok_or(700_027_u64)?;
        let (signed, signature) = assertion.rsplit_once('.').ok_or(BAD_ASSERTION)?;
        let (head, claims) = signed.split_once('.').ok_or(BAD_ASSERTION)?;
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| BAD_ASSERTION);
        let read = |text: &str| -> Result<Value, u64> {
            serde_json::from_slice(&decode(text)?).map_err(|_| BAD_ASSERTION)
        };
        let (head, claims) = (read(head)?, read(claims)?);
        if head["alg"] != "PS256" || head["typ"] != "JWT" || head["x5t#S256"] != known.thumbprint {
            return Err(700_027);
        }
        let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &known.public_key);
        key.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| 700_027_u64)?;
        let audience = format!("{}/{TENANT}/oauth2/v2.0/token", self.site.auth_url);
        if claims["aud"] != audience || claims["iss"] != CLIENT || claims["sub"] != CLIENT {
            return Err(700_023);
        }
        let now = self.site.clock.now().as_second();
        let time = |name: &str| claims[name].as_i64().ok_or(BAD_ASSERTION);
        let (from, until) = (time("nbf")?, time("exp")?);
        if from > now || until <= now || until - from > MAX_ASSERTION_SECONDS {
            return Err(700_024);
        }
        let id = claims["jti"].as_str().filter(|id| !id.is_empty()).ok_or(BAD_ASSERTION)?;
        // The directory takes each assertion once.
        match self.used_assertions.lock().insert(id.to_owned()) {
            true => Ok(()),
            false => Err(BAD_ASSERTION),
        }
    }
}

fn refused(status: u16, error: &str, number: u64) -> Reply {
    let body = json!({
        "error": error,
        "error_description": format!("AADSTS{number}: The request was refused. Trace ID: {}", crate::ids::uuid()),
        "error_codes": [number],
        "correlation_id": crate::ids::uuid(),
    });
    Reply::json(status, &body)
}
