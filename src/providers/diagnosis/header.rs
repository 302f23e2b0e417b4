//! Headers that go wrong: doubled, renamed or quoted on the way, and signatures in another encoding.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use crate::receipt::Request;

use super::{Cause, Change, Edit};

/// Headers that carry no signature, whoever sends them.
const PLAIN: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "date",
    "host",
    "user-agent",
];
/// What gateways put before the names of headers.
const NAME_PREFIXES: &[&str] = &["http-", "x-original-", "x-forwarded-", "x-amzn-remapped-"];
/// How many headers are looked at.
const MAX_HEADERS: usize = 64;

/// What may be wrong with the headers of a request.
pub fn changes(request: &Request) -> Vec<Change> {
    let headers = &request.headers;
    let mut changes = names(headers);
    let interesting = headers.keys().filter(|name| !PLAIN.contains(&name.as_str()));
    for name in interesting.take(MAX_HEADERS) {
        let values: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
        if let [first, .., last] = values[..] {
            for (how, value) in [("the first", first), ("the last", last)] {
                let found = format!("with {how} alone of the headers `{name}`");
                changes.push(change(found, name, with(headers, name, value.clone())));
            }
        }
        let text = values.first().and_then(|value| value.to_str().ok()).unwrap_or_default();
        for (how, written) in variants(text) {
            let Ok(value) = HeaderValue::from_str(&written) else { continue };
            let found = format!("with header `{name}` {how}");
            changes.push(change(found, name, with(headers, name, value)));
        }
    }
    changes
}

fn change(found: String, name: &HeaderName, headers: HeaderMap) -> Change {
    Change {
        cause: Cause::Header,
        found,
        advice: format!(
            "something between the provider and the gateway changes header `{name}`; let it pass as it is"
        ),
        edit: Edit::Headers(Box::new(headers)),
    }
}

fn with(headers: &HeaderMap, name: &HeaderName, value: HeaderValue) -> HeaderMap {
    let mut headers = headers.clone();
    headers.insert(name.clone(), value);
    headers
}

/// All headers under the names that they had before something renamed them.
fn names(headers: &HeaderMap) -> Vec<Change> {
    let mut changes = Vec::new();
    let renamed = |rename: &dyn Fn(&str) -> String| {
        let mut all = headers.clone();
        for (name, value) in headers {
            if let Ok(name) = rename(name.as_str()).parse::<HeaderName>()
                && !headers.contains_key(&name)
            {
                all.append(name, value.clone());
            }
        }
        (all.len() > headers.len()).then_some(all)
    };
    let mut add = |how: String, all: Option<HeaderMap>| {
        changes.extend(all.map(|all| Change {
            cause: Cause::Header,
            found: format!("with the names of headers {how}"),
            advice: "something between the provider and the gateway renames headers; let them pass as \
                     they are"
                .to_owned(),
            edit: Edit::Headers(Box::new(all)),
        }));
    };
    add("written with `-` instead of `_`".to_owned(), renamed(&|name| name.replace('_', "-")));
    for prefix in NAME_PREFIXES {
        let all = renamed(&|name| {
            let dashed = name.replace('_', "-");
            dashed.strip_prefix(prefix).unwrap_or(&dashed).to_owned()
        });
        add(format!("without `{prefix}` before them"), all);
    }
    changes
}

/// A value, otherwise written.
fn variants(value: &str) -> Vec<(&'static str, String)> {
    let hex_bytes = hex::decode(value.trim()).ok();
    let base64_bytes = [STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD]
        .iter()
        .find_map(|engine| engine.decode(value.trim()).ok());
    let candidates: [(&str, Option<String>); 12] = [
        ("without white space around it", Some(value.trim().to_owned())),
        ("without quotes around it", Some(value.trim_matches(['"', '\'']).to_owned())),
        (
            "without what stands before its first `=`",
            value.split_once('=').map(|it| it.1.to_owned()),
        ),
        ("with `sha256=` before it", Some(format!("sha256={value}"))),
        (
            "without what stands before its last blank",
            value.rsplit_once(' ').map(|it| it.1.to_owned()),
        ),
        ("in lower case", Some(value.to_lowercase())),
        ("in upper case", Some(value.to_uppercase())),
        (
            "decoded from percent-encoding",
            percent_decode_str(value).decode_utf8().ok().map(Into::into),
        ),
        ("with `+` where blanks are", Some(value.replace(' ', "+"))),
        ("in base64 instead of hex", hex_bytes.map(|bytes| STANDARD.encode(bytes))),
        ("in hex instead of base64", base64_bytes.as_ref().map(hex::encode)),
        ("in base64 with padding", base64_bytes.map(|bytes| STANDARD.encode(bytes))),
    ];
    candidates
        .into_iter()
        .filter_map(|(how, written)| Some((how, written.filter(|written| written != value)?)))
        .collect()
}
