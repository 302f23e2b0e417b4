//! Events that wait, that come again, and that come late: a record never goes back.

use std::time::Duration;

use fake_crms::Account;
use fake_crms::lives;
use tollgate_client::StartPosition;
use tollgate_client::proto::SeekRequest;

use super::{Scene, deal, hubspot};

/// Older than what counts as just come.
const OLD: Duration = Duration::from_millis(2_300);
const LONG: usize = 8;

/// A long life and one of each kind that moves money, which all wait before the connector starts.
async fn backlog(connector: &str) -> Scene<fake_crms::hubspot::Hubspot> {
    let mut scene = hubspot(connector, &deal("", "")).await;
    let begun_at = jiff::Timestamp::now();
    scene.stage.deliver(&lives::long_life(700, begun_at, LONG)).await;
    scene.stage.deliver(&lives::life(1, begun_at)).await;
    scene.stage.deliver(&lives::life(5, begun_at)).await;
    tokio::time::sleep(OLD).await;
    scene.start();
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_only_tells_a_status_the_newest_is_written_and_money_always() {
    let mut scene = backlog("collapse = true").await;
    let outcomes = scene.acked(700, LONG).await;
    assert_eq!(outcomes[..LONG - 1], vec!["collapsed"; LONG - 1]);
    assert_eq!(outcomes[LONG - 1], "created");
    assert_eq!(scene.double.journal().commits_of("pi_00700").len(), 1);
    assert_eq!(scene.acked(1, 4).await, ["collapsed", "created", "updated", "updated"]);
    assert_eq!(scene.acked(5, 2).await, ["created", "updated"]);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_passed_over_unless_that_is_wanted() {
    let mut scene = backlog("").await;
    for (number, events) in [(700, LONG), (1, 4), (5, 2)] {
        let outcomes = scene.acked(number, events).await;
        assert!(!outcomes.iter().any(|outcome| outcome == "collapsed"), "{outcomes:?}");
    }
    let statuses = scene.double.journal().values("pi_00700", "payment_status");
    assert_eq!(statuses.first(), Some(&"pending".into()));
    assert_eq!(statuses.last(), Some(&"paid".into()));
    assert!(statuses.len() >= LONG - 1, "{statuses:?}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_again_never_take_a_record_back() {
    let mut scene = hubspot("", &deal("", "")).await;
    scene.start();
    for number in 0..14 {
        scene.stage.deliver(&lives::life(number, jiff::Timestamp::now())).await;
    }
    scene.stage.is_drained("crm").await;
    let before = scene.double.records();
    scene.double.journal().forget();
    let request =
        SeekRequest { subscription: "crm".to_owned(), to: Some(StartPosition::earliest()) };
    scene.stage.client.subscriptions().seek(request).await.expect("it goes back");
    tokio::time::sleep(Duration::from_millis(200)).await;
    scene.stage.is_drained("crm").await;
    let outcomes = scene.acked(1, 4).await;
    assert_eq!(outcomes[..3], vec!["superseded"; 3], "{outcomes:?}");
    let mut after = scene.double.records();
    after.iter_mut().zip(&before).for_each(|(after, before)| after.writes = before.writes);
    assert_eq!(after, before);
    for record in &after {
        let values = scene.double.journal().values(&record.payment_id, "payment_status");
        assert!(values.is_empty(), "{}: {values:?}", record.payment_id);
    }
    scene.stop().await;
}
