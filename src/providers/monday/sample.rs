//! Requests as monday.com sends them, with a signed token, for every event type that the module lists, and
//! the item that its API would answer. One seed makes one item, which is created pending, then paid.

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::model::PaymentStatus;
use crate::providers::crm;
use crate::providers::{Endpoint, Sample, SampleOrder, samples};
use crate::receipt::Request;
use crate::receipt::signature::jws::base64_url;
use crate::receipt::signature::sign_hmac_sha256;

use super::{
    AMOUNT_COLUMN, AUDIENCE, AUTHORIZATION, BOARD_ID, CURRENCY_COLUMN, EVENTS, Meaning,
    PAYMENT_ID_COLUMN, SIGNING_SECRET, STATUS_COLUMN, URL_PARAMETER, URL_TOKEN, column, records,
    token,
};

const TOKEN_SECONDS: i64 = 300;

/// The sample of an event type; `None` for one that the module does not list.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    let (event_type, meaning) = *EVENTS.iter().find(|(known, _)| *known == order.event_type)?;
    let status = match meaning {
        Meaning::Created => PaymentStatus::Pending,
        Meaning::Column | Meaning::Nothing => PaymentStatus::Paid,
    };
    let (id, name) = (record_id(order.seed), format!("Invoice {}", order.seed));
    // To the millisecond, as monday.com tells the time.
    let at = Timestamp::from_millisecond(order.occurred_at.as_millisecond()).ok()?;
    let seconds = format!("{}.{:03}", at.as_second(), at.subsec_millisecond());
    let label = |status| json!({ "index": 1, "text": crm::status_text(status) });
    let mut event = json!({
        "app": "monday",
        "boardId": board_id(endpoint),
        "groupId": "topics",
        "isRetry": false,
        "originalTriggerUuid": null,
        "pulseId": id,
        "pulseName": name,
        "subscriptionId": 810_700_001,
        "triggerTime": at.to_string(),
        "triggerUuid": samples::event_id(order),
        "type": event_type,
        "userId": 4_000_001,
    });
    match meaning {
        Meaning::Column => {
            event["changedAt"] = serde_json::from_str(&seconds).ok()?;
            event["columnId"] = json!(column(endpoint, STATUS_COLUMN));
            event["columnTitle"] = json!("Payment status");
            event["columnType"] = json!("color");
            event["previousValue"] = json!({ "label": label(PaymentStatus::Pending) });
            event["value"] = json!({ "label": label(status), "post_id": null });
        }
        Meaning::Created => event["columnValues"] = cells(endpoint, order, status),
        Meaning::Nothing => {}
    }
    let body = serde_json::to_vec(&json!({ "event": event })).ok()?;
    let request = match token(endpoint, order) {
        Some(token) => samples::post(endpoint, &[(AUTHORIZATION, token.as_str())], body)?,
        None => {
            let secret = samples::first_secret(endpoint, URL_TOKEN)?;
            let secret: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let path = format!("{}?{URL_PARAMETER}={secret}", endpoint.path);
            Request { path, ..samples::post(endpoint, &[], body)? }
        }
    };
    let row = row(endpoint, order, &name, status);
    let url = crm::api_url(endpoint, records::API, &[]).ok()?;
    let answer = json!({ "data": { "items": [row] } });
    Some(Sample {
        request,
        answers: vec![samples::answer(Method::POST, samples::path_of(&url), &answer)],
    })
}

/// The item as the API tells it.
fn row(endpoint: &Endpoint, order: &SampleOrder<'_>, name: &str, status: PaymentStatus) -> Value {
    let columns: Vec<Value> = values(endpoint, order, status)
        .into_iter()
        .map(|(column, text)| json!({ "id": column, "text": text }))
        .collect();
    json!({
        "id": record_id(order.seed).to_string(),
        "name": name,
        "updated_at": order.occurred_at.to_string(),
        "board": { "id": board_id(endpoint).to_string() },
        "column_values": columns,
    })
}

fn board_id(endpoint: &Endpoint) -> i64 {
    endpoint.setting(BOARD_ID, "").trim().parse().unwrap_or(18_400_000_001)
}

/// The columns of the item with their texts.
fn values<'a>(
    endpoint: &'a Endpoint,
    order: &SampleOrder<'_>,
    status: PaymentStatus,
) -> [(&'a str, String); 4] {
    let cents = samples::amount(order.seed);
    [
        (column(endpoint, STATUS_COLUMN), crm::status_text(status).to_owned()),
        (column(endpoint, AMOUNT_COLUMN), format!("{}.{:02}", cents / 100, cents % 100)),
        (column(endpoint, CURRENCY_COLUMN), "EUR".to_owned()),
        (column(endpoint, PAYMENT_ID_COLUMN), String::new()),
    ]
}

/// The columns of a new item, as a webhook tells them.
fn cells(endpoint: &Endpoint, order: &SampleOrder<'_>, status: PaymentStatus) -> Value {
    let mut cells = json!({});
    for (column, text) in values(endpoint, order, status) {
        if column.is_empty() || text.is_empty() {
            continue;
        }
        cells[column] = match column == super::column(endpoint, STATUS_COLUMN) {
            true => json!({ "label": { "index": 0, "text": text } }),
            false => json!({ "value": text }),
        };
    }
    cells
}

fn token(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<String> {
    let audience = match endpoint.setting(AUDIENCE, "").trim() {
        "" => endpoint.url.as_str(),
        configured => configured,
    };
    let issued_at = order.now.as_second();
    let header = json!({ "alg": token::ALGORITHM, "typ": "JWT" }).to_string();
    let claims = json!({
        "accountId": 1_800_001,
        "aud": audience,
        "exp": issued_at.checked_add(TOKEN_SECONDS)?,
        "iat": issued_at,
        "userId": 4_000_001,
    });
    let (header, claims) = (header.as_bytes(), claims.to_string());
    let signed = format!("{}.{}", base64_url(header), base64_url(claims.as_bytes()));
    let key = samples::first_secret(endpoint, SIGNING_SECRET)?;
    let signature = sign_hmac_sha256(key.as_bytes(), &[signed.as_bytes()]);
    Some(format!("{signed}.{}", base64_url(&signature)))
}

/// An item's id that the seed makes.
fn record_id(seed: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(seed.as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    12_000_000_000 + u64::from(u32::from_be_bytes([a, b, c, d]))
}
