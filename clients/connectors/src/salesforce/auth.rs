//! Signing in to Salesforce: a JWT signed with the app's key, or the app's secret. In comes a request for a
//! token, out goes one with the address of the org's API, or why there is none. Neither key, secret nor
//! token may be shown.
//!
//! <https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_jwt_flow.htm>
//! <https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm>

use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use form_urlencoded::Serializer;
use http::header;
use jiff::Timestamp;
use reqwest::Client;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::answers::bounded;
use crate::api::{self, Answer};
use crate::config::Secret;
use crate::crm::Fault;
use crate::tokens::{Token, TokenSource};

/// Salesforce takes assertions that end within 5 minutes; clocks differ.
const ASSERTION_SECONDS: i64 = 180;
/// After a refusal for asking too often.
const PAUSE: Duration = Duration::from_secs(60);
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Errors of the token endpoint that pass.
const PASSING: &[&str] = &["temporarily_unavailable", "server_error"];

/// A way to sign in.
pub(super) struct Login {
    client: Client,
    token_url: String,
    api_url: Option<String>,
    grant: Grant,
}

/// What is shown for a token.
pub(super) enum Grant {
    /// An assertion about a user, signed with the app's key.
    JwtBearer {
        /// The assertion's `iss`, `sub` and `aud`.
        claims: [String; 3],
        /// The key.
        key: Box<RsaKeyPair>,
    },
    /// The app's secret.
    ClientCredentials {
        /// The consumer key.
        client_id: String,
        /// The consumer secret.
        secret: Secret,
    },
}

impl Grant {
    /// Reads the key, PKCS#8 or PKCS#1 in PEM.
    pub(super) fn jwt_bearer(
        client_id: &str,
        username: &str,
        audience: &str,
        key: &Secret,
    ) -> Result<Grant, &'static str> {
        // An environment often holds a PEM on one line.
        let pem = key.expose().replace("\\n", "\n");
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes());
        let der = der.map_err(|_| "is no private key in PEM (BEGIN PRIVATE KEY)")?;
        let key = match &der {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err("is not an RSA key, which RS256 needs"),
        };
        let key = key.map_err(|_| "is not an RSA key of 2048 to 4096 bits")?;
        let claims = [client_id, username, audience].map(str::to_owned);
        Ok(Grant::JwtBearer { claims, key: Box::new(key) })
    }

    /// The form that asks for a token.
    fn form(&self, now: Timestamp) -> Result<String, Fault> {
        let mut form = Serializer::new(String::new());
        match self {
            Grant::JwtBearer { claims, key } => {
                form.append_pair("grant_type", JWT_BEARER);
                form.append_pair("assertion", &assertion(claims, key, now)?);
            }
            Grant::ClientCredentials { client_id, secret } => {
                form.append_pair("grant_type", "client_credentials");
                form.append_pair("client_id", client_id);
                form.append_pair("client_secret", secret.expose());
            }
        }
        Ok(form.finish())
    }
}

impl Login {
    /// At this host; the API is where the answer says unless it is set.
    pub(super) fn new(
        client: Client,
        login_url: &str,
        api_url: Option<String>,
        grant: Grant,
    ) -> Login {
        let token_url = format!("{}/services/oauth2/token", login_url.trim_end_matches('/'));
        Login { client, token_url, api_url, grant }
    }
}

#[async_trait]
impl TokenSource for Login {
    async fn ask(&self) -> Result<Token, Fault> {
        let request = self
            .client
            .post(&self.token_url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(self.grant.form(Timestamp::now())?);
        let answer = api::send(request).await.map_err(Fault::transient)?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        // The body has the token: an error in it must not be told with its text.
        let granted: Granted = serde_json::from_slice(&answer.body)
            .map_err(|_| Fault::transient(format!("{}: unreadable token answer", answer.status)))?;
        let api_url = self.api_url.clone().unwrap_or(granted.instance_url);
        api::check_url(&api_url).map_err(|reason| Fault::Unauthorized { reason })?;
        let api_url = api_url.trim_end_matches('/').to_owned();
        let secret = SecretString::from(granted.access_token);
        Ok(Token { secret, api_url: Some(api_url), lasts: None })
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    instance_url: String,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// What follows from an answer without a token.
fn refusal(answer: &Answer) -> Fault {
    let status = answer.status;
    let told: Option<Refusal> = serde_json::from_slice(&answer.body).ok();
    let passes = told.as_ref().is_some_and(|told| PASSING.contains(&told.error.as_str()));
    let reason = match told {
        Some(told) => format!("{}: {}", bounded(&told.error), bounded(&told.error_description)),
        None => format!("{status} from the host that issues tokens"),
    };
    match status.as_u16() {
        429 => Fault::Throttled { wait: answer.retry_after().unwrap_or(PAUSE), reason },
        408 | 500.. => Fault::Transient { reason, wait: answer.retry_after() },
        _ if passes => Fault::Transient { reason, wait: None },
        _ => {
            tracing::error!(reason, "Salesforce refuses the credential; somebody must act");
            Fault::Unauthorized { reason }
        }
    }
}

fn assertion(claims: &[String; 3], key: &RsaKeyPair, now: Timestamp) -> Result<String, Fault> {
    let [issuer, subject, audience] = claims;
    let claims = json!({
        "iss": issuer,
        "sub": subject,
        "aud": audience,
        "exp": now.as_second() + ASSERTION_SECONDS,
    });
    let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", encode(json!({ "alg": "RS256", "typ": "JWT" })), encode(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| Fault::transient("the assertion could not be signed"))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
