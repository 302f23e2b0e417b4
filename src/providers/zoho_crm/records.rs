//! Reading a Zoho record: a record that a notification only names comes in, out goes a call for its
//! fields, and then what they say about a payment. An empty answer means that there is no such record.

use jiff::Timestamp;
use serde::Deserialize;

use crate::providers::calls::{Answer, Call, Fetching, Step};
use crate::providers::crm::{self, Item, Thin};
use crate::providers::fields::Fields;
use crate::providers::payload;
use crate::providers::{Endpoint, TranslateError};

use super::{
    ACCOUNTS_URL, AMOUNT_FIELD, CURRENCY_FIELD, MODIFIED, PAYMENT_ID_FIELD, STATUS_FIELD, field,
    report,
};

pub(super) const ACCOUNTS: &str = "https://accounts.zoho.com";
const API: &str = "https://www.zohoapis.com";
const SCHEME: &str = "Zoho-oauthtoken";

/// The next step in reading a record.
pub(super) fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let endpoint = fetching.endpoint;
    crm::read_record(
        fetching,
        |thin| call(thin, endpoint),
        |thin, answer| read(thin, answer, endpoint),
    )
}

/// The fields that tell of a payment.
pub(super) fn mapped(endpoint: &Endpoint) -> Vec<&str> {
    [STATUS_FIELD, AMOUNT_FIELD, CURRENCY_FIELD, PAYMENT_ID_FIELD]
        .into_iter()
        .map(|setting| field(endpoint, setting))
        .filter(|name| !name.is_empty())
        .collect()
}

/// The URL of a record, without a query.
pub(super) fn url(
    endpoint: &Endpoint,
    module: &str,
    record_id: &str,
) -> Result<String, TranslateError> {
    crm::api_url(endpoint, API, &["crm", "v8", module, record_id])
}

fn call(thin: &Thin, endpoint: &Endpoint) -> Result<Call, TranslateError> {
    let mut url = url(endpoint, &thin.record_type, &thin.record_id)?;
    let names = format!("{},{MODIFIED}", mapped(endpoint).join(","));
    url.push_str("?fields=");
    url.extend(form_urlencoded::byte_serialize(names.as_bytes()));
    let accounts = endpoint.setting(ACCOUNTS_URL, ACCOUNTS).trim_end_matches('/');
    let token_url = format!("{accounts}/oauth/v2/token");
    Ok(crm::authorised(Call::get(url), endpoint, token_url, SCHEME, ""))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    data: Vec<Fields>,
}

fn read(thin: &Thin, answer: &Answer, endpoint: &Endpoint) -> Result<Item, TranslateError> {
    if answer.body.is_empty() {
        return Ok(Item::Silent);
    }
    let body: Body = serde_json::from_slice(&answer.body)
        .map_err(|error| payload::unreadable("a Zoho record", &error))?;
    let missing = || TranslateError("the answer has no record".to_owned());
    let record = body.data.first().ok_or_else(missing)?;
    let occurred_at = match record.text(MODIFIED) {
        "" => thin.occurred_at,
        text => text.parse::<Timestamp>().map_err(|_| payload::not_a("a time", text))?,
    };
    report(&Thin { occurred_at, ..thin.clone() }, None, record, endpoint)
}
