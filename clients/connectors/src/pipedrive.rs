//! Pipedrive: deals, persons and organizations through its API v2. In come look-ups and rows, out goes one
//! call a record, since there is neither a batch nor an upsert: a record is searched by a field of the
//! account's own, then changed by `PATCH` or made by `POST`. A search shows a write some seconds later, so
//! whoever creates keeps the id that a create gave. It must never call during a wait that Pipedrive asked
//! for, and never say that a record was written without an answer that says so.
//! API: <https://developers.pipedrive.com/docs/api/v1>, custom fields:
//! <https://pipedrive.readme.io/docs/core-api-concepts-custom-fields>, limits:
//! <https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting>

mod calls;
mod entities;
mod schema;
mod search;
mod settings;
mod values;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use http::Method;
use serde_json::Value as Json;
use tokio::sync::OnceCell;

use calls::{Ask, Calls, IDENTITY_POINTS, READ_POINTS, SEARCH_POINTS, WRITE_POINTS};
use entities::{Entity, entity};
use schema::{Schema, Schemas};
use search::{Lookup, id_of, is_id};
use settings::Settings;
use values::{Choices, RowFields};

use crate::budget::Budget;
use crate::config::Mistake;
use crate::crm::{
    Cost, Crm, Description, Facts, Fault, Key, Object, Record, Target, Work, Write, Written,
};
use crate::crms::Kind;
use crate::orgs::Orgs;
use crate::value::Value;

/// Pipedrive, as a CRM that can be written to.
pub const KIND: Kind = Kind {
    name: "pipedrive",
    title: "Pipedrive",
    object_options: &[CHOICES],
    open,
    example: include_str!("../examples/pipedrive.toml"),
};

/// Searches show a write after about this; there is no promise.
const FACTS: Facts = Facts {
    upserts_by_key: false,
    max_writes: 16,
    max_lookups: 8,
    search_lag: Duration::from_secs(5),
};

/// The option of an object that says how choices are told: `label` or `id`.
const CHOICES: &str = "choices";
/// How long the window is that points are counted in.
const WINDOW_SECONDS: f64 = 2.0;

/// An account, signed in to with one credential.
struct Pipedrive {
    calls: Calls,
    schemas: Schemas,
    default_currency: Option<String>,
    users_currency: OnceCell<String>,
}

fn open(table: toml::Table, orgs: &Orgs) -> Result<Arc<dyn Crm>, Mistake> {
    let settings = Settings::read(table)?;
    let access = settings.access(orgs)?;
    Ok(Arc::new(Pipedrive {
        calls: Calls::new(&settings, access),
        schemas: Schemas::default(),
        default_currency: settings.default_currency,
        users_currency: OnceCell::new(),
    }))
}

#[async_trait]
impl Crm for Pipedrive {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn budget(&self) -> &Budget {
        self.calls.budget()
    }

    async fn identify(&self) -> Result<String, Fault> {
        let user = self.user().await?;
        let part = |key: &str| user.get(key).and_then(Json::as_str).unwrap_or("?");
        Ok(format!("{}.pipedrive.com as {}", part("company_domain"), part("name")))
    }

    async fn describe(&self, object: &Object) -> Result<Description, Fault> {
        let entity = entity(&object.name)?;
        choices(object)?;
        let schema = self.schemas.fresh(&self.calls, entity).await?;
        Ok(schema.description(entity))
    }

    async fn find(
        &self,
        object: &Object,
        lookups: &[Key],
        fields: &[String],
    ) -> Vec<Result<Vec<Record>, Fault>> {
        let lookup = match self.lookup(object, lookups, fields).await {
            Ok(lookup) => lookup,
            Err(fault) => return lookups.iter().map(|_| Err(fault.clone())).collect(),
        };
        let each: Vec<_> = lookups.iter().map(|key| self.look_up(&lookup, key)).collect();
        stream::iter(each).buffered(self.budget().max_in_flight()).collect().await
    }

    async fn write(&self, object: &Object, rows: &[Write]) -> Vec<Result<Written, Fault>> {
        let entity = match entity(&object.name) {
            Ok(entity) => entity,
            Err(fault) => return rows.iter().map(|_| Err(fault.clone())).collect(),
        };
        let each: Vec<_> = rows.iter().map(|row| self.write_row(entity, row)).collect();
        stream::iter(each).buffered(self.budget().max_in_flight()).collect().await
    }

    fn cost(&self, work: Work) -> Cost {
        let writes = work.writes.saturating_add(work.creates);
        let calls = work.lookups.saturating_mul(2).saturating_add(writes);
        let lookups = work.lookups.saturating_mul(SEARCH_POINTS + READ_POINTS);
        let points = lookups.saturating_add(writes.saturating_mul(WRITE_POINTS));
        let seconds = points as f64 * WINDOW_SECONDS / self.calls.points() as f64;
        Cost { calls, seconds }
    }
}

impl Pipedrive {
    /// Who the credential is.
    async fn user(&self) -> Result<Json, Fault> {
        let ask = Ask::get(IDENTITY_POINTS, "/v1/users/me", &[]);
        let found = self.calls.send(&ask).await.map_err(calls::about_no_record)?;
        Ok(found.data)
    }

    /// What look-ups share. Names that no field has may be new.
    async fn lookup<'a>(
        &self,
        object: &Object,
        keys: &[Key],
        fields: &'a [String],
    ) -> Result<Lookup<'a>, Fault> {
        let entity = entity(&object.name)?;
        let choices = choices(object)?;
        let mut schema = self.schemas.get(&self.calls, entity).await?;
        let names = keys.iter().filter_map(|key| match key {
            Key::Id(_) => None,
            Key::Field { field, .. } => Some(field),
        });
        if names.chain(fields).any(|name| schema.field(name).is_err()) {
            schema = self.schemas.newer(&self.calls, entity, &schema).await?;
        }
        Ok(Lookup { entity, schema, fields, choices })
    }

    /// Writes one row. What does not fit the fields as they were read may fit them as they are now.
    async fn write_row(&self, entity: &'static Entity, row: &Write) -> Result<Written, Fault> {
        let fields = fields_of(row)?;
        let schema = self.schemas.get(&self.calls, entity).await?;
        let body = self.body(&schema, &fields).await;
        let first = match &body {
            Ok(body) => self.send_row(entity, &row.target, body).await,
            Err(fault) => Err(fault.clone()),
        };
        let fault = match first {
            Err(fault @ Fault::Permanent { .. }) => fault,
            Ok(_) | Err(_) => return first,
        };
        let newer = match self.schemas.newer(&self.calls, entity, &schema).await {
            Ok(newer) if !Arc::ptr_eq(&newer, &schema) => newer,
            Ok(_) | Err(_) => return Err(fault),
        };
        match self.body(&newer, &fields).await {
            Ok(again) if body.as_ref() != Ok(&again) => {
                self.send_row(entity, &row.target, &again).await
            }
            Ok(_) | Err(_) => Err(fault),
        }
    }

    async fn body(&self, schema: &Schema, fields: &RowFields<'_>) -> Result<Json, Fault> {
        let currency = match fields.currency() {
            Some(currency) => Some(currency),
            None if fields.lacks_currency(schema) => Some(self.currency().await?),
            None => None,
        };
        fields.body(schema, currency)
    }

    /// The currency of amounts in rows that tell none.
    async fn currency(&self) -> Result<&str, Fault> {
        if let Some(currency) = &self.default_currency {
            return Ok(currency);
        }
        let asked = self.users_currency.get_or_try_init(|| async {
            let user = self.user().await?;
            let currency = user.get("default_currency").and_then(Json::as_str);
            currency.map(str::to_owned).ok_or_else(|| {
                let reason = "an amount has no currency and the user no default: set \
                              `default_currency`";
                Fault::permanent("no_currency", reason)
            })
        });
        asked.await.map(String::as_str)
    }

    async fn send_row(
        &self,
        entity: &Entity,
        target: &Target,
        body: &Json,
    ) -> Result<Written, Fault> {
        match target {
            Target::Record(id) if !is_id(id) => {
                Err(Fault::Gone { reason: format!("`{id}` is no id of Pipedrive's") })
            }
            Target::Record(id) => {
                let ask = Ask::write(Method::PATCH, entity.path(Some(id)), body);
                let found = self.calls.send(&ask).await?;
                let told = id_of(&found.data).filter(|told| told == id);
                Ok(Written { id: told.ok_or_else(unreadable)?, created: Some(false) })
            }
            Target::New(_) => {
                let ask = Ask::write(Method::POST, entity.path(None), body);
                let found = self.calls.send(&ask).await.map_err(calls::about_no_record)?;
                let id = id_of(&found.data).ok_or_else(unreadable)?;
                Ok(Written { id, created: Some(true) })
            }
            Target::Upsert(_) => {
                let reason = "Pipedrive has no unique fields to write by";
                Err(Fault::permanent("no_upsert", reason))
            }
        }
    }
}

/// The fields that a row writes, with the key's own if it makes a record.
fn fields_of(row: &Write) -> Result<RowFields<'_>, Fault> {
    let mut fields: Vec<(&str, Value)> =
        row.fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let creates = match &row.target {
        Target::New(Key::Field { field, value, .. }) => {
            fields.push((field, Value::Text(value.clone())));
            true
        }
        Target::New(Key::Id(_)) => {
            let reason = "Pipedrive gives a new record its id";
            return Err(Fault::permanent("no_key", reason));
        }
        Target::Record(_) | Target::Upsert(_) => false,
    };
    Ok(RowFields { fields, creates })
}

fn choices(object: &Object) -> Result<Choices, Fault> {
    match object.options.get(CHOICES).map(String::as_str) {
        None | Some("label") => Ok(Choices::Label),
        Some("id") => Ok(Choices::Id),
        Some(other) => {
            let reason = format!("`options.{CHOICES}` must be \"label\" or \"id\", not `{other}`");
            Err(Fault::permanent("unknown_option", reason))
        }
    }
}

fn unreadable() -> Fault {
    Fault::transient("the answer does not tell the record that was written")
}
