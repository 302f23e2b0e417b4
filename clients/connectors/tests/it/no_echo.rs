//! The CRMs are sources too: each one's webhook about a record that its connector just wrote, signed as that
//! CRM does, is never taken for news and never written back.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fake_crms::{callback, lives};
use jiff::Timestamp;
use ring::hmac;
use serde_json::json;

use crate::stage::{Stage, Target};

/// The user, or app, that connectors write as.
const OURS: &str = "005000000000001AAA";
/// Somebody else.
const THEIRS: &str = "005000000000009AAA";
const SECRET: &str = "a-secret-of-the-source";
const POST_TIMEOUT: Duration = Duration::from_secs(10);

/// The gateway's endpoint of a CRM; `knows_us` tells it by whom connectors write.
fn endpoint(name: &str, knows_us: bool) -> String {
    let rest = match name {
        "salesforce" => format!(
            "secrets.url_token = '{SECRET}'\nsecrets.organization_id = '00D5g00000ExmplEAC'\n\
             status_field = 'Payment_Status__c'"
        ),
        "hubspot" => format!("secrets.client_secret = '{SECRET}'\nstatus_property = 'status'"),
        "dynamics" => format!(
            "secrets.mode = 'WebhookKey'\nsecrets.query = {{ code = '{SECRET}' }}\n\
             status_column = 'status'\nstatus_options = {{ '2' = 'PAID', '4' = 'REFUNDED' }}"
        ),
        "pipedrive" => format!(
            "secrets.http_auth_user = 'hook'\nsecrets.http_auth_password = '{SECRET}'\n\
             status_field_key = 'status'"
        ),
        "monday" => format!("secrets.signing_secret = '{SECRET}'\nstatus_column = 'status'"),
        _ => format!(
            "secrets.token = '{SECRET}'\nsecrets.channel_id = '1000000077001'\n\
             module = 'Deals'\nstatus_field = 'Status'"
        ),
    };
    let ours = match (knows_us, name) {
        (false, _) | (true, "zoho_crm") => String::new(),
        (true, "hubspot") => format!("own_source_id = '{OURS}'"),
        (true, _) => format!("own_user_id = '{OURS}'"),
    };
    format!("[[endpoints]]\nprovider = '{name}'\nname = 'test'\n{rest}\n{ours}\n")
}

/// The CRM tells, as it does, that somebody changed a record's status.
async fn tell(stage: &Stage, name: &str, record: &str, status: &str, by: &str) {
    let number = Timestamp::now().as_microsecond();
    let base = format!("{}/webhooks/{name}/test", stage.site.http_url());
    let (url, headers, body) = match name {
        "salesforce" => salesforce(&base, record, status, by, number),
        "hubspot" => hubspot(&base, record, status, by, number),
        "dynamics" => dynamics(&base, record, status, by, number),
        "pipedrive" => pipedrive(&base, record, status, by, number),
        "monday" => monday(&base, record, status, by, number),
        _ => zoho(&base, record, status, number),
    };
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer =
        callback::post(&url, &headers, body.into(), POST_TIMEOUT).await.expect("an answer");
    assert!(answer.status.is_success(), "{name}: {} {:?}", answer.status, answer.body);
}

type Request = (String, Vec<(&'static str, String)>, String);

fn json_type() -> (&'static str, String) {
    ("content-type", "application/json".to_owned())
}

fn sha256(parts: &[&str]) -> hmac::Tag {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hmac::sign(&key, parts.concat().as_bytes())
}

fn salesforce(base: &str, record: &str, status: &str, by: &str, number: i64) -> Request {
    let body = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<soapenv:Body><notifications xmlns="http://soap.sforce.com/2005/09/outbound">
<OrganizationId>00D5g00000ExmplEAC</OrganizationId><ActionId>04k5g000000Exmp</ActionId>
<SessionId xsi:nil="true"/><EnterpriseUrl>https://e</EnterpriseUrl><PartnerUrl>https://p</PartnerUrl>
<Notification><Id>04l{number}</Id><sObject xsi:type="sf:Opportunity" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">
<sf:Id>{record}</sf:Id><sf:LastModifiedById>{by}</sf:LastModifiedById><sf:Payment_Status__c>{status}</sf:Payment_Status__c>
</sObject></Notification></notifications></soapenv:Body></soapenv:Envelope>"#
    );
    let headers = vec![
        ("content-type", "text/xml; charset=utf-8".to_owned()),
        ("soapaction", "\"\"".to_owned()),
    ];
    (format!("{base}?k={SECRET}"), headers, body)
}

fn hubspot(base: &str, record: &str, status: &str, by: &str, number: i64) -> Request {
    let now = Timestamp::now().as_millisecond();
    let record: u64 = record.parse().expect("HubSpot's ids are numbers");
    let event = json!([{
        "eventId": number, "subscriptionId": 501, "portalId": 7001, "appId": 88, "occurredAt": now,
        "subscriptionType": "deal.propertyChange", "attemptNumber": 0, "objectId": record,
        "changeSource": "INTEGRATION", "sourceId": by, "propertyName": "status",
        "propertyValue": status,
    }]);
    let (body, time) = (event.to_string(), now.to_string());
    let signature = STANDARD.encode(sha256(&["POST", base, &body, &time]));
    let headers = vec![
        json_type(),
        ("x-hubspot-request-timestamp", time),
        ("x-hubspot-signature-v3", signature),
    ];
    (base.to_owned(), headers, body)
}

fn dynamics(base: &str, record: &str, status: &str, by: &str, number: i64) -> Request {
    let choice = if status == "Paid" { 2 } else { 4 };
    let now = Timestamp::now().as_millisecond();
    let body = json!({
        "MessageName": "Update", "PrimaryEntityName": "new_payment", "PrimaryEntityId": record,
        "OperationId": format!("77d0c1aa-3b4e-4c55-8f00-{:012}", number % 1_000_000_000_000),
        "OperationCreatedOn": format!("/Date({now}+0000)/"), "InitiatingUserId": by, "Depth": 1,
        "OrganizationName": "example", "Stage": 40, "Mode": 1, "PostEntityImages": [],
        "PreEntityImages": [], "ParentContext": null,
        "InputParameters": [{ "key": "Target", "value": {
            "__type": "Entity:http://schemas.microsoft.com/xrm/2011/Contracts",
            "Attributes": [{ "key": "status", "value": {
                "__type": "OptionSetValue:http://schemas.microsoft.com/xrm/2011/Contracts",
                "Value": choice,
            } }],
            "Id": record, "LogicalName": "new_payment",
        } }],
    });
    (format!("{base}?code={SECRET}"), vec![json_type()], body.to_string())
}

fn pipedrive(base: &str, record: &str, status: &str, by: &str, number: i64) -> Request {
    let id: u64 = record.parse().expect("Pipedrive's ids are numbers");
    let body = json!({
        "meta": {
            "action": "change", "entity": "deal", "entity_id": record, "company_id": "1",
            "correlation_id": format!("c-{number}"), "id": format!("hook-{number}"),
            "timestamp": Timestamp::now().to_string(), "type": "general", "user_id": by,
            "version": "2.0", "webhook_id": "9", "webhook_owner_id": "3", "change_source": "api",
            "attempt": 1, "host": "example.pipedrive.com", "is_bulk_edit": false,
        },
        "data": { "id": id, "title": "Deal", "custom_fields": {
            "status": { "type": "text", "value": status },
        } },
        "previous": { "custom_fields": { "status": { "type": "text", "value": "Pending" } } },
    });
    let basic = STANDARD.encode(format!("hook:{SECRET}"));
    let headers = vec![json_type(), ("authorization", format!("Basic {basic}"))];
    (base.to_owned(), headers, body.to_string())
}

fn monday(base: &str, record: &str, status: &str, by: &str, number: i64) -> Request {
    let now = Timestamp::now();
    let claims = json!({
        "accountId": 5, "userId": 6, "aud": base, "iat": now.as_second(), "exp": now.as_second() + 300,
    });
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(sha256(&[&signed])));
    let body = json!({ "event": {
        "app": "monday", "type": "update_column_value", "triggerTime": now.to_string(),
        "subscriptionId": 71, "isRetry": false, "userId": by, "boardId": 77, "groupId": "g",
        "pulseId": record, "pulseName": "Payment", "columnId": "status", "columnType": "color",
        "value": { "label": { "index": 1, "text": status } }, "previousValue": null,
        "changedAt": now.as_second(), "triggerUuid": format!("{number:032}"),
    } });
    (base.to_owned(), vec![json_type(), ("authorization", token)], body.to_string())
}

fn zoho(base: &str, record: &str, status: &str, number: i64) -> Request {
    let body = json!({
        "server_time": number / 1_000, "module": "Deals", "ids": [record], "operation": "update",
        "affected_values": [{ "record_id": record, "values": { "Status": status } }],
        "affected_fields": [], "query_params": {}, "channel_id": "1000000077001", "token": SECRET,
        "resource_uri": "https://www.zohoapis.eu/crm/v8/Deals",
    });
    (base.to_owned(), vec![json_type()], body.to_string())
}

/// A payment that was paid at Stripe and stands as such in the CRM.
async fn written(stage: &Stage, target: &mut Target) -> String {
    target.start(&stage.site);
    let now = Timestamp::now().as_second();
    stage.deliver(&[lives::happening(1, "payment_intent.succeeded", now, 0)]).await;
    stage.agrees(target).await;
    stage.is_drained(target.name).await;
    target.record(&lives::payment_id(1)).expect("it is there").id
}

/// The payments that the CRM itself told of, by their names.
async fn told_by(stage: &Stage, name: &str) -> Vec<String> {
    let prefix = format!("payments/{name}/");
    let names = stage.payments().await.into_values().map(|payment| payment.name);
    names.filter(|name| name.starts_with(&prefix)).collect()
}

async fn what_we_wrote_is_acknowledged_as_an_echo(name: &'static str) {
    for own_events in ["ignore", "write"] {
        let stage = Stage::open(&endpoint(name, false)).await;
        let settings = format!("own_events = \"{own_events}\"");
        let mut target = stage.target(name, &settings, |tables| tables).await;
        let record = written(&stage, &mut target).await;
        let writes = target.double.journal().commits().len();
        tell(&stage, name, &record, "Paid", OURS).await;
        stage.is_drained(name).await;
        let subjects = told_by(&stage, name).await;
        let [subject] = subjects.as_slice() else { panic!("{name}: {subjects:?}") };
        let echo = ("echo".to_owned(), String::new());
        let outcomes = stage.outcomes(name, subject).await;
        assert_eq!(outcomes, std::slice::from_ref(&echo), "{name} {own_events}");
        assert_eq!(target.double.journal().commits().len(), writes, "{name}: written back");
        if own_events == "ignore" {
            // A person's change is news, but not for the CRM that has it.
            tell(&stage, name, &record, "Refunded", THEIRS).await;
            stage.is_drained(name).await;
            let own = ("own".to_owned(), String::new());
            assert_eq!(stage.outcomes(name, subject).await, [echo, own], "{name}");
            assert_eq!(target.double.journal().commits().len(), writes, "{name}: written back");
        }
    }
}

async fn a_source_that_knows_us_makes_no_event_of_it(name: &'static str) {
    let stage = Stage::open(&endpoint(name, true)).await;
    let mut target = stage.target(name, "", |tables| tables).await;
    let record = written(&stage, &mut target).await;
    tell(&stage, name, &record, "Paid", OURS).await;
    assert!(told_by(&stage, name).await.is_empty(), "{name}: taken for news");
    tell(&stage, name, &record, "Refunded", THEIRS).await;
    assert_eq!(told_by(&stage, name).await.len(), 1, "{name}: a person's change is news");
}

macro_rules! for_each_crm {
    ($($name:ident)*) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn what_we_wrote_is_acknowledged_as_an_echo() {
                super::what_we_wrote_is_acknowledged_as_an_echo(stringify!($name)).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_source_that_knows_us_makes_no_event_of_it() {
                super::a_source_that_knows_us_makes_no_event_of_it(stringify!($name)).await;
            }
        }
    )*};
}

for_each_crm!(dynamics hubspot monday pipedrive salesforce);

mod zoho_crm {
    /// Zoho does not tell who changed a record; writes with `trigger: []` start no notification of
    /// workflows, and what is told all the same is known as an echo.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_we_wrote_is_acknowledged_as_an_echo() {
        super::what_we_wrote_is_acknowledged_as_an_echo("zoho_crm").await;
    }
}
