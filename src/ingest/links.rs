//! Tracked links: makes them for callers, recognises them when they are visited, and counts a visit as an
//! event of the gateway's own. A token is a random id with a MAC, so that guessing costs an attacker and not
//! the store; it says nothing about anybody. It must never lead to a host that is not configured now, and no
//! address or user agent of a visitor comes in here.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use lru::LruCache;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

use super::{Error, Ingest, overdue};
use crate::model::{
    CustomerAction, CustomerActionFact, Draft, EndpointName, Fact, References, Subject, SubjectKind,
};
use crate::store::{self, Condition, LinkRow, Own, Store};

/// The path below which links are visited.
pub const PATH: &str = "/l/";
/// The endpoint that visits are events of.
const PROVIDER: &str = "tollgate";
const NAME: &str = "links";
const EVENT_TYPE: &str = "tollgate.link.opened";
/// What the MAC is about, so that the key serves nothing else.
const PURPOSE: &[u8] = b"tollgate link v1";
const ID_BYTES: usize = 16;
const MAC_BYTES: usize = 16;
/// Both in base64url.
const TOKEN_CHARACTERS: usize = 43;
/// The longest target that a link may have, in bytes.
const MAX_TARGET_BYTES: usize = 4096;
/// How many visits are remembered as counted, so that repeated ones need no commit.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).expect("more than none");

/// How long an expired link is still told from one that never was.
const KEPT_AFTER_EXPIRY: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How often older ones are forgotten, with what they refer to.
const TIDY_INTERVAL: Duration = Duration::from_secs(600);

/// How links are made and counted.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the outside reaches the gateway, without a slash at the end.
    pub public_url: String,
    /// The hosts that links may lead to, exactly; with a port where it is not 443.
    pub allowed_hosts: Vec<String>,
    /// What authenticates tokens; one that the store makes up where none is configured.
    pub key: Option<SecretString>,
    /// Visits of one link within it count once.
    pub visit_window: Duration,
}

/// The tracked links of a gateway. Cheap to clone.
#[derive(Clone)]
pub struct Links {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    ingest: Ingest,
    settings: Settings,
    endpoint: EndpointName,
    /// The first makes tokens, all recognise them.
    keys: Vec<Vec<u8>>,
    counted: Mutex<LruCache<([u8; ID_BYTES], i64), ()>>,
}

/// What a link is to be.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where it leads.
    pub target_url: String,
    /// What it is about, if that is known.
    pub subject: Option<Subject>,
    /// What a record elsewhere can be found by.
    pub references: References,
    /// False for a link of a test.
    pub live: bool,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// Why a link was not made.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No host is configured that a link may lead to.
    #[error("no host is configured that links may lead to (`links.allowed_hosts`)")]
    NotConfigured,
    /// The target is not one that a link may lead to.
    #[error("{0}")]
    Target(String),
    /// The subject is none that a link can be about.
    #[error("{0}")]
    Subject(String),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What became of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It is an event now.
    Once,
    /// Another one within the window was.
    Before,
}

impl Links {
    /// With the key that is configured, or the one that the store keeps.
    pub async fn load(
        store: Arc<dyn Store>,
        ingest: Ingest,
        settings: Settings,
    ) -> Result<Links, store::Error> {
        let configured = settings.key.as_ref().map(|key| key.expose_secret().as_bytes().to_vec());
        // Links made before a key was configured go on working.
        let kept = store.link_key().await?.to_vec();
        let keys = configured.into_iter().chain([kept]).collect();
        let endpoint = EndpointName::new(PROVIDER, NAME).expect("both are words");
        let counted = Mutex::new(LruCache::new(MAX_REMEMBERED));
        let inner = Inner { store, ingest, settings, endpoint, keys, counted };
        Ok(Links { inner: Arc::new(inner) })
    }

    /// Makes a link and keeps it; its URL and what it is.
    pub async fn create(&self, order: Order, now: Timestamp) -> Result<(String, LinkRow), Refusal> {
        let Inner { settings, store, endpoint, .. } = &*self.inner;
        if settings.allowed_hosts.is_empty() {
            return Err(Refusal::NotConfigured);
        }
        check_target(&order.target_url, &settings.allowed_hosts).map_err(Refusal::Target)?;
        let id: [u8; ID_BYTES] = rand::random();
        let mut references = order.references.bounded();
        let own = || Subject {
            kind: SubjectKind::PaymentRequest,
            endpoint: endpoint.clone(),
            id: hex::encode(id),
        };
        let subject = match order.subject {
            None => own(),
            Some(subject) => match subject.kind {
                SubjectKind::PaymentRequest => subject,
                SubjectKind::Payment => {
                    fill(&mut references.payment, subject.id);
                    own()
                }
                SubjectKind::Invoice => {
                    fill(&mut references.invoice, subject.id);
                    own()
                }
                SubjectKind::BankTransaction => {
                    let reason = "a link cannot be about a bank transaction";
                    return Err(Refusal::Subject(reason.to_owned()));
                }
            },
        };
        let link = LinkRow {
            id,
            target_url: order.target_url,
            subject: subject.to_string(),
            references,
            live: order.live,
            created_at: now,
            expires_at: order.expires_at,
        };
        store.put_link(&link).await?;
        Ok((format!("{}{PATH}{}", settings.public_url, self.token(&id)), link))
    }

    /// The link's id, if the token is one that was made here. It asks nobody.
    pub fn authentic(&self, token: &str) -> Option<[u8; ID_BYTES]> {
        if token.len() != TOKEN_CHARACTERS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (id, mac) = bytes.split_at_checked(ID_BYTES)?;
        let id: [u8; ID_BYTES] = id.try_into().ok()?;
        let is_mac = |key: &Vec<u8>| mac_of(key, &id).verify_truncated_left(mac).is_ok();
        (mac.len() == MAC_BYTES && self.inner.keys.iter().any(is_mac)).then_some(id)
    }

    /// The link, if it is there and may lead where it does.
    pub async fn find(&self, id: &[u8; ID_BYTES]) -> Result<Option<LinkRow>, store::Error> {
        let hosts = &self.inner.settings.allowed_hosts;
        let link = self.inner.store.link(id).await?;
        Ok(link.filter(|link| check_target(&link.target_url, hosts).is_ok()))
    }

    /// Counts a visit; it returns once that is committed.
    pub async fn count(&self, link: &LinkRow, now: Timestamp) -> Result<Counted, Error> {
        let Inner { settings, ingest, endpoint, .. } = &*self.inner;
        let window_seconds = i64::try_from(settings.visit_window.as_secs()).unwrap_or(i64::MAX);
        let window = now.as_second().div_euclid(window_seconds.max(1));
        let visit = (link.id, window);
        if self.counted().get(&visit).is_some() {
            return Ok(Counted::Before);
        }
        let Ok(subject) = link.subject.parse::<Subject>() else {
            return Err(Error::Failed(format!("the subject of link {}", hex::encode(link.id))));
        };
        let key = format!("{}:{window_seconds}:{window}", hex::encode(link.id));
        let draft = Draft {
            event_id: key.clone(),
            key,
            event_type: EVENT_TYPE.to_owned(),
            occurred_at: now,
            version: 0,
            rank: 0,
            subject,
            references: link.references.clone(),
            live: link.live,
            fact: Fact::CustomerAction(CustomerActionFact {
                action: CustomerAction::LinkOpened,
                amount: None,
                detail: String::new(),
            }),
        };
        let endpoint = endpoint.clone();
        let condition = Condition::Always;
        let head = self.inner.store.head().await.map_err(Error::from)?.sequence;
        let own = Own { endpoint, received_at: now, draft, condition };
        let sequence = ingest.append(own).await?;
        self.counted().put(visit, ());
        Ok(if sequence > Some(head) { Counted::Once } else { Counted::Before })
    }

    /// Forgets links that expired long ago, until `stopping`.
    pub async fn tidy(self, clock: overdue::Clock, stopping: CancellationToken) {
        loop {
            let before = clock().saturating_sub(KEPT_AFTER_EXPIRY);
            let forgotten = match before {
                Ok(before) => self.inner.store.forget_links(before).await,
                Err(_) => Ok(()),
            };
            if let Err(error) = forgotten {
                tracing::warn!(%error, "expired links are forgotten later");
            }
            let pause = tokio::time::sleep(TIDY_INTERVAL);
            if stopping.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    fn token(&self, id: &[u8; ID_BYTES]) -> String {
        let key = self.inner.keys.first().map_or(&[][..], Vec::as_slice);
        let mac = mac_of(key, id).finalize().into_bytes();
        let mac = mac.get(..MAC_BYTES).unwrap_or_default();
        URL_SAFE_NO_PAD.encode([&id[..], mac].concat())
    }

    fn counted(&self) -> std::sync::MutexGuard<'_, LruCache<([u8; ID_BYTES], i64), ()>> {
        self.inner.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fill(text: &mut String, value: String) {
    if text.is_empty() {
        *text = value;
    }
}

fn mac_of(key: &[u8], id: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("an HMAC key may have any length");
    mac.update(PURPOSE);
    mac.update(id);
    mac
}

/// Refuses what is not a plain https URL at one of these hosts. Whatever two readers of a URL could read
/// differently (spaces, backslashes, user names) is refused too.
fn check_target(url: &str, hosts: &[String]) -> Result<(), String> {
    if url.len() > MAX_TARGET_BYTES {
        return Err(format!("is longer than {MAX_TARGET_BYTES} bytes"));
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte);
    let rest = url.strip_prefix("https://").filter(|_| url.bytes().all(plain));
    let Some(rest) = rest else {
        return Err("is not a plain https URL".to_owned());
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let host = authority.strip_suffix(":443").unwrap_or(&authority);
    match hosts.iter().any(|allowed| allowed == host) {
        true => Ok(()),
        // The host is the caller's own word; the rest of the URL may be a secret.
        false => Err(format!("`{host}` is not one of `links.allowed_hosts`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_lead_to_the_configured_hosts_alone() {
        let hosts = ["pay.example.com".to_owned(), "shop.example.com:8443".to_owned()];
        for good in [
            "https://pay.example.com",
            "https://PAY.example.com/c/1?a=b#fid_x",
            "https://pay.example.com:443/",
            "https://shop.example.com:8443/x",
        ] {
            assert_eq!(check_target(good, &hosts), Ok(()), "{good}");
        }
        for bad in [
            "",
            "http://pay.example.com/",
            "https:/pay.example.com/",
            "//pay.example.com/",
            "javascript:alert(1)",
            "https://evil.example.com/",
            "https://pay.example.com.evil.example.com/",
            "https://pay.example.com@evil.example.com/",
            "https://user@pay.example.com/",
            "https://pay.example.com\\@evil.example.com/",
            "https://pay.example.com /",
            "https://pay.example.com\r\nset-cookie: a=b",
            "https://pay.example.com:8443/",
            "https://pay.example.com./",
            "https://shop.example.com/",
            "https://p\u{e4}y.example.com/",
        ] {
            assert!(check_target(bad, &hosts).is_err(), "{bad}");
        }
    }
}
