//! The HTTP clients behind all calls to providers, and the rule of where a call may go: to a host that the
//! provider's module names, over https and only at public addresses, or to where a setting of the endpoint
//! that ends in `_url` points, which is the operator's choice. Redirects are never followed, answers are
//! bounded. What went wrong is told without queries, headers or bodies, which may hold secrets.

use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderName, HeaderValue};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

use super::{Failure, Settings};
use crate::providers::{Answer, Call, Endpoint, Provider};

/// Who calls.
const USER_AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(60);
/// Settings with this end say where calls may go.
const URL_SETTING: &str = "_url";

/// The clients. They share nothing, so that no connection of one serves the other.
pub struct Clients {
    public: reqwest::Client,
    configured: reqwest::Client,
    max_response_bytes: usize,
}

/// Whose choice the host of a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The provider module's: https at public addresses.
    Public,
    /// The operator's.
    Configured,
}

/// A host whose addresses are not public.
#[derive(Debug, thiserror::Error)]
#[error("the host has no public address")]
struct NotPublic;

/// Resolves names to public addresses only.
struct PublicResolver;

/// Makes ring the cryptography of all TLS clients, if nothing is yet.
pub fn install_crypto() {
    // Only a provider that is there already makes it fail, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Clients {
    /// Fails where the system has no certificates to trust.
    pub fn new(settings: &Settings) -> Result<Clients, String> {
        install_crypto();
        let builder = || {
            reqwest::Client::builder()
                .user_agent(USER_AGENT)
                .redirect(Policy::none())
                .no_proxy()
                .referer(false)
                .pool_idle_timeout(IDLE)
                .connect_timeout(settings.connect_timeout)
                .timeout(settings.timeout)
        };
        let built =
            |client: reqwest::ClientBuilder| client.build().map_err(|error| described(&error));
        Ok(Clients {
            public: built(builder().https_only(true).dns_resolver(Arc::new(PublicResolver)))?,
            configured: built(builder())?,
            max_response_bytes: settings.max_response_bytes,
        })
    }

    /// Makes one call, with this `Authorization` header if any, and reads the whole answer.
    pub async fn execute(
        &self,
        provider: &Provider,
        endpoint: &Endpoint,
        call: &Call,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, Failure> {
        let (url, reach) = allowed(provider, endpoint, &call.url)
            .map_err(|reason| Failure::for_good(format!("{call:?}: {reason}")))?;
        let client = match reach {
            Reach::Public => &self.public,
            Reach::Configured => &self.configured,
        };
        let mut request = client.request(call.method.clone(), url).body(call.body.clone());
        for (name, value) in &call.headers {
            let header = HeaderName::try_from(*name).ok().zip(HeaderValue::try_from(value).ok());
            let (name, mut value) = header
                .ok_or_else(|| Failure::for_good(format!("{call:?}: header `{name}` is none")))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        if let Some(value) = authorization {
            request = request.header(http::header::AUTHORIZATION, value);
        }
        let failed =
            |error: reqwest::Error| Failure::again(format!("{call:?}: {}", described(&error)));
        let mut response = request.send().await.map_err(failed)?;
        let (status, headers) =
            (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > self.max_response_bytes {
                let max = self.max_response_bytes;
                return Err(Failure::again(format!("{call:?}: the answer is over {max} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body: body.freeze() })
    }
}

/// Where a call goes, if it may go there.
fn allowed(provider: &Provider, endpoint: &Endpoint, url: &str) -> Result<(Url, Reach), String> {
    let url = Url::parse(url).map_err(|_| "is no URL".to_owned())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL with credentials".to_owned());
    }
    let of_settings = endpoint.settings.iter().filter(|(name, _)| name.ends_with(URL_SETTING));
    let origins = of_settings.filter_map(|(_, value)| Url::parse(value).ok());
    let is_http = matches!(url.scheme(), "http" | "https");
    if is_http && origins.into_iter().any(|configured| configured.origin() == url.origin()) {
        return Ok((url, Reach::Configured));
    }
    if url.scheme() != "https" || url.port().is_some() {
        return Err("only https is called".to_owned());
    }
    match url.host_str().is_some_and(|host| provider.hosts.contains(&host)) {
        true => Ok((url, Reach::Public)),
        false => Err("the host is not allowed".to_owned()),
    }
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            match public.is_empty() {
                true => Err(NotPublic.into()),
                false => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

/// Whether an address is one of the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let special = (a == 192 && b == 0 && c == 0) || (a == 198 && (b == 18 || b == 19));
            !(a == 0
                || a >= 224
                || v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_documentation()
                || shared
                || special)
        }
        IpAddr::V6(v6) => {
            if let Some(mapped) = v6.to_ipv4_mapped() {
                return is_public(IpAddr::V4(mapped));
            }
            let [first, second, third, ..] = v6.segments();
            // Only 2000::/3 is routed. Of it, 6to4 and NAT64-like prefixes carry an IPv4 address inside.
            let global = first & 0xe000 == 0x2000;
            let carries_v4 = first == 0x2002 || (first == 0x2001 && second == 0);
            let documentation = (first == 0x2001 && second == 0x0db8)
                || (first == 0x3fff && second < 0x1000)
                || (first == 0x2001 && second == 2 && third == 0);
            global && !carries_v4 && !documentation
        }
    }
}

/// What went wrong, in words without the URL.
fn described(error: &reqwest::Error) -> String {
    let mut source: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(cause) = source {
        if cause.is::<NotPublic>() {
            return NotPublic.to_string();
        }
        source = cause.source();
    }
    let words = match error {
        error if error.is_timeout() => "no answer in time",
        error if error.is_connect() => "could not connect",
        error if error.is_body() || error.is_decode() => "the answer broke off",
        error if error.is_builder() => "the client could not be made",
        _ => "the connection failed",
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EndpointName;
    use crate::providers::PROVIDERS;

    #[test]
    fn only_public_addresses_are_called() {
        for refused in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.8",
            "198.18.0.1",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(refused.parse().expect("an address")), "{refused}");
        }
        for public in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
    }

    #[test]
    fn only_the_hosts_of_provider_and_settings_are_called() {
        let provider = Provider { hosts: &["api.acme.test"], ..PROVIDERS[0] };
        let settings =
            [("api_url", "http://127.0.0.1:8080/base"), ("other", "https://elsewhere.test")];
        let endpoint = Endpoint {
            name: EndpointName::new("acme", "test").expect("a name"),
            path: "/x".to_owned(),
            url: "https://hooks.test/x".to_owned(),
            secrets: Default::default(),
            settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        let reach = |url: &str| allowed(&provider, &endpoint, url).ok().map(|(_, reach)| reach);
        assert_eq!(reach("https://api.acme.test/v1?a=b"), Some(Reach::Public));
        assert_eq!(reach("http://127.0.0.1:8080/v1"), Some(Reach::Configured));
        for refused in [
            "http://api.acme.test/v1",
            "https://api.acme.test:8443/v1",
            "https://user@api.acme.test/v1",
            "https://api.acme.test.evil.test/v1",
            "https://evil.test/api.acme.test",
            "https://api.acme.test@evil.test/",
            "https://127.0.0.1:8080/v1",
            "http://127.0.0.1:8081/v1",
            "http://127.0.0.1/v1",
            "https://elsewhere.test/",
            "file:///etc/passwd",
            "no url",
        ] {
            assert_eq!(reach(refused), None, "{refused}");
        }
    }
}
