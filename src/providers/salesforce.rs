//! Salesforce as a source: Outbound Messages (SOAP) and HTTP callouts of Flows (JSON). Neither is signed.
//! An Outbound Message is authentic where the URL's query parameter `k` is the endpoint's `url_token` and
//! the message's `OrganizationId` is the endpoint's; the id alone is no secret. A callout is authentic
//! where its header `x-tollgate-token` is the endpoint's `flow_token`. In come records with a payment's
//! status, out go events about that payment. A message is acknowledged only once all of its notifications
//! are kept, and a document with a DTD is refused whatever it says.
//!
//! The fields are those of the settings `status_field`, `amount_field`, `currency_field` and
//! `payment_id_field`. A record's `SystemModstamp` or `LastModifiedDate`, where it is sent along, orders
//! its events; without it the time of arrival does, since a message tells the state as of its sending. With
//! `LastModifiedById` sent along, changes by the user of the setting `own_user_id` are known as echoes.
//! Spec: <https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_om_outboundmessaging.htm>

mod flow;
mod sample;
mod soap;

use jiff::Timestamp;

use crate::model::References;
use crate::receipt::signature::shared_token;
use crate::receipt::{ALL, Receipt, Redaction, Request, VerifyError};

use super::crm::{self, Item, Report};
use super::fields::Fields;
use super::{
    Endpoint, Keys, Mistake, Provider, REPLIES, Replies, Reply, Sample, SecretKey, TranslateError,
    Translation, Verdict, no_fetch, no_poll, payload, url_token,
};

/// Salesforce.
pub const PROVIDER: Provider = Provider {
    name: "salesforce",
    title: "Salesforce",
    secrets: &[
        SecretKey { name: URL_TOKEN, required: false },
        SecretKey { name: ORGANIZATION_ID, required: false },
        SecretKey { name: FLOW_TOKEN, required: false },
    ],
    settings: &[
        STATUS_FIELD,
        AMOUNT_FIELD,
        CURRENCY_FIELD,
        PAYMENT_ID_FIELD,
        crm::CURRENCY,
        crm::OWN_USER_ID,
    ],
    structured: &[],
    events: &[OUTBOUND_MESSAGE, FLOW_CALLOUT],
    redaction: Redaction {
        headers: &[FLOW_HEADER],
        query: &[ALL],
        body_members: &["SessionId", "sessionId"],
    },
    hosts: &[],
    check,
    verify,
    translate,
    fetch: no_fetch,
    poll: no_poll,
    replies: Replies { accepted: ACK, unknown: ACK, ..REPLIES },
    sample: |endpoint, order| sample::sample(endpoint, order).map(Sample::from),
    example: sample::secrets,
};

/// The secret of the URL of Outbound Messages, in the query parameter `k`.
const URL_TOKEN: &str = "url_token";
const URL_PARAMETER: &str = "k";
/// The organisation that Outbound Messages come from, in the form of 18 characters.
const ORGANIZATION_ID: &str = "organization_id";
/// The secret of Flow callouts, in their header.
const FLOW_TOKEN: &str = "flow_token";
const FLOW_HEADER: &str = "x-tollgate-token";

const STATUS_FIELD: &str = "status_field";
const AMOUNT_FIELD: &str = "amount_field";
const CURRENCY_FIELD: &str = "currency_field";
const PAYMENT_ID_FIELD: &str = "payment_id_field";

const OUTBOUND_MESSAGE: &str = "outbound_message";
const FLOW_CALLOUT: &str = "flow_callout";

/// Anything but this envelope, a plain 200 included, makes Salesforce send the message again.
const ACK: Reply = Reply {
    status: 200,
    content_type: "text/xml; charset=utf-8",
    body: concat!(
        r#"<?xml version="1.0" encoding="UTF-8"?>"#,
        r#"<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>"#,
        r#"<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack>"#,
        r#"</notificationsResponse></soapenv:Body></soapenv:Envelope>"#,
    ),
};

/// Either kind of call needs its own secrets; an endpoint may take both kinds.
fn check(endpoint: &Endpoint) -> Result<(), Mistake> {
    let has = |name: &str| endpoint.secrets.contains_key(name);
    let missing = |key: &'static str| {
        let reason = "is missing; Outbound Messages cannot be verified without it, nor Flow \
                      callouts without `secrets.flow_token`";
        Err(Mistake { key, reason: reason.to_owned() })
    };
    match (has(URL_TOKEN), has(ORGANIZATION_ID), has(FLOW_TOKEN)) {
        (true, true, _) | (false, false, true) => crm::check(endpoint),
        (false, _, _) => missing("secrets.url_token"),
        (true, false, _) => missing("secrets.organization_id"),
    }
}

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    _keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    if request.headers.contains_key(FLOW_HEADER) {
        let given = request.header(FLOW_HEADER)?;
        let proof = shared_token(endpoint.candidates(FLOW_TOKEN), given)?;
        flow::records(&request.body).map_err(|_| VerifyError::Malformed("body"))?;
        return Ok(Verdict::Verified(proof));
    }
    let proof = url_token::verify(request, URL_PARAMETER, endpoint.candidates(URL_TOKEN))?;
    let organization = soap::organization(&request.body).ok_or(VerifyError::Malformed("body"))?;
    // Which value it was does not matter: the secret of the URL is the proof.
    let _ = shared_token(endpoint.candidates(ORGANIZATION_ID), &organization)?;
    Ok(Verdict::Verified(proof))
}

fn translate(receipt: &Receipt, endpoint: &Endpoint) -> Result<Translation, TranslateError> {
    let records = match soap::is_markup(receipt.body()) {
        true => soap::records(receipt.body())?,
        false => flow::records(receipt.body())?,
    };
    let items = records.into_iter().map(|record| item(record, receipt, endpoint));
    crm::batch(items, &endpoint.name)
}

/// One record of a call.
struct Record {
    event_type: &'static str,
    /// What the call names the notification by; empty where it does not.
    event_id: String,
    /// `Opportunity`.
    record_type: String,
    fields: Fields,
    live: bool,
}

fn item(record: Record, receipt: &Receipt, endpoint: &Endpoint) -> Result<Item, TranslateError> {
    let field = |setting, default| record.fields.get(endpoint.setting(setting, default).trim());
    let Some(status) = field(STATUS_FIELD, "Payment_Status__c") else {
        return Ok(Item::Silent);
    };
    if is_echo(&record.fields, endpoint) {
        return Ok(Item::Silent);
    }
    let Some(known) = crm::status(status) else {
        return Ok(Item::UnknownStatus);
    };
    let amount = field(AMOUNT_FIELD, "Payment_Amount__c").unwrap_or_default();
    let currency = field(CURRENCY_FIELD, "CurrencyIsoCode").unwrap_or_default();
    let payment_id = field(PAYMENT_ID_FIELD, "Payment_Id__c").unwrap_or_default();
    let record_id = record.fields.text("Id");
    if record_id.is_empty() {
        return Err(TranslateError("the record has no id".to_owned()));
    }
    let changed = record.fields.first(&["SystemModstamp", "LastModifiedDate"]);
    let occurred_at = match changed {
        "" => receipt.received_at(),
        text => time(text)?,
    };
    let money = crm::amount(amount, currency, endpoint)?;
    let key = match record.event_id.is_empty() {
        true => crm::state_key(&[record_id, status, amount, currency, payment_id, changed]),
        false => record.event_id,
    };
    Ok(Item::Reported(Box::new(Report {
        event_id: key.clone(),
        key,
        event_type: record.event_type.to_owned(),
        occurred_at,
        record_type: record.record_type,
        record_id: record_id.to_owned(),
        payment_id: payment_id.to_owned(),
        status: known,
        amount: money,
        live: record.live,
        references: crm::keep_currency(references(&record.fields), money, currency),
    })))
}

/// Whether the gateway's own connector made the change. An id has 15 characters, and three more that only
/// check them.
fn is_echo(fields: &Fields, endpoint: &Endpoint) -> bool {
    const ID_BYTES: usize = 15;
    let own = endpoint.setting(crm::OWN_USER_ID, "").trim().get(..ID_BYTES);
    own.is_some() && fields.text("LastModifiedById").get(..ID_BYTES) == own
}

/// The standard fields that name the customer, invoice or order, where the admin sends them along.
fn references(fields: &Fields) -> References {
    let text = |names: &[&str]| fields.first(names).to_owned();
    References {
        customer: text(&["AccountId", "ContactId"]),
        customer_name: text(&["AccountName"]),
        email: text(&["Email"]),
        order: text(&["OrderNumber", "OrderId"]),
        invoice: text(&["InvoiceId"]),
        invoice_number: text(&["InvoiceNumber"]),
        ..References::default()
    }
}

/// A time as Salesforce writes it: `2026-11-24T11:59:58.000Z` or with an offset of four digits.
fn time(text: &str) -> Result<Timestamp, TranslateError> {
    let parsed = text.parse().or_else(|_| Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", text));
    parsed.map_err(|_| payload::not_a("a time", text))
}

#[cfg(test)]
mod tests;
