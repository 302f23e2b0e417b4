//! Visits of tracked links, `GET /l/{token}`: recognises the token before the store is asked, counts the
//! visit and leads on. Machines that look ahead, and visits repeated within the window, are led on without
//! being counted. The visitor's address is used to limit visits and, like the user agent, kept nowhere.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use governor::clock::DefaultClock;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::Peer;
use crate::config::Network;
use crate::ingest::Clock;
use crate::ingest::links::{Counted, Links, PATH};

/// How long a visitor waits for the commit that counts the visit.
const MAX_VISITOR_WAIT: Duration = Duration::from_secs(2);
/// When a visitor who was refused may try again, in seconds.
const RETRY_AFTER_SECONDS: &str = "60";
/// Where proxies tell whom they stand for.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Headers by which browsers tell that they only look ahead, and what they say then.
const LOOK_AHEAD_HEADERS: &[&str] = &["sec-purpose", "purpose", "x-purpose", "x-moz"];
const LOOK_AHEAD_WORDS: &[&str] = &["prefetch", "prerender", "preview"];
/// What user agents of link previews, mail scanners and crawlers hold, in lower case.
const MACHINES: &[&str] = &[
    "adsbot",
    "ahrefsbot",
    "applebot",
    "baiduspider",
    "barracuda",
    "bingbot",
    "bingpreview",
    "bitlybot",
    "bytespider",
    "chatgpt-user",
    "crawler",
    "discordbot",
    "duckduckbot",
    "embedly",
    "facebookexternalhit",
    "facebot",
    "google-pagerenderer",
    "google-read-aloud",
    "googlebot",
    "googleother",
    "headlesschrome",
    "iframely",
    "ia_archiver",
    "linkedinbot",
    "mastodon",
    "mattermost",
    "meta-externalagent",
    "microsoftpreview",
    "mimecast",
    "pinterestbot",
    "proofpoint",
    "redditbot",
    "rocket.chat",
    "semrushbot",
    "signal-desktop",
    "skypeuripreview",
    "slackbot",
    "slack-imgproxy",
    "slurp",
    "snapchatads",
    "synapse",
    "teamsbot",
    "telegrambot",
    "tumblr",
    "twitterbot",
    "viber",
    "vkshare",
    "whatsapp",
    "yandexbot",
    "zoombot",
];

/// An address is one of so many slots, at random: memory stays bounded whoever comes.
type Slot = u16;
type Limiter = RateLimiter<Slot, DashMapStateStore<Slot>, DefaultClock>;

/// What visits need.
#[derive(Clone)]
pub struct Visits {
    links: Links,
    clock: Clock,
    limiter: Arc<Limiter>,
    slots: std::hash::RandomState,
    trusted_proxies: Arc<[Network]>,
    /// Whether it was said that visits come through a proxy that is not trusted.
    warned: Arc<AtomicBool>,
}

/// Why a visit was not led on.
enum Refusal {
    /// 405: links are followed.
    Method,
    /// 429: too many from one address.
    TooMany,
    /// 404: no such link.
    Unknown,
    /// 410: it has expired.
    Expired,
    /// 503: the store could not be read.
    Unreadable,
}

impl Visits {
    /// Visits of these links, so many a minute from one address. Requests of `trusted_proxies` tell in
    /// `X-Forwarded-For` where they come from.
    pub fn new(
        links: Links,
        clock: Clock,
        max_visits_per_minute: NonZeroU32,
        trusted_proxies: Vec<Network>,
    ) -> Visits {
        let limiter = Arc::new(Limiter::keyed(Quota::per_minute(max_visits_per_minute)));
        let slots = std::hash::RandomState::new();
        let warned = Arc::default();
        Visits { links, clock, limiter, slots, trusted_proxies: trusted_proxies.into(), warned }
    }

    /// The one route.
    pub fn router(self) -> Router {
        Router::new().route(&format!("{PATH}{{token}}"), any(handle)).with_state(self)
    }

    /// Where the visitor is led, or why not.
    async fn visit(&self, request: Parts) -> Result<String, Refusal> {
        if request.method != Method::GET && request.method != Method::HEAD {
            return Err(Refusal::Method);
        }
        if self.limiter.check_key(&self.slot(self.visitor(&request))).is_err() {
            self.warn_of_proxy(&request);
            return Err(Refusal::TooMany);
        }
        let token = request.uri.path().strip_prefix(PATH).unwrap_or_default();
        let id = self.links.authentic(token).ok_or(Refusal::Unknown)?;
        let found = self.links.find(&id).await.map_err(|error| {
            tracing::error!(%error, "a link could not be read");
            Refusal::Unreadable
        })?;
        let link = found.ok_or(Refusal::Unknown)?;
        let now = (self.clock)();
        if link.expires_at.is_some_and(|at| at <= now) {
            return Err(Refusal::Expired);
        }
        if request.method == Method::HEAD || looks_ahead(&request.headers) {
            count("not_a_visit");
            return Ok(link.target_url);
        }
        let counting = self.links.count(&link, now);
        match tokio::time::timeout(MAX_VISITOR_WAIT, counting).await {
            Ok(Ok(Counted::Once)) => count("counted"),
            Ok(Ok(Counted::Before)) => count("repeated"),
            Ok(Err(error)) => {
                tracing::error!(%error, "a visit of a link was not counted");
                count("not_counted");
            }
            // It is in the writer's queue and may be committed yet.
            Err(_) => {
                tracing::warn!("a visit of a link was led on before it was committed");
                count("not_waited_for");
            }
        }
        Ok(link.target_url)
    }

    /// The address that the visit comes from: the last one that no trusted proxy has.
    fn visitor(&self, request: &Parts) -> IpAddr {
        let peer = request.extensions.get::<Peer>().map(|peer| peer.0);
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical();
        let trusted = |address: &IpAddr| self.trusted_proxies.iter().any(|it| it.has(*address));
        if !trusted(&peer) {
            return peer;
        }
        let values = request.headers.get_all(FORWARDED_FOR).iter();
        let texts: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        let addresses = texts.iter().flat_map(|text| text.split(',')).rev();
        addresses
            .map_while(|text| address_of(text.trim()))
            .map(|address| address.to_canonical())
            .find(|address| !trusted(address))
            .unwrap_or(peer)
    }

    /// Behind a proxy that is not trusted all visitors share one limit; it is said once.
    fn warn_of_proxy(&self, request: &Parts) {
        let forwarded =
            self.trusted_proxies.is_empty() && request.headers.contains_key(FORWARDED_FOR);
        if forwarded && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "too many visits of links come through a proxy that `links.trusted_proxies` does not name"
            );
        }
    }

    fn slot(&self, address: IpAddr) -> Slot {
        let hash = match address {
            IpAddr::V4(address) => self.slots.hash_one(address.octets()),
            // Whoever has one address of version 6 has the whole network.
            IpAddr::V6(address) => self.slots.hash_one(&address.segments()[..4]),
        };
        let [a, b, ..] = hash.to_be_bytes();
        Slot::from_be_bytes([a, b])
    }
}

/// An address, or one with its port, as some proxies write it.
fn address_of(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port)
}

async fn handle(State(visits): State<Visits>, request: Request) -> Response {
    match visits.visit(request.into_parts().0).await {
        Ok(target) => led_to(&target),
        Err(refusal) => refused(&refusal),
    }
}

fn looks_ahead(headers: &HeaderMap) -> bool {
    let holds = |name: &str, words: &[&str]| {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|value| {
            let value = value.to_ascii_lowercase();
            words.iter().any(|word| value.contains(word))
        })
    };
    LOOK_AHEAD_HEADERS.iter().any(|name| holds(name, LOOK_AHEAD_WORDS))
        || holds(header::USER_AGENT.as_str(), MACHINES)
}

fn count(outcome: &'static str) {
    metrics::counter!("tollgate_link_visits_total", "outcome" => outcome).increment(1);
}

fn led_to(target: &str) -> Response {
    let Ok(target) = HeaderValue::from_str(target) else { return refused(&Refusal::Unknown) };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, target);
    private(response.headers_mut());
    response
}

fn refused(refusal: &Refusal) -> Response {
    let (status, outcome, text) = match refusal {
        Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "method", "links are followed\n"),
        Refusal::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too_many", "too many requests\n"),
        Refusal::Unknown => (StatusCode::NOT_FOUND, "unknown", "no such link\n"),
        Refusal::Expired => (StatusCode::GONE, "expired", "this link has expired\n"),
        Refusal::Unreadable => {
            (StatusCode::SERVICE_UNAVAILABLE, "unreadable", "try again in a minute\n")
        }
    };
    count(outcome);
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    private(headers);
    response
}

/// Nobody on the way keeps it, and the next page does not learn of it.
fn private(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_only_look_ahead_are_told_apart() {
        let told = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            looks_ahead(&headers)
        };
        assert!(told("sec-purpose", "prefetch;prerender"));
        assert!(told("purpose", "Prefetch"));
        assert!(told("x-purpose", "preview"));
        assert!(told("x-moz", "prefetch"));
        assert!(told("user-agent", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"));
        assert!(told("user-agent", "facebookexternalhit/1.1"));
        assert!(!told("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"));
        assert!(!told("sec-fetch-mode", "navigate"));
    }
}
