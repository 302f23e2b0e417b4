//! Service protection: nothing is sent during a wait, a throttled row fails alone, and the module's own
//! budget stays below the limits.

use std::time::{Duration, Instant};

use fake_crms::dynamics::Settings;
use tollgate_connectors::crm::Work;

use super::*;

/// A call that was on its way when the wait was told is nobody's fault.
const GRACE: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_throttled_row_fails_alone_and_its_wait_is_heeded() {
    for code in ["0x80072322", "0x80072321", "0x80072326"] {
        let setup = Setup::warm(Settings::default(), "").await;
        setup.server.backend().throttle_part("pay_1", code, 1);
        let rows = upserts(3);
        let outcomes = setup.write(&rows).await;
        assert_eq!(words(&outcomes), ["created", "throttled", "created"]);
        let Err(Fault::Throttled { wait, reason }) = &outcomes[1] else { panic!("{outcomes:?}") };
        assert_eq!(*wait, Duration::from_secs(1));
        assert!(reason.contains(code), "{reason}");
        let began = Instant::now();
        assert_eq!(words(&setup.write(&rows[1..2]).await), ["created"]);
        assert!(began.elapsed() >= Duration::from_millis(900));
        assert!(setup.server.journal().early_calls(Duration::ZERO).is_empty());
    }
}

#[tokio::test]
async fn a_storm_of_refusals_delays_only_its_own_environment() {
    let tight =
        Settings { requests_per_window: 25, window: Duration::from_secs(1), ..Settings::default() };
    let one = Setup::with(tight.clone(), "").await;
    let two = Setup::with(tight, "").await;
    let free = Setup::start().await;
    let storm = |setup: Setup| async move {
        let mut left = upserts(60);
        while !left.is_empty() {
            let outcomes = setup.write(&left).await;
            let done = |index: usize| outcomes[index].is_ok();
            assert!(words(&outcomes).iter().all(|word| word == "created" || word == "throttled"));
            let rows = left.into_iter().enumerate().filter(|(index, _)| !done(*index));
            left = rows.map(|(_, row)| row).collect();
        }
        setup
    };
    let began = Instant::now();
    let calm = async {
        let outcomes = free.write(&upserts(60)).await;
        assert_eq!(words(&outcomes), vec!["created"; 60]);
        began.elapsed()
    };
    let (one, two, calm) = tokio::join!(storm(one), storm(two), calm);
    assert!(calm < Duration::from_millis(900), "{calm:?}");
    for setup in [one, two] {
        assert_eq!(setup.records().len(), 60);
        assert!(setup.crm.budget().standing().counts.throttled > 0);
        let early = setup.server.journal().early_calls(GRACE);
        assert!(early.is_empty(), "{early:?}");
    }
}

#[tokio::test]
async fn the_budget_never_lets_through_more_than_is_allowed() {
    let settings = Settings { requests_per_window: 50, max_in_flight: 4, ..Settings::real() };
    let lines = "requests_per_window = 50\nmax_calls_in_flight = 4";
    let setup = Setup::with(settings, lines).await;
    let outcomes = words(&setup.write(&upserts(60)).await);
    // Reading the schema took ten.
    assert_eq!(outcomes.iter().filter(|word| *word == "created").count(), 40);
    assert_eq!(outcomes.iter().filter(|word| *word == "throttled").count(), 20);
    let calls = setup.server.journal().calls();
    assert!(calls.iter().all(|call| call.status != Some(429)));
    assert!(calls.iter().all(|call| !String::from_utf8_lossy(&call.answer).contains("0x800723")));
}

#[tokio::test]
async fn execution_time_is_a_limit_of_its_own() {
    let lines = "execution_seconds_per_window = 1\nbatch_size = 1";
    let setup = Setup::warm(Settings::default(), lines).await;
    setup.server.faults().set_latency(Duration::from_millis(250));
    let outcomes = words(&setup.write(&upserts(16)).await);
    assert!(outcomes.contains(&"created".to_owned()));
    assert!(outcomes.contains(&"throttled".to_owned()), "{outcomes:?}");
}

#[tokio::test]
async fn calls_at_once_beyond_the_cap_are_refused_and_come_again() {
    let settings = Settings { max_in_flight: 2, ..Settings::real() };
    let setup = Setup::warm(settings, "batch_size = 1\nmax_calls_in_flight = 8").await;
    setup.server.faults().set_latency(Duration::from_millis(40));
    let rows = upserts(8);
    let mut outcomes = setup.write(&rows).await;
    assert!(words(&outcomes).contains(&"throttled".to_owned()));
    setup.server.faults().set_latency(Duration::ZERO);
    for (row, outcome) in rows.iter().zip(&mut outcomes) {
        if outcome.is_err() {
            *outcome = setup.write(std::slice::from_ref(row)).await.remove(0);
        }
    }
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(setup.records().len(), 8);
}

#[tokio::test]
async fn connectors_of_one_user_share_a_budget_and_a_token() {
    let setup = Setup::start().await;
    let orgs = Orgs::default();
    let open = || (KIND.open)(table(&setup.server, ""), &orgs).expect("the settings are right");
    let (one, two) = (open(), open());
    assert_eq!(words(&one.write(&payments(), &upserts(1)).await), ["created"]);
    assert_eq!(words(&two.write(&payments(), &upserts(1)).await), ["updated"]);
    assert!(std::ptr::eq(one.budget(), two.budget()));
    assert_eq!(setup.server.backend().tokens.issued(), 1);
}

#[tokio::test]
async fn plans_count_batches_and_full_windows() {
    let setup = Setup::start().await;
    let cost = setup.crm.cost(Work { lookups: 25, writes: 12_001, creates: 0 });
    assert_eq!((cost.calls, cost.seconds), (3 + 1_201, 600.0));
    assert_eq!(setup.crm.facts().max_writes, 200);
    let large = open(table(&setup.server, "batch_size = 1000"));
    assert_eq!(large.facts().max_writes, 1_000);
}
