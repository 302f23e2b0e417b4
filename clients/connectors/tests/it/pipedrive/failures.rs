//! Answers that say no, and answers that never come.

use std::time::Duration;

use fake_crms::pipedrive::Settings;
use fake_crms::{Account, Effect, Fault as Planned, Reply, Write as Happened, faults};
use serde_json::json;
use tollgate_connectors::crm::{Fault, Target};

use super::{Stage, record, text};

fn refusal(status: u16, code: Option<&str>) -> Reply {
    let body = match code {
        Some(code) => json!({ "success": false, "error": "no", "code": code }),
        None => json!({ "success": false, "error": "no", "error_info": "see", "data": null }),
    };
    Reply::json(status, &body)
}

fn word(fault: &Fault) -> String {
    match fault {
        Fault::Throttled { .. } => "throttled".to_owned(),
        Fault::Transient { .. } => "transient".to_owned(),
        Fault::Permanent { code, .. } => code.clone(),
        Fault::Gone { .. } => "gone".to_owned(),
        Fault::Raced { .. } => "raced".to_owned(),
        Fault::Unauthorized { .. } => "unauthorized".to_owned(),
    }
}

#[tokio::test]
async fn every_status_means_what_it_should() {
    let stage = Stage::new(Settings::default()).await;
    let id = stage.server.create("pay_1");
    let row = stage.row(record(&id), &[("status", text("Paid"))]);
    for (reply, meant) in [
        (refusal(400, Some("ERR_BAD_REQUEST")), "ERR_BAD_REQUEST"),
        (refusal(400, None), "HTTP_400"),
        (refusal(402, None), "unauthorized"),
        (refusal(403, None), "HTTP_403"),
        (refusal(403, Some("feature_capping_deals_limit")), "feature_capping_deals_limit"),
        (refusal(404, None), "gone"),
        (refusal(405, None), "HTTP_405"),
        (refusal(410, Some("ERR_GONE")), "gone"),
        (refusal(415, None), "HTTP_415"),
        (refusal(422, None), "HTTP_422"),
        (refusal(408, None), "transient"),
        (refusal(200, Some("ERR_ODD")), "ERR_ODD"),
        (Reply::empty(302).with_header("location", "https://elsewhere.example"), "transient"),
        (Reply::html(200, "<html>maintenance</html>"), "transient"),
        (Reply::json(200, &json!({ "success": true, "data": { "id": 999 } })), "transient"),
        (Reply::json(200, &json!({ "success": true })), "transient"),
        (Reply::json(200, &json!({})), "transient"),
        (Reply::json(201, &json!({ "status": "ok" })), "transient"),
        (refusal(500, None), "transient"),
        (refusal(503, None), "transient"),
        (faults::bad_gateway(502), "transient"),
        (refusal(429, None), "throttled"),
    ] {
        let effect = Effect::Answer(Happened::Lost, reply.clone());
        stage.server.faults().add(Planned::new(effect).path("/deals/"));
        let fault = stage.write_one(&row).await.expect_err("refused");
        assert_eq!(word(&fault), meant, "{reply:?}");
    }
    assert_eq!(stage.server.records()[0].writes, 0);
}

#[tokio::test]
async fn a_create_that_answers_404_is_permanent() {
    let stage = Stage::new(Settings::default()).await;
    let effect = Effect::Answer(Happened::Lost, refusal(404, None));
    stage.server.faults().add(Planned::new(effect).path("/api/v2/deals"));
    let row = stage.row(Target::New(stage.payment("pay_1")), &[("title", text("x"))]);
    assert_eq!(word(&stage.write_one(&row).await.expect_err("refused")), "HTTP_404");
}

#[tokio::test]
async fn a_lost_answer_is_no_write_and_no_second_one() {
    let stage = Stage::new(Settings::default()).await;
    let row = stage.row(Target::New(stage.payment("pay_1")), &[("title", text("x"))]);
    let close = Planned::new(Effect::Close(Happened::Applied));
    stage.server.faults().add(close.clone().containing("pay_1"));
    let outcome = stage.write_one(&row).await;
    assert!(matches!(outcome, Err(Fault::Transient { .. })), "{outcome:?}");
    // Whoever writes again looks the payment up first, once a search can show it.
    stage.server.clock().advance(stage.crm.facts().search_lag);
    let found = stage.find(&stage.payment("pay_1"), &[]).await.expect("an answer");
    let row = stage.row(record(&found[0].id), &[("status", text("Paid"))]);
    stage.server.faults().add(close.path("/deals/"));
    assert!(matches!(stage.write_one(&row).await, Err(Fault::Transient { .. })));
    stage.write_one(&row).await.expect("written");
    assert!(stage.server.journal().second_creates().is_empty());
    assert_eq!(stage.server.records().len(), 1);
    assert_eq!(stage.server.records()[0].status, "Paid");
}

#[tokio::test]
async fn a_connection_cut_or_silent_is_tried_again_later() {
    let quick = |config: String| config.replace("[crm]", "[crm]\ntimeout_seconds = 1");
    let stage = Stage::with(Settings::default(), quick).await;
    let id = stage.server.create("pay_1");
    let row = stage.row(record(&id), &[("status", text("Paid"))]);
    stage.write_one(&row).await.expect("written");
    for effect in [
        Effect::Truncate,
        Effect::Close(Happened::Lost),
        Effect::Hang(Happened::Lost),
        Effect::DelayAnswer(Duration::from_secs(3)),
    ] {
        stage.server.faults().add(Planned::new(effect.clone()).path("/deals/"));
        let outcome = stage.write_one(&row).await;
        assert!(matches!(outcome, Err(Fault::Transient { .. })), "{effect:?}: {outcome:?}");
        stage.write_one(&row).await.expect("written after a pause");
    }
    // The wrong name for the right thing, in small pieces, is still right.
    for effect in [Effect::ContentType("text/plain"), Effect::Drip(64, Duration::from_millis(1))] {
        stage.server.faults().add(Planned::new(effect).path("/deals/"));
        stage.write_one(&row).await.expect("written");
    }
}

#[tokio::test]
async fn without_the_list_of_fields_nothing_is_guessed() {
    let stage = Stage::new(Settings::default()).await;
    let id = stage.server.create("pay_1");
    let row = stage.row(record(&id), &[("status", text("Paid"))]);
    let effect = Effect::Answer(Happened::Lost, refusal(403, None));
    stage.server.faults().add(Planned::new(effect).path("/dealFields"));
    assert_eq!(word(&stage.write_one(&row).await.expect_err("refused")), "HTTP_403");
    assert!(stage.sent("PATCH").is_empty());
    stage.write_one(&row).await.expect("written once they can be read");
}
