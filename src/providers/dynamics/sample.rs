//! Calls as Dataverse and Power Automate make them, with the endpoint's own pairs: a row that is created,
//! updated and deleted, and a flow that tells its refund. One seed makes one row.

use http::{HeaderName, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::model::{Money, PaymentStatus};
use crate::providers::{Endpoint, SampleOrder, crm, samples};
use crate::receipt::Request;

use super::row::{self, MODIFIED, STATUS_OPTIONS};
use super::{CREATE, DELETE, HEADERS, MODE, Mode, POWER_AUTOMATE, QUERY, TABLE, UPDATE, pairs};

const CONTRACTS: &str = "http://schemas.microsoft.com/xrm/2011/Contracts";

/// Secrets of the form that an endpoint needs, for samples.
pub fn sample_secrets() -> Vec<(&'static str, String)> {
    let query = json!({ "code": "sample-webhook-key" });
    vec![(MODE, "WebhookKey".to_owned()), (QUERY, query.to_string())]
}

/// The sample of an event type; `None` for one that the module does not know.
pub(super) fn sample(endpoint: &Endpoint, order: &SampleOrder<'_>) -> Option<Request> {
    let status = match order.event_type {
        CREATE => PaymentStatus::Pending,
        UPDATE | DELETE => PaymentStatus::Paid,
        POWER_AUTOMATE => PaymentStatus::Refunded,
        _ => return None,
    };
    let body = match order.event_type {
        POWER_AUTOMATE => flow(endpoint, order, status)?,
        _ => context(endpoint, order, status)?,
    };
    let mut request = samples::post(endpoint, &[], serde_json::to_vec(&body).ok()?)?;
    carry_secrets(endpoint, &mut request)?;
    Some(request)
}

fn carry_secrets(endpoint: &Endpoint, request: &mut Request) -> Option<()> {
    let mode = Mode::of(endpoint)?;
    let pairs = pairs(endpoint.candidates(mode.secret()).secrets.first()?)?;
    for (index, (name, values)) in pairs.iter().enumerate() {
        let values = values.secrets();
        let value = values.first()?.expose_secret();
        match mode.secret() {
            HEADERS => {
                let name = HeaderName::try_from(name.as_str()).ok()?;
                request.headers.insert(name, HeaderValue::from_str(value).ok()?);
            }
            _ => {
                let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
                request.path.push(if index == 0 { '?' } else { '&' });
                request.path.push_str(&format!("{}={}", encoded(name), encoded(value)));
            }
        }
    }
    Some(())
}

/// The amount as JSON that no float has touched, and its currency.
fn amount(seed: &str) -> Option<(Box<RawValue>, String)> {
    let money = Money::new(samples::amount(seed), "EUR").ok()?.to_string();
    let (amount, currency) = money.split_once(' ')?;
    Some((RawValue::from_string(amount.to_owned()).ok()?, currency.to_owned()))
}

/// An option of the endpoint's own that stands for the status, else its text.
fn told_status(endpoint: &Endpoint, status: PaymentStatus) -> Value {
    let options: Value =
        serde_json::from_str(endpoint.setting(STATUS_OPTIONS, "{}")).unwrap_or_default();
    let option = options.as_object().into_iter().flatten().find(|(_, word)| *word == status.word());
    match option.and_then(|(option, _)| option.parse::<i64>().ok()) {
        Some(option) => json!({ "__type": format!("OptionSetValue:{CONTRACTS}"), "Value": option }),
        None => crm::status_text(status).into(),
    }
}

/// A GUID that seed and purpose make.
fn guid(seed: &str, purpose: &str) -> String {
    let digest = hex::encode(Sha256::digest(format!("{purpose}/{seed}")));
    let part = |from: usize, to: usize| digest.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

fn table(endpoint: &Endpoint) -> &str {
    Some(endpoint.setting(TABLE, "").trim()).filter(|table| !table.is_empty()).unwrap_or("invoice")
}

fn operation(order: &SampleOrder<'_>) -> String {
    order.event_id.map_or_else(|| guid(order.seed, order.event_type), str::to_owned)
}

fn context(endpoint: &Endpoint, order: &SampleOrder<'_>, status: PaymentStatus) -> Option<Value> {
    let row_id = guid(order.seed, "row");
    let [status_column, amount_column, currency_column, payment_id_column] = row::columns(endpoint);
    let (amount, currency) = amount(order.seed)?;
    // Cents as a text keep every digit; a number would pass through a float here.
    let money = json!({ "__type": format!("Money:{CONTRACTS}"), "Value": amount.get() });
    let date = format!("/Date({})/", order.occurred_at.as_millisecond());
    let pair = |key: &str, value: Value| json!({ "key": key, "value": value });
    let target = match order.event_type {
        DELETE => json!({
            "__type": format!("EntityReference:{CONTRACTS}"), "Id": row_id,
            "KeyAttributes": [], "LogicalName": table(endpoint), "Name": null, "RowVersion": null,
        }),
        _ => json!({
            "__type": format!("Entity:{CONTRACTS}"),
            "Attributes": [
                pair(status_column, told_status(endpoint, status)),
                pair(amount_column, money),
                pair(currency_column, currency.into()),
                pair(payment_id_column, format!("pay_{}", order.seed).into()),
                pair("emailaddress1", samples::CUSTOMER_EMAIL.into()),
                pair(MODIFIED, date.clone().into()),
            ],
            "EntityState": null, "FormattedValues": [], "Id": row_id, "KeyAttributes": [],
            "LogicalName": table(endpoint), "RelatedEntities": [], "RowVersion": null,
        }),
    };
    Some(json!({
        "CorrelationId": guid(order.seed, "correlation"), "Depth": 1,
        "InitiatingUserId": guid("sample", "user"), "InputParameters": [pair("Target", target)],
        "IsExecutingOffline": false, "IsInTransaction": false, "IsolationMode": 1,
        "MessageName": order.event_type, "Mode": 1, "OperationCreatedOn": date,
        "OperationId": operation(order), "OrganizationId": guid("sample", "organization"),
        "OrganizationName": "example", "OutputParameters": [], "ParentContext": null,
        "PostEntityImages": [], "PreEntityImages": [], "PrimaryEntityId": row_id,
        "PrimaryEntityName": table(endpoint), "RequestId": null, "SecondaryEntityName": "none",
        "SharedVariables": [], "Stage": 40, "UserId": guid("sample", "user"),
    }))
}

fn flow(endpoint: &Endpoint, order: &SampleOrder<'_>, status: PaymentStatus) -> Option<Value> {
    let [status_column, amount_column, currency_column, payment_id_column] = row::columns(endpoint);
    let (amount, currency) = amount(order.seed)?;
    let told = told_status(endpoint, status);
    let told = told.get("Value").cloned().unwrap_or(told);
    Some(json!({
        "event_id": operation(order),
        "table": table(endpoint),
        "record_id": guid(order.seed, "row"),
        MODIFIED: order.occurred_at.to_string(),
        status_column: told,
        amount_column: amount.get(),
        currency_column: currency,
        payment_id_column: format!("pay_{}", order.seed),
    }))
}
