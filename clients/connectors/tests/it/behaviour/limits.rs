//! What an org allows: refusals for too many calls cost time and nothing else, and two connectors of one org
//! are within its limits together.

use std::time::Duration;

use fake_crms::hubspot::{Credential, Hubspot, Settings};
use fake_crms::pipedrive::{self, Pipedrive};
use fake_crms::{Account, Backend, Server};

use super::{Scene, deal, deliveries};
use crate::stage::Stage;

const PAYMENTS: usize = 14;
/// A call that was on its way when the refusal came.
const GRACE: Duration = Duration::from_millis(250);

/// An org that allows less than the connector thinks, and another org beside it.
async fn weathers<B: Backend>(name: &'static str, double: Server<B>, tables: &str)
where
    Server<B>: Account,
{
    let mut scene = Scene::open(name, double, "", tables).await;
    let mut other = scene.stage.target("salesforce", "", |tables| tables).await;
    scene.start();
    other.start(&scene.stage.site);
    for number in 0..PAYMENTS {
        scene.deliver(number, "payment_intent.succeeded", 0).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    scene.stage.agrees(&other).await;
    assert!(scene.double.records().len() < PAYMENTS, "{name}: the other one did not wait");
    for number in 0..PAYMENTS {
        scene.acked(number, 1).await;
        let delivery = scene.deliveries(number).await.remove(0);
        assert_eq!(delivery.failed_attempts, 0, "{name}: {}", delivery.reason);
    }
    let refused = scene.double.journal().calls_where(|call| call.status == Some(429));
    assert!(!refused.is_empty(), "{name}: nothing was refused");
    let early = scene.double.journal().early_calls(GRACE);
    assert!(early.is_empty(), "{name}: {early:?}");
    assert!(scene.double.journal().second_creates().is_empty());
    scene.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_refusals_spends_no_attempt_and_holds_up_no_other_org_hubspot() {
    let settings = Settings { calls_per_10_seconds: 9, tells_waits: true, ..Settings::default() };
    let double = Hubspot::start(settings).await;
    let tables = double.config().replace("calls_per_10_seconds = 9", "calls_per_10_seconds = 900");
    weathers("hubspot", double, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_refusals_spends_no_attempt_and_holds_up_no_other_org_pipedrive() {
    let settings = pipedrive::Settings {
        points_per_2_seconds: 120,
        search_lag: Duration::ZERO,
        ..Default::default()
    };
    let double = Pipedrive::start(settings).await;
    let tables = double.config();
    weathers("pipedrive", double, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connectors_of_one_org_share_its_budget_and_its_token() {
    let stage = Stage::open("").await;
    let settings =
        Settings { credential: Credential::OAuth, calls_per_10_seconds: 18, ..Settings::default() };
    let double = Hubspot::start(settings).await;
    let tables = super::crm(&double) + &deal("", "");
    let configs = ["a", "b"].map(|name| stage.site.configure(name, "", &tables).expect("a folder"));
    let configs = configs.each_ref().map(String::as_str);
    let before = double.backend().tokens.issued();
    let process = stage.site.start_connectors("hubspot", &configs, "info").expect("it runs");
    for number in 0..16 {
        let now = jiff::Timestamp::now().as_second();
        let event = fake_crms::lives::happening(number, "payment_intent.succeeded", now, 0);
        stage.deliver(&[event]).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    for name in ["a", "b"] {
        stage.is_drained(name).await;
        for number in 0..16 {
            for delivery in deliveries(&stage, name, number).await {
                assert_eq!((delivery.state.as_str(), delivery.failed_attempts), ("acked", 0));
            }
        }
    }
    assert_eq!(double.backend().tokens.issued() - before, 1, "one token for both");
    let refused = double.journal().calls_where(|call| call.status == Some(429));
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(double.records().len(), 16);
    assert!(double.journal().second_creates().is_empty());
    assert!(process.stop().await.expect("it ends").success());
}
