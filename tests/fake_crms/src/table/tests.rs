//! What a table promises: the schema holds, keys are unique, search lags, locks hold, undo undoes.

use serde_json::json;

use super::*;
use crate::clock::after;

fn at(seconds: u64) -> Timestamp {
    after(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
}

fn by(seconds: u64) -> By {
    By { user: "005".to_owned(), at: at(seconds), call: 1 }
}

fn fields(value: Value) -> Fields {
    value.as_object().cloned().expect("an object")
}

fn payments() -> Table {
    let schema = vec![
        Field::text("payment_id", 8).unique(Match::IgnoreCase).required(),
        Field::picklist("status", &["paid", "refunded"]),
        Field::new("amount", Kind::Number).or_text(),
        Field::new("day", Kind::Date),
        Field::new("owner", Kind::Any).read_only(),
        Field::text("note", 20).indexed(),
    ];
    Table::new(schema, |n| format!("a0{n}"))
}

#[test]
fn the_schema_tells_all_that_is_wrong() {
    let mut table = payments();
    let bad = fields(json!({
        "Status": "paid", "status": "Paid", "amount": "1,5", "day": "2026-02-30", "owner": 1,
        "note": "123456789012345678901",
    }));
    let errors = table.insert(&bad, &by(0)).expect_err("refused");
    let field = |name: &str| name.to_owned();
    for error in [
        Error::UnknownField { field: field("Status") },
        Error::BadOption { field: field("status"), value: json!("Paid") },
        Error::WrongType { field: field("amount"), value: json!("1,5") },
        Error::WrongType { field: field("day"), value: json!("2026-02-30") },
        Error::ReadOnly { field: field("owner") },
        Error::TooLong { field: field("note"), max: 20 },
        Error::MissingRequired { field: field("payment_id") },
    ] {
        assert!(errors.contains(&error), "{error:?} is not in {errors:?}");
    }
    assert_eq!(errors.len(), 7);
    assert_eq!(table.records().count(), 0);
}

#[test]
fn an_upsert_creates_once_and_undo_takes_it_back() {
    let mut table = payments();
    let paid = fields(json!({ "status": "paid", "amount": 12.10 }));
    let first = table.upsert("payment_id", &json!("pay_1"), &paid, &by(0)).expect("created");
    assert!(first.created);
    let second = table.upsert("payment_id", &json!("PAY_1"), &paid, &by(1)).expect("updated");
    assert_eq!((second.created, second.version, second.changed.len()), (false, 2, 0));
    let raw = fields(json!({ "payment_id": "Pay_1" }));
    let duplicate = Error::Duplicate { field: "payment_id".to_owned(), record: "a01".to_owned() };
    assert_eq!(table.insert(&raw, &by(2)).expect_err("refused"), [duplicate]);
    assert_eq!(table.get("a01").map(|record| record.text("amount")), Some("12.1".to_owned()));
    table.undo(second);
    assert_eq!(table.get("a01").map(|record| record.version), Some(1));
    table.undo(first);
    assert_eq!(table.records().count(), 0);

    table.race("pay_1");
    let lost = table.upsert("payment_id", &json!("pay_1"), &paid, &by(3)).expect_err("lost");
    assert!(matches!(&lost[..], [Error::Duplicate { record, .. }] if record == "a02"));
    let won = table.upsert("payment_id", &json!("pay_1"), &paid, &by(4)).expect("updated");
    assert!(!won.created);
}

#[test]
fn search_lags_behind_writes_and_find_does_not() {
    let mut table = payments();
    table.set_lag(Duration::from_secs(3));
    let key = json!("pay_1");
    let old = fields(json!({ "note": "old" }));
    let id = table.upsert("payment_id", &key, &old, &by(10)).expect("created").id;
    let found = |table: &Table, field: &str, value: &str, seconds| {
        table.search(field, &json!(value), Match::Exact, at(seconds)).len()
    };
    assert_eq!(table.find("payment_id", &key, Match::Exact).len(), 1);
    assert_eq!(found(&table, "payment_id", "pay_1", 12), 0);
    assert_eq!(found(&table, "payment_id", "pay_1", 13), 1);
    assert_eq!(found(&table, "payment_id", "PAY_1", 13), 0);
    table.update(&id, &fields(json!({ "note": "new" })), &by(20)).expect("updated");
    assert_eq!((found(&table, "note", "old", 22), found(&table, "note", "new", 22)), (1, 0));
    assert_eq!((found(&table, "note", "old", 23), found(&table, "note", "new", 23)), (0, 1));
    table.set_life(&id, Life::Archived);
    assert_eq!(found(&table, "note", "new", 30), 0);
}

#[test]
fn a_locked_or_deleted_record_refuses_writes() {
    let mut table = payments();
    let none = Fields::new();
    let id = table.upsert("payment_id", &json!("pay_1"), &none, &by(0)).expect("created").id;
    table.lock(&id, at(5));
    let locked = Error::Locked { record: id.clone() };
    assert_eq!(table.update(&id, &none, &by(4)).expect_err("locked"), [locked]);
    assert!(table.update(&id, &none, &by(5)).is_ok());
    table.set_life(&id, Life::Deleted);
    let deleted = Error::Deleted { record: id.clone() };
    assert_eq!(table.update(&id, &none, &by(6)).expect_err("deleted"), [deleted]);
    let again = table.upsert("payment_id", &json!("pay_1"), &none, &by(7)).expect("created");
    assert!(again.created);
}
