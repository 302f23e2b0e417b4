//! Salesforce, by its REST API: rows in sObject collections, look-ups in SOQL. In come look-ups and rows,
//! out go calls to the org that the token's answer names, and one result for each. It must never follow
//! anything but the org's own codes, and never write a row that it was not given.
//!
//! What of the API it stands on:
//! - A collection takes 200 rows, is one call of the day's quota, answers in the rows' order, and with
//!   `allOrNone: false` refuses rows alone. What is wrong with the request refuses it whole, an unknown field
//!   or an ill-formed value among that; then it is taken apart.
//! - An upsert goes by a field that is flagged External ID; of two who create the same key at once one gets
//!   `DUPLICATE_VALUE`.
//! - A value must be of its field's JSON type, so the object's describe is read before the first row.
//! - The day's quota is told by `Sforce-Limit-Info` and, once used up, by `REQUEST_LIMIT_EXCEEDED`; there is
//!   no `Retry-After`.
//! - A session ends with 401 and is not told how long it lasts.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm>
//! <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/errorcodes.htm>
//! <https://developer.salesforce.com/docs/atlas.en-us.salesforce_app_limits_cheatsheet.meta/salesforce_app_limits_cheatsheet/salesforce_app_limits_platform_api.htm>

mod answers;
mod auth;
mod collections;
mod query;
mod schema;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, StatusCode, header};
use secrecy::ExposeSecret;
use serde::Deserialize;

use crate::api::{self, Answer, Api};
use crate::budget::{Budget, Limits};
use crate::config::{self, Mistake};
use crate::crm::{Cost, Crm, Description, Facts, Fault, Key, Object, Record, Work, Write, Written};
use crate::crms::Kind;
use crate::orgs::{self, Orgs};
use crate::tokens::Tokens;

use answers::Refused;
use schema::Schemas;
use settings::Settings;

/// Salesforce, to those who look a CRM up by name.
pub const KIND: Kind = Kind {
    name: "salesforce",
    title: "Salesforce",
    object_options: &[],
    open,
    example: include_str!("../examples/salesforce.toml"),
};

/// Rows of a collection, at most.
const MAX_ROWS: usize = 200;
/// The quota counts the calls of the last 24 hours.
const DAY_SECONDS: f64 = 86_400.0;
/// Under this name writes stand in the org's change events, so that they can be told from those of people.
const CALL_OPTIONS: &str = "client=tollgate";

static FACTS: Facts = Facts {
    upserts_by_key: true,
    max_writes: MAX_ROWS,
    max_lookups: MAX_ROWS,
    search_lag: Duration::ZERO,
};

/// One org, signed in to.
struct Salesforce {
    api: Api,
    version: String,
    daily_calls: u64,
    schemas: Schemas,
}

fn open(table: toml::Table, orgs: &Orgs) -> Result<Arc<dyn Crm>, Mistake> {
    let settings: Settings = config::read_crm(table)?;
    settings.check()?;
    let login = settings.login()?;
    let limits = Limits {
        windows: Vec::new(),
        max_in_flight: settings.max_calls_in_flight,
        daily_reserve: settings.daily_reserve,
    };
    let budget = orgs.budget(&orgs::name(KIND.name, &settings.org()), limits);
    let tokens = orgs.tokens(&orgs::name(KIND.name, &settings.credential()), || Tokens::new(login));
    let client = api::client(Duration::from_secs(settings.timeout_seconds));
    Ok(Arc::new(Salesforce {
        api: Api::new(client, tokens, budget),
        version: settings.api_version.clone(),
        daily_calls: settings.daily_calls,
        schemas: Schemas::default(),
    }))
}

#[async_trait]
impl Crm for Salesforce {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn budget(&self) -> &Budget {
        self.api.budget()
    }

    async fn identify(&self) -> Result<String, Fault> {
        let resources: Resources = self.get("").await?;
        let token = self.api.token().await?;
        let url = token.api_url.as_deref().and_then(|url| url.parse::<reqwest::Url>().ok());
        let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or("the org").to_owned();
        let identity = resources.identity.unwrap_or_default();
        let user = identity.rsplit('/').next().unwrap_or_default();
        if user.is_empty() {
            return Ok(host);
        }
        match query::username(self, user).await? {
            Some(name) => Ok(format!("{host} as {name}")),
            None => Ok(format!("{host} as user {user}")),
        }
    }

    async fn describe(&self, object: &Object) -> Result<Description, Fault> {
        let schema = self.schemas.read(self, &object.name).await?;
        Ok(schema.description.clone())
    }

    async fn find(
        &self,
        object: &Object,
        lookups: &[Key],
        fields: &[String],
    ) -> Vec<Result<Vec<Record>, Fault>> {
        query::find(self, &object.name, lookups, fields).await
    }

    async fn write(&self, object: &Object, rows: &[Write]) -> Vec<Result<Written, Fault>> {
        collections::write(self, &object.name, rows).await
    }

    fn cost(&self, work: Work) -> Cost {
        let calls = |rows: u64| rows.div_ceil(MAX_ROWS as u64);
        let calls = calls(work.lookups) + calls(work.writes) + calls(work.creates);
        let a_day = self.budget().standing().daily_limit.unwrap_or(self.daily_calls).max(1);
        // Calls come at once until the day's are used up.
        let days = calls.saturating_sub(1) / a_day;
        Cost { calls, seconds: days as f64 * DAY_SECONDS }
    }
}

/// What the API offers; of interest is who asks.
#[derive(Deserialize)]
struct Resources {
    identity: Option<String>,
}

impl Salesforce {
    /// Reads what is at a path below the API's version.
    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        let answer = self.call(Method::GET, path, None).await.map_err(|refused| refused.fault)?;
        answer.json()
    }

    /// Makes one call; whatever is not a success is refused with its class.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, Refused> {
        let request = |client: &reqwest::Client, token: &crate::tokens::Token| {
            let base = token.api_url.as_deref().unwrap_or_default();
            let url = format!("{base}/services/data/{}{path}", self.version);
            let request = client
                .request(method.clone(), url)
                .bearer_auth(token.secret.expose_secret())
                .header(header::ACCEPT, "application/json")
                .header("Sforce-Call-Options", CALL_OPTIONS);
            match &body {
                Some(body) => request
                    .header(header::CONTENT_TYPE, "application/json; charset=UTF-8")
                    .body(body.clone()),
                None => request,
            }
        };
        let is_expired = |answer: &Answer| answer.status == StatusCode::UNAUTHORIZED;
        let answer = self.api.call(1, request, is_expired).await.map_err(Refused::at_the_moment)?;
        let usage = answers::usage(&answer);
        if let Some(usage) = usage {
            self.budget().daily(usage.remaining(), Some(usage.limit), None);
        }
        if answer.status.is_success() {
            return Ok(answer);
        }
        let refused = answers::refused(&answer, usage);
        if let Fault::Throttled { wait, reason } = &refused.fault {
            self.budget().throttled(*wait, reason);
        }
        Err(refused)
    }
}

/// One segment of a path, whatever is in it.
fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
        .to_string()
        .replace("%5F", "_")
}
