//! Writes: the shape of requests, outcomes row by row, races, keys with odd characters.

use fake_crms::dynamics::Settings;
use fake_crms::table::Fields;
use http::Method;
use serde_json::json;
use tollgate_connectors::crm::{Fault, Key, Target};
use tollgate_connectors::value::Value;

use super::*;

#[tokio::test]
async fn a_row_is_a_patch_by_its_key_within_a_batch() {
    let setup = Setup::warm(Settings::default(), "").await;
    let outcomes = setup.write(&[upsert("pay_'1 é")]).await;
    assert_eq!(words(&outcomes), ["created"]);
    let calls = setup.batches();
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    let header = |name: &str| call.headers[name].to_str().expect("text");
    assert_eq!((&call.method, call.path.as_str()), (&Method::POST, "/api/data/v9.2/$batch"));
    assert!(header("content-type").starts_with("multipart/mixed; boundary=\"batch_"));
    assert_eq!(header("prefer"), "odata.continue-on-error");
    assert_eq!((header("odata-version"), header("odata-maxversion")), ("4.0", "4.0"));
    assert_eq!(header("if-none-match"), "null");
    let body = std::str::from_utf8(&call.body).expect("text");
    let lines: Vec<&str> = body.split("\r\n").collect();
    for line in [
        "Content-Type: application/http",
        "Content-Transfer-Encoding: binary",
        "Content-ID: 1",
        "PATCH /api/data/v9.2/new_payments(new_paymentid='pay_%27%271%20%C3%A9')\
         ?$select=new_paymentrecordid HTTP/1.1",
        "Content-Type: application/json; type=entry",
        "Prefer: return=representation",
        r#"{"new_paidamount":129.95,"new_status":100000002}"#,
    ] {
        assert!(lines.contains(&line), "{line} is not in {body}");
    }
}

#[tokio::test]
async fn an_upsert_tells_created_from_updated_and_the_id_stays() {
    let setup = Setup::start().await;
    let first = setup.write(&[upsert("pay_1")]).await.remove(0).expect("written");
    let again = row(Target::Upsert(key("pay_1", true)), REFUNDED);
    let second = setup.write(&[again]).await.remove(0).expect("written");
    assert_eq!((first.created, second.created), (Some(true), Some(false)));
    assert_eq!(first.id, second.id);
    let records = setup.records();
    assert_eq!((records.len(), records[0].status.as_str(), records[0].writes), (1, "Refunded", 2));
    assert_eq!(records[0].paid, "129.95".parse().ok());
}

#[tokio::test]
async fn many_rows_are_small_batches_side_by_side_in_their_order() {
    let setup = Setup::warm(Settings::default(), "max_calls_in_flight = 3").await;
    setup.server.faults().set_latency(std::time::Duration::from_millis(30));
    let outcomes = setup.write(&upserts(47)).await;
    assert_eq!(setup.batches().len(), 5);
    assert_eq!(setup.server.journal().most_in_flight(), 3);
    let records = setup.records();
    assert_eq!(records.len(), 47);
    for (number, outcome) in outcomes.iter().enumerate() {
        let id = &outcome.as_ref().expect("written").id;
        let record = records.iter().find(|record| record.id == *id).expect("a record");
        assert_eq!(record.payment_id, format!("pay_{number}"));
    }
}

#[tokio::test]
async fn each_row_of_a_mixed_batch_has_its_own_outcome() {
    let setup = Setup::start().await;
    setup.server.backend().veto("pay_veto");
    let unknown = || with(upsert("pay_bad"), "New_Reference", "case counts");
    let long = with(upsert("pay_long"), "new_reference", &"x".repeat(101));
    let bad_choice = with(upsert("pay_choice"), "new_status", "Paid");
    for (rows, expected) in [
        (vec![unknown(), upsert("pay_1")], vec!["0x80048d19", "created"]),
        (vec![upsert("pay_1"), long], vec!["updated", "0x80044331"]),
        (vec![upsert("pay_veto"), bad_choice], vec!["0x80040265", "0x80048d19"]),
        (
            vec![upsert("pay_1"), unknown(), upsert("pay_2")],
            vec!["updated", "0x80048d19", "created"],
        ),
    ] {
        assert_eq!(words(&setup.write(&rows).await), expected);
    }
    assert_eq!(setup.records().len(), 2);
}

#[tokio::test]
async fn words_of_a_refusal_are_bounded_and_name_the_column() {
    let setup = Setup::start().await;
    let outcome = setup.write(&[with(upsert("pay_1"), "nope", "x")]).await.remove(0);
    let Err(Fault::Permanent { reason, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("Invalid property 'nope'") && reason.len() < 500, "{reason}");
    assert!(!reason.contains('\n'));
}

#[tokio::test]
async fn an_update_by_id_never_creates() {
    let setup = Setup::start().await;
    let id = setup.server.create("pay_1");
    let absent = "00000000-0000-4000-8000-000000000000".to_owned();
    let rows = [
        row(Target::Record(id.clone()), REFUNDED),
        row(Target::Record(absent), PAID),
        row(Target::Record("12345".to_owned()), PAID),
    ];
    let outcomes = setup.write(&rows).await;
    assert_eq!(words(&outcomes), ["updated", "gone", "gone"]);
    assert_eq!(outcomes[0].as_ref().expect("written").id, id);
    assert_eq!(setup.records().len(), 1);
    let batch = setup.batches().pop().expect("a batch");
    let body = String::from_utf8_lossy(&batch.body).into_owned();
    assert!(body.contains("If-Match: *\r\n") && body.contains(&format!("new_payments({id}) HTTP")));
    setup.server.backend().delete(PAYMENTS, &id);
    assert_eq!(words(&setup.write(&[row(Target::Record(id), PAID)]).await), ["gone"]);
}

#[tokio::test]
async fn a_closed_record_is_refused_for_good() {
    let setup = Setup::start().await;
    let id = setup.server.create("pay_1");
    setup.server.backend().close(PAYMENTS, &id);
    assert!(matches!(setup.write(&[upsert("pay_1")]).await[0], Err(Fault::Permanent { .. })));
}

#[tokio::test]
async fn a_new_record_is_never_an_update() {
    let setup = Setup::start().await;
    let new = |unique| row(Target::New(key("pay_1", unique)), PAID);
    assert_eq!(words(&setup.write(&[new(true)]).await), ["created"]);
    assert_eq!(words(&setup.write(&[new(true)]).await), ["raced"]);
    // Without a key of its own it is a POST, which the environment's key guards here.
    assert_eq!(words(&setup.write(&[new(false)]).await), ["raced"]);
    assert_eq!(setup.records().len(), 1);
    assert_eq!(setup.records()[0].writes, 1);
    let without_key = Object { name: "contacts".to_owned(), options: BTreeMap::new() };
    let email = Key::Field {
        field: "emailaddress1".to_owned(),
        value: "a+b@example.com".to_owned(),
        unique: false,
    };
    let write = Write { fields: BTreeMap::new(), ..row(Target::New(email), PAID) };
    let id = setup.crm.write(&without_key, &[write]).await.remove(0).expect("created").id;
    let fields = setup.server.backend().fields("contacts", &id).expect("a contact");
    assert_eq!(fields["emailaddress1"], "a+b@example.com");
}

#[tokio::test]
async fn who_loses_a_race_to_create_updates_the_one_record() {
    let setup = Setup::start().await;
    for payment in ["pay_1", "shop/pay:2"] {
        setup.server.backend().race(payment);
        let outcomes = setup.write(&[upsert(payment), upsert("other")]).await;
        assert_eq!(words(&outcomes)[0], "updated", "{payment}");
        setup.server.backend().race(&format!("{payment} new"));
        let new = row(Target::New(key(&format!("{payment} new"), true)), PAID);
        assert_eq!(words(&setup.write(&[new]).await), ["raced"]);
    }
    assert!(setup.server.journal().second_creates().is_empty());
    assert_eq!(setup.records().iter().filter(|one| one.payment_id == "pay_1").count(), 1);
}

#[tokio::test]
async fn two_connectors_that_create_at_once_make_one_record() {
    let setup = Setup::start().await;
    let other = open(table(&setup.server, ""));
    let rows = upserts(10);
    let object = payments();
    let (one, two) = tokio::join!(setup.write(&rows), other.write(&object, &rows));
    for (one, two) in one.iter().zip(&two) {
        assert_eq!(one.as_ref().expect("written").id, two.as_ref().expect("written").id);
    }
    assert_eq!(setup.records().len(), 10);
    assert!(setup.server.journal().second_creates().is_empty());
}

#[tokio::test]
async fn keys_with_odd_characters_are_one_record_each() {
    let setup = Setup::start().await;
    let odd = [
        "o'neil",
        "''",
        "ü 你好",
        "a=b;c,d",
        "(x)",
        "a/b",
        "a:b",
        "a?b&c=d",
        "50%",
        "a+b",
        "a\\b",
        "<a>",
        "*",
        "a#b",
        "{\"a\"}",
        "9007199254740993",
        "0012",
        "a b",
    ];
    let rows: Vec<Write> = odd.iter().map(|payment| upsert(payment)).collect();
    assert_eq!(words(&setup.write(&rows).await), vec!["created"; odd.len()]);
    assert_eq!(words(&setup.write(&rows).await), vec!["updated"; odd.len()]);
    let mut found: Vec<String> = setup.records().into_iter().map(|one| one.payment_id).collect();
    let mut expected = odd.map(str::to_owned).to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert!(setup.server.journal().second_creates().is_empty());
}

#[tokio::test]
async fn references_days_and_empty_values_are_written_as_columns_take_them() {
    let setup = Setup::start().await;
    let currency = "11111111-1111-4111-8111-111111111111";
    let mut write = with(
        upsert("pay_1"),
        "transactioncurrencyid@odata.bind",
        &format!("/transactioncurrencies({currency})"),
    );
    let moment = "2026-11-24T10:00:00Z".parse().expect("a time");
    write.fields.insert("new_dueon".to_owned(), Value::Time(moment));
    write.fields.insert("new_paidat".to_owned(), Value::Time(moment));
    write.fields.insert("new_reference".to_owned(), Value::Number(2_026.into()));
    let id = setup.write(&[write]).await.remove(0).expect("written").id;
    let fields =
        |id: &str| -> Fields { setup.server.backend().fields(PAYMENTS, id).expect("a record") };
    assert_eq!(fields(&id)["_transactioncurrencyid_value"], currency);
    assert_eq!(fields(&id)["new_dueon"], "2026-11-24");
    assert_eq!(fields(&id)["new_paidat"], "2026-11-24T10:00:00Z");
    assert_eq!(fields(&id)["new_reference"], json!("2026"));
    let mut empty = upsert("pay_1");
    empty.fields.insert("new_reference".to_owned(), Value::Null);
    empty.fields.insert("transactioncurrencyid@odata.bind".to_owned(), Value::Null);
    assert_eq!(words(&setup.write(&[empty]).await), ["updated"]);
    assert!(!fields(&id).contains_key("new_reference"));
    assert!(!fields(&id).contains_key("_transactioncurrencyid_value"));
}
