//! What a provider module asks of its provider's own API, as data: keys that a signature needs, what thin
//! webhooks leave out, confirmations, and lists to poll. A module only says which call comes next and what
//! the answers mean; `ingest::fetch` carries the calls out, with tokens, retries and limits. Nothing here
//! does I/O, and nothing may call a host that is neither in `Provider::hosts` nor in a setting of the
//! endpoint.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use crate::model::Draft;

use super::Endpoint;

/// One call to a provider's API.
#[derive(Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: String,
    /// Headers beside those that `auth` gives. Values may be secrets; they are never shown.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty for none. It may hold secrets; it is never shown.
    pub body: Bytes,
    /// How the call is authorised.
    pub auth: Auth,
    /// Whether a 401 that a new token does not help is an answer for the module, and no failure.
    pub takes_401: bool,
}

/// How a call is authorised.
#[derive(Clone, Default)]
pub enum Auth {
    /// By nothing, or by what the call itself holds.
    #[default]
    None,
    /// By an access token that is got first, kept until it ends, and got anew once on a 401.
    OAuth(Box<OAuth>),
}

/// Where and how to get an access token (RFC 6749).
#[derive(Clone)]
pub struct OAuth {
    /// The token endpoint.
    pub token_url: String,
    /// The client's id.
    pub client_id: SecretString,
    /// The client's secret.
    pub client_secret: SecretString,
    /// Whether the client's credentials go into the form instead of a Basic header.
    pub credentials_in_body: bool,
    /// The configured refresh token; one that the provider gave since, which is kept in the store, goes
    /// before it. `None` asks by client credentials.
    pub refresh_token: Option<SecretString>,
    /// The scope to ask for; empty for none.
    pub scope: &'static str,
    /// What stands before the token in `Authorization`: `Bearer`.
    pub scheme: &'static str,
}

/// What an API answered: a success, or a refusal that another try would not change (a 404, a 422).
/// Throttling, server errors and expired tokens are dealt with before a module sees anything.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, complete and bounded.
    pub body: Bytes,
}

/// What a receipt leaves to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The object it is about, unique within the endpoint: `payments/tr_1`. Fetches of one object that
    /// wait at the same time share their answers.
    pub object: String,
    /// What the webhook told of it, in a form of the module's own.
    pub told: String,
}

/// A fetch under way.
pub struct Fetching<'a> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// The fetch.
    pub fetch: &'a Fetch,
    /// When what asked for it was received.
    pub received_at: Timestamp,
    /// The clock.
    pub now: Timestamp,
    /// What the last fetch of this object left to go on from; empty at first.
    pub cursor: &'a str,
    /// The answers so far, in the order of the calls.
    pub answers: &'a [Answer],
}

/// What comes next in a fetch.
#[derive(Clone)]
pub enum Step {
    /// This call; its answer is added to the others.
    Call(Call),
    /// All is known.
    Done {
        /// The facts, in order. Their keys are digests of the state that was fetched, unless the webhook
        /// had an id for each.
        drafts: Vec<Draft>,
        /// Where the next fetch of this object goes on, kept in the same commit; `None` leaves it.
        cursor: Option<String>,
    },
    /// The provider does not know of it. An unconfirmed receipt is purged, any other gives no event.
    Denied,
    /// Not known yet, with the reason: the same again later.
    Later(String),
}

/// A key that a signature needs.
#[derive(Clone)]
pub struct KeyRequest {
    /// What it is kept under.
    pub id: String,
    /// How to get it.
    pub call: Call,
    /// How long it is good for.
    pub max_age: SignedDuration,
}

/// A fetched key, as the provider wrote it.
#[derive(Clone, Debug)]
pub struct Key {
    /// The body of the answer.
    pub body: Bytes,
    /// When it was fetched.
    pub fetched_at: Timestamp,
}

/// The keys at hand, by the ids of their requests.
#[derive(Clone, Debug, Default)]
pub struct Keys(HashMap<String, Key>);

impl Call {
    /// A GET that asks for JSON.
    pub fn get(url: String) -> Call {
        Call::new(Method::GET, url, Bytes::new()).header("accept", "application/json")
    }

    /// A POST of JSON.
    pub fn post_json(url: String, body: &serde_json::Value) -> Call {
        let call = Call::new(Method::POST, url, body.to_string().into());
        call.header("content-type", "application/json").header("accept", "application/json")
    }

    /// A POST of a form that is encoded already.
    pub fn post_form(url: String, body: impl Into<Bytes>) -> Call {
        let call = Call::new(Method::POST, url, body.into());
        call.header("content-type", "application/x-www-form-urlencoded")
    }

    /// A call without headers.
    pub fn new(method: Method, url: String, body: Bytes) -> Call {
        Call { method, url, headers: Vec::new(), body, auth: Auth::None, takes_401: false }
    }

    /// With this header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Call {
        self.headers.push((name, value.into()));
        self
    }

    /// For a module that says itself what a 401 means.
    pub fn taking_401(mut self) -> Call {
        self.takes_401 = true;
        self
    }

    /// Authorised so.
    pub fn auth(mut self, auth: Auth) -> Call {
        self.auth = auth;
        self
    }
}

impl Answer {
    /// Whether it is a 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Keys {
    /// These keys.
    pub fn new(keys: HashMap<String, Key>) -> Keys {
        Keys(keys)
    }

    /// The key of this id, if it is at hand.
    pub fn get(&self, id: &str) -> Option<&Key> {
        self.0.get(id)
    }
}

impl fmt::Debug for KeyRequest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "key {}", self.id)
    }
}

/// Only what tells calls apart: headers, bodies and queries may hold secrets.
impl fmt::Debug for Call {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.split('?').next().unwrap_or_default();
        write!(out, "{} {url}", self.method)
    }
}
