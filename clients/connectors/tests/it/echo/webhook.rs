//! What each CRM sends to the gateway when a record's payment status changed, signed as that CRM signs it:
//! the settings of two endpoints of each, `test`, and `quiet` that knows our own user, and the request that
//! tells a change. Written from the vendors' documentation; nothing here knows the gateway.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use fake_crms::{Account, callback};
use jiff::Timestamp;
use ring::hmac;
use serde_json::{Value, json};

const SECRET: &str = "an-echo-secret-0123456789abcdefghij";
const ORGANIZATION: &str = "00D5g000000AbCdEAK";
const CHANNEL: &str = "1000000000001";
const TIMEOUT: Duration = Duration::from_secs(15);

/// A change of a record's status.
pub struct Change<'a> {
    /// `test` or `quiet`.
    pub endpoint: &'a str,
    /// The CRM's id of the record, as the CRM tells it.
    pub record: &'a str,
    /// The payment's id in the record.
    pub payment: &'a str,
    /// `Paid` or `Refunded`.
    pub status: &'a str,
    /// Whether our connector made it, and not a person.
    pub is_ours: bool,
    /// What tells it apart from other changes.
    pub number: u32,
}

/// The endpoints of a CRM whose double has these fields. Zoho CRM tells of nobody who made a change, so that
/// its second one is like the first.
pub fn endpoints(crm: &str, double: &dyn Account) -> String {
    let (status, payment_id) = (double.field("status"), double.field("payment_id"));
    let (settings, own) = match crm {
        "salesforce" => (
            format!(
                "secrets.url_token = \"{SECRET}\"\nsecrets.organization_id = \"{ORGANIZATION}\"\n\
                 status_field = \"{status}\"\npayment_id_field = \"{payment_id}\"\n"
            ),
            "own_user_id = \"0055g00000AbCdE\"\n",
        ),
        "hubspot" => (
            format!("secrets.client_secret = \"{SECRET}\"\nstatus_property = \"{status}\"\n"),
            "own_source_id = \"990100\"\n",
        ),
        "dynamics" => (
            format!(
                "secrets.mode = \"WebhookKey\"\nsecrets.query = {{ code = \"{SECRET}\" }}\n\
                 status_column = \"{status}\"\npayment_id_column = \"{payment_id}\"\n\
                 status_options = {{ \"100000002\" = \"Paid\", \"100000007\" = \"Refunded\" }}\n"
            ),
            "own_user_id = \"7B1D9C52-0E6A-4F0B-9A7E-1234567890AB\"\n",
        ),
        "pipedrive" => (
            format!(
                "secrets.http_auth_user = \"tollgate\"\nsecrets.http_auth_password = \"{SECRET}\"\n\
                 status_field_key = \"{status}\"\npayment_id_field_key = \"{payment_id}\"\n\
                 status_options = {{ \"43\" = \"Paid\", \"48\" = \"Refunded\" }}\n"
            ),
            "own_user_id = \"7\"\n",
        ),
        "monday" => (
            format!("secrets.signing_secret = \"{SECRET}\"\nstatus_column = \"{status}\"\n"),
            "own_user_id = \"4012689\"\n",
        ),
        _ => (
            format!(
                "secrets.token = \"{SECRET}\"\nsecrets.channel_id = \"{CHANNEL}\"\n\
                 status_field = \"{status}\"\npayment_id_field = \"{payment_id}\"\n"
            ),
            "",
        ),
    };
    format!(
        "[[endpoints]]\nprovider = \"{crm}\"\nname = \"test\"\n{settings}\
         [[endpoints]]\nprovider = \"{crm}\"\nname = \"quiet\"\n{settings}{own}"
    )
}

/// The id that the gateway knows the payment by: the record's where a webhook does not name the payment.
pub fn subject<'a>(crm: &str, change: &Change<'a>) -> &'a str {
    match crm {
        "hubspot" | "monday" => change.record,
        _ => change.payment,
    }
}

/// Posts what the CRM sends.
pub async fn tell(crm: &str, gateway: &str, double: &dyn Account, change: &Change<'_>) {
    let url = format!("{gateway}/webhooks/{crm}/{}", change.endpoint);
    let (url, headers, body) = match crm {
        "salesforce" => outbound_message(url, double, change),
        "hubspot" => hubspot(url, double, change),
        "dynamics" => context(url, double, change),
        "pipedrive" => pipedrive(url, double, change),
        "monday" => monday(url, double, change),
        _ => zoho(url, double, change),
    };
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = callback::post(&url, &headers, Bytes::from(body), TIMEOUT).await;
    let answer = answer.expect("the gateway answers");
    assert_eq!(answer.status, 200, "{crm}: {}", String::from_utf8_lossy(&answer.body));
}

type Posted = (String, Vec<(&'static str, String)>, String);

fn json_body() -> Vec<(&'static str, String)> {
    vec![("content-type", "application/json".to_owned())]
}

fn outbound_message(url: String, double: &dyn Account, change: &Change<'_>) -> Posted {
    let user = if change.is_ours { "0055g00000AbCdEAAV" } else { "0055g00000PeRsOAAV" };
    let Change { record, payment, status, number, .. } = change;
    let (status_field, payment_field) = (double.field("status"), double.field("payment_id"));
    let body = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>
<notifications xmlns="http://soap.sforce.com/2005/09/outbound"><OrganizationId>{ORGANIZATION}</OrganizationId>
<EnterpriseUrl>https://acme.my.salesforce.com/services/Soap/c/66.0</EnterpriseUrl>
<Notification><Id>04l5g{number:013}</Id>
<sObject xsi:type="sf:Opportunity" xmlns:sf="urn:sobject.enterprise.soap.sforce.com"><sf:Id>{record}</sf:Id><sf:{status_field}>{status}</sf:{status_field}><sf:{payment_field}>{payment}</sf:{payment_field}><sf:LastModifiedById>{user}</sf:LastModifiedById></sObject>
</Notification></notifications></soapenv:Body></soapenv:Envelope>"#
    );
    let headers = vec![("content-type", "text/xml; charset=utf-8".to_owned())];
    (format!("{url}?k={SECRET}"), headers, body)
}

fn hubspot(url: String, double: &dyn Account, change: &Change<'_>) -> Posted {
    let now = Timestamp::now().as_millisecond();
    let object: u64 = change.record.parse().expect("ids of deals are numbers");
    let source = if change.is_ours { "990100" } else { "userId:500" };
    let body = json!([{
        "eventId": change.number, "subscriptionId": 44, "portalId": 26_111_999, "appId": 990_100,
        "occurredAt": now, "subscriptionType": "deal.propertyChange", "attemptNumber": 0,
        "objectId": object, "propertyName": double.field("status"),
        "propertyValue": change.status.to_lowercase(),
        "changeSource": if change.is_ours { "INTEGRATION" } else { "CRM_UI" }, "sourceId": source,
    }])
    .to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hmac::sign(&key, format!("POST{url}{body}{now}").as_bytes());
    let mut headers = json_body();
    headers.push(("x-hubspot-signature-v3", STANDARD.encode(signature)));
    headers.push(("x-hubspot-request-timestamp", now.to_string()));
    (url, headers, body)
}

fn context(url: String, double: &dyn Account, change: &Change<'_>) -> Posted {
    let option = if change.status == "Paid" { 100_000_002 } else { 100_000_007 };
    let user = match change.is_ours {
        true => "7b1d9c52-0e6a-4f0b-9a7e-1234567890ab",
        false => "11111111-2222-4333-8444-555555555555",
    };
    let pair = |key: &str, value: Value| json!({ "key": key, "value": value });
    let target = json!({
        "Attributes": [
            pair(&double.field("status"), json!({ "Value": option })),
            pair(&double.field("payment_id"), json!(change.payment)),
        ],
        "FormattedValues": [], "Id": change.record, "LogicalName": "new_payment",
    });
    let body = json!({
        "MessageName": "Update", "PrimaryEntityName": "new_payment",
        "PrimaryEntityId": change.record, "InitiatingUserId": user,
        "OperationId": format!("aaaaaaaa-0000-4000-8000-{:012}", change.number),
        "OperationCreatedOn": format!("/Date({})/", Timestamp::now().as_millisecond()),
        "InputParameters": [pair("Target", target)],
        "PreEntityImages": [], "PostEntityImages": [],
    });
    (format!("{url}?code={SECRET}"), json_body(), body.to_string())
}

fn pipedrive(url: String, double: &dyn Account, change: &Change<'_>) -> Posted {
    let option = if change.status == "Paid" { 43 } else { 48 };
    let (status, payment_id) = (double.field("status"), double.field("payment_id"));
    let body = json!({
        "meta": {
            "action": "change", "entity": "deal", "entity_id": change.record,
            "id": format!("event-{}", change.number), "correlation_id": "c-1", "version": "2.0",
            "timestamp": Timestamp::now().to_string(), "user_id": if change.is_ours { "7" } else { "8" },
            "change_source": if change.is_ours { "api" } else { "app" },
        },
        "data": {
            "id": change.record, "currency": "EUR",
            "custom_fields": {
                status.as_str(): { "type": "enum", "id": option },
                payment_id: { "type": "varchar", "value": change.payment },
            },
        },
        "previous": { "custom_fields": { status: null } },
    });
    let mut headers = json_body();
    let credentials = STANDARD.encode(format!("tollgate:{SECRET}"));
    headers.push(("authorization", format!("Basic {credentials}")));
    (url, headers, body.to_string())
}

fn monday(url: String, double: &dyn Account, change: &Change<'_>) -> Posted {
    let now = Timestamp::now();
    let item: u64 = change.record.parse().expect("ids of items are numbers");
    let body = json!({ "event": {
        "app": "monday", "type": "update_column_value", "boardId": 18_400_000_001_u64,
        "pulseId": item, "pulseName": "Payment", "columnId": double.field("status"),
        "columnType": "color", "value": { "label": { "index": 1, "text": change.status } },
        "changedAt": now.as_second(), "triggerTime": now.to_string(),
        "triggerUuid": format!("{:032}", change.number),
        "userId": if change.is_ours { 4_012_689 } else { 4_000_500 },
    }});
    let claims = json!({ "aud": url, "exp": now.as_second() + 300, "iat": now.as_second() });
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    let mut headers = json_body();
    headers.push(("authorization", format!("{signed}.{signature}")));
    (url, headers, body.to_string())
}

fn zoho(url: String, double: &dyn Account, change: &Change<'_>) -> Posted {
    let (status, payment_id) = (double.field("status"), double.field("payment_id"));
    let now = Timestamp::now().as_millisecond() + i64::from(change.number);
    let body = json!({
        "server_time": now, "module": "Deals", "operation": "update", "ids": [change.record],
        "resource_uri": "https://www.zohoapis.com/crm/v8/Deals", "query_params": {},
        "affected_fields": [{ change.record: [status, payment_id] }],
        "affected_values": [{ "record_id": change.record, "values": {
            status: change.status, payment_id: change.payment,
        }}],
        "channel_id": CHANNEL, "token": SECRET,
    });
    (url, json_body(), body.to_string())
}
