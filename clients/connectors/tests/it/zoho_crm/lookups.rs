//! Looking records up: by id, by unique fields and by others, with values that are hard to quote.

use super::*;

fn calls(server: &Server<ZohoCrm>, path: &str) -> usize {
    server.journal().calls().iter().filter(|call| call.path.ends_with(path)).count()
}

#[tokio::test]
async fn records_are_found_by_id_and_by_fields_in_the_order_asked() {
    let server = start().await;
    let crm = open(&server);
    let (one, two) = (server.create("pay_1"), server.create("pay_2"));
    server.edit(&two, "Invoice_Number", json!("INV 2"));
    server.edit(&two, "Amount_Paid", json!(12.5));
    let lookups = [
        Key::Id(two.clone()),
        key("Payment_Id", "pay_1"),
        key("Payment_Id", "pay_none"),
        key("Invoice_Number", "INV 2"),
        Key::Id("5725799999999999999".to_owned()),
        Key::Id("no id, at all".to_owned()),
        key("Payment_Id", "PAY_2"),
    ];
    let fields = ["Amount_Paid", "Payment_Status"].map(str::to_owned);
    let found = crm.find(&deals(), &lookups, &fields).await;
    let ids: Vec<Vec<String>> = found
        .iter()
        .map(|found| found.as_ref().expect("found").iter().map(|r| r.id.clone()).collect())
        .collect();
    let two = vec![two];
    assert_eq!(ids, [two.clone(), vec![one], vec![], two.clone(), vec![], vec![], two]);
    let record = &found[0].as_ref().expect("found")[0];
    assert!(record.values["Amount_Paid"].same_as(&number("12.50")));
    assert_eq!(record.values["Payment_Status"], Value::Null);
    assert_eq!((calls(&server, "/coql"), calls(&server, "/Deals")), (2, 1));
}

#[tokio::test]
async fn values_with_signs_of_coql_in_them_are_found_as_they_are() {
    let server = start().await;
    let crm = open(&server);
    let odd = [
        r"O'Neil",
        r#"say "x""#,
        r"back\slash",
        r"both\'s",
        "it's', 'b') or ('1' = '1",
        "100% (a, b) = [c] & d",
        "zwölf-日本",
        "a\u{a0}b",
        "new\nline",
        "x; limit 1",
        "?ids=1&fields=*",
    ];
    let rows: Vec<Write> = odd.iter().map(|value| paid(value)).collect();
    let written = crm.write(&deals(), &rows).await;
    let lookups = odd.map(|value| key("Payment_Id", value));
    let found = crm.find(&deals(), &lookups, &[]).await;
    for ((value, written), found) in odd.iter().zip(&written).zip(&found) {
        let id = &written.as_ref().expect("written").id;
        let found = found.as_ref().expect("found");
        assert_eq!((found.len(), &found[0].id), (1, id), "{value}");
    }
    assert_eq!(calls(&server, "/coql"), 1);
    // Written again they are the same records.
    let again = crm.write(&deals(), &rows).await;
    assert!(again.iter().all(|row| row.as_ref().expect("written").created == Some(false)));
}

#[tokio::test]
async fn fifty_values_go_in_one_query_and_more_in_several() {
    let server = start().await;
    let crm = open(&server);
    assert_eq!(crm.facts().max_lookups, 50);
    let names: Vec<String> = (0..50).map(|n| format!("pay_{n}")).collect();
    for name in &names {
        server.create(name);
    }
    let lookups: Vec<Key> = names.iter().map(|name| key("Payment_Id", name)).collect();
    let found = crm.find(&deals(), &lookups, &[]).await;
    assert!(found.iter().all(|found| found.as_ref().expect("found").len() == 1));
    assert_eq!(calls(&server, "/coql"), 1);
    let query = body(&server.journal().calls_to("/coql")[0])["select_query"].to_string();
    assert!(
        query.starts_with("\"select id, Payment_Id from Deals where (Payment_Id in ('pay_0', ")
    );
    assert!(query.ends_with("limit 200\""), "{query}");
}

#[tokio::test]
async fn a_value_of_two_records_is_told_as_two_even_among_hundreds() {
    let server = start().await;
    let crm = open(&server);
    for n in 0..250 {
        let id = server.create(&format!("pay_{n}"));
        server.edit(&id, "Invoice_Number", json!(if n == 249 { "INV-2" } else { "INV-1" }));
    }
    let lookups = [key("Invoice_Number", "INV-1"), key("Invoice_Number", "INV-2")];
    let found = crm.find(&deals(), &lookups, &[]).await;
    let counts: Vec<usize> = found.iter().map(|f| f.as_ref().expect("found").len()).collect();
    assert_eq!(counts, [2, 1]);
}

#[tokio::test]
async fn what_differs_in_case_is_the_same_only_where_zoho_keeps_it_unique() {
    let server = start().await;
    let crm = open(&server);
    let id = server.create("pay_1");
    server.edit(&id, "Invoice_Number", json!("inv-1"));
    let lookups = [key("Payment_Id", "PAY_1"), key("Invoice_Number", "INV-1")];
    let found = crm.find(&deals(), &lookups, &[]).await;
    let counts: Vec<usize> = found.iter().map(|f| f.as_ref().expect("found").len()).collect();
    assert_eq!(counts, [1, 0]);
}

#[tokio::test]
async fn numbers_are_looked_for_as_numbers() {
    let server = start().await;
    let crm = open(&server);
    let id = server.create("pay_1");
    server.edit(&id, "Payment_Count", json!(7));
    server.edit(&id, "Is_Test", json!(true));
    let lookups = [
        key("Payment_Count", "7"),
        key("Payment_Count", "seven"),
        key("Is_Test", "true"),
        key("Payment_Count", "7) or (1"),
    ];
    let found = crm.find(&deals(), &lookups, &[]).await;
    let counts: Vec<usize> = found.iter().map(|f| f.as_ref().expect("found").len()).collect();
    assert_eq!(counts, [1, 0, 1, 0]);
}

#[tokio::test]
async fn records_in_the_bin_are_not_found() {
    let server = start().await;
    let crm = open(&server);
    let id = server.create("pay_1");
    assert!(server.backend().delete(&id));
    let found = crm.find(&deals(), &[Key::Id(id), key("Payment_Id", "pay_1")], &[]).await;
    assert!(found.iter().all(|found| found.as_ref().expect("none").is_empty()));
}

#[tokio::test]
async fn what_is_read_is_the_same_as_what_was_written() {
    let server = start().await;
    let crm = open(&server);
    let moment = Value::Time("2026-11-24T10:00:00Z".parse().expect("a moment"));
    let wrote = [
        ("Payment_Status", text("Partially refunded")),
        ("Amount_Refunded", number("29.90")),
        ("Last_Payment_At", moment),
        ("Closing_Date", Value::Date("2026-11-24".parse().expect("a day"))),
        ("Is_Test", Value::Boolean(true)),
        ("Payment_Count", number("3")),
        ("Invoice_Number", text("00012")),
    ];
    assert!(write_one(&crm, paid_with("pay_1", &wrote)).await.is_ok());
    let names: Vec<String> = wrote.iter().map(|(name, _)| (*name).to_owned()).collect();
    let found = crm.find(&deals(), &[key("Payment_Id", "pay_1")], &names).await;
    let record = &found[0].as_ref().expect("found")[0];
    for (name, value) in &wrote {
        assert!(record.values[*name].same_as(value), "{name}: {:?}", record.values[*name]);
    }
}

#[tokio::test]
async fn a_field_that_is_not_there_is_told_and_not_asked_for() {
    let server = start().await;
    let crm = open(&server);
    server.create("pay_1");
    let found = crm.find(&deals(), &[key("Nothing", "1"), key("Payment_Id", "pay_1")], &[]).await;
    assert!(matches!(&found[0], Err(Failure::Permanent { code, .. }) if code == "UNKNOWN_FIELD"));
    assert_eq!(found[1].as_ref().expect("found").len(), 1);
    let found = crm.find(&deals(), &[key("Payment_Id", "pay_1")], &["Nothing".to_owned()]).await;
    assert!(matches!(&found[0], Err(Failure::Permanent { code, .. }) if code == "UNKNOWN_FIELD"));
    assert_eq!(calls(&server, "/coql"), 1);
}

#[tokio::test]
async fn a_query_that_is_refused_takes_no_other_value_with_it() {
    let server = start().await;
    let crm = open(&server);
    server.create("pay_1");
    server.create("pay_2");
    server.faults().add(answering(400, &refusal("SYNTAX_ERROR")).containing("pay_bad").always());
    let lookups = ["pay_1", "pay_bad", "pay_2"].map(|payment| key("Payment_Id", payment));
    let found = crm.find(&deals(), &lookups, &[]).await;
    assert_eq!(found[0].as_ref().expect("found").len(), 1);
    assert!(matches!(&found[1], Err(Failure::Permanent { code, .. }) if code == "SYNTAX_ERROR"));
    assert_eq!(found[2].as_ref().expect("found").len(), 1);
    assert!(calls(&server, "/coql") <= 6);
}
