//! Notifications as Zoho CRM sends them, with the channel's token, for every event type that the module
//! lists, and the record that its API would answer. One seed makes one deal, which is created pending and
//! only named, then paid.

use http::Method;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::model::PaymentStatus;
use crate::providers::crm;
use crate::providers::{Endpoint, Sample, SampleOrder, samples};

use super::{
    AMOUNT_FIELD, CHANNEL_ID, CURRENCY_FIELD, EVENT_TYPES, MODULE, PAYMENT_ID_FIELD, STATUS_FIELD,
    TOKEN, field, records,
};

/// The sample of an event type; `None` for one that the module does not list.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    let operation = *EVENT_TYPES.iter().find(|known| **known == order.event_type)?;
    let status = match operation {
        "insert" => PaymentStatus::Pending,
        _ => PaymentStatus::Paid,
    };
    let id = record_id(order.seed);
    let module = field(endpoint, MODULE);
    let fields = fields(endpoint, order, status).ok()?;
    let (names, values) = match operation {
        "update" => (
            json!([{ id.as_str(): records::mapped(endpoint) }]),
            format!("[{{\"record_id\":{},\"values\":{{{fields}}}}}]", json!(id)),
        ),
        _ => (json!([]), json!([]).to_string()),
    };
    let rest = json!({
        "affected_fields": names,
        "channel_id": samples::first_secret(endpoint, CHANNEL_ID)?,
        "ids": [id],
        "module": module,
        "operation": operation,
        "query_params": {},
        "resource_uri": format!("https://www.zohoapis.com/crm/v8/{module}"),
        "server_time": order.occurred_at.as_millisecond(),
        "token": samples::first_secret(endpoint, TOKEN)?,
    });
    let told = format!("{{\"affected_values\":{values},");
    let body = rest.to_string().replacen('{', &told, 1);
    let request = samples::post(endpoint, &[], body.into_bytes())?;
    let modified = json!(order.occurred_at.to_string());
    let record = format!("{{\"data\":[{{{fields},\"Modified_Time\":{modified}}}]}}");
    let url = records::url(endpoint, module, &id).ok()?;
    let mut answer = samples::answer(Method::GET, samples::path_of(&url), &Value::Null);
    answer.body = record.into();
    Some(Sample { request, answers: vec![answer] })
}

/// The members of a record. The amount is a number with two decimals, which no float may have touched.
fn fields(
    endpoint: &Endpoint,
    order: &SampleOrder<'_>,
    status: PaymentStatus,
) -> Result<String, serde_json::Error> {
    let cents = samples::amount(order.seed);
    let amount = RawValue::from_string(format!("{}.{:02}", cents / 100, cents % 100))?;
    let members = [
        (STATUS_FIELD, json!(crm::status_text(status)).to_string()),
        (AMOUNT_FIELD, amount.get().to_owned()),
        (CURRENCY_FIELD, json!("EUR").to_string()),
        (PAYMENT_ID_FIELD, json!(format!("pay_{}", order.seed)).to_string()),
    ];
    let written = members.iter().map(|(setting, value)| (field(endpoint, setting), value));
    let written = written.filter(|(name, _)| !name.is_empty());
    let written: Vec<String> =
        written.map(|(name, value)| format!("{}:{value}", json!(name))).collect();
    Ok(written.join(","))
}

/// A record's id of nineteen digits that the seed makes.
fn record_id(seed: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(seed.as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    format!("572500000{:010}", u32::from_be_bytes([a, b, c, d]))
}
