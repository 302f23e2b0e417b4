//! What a CRM is to everything else: records that are looked up and written in batches, each row with an
//! outcome of its own, and a description of its objects. In come look-ups and writes, out comes one result
//! for each, in their order. A module of a CRM implements it with that CRM's API and nothing else; it must
//! never report a row as written that the CRM did not say it accepted.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::budget::Budget;
use crate::value::Value;

/// What is always so about a CRM.
#[derive(Debug)]
pub struct Facts {
    /// Whether a write by a unique key creates the record or updates the one that is there, as one step of
    /// the CRM's own. Where not, a record is looked up, then updated or created.
    pub upserts_by_key: bool,
    /// How many rows one call of [`Crm::write`] takes at most.
    pub max_writes: usize,
    /// How many look-ups one call of [`Crm::find`] takes at most.
    pub max_lookups: usize,
    /// For how long after a record was created a look-up may miss it.
    pub search_lag: Duration,
}

/// A CRM, signed in to as one org.
#[async_trait]
pub trait Crm: Send + Sync {
    /// What is always so about it.
    fn facts(&self) -> &'static Facts;

    /// What limits its calls; shared by all connectors of the org in this process.
    fn budget(&self) -> &Budget;

    /// Signs in and tells who it is signed in as, for people: `acme.my.salesforce.com as integration`.
    async fn identify(&self) -> Result<String, Fault>;

    /// The fields of a kind of record.
    async fn describe(&self, object: &Object) -> Result<Description, Fault>;

    /// Looks up at most `max_lookups` records, and reads `fields` of each that is found. One result a
    /// look-up, in their order; none, one, or several records, of which two are enough.
    async fn find(
        &self,
        object: &Object,
        lookups: &[Key],
        fields: &[String],
    ) -> Vec<Result<Vec<Record>, Fault>>;

    /// Writes at most `max_writes` rows, no two with the same target. One result a row, in their order. A
    /// row that fails takes no other with it: a call that is refused as a whole is taken apart until the
    /// bad rows are alone.
    async fn write(&self, object: &Object, rows: &[Write]) -> Vec<Result<Written, Fault>>;

    /// Whether fields and options may be named by what people see as well.
    fn takes_labels(&self) -> bool {
        false
    }

    /// What this work costs, for plans.
    fn cost(&self, work: Work) -> Cost;
}

/// A kind of record, as a mapping names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The CRM's name of it in its API: `Opportunity`, `deals`, `new_payments`, a board's id.
    pub name: String,
    /// What else the CRM's module wants to know, by the keys that it declares in `crms::Kind`.
    pub options: BTreeMap<String, String>,
}

/// What a record is found by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// The CRM's own id of it.
    Id(String),
    /// The value of a field.
    Field {
        /// The field's name in the API.
        field: String,
        /// The value. Never empty.
        value: String,
        /// Whether the CRM keeps the field's values unique and lets records be written by it.
        unique: bool,
    },
}

/// A record that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The CRM's id of it.
    pub id: String,
    /// The fields that were asked for. What the CRM left out is absent.
    pub values: BTreeMap<String, Value>,
}

/// One row to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Which record.
    pub target: Target,
    /// The fields, by their names in the API. The field of the target's key is not among them.
    pub fields: BTreeMap<String, Value>,
    /// What the row is recognised by in answers that are in no order: the event's name, unique in the call.
    pub trace: String,
}

/// Which record is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The record of this id, which must be there.
    Record(String),
    /// The record of this unique key, created if it is not there. Only where `Facts::upserts_by_key`, and
    /// only keys with `unique`.
    Upsert(Key),
    /// A new record with this key's field set; [`Fault::Raced`] if the CRM says that there is one already.
    New(Key),
}

/// A row that the CRM accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The CRM's id of the record.
    pub id: String,
    /// Whether it was created; `None` where the CRM does not tell.
    pub created: Option<bool>,
}

/// Why a row was not written, or a record not looked up, and what follows from that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A limit is reached. Nothing was tried.
    #[error("{reason}")]
    Throttled {
        /// Until when nothing should be sent.
        wait: Duration,
        /// The CRM's words or code.
        reason: String,
    },
    /// The same may work later. Whether it was written is not always known.
    #[error("{reason}")]
    Transient {
        /// The CRM's words or code.
        reason: String,
        /// When to try again, where the CRM told.
        wait: Option<Duration>,
    },
    /// It will never work like this.
    #[error("{code}: {reason}")]
    Permanent {
        /// The CRM's code.
        code: String,
        /// The CRM's words.
        reason: String,
    },
    /// The record of the id is not there any more: look it up again.
    #[error("{reason}")]
    Gone {
        /// The CRM's words or code.
        reason: String,
    },
    /// Another writer was faster: look it up and write again, once.
    #[error("{reason}")]
    Raced {
        /// The CRM's words or code.
        reason: String,
    },
    /// The credentials are refused. Nothing works until somebody acts.
    #[error("{reason}")]
    Unauthorized {
        /// The CRM's words or code, without the credential.
        reason: String,
    },
}

impl Fault {
    /// It will never work like this, for this reason.
    pub fn permanent(code: impl Into<String>, reason: impl Into<String>) -> Fault {
        Fault::Permanent { code: code.into(), reason: reason.into() }
    }

    /// The same may work later.
    pub fn transient(reason: impl Into<String>) -> Fault {
        Fault::Transient { reason: reason.into(), wait: None }
    }
}

/// The fields of a kind of record.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// What people call it.
    pub label: String,
    /// Its fields.
    pub fields: Vec<Field>,
}

impl Description {
    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A field.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in the API.
    pub name: String,
    /// What people call it.
    pub label: String,
    /// What it holds.
    pub kind: FieldKind,
    /// Whether this credential may write it.
    pub writable: bool,
    /// Whether a new record must have it.
    pub required: bool,
    /// Whether its values are unique and records can be written by it.
    pub unique: bool,
    /// What it may hold, for choices; empty where anything may, or where the CRM does not tell.
    pub options: Vec<FieldOption>,
    /// The longest text, where the CRM tells.
    pub max_length: Option<usize>,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Text.
    Text,
    /// A number.
    Number,
    /// An amount that carries its currency.
    Money,
    /// Yes or no.
    Boolean,
    /// A day.
    Date,
    /// A moment.
    Time,
    /// One of its options.
    Choice,
    /// An email address.
    Email,
    /// Anything else: references, formulas, files.
    Other,
}

/// One of the values that a choice may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldOption {
    /// What the API takes: an internal name, a number, a label.
    pub value: String,
    /// What people see.
    pub label: String,
}

/// An amount of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Records to look up.
    pub lookups: u64,
    /// Records to write by id or key.
    pub writes: u64,
    /// Records to create without a key.
    pub creates: u64,
}

/// What work costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Calls of the API.
    pub calls: u64,
    /// How long the CRM's limits make it last at the least, in seconds.
    pub seconds: f64,
}
