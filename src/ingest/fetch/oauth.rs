//! Access tokens by OAuth 2 (RFC 6749): client credentials and refresh tokens. A token is got once and
//! kept until shortly before it ends; whoever needs it meanwhile waits for the same one. A refresh token
//! that the provider rotates is committed to the store before the new access token is used, so that a
//! crash never leaves the gateway with one that is spent. No token is ever shown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use form_urlencoded::{Serializer, byte_serialize};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::Failure;
use super::outgoing::{Outgoing, Purpose};
use crate::ingest::{Ingest, Registered};
use crate::providers::{Call, OAuth};
use crate::store::EndpointValue;

/// How long a token is good for where the provider does not say.
const DEFAULT_LIFE: Duration = Duration::from_secs(300);
const MAX_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before its end a token is not used any more, at most.
const MAX_MARGIN: Duration = Duration::from_secs(60);
const MARGIN_PART: u32 = 10;
/// How many different tokens are kept.
const MAX_TOKENS: usize = 1024;

/// The tokens at hand.
#[derive(Default)]
pub struct Tokens {
    slots: Mutex<HashMap<[u8; 32], Arc<AsyncMutex<Slot>>>>,
}

/// One client's token. Who gets a new one holds it; others wait.
#[derive(Default)]
struct Slot {
    token: Option<(SecretString, Instant)>,
    /// A refresh token that the store does not have yet.
    unsaved: Option<SecretString>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    refresh_token: Option<String>,
}

impl Tokens {
    /// A token that is good now.
    pub async fn get(
        &self,
        ingest: &Ingest,
        registered: &Arc<Registered>,
        oauth: &OAuth,
    ) -> Result<SecretString, Failure> {
        let slot = self.slot(registered, oauth).lock_owned().await;
        if let Some(token) = slot.at_hand() {
            return Ok(token);
        }
        let (ingest, registered, oauth) = (ingest.clone(), registered.clone(), oauth.clone());
        // A task of its own: if who asks is stopped, what the provider gave is still saved.
        let renewed = tokio::spawn(async move { renew(slot, &ingest, &registered, &oauth).await });
        renewed.await.unwrap_or_else(|_| Err(Failure::again("the gateway stops".to_owned())))
    }

    /// Gives up a token that was refused, unless there is another one by now.
    pub async fn forget(&self, registered: &Registered, oauth: &OAuth, refused: &SecretString) {
        let slot = self.slot(registered, oauth);
        let mut slot = slot.lock().await;
        let is_same =
            |(token, _): &(SecretString, Instant)| token.expose_secret() == refused.expose_secret();
        if slot.token.as_ref().is_some_and(is_same) {
            slot.token = None;
        }
    }

    /// Gives up all access tokens; one that is being got meanwhile is the newest anyway.
    pub fn clear(&self) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.values() {
            if let Ok(mut slot) = slot.try_lock() {
                slot.token = None;
            }
        }
    }

    /// Waits until none is being got.
    pub async fn settle(&self) {
        let slots: Vec<_> = {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.values().cloned().collect()
        };
        for slot in slots {
            drop(slot.lock().await);
        }
    }

    fn slot(&self, registered: &Registered, oauth: &OAuth) -> Arc<AsyncMutex<Slot>> {
        let key = digest(&[
            registered.endpoint.name.as_str(),
            &oauth.token_url,
            oauth.client_id.expose_secret(),
            oauth.refresh_token.as_ref().map_or("", |token| token.expose_secret()),
            oauth.scope,
        ]);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_TOKENS && !slots.contains_key(&key) {
            let is_unsaved = |slot: &Arc<AsyncMutex<Slot>>| {
                slot.try_lock().is_ok_and(|slot| slot.unsaved.is_some())
            };
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || is_unsaved(slot));
        }
        slots.entry(key).or_default().clone()
    }
}

impl Slot {
    fn at_hand(&self) -> Option<SecretString> {
        let (token, until) = self.token.as_ref()?;
        (self.unsaved.is_none() && *until > Instant::now()).then(|| token.clone())
    }
}

async fn renew(
    mut slot: OwnedMutexGuard<Slot>,
    ingest: &Ingest,
    registered: &Registered,
    oauth: &OAuth,
) -> Result<SecretString, Failure> {
    let name = value_name(oauth);
    save(&mut slot, ingest, registered, &name).await?;
    if let Some(token) = slot.at_hand() {
        return Ok(token);
    }
    slot.token = None;
    let refresh = match &oauth.refresh_token {
        None => None,
        Some(configured) => {
            let kept = ingest.store.value(&registered.endpoint.name, &name).await;
            let kept = kept.map_err(|error| Failure::again(error.to_string()))?;
            Some(kept.map_or_else(|| configured.clone(), SecretString::from))
        }
    };
    let granted = granted(&ingest.outgoing, registered, oauth, refresh.as_ref()).await?;
    let life = life(&granted.expires_in);
    let margin = MAX_MARGIN.min(life / MARGIN_PART);
    let token = SecretString::from(granted.access_token);
    slot.token = Some((token.clone(), Instant::now() + life - margin));
    let is_new = |new: &SecretString| {
        refresh.as_ref().is_some_and(|old| old.expose_secret() != new.expose_secret())
    };
    slot.unsaved = granted.refresh_token.map(SecretString::from).filter(is_new);
    save(&mut slot, ingest, registered, &name).await?;
    Ok(token)
}

/// Commits a rotated refresh token. Until that is done it stays, and nothing is called with its access
/// token.
async fn save(
    slot: &mut Slot,
    ingest: &Ingest,
    registered: &Registered,
    name: &str,
) -> Result<(), Failure> {
    let Some(token) = &slot.unsaved else { return Ok(()) };
    let value = EndpointValue {
        endpoint: registered.endpoint.name.clone(),
        name: name.to_owned(),
        value: token.expose_secret().to_owned(),
    };
    let kept = ingest.keep(vec![value]).await;
    kept.map_err(|error| Failure::again(format!("a new refresh token was not stored: {error}")))?;
    slot.unsaved = None;
    Ok(())
}

async fn granted(
    outgoing: &Outgoing,
    registered: &Registered,
    oauth: &OAuth,
    refresh: Option<&SecretString>,
) -> Result<Granted, Failure> {
    let call = token_call(oauth, refresh);
    let answer = outgoing.send(registered, &call, None, Purpose::Facts).await?;
    if !answer.is_success() {
        let code = error_code(&answer.body).map(|code| format!(" {code}")).unwrap_or_default();
        return Err(Failure::again(format!("{call:?}: {}{code}", answer.status)));
    }
    let granted = serde_json::from_slice::<Granted>(&answer.body);
    // The error is not repeated: it may quote what was read.
    granted.map_err(|_| Failure::again(format!("{call:?}: the answer holds no access token")))
}

fn token_call(oauth: &OAuth, refresh: Option<&SecretString>) -> Call {
    let mut form = Serializer::new(String::new());
    match refresh {
        Some(token) => {
            form.append_pair("grant_type", "refresh_token");
            form.append_pair("refresh_token", token.expose_secret());
        }
        None => {
            form.append_pair("grant_type", "client_credentials");
        }
    }
    if !oauth.scope.is_empty() {
        form.append_pair("scope", oauth.scope);
    }
    let (id, secret) = (oauth.client_id.expose_secret(), oauth.client_secret.expose_secret());
    if oauth.credentials_in_body {
        form.append_pair("client_id", id).append_pair("client_secret", secret);
    }
    let call = Call::post_form(oauth.token_url.clone(), form.finish());
    let call = call.header("accept", "application/json");
    if oauth.credentials_in_body {
        return call;
    }
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let credentials = BASE64.encode(format!("{}:{}", encoded(id), encoded(secret)));
    call.header("authorization", format!("Basic {credentials}"))
}

/// The `error` of a refusal, where it is written like one.
fn error_code(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let code = answer.get("error")?.as_str()?;
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (code.len() <= 40 && code.bytes().all(is_word)).then(|| code.to_owned())
}

fn life(expires_in: &Value) -> Duration {
    let seconds = match expires_in {
        Value::Number(seconds) => seconds.as_u64(),
        Value::String(seconds) => seconds.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    seconds.map_or(DEFAULT_LIFE, Duration::from_secs).min(MAX_LIFE)
}

/// What the refresh token that came last is kept under. A newly configured one begins anew.
fn value_name(oauth: &OAuth) -> String {
    let configured = oauth.refresh_token.as_ref().map_or("", |token| token.expose_secret());
    let of = digest(&[&oauth.token_url, oauth.client_id.expose_secret(), configured]);
    format!("refresh_token:{}", hex::encode(&of[..8]))
}

fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}
