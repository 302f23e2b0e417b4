//! The Dynamics module against the double of Dataverse: what it sends, what it makes of each answer, and
//! what it promises when things go wrong. In comes a double, out go a signed-in CRM and rows for it.

mod failures;
mod limits;
mod lookups;
mod sign_in;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_crms::dynamics::{Dynamics, PAYMENTS, Settings};
use fake_crms::{Account, Call, PaymentRecord, Server};
use tollgate_connectors::crm::{Crm, Fault, Key, Object, Target, Write, Written};
use tollgate_connectors::dynamics::KIND;
use tollgate_connectors::orgs::Orgs;
use tollgate_connectors::value::Value;

const PAID: i64 = 100_000_002;
const REFUNDED: i64 = 100_000_007;

type Outcome = Result<Written, Fault>;

/// An environment and a connector that is signed in to it.
struct Setup {
    server: Server<Dynamics>,
    crm: Arc<dyn Crm>,
}

impl Setup {
    async fn start() -> Setup {
        Setup::with(Settings::default(), "").await
    }

    /// With settings of the double, and lines that the `[crm]` table has besides.
    async fn with(settings: Settings, lines: &str) -> Setup {
        let server = Dynamics::start(settings).await;
        let crm = open(table(&server, lines));
        Setup { server, crm }
    }

    /// The same with its schema read, so that only writes are counted from here.
    async fn warm(settings: Settings, lines: &str) -> Setup {
        let setup = Setup::with(settings, lines).await;
        setup.crm.describe(&payments()).await.expect("the table is there");
        setup.server.journal().forget();
        setup
    }

    async fn write(&self, rows: &[Write]) -> Vec<Outcome> {
        self.crm.write(&payments(), rows).await
    }

    fn records(&self) -> Vec<PaymentRecord> {
        self.server.records()
    }

    fn batches(&self) -> Vec<Call> {
        self.server.journal().calls_to("$batch")
    }
}

fn open(table: toml::Table) -> Arc<dyn Crm> {
    (KIND.open)(table, &Orgs::default()).expect("the settings are right")
}

/// The `[crm]` table that signs in to a double.
fn table(server: &Server<Dynamics>, lines: &str) -> toml::Table {
    let text = server.config();
    let (crm, _) = text.split_once("[[objects]]").expect("objects follow");
    let whole: toml::Table = format!("{crm}\n{lines}").parse().expect("TOML");
    whole["crm"].as_table().expect("a table").clone()
}

fn payments() -> Object {
    Object { name: PAYMENTS.to_owned(), options: BTreeMap::new() }
}

fn key(payment: &str, unique: bool) -> Key {
    Key::Field { field: "new_paymentid".to_owned(), value: payment.to_owned(), unique }
}

fn row(target: Target, status: i64) -> Write {
    let fields = [
        ("new_status", Value::Number(status.into())),
        ("new_paidamount", Value::Number("129.95".parse().expect("a number"))),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    Write { trace: format!("{target:?}"), target, fields: BTreeMap::from(fields) }
}

fn upsert(payment: &str) -> Write {
    row(Target::Upsert(key(payment, true)), PAID)
}

fn upserts(count: usize) -> Vec<Write> {
    (0..count).map(|number| upsert(&format!("pay_{number}"))).collect()
}

fn with(mut write: Write, field: &str, value: &str) -> Write {
    write.fields.insert(field.to_owned(), Value::Text(value.to_owned()));
    write
}

/// What became of each row, in a word.
fn words(outcomes: &[Outcome]) -> Vec<String> {
    let word = |outcome: &Outcome| match outcome {
        Ok(Written { created: Some(true), .. }) => "created".to_owned(),
        Ok(Written { created: Some(false), .. }) => "updated".to_owned(),
        Ok(Written { created: None, .. }) => "written".to_owned(),
        Err(Fault::Throttled { .. }) => "throttled".to_owned(),
        Err(Fault::Transient { .. }) => "transient".to_owned(),
        Err(Fault::Permanent { code, .. }) => code.clone(),
        Err(Fault::Gone { .. }) => "gone".to_owned(),
        Err(Fault::Raced { .. }) => "raced".to_owned(),
        Err(Fault::Unauthorized { .. }) => "unauthorized".to_owned(),
    };
    outcomes.iter().map(word).collect()
}
