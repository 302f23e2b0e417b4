//! Look-ups, and what is told of an object.

use fake_crms::Account;
use serde_json::json;
use tollgate_connectors::crm::{Cost, FieldKind, Record, Work};

use super::*;

impl Org {
    async fn find(
        &self,
        name: &str,
        keys: &[Key],
        fields: &[&str],
    ) -> Vec<Result<Vec<Record>, Fault>> {
        let fields: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
        self.crm.find(&object(name), keys, &fields).await
    }

    /// The ids found by each key.
    async fn ids(&self, name: &str, keys: &[Key]) -> Vec<Vec<String>> {
        let found = self.find(name, keys, &[]).await;
        let ids = |found: Result<Vec<Record>, Fault>| {
            found.expect("looked up").into_iter().map(|record| record.id).collect()
        };
        found.into_iter().map(ids).collect()
    }

    fn queries(&self) -> usize {
        self.server.journal().count("/query")
    }

    fn contact(&self, email: &str) -> String {
        let fields = json!({ "LastName": "Doe", "Email": email });
        let fields = fields.as_object().expect("an object");
        self.server.backend().insert("Contact", fields).expect("made")
    }
}

#[tokio::test]
async fn many_keys_are_one_query_and_each_gets_its_own_records() {
    let org = Org::start().await;
    let (one, two) = (org.server.create("pay_1"), org.server.create("pay_2"));
    let gone = org.server.create("gone");
    org.server.backend().delete(&gone);
    let keys = ["PAY_2", "none", "pay_1", "gone"].map(payment);
    let found = org.ids("Opportunity", &keys).await;
    assert_eq!(found, [vec![two], vec![], vec![one], vec![]]);
    assert_eq!(org.queries(), 1);
}

#[tokio::test]
async fn a_value_never_ends_its_literal() {
    let org = Org::start().await;
    let odd = ["it's", "a\\", "\\'", "\"q\"", "x') OR Id != ('", "ü€", "a\nb", "1+1=2&q=x%41"];
    let made = odd.map(|id| org.server.create(id));
    let found = org.ids("Opportunity", &odd.map(payment)).await;
    assert_eq!(found, made.map(|id| vec![id]));
    assert_eq!(org.ids("Opportunity", &[payment("' OR Name != '")]).await, [vec![] as Vec<String>]);
}

#[tokio::test]
async fn an_id_is_found_in_both_its_forms_and_nothing_by_what_is_none() {
    let org = Org::start().await;
    let id = org.server.create("pay_1");
    let upper = id[..15].to_uppercase();
    let keys = [&id, &id[..15], &upper, "in_123", "' OR Id != '"];
    let keys = keys.map(|id| Key::Id(id.to_owned()));
    let found = org.ids("Opportunity", &keys).await;
    assert_eq!(found[..2], [vec![id.clone()], vec![id]]);
    assert!(found[2..].iter().all(Vec::is_empty), "{found:?}");
}

#[tokio::test]
async fn keys_too_long_for_one_url_are_asked_for_in_several() {
    let org = Org::start().await;
    let ids: Vec<String> = (0..200).map(|n| format!("{}{n}", "ü".repeat(100))).collect();
    let made: Vec<Vec<String>> = ids.iter().map(|id| vec![org.server.create(id)]).collect();
    let keys: Vec<Key> = ids.iter().map(|id| payment(id)).collect();
    assert_eq!(org.ids("Opportunity", &keys).await, made);
    assert!(org.server.journal().calls().iter().all(|call| call.status == Some(200)));
    assert!((2..30).contains(&org.queries()), "{} queries", org.queries());
}

#[tokio::test]
async fn several_records_of_one_key_are_two_and_hide_no_other() {
    let org = Org::with(Settings { page_rows: 3, ..Settings::default() }).await;
    for _ in 0..5 {
        org.contact("many@acme.example");
    }
    let one = org.contact("one@acme.example");
    for _ in 0..3 {
        org.contact("three@acme.example");
    }
    let emails = ["many@acme.example", "none@acme.example", "One@acme.example"];
    let keys = emails.map(|email| key("Email", email));
    let found = org.ids("Contact", &keys).await;
    assert_eq!(found[0].len(), 2);
    assert_eq!(found[1..], [vec![], vec![one]]);
    // A page that tells all has more of one key than are asked for.
    let emails = ["three@acme.example", "none@acme.example"].map(|email| key("Email", email));
    assert_eq!(org.ids("Contact", &emails).await[0].len(), 2);
}

#[tokio::test]
async fn what_is_read_is_the_same_as_what_was_written() {
    let org = Org::start().await;
    let time = Value::Time("2026-11-24T10:00:00Z".parse().expect("a time"));
    let day = Value::Date("2026-12-31".parse().expect("a day"));
    let values = [
        ("Payment_Status__c", text("Partially paid")),
        ("Paid_Amount__c", number("129.90")),
        ("Invoice_Number__c", text("0042")),
        ("Paid_At__c", time),
        ("CloseDate", day),
        ("Is_Test__c", Value::Boolean(true)),
    ];
    let mut row = upsert("pay_1");
    for (field, value) in &values {
        row = with(row, field, value.clone());
    }
    let id = org.write_one(row).await.expect("written").id;
    let fields = values.clone().map(|(field, _)| field);
    let mut asked = fields.to_vec();
    asked.extend(["Description", "payment_id__c", "Id"]);
    let numbered = key("Legacy_Number__c", "7.0");
    let legacy = with(upsert("pay_2"), "Legacy_Number__c", number("7"));
    org.write_one(legacy).await.expect("written");
    let found = org.find("Opportunity", &[payment("pay_1"), numbered], &asked).await;
    let record = &found[0].as_ref().expect("looked up")[0];
    for (field, value) in &values {
        assert!(record.values[*field].same_as(value), "{field}: {:?}", record.values[*field]);
    }
    assert_eq!(record.values["Description"], Value::Null);
    assert_eq!(record.values["payment_id__c"], text("pay_1"));
    assert_eq!(record.values["Id"], text(&id));
    assert_eq!(found[1].as_ref().expect("looked up").len(), 1);
}

#[tokio::test]
async fn a_field_or_an_object_that_is_not_there_is_told_with_its_code() {
    let org = Org::start().await;
    let code = |found: &Result<Vec<Record>, Fault>| match found {
        Err(Fault::Permanent { code, .. }) => code.clone(),
        other => panic!("not permanent: {other:?}"),
    };
    let keys = [payment("pay_1"), key("Nope__c", "x"), key("Description", "x")];
    let found = org.find("Opportunity", &keys, &["Name"]).await;
    assert_eq!(found[0], Ok(Vec::new()));
    assert_eq!(code(&found[1]), "INVALID_FIELD");
    assert_eq!(code(&found[2]), "INVALID_FIELD");
    let found = org.find("Opportunity", &keys[..1], &["Nope__c"]).await;
    assert_eq!(code(&found[0]), "INVALID_FIELD");
    let found = org.find("Nope__c", &keys[..1], &[]).await;
    assert_eq!(code(&found[0]), "NOT_FOUND");
    let told = org.crm.describe(&object("Nope__c")).await;
    assert!(matches!(told, Err(Fault::Permanent { code, .. }) if code == "NOT_FOUND"));
    let rows = org.crm.write(&object("Nope__c"), &[upsert("pay_1")]).await;
    assert!(matches!(&rows[0], Err(Fault::Permanent { code, .. }) if code == "NOT_FOUND"));
}

#[tokio::test]
async fn an_object_is_described_as_it_is() {
    let org = Org::start().await;
    let told = org.crm.describe(&object("Opportunity")).await.expect("described");
    let field = |name: &str| told.field(name).expect("a field");
    let key = field("Payment_Id__c");
    assert!(key.unique && key.writable && !key.required);
    assert_eq!((key.kind, key.max_length), (FieldKind::Text, Some(255)));
    assert!(!field("Legacy_Id__c").unique);
    let status = field("Payment_Status__c");
    assert_eq!((status.kind, status.options.len()), (FieldKind::Choice, 10));
    assert!(field("Name").required);
    assert_eq!(field("Paid_Amount__c").kind, FieldKind::Number);
    assert_eq!(field("Paid_At__c").kind, FieldKind::Time);
    assert!(!field("LastModifiedDate").writable && !field("Id").writable);
    let contact = org.crm.describe(&object("Contact")).await.expect("described");
    assert_eq!(contact.field("Email").map(|field| field.kind), Some(FieldKind::Email));
}

#[tokio::test]
async fn work_costs_calls_and_days_once_a_day_is_used_up() {
    let org = Org::with(Settings { daily_calls: 100, ..Settings::default() }).await;
    let cost = org.crm.cost(Work { lookups: 201, writes: 1_000, creates: 1 });
    assert_eq!(cost, Cost { calls: 8, seconds: 0.0 });
    let cost = org.crm.cost(Work { writes: 200 * 201, ..Work::default() });
    assert_eq!(cost, Cost { calls: 201, seconds: 2.0 * 86_400.0 });
}
