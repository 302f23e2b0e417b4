//! The account's objects and their properties, and how HubSpot describes these. Names and options are
//! internal ones, which differ from what people see.

use serde_json::{Value, json};

use super::STAGES;
use crate::table::{Field, Kind, Match};

/// Status words of the gateway, the option's internal name, and its label.
pub(super) const STATUSES: &[(&str, &str, &str)] = &[
    ("PENDING", "pending", "Pending"),
    ("AUTHORIZED", "authorized", "Authorized"),
    ("PAID", "paid", "Paid"),
    ("PARTIALLY_PAID", "partially_paid", "Partially paid"),
    ("FAILED", "failed", "Failed"),
    ("CANCELED", "canceled", "Canceled"),
    ("PARTIALLY_REFUNDED", "partially_refunded", "Partially refunded"),
    ("REFUNDED", "refunded", "Refunded"),
    ("DISPUTED", "disputed", "Disputed"),
    ("CHARGED_BACK", "charged_back", "Charged back"),
];

/// Beyond what a double of JavaScript's numbers keeps, so that an id that was read as one shows.
const FIRST_ID: u64 = 9_007_199_254_740_993;
const LONGEST_TEXT: usize = 65_536;

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Deals,
    Contacts,
}

impl Object {
    /// By a name that paths may have.
    pub(super) fn named(name: &str) -> Option<Object> {
        match name {
            "deals" | "deal" | "0-3" => Some(Object::Deals),
            "contacts" | "contact" | "0-1" => Some(Object::Contacts),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Object::Deals => "deals",
            Object::Contacts => "contacts",
        }
    }

    pub(super) fn type_id(self) -> &'static str {
        match self {
            Object::Deals => "0-3",
            Object::Contacts => "0-1",
        }
    }

    /// In messages.
    pub(super) fn word(self) -> &'static str {
        match self {
            Object::Deals => "DEAL",
            Object::Contacts => "CONTACT",
        }
    }

    /// What the record is known by outside.
    pub(super) fn key(self) -> &'static str {
        match self {
            Object::Deals => "payment_id",
            Object::Contacts => "email",
        }
    }

    pub(super) fn record_id(self, n: u64) -> String {
        let first = match self {
            Object::Deals => FIRST_ID,
            Object::Contacts => 2 * FIRST_ID,
        };
        (first + 2 * n).to_string()
    }

    pub(super) fn fields(self) -> Vec<Field> {
        let statuses: Vec<&str> = STATUSES.iter().map(|(_, value, _)| *value).collect();
        let number = |name: &str| Field::new(name, Kind::Number).or_text();
        let text = |name: &str| Field::text(name, LONGEST_TEXT);
        let own = vec![
            number("hs_object_id").label("Record ID").read_only(),
            Field::new("createdate", Kind::DateTime).label("Create date").read_only(),
            Field::new("hs_lastmodifieddate", Kind::DateTime).label("Last modified").read_only(),
        ];
        let declared = match self {
            Object::Deals => vec![
                text("dealname").label("Deal name").required(),
                Field::picklist("pipeline", &["default"]).label("Pipeline"),
                Field::picklist("dealstage", STAGES).label("Deal stage").required(),
                number("amount").label("Amount"),
                text("payment_id").label("Payment ID").unique(Match::Exact),
                Field::picklist("payment_status", &statuses).label("Payment status"),
                number("payment_paid").label("Paid"),
                number("payment_refunded").label("Refunded"),
                text("payment_currency").label("Currency"),
                text("payment_invoice").label("Invoice"),
                Field::new("payment_due", Kind::Date).label("Due"),
                Field::new("payment_time", Kind::DateTime).label("Time of payment"),
                Field::new("payment_test", Kind::Boolean).label("Test").or_text(),
                text("payment_note").label("Note"),
            ],
            Object::Contacts => vec![
                text("email").label("Email").unique(Match::IgnoreCase),
                text("firstname").label("First name"),
                text("lastname").label("Last name"),
                Field::picklist("last_payment_status", &statuses).label("Last payment"),
            ],
        };
        own.into_iter().chain(declared).collect()
    }
}

/// A property as the properties API describes it.
pub(super) fn described(object: Object, field: &Field) -> Value {
    let (kind, field_type) = match &field.kind {
        Kind::Text { .. } | Kind::Any => ("string", "text"),
        Kind::Number | Kind::Integer => ("number", "number"),
        Kind::Boolean => ("bool", "booleancheckbox"),
        Kind::Date => ("date", "date"),
        Kind::DateTime => ("datetime", "date"),
        Kind::Picklist(_) => ("enumeration", "select"),
        Kind::Options(_) => ("enumeration", "checkbox"),
    };
    let values = match &field.kind {
        Kind::Picklist(values) | Kind::Options(values) => values.as_slice(),
        Kind::Text { .. }
        | Kind::Any
        | Kind::Number
        | Kind::Integer
        | Kind::Boolean
        | Kind::Date
        | Kind::DateTime => &[],
    };
    let options = values.iter().enumerate().map(|(order, value)| {
        let known = STATUSES.iter().find(|(_, name, _)| name == value);
        let label = known.map_or(value.as_str(), |(_, _, label)| *label);
        json!({ "label": label, "value": value, "displayOrder": order, "hidden": false })
    });
    let is_email = object == Object::Contacts && field.name == "email";
    json!({
        "name": field.name,
        "label": field.label,
        "type": kind,
        "fieldType": field_type,
        "description": "",
        "groupName": "payments",
        "options": options.collect::<Vec<_>>(),
        // A contact's email address is unique without being called so.
        "hasUniqueValue": field.unique.is_some() && !is_email,
        "calculated": false,
        "externalOptions": false,
        "hidden": false,
        "formField": false,
        "archived": false,
        "modificationMetadata": {
            "archivable": !field.read_only,
            "readOnlyDefinition": field.read_only,
            "readOnlyValue": field.read_only,
        },
    })
}
