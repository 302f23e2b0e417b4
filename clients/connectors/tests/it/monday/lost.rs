//! Answers that are lost, refused, cut, late or not the API's: a payment has one item all the same, and
//! nothing is taken for written that was not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_crms::monday::{Settings, TOKEN};
use fake_crms::{
    Account, Effect, Fault as Planned, Life, Reply, Write as Done, faults::bad_gateway,
};
use serde_json::json;
use tollgate_connectors::crm::{Fault, Target, Write};

use super::{Stage, code, open};

/// What becomes of the next mutation.
fn strike(stage: &Stage, effect: Effect) {
    stage.server.faults().add(Planned::new(effect).containing("mutation"));
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_answered_again_and_not_done_again() {
    for effect in [
        Effect::Close(Done::Applied),
        Effect::Truncate,
        Effect::Answer(Done::Applied, bad_gateway(502)),
        Effect::Answer(Done::Applied, Reply::html(200, "<html>")),
        Effect::Hang(Done::Applied),
    ] {
        let stage = Stage::with(Settings::default(), "timeout_seconds = 1").await;
        strike(&stage, effect.clone());
        let rows = [stage.new_row("pay_1", "Paid"), stage.new_row("pay_2", "Failed")];
        for result in stage.write(&rows).await {
            assert_eq!(result.expect("written").created, Some(true), "{effect:?}");
        }
        assert_eq!(stage.server.records().len(), 2, "{effect:?}");
        assert!(stage.server.journal().second_creates().is_empty());
        let creates = stage
            .server
            .journal()
            .calls_where(|call| String::from_utf8_lossy(&call.body).contains("mutation Create"));
        assert_eq!(creates.len(), 2);
        let keys: Vec<_> =
            creates.iter().map(|call| call.headers["idempotency-key"].clone()).collect();
        assert_eq!(keys[0], keys[1]);
    }
}

#[tokio::test]
async fn a_create_that_never_arrived_is_done_by_the_second_call() {
    let stage = Stage::new().await;
    strike(&stage, Effect::Close(Done::Lost));
    assert!(stage.write(&[stage.new_row("pay_1", "Paid")]).await[0].is_ok());
    assert_eq!(stage.server.records().len(), 1);
}

#[tokio::test]
async fn after_a_crash_the_same_event_makes_no_second_item_even_if_it_is_not_found_yet() {
    let lag = Settings { search_lag: Duration::from_secs(600), ..Settings::default() };
    let stage = Stage::with(lag, "").await;
    let row = stage.new_row("pay_1", "Paid");
    let first = stage.write(std::slice::from_ref(&row)).await.remove(0).expect("written");
    // A new process: nothing is remembered, and the look-up does not see the item.
    let again = open(&stage.server, "");
    let found = again.find(&stage.object, &[stage.key("pay_1")], &[]).await.remove(0);
    assert_eq!(found, Ok(Vec::new()));
    let second = again.write(&stage.object, &[row]).await.remove(0).expect("written");
    assert_eq!(first.id, second.id);
    assert_eq!(stage.server.records().len(), 1);
}

#[tokio::test]
async fn two_processes_that_create_for_one_event_make_one_item() {
    let stage = Stage::new().await;
    let other = open(&stage.server, "");
    stage.server.faults().set_latency(Duration::from_millis(10));
    let row = [stage.new_row("pay_1", "Paid")];
    let (one, two) = tokio::join!(stage.write(&row), other.write(&stage.object, &row));
    assert_eq!(one[0].as_ref().expect("written").id, two[0].as_ref().expect("written").id);
    assert_eq!(stage.server.records().len(), 1);
}

#[tokio::test]
async fn a_create_that_another_process_is_at_is_tried_again() {
    let stage = Stage::new().await;
    let error =
        json!({ "message": "in progress", "extensions": { "code": "IDEMPOTENCY_CONFLICT" } });
    let reply = Reply::json(409, &json!({ "errors": [error] })).with_header("retry-after", 2);
    strike(&stage, Effect::Answer(Done::Lost, reply));
    let result = stage.write(&[stage.new_row("pay_1", "Paid")]).await.remove(0);
    let wait = Some(Duration::from_secs(2));
    assert!(
        matches!(&result, Err(Fault::Transient { wait: told, .. }) if *told == wait),
        "{result:?}"
    );
}

#[tokio::test]
async fn an_answer_of_before_does_not_hide_that_the_item_is_gone() {
    let stage = Stage::new().await;
    let row = [stage.new_row("pay_1", "Paid")];
    let first = stage.write(&row).await.remove(0).expect("written");
    stage.server.backend().set_life(&first.id, Life::Deleted);
    let result = stage.write(&row).await.remove(0);
    assert!(matches!(&result, Err(Fault::Transient { .. })), "{result:?}");
    let second = stage.write(&row).await.remove(0).expect("created anew");
    assert_ne!(first.id, second.id);
    assert_eq!(stage.server.records().len(), 1);
}

#[tokio::test]
async fn a_failure_of_before_is_not_the_answer_to_the_next_try() {
    let stage = Stage::new().await;
    let row = [stage.new_row("pay_1", "Brand new")];
    assert_eq!(code(&stage.write(&row).await[0]), "ColumnValueException");
    stage.server.backend().add_label("1876543210", &stage.field("status"), "Brand new");
    assert!(stage.write(&row).await[0].is_ok());
    // A new process gets the old failure once, does not believe it, and asks anew.
    let row = [stage.new_row("pay_2", "Newer still")];
    assert_eq!(code(&stage.write(&row).await[0]), "ColumnValueException");
    stage.server.backend().add_label("1876543210", &stage.field("status"), "Newer still");
    let again = open(&stage.server, "");
    let result = again.write(&stage.object, &row).await.remove(0);
    assert!(matches!(&result, Err(Fault::Transient { .. })), "{result:?}");
    assert!(again.write(&stage.object, &row).await[0].is_ok());
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_transient_and_harmless_to_repeat() {
    let stage = Stage::new().await;
    let id = stage.server.create("pay_1");
    let row = [stage.row(Target::Record(id), "Paid")];
    strike(&stage, Effect::Close(Done::Applied));
    let result = stage.write(&row).await.remove(0);
    assert!(matches!(&result, Err(Fault::Transient { .. })), "{result:?}");
    assert!(stage.write(&row).await[0].is_ok());
    let records = stage.server.records();
    assert_eq!((records.len(), &*records[0].status), (1, "Paid"));
}

#[tokio::test]
async fn answers_that_are_not_the_apis_are_transient_and_slow_ones_are_read() {
    for effect in [
        Effect::Answer(Done::Lost, bad_gateway(503)),
        Effect::Answer(Done::Lost, Reply::html(200, "<html>")),
        Effect::Answer(Done::Lost, Reply::text(403, "blocked")),
        Effect::Answer(Done::Lost, Reply::json(200, &json!([1]))),
        Effect::Answer(Done::Lost, Reply::json(200, &json!({ "data": {} }))),
        Effect::Close(Done::Lost),
    ] {
        let stage = Stage::new().await;
        let id = stage.server.create("pay_1");
        strike(&stage, effect.clone());
        let row = [stage.row(Target::Record(id), "Paid")];
        let result = stage.write(&row).await.remove(0);
        assert!(result.is_err(), "{effect:?}");
        assert!(stage.server.journal().commits_of("pay_1").iter().all(|c| c.created), "{effect:?}");
    }
    let stage = Stage::new().await;
    let id = stage.server.create("pay_1");
    let row = [stage.row(Target::Record(id), "Paid")];
    strike(&stage, Effect::Drip(64, Duration::from_millis(5)));
    assert!(stage.write(&row).await[0].is_ok());
    strike(&stage, Effect::ContentType("text/plain"));
    assert!(stage.write(&row).await[0].is_ok());
}

#[tokio::test]
async fn a_call_refused_for_one_row_is_taken_apart_with_bounded_calls() {
    let stage = Stage::new().await;
    let refused = || {
        let error =
            json!({ "message": "no", "extensions": { "code": "InvalidArgumentException" } });
        Effect::Answer(Done::Lost, Reply::json(400, &json!({ "errors": [error] })))
    };
    stage.server.faults().add(Planned::new(refused()).containing("pay_bad").always());
    let name = |n: usize| if n == 13 { "pay_bad".to_owned() } else { format!("pay_{n}") };
    let rows: Vec<Write> = (0..20).map(|n| stage.new_row(&name(n), "Paid")).collect();
    for (n, result) in stage.write(&rows).await.iter().enumerate() {
        assert_eq!(result.is_err(), n == 13, "{n}");
        if n == 13 {
            assert_eq!(code(result), "InvalidArgumentException");
        }
    }
    assert_eq!(stage.server.records().len(), 19);
    assert!(stage.count("mutation Create") < 2 * 20);
    assert!(stage.server.journal().second_creates().is_empty());
}

#[tokio::test]
async fn creates_that_may_have_happened_are_not_taken_apart_but_looked_up() {
    let stage = Stage::new().await;
    let error = json!({ "message": "no", "extensions": { "code": "InvalidArgumentException" } });
    let reply = Reply::json(200, &json!({ "data": null, "errors": [error] }));
    strike(&stage, Effect::Answer(Done::Applied, reply));
    let rows = [stage.new_row("pay_1", "Paid"), stage.new_row("pay_2", "Paid")];
    for result in stage.write(&rows).await {
        assert!(matches!(result, Err(Fault::Transient { .. })), "{result:?}");
    }
    assert_eq!(stage.count("mutation Create"), 1);
    let found = stage.find_one(stage.key("pay_2"), &[]).await.expect("found");
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn a_token_that_dies_stops_all_and_nothing_is_written_until_it_lives() {
    let stage = Stage::new().await;
    assert!(stage.write(&[stage.new_row("pay_1", "Paid")]).await[0].is_ok());
    stage.server.backend().tokens.kill_all();
    stage.server.journal().forget();
    let rows = [stage.new_row("pay_2", "Paid"), stage.new_row("pay_3", "Paid")];
    for result in stage.write(&rows).await {
        assert!(matches!(result, Err(Fault::Unauthorized { .. })), "{result:?}");
    }
    assert_eq!(stage.server.journal().calls().len(), 2, "tried once more, and no more");
    assert!(stage.server.journal().commits().is_empty());
    stage.server.backend().tokens.insert(TOKEN, "acme");
    assert!(stage.write(&rows).await.iter().all(Result::is_ok));
    assert_eq!(stage.server.records().len(), 3);
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_token_is_in_no_log_and_no_fault() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let stage = Stage::new().await;
    let mut told = format!("{:?}", stage.crm.identify().await);
    told += &format!("{:?}", stage.write(&[stage.new_row("pay_1", "Paid")]).await);
    strike(&stage, Effect::Close(Done::Lost));
    let id = stage.server.records()[0].id.clone();
    let row = [stage.row(Target::Record(id), "Paid")];
    told += &format!("{:?}", stage.write(&row).await);
    stage.server.backend().tokens.kill_all();
    told += &format!("{:?}", stage.write(&row).await);
    drop(guard);
    let logged = captured.0.lock().expect("not poisoned").clone();
    told += &String::from_utf8_lossy(&logged);
    assert!(told.contains("what a call cost") && told.contains("Unauthorized"));
    assert!(!told.contains(TOKEN), "{told}");
}
