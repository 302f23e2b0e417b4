//! Signed webhooks as FreshBooks sends them, for every event type that the module translates, with the
//! objects that the API would answer. One seed makes one invoice with its payment and estimate.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;
use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::{Value, json};

use crate::providers::{Endpoint, Sample, SampleAnswer, SampleOrder, samples};
use crate::receipt::signature::sign_hmac_sha256;

use super::form::Form;
use super::record::time;
use super::{ACCOUNT_ID, CALLBACK_VERIFY, HEADER, Noun, VERIFIER, noun};

const ACCOUNT: &str = "6BApk";
const FORM: &str = "application/x-www-form-urlencoded";
/// The verifier that a sample of the handshake brings.
const SAMPLE_VERIFIER: &str = "SampleVerifierOfOneCallback";

/// The sample of an event type; `None` for one that the module does not know.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    let noun = noun(order.event_type)?;
    let account = endpoint.setting(ACCOUNT_ID, ACCOUNT);
    let id = id(order.seed, noun);
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("name", order.event_type)
        .append_pair("object_id", &id)
        .append_pair("account_id", account)
        .append_pair("business_id", "6543")
        .append_pair("identity_id", "1234")
        .append_pair("user_id", "1");
    if order.event_type == CALLBACK_VERIFY {
        form.append_pair(VERIFIER, SAMPLE_VERIFIER);
    }
    let body = form.finish().into_bytes();
    let key = samples::first_secret(endpoint, VERIFIER)?;
    let signed = Form::parse(&body).ok()?.signed_text();
    let signature = BASE64.encode(sign_hmac_sha256(key.as_bytes(), &[signed.as_bytes()]));
    let headers = [("content-type", FORM), (HEADER, signature.as_str())];
    let request = samples::post(endpoint, &headers, body)?;
    Some(Sample { request, answers: answers(order, noun, account, &id)? })
}

/// Ids are numbers at FreshBooks: one for each object of a seed.
fn id(seed: &str, noun: Noun) -> String {
    let place = match noun {
        Noun::Invoice => 0,
        Noun::Payment => 1,
        Noun::Estimate => 2,
        Noun::Other => 3,
    };
    let number = seed.bytes().fold(0_u64, |number, byte| {
        number.wrapping_mul(131).wrapping_add(u64::from(byte)) % 100_000_000_000_000
    });
    format!("{number}{place}")
}

fn answers(
    order: &SampleOrder<'_>,
    noun: Noun,
    account: &str,
    id: &str,
) -> Option<Vec<SampleAnswer>> {
    let Some(collection) = noun.path() else {
        let path = format!("/events/account/{account}/events/callbacks/{id}");
        let verified = json!({ "response": { "result": { "callback": { "verified": true } } } });
        return Some(vec![samples::answer(Method::PUT, path, &verified)]);
    };
    let path = format!("/accounting/account/{account}/{collection}/{collection}/{id}");
    let (name, record) = record(order, noun, id)?;
    let body = json!({ "response": { "result": { name: record } } });
    Some(vec![samples::answer(Method::GET, path, &body)])
}

fn record(order: &SampleOrder<'_>, noun: Noun, id: &str) -> Option<(&'static str, Value)> {
    let total = samples::amount(order.seed);
    let part = samples::part_of(total);
    let (_, operation) = order.event_type.split_once('.')?;
    let mut record = json!({
        "id": id,
        "amount": money(total),
        "vis_state": u8::from(operation == "delete"),
        "updated": local(order.occurred_at),
    });
    let (name, extra) = match noun {
        Noun::Payment => {
            let extra = json!({
                "clientid": 212_566,
                "invoiceid": self::id(order.seed, Noun::Invoice),
                "orderid": format!("order-{}", order.seed),
                "type": "Credit Card",
                "gateway": "Stripe",
            });
            ("payment", extra)
        }
        Noun::Invoice => {
            let (status, paid) = match operation {
                "create" => ("draft", 0),
                "sendByEmail" => ("sent", 0),
                "update" => ("partial", part),
                _ => ("sent", 0),
            };
            let extra = json!({
                "invoice_number": format!("INV-{}", order.seed),
                "customerid": 212_566,
                "organization": samples::CUSTOMER_NAME,
                "email": samples::CUSTOMER_EMAIL,
                "po_number": format!("order-{}", order.seed),
                "paid": money(paid),
                "outstanding": money(total - paid),
                "due_date": "2026-12-20",
                "v3_status": status,
            });
            ("invoice", extra)
        }
        Noun::Estimate => {
            let extra = json!({
                "estimate_number": format!("EST-{}", order.seed),
                "customerid": 212_566,
                "email": samples::CUSTOMER_EMAIL,
                "ui_status": if operation == "update" { "accepted" } else { "sent" },
            });
            ("estimate", extra)
        }
        Noun::Other => return None,
    };
    if let (Some(fields), Value::Object(extra)) = (record.as_object_mut(), extra) {
        fields.extend(extra);
    }
    Some((name, record))
}

fn money(cents: i64) -> Value {
    json!({ "amount": format!("{}.{:02}", cents / 100, cents % 100), "code": "USD" })
}

/// The time as FreshBooks writes it: that of New York, in winter or in summer.
fn local(at: Timestamp) -> String {
    let written = |hours: i8| {
        let offset = Offset::from_hours(hours).unwrap_or(Offset::UTC);
        offset.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S").to_string()
    };
    let winter = written(-5);
    let is_winter = time(&winter).is_ok_and(|read| read.as_second() == at.as_second());
    if is_winter { winter } else { written(-4) }
}
