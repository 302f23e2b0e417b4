//! What becomes of rows when limits are reached, answers get lost and connections break.

use std::io;
use std::sync::Mutex;

use fake_crms::hubspot::{
    CLIENT_SECRET, Credential, Hubspot, REFRESH_TOKEN, Settings, TOKEN, moving,
};
use fake_crms::{Effect, Fault as Planned, Reply, Write as Applied, faults::bad_gateway};
use serde_json::json;
use tollgate_connectors::crm::Key;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

fn answered(reply: Reply) -> Planned {
    Planned::new(Effect::Answer(Applied::Lost, reply))
}

fn limited(policy: &str) -> Reply {
    let body = json!({
        "status": "error", "message": "You have reached your limit.", "errorType": "RATE_LIMIT",
        "correlationId": "c", "policyName": policy,
    });
    Reply::json(429, &body)
}

fn wait_of(results: &Results) -> Duration {
    match &results[0] {
        Err(Fault::Throttled { wait, .. }) => *wait,
        other => panic!("it was not throttled: {other:?}"),
    }
}

#[tokio::test]
async fn a_limit_without_a_wait_is_waited_for_as_hubspot_documents() {
    let (server, crm) = open(Settings::default()).await;
    server.faults().add(answered(limited("TEN_SECONDLY_ROLLING")));
    let results = crm.write(&deals(), &rows(3, "paid")).await;
    assert_eq!(wait_of(&results), Duration::from_secs(10));
    let (left, _) = crm.budget().standing().blocked.expect("nothing is sent");
    assert!(left > Duration::from_secs(9));
    let early = tokio::time::timeout(SOON, crm.write(&deals(), &rows(1, "paid"))).await;
    assert!(early.is_err(), "it must wait");
    let search = Key::Field { field: "dealname".into(), value: "x".into(), unique: false };
    let keys = [search];
    let early = tokio::time::timeout(SOON, crm.find(&deals(), &keys, &[])).await;
    assert!(early.is_err(), "it must wait");
    assert_eq!(server.journal().calls().len(), 1);
}

#[tokio::test]
async fn the_days_limit_is_waited_for_until_midnight_of_the_account() {
    let settings = Settings { calls_per_day: 2, ..Settings::default() };
    let (server, crm) = open(settings).await;
    server.faults().add(answered(limited("DAILY")).path("upsert"));
    crm.identify().await.expect("signed in");
    let wait = wait_of(&crm.write(&deals(), &rows(1, "paid")).await);
    let now = jiff::Timestamp::now().as_second();
    let to_midnight = 86_400 - now.rem_euclid(86_400);
    assert!(wait.as_secs().abs_diff(to_midnight.unsigned_abs()) <= 2, "{wait:?}");
    let again = wait_of(&crm.write(&deals(), &rows(1, "paid")).await);
    assert!(again > Duration::from_secs(20) || wait < Duration::from_secs(30));
    assert_eq!(server.journal().count("upsert"), 1);
}

#[tokio::test]
async fn the_days_last_calls_are_not_made_once_answers_tell_that_they_are_gone() {
    let (server, _) = open(Settings { calls_per_day: 3, ..Settings::default() }).await;
    let crm = module(&server.config().replace("daily_reserve = 0", "daily_reserve = 1"));
    let crm = crm.expect("well formed");
    crm.identify().await.expect("the first");
    ids(&crm.write(&deals(), &rows(1, "paid")).await);
    wait_of(&crm.write(&deals(), &rows(1, "paid")).await);
    assert_eq!(server.journal().calls().len(), 2);
    assert_eq!(crm.budget().standing().daily_remaining, Some(1));
}

#[tokio::test]
async fn a_limit_that_answers_tell_holds_from_then_on() {
    let settings = Settings { calls_per_10_seconds: 4, ..Settings::default() };
    let (server, _) = open(settings).await;
    let config = server.config().replace("calls_per_10_seconds = 4\n", "");
    let crm = module(&config).expect("well formed");
    for _ in 0..4 {
        crm.identify().await.expect("within the limit");
    }
    assert!(tokio::time::timeout(SOON, crm.identify()).await.is_err(), "it must wait");
    assert_eq!(server.journal().calls().len(), 4);
}

#[tokio::test]
async fn searches_keep_to_their_own_limit_and_do_not_hold_up_writes() {
    let (server, crm) = open(Settings::real()).await;
    let key = |value: &str| Key::Field {
        field: "payment_invoice".into(),
        value: value.into(),
        unique: false,
    };
    for number in 0..7 {
        let found = crm.find(&deals(), &[key(&number.to_string())], &[]).await;
        assert!(found[0].is_ok());
    }
    assert!(server.journal().calls().iter().all(|call| call.status == Some(200)));

    server.faults().add(answered(limited("SECONDLY")));
    let keys = [key("x")];
    let found = crm.find(&deals(), &keys, &[]).await;
    let second = Duration::from_secs(1);
    assert!(matches!(&found[0], Err(Fault::Throttled { wait, .. }) if *wait == second));
    let written = tokio::time::timeout(SOON, crm.write(&deals(), &rows(1, "paid"))).await;
    ids(&written.expect("it need not wait"));
    let searches = server.journal().count("search");
    let early = tokio::time::timeout(SOON, crm.find(&deals(), &keys, &[])).await;
    assert!(early.is_err() && server.journal().count("search") == searches);
}

#[tokio::test]
async fn of_many_accounts_those_that_are_held_up_wait_and_the_others_go_on() {
    let mut accounts = Vec::new();
    for _ in 0..3 {
        accounts.push(open(Settings::default()).await);
    }
    let (held, free) = accounts.split_at(2);
    for (server, _) in held {
        server
            .faults()
            .add(answered(limited("TEN_SECONDLY_ROLLING").with_header("retry-after", 1)));
    }
    for (_, crm) in held {
        assert_eq!(wait_of(&crm.write(&deals(), &rows(5, "paid")).await).as_secs(), 1);
    }
    let all = rows(5, "paid");
    let object = deals();
    let (server, crm) = &free[0];
    let soon = tokio::time::timeout(SOON, crm.write(&object, &all)).await;
    ids(&soon.expect("it need not wait"));
    assert_eq!(server.records().len(), 5);
    for (server, crm) in held {
        ids(&crm.write(&object, &all).await);
        assert_eq!(server.records().len(), 5);
        assert!(server.journal().early_calls(Duration::ZERO).is_empty());
    }
}

#[tokio::test]
async fn an_account_that_is_being_moved_is_left_alone_for_as_long_as_it_says() {
    let (server, crm) = open(Settings::default()).await;
    server.faults().add(answered(moving(300)));
    let results = crm.write(&deals(), &rows(2, "paid")).await;
    assert_eq!(wait_of(&results).as_secs(), 300);
    wait_of(&crm.write(&deals(), &rows(2, "paid")).await);
    assert_eq!(server.journal().calls().len(), 1);
}

/// The answer of a batch that is not done yet.
fn pending() -> Json {
    let result = |number: usize| {
        let properties = json!({ "payment_id": format!("pay_{number}") });
        json!({ "id": number.to_string(), "properties": properties, "new": true })
    };
    json!({ "status": "PENDING", "results": (0..4).map(result).collect::<Vec<_>>() })
}

#[tokio::test]
async fn a_lost_reply_is_written_again_to_the_same_record() {
    let effects = [
        Effect::Close(Applied::Applied),
        Effect::Close(Applied::Lost),
        Effect::Truncate,
        Effect::Answer(Applied::Applied, bad_gateway(502)),
        Effect::Answer(Applied::Lost, bad_gateway(504)),
        Effect::Answer(Applied::Lost, bad_gateway(403)),
        Effect::Answer(Applied::Applied, Reply::empty(200)),
        Effect::Answer(Applied::Lost, Reply::json(200, &pending())),
        Effect::Answer(Applied::Applied, Reply::empty(408)),
    ];
    for effect in effects {
        let (server, crm) = open(Settings::default()).await;
        let told = format!("{effect:?}");
        server.faults().add(Planned::new(effect).path("upsert"));
        let lost = crm.write(&deals(), &rows(4, "paid")).await;
        let is_transient = |row: &Result<_, _>| matches!(row, Err(Fault::Transient { .. }));
        assert!(lost.iter().all(is_transient), "{told}: {lost:?}");
        ids(&crm.write(&deals(), &rows(4, "paid")).await);
        has(&server, &["pay_0", "pay_1", "pay_2", "pay_3"].map(|id| (id, "Paid")));
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_may_have_been_written() {
    let (server, _) = open(Settings::default()).await;
    let config = server.config().replace("timeout_seconds = 10", "timeout_seconds = 1");
    let crm = module(&config).expect("well formed");
    server.faults().add(Planned::new(Effect::Hang(Applied::Applied)));
    let results = crm.write(&deals(), &rows(2, "paid")).await;
    assert!(results.iter().all(|row| matches!(row, Err(Fault::Transient { .. }))), "{results:?}");
    ids(&crm.write(&deals(), &rows(2, "paid")).await);
    has(&server, &[("pay_0", "Paid"), ("pay_1", "Paid")]);
}

#[tokio::test]
async fn a_slow_answer_is_waited_for() {
    let (server, crm) = open(Settings::default()).await;
    server.faults().add(Planned::new(Effect::Drip(64, Duration::from_millis(5))));
    ids(&crm.write(&deals(), &rows(2, "paid")).await);
    assert_eq!(server.journal().calls().len(), 1);
}

#[tokio::test]
async fn a_row_that_an_answer_leaves_out_is_not_taken_as_written() {
    let (server, crm) = open(Settings::default()).await;
    let result = json!({ "id": "7", "properties": { "payment_id": "pay_1" }, "new": true });
    let body = json!({ "status": "COMPLETE", "results": [result] });
    server.faults().add(answered(Reply::json(200, &body)));
    let results = crm.write(&deals(), &rows(3, "paid")).await;
    assert_eq!(results[1].as_ref().map(|row| row.id.as_str()), Ok("7"));
    for at in [0, 2] {
        assert!(matches!(results[at], Err(Fault::Transient { .. })), "{results:?}");
    }
}

#[tokio::test]
async fn a_record_under_another_id_than_was_sent_is_found_out_and_told_as_written() {
    let (server, crm) = open(Settings::default()).await;
    let made = ids(&crm.write(&deals(), &rows(2, "pending")).await);
    let before = server.journal().calls_to("/batch/update").len();
    // The first was merged with another: its old id still leads to it.
    let body = json!({ "status": "COMPLETE", "results": [{ "id": "990017" }, { "id": made[1] }] });
    server.faults().add(answered(Reply::json(200, &body)));
    let all: Vec<Write> = made.iter().map(|id| to(Target::Record(id.clone()), "paid")).collect();
    let results = crm.write(&deals(), &all).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(server.journal().calls_to("/batch/update").len(), before + 2);
}

#[tokio::test]
async fn a_look_up_that_could_not_be_answered_is_not_taken_for_no_record() {
    let (server, crm) = open(Settings::default()).await;
    let body = json!({
        "status": "COMPLETE", "results": [], "numErrors": 2,
        "errors": [
            {
                "status": "error", "category": "INTERNAL_ERROR", "message": "later",
                "context": { "ids": ["pay_0"] },
            },
            {
                "status": "error", "category": "OBJECT_NOT_FOUND", "message": "none",
                "context": { "ids": ["pay_1"] },
            },
        ],
    });
    server.faults().add(answered(Reply::json(207, &body)));
    let found = crm.find(&deals(), &[payment("pay_0"), payment("pay_1")], &[]).await;
    assert!(matches!(found[0], Err(Fault::Transient { .. })), "{found:?}");
    assert_eq!(found[1], Ok(Vec::new()));
}

#[tokio::test]
async fn errors_of_rows_that_name_no_row_are_found_out() {
    let (server, crm) = open(Settings::default()).await;
    let nameless = json!({
        "status": "COMPLETE", "results": [], "numErrors": 1,
        "errors": [{ "status": "error", "category": "VALIDATION_ERROR", "message": "no" }],
    });
    server.faults().add(answered(Reply::json(207, &nameless)));
    let mut all = rows(4, "paid");
    all[2].fields.insert("payment_status".to_owned(), text("bad"));
    let results = crm.write(&deals(), &all).await;
    let codes: Vec<&str> = results.iter().map(code).collect();
    assert_eq!(codes, ["", "", "INVALID_OPTION", ""]);
    assert_eq!(server.records().len(), 3);
}

#[tokio::test]
async fn each_error_of_a_row_means_what_hubspot_says() {
    let cases = [
        ("CONFLICT", "raced"),
        ("OBJECT_ALREADY_EXISTS", "raced"),
        ("INTERNAL_ERROR", "transient"),
        ("RATE_LIMITS", "throttled"),
        ("VALIDATION_ERROR", "permanent"),
        ("SOMETHING_NEW", "permanent"),
    ];
    for (category, wanted) in cases {
        let (server, crm) = open(Settings::default()).await;
        let body = json!({
            "status": "COMPLETE", "results": [], "numErrors": 1,
            "errors": [{
                "status": "error", "category": category, "message": "no",
                "context": { "objectWriteTraceId": ["0-events/1", "1-events/1"] },
            }],
        });
        server.faults().add(answered(Reply::json(207, &body)));
        for result in crm.write(&deals(), &rows(2, "paid")).await {
            let fault = match result.expect_err("refused") {
                Fault::Raced { .. } => "raced",
                Fault::Transient { .. } => "transient",
                Fault::Throttled { .. } => "throttled",
                Fault::Permanent { code, .. } if code == category => "permanent",
                other => panic!("{other:?}"),
            };
            assert_eq!(fault, wanted, "{category}");
        }
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_is_logged_or_told() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut told = String::new();
    for credential in [Credential::PrivateApp, Credential::OAuth] {
        let (server, crm) = open(Settings { credential, ..Settings::default() }).await;
        told += &format!("{:?}", crm.identify().await);
        server.faults().add(Planned::new(Effect::Close(Applied::Lost)).path("upsert"));
        told += &format!("{:?}", crm.write(&deals(), &rows(2, "paid")).await);
        told += &format!("{:?}", crm.write(&deals(), &rows(2, "bad")).await);
        server.backend().tokens.kill_all();
        // A credential that answers repeat must not be told either.
        let echo = json!({ "status": REFRESH_TOKEN, "message": CLIENT_SECRET });
        let refusal = answered(Reply::json(400, &echo)).path("/oauth/").always();
        server.faults().add(refusal);
        told += &format!("{:?}", crm.write(&deals(), &rows(2, "paid")).await);
        told += &format!("{:?}", crm.budget());
        let issued = server.journal().calls_to("/oauth/");
        for call in issued {
            let answer: Json = serde_json::from_slice(&call.answer).expect("JSON");
            if let Some(token) = answer["access_token"].as_str() {
                assert!(!told.contains(token));
                let log = log.0.lock().expect("nobody panicked");
                assert!(!String::from_utf8_lossy(&log).contains(token));
            }
        }
        drop(Hubspot::start(Settings::default()).await);
    }
    let log = String::from_utf8(log.0.lock().expect("nobody panicked").clone()).expect("text");
    assert!(log.contains("refuses"), "{log}");
    for secret in [TOKEN, CLIENT_SECRET, REFRESH_TOKEN] {
        assert!(!log.contains(secret) && !told.contains(secret));
    }
}
