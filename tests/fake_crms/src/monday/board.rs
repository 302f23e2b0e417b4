//! The boards of the double: their columns as the vendor describes them, and their items. What an item
//! holds is kept plainly, a label or an address as a text, and shown in the vendor's shapes.

use std::time::Duration;

use serde_json::{Value, json};

use super::{CONTACTS, PAYMENTS};
use crate::{Field, Kind, Life, Record, Table};

pub(super) const PAYMENT_ID: &str = "text_mkx4payid";
pub(super) const STATUS: &str = "color_mkx4status";
pub(super) const PAID: &str = "numeric_mkx4paid";
pub(super) const REFUNDED: &str = "numeric_mkx4refunded";
pub(super) const REFERENCE: &str = "text_mkx4reference";
pub(super) const CURRENCY: &str = "text_mkx4currency";
/// The column of contacts that holds their address.
pub(super) const EMAIL: &str = "email_mkx5address";
pub(super) const GROUP: &str = "topics";

/// The ten statuses of payments and their labels.
pub(super) const STATUSES: &[(&str, &str)] = &[
    ("PENDING", "Pending"),
    ("AUTHORIZED", "Authorized"),
    ("PAID", "Paid"),
    ("PARTIALLY_PAID", "Partially paid"),
    ("FAILED", "Failed"),
    ("CANCELED", "Canceled"),
    ("PARTIALLY_REFUNDED", "Partially refunded"),
    ("REFUNDED", "Refunded"),
    ("DISPUTED", "Disputed"),
    ("CHARGED_BACK", "Charged back"),
];

/// Ids begin beyond what a float can tell apart.
const FIRST_ITEM: u64 = 9_007_199_254_740_993;
const ITEMS_OF_A_BOARD: u64 = 1_000_000_000_000;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    LongText,
    Numbers,
    Status,
    Dropdown,
    Date,
    Checkbox,
    Email,
    /// Calculated, never written.
    Formula,
}

/// A column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) shape: Shape,
    /// Those of a status or dropdown.
    pub(super) labels: Vec<String>,
}

/// A board.
pub(super) struct Board {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    pub(super) groups: Vec<String>,
    pub(super) items: Table,
    key: &'static str,
}

impl Shape {
    /// The vendor's name of it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Shape::Text => "text",
            Shape::LongText => "long_text",
            Shape::Numbers => "numbers",
            Shape::Status => "status",
            Shape::Dropdown => "dropdown",
            Shape::Date => "date",
            Shape::Checkbox => "checkbox",
            Shape::Email => "email",
            Shape::Formula => "formula",
        }
    }
}

impl Board {
    pub(super) fn payments(lag: Duration) -> Board {
        let labels = STATUSES.iter().map(|(_, label)| (*label).to_owned()).collect();
        let columns = vec![
            column(PAYMENT_ID, "Payment id", Shape::Text),
            Column { labels, ..column(STATUS, "Status", Shape::Status) },
            column(PAID, "Paid", Shape::Numbers),
            column(REFUNDED, "Refunded", Shape::Numbers),
            column(REFERENCE, "Invoice", Shape::Text),
            column(CURRENCY, "Currency", Shape::Text),
            column("date_mkx4changed", "Changed", Shape::Date),
            column("email_mkx4payer", "Payer", Shape::Email),
            column("long_mkx4note", "Note", Shape::LongText),
            column("check_mkx4live", "Live", Shape::Checkbox),
            Column {
                labels: vec!["card".to_owned(), "sepa_debit".to_owned()],
                ..column("drop_mkx4method", "Method", Shape::Dropdown)
            },
            column("formula_mkx4net", "Net", Shape::Formula),
        ];
        Board::new(PAYMENTS, "Payments", 0, columns, PAYMENT_ID, lag)
    }

    pub(super) fn contacts(lag: Duration) -> Board {
        let columns = vec![
            column(EMAIL, "Email", Shape::Email),
            column("text_mkx5payment", "Last payment", Shape::Text),
            Column {
                labels: ["Open", "Paid", "Refunded", "In dispute"].map(str::to_owned).to_vec(),
                ..column("color_mkx5payment", "Payment", Shape::Status)
            },
            column("date_mkx5payment", "Paid on", Shape::Date),
        ];
        Board::new(CONTACTS, "Contacts", 1, columns, EMAIL, lag)
    }

    fn new(
        id: &str,
        name: &str,
        number: u64,
        columns: Vec<Column>,
        key: &'static str,
        lag: Duration,
    ) -> Board {
        let named = |name: &str| Field::new(name, Kind::Any).indexed();
        let mut schema = vec![named("name")];
        schema.extend(columns.iter().map(|column| named(&column.id)));
        // What people see of an email address may be another text.
        schema.push(Field::new("email_text", Kind::Any));
        let first = FIRST_ITEM + number * ITEMS_OF_A_BOARD;
        let mut items = Table::new(schema, move |nth| (first + nth).to_string());
        items.set_lag(lag);
        let groups = vec![GROUP.to_owned(), "group_title".to_owned()];
        Board { id: id.to_owned(), name: name.to_owned(), columns, groups, items, key }
    }

    pub(super) fn column(&self, id: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.id == id)
    }

    /// What an item is known by outside.
    pub(super) fn key_of(&self, item: &str) -> String {
        self.items.get(item).map(|item| item.text(self.key)).unwrap_or_default()
    }
}

impl Column {
    /// One of a board's `columns`.
    pub(super) fn json(&self) -> Value {
        let labels = self.labels.iter().enumerate().map(|(index, label)| {
            json!({ "id": index, "label": label, "index": index, "is_deactivated": false })
        });
        let settings = match self.shape {
            Shape::Status | Shape::Dropdown => json!({ "labels": labels.collect::<Vec<_>>() }),
            Shape::Text
            | Shape::LongText
            | Shape::Numbers
            | Shape::Date
            | Shape::Checkbox
            | Shape::Email
            | Shape::Formula => json!({}),
        };
        json!({
            "id": self.id, "title": self.title, "type": self.shape.name(), "archived": false,
            "settings": settings
        })
    }

    /// One of an item's `column_values`.
    pub(super) fn shown(&self, item: &Record) -> Value {
        let has = item.text(&self.id);
        let is_empty = has.is_empty();
        let (text, value) = match self.shape {
            Shape::Text | Shape::Numbers => (json!(has), json!(has)),
            Shape::LongText => (json!(has), json!({ "text": has })),
            Shape::Status => {
                let index = self.labels.iter().position(|label| *label == has);
                (json!(has), json!({ "index": index, "post_id": null }))
            }
            Shape::Dropdown => (json!(has), json!({ "ids": [has] })),
            Shape::Date => {
                let (date, time) = has.split_once(' ').unwrap_or((&has, ""));
                let time = (!time.is_empty()).then_some(time);
                (json!(has), json!({ "date": date, "time": time, "icon": null }))
            }
            Shape::Checkbox => (json!("v"), json!({ "checked": true })),
            Shape::Email => {
                let text = Some(item.text("email_text")).filter(|text| !text.is_empty());
                let text = text.unwrap_or_else(|| has.clone());
                (json!(text), json!({ "email": has, "text": text }))
            }
            Shape::Formula => (json!(""), Value::Null),
        };
        let empty = match self.shape {
            Shape::Status | Shape::Dropdown => Value::Null,
            Shape::Text
            | Shape::LongText
            | Shape::Numbers
            | Shape::Date
            | Shape::Checkbox
            | Shape::Email
            | Shape::Formula => json!(""),
        };
        let text = if is_empty { empty } else { text };
        // A JSON value comes as a text that holds it.
        let value = if is_empty { Value::Null } else { json!(value.to_string()) };
        json!({ "id": self.id, "type": self.shape.name(), "text": text, "value": value })
    }
}

/// The vendor's word for whether an item is there.
pub(super) fn state_of(item: &Record) -> &'static str {
    match item.life {
        Life::Live => "active",
        Life::Archived => "archived",
        Life::Deleted => "deleted",
    }
}

fn column(id: &str, title: &str, shape: Shape) -> Column {
    Column { id: id.to_owned(), title: title.to_owned(), shape, labels: Vec::new() }
}
