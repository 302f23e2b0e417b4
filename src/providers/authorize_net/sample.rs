//! Signed requests as Authorize.Net sends them, for every event type that the module translates, with the
//! details that its API answers. One seed makes one transaction, its refund and its subscription.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::providers::{Endpoint, Sample, SampleAnswer, SampleOrder, samples};
use crate::receipt::signature::{Digest, sign_hmac};

use super::{EVENT_TYPES, HEADER, PREFIX, SIGNATURE_KEY, details, key_of};

/// The sample of an event type; `None` for one that the module does not know.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    if !EVENT_TYPES.contains(&order.event_type) {
        return None;
    }
    // Amounts keep their two decimals, which JSON numbers of the library would not.
    let body = format!(
        "{{\"notificationId\":{id},\"eventType\":\"{event_type}\",\"eventDate\":\"{at}\",\
         \"webhookId\":\"webhook-sample\",\"payload\":{{{payload}}}}}",
        id = Value::from(samples::event_id(order)),
        event_type = order.event_type,
        at = order.occurred_at,
        payload = payload(order),
    );
    let key = samples::first_secret(endpoint, SIGNATURE_KEY)?;
    let digest = sign_hmac(Digest::Sha512, key_of(key), &[body.as_bytes()]);
    let signature = format!("{PREFIX}{}", hex::encode_upper(digest));
    let request = samples::post(endpoint, &[(HEADER, &signature)], body.into_bytes())?;
    let is_refund = order.event_type.ends_with("refund.created");
    let asked = match is_refund {
        true => vec![refund_details(order), sale_details(order)],
        false => vec![sale_details(order)],
    };
    Some(Sample { request, answers: asked.iter().map(answer).collect() })
}

fn answer(body: &Value) -> SampleAnswer {
    let body = Bytes::from(format!("\u{feff}{body}"));
    SampleAnswer { method: Method::POST, path: details::PATH.to_owned(), status: 200, body }
}

fn decimal(minor_units: i64) -> String {
    format!("{}.{:02}", minor_units / 100, minor_units % 100)
}

fn payload(order: &SampleOrder<'_>) -> String {
    let seed = order.seed;
    let amount = samples::amount(seed);
    if order.event_type.contains(".subscription.") {
        let (_, status) = order.event_type.rsplit_once('.').unwrap_or_default();
        return format!(
            "\"entityName\":\"subscription\",\"id\":\"subscription-{seed}\",\"name\":\"monthly\",\
             \"amount\":{},\"status\":\"{status}\",\
             \"profile\":{{\"customerProfileId\":\"customer-{seed}\"}}",
            decimal(amount),
        );
    }
    if order.event_type.contains(".customer.") {
        return format!("\"entityName\":\"customerProfile\",\"id\":\"customer-{seed}\"");
    }
    let (id, amount) = match order.event_type.ends_with("refund.created") {
        true => (format!("refund-{seed}"), samples::part_of(amount)),
        false => (format!("sale-{seed}"), amount),
    };
    let code = if order.event_type.ends_with("fraud.held") { 4 } else { 1 };
    format!(
        "\"responseCode\":{code},\"authCode\":\"SAMPLE\",\"avsResponse\":\"Y\",\"authAmount\":{},\
         \"merchantReferenceId\":\"order-{seed}\",\"entityName\":\"transaction\",\"id\":\"{id}\"",
        decimal(amount),
    )
}

fn sale_details(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    transaction(
        seed,
        json!({
            "transId": format!("sale-{seed}"),
            "transactionType": "authCaptureTransaction",
            "transactionStatus": "capturedPendingSettlement",
            "authAmount": decimal(samples::amount(seed)),
            "settleAmount": decimal(samples::amount(seed)),
        }),
    )
}

fn refund_details(order: &SampleOrder<'_>) -> Value {
    let seed = order.seed;
    transaction(
        seed,
        json!({
            "transId": format!("refund-{seed}"),
            "refTransId": format!("sale-{seed}"),
            "transactionType": "refundTransaction",
            "transactionStatus": "refundPendingSettlement",
            "authAmount": decimal(samples::part_of(samples::amount(seed))),
        }),
    )
}

fn transaction(seed: &str, mut transaction: Value) -> Value {
    transaction["order"] = json!({ "invoiceNumber": format!("INV-{seed}") });
    transaction["customer"] =
        json!({ "id": format!("customer-{seed}"), "email": samples::CUSTOMER_EMAIL });
    transaction["billTo"] = json!({ "firstName": "Example", "lastName": "Customer" });
    json!({
        "transaction": transaction,
        "transrefId": format!("order-{seed}"),
        "messages": { "resultCode": "Ok", "message": [{ "code": "I00001", "text": "Successful." }] },
    })
}
