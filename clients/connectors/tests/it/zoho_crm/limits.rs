//! Limits: credits of 24 hours, calls at once, and refusals that tell no wait.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::*;

fn too_many() -> Fault {
    answering(429, &refusal("TOO_MANY_REQUESTS")).path("/upsert")
}

fn wait(outcome: &Result<Written, Failure>) -> Duration {
    match outcome {
        Err(Failure::Throttled { wait, .. }) => *wait,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn after_a_refusal_nothing_is_sent_before_a_wait_that_grows() {
    let server = start().await;
    let other = start().await;
    let (crm, crm_of_other) = (open(&server), open(&other));
    server.faults().add(too_many().times(2));
    let first = wait(&write_one(&crm, paid("pay_1")).await);
    assert!(first >= Duration::from_secs(1) && first <= Duration::from_millis(1_250));
    let began = Instant::now();
    assert!(write_one(&crm_of_other, paid("pay_1")).await.is_ok());
    assert!(began.elapsed() < Duration::from_secs(1), "another org waits too");
    let refused = join_all(["pay_1", "pay_2"].map(|payment| write_one(&crm, paid(payment)))).await;
    assert!(began.elapsed() + Duration::from_millis(50) >= first);
    let second = refused.iter().find(|outcome| outcome.is_err()).expect("one is refused");
    assert!(wait(second) >= Duration::from_secs(2));
    let calls = upserts(&server);
    assert!(calls[1].at.duration_since(calls[0].at).as_millis() >= 1_000);
}

#[tokio::test]
async fn without_credits_nothing_is_sent_for_long() {
    let server = start().await;
    let crm = open(&server);
    let answer = Reply::json(429, &refusal("TOO_MANY_REQUESTS"));
    let answer = answer.with_header("X-API-CREDITS-REMAINING", 0);
    server.faults().add(Fault::new(Effect::Answer(Carried::Lost, answer)).path("/upsert"));
    assert_eq!(wait(&write_one(&crm, paid("pay_1")).await), Duration::from_secs(15 * 60));
    let began = Instant::now();
    assert!(wait(&write_one(&crm, paid("pay_1")).await) > Duration::from_secs(14 * 60));
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(upserts(&server).len(), 1);
}

#[tokio::test]
async fn a_rate_that_is_told_with_status_400_is_a_refusal_like_any_other() {
    let server = start().await;
    let crm = open(&server);
    server.faults().add(answering(400, &refusal("LIMIT_EXCEEDED")).path("/upsert"));
    let outcomes = crm.write(&deals(), &[paid("pay_1"), paid("pay_2")]).await;
    assert!(outcomes.iter().all(|outcome| code(outcome) == "throttled"), "{outcomes:?}");
    assert_eq!(upserts(&server).len(), 1);
}

#[tokio::test]
async fn ten_rows_cost_one_credit_and_the_days_credits_are_never_passed() {
    // One for the fields, and ten for each batch of a hundred.
    let settings = Settings { credits_per_day: 31, max_in_flight: 1, ..Settings::default() };
    let server = ZohoCrm::start(settings).await;
    let crm = open(&server);
    for batch in 0..3 {
        let rows: Vec<Write> = (0..100).map(|n| paid(&format!("pay_{batch}_{n}"))).collect();
        let outcomes = crm.write(&deals(), &rows).await;
        assert!(outcomes.iter().all(Result::is_ok), "batch {batch}: {:?}", outcomes[0]);
    }
    assert_eq!(server.backend().credits_used(), 31);
    assert_eq!(crm.budget().standing().daily_limit, Some(31));
    assert_eq!(code(&write_one(&crm, paid("pay_1")).await), "throttled");
    assert!(server.journal().calls().iter().all(|call| call.status != Some(429)));
    assert_eq!(upserts(&server).len(), 3);
}

#[tokio::test]
async fn the_reserve_is_left_to_others() {
    let settings = Settings { credits_per_day: 100, max_in_flight: 1, ..Settings::default() };
    let server = ZohoCrm::start(settings).await;
    let crm = open_with(&server, "daily_reserve", 90);
    let mut written = 0;
    while write_one(&crm, paid(&format!("pay_{written}"))).await.is_ok() {
        written += 1;
    }
    assert_eq!(written, 9);
    assert_eq!(server.backend().credits_used(), 10);
}

#[tokio::test]
async fn no_more_calls_are_made_at_once_than_the_edition_allows() {
    let server = ZohoCrm::start(Settings { max_in_flight: 5, ..Settings::real() }).await;
    server.faults().set_latency(Duration::from_millis(10));
    let crm = open(&server);
    let payments: Vec<String> = (0..40).map(|n| format!("pay_{n}")).collect();
    let written = join_all(payments.iter().map(|payment| write_one(&crm, paid(payment)))).await;
    assert!(written.iter().all(Result::is_ok));
    assert_eq!(server.journal().most_in_flight(), 5);
    assert!(server.journal().calls().iter().all(|call| call.status != Some(429)));
}
