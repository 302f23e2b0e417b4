//! The kinds of record of the double and their fields: what each field is called, how it is listed, and which
//! values it takes. In come the bodies of writes, out go the fields as they are stored, or the vendor's
//! refusal. It must never take a value that Pipedrive's API v2 refuses.

use serde_json::{Map, Value, json};

use super::refusal::{Refused, invalid};
use crate::Fields;

/// The longest text of a short text field.
const VARCHAR_CHARS: usize = 255;

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entity {
    /// A deal.
    Deals,
    /// A person.
    Persons,
    /// An organization.
    Organizations,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text of at most 255 characters.
    Varchar,
    /// A long text.
    Text,
    /// A telephone number.
    Phone,
    /// A number.
    Double,
    /// An amount with its currency.
    Monetary,
    /// One option.
    Enum,
    /// Some options.
    Set,
    /// A day.
    Date,
    /// A field that every account has and that must have a text.
    Title,
    /// The id of something.
    Reference,
    /// The state of the sale.
    Status,
    /// Email addresses or telephone numbers.
    Contacts,
    /// What only Pipedrive writes.
    ReadOnly,
}

/// A field.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its key.
    pub code: String,
    /// What people call it.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Whether the account made it.
    pub is_custom: bool,
    /// Its options, by id.
    pub options: Vec<(i64, String)>,
}

impl Entity {
    /// All of them.
    pub(super) const ALL: [Entity; 3] = [Entity::Deals, Entity::Persons, Entity::Organizations];

    /// Its part of paths.
    pub(super) fn path(self) -> &'static str {
        match self {
            Entity::Deals => "deals",
            Entity::Persons => "persons",
            Entity::Organizations => "organizations",
        }
    }

    /// Its name in searches.
    pub(super) fn search_type(self) -> &'static str {
        match self {
            Entity::Deals => "deal",
            Entity::Persons => "person",
            Entity::Organizations => "organization",
        }
    }

    /// Where its fields are listed.
    pub(super) fn fields_path(self) -> &'static str {
        match self {
            Entity::Deals => "dealFields",
            Entity::Persons => "personFields",
            Entity::Organizations => "organizationFields",
        }
    }

    /// In messages.
    pub(super) fn title(self) -> &'static str {
        match self {
            Entity::Deals => "Deal",
            Entity::Persons => "Person",
            Entity::Organizations => "Organization",
        }
    }

    /// The fields that a search of this kind looks at, by their names there.
    pub(super) fn searched(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Entity::Deals => &[("title", "title")],
            Entity::Persons => &[("name", "name"), ("email", "emails"), ("phone", "phones")],
            Entity::Organizations => &[("name", "name")],
        }
    }

    /// The fields that every account has.
    pub(super) fn standard(self) -> Vec<Spec> {
        let fields: &[(&str, &str, Kind)] = match self {
            Entity::Deals => &[
                ("title", "Title", Kind::Title),
                ("status", "Status", Kind::Status),
                ("value", "Value", Kind::Double),
                ("currency", "Currency", Kind::Varchar),
                ("stage_id", "Stage", Kind::Reference),
                ("pipeline_id", "Pipeline", Kind::Reference),
                ("owner_id", "Owner", Kind::Reference),
                ("person_id", "Contact person", Kind::Reference),
                ("org_id", "Organization", Kind::Reference),
                ("expected_close_date", "Expected close date", Kind::Date),
                ("probability", "Probability", Kind::Double),
                ("lost_reason", "Lost reason", Kind::Varchar),
                ("products_count", "Number of products", Kind::ReadOnly),
                ("add_time", "Deal created", Kind::ReadOnly),
            ],
            Entity::Persons => &[
                ("name", "Name", Kind::Title),
                ("emails", "Email", Kind::Contacts),
                ("phones", "Phone", Kind::Contacts),
                ("org_id", "Organization", Kind::Reference),
                ("owner_id", "Owner", Kind::Reference),
                ("add_time", "Person created", Kind::ReadOnly),
            ],
            Entity::Organizations => &[
                ("name", "Name", Kind::Title),
                ("owner_id", "Owner", Kind::Reference),
                ("add_time", "Organization created", Kind::ReadOnly),
            ],
        };
        let spec = |(code, name, kind): &(&str, &str, Kind)| Spec {
            code: (*code).to_owned(),
            name: (*name).to_owned(),
            kind: *kind,
            is_custom: false,
            options: Vec::new(),
        };
        fields.iter().map(spec).collect()
    }
}

impl Kind {
    /// Whether searches look at fields of this kind.
    pub(super) fn is_searchable(self) -> bool {
        match self {
            Kind::Varchar | Kind::Text | Kind::Phone | Kind::Double | Kind::Monetary => true,
            Kind::Enum
            | Kind::Set
            | Kind::Date
            | Kind::Title
            | Kind::Reference
            | Kind::Status
            | Kind::Contacts
            | Kind::ReadOnly => false,
        }
    }

    fn listed(self) -> &'static str {
        match self {
            Kind::Varchar | Kind::Title | Kind::Contacts => "varchar",
            Kind::Text => "text",
            Kind::Phone => "phone",
            Kind::Double => "double",
            Kind::Monetary => "monetary",
            Kind::Enum => "enum",
            Kind::Set => "set",
            Kind::Date | Kind::ReadOnly => "date",
            Kind::Reference => "int",
            Kind::Status => "status",
        }
    }
}

impl Spec {
    /// A field that the account made.
    pub fn custom(code: &str, name: &str, kind: Kind) -> Spec {
        Spec {
            code: code.to_owned(),
            name: name.to_owned(),
            kind,
            is_custom: true,
            options: Vec::new(),
        }
    }

    /// The same with these options; their ids count from the first.
    pub fn options(mut self, first: i64, labels: &[&str]) -> Spec {
        let labels = labels.iter().map(|label| (*label).to_owned());
        self.options = (first..).zip(labels).collect();
        self
    }

    /// As the list of fields has it.
    pub(super) fn listed(&self) -> Value {
        let option = |(id, label): &(i64, String)| json!({ "id": id, "label": label, "color": null, "add_time": null, "update_time": null });
        let words = ["open", "won", "lost"].map(|word| json!({ "id": word, "label": word }));
        let options: Vec<Value> = if self.kind == Kind::Status {
            words.to_vec()
        } else {
            self.options.iter().map(option).collect()
        };
        // Lists call these by another key than records do.
        let code = match self.code.as_str() {
            "emails" => "email",
            "phones" => "phone",
            code => code,
        };
        json!({
            "field_name": self.name,
            "field_code": code,
            "description": null,
            "field_type": self.kind.listed(),
            "options": if options.is_empty() { Value::Null } else { Value::Array(options) },
            "subfields": null,
            "is_custom_field": self.is_custom,
            "is_optional_response_field": false,
        })
    }

    /// What is wrong with a value.
    fn check(&self, value: &Value) -> Result<(), String> {
        let code = &self.code;
        let wrong = |what: &str| Err(format!("{code}: Expected {what}"));
        let is_option = |id: &Value| {
            let id = id.as_i64();
            id.is_some_and(|id| self.options.iter().any(|(known, _)| *known == id))
        };
        if self.kind == Kind::ReadOnly {
            return Err(format!("{code}: Parameter '{code}' is not allowed for this request"));
        }
        if value.is_null() {
            return if self.kind == Kind::Title { wrong("a text") } else { Ok(()) };
        }
        let text = value.as_str();
        let fits = match self.kind {
            Kind::Varchar | Kind::Phone => {
                text.is_some_and(|text| text.chars().count() <= VARCHAR_CHARS)
            }
            Kind::Text => text.is_some(),
            Kind::Title => text.is_some_and(|text| !text.trim().is_empty()),
            Kind::Double => value.is_number(),
            Kind::Monetary => value.as_object().is_some_and(is_amount),
            Kind::Enum => is_option(value),
            // An empty list does not clear: null does.
            Kind::Set => {
                value.as_array().is_some_and(|ids| !ids.is_empty() && ids.iter().all(is_option))
            }
            Kind::Date => {
                text.is_some_and(|day| day.len() == 10 && day.parse::<jiff::civil::Date>().is_ok())
            }
            Kind::Reference => value.is_u64(),
            Kind::Status => matches!(text, Some("open" | "won" | "lost")),
            Kind::Contacts => value.as_array().is_some_and(|all| all.iter().all(is_contact)),
            Kind::ReadOnly => false,
        };
        if fits { Ok(()) } else { wrong(self.kind.listed()) }
    }
}

/// The fields of a write as they are stored, or the refusal.
pub(super) fn checked(specs: &[Spec], body: &Value, creates: bool) -> Result<Fields, Refused> {
    let Some(body) = body.as_object() else { return Err(invalid("body: Expected an object")) };
    let mut fields = Map::new();
    let unknown =
        |key: &str| invalid(format!("{key}: Parameter '{key}' is not allowed for this request"));
    for (key, value) in body {
        if key == "custom_fields" {
            let Some(custom) = value.as_object() else {
                return Err(invalid("custom_fields: Expected an object"));
            };
            for (key, value) in custom {
                let spec = specs.iter().find(|spec| spec.is_custom && spec.code == *key);
                let spec = spec.ok_or_else(|| unknown(&format!("custom_fields.{key}")))?;
                spec.check(value).map_err(|reason| invalid(format!("custom_fields.{reason}")))?;
                fields.insert(key.clone(), value.clone());
            }
            continue;
        }
        let spec = specs.iter().find(|spec| !spec.is_custom && spec.code == *key);
        spec.ok_or_else(|| unknown(key))?.check(value).map_err(invalid)?;
        fields.insert(key.clone(), value.clone());
    }
    let missing =
        specs.iter().find(|spec| spec.kind == Kind::Title && !fields.contains_key(&spec.code));
    match missing {
        Some(spec) if creates => {
            Err(invalid(format!("{0}: Parameter '{0}' is required", spec.code)))
        }
        Some(_) | None => Ok(fields),
    }
}

fn is_amount(amount: &Map<String, Value>) -> bool {
    let is_code =
        |code: &str| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    amount.len() == 2
        && amount.get("value").is_some_and(Value::is_number)
        && amount.get("currency").and_then(Value::as_str).is_some_and(is_code)
}

fn is_contact(contact: &Value) -> bool {
    let Some(contact) = contact.as_object() else { return false };
    let known = |key: &String| matches!(key.as_str(), "value" | "primary" | "label");
    contact.get("value").is_some_and(Value::is_string) && contact.keys().all(known)
}
