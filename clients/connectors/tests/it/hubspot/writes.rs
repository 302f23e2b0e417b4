//! What is sent when rows are written, and what becomes of each row.

use std::time::Duration;

use fake_crms::hubspot::{Refusal, Settings};
use serde_json::json;
use tollgate_connectors::crm::{Fault, Key, Target, Work};
use tollgate_connectors::value::Value;

use super::*;

#[tokio::test]
async fn a_hundred_payments_are_one_call_and_results_in_any_order_find_their_rows() {
    let (server, crm) = open(Settings::default()).await;
    let created = crm.write(&deals(), &rows(100, "paid")).await;
    let updated = crm.write(&deals(), &rows(100, "refunded")).await;
    assert!(created.iter().flatten().all(|row| row.created == Some(true)));
    assert!(updated.iter().flatten().all(|row| row.created == Some(false)));
    assert_eq!(ids(&created), ids(&updated));
    assert_eq!(server.journal().count("batch/upsert"), 2);
    let records = server.records();
    for (number, id) in ids(&created).iter().enumerate() {
        let record = records.iter().find(|record| record.id == *id).expect("it is there");
        assert_eq!(record.payment_id, format!("pay_{number}"));
        assert_eq!((record.status.as_str(), record.writes), ("Refunded", 2));
        assert!(id.parse::<u64>().expect("digits") > 1 << 53);
    }
}

#[tokio::test]
async fn requests_have_the_shape_that_hubspot_documents() {
    let (server, crm) = open(Settings::default()).await;
    let mut mixed = row("pay_1", "paid");
    mixed.fields.insert("payment_test".to_owned(), Value::Boolean(true));
    mixed.fields.insert("payment_note".to_owned(), Value::Null);
    let upserted = crm.write(&deals(), &[mixed]).await;
    let id = ids(&upserted).remove(0);
    ids(&crm.write(&deals(), &[to(Target::Record(id.clone()), "refunded")]).await);
    ids(&crm.write(&deals(), &[to(Target::New(payment("pay_2")), "paid")]).await);

    let calls = server.journal().calls();
    let paths: Vec<&str> = calls.iter().map(|call| call.path.as_str()).collect();
    let base = "/crm/objects/2026-09/deals/batch";
    assert_eq!(paths, ["upsert", "update", "create"].map(|action| format!("{base}/{action}")));
    let properties = json!({
        "dealname": "A payment", "dealstage": "closedwon", "payment_status": "paid",
        "payment_paid": "129.95", "payment_test": "true", "payment_note": "",
    });
    let upsert = json!({ "inputs": [{
        "idProperty": "payment_id", "id": "pay_1", "objectWriteTraceId": "0-events/1",
        "properties": properties,
    }]});
    assert_eq!(bodies(&server, "upsert"), [upsert]);
    let update = &bodies(&server, "update")[0]["inputs"][0];
    assert_eq!((&update["id"], update.get("idProperty")), (&json!(id), None));
    let create = &bodies(&server, "create")[0]["inputs"][0];
    assert_eq!((create.get("id"), &create["properties"]["payment_id"]), (None, &json!("pay_2")));
}

#[tokio::test]
async fn the_older_paths_are_used_where_they_are_configured() {
    let (server, crm) = open(Settings { api_version: "v3", ..Settings::default() }).await;
    ids(&crm.write(&deals(), &rows(2, "paid")).await);
    crm.identify().await.expect("signed in");
    crm.describe(&deals()).await.expect("described");
    let calls = server.journal().calls();
    let paths: Vec<&str> = calls.iter().map(|call| call.path.as_str()).collect();
    let wanted = [
        "/crm/v3/objects/deals/batch/upsert",
        "/account-info/v3/details",
        "/crm/v3/properties/deals",
    ];
    assert_eq!(paths, wanted);
}

#[tokio::test]
async fn of_a_mixed_batch_good_rows_are_written_and_bad_ones_told_in_bounded_calls() {
    const COUNT: usize = 8;
    let mixes: &[&[usize]] =
        &[&[], &[3], &[0], &[7], &[1, 2, 6], &[0, 1, 2, 3, 4, 5, 6, 7], &[0, 7]];
    let modes = [(Refusal::Whole, true), (Refusal::Whole, false), (Refusal::Rows, true)];
    for (bad_values, names_values) in modes {
        for echoes_traces in [false, true] {
            for bad in mixes {
                let settings =
                    Settings { bad_values, names_values, echoes_traces, ..Settings::default() };
                let (server, crm) = open(settings).await;
                let mut all = rows(COUNT, "paid");
                for at in *bad {
                    all[*at].fields.insert("payment_status".to_owned(), text(&format!("bad{at}")));
                }
                let results = crm.write(&deals(), &all).await;
                for (at, result) in results.iter().enumerate() {
                    let wanted = if bad.contains(&at) { "INVALID_OPTION" } else { "" };
                    assert_eq!(code(result), wanted, "{bad:?} {at} {result:?}");
                    assert_eq!(result.is_ok(), wanted.is_empty(), "{result:?}");
                }
                let good = (0..COUNT).filter(|at| !bad.contains(at));
                let good: Vec<String> = good.map(|at| format!("pay_{at}")).collect();
                has(&server, &good.iter().map(|id| (id.as_str(), "Paid")).collect::<Vec<_>>());
                let calls = server.journal().count("batch/upsert");
                assert!(calls <= 2 * COUNT, "{calls} calls for {bad:?}");
                if names_values {
                    assert!(calls <= bad.len() + 1, "{calls} calls for {bad:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_property_that_is_not_there_or_is_hubspots_own_fails_its_rows_alone() {
    for (name, wanted) in
        [("no_such", "PROPERTY_DOESNT_EXIST"), ("hs_object_id", "READ_ONLY_VALUE")]
    {
        let (server, crm) = open(Settings::default()).await;
        let mut all = rows(6, "paid");
        for at in [1, 4] {
            all[at].fields.insert(name.to_owned(), text("1"));
        }
        let results = crm.write(&deals(), &all).await;
        let codes: Vec<&str> = results.iter().map(code).collect();
        assert_eq!(codes, ["", wanted, "", "", wanted, ""]);
        assert_eq!(server.records().len(), 4);
        assert_eq!(server.journal().count("batch/upsert"), 2);
    }
}

#[tokio::test]
async fn keys_that_hubspot_takes_for_the_same_are_written_one_after_the_other() {
    let (server, crm) = open(Settings::default()).await;
    let contact = |email: &str, name: &str| {
        let mut row = row("", "paid");
        row.target = Target::Upsert(unique("email", email));
        row.fields = BTreeMap::from([("firstname".to_owned(), text(name))]);
        row
    };
    let all = [contact("Ada@Example.com", "first"), contact("ada@example.com", "second")];
    let results = crm.write(&object("contacts"), &all).await;
    let ids = ids(&results);
    assert_eq!(ids[0], ids[1]);
    let created: Vec<_> = results.iter().flatten().map(|row| row.created).collect();
    assert_eq!(created, [Some(true), Some(false)]);
    let backend = server.backend();
    assert_eq!(backend.value(&ids[0], "firstname").as_deref(), Some("second"));
}

#[tokio::test]
async fn who_loses_a_race_is_told_so_and_the_payment_has_one_record() {
    for (conflicts, count) in [(Refusal::Rows, 4), (Refusal::Rows, 1), (Refusal::Whole, 1)] {
        let (server, crm) = open(Settings { conflicts, ..Settings::default() }).await;
        server.backend().race("pay_0");
        let results = crm.write(&deals(), &rows(count, "paid")).await;
        assert!(matches!(results[0], Err(Fault::Raced { .. })), "{results:?}");
        assert_eq!(results.iter().flatten().count(), count - 1);
        assert_eq!(server.journal().count("batch/upsert"), 1);

        let found = crm.find(&deals(), &[payment("pay_0")], &[]).await.remove(0);
        let id = found.expect("found")[0].id.clone();
        ids(&crm.write(&deals(), &[to(Target::Record(id), "refunded")]).await);
        let rest = (1..count).map(|number| (format!("pay_{number}"), "Paid"));
        let rest: Vec<(String, &str)> = rest.collect();
        let rest = rest.iter().map(|(id, status)| (id.as_str(), *status));
        has(&server, &rest.chain([("pay_0", "Refunded")]).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_batch_that_lost_a_race_is_taken_apart_and_finds_the_record_that_won() {
    let (server, crm) = open(Settings::default()).await;
    server.backend().race("pay_2");
    let results = crm.write(&deals(), &rows(4, "paid")).await;
    let created: Vec<_> = results.iter().flatten().map(|row| row.created).collect();
    assert_eq!(created, [Some(true), Some(true), Some(false), Some(true)]);
    assert_eq!(server.journal().count("batch/upsert"), 3);
    has(&server, &["pay_0", "pay_1", "pay_2", "pay_3"].map(|id| (id, "Paid")));
}

#[tokio::test]
async fn a_new_record_of_a_key_that_is_there_is_raced_and_others_are_created() {
    for conflicts in [Refusal::Whole, Refusal::Rows] {
        let (server, crm) = open(Settings { conflicts, ..Settings::default() }).await;
        server.create("pay_1");
        let all = ["pay_0", "pay_1", "pay_2"].map(|id| to(Target::New(payment(id)), "paid"));
        let results = crm.write(&deals(), &all).await;
        assert!(matches!(results[1], Err(Fault::Raced { .. })), "{results:?}");
        for at in [0, 2] {
            assert_eq!(results[at].as_ref().map(|row| row.created), Ok(Some(true)));
        }
        has(&server, &[("pay_0", "Paid"), ("pay_1", ""), ("pay_2", "Paid")]);
    }
}

#[tokio::test]
async fn a_record_that_is_gone_is_told_so_and_others_are_updated() {
    for refuses_unknown in [true, false] {
        let (server, crm) = open(Settings { refuses_unknown, ..Settings::default() }).await;
        let kept = server.create("pay_0");
        let archived = server.create("pay_1");
        server.backend().archive(&archived);
        let targets = [archived.as_str(), kept.as_str(), "123"];
        let all = targets.map(|id| to(Target::Record(id.to_owned()), "paid"));
        let results = crm.write(&deals(), &all).await;
        assert!(matches!(results[0], Err(Fault::Gone { .. })), "{results:?}");
        assert_eq!(results[1].as_ref().map(|row| row.created), Ok(Some(false)));
        assert!(matches!(results[2], Err(Fault::Gone { .. })), "{results:?}");
        let alone = crm.write(&deals(), &all[2..]).await;
        assert!(matches!(alone[0], Err(Fault::Gone { .. })), "{alone:?}");
        has(&server, &[("pay_0", "Paid")]);
    }
}

#[tokio::test]
async fn a_unique_value_of_another_record_is_no_race_for_an_update() {
    let (server, crm) = open(Settings::default()).await;
    let first = server.create("pay_0");
    server.create("pay_1");
    let mut clash = to(Target::Record(first), "paid");
    clash.fields.insert("payment_id".to_owned(), text("pay_1"));
    assert_eq!(code(&crm.write(&deals(), &[clash]).await[0]), "CONFLICT");
}

#[tokio::test]
async fn a_locked_record_holds_up_only_itself() {
    let (server, crm) = open(Settings::default()).await;
    let locked = server.create("pay_1");
    server.backend().lock_record(&locked, Duration::from_secs(60));
    let results = crm.write(&deals(), &rows(2, "paid")).await;
    assert!(results[0].is_ok(), "{results:?}");
    let wait = Some(Duration::from_secs(2));
    assert!(matches!(&results[1], Err(Fault::Transient { wait: told, .. }) if *told == wait));
    server.clock().advance(Duration::from_secs(60));
    ids(&crm.write(&deals(), &[row("pay_1", "paid")]).await);
    has(&server, &[("pay_0", "Paid"), ("pay_1", "Paid")]);
}

#[tokio::test]
async fn days_and_moments_are_written_as_the_property_wants_and_the_schema_is_read_once() {
    let (server, crm) = open(Settings::default()).await;
    let mut all = rows(1, "paid");
    let time = "2026-11-24T10:00:00.123456Z".parse().expect("a moment");
    all[0].fields.insert("payment_due".to_owned(), Value::Time(time));
    all[0].fields.insert("payment_time".to_owned(), Value::Time(time));
    let id = ids(&crm.write(&deals(), &all).await).remove(0);
    ids(&crm.write(&deals(), &all).await);
    let value = |field: &str| server.backend().value(&id, field);
    assert_eq!(value("payment_due").as_deref(), Some("2026-11-24"));
    assert_eq!(value("payment_time").as_deref(), Some("2026-11-24T10:00:00.123Z"));
    assert_eq!(server.journal().count("/properties/"), 1);
}

#[tokio::test]
async fn a_kind_of_record_that_is_not_there_costs_no_call_for_each_row() {
    let (server, crm) = open(Settings::default()).await;
    let results = crm.write(&object("payments"), &rows(50, "paid")).await;
    assert!(results.iter().all(|row| code(row) == "VALIDATION_ERROR"), "{results:?}");
    assert_eq!(server.journal().calls().len(), 2);

    let mut all = rows(50, "paid");
    for (number, row) in all.iter_mut().enumerate() {
        row.target = Target::Upsert(unique("no_such", &number.to_string()));
    }
    let results = crm.write(&deals(), &all).await;
    assert!(results.iter().all(|row| code(row) == "VALIDATION_ERROR"), "{results:?}");
    assert_eq!(server.journal().calls().len(), 4);
}

#[tokio::test]
async fn a_property_without_unique_values_is_no_key() {
    let (server, crm) = open(Settings::default()).await;
    let by = |key: Key| to(Target::Upsert(key), "paid");
    let all = [by(unique("payment_invoice", "1")), by(unique("hs_object_id", "1"))];
    let results = crm.write(&deals(), &all).await;
    assert!(results.iter().all(|row| code(row) == "VALIDATION_ERROR"), "{results:?}");
    let by_id = crm.write(&deals(), &[by(Key::Id("1".to_owned()))]).await;
    assert_eq!(code(&by_id[0]), "NO_KEY_PROPERTY");
    assert!(server.records().is_empty());
}

#[tokio::test]
async fn work_costs_its_batches_and_the_windows_that_they_fill() {
    let (_server, crm) = open(Settings::real()).await;
    let cost = crm.cost(Work { lookups: 150, writes: 38_000, creates: 1 });
    assert_eq!((cost.calls, cost.seconds), (383, 20.0));
}
