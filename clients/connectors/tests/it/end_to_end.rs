//! Loads of mixed events through a real gateway and real connectors into all six CRMs, while gateway and
//! connectors are killed.

use std::time::Duration;

use fake_crms::lives;
use jiff::Timestamp;

use crate::stage::{Stage, Target};

const PAYMENTS: usize = 140;
const SEED: usize = 7;

#[tokio::test(flavor = "multi_thread")]
async fn every_record_says_what_the_gateway_says_though_all_are_killed_in_turn() {
    let mut stage = Stage::open("").await;
    let mut targets: Vec<Target> = Vec::new();
    for name in fake_crms::NAMES {
        let mut target = stage.target(name, "", |tables| tables).await;
        target.start(&stage.site);
        targets.push(target);
    }
    let begun_at = Timestamp::now();
    let url = stage.site.http_url();
    let load = tokio::spawn(async move {
        let lives: Vec<_> = (0..PAYMENTS).map(|number| lives::life(number, begun_at)).collect();
        // Step by step through all lives, so that the payments' events are mixed.
        for step in 0..4 {
            for life in &lives {
                if let Some(event) = life.get(step) {
                    event.deliver(&url).await;
                }
            }
        }
    });
    for (round, victim) in (0..targets.len()).map(|at| (at * SEED) % 6).enumerate() {
        tokio::time::sleep(Duration::from_millis(300)).await;
        targets[victim].kill();
        if round % 2 == 0 {
            stage.kill_gateway();
            stage.start_gateway().await;
        }
        targets[victim].start(&stage.site);
    }
    load.await.expect("all events are taken");
    for target in &mut targets {
        stage.agrees(target).await;
        stage.is_drained(target.name).await;
        never_back(target);
        target.stop().await;
    }
}

/// A status that another one followed never came back: no life of the load has one twice.
fn never_back(target: &Target) {
    let field = target.double.field("status");
    for number in 0..PAYMENTS {
        let mut seen = Vec::new();
        for value in target.double.journal().values(&lives::payment_id(number), &field) {
            if seen.last() != Some(&value) {
                assert!(!seen.contains(&value), "{}: {seen:?}, then {value}", target.name);
                seen.push(value);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_paid_and_refunded_shows_both_in_turn() {
    let stage = Stage::open("").await;
    for name in fake_crms::NAMES {
        let mut target = stage.target(name, "", |tables| tables).await;
        target.start(&stage.site);
        let number = 1_000 + fake_crms::NAMES.iter().position(|other| *other == name).unwrap_or(0);
        let payment = lives::payment_id(number);
        let now = Timestamp::now().as_second();
        stage.deliver(&[lives::happening(number, "payment_intent.succeeded", now, 0)]).await;
        stage.agrees(&target).await;
        assert_eq!(target.record(&payment).expect("it is there").status, "Paid");
        stage.deliver(&[lives::happening(number, "charge.refunded", now + 1, 1)]).await;
        stage.agrees(&target).await;
        let record = target.record(&payment).expect("it is there");
        assert_eq!((record.status.as_str(), record.refunded), ("Refunded", record.paid));
        stage.is_drained(name).await;
        let outcomes = stage.outcomes(name, &format!("payments/stripe/test/{payment}")).await;
        let reference = format!("payment/{}", record.id);
        let expected = [("created", &reference), ("updated", &reference)];
        let expected = expected.map(|(outcome, reference)| (outcome.to_owned(), reference.clone()));
        assert_eq!(outcomes, expected, "{name}");
        target.stop().await;
    }
}
