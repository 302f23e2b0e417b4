//! Pipedrive's module against its double: what it sends, what it makes of each answer, and that it keeps to the
//! limits. Each test has a double and a connector of its own.

mod auth;
mod failures;
mod limits;
mod lookups;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_crms::pipedrive::{Pipedrive, Settings};
use fake_crms::{Account, Server};
use rust_decimal::Decimal;
use serde_json::Value as Json;
use tollgate_connectors::config::Mistake;
use tollgate_connectors::crm::{Crm, Fault, Key, Object, Record, Target, Write, Written};
use tollgate_connectors::orgs::Orgs;
use tollgate_connectors::pipedrive::KIND;
use tollgate_connectors::value::Value;

/// A double and a connector signed in to it.
struct Stage {
    server: Server<Pipedrive>,
    crm: Arc<dyn Crm>,
}

impl Stage {
    async fn new(settings: Settings) -> Stage {
        Stage::with(settings, |config| config).await
    }

    async fn with(settings: Settings, change: impl Fn(String) -> String) -> Stage {
        let server = Pipedrive::start(settings).await;
        let crm = open(&change(server.config())).expect("a configuration that is right");
        Stage { server, crm }
    }

    fn field(&self, logical: &str) -> String {
        self.server.field(logical)
    }

    fn row(&self, target: Target, fields: &[(&str, Value)]) -> Write {
        let fields = fields.iter().map(|(name, value)| (self.field(name), value.clone()));
        Write { trace: format!("{target:?}"), target, fields: fields.collect() }
    }

    async fn write(&self, rows: &[Write]) -> Vec<Result<Written, Fault>> {
        self.crm.write(&deals(), rows).await
    }

    async fn write_one(&self, row: &Write) -> Result<Written, Fault> {
        let mut all = self.write(std::slice::from_ref(row)).await;
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    fn payment(&self, id: &str) -> Key {
        key(&self.field("payment_id"), id)
    }

    async fn find(&self, key: &Key, fields: &[&str]) -> Result<Vec<Record>, Fault> {
        let fields: Vec<String> = fields.iter().map(|name| self.field(name)).collect();
        let mut all = self.crm.find(&deals(), std::slice::from_ref(key), &fields).await;
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    /// The bodies that were sent with this method.
    fn sent(&self, method: &str) -> Vec<Json> {
        let calls = self.server.journal().calls_where(|call| call.method == method);
        let bodies = calls.iter().map(|call| serde_json::from_slice(&call.body));
        bodies.collect::<Result<_, _>>().expect("JSON")
    }
}

/// Signs in as the `[crm]` table says.
fn open(config: &str) -> Result<Arc<dyn Crm>, Mistake> {
    let mut config: toml::Table = config.parse().expect("TOML");
    let Some(toml::Value::Table(table)) = config.remove("crm") else { panic!("no [crm]") };
    (KIND.open)(table, &Orgs::default())
}

fn deals() -> Object {
    Object { name: "deals".to_owned(), options: BTreeMap::new() }
}

fn persons() -> Object {
    Object { name: "persons".to_owned(), options: BTreeMap::new() }
}

fn key(field: &str, value: &str) -> Key {
    Key::Field { field: field.to_owned(), value: value.to_owned(), unique: false }
}

fn record(id: &str) -> Target {
    Target::Record(id.to_owned())
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn number(number: &str) -> Value {
    Value::Number(number.parse::<Decimal>().expect("a number"))
}

fn money(amount: &str, currency: &str) -> Value {
    Value::Money(amount.parse::<Decimal>().expect("an amount"), currency.to_owned())
}

fn code(fault: Fault) -> String {
    match fault {
        Fault::Permanent { code, .. } => code,
        other => panic!("not permanent: {other:?}"),
    }
}
