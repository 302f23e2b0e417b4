//! Rows: what is sent for them, an outcome for each, refused collections taken apart, races.

use std::time::Duration;

use fake_crms::Account;
use fake_crms::salesforce::UnknownField;
use serde_json::json;

use super::*;

#[tokio::test]
async fn a_batch_is_one_collection_by_the_external_id() {
    let org = Org::start().await;
    let time = Value::Time("2026-11-24T10:00:00.123456Z".parse().expect("a time"));
    let one = with(upsert("pay_1"), "Paid_Amount__c", number("129.90"));
    let one = with(one, "Refunded_Amount__c", text("0.50"));
    let one = with(one, "Invoice_Number__c", number("42"));
    let one = with(with(one, "Paid_At__c", time), "Is_Test__c", Value::Boolean(false));
    let results = org.write(&[one, upsert("pay_2")]).await;
    assert!(
        results.iter().all(|result| result.as_ref().is_ok_and(|row| row.created == Some(true)))
    );
    let calls = org.writes();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].method, "PATCH");
    let path = "/services/data/v66.0/composite/sobjects/Opportunity/Payment_Id__c";
    assert_eq!(calls[0].path, path);
    assert_eq!(calls[0].headers["sforce-call-options"], "client=tollgate");
    let expected = json!({
        "attributes": { "type": "Opportunity" },
        "Payment_Id__c": "pay_1",
        "Name": "Payment",
        "StageName": "Prospecting",
        "CloseDate": "2026-12-31",
        "Payment_Status__c": "Paid",
        "Paid_Amount__c": 129.9,
        "Refunded_Amount__c": 0.5,
        "Invoice_Number__c": "42",
        "Paid_At__c": "2026-11-24T10:00:00.123Z",
        "Is_Test__c": false,
    });
    let body = body(&calls[0]);
    assert_eq!(body["allOrNone"], false);
    assert_eq!(body["records"][0], expected);
    let again = org.write_one(upsert("pay_1")).await.expect("written");
    assert_eq!(again.created, Some(false));
    let records = org.server.records();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].id, again.id);
    assert_eq!((records[0].status.as_str(), records[0].writes), ("Paid", 2));
    assert_eq!(records[0].paid, Some("129.90".parse().expect("a number")));
    // The fields are read once.
    assert_eq!(org.server.journal().count("/describe"), 1);
}

#[tokio::test]
async fn each_row_of_a_mixed_batch_has_its_own_outcome() {
    let org = Org::with(Settings { unknown_field: UnknownField::Row, ..Settings::default() }).await;
    let locked = org.server.create("locked");
    org.server.backend().lock(&locked, Duration::from_secs(60));
    let bad = |id: &str| with(upsert(id), "Payment_Status__c", text("Lost"));
    let restricted = "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST";

    let results = org.write(&[bad("a"), upsert("b"), upsert("locked"), upsert("c")]).await;
    assert_eq!(code(&results[0]), restricted);
    assert_eq!(results[1].as_ref().expect("written").created, Some(true));
    assert!(matches!(&results[2], Err(Fault::Transient { reason, .. })
        if reason.starts_with("UNABLE_TO_LOCK_ROW")));
    assert!(results[3].is_ok());

    let results = org.write(&[upsert("d"), with(upsert("e"), "Nope__c", text("x"))]).await;
    assert!(results[0].is_ok());
    assert_eq!(code(&results[1]), "INVALID_FIELD");

    let results = org.write(&[bad("f"), bad("g")]).await;
    assert!(results.iter().all(|result| code(result) == restricted));

    let long = with(upsert("h"), "Payment_Currency__c", text("EURO"));
    let bare = Write { fields: BTreeMap::new(), ..upsert("i") };
    let own = with(upsert("j"), "Id", text("x"));
    let read_only = with(upsert("k"), "LastModifiedDate", text("2026-01-01T00:00:00Z"));
    let results = org.write(&[long, bare, own, read_only]).await;
    let codes: Vec<&str> = results.iter().map(code).collect();
    let refused = "INVALID_FIELD_FOR_INSERT_UPDATE";
    assert_eq!(codes, ["STRING_TOO_LONG", "REQUIRED_FIELD_MISSING", refused, refused]);

    // Upper and lower case are one key to the org: neither is written, and both may be alone.
    let results = org.write(&[upsert("Twice"), upsert("twice"), upsert("once")]).await;
    assert!(matches!(results[0], Err(Fault::Raced { .. })), "{results:?}");
    assert!(matches!(results[1], Err(Fault::Raced { .. })), "{results:?}");
    assert!(results[2].is_ok());

    let written = org.server.records().len();
    // b, c, d, once and the one that a person made.
    assert_eq!(written, 5);
}

#[tokio::test]
async fn rules_and_triggers_are_told_apart_by_code() {
    let org = Org::start().await;
    let refuse = |name: &str, code: &str, message: &str| {
        org.server.backend().refuse("Invoice_Number__c", json!(name), code, message);
    };
    let trigger = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY";
    refuse("rule", "FIELD_CUSTOM_VALIDATION_EXCEPTION", "Paid needs an account");
    refuse("double", "DUPLICATES_DETECTED", "Use one of these records?");
    refuse("locked", trigger, "T: execution of AfterUpdate caused by: UNABLE_TO_LOCK_ROW");
    refuse("broken", trigger, "T: System.NullPointerException");
    let names = ["rule", "double", "locked", "broken"];
    let rows = names.map(|name| with(upsert(name), "Invoice_Number__c", text(name)));
    let results = org.write(&rows).await;
    assert_eq!(code(&results[0]), "FIELD_CUSTOM_VALIDATION_EXCEPTION");
    assert_eq!(code(&results[1]), "DUPLICATES_DETECTED");
    assert!(matches!(results[2], Err(Fault::Transient { .. })));
    assert_eq!(code(&results[3]), trigger);
}

#[tokio::test]
async fn more_rows_than_a_collection_takes_go_in_several() {
    let org = Org::start().await;
    let rows: Vec<Write> = (0..201).map(|n| upsert(&format!("pay_{n}"))).collect();
    let results = org.write(&rows).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(org.writes().len(), 2);
    let ids: Vec<String> = org.server.records().into_iter().map(|record| record.id).collect();
    let told: Vec<String> =
        results.into_iter().filter_map(Result::ok).map(|written| written.id).collect();
    assert_eq!(told.len(), ids.len());
    assert!(told.iter().all(|id| ids.contains(id)));
}

#[tokio::test]
async fn a_collection_refused_whole_is_taken_apart_until_the_bad_rows_are_alone() {
    let org = Org::start().await;
    org.write_one(upsert("first")).await.expect("written");
    for bad in [vec![0], vec![31], vec![7, 8], (0..32).collect::<Vec<usize>>()] {
        org.server.journal().forget();
        let rows: Vec<Write> = (0..32)
            .map(|n| match bad.contains(&n) {
                // No number: the org cannot even read the request.
                true => with(upsert(&format!("pay_{n}")), "Paid_Amount__c", text("much")),
                false => upsert(&format!("pay_{n}")),
            })
            .collect();
        for (n, result) in org.write(&rows).await.iter().enumerate() {
            match bad.contains(&n) {
                true => assert_eq!(code(result), "JSON_PARSER_ERROR"),
                false => assert!(result.is_ok(), "{result:?}"),
            }
        }
        assert!(org.writes().len() <= 64, "{} calls", org.writes().len());
        let good: Vec<_> = org.server.journal().commits();
        assert_eq!(good.len(), 32 - bad.len(), "no row twice");
    }
}

#[tokio::test]
async fn a_field_that_vanished_costs_a_describe_and_not_a_call_per_row() {
    let org = Org::start().await;
    org.write_one(upsert("first")).await.expect("written");
    org.server.backend().hide("Payment_Currency__c");
    org.server.journal().forget();
    let rows: Vec<Write> = (0..100)
        .map(|n| match n % 2 {
            0 => with(upsert(&format!("pay_{n}")), "Payment_Currency__c", text("EUR")),
            _ => upsert(&format!("pay_{n}")),
        })
        .collect();
    for (n, result) in org.write(&rows).await.iter().enumerate() {
        match n % 2 {
            0 => assert_eq!(code(result), "INVALID_FIELD"),
            _ => assert!(result.is_ok(), "{result:?}"),
        }
    }
    assert_eq!(org.writes().len(), 2);
    assert_eq!(org.server.journal().calls().len(), 3);
}

#[tokio::test]
async fn a_create_that_was_raced_is_told_and_leaves_one_record() {
    let org = Org::start().await;
    org.server.backend().race("pay_1");
    let results = org.write(&[upsert("pay_1"), upsert("pay_2")]).await;
    assert!(matches!(&results[0], Err(Fault::Raced { .. })), "{results:?}");
    assert!(results[1].is_ok());
    assert_eq!(org.write_one(upsert("pay_1")).await.expect("written").created, Some(false));
    let rows = ["PAY_2", "pay_3"].map(|id| row(Target::New(payment(id))));
    let new = org.write(&rows).await;
    assert!(matches!(&new[0], Err(Fault::Raced { .. })), "{new:?}");
    assert_eq!(new[1].as_ref().expect("written").created, Some(true));
    assert_eq!(org.writes().last().expect("a call").method, "POST");
    assert!(org.server.journal().second_creates().is_empty());
    assert_eq!(org.server.records().len(), 3);
}

#[tokio::test]
async fn two_processes_that_create_one_payment_make_one_record() {
    let org = Org::start().await;
    let config = Salesforce::crm_by_assertion(&org.server);
    let other = opened(&config, &Orgs::default()).expect("a right configuration");
    let (object, rows) = (object("Opportunity"), [upsert("pay_1")]);
    let (one, two) = tokio::join!(org.crm.write(&object, &rows), other.write(&object, &rows));
    let created = [&one[0], &two[0]].map(|result| result.as_ref().expect("written").created);
    assert!(created.contains(&Some(true)) && created.contains(&Some(false)));
    assert_eq!(org.server.records().len(), 1);
}

#[tokio::test]
async fn a_record_is_updated_by_its_id_and_gone_once_it_is_deleted() {
    let org = Org::start().await;
    let (here, gone) = (org.server.create("here"), org.server.create("gone"));
    org.server.backend().delete(&gone);
    let never = gone.replace("0065g", "0069z");
    let update = |id: &str| Write {
        fields: BTreeMap::from([("Payment_Status__c".to_owned(), text("Refunded"))]),
        ..row(Target::Record(id.to_owned()))
    };
    // The id without its checksum is the same record.
    let results =
        org.write(&[update(&here[..15]), update(&gone), update(&never), update("in_123")]).await;
    assert_eq!(results[0], Ok(Written { id: here, created: Some(false) }));
    assert!(matches!(&results[1], Err(Fault::Gone { .. })), "{results:?}");
    assert!(matches!(&results[2], Err(Fault::Gone { .. })), "{results:?}");
    assert_eq!(code(&results[3]), "MALFORMED_ID");
    let calls = org.writes();
    assert_eq!((calls.len(), calls[0].method.as_str()), (1, "PATCH"));
    assert_eq!(calls[0].path, "/services/data/v66.0/composite/sobjects");
    assert_eq!(org.server.records()[0].status, "Refunded");
}

#[tokio::test]
async fn one_call_of_write_takes_targets_of_every_kind() {
    let org = Org::start().await;
    let id = org.server.create("a");
    let update = Write {
        fields: BTreeMap::from([("Payment_Status__c".to_owned(), text("Paid"))]),
        ..row(Target::Record(id))
    };
    let legacy = row(Target::Upsert(key("Legacy_Number__c", "12")));
    let no_key = row(Target::Upsert(payment("b")));
    let not_external = row(Target::Upsert(key("Name", "n")));
    let results =
        org.write(&[update, legacy, row(Target::New(payment("c"))), no_key, not_external]).await;
    assert!(results[..4].iter().all(Result::is_ok), "{results:?}");
    assert_eq!(code(&results[4]), "NOT_FOUND");
    assert_eq!(org.server.records().len(), 4);
}

#[tokio::test]
async fn keys_with_odd_characters_stay_what_they_are() {
    let org = Org::start().await;
    let odd =
        ["it's", "a\\b", "\"q\"", "x' OR Id != '", "ü€", "a/b?c=d&e+f%20", "1234567890123456789"];
    let rows = odd.map(upsert);
    let results = org.write(&rows).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let stored: Vec<String> =
        org.server.records().into_iter().map(|record| record.payment_id).collect();
    assert!(odd.iter().all(|key| stored.contains(&(*key).to_owned())), "{stored:?}");
}
