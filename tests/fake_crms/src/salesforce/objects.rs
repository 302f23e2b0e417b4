//! The objects of the org and their fields, as its administrator made them, and how they are described. Ids
//! are Salesforce's: 15 characters in which case counts, and 3 that tell the case.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{USER_ID, USERNAME, errors};
use crate::{By, Field, Fields, Kind, Match, Record, Reply, Table};

pub(super) const OPPORTUNITY: &str = "Opportunity";
pub(super) const CONTACT: &str = "Contact";
const USER: &str = "User";
pub(super) const PAYMENT_ID: &str = "Payment_Id__c";
pub(super) const STATUS: &str = "Payment_Status__c";
pub(super) const PAID: &str = "Paid_Amount__c";
pub(super) const REFUNDED: &str = "Refunded_Amount__c";
pub(super) const CURRENCY: &str = "Payment_Currency__c";
pub(super) const REFERENCE: &str = "Invoice_Number__c";
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
const STAGES: &[&str] = &["Prospecting", "Qualification", "Closed Won", "Closed Lost"];
/// Fields by which rows are upserted.
const EXTERNAL_IDS: &[&str] = &[PAYMENT_ID, "Legacy_Id__c", "Legacy_Number__c"];
/// Fields that hold money, which are numbers.
const AMOUNTS: &[&str] = &[PAID, REFUNDED];
/// Longer texts are no filters.
const MAX_FILTERED: usize = 255;
const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECKS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/// The objects of an org.
pub(super) struct Objects {
    /// Their records, by the objects' names.
    pub(super) tables: BTreeMap<&'static str, Table>,
    /// Fields that the user may not see.
    pub(super) hidden: BTreeSet<String>,
}

/// The org's objects, with the user who is signed in.
fn tables() -> BTreeMap<&'static str, Table> {
    let opportunity = vec![
        Field::text("Name", 120).label("Name").required(),
        Field::picklist("StageName", STAGES).label("Stage").required(),
        Field::new("CloseDate", Kind::Date).label("Close Date").required(),
        Field::text("Description", 32_000),
        Field::text(PAYMENT_ID, 255).label("Payment Id").unique(Match::IgnoreCase),
        Field::text("Legacy_Id__c", 64).label("Legacy Id").indexed(),
        Field::new("Legacy_Number__c", Kind::Number).label("Legacy Number").indexed(),
        Field::picklist(STATUS, STATUSES).label("Payment Status"),
        Field::new(PAID, Kind::Number).label("Paid Amount"),
        Field::new(REFUNDED, Kind::Number).label("Refunded Amount"),
        Field::text(CURRENCY, 3).label("Payment Currency"),
        Field::text(REFERENCE, 80).label("Invoice Number"),
        Field::new("Paid_At__c", Kind::DateTime).label("Paid At"),
        Field::new("Is_Test__c", Kind::Boolean).label("Is Test"),
        Field::new("LastModifiedDate", Kind::DateTime).read_only(),
    ];
    let contact = vec![
        Field::text("LastName", 80).label("Last Name").required(),
        Field::text("Email", 80).indexed(),
        Field::text("Last_Payment_Id__c", 255).label("Last Payment Id"),
        Field::text("Last_Payment_Status__c", 40).label("Last Payment Status"),
        Field::new("Last_Payment_At__c", Kind::DateTime).label("Last Payment At"),
    ];
    let mut users =
        Table::new(vec![Field::text("Username", 80).required()], |_| USER_ID.to_owned());
    let mut user = Fields::new();
    user.insert("Username".to_owned(), json!(USERNAME));
    let by = By::person("administrator", Timestamp::UNIX_EPOCH);
    users.insert(&user, &by).expect("the user's name is a text");
    BTreeMap::from([
        (OPPORTUNITY, Table::new(opportunity, |n| id("006", n))),
        (CONTACT, Table::new(contact, |n| id("003", n))),
        (USER, users),
    ])
}

/// What a record is known by outside.
pub(super) fn key(object: &str, record: Option<&Record>) -> String {
    let field = if object == OPPORTUNITY { PAYMENT_ID } else { "Email" };
    record.map(|record| record.text(field)).unwrap_or_default()
}

/// The id of the nth record of an object.
fn id(prefix: &str, n: u64) -> String {
    let mut rest = n;
    let mut digits = [b'0'; 7];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    long_id(&format!("{prefix}5g000{}", String::from_utf8_lossy(&digits)))
}

/// An id of 15 characters with the 3 that tell its case; any other as it is.
pub(super) fn long_id(id: &str) -> String {
    if id.len() != 15 || !id.is_ascii() {
        return id.to_owned();
    }
    let check = |part: &[u8]| {
        let bits = part.iter().enumerate().filter(|(_, letter)| letter.is_ascii_uppercase());
        char::from(CHECKS[bits.map(|(at, _)| 1 << at).sum::<usize>()])
    };
    id.as_bytes().chunks(5).fold(id.to_owned(), |long, part| format!("{long}{}", check(part)))
}

/// Whether a text has the form of an id.
pub(super) fn is_id(id: &str) -> bool {
    matches!(id.len(), 15 | 18) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether rows are upserted by this field.
pub(super) fn is_external_id(field: &Field) -> bool {
    EXTERNAL_IDS.contains(&field.name.as_str())
}

/// Whether queries are filtered by this field.
pub(super) fn is_filter(field: &Field) -> bool {
    !matches!(field.kind, Kind::Text { max } if max > MAX_FILTERED)
}

/// A value as the API gives it.
pub(super) fn shown(table: &Table, record: &Record, name: &str) -> Value {
    match name {
        "Id" => json!(record.id),
        "LastModifiedDate" => moment(record.modified_at),
        _ => {
            let value = record.fields.get(name).cloned().unwrap_or(Value::Null);
            let is_moment = table.field(name).is_some_and(|field| field.kind == Kind::DateTime);
            let time = value.as_str().filter(|_| is_moment).and_then(|text| text.parse().ok());
            time.map_or(value, moment)
        }
    }
}

fn moment(time: Timestamp) -> Value {
    json!(time.strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string())
}

impl Objects {
    /// The standard schema.
    pub(super) fn standard() -> Objects {
        Objects { tables: tables(), hidden: BTreeSet::new() }
    }

    /// The field of this name, in any case, if the user may see it.
    pub(super) fn field(&self, object: &str, name: &str) -> Option<&Field> {
        let mut seen = self.seen(self.tables.get(object)?);
        seen.find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// The answer of an object's describe.
    pub(super) fn describe(&self, object: &str) -> Reply {
        let Some((name, table)) = self.tables.get_key_value(object) else {
            return errors::no_resource();
        };
        let id = json!({
            "name": "Id", "label": "Record ID", "type": "id", "length": 18, "createable": false,
            "updateable": false, "nillable": false, "defaultedOnCreate": true, "externalId": false,
            "unique": false, "caseSensitive": false, "restrictedPicklist": false,
            "picklistValues": [],
        });
        let fields = std::iter::once(id).chain(self.seen(table).map(described));
        let fields: Vec<Value> = fields.collect();
        Reply::json(200, &json!({ "name": name, "label": name, "custom": false, "fields": fields }))
    }

    fn seen<'t>(&'t self, table: &'t Table) -> impl Iterator<Item = &'t Field> {
        table.schema().iter().filter(|field| !self.hidden.contains(&field.name))
    }
}

fn described(field: &Field) -> Value {
    let (kind, length, options) = match &field.kind {
        Kind::Text { max } if *max > MAX_FILTERED => ("textarea", *max, None),
        Kind::Text { max } if field.name == "Email" => ("email", *max, None),
        Kind::Text { max } => ("string", *max, None),
        Kind::Number if AMOUNTS.contains(&field.name.as_str()) => ("currency", 0, None),
        Kind::Number => ("double", 0, None),
        Kind::Integer => ("int", 0, None),
        Kind::Boolean => ("boolean", 0, None),
        Kind::Date => ("date", 0, None),
        Kind::DateTime => ("datetime", 0, None),
        Kind::Picklist(options) => ("picklist", 255, Some(options)),
        Kind::Options(options) => ("multipicklist", 4_099, Some(options)),
        Kind::Any => ("anyType", 0, None),
    };
    let values = options.into_iter().flatten().map(
        |option| json!({ "active": true, "defaultValue": false, "label": option, "value": option }),
    );
    json!({
        "name": field.name,
        "label": field.label,
        "type": kind,
        "length": length,
        "createable": !field.read_only,
        "updateable": !field.read_only,
        "nillable": !field.required,
        "defaultedOnCreate": false,
        "externalId": is_external_id(field),
        "unique": field.unique.is_some(),
        "caseSensitive": field.unique == Some(Match::Exact),
        "restrictedPicklist": options.is_some(),
        "picklistValues": values.collect::<Vec<_>>(),
    })
}
