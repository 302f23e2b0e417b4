//! One record of a table: its fields as they are, and as they were for as long as a lagging search
//! may still show them. The table decides what may be written; here it only happens.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use super::{By, Fields, field};
use crate::clock::after;

/// Whether a record is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It can be read, found and written.
    Live,
    /// It can be read by its id only.
    Archived,
    /// It is in the bin.
    Deleted,
}

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its id, from the closure of its table.
    pub id: String,
    /// Its fields as they were sent; a field set to null is absent.
    pub fields: Fields,
    /// 1 when it is created, one more with every write.
    pub version: u64,
    /// Who created it.
    pub created_by: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Who wrote it last.
    pub modified_by: String,
    /// When it was last written.
    pub modified_at: Timestamp,
    /// Until when writes are refused.
    pub locked_until: Option<Timestamp>,
    /// Whether it is there.
    pub life: Life,
    /// What it was after each write that the search may still show.
    past: Vec<(Timestamp, Arc<Fields>)>,
}

impl Record {
    pub(super) fn fresh(id: &str, by: &By) -> Record {
        Record {
            id: id.to_owned(),
            fields: Fields::new(),
            version: 0,
            created_by: by.user.clone(),
            created_at: by.at,
            modified_by: by.user.clone(),
            modified_at: by.at,
            locked_until: None,
            life: Life::Live,
            past: Vec::new(),
        }
    }

    /// The value of a field as text; empty if it has none.
    pub fn text(&self, field: &str) -> String {
        self.fields.get(field).map(field::text).unwrap_or_default()
    }

    pub(super) fn write(&mut self, fields: &Fields, by: &By) -> Vec<(String, Value)> {
        let mut changed = Vec::new();
        for (name, value) in fields {
            let before = match value {
                Value::Null => self.fields.remove(name),
                _ => self.fields.insert(name.clone(), value.clone()),
            };
            if before.as_ref().unwrap_or(&Value::Null) != value {
                changed.push((name.clone(), value.clone()));
            }
        }
        self.version += 1;
        self.modified_by.clone_from(&by.user);
        self.modified_at = by.at;
        self.past.push((by.at, Arc::new(self.fields.clone())));
        changed
    }

    pub(super) fn visible(&self, lag: Duration, now: Timestamp) -> Option<&Fields> {
        let shown = self.past.iter().rev().find(|(at, _)| after(*at, lag) <= now);
        shown.map(|(_, fields)| &**fields)
    }

    pub(super) fn forget(&mut self, lag: Duration, now: Timestamp) {
        let shown = self.past.iter().rposition(|(at, _)| after(*at, lag) <= now);
        self.past.drain(..shown.unwrap_or(0));
    }
}
