//! Points, waits and days: that nothing is sent before it may be.

use std::time::{Duration, Instant};

use fake_crms::pipedrive::Settings;
use fake_crms::{Account, Clock, Effect, Fault as Planned, Reply, Write as Happened};

use tollgate_connectors::crm::{Fault, Work, Write};

use super::{Stage, deals, record, text};

/// A call may be on its way when a refusal is answered.
const ON_THE_WAY: Duration = Duration::from_millis(300);

fn rows(stage: &Stage, count: usize) -> Vec<Write> {
    let row = |index: usize| {
        let id = stage.server.create(&format!("pay_{index}"));
        stage.row(record(&id), &[("status", text("Paid"))])
    };
    (0..count).map(row).collect()
}

fn statuses(stage: &Stage, status: u16) -> usize {
    stage.server.journal().calls_where(|call| call.status == Some(status)).len()
}

#[tokio::test]
async fn the_points_of_the_smallest_plan_are_never_exceeded() {
    let stage = Stage::new(Settings { points_per_2_seconds: 20, ..Settings::default() }).await;
    let rows = rows(&stage, 6);
    let begin = Instant::now();
    assert!(stage.write(&rows).await.iter().all(Result::is_ok));
    // Ten points for the fields and five for each write.
    assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(statuses(&stage, 429), 0);
}

#[tokio::test]
async fn what_the_answers_tell_of_the_plan_counts_unless_less_is_set() {
    let work = Work { lookups: 10, writes: 100, creates: 20 };
    let stage = Stage::new(Settings::real()).await;
    let cost = stage.crm.cost(work);
    assert_eq!((cost.calls, cost.seconds), (140, 81.0));
    stage.crm.identify().await.expect("signed in");
    assert_eq!(stage.crm.cost(work).seconds, 20.25);
    let less = |config: String| config.replace("[crm]", "[crm]\npoints_per_2_seconds = 40");
    let stage = Stage::with(Settings::real(), less).await;
    stage.crm.identify().await.expect("signed in");
    assert_eq!(stage.crm.cost(work).seconds, 40.5);
}

#[tokio::test]
async fn after_a_429_nothing_is_sent_before_the_reset_and_all_is_written_once() {
    let stage = Stage::new(Settings { points_per_2_seconds: 40, ..Settings::default() }).await;
    stage.crm.describe(&deals()).await.expect("described");
    // Of which the connector cannot know.
    stage.server.backend().spend(40);
    let mut left = rows(&stage, 8);
    let mut throttled = 0;
    while !left.is_empty() {
        let outcomes = stage.write(&left).await;
        let again = left.into_iter().zip(outcomes).filter_map(|(row, outcome)| match outcome {
            Ok(_) => None,
            Err(Fault::Throttled { wait, .. }) => {
                assert!(wait >= Duration::from_secs(1), "{wait:?}");
                throttled += 1;
                Some(row)
            }
            Err(other) => panic!("{other:?}"),
        });
        left = again.collect();
    }
    assert!(throttled > 0 && statuses(&stage, 429) > 0);
    assert_eq!(stage.server.journal().early_calls(ON_THE_WAY).len(), 0);
    assert_eq!(statuses(&stage, 403), 0);
    assert!(stage.server.records().iter().all(|record| record.writes == 1));
}

#[tokio::test]
async fn a_spent_day_lasts_until_midnight_without_a_call_and_others_go_on() {
    let at = "2026-11-24T20:00:00Z".parse().expect("a time");
    let clock = Clock::standing(at);
    let stage = Stage::new(Settings { clock: clock.clone(), ..Settings::real() }).await;
    let all = rows(&stage, 3);
    assert!(stage.write(&all).await.iter().all(Result::is_ok));
    stage.server.backend().spend_daily(1_000_000);
    stage.server.journal().forget();
    clock.advance(Duration::from_secs(3));
    for outcome in stage.write(&all[..1]).await {
        let Err(Fault::Throttled { wait, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(wait.as_secs() / 60, 3 * 60 + 59);
    }
    let calls = stage.server.journal().calls().len();
    assert!(calls <= 1);
    for outcome in stage.write(&all).await {
        assert!(matches!(outcome, Err(Fault::Throttled { wait, .. }) if wait.as_secs() > 14_000));
    }
    assert_eq!(stage.server.journal().calls().len(), calls);
    assert!(stage.server.journal().early_calls(Duration::ZERO).is_empty());
    let other = Stage::new(Settings::default()).await;
    let theirs = rows(&other, 3);
    assert!(other.write(&theirs).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_day_that_ends_at_another_hour_is_asked_after_now_and_then() {
    let at = "2026-11-24T00:10:00Z".parse().expect("a time");
    let stage = Stage::new(Settings { clock: Clock::standing(at), ..Settings::real() }).await;
    stage.server.backend().spend_daily(1_000_000);
    let outcome = stage.write_one(&rows(&stage, 1)[0]).await;
    let Err(Fault::Throttled { wait, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(wait, Duration::from_secs(15 * 60));
}

#[tokio::test]
async fn the_days_reserve_is_left_to_others() {
    let reserve = |config: String| config.replace("[crm]", "[crm]\ndaily_reserve = 100");
    let settings = Settings { daily_points: 117, ..Settings::default() };
    let stage = Stage::with(settings, reserve).await;
    // Ten points for the fields, five for the first write; two are above the reserve.
    let rows = rows(&stage, 2);
    assert!(stage.write_one(&rows[0]).await.is_ok());
    let outcome = stage.write_one(&rows[1]).await;
    assert!(matches!(outcome, Err(Fault::Throttled { .. })), "{outcome:?}");
    assert_eq!(stage.server.backend().daily_left(), 102);
}

#[tokio::test]
async fn a_lockout_is_waited_out_and_not_taken_for_the_rows_fault() {
    let stage = Stage::new(Settings::default()).await;
    let rows = rows(&stage, 1);
    let page = Reply::html(403, "<html><body>error 1015</body></html>");
    stage.server.faults().add(Planned::new(Effect::Answer(Happened::Lost, page)).path("/deals/"));
    let outcome = stage.write_one(&rows[0]).await;
    assert!(matches!(outcome, Err(Fault::Throttled { wait, .. }) if wait.as_secs() == 600));
    let calls = stage.server.journal().calls().len();
    assert!(stage.write_one(&rows[0]).await.is_err());
    assert_eq!(stage.server.journal().calls().len(), calls);
}
