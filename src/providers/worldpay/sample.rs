//! Requests as Worldpay sends them, for every event type of both schemes: signed JSON, and XML at a URL that
//! ends in the endpoint's token. One seed makes one payment with its refund, dispute and payout.

use std::fmt::Write as _;

use http::header::{CONTENT_TYPE, HeaderValue};
use jiff::tz::TimeZone;
use serde_json::json;

use crate::providers::{Endpoint, Sample, SampleOrder, samples};
use crate::receipt::signature::sign_hmac_sha256;

use super::facts::{EVENT_TYPES, Meaning, PAYOUTS, WPG};
use super::{HASH, HEADER, MERCHANT_CODES, SIGNATURE_KEYS, URL_TOKEN, given_token, signature_keys};

const ACCESS_TYPE: &str = "application/vnd.worldpay.events-v1.hal+json";
const MERCHANT_CODE: &str = "SAMPLEGBP";

/// Secrets of an endpoint that takes the samples of Access Worldpay. Those of WPG need an endpoint whose
/// path ends in its token.
pub fn sample_secrets() -> Vec<(&'static str, String)> {
    vec![(SIGNATURE_KEYS, json!({ "1": "sample-event-signature-key" }).to_string())]
}

/// The sample of an event type; `None` for one that the module does not know or the endpoint cannot take.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Sample> {
    if !EVENT_TYPES.contains(&order.event_type) {
        return None;
    }
    if let Some((_, meaning)) = WPG.iter().find(|(name, _)| *name == order.event_type) {
        return notification(endpoint, order, *meaning);
    }
    let total = samples::amount(order.seed);
    let is_refund = matches!(order.event_type, "sentForRefund" | "refunded" | "refundFailed");
    let is_settlement = matches!(order.event_type, "sentForSettlement" | "settled");
    let is_payout = PAYOUTS.iter().any(|(name, ..)| *name == order.event_type);
    let is_payout = is_payout && order.event_type != "refused";
    let mut details = json!({
        "classification": if is_payout { "payout" } else { "payment" },
        "type": order.event_type,
        "date": TimeZone::UTC.to_datetime(order.occurred_at).date().to_string(),
        "downstreamReference": format!("downstream-{}", order.seed),
        "transactionReference": format!("order-{}", order.seed),
        "_links": { "payment": { "href": "https://access.worldpay.com/payments/events/sample" } },
    });
    if order.event_type != "refused" {
        let value = if is_refund { samples::part_of(total) } else { total };
        details["amount"] = json!({ "value": value, "currencyCode": "GBP" });
    }
    if is_refund || is_settlement {
        let kind = if is_refund { "refund" } else { "settlement" };
        details["reference"] = json!(format!("{kind}-{}", order.seed));
    }
    let timestamp = TimeZone::UTC.to_datetime(order.occurred_at);
    let event = json!({
        "eventId": samples::event_id(order),
        "eventTimestamp": timestamp.to_string(),
        "eventDetails": details,
    });
    let body = serde_json::to_vec(&event).ok()?;
    let keys = signature_keys(samples::first_secret(endpoint, SIGNATURE_KEYS)?)?;
    let (id, key) = keys.first_key_value()?;
    let signature = hex::encode(sign_hmac_sha256(key.as_bytes(), &[&body]));
    let header = format!("{id}/{HASH}/{signature}");
    let mut request = samples::post(endpoint, &[(HEADER, &header)], body)?;
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(ACCESS_TYPE));
    Some(Sample::from(request))
}

fn notification(endpoint: &Endpoint, order: &SampleOrder<'_>, meaning: Meaning) -> Option<Sample> {
    let token = samples::first_secret(endpoint, URL_TOKEN)?;
    if given_token(&endpoint.path) != token {
        return None;
    }
    let code = samples::first_secret(endpoint, MERCHANT_CODES).unwrap_or(MERCHANT_CODE);
    let total = samples::amount(order.seed);
    let (booked, is_debit) = match meaning {
        Meaning::Refund(..) => (samples::part_of(total), true),
        Meaning::Dispute(..) => (total, true),
        Meaning::Collection(..) => (total, false),
    };
    let amount = |minor_units: i64, is_debit: bool| {
        let indicator = if is_debit { "debit" } else { "credit" };
        format!(
            "<amount value=\"{minor_units}\" currencyCode=\"GBP\" exponent=\"2\" \
             debitCreditIndicator=\"{indicator}\"/>"
        )
    };
    let day = TimeZone::UTC.to_datetime(order.occurred_at).date();
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE paymentService PUBLIC \"-//WorldPay//DTD WorldPay PaymentService v1//EN\" \
         \"http://dtd.worldpay.com/paymentService_v1.dtd\">\n",
    );
    let event_type = order.event_type;
    writeln!(
        xml,
        "<paymentService version=\"1.4\" merchantCode=\"{}\"><notify>\
         <orderStatusEvent orderCode=\"order-{}\"><payment>\
         <paymentMethod>VISA-SSL</paymentMethod>{}<lastEvent>{event_type}</lastEvent>\
         <riskScore value=\"0\"/></payment>\
         <journal journalType=\"{event_type}\" sent=\"n\"><bookingDate>\
         <date dayOfMonth=\"{:02}\" month=\"{:02}\" year=\"{}\"/></bookingDate>\
         <accountTx accountType=\"IN_PROCESS_CAPTURED\" batchId=\"1\">{}</accountTx></journal>\
         <shopperEmailAddress>{}</shopperEmailAddress>\
         </orderStatusEvent></notify></paymentService>",
        escaped(code),
        escaped(order.seed),
        amount(total, false),
        day.day(),
        day.month(),
        day.year(),
        amount(booked, is_debit),
        samples::CUSTOMER_EMAIL,
    )
    .ok()?;
    let mut request = samples::post(endpoint, &[], xml.into_bytes())?;
    let value = HeaderValue::from_static("text/xml; charset=utf-8");
    request.headers.insert(CONTENT_TYPE, value);
    Some(Sample::from(request))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
