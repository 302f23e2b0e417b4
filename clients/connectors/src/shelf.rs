//! A CRM for tests: records in memory, a description, faults that were put before look-ups, and counts of
//! what was asked. It must never be part of what is shipped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::budget::{Budget, Limits};
use crate::config::{Config, Mistake};
use crate::crm::{
    Cost, Crm, Description, Facts, Fault, Field, FieldKind, FieldOption, Key, Object, Record, Work,
    Write, Written,
};
use crate::crms::Kind;
use crate::value::Value;

const FACTS: Facts = Facts {
    upserts_by_key: true,
    max_writes: 10,
    max_lookups: 2,
    search_lag: Duration::from_secs(10),
};

/// The row of this CRM.
pub const KIND: Kind = Kind {
    name: "shelf",
    title: "Shelf",
    object_options: &[],
    open: |_, _| Err(Mistake::new("crm", "a shelf is made by its test")),
    example: "# A shelf.\n",
};

/// Records in memory.
pub struct Shelf {
    pub records: Mutex<Vec<Record>>,
    pub faults: Mutex<VecDeque<Fault>>,
    pub fields: Vec<Field>,
    pub lookups: AtomicU64,
    pub writes: AtomicU64,
    budget: Budget,
}

impl Default for Shelf {
    fn default() -> Shelf {
        let limits = Limits { windows: Vec::new(), max_in_flight: 1, daily_reserve: 0 };
        Shelf {
            records: Mutex::default(),
            faults: Mutex::default(),
            fields: fields(),
            lookups: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            budget: Budget::new(limits),
        }
    }
}

impl Shelf {
    /// With this record on it.
    pub fn with(self, id: &str, values: &[(&str, &str)]) -> Shelf {
        let values =
            values.iter().map(|(name, text)| ((*name).to_owned(), Value::Text((*text).to_owned())));
        let record = Record { id: id.to_owned(), values: values.collect() };
        self.records.lock().expect("no panic").push(record);
        self
    }
}

/// What a deal has.
pub fn description() -> Description {
    Description { label: "Deal".to_owned(), fields: fields() }
}

fn fields() -> Vec<Field> {
    let field = |name: &str, label: &str, kind| Field {
        name: name.to_owned(),
        label: label.to_owned(),
        kind,
        writable: true,
        required: false,
        unique: false,
        options: Vec::new(),
        max_length: None,
    };
    let option =
        |value: &str, label: &str| FieldOption { value: value.to_owned(), label: label.to_owned() };
    vec![
        Field { required: true, ..field("dealname", "Deal Name", FieldKind::Text) },
        Field { unique: true, ..field("payment_id", "Payment ID", FieldKind::Text) },
        field("order_id", "Order", FieldKind::Text),
        Field {
            options: vec![
                option("open", "Open"),
                option("closedwon", "Closed Won"),
                option("closedlost", "Closed Lost"),
            ],
            ..field("dealstage", "Deal Stage", FieldKind::Choice)
        },
        field("amount", "Amount", FieldKind::Number),
        field("paid_on", "Paid On", FieldKind::Date),
        field("is_paid", "Is Paid", FieldKind::Boolean),
        Field { max_length: Some(10), ..field("note", "Note", FieldKind::Text) },
        Field { writable: false, ..field("created", "Created", FieldKind::Time) },
    ]
}

/// A configuration with this one object.
pub fn config(object: &str) -> Config {
    let text = format!(
        "[gateway]\naddress = \"http://127.0.0.1:1\"\nsubscription = \"crm\"\n\
         filter.kinds = [\"payment\"]\n[crm]\n[[objects]]\nobject = \"deals\"\n{object}"
    );
    Config::parse(&text, &KIND).expect("a configuration")
}

#[async_trait]
impl Crm for Shelf {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    async fn identify(&self) -> Result<String, Fault> {
        match self.faults.lock().expect("no panic").pop_front() {
            Some(fault) => Err(fault),
            None => Ok("the shelf".to_owned()),
        }
    }

    async fn describe(&self, object: &Object) -> Result<Description, Fault> {
        match object.name.as_str() {
            "deals" => Ok(Description { label: "Deal".to_owned(), fields: self.fields.clone() }),
            name => Err(Fault::permanent("NOT_FOUND", format!("no object {name}"))),
        }
    }

    async fn find(
        &self,
        _object: &Object,
        lookups: &[Key],
        fields: &[String],
    ) -> Vec<Result<Vec<Record>, Fault>> {
        assert!(lookups.len() <= FACTS.max_lookups);
        self.lookups.fetch_add(lookups.len() as u64, Ordering::Relaxed);
        let records = self.records.lock().expect("no panic");
        let mut faults = self.faults.lock().expect("no panic");
        let is = |record: &Record, key: &Key| match key {
            Key::Id(id) => record.id == *id,
            Key::Field { field, value, .. } => {
                record.values.get(field).is_some_and(|found| found.text() == *value)
            }
        };
        let read = |record: &Record| {
            let values = record.values.iter().filter(|(name, _)| fields.contains(name));
            let values: BTreeMap<_, _> =
                values.map(|(name, value)| (name.clone(), value.clone())).collect();
            Record { id: record.id.clone(), values }
        };
        let find = |key| match faults.pop_front() {
            Some(fault) => Err(fault),
            None => Ok(records.iter().filter(|record| is(record, key)).map(read).collect()),
        };
        lookups.iter().map(find).collect()
    }

    async fn write(&self, _object: &Object, rows: &[Write]) -> Vec<Result<Written, Fault>> {
        self.writes.fetch_add(rows.len() as u64, Ordering::Relaxed);
        rows.iter().map(|_| Err(Fault::permanent("READ_ONLY", "a shelf"))).collect()
    }

    fn cost(&self, work: Work) -> Cost {
        let calls = work.lookups.div_ceil(2) + (work.writes + work.creates).div_ceil(10);
        Cost { calls, seconds: calls as f64 / 10.0 }
    }
}
