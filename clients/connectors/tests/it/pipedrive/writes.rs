//! Rows and what becomes of them, one by one.

use std::time::Duration;

use fake_crms::pipedrive::Settings;
use fake_crms::pipedrive::entities::{Entity, Kind, Spec};
use fake_crms::{Account, Effect, Fault as Planned, Life, Write as Happened, faults};
use serde_json::json;
use tollgate_connectors::crm::{Fault, FieldKind, Target, Write};
use tollgate_connectors::value::Value;

use super::{Stage, code, deals, key, money, number, persons, record, text};

#[tokio::test]
async fn a_row_is_patched_in_the_shape_of_the_api() {
    let stage = Stage::new(Settings::default()).await;
    let id = stage.server.create("pay_1");
    let row = stage.row(
        record(&id),
        &[
            ("status", text("Partially refunded")),
            ("paid", money("129.90", "CHF")),
            ("refunded", number("0")),
            ("reference", text("0042")),
        ],
    );
    let written = stage.write_one(&row).await.expect("written");
    assert_eq!((written.id.as_str(), written.created), (id.as_str(), Some(false)));
    let expected = json!({
        "custom_fields": {
            stage.field("status"): 47,
            stage.field("paid"): { "value": 129.9, "currency": "CHF" },
            stage.field("refunded"): { "value": 0, "currency": "CHF" },
            stage.field("reference"): "0042",
        },
    });
    assert_eq!(stage.sent("PATCH"), [expected]);
    let call = &stage.server.journal().calls_to(&format!("/api/v2/deals/{id}"))[0];
    assert_eq!(call.headers["content-type"], "application/json");
    let shown = &stage.server.records()[0];
    assert_eq!((shown.status.as_str(), shown.writes), ("Partially refunded", 1));
    assert_eq!(shown.paid.map(|paid| paid.to_string()).as_deref(), Some("129.9"));
}

#[tokio::test]
async fn a_new_deal_is_posted_with_its_key() {
    let stage =
        Stage::new(Settings { first_id: 9_007_199_254_740_993, ..Settings::default() }).await;
    let target = Target::New(stage.payment("pay \"ü\" /1?&=%2F"));
    let row = stage.row(target, &[("title", text("Payment pay_1")), ("status", text("Paid"))]);
    let written = stage.write_one(&row).await.expect("written");
    assert_eq!(written.created, Some(true));
    assert_eq!(written.id, "9007199254740993");
    let expected = json!({
        "title": "Payment pay_1",
        "custom_fields": {
            stage.field("status"): 43,
            stage.field("payment_id"): "pay \"ü\" /1?&=%2F",
        },
    });
    assert_eq!(stage.sent("POST"), [expected]);
    let row = stage.row(record(&written.id), &[("status", text("Refunded"))]);
    assert!(stage.write_one(&row).await.is_ok());
    assert_eq!(stage.server.records()[0].status, "Refunded");
}

/// What the rows of a mix are, and whether each is written.
fn mix(stage: &Stage, pattern: &str) -> Vec<Write> {
    let row = |(index, what): (usize, char)| match what {
        'g' => {
            let id = stage.server.create(&format!("pay_{index}"));
            stage.row(record(&id), &[("status", text("Paid"))])
        }
        'p' => {
            let id = stage.server.create(&format!("pay_{index}"));
            stage.row(record(&id), &[("reference", text(&"x".repeat(256)))])
        }
        'o' => {
            let id = stage.server.create(&format!("pay_{index}"));
            stage.row(record(&id), &[("status", text("Half paid"))])
        }
        't' => {
            let id = stage.server.create(&format!("pay_{index}"));
            let reply = faults::bad_gateway(503);
            let fault = Planned::new(Effect::Answer(Happened::Lost, reply));
            stage.server.faults().add(fault.path(&format!("/deals/{id}")));
            stage.row(record(&id), &[("status", text("Paid"))])
        }
        'd' => {
            let id = stage.server.create(&format!("pay_{index}"));
            stage.server.backend().set_life(Entity::Deals, &id, Life::Deleted);
            stage.row(record(&id), &[("status", text("Paid"))])
        }
        other => panic!("{other}"),
    };
    pattern.chars().enumerate().map(row).collect()
}

#[tokio::test]
async fn each_row_of_a_mix_has_its_own_outcome() {
    for pattern in ["ggg", "gpg", "gtg", "pgg", "ggd", "ppp", "ogdgp"] {
        let stage = Stage::new(Settings { deleted_status: 410, ..Settings::default() }).await;
        let rows = mix(&stage, pattern);
        let outcomes = stage.write(&rows).await;
        let told: String = outcomes
            .iter()
            .map(|outcome| match outcome {
                Ok(_) => 'g',
                Err(Fault::Permanent { code, .. }) if code == "ERR_SCHEMA_VALIDATION_FAILED" => 'p',
                Err(Fault::Permanent { code, .. }) if code == "unknown_option" => 'o',
                Err(Fault::Transient { wait: None, .. }) => 't',
                Err(Fault::Gone { .. }) => 'd',
                Err(other) => panic!("{pattern}: {other:?}"),
            })
            .collect();
        assert_eq!(told, pattern);
        let written = stage.server.records().iter().filter(|record| record.writes == 1).count();
        assert_eq!(written, pattern.matches('g').count(), "{pattern}");
        // One call a row, and one for the fields.
        assert!(stage.server.journal().calls().len() <= rows.len() + 1, "{pattern}");
    }
}

#[tokio::test]
async fn options_are_named_by_label_or_id_and_null_clears() {
    let stage = Stage::new(Settings::default()).await;
    let id = stage.server.create("pay_1");
    for (value, sent) in [
        (text("Paid"), json!(43)),
        (number("48"), json!(48)),
        (text("48"), json!(48)),
        (Value::Null, json!(null)),
    ] {
        let row = stage.row(record(&id), &[("status", value)]);
        stage.write_one(&row).await.expect("written");
        let last = stage.sent("PATCH").pop().expect("a call");
        assert_eq!(last["custom_fields"][stage.field("status")], sent);
    }
    let person =
        json!({ "name": "Ada", "emails": [{ "value": "ada@acme.example", "primary": true }] });
    let person = stage.server.backend().insert(Entity::Persons, &person);
    for (value, sent) in [
        (text("VIP"), json!([61])),
        (text("VIP, B2B"), json!([61, 63])),
        (Value::Null, json!(null)),
    ] {
        let fields = [("Tags".to_owned(), value)].into();
        let row = Write { target: record(&person), fields, trace: "t".to_owned() };
        stage.crm.write(&persons(), &[row]).await.remove(0).expect("written");
        let last = stage.sent("PATCH").pop().expect("a call");
        let sets = last["custom_fields"].as_object().expect("an object");
        assert_eq!(sets.values().next(), Some(&sent));
    }
}

#[tokio::test]
async fn a_name_stands_for_a_key_unless_two_fields_bear_it() {
    let stage = Stage::new(Settings::default()).await;
    stage.server.backend().page_fields(3);
    let id = stage.server.create("pay_1");
    let row = stage.row(record(&id), &[("Payment status", text("Paid"))]);
    stage.write_one(&row).await.expect("written by the field's name");
    assert_eq!(stage.server.records()[0].status, "Paid");

    let stage = Stage::new(Settings::default()).await;
    let twin = Spec::custom(&"a".repeat(40), "Payment status", Kind::Varchar);
    stage.server.backend().add_field(Entity::Deals, twin);
    let id = stage.server.create("pay_1");
    let row = stage.row(record(&id), &[("Payment status", text("Paid"))]);
    assert_eq!(code(stage.write_one(&row).await.expect_err("refused")), "ambiguous_field");
    let row = stage.row(record(&id), &[("Nowhere", text("Paid"))]);
    assert_eq!(code(stage.write_one(&row).await.expect_err("refused")), "unknown_field");
    assert!(stage.sent("PATCH").is_empty());
    // The fields were read once: what does not fit is not read again at once.
    assert_eq!(stage.server.journal().count("/dealFields"), 1);
}

#[tokio::test]
async fn an_option_that_is_new_is_known_after_a_while() {
    let stage = Stage::new(Settings::default()).await;
    let id = stage.server.create("pay_1");
    let row = stage.row(record(&id), &[("status", text("In review"))]);
    assert_eq!(code(stage.write_one(&row).await.expect_err("refused")), "unknown_option");
    let option = stage.server.backend().add_option(&stage.field("status"), "In review");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(301)).await;
    tokio::time::resume();
    stage.write_one(&row).await.expect("written");
    let last = stage.sent("PATCH").pop().expect("a call");
    assert_eq!(last["custom_fields"][stage.field("status")], json!(option));
}

#[tokio::test]
async fn an_amount_keeps_its_digits_and_gets_no_invented_currency() {
    let without = |config: String| config.replace("default_currency = \"EUR\"\n", "");
    let stage = Stage::with(Settings::default(), without).await;
    let id = stage.server.create("pay_1");
    let row = stage.row(record(&id), &[("paid", money("90071992547409.93", "EUR"))]);
    assert_eq!(code(stage.write_one(&row).await.expect_err("refused")), "wrong_type");
    let row = stage.row(record(&id), &[("paid", text("much"))]);
    assert_eq!(code(stage.write_one(&row).await.expect_err("refused")), "wrong_type");
    assert!(stage.sent("PATCH").is_empty());
    // The user's own currency, asked for once.
    for _ in 0..2 {
        let row = stage.row(record(&id), &[("refunded", number("0"))]);
        stage.write_one(&row).await.expect("written");
    }
    let last = stage.sent("PATCH").pop().expect("a call");
    let expected = json!({ "value": 0, "currency": "EUR" });
    assert_eq!(last["custom_fields"][stage.field("refunded")], expected);
    assert_eq!(stage.server.journal().count("/users/me"), 1);
}

#[tokio::test]
async fn a_persons_addresses_are_not_replaced() {
    let stage = Stage::new(Settings::default()).await;
    let target = Target::New(key("emails", "ada@acme.example"));
    let fields = [("name".to_owned(), text("Ada"))].into();
    let row = Write { target, fields, trace: "t".to_owned() };
    let made = stage.crm.write(&persons(), &[row]).await.remove(0).expect("written");
    assert_eq!(stage.sent("POST")[0]["emails"][0]["value"], json!("ada@acme.example"));
    let fields = [("emails".to_owned(), text("other@acme.example"))].into();
    let row = Write { target: record(&made.id), fields, trace: "t".to_owned() };
    let outcome = stage.crm.write(&persons(), &[row]).await.remove(0);
    assert_eq!(code(outcome.expect_err("refused")), "not_writable");
    assert!(stage.sent("PATCH").is_empty());
}

#[tokio::test]
async fn a_full_plan_is_permanent_and_a_closed_account_stops() {
    let stage = Stage::new(Settings { max_deals: Some(0), ..Settings::default() }).await;
    let target = Target::New(stage.payment("pay_1"));
    let row = stage.row(target, &[("title", text("Payment"))]);
    assert_eq!(code(stage.write_one(&row).await.expect_err("full")), "feature_capping_deals_limit");
    stage.server.backend().close_account(true);
    let outcome = stage.write_one(&row).await;
    assert!(matches!(outcome, Err(Fault::Unauthorized { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_deals_value_is_not_touched_unless_it_is_mapped() {
    let stage = Stage::new(Settings { value_resets_products: true, ..Settings::default() }).await;
    let id = stage.server.create("pay_1");
    stage.server.edit(&id, "products_count", json!(3));
    let row = stage.row(record(&id), &[("paid", money("10", "EUR"))]);
    stage.write_one(&row).await.expect("written");
    let deal = stage.server.backend().record(Entity::Deals, &id).expect("a deal");
    assert_eq!(deal["products_count"], json!(3));
}

#[tokio::test]
async fn what_cannot_be_written_is_refused_without_a_call() {
    let stage = Stage::new(Settings::default()).await;
    let id = stage.server.create("pay_1");
    let row = stage.row(Target::Upsert(stage.payment("pay_1")), &[("status", text("Paid"))]);
    assert_eq!(code(stage.write_one(&row).await.expect_err("refused")), "no_upsert");
    let row = stage.row(record("31/../32"), &[("status", text("Paid"))]);
    assert!(matches!(stage.write_one(&row).await, Err(Fault::Gone { .. })));
    let row = stage.row(record(&id), &[("add_time", text("2026-11-24"))]);
    assert_eq!(code(stage.write_one(&row).await.expect_err("refused")), "not_writable");
    assert!(stage.sent("PATCH").is_empty() && stage.sent("POST").is_empty());
    let mut leads = deals();
    leads.name = "leads".to_owned();
    let row = stage.row(record(&id), &[("status", text("Paid"))]);
    assert_eq!(
        code(stage.crm.write(&leads, &[row]).await.remove(0).expect_err("x")),
        "unknown_object"
    );
}

#[tokio::test]
async fn the_fields_are_described_as_they_are() {
    let stage = Stage::new(Settings::default()).await;
    stage.server.backend().page_fields(2);
    let described = stage.crm.describe(&deals()).await.expect("described");
    let field = |name: &str| described.field(name).expect("a field").clone();
    assert!(field("title").required && field("title").writable);
    assert!(!field("add_time").writable);
    let status = field(&stage.field("status"));
    assert_eq!((status.kind, status.options.len()), (FieldKind::Choice, 10));
    assert_eq!(
        (status.options[2].value.as_str(), status.options[2].label.as_str()),
        ("43", "Paid")
    );
    let reference = field(&stage.field("reference"));
    assert_eq!((reference.kind, reference.max_length), (FieldKind::Text, Some(255)));
    assert_eq!(field(&stage.field("paid")).kind, FieldKind::Money);
    assert!(described.fields.iter().all(|field| !field.unique));
    // What is described is as it is now.
    stage.server.backend().add_option(&stage.field("status"), "In review");
    let described = stage.crm.describe(&deals()).await.expect("described");
    assert_eq!(described.field(&stage.field("status")).expect("a field").options.len(), 11);
}
