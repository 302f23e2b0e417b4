//! Events as a Smart Event posts them with the documented template, for every object. One seed makes one
//! invoice with its payment and credit.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::Money;
use crate::providers::{Endpoint, SampleOrder, samples};
use crate::receipt::Request;

use super::records::OBJECT_NAMES;
use super::{COMPANY_ID, URL_PARAMETER, URL_TOKEN};

/// The sample of an object; `None` for one that the module does not know.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Request> {
    let object = OBJECT_NAMES.iter().find(|name| **name == order.event_type)?;
    let token = samples::first_secret(endpoint, URL_TOKEN)?;
    let company = samples::first_secret(endpoint, COMPANY_ID)?;
    let total = samples::amount(order.seed);
    let modified = order.occurred_at.strftime("%m/%d/%Y %H:%M:%S").to_string();
    let invoice = number(order.seed, "invoice");
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("company", company)
        .append_pair("object", object)
        .append_pair("customerid", &format!("CUST-{}", order.seed))
        .append_pair("customername", samples::CUSTOMER_NAME)
        .append_pair("email", samples::CUSTOMER_EMAIL)
        .append_pair("currency", "USD")
        .append_pair("whenmodified", &modified);
    match *object {
        "ARINVOICE" | "SODOCUMENT" => form
            .append_pair("event", "set")
            .append_pair("recordno", &invoice)
            .append_pair("docid", &format!("INV-{}", order.seed))
            .append_pair("total", &decimal(total)?)
            .append_pair("paid", &decimal(total)?)
            .append_pair("due", "0.00")
            .append_pair("state", "Paid"),
        "ARADVANCE" | "ARADJUSTMENT" => form
            .append_pair("event", "add")
            .append_pair("recordno", &number(order.seed, object))
            .append_pair("invoice", &invoice)
            .append_pair("invoicetotal", &decimal(total)?)
            .append_pair("total", &decimal(samples::part_of(total))?)
            .append_pair("state", "Posted"),
        _ => form
            .append_pair("event", "add")
            .append_pair("recordno", &number(order.seed, object))
            .append_pair("docid", &format!("DOC-{}", order.seed))
            .append_pair("total", &decimal(total)?)
            .append_pair("state", "Posted"),
    };
    let mut headers = HeaderMap::new();
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(CONTENT_TYPE, form_type);
    let token = utf8_percent_encode(token, NON_ALPHANUMERIC);
    let path = format!("{}?{URL_PARAMETER}={token}", endpoint.path);
    Some(Request { method: Method::POST, path, headers, body: form.finish().into() })
}

/// A record number that seed and purpose make.
fn number(seed: &str, purpose: &str) -> String {
    samples::amount(&format!("{seed}/{purpose}")).to_string()
}

fn decimal(minor_units: i64) -> Option<String> {
    let text = Money::new(minor_units, "USD").ok()?.to_string();
    text.split_once(' ').map(|(amount, _)| amount.to_owned())
}
