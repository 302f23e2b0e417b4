//! Look-ups and what is told about the environment.

use fake_crms::dynamics::CONTACTS;
use fake_crms::table::Fields;
use serde_json::json;
use tollgate_connectors::config::Config;
use tollgate_connectors::crm::FieldKind;

use super::*;

fn contacts() -> Object {
    Object { name: CONTACTS.to_owned(), options: BTreeMap::new() }
}

fn email(value: &str) -> Key {
    Key::Field { field: "emailaddress1".to_owned(), value: value.to_owned(), unique: false }
}

fn contact(setup: &Setup, email: &str) -> String {
    let fields = Fields::from_iter([("emailaddress1".to_owned(), json!(email))]);
    setup.server.backend().insert(CONTACTS, &fields)
}

#[tokio::test]
async fn a_record_is_found_by_id_and_key_with_values_as_they_are_written() {
    let setup = Setup::start().await;
    let write = with(upsert("o'neil/1"), "new_reference", "INV-1");
    let id = setup.write(std::slice::from_ref(&write)).await.remove(0).expect("written").id;
    let fields: Vec<String> = write.fields.keys().cloned().collect();
    let absent = "00000000-0000-4000-8000-000000000000";
    let lookups = [
        Key::Id(id.clone()),
        key("o'neil/1", true),
        key("o'neil/1", false),
        key("pay_none", true),
        Key::Id(absent.to_owned()),
        Key::Id("x' or '1' eq '1".to_owned()),
    ];
    let found = setup.crm.find(&payments(), &lookups, &fields).await;
    for found in &found[..3] {
        let found = found.as_ref().expect("an answer");
        assert_eq!((found.len(), found[0].id.as_str()), (1, id.as_str()));
        for (name, value) in &write.fields {
            assert!(found[0].values[name].same_as(value), "{name}: {:?}", found[0].values[name]);
        }
    }
    for found in &found[3..] {
        assert_eq!(found.as_ref().expect("an answer"), &[]);
    }
}

#[tokio::test]
async fn other_fields_are_found_exactly_and_two_are_enough() {
    let setup = Setup::start().await;
    let odd = "o'neil+a&b#c%20@example.com";
    let one = contact(&setup, odd);
    for _ in 0..3 {
        contact(&setup, "twice@example.com");
    }
    let gone = contact(&setup, "gone@example.com");
    setup.server.backend().delete(CONTACTS, &gone);
    let lookups = [
        email(odd),
        email("twice@example.com"),
        email("gone@example.com"),
        email("no@example.com"),
    ];
    let found = setup.crm.find(&contacts(), &lookups, &[]).await;
    let found: Vec<_> = found.into_iter().map(|found| found.expect("an answer")).collect();
    assert_eq!(found[0][0].id, one);
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 0, 0]);
}

#[tokio::test]
async fn look_ups_go_in_batches_and_a_bad_one_fails_alone() {
    let setup = Setup::start().await;
    let rows = upserts(25);
    setup.write(&rows).await;
    setup.server.journal().forget();
    let mut lookups: Vec<Key> = (0..25).map(|one| key(&format!("pay_{one}"), true)).collect();
    lookups.push(Key::Field { field: "nope".to_owned(), value: "x".to_owned(), unique: false });
    let found = setup.crm.find(&payments(), &lookups, &[]).await;
    assert!(found[..25].iter().all(|found| found.as_ref().is_ok_and(|found| found.len() == 1)));
    assert!(matches!(&found[25], Err(Fault::Permanent { code, .. }) if code == "0x80060888"));
    assert_eq!(setup.batches().len(), 3);
}

#[tokio::test]
async fn what_is_selected_must_be_there() {
    let setup = Setup::start().await;
    let fields = ["nope".to_owned()];
    let found = setup.crm.find(&payments(), &[email("x")], &fields).await;
    assert!(matches!(found[0], Err(Fault::Permanent { .. })));
}

#[tokio::test]
async fn the_table_is_described() {
    let setup = Setup::start().await;
    let table = setup.crm.describe(&payments()).await.expect("the table is there");
    assert_eq!(table.label, "Payment");
    let field = |name: &str| table.field(name).unwrap_or_else(|| panic!("{name} is missing"));
    let key = field("new_paymentid");
    assert!(key.unique && key.writable && key.kind == FieldKind::Text);
    assert_eq!(key.max_length, Some(100));
    let status = field("new_status");
    assert_eq!((status.kind, status.options.len()), (FieldKind::Choice, 10));
    assert_eq!(status.options[2].value, "100000002");
    assert_eq!(status.options[2].label, "Paid");
    assert!(field("new_name").required && !field("new_reference").required);
    assert!(!field("new_paidamount_base").writable);
    assert!(!field("new_paymentrecordid").writable);
    assert_eq!(field("new_paidat").kind, FieldKind::Time);
    assert_eq!(field("new_dueon").kind, FieldKind::Date);
    assert_eq!(field("new_paidamount").kind, FieldKind::Number);
    assert!(field("transactioncurrencyid@odata.bind").writable);
    assert!(table.field("transactioncurrencyid").is_none());
    let people = setup.crm.describe(&contacts()).await.expect("the table is there");
    assert_eq!(people.field("emailaddress1").map(|field| field.kind), Some(FieldKind::Email));
}

#[tokio::test]
async fn the_schema_is_read_once_and_options_stand_in_for_names() {
    let setup = Setup::start().await;
    for _ in 0..3 {
        setup.write(&upserts(5)).await;
    }
    assert_eq!(setup.server.journal().count("EntityDefinitions"), 1);
    let options = [("logical_name", "new_payment"), ("primary_id", "new_paymentrecordid")];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let named = Object { options: BTreeMap::from(options), ..payments() };
    assert_eq!(words(&setup.crm.write(&named, &upserts(1)).await), ["updated"]);
}

#[tokio::test]
async fn a_table_that_is_not_there_is_told_with_the_code() {
    let setup = Setup::start().await;
    let object = Object { name: "new_nothings".to_owned(), ..payments() };
    let expected =
        |fault: &Fault| matches!(fault, Fault::Permanent { code, .. } if code == "0x80060888");
    let described = setup.crm.describe(&object).await.expect_err("it is not there");
    assert!(expected(&described), "{described:?}");
    let written = setup.crm.write(&object, &upserts(2)).await;
    assert!(written.iter().all(|one| one.as_ref().is_err_and(expected)));
}

#[tokio::test]
async fn who_is_signed_in_is_told() {
    let setup = Setup::start().await;
    let told = setup.crm.identify().await.expect("signed in");
    assert!(told.starts_with("127.0.0.1:") && told.ends_with(" as # Tollgate"), "{told}");
}

#[tokio::test]
async fn the_example_and_the_doubles_configuration_are_whole() {
    let example =
        KIND.example.replace("env:TOLLGATE_TOKEN", "t").replace("env:DYNAMICS_CLIENT_SECRET", "s");
    let config = Config::parse(&example, &KIND).expect("the example is right");
    assert_eq!(config.objects.len(), 2);
    open(config.crm);
    let server = Dynamics::start(fake_crms::dynamics::Settings::default()).await;
    let gateway = "[gateway]\naddress = \"http://127.0.0.1:1\"\nsubscription = \"s\"\n";
    let config = Config::parse(&format!("{gateway}{}", server.config()), &KIND);
    assert_eq!(config.expect("it is right").objects[0].label(), "payment");
}
