//! Secrets that go wrong: those of another endpoint, two that were exchanged, and one that was copied with
//! something around it or in another encoding. Findings name secrets and never show one.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};

use super::{Case, Cause, Change, Edit};
use crate::providers::Endpoint;

/// What begins a secret at several providers and is no secret itself.
const KNOWN_PREFIX: &str = "whsec_";

/// What may be wrong with the secrets of an endpoint.
pub fn changes(case: &Case<'_>) -> Vec<Change> {
    let mut changes: Vec<Change> =
        case.others.iter().map(|other| all_of(other, case.endpoint)).collect();
    for (name, values) in &case.endpoint.secrets {
        let structured = case.provider.structured.contains(&name.as_str());
        for value in values.iter().filter(|_| !structured) {
            changes.extend(variants(name, value.expose_secret()));
        }
        changes.extend(exchanged(case, name));
    }
    changes
}

/// The secrets of another endpoint.
fn all_of(other: &Endpoint, endpoint: &Endpoint) -> Change {
    Change {
        cause: Cause::Secret,
        found: format!("with the secrets of endpoint `{}`", other.name),
        advice: format!(
            "the provider posts to `{}` what belongs to `{}`, or their secrets are exchanged (those of \
             the test and the live mode easily are)",
            endpoint.name, other.name
        ),
        edit: Edit::Secrets(other.secrets.clone()),
    }
}

/// The values of the endpoint's other secrets in place of this one.
fn exchanged<'a>(case: &'a Case<'_>, name: &'a str) -> impl Iterator<Item = Change> + 'a {
    let others = case.endpoint.secrets.iter().filter(move |(other, _)| *other != name);
    others.flat_map(move |(other, values)| {
        values.iter().map(move |value| Change {
            cause: Cause::Secret,
            found: format!("with the value of `secrets.{other}` as `secrets.{name}`"),
            advice: format!("exchange `secrets.{other}` and `secrets.{name}`"),
            edit: Edit::Secret(name.to_owned(), text(value)),
        })
    })
}

/// One value, otherwise written.
fn variants(name: &str, value: &str) -> Vec<Change> {
    let bare = value.strip_prefix(KNOWN_PREFIX).unwrap_or(value);
    let decoded = |text: &str| {
        [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
            .iter()
            .find_map(|engine| engine.decode(text.trim()).ok())
    };
    let as_text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    let hex_bytes = |text: &str| hex::decode(text.trim()).ok();
    let after = |mark: char| value.rsplit_once(mark).map(|(_, rest)| rest.to_owned());
    let unquoted = value.trim().trim_matches(['"', '\'', '`']).to_owned();
    let candidates: [(&str, Option<String>); 18] = [
        ("without the white space around it", Some(value.trim().to_owned())),
        ("without the quotes around it", Some(unquoted)),
        ("without its prefix `whsec_`", Some(bare.to_owned())),
        ("with the prefix `whsec_`", Some(format!("{KNOWN_PREFIX}{bare}"))),
        ("without what stands before its last `_`", after('_')),
        ("without what stands before its last `:`", after(':')),
        ("without what stands before its last blank", after(' ')),
        ("in lower case", Some(value.to_lowercase())),
        ("in upper case", Some(value.to_uppercase())),
        ("decoded from base64", decoded(value).and_then(as_text)),
        ("without its prefix and decoded from base64", decoded(bare).and_then(as_text)),
        ("decoded from hex", hex_bytes(value).and_then(as_text)),
        ("taken as plain text instead of hex", Some(hex::encode(value))),
        ("taken as plain text instead of base64", Some(STANDARD.encode(value))),
        (
            "its bytes written in base64 instead of hex",
            hex_bytes(value).map(|it| STANDARD.encode(it)),
        ),
        ("its bytes written in hex instead of base64", decoded(bare).map(hex::encode)),
        (
            "decoded from percent-encoding",
            percent_decode_str(value).decode_utf8().ok().map(Into::into),
        ),
        ("written in one line", Some(value.split_whitespace().collect())),
    ];
    candidates
        .into_iter()
        .filter_map(|(how, written)| Some((how, written.filter(|written| written != value)?)))
        .map(|(how, written)| Change {
            cause: Cause::Secret,
            found: format!("with `secrets.{name}` {how}"),
            advice: format!(
                "write `secrets.{name}` so in the configuration, as the provider shows it"
            ),
            edit: Edit::Secret(name.to_owned(), written),
        })
        .collect()
}

fn text(secret: &SecretString) -> String {
    secret.expose_secret().to_owned()
}
