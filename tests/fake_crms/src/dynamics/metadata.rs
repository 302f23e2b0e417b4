//! The metadata of the double's tables, as `EntityDefinitions` tells it. In comes the place within it, out
//! goes JSON of the shape that Dataverse gives.

use serde_json::{Value, json};

use super::entity::{Column, Entity, Type};
use super::key::{self, Key};
use super::{NO_SUCH_SEGMENT, error};
use crate::{Reply, Request};

const CASTS: &str = "/Attributes/Microsoft.Dynamics.CRM.";

pub(super) fn answer(entities: &[Entity], rest: &str, request: &Request) -> Reply {
    if rest == "EntityDefinitions" {
        return definitions(entities, request);
    }
    let (first, below) = match rest.find(")/") {
        Some(at) => rest.split_at(at + 1),
        None => (rest, ""),
    };
    let entity = key::place(first).and_then(|place| match place.key {
        Some(Key::Alternate { column, value }) if column == "LogicalName" => {
            entities.iter().find(|entity| value == entity.logical)
        }
        Some(_) | None => None,
    });
    let Some(entity) = entity else {
        return error(404, NO_SUCH_SEGMENT, "Could not find an entity with the specified name.");
    };
    let columns = entity.columns.iter();
    let values: Vec<Value> = match below {
        "" => return Reply::json(200, &definition(entity)),
        "/Attributes" => columns.map(attribute).chain([primary(entity)]).collect(),
        "/Keys" => columns.filter(|column| column.is_key).flat_map(alternate_keys).collect(),
        "/ManyToOneRelationships" => columns.filter_map(relationship).collect(),
        _ => match below.strip_prefix(CASTS) {
            Some(cast) => columns.filter_map(|column| detail(column, cast)).collect(),
            None => return error(404, NO_SUCH_SEGMENT, "Resource not found for the segment."),
        },
    };
    Reply::json(200, &json!({ "value": values }))
}

fn definitions(entities: &[Entity], request: &Request) -> Reply {
    let all = || entities.iter().collect::<Vec<_>>();
    let found = match request.query_value("$filter") {
        None => all(),
        Some(filter) => match key::condition(filter) {
            Some((property, value)) if property == "EntitySetName" => {
                entities.iter().filter(|entity| value == entity.set.as_str()).collect()
            }
            Some((property, value)) if property == "LogicalName" => {
                entities.iter().filter(|entity| value == entity.logical).collect()
            }
            Some(_) | None => return error(400, NO_SUCH_SEGMENT, "The filter is not supported."),
        },
    };
    let found: Vec<Value> = found.into_iter().map(definition).collect();
    Reply::json(200, &json!({ "value": found }))
}

fn definition(entity: &Entity) -> Value {
    json!({
        "LogicalName": entity.logical,
        "EntitySetName": entity.set,
        "PrimaryIdAttribute": entity.primary_id,
        "DisplayName": label(entity.label),
        "MetadataId": crate::ids::uuid(),
    })
}

fn attribute(column: &Column) -> Value {
    let level = if column.required { "ApplicationRequired" } else { "None" };
    json!({
        "LogicalName": column.name,
        "AttributeType": match &column.of {
            Type::Text { .. } => "String",
            Type::Money => "Money",
            Type::Choice(_) => "Picklist",
            Type::Moment | Type::Day => "DateTime",
            Type::Lookup { .. } => "Lookup",
        },
        "AttributeOf": null,
        "DisplayName": label(column.label),
        "IsValidForCreate": !column.read_only,
        "IsValidForUpdate": !column.read_only,
        "IsPrimaryId": false,
        "RequiredLevel": { "Value": level, "CanBeChanged": true },
    })
}

fn primary(entity: &Entity) -> Value {
    json!({
        "LogicalName": entity.primary_id,
        "AttributeType": "Uniqueidentifier",
        "AttributeOf": null,
        "DisplayName": label(entity.label),
        "IsValidForCreate": true,
        "IsValidForUpdate": false,
        "IsPrimaryId": true,
        "RequiredLevel": { "Value": "SystemRequired", "CanBeChanged": false },
    })
}

/// What the metadata of one type adds to a column of that type.
fn detail(column: &Column, cast: &str) -> Option<Value> {
    let (of, mut detail) = match &column.of {
        Type::Text { max, format } => (
            "StringAttributeMetadata",
            json!({ "MaxLength": max, "FormatName": { "Value": format } }),
        ),
        Type::Moment => {
            ("DateTimeAttributeMetadata", json!({ "DateTimeBehavior": { "Value": "UserLocal" } }))
        }
        Type::Day => {
            ("DateTimeAttributeMetadata", json!({ "DateTimeBehavior": { "Value": "DateOnly" } }))
        }
        Type::Choice(options) => {
            let option =
                |(value, text): &(i64, &str)| json!({ "Value": value, "Label": label(text) });
            let options: Vec<Value> = options.iter().map(option).collect();
            let set = json!({ "OptionSet": { "Options": options }, "GlobalOptionSet": null });
            ("PicklistAttributeMetadata", set)
        }
        Type::Money | Type::Lookup { .. } => return None,
    };
    detail["LogicalName"] = json!(column.name);
    (of == cast).then_some(detail)
}

fn alternate_keys(column: &Column) -> [Value; 2] {
    // A key of the same column that was never activated makes the active one no less of a key.
    [("key", "Active"), ("old_key", "Failed")].map(|(name, status)| {
        json!({
            "LogicalName": format!("{}_{name}", column.name),
            "KeyAttributes": [column.name],
            "EntityKeyIndexStatus": status,
        })
    })
}

fn relationship(column: &Column) -> Option<Value> {
    match &column.of {
        Type::Lookup { navigation, .. } => Some(json!({
            "ReferencingAttribute": column.name,
            "ReferencingEntityNavigationPropertyName": navigation,
        })),
        Type::Text { .. } | Type::Money | Type::Choice(_) | Type::Moment | Type::Day => None,
    }
}

fn label(text: &str) -> Value {
    json!({
        "LocalizedLabels": [{ "Label": text, "LanguageCode": 1033 }],
        "UserLocalizedLabel": { "Label": text, "LanguageCode": 1033 },
    })
}
