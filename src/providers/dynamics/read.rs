//! Rows that a webhook only names, read from the Web API: a token first, where the endpoint has a client,
//! then the row's columns. The API's address is the setting `api_url`, such as
//! `https://example.api.crm4.dynamics.com/api/data/v9.2`; no address out of a call is ever used.

use jiff::Timestamp;
use serde::Deserialize;

use crate::providers::crm::{self, Item, Thin};
use crate::providers::fields::Fields;
use crate::providers::payload::{self, Text};
use crate::providers::{Answer, Call, Endpoint, Fetching, Mistake, Step, TranslateError};

use super::row::{self, Cells, MODIFIED, Origin};
use super::{CREATE, UPDATE};

/// The application that reads rows (client credentials).
pub(super) const CLIENT_ID: &str = "client_id";
pub(super) const CLIENT_SECRET: &str = "client_secret";
/// The table's name in the Web API; by default the plural that Dataverse makes of the logical name.
pub(super) const ENTITY_SET: &str = "entity_set";
/// The directory that tokens are asked of, by id or domain.
pub(super) const TENANT: &str = "tenant";
/// Where tokens are asked for, beside the public cloud: a sovereign cloud's login host.
pub(super) const TOKEN_URL: &str = "token_url";
pub(super) const LOGIN_HOST: &str = "login.microsoftonline.com";

pub(super) fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let missing = |key, reason: &str| Err(Mistake { key, reason: reason.to_owned() });
    let has = |name| endpoint.secret(name).is_some();
    if has(CLIENT_ID) != has(CLIENT_SECRET) {
        return missing("secrets.client_secret", "goes together with `secrets.client_id`");
    }
    let (tenant, token_url) = (endpoint.setting(TENANT, ""), endpoint.setting(TOKEN_URL, ""));
    if has(CLIENT_ID) && tenant.is_empty() && token_url.is_empty() {
        return missing(TENANT, "is missing; without it no token can be asked for");
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    for (key, value) in [(TENANT, tenant), (ENTITY_SET, endpoint.setting(ENTITY_SET, ""))] {
        if !value.bytes().all(is_name) {
            return Err(Mistake { key, reason: format!("`{value}` is not a name") });
        }
    }
    Ok(())
}

/// The fetch of a row: a token, where one has to be asked for, then the row.
pub(super) fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let endpoint = fetching.endpoint;
    let configured = endpoint.secret(crm::ACCESS_TOKEN).map(str::to_owned);
    let client = endpoint.secret(CLIENT_ID).zip(endpoint.secret(CLIENT_SECRET));
    let (token, answers) = match (configured, client, fetching.answers.split_first()) {
        (None, Some((id, secret)), None) => return token_call(endpoint, id, secret),
        (None, Some(_), Some((answer, rest))) => (Some(token(answer)?), rest),
        (configured, _, _) => (configured, fetching.answers),
    };
    let rest = Fetching {
        endpoint,
        fetch: fetching.fetch,
        received_at: fetching.received_at,
        now: fetching.now,
        cursor: fetching.cursor,
        answers,
    };
    let read = |thin: &Thin, answer: &Answer| read(thin, answer, endpoint);
    crm::read_record(&rest, |thin| row_call(endpoint, thin, token), read)
}

fn api_url(endpoint: &Endpoint) -> Result<&str, TranslateError> {
    let url = endpoint.setting(crm::API_URL, "");
    let missing = || TranslateError("rows cannot be read without the setting `api_url`".to_owned());
    (!url.is_empty()).then_some(url).ok_or_else(missing)
}

/// The scope is the environment's origin, not the API's path.
fn token_call(endpoint: &Endpoint, id: &str, secret: &str) -> Result<Step, TranslateError> {
    let url = match endpoint.setting(TOKEN_URL, "") {
        "" => {
            let tenant = endpoint.setting(TENANT, "organizations");
            format!("https://{LOGIN_HOST}/{tenant}/oauth2/v2.0/token")
        }
        url => url.to_owned(),
    };
    let api_url = api_url(endpoint)?;
    let (scheme, rest) = api_url.split_once("://").unwrap_or(("https", api_url));
    let host = rest.split('/').next().unwrap_or_default();
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_id", id)
        .append_pair("client_secret", secret)
        .append_pair("scope", &format!("{scheme}://{host}/.default"))
        .finish();
    Ok(Step::Call(Call::post_form(url, form).header("accept", "application/json")))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Token<'a> {
    #[serde(borrow)]
    access_token: Text<'a>,
}

fn token(answer: &Answer) -> Result<String, TranslateError> {
    if !answer.is_success() {
        let error = format!("the token was refused with the status {}", answer.status);
        return Err(TranslateError(error));
    }
    let token: Token<'_> = serde_json::from_slice(&answer.body)
        .map_err(|error| payload::unreadable("a token", &error))?;
    if token.access_token.is_empty() {
        return Err(TranslateError("the answer has no access token".to_owned()));
    }
    Ok(token.access_token.to_string())
}

fn row_call(
    endpoint: &Endpoint,
    thin: &Thin,
    token: Option<String>,
) -> Result<Call, TranslateError> {
    let is_id = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    if thin.record_id.is_empty() || !thin.record_id.bytes().all(is_id) {
        return Err(payload::not_a("the id of a row", &thin.record_id));
    }
    let set = match endpoint.setting(ENTITY_SET, "") {
        "" => plural(&thin.record_type),
        set => set.to_owned(),
    };
    let url = crm::api_url(endpoint, api_url(endpoint)?, &[&set])?;
    let mut columns: Vec<String> =
        row::columns(endpoint).iter().map(|name| selected(name)).collect();
    columns.push(MODIFIED.to_owned());
    let url = format!("{url}({})?$select={}", thin.record_id, columns.join(","));
    let call = Call::get(url)
        .header("odata-maxversion", "4.0")
        .header("odata-version", "4.0")
        .header("if-none-match", "null")
        .header(
            "prefer",
            "odata.include-annotations=\"OData.Community.Display.V1.FormattedValue\"",
        );
    Ok(match token {
        Some(token) => call.header("authorization", format!("Bearer {token}")),
        None => call,
    })
}

/// The lookup of the currency is selected by its value.
fn selected(column: &str) -> String {
    match column {
        "transactioncurrencyid" => format!("_{column}_value"),
        plain => plain.to_owned(),
    }
}

/// The set's name that Dataverse makes of a table's name.
fn plural(table: &str) -> String {
    let ends = |ending: &[&str]| ending.iter().any(|ending| table.ends_with(ending));
    match table.strip_suffix('y') {
        Some(stem) if !ends(&["ay", "ey", "oy", "uy"]) => format!("{stem}ies"),
        None if ends(&["s", "x", "z", "ch", "sh"]) => format!("{table}es"),
        Some(_) | None => format!("{table}s"),
    }
}

/// The state that was read is that of its last change, which may be later than what asked for it.
fn read(thin: &Thin, answer: &Answer, endpoint: &Endpoint) -> Result<Item, TranslateError> {
    let fields: Fields = serde_json::from_slice(&answer.body)
        .map_err(|error| payload::unreadable("a row", &error))?;
    let occurred_at = match fields.cell(MODIFIED)?.unwrap_or_default().as_ref() {
        "" => thin.occurred_at,
        text => {
            let modified: Timestamp = text.parse().map_err(|_| payload::not_a("a time", text))?;
            modified.max(thin.occurred_at)
        }
    };
    let origin = Origin {
        key: None,
        event_id: thin.event_id.clone(),
        event_type: if thin.event_type == CREATE { CREATE } else { UPDATE },
        occurred_at,
        table: &thin.record_type,
        record_id: &thin.record_id,
    };
    row::item(origin, &fields, endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_named_as_dataverse_names_them() {
        for (table, set) in [
            ("invoice", "invoices"),
            ("opportunity", "opportunities"),
            ("new_payment", "new_payments"),
            ("new_tax", "new_taxes"),
            ("new_key", "new_keys"),
            ("new_batch", "new_batches"),
        ] {
            assert_eq!(plural(table), set);
        }
    }
}
