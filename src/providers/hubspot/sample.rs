//! Signed requests as HubSpot sends them, for every event type that the module lists, with the record that
//! its API would answer. One seed makes one deal, from pending to paid to refunded.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::model::PaymentStatus;
use crate::providers::crm;
use crate::providers::{Endpoint, Sample, SampleOrder, samples};
use crate::receipt::signature::sign_hmac_sha256;

use super::{
    AMOUNT_PROPERTY, ANY_OBJECT, CLIENT_SECRET, CURRENCY_PROPERTY, EVENT_TYPES,
    PAYMENT_ID_PROPERTY, SIGNATURE_HEADER, TIMESTAMP_HEADER, object_types, records, signed_uri,
    status_property, type_name, type_number,
};

/// The sample of an event type; `None` for one that the module does not list.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    let event_type = *EVENT_TYPES.iter().find(|known| **known == order.event_type)?;
    let (object, action) = event_type.split_once('.')?;
    let record_type = match object {
        ANY_OBJECT => object_types(endpoint)?.first()?.clone(),
        named => named.to_owned(),
    };
    let status = match (object, action) {
        (_, "creation") => PaymentStatus::Pending,
        (ANY_OBJECT, _) => PaymentStatus::Refunded,
        (_, _) => PaymentStatus::Paid,
    };
    let id = record_id(order.seed);
    let mut change = json!({
        "eventId": samples::event_id(order),
        "subscriptionId": 4_400_100,
        "portalId": 62_500_100,
        "appId": 990_100,
        "occurredAt": order.occurred_at.as_millisecond(),
        "subscriptionType": event_type,
        "attemptNumber": 0,
        "objectId": id,
        "changeSource": "CRM_UI",
        "sourceId": "userId:500",
    });
    if object == ANY_OBJECT {
        change["objectTypeId"] = json!(type_number(&record_type));
    }
    match action {
        "creation" => change["changeFlag"] = json!("CREATED"),
        "propertyChange" => {
            change["propertyName"] = json!(status_property(endpoint));
            change["propertyValue"] = json!(crm::status_text(status));
        }
        _ => {}
    }
    let body = serde_json::to_vec(&json!([change])).ok()?;
    let timestamp = order.now.as_millisecond().to_string();
    let uri = signed_uri(&endpoint.url, &endpoint.path);
    let key = samples::first_secret(endpoint, CLIENT_SECRET)?;
    let signed: [&[u8]; 4] = [b"POST", uri.as_bytes(), &body, timestamp.as_bytes()];
    let signature = BASE64.encode(sign_hmac_sha256(key.as_bytes(), &signed));
    let headers = [(SIGNATURE_HEADER, signature.as_str()), (TIMESTAMP_HEADER, timestamp.as_str())];
    let request = samples::post(endpoint, &headers, body)?;
    let url = records::url(endpoint, type_name(&record_type), &id).ok()?;
    let record = record(endpoint, order, &id, status);
    let answers = vec![samples::answer(Method::GET, samples::path_of(&url), &record)];
    Some(Sample { request, answers })
}

fn record(endpoint: &Endpoint, order: &SampleOrder<'_>, id: &str, status: PaymentStatus) -> Value {
    let mut properties = json!({ status_property(endpoint): crm::status_text(status) });
    let cents = samples::amount(order.seed);
    let euros = format!("{}.{:02}", cents / 100, cents % 100);
    let values = [
        (endpoint.setting(AMOUNT_PROPERTY, "amount"), euros),
        (endpoint.setting(CURRENCY_PROPERTY, "deal_currency_code"), "EUR".to_owned()),
        (endpoint.setting(PAYMENT_ID_PROPERTY, ""), format!("pay_{}", order.seed)),
    ];
    for (name, value) in values.into_iter().filter(|(name, _)| !name.is_empty()) {
        properties[name] = json!(value);
    }
    json!({
        "id": id,
        "properties": properties,
        "createdAt": order.occurred_at.to_string(),
        "updatedAt": order.occurred_at.to_string(),
        "archived": false,
    })
}

/// A record's id of digits that the seed makes.
fn record_id(seed: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(seed.as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    format!("18{:010}", u32::from_be_bytes([a, b, c, d]))
}
