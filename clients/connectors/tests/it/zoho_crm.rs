//! The module of Zoho CRM against the double of Zoho CRM. In go rows and look-ups as the writer makes them,
//! and whatever can go wrong on the way; what comes out is held against what Zoho documents.

mod limits;
mod lookups;
mod rows;
mod sign_in;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_crms::zoho_crm::{Settings, ZohoCrm};
use fake_crms::{Account, Call, Effect, Fault, Host, Reply, Server, Write as Carried};
use serde_json::{Value as Json, json};
use tollgate_connectors::config::Config;
use tollgate_connectors::crm::{
    Crm, Fault as Failure, FieldKind, Key, Object, Target, Work, Write, Written,
};
use tollgate_connectors::orgs::Orgs;
use tollgate_connectors::value::Value;
use tollgate_connectors::zoho_crm::KIND;

async fn start() -> Server<ZohoCrm> {
    ZohoCrm::start(Settings::default()).await
}

fn table(server: &Server<ZohoCrm>) -> toml::Table {
    let config: toml::Table = toml::from_str(&server.config()).expect("TOML");
    config["crm"].as_table().expect("a table").clone()
}

fn open(server: &Server<ZohoCrm>) -> Arc<dyn Crm> {
    (KIND.open)(table(server), &Orgs::default()).expect("a right table")
}

fn open_with(server: &Server<ZohoCrm>, key: &str, value: impl Into<toml::Value>) -> Arc<dyn Crm> {
    let mut table = table(server);
    table.insert(key.to_owned(), value.into());
    (KIND.open)(table, &Orgs::default()).expect("a right table")
}

fn deals() -> Object {
    Object { name: "Deals".to_owned(), options: BTreeMap::new() }
}

fn key(field: &str, value: &str) -> Key {
    Key::Field { field: field.to_owned(), value: value.to_owned(), unique: field == "Payment_Id" }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn number(digits: &str) -> Value {
    Value::Number(digits.parse().expect("a number"))
}

fn row(target: Target, fields: &[(&str, Value)]) -> Write {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Write { trace: format!("{target:?}"), target, fields: fields.collect() }
}

/// An upsert of a deal that is paid.
fn paid(payment: &str) -> Write {
    paid_with(payment, &[])
}

fn paid_with(payment: &str, more: &[(&str, Value)]) -> Write {
    let mut fields = vec![
        ("Deal_Name", text("A deal")),
        ("Stage", text("Qualification")),
        ("Payment_Status", text("Paid")),
        ("Amount_Paid", number("129.95")),
    ];
    fields.extend(more.iter().cloned());
    row(Target::Upsert(key("Payment_Id", payment)), &fields)
}

fn body(call: &Call) -> Json {
    serde_json::from_slice(&call.body).expect("JSON")
}

fn upserts(server: &Server<ZohoCrm>) -> Vec<Call> {
    server.journal().calls_to("/Deals/upsert")
}

/// An answer in place of Zoho's own, which never hears of the call.
fn answering(status: u16, body: &Json) -> Fault {
    Fault::new(Effect::Answer(Carried::Lost, Reply::json(status, body)))
}

fn refusal(code: &str) -> Json {
    json!({ "code": code, "details": {}, "message": "no", "status": "error" })
}

async fn write_one(crm: &Arc<dyn Crm>, row: Write) -> Result<Written, Failure> {
    let mut outcomes = crm.write(&deals(), &[row]).await;
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

fn code(outcome: &Result<Written, Failure>) -> &str {
    match outcome {
        Ok(_) => "",
        Err(Failure::Permanent { code, .. }) => code,
        Err(Failure::Transient { .. }) => "transient",
        Err(Failure::Throttled { .. }) => "throttled",
        Err(Failure::Gone { .. }) => "gone",
        Err(Failure::Raced { .. }) => "raced",
        Err(Failure::Unauthorized { .. }) => "unauthorized",
    }
}

#[test]
fn the_example_is_a_whole_configuration() {
    let example = KIND.example.replace("\"env:", "\"");
    let config = Config::parse(&example, &KIND).expect("a right configuration");
    assert_eq!(config.objects.len(), 2);
    (KIND.open)(config.crm, &Orgs::default()).expect("a right table");
}

#[tokio::test]
async fn what_it_costs_is_told_in_calls_and_in_days_of_credits() {
    let server = ZohoCrm::start(Settings { credits_per_day: 100, ..Settings::default() }).await;
    let crm = open(&server);
    let work = Work { lookups: 120, writes: 1_005, creates: 5 };
    let cost = crm.cost(work);
    assert_eq!(cost.calls, 3 + 11 + 1);
    // 3 + 101 + 1 credits, of which 100 are there at once.
    assert_eq!(cost.seconds, 5.0 / 100.0 * 86_400.0);
    assert_eq!(crm.cost(Work { writes: 1_000, ..Work::default() }).seconds, 0.0);
}

#[tokio::test]
async fn fields_are_described_as_the_org_has_them() {
    let server = start().await;
    let crm = open(&server);
    let told = crm.describe(&deals()).await.expect("a description");
    let field = |name: &str| told.field(name).expect(name);
    assert!(field("Payment_Id").unique && !field("Invoice_Number").unique);
    assert!(field("Deal_Name").required && !field("Amount_Paid").required);
    assert_eq!(field("Deal_Name").max_length, Some(120));
    assert_eq!(field("Amount_Paid").kind, FieldKind::Number);
    assert_eq!(field("Last_Payment_At").kind, FieldKind::Time);
    assert_eq!(field("Payment_Status").kind, FieldKind::Choice);
    assert_eq!(field("Payment_Status").options.len(), 10);
    assert!(!field("Record_Url").writable && !field("id").writable);
    let contacts = Object { name: "Contacts".to_owned(), ..deals() };
    let told = crm.describe(&contacts).await.expect("a description");
    let email = told.field("Email").expect("an address");
    assert!(email.unique && email.kind == FieldKind::Email);
    for missing in ["Nothing", "Deals/../x", ""] {
        let object = Object { name: missing.to_owned(), ..deals() };
        let fault = crm.describe(&object).await.expect_err("no module");
        assert!(matches!(fault, Failure::Permanent { code, .. } if code == "INVALID_MODULE"));
    }
}
