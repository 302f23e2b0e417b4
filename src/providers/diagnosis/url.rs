//! URLs that go wrong where a provider signs the URL that it calls: another scheme, host or port outside a
//! proxy than inside, a path that a proxy shortens, a slash or a query too many. A URL that is kept as a
//! secret is described by what is otherwise in it and never shown.

use http::HeaderMap;
use secrecy::ExposeSecret;

use super::{Case, Cause, Change, Edit};

const ADVICE: &str = "the provider signs the URL as it is configured there: make `http.public_url` and the \
                      endpoint's `path` (or the setting that holds the URL) say the same, letter by letter";
/// Headers in which proxies tell the host and the path that were called.
const HOST_HEADERS: &[&str] = &["host", "x-forwarded-host", "x-original-host"];
const PATH_HEADERS: &[&str] = &["x-original-uri", "x-forwarded-uri", "x-original-url"];
const PREFIX_HEADER: &str = "x-forwarded-prefix";

/// A URL taken apart, as text.
struct Parts<'a> {
    scheme: &'a str,
    authority: &'a str,
    /// With the query.
    path: &'a str,
}

/// What may be wrong with the URLs of an endpoint and the path of its request.
pub fn changes(case: &Case<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    let request = case.request;
    let mut add = |place: &str, url: &str, edit: &dyn Fn(String) -> Edit| {
        for (how, url) in variants(url, &request.path, &request.headers) {
            changes.push(change(format!("with {how} in {place}"), edit(url)));
        }
    };
    add("the endpoint's URL", &case.endpoint.url, &Edit::Url);
    for (name, value) in &case.endpoint.settings {
        let edit = |url| Edit::Setting(name.clone(), url);
        add(&format!("setting `{name}`"), value, &edit);
    }
    for (name, values) in &case.endpoint.secrets {
        let edit = |url| Edit::Secret(name.clone(), url);
        for value in values {
            add(&format!("`secrets.{name}`"), value.expose_secret(), &edit);
        }
    }
    for (how, path) in paths(&case.endpoint.path, &request.path, &request.headers) {
        changes.push(change(format!("with {how} as the path that was called"), Edit::Path(path)));
    }
    changes
}

fn change(found: String, edit: Edit) -> Change {
    Change { cause: Cause::Url, found, advice: ADVICE.to_owned(), edit }
}

/// The URL with each of its parts otherwise, and several at once; nothing where it is no URL.
fn variants(url: &str, called: &str, headers: &HeaderMap) -> Vec<(String, String)> {
    let Some(parts) = Parts::of(url) else { return Vec::new() };
    let schemes = [("", parts.scheme), ("the other scheme", other_scheme(parts.scheme))];
    let mut authorities = vec![(String::new(), parts.authority.to_owned())];
    if let Some((host, _)) = parts.authority.rsplit_once(':') {
        authorities.push(("no port".to_owned(), host.to_owned()));
    } else {
        for port in ["443", "80"] {
            authorities.push((format!("port {port}"), format!("{}:{port}", parts.authority)));
        }
    }
    for name in HOST_HEADERS {
        if let Some(host) = headers.get(*name).and_then(|value| value.to_str().ok()) {
            authorities.push((format!("the host in header `{name}`"), host.trim().to_owned()));
        }
    }
    let mut all_paths = vec![(String::new(), parts.path.to_owned())];
    all_paths.extend(paths(parts.path, called, headers));
    let mut variants = Vec::new();
    for (scheme_how, scheme) in schemes {
        for (authority_how, authority) in &authorities {
            for (path_how, path) in &all_paths {
                let hows = [scheme_how, authority_how, path_how];
                let told: Vec<&str> = hows.into_iter().filter(|how| !how.is_empty()).collect();
                let written = format!("{scheme}://{authority}{path}");
                if written != url {
                    variants.push((told.join(", "), written));
                }
            }
        }
    }
    // The fewer differences, the likelier.
    variants.sort_by_key(|(how, _)| how.matches(", ").count());
    variants
}

/// A path, otherwise.
fn paths(path: &str, called: &str, headers: &HeaderMap) -> Vec<(String, String)> {
    let told = |how: &str, path: &str| (how.to_owned(), path.to_owned());
    let bare = |path: &str| path.split('?').next().unwrap_or_default().to_owned();
    let mut all = vec![
        told("the path that was called", called),
        told("the path that was called, without its query", &bare(called)),
        told("the path without its query", &bare(path)),
    ];
    match path.strip_suffix('/') {
        Some(shorter) => all.push(told("no slash at the end", shorter)),
        None => all.push((String::from("a slash at the end"), format!("{path}/"))),
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    for name in PATH_HEADERS {
        if let Some(original) = header(name) {
            all.push((format!("the path in header `{name}`"), original.to_owned()));
        }
    }
    if let Some(prefix) = header(PREFIX_HEADER) {
        let prefix = prefix.trim_end_matches('/');
        all.push((format!("the prefix in header `{PREFIX_HEADER}`"), format!("{prefix}{path}")));
    }
    all.retain(|(_, other)| other != path);
    all
}

fn other_scheme(scheme: &str) -> &'static str {
    if scheme.eq_ignore_ascii_case("https") { "http" } else { "https" }
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Parts<'a>> {
        let (scheme, rest) = url.split_once("://")?;
        if !matches!(scheme, "http" | "https") {
            return None;
        }
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(at)?;
        Some(Parts { scheme, authority, path })
    }
}
