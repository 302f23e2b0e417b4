//! What is found, and what is not.

use std::time::Duration;

use fake_crms::pipedrive::Settings;
use fake_crms::pipedrive::entities::Entity;
use fake_crms::{Account, Life};
use serde_json::json;
use tollgate_connectors::crm::{Key, Target};

use super::{Stage, code, deals, key, money, persons, text};

/// Longer than a search lags behind.
const LAG: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_deal_is_found_by_its_payment_and_read() {
    let stage = Stage::new(Settings::default()).await;
    let odd = "pay/1?&=ü\"'+ %2F#";
    let id = stage.server.create(odd);
    let other = stage.server.create("PAY_2");
    stage.server.edit(&id, &stage.field("status"), json!("Disputed"));
    stage.server.edit(&id, &stage.field("paid"), json!(129.95));
    stage.server.clock().advance(LAG);
    let found = stage.find(&stage.payment(odd), &["status", "paid", "reference"]).await;
    let found = found.expect("an answer");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id, id);
    assert_eq!(found[0].values[&stage.field("status")], text("Disputed"));
    assert_eq!(found[0].values[&stage.field("paid")], money("129.95", "EUR"));
    let search = &stage.server.journal().calls_to("/itemSearch/field")[0];
    let value = |name: &str| {
        search.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    };
    assert_eq!((value("entity_type"), value("match")), (Some("deal"), Some("exact")));
    assert_eq!(
        (value("field"), value("term")),
        (Some(stage.field("payment_id").as_str()), Some(odd))
    );
    // Upper and lower case differ, and one letter is enough for a search.
    assert!(stage.find(&stage.payment("pay_2"), &[]).await.expect("an answer").is_empty());
    assert!(stage.find(&stage.payment("P"), &[]).await.expect("an answer").is_empty());
    let both = [stage.payment("PAY_2"), stage.payment("pay_3")];
    let both = stage.crm.find(&deals(), &both, &[]).await;
    assert_eq!(both[0].as_ref().expect("an answer")[0].id, other);
    assert!(both[1].as_ref().expect("an answer").is_empty());
}

#[tokio::test]
async fn two_deals_of_one_payment_are_both_found() {
    let stage = Stage::new(Settings::default()).await;
    for _ in 0..3 {
        stage.server.create("pay_1");
    }
    stage.server.clock().advance(LAG);
    let found = stage.find(&stage.payment("pay_1"), &[]).await.expect("an answer");
    assert_eq!(found.len(), 2);
    assert_ne!(found[0].id, found[1].id);
}

#[tokio::test]
async fn a_search_misses_what_was_just_written_for_no_longer_than_the_facts_say() {
    let stage = Stage::new(Settings::default()).await;
    let row = stage.row(Target::New(stage.payment("pay_1")), &[("title", text("Payment"))]);
    let made = stage.write_one(&row).await.expect("written");
    assert!(stage.find(&stage.payment("pay_1"), &[]).await.expect("an answer").is_empty());
    // By its id it is there at once.
    let found = stage.find(&Key::Id(made.id.clone()), &["payment_id"]).await.expect("an answer");
    assert_eq!(found[0].values[&stage.field("payment_id")], text("pay_1"));
    stage.server.clock().advance(stage.crm.facts().search_lag);
    assert_eq!(stage.find(&stage.payment("pay_1"), &[]).await.expect("an answer")[0].id, made.id);
}

#[tokio::test]
async fn a_hit_that_is_out_of_date_is_not_given() {
    let stage = Stage::new(Settings::default()).await;
    let id = stage.server.create("pay_1");
    stage.server.clock().advance(LAG);
    stage.server.edit(&id, &stage.field("payment_id"), json!("pay_2"));
    assert!(stage.find(&stage.payment("pay_1"), &[]).await.expect("an answer").is_empty());
    assert_eq!(stage.server.journal().count(&format!("/deals/{id}")), 1);
}

#[tokio::test]
async fn deleted_and_archived_deals_are_not_found() {
    let stage = Stage::new(Settings::default()).await;
    for life in [Life::Deleted, Life::Archived] {
        let id = stage.server.create("pay_1");
        stage.server.clock().advance(LAG);
        stage.server.backend().set_life(Entity::Deals, &id, life);
        assert!(stage.find(&stage.payment("pay_1"), &[]).await.expect("an answer").is_empty());
        assert!(stage.find(&Key::Id(id), &[]).await.expect("an answer").is_empty());
    }
    for id in ["999", "31/../32", "", "99999999999999999999999"] {
        assert!(stage.find(&Key::Id(id.to_owned()), &[]).await.expect("an answer").is_empty());
    }
}

#[tokio::test]
async fn a_person_is_found_by_any_of_their_addresses() {
    let stage = Stage::new(Settings::default()).await;
    let ada = json!({
        "name": "Ada",
        "emails": [
            { "value": "ada@home.example", "primary": true, "label": "home" },
            { "value": "Ada@Acme.example", "primary": false, "label": "work" },
        ],
    });
    let id = stage.server.backend().insert(Entity::Persons, &ada);
    let two = json!({ "name": "ada" });
    stage.server.backend().insert(Entity::Persons, &two);
    stage.server.clock().advance(LAG);
    for name in ["emails", "email"] {
        let keys = [key(name, "ada@acme.example")];
        let found = stage.crm.find(&persons(), &keys, &["emails".to_owned()]).await.remove(0);
        let found = found.expect("an answer");
        assert_eq!((found.len(), found[0].id.as_str()), (1, id.as_str()));
        assert_eq!(found[0].values["emails"], text("ada@home.example"));
    }
    // The search does not mind upper and lower case; the look-up does.
    let found = stage.crm.find(&persons(), &[key("name", "Ada")], &[]).await.remove(0);
    assert_eq!(found.expect("an answer").len(), 1);
}

#[tokio::test]
async fn a_field_that_cannot_be_searched_is_refused_without_a_search() {
    let stage = Stage::new(Settings::default()).await;
    let refused = stage.find(&key(&stage.field("status"), "Paid"), &[]).await;
    assert_eq!(code(refused.expect_err("refused")), "not_searchable");
    let refused = stage.find(&stage.payment("pay_1"), &["Nowhere"]).await;
    assert!(refused.is_ok_and(|found| found.is_empty()));
    stage.server.create("pay_1");
    stage.server.clock().advance(LAG);
    let refused = stage.find(&stage.payment("pay_1"), &["Nowhere"]).await;
    assert_eq!(code(refused.expect_err("refused")), "unknown_field");
    assert_eq!(stage.server.journal().count("Search"), 2);
}

#[tokio::test]
async fn choices_are_told_as_the_mapping_wants_them() {
    let stage = Stage::new(Settings::default()).await;
    let id = stage.server.create("pay_1");
    stage.server.edit(&id, &stage.field("status"), json!("Paid"));
    let fields = [stage.field("status")];
    for (choices, expected) in [("label", "Paid"), ("id", "43")] {
        let mut object = deals();
        object.options.insert("choices".to_owned(), choices.to_owned());
        let found = stage.crm.find(&object, &[Key::Id(id.clone())], &fields).await.remove(0);
        let value = &found.expect("an answer")[0].values[&fields[0]];
        assert!(value.same_as(&text(expected)), "{value:?}");
    }
    let mut object = deals();
    object.options.insert("choices".to_owned(), "colour".to_owned());
    assert_eq!(code(stage.crm.describe(&object).await.expect_err("refused")), "unknown_option");
}
