//! The module of monday.com against its double: what it sends, what it makes of answers, and what is in the
//! boards afterwards.

mod limits;
mod lost;

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_crms::monday::{CONTACTS, Monday, PAYMENTS, Settings, TOKEN};
use fake_crms::{Account, Life, Server};
use rust_decimal::Decimal;
use serde_json::{Value as Json, json};
use tollgate_connectors::config::Config;
use tollgate_connectors::crm::{
    Crm, Fault, FieldKind, Key, Object, Record, Target, Work, Write, Written,
};
use tollgate_connectors::monday::KIND;
use tollgate_connectors::orgs::Orgs;
use tollgate_connectors::value::Value;

/// A double and the module signed in to it.
struct Stage {
    server: Server<Monday>,
    crm: Arc<dyn Crm>,
    object: Object,
}

impl Stage {
    async fn new() -> Stage {
        Stage::with(Settings::default(), "").await
    }

    async fn with(settings: Settings, crm: &str) -> Stage {
        let server = Monday::start(settings).await;
        let crm = open(&server, crm);
        Stage { server, crm, object: object(PAYMENTS) }
    }

    fn field(&self, logical: &str) -> String {
        self.server.field(logical)
    }

    /// A row that sets a payment's status.
    fn row(&self, target: Target, status: &str) -> Write {
        let trace = format!("events/{}", trace_of(&target));
        let fields = BTreeMap::from([(self.field("status"), text(status))]);
        Write { target, fields, trace }
    }

    fn key(&self, payment_id: &str) -> Key {
        Key::Field { field: self.field("payment_id"), value: payment_id.to_owned(), unique: false }
    }

    fn new_row(&self, payment_id: &str, status: &str) -> Write {
        self.row(Target::New(self.key(payment_id)), status)
    }

    async fn write(&self, rows: &[Write]) -> Vec<Result<Written, Fault>> {
        self.crm.write(&self.object, rows).await
    }

    async fn find_one(&self, key: Key, fields: &[String]) -> Result<Vec<Record>, Fault> {
        let mut found = self.crm.find(&self.object, &[key], fields).await;
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    /// The bodies of all calls, as they were sent.
    fn bodies(&self) -> Vec<Json> {
        let calls = self.server.journal().calls();
        calls.iter().map(|call| serde_json::from_slice(&call.body).expect("JSON")).collect()
    }

    /// How many calls had this kind of query: `mutation Create`, `query Find`.
    fn count(&self, begins: &str) -> usize {
        let starts = |body: &&Json| body["query"].as_str().is_some_and(|q| q.starts_with(begins));
        self.bodies().iter().filter(starts).count()
    }
}

fn open(server: &Server<Monday>, more: &str) -> Arc<dyn Crm> {
    let table: toml::Table = server.config().parse().expect("TOML");
    let mut crm = table["crm"].as_table().expect("a table").clone();
    let more: toml::Table = more.parse().expect("TOML");
    crm.extend(more);
    (KIND.open)(crm, &Orgs::default()).expect("a right configuration")
}

fn object(board: &str) -> Object {
    Object { name: board.to_owned(), options: BTreeMap::new() }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn trace_of(target: &Target) -> String {
    match target {
        Target::Record(id) | Target::New(Key::Id(id)) | Target::Upsert(Key::Id(id)) => id.clone(),
        Target::New(Key::Field { value, .. }) | Target::Upsert(Key::Field { value, .. }) => {
            value.clone()
        }
    }
}

fn code(result: &Result<Written, Fault>) -> &str {
    match result {
        Err(Fault::Permanent { code, .. }) => code,
        Ok(_) => "",
        Err(_) => "another fault",
    }
}

#[tokio::test]
async fn an_item_is_created_found_and_changed_with_every_value_a_variable() {
    let mut stage = Stage::new().await;
    stage.object.options.insert("group_id".to_owned(), "topics".to_owned());
    let odd = "pay_\"1\") { id } }\n\\ö'$x";
    let mut row = stage.new_row(odd, "Paid");
    row.fields.insert(stage.field("paid"), Value::Number("129.90".parse().expect("a number")));
    row.fields.insert("date_mkx4changed".to_owned(), text("2026-11-24"));
    row.fields.insert("email_mkx4payer".to_owned(), text("ann@acme.example"));
    row.fields.insert("name".to_owned(), text("Payment \"one\""));
    let written = stage.write(&[row]).await.remove(0).expect("written");
    assert_eq!(written.created, Some(true));
    assert!(written.id.parse::<u64>().expect("a number") > 1 << 53, "precision is at stake");

    let fields = [stage.field("status"), stage.field("paid"), "name".to_owned()];
    let fields = [&fields[..], &["email_mkx4payer".to_owned(), "date_mkx4changed".to_owned()]];
    let found = stage.find_one(stage.key(odd), &fields.concat()).await.expect("found");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id, written.id);
    let same = |field: &str, want: &str| found[0].values[field].same_as(&text(want));
    assert!(same(&stage.field("status"), "Paid") && same(&stage.field("paid"), "129.9"));
    assert!(same("name", "Payment \"one\"") && same("email_mkx4payer", "ann@acme.example"));
    assert!(same("date_mkx4changed", "2026-11-24"));
    assert_eq!(found[0].values.len(), 5, "only what was asked for");

    let row = stage.row(Target::Record(written.id.clone()), "Partially refunded");
    let changed = stage.write(&[row]).await.remove(0).expect("written");
    assert_eq!(changed, Written { id: written.id, created: Some(false) });
    let records = stage.server.records();
    assert_eq!(records.len(), 1);
    assert_eq!((&*records[0].payment_id, &*records[0].status), (odd, "Partially refunded"));
    assert_eq!(records[0].paid, Some(Decimal::new(12_990, 2)));
    assert_eq!(records[0].writes, 2);

    for call in stage.server.journal().calls() {
        assert_eq!((call.method.as_str(), &*call.path), ("POST", "/v2"));
        assert_eq!(call.headers["authorization"], TOKEN);
        assert_eq!(call.headers["api-version"], "2026-10");
        assert_eq!(call.headers["content-type"], "application/json");
    }
    for body in stage.bodies() {
        let query = body["query"].as_str().expect("a query");
        assert!(!query.contains("pay_") && !query.contains('"'), "{query}");
        assert!(query.contains("complexity { query"), "{query}");
        if query.starts_with("mutation") {
            assert!(query.contains("create_labels_if_missing: false"), "{query}");
            assert!(body["variables"]["v0"].is_string(), "column values are a text");
        }
    }
    assert_eq!(stage.bodies()[1]["variables"]["group"], "topics");
}

#[tokio::test]
async fn one_call_carries_many_rows_and_each_has_its_own_outcome() {
    let stage = Stage::new().await;
    let ids: Vec<String> = (0..20).map(|n| stage.server.create(&format!("pay_{n}"))).collect();
    let all: Vec<usize> = (0..20).collect();
    for bad in [&[][..], &[7], &[0], &[19], &[0, 3, 19], &all] {
        stage.server.journal().forget();
        let rows: Vec<Write> = (0..20)
            .map(|n| {
                let status = if bad.contains(&n) { "No such label" } else { "Paid" };
                stage.row(Target::Record(ids[n].clone()), status)
            })
            .collect();
        let results = stage.write(&rows).await;
        assert_eq!(stage.count("mutation Update"), 1, "one call for all of {bad:?}");
        for (n, result) in results.iter().enumerate() {
            let want = if bad.contains(&n) { "ColumnValueException" } else { "" };
            assert_eq!(code(result), want, "{n} of {bad:?}");
            let wrote = stage.server.journal().commits_of(&format!("pay_{n}"));
            assert_eq!(wrote.len(), usize::from(!bad.contains(&n)));
        }
    }
    let labels = stage.server.backend().labels(PAYMENTS, &stage.field("status"));
    assert_eq!(labels.len(), 10, "none was created");
}

#[tokio::test]
async fn creates_and_changes_of_one_batch_keep_their_order_and_faults() {
    let stage = Stage::new().await;
    let id = stage.server.create("pay_old");
    let unknown = Write {
        fields: BTreeMap::from([("text_nope".to_owned(), text("x"))]),
        ..stage.new_row("pay_column", "Paid")
    };
    let rows = [
        stage.new_row("pay_1", "Paid"),
        stage.row(Target::Record(id.clone()), "Failed"),
        unknown,
        stage.new_row("pay_2", "No such label"),
        stage.row(Target::Record("123".to_owned()), "Paid"),
        stage.row(Target::Upsert(stage.key("pay_3")), "Paid"),
        stage.new_row("pay_4", "Disputed"),
    ];
    let results = stage.write(&rows).await;
    assert_eq!(results[0].as_ref().expect("created").created, Some(true));
    assert_eq!(results[1], Ok(Written { id, created: Some(false) }));
    assert_eq!(code(&results[2]), "InvalidColumnIdException");
    assert_eq!(code(&results[3]), "ColumnValueException");
    assert!(matches!(&results[4], Err(Fault::Gone { .. })), "{:?}", results[4]);
    assert_eq!(code(&results[5]), "NoUniqueKey");
    assert!(results[6].is_ok());
    let mut there: Vec<String> =
        stage.server.records().into_iter().map(|record| record.payment_id).collect();
    there.sort();
    assert_eq!(there, ["pay_1", "pay_4", "pay_old"]);
    assert_eq!((stage.count("mutation Create"), stage.count("mutation Update")), (1, 1));
}

#[tokio::test]
async fn an_item_archived_after_it_was_found_is_gone_and_not_found_again() {
    let stage = Stage::new().await;
    let id = stage.server.create("pay_1");
    let found = stage.find_one(stage.key("pay_1"), &[]).await.expect("found");
    assert_eq!(found[0].id, id);
    stage.server.backend().set_life(&id, Life::Archived);
    let result = stage.write(&[stage.row(Target::Record(id.clone()), "Paid")]).await.remove(0);
    assert!(matches!(result, Err(Fault::Gone { .. })), "{result:?}");
    assert_eq!(stage.find_one(stage.key("pay_1"), &[]).await, Ok(Vec::new()));
    assert_eq!(stage.find_one(Key::Id(id), &[]).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_locked_item_is_tried_again_and_the_others_are_written() {
    let stage = Stage::new().await;
    let ids = [stage.server.create("pay_1"), stage.server.create("pay_2")];
    let rows = ids.clone().map(|id| stage.row(Target::Record(id), "Paid"));
    stage.server.backend().lock_item(&ids[0], std::time::Duration::from_secs(60));
    let results = stage.write(&rows).await;
    assert!(matches!(&results[0], Err(Fault::Transient { .. })), "{:?}", results[0]);
    assert!(results[1].is_ok());
    stage.server.clock().advance(std::time::Duration::from_secs(61));
    assert!(stage.write(&rows[..1]).await[0].is_ok());
}

#[tokio::test]
async fn many_keys_of_every_kind_are_looked_up_in_one_call() {
    let stage = Stage::new().await;
    let twice = [stage.server.create("pay_2"), stage.server.create("pay_2")];
    let one = stage.server.create("pay_1");
    let contact = stage.server.backend().create_contact("Ann@acme.example");
    let keys = [
        stage.key("pay_1"),
        stage.key("pay_2"),
        stage.key("PAY_1"),
        stage.key("pay_"),
        Key::Id(one.clone()),
        Key::Id("no number".to_owned()),
        // On the other board.
        Key::Id(contact.clone()),
    ];
    let found = stage.crm.find(&stage.object, &keys, &[]).await;
    let ids: Vec<Vec<String>> = found
        .into_iter()
        .map(|found| found.expect("an answer").into_iter().map(|record| record.id).collect())
        .collect();
    let none = Vec::<String>::new();
    assert_eq!(ids[0], [one.clone()]);
    assert_eq!(ids[1].len(), 2, "{twice:?}");
    assert_eq!((&ids[2], &ids[3], &ids[4]), (&none, &none, &vec![one]));
    assert_eq!((&ids[5], &ids[6]), (&none, &none));
    assert_eq!(stage.server.journal().calls().len(), 1);

    let field = "email_mkx5address".to_owned();
    let key = Key::Field { field, value: "Ann@acme.example".to_owned(), unique: false };
    let found = stage.crm.find(&object(CONTACTS), &[key], &[]).await.remove(0);
    assert_eq!(found.expect("found")[0].id, contact);
}

#[tokio::test]
async fn a_lookup_that_spoils_a_whole_answer_ends_alone() {
    let stage = Stage::new().await;
    let mut keys: Vec<Key> = (0..25)
        .map(|n| {
            stage.server.create(&format!("pay_{n}"));
            stage.key(&format!("pay_{n}"))
        })
        .collect();
    let field = "text_nope".to_owned();
    keys[11] = Key::Field { field, value: "x".to_owned(), unique: false };
    let found = stage.crm.find(&stage.object, &keys, &[]).await;
    for (n, found) in found.iter().enumerate() {
        match n {
            11 => assert!(
                matches!(found, Err(Fault::Permanent { code, .. }) if code == "InvalidColumnIdException")
            ),
            _ => assert_eq!(found.as_ref().map(Vec::len), Ok(1), "{n}"),
        }
    }
    assert!(stage.server.journal().calls().len() < 2 * 25);
}

#[tokio::test]
async fn boards_are_described_and_tokens_identified() {
    let stage = Stage::new().await;
    assert_eq!(stage.crm.identify().await, Ok("acme.monday.com as Tollgate".to_owned()));
    let board = stage.crm.describe(&stage.object).await.expect("a board");
    assert_eq!(board.label, "Payments");
    let status = board.field(&stage.field("status")).expect("a field");
    assert_eq!((status.kind, status.writable, status.unique), (FieldKind::Choice, true, false));
    assert_eq!(status.options.len(), 10);
    assert_eq!(status.options[2].value, "Paid");
    assert!(!board.field("formula_mkx4net").expect("a field").writable);
    assert_eq!(board.field("name").expect("a field").max_length, Some(255));
    assert_eq!(board.field("long_mkx4note").expect("a field").max_length, Some(2_000));
    let none = stage.crm.describe(&object("404")).await;
    let is_missing =
        matches!(&none, Err(Fault::Permanent { code, .. }) if code == "InvalidBoardIdException");
    assert!(is_missing, "{none:?}");
}

#[tokio::test]
async fn a_column_added_a_while_ago_is_found_without_a_restart() {
    let stage = Stage::new().await;
    let written = stage.write(&[stage.new_row("pay_1", "Paid")]).await.remove(0);
    assert!(written.is_ok());
    assert_eq!(stage.count("query Board"), 1);
    // A column that is not there is not asked for at every row.
    for n in 0..3 {
        let fields = BTreeMap::from([("text_late".to_owned(), text("x"))]);
        let row = Write { fields, ..stage.new_row(&format!("pay_late{n}"), "Paid") };
        assert_eq!(code(&stage.write(&[row]).await[0]), "InvalidColumnIdException");
    }
    assert_eq!(stage.count("query Board"), 1);
}

#[tokio::test]
async fn who_may_only_look_is_told_so_once() {
    let stage = Stage::new().await;
    stage.server.backend().may_only_look("acme");
    let rows: Vec<Write> = (0..20).map(|n| stage.new_row(&format!("pay_{n}"), "Paid")).collect();
    for result in stage.write(&rows).await {
        assert_eq!(code(&result), "UserUnauthorizedException");
    }
    assert_eq!(stage.count("mutation Create"), 1);
}

#[tokio::test]
async fn the_example_and_the_doubles_configuration_are_read() {
    let example = KIND.example.replace("\"env:", "\"literal_");
    let config = Config::parse(&example, &KIND).expect("the example is right");
    assert_eq!(config.objects.len(), 2);
    (KIND.open)(config.crm, &Orgs::default()).expect("the example's [crm] is right");
    let server = Monday::start(Settings::default()).await;
    let gateway = "[gateway]\naddress = \"http://127.0.0.1:1\"\nsubscription = \"s\"\n";
    Config::parse(&format!("{gateway}{}", server.config()), &KIND).expect("it is right");
}

#[tokio::test]
async fn work_is_priced_by_the_tightest_limit() {
    let stage = Stage::with(Settings::default(), "points_per_minute = 1_000_000").await;
    let cost = stage.crm.cost(Work { lookups: 1_000, writes: 1_000, creates: 0 });
    assert_eq!(cost.calls, 40 + 50);
    assert!((cost.seconds - 60.0 * 15.0).abs() < 0.1, "{cost:?}");
    let stage = Stage::with(Settings::default(), "calls_per_day = 120\ndaily_reserve = 20").await;
    let cost = stage.crm.cost(Work { lookups: 0, writes: 5_000, creates: 0 });
    assert_eq!((cost.calls, cost.seconds), (250, 2.0 * 86_400.0));
}

#[test]
fn a_debug_print_of_the_settings_shows_no_token() {
    let crm: toml::Table = "token = \"Bearer hunter2\"".parse().expect("TOML");
    let mistake = (KIND.open)(crm, &Orgs::default()).err().expect("it is refused");
    assert!(!format!("{mistake:?} {mistake}").contains("hunter2"));
    assert_eq!(json!(mistake.key), "crm.token");
}
