//! The double's webhooks, as far as a receiver can tell them from the vendor's: first a challenge, which
//! must be echoed, then events with a JWT (HS256) in the header, tried again each minute for half an hour.
//! It sends to the loopback only.

use std::{io, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use jiff::Timestamp;
use ring::hmac;
use serde_json::{Value, json};

use crate::{Clock, Reply, callback, ids};

const TIMEOUT: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_secs(60);
const MAX_TRIES: u32 = 31;
const TOKEN_LIFE_SECONDS: i64 = 300;

/// A webhook of a board.
pub struct Webhook {
    url: String,
    signing_secret: String,
    clock: Clock,
}

impl Webhook {
    /// Subscribes a URL: it must echo a challenge, and nothing else counts.
    pub async fn subscribe(url: &str, signing_secret: &str, clock: Clock) -> io::Result<Webhook> {
        let challenge = json!({ "challenge": ids::hex_32() });
        let body = Bytes::from(challenge.to_string());
        let headers = [("content-type", "application/json")];
        let reply = callback::post(url, &headers, body, TIMEOUT).await?;
        let echoed = reply.body_json().ok();
        if reply.status != 200 || echoed.as_ref() != Some(&challenge) {
            return Err(io::Error::other("the challenge was not echoed"));
        }
        let (url, signing_secret) = (url.to_owned(), signing_secret.to_owned());
        Ok(Webhook { url, signing_secret, clock })
    }

    /// Sends an event until it is answered with 200, and tells how many tries it took; `None` if it was
    /// dropped. Between tries the double's clock is moved.
    pub async fn send(&self, mut event: Value) -> Option<u32> {
        event["triggerUuid"] = json!(ids::hex_32());
        for attempt in 1..=MAX_TRIES {
            event["isRetry"] = json!(attempt > 1);
            if self.once(&event).await.is_ok_and(|reply| reply.status == 200) {
                return Some(attempt);
            }
            self.clock.advance(BETWEEN_TRIES);
        }
        None
    }

    async fn once(&self, event: &Value) -> io::Result<Reply> {
        let token = self.token(self.clock.now());
        let headers = [("content-type", "application/json"), ("authorization", token.as_str())];
        let body = Bytes::from(json!({ "event": event }).to_string());
        callback::post(&self.url, &headers, body, TIMEOUT).await
    }

    fn token(&self, now: Timestamp) -> String {
        let now = now.as_second();
        let claims = json!({
            "accountId": super::ACCOUNT_ID, "userId": 4_012_689, "aud": self.url,
            "exp": now + TOKEN_LIFE_SECONDS, "iat": now, "shortLivedToken": ids::hex_32()
        });
        let header = json!({ "alg": "HS256", "typ": "JWT" });
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.signing_secret.as_bytes());
        let signature = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
