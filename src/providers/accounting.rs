//! What the modules of accounting systems share: their webhooks are thin or nearly so, their APIs want
//! OAuth, and their invoices say by amounts how far they are. In come an endpoint's settings and what an
//! API answered, out come authorised calls and values of the model. It does no I/O, and an id out of a
//! payload must never reach a URL without `path_id`.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use crate::model::{InvoiceStatus, Money};

use super::payload;
use super::{Answer, Auth, Call, Endpoint, Fetching, Mistake, OAuth, SecretKey, TranslateError};

/// The setting with the base URL of the API.
pub const API_URL: &str = "api_url";
/// The setting with the URL that gives access tokens.
pub const TOKEN_URL: &str = "token_url";

/// The secrets by which the API is asked: three for OAuth, or an access token alone.
pub const CLIENT_ID: SecretKey = SecretKey { name: "client_id", required: false };
/// See `CLIENT_ID`.
pub const CLIENT_SECRET: SecretKey = SecretKey { name: "client_secret", required: false };
/// See `CLIENT_ID`.
pub const REFRESH_TOKEN: SecretKey = SecretKey { name: "refresh_token", required: false };
/// See `CLIENT_ID`.
pub const ACCESS_TOKEN: SecretKey = SecretKey { name: "access_token", required: false };

/// The setting with the seconds between two readings of the lists, which are not read without it.
pub const POLL_INTERVAL: &str = "poll_interval";
/// How many pages of a list are read at once; the next reading goes on from there.
pub const MAX_PAGES: usize = 20;
/// How far back the first reading of a list goes.
const FIRST_READING: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The longest id of a path, in bytes. None of the systems comes near it.
const MAX_PATH_ID_BYTES: usize = 64;

/// How an accounting system gives access tokens.
pub struct Tokens<'a> {
    /// Whose tokens are needed, where a secret is a table of them by account.
    pub account: &'a str,
    /// The token endpoint, unless the setting `token_url` names another.
    pub url: String,
    /// Whether the client's credentials go into the form instead of a Basic header.
    pub credentials_in_body: bool,
    /// Whether a client without a refresh token is given tokens on its own credentials.
    pub client_credentials: bool,
    /// What stands before the token in `Authorization`.
    pub scheme: &'static str,
}

/// The call with what authorises it: OAuth where it is configured, else the access token, else nothing,
/// so that the provider refuses it visibly.
pub fn authorised(call: Call, endpoint: &Endpoint, tokens: Tokens<'_>) -> Call {
    let secret = |key: SecretKey| secret_of(endpoint, key, tokens.account);
    let (id, key, refresh) = (secret(CLIENT_ID), secret(CLIENT_SECRET), secret(REFRESH_TOKEN));
    if let (Some(client_id), Some(client_secret)) = (id, key)
        && (refresh.is_some() || tokens.client_credentials)
    {
        return call.auth(Auth::OAuth(Box::new(OAuth {
            token_url: endpoint.setting(TOKEN_URL, &tokens.url).to_owned(),
            client_id,
            client_secret,
            credentials_in_body: tokens.credentials_in_body,
            refresh_token: refresh,
            scope: "",
            scheme: tokens.scheme,
        })));
    }
    match secret(ACCESS_TOKEN) {
        Some(token) => {
            let value = format!("{} {}", tokens.scheme, token.expose_secret());
            call.header("authorization", value)
        }
        None => call,
    }
}

/// The first value of a secret; of a table, that of the account.
fn secret_of(endpoint: &Endpoint, key: SecretKey, account: &str) -> Option<SecretString> {
    let value = endpoint.secret(key.name)?;
    let value = match by_account(value) {
        Some(table) => table?.remove(account)?,
        None => value.to_owned(),
    };
    (!value.trim().is_empty()).then(|| SecretString::from(value))
}

/// A secret that is a table of texts by account; `Some(None)` where it is no such table.
fn by_account(value: &str) -> Option<Option<BTreeMap<String, String>>> {
    value.trim_start().starts_with('{').then(|| serde_json::from_str(value).ok())
}

/// Refuses tokens that are tables of anything but texts.
pub fn check_tokens(endpoint: &Endpoint) -> Result<(), Mistake> {
    for (name, key) in
        [(REFRESH_TOKEN.name, "secrets.refresh_token"), (ACCESS_TOKEN.name, "secrets.access_token")]
    {
        if endpoint.secret(name).and_then(by_account).is_some_and(|table| table.is_none()) {
            let reason = "is no table of tokens by account".to_owned();
            return Err(Mistake { key, reason });
        }
    }
    Ok(())
}

/// The base URL of the API, without a slash at its end.
pub fn api_url<'a>(endpoint: &'a Endpoint, default: &'a str) -> &'a str {
    endpoint.setting(API_URL, default).trim_end_matches('/')
}

/// Refuses settings that should be URLs and are none.
pub fn check_urls(endpoint: &Endpoint) -> Result<(), Mistake> {
    for key in [API_URL, TOKEN_URL] {
        let Some(url) = endpoint.settings.get(key) else { continue };
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.contains(['?', '#', ' '])) {
            return Err(Mistake { key, reason: "is no URL like `https://api.example.com`".into() });
        }
    }
    Ok(())
}

/// An id that may stand in a path as it is.
pub fn path_id<'a>(what: &str, id: &'a str) -> Result<&'a str, TranslateError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if id.is_empty() || id.len() > MAX_PATH_ID_BYTES || !id.bytes().all(is_plain) {
        return Err(payload::not_a(&format!("the id of {what}"), id));
    }
    Ok(id)
}

/// From which time of change on a list is read: where the last reading ended.
pub fn list_from(fetching: &Fetching<'_>) -> Result<Timestamp, TranslateError> {
    match fetching.cursor {
        "" => fetching.now.checked_sub(FIRST_READING).map_err(|_| payload::not_a("a time", "now")),
        text => text.parse().map_err(|_| payload::not_a("a time", text)),
    }
}

/// Refuses an interval that is no whole number of seconds.
pub fn check_interval(endpoint: &Endpoint) -> Result<(), Mistake> {
    match endpoint.settings.get(POLL_INTERVAL) {
        Some(text) if text.parse::<u32>().map_or(0, |seconds| seconds) == 0 => {
            let reason = "is no whole number of seconds, 1 or more".to_owned();
            Err(Mistake { key: POLL_INTERVAL, reason })
        }
        Some(_) | None => Ok(()),
    }
}

/// What a successful answer holds. Any other answer is an error: the call is made again.
pub fn read<'a, T: Deserialize<'a>>(answer: &'a Answer, what: &str) -> Result<T, TranslateError> {
    if !answer.is_success() {
        return Err(TranslateError(format!("asked for {what}, answered {}", answer.status)));
    }
    serde_json::from_slice(&answer.body).map_err(|error| payload::unreadable(what, &error))
}

/// For members that may be `null`.
pub fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The key of a fetched state: the same values give the same key, any other value another.
pub fn state_key(values: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for value in values {
        hasher.update((value.len() as u64).to_be_bytes());
        hasher.update(value.as_bytes());
    }
    hex::encode(hasher.finalize())
}

/// How far an issued invoice is by its amounts; one of nothing is not paid by anybody.
pub fn status_by_amounts(total: Money, paid: Money, balance: Money) -> InvoiceStatus {
    if balance.minor_units <= 0 && total.minor_units > 0 {
        InvoiceStatus::Paid
    } else if paid.minor_units > 0 {
        InvoiceStatus::PartiallyPaid
    } else {
        InvoiceStatus::Open
    }
}

/// What was paid of a total, by what is left.
pub fn paid_of(total: Money, balance: Money) -> Result<Money, TranslateError> {
    let paid = total.minor_units.checked_sub(balance.minor_units);
    let minor_units =
        paid.ok_or_else(|| TranslateError("the amounts are too large to compare".to_owned()))?;
    Ok(Money { minor_units, ..total })
}

/// How far in its life an invoice of this status is, for reports of the same version and time.
pub fn invoice_rank(status: InvoiceStatus) -> u8 {
    match status {
        InvoiceStatus::Draft => 10,
        InvoiceStatus::Open => 20,
        InvoiceStatus::Overdue => 25,
        InvoiceStatus::PaymentFailed => 27,
        InvoiceStatus::PartiallyPaid => 30,
        InvoiceStatus::Disputed => 40,
        InvoiceStatus::Paid => 50,
        InvoiceStatus::PartiallyRefunded => 60,
        InvoiceStatus::Refunded => 70,
        InvoiceStatus::Uncollectible => 75,
        InvoiceStatus::Void => 80,
    }
}

/// A day as `2026-12-20`, whatever follows it; `None` where there is none.
pub fn date(text: &str) -> Result<Option<Date>, TranslateError> {
    if text.is_empty() {
        return Ok(None);
    }
    let day = text.get(..10).unwrap_or(text);
    day.parse().map(Some).map_err(|_| payload::not_a("a date", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_would_lead_elsewhere_are_refused() {
        for id in ["", ".", "..", "1/2", "1?x=1", "1%2F2", "ä", "a b", &"1".repeat(65)] {
            assert!(path_id("a payment", id).is_err(), "{id}");
        }
        assert_eq!(path_id("a payment", "aef86862-0001_A"), Ok("aef86862-0001_A"));
    }

    #[test]
    fn values_cannot_run_into_each_other_in_a_key() {
        assert_ne!(state_key(&["ab", "c"]), state_key(&["a", "bc"]));
        assert_eq!(state_key(&["ab", "c"]), state_key(&["ab", "c"]));
    }

    #[test]
    fn amounts_tell_how_far_an_invoice_is() {
        let money = |minor_units| Money::new(minor_units, "EUR").expect("a currency");
        let status = |total, balance| {
            let paid = paid_of(money(total), money(balance)).expect("small");
            status_by_amounts(money(total), paid, money(balance))
        };
        assert_eq!(status(100, 100), InvoiceStatus::Open);
        assert_eq!(status(100, 1), InvoiceStatus::PartiallyPaid);
        assert_eq!(status(100, 0), InvoiceStatus::Paid);
        assert_eq!(status(0, 0), InvoiceStatus::Open);
        assert!(paid_of(money(i64::MAX), money(-1)).is_err());
    }

    #[test]
    fn the_access_token_is_used_where_no_refresh_token_is_given() {
        let provider = &super::super::quickbooks::PROVIDER;
        let tokens = || Tokens {
            account: "46",
            url: "https://tokens.example.test".to_owned(),
            credentials_in_body: false,
            client_credentials: false,
            scheme: "Bearer",
        };
        let authorised = |secrets: &[(&str, &str)]| {
            let endpoint = super::super::testing::endpoint(provider, secrets);
            authorised(Call::get("https://api.example.test/x".to_owned()), &endpoint, tokens())
        };
        let plain =
            authorised(&[("client_id", "c"), ("client_secret", "s"), ("access_token", "t")]);
        assert!(plain.headers.contains(&("authorization", "Bearer t".to_owned())));
        let table = authorised(&[("access_token", r#"{"45":"t-45","46":"t-46"}"#)]);
        assert!(table.headers.contains(&("authorization", "Bearer t-46".to_owned())));
        let other = authorised(&[("access_token", r#"{"45":"t-45"}"#)]);
        assert!(!other.headers.iter().any(|(name, _)| *name == "authorization"));
        let oauth =
            authorised(&[("client_id", "c"), ("client_secret", "s"), ("refresh_token", "r")]);
        assert!(matches!(oauth.auth, Auth::OAuth(_)));
        assert!(!oauth.headers.iter().any(|(name, _)| *name == "authorization"));
    }
}
