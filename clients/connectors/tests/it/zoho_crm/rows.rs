//! Writing rows: the calls as Zoho documents them, and the outcome of each row whatever became of the
//! others.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn an_upsert_names_its_key_and_keeps_workflows_from_running() {
    let server = start().await;
    let crm = open(&server);
    let written = write_one(&crm, paid("pay_1")).await.expect("written");
    assert_eq!(written.created, Some(true));
    let again = write_one(&crm, paid("pay_1")).await.expect("written");
    assert_eq!(again, Written { id: written.id, created: Some(false) });
    let calls = upserts(&server);
    assert_eq!(
        (calls[0].path.as_str(), calls[0].method.as_str()),
        ("/crm/v8/Deals/upsert", "POST")
    );
    assert_eq!(calls[0].headers["content-type"], "application/json");
    let data = json!([{
        "Payment_Id": "pay_1", "Deal_Name": "A deal", "Stage": "Qualification",
        "Payment_Status": "Paid", "Amount_Paid": 129.95,
    }]);
    let sent = json!({ "data": data, "duplicate_check_fields": ["Payment_Id"], "trigger": [] });
    assert_eq!(body(&calls[0]), sent);
}

#[tokio::test]
async fn workflows_run_where_they_are_let() {
    let server = start().await;
    let crm = open_with(&server, "run_workflows", true);
    assert!(write_one(&crm, paid("pay_1")).await.is_ok());
    assert_eq!(body(&upserts(&server)[0]).get("trigger"), None);
}

#[tokio::test]
async fn records_are_updated_by_ids_of_nineteen_digits_as_text() {
    let server = start().await;
    let crm = open(&server);
    let id = server.create("pay_1");
    assert!(id.len() == 19 && id.parse::<u64>().expect("digits") > 1 << 53);
    let update = row(Target::Record(id.clone()), &[("Payment_Status", text("Refunded"))]);
    let written = write_one(&crm, update).await.expect("written");
    assert_eq!(written, Written { id: id.clone(), created: Some(false) });
    let calls = server.journal().calls_where(|call| call.method == "PUT");
    assert_eq!(calls[0].path, "/crm/v8/Deals");
    let data = json!([{ "id": id, "Payment_Status": "Refunded" }]);
    assert_eq!(body(&calls[0]), json!({ "data": data, "trigger": [] }));
    assert_eq!(server.records()[0].status, "Refunded");
}

#[tokio::test]
async fn an_id_that_comes_as_a_number_keeps_its_digits() {
    let server = start().await;
    let answer = r#"{"data":[{"code":"SUCCESS","action":"insert","status":"success","message":"",
        "details":{"id":5725700000000000001}}]}"#;
    let answer: Json = serde_json::from_str(answer).expect("JSON");
    server.faults().add(answering(200, &answer).path("/upsert"));
    let written = write_one(&open(&server), paid("pay_1")).await.expect("written");
    assert_eq!(written.id, "5725700000000000001");
}

#[tokio::test]
async fn a_record_that_is_not_there_any_more_is_gone() {
    let server = start().await;
    let crm = open(&server);
    let id = server.create("pay_1");
    assert!(server.backend().delete(&id));
    let rows = [id, "5725799999999999999".to_owned()]
        .map(|id| row(Target::Record(id), &[("Payment_Status", text("Paid"))]));
    let outcomes = crm.write(&deals(), &rows).await;
    assert_eq!(outcomes.iter().map(code).collect::<Vec<_>>(), ["gone", "gone"]);
}

#[tokio::test]
async fn each_row_of_a_mixed_batch_has_its_own_outcome() {
    let good = |payment: &str| paid(payment);
    let bad = |payment: &str| paid_with(payment, &[("Amount_Refunded", text("much"))]);
    let short = |payment: &str| {
        row(Target::Upsert(key("Payment_Id", payment)), &[("Payment_Status", text("Paid"))])
    };
    let locked = || paid("locked");
    let (invalid, missing, transient) = ("INVALID_DATA", "MULTIPLE_OR_MULTI_ERRORS", "transient");
    let cases: Vec<(Vec<Write>, Vec<&str>)> = vec![
        (vec![good("a"), good("b"), good("c")], vec!["", "", ""]),
        (vec![good("d"), bad("e"), good("f")], vec!["", invalid, ""]),
        (vec![good("g"), locked(), good("h")], vec!["", transient, ""]),
        (vec![bad("i"), good("j"), good("k")], vec![invalid, "", ""]),
        (vec![good("l"), good("m"), short("n")], vec!["", "", missing]),
        (vec![bad("o"), short("p"), locked()], vec![invalid, missing, transient]),
    ];
    for mixed_is_200 in [false, true] {
        let settings =
            Settings { mixed_is_200, created_is_201: !mixed_is_200, ..Settings::default() };
        let server = ZohoCrm::start(settings).await;
        let crm = open(&server);
        let id = server.create("locked");
        assert!(server.backend().lock(&id, Duration::from_secs(3_600)));
        let mut expected = 1;
        for (rows, codes) in &cases {
            let outcomes = crm.write(&deals(), rows).await;
            assert_eq!(&outcomes.iter().map(code).collect::<Vec<_>>(), codes);
            expected += codes.iter().filter(|code| code.is_empty()).count();
            for (row, outcome) in rows.iter().zip(&outcomes) {
                let Ok(written) = outcome else { continue };
                let fields = server.backend().fields("Deals", &written.id).expect("a deal");
                let Target::Upsert(Key::Field { value, .. }) = &row.target else { continue };
                assert_eq!(fields["Payment_Id"], json!(value));
            }
        }
        assert_eq!(upserts(&server).len(), cases.len());
        assert_eq!(server.records().len(), expected);
    }
}

#[tokio::test]
async fn a_field_that_zoho_would_pass_over_is_refused_before_it_is_sent() {
    let server = start().await;
    let crm = open(&server);
    let rows = [
        paid("a"),
        paid_with("b", &[("Payment_Statsu", text("Paid"))]),
        paid_with("c", &[("Record_Url", text("https://example.com"))]),
        row(Target::Upsert(key("Payment_ID", "d")), &[("Payment_Status", text("Paid"))]),
    ];
    let outcomes = crm.write(&deals(), &rows).await;
    let codes: Vec<&str> = outcomes.iter().map(code).collect();
    assert_eq!(codes, ["", "UNKNOWN_FIELD", "READ_ONLY_FIELD", "UNKNOWN_FIELD"]);
    assert_eq!(body(&upserts(&server)[0])["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn values_go_as_their_fields_take_them() {
    let server = start().await;
    let crm = open(&server);
    let moment = "2026-11-24T10:00:00.123456Z".parse().expect("a moment");
    let row = paid_with(
        "pay_1",
        &[
            ("Amount_Refunded", Value::Money("29.90".parse().expect("a number"), "EUR".to_owned())),
            ("Payment_Count", text("3")),
            ("Is_Test", text("false")),
            ("Closing_Date", Value::Time(moment)),
            ("Last_Payment_At", Value::Time(moment)),
            ("Invoice_Number", number("4711")),
            ("Payment_Currency", Value::Null),
        ],
    );
    let written = write_one(&crm, row).await.expect("written");
    let fields = server.backend().fields("Deals", &written.id).expect("a deal");
    assert_eq!(fields["Amount_Refunded"].to_string(), "29.9");
    assert_eq!(fields["Payment_Count"], json!(3));
    assert_eq!(fields["Is_Test"], json!(false));
    assert_eq!(fields["Closing_Date"], json!("2026-11-24"));
    assert_eq!(fields["Last_Payment_At"], json!("2026-11-24T10:00:00+00:00"));
    assert_eq!(fields["Invoice_Number"], json!("4711"));
    assert_eq!(body(&upserts(&server)[0])["data"][0]["Payment_Currency"], json!(null));
}

#[tokio::test]
async fn more_rows_than_a_call_takes_are_several_calls() {
    let server = start().await;
    let crm = open(&server);
    assert_eq!(crm.facts().max_writes, 100);
    let rows: Vec<Write> = (0..250).map(|n| paid(&format!("pay_{n}"))).collect();
    let outcomes = crm.write(&deals(), &rows).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let mut sizes: Vec<usize> = upserts(&server)
        .iter()
        .map(|call| body(call)["data"].as_array().map_or(0, Vec::len))
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [50, 100, 100]);
    assert_eq!(server.records().len(), 250);
}

#[tokio::test]
async fn a_new_record_that_is_there_already_is_a_lost_race() {
    let server = start().await;
    let crm = open(&server);
    let fields = [("Deal_Name", text("A deal")), ("Stage", text("Qualification"))];
    let new = |payment: &str| row(Target::New(key("Payment_Id", payment)), &fields);
    let written = write_one(&crm, new("pay_1")).await.expect("written");
    assert_eq!(written.created, Some(true));
    assert_eq!(code(&write_one(&crm, new("pay_1")).await), "raced");
    assert_eq!(server.records().len(), 1);
    let call = &server.journal().calls_where(|call| call.path == "/crm/v8/Deals")[0];
    assert_eq!((call.method.as_str(), &body(call)["trigger"]), ("POST", &json!([])));
}

#[tokio::test]
async fn an_upsert_that_loses_a_race_says_so_and_ends_in_one_record() {
    for duplicates_name_field in [true, false] {
        let settings = Settings { duplicates_name_field, ..Settings::default() };
        let server = ZohoCrm::start(settings).await;
        let crm = open(&server);
        server.backend().race("pay_1");
        assert_eq!(code(&write_one(&crm, paid("pay_1")).await), "raced");
        let written = write_one(&crm, paid("pay_1")).await.expect("written");
        assert_eq!(written.created, Some(false));
        assert_eq!(server.records().len(), 1);
    }
}

#[tokio::test]
async fn a_row_whose_other_unique_field_is_of_another_record_is_no_race() {
    for duplicates_name_field in [true, false] {
        let settings = Settings { duplicates_name_field, ..Settings::default() };
        let server = ZohoCrm::start(settings).await;
        let crm = open(&server);
        server.create("pay_1");
        let other = server.create("pay_2");
        server.edit(&other, "External_Reference", json!("ref_2"));
        let row = paid_with("pay_1", &[("External_Reference", text("REF_2"))]);
        assert_eq!(code(&write_one(&crm, row).await), "DUPLICATE_DATA");
    }
}

#[tokio::test]
async fn two_connectors_that_create_one_payment_make_one_record() {
    let server = start().await;
    let (one, other) = (open(&server), open(&server));
    let written = futures::join!(write_one(&one, paid("pay_1")), write_one(&other, paid("pay_1")));
    let (first, second) = (written.0.expect("written"), written.1.expect("written"));
    assert_eq!(first.id, second.id);
    assert_ne!(first.created, second.created);
    assert!(server.journal().second_creates().is_empty());
}

#[tokio::test]
async fn a_call_that_is_refused_whole_is_halved_until_the_bad_row_is_alone() {
    let server = start().await;
    let crm = open(&server);
    let refused = answering(400, &refusal("INVALID_DATA")).containing("pay_bad").always();
    server.faults().add(refused);
    let rows: Vec<Write> = (0..33)
        .map(|n| if n == 20 { paid("pay_bad") } else { paid(&format!("pay_{n}")) })
        .collect();
    let outcomes = crm.write(&deals(), &rows).await;
    for (index, outcome) in outcomes.iter().enumerate() {
        assert_eq!(code(outcome), if index == 20 { "INVALID_DATA" } else { "" }, "{index}");
    }
    let calls = upserts(&server).len();
    assert!(calls <= 2 * rows.len() && calls < 16, "{calls} calls");
    assert_eq!(server.records().len(), 32);
}

#[tokio::test]
async fn what_is_not_about_a_row_is_not_tried_row_by_row() {
    let server = start().await;
    let crm = open(&server);
    let rows: Vec<Write> = (0..8).map(|n| paid(&format!("pay_{n}"))).collect();
    let codes = ["INVALID_MODULE", "NO_PERMISSION", "AUTHORIZATION_FAILED", "OAUTH_SCOPE_MISMATCH"];
    for (calls, refused) in codes.into_iter().enumerate() {
        server.faults().add(answering(403, &refusal(refused)).path("/upsert"));
        let outcomes = crm.write(&deals(), &rows).await;
        assert!(outcomes.iter().all(|outcome| code(outcome) == refused), "{outcomes:?}");
        assert_eq!(upserts(&server).len(), calls + 1);
    }
    let by_name = |payment: &str| {
        let fields = [("Deal_Name", text("A deal")), ("Stage", text("Qualification"))];
        row(Target::Upsert(key("Invoice_Number", payment)), &fields)
    };
    let outcomes = crm.write(&deals(), &[by_name("1"), by_name("2")]).await;
    assert_eq!(outcomes.iter().map(code).collect::<Vec<_>>(), ["INVALID_DATA", "INVALID_DATA"]);
    assert_eq!(upserts(&server).len(), codes.len() + 1);
}

#[tokio::test]
async fn every_code_of_a_row_is_of_the_class_that_zoho_means() {
    let server = start().await;
    let crm = open(&server);
    let transient =
        ["RECORD_LOCKED", "DEPENDENT_SERVICE_ERROR", "INTERNAL_ERROR", "ALREADY_MODIFIED"];
    let permanent = [
        "INVALID_DATA",
        "MANDATORY_NOT_FOUND",
        "DEPENDENT_FIELD_MISSING",
        "DEPENDENT_MISMATCH",
        "EXPECTED_FIELD_MISSING",
        "MULTIPLE_OR_MULTI_ERRORS",
        "NO_PERMISSION",
        "SOMETHING_NEW",
    ];
    let transient = transient.map(|code| (code, "transient"));
    for (told, expected) in transient.into_iter().chain(permanent.map(|code| (code, code))) {
        let answer = json!({ "data": [refusal(told)] });
        server.faults().add(answering(207, &answer).path("/upsert"));
        assert_eq!(code(&write_one(&crm, paid("p")).await), expected, "{told}");
    }
}

#[tokio::test]
async fn nothing_is_written_that_zoho_did_not_say_is_written() {
    let server = start().await;
    let crm = open(&server);
    let success = |id: Json| json!({ "code": "SUCCESS", "status": "success", "message": "", "details": { "id": id } });
    let answers = [
        json!({ "data": [] }),
        json!({ "data": [success(json!("1")), success(json!("2"))] }),
        json!({ "data": [success(json!(null))] }),
        json!({ "data": [{ "code": "SUCCESS", "status": "error", "details": { "id": "1" } }] }),
        json!({ "data": [{}] }),
        json!({}),
    ];
    for answer in answers {
        server.faults().add(answering(200, &answer).path("/upsert"));
        assert!(write_one(&crm, paid("p")).await.is_err(), "{answer}");
    }
    let id = server.create("pay_1");
    let other = json!({ "data": [success(json!("5725700000000000777"))] });
    server.faults().add(answering(200, &other));
    let update = row(Target::Record(id), &[("Payment_Status", text("Paid"))]);
    assert_eq!(code(&write_one(&crm, update).await), "transient");
}
