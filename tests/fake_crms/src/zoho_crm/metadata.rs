//! The modules of the org and what `GET /settings/fields` tells of them. In comes a module's name, out go
//! its fields as Zoho describes them; a module that is not there is refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ZohoCrm, error, unknown_module};
use crate::{Field, Kind, Match, Reply, Request, Table};

/// The words that people see of a payment's status.
pub(super) const STATUSES: &[&str] = &[
    "Pending",
    "Authorized",
    "Paid",
    "Partially paid",
    "Failed",
    "Canceled",
    "Partially refunded",
    "Refunded",
    "Disputed",
    "Charged back",
];
const STAGES: &[&str] = &["Qualification", "Needs Analysis", "Closed Won", "Closed Lost"];

pub(super) fn modules() -> BTreeMap<&'static str, Table> {
    let deals = vec![
        Field::text("Deal_Name", 120).label("Deal Name").required(),
        Field::picklist("Stage", STAGES).required(),
        Field::text("Payment_Id", 255).label("Payment Id").unique(Match::IgnoreCase),
        Field::text("External_Reference", 100).unique(Match::IgnoreCase),
        Field::picklist("Payment_Status", STATUSES),
        Field::new("Amount_Paid", Kind::Number),
        Field::new("Amount_Refunded", Kind::Number),
        Field::text("Payment_Currency", 3),
        Field::text("Invoice_Number", 100),
        Field::new("Payment_Count", Kind::Integer),
        Field::new("Is_Test", Kind::Boolean),
        Field::new("Closing_Date", Kind::Date),
        Field::new("Last_Payment_At", Kind::DateTime),
        Field::text("Description", 32_000),
        Field::text("Record_Url", 255).read_only(),
    ];
    let contacts = vec![
        Field::text("Last_Name", 80).label("Last Name").required(),
        Field::text("First_Name", 40),
        Field::text("Email", 100).unique(Match::IgnoreCase),
        Field::picklist("Last_Payment_Status", STATUSES),
        Field::new("Last_Payment_At", Kind::DateTime),
    ];
    BTreeMap::from([
        ("Contacts", Table::new(contacts, |n| format!("57257{:014}", 500_000 + n))),
        ("Deals", Table::new(deals, |n| format!("57257{n:014}"))),
    ])
}

/// The field that the journal knows a module's records by.
pub(super) fn key_field(module: &str) -> &'static str {
    match module {
        "Contacts" => "Email",
        _ => "Payment_Id",
    }
}

/// What the journal knows a record by.
pub(super) fn key_of(module: &str, table: &Table, record: &str) -> String {
    table.get(record).map(|record| record.text(key_field(module))).unwrap_or_default()
}

/// What Zoho calls the kind of value that a field takes.
pub(super) fn data_type(field: &Field) -> (&'static str, &'static str) {
    match &field.kind {
        Kind::Text { .. } if field.name == "Email" => ("email", "string"),
        Kind::Text { max } if *max > 255 => ("textarea", "string"),
        Kind::Text { .. } | Kind::Any => ("text", "string"),
        Kind::Number => ("currency", "double"),
        Kind::Integer => ("integer", "integer"),
        Kind::Boolean => ("boolean", "boolean"),
        Kind::Date => ("date", "string"),
        Kind::DateTime => ("datetime", "string"),
        Kind::Picklist(_) => ("picklist", "string"),
        Kind::Options(_) => ("multiselectpicklist", "jsonarray"),
    }
}

impl ZohoCrm {
    pub(super) fn describe(&self, request: &Request) -> Reply {
        let Some(module) = request.query_value("module") else {
            return error(400, "REQUIRED_PARAM_MISSING", json!({ "param": "module" }), "missing");
        };
        let modules = self.modules.lock();
        let Some(table) = modules.get(module) else { return unknown_module() };
        let id = json!({
            "api_name": "id", "display_label": "Record Id", "data_type": "bigint",
            "json_type": "string", "read_only": true, "field_read_only": true,
            "system_mandatory": false, "unique": {}, "pick_list_values": [], "length": 20,
            "operation_type": { "api_create": false, "api_update": false },
        });
        let fields: Vec<Value> =
            [id].into_iter().chain(table.schema().iter().map(described)).collect();
        Reply::json(200, &json!({ "fields": fields }))
    }
}

fn described(field: &Field) -> Value {
    let (data_type, json_type) = data_type(field);
    let options: &[String] = match &field.kind {
        Kind::Picklist(options) | Kind::Options(options) => options,
        _ => &[],
    };
    let options: Vec<Value> = options
        .iter()
        .map(|name| json!({ "display_value": name, "actual_value": name, "type": "used" }))
        .collect();
    let length = match &field.kind {
        Kind::Text { max } => *max,
        _ => 120,
    };
    // That Zoho itself looks for duplicates by an email address does not show here.
    let is_marked = field.unique.is_some() && field.name != "Email";
    let unique = if is_marked { json!({ "casesensitive": false }) } else { json!({}) };
    let writes = !field.read_only;
    json!({
        "api_name": field.name, "display_label": field.label, "field_label": field.label,
        "data_type": data_type, "json_type": json_type, "length": length,
        "read_only": field.read_only, "field_read_only": field.read_only,
        "system_mandatory": field.required, "unique": unique, "pick_list_values": options,
        "operation_type": {
            "web_view": true, "web_create": writes, "web_update": writes,
            "api_create": writes, "api_update": writes,
        },
        "visible": true, "virtual_field": false,
    })
}
