//! Who may do what. A call carries `authorization: Bearer {token}`; tokens are kept by their digest
//! alone. Each has scopes: `read`, `subscribe:{subscription}`, `subscribe:*`, `receipts`, `links`,
//! `admin`. `admin` includes all but `receipts`, which gives the raw requests. Revoking a token ends its
//! streams.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rand::RngCore;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};

use super::status;
use crate::delivery::Clock;
use crate::store::{self, Store, TokenRow};

/// How a token's text begins, so that scanners for leaked secrets find it.
const TOKEN_PREFIX: &str = "tgt_";
/// How many scopes a token may have.
pub const MAX_SCOPES: usize = 64;

/// What a call needs.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// To read events, payments, receipts without their raw requests, and subscriptions.
    Read,
    /// To use one subscription.
    Subscribe(&'a str),
    /// To read raw requests.
    Receipts,
    /// To make payment links.
    Links,
    /// To run the gateway.
    Admin,
}

/// The credentials that are valid now. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    store: Arc<dyn Store>,
    clock: Clock,
    required: bool,
    tokens: Arc<ArcSwap<HashMap<[u8; 32], Known>>>,
    /// One at a time, or an older picture could replace a newer one.
    reloading: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone)]
struct Known {
    row: Arc<TokenRow>,
    revoked: CancellationToken,
}

/// Who calls.
#[derive(Clone)]
pub struct Identity {
    token: Option<Known>,
    clock: Clock,
}

impl Auth {
    /// Loads the credentials. If none are `required`, everybody may do everything.
    pub async fn load(
        store: Arc<dyn Store>,
        clock: Clock,
        required: bool,
    ) -> Result<Auth, store::Error> {
        let (tokens, reloading) = (Arc::default(), Arc::default());
        let auth = Auth { store, clock, required, tokens, reloading };
        auth.reload().await?;
        Ok(auth)
    }

    /// Takes in what the store has now; the streams of what was revoked end.
    pub async fn reload(&self) -> Result<(), store::Error> {
        let _one_at_a_time = self.reloading.lock().await;
        let before = self.tokens.load_full();
        let mut tokens = HashMap::new();
        for row in self.store.tokens().await? {
            let known = before.get(&row.hash).map(|known| known.revoked.clone());
            let revoked = known.unwrap_or_default();
            if row.revoked_at.is_some() {
                revoked.cancel();
            }
            tokens.insert(row.hash, Known { row: Arc::new(row), revoked });
        }
        self.tokens.store(Arc::new(tokens));
        Ok(())
    }

    /// Makes a token and keeps it. Returns its text, which is kept nowhere.
    pub async fn create(
        &self,
        description: String,
        scopes: Vec<String>,
        expires_at: Option<Timestamp>,
    ) -> Result<(TokenRow, String), store::Error> {
        let (row, secret) = new_token(description, scopes, expires_at, (self.clock)());
        self.store.put_token(&row).await?;
        self.reload().await?;
        Ok((row, secret))
    }

    /// Revokes a token; `None` if there is none of this id.
    pub async fn revoke(&self, id: &str) -> Result<Option<TokenRow>, store::Error> {
        let rows = self.store.tokens().await?;
        let Some(mut row) = rows.into_iter().find(|row| row.id == id) else { return Ok(None) };
        if row.revoked_at.is_none() {
            row.revoked_at = Some((self.clock)());
            self.store.put_token(&row).await?;
        }
        self.reload().await?;
        Ok(Some(row))
    }

    fn identify<T>(&self, request: &Request<T>) -> Result<Identity, Status> {
        let clock = self.clock.clone();
        if !self.required {
            return Ok(Identity { token: None, clock });
        }
        let header = request.metadata().get("authorization");
        let text = header.and_then(|value| value.to_str().ok()).ok_or_else(unauthenticated)?;
        let secret = text
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, secret)| secret.trim())
            .ok_or_else(unauthenticated)?;
        // Looked up by digest: how long that takes tells nothing about the text.
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let known = self.tokens.load().get(&hash).cloned().ok_or_else(unauthenticated)?;
        let identity = Identity { token: Some(known), clock };
        if identity.is_over() { Err(unauthenticated()) } else { Ok(identity) }
    }
}

impl Interceptor for Auth {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let identity = self.identify(&request)?;
        request.extensions_mut().insert(identity);
        Ok(request)
    }
}

impl Identity {
    /// Of a request that passed the interceptor.
    pub fn of<T>(request: &Request<T>) -> Result<Identity, Status> {
        request.extensions().get::<Identity>().cloned().ok_or_else(unauthenticated)
    }

    /// Refuses what its scopes do not allow.
    pub fn require(&self, scope: Scope<'_>) -> Result<(), Status> {
        let Some(token) = &self.token else { return Ok(()) };
        let has = |wanted: &str| token.row.scopes.iter().any(|scope| scope == wanted);
        let (allowed, wanted) = match scope {
            Scope::Read => (has("read") || has("admin"), "read".to_owned()),
            Scope::Subscribe(name) => {
                let wanted = format!("subscribe:{name}");
                (has(&wanted) || has("subscribe:*") || has("admin"), wanted)
            }
            Scope::Receipts => (has("receipts"), "receipts".to_owned()),
            Scope::Links => (has("links") || has("admin"), "links".to_owned()),
            Scope::Admin => (has("admin"), "admin".to_owned()),
        };
        if allowed {
            return Ok(());
        }
        Err(status::with_reason(
            Code::PermissionDenied,
            "SCOPE_MISSING",
            format!("the token lacks the scope `{wanted}`"),
        ))
    }

    /// Whether the token was revoked or has expired.
    pub fn is_over(&self) -> bool {
        self.token.as_ref().is_some_and(|token| {
            token.revoked.is_cancelled()
                || token.row.expires_at.is_some_and(|at| at <= (self.clock)())
        })
    }

    /// Waits until the token is revoked.
    pub async fn revoked(&self) {
        match &self.token {
            Some(token) => token.revoked.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// The token's id, for logs.
    pub fn id(&self) -> &str {
        self.token.as_ref().map_or("anonymous", |token| &token.row.id)
    }
}

/// A new credential and its text.
pub fn new_token(
    description: String,
    scopes: Vec<String>,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> (TokenRow, String) {
    let mut random = [0; 40];
    rand::rng().fill_bytes(&mut random);
    let (id, secret) = random.split_at(8);
    let secret = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
    let row = TokenRow {
        id: hex::encode(id),
        hash: Sha256::digest(&secret).into(),
        description,
        scopes,
        created_at: now,
        expires_at,
        revoked_at: None,
    };
    (row, secret)
}

/// Refuses what is no scope.
pub fn check_scope(scope: &str) -> Result<(), String> {
    let known = matches!(scope, "read" | "receipts" | "links" | "admin" | "subscribe:*")
        || scope.strip_prefix("subscribe:").is_some_and(super::subscription::is_name);
    if known {
        return Ok(());
    }
    Err(format!(
        "`{scope}` is no scope; there are read, subscribe:NAME, subscribe:*, receipts, links, admin"
    ))
}

fn unauthenticated() -> Status {
    status::with_reason(
        Code::Unauthenticated,
        "TOKEN_INVALID",
        "a valid token is needed: authorization: Bearer TOKEN",
    )
}
