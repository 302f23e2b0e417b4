//! The tables of the double: what columns they have, which of them are keys, and the rules of a write that
//! the schema can tell. In comes a body, out go fields for the table, or the refusal of Dataverse.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::key::is_id;
use super::{BAD_PAYLOAD, error};
use crate::table::Fields;
use crate::{Field, Kind, Match, Reply, RowError, Table};

/// The set of payments.
pub const PAYMENTS: &str = "new_payments";
/// The set of contacts.
pub const CONTACTS: &str = "contacts";
/// The statuses of a payment: the event's word, the option's number, what people see.
pub const STATUSES: &[(&str, i64, &str)] = &[
    ("PENDING", 100_000_000, "Pending"),
    ("AUTHORIZED", 100_000_001, "Authorized"),
    ("PAID", 100_000_002, "Paid"),
    ("PARTIALLY_PAID", 100_000_003, "Partially paid"),
    ("FAILED", 100_000_004, "Failed"),
    ("CANCELED", 100_000_005, "Canceled"),
    ("PARTIALLY_REFUNDED", 100_000_006, "Partially refunded"),
    ("REFUNDED", 100_000_007, "Refunded"),
    ("DISPUTED", 100_000_008, "Disputed"),
    ("CHARGED_BACK", 100_000_009, "Charged back"),
];

/// One table.
pub(super) struct Entity {
    pub(super) logical: &'static str,
    pub(super) set: String,
    pub(super) label: &'static str,
    pub(super) primary_id: &'static str,
    pub(super) columns: Vec<Column>,
    pub(super) table: Table,
    /// Records that refuse updates.
    pub(super) closed: HashSet<String>,
}

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) of: Type,
    /// Whether it alone is an active alternate key.
    pub(super) is_key: bool,
    pub(super) required: bool,
    pub(super) read_only: bool,
}

/// What a column holds.
#[derive(Clone, Debug)]
pub(super) enum Type {
    Text {
        max: usize,
        format: &'static str,
    },
    Money,
    Choice(Vec<(i64, &'static str)>),
    Moment,
    Day,
    /// A reference: the name under which it is written, and the set that it points to.
    Lookup {
        navigation: &'static str,
        set: &'static str,
    },
}

/// The tables that every double has.
pub(super) fn standard() -> Vec<Entity> {
    let text = |max| Type::Text { max, format: "Text" };
    let statuses = STATUSES.iter().map(|(_, value, label)| (*value, *label)).collect();
    let currency =
        Type::Lookup { navigation: "transactioncurrencyid", set: "transactioncurrencies" };
    let payments = vec![
        Column { is_key: true, ..column("new_paymentid", "Payment id", text(100)) },
        Column { required: true, ..column("new_name", "Name", text(200)) },
        column("new_status", "Status", Type::Choice(statuses)),
        column("new_paidamount", "Paid", Type::Money),
        column("new_refundedamount", "Refunded", Type::Money),
        column("new_currency", "Currency", text(3)),
        column("new_reference", "Reference", text(100)),
        column("new_paidat", "Paid at", Type::Moment),
        column("new_dueon", "Due on", Type::Day),
        column("transactioncurrencyid", "Currency of amounts", currency),
        Column { read_only: true, ..column("new_paidamount_base", "Paid (base)", Type::Money) },
    ];
    let contacts = vec![
        column("emailaddress1", "Email", Type::Text { max: 100, format: "Email" }),
        column("lastname", "Last name", text(50)),
        column("new_lastpaymentid", "Last payment", text(100)),
        column("new_lastpaymentstatus", "Last status", text(40)),
    ];
    vec![
        entity("new_payment", PAYMENTS, "Payment", "new_paymentrecordid", payments),
        entity("contact", CONTACTS, "Contact", "contactid", contacts),
    ]
}

fn column(name: &'static str, label: &'static str, of: Type) -> Column {
    Column { name, label, of, is_key: false, required: false, read_only: false }
}

fn entity(
    logical: &'static str,
    set: &str,
    label: &'static str,
    primary_id: &'static str,
    columns: Vec<Column>,
) -> Entity {
    let schema = columns.iter().map(Column::field).collect();
    let table = Table::new(schema, |_| crate::ids::uuid());
    let closed = HashSet::new();
    Entity { logical, set: set.to_owned(), label, primary_id, columns, table, closed }
}

impl Entity {
    /// What a record is known by outside.
    pub(super) fn key_of(&self, id: &str) -> String {
        let column = self.columns.iter().find(|column| column.is_key).or(self.columns.first());
        let record = self.table.get(id);
        record.zip(column).map(|(record, column)| record.text(&column.stored())).unwrap_or_default()
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The fields of a body, as the table keeps them.
    pub(super) fn fields(&self, body: &Fields) -> Result<Fields, Reply> {
        let mut fields = Fields::new();
        for (name, value) in body.iter().filter(|(name, _)| !name.starts_with('@')) {
            if let Some(navigation) = name.strip_suffix("@odata.bind") {
                let (column, id) = self.bound(navigation, value)?;
                fields.insert(column, id);
                continue;
            }
            let column = self.column(name).ok_or_else(|| self.invalid_property(name))?;
            match &column.of {
                Type::Lookup { .. } => return Err(self.invalid_property(name)),
                Type::Choice(options) => {
                    let known = |value: i64| options.iter().any(|(option, _)| *option == value);
                    if value.as_i64().is_some_and(|value| !known(value)) {
                        let message = "The value is outside the valid range of the choice.";
                        return Err(error(400, "0x8004431a", message));
                    }
                }
                Type::Text { .. } | Type::Money | Type::Moment | Type::Day => {}
            }
            fields.insert(name.clone(), value.clone());
        }
        Ok(fields)
    }

    fn bound(&self, navigation: &str, value: &Value) -> Result<(String, Value), Reply> {
        let found = self.columns.iter().find_map(|column| match &column.of {
            Type::Lookup { navigation: name, set } if *name == navigation => Some((column, *set)),
            Type::Lookup { .. } | Type::Text { .. } | Type::Money => None,
            Type::Choice(_) | Type::Moment | Type::Day => None,
        });
        let (column, set) = found.ok_or_else(|| self.invalid_property(navigation))?;
        if value.is_null() {
            return Ok((column.stored(), Value::Null));
        }
        let id = value.as_str().and_then(|path| {
            let rest = path.trim_start_matches('/').strip_prefix(set)?;
            rest.strip_prefix('(')?.strip_suffix(')').filter(|id| is_id(id))
        });
        match id {
            Some(id) => Ok((column.stored(), json!(id.to_lowercase()))),
            None => Err(self.invalid_property(navigation)),
        }
    }

    /// The record as it is read: all columns, or those that were asked for.
    pub(super) fn json(&self, id: &str, select: Option<&str>) -> Result<Fields, Reply> {
        let mut json = Fields::new();
        let Some(record) = self.table.get(id) else { return Ok(json) };
        json.insert("@odata.etag".to_owned(), json!(format!("W/\"{}\"", record.version)));
        let all = || {
            let names = self.columns.iter().map(Column::stored);
            names.chain([self.primary_id.to_owned()]).collect()
        };
        let names: Vec<String> =
            select.map_or_else(all, |names| names.split(',').map(str::to_owned).collect());
        for name in names {
            let value = match name == self.primary_id {
                true => json!(record.id),
                false if self.columns.iter().any(|column| column.stored() == name) => {
                    record.fields.get(&name).cloned().unwrap_or_default()
                }
                false => {
                    let message = format!(
                        "Could not find a property named '{name}' on type \
                         'Microsoft.Dynamics.CRM.{}'.",
                        self.logical
                    );
                    return Err(error(400, super::NO_SUCH_SEGMENT, &message));
                }
            };
            json.insert(name, value);
        }
        Ok(json)
    }

    /// The refusal of a write.
    pub(super) fn refusal(&self, errors: &[RowError]) -> Reply {
        match errors.first() {
            Some(RowError::TooLong { field, max }) => {
                let message = format!(
                    "A validation error occurred. The length of the '{field}' attribute of the \
                     '{}' entity exceeded the maximum allowed length of '{max}'.",
                    self.logical
                );
                error(400, "0x80044331", &message)
            }
            Some(RowError::Duplicate { field, .. }) => {
                let message = format!(
                    "Entity Key {field} violated. A record with the same value for {field} already \
                     exists. A duplicate record cannot be created."
                );
                error(412, "0x80060892", &message)
            }
            Some(RowError::NotFound { record } | RowError::Deleted { record }) => {
                self.absent(record)
            }
            Some(RowError::Locked { .. }) => error(503, "", "The record is locked."),
            Some(
                RowError::UnknownField { field }
                | RowError::WrongType { field, .. }
                | RowError::BadOption { field, .. }
                | RowError::ReadOnly { field }
                | RowError::MissingRequired { field },
            ) => self.invalid_property(field),
            None => error(500, "0x80040216", "An unexpected error occurred."),
        }
    }

    pub(super) fn absent(&self, id: &str) -> Reply {
        let message = format!("Entity '{}' With Id = {id} Does Not Exist", self.logical);
        error(404, "0x80040217", &message)
    }

    fn invalid_property(&self, name: &str) -> Reply {
        let message = format!(
            "Error identified in Payload provided by the user for Entity :'{}', For more information \
             on this error please follow this help link https://go.microsoft.com/fwlink/?linkid=2195293  \
             ---->  InnerException : Microsoft.Crm.CrmException: Invalid property '{name}' was found in \
             entity 'Microsoft.Dynamics.CRM.{}'. ---> Microsoft.OData.ODataException: Invalid property\r\n\
             \x20  --- End of inner exception stack trace ---\r\n   at Microsoft.Crm.Extensibility.OData.\
             CrmODataExecutionContext.Read()\r\n.",
            self.set, self.logical
        );
        error(400, BAD_PAYLOAD, &message)
    }
}

impl Column {
    /// Its name among the stored fields, which is the one it is read by.
    pub(super) fn stored(&self) -> String {
        match &self.of {
            Type::Lookup { .. } => format!("_{}_value", self.name),
            Type::Text { .. } | Type::Money | Type::Choice(_) => self.name.to_owned(),
            Type::Moment | Type::Day => self.name.to_owned(),
        }
    }

    fn field(&self) -> Field {
        let kind = match &self.of {
            Type::Text { max, .. } => Kind::Text { max: *max },
            Type::Money => Kind::Number,
            Type::Choice(_) => Kind::Integer,
            Type::Moment => Kind::DateTime,
            Type::Day => Kind::Date,
            Type::Lookup { .. } => Kind::Text { max: 36 },
        };
        let field = Field::new(&self.stored(), kind).label(self.label);
        let field = if self.is_key { field.unique(Match::IgnoreCase) } else { field.indexed() };
        if self.read_only { field.read_only() } else { field }
    }
}
