//! Signed requests as Braintree sends them, for every kind that the module translates. One seed makes one
//! sale with its dispute, refund and subscription.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;

use crate::providers::{Endpoint, SampleOrder, samples};
use crate::receipt::Request;
use crate::receipt::signature::{Digest, sign_hmac};

use super::{EVENTS, Meaning, PAYLOAD, PRIVATE_KEY, PUBLIC_KEY, SIGNATURE, key};

const FORM: &str = "application/x-www-form-urlencoded";
/// Where Braintree breaks the lines of its base64.
const LINE_BYTES: usize = 76;

/// The sample of a kind; `None` for one that the module does not know.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Request> {
    let (_, _, meaning) = EVENTS.iter().find(|(kind, _, _)| *kind == order.event_type)?;
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<notification>\n  \
         <timestamp type=\"datetime\">{}</timestamp>\n  <kind>{}</kind>\n  \
         <subject>{}</subject>\n</notification>\n",
        order.occurred_at,
        order.event_type,
        subject(order, *meaning),
    );
    let text = BASE64.encode(xml);
    let mut payload = String::new();
    for (at, letter) in text.chars().enumerate() {
        if at > 0 && at % LINE_BYTES == 0 {
            payload.push('\n');
        }
        payload.push(letter);
    }
    payload.push('\n');
    let public_key = samples::first_secret(endpoint, PUBLIC_KEY)?;
    let private_key = key(samples::first_secret(endpoint, PRIVATE_KEY)?);
    let signature = sign_hmac(Digest::Sha1, &private_key, &[payload.as_bytes()]);
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair(SIGNATURE, &format!("{public_key}|{}", hex::encode(signature)))
        .append_pair(PAYLOAD, &payload)
        .finish();
    let request = samples::post(endpoint, &[], body.into_bytes())?;
    let mut headers = request.headers;
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(FORM));
    Some(Request { headers, ..request })
}

fn subject(order: &SampleOrder<'_>, meaning: Meaning) -> String {
    let seed = order.seed;
    let local = format!("<payment-id>local_{seed}</payment-id>");
    match meaning {
        Meaning::Transaction(_) if order.event_type.starts_with("local_") => format!(
            "<local-payment-funded>{local}{}</local-payment-funded>",
            sale(order, "settled")
        ),
        Meaning::Transaction(_) => sale(order, "settled"),
        Meaning::RefundFailed => credit(order),
        Meaning::SubscriptionCharge(_) => {
            subscription(order, &sale(order, "submitted_for_settlement"))
        }
        Meaning::LocalPayment => {
            format!("<local-payment>{local}{}</local-payment>", sale(order, "authorized"))
        }
        Meaning::LocalPaymentEnded(_) => {
            format!("<local-payment-ended>{local}</local-payment-ended>")
        }
        Meaning::Dispute(_) => dispute(order),
        Meaning::SubscriptionChanged | Meaning::SubscriptionEnded => subscription(order, ""),
        Meaning::MethodRevoked => format!(
            "<paypal-account><token>token_{seed}</token><customer-id>customer_{seed}</customer-id>\
             <email>{}</email></paypal-account>",
            samples::CUSTOMER_EMAIL
        ),
        Meaning::Note => "<check type=\"boolean\">true</check>".to_owned(),
    }
}

/// Minor units of the samples' currency as Braintree writes them.
fn decimal(minor_units: i64) -> String {
    format!("{}.{:02}", minor_units / 100, minor_units % 100)
}

fn sale(order: &SampleOrder<'_>, status: &str) -> String {
    let seed = order.seed;
    let failure = match order.event_type {
        "transaction_settlement_declined" => {
            "<processor-settlement-response-code>4001</processor-settlement-response-code>\
             <processor-settlement-response-text>Settlement Declined\
             </processor-settlement-response-text>"
        }
        "subscription_charged_unsuccessfully" => {
            "<processor-response-code>2000</processor-response-code>\
             <processor-response-text>Do Not Honor</processor-response-text>"
        }
        _ => "",
    };
    format!(
        "<transaction><id>sale_{seed}</id><status>{status}</status><type>sale</type>\
         <currency-iso-code>USD</currency-iso-code><amount>{amount}</amount>\
         <merchant-account-id>sample_usd</merchant-account-id><order-id>order-{seed}</order-id>\
         <customer><id>customer_{seed}</id><first-name>Example</first-name>\
         <last-name>Customer</last-name><email>{email}</email></customer>\
         <payment-instrument-type>us_bank_account</payment-instrument-type>\
         <custom-fields><campaign>autumn</campaign></custom-fields>{failure}</transaction>",
        amount = decimal(samples::amount(seed)),
        email = samples::CUSTOMER_EMAIL,
    )
}

fn credit(order: &SampleOrder<'_>) -> String {
    let seed = order.seed;
    format!(
        "<transaction><id>credit_{seed}</id><status>processor_declined</status><type>credit</type>\
         <currency-iso-code>USD</currency-iso-code><amount>{amount}</amount>\
         <order-id>order-{seed}</order-id>\
         <refunded-transaction-id>sale_{seed}</refunded-transaction-id></transaction>",
        amount = decimal(samples::part_of(samples::amount(seed))),
    )
}

fn subscription(order: &SampleOrder<'_>, transaction: &str) -> String {
    let seed = order.seed;
    format!(
        "<subscription><id>subscription_{seed}</id><plan-id>monthly</plan-id>\
         <price>{amount}</price><status>Active</status>\
         <transactions type=\"array\">{transaction}</transactions></subscription>",
        amount = decimal(samples::amount(seed)),
    )
}

fn dispute(order: &SampleOrder<'_>) -> String {
    let seed = order.seed;
    let amount = decimal(samples::amount(seed));
    format!(
        "<dispute><id>dispute_{seed}</id><amount>{amount}</amount>\
         <amount-disputed>{amount}</amount-disputed><amount-won>0.00</amount-won>\
         <currency-iso-code>USD</currency-iso-code><kind>chargeback</kind>\
         <merchant-account-id>sample_usd</merchant-account-id><reason>fraud</reason>\
         <original-dispute-id nil=\"true\"/><transaction><id>sale_{seed}</id>\
         <amount>{amount}</amount><order-id>order-{seed}</order-id></transaction></dispute>"
    )
}
