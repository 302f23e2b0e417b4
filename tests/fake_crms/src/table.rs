//! The records of one object: rows under a declared schema, with the vendor's kind of ids, version
//! stamps, unique keys, locks, and a search that lags behind. In come JSON fields; out goes what was
//! written, or typed errors that each CRM words in its own form. It never repairs a value: what is
//! stored is what was sent.

pub mod field;
mod record;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{Commit, Request};

pub use field::{Field, Kind, Match};
pub use record::{Life, Record};

/// Fields by name.
pub type Fields = Map<String, Value>;

/// Who writes, when, in which call.
#[derive(Clone, Debug)]
pub struct By {
    /// The user.
    pub user: String,
    /// The time of the write.
    pub at: Timestamp,
    /// The call; 0 for a simulated person.
    pub call: u64,
}

impl By {
    /// A write by a call at this time.
    pub fn call(request: &Request, user: &str, at: Timestamp) -> By {
        By { user: user.to_owned(), at, call: request.number }
    }

    /// A write by a person at the CRM's own screen.
    pub fn person(user: &str, at: Timestamp) -> By {
        By { user: user.to_owned(), at, call: 0 }
    }
}

/// Why a write is refused. Nothing of a refused write is stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// The schema has no such field; names are case-sensitive.
    UnknownField { field: String },
    /// The value is none of the field's options.
    BadOption { field: String, value: Value },
    /// The value is not of the field's kind.
    WrongType { field: String, value: Value },
    /// The text has more characters than the field holds.
    TooLong { field: String, max: usize },
    /// A create lacks a required field, or a write empties it.
    MissingRequired { field: String },
    /// The field is the CRM's own.
    ReadOnly { field: String },
    /// Another record has this value of a unique field.
    Duplicate { field: String, record: String },
    /// The record is locked.
    Locked { record: String },
    /// The record is archived or deleted.
    Deleted { record: String },
    /// There never was a record of this id.
    NotFound { record: String },
}

/// What a write did. Hand it to [`Table::undo`] to roll it back.
#[derive(Clone, Debug)]
pub struct Written {
    /// The record's id.
    pub id: String,
    /// Whether the write created it.
    pub created: bool,
    /// The fields that now have another value than before.
    pub changed: Vec<(String, Value)>,
    /// The record's version after the write.
    pub version: u64,
    by: By,
    before: Option<Record>,
}

impl Written {
    /// The same for the journal: the object it belongs to, and the key its record is known by.
    pub fn commit(&self, object: &str, key: &str) -> Commit {
        Commit {
            object: object.to_owned(),
            record: self.id.clone(),
            key: key.to_owned(),
            fields: self.changed.clone(),
            created: self.created,
            at: self.by.at,
            call: self.by.call,
        }
    }
}

type MakeId = Arc<dyn Fn(u64) -> String + Send + Sync>;

/// The records of one object.
#[derive(Clone)]
pub struct Table {
    schema: Vec<Field>,
    make_id: MakeId,
    made: u64,
    records: BTreeMap<String, Record>,
    /// By field and folded value: the records that have or had it.
    candidates: HashMap<String, HashMap<String, Vec<String>>>,
    lag: Duration,
    rivals: Vec<String>,
}

impl fmt::Debug for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Table");
        shown.field("schema", &self.schema).field("records", &self.records).finish_non_exhaustive()
    }
}

impl Table {
    /// An empty table; the closure makes the id of the nth record, counted from 1.
    pub fn new(
        schema: Vec<Field>,
        make_id: impl Fn(u64) -> String + Send + Sync + 'static,
    ) -> Table {
        Table {
            schema,
            make_id: Arc::new(make_id),
            made: 0,
            records: BTreeMap::new(),
            candidates: HashMap::new(),
            lag: Duration::ZERO,
            rivals: Vec::new(),
        }
    }

    /// [`Table::search`] shows a write only this much later.
    pub fn set_lag(&mut self, lag: Duration) {
        self.lag = lag;
    }

    /// The declared fields.
    pub fn schema(&self) -> &[Field] {
        &self.schema
    }

    /// Declares one more field, or declares it anew.
    pub fn declare(&mut self, field: Field) {
        self.schema.retain(|known| known.name != field.name);
        self.schema.push(field);
    }

    /// The declared field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.schema.iter().find(|field| field.name == name)
    }

    /// The record of this id, whatever its life.
    pub fn get(&self, id: &str) -> Option<&Record> {
        self.records.get(id)
    }

    /// All records in the order of their ids, whatever their life.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The live records with this value of a field, as they are now.
    pub fn find(&self, field: &str, value: &Value, how: Match) -> Vec<&Record> {
        let same = |record: &&Record| {
            record.life == Life::Live
                && record.fields.get(field).is_some_and(|has| how.same(has, value))
        };
        self.having(field, value).into_iter().filter(same).collect()
    }

    /// The live records that had this value of a field one lag ago: what a search finds.
    pub fn search(&self, field: &str, value: &Value, how: Match, now: Timestamp) -> Vec<&Record> {
        let seen = |record: &&Record| {
            let visible = record.visible(self.lag, now);
            record.life == Life::Live
                && visible.and_then(|fields| fields.get(field)).is_some_and(|v| how.same(v, value))
        };
        self.having(field, value).into_iter().filter(seen).collect()
    }

    /// What the schema has against these fields; for a create also what is missing.
    pub fn check(&self, fields: &Fields, creates: bool) -> Vec<Error> {
        let mut errors = Vec::new();
        for (name, value) in fields {
            match self.field(name) {
                Some(field) => errors.extend(field.check(value).err()),
                None => errors.push(Error::UnknownField { field: name.clone() }),
            }
        }
        if creates {
            let missing = |field: &&Field| field.required && !fields.contains_key(&field.name);
            let names = self.schema.iter().filter(missing).map(|field| field.name.clone());
            errors.extend(names.map(|field| Error::MissingRequired { field }));
        }
        errors
    }

    /// Creates a record. The errors of a refusal are all there are, never none.
    pub fn insert(&mut self, fields: &Fields, by: &By) -> Result<Written, Vec<Error>> {
        let mut errors = self.check(fields, true);
        errors.extend(self.duplicate(fields, None));
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(self.store(None, fields, by))
    }

    /// Changes a record; null empties a field, a field not named stays. The errors of a refusal are
    /// all there are, never none.
    pub fn update(&mut self, id: &str, fields: &Fields, by: &By) -> Result<Written, Vec<Error>> {
        let record = || id.to_owned();
        let Some(found) = self.records.get(id) else {
            return Err(vec![Error::NotFound { record: record() }]);
        };
        if found.life != Life::Live {
            return Err(vec![Error::Deleted { record: record() }]);
        }
        if found.locked_until.is_some_and(|until| by.at < until) {
            return Err(vec![Error::Locked { record: record() }]);
        }
        let mut errors = self.check(fields, false);
        errors.extend(self.duplicate(fields, Some(id)));
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(self.store(Some(id), fields, by))
    }

    /// Changes the live record with this key, or creates it. The key is stored with the fields.
    pub fn upsert(
        &mut self,
        key_field: &str,
        key: &Value,
        fields: &Fields,
        by: &By,
    ) -> Result<Written, Vec<Error>> {
        let mut fields = fields.clone();
        fields.insert(key_field.to_owned(), key.clone());
        if let Some(id) = self.id_of(key_field, key) {
            // The key found the record: it stays as it was written first.
            fields.remove(key_field);
            return self.update(&id, &fields, by);
        }
        let raced = self.rivals.iter().position(|rival| *rival == field::text(key));
        if let Some(at) = raced {
            self.rivals.remove(at);
            let rival = By::person("rival", by.at);
            let record = self.insert(&fields, &rival)?.id;
            return Err(vec![Error::Duplicate { field: key_field.to_owned(), record }]);
        }
        self.insert(&fields, by)
    }

    /// The id of the live record with this value of a unique field.
    pub fn id_of(&self, field: &str, value: &Value) -> Option<String> {
        let how = self.field(field)?.unique.unwrap_or(Match::Exact);
        self.find(field, value, how).first().map(|record| record.id.clone())
    }

    /// The next upsert that would create this key loses a race: a rival has just created the
    /// record, and the upsert is refused as a duplicate.
    pub fn race(&mut self, key: &str) {
        self.rivals.push(key.to_owned());
    }

    /// Writes past the schema, the locks and the read-only fields, as a person, a migration or the
    /// CRM itself does. None if there is no such record.
    pub fn force(&mut self, id: &str, fields: &Fields, by: &By) -> Option<Written> {
        self.records.contains_key(id).then(|| self.store(Some(id), fields, by))
    }

    /// Refuses writes to a record until then. Tells whether there is such a record.
    pub fn lock(&mut self, id: &str, until: Timestamp) -> bool {
        let record = self.records.get_mut(id);
        record.map(|record| record.locked_until = Some(until)).is_some()
    }

    /// Archives, deletes or restores a record. Tells whether there is such a record.
    pub fn set_life(&mut self, id: &str, life: Life) -> bool {
        self.records.get_mut(id).map(|record| record.life = life).is_some()
    }

    /// Takes a write back, as if it had never been; the last one first.
    pub fn undo(&mut self, written: Written) {
        match written.before {
            Some(before) => self.records.insert(written.id, before),
            None => self.records.remove(&written.id),
        };
    }

    fn duplicate(&self, fields: &Fields, own: Option<&str>) -> Option<Error> {
        fields.iter().filter(|(_, value)| !value.is_null()).find_map(|(name, value)| {
            let how = self.field(name)?.unique?;
            let found = self.find(name, value, how);
            let other = found.into_iter().find(|record| Some(record.id.as_str()) != own)?;
            Some(Error::Duplicate { field: name.clone(), record: other.id.clone() })
        })
    }

    /// The records that may have this value of a field: by the index if it has one, else all.
    fn having(&self, field: &str, value: &Value) -> Vec<&Record> {
        if !self.field(field).is_some_and(Field::is_indexed) {
            return self.records.values().collect();
        }
        let by_value = self.candidates.get(field);
        let ids = by_value.and_then(|values| values.get(&field::folded(value)));
        ids.into_iter().flatten().filter_map(|id| self.records.get(id)).collect()
    }

    fn store(&mut self, id: Option<&str>, fields: &Fields, by: &By) -> Written {
        let id = id.map_or_else(|| self.next_id(), str::to_owned);
        for (name, value) in fields {
            if self.field(name).is_some_and(Field::is_indexed) {
                let values = self.candidates.entry(name.clone()).or_default();
                let ids = values.entry(field::folded(value)).or_default();
                if !ids.contains(&id) {
                    ids.push(id.clone());
                }
            }
        }
        let before = self.records.get(&id).cloned();
        let record = self.records.entry(id.clone()).or_insert_with(|| Record::fresh(&id, by));
        let changed = record.write(fields, by);
        record.forget(self.lag, by.at);
        let (created, version) = (before.is_none(), record.version);
        Written { id, created, changed, version, by: by.clone(), before }
    }

    fn next_id(&mut self) -> String {
        self.made += 1;
        (self.make_id)(self.made)
    }
}

#[cfg(test)]
mod tests;
