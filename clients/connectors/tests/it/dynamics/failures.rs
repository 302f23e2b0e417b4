//! What goes wrong on the way: lost, cut, slow and foreign answers, batches refused as a whole, and a CRM
//! that stops at the first failure. Whatever happens, a replay ends with one record a payment.

use std::time::Duration;

use fake_crms::dynamics::Settings;
use fake_crms::faults::bad_gateway;
use fake_crms::{Effect, Fault as Planned, Reply, Write as Applied};
use serde_json::json;

use super::*;

#[tokio::test]
async fn a_lost_or_broken_answer_is_passing_and_a_replay_gives_one_record() {
    for effect in [
        Effect::Close(Applied::Applied),
        Effect::Close(Applied::Lost),
        Effect::Truncate,
        Effect::Hang(Applied::Applied),
        Effect::ContentType("application/json"),
        Effect::Answer(Applied::Applied, bad_gateway(502)),
        Effect::Answer(Applied::Lost, bad_gateway(503).with_header("Retry-After", 1)),
        Effect::Answer(Applied::Applied, Reply::html(200, "<html>a sign-in page</html>")),
        Effect::Answer(Applied::Lost, Reply::empty(302).with_header("Location", "/elsewhere")),
    ] {
        let shown = format!("{effect:?}");
        let setup = Setup::warm(Settings::default(), "timeout_seconds = 1").await;
        let planned = setup.server.faults().add(Planned::new(effect).path("$batch"));
        let rows = upserts(3);
        let outcomes = setup.write(&rows).await;
        assert_eq!(words(&outcomes), vec!["transient"; 3], "{shown}");
        assert_eq!(planned.hits(), 1);
        let again = setup.write(&rows).await;
        assert!(again.iter().all(Result::is_ok), "{shown}: {again:?}");
        assert_eq!(setup.records().len(), 3, "{shown}");
        assert!(setup.server.journal().second_creates().is_empty());
    }
}

#[tokio::test]
async fn a_slow_answer_is_an_answer() {
    let setup = Setup::warm(Settings::default(), "").await;
    let drip = Effect::Drip(64, Duration::from_millis(2));
    setup.server.faults().add(Planned::new(drip).path("$batch"));
    assert_eq!(words(&setup.write(&upserts(2)).await), ["created", "created"]);
}

#[tokio::test]
async fn a_batch_refused_as_a_whole_is_halved_until_the_bad_row_is_alone() {
    let setup = Setup::warm(Settings::default(), "batch_size = 100").await;
    let refusal = Reply::json(400, &json!({ "error": { "code": "0x80048d19", "message": "no" } }));
    let refused = Effect::Answer(Applied::Lost, refusal);
    setup.server.faults().add(Planned::new(refused).containing("pay_bad").always());
    let mut rows = upserts(40);
    rows.insert(17, upsert("pay_bad"));
    let outcomes = setup.write(&rows).await;
    for (index, word) in words(&outcomes).iter().enumerate() {
        assert_eq!(word, if index == 17 { "0x80048d19" } else { "created" }, "{index}");
    }
    assert!(setup.batches().len() <= 2 * rows.len());
    // One bad row costs two calls for each halving.
    assert!(setup.batches().len() <= 13, "{}", setup.batches().len());
}

#[tokio::test]
async fn a_batch_that_stops_at_its_first_failure_goes_on_behind_it() {
    let settings = Settings { continues_on_error: false, ..Settings::default() };
    let setup = Setup::warm(settings, "batch_size = 100").await;
    let mut rows = upserts(12);
    for at in [0, 5, 6, 11] {
        rows[at] = with(upsert(&format!("pay_bad_{at}")), "nope", "x");
    }
    let outcomes = words(&setup.write(&rows).await);
    for (index, word) in outcomes.iter().enumerate() {
        let is_bad = [0, 5, 6, 11].contains(&index);
        assert_eq!(word, if is_bad { "0x80048d19" } else { "created" }, "{index}");
    }
    assert_eq!(setup.batches().len(), 4);
    assert_eq!(setup.records().len(), 8);
    assert!(setup.records().iter().all(|record| record.writes == 1));
}

#[tokio::test]
async fn failures_make_the_environment_pause_longer_each_time() {
    let setup = Setup::warm(Settings::default(), "").await;
    let effect = Effect::Answer(Applied::Lost, bad_gateway(502));
    setup.server.faults().add(Planned::new(effect).path("$batch").times(2));
    for _ in 0..2 {
        assert_eq!(words(&setup.write(&upserts(1)).await), ["transient"]);
    }
    assert_eq!(words(&setup.write(&upserts(1)).await), ["created"]);
    let calls = setup.batches();
    let between = |one: usize| calls[one + 1].at.duration_since(calls[one].at).as_secs_f64();
    assert!(between(0) >= 0.5 && between(1) >= 1.0, "{} {}", between(0), between(1));
}
