//! HubSpot: deals, contacts, companies, custom objects, by the CRM object API in batches of 100. In come
//! look-ups and writes, out goes one result for each. What the module holds to:
//!
//! - `POST {objects}/batch/upsert` creates or updates by a property with unique values, `batch/update` by
//!   record id, `batch/create` makes new ones. Answers are in no order: 207 names bad rows by
//!   `objectWriteTraceId`, and 400, 409 and 423 refuse a whole batch for one bad row.
//! - All values are strings; dates are ISO texts; options go by internal names.
//! - Calls are limited within any 10 seconds and per day, searches per second; answers tell what is left.
//!
//! It must never report a row as written whose record is not among an answer's results.
//!
//! <https://developers.hubspot.com/docs/api-reference/latest/crm/using-object-apis>,
//! <https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines>,
//! <https://developers.hubspot.com/docs/api-reference/error-handling>

mod answer;
mod batch;
mod calls;
mod lookup;
mod refusal;
mod schema;
mod settings;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use jiff::tz::{Offset, TimeZone};
use serde::Deserialize;

use crate::api::{self, Api};
use crate::budget::{Budget, Limits, Window};
use crate::config::{self, Mistake};
use crate::crm::{Cost, Crm, Description, Facts, Fault, Key, Object, Record, Work, Write, Written};
use crate::crms::Kind;
use crate::orgs::{self, Orgs};
use crate::tokens::Tokens;
use settings::{Credential, Settings, Version};

/// How many inputs a batch call takes.
const MAX_INPUTS: usize = 100;
/// The span that the limit of calls is counted in.
const ROLLING: Duration = Duration::from_secs(10);
/// The span that the limit of searches is counted in.
const SECONDLY: Duration = Duration::from_secs(1);

/// HubSpot.
pub const KIND: Kind = Kind {
    name: "hubspot",
    title: "HubSpot",
    object_options: &[],
    open,
    example: include_str!("../examples/hubspot.toml"),
};

const FACTS: Facts = Facts {
    upserts_by_key: true,
    max_writes: MAX_INPUTS,
    max_lookups: MAX_INPUTS,
    // Only searches miss new records; reads by id and by unique property do not.
    search_lag: Duration::from_secs(30),
};

/// One HubSpot account.
struct Hubspot {
    /// All calls but searches.
    records: Api,
    /// Searches, which have a limit of their own besides.
    search: Api,
    base: String,
    version: Version,
    /// Whether the token is one that an operator made, so that there is no other to ask for.
    has_static_token: bool,
    /// The configured calls per 10 seconds; where nothing is set, HubSpot's own word counts.
    calls_set: Option<u64>,
    limits: Limits,
    /// The account's time zone, at whose midnight the day's quota begins anew.
    zone: OnceLock<TimeZone>,
    schemas: Mutex<HashMap<String, Arc<Description>>>,
}

fn open(table: toml::Table, orgs: &Orgs) -> Result<Arc<dyn Crm>, Mistake> {
    let settings: Settings = config::read_crm(table)?;
    let credential = settings.credential()?;
    let version = settings.check()?;
    let name = orgs::name(KIND.name, &credential.parts(&settings.api_url));
    let limits = Limits {
        windows: vec![Window { points: settings.calls(), span: ROLLING }],
        max_in_flight: settings.max_calls_in_flight,
        daily_reserve: settings.daily_reserve,
    };
    let search_limits = Limits {
        windows: vec![Window { points: settings.search_calls_per_second, span: SECONDLY }],
        max_in_flight: settings.max_calls_in_flight,
        daily_reserve: 0,
    };
    let client = api::client(settings.timeout());
    let has_static_token = matches!(credential, Credential::PrivateApp { .. });
    let tokens = orgs.tokens(&name, || match credential {
        Credential::PrivateApp { token } => Tokens::fixed(token.to_secret_string()),
        Credential::OAuth(grant) => {
            Tokens::new(token::Refresh::new(client.clone(), &settings.auth_url, grant))
        }
    });
    let budget = orgs.budget(&name, limits.clone());
    let search_budget = orgs.budget(&format!("{name}:search"), search_limits);
    let zone = OnceLock::new();
    if let Some(known) = settings.zone()? {
        // It is new, so nothing is in it.
        let _ = zone.set(known);
    }
    Ok(Arc::new(Hubspot {
        records: Api::new(client.clone(), Arc::clone(&tokens), budget),
        search: Api::new(client, tokens, search_budget),
        base: settings.api_url.trim_end_matches('/').to_owned(),
        version,
        has_static_token,
        calls_set: settings.calls_per_10_seconds,
        limits,
        zone,
        schemas: Mutex::default(),
    }))
}

#[async_trait]
impl Crm for Hubspot {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn budget(&self) -> &Budget {
        self.records.budget()
    }

    async fn identify(&self) -> Result<String, Fault> {
        let answer = self.get(&self.version.account_path()).await?;
        let account: Account = answer.json()?;
        if let Some(zone) = account.zone() {
            // Where one is known already, it is the configured one or the same.
            let _ = self.zone.set(zone);
        }
        let Account { portal_id, account_type, ui_domain, .. } = account;
        Ok(format!("HubSpot account {portal_id} ({account_type}) at {ui_domain}"))
    }

    async fn describe(&self, object: &Object) -> Result<Description, Fault> {
        self.read_schema(object).await.map(|schema| (*schema).clone())
    }

    async fn find(
        &self,
        object: &Object,
        lookups: &[Key],
        fields: &[String],
    ) -> Vec<Result<Vec<Record>, Fault>> {
        self.look_up(object, lookups, fields).await
    }

    async fn write(&self, object: &Object, rows: &[Write]) -> Vec<Result<Written, Fault>> {
        self.write_rows(object, rows).await
    }

    fn cost(&self, work: Work) -> Cost {
        let batches = |rows: u64| rows.div_ceil(MAX_INPUTS as u64);
        let calls = batches(work.lookups) + batches(work.writes) + batches(work.creates);
        let window = self.limits.windows[0];
        let full_windows = calls.saturating_sub(1) / window.points.max(1);
        Cost { calls, seconds: full_windows as f64 * window.span.as_secs_f64() }
    }
}

/// What HubSpot tells about an account.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    portal_id: u64,
    #[serde(default)]
    account_type: String,
    #[serde(default)]
    ui_domain: String,
    #[serde(default)]
    time_zone: String,
    utc_offset_milliseconds: Option<i64>,
}

impl Account {
    /// By its name; where this machine does not know that, by its present offset.
    fn zone(&self) -> Option<TimeZone> {
        if let Ok(zone) = TimeZone::get(&self.time_zone) {
            return Some(zone);
        }
        let seconds = i32::try_from(self.utc_offset_milliseconds? / 1_000).ok()?;
        Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
    }
}
