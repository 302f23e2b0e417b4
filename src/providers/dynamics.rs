//! Microsoft Dynamics 365 as a source: Dataverse webhooks (JSON of a remote execution context) and HTTP
//! actions of Power Automate. Neither is signed: a call is authentic where it carries every pair that was
//! registered for it, each exactly once, in the place of its `mode`: `WebhookKey` (the query parameter
//! `code`), `HttpQueryString` (the secret `query`) or `HttpHeader` (the secret `headers`). Headers that
//! name the organisation prove nothing. In come rows with a payment's status, out go events about that
//! payment; a call over 256 KB only names its row, which is then read from the Web API.
//!
//! The columns are those of the settings `status_column`, `amount_column`, `currency_column` and
//! `payment_id_column`; `status_options` gives the status of each option of a choice column, and
//! `currency_options` the currency of a text, option or id that is no code of its own. Power Automate's
//! body has the columns by their names beside `record_id`, and may have `event_id`, `table`, `modifiedon`
//! and `modifiedby`. Changes by the user of the setting `own_user_id` are the gateway's own echoes.
//! Spec: <https://learn.microsoft.com/power-apps/developer/data-platform/use-webhooks>,
//! <https://learn.microsoft.com/power-apps/developer/data-platform/register-web-hook>

mod context;
mod read;
mod row;
mod sample;

use std::collections::BTreeMap;

use http::HeaderName;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::receipt::signature::{Candidates, shared_token};
use crate::receipt::{ALL, Proof, Receipt, Redaction, Request, VerifyError};

use super::fields::Fields;
use super::{
    Endpoint, Keys, Mistake, Provider, REPLIES, Sample, SecretKey, TranslateError, Translation,
    Verdict, crm, no_poll, payload, url_token,
};
use context::Context;

/// Microsoft Dynamics 365.
pub const PROVIDER: Provider = Provider {
    name: "dynamics",
    title: "Microsoft Dynamics 365",
    secrets: &[
        SecretKey { name: MODE, required: true },
        SecretKey { name: QUERY, required: false },
        SecretKey { name: HEADERS, required: false },
        SecretKey { name: crm::ACCESS_TOKEN, required: false },
        SecretKey { name: read::CLIENT_ID, required: false },
        SecretKey { name: read::CLIENT_SECRET, required: false },
    ],
    settings: &[
        row::STATUS_COLUMN,
        row::AMOUNT_COLUMN,
        row::CURRENCY_COLUMN,
        row::PAYMENT_ID_COLUMN,
        row::STATUS_OPTIONS,
        row::CURRENCY_OPTIONS,
        crm::CURRENCY,
        crm::OWN_USER_ID,
        TABLE,
        crm::API_URL,
        read::ENTITY_SET,
        read::TENANT,
        read::TOKEN_URL,
    ],
    structured: &[QUERY, HEADERS, row::STATUS_OPTIONS, row::CURRENCY_OPTIONS],
    events: &[CREATE, UPDATE, DELETE, POWER_AUTOMATE],
    // Which parameters and headers are secret is the endpoint's choice, so none stays readable.
    redaction: Redaction { headers: &[ALL], query: &[ALL], body_members: &[] },
    hosts: &[read::LOGIN_HOST],
    check,
    verify,
    translate,
    fetch: read::fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: |endpoint, order| sample::sample(endpoint, order).map(Sample::from),
    example: sample::sample_secrets,
};

/// Where the secrets of a call are: `WebhookKey`, `HttpQueryString` or `HttpHeader`.
const MODE: &str = "mode";
/// The registered query parameters, as a table; for `WebhookKey` it is `code` alone.
const QUERY: &str = "query";
/// The registered headers, as a table.
const HEADERS: &str = "headers";
const WEBHOOK_KEY_PARAMETER: &str = "code";
/// The logical name of the one table whose rows are payments; any table where it is not set.
const TABLE: &str = "table";

const CREATE: &str = "Create";
const UPDATE: &str = "Update";
const DELETE: &str = "Delete";
const POWER_AUTOMATE: &str = "power_automate";

#[cfg(test)]
use sample::sample_secrets;

/// Where a call carries its secrets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    WebhookKey,
    QueryString,
    Header,
}

impl Mode {
    fn of(endpoint: &Endpoint) -> Option<Mode> {
        match endpoint.secret(MODE)?.trim() {
            "WebhookKey" => Some(Mode::WebhookKey),
            "HttpQueryString" => Some(Mode::QueryString),
            "HttpHeader" => Some(Mode::Header),
            _ => None,
        }
    }

    /// The secret that holds its pairs.
    fn secret(self) -> &'static str {
        match self {
            Mode::WebhookKey | Mode::QueryString => QUERY,
            Mode::Header => HEADERS,
        }
    }
}

/// The registered values of one pair, any of which may match while it is rotated.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Any(Vec<String>),
}

impl Values {
    fn secrets(&self) -> Vec<SecretString> {
        let values = match self {
            Values::One(value) => std::slice::from_ref(value),
            Values::Any(values) => values,
        };
        values.iter().map(|value| SecretString::from(value.as_str())).collect()
    }
}

/// The pairs that a secret holds as JSON; `None` where it holds none.
fn pairs(secret: &SecretString) -> Option<BTreeMap<String, Values>> {
    let pairs: BTreeMap<String, Values> = serde_json::from_str(secret.expose_secret()).ok()?;
    let is_blank = |values: &Values| {
        let values = values.secrets();
        values.is_empty() || values.iter().any(|value| value.expose_secret().trim().is_empty())
    };
    (!pairs.is_empty() && !pairs.values().any(is_blank)).then_some(pairs)
}

fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let mistake = |key, reason: &str| Err(Mistake { key, reason: reason.to_owned() });
    let Some(mode) = Mode::of(endpoint) else {
        let reason = "is not one of `WebhookKey`, `HttpQueryString`, `HttpHeader`";
        return mistake("secrets.mode", reason);
    };
    let key = match mode {
        Mode::WebhookKey | Mode::QueryString => "secrets.query",
        Mode::Header => "secrets.headers",
    };
    let secrets = endpoint.candidates(mode.secret()).secrets;
    if secrets.is_empty() {
        return mistake(key, "is missing; calls of this mode cannot be verified without it");
    }
    for secret in secrets {
        let Some(pairs) = pairs(secret) else {
            return mistake(key, "is not a table of names with values");
        };
        let is_code = pairs.len() == 1 && pairs.contains_key(WEBHOOK_KEY_PARAMETER);
        if mode == Mode::WebhookKey && !is_code {
            return mistake(key, "must have `code` and nothing else in the mode `WebhookKey`");
        }
        let is_name = |name: &String| HeaderName::try_from(name.as_str()).is_ok();
        if mode == Mode::Header && !pairs.keys().all(is_name) {
            return mistake(key, "has a name that is no header's");
        }
    }
    row::check(endpoint)?;
    read::check(endpoint)?;
    crm::check(endpoint)
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let mode = Mode::of(endpoint).ok_or(VerifyError::NotConfigured(MODE))?;
    let mut result = Err(VerifyError::NotConfigured(mode.secret()));
    for secret in endpoint.candidates(mode.secret()).secrets {
        result = carries_all(request, mode, secret);
        if result.is_ok() {
            break;
        }
    }
    let proof = result?;
    let is_object = serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(&request.body).is_ok();
    if !is_object {
        return Err(VerifyError::Malformed("body"));
    }
    Ok(Verdict::Verified(proof))
}

/// Whether the request carries every pair of a secret.
fn carries_all(request: &Request, mode: Mode, secret: &SecretString) -> Result<Proof, VerifyError> {
    let not_configured = VerifyError::NotConfigured(mode.secret());
    let pairs = pairs(secret).ok_or(not_configured.clone())?;
    let mut result = Err(not_configured);
    for (name, values) in &pairs {
        let secrets = values.secrets();
        let candidates = Candidates { name: mode.secret(), secrets: &secrets };
        result = match mode {
            Mode::WebhookKey | Mode::QueryString => url_token::verify(request, name, candidates),
            Mode::Header => carries_header(request, name, candidates),
        };
        if result.is_err() {
            break;
        }
    }
    result
}

fn carries_header(
    request: &Request,
    name: &str,
    candidates: Candidates<'_>,
) -> Result<Proof, VerifyError> {
    let mut values = request.headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(VerifyError::Mismatch(candidates.name));
    };
    let value = value.to_str().map_err(|_| VerifyError::Malformed(HEADERS))?;
    shared_token(candidates, value)
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let unreadable = |error| payload::unreadable("a Dataverse call", &error);
    let context: Context<'_> = serde_json::from_slice(receipt.body()).map_err(unreadable)?;
    let received_at = receipt.received_at();
    let item = if context.message_name.is_empty() {
        let fields: Fields = serde_json::from_slice(receipt.body()).map_err(unreadable)?;
        row::of_power_automate(&fields, received_at, endpoint)?
    } else if [CREATE, UPDATE, DELETE].contains(&&*context.message_name) {
        context.item(receipt, endpoint)?
    } else {
        return payload::unknown_type(&context.message_name);
    };
    crm::translation(vec![item], &endpoint.name)
}

/// Whether rows of this table are payments.
fn is_of_table(endpoint: &Endpoint, table: &str) -> bool {
    let wanted = endpoint.setting(TABLE, "").trim();
    wanted.is_empty() || wanted == table
}

/// Whether the gateway's own connector made the change.
fn is_own_user(endpoint: &Endpoint, user: &str) -> bool {
    let own = endpoint.setting(crm::OWN_USER_ID, "").trim();
    !own.is_empty() && own.eq_ignore_ascii_case(user.trim())
}

#[cfg(test)]
mod tests;
