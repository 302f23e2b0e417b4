//! Calls as Salesforce makes them, with the endpoint's own secrets: an Outbound Message of one paid
//! record, and a Flow's callout that tells the same record's refund.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::model::{Money, PaymentStatus};
use crate::providers::{Endpoint, SampleOrder, crm, samples};
use crate::receipt::Request;

use super::{
    AMOUNT_FIELD, CURRENCY_FIELD, FLOW_CALLOUT, FLOW_HEADER, FLOW_TOKEN, ORGANIZATION_ID,
    OUTBOUND_MESSAGE, PAYMENT_ID_FIELD, STATUS_FIELD, URL_PARAMETER, URL_TOKEN,
};

/// Secrets of the form that an endpoint needs, for samples.
pub(super) fn secrets() -> Vec<(&'static str, String)> {
    let organization = "00D000000SAMPLE".to_owned();
    vec![(URL_TOKEN, String::new()), (ORGANIZATION_ID, organization), (FLOW_TOKEN, String::new())]
}

/// The sample of an event type; `None` for one that the module does not know, and for a kind of call
/// that the endpoint has no secrets for.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Request> {
    match order.event_type {
        OUTBOUND_MESSAGE => outbound_message(endpoint, order),
        FLOW_CALLOUT => flow_callout(endpoint, order),
        _ => None,
    }
}

fn outbound_message(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Request> {
    let token = samples::first_secret(endpoint, URL_TOKEN)?;
    let organization = escaped(samples::first_secret(endpoint, ORGANIZATION_ID)?);
    let fields: String = fields(endpoint, order, PaymentStatus::Paid)?
        .iter()
        .map(|(name, value)| format!("<sf:{name}>{}</sf:{name}>", escaped(value)))
        .collect();
    let body = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <soapenv:Body>
  <notifications xmlns="http://soap.sforce.com/2005/09/outbound">
   <OrganizationId>{organization}</OrganizationId>
   <ActionId>04kSAMPLE000001</ActionId>
   <SessionId xsi:nil="true"/>
   <EnterpriseUrl>https://example.my.salesforce.com/services/Soap/c/66.0/sample</EnterpriseUrl>
   <PartnerUrl>https://example.my.salesforce.com/services/Soap/u/66.0/sample</PartnerUrl>
   <Notification>
    <Id>{}</Id>
    <sObject xsi:type="sf:Opportunity" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">{fields}</sObject>
   </Notification>
  </notifications>
 </soapenv:Body>
</soapenv:Envelope>
"#,
        escaped(&samples::event_id(order)),
    );
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
    headers.insert("soapaction", HeaderValue::from_static("\"\""));
    let token = utf8_percent_encode(token, NON_ALPHANUMERIC);
    let path = format!("{}?{URL_PARAMETER}={token}", endpoint.path);
    Some(Request { method: Method::POST, path, headers, body: body.into() })
}

fn flow_callout(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Request> {
    let token = samples::first_secret(endpoint, FLOW_TOKEN)?;
    let mut record = json!({ "event_id": samples::event_id(order), "object": "Opportunity" });
    for (name, value) in fields(endpoint, order, PaymentStatus::Refunded)? {
        record[name] = value.into();
    }
    samples::post(endpoint, &[(FLOW_HEADER, token)], serde_json::to_vec(&record).ok()?)
}

/// The fields of the record that the seed makes.
fn fields<'a>(
    endpoint: &'a Endpoint,
    order: &SampleOrder<'_>,
    status: PaymentStatus,
) -> Option<Vec<(&'a str, String)>> {
    let amount = Money::new(samples::amount(order.seed), "EUR").ok()?.to_string();
    let (amount, currency) = amount.split_once(' ')?;
    let name = |setting, default| endpoint.setting(setting, default);
    Some(vec![
        ("Id", format!("006SAMPLE{}", order.seed)),
        (name(STATUS_FIELD, "Payment_Status__c"), crm::status_text(status).to_owned()),
        (name(AMOUNT_FIELD, "Payment_Amount__c"), amount.to_owned()),
        (name(CURRENCY_FIELD, "CurrencyIsoCode"), currency.to_owned()),
        (name(PAYMENT_ID_FIELD, "Payment_Id__c"), format!("pay_{}", order.seed)),
        ("AccountId", format!("001SAMPLE{}", order.seed)),
        ("AccountName", samples::CUSTOMER_NAME.to_owned()),
        ("Email", samples::CUSTOMER_EMAIL.to_owned()),
        ("SystemModstamp", order.occurred_at.to_string()),
    ])
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
