//! Requests as Pipedrive sends them, with the webhook's credentials, for every event type that the module
//! lists. One seed makes one deal, which is created pending, then paid.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::model::PaymentStatus;
use crate::providers::crm;
use crate::providers::{Endpoint, SampleOrder, samples};
use crate::receipt::Request;

use super::{
    AMOUNT_FIELD_KEY, AUTHORIZATION, DEAL, ENTITY, EVENT_TYPES, PASSWORD, PAYMENT_ID_FIELD_KEY,
    USER, status_field,
};

/// The sample of an event type; `None` for one that the module does not list.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Request> {
    let event_type = *EVENT_TYPES.iter().find(|known| **known == order.event_type)?;
    let (action, _) = event_type.split_once('.')?;
    let body = body(endpoint, order, action).ok()?;
    let user = samples::first_secret(endpoint, USER)?;
    let password = samples::first_secret(endpoint, PASSWORD)?;
    let credentials = format!("Basic {}", BASE64.encode(format!("{user}:{password}")));
    samples::post(endpoint, &[(AUTHORIZATION, credentials.as_str())], body.into_bytes())
}

fn body(
    endpoint: &Endpoint,
    order: &SampleOrder<'_>,
    action: &str,
) -> Result<String, serde_json::Error> {
    let (status, data, previous) = match action {
        "create" => (PaymentStatus::Pending, true, None),
        "change" => (PaymentStatus::Paid, true, Some(PaymentStatus::Pending)),
        _ => (PaymentStatus::Paid, false, Some(PaymentStatus::Paid)),
    };
    let id = record_id(order.seed);
    let now = match data {
        true => deal(endpoint, order, id, status)?,
        false => json!(null).to_string(),
    };
    let before = match previous {
        Some(_) if !data => deal(endpoint, order, id, status)?,
        Some(before) => {
            json!({ "custom_fields": { status_field(endpoint): text(before) } }).to_string()
        }
        None => json!(null).to_string(),
    };
    let meta = json!({
        "action": action,
        "attempt": 1,
        "change_source": "app",
        "company_id": "12300001",
        "correlation_id": format!("cor-{}", order.seed),
        "entity": endpoint.setting(ENTITY, DEAL).trim(),
        "entity_id": id.to_string(),
        "host": "example.pipedrive.com",
        "id": samples::event_id(order),
        "is_bulk_edit": false,
        "permitted_user_ids": ["9001"],
        "timestamp": order.occurred_at.to_string(),
        "type": "general",
        "user_id": "9001",
        "version": "2.0",
        "webhook_id": "701",
        "webhook_owner_id": "9001",
    });
    Ok(format!("{{\"data\":{now},\"meta\":{meta},\"previous\":{before}}}"))
}

/// The deal as JSON. Its value is a number with two decimals, which no float may have touched.
fn deal(
    endpoint: &Endpoint,
    order: &SampleOrder<'_>,
    id: u32,
    status: PaymentStatus,
) -> Result<String, serde_json::Error> {
    let cents = samples::amount(order.seed);
    let value = RawValue::from_string(format!("{}.{:02}", cents / 100, cents % 100))?;
    let payment_key = endpoint.setting(PAYMENT_ID_FIELD_KEY, "payment_id").trim();
    let payment_id = format!("pay_{}", order.seed);
    let mut fields = json!({
        status_field(endpoint): text(status),
        payment_key: { "type": "varchar", "value": payment_id },
    });
    let amount_key = endpoint.setting(AMOUNT_FIELD_KEY, "").trim();
    if !amount_key.is_empty() {
        let amount = value.get();
        fields[amount_key] = json!({ "type": "monetary", "value": amount, "currency": "EUR" });
    }
    let rest = json!({
        "add_time": order.occurred_at.to_string(),
        "currency": "EUR",
        "custom_fields": fields,
        "id": id,
        "org_id": 4,
        "owner_id": 9001,
        "person_id": 12,
        "pipeline_id": 1,
        "stage_id": 3,
        "status": "open",
        "title": format!("Deal {id}"),
        "update_time": order.occurred_at.to_string(),
    });
    Ok(rest.to_string().replacen('{', &format!("{{\"value\":{value},"), 1))
}

fn text(status: PaymentStatus) -> Value {
    json!({ "type": "text", "value": crm::status_text(status) })
}

/// A record's id that the seed makes.
fn record_id(seed: &str) -> u32 {
    let digest: [u8; 32] = Sha256::digest(seed.as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    u32::from_be_bytes([a, b, c, d])
}
