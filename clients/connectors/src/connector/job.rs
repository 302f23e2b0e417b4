//! One delivery on its way through the kinds of records that it means: which rows are still to be written,
//! and what became of those that were.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tollgate_client::{Delivery, Event};

use crate::collapse;
use crate::mapping::{Row, path};
use crate::value::Value;
use crate::writer;

pub struct Job {
    pub delivery: Delivery,
    /// The rows, one a kind of record, in the order of the configuration.
    targets: Vec<(usize, Arc<Row>)>,
    written: Vec<Written>,
}

struct Written {
    label: String,
    record: String,
    words: String,
}

impl Job {
    pub fn new(delivery: Delivery, targets: Vec<(usize, Arc<Row>)>) -> Job {
        Job { delivery, targets, written: Vec::new() }
    }

    /// The row that is to be written next.
    pub fn next_target(&self) -> Option<(usize, &Arc<Row>)> {
        self.targets.get(self.written.len()).map(|(object, row)| (*object, row))
    }

    /// Whether nothing of it was written yet.
    pub fn is_untouched(&self) -> bool {
        self.written.is_empty()
    }

    /// Whether an older job need not be written since this one will be.
    pub fn makes_needless(&self, older: &Job) -> bool {
        let same_records = self.targets.len() == older.targets.len()
            && self.targets.iter().zip(&older.targets).all(|((object, newer), (other, row))| {
                object == other && collapse::covers(newer, row)
            });
        same_records
            && older.is_untouched()
            && older.delivery.event().sequence < self.delivery.event().sequence
            && collapse::tells_only_a_status(older.delivery.event())
    }

    /// As the writer takes it.
    pub fn row_job(&self, row: &Arc<Row>) -> writer::Job {
        let event = self.delivery.event();
        writer::Job {
            row: Arc::clone(row),
            event: event.name.clone(),
            sequence: event.sequence,
            status: status_digest(event),
            replay: self.delivery.replay(),
        }
    }

    /// Its row is written.
    pub fn row_done(&mut self, label: &str, record: &str, words: &str) {
        self.written.push(Written {
            label: label.to_owned(),
            record: record.to_owned(),
            words: words.to_owned(),
        });
    }

    /// The records, for the event's timeline: `deal/42 contact/7`.
    pub fn reference(&self) -> String {
        let records = self.written.iter().filter(|written| !written.record.is_empty());
        let records = records.map(|written| format!("{}/{}", written.label, written.record));
        records.collect::<Vec<_>>().join(" ")
    }

    /// What was done, likewise: `updated`, or `deal created, contact updated`.
    pub fn words(&self) -> String {
        if let [only] = self.written.as_slice() {
            return only.words.clone();
        }
        let each =
            self.written.iter().map(|written| format!("{} {}", written.label, written.words));
        each.collect::<Vec<_>>().join(", ")
    }

    /// How long ago the gateway received the event.
    pub fn age(&self) -> Duration {
        let received_at = self.delivery.event().received_at;
        let received_at = received_at.and_then(|time| SystemTime::try_from(time).ok());
        received_at.and_then(|time| SystemTime::now().duration_since(time).ok()).unwrap_or_default()
    }
}

/// What a status is recognised by when it comes back from the CRM.
pub fn status_digest(event: &Event) -> String {
    Value::Text(path::status(event).to_owned()).digest()
}
