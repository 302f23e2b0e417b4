//! Reading a monday.com item: a change that does not tell what is needed comes in, out goes a query for
//! the item's columns, and then what they say about a payment. Errors come with a 200 and are errors.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::providers::calls::{Answer, Call, Fetching, Step};
use crate::providers::crm::{self, Item, Thin};
use crate::providers::payload::{self, Text};
use crate::providers::{Endpoint, TranslateError};

use super::{
    AMOUNT_COLUMN, API_VERSION, AUTHORIZATION, CURRENCY_COLUMN, PAYMENT_ID_COLUMN, STATUS_COLUMN,
    column, item_references,
};

pub(super) const DEFAULT_VERSION: &str = "2026-10";
pub(super) const API: &str = "https://api.monday.com/v2";
const QUERY: &str = "query ($item: [ID!], $columns: [String!]) { items(ids: $item) { id name \
                     updated_at board { id } column_values(ids: $columns) { id text } } }";

/// The next step in reading an item.
pub(super) fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let endpoint = fetching.endpoint;
    crm::read_record(
        fetching,
        |thin| call(thin, endpoint),
        |thin, answer| read(thin, answer, endpoint),
    )
}

/// The columns that tell of a payment.
pub(super) fn columns(endpoint: &Endpoint) -> Vec<&str> {
    [STATUS_COLUMN, AMOUNT_COLUMN, CURRENCY_COLUMN, PAYMENT_ID_COLUMN]
        .into_iter()
        .map(|setting| column(endpoint, setting))
        .filter(|column| !column.is_empty())
        .collect()
}

fn call(thin: &Thin, endpoint: &Endpoint) -> Result<Call, TranslateError> {
    let url = crm::api_url(endpoint, API, &[])?;
    let variables = json!({ "item": [thin.record_id], "columns": columns(endpoint) });
    let call = Call::post_json(url, &json!({ "query": QUERY, "variables": variables }))
        .header("api-version", endpoint.setting(API_VERSION, DEFAULT_VERSION));
    // The token stands alone in the header.
    Ok(match endpoint.secret(crm::ACCESS_TOKEN) {
        Some(token) => call.header(AUTHORIZATION, token),
        None => call,
    })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    data: Option<Data<'a>>,
    errors: Option<Vec<IgnoredAny>>,
    error_code: Option<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Data<'a> {
    #[serde(borrow)]
    items: Option<Vec<Row<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Row<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    updated_at: Text<'a>,
    #[serde(borrow)]
    board: Text<'a>,
    #[serde(borrow)]
    column_values: Vec<Column<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Column<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
}

fn read(thin: &Thin, answer: &Answer, endpoint: &Endpoint) -> Result<Item, TranslateError> {
    let body: Body<'_> = serde_json::from_slice(&answer.body)
        .map_err(|error| payload::unreadable("a monday.com answer", &error))?;
    let items = body.data.and_then(|data| data.items);
    let has_errors = body.errors.is_some_and(|all| !all.is_empty());
    let items = match (items, has_errors || body.error_code.is_some()) {
        (Some(items), false) => items,
        (_, true) => return Err(TranslateError("monday.com answered with an error".to_owned())),
        (None, false) => return Err(TranslateError("the answer has no items".to_owned())),
    };
    // An item that was deleted is not among them.
    match items.iter().find(|row| *row.id == *thin.record_id) {
        Some(row) => row.item(thin, endpoint),
        None => Ok(Item::Silent),
    }
}

impl Row<'_> {
    fn item(&self, thin: &Thin, endpoint: &Endpoint) -> Result<Item, TranslateError> {
        let value = |setting| {
            let id = column(endpoint, setting);
            let found = self.column_values.iter().find(|column| *column.id == *id);
            found.map_or("", |column| &*column.text)
        };
        let Some(status) = crm::status(value(STATUS_COLUMN)) else {
            return Ok(Item::UnknownStatus);
        };
        let (amount, currency) = (value(AMOUNT_COLUMN), value(CURRENCY_COLUMN));
        let payment_id = value(PAYMENT_ID_COLUMN).trim();
        let occurred_at = match &*self.updated_at {
            "" => thin.occurred_at,
            text => text.parse::<Timestamp>().map_err(|_| payload::not_a("a time", text))?,
        };
        let references = item_references(&self.board, &self.name);
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
            references: crm::keep_currency(references, money, currency),
        })))
    }
}
