//! How records are found, and what HubSpot tells about their properties.

use fake_crms::hubspot::Settings;
use serde_json::json;
use tollgate_connectors::crm::{FieldKind, Key, Record, Target};

use super::*;

const ODD: &[&str] = &[
    "a'b",
    "a\"b\\c",
    "{\"$ne\":null}",
    "50% off & more; DROP",
    "Zahlung ä€ 支付",
    " a b ",
    "*",
    "pay_1,pay_2",
];

fn plain(field: &str, value: &str) -> Key {
    Key::Field { field: field.to_owned(), value: value.to_owned(), unique: false }
}

async fn found(crm: &dyn Crm, keys: &[Key], fields: &[&str]) -> Vec<Vec<Record>> {
    let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
    let found = crm.find(&deals(), keys, &fields).await;
    found.into_iter().map(|records| records.expect("looked up")).collect()
}

fn ids_of(records: &[Vec<Record>]) -> Vec<Vec<&str>> {
    records.iter().map(|all| all.iter().map(|one| one.id.as_str()).collect()).collect()
}

#[tokio::test]
async fn ids_and_unique_values_are_read_in_one_call_each_and_without_lag() {
    for refuses_unknown in [true, false] {
        let lag = Duration::from_secs(60);
        let settings = Settings { search_lag: lag, refuses_unknown, ..Settings::default() };
        let (server, crm) = open(settings).await;
        let written = crm.write(&deals(), &rows(3, "paid")).await;
        let ids = ids(&written);
        let gone = server.create("pay_9");
        server.backend().archive(&gone);
        let by_id = |id: &str| Key::Id(id.to_owned());
        let keys = [
            by_id(&ids[2]),
            payment("pay_1"),
            by_id("42"),
            payment("pay_9"),
            by_id(&gone),
            by_id("no digits"),
            unique("hs_object_id", &ids[0]),
            payment("pay_1"),
        ];
        server.journal().forget();
        let records = found(&*crm, &keys, &["payment_status", "payment_note", "no_such"]).await;
        let wanted: [&[&str]; 8] =
            [&[&ids[2]], &[&ids[1]], &[], &[], &[], &[], &[&ids[0]], &[&ids[1]]];
        assert_eq!(ids_of(&records), wanted);
        let values = &records[1][0].values;
        assert_eq!(values["payment_status"], text("paid"));
        assert_eq!(values["payment_note"], Value::Null);
        assert_eq!(values.len(), 2);
        assert_eq!(server.journal().count("batch/read"), 2);
        assert_eq!(server.journal().calls().len(), 2);
        let none = found(&*crm, &[payment("pay_9"), by_id("42")], &[]).await;
        assert_eq!(ids_of(&none), [[""; 0], [""; 0]]);
    }
}

#[tokio::test]
async fn other_properties_are_searched_in_one_call_and_two_records_are_enough() {
    let (server, crm) = open(Settings::default()).await;
    let deal = |id: &str, invoice: &str| {
        server.backend().create_deal(&[
            ("payment_id", id),
            ("payment_invoice", invoice),
            ("payment_status", "partially_paid"),
        ])
    };
    let first = deal("1", "INV-1");
    let (twice, again, _third) = (deal("2", "INV-2"), deal("3", "INV-2"), deal("4", "INV-2"));
    let (upper, lower) = (deal("5", "ABC"), deal("6", "abc"));
    server.journal().forget();
    let field = "payment_invoice";
    let keys = ["INV-1", "INV-2", "inv-1", "none", "ABC", "abc"].map(|value| plain(field, value));
    let records = found(&*crm, &keys, &["payment_status"]).await;
    let wanted: [&[&str]; 6] = [&[&first], &[&twice, &again], &[&first], &[], &[&upper], &[&lower]];
    assert_eq!(ids_of(&records), wanted);
    assert_eq!(records[0][0].values["payment_status"], text("partially_paid"));
    let body = &bodies(&server, "deals/search")[0];
    assert_eq!(body["filterGroups"][0]["filters"][0]["operator"], "IN");
    assert_eq!((server.journal().calls().len(), &body["limit"]), (1, &json!(200)));

    let options = found(&*crm, &[plain("payment_status", "partially_paid")], &[]).await;
    assert_eq!(options[0].len(), 2);
}

#[tokio::test]
async fn searches_are_split_where_values_results_or_the_body_are_too_many() {
    let (server, crm) = open(Settings::default()).await;
    let mut wanted = Vec::new();
    for number in 0..100 {
        let invoice = format!("INVOICE-NUMBER-{number}-{}", "x".repeat(30));
        wanted.push(server.backend().create_deal(&[("payment_invoice", &invoice)]));
    }
    for _ in 0..250 {
        server.backend().create_deal(&[("payment_invoice", "many")]);
    }
    let mut keys: Vec<Key> = (0..99)
        .map(|number| {
            plain("payment_invoice", &format!("INVOICE-NUMBER-{number}-{}", "x".repeat(30)))
        })
        .collect();
    keys.push(plain("payment_invoice", "many"));
    let records = found(&*crm, &keys, &[]).await;
    for (number, records) in records[..99].iter().enumerate() {
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].id, wanted[number]);
    }
    assert_eq!(records[99].len(), 2);
    assert!(server.journal().calls().iter().all(|call| call.status == Some(200)));
    assert!(server.journal().calls().len() < 40);
}

#[tokio::test]
async fn odd_characters_in_keys_stay_what_they_are() {
    let (server, crm) = open(Settings::default()).await;
    let all: Vec<Write> = ODD.iter().map(|id| row(id, "paid")).collect();
    let written = ids(&crm.write(&deals(), &all).await);
    assert_eq!(server.records().len(), ODD.len());
    let keys: Vec<Key> = ODD.iter().map(|id| payment(id)).collect();
    let records = found(&*crm, &keys, &[]).await;
    assert!(records.iter().zip(&written).all(|(found, id)| found[0].id == *id));
    for (id, value) in written.iter().zip(ODD) {
        let mut change = to(Target::Record(id.clone()), "paid");
        change.fields.insert("payment_invoice".to_owned(), text(value));
        ids(&crm.write(&deals(), &[change]).await);
    }
    let keys: Vec<Key> = ODD.iter().map(|value| plain("payment_invoice", value)).collect();
    let records = found(&*crm, &keys, &[]).await;
    assert!(records.iter().zip(&written).all(|(found, id)| found[0].id == *id), "{records:?}");
}

#[tokio::test]
async fn a_search_misses_for_a_while_what_was_just_created() {
    let lag = Duration::from_secs(5);
    let (server, crm) = open(Settings { search_lag: lag, ..Settings::default() }).await;
    let id = server.backend().create_deal(&[("payment_invoice", "inv-1")]);
    let key = [plain("payment_invoice", "inv-1")];
    assert!(found(&*crm, &key, &[]).await[0].is_empty());
    server.clock().advance(lag);
    assert_eq!(found(&*crm, &key, &[]).await[0][0].id, id);
    assert!(crm.facts().search_lag > lag);
}

#[tokio::test]
async fn a_look_up_by_what_cannot_be_looked_up_fails_in_few_calls() {
    let (server, crm) = open(Settings::default()).await;
    for unique in [true, false] {
        server.journal().forget();
        let key = |value: usize| {
            let (field, value) = ("no_such".to_owned(), value.to_string());
            Key::Field { field, value, unique }
        };
        let keys: Vec<Key> = (0..50).map(key).collect();
        let results = crm.find(&deals(), &keys, &[]).await;
        assert!(results.iter().all(|one| matches!(one, Err(Fault::Permanent { .. }))));
        assert_eq!(server.journal().calls().len(), 2);
    }
}

#[tokio::test]
async fn properties_are_described_and_an_unknown_object_is_refused() {
    let (_server, crm) = open(Settings::default()).await;
    let description = crm.describe(&deals()).await.expect("described");
    let field = |name: &str| description.field(name).expect("it is there");
    let key = field("payment_id");
    assert!(key.unique && key.writable && !key.required);
    assert!(!field("hs_object_id").writable);
    assert!(field("dealname").required && field("dealstage").required);
    let status = field("payment_status");
    assert_eq!((status.kind, status.options.len()), (FieldKind::Choice, 10));
    let option = &status.options[3];
    assert_eq!(
        (option.value.as_str(), option.label.as_str()),
        ("partially_paid", "Partially paid")
    );
    let kinds = ["payment_paid", "payment_due", "payment_time", "payment_test", "dealname"];
    let wanted =
        [FieldKind::Number, FieldKind::Date, FieldKind::Time, FieldKind::Boolean, FieldKind::Text];
    assert_eq!(kinds.map(|name| field(name).kind), wanted);
    let contacts = crm.describe(&object("contacts")).await.expect("described");
    assert!(contacts.field("email").is_some_and(|email| email.unique));

    let refused = crm.describe(&object("no such")).await.expect_err("there is none");
    assert!(matches!(refused, Fault::Permanent { code, .. } if code == "VALIDATION_ERROR"));
}
