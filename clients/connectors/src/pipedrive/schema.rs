//! The fields of deals, persons and organizations: those that every account has, by the table, and the
//! account's own, by the list that the API gives. In come the names of a mapping, a field's key of 40 hex
//! digits or the name that people gave it; out goes the field. Lists are read once and again when something
//! did not fit, at most once in a while. A name that two fields bear must never choose one of them.
//! Fields: <https://developers.pipedrive.com/docs/api/v1/DealFields>

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::calls::{Ask, Calls, LIST_POINTS, about_no_record};
use super::entities::{Entity, Form, Search, Standard, TYPES};
use crate::crm::{Description, Fault, Field, FieldKind, FieldOption};

/// A list is not read anew within this time, however much does not fit.
const MIN_AGE: Duration = Duration::from_secs(5 * 60);
/// How many fields are asked for at once: the most that the API gives.
const PAGE: &str = "500";
/// How many pages are read.
const MAX_PAGES: usize = 20;
/// The longest text of a short text field.
const VARCHAR_CHARS: usize = 255;

/// A field of an account.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Its key in the API.
    pub code: String,
    /// What the list of fields calls it, where that is another key.
    listed: &'static str,
    /// What people call it.
    pub label: String,
    /// How its value is told.
    pub form: Form,
    /// How records are found by it.
    pub search: Search,
    /// Whether the account made it.
    pub is_custom: bool,
    /// What a choice or set may hold.
    pub options: Vec<Choice>,
    required: bool,
}

/// One of the options of a choice.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    /// What the API takes.
    pub id: i64,
    /// What people see.
    pub label: String,
}

/// The fields of a kind of record.
#[derive(Debug)]
pub(super) struct Schema {
    fields: Vec<Known>,
}

/// The schemas that were read.
#[derive(Default)]
pub(super) struct Schemas {
    read: Mutex<HashMap<&'static str, (Arc<Schema>, Instant)>>,
}

impl Schema {
    /// The field of this key or, if no field has it, the only one of this name.
    pub fn field(&self, name: &str) -> Result<&Known, Fault> {
        let has_key = |field: &&Known| field.code == name || field.listed == name;
        if let Some(field) = self.fields.iter().find(has_key) {
            return Ok(field);
        }
        let mut named = self.fields.iter().filter(|field| field.label == name);
        match (named.next(), named.next()) {
            (Some(field), None) => Ok(field),
            (Some(_), Some(_)) => {
                let reason = format!("two fields are named `{name}`; use the key of one of them");
                Err(Fault::permanent("ambiguous_field", reason))
            }
            (None, _) => {
                let reason = format!("no field has the key or the name `{name}`");
                Err(Fault::permanent("unknown_field", reason))
            }
        }
    }

    /// As it is told to people.
    pub fn description(&self, entity: &Entity) -> Description {
        let fields = self.fields.iter().map(|known| {
            let options = known.options.iter().map(|choice| FieldOption {
                value: choice.id.to_string(),
                label: choice.label.clone(),
            });
            Field {
                name: known.code.clone(),
                label: known.label.clone(),
                kind: known.kind(),
                writable: known.form != Form::Other,
                required: known.required,
                unique: false,
                options: options.collect(),
                max_length: (known.form == Form::ShortText).then_some(VARCHAR_CHARS),
            }
        });
        Description { label: entity.label.to_owned(), fields: fields.collect() }
    }

    fn of(entity: &Entity, listed: Vec<Listed>) -> Schema {
        let mut fields: Vec<Known> = entity.standard.iter().map(Known::standard).collect();
        for one in listed {
            let place = entity.standard.iter().position(|known| {
                !one.is_custom_field
                    && (known.code == one.field_code || known.listed == one.field_code)
            });
            match place {
                Some(place) => fields[place].label = one.field_name,
                None => fields.push(Known::listed(one)),
            }
        }
        Schema { fields }
    }
}

impl Known {
    /// Whether a mapping's value names this option, by its label or its id.
    pub fn option(&self, text: &str) -> Option<&Choice> {
        let labelled = self.options.iter().find(|choice| choice.label == text);
        labelled.or_else(|| {
            let id: i64 = text.parse().ok()?;
            self.options.iter().find(|choice| choice.id == id)
        })
    }

    fn kind(&self) -> FieldKind {
        match self.form {
            Form::Text | Form::ShortText | Form::Wrapped => FieldKind::Text,
            Form::Number => FieldKind::Number,
            Form::Money => FieldKind::Money,
            Form::Choice => FieldKind::Choice,
            Form::Date => FieldKind::Date,
            Form::Contacts if self.code == "emails" => FieldKind::Email,
            Form::Contacts => FieldKind::Text,
            Form::Reference | Form::Set | Form::Other => FieldKind::Other,
        }
    }

    fn standard(standard: &Standard) -> Known {
        Known {
            code: standard.code.to_owned(),
            listed: standard.listed,
            label: standard.label.to_owned(),
            form: standard.form,
            search: standard.search,
            is_custom: false,
            options: Vec::new(),
            required: standard.required,
        }
    }

    fn listed(one: Listed) -> Known {
        let known =
            TYPES.iter().find(|(name, _, _)| one.is_custom_field && *name == one.field_type);
        let (form, search) =
            known.map_or((Form::Other, Search::Never), |(_, form, search)| (*form, *search));
        let options =
            one.options.unwrap_or_default().into_iter().filter_map(|option| {
                Some(Choice { id: option.id.as_i64()?, label: option.label? })
            });
        Known {
            code: one.field_code,
            listed: "",
            label: one.field_name,
            form,
            search,
            is_custom: one.is_custom_field,
            options: options.collect(),
            required: false,
        }
    }
}

impl Schemas {
    /// The schema, read if it was not yet.
    pub async fn get(&self, calls: &Calls, entity: &'static Entity) -> Result<Arc<Schema>, Fault> {
        let mut read = self.read.lock().await;
        if let Some((schema, _)) = read.get(entity.name) {
            return Ok(Arc::clone(schema));
        }
        let schema = Arc::new(load(calls, entity).await?);
        read.insert(entity.name, (Arc::clone(&schema), Instant::now()));
        Ok(schema)
    }

    /// A newer one than this, with which something did not fit; the same if it was read just now.
    pub async fn newer(
        &self,
        calls: &Calls,
        entity: &'static Entity,
        than: &Arc<Schema>,
    ) -> Result<Arc<Schema>, Fault> {
        let mut read = self.read.lock().await;
        if let Some((schema, at)) = read.get(entity.name)
            && (!Arc::ptr_eq(schema, than) || at.elapsed() < MIN_AGE)
        {
            return Ok(Arc::clone(schema));
        }
        let schema = Arc::new(load(calls, entity).await?);
        read.insert(entity.name, (Arc::clone(&schema), Instant::now()));
        Ok(schema)
    }

    /// The schema as it is now.
    pub async fn fresh(
        &self,
        calls: &Calls,
        entity: &'static Entity,
    ) -> Result<Arc<Schema>, Fault> {
        let schema = Arc::new(load(calls, entity).await?);
        self.read.lock().await.insert(entity.name, (Arc::clone(&schema), Instant::now()));
        Ok(schema)
    }
}

/// A field as the API lists it.
#[derive(Deserialize)]
struct Listed {
    field_code: String,
    field_name: String,
    field_type: String,
    #[serde(default)]
    is_custom_field: bool,
    options: Option<Vec<ListedOption>>,
}

/// An option as the API lists it; its id is a word in some fields that every account has.
#[derive(Deserialize)]
struct ListedOption {
    #[serde(default)]
    id: Json,
    label: Option<String>,
}

async fn load(calls: &Calls, entity: &Entity) -> Result<Schema, Fault> {
    let path = format!("/api/v2/{}", entity.fields_path);
    let mut listed = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let mut query = vec![("limit", PAGE)];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = calls.send(&Ask::get(LIST_POINTS, &path, &query)).await;
        let page = page.map_err(about_no_record)?;
        let fields: Vec<Listed> = serde_json::from_value(page.data)
            .map_err(|error| Fault::transient(format!("unreadable list of fields: {error}")))?;
        listed.extend(fields);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(Schema::of(entity, listed)),
        }
    }
    Err(Fault::permanent("too_many_fields", format!("`{}` has more than can be read", entity.name)))
}
