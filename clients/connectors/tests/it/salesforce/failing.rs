//! Everything between an org and the connector that can fail: limits, lost answers, proxies, maintenance.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use fake_crms::faults::bad_gateway;
use fake_crms::salesforce::{CLIENT_SECRET, PRIVATE_KEY};
use fake_crms::{Account, Effect, Fault as Wrong, Reply, Write as Applied};
use serde_json::json;

use super::*;

#[tokio::test]
async fn the_days_quota_is_kept_to_and_not_tried() {
    let org = Org::with(Settings { daily_calls: 3, ..Settings::default() }).await;
    // A describe, then two writes, and the quota is used up.
    org.write_one(upsert("pay_1")).await.expect("written");
    org.write_one(upsert("pay_2")).await.expect("written");
    let standing = org.crm.budget().standing();
    assert_eq!((standing.daily_remaining, standing.daily_limit), (Some(0), Some(3)));
    let result = org.write_one(upsert("pay_3")).await;
    assert!(matches!(result, Err(Fault::Throttled { wait, .. }) if wait.as_secs() > 800));
    assert_eq!(org.writes().len(), 2);
}

#[tokio::test]
async fn a_refusal_by_the_quota_makes_one_org_wait_and_no_other() {
    let orgs = Orgs::default();
    let (server, calm) = (Org::start().await, Org::start().await);
    let open = |org: &Org| {
        let crm = opened(&Salesforce::crm_by_assertion(&org.server), &orgs);
        crm.expect("a right configuration")
    };
    let (crm, other) = (open(&server), open(&calm));
    let over = json!([{ "message": "TotalRequests Limit exceeded.",
        "errorCode": "REQUEST_LIMIT_EXCEEDED" }]);
    let reply = Reply::json(403, &over).with_header("Sforce-Limit-Info", "api-usage=1/1000");
    let effect = Effect::Answer(Applied::Lost, reply);
    server.server.faults().add(Wrong::new(effect).path(COLLECTIONS));
    let opportunity = object("Opportunity");
    let rows = [upsert("pay_1"), upsert("pay_2")];
    for result in crm.write(&opportunity, &rows).await {
        assert!(
            matches!(&result, Err(Fault::Throttled { wait, .. }) if wait.as_secs() == 60),
            "{result:?}"
        );
    }
    let calls = server.server.journal().calls().len();
    for _ in 0..3 {
        let results = crm.write(&opportunity, &rows).await;
        assert!(results.iter().all(|result| matches!(result, Err(Fault::Throttled { .. }))));
    }
    assert_eq!(server.server.journal().calls().len(), calls, "no early call");
    assert!(other.write(&opportunity, &rows).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_lost_answer_is_transient_and_its_replay_leaves_one_record() {
    let org = Org::start().await;
    let effect = Effect::Close(Applied::Applied);
    let lost = org.server.faults().add(Wrong::new(effect).path(COLLECTIONS));
    let result = org.write_one(upsert("pay_1")).await;
    assert!(matches!(result, Err(Fault::Transient { .. })), "{result:?}");
    assert_eq!(lost.hits(), 1);
    assert_eq!(org.write_one(upsert("pay_1")).await.expect("written").created, Some(false));
    assert_eq!(org.server.records().len(), 1);
    assert!(org.server.journal().second_creates().is_empty());
}

#[tokio::test]
async fn whatever_is_no_answer_of_the_org_writes_nothing_and_passes() {
    let odd = [
        Effect::Answer(Applied::Lost, bad_gateway(502)),
        Effect::Answer(Applied::Lost, Reply::html(200, "<html>Maintenance</html>")),
        Effect::Answer(Applied::Lost, Reply::html(403, "<html>blocked</html>")),
        Effect::Answer(Applied::Lost, Reply::json(200, &json!([]))),
        Effect::Answer(
            Applied::Lost,
            Reply::json(200, &json!([{ "success": true, "errors": [] }])),
        ),
        Effect::Answer(
            Applied::Lost,
            Reply::json(200, &json!([{ "success": false, "errors": [] }])),
        ),
        Effect::Close(Applied::Lost),
        Effect::Truncate,
    ];
    for effect in odd {
        let org = Org::start().await;
        let shown = format!("{effect:?}");
        let applies = matches!(effect, Effect::Truncate);
        org.server.faults().add(Wrong::new(effect).path(COLLECTIONS));
        let result = org.write_one(upsert("pay_1")).await;
        assert!(matches!(result, Err(Fault::Transient { .. })), "{shown}: {result:?}");
        assert_eq!(org.server.records().len(), usize::from(applies), "{shown}");
        assert!(org.write_one(upsert("pay_1")).await.is_ok(), "{shown}");
    }
}

#[tokio::test]
async fn maintenance_stops_the_org_and_not_only_the_row() {
    let org = Org::start().await;
    org.write_one(upsert("pay_1")).await.expect("written");
    org.server.backend().maintain(true);
    let rows: Vec<Write> = (0..8).map(|n| upsert(&format!("pay_{n}"))).collect();
    let results = org.write(&rows).await;
    assert!(results.iter().all(|result| matches!(result, Err(Fault::Transient { .. }))));
    // The collection is not taken apart for it.
    assert_eq!(org.writes().len(), 2);
    assert!(org.crm.budget().standing().blocked.is_some());
    org.server.backend().maintain(false);
    assert!(org.write(&rows).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_slow_answer_is_read_and_one_that_never_comes_is_given_up() {
    let server = Salesforce::start(Settings::default()).await;
    let config = Salesforce::crm_by_assertion(&server) + "timeout_seconds = 1\n";
    let crm = opened(&config, &Orgs::default()).expect("a right configuration");
    let opportunity = object("Opportunity");
    let drip = Effect::Drip(16, Duration::from_millis(5));
    server.faults().add(Wrong::new(drip).path(COLLECTIONS));
    assert!(crm.write(&opportunity, &[upsert("pay_1")]).await[0].is_ok());
    server.faults().add(Wrong::new(Effect::Hang(Applied::Applied)).path(COLLECTIONS));
    let results = crm.write(&opportunity, &[upsert("pay_2")]).await;
    assert!(matches!(&results[0], Err(Fault::Transient { .. })), "{results:?}");
    assert!(crm.write(&opportunity, &[upsert("pay_2")]).await[0].is_ok());
    assert_eq!(server.records().len(), 2);
}

#[tokio::test]
async fn a_failing_sign_in_passes_and_a_failing_describe_fails_the_rows() {
    let org = Org::start().await;
    let answer = |reply: Reply| Effect::Answer(Applied::Lost, reply);
    org.server.faults().add(Wrong::new(answer(bad_gateway(503))).path("/oauth2/token"));
    let result = org.write_one(upsert("pay_1")).await;
    assert!(matches!(result, Err(Fault::Transient { .. })), "{result:?}");
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    org.server.faults().add(Wrong::new(answer(bad_gateway(502))).path("/describe"));
    let result = org.write_one(upsert("pay_1")).await;
    assert!(matches!(result, Err(Fault::Transient { .. })), "{result:?}");
    assert!(org.write_one(upsert("pay_1")).await.is_ok());
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic before").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_logged_or_told() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let server = Salesforce::start(Settings::default()).await;
    let mut told = String::new();
    for config in [Salesforce::crm_by_assertion(&server), Salesforce::crm_by_secret(&server)] {
        let crm = opened(&config, &Orgs::default()).expect("a right configuration");
        let opportunity = object("Opportunity");
        told += &format!("{:?}", crm.write(&opportunity, &[upsert("pay_1")]).await);
        let none = fake_crms::Lifetime { calls: Some(0), ..fake_crms::Lifetime::default() };
        server.backend().tokens.set_life(none);
        server.backend().tokens.kill_all();
        told += &format!("{:?}", crm.write(&opportunity, &[upsert("pay_1")]).await);
        server.backend().tokens.set_life(fake_crms::Lifetime::default());
        let wrong = config.replace("fakeConsumerKey", "otherConsumerKey");
        let crm = opened(&wrong, &Orgs::default()).expect("a right configuration");
        told += &format!("{:?}", crm.write(&opportunity, &[upsert("pay_1")]).await);
        let broken = config.replace(PRIVATE_KEY, &PRIVATE_KEY.replace('M', "?"));
        let broken = broken.replace("client_secret", "client_secrets");
        let mistake = opened(&broken, &Orgs::default()).map(|_| ());
        told += &format!("{:?}", mistake.expect_err("a broken configuration"));
    }
    let log = String::from_utf8_lossy(&log.0.lock().expect("no panic before")).into_owned();
    assert!(told.contains("Unauthorized") && log.contains("refuses the credential"));
    let key_line = PRIVATE_KEY.lines().nth(1).expect("a line");
    for secret in [CLIENT_SECRET, key_line, &key_line.replace('M', "?"), "00D5g000000aBcDEAU!"] {
        assert!(!told.contains(secret), "{told}");
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn rows_that_triggers_gave_up_on_for_others_are_sent_with_fewer() {
    let org = Org::start().await;
    let gave_up = json!({ "success": false, "errors": [{
        "statusCode": "LIMIT_EXCEEDED", "message": "Too many batch retries", "fields": [],
    }] });
    let all = Reply::json(200, &json!([gave_up, gave_up, gave_up, gave_up]));
    org.server.faults().add(Wrong::new(Effect::Answer(Applied::Lost, all)).path(COLLECTIONS));
    let rows: Vec<Write> = (0..4).map(|n| upsert(&format!("pay_{n}"))).collect();
    assert!(org.write(&rows).await.iter().all(Result::is_ok));
    assert_eq!(org.server.records().len(), 4);
    assert_eq!(org.writes().len(), 3);
    // Alone it is for the row itself, and no call is made for it again.
    let alone = Reply::json(200, &json!([gave_up]));
    org.server.faults().add(Wrong::new(Effect::Answer(Applied::Lost, alone)).path(COLLECTIONS));
    assert_eq!(code(&org.write_one(upsert("pay_0")).await), "LIMIT_EXCEEDED");
    assert_eq!(org.writes().len(), 4);
}

#[tokio::test]
async fn a_row_of_an_odd_answer_takes_no_other_with_it() {
    let org = Org::start().await;
    let odd = json!([
        { "success": false, "errors": [
            { "statusCode": "STRING_TOO_LONG", "message": null, "fields": null },
        ] },
        null,
        { "id": "006000000000003AAA", "success": true, "created": true, "errors": null },
    ]);
    let odd = Effect::Answer(Applied::Lost, Reply::json(200, &odd));
    org.server.faults().add(Wrong::new(odd).path(COLLECTIONS));
    let rows: Vec<Write> = (0..3).map(|n| upsert(&format!("pay_{n}"))).collect();
    let results = org.write(&rows).await;
    assert_eq!(code(&results[0]), "STRING_TOO_LONG");
    assert!(matches!(results[1], Err(Fault::Transient { .. })), "{results:?}");
    assert_eq!(results[2].as_ref().map(|row| row.id.as_str()), Ok("006000000000003AAA"));
}
