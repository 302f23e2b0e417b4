//! The properties of a kind of record, as HubSpot describes them. In comes an object's name, out goes what
//! can be written to it. What was read is kept, for a write that has to know what a property holds.
//!
//! <https://developers.hubspot.com/docs/api-reference/latest/crm/properties/guide>

use std::sync::{Arc, PoisonError};

use http::StatusCode;
use serde::Deserialize;

use super::Hubspot;
use super::answer::Problem;
use crate::crm::{Description, Fault, Field, FieldKind, FieldOption, Object};

/// How many kinds of record are kept.
const MAX_SCHEMAS: usize = 64;
/// What a new record must have: the properties do not tell.
const REQUIRED: &[(&str, &[&str])] = &[
    ("0-3", &["dealname", "dealstage"]),
    ("0-5", &["subject", "hs_pipeline_stage"]),
    ("deals", &["dealname", "dealstage"]),
    ("tickets", &["subject", "hs_pipeline_stage"]),
];
/// Records of these are known by their email address, which is unique without being called so.
const CONTACTS: &[&str] = &["0-1", "contact", "contacts"];
const EMAIL: &str = "email";

#[derive(Deserialize)]
struct Properties {
    results: Vec<Property>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Property {
    name: String,
    #[serde(default)]
    label: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    field_type: String,
    #[serde(default)]
    has_unique_value: bool,
    #[serde(default)]
    calculated: bool,
    #[serde(default)]
    options: Vec<Choice>,
    #[serde(default)]
    modification_metadata: Modification,
}

#[derive(Deserialize)]
struct Choice {
    value: String,
    #[serde(default)]
    label: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Modification {
    read_only_value: bool,
}

impl Hubspot {
    /// What the properties are, read once.
    pub(super) async fn schema(&self, object: &Object) -> Result<Arc<Description>, Fault> {
        match self.kept_schema(&object.name) {
            Some(schema) => Ok(schema),
            None => self.read_schema(object).await,
        }
    }

    /// Whether a refusal is about all rows: there is no such kind of record, or no such property to know
    /// them by.
    pub(super) async fn is_about_all(
        &self,
        object: &Object,
        property: Option<&str>,
        problem: &Problem,
    ) -> bool {
        if problem.status != StatusCode::BAD_REQUEST || !problem.invalid.is_empty() {
            return false;
        }
        match self.read_schema(object).await {
            Ok(schema) => property.is_some_and(|property| schema.field(property).is_none()),
            // Without the right to read it nothing is known.
            Err(Fault::Permanent { code, .. }) => code != "MISSING_SCOPES",
            Err(_) => false,
        }
    }

    fn kept_schema(&self, name: &str) -> Option<Arc<Description>> {
        self.schemas.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// What the properties are now.
    pub(super) async fn read_schema(&self, object: &Object) -> Result<Arc<Description>, Fault> {
        let answer = self.get(&self.version.properties_path(&object.name)).await?;
        let properties: Properties = answer.json()?;
        let fields = properties.results.into_iter().map(|one| one.field(&object.name));
        let description =
            Arc::new(Description { label: object.name.clone(), fields: fields.collect() });
        let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        if schemas.len() >= MAX_SCHEMAS {
            schemas.clear();
        }
        schemas.insert(object.name.clone(), Arc::clone(&description));
        Ok(description)
    }
}

impl Property {
    fn field(self, object: &str) -> Field {
        let required = REQUIRED.iter().find(|(name, _)| *name == object);
        let is_required = required.is_some_and(|(_, names)| names.contains(&self.name.as_str()));
        let is_email = self.name == EMAIL && CONTACTS.contains(&object);
        Field {
            kind: self.holds(),
            writable: !self.modification_metadata.read_only_value && !self.calculated,
            required: is_required,
            unique: self.has_unique_value || is_email,
            options: self
                .options
                .into_iter()
                .map(|choice| FieldOption { value: choice.value, label: choice.label })
                .collect(),
            max_length: None,
            label: self.label,
            name: self.name,
        }
    }

    fn holds(&self) -> FieldKind {
        match (self.kind.as_str(), self.field_type.as_str()) {
            ("string", _) if self.name == EMAIL => FieldKind::Email,
            ("string", "file") => FieldKind::Other,
            ("string" | "phone_number", _) => FieldKind::Text,
            ("number", _) => FieldKind::Number,
            ("bool", _) => FieldKind::Boolean,
            ("date", _) => FieldKind::Date,
            ("datetime", _) => FieldKind::Time,
            ("enumeration", "booleancheckbox") => FieldKind::Boolean,
            ("enumeration", _) => FieldKind::Choice,
            _ => FieldKind::Other,
        }
    }
}
