//! Reading a Zoho record: a record that a notification only names comes in, out goes a call for its
//! fields, and then what they say about a payment. An empty answer means that there is no such record.

use jiff::Timestamp;
use serde::Deserialize;

use crate::model::References;
use crate::providers::calls::{Answer, Call, Fetching, Step};
use crate::providers::crm::{self, Item, Thin};
use crate::providers::payload;
use crate::providers::{Endpoint, TranslateError};

use super::{
    ACCOUNTS_URL, AMOUNT_FIELD, CURRENCY_FIELD, Fields, PAYMENT_ID_FIELD, STATUS_FIELD, decimal,
    field, text,
};

pub(super) const ACCOUNTS: &str = "https://accounts.zoho.com";
const API: &str = "https://www.zohoapis.com";
const MODIFIED: &str = "Modified_Time";
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

/// The path of a record, segment by segment.
pub(super) fn segments<'a>(module: &'a str, record_id: &'a str) -> [&'a str; 4] {
    ["crm", "v8", module, record_id]
}

fn call(thin: &Thin, endpoint: &Endpoint) -> Result<Call, TranslateError> {
    let path = segments(&thin.record_type, &thin.record_id);
    let mut url = crm::api_url(endpoint, API, &path)?;
    let names = format!("{},{MODIFIED}", mapped(endpoint).join(","));
    url.push_str("?fields=");
    url.extend(form_urlencoded::byte_serialize(names.as_bytes()));
    let accounts = endpoint.setting(ACCOUNTS_URL, ACCOUNTS).trim_end_matches('/');
    let token_url = format!("{accounts}/oauth/v2/token");
    Ok(crm::authorised(Call::get(url), endpoint, token_url, SCHEME, ""))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    data: Vec<Fields<'a>>,
}

fn read(thin: &Thin, answer: &Answer, endpoint: &Endpoint) -> Result<Item, TranslateError> {
    if answer.body.is_empty() {
        return Ok(Item::Silent);
    }
    let body: Body<'_> = serde_json::from_slice(&answer.body)
        .map_err(|error| payload::unreadable("a Zoho record", &error))?;
    let missing = || TranslateError("the answer has no record".to_owned());
    let record = body.data.first().ok_or_else(missing)?;
    let Some(status) = crm::status(&text(record, field(endpoint, STATUS_FIELD))?) else {
        return Ok(Item::UnknownStatus);
    };
    let amount = decimal(record, field(endpoint, AMOUNT_FIELD))?;
    let currency = text(record, field(endpoint, CURRENCY_FIELD))?;
    let payment_id = text(record, field(endpoint, PAYMENT_ID_FIELD))?;
    let occurred_at = match text(record, MODIFIED)?.as_str() {
        "" => thin.occurred_at,
        text => text.parse::<Timestamp>().map_err(|_| payload::not_a("a time", text))?,
    };
    let key = crm::state_key(&[
        &thin.record_type,
        &thin.record_id,
        status.word(),
        amount.text(),
        &currency,
        &payment_id,
        &occurred_at.to_string(),
    ]);
    Ok(Item::Reported(Box::new(crm::Report {
        event_id: payload::first(&[&thin.event_id, &key]),
        key,
        event_type: thin.event_type.clone(),
        occurred_at,
        record_type: thin.record_type.clone(),
        record_id: thin.record_id.clone(),
        payment_id,
        status,
        amount: crm::amount(amount.text(), &currency, endpoint)?,
        live: true,
        references: References::default(),
    })))
}
