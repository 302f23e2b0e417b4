//! Signed webhooks as Intuit sends them, for every event type that the module translates, with the objects
//! that the API would answer. One seed makes one invoice with its payment; versions grow along the life.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;
use serde_json::{Value, json};

use crate::providers::{Endpoint, Sample, SampleAnswer, SampleOrder, samples};
use crate::receipt::signature::sign_hmac_sha256;

use super::{Entity, HEADER, Operation, VERIFIER_TOKEN, connected, row};

/// The company of samples, where the endpoint names none.
const REALM: &str = "9341454000000001";

/// The sample of an event type; `None` for one that the module does not know.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    let (_, entity, operation) = row(order.event_type)?;
    let realm = connected(endpoint).first().cloned().unwrap_or_else(|| REALM.to_owned());
    let id = id(order.seed, *entity);
    let body = json!([{
        "specversion": "1.0",
        "id": samples::event_id(order),
        "source": "intuit.sample",
        "type": order.event_type,
        "datacontenttype": "application/json",
        "time": order.occurred_at.to_string(),
        "intuitentityid": id,
        "intuitaccountid": realm,
        "data": {},
    }]);
    let body = serde_json::to_vec(&body).ok()?;
    let key = samples::first_secret(endpoint, VERIFIER_TOKEN)?;
    let signature = BASE64.encode(sign_hmac_sha256(key.as_bytes(), &[&body]));
    let request = samples::post(endpoint, &[(HEADER, &signature)], body)?;
    let answers = answers(order, *entity, *operation, &realm, &id);
    Some(Sample { request, answers })
}

/// Ids are numbers at QuickBooks: one for each object of a seed.
fn id(seed: &str, entity: Entity) -> String {
    let place = match entity {
        Entity::Invoice => 0,
        Entity::Payment => 1,
        Entity::SalesReceipt => 2,
        Entity::RefundReceipt => 3,
        Entity::Deposit => 4,
        Entity::Purchase => 5,
        Entity::Transfer => 6,
        Entity::Estimate => 7,
        Entity::Other => 8,
    };
    let number = seed.bytes().fold(0_u64, |number, byte| {
        number.wrapping_mul(131).wrapping_add(u64::from(byte)) % 100_000_000_000_000
    });
    format!("{number}{place}")
}

fn answers(
    order: &SampleOrder<'_>,
    entity: Entity,
    operation: Operation,
    realm: &str,
    id: &str,
) -> Vec<SampleAnswer> {
    let Some(collection) = entity.path().filter(|_| operation != Operation::Deleted) else {
        return Vec::new();
    };
    let path = format!("/v3/company/{realm}/{collection}/{id}");
    let (name, object) = object(order, entity, operation, id);
    vec![samples::answer(Method::GET, path, &json!({ name: object }))]
}

fn object(
    order: &SampleOrder<'_>,
    entity: Entity,
    operation: Operation,
    id: &str,
) -> (&'static str, Value) {
    let total = samples::amount(order.seed);
    let is_void = operation == Operation::Voided;
    let is_new = order.event_type.ends_with(".created.v1");
    let version = match (is_new, operation) {
        (true, _) => "0",
        (false, Operation::Voided | Operation::Deleted) => "3",
        (false, Operation::Emailed) => "1",
        (false, Operation::Changed) => "2",
    };
    let mut object = json!({
        "Id": id,
        "SyncToken": version,
        "domain": "QBO",
        "sparse": false,
        "CurrencyRef": { "value": "USD" },
        "CustomerRef": { "value": "16", "name": samples::CUSTOMER_NAME },
        "TotalAmt": if is_void { decimal(0) } else { decimal(total) },
        "PrivateNote": if is_void { "Voided" } else { "" },
        "MetaData": { "LastUpdatedTime": order.occurred_at.to_string() },
    });
    let (name, extra) = members(order, entity, operation);
    if let (Some(fields), Value::Object(extra)) = (object.as_object_mut(), extra) {
        fields.extend(extra);
    }
    (name, object)
}

/// The name of an entity, and what its objects have beside the rest.
fn members(order: &SampleOrder<'_>, entity: Entity, operation: Operation) -> (&'static str, Value) {
    let total = samples::amount(order.seed);
    let is_void = operation == Operation::Voided;
    let is_new = order.event_type.ends_with(".created.v1");
    match entity {
        Entity::Invoice => {
            let left = if is_new { total } else { total - samples::part_of(total) };
            let left = if is_void { 0 } else { left };
            let fields = json!({
                "Balance": decimal(left),
                "BillEmail": { "Address": samples::CUSTOMER_EMAIL },
                "DocNumber": format!("INV-{}", order.seed),
                "DueDate": "2026-12-20",
                "LinkedTxn": [],
            });
            ("Invoice", fields)
        }
        Entity::Payment => {
            let linked =
                json!([{ "TxnId": self::id(order.seed, Entity::Invoice), "TxnType": "Invoice" }]);
            let line = json!({ "Amount": decimal(total), "LinkedTxn": linked });
            ("Payment", json!({ "Line": [line], "PaymentRefNum": format!("order-{}", order.seed) }))
        }
        Entity::SalesReceipt => ("SalesReceipt", json!({ "Balance": 0 })),
        Entity::RefundReceipt => ("RefundReceipt", json!({ "Balance": 0 })),
        Entity::Deposit => ("Deposit", json!({})),
        Entity::Purchase => {
            ("Purchase", json!({ "EntityRef": { "value": "7", "name": "Example Supplier" } }))
        }
        Entity::Transfer => ("Transfer", json!({ "Amount": decimal(total) })),
        Entity::Estimate | Entity::Other => {
            let status = if is_new { "Pending" } else { "Accepted" };
            ("Estimate", json!({ "TxnStatus": status, "DocNumber": format!("EST-{}", order.seed) }))
        }
    }
}

/// An amount of cents as QuickBooks writes it. Every amount of samples is a short decimal, which a float
/// shows as it is.
fn decimal(cents: i64) -> Value {
    let text = format!("{}.{:02}", cents / 100, cents % 100);
    serde_json::from_str(&text).unwrap_or(Value::Null)
}
