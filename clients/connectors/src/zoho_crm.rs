//! Zoho CRM, API v8. In come rows and look-ups of a module's records, out go upserts by a unique field,
//! updates by id, creates, COQL queries and the outcome of each row. Errors are told in three places: by the
//! status with a code, by a row of `data[]` under any of 200, 201, 202, 207 and 400, and, of a token, under
//! 200. It must never report a row as written whose fields Zoho passes over in silence, so it holds every
//! row against the module's metadata first; and never ask for tokens more often than Zoho lets.
//!
//! - Upsert: <https://www.zoho.com/crm/developer/docs/api/v8/upsert-records.html>
//! - COQL, which reads the records themselves and not a search index:
//!   <https://www.zoho.com/crm/developer/docs/api/v8/Get-Records-through-COQL-Query.html>
//! - Fields: <https://www.zoho.com/crm/developer/docs/api/v8/field-meta.html>
//! - Limits: <https://www.zoho.com/crm/developer/docs/api/v8/api-limits.html>
//! - Tokens and data centres: <https://www.zoho.com/crm/developer/docs/api/v8/multi-dc.html>

mod caller;
mod lookup;
mod refusal;
mod rows;
mod schema;
mod settings;
mod sign_in;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use serde::Deserialize;

use crate::api::{self, Api};
use crate::budget::Budget;
use crate::config::{Mistake, read_crm};
use crate::crm::{Cost, Crm, Description, Facts, Fault, Key, Object, Record, Work, Write, Written};
use crate::crms::Kind;
use crate::orgs::{self, Orgs};
use crate::tokens::Tokens;

use caller::{Call, Caller};
use schema::Schemas;
use settings::Settings;
use sign_in::Refresh;

/// Zoho CRM, as the table of CRMs has it.
pub const KIND: Kind = Kind {
    name: "zoho_crm",
    title: "Zoho CRM",
    object_options: &[],
    open,
    example: include_str!("../examples/zoho_crm.toml"),
};

const FACTS: Facts = Facts {
    upserts_by_key: true,
    max_writes: rows::MAX_ROWS,
    max_lookups: lookup::MAX_VALUES,
    search_lag: Duration::ZERO,
};

/// How many calls of the heavy kind Zoho takes at once, in every edition.
const MAX_HEAVY_CALLS: usize = 10;
const SECONDS_A_DAY: f64 = 86_400.0;

struct Zoho {
    caller: Caller,
    schemas: Schemas,
    runs_workflows: bool,
    credits_per_day: u64,
}

fn open(table: toml::Table, orgs: &Orgs) -> Result<Arc<dyn Crm>, Mistake> {
    let settings: Settings = read_crm(table)?;
    let hosts = settings.check()?;
    let client = api::client(Duration::from_secs(settings.timeout_seconds));
    let secret = settings.refresh_token.expose();
    let name = orgs::name(KIND.name, &[&hosts.accounts, &settings.client_id, secret]);
    let budget = orgs.budget(&name, settings.limits());
    let heavy = orgs.budget(&format!("{name}:heavy"), settings::heavy_limits(MAX_HEAVY_CALLS));
    let refresh = Refresh::new(client.clone(), hosts, &settings);
    let tokens = orgs.tokens(&name, || Tokens::new(refresh));
    Ok(Arc::new(Zoho {
        caller: Caller::new(Api::new(client, tokens, budget), heavy, settings.credits_per_day),
        schemas: Schemas::default(),
        runs_workflows: settings.run_workflows,
        credits_per_day: settings.credits_per_day,
    }))
}

#[async_trait]
impl Crm for Zoho {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn budget(&self) -> &Budget {
        self.caller.budget()
    }

    async fn identify(&self) -> Result<String, Fault> {
        let host = self.caller.host().await?;
        let answer = self.caller.call(&Call::get("/users?type=CurrentUser".to_owned())).await?;
        if answer.status == StatusCode::OK {
            let told: Users = answer.json()?;
            let name = told.users.into_iter().next().and_then(|user| user.full_name);
            return Ok(match name {
                Some(name) => format!("{host} as {name}"),
                None => host,
            });
        }
        // Writing records does not need the scope that tells who one is.
        match refusal::of_call(&answer) {
            Fault::Permanent { code, .. } if code == refusal::SCOPE => {
                Ok(format!("{host}; the token has no scope to tell as whom"))
            }
            fault => Err(fault),
        }
    }

    async fn describe(&self, object: &Object) -> Result<Description, Fault> {
        let schema = self.schemas.read(&self.caller, &object.name).await?;
        Ok(schema.description(&object.name))
    }

    async fn find(
        &self,
        object: &Object,
        lookups: &[Key],
        fields: &[String],
    ) -> Vec<Result<Vec<Record>, Fault>> {
        lookup::find(self, object, lookups, fields).await
    }

    async fn write(&self, object: &Object, rows: &[Write]) -> Vec<Result<Written, Fault>> {
        rows::write(self, object, rows).await
    }

    fn cost(&self, work: Work) -> Cost {
        let lookups = work.lookups.div_ceil(lookup::MAX_VALUES as u64);
        let batches = |rows: u64| rows.div_ceil(rows::MAX_ROWS as u64);
        let credits = lookups + rows::credits(work.writes) + rows::credits(work.creates);
        // The first day's credits may be spent at once; the rest comes over the days.
        let beyond = credits.saturating_sub(self.credits_per_day);
        Cost {
            calls: lookups + batches(work.writes) + batches(work.creates),
            seconds: beyond as f64 / self.credits_per_day as f64 * SECONDS_A_DAY,
        }
    }
}

#[derive(Deserialize)]
struct Users {
    #[serde(default)]
    users: Vec<User>,
}

#[derive(Deserialize)]
struct User {
    full_name: Option<String>,
}
