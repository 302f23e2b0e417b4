//! Tokens of Entra ID for an application: client credentials with a secret, or with an assertion that the
//! key of the application's certificate signed (PS256, the certificate named by its SHA-256 thumbprint). In
//! comes the checked configuration, out goes a token. The secret, the key and the assertion must never be
//! in an error.
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>,
//! <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use reqwest::Client;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PSS_SHA256, RsaKeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::settings::{Auth, Settings};
use crate::api::{self, Answer};
use crate::config::{Mistake, Secret};
use crate::crm::Fault;
use crate::tokens::{Token, TokenSource};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long an assertion holds: it is used at once.
const ASSERTION_SECONDS: i64 = 5 * 60;
/// An assertion holds from a little before now: clocks differ.
const ASSERTION_SKEW_SECONDS: i64 = 60;
/// What is waited where Entra ID asks to wait and does not say how long.
const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// Error words that are over soon.
const PASSING: &[&str] = &["temporarily_unavailable", "server_error"];
/// How much of a description is told.
const MAX_TOLD_CHARS: usize = 200;

/// Asks Entra ID for tokens.
pub struct SignIn {
    client: Client,
    token_url: String,
    scope: String,
    client_id: String,
    proof: Proof,
}

/// What shows that it is the application that asks.
enum Proof {
    Secret(Secret),
    Certificate { key: Box<RsaKeyPair>, thumbprint: String },
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refused {
    error: String,
    error_description: String,
}

impl SignIn {
    /// With a checked configuration; a key that cannot be read is a mistake.
    pub fn new(settings: &Settings, client: Client) -> Result<SignIn, Mistake> {
        let needed = |secret: &Option<Secret>, key: &str| {
            secret.clone().ok_or_else(|| Mistake::new(format!("crm.{key}"), "is missing"))
        };
        let proof = match settings.auth {
            Auth::ClientSecret => Proof::Secret(needed(&settings.client_secret, "client_secret")?),
            Auth::ClientCertificate => Proof::Certificate {
                thumbprint: thumbprint(&needed(&settings.certificate, "certificate")?)?,
                key: Box::new(key(&needed(&settings.private_key, "private_key")?)?),
            },
        };
        Ok(SignIn {
            client,
            token_url: settings.token_url(),
            scope: settings.scope(),
            client_id: settings.client_id.clone(),
            proof,
        })
    }

    fn form(&self) -> Result<String, Fault> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.client_id)
            .append_pair("scope", &self.scope);
        match &self.proof {
            Proof::Secret(secret) => form.append_pair("client_secret", secret.expose()),
            Proof::Certificate { key, thumbprint } => form
                .append_pair("client_assertion_type", ASSERTION_TYPE)
                .append_pair("client_assertion", &self.assertion(key, thumbprint)?),
        };
        Ok(form.finish())
    }

    fn assertion(&self, key: &RsaKeyPair, thumbprint: &str) -> Result<String, Fault> {
        let now = Timestamp::now().as_second();
        let head = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint });
        let claims = json!({
            "aud": self.token_url,
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": hex::encode(rand::random::<[u8; 16]>()),
            "nbf": now - ASSERTION_SKEW_SECONDS,
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
        });
        let encoded = |json: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", encoded(head), encoded(claims));
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| Fault::transient("the assertion could not be signed"))?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[async_trait]
impl TokenSource for SignIn {
    async fn ask(&self) -> Result<Token, Fault> {
        let request = self
            .client
            .post(&self.token_url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(self.form()?);
        let answer = api::send(request).await.map_err(Fault::transient)?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        let granted: Granted = serde_json::from_slice(&answer.body)
            .map_err(|_| Fault::transient("Entra ID answered something other than a token"))?;
        Ok(Token {
            secret: granted.access_token.into(),
            api_url: None,
            lasts: granted.expires_in.map(Duration::from_secs),
        })
    }
}

fn refusal(answer: &Answer) -> Fault {
    let refused: Refused = serde_json::from_slice(&answer.body).unwrap_or_default();
    let line = refused.error_description.lines().next().unwrap_or_default();
    let told: String = line.chars().take(MAX_TOLD_CHARS).collect();
    let reason = format!("Entra ID: {} {}: {told}", answer.status.as_u16(), refused.error);
    if answer.status.as_u16() == 429 {
        return Fault::Throttled { wait: answer.retry_after().unwrap_or(DEFAULT_WAIT), reason };
    }
    let passes = answer.status.is_server_error() || PASSING.contains(&refused.error.as_str());
    if passes || refused.error.is_empty() {
        return Fault::Transient { reason, wait: answer.retry_after() };
    }
    Fault::Unauthorized { reason }
}

fn thumbprint(certificate: &Secret) -> Result<String, Mistake> {
    let der = CertificateDer::from_pem_slice(certificate.expose().as_bytes())
        .map_err(|_| Mistake::new("crm.certificate", "is no certificate in PEM"))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&der)))
}

fn key(private_key: &Secret) -> Result<RsaKeyPair, Mistake> {
    let mistake = |reason: &str| Mistake::new("crm.private_key", reason);
    let der = PrivateKeyDer::from_pem_slice(private_key.expose().as_bytes())
        .map_err(|_| mistake("is no private key in PEM"))?;
    let read = match &der {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        // The enum is not ours and may grow.
        _ => return Err(mistake("must be an RSA key")),
    };
    read.map_err(|_| mistake("must be an RSA key of 2048 to 4096 bits"))
}
