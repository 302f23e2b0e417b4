//! The writer against a CRM in memory that does as it is told: what is looked up, created, raced, gone and
//! remembered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::budget::{Budget, Limits};
use crate::crm::{Cost, Description, Facts, Key, Object, Record, Target, Work, Write, Written};
use crate::value::Value;

static UNIQUE: Facts =
    Facts { upserts_by_key: true, max_writes: 10, max_lookups: 10, search_lag: Duration::ZERO };
static SEARCHED: Facts = Facts {
    upserts_by_key: false,
    max_writes: 10,
    max_lookups: 10,
    search_lag: Duration::from_secs(60),
};

/// Records by id, and what goes wrong next.
struct InMemory {
    facts: &'static Facts,
    budget: Budget,
    records: Mutex<BTreeMap<String, BTreeMap<String, Value>>>,
    /// How each of the next writes fails, after it was done or before.
    faults: Mutex<Vec<(bool, Fault)>>,
    hidden: Mutex<bool>,
    finds: Mutex<usize>,
}

impl InMemory {
    fn new(facts: &'static Facts) -> Arc<InMemory> {
        let limits = Limits { windows: Vec::new(), max_in_flight: 1, daily_reserve: 0 };
        Arc::new(InMemory {
            facts,
            budget: Budget::new(limits),
            records: Mutex::default(),
            faults: Mutex::default(),
            hidden: Mutex::default(),
            finds: Mutex::default(),
        })
    }

    fn records(&self) -> BTreeMap<String, BTreeMap<String, Value>> {
        self.records.lock().expect("no panic").clone()
    }

    fn set(&self, id: &str, field: &str, value: &str) {
        let mut records = self.records.lock().expect("no panic");
        let record = records.entry(id.to_owned()).or_default();
        record.insert(field.to_owned(), Value::Text(value.to_owned()));
    }

    fn fail_next(&self, applied: bool, fault: Fault) {
        self.faults.lock().expect("no panic").push((applied, fault));
    }

    fn ids(&self, key: &Key) -> Vec<String> {
        let records = self.records.lock().expect("no panic");
        let is_it = |(id, values): &(&String, &BTreeMap<String, Value>)| match key {
            Key::Id(wanted) => *id == wanted,
            Key::Field { field, value, .. } => {
                values.get(field).is_some_and(|has| has.text() == *value)
            }
        };
        records.iter().filter(is_it).map(|(id, _)| id.clone()).collect()
    }

    fn write_one(&self, row: &Write) -> Result<Written, Fault> {
        let fault = self.faults.lock().expect("no panic").pop();
        if let Some((false, fault)) = fault {
            return Err(fault);
        }
        let (id, created, key) = match &row.target {
            Target::Record(id) if self.records().contains_key(id) => (id.clone(), false, None),
            Target::Record(_) => return Err(Fault::Gone { reason: "gone".to_owned() }),
            Target::Upsert(key) => match self.ids(key).pop() {
                Some(id) => (id, false, Some(key)),
                None => (format!("r{}", self.records().len() + 1), true, Some(key)),
            },
            Target::New(key) => (format!("r{}", self.records().len() + 1), true, Some(key)),
        };
        if let Some(Key::Field { field, value, .. }) = key {
            self.set(&id, field, value);
        }
        for (field, value) in &row.fields {
            self.set(&id, field, &value.text());
        }
        match fault {
            Some((_, fault)) => Err(fault),
            None => Ok(Written { id, created: Some(created) }),
        }
    }
}

#[async_trait]
impl Crm for InMemory {
    fn facts(&self) -> &'static Facts {
        self.facts
    }
    fn budget(&self) -> &Budget {
        &self.budget
    }
    async fn identify(&self) -> Result<String, Fault> {
        Ok("memory".to_owned())
    }
    async fn describe(&self, _: &Object) -> Result<Description, Fault> {
        Ok(Description { label: String::new(), fields: Vec::new() })
    }
    async fn find(
        &self,
        _: &Object,
        lookups: &[Key],
        _: &[String],
    ) -> Vec<Result<Vec<Record>, Fault>> {
        *self.finds.lock().expect("no panic") += lookups.len();
        let hidden = *self.hidden.lock().expect("no panic");
        let record = |id: String| Record { values: self.records()[&id].clone(), id };
        let found = |key| match hidden {
            true => Vec::new(),
            false => self.ids(key).into_iter().map(record).collect(),
        };
        lookups.iter().map(|key| Ok(found(key))).collect()
    }
    async fn write(&self, _: &Object, rows: &[Write]) -> Vec<Result<Written, Fault>> {
        rows.iter().map(|row| self.write_one(row)).collect()
    }
    fn cost(&self, _: Work) -> Cost {
        Cost::default()
    }
}

const BY_ID: &str = "
    object = 'deals'
    [[match]]
    field = 'payment'
    from = 'subject_id'
    unique = true
    [fields]
    status = 'status'
";

struct Stage {
    folder: tempfile::TempDir,
    crm: Arc<InMemory>,
    mapping: Arc<Mapping>,
    writer: Writer,
}

async fn stage(facts: &'static Facts, mapping: &str) -> Stage {
    let folder = tempfile::tempdir().expect("a folder");
    let mapping: Arc<Mapping> = Arc::new(toml::from_str(mapping).expect("a mapping"));
    let crm = InMemory::new(facts);
    let writer = writer(&folder, &crm, &mapping).await;
    Stage { folder, crm, mapping, writer }
}

async fn writer(folder: &tempfile::TempDir, crm: &Arc<InMemory>, mapping: &Arc<Mapping>) -> Writer {
    let memory = Memory::open(&folder.path().join("memory.db")).await.expect("opens");
    Writer::new(Arc::clone(crm) as Arc<dyn Crm>, memory, Arc::clone(mapping), "s")
}

impl Stage {
    async fn write(&self, jobs: &[Job]) -> Vec<Outcome> {
        self.writer.write(jobs).await
    }

    /// Another process, with the same file.
    async fn restart(&mut self) {
        self.writer = writer(&self.folder, &self.crm, &self.mapping).await;
    }

    /// Another process, without the file.
    async fn forget_all(&mut self) {
        self.folder = tempfile::tempdir().expect("a folder");
        self.restart().await;
    }

    /// The memory's file, as another process has it.
    async fn file(&self) -> sqlx::SqlitePool {
        let path = self.folder.path().join("memory.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        sqlx::SqlitePool::connect_with(options).await.expect("opens")
    }

    fn field(&self, id: &str, field: &str) -> String {
        self.crm.records()[id].get(field).map(Value::text).unwrap_or_default()
    }
}

fn job(sequence: i64, keys: &[(&str, &str)], status: &str) -> Job {
    let keys = keys.iter().map(|(field, value)| Key::Field {
        field: (*field).to_owned(),
        value: (*value).to_owned(),
        unique: *field == "payment",
    });
    let field = crate::mapping::RowField {
        name: "status".to_owned(),
        value: Value::Text(status.to_owned()),
        moment: crate::mapping::Moment::Always,
        on_conflict: crate::mapping::OnConflict::Overwrite,
        flag_field: None,
    };
    Job {
        row: Arc::new(Row { keys: keys.collect(), fields: vec![field], parent: None }),
        event: format!("events/{sequence}"),
        sequence,
        status: status.to_owned(),
        replay: false,
    }
}

fn done(record: &str, words: &str) -> Outcome {
    Outcome::Done { record: record.to_owned(), words: words.to_owned() }
}

#[tokio::test]
async fn a_record_is_created_once_then_updated_then_left_alone() {
    let stage = stage(&UNIQUE, BY_ID).await;
    let paid = job(1, &[("payment", "p1")], "Paid");
    let refunded = job(2, &[("payment", "p1")], "Refunded");
    assert_eq!(stage.write(std::slice::from_ref(&paid)).await, [done("r1", "created")]);
    assert_eq!(stage.write(std::slice::from_ref(&refunded)).await, [done("r1", "updated")]);
    assert_eq!(stage.write(std::slice::from_ref(&refunded)).await, [done("r1", "unchanged")]);
    assert_eq!(stage.write(std::slice::from_ref(&paid)).await, [done("r1", "superseded")]);
    assert_eq!(stage.field("r1", "status"), "Refunded");
    assert_eq!(*stage.crm.finds.lock().expect("no panic"), 0, "a unique key needs no look-up");
}

#[tokio::test]
async fn a_lost_reply_makes_no_second_record_where_nothing_is_unique() {
    let mut stage = stage(&SEARCHED, BY_ID).await;
    let paid = job(1, &[("payment", "p1")], "Paid");
    stage.crm.fail_next(true, Fault::transient("the connection was cut"));
    let failed = stage.write(std::slice::from_ref(&paid)).await;
    assert!(matches!(failed[0], Outcome::Failed(Fault::Transient { .. })), "{failed:?}");
    // The search does not show it yet, and the process is another one.
    *stage.crm.hidden.lock().expect("no panic") = true;
    stage.restart().await;
    let waits = stage.write(std::slice::from_ref(&paid)).await;
    assert!(matches!(waits[0], Outcome::Failed(Fault::Throttled { .. })), "{waits:?}");
    assert_eq!(stage.crm.records().len(), 1);
    *stage.crm.hidden.lock().expect("no panic") = false;
    assert_eq!(stage.write(std::slice::from_ref(&paid)).await, [done("r1", "unchanged")]);
    assert_eq!(stage.crm.records().len(), 1);
}

#[tokio::test]
async fn a_refusal_for_good_is_no_reason_to_wait() {
    let stage = stage(&SEARCHED, BY_ID).await;
    let paid = job(1, &[("payment", "p1")], "Paid");
    stage.crm.fail_next(false, Fault::permanent("400", "no such field"));
    let failed = stage.write(std::slice::from_ref(&paid)).await;
    assert!(matches!(failed[0], Outcome::Failed(Fault::Permanent { .. })), "{failed:?}");
    assert_eq!(stage.write(std::slice::from_ref(&paid)).await, [done("r1", "created")]);
}

#[tokio::test]
async fn a_record_that_is_gone_is_looked_up_anew() {
    let stage = stage(&SEARCHED, BY_ID).await;
    stage.crm.set("a", "payment", "p1");
    assert_eq!(
        stage.write(&[job(1, &[("payment", "p1")], "Pending")]).await,
        [done("a", "updated")]
    );
    stage.crm.records.lock().expect("no panic").clear();
    stage.crm.set("b", "payment", "p1");
    assert_eq!(stage.write(&[job(2, &[("payment", "p1")], "Paid")]).await, [done("b", "updated")]);
}

#[tokio::test]
async fn who_lost_the_race_to_create_updates() {
    let stage = stage(&UNIQUE, BY_ID).await;
    stage.crm.fail_next(false, Fault::Raced { reason: "duplicate".to_owned() });
    stage.crm.set("rival", "payment", "p1");
    assert_eq!(
        stage.write(&[job(1, &[("payment", "p1")], "Paid")]).await,
        [done("rival", "updated")]
    );
}

#[tokio::test]
async fn one_bad_row_takes_no_other_with_it() {
    let stage = stage(&UNIQUE, BY_ID).await;
    stage.crm.fail_next(false, Fault::permanent("BAD", "words of the CRM"));
    let outcomes = stage
        .write(&[job(1, &[("payment", "a")], "Paid"), job(2, &[("payment", "b")], "Paid")])
        .await;
    assert!(matches!(outcomes[0], Outcome::Failed(Fault::Permanent { .. })));
    assert_eq!(outcomes[1], done("r1", "created"));
}

const BY_INVOICE: &str = "
    object = 'deals'
    policy = 'update_only'
    [[match]]
    field = 'payment'
    from = 'subject_id'
    unique = true
    [[match]]
    field = 'invoice'
    from = 'references.invoice_number'
    [fields]
    status = 'status'
";

#[tokio::test]
async fn keys_are_tried_in_order_and_two_answers_are_none() {
    let stage = stage(&UNIQUE, BY_INVOICE).await;
    let keys = [("payment", "p1"), ("invoice", "INV-1")];
    assert_eq!(stage.write(&[job(1, &keys, "Paid")]).await, [Outcome::NoMatch]);
    stage.crm.set("a", "invoice", "INV-1");
    assert_eq!(stage.write(&[job(1, &keys, "Paid")]).await, [done("a", "updated")]);
    stage.crm.set("b", "invoice", "INV-2");
    stage.crm.set("c", "invoice", "INV-2");
    let twice = [("payment", "p2"), ("invoice", "INV-2")];
    assert_eq!(stage.write(&[job(2, &twice, "Paid")]).await, [Outcome::Ambiguous]);
}

#[tokio::test]
async fn the_newest_event_of_a_record_wins_whichever_key_led_to_it() {
    let stage = stage(&UNIQUE, BY_INVOICE).await;
    stage.crm.set("a", "invoice", "INV-1");
    stage.crm.set("a", "payment", "p1");
    let newer = job(5, &[("payment", "p1")], "Refunded");
    let older = job(4, &[("invoice", "INV-1")], "Paid");
    let outcomes = stage.write(&[newer, older]).await;
    assert_eq!(outcomes, [done("a", "updated"), done("a", "superseded")]);
    assert_eq!(stage.field("a", "status"), "Refunded");
}

#[tokio::test]
async fn a_persons_change_is_kept_and_said_so() {
    let mapping = BY_ID.replace("'status'\n", "{ from = 'status', on_conflict = 'keep' }\n");
    let mut stage = stage(&UNIQUE, &mapping).await;
    let keys = [("payment", "p1")];
    assert_eq!(stage.write(&[job(1, &keys, "Pending")]).await.len(), 1);
    stage.crm.set("r1", "status", "On hold");
    let mut guarded = job(2, &keys, "Paid");
    let row = Arc::make_mut(&mut guarded.row);
    row.fields[0].on_conflict = crate::mapping::OnConflict::Keep;
    let guarded = [guarded];
    assert_eq!(stage.write(&guarded).await, [done("r1", "unchanged, kept status")]);
    assert_eq!(stage.field("r1", "status"), "On hold");
    // Without a memory nobody knows that a person did it.
    stage.forget_all().await;
    assert_eq!(stage.write(&guarded).await, [done("r1", "updated")]);
}

#[tokio::test]
async fn with_create_only_a_record_that_is_there_stays_as_it_is() {
    let stage = stage(&UNIQUE, &format!("policy = 'create_only'\n{BY_ID}")).await;
    stage.crm.set("a", "payment", "p1");
    assert_eq!(
        stage.write(&[job(1, &[("payment", "p1")], "Paid")]).await,
        [done("a", "unchanged")]
    );
    assert_eq!(stage.write(&[job(2, &[("payment", "p2")], "Paid")]).await, [done("r2", "created")]);
    assert_eq!(stage.field("a", "status"), "");
}

#[tokio::test]
async fn what_is_written_but_not_remembered_is_not_done() {
    let mut stage = stage(&UNIQUE, BY_ID).await;
    let file = stage.file().await;
    let full = "CREATE TRIGGER full BEFORE INSERT ON records
        BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    sqlx::query(full).execute(&file).await.expect("a trigger");
    let paid = job(1, &[("payment", "p1")], "Paid");
    let failed = stage.write(std::slice::from_ref(&paid)).await;
    // No event is to blame: it spends no attempt.
    assert!(matches!(failed[0], Outcome::Failed(Fault::Throttled { .. })), "{failed:?}");
    assert_eq!(stage.crm.records().len(), 1);
    sqlx::query("DROP TRIGGER full").execute(&file).await.expect("dropped");
    stage.restart().await;
    assert_eq!(stage.write(std::slice::from_ref(&paid)).await, [done("r1", "updated")]);
}

#[tokio::test]
async fn a_record_of_an_id_that_is_gone_matches_nothing() {
    let mapping = "
        object = 'deals'
        policy = 'update_only'
        match = [{ from = 'subject_id' }]
        fields.status = 'status'
    ";
    let stage = stage(&UNIQUE, mapping).await;
    stage.crm.set("a", "status", "Pending");
    let by_id = |sequence, status| {
        let mut job = job(sequence, &[], status);
        Arc::make_mut(&mut job.row).keys = vec![Key::Id("a".to_owned())];
        job
    };
    assert_eq!(stage.write(&[by_id(1, "Paid")]).await, [done("a", "updated")]);
    stage.crm.records.lock().expect("no panic").clear();
    assert_eq!(stage.write(&[by_id(2, "Refunded")]).await, [Outcome::NoMatch]);
}

#[tokio::test]
async fn a_record_that_another_mapping_is_writing_waits_without_an_attempt() {
    let stage = stage(&UNIQUE, BY_INVOICE).await;
    stage.crm.set("a", "invoice", "INV-1");
    let memory = stage.writer.memory.clone();
    let crm = Arc::clone(&stage.crm) as Arc<dyn Crm>;
    let other = Writer::new(crm, memory, Arc::clone(&stage.mapping), "s");
    let claims = other.claim(["a"].into_iter());
    let paid = [job(1, &[("invoice", "INV-1")], "Paid")];
    let waits = stage.write(&paid).await;
    assert!(matches!(waits[0], Outcome::Failed(Fault::Throttled { .. })), "{waits:?}");
    drop(claims);
    assert_eq!(stage.write(&paid).await, [done("a", "updated")]);
}

#[tokio::test]
async fn a_late_answer_counts_from_when_it_was_awaited_no_more() {
    let stage = stage(&SEARCHED, BY_ID).await;
    // The call lasts long: its note is old by the time it ends.
    let late = "CREATE TRIGGER late AFTER INSERT ON creations
        BEGIN UPDATE creations SET begun_at = begun_at - 100; END";
    sqlx::query(late).execute(&stage.file().await).await.expect("a trigger");
    let paid = job(1, &[("payment", "p1")], "Paid");
    stage.crm.fail_next(false, Fault::transient("no answer"));
    stage.write(std::slice::from_ref(&paid)).await;
    let keys: Vec<&Key> = paid.row.keys.iter().collect();
    let ago = stage.writer.memory.creations(stage.writer.scope(), &keys).await.expect("read")[0];
    assert!(ago.is_some_and(|ago| ago < Duration::from_secs(2)), "{ago:?}");
}

#[tokio::test]
async fn a_write_of_which_nobody_heard_is_not_taken_for_a_persons() {
    let mapping = BY_ID.replace("'status'\n", "{ from = 'status', on_conflict = 'keep' }\n");
    let mut stage = stage(&UNIQUE, &mapping).await;
    let guarded = |sequence, status| {
        let mut job = job(sequence, &[("payment", "p1")], status);
        Arc::make_mut(&mut job.row).fields[0].on_conflict = crate::mapping::OnConflict::Keep;
        [job]
    };
    assert_eq!(stage.write(&guarded(1, "Pending")).await, [done("r1", "created")]);
    stage.crm.fail_next(true, Fault::transient("the connection was cut"));
    stage.write(&guarded(2, "Failed")).await;
    assert_eq!(stage.field("r1", "status"), "Failed");
    // The event is not made again: another took its place meanwhile.
    stage.restart().await;
    assert_eq!(stage.write(&guarded(3, "Paid")).await, [done("r1", "updated")]);
    assert_eq!(stage.field("r1", "status"), "Paid");
}
