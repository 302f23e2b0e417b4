//! Signed webhooks as Xero sends them, for every event type that the module translates, with the objects
//! that the API would answer. One seed makes one invoice with its payment, credit note and prepayment.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;
use serde_json::{Value, json};

use crate::providers::{Endpoint, Sample, SampleOrder, samples};
use crate::receipt::signature::sign_hmac_sha256;

use super::{Category, HEADER, WEBHOOK_KEY, category};

const TENANT: &str = "aef86862-0000-4b6b-88bc-d89032cecc50";

/// The sample of an event type; `None` for one that the module does not know.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    let category = category(order.event_type)?;
    let (category_name, event_type) = order.event_type.split_once('.')?;
    let is_new = event_type == "CREATE";
    let id = id(order.seed, category);
    let collection = category.path().unwrap_or("Contacts");
    let at = order.occurred_at.to_string();
    let mut event = json!({
        "resourceUrl": format!("https://api.xero.com/api.xro/2.0/{collection}/{id}"),
        "resourceId": id,
        "eventDateUtc": at.trim_end_matches('Z'),
        "eventType": event_type,
        "eventCategory": category_name,
        "tenantId": TENANT,
        "tenantType": "ORGANISATION",
    });
    match category {
        Category::CreditNote => {
            let status = if is_new { "AUTHORISED" } else { "PAID" };
            event["data"] = json!({ "Type": "ACCRECCREDIT", "Status": status });
        }
        Category::Prepayment => {
            event["data"] = json!({ "Type": "RECEIVE-PREPAYMENT", "Status": "AUTHORISED" });
        }
        Category::Invoice | Category::Payment | Category::BankTransaction | Category::Other => {}
    }
    let body = json!({
        "events": [event],
        "firstEventSequence": 1,
        "lastEventSequence": 1,
        "entropy": samples::event_id(order),
    });
    let body = serde_json::to_vec(&body).ok()?;
    let key = samples::first_secret(endpoint, WEBHOOK_KEY)?;
    let signature = BASE64.encode(sign_hmac_sha256(key.as_bytes(), &[&body]));
    let request = samples::post(endpoint, &[(HEADER, &signature)], body)?;
    let answers = match object(order, category, is_new, &id) {
        Some(object) => {
            let path = format!("/api.xro/2.0/{collection}/{id}");
            vec![samples::answer(Method::GET, path, &json!({ collection: [object] }))]
        }
        None => Vec::new(),
    };
    Some(Sample { request, answers })
}

/// One id for each object of a seed; Xero's own are GUIDs.
fn id(seed: &str, category: Category) -> String {
    let kind = match category {
        Category::Invoice => "invoice",
        Category::Payment => "payment",
        Category::CreditNote => "creditnote",
        Category::Prepayment => "prepayment",
        Category::BankTransaction => "bank",
        Category::Other => "contact",
    };
    format!("{kind}-{seed}")
}

fn object(order: &SampleOrder<'_>, category: Category, is_new: bool, id: &str) -> Option<Value> {
    let mut object = members(order, category, is_new, id)?;
    let fields = object.as_object_mut()?;
    fields.insert("Reference".to_owned(), json!(format!("order-{}", order.seed)));
    fields.insert("CurrencyCode".to_owned(), json!("NZD"));
    let updated = format!("/Date({}+0000)/", order.occurred_at.as_millisecond());
    fields.insert("UpdatedDateUTC".to_owned(), json!(updated));
    Some(object)
}

/// What the objects of a category have beside the rest.
fn members(order: &SampleOrder<'_>, category: Category, is_new: bool, id: &str) -> Option<Value> {
    let total = samples::amount(order.seed);
    let part = samples::part_of(total);
    let contact = json!({
        "ContactID": format!("contact-{}", order.seed),
        "Name": samples::CUSTOMER_NAME,
        "EmailAddress": samples::CUSTOMER_EMAIL,
    });
    let invoice_id = self::id(order.seed, Category::Invoice);
    let object = match category {
        Category::Invoice => json!({
            "InvoiceID": id,
            "InvoiceNumber": format!("INV-{}", order.seed),
            "Type": "ACCREC",
            "Status": if is_new { "AUTHORISED" } else { "PAID" },
            "Total": decimal(total),
            "AmountDue": decimal(if is_new { total } else { 0 }),
            "AmountPaid": decimal(if is_new { 0 } else { total }),
            "AmountCredited": decimal(0),
            "DueDateString": "2026-12-20T00:00:00",
            "DueDate": "/Date(1797724800000+0000)/",
            "Payments": [],
            "Contact": contact,
        }),
        Category::Payment => json!({
            "PaymentID": id,
            "PaymentType": "ACCRECPAYMENT",
            "Status": if is_new { "AUTHORISED" } else { "DELETED" },
            "Amount": decimal(total),
            "Invoice": {
                "InvoiceID": invoice_id,
                "InvoiceNumber": format!("INV-{}", order.seed),
                "CurrencyCode": "NZD",
                "Contact": contact,
            },
        }),
        Category::CreditNote => json!({
            "CreditNoteID": id,
            "CreditNoteNumber": format!("CN-{}", order.seed),
            "Type": "ACCRECCREDIT",
            "Status": "PAID",
            "Total": decimal(part),
            "Payments": [{ "PaymentID": format!("refund-{}", order.seed), "Amount": decimal(part) }],
            "Contact": contact,
        }),
        Category::Prepayment => json!({
            "PrepaymentID": id,
            "Type": "RECEIVE-PREPAYMENT",
            "Status": if is_new { "AUTHORISED" } else { "VOIDED" },
            "Total": decimal(total),
            "Payments": [],
            "Contact": contact,
        }),
        Category::BankTransaction | Category::Other => return None,
    };
    Some(object)
}

/// An amount of cents as Xero writes it. Every amount of samples is a short decimal, which a float shows
/// as it is.
fn decimal(cents: i64) -> Value {
    let text = format!("{}.{:02}", cents / 100, cents % 100);
    serde_json::from_str(&text).unwrap_or(Value::Null)
}
