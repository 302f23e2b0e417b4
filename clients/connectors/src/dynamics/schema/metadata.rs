//! Reads the metadata of one kind of record: its definition, then in one batch its columns, what the types
//! of column add, its keys and its references. In comes the object, out goes its schema.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Column, Kind, Schema};
use crate::api::Answer;
use crate::crm::{Fault, FieldOption, Object};
use crate::dynamics::answer::{self, Asked};
use crate::dynamics::batch::Part;
use crate::dynamics::connection::Connection;
use crate::dynamics::target::encoded;

/// The CRM's code for a kind of record that is not there.
const NO_SUCH_SET: &str = "0x80060888";
/// What is read of an entity, below its definition.
const PIECES: &[&str] = &[
    "/Attributes?$select=LogicalName,AttributeType,AttributeOf,DisplayName,IsValidForCreate,\
     IsValidForUpdate,RequiredLevel,IsPrimaryId",
    "/Attributes/Microsoft.Dynamics.CRM.StringAttributeMetadata?$select=LogicalName,MaxLength,\
     FormatName",
    "/Attributes/Microsoft.Dynamics.CRM.MemoAttributeMetadata?$select=LogicalName,MaxLength",
    "/Attributes/Microsoft.Dynamics.CRM.DateTimeAttributeMetadata?$select=LogicalName,\
     DateTimeBehavior",
    "/Attributes/Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$select=LogicalName\
     &$expand=OptionSet($select=Options),GlobalOptionSet($select=Options)",
    "/Attributes/Microsoft.Dynamics.CRM.StateAttributeMetadata?$select=LogicalName\
     &$expand=OptionSet($select=Options)",
    "/Attributes/Microsoft.Dynamics.CRM.StatusAttributeMetadata?$select=LogicalName\
     &$expand=OptionSet($select=Options)",
    "/Keys?$select=LogicalName,KeyAttributes,EntityKeyIndexStatus",
    "/ManyToOneRelationships?$select=ReferencingAttribute,ReferencingEntityNavigationPropertyName",
];

#[derive(Deserialize)]
struct Many<T> {
    value: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    logical_name: String,
    primary_id_attribute: Option<String>,
    display_name: Option<Label>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Label {
    user_localized_label: Option<LocalizedLabel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LocalizedLabel {
    label: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    logical_name: String,
    attribute_type: Option<String>,
    attribute_of: Option<String>,
    display_name: Option<Label>,
    #[serde(default)]
    is_valid_for_create: bool,
    #[serde(default)]
    is_valid_for_update: bool,
    required_level: Option<Named>,
    #[serde(default)]
    is_primary_id: bool,
}

/// `{"Value": ".."}`, as metadata writes its words.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    value: Option<String>,
}

/// What the type of a column adds to it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Detail {
    logical_name: String,
    max_length: Option<usize>,
    format_name: Option<Named>,
    date_time_behavior: Option<Named>,
    option_set: Option<OptionSet>,
    global_option_set: Option<OptionSet>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OptionSet {
    #[serde(default)]
    options: Vec<Choice>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Choice {
    value: Option<i64>,
    label: Option<Label>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AlternateKey {
    #[serde(default)]
    key_attributes: Vec<String>,
    entity_key_index_status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Relationship {
    referencing_attribute: String,
    referencing_entity_navigation_property_name: String,
}

/// Reads the schema of an object.
pub async fn read(api: &Connection, object: &Object) -> Result<Schema, Fault> {
    let definition = definition(api, object).await?;
    let root = format!("EntityDefinitions(LogicalName='{}')", encoded(&definition.logical_name));
    let parts = PIECES.iter().map(|piece| Part::get(format!("{root}{piece}"))).collect();
    let mut answers = api.send(parts).await.into_iter();
    let attributes: Vec<Attribute> = next(&mut answers)?;
    let mut columns = BTreeMap::new();
    let mut primary_id = object.options.get("primary_id").cloned();
    primary_id = primary_id.or(definition.primary_id_attribute);
    for attribute in attributes.into_iter().filter(|one| one.attribute_of.is_none()) {
        if attribute.is_primary_id && primary_id.is_none() {
            primary_id = Some(attribute.logical_name.clone());
        }
        columns.insert(attribute.logical_name.clone(), column(attribute));
    }
    // All but the last two pieces.
    for _ in 1..PIECES.len() - 2 {
        let details: Vec<Detail> = next(&mut answers)?;
        for detail in details {
            if let Some(column) = columns.get_mut(&detail.logical_name) {
                add(column, detail);
            }
        }
    }
    let keys: Vec<AlternateKey> = next(&mut answers)?;
    for key in keys {
        let is_active = key.entity_key_index_status.as_deref().is_none_or(|word| word == "Active");
        if let [only] = key.key_attributes.as_slice()
            && let Some(column) = columns.get_mut(only)
        {
            // Of several keys of one column one that is active is enough.
            column.unique |= is_active;
        }
    }
    let relationships: Vec<Relationship> = next(&mut answers)?;
    let references = relationships.into_iter();
    Ok(Schema {
        label: text(definition.display_name).unwrap_or(definition.logical_name),
        primary_id: primary_id.ok_or_else(|| Fault::transient("the metadata has no primary id"))?,
        columns,
        references: references
            .map(|one| (one.referencing_entity_navigation_property_name, one.referencing_attribute))
            .collect(),
    })
}

async fn definition(api: &Connection, object: &Object) -> Result<Definition, Fault> {
    let (property, name) = match object.options.get("logical_name") {
        Some(name) => ("LogicalName", name),
        None => ("EntitySetName", &object.name),
    };
    let filter = encoded(&format!("{property} eq '{}'", name.replace('\'', "''")));
    let select = "LogicalName,EntitySetName,PrimaryIdAttribute,DisplayName";
    let target = format!("EntityDefinitions?$select={select}&$filter={filter}");
    let found: Many<Definition> = api.get(&target).await?.json()?;
    found.value.into_iter().next().ok_or_else(|| {
        Fault::permanent(
            NO_SUCH_SET,
            format!("the environment has nothing with {property} `{name}`"),
        )
    })
}

fn next<T: DeserializeOwned>(
    answers: &mut impl Iterator<Item = Result<Answer, Fault>>,
) -> Result<Vec<T>, Fault> {
    let answer = answers.next().ok_or_else(|| Fault::transient("metadata is missing"))??;
    if !answer.status.is_success() {
        return Err(answer::fault(&answer, Asked::Call));
    }
    answer.json::<Many<T>>().map(|many| many.value)
}

fn column(attribute: Attribute) -> Column {
    let kind = match attribute.attribute_type.as_deref().unwrap_or_default() {
        "String" | "Memo" | "EntityName" => Kind::Text,
        "Integer" | "BigInt" | "Decimal" | "Double" | "Money" => Kind::Number,
        "Picklist" | "State" | "Status" => Kind::Choice,
        "Boolean" => Kind::Boolean,
        "DateTime" => Kind::Time,
        "Uniqueidentifier" => Kind::Id,
        "Lookup" | "Customer" | "Owner" => Kind::Reference,
        _ => Kind::Other,
    };
    let is_writable = attribute.is_valid_for_create || attribute.is_valid_for_update;
    let level = attribute.required_level.and_then(|level| level.value);
    Column {
        label: text(attribute.display_name).unwrap_or(attribute.logical_name),
        kind,
        writable: is_writable && !attribute.is_primary_id,
        // What the system itself requires it fills in too.
        required: level.as_deref() == Some("ApplicationRequired"),
        unique: false,
        max_length: None,
        options: Vec::new(),
    }
}

fn add(column: &mut Column, detail: Detail) {
    column.max_length = detail.max_length.or(column.max_length);
    if detail.format_name.and_then(|format| format.value).as_deref() == Some("Email") {
        column.kind = Kind::Email;
    }
    let behavior = detail.date_time_behavior.and_then(|behavior| behavior.value);
    if behavior.as_deref() == Some("DateOnly") {
        column.kind = Kind::Date;
    }
    if let Some(set) = detail.option_set.or(detail.global_option_set) {
        let named = |choice: Choice| {
            let value = choice.value?.to_string();
            let label = text(choice.label).unwrap_or_else(|| value.clone());
            Some(FieldOption { value, label })
        };
        column.options = set.options.into_iter().filter_map(named).collect();
    }
}

fn text(label: Option<Label>) -> Option<String> {
    label?.user_localized_label?.label
}
