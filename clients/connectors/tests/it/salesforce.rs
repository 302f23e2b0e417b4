//! The Salesforce module against the double of Salesforce: what is sent, what comes of answers, and what is
//! in the org afterwards.

mod failing;
mod looking_up;
mod signing_in;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_crms::salesforce::{Salesforce, Settings};
use fake_crms::{Call, Server};
use serde_json::Value as Json;
use tollgate_connectors::config::Mistake;
use tollgate_connectors::crm::{Crm, Fault, Key, Object, Target, Write, Written};
use tollgate_connectors::orgs::Orgs;
use tollgate_connectors::salesforce::KIND;
use tollgate_connectors::value::Value;

const COLLECTIONS: &str = "/composite/sobjects";

/// An org and a module that is signed in to it.
struct Org {
    server: Server<Salesforce>,
    crm: Arc<dyn Crm>,
}

impl Org {
    async fn start() -> Org {
        Org::with(Settings::default()).await
    }

    async fn with(settings: Settings) -> Org {
        let server = Salesforce::start(settings).await;
        let crm = opened(&Salesforce::crm_by_assertion(&server), &Orgs::default());
        Org { crm: crm.expect("a right configuration"), server }
    }

    async fn write(&self, rows: &[Write]) -> Vec<Result<Written, Fault>> {
        self.crm.write(&object("Opportunity"), rows).await
    }

    /// Writes one row.
    async fn write_one(&self, row: Write) -> Result<Written, Fault> {
        self.write(&[row]).await.remove(0)
    }

    /// The calls that write.
    fn writes(&self) -> Vec<Call> {
        self.server.journal().calls_to(COLLECTIONS)
    }

    fn kill_tokens(&self) {
        self.server.backend().tokens.kill_all();
    }
}

fn opened(config: &str, orgs: &Orgs) -> Result<Arc<dyn Crm>, Mistake> {
    let mut config: toml::Table = toml::from_str(config).expect("TOML");
    let Some(toml::Value::Table(crm)) = config.remove("crm") else { panic!("no [crm]") };
    (KIND.open)(crm, orgs)
}

fn object(name: &str) -> Object {
    Object { name: name.to_owned(), options: BTreeMap::new() }
}

fn key(field: &str, value: &str) -> Key {
    Key::Field { field: field.to_owned(), value: value.to_owned(), unique: true }
}

fn payment(id: &str) -> Key {
    key("Payment_Id__c", id)
}

/// A row that a new record needs no more than.
fn row(target: Target) -> Write {
    let trace = format!("{target:?}");
    let row = Write { target, fields: BTreeMap::new(), trace };
    let row = with(row, "Name", Value::Text("Payment".to_owned()));
    let row = with(row, "StageName", Value::Text("Prospecting".to_owned()));
    let day = "2026-12-31".parse().expect("a day");
    let row = with(row, "CloseDate", Value::Date(day));
    with(row, "Payment_Status__c", Value::Text("Paid".to_owned()))
}

fn upsert(id: &str) -> Write {
    row(Target::Upsert(payment(id)))
}

fn with(mut row: Write, field: &str, value: Value) -> Write {
    row.fields.insert(field.to_owned(), value);
    row
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn number(text: &str) -> Value {
    Value::Number(text.parse().expect("a number"))
}

fn body(call: &Call) -> Json {
    serde_json::from_slice(&call.body).expect("json")
}

/// The code of a row that will never work.
fn code(result: &Result<Written, Fault>) -> &str {
    match result {
        Err(Fault::Permanent { code, .. }) => code,
        other => panic!("not permanent: {other:?}"),
    }
}
