//! The token endpoint: assertions signed with the app's key, and the app's secret. In comes a form, out goes
//! a token with the address of the API and without a lifetime, or an OAuth error. An assertion is held
//! against real time, since the connector signs it by that; the lifetime of tokens runs on the double's.

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};

use super::{CLIENT_ID, CLIENT_SECRET, ORG_ID, Salesforce, USER_ID, USERNAME};
use crate::{Reply, Request};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// An assertion ends within this.
const MAX_ASSERTION_SECONDS: i64 = 300;
const AUDIENCES: &[&str] = &["https://login.salesforce.com", "https://test.salesforce.com"];

/// The public half of a key, as the app's certificate has it.
pub(super) fn public_key(pem: &str) -> Vec<u8> {
    key_pair(pem).public_key().as_ref().to_vec()
}

fn key_pair(pem: &str) -> RsaKeyPair {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(base64.trim()).expect("the key of the double is base64");
    RsaKeyPair::from_pkcs8(&der).expect("the key of the double is an RSA key")
}

/// An assertion of these claims, signed with the app's key.
#[cfg(test)]
pub(super) fn signed(claims: &Value) -> String {
    let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", encode(&json!({ "alg": "RS256" })), encode(claims));
    let key = key_pair(super::PRIVATE_KEY);
    let mut signature = vec![0; key.public().modulus_len()];
    let random = ring::rand::SystemRandom::new();
    key.sign(&ring::signature::RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
        .expect("the system has random bytes");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

impl Salesforce {
    pub(super) fn login(&self, request: &Request) -> Reply {
        if request.path != "/services/oauth2/token" {
            return Reply::html(404, "<html><body>URL No Longer Exists</body></html>");
        }
        if request.method != http::Method::POST {
            return denied("invalid_request", "must use HTTP POST");
        }
        if request.content_type().as_deref() != Some("application/x-www-form-urlencoded") {
            return denied("unsupported_grant_type", "grant type not supported");
        }
        let form = request.form();
        let field = |name: &str| {
            form.iter().find(|(sent, _)| sent == name).map(|(_, value)| value.as_str())
        };
        let denial = match field("grant_type") {
            Some(JWT_BEARER) => self.denied_assertion(field("assertion").unwrap_or_default()),
            Some("client_credentials") => {
                denied_secret(request, field("client_id"), field("client_secret"))
            }
            Some(_) | None => Some(denied("unsupported_grant_type", "grant type not supported")),
        };
        denial.unwrap_or_else(|| self.granted())
    }

    fn granted(&self) -> Reply {
        let token = format!("{ORG_ID}!{}", crate::ids::hex_32());
        self.tokens.insert(&token, ORG_ID);
        Reply::json(
            200,
            &json!({
                "access_token": token,
                "scope": "api",
                "instance_url": self.site.api_url,
                "id": format!("https://login.salesforce.com/id/{ORG_ID}/{USER_ID}"),
                "token_type": "Bearer",
            }),
        )
    }

    fn denied_assertion(&self, assertion: &str) -> Option<Reply> {
        let denial = |why: &str| Some(denied("invalid_grant", why));
        let Some((signed, signature)) = assertion.rsplit_once('.') else {
            return denial("invalid assertion");
        };
        let Some((header, claims)) = signed.split_once('.') else {
            return denial("invalid assertion");
        };
        let read = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let (Some(header), Some(claims)) = (read(header), read(claims)) else {
            return denial("invalid assertion");
        };
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public_key);
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        if header["alg"] != "RS256" || key.verify(signed.as_bytes(), &signature).is_err() {
            return denial("invalid assertion");
        }
        let audience = claims["aud"].as_str().unwrap_or_default();
        let own =
            [self.site.auth_url.clone(), self.site.auth_url.replace("127.0.0.1", "localhost")];
        let mut known = own.iter().chain(&self.settings.audiences);
        if !AUDIENCES.contains(&audience) && !known.any(|known| known == audience) {
            return denial("audience is invalid");
        }
        if claims["iss"] != CLIENT_ID {
            return Some(denied("invalid_client_id", "client identifier invalid"));
        }
        let now = Timestamp::now().as_second();
        let ends = claims["exp"].as_i64().unwrap_or_default();
        if ends <= now || ends > now + MAX_ASSERTION_SECONDS {
            return denial("expired authorization code");
        }
        if claims["sub"] != USERNAME || !self.org.lock().is_approved {
            return denial("user hasn't approved this consumer");
        }
        None
    }
}

fn denied_secret(request: &Request, id: Option<&str>, secret: Option<&str>) -> Option<Reply> {
    if request.header("host").is_some_and(|host| host.starts_with("localhost")) {
        return Some(denied("invalid_request", "request not supported on this domain"));
    }
    let basic = request.credential("Basic").and_then(|basic| STANDARD.decode(basic).ok());
    let basic = basic.and_then(|basic| String::from_utf8(basic).ok());
    let shown = match basic.as_deref().and_then(|basic| basic.split_once(':')) {
        Some(shown) => shown,
        None => (id.unwrap_or_default(), secret.unwrap_or_default()),
    };
    match shown {
        (CLIENT_ID, CLIENT_SECRET) => None,
        (CLIENT_ID, _) => Some(denied("invalid_client", "invalid client credentials")),
        (_, _) => Some(denied("invalid_client_id", "client identifier invalid")),
    }
}

fn denied(error: &str, description: &str) -> Reply {
    Reply::json(400, &json!({ "error": error, "error_description": description }))
}
