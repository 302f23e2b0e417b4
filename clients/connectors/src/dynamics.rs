//! Microsoft Dynamics 365: the Dataverse Web API v9.2. In come look-ups and rows, out go `$batch` calls of a
//! few requests each, several of them side by side, and one outcome a request.
//!
//! - Sign-in: client credentials of Entra ID; the application must be an application user of the environment
//!   with a security role. The scope is the environment's URL, not the API's.
//! - Writes: `PATCH` by alternate key is create-or-update in one step, `If-Match: *` updates only and
//!   `If-None-Match: *` creates only. Rows are not in a change set, which would be all or nothing. The key's
//!   column stays out of the body. Choices take their integers, references `<name>@odata.bind`.
//! - Keys compare without regard to case. Values with one of `/ < > * % & : \ ? + #` cannot address a
//!   record; such rows cost a look-up more.
//! - Limits, per user in five minutes: 6,000 requests, of which each part of a batch is one; 20 minutes of
//!   execution; 52 calls at once. Whoever calls during a `Retry-After` waits longer. What is left of a day
//!   is told by no answer.
//! - References are written and not read back, so a person's change of one is not noticed.
//!
//! It must never send a write without a condition or a key, so that what is sent twice is written once.
//! <https://learn.microsoft.com/power-apps/developer/data-platform/webapi/overview>

mod answer;
mod batch;
mod connection;
mod schema;
mod settings;
mod sign_in;
mod target;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value as Json;

use answer::Asked;
use batch::Part;
use connection::Connection;
use schema::{Schema, Schemas, guid};
use settings::Settings;
use sign_in::SignIn;

use crate::api::{self, Answer, Api};
use crate::budget::Budget;
use crate::config::Mistake;
use crate::crm::{Cost, Crm, Description, Facts, Fault, Key, Object, Record, Work, Write, Written};
use crate::crms::Kind;
use crate::orgs::{self, Orgs};
use crate::tokens::Tokens;
use crate::value::Value;

/// Dynamics, as the table of CRMs has it.
pub const KIND: Kind = Kind {
    name: NAME,
    title: "Microsoft Dynamics 365",
    object_options: &["logical_name", "primary_id"],
    open,
    example: include_str!("../examples/dynamics.toml"),
};

const NAME: &str = "dynamics";

/// A call of `write` or `find` is made up of several batches.
const FACTS: Facts =
    Facts { upserts_by_key: true, max_writes: 200, max_lookups: 200, search_lag: Duration::ZERO };
/// Where batches are larger than that.
const FACTS_OF_LARGE_BATCHES: Facts =
    Facts { max_writes: settings::MAX_BATCH, max_lookups: settings::MAX_BATCH, ..FACTS };

/// One environment.
struct Dynamics {
    api: Connection,
    schemas: Schemas,
    settings: Settings,
}

fn open(table: toml::Table, all: &Orgs) -> Result<Arc<dyn Crm>, Mistake> {
    let settings = Settings::read(table)?;
    let client = api::client(settings.timeout());
    let sign_in = SignIn::new(&settings, client.clone())?;
    let (token_url, scope) = (settings.token_url(), settings.scope());
    let host = settings.api_host();
    let of_user = [host.as_str(), token_url.as_str(), settings.client_id.as_str()];
    let secret = settings.client_secret.as_ref().or(settings.private_key.as_ref());
    let secret = secret.map_or("", |secret| secret.expose());
    let of_credential = [token_url.as_str(), scope.as_str(), settings.client_id.as_str(), secret];
    let tokens = all.tokens(&orgs::name(NAME, &of_credential), || Tokens::new(sign_in));
    let budget = all.budget(&orgs::name(NAME, &of_user), settings.limits());
    let execution_name = orgs::name("dynamics_execution", &of_user);
    let execution = all.budget(&execution_name, settings.execution_limits());
    let api = Connection::new(Api::new(client, tokens, budget), execution, &settings);
    Ok(Arc::new(Dynamics { api, schemas: Schemas::default(), settings }))
}

#[async_trait]
impl Crm for Dynamics {
    fn facts(&self) -> &'static Facts {
        match self.api.batch_size() > FACTS.max_writes {
            true => &FACTS_OF_LARGE_BATCHES,
            false => &FACTS,
        }
    }

    fn budget(&self) -> &Budget {
        self.api.budget()
    }

    async fn identify(&self) -> Result<String, Fault> {
        let me: Json = self.api.get("WhoAmI").await?.json()?;
        let id = me["UserId"].as_str().and_then(guid);
        let id = id.ok_or_else(|| Fault::transient("unreadable answer: no UserId"))?;
        let target = target::record("systemusers", id, &["fullname"]);
        // The name is for people; without leave to read it the id must do.
        let name = match self.api.get(&target).await {
            Ok(user) => user
                .json::<Json>()
                .ok()
                .and_then(|user| user["fullname"].as_str().map(str::to_owned)),
            Err(_) => None,
        };
        let name = name.unwrap_or_else(|| id.to_owned());
        Ok(format!("{} as {name}", self.api.host()))
    }

    async fn describe(&self, object: &Object) -> Result<Description, Fault> {
        Ok(self.schemas.of(&self.api, object).await?.description())
    }

    async fn find(
        &self,
        object: &Object,
        lookups: &[Key],
        fields: &[String],
    ) -> Vec<Result<Vec<Record>, Fault>> {
        let schema = match self.schemas.of(&self.api, object).await {
            Ok(schema) => schema,
            Err(fault) => return lookups.iter().map(|_| Err(fault.clone())).collect(),
        };
        let columns = target::columns(&schema, fields);
        let mut found: Vec<Result<Vec<Record>, Fault>> = Vec::with_capacity(lookups.len());
        let (mut places, mut parts) = (Vec::new(), Vec::new());
        for (place, key) in lookups.iter().enumerate() {
            found.push(Ok(Vec::new()));
            // A key that no record can have finds none.
            if let Some(target) = read_target(object, &schema, key, &columns) {
                places.push(place);
                parts.push(Part::get(target));
            }
        }
        for (place, answer) in places.into_iter().zip(self.api.send(parts).await) {
            found[place] = answer.and_then(|answer| records(&answer, &schema, &columns));
        }
        found
    }

    async fn write(&self, object: &Object, rows: &[Write]) -> Vec<Result<Written, Fault>> {
        match self.schemas.of(&self.api, object).await {
            Ok(schema) => {
                write::Rows { api: &self.api, object, schema: &schema, rows }.write().await
            }
            Err(fault) => rows.iter().map(|_| Err(fault.clone())).collect(),
        }
    }

    fn cost(&self, work: Work) -> Cost {
        let batches = |requests: u64| requests.div_ceil(self.api.batch_size() as u64);
        let requests = work.lookups + work.writes + work.creates;
        Cost {
            calls: batches(work.lookups) + batches(work.writes + work.creates),
            seconds: self.settings.least_seconds(requests),
        }
    }
}

fn read_target(object: &Object, schema: &Schema, key: &Key, columns: &[&str]) -> Option<String> {
    let set = &object.name;
    match key {
        Key::Id(id) => guid(id).map(|id| target::record(set, id, columns)),
        Key::Field { field, value, unique } => {
            let literal = schema.literal(field, value)?;
            Some(match *unique && target::is_usable_in_key(value) {
                true => target::keyed(set, field, &literal, columns),
                false => target::filtered(set, field, &literal, columns),
            })
        }
    }
}

/// The records of an answer: one that was addressed, or those that a filter found.
fn records(answer: &Answer, schema: &Schema, columns: &[&str]) -> Result<Vec<Record>, Fault> {
    if answer::is_absent(answer) {
        return Ok(Vec::new());
    }
    if !answer.status.is_success() {
        return Err(answer::fault(answer, Asked::Read));
    }
    let body: Json = answer.json()?;
    let records = match body.get("value") {
        Some(Json::Array(records)) => records.as_slice(),
        _ => std::slice::from_ref(&body),
    };
    let unreadable = || Fault::transient("unreadable answer: a record without its id");
    let record = |json: &Json| {
        let id = json[&schema.primary_id].as_str().ok_or_else(unreadable)?.to_owned();
        let value = |name: &&str| Some(((*name).to_owned(), Value::of_json(json.get(*name)?)));
        let values: BTreeMap<String, Value> = columns.iter().filter_map(value).collect();
        Ok(Record { id, values })
    };
    records.iter().take(2).map(record).collect()
}
