//! HubSpot's module against the double of HubSpot.

mod faults;
mod lookups;
mod sign_in;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fake_crms::hubspot::{Hubspot, Settings};
use fake_crms::{Account, Server};
use serde_json::Value as Json;
use tollgate_connectors::config::Mistake;
use tollgate_connectors::crm::{Crm, Fault, Key, Object, Target, Write, Written};
use tollgate_connectors::hubspot::KIND;
use tollgate_connectors::orgs::Orgs;
use tollgate_connectors::value::Value;

/// What became of rows.
type Results = Vec<Result<Written, Fault>>;

/// A double and the module, signed in to it.
async fn open(settings: Settings) -> (Server<Hubspot>, Arc<dyn Crm>) {
    let server = Hubspot::start(settings).await;
    let crm = module(&server.config()).expect("the double's configuration is right");
    (server, crm)
}

/// The module with the `[crm]` table of this configuration.
fn module(config: &str) -> Result<Arc<dyn Crm>, Mistake> {
    let config: toml::Table = config.parse().expect("TOML");
    let crm = config.get("crm").and_then(toml::Value::as_table).expect("a table").clone();
    (KIND.open)(crm, &Orgs::default())
}

fn object(name: &str) -> Object {
    Object { name: name.to_owned(), options: BTreeMap::new() }
}

fn deals() -> Object {
    object("deals")
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn unique(field: &str, value: &str) -> Key {
    Key::Field { field: field.to_owned(), value: value.to_owned(), unique: true }
}

fn payment(id: &str) -> Key {
    unique("payment_id", id)
}

/// A row that makes or changes the deal of a payment.
fn row(payment_id: &str, status: &str) -> Write {
    to(Target::Upsert(payment(payment_id)), status)
}

fn to(target: Target, status: &str) -> Write {
    let fields = [
        ("dealname", text("A payment")),
        ("dealstage", text("closedwon")),
        ("payment_status", text(status)),
        ("payment_paid", Value::Money("129.95".parse().expect("a number"), "EUR".to_owned())),
    ];
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Write { target, fields, trace: "events/1".to_owned() }
}

fn rows(count: usize, status: &str) -> Vec<Write> {
    (0..count).map(|number| row(&format!("pay_{number}"), status)).collect()
}

fn ids(results: &Results) -> Vec<String> {
    let id = |result: &Result<Written, Fault>| result.as_ref().expect("it was written").id.clone();
    results.iter().map(id).collect()
}

/// HubSpot's code, where the row will never be written.
fn code(result: &Result<Written, Fault>) -> &str {
    match result {
        Err(Fault::Permanent { code, .. }) => code,
        Ok(_) | Err(_) => "",
    }
}

/// The bodies of the calls to a path.
fn bodies(server: &Server<Hubspot>, path: &str) -> Vec<Json> {
    let calls = server.journal().calls_to(path);
    let body = |call: &fake_crms::Call| serde_json::from_slice(&call.body).expect("JSON");
    calls.iter().map(body).collect()
}

/// Whether the double has just these payments with these statuses, each once.
fn has(server: &Server<Hubspot>, wanted: &[(&str, &str)]) {
    let mut found: Vec<(String, String)> =
        server.records().into_iter().map(|one| (one.payment_id, one.status)).collect();
    found.sort();
    let mut wanted: Vec<(String, String)> =
        wanted.iter().map(|(id, status)| ((*id).to_owned(), (*status).to_owned())).collect();
    wanted.sort();
    assert_eq!(found, wanted);
    assert!(server.journal().second_creates().is_empty());
}

/// Long enough for a call that is not held back.
const SOON: Duration = Duration::from_millis(300);
