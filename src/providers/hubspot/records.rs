//! Reading a HubSpot record: a change that does not tell what is needed comes in, out goes a call for the
//! record's properties, and then what they say about a payment.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::model::References;
use crate::providers::calls::{Answer, Call, Fetching, Step};
use crate::providers::crm::{self, Item, Thin};
use crate::providers::payload::{self, Text};
use crate::providers::{Endpoint, TranslateError};

use super::{
    AMOUNT_PROPERTY, API_VERSION, CURRENCY_PROPERTY, PAYMENT_ID_PROPERTY, status_property,
    type_number,
};

pub(super) const DEFAULT_VERSION: &str = "v3";
const API: &str = "https://api.hubapi.com";
const TOKEN_PATH: &[&str] = &["oauth", "v1", "token"];

/// The next step in reading a record.
pub(super) fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let endpoint = fetching.endpoint;
    crm::read_record(
        fetching,
        |thin| call(thin, endpoint),
        |thin, answer| read(thin, answer, endpoint),
    )
}

/// The properties that tell of a payment.
pub(super) fn properties(endpoint: &Endpoint) -> Vec<&str> {
    let names = [
        status_property(endpoint),
        endpoint.setting(AMOUNT_PROPERTY, "amount").trim(),
        endpoint.setting(CURRENCY_PROPERTY, "deal_currency_code").trim(),
        endpoint.setting(PAYMENT_ID_PROPERTY, "").trim(),
    ];
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

/// The URL of a record, without a query.
pub(super) fn url(
    endpoint: &Endpoint,
    record_type: &str,
    record_id: &str,
) -> Result<String, TranslateError> {
    let version = endpoint.setting(API_VERSION, DEFAULT_VERSION);
    let number = type_number(record_type);
    let path = match version.starts_with('v') {
        true => ["crm", version, "objects", number, record_id],
        false => ["crm", "objects", version, number, record_id],
    };
    crm::api_url(endpoint, API, &path)
}

fn call(thin: &Thin, endpoint: &Endpoint) -> Result<Call, TranslateError> {
    let mut url = url(endpoint, &thin.record_type, &thin.record_id)?;
    let names = properties(endpoint).join(",");
    url.push_str("?properties=");
    url.extend(form_urlencoded::byte_serialize(names.as_bytes()));
    let token_url = crm::api_url(endpoint, API, TOKEN_PATH)?;
    Ok(crm::authorised(Call::get(url), endpoint, token_url, "Bearer", ""))
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow)]
    properties: BTreeMap<String, Text<'a>>,
    #[serde(borrow)]
    updated_at: Text<'a>,
    archived: bool,
}

fn read(thin: &Thin, answer: &Answer, endpoint: &Endpoint) -> Result<Item, TranslateError> {
    let record: Record<'_> = serde_json::from_slice(&answer.body)
        .map_err(|error| payload::unreadable("a HubSpot record", &error))?;
    if record.archived {
        return Ok(Item::Silent);
    }
    let value = |name: &str| record.properties.get(name.trim()).map_or("", |text| &**text);
    let Some(status) = crm::status(value(status_property(endpoint))) else {
        return Ok(Item::UnknownStatus);
    };
    let amount = value(endpoint.setting(AMOUNT_PROPERTY, "amount"));
    let currency = value(endpoint.setting(CURRENCY_PROPERTY, "deal_currency_code"));
    let payment_id = value(endpoint.setting(PAYMENT_ID_PROPERTY, "")).trim();
    let occurred_at = match &*record.updated_at {
        "" => thin.occurred_at,
        text => text.parse::<Timestamp>().map_err(|_| payload::not_a("a time", text))?,
    };
    let money = crm::amount(amount, currency, endpoint)?;
    let key = crm::state_key(&[
        &thin.record_type,
        &thin.record_id,
        status.word(),
        amount,
        currency,
        payment_id,
        &occurred_at.to_string(),
    ]);
    Ok(Item::Reported(Box::new(crm::Report {
        event_id: payload::first(&[&thin.event_id, &key]),
        key,
        event_type: thin.event_type.clone(),
        occurred_at,
        record_type: thin.record_type.clone(),
        record_id: thin.record_id.clone(),
        payment_id: payment_id.to_owned(),
        status,
        amount: money,
        live: true,
        references: crm::keep_currency(References::default(), money, currency),
    })))
}
