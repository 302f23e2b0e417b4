//! From events to the last row of each record. In come events in the order of the log, out go records by
//! their keys, within bounds on their number and their size; what is beyond is counted.

use std::collections::{BTreeMap, HashMap};

use tollgate_client::Event;

use crate::config::Config;
use crate::crm::Key;
use crate::intake;
use crate::mapping::{Moment, Row, RowField};

/// How many reasons of one mapping are told apart.
const MAX_REASONS: usize = 20;
/// How much of a reason is told.
const MAX_REASON_BYTES: usize = 300;

/// How much is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Records, all objects together.
    pub records: usize,
    /// Bytes of their keys and values.
    pub bytes: usize,
}

/// What the events mean, by object and record.
#[derive(Debug)]
pub struct Gathered {
    /// Events that were read.
    pub events: u64,
    /// How many of them mean nothing for the CRM, by why.
    pub passed_over: BTreeMap<&'static str, u64>,
    /// By the mapping's place in the configuration.
    pub objects: Vec<Object>,
    bounds: Bounds,
    records: usize,
    bytes: usize,
}

/// What the events mean for one kind of record.
#[derive(Debug, Default)]
pub struct Object {
    /// Events that its `when` passes over.
    pub unwanted: u64,
    /// Events that cannot be a row, by why.
    pub unmappable: BTreeMap<String, u64>,
    /// Events about records that are beyond the bounds.
    pub beyond: u64,
    /// The records.
    pub records: HashMap<Vec<Key>, Pending>,
}

/// The last row of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// What it is found by.
    pub keys: Vec<Key>,
    /// What the events say, each field as the last that says something about it.
    pub fields: BTreeMap<String, (i64, RowField)>,
    /// How many events there are.
    pub events: u64,
    /// The last of them.
    pub sequence: i64,
    /// What that is about.
    pub subject: String,
}

impl Gathered {
    /// Nothing yet.
    pub fn new(config: &Config, bounds: Bounds) -> Gathered {
        Gathered {
            events: 0,
            passed_over: BTreeMap::new(),
            objects: config.objects.iter().map(|_| Object::default()).collect(),
            bounds,
            records: 0,
            bytes: 0,
        }
    }

    /// One more event, as the connector would take it.
    pub fn take(&mut self, config: &Config, crm_name: &str, event: &Event) {
        self.events += 1;
        if let Some(why) = intake::passes(event, config.connector.own_events, crm_name) {
            *self.passed_over.entry(why).or_default() += 1;
            return;
        }
        for (index, mapping) in config.objects.iter().enumerate() {
            match mapping.row(event) {
                Ok(None) => self.objects[index].unwanted += 1,
                Ok(Some(_)) if intake::names_a_foreign_record(event, mapping) => {
                    self.objects[index].unwanted += 1;
                }
                Ok(Some(row)) => self.put(index, row, event),
                Err(why) => self.objects[index].refuse(why.to_string()),
            }
        }
    }

    /// How many records are held.
    pub fn records(&self) -> usize {
        self.records
    }

    /// How many events are about records that are not held.
    pub fn beyond(&self) -> u64 {
        self.objects.iter().map(|object| object.beyond).sum()
    }

    fn put(&mut self, index: usize, row: Row, event: &Event) {
        let object = &mut self.objects[index];
        let is_full = self.records >= self.bounds.records || self.bytes >= self.bounds.bytes;
        if is_full && !object.records.contains_key(&row.keys) {
            object.beyond += 1;
            return;
        }
        let new = Pending::new(row, event);
        match object.records.get_mut(&new.keys) {
            Some(pending) => {
                let before = pending.bytes();
                pending.merge(new);
                self.bytes = (self.bytes + pending.bytes()).saturating_sub(before);
            }
            None => {
                self.records += 1;
                self.bytes += new.bytes();
                object.records.insert(new.keys.clone(), new);
            }
        }
    }
}

impl Object {
    fn refuse(&mut self, why: String) {
        let why = match self.unmappable.len() < MAX_REASONS || self.unmappable.contains_key(&why) {
            true => why[..why.floor_char_boundary(MAX_REASON_BYTES)].to_owned(),
            false => "other reasons".to_owned(),
        };
        *self.unmappable.entry(why).or_default() += 1;
    }
}

impl Pending {
    fn new(row: Row, event: &Event) -> Pending {
        let sequence = event.sequence;
        let fields = row.fields.into_iter().map(|field| (field.name.clone(), (sequence, field)));
        Pending {
            keys: row.keys,
            fields: fields.collect(),
            events: 1,
            sequence,
            subject: event.subject.clone(),
        }
    }

    /// Another that turns out to be about the same record.
    pub fn merge(&mut self, other: Pending) {
        self.events += other.events;
        if other.sequence > self.sequence {
            self.sequence = other.sequence;
            self.subject = other.subject;
        }
        for (name, (sequence, field)) in other.fields {
            match self.fields.get_mut(&name) {
                None => {
                    self.fields.insert(name, (sequence, field));
                }
                Some((held, kept)) => {
                    // What only a new record gets is said by the first.
                    let is_later = sequence > *held;
                    if is_later == (field.moment == Moment::Always) {
                        *held = sequence;
                        *kept = field;
                    }
                }
            }
        }
    }

    fn bytes(&self) -> usize {
        let keys = self.keys.iter().map(|key| match key {
            Key::Id(id) => id.len(),
            Key::Field { field, value, .. } => field.len() + value.len(),
        });
        let values =
            self.fields.iter().map(|(name, (_, field))| name.len() + field.value.text().len());
        keys.chain(values).sum::<usize>() + self.subject.len()
    }
}
