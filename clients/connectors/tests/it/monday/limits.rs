//! Limits: the module keeps to them by itself, and to every wait that it is told.

use std::time::{Duration, Instant};

use fake_crms::monday::{Prices, Settings, refusal};
use fake_crms::{Account, Effect, Fault as Planned, Write as Lost};
use tollgate_connectors::crm::{Fault, Target, Write};

use super::Stage;

/// Refuses the next mutation like this.
fn refuse(stage: &Stage, settings: &Settings, code: &str, wait: Option<Duration>) {
    let effect = Effect::Answer(Lost::Lost, refusal(settings, code, wait));
    stage.server.faults().add(Planned::new(effect).containing("mutation"));
}

async fn change(stage: &Stage, id: &str) -> Result<(), Fault> {
    let row = stage.row(Target::Record(id.to_owned()), "Paid");
    stage.write(&[row]).await.remove(0).map(|_| ())
}

#[tokio::test]
async fn a_told_wait_is_kept_in_every_form_and_nothing_is_sent_meanwhile() {
    let forms = [(false, false), (true, false), (false, true), (true, true)];
    for (refuses_with_200, refuses_flat) in forms {
        for code in ["COMPLEXITY_BUDGET_EXHAUSTED", "RATE_LIMIT_EXCEEDED", "FIELD_LIMIT_EXCEEDED"] {
            let settings = Settings { refuses_with_200, refuses_flat, ..Settings::default() };
            let stage = Stage::with(settings.clone(), "").await;
            let id = stage.server.create("pay_1");
            assert_eq!(change(&stage, &id).await, Ok(()));
            refuse(&stage, &settings, code, Some(Duration::from_secs(1)));
            let told = change(&stage, &id).await;
            let second = Duration::from_secs(1);
            assert!(
                matches!(told, Err(Fault::Throttled { wait, .. }) if wait == second),
                "{told:?}"
            );
            let (since, calls) = (Instant::now(), stage.server.journal().calls().len());
            let both = tokio::join!(change(&stage, &id), change(&stage, &id));
            assert_eq!(both, (Ok(()), Ok(())));
            assert!(since.elapsed() >= Duration::from_millis(990), "{:?}", since.elapsed());
            assert_eq!(stage.server.journal().calls().len(), calls + 2);
            assert!(stage.server.journal().early_calls(Duration::ZERO).is_empty());
            assert_eq!(stage.crm.budget().standing().counts.throttled, 1);
        }
    }
}

#[tokio::test]
async fn a_told_wait_that_is_long_is_given_back_and_holds_for_all_calls() {
    let stage = Stage::new().await;
    let id = stage.server.create("pay_1");
    assert_eq!(change(&stage, &id).await, Ok(()));
    let settings = Settings::default();
    refuse(&stage, &settings, "COMPLEXITY_BUDGET_EXHAUSTED", Some(Duration::from_secs(37)));
    for _ in 0..3 {
        let told = change(&stage, &id).await;
        assert!(matches!(told, Err(Fault::Throttled { wait, .. }) if wait.as_secs() >= 36));
    }
    let found = stage.find_one(stage.key("pay_1"), &[]).await;
    assert!(matches!(found, Err(Fault::Throttled { .. })));
    // The board, the change, and the one that was refused.
    assert_eq!(stage.server.journal().calls().len(), 3);
}

#[tokio::test]
async fn the_days_limit_holds_until_midnight() {
    let stage = Stage::new().await;
    let id = stage.server.create("pay_1");
    refuse(&stage, &Settings::default(), "DAILY_LIMIT_EXCEEDED", None);
    let now = jiff::Timestamp::now().as_second();
    let left = u64::try_from(86_400 - now.rem_euclid(86_400)).expect("a day is left");
    for _ in 0..2 {
        let told = change(&stage, &id).await;
        let Err(Fault::Throttled { wait, .. }) = told else { panic!("{told:?}") };
        assert!(wait.as_secs().abs_diff(left) < 5, "{wait:?} and {left}");
    }
    assert_eq!(stage.server.journal().calls().len(), 2);
}

#[tokio::test]
async fn what_headers_tell_of_the_day_counts_more_than_the_settings() {
    let settings = Settings { calls_per_day: 8, ..Settings::default() };
    let stage = Stage::with(settings, "daily_reserve = 3").await;
    let id = stage.server.create("pay_1");
    let mut sent = 0;
    while change(&stage, &id).await.is_ok() {
        sent += 1;
        assert!(sent < 10, "nothing stops it");
    }
    assert_eq!(stage.server.journal().calls().len(), 5, "the reserve is left to others");
    assert_eq!(stage.crm.budget().standing().daily_limit, Some(8));
}

#[tokio::test]
async fn the_settings_count_where_no_header_tells() {
    let settings = Settings { tells_limits: false, ..Settings::default() };
    let stage = Stage::with(settings, "calls_per_day = 6\ndaily_reserve = 2").await;
    let id = stage.server.create("pay_1");
    while change(&stage, &id).await.is_ok() {}
    assert_eq!(stage.server.journal().calls().len(), 4);
}

#[tokio::test]
async fn no_more_points_are_spent_than_a_minute_has() {
    // Learned by the first call: a change is dearer than it was thought to be.
    let prices = Prices { mutation: 30_000, ..Prices::default() };
    let settings = Settings { points_per_minute: 200_000, prices, ..Settings::default() };
    let stage = Stage::with(settings, "points_per_minute = 200_000").await;
    let ids: Vec<String> = (0..3).map(|n| stage.server.create(&format!("pay_{n}"))).collect();
    let rows: Vec<Write> =
        ids.iter().map(|id| stage.row(Target::Record(id.clone()), "Paid")).collect();
    assert!(stage.write(&rows[..1]).await[0].is_ok());
    assert!(stage.write(&rows).await.iter().all(Result::is_ok));
    let over = stage.write(&rows).await;
    assert!(over.iter().all(|row| matches!(row, Err(Fault::Throttled { .. }))), "{over:?}");
    let refused = stage.server.journal().calls_where(|call| call.status != Some(200));
    assert!(refused.is_empty(), "the double never had to say no");
}

#[tokio::test]
async fn calls_at_once_and_calls_a_minute_stay_within_the_settings() {
    let stage = Stage::with(
        Settings { max_in_flight: 3, calls_per_minute: 13, ..Settings::default() },
        "max_calls_in_flight = 3\ncalls_per_minute = 13",
    )
    .await;
    let ids: Vec<String> = (0..20).map(|n| stage.server.create(&format!("pay_{n}"))).collect();
    stage.server.faults().set_latency(Duration::from_millis(5));
    let changes = ids.iter().map(|id| change(&stage, id));
    let results = futures::future::join_all(changes).await;
    let wrote = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(wrote, 12, "and the board was read");
    assert!(stage.server.journal().most_in_flight() <= 3);
    let refused = stage.server.journal().calls_where(|call| call.status != Some(200));
    assert!(refused.is_empty());
}

#[tokio::test]
async fn too_many_calls_at_once_wait_a_moment() {
    let stage = Stage::new().await;
    let id = stage.server.create("pay_1");
    refuse(&stage, &Settings::default(), "maxConcurrencyExceeded", Some(Duration::from_secs(1)));
    assert!(matches!(change(&stage, &id).await, Err(Fault::Throttled { .. })));
    assert_eq!(change(&stage, &id).await, Ok(()));
}

#[tokio::test]
async fn another_accounts_wait_is_its_own() {
    let one = Stage::new().await;
    let other = Stage::new().await;
    let ids = [one.server.create("pay_1"), other.server.create("pay_1")];
    let long = Some(Duration::from_secs(60));
    refuse(&one, &Settings::default(), "COMPLEXITY_BUDGET_EXHAUSTED", long);
    assert!(change(&one, &ids[0]).await.is_err());
    assert_eq!(change(&other, &ids[1]).await, Ok(()));
}
