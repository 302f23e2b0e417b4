//! The commands and pages for those who run connectors: `plan`, `check`, `status`, `/metrics`, the log, and
//! an orderly end.

use std::net::TcpListener;
use std::time::Duration;

use fake_crms::hubspot::{Hubspot, Settings, TOKEN};
use fake_crms::process::until;
use fake_crms::{Account, Server, lives};
use serde_json::Value;

use crate::behaviour::Scene;

const SOON: Duration = Duration::from_secs(30);
const METRICS: &[&str] = &[
    "tollgate_connector_acks_total",
    "tollgate_connector_batch_items",
    "tollgate_connector_batch_seconds",
    "tollgate_connector_healthy",
    "tollgate_connector_connected",
    "tollgate_connector_backlog_events",
    "tollgate_connector_lag_seconds",
    "tollgate_connector_events_per_second",
    "tollgate_connector_blocked_seconds",
    "tollgate_connector_calls_total",
    "tollgate_connector_throttled_total",
    "tollgate_connector_failed_calls_total",
];

/// An address of the loopback that is free.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it is bound").to_string()
}

/// A page's status and text, if there is one.
pub async fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer = client.get(format!("http://{address}{path}")).send().await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

async fn open(connector: &str) -> Scene<Hubspot> {
    let double: Server<Hubspot> = Hubspot::start(Settings::default()).await;
    let tables = double.config();
    Scene::open("hubspot", double, connector, &tables).await
}

/// Runs a command to its end: whether it went well, and what it said.
fn said(scene: &Scene<Hubspot>, arguments: &[&str]) -> (bool, String) {
    let arguments = [&["hubspot"], arguments, &["--config", &scene.config]].concat();
    let output = scene.stage.site.run("tollgate-connect", &arguments).expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_writes_nothing_and_tells_what_will_be_done() {
    let mut scene = open("").await;
    for number in 0..10 {
        scene.stage.deliver(&lives::life(number, jiff::Timestamp::now())).await;
    }
    scene.double.create(&lives::payment_id(3));
    let before = scene.double.journal().commits().len();
    let (well, text) = said(&scene, &["plan", "--since", "1d", "--json"]);
    assert!(well, "{text}");
    assert_eq!(scene.double.journal().commits().len(), before, "nothing is written");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let sums = &lines.last().expect("the sums")["sums"];
    assert_eq!(lines.len(), 11, "{text}");
    let counts: Vec<u64> =
        sums["records"].as_object().expect("counts").values().filter_map(Value::as_u64).collect();
    assert_eq!(counts.iter().sum::<u64>(), 10, "{sums}");
    let (well, people) = said(&scene, &["plan", "--since", "1d"]);
    assert!(well && people.contains("nothing is written"), "{people}");

    scene.start();
    scene.stage.is_drained("crm").await;
    let created = scene.double.journal().commits().iter().filter(|it| it.created).count() - 1;
    assert!(counts.contains(&(created as u64)), "{sums}, and {created} were created");
    let (well, text) = said(&scene, &["plan", "--since", "1d", "--json"]);
    let sums: Value = serde_json::from_str(text.lines().last().expect("sums")).expect("JSON");
    let counts = sums["sums"]["records"].as_object().expect("counts").clone();
    let told: Vec<(&str, u64)> = counts
        .iter()
        .map(|(word, count)| (word.as_str(), count.as_u64().unwrap_or(0)))
        .filter(|(_, count)| *count > 0)
        .collect();
    assert!(well);
    assert_eq!(told, [("unchanged", 10)], "now all is there");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_each_mistake() {
    let scene = open("").await;
    let (well, text) = said(&scene, &["check"]);
    assert!(well, "{text}");
    let path = scene.stage.site.folder().join(&scene.config);
    let right = std::fs::read_to_string(&path).expect("a configuration");
    let mistakes = [
        ("object = \"deals\"", "object = \"deels\"", "deels"),
        ("payment_invoice = ", "payment_invoise = ", "payment_invoise"),
        ("payment_invoice = ", "hs_object_id = ", "hs_object_id"),
        ("PAID = \"paid\"", "PAID = \"payed\"", "payed"),
        ("field = \"payment_id\"", "field = \"payment_invoice\"", "unique"),
        ("dealname = ", "payment_note = ", "dealname"),
        (TOKEN, "pat-eu1-nobody", "credential"),
        ("api_version = ", "api_versoin = ", "api_versoin"),
        ("payment_currency = \"currency\"", "payment_currency = \"curency\"", "curency"),
    ];
    for (from, to, told) in mistakes {
        assert!(right.contains(from), "{from}");
        std::fs::write(&path, right.replacen(from, to, 1)).expect("a folder");
        let (well, text) = said(&scene, &["check"]);
        assert!(!well && text.contains(told), "{to}: {text}");
        assert!(!text.contains("pat-eu1-nobody"), "{text}");
    }
    assert!(scene.double.journal().commits().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_the_lag_in_events_and_money_and_no_page_or_log_tells_secrets() {
    let address = free_address();
    let mut scene = open(&format!("listen = \"{address}\"")).await;
    scene.start();
    scene.deliver(1, "payment_intent.succeeded", 0).await;
    scene.acked(1, 1).await;
    let (status, metrics) = get(&address, "/metrics").await.expect("a page");
    assert_eq!(status, 200);
    for name in METRICS {
        assert!(metrics.contains(name), "{name} is not in {metrics}");
    }
    let (_, page) = get(&address, "/status").await.expect("a page");
    let log = scene.stop().await;
    assert!(log.contains("DEBUG"), "it is told in detail");
    for text in [&metrics, &page, &log] {
        assert!(!text.contains(TOKEN) && !text.contains("@example.com"), "{text}");
    }
    for number in [2, 3] {
        scene.deliver(number, "payment_intent.succeeded", 0).await;
    }
    let cents = lives::amount(2) + lives::amount(3);
    let money = format!("{}.{:02} EUR", cents / 100, cents % 100);
    let (well, text) = said(&scene, &["status"]);
    assert!(well && text.contains("2 events of 2 subjects"), "{text}");
    assert!(text.contains(&money), "{money}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_spends_no_attempts_and_loses_nothing() {
    let mut scene = open("max_calls = 1").await;
    scene.start();
    scene.deliver(0, "payment_intent.created", 0).await;
    scene.acked(0, 1).await;
    scene.double.faults().set_latency(Duration::from_millis(700));
    scene.deliver(1, "payment_intent.succeeded", 0).await;
    let calls = scene.double.journal().calls().len();
    until("a call is under way", SOON, async || {
        (scene.double.journal().calls().len() > calls).then_some(())
    })
    .await;
    for number in 2..8 {
        scene.deliver(number, "payment_intent.succeeded", 0).await;
    }
    scene.stop().await;
    // What was under way came to its end.
    assert_eq!(scene.acked(1, 1).await, ["created"]);
    scene.double.faults().set_latency(Duration::ZERO);
    scene.start();
    for number in 1..8 {
        assert_eq!(scene.acked(number, 1).await, ["created"]);
        assert_eq!(scene.deliveries(number).await[0].failed_attempts, 0);
    }
    assert!(scene.double.journal().second_creates().is_empty());
    scene.stop().await;
}
