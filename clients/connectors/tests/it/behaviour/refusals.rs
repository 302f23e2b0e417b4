//! What a CRM refuses: a credential, one row among others, a token that died.

use std::time::Duration;

use fake_crms::dynamics::Dynamics;
use fake_crms::hubspot::{self, Credential, Hubspot};
use fake_crms::process::until;
use fake_crms::salesforce::Salesforce;
use fake_crms::zoho_crm::ZohoCrm;
use fake_crms::{Account, Backend, Server, Tokens};

use super::{SOON, Scene, deal};
use crate::operations::{free_address, get};

async fn outlives_its_token<B: Backend>(
    name: &'static str,
    double: Server<B>,
    tokens: impl Fn(&B) -> &Tokens,
) where
    Server<B>: Account,
{
    let tables = double.config();
    let mut scene = Scene::open(name, double, "", &tables).await;
    scene.start();
    for number in 0..3 {
        scene.deliver(number, "payment_intent.created", 0).await;
        scene.acked(number, 1).await;
    }
    let before = tokens(scene.double.backend()).issued();
    tokens(scene.double.backend()).kill_all();
    for number in 0..12 {
        scene.deliver(number, "payment_intent.succeeded", 1).await;
    }
    for number in 0..12 {
        scene.acked(number, if number < 3 { 2 } else { 1 }).await;
        for delivery in scene.deliveries(number).await {
            assert_eq!(delivery.failed_attempts, 0, "{name}: {}", delivery.reason);
        }
    }
    let records = scene.double.records();
    assert_eq!(records.len(), 12, "{name}");
    assert!(records.iter().all(|record| record.status == "Paid"), "{name}: {records:?}");
    assert_eq!(tokens(scene.double.backend()).issued() - before, 1, "{name}: one refresh");
    assert!(scene.double.journal().second_creates().is_empty(), "{name}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_dies_costs_one_refresh_and_nothing_else() {
    let oauth = hubspot::Settings { credential: Credential::OAuth, ..Default::default() };
    outlives_its_token("hubspot", Hubspot::start(oauth).await, |it| &it.tokens).await;
    let double = Salesforce::start(Default::default()).await;
    outlives_its_token("salesforce", double, |it| &it.tokens).await;
    let double = Dynamics::start(Default::default()).await;
    outlives_its_token("dynamics", double, |it| &it.tokens).await;
    let double = ZohoCrm::start(Default::default()).await;
    outlives_its_token("zoho_crm", double, |it| &it.tokens).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_refused_spends_no_attempt_and_health_says_so() {
    let address = free_address();
    let mut scene = super::hubspot(&format!("listen = \"{address}\""), &deal("", "")).await;
    scene.start();
    scene.deliver(1, "payment_intent.created", 0).await;
    scene.acked(1, 1).await;
    assert_eq!(get(&address, "/healthz").await.expect("a page").0, 200);
    scene.double.backend().tokens.kill_all();
    scene.deliver(1, "payment_intent.succeeded", 1).await;
    let words = until("health tells", SOON, async || {
        let (status, words) = get(&address, "/healthz").await?;
        (status == 503).then_some(words)
    })
    .await;
    assert!(words.contains("the CRM refuses the credential"), "{words}");
    let waits = scene.deliveries(1).await.pop().expect("it is there");
    assert_eq!((waits.state == "acked", waits.failed_attempts), (false, 0), "{}", waits.reason);
    scene.double.backend().tokens.insert(hubspot::TOKEN, "portal");
    scene.deliver(2, "payment_intent.succeeded", 0).await;
    scene.acked(2, 1).await;
    assert_eq!(get(&address, "/healthz").await.expect("a page").0, 200);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_is_a_dead_letter_with_the_crms_words_and_the_others_are_written() {
    let double = Salesforce::start(Default::default()).await;
    let tables = double.config();
    let mut scene = Scene::open("salesforce", double, "", &tables).await;
    scene.start();
    scene.deliver(2, "payment_intent.created", 0).await;
    scene.acked(2, 1).await;
    scene.stop().await;
    let (field, record) = (scene.double.field("reference"), scene.double.records().remove(0));
    let org = scene.double.backend();
    org.refuse(&field, "INV-3".into(), "FIELD_CUSTOM_VALIDATION_EXCEPTION", "Not this one");
    org.lock(&record.id, Duration::from_secs(2));
    for number in 1..6 {
        scene.deliver(number, "payment_intent.succeeded", 1).await;
    }
    scene.start();
    for number in [1, 4, 5] {
        assert_eq!(scene.acked(number, 1).await, ["created"]);
        assert_eq!(scene.deliveries(number).await[0].failed_attempts, 0);
    }
    let reason = scene.dead(1).await.remove(0);
    for word in ["FIELD_CUSTOM_VALIDATION_EXCEPTION", "Not this one"] {
        assert!(reason.contains(word), "{reason}");
    }
    assert_eq!(scene.acked(2, 2).await, ["created", "updated"]);
    assert!(scene.deliveries(2).await[1].failed_attempts > 0, "it was retried");
    assert_eq!(scene.dead(1).await.len(), 1);
    scene.stop().await;
}
