//! Which fields of a row are written: not those that a newer event wrote, not those that already have the
//! value, and, where the mapping says so, not those that a person changed since our last write. In come a
//! row, what is remembered and, if it was read, what the record has now; out goes what to write and what to
//! say about the rest.

use std::collections::BTreeMap;

use crate::mapping::{Moment, OnConflict, Row};
use crate::memory::{Known, Mark};
use crate::value::Value;

/// Where a row meets its record.
#[derive(Clone, Copy, Debug)]
pub struct Meeting<'a> {
    /// The event's sequence.
    pub sequence: i64,
    /// Whether an operator asked for the event again: what was written is then written again.
    pub replay: bool,
    /// Whether the record will be new.
    pub is_new: bool,
    /// What is remembered of the record.
    pub known: Option<&'a Known>,
    /// What the record has, where it was read.
    pub current: Option<&'a BTreeMap<String, Value>>,
}

/// What to write, and what to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// What is written.
    pub fields: BTreeMap<String, Value>,
    /// What to remember of the fields, once it is written.
    pub marks: BTreeMap<String, Mark>,
    /// Fields whose value a person changed and which are left as they are.
    pub kept: Vec<String>,
    /// The same, where people are to be told.
    pub flagged: Vec<String>,
    /// Fields that a newer event wrote.
    pub superseded: Vec<String>,
}

/// Decides.
pub fn decide(row: &Row, meeting: Meeting<'_>) -> Decision {
    let mut decision = Decision::default();
    if let Some(known) = meeting.known {
        decision.marks = known.marks.clone();
    }
    for field in &row.fields {
        if field.moment == Moment::Create && !meeting.is_new {
            continue;
        }
        let mark = decision.marks.get(&field.name).cloned();
        let digest = field.value.digest();
        if let Some(mark) = &mark {
            if mark.sequence > meeting.sequence {
                decision.superseded.push(field.name.clone());
                continue;
            }
            let written = mark.sequence == meeting.sequence && mark.digest == digest;
            if written && !meeting.replay && meeting.current.is_none() {
                continue;
            }
        }
        let current = meeting.current.and_then(|current| current.get(&field.name));
        let is_same = current.is_some_and(|current| current.same_as(&field.value));
        let person_changed_it = match (&mark, current) {
            (Some(mark), Some(current)) => !is_same && current.digest() != mark.digest,
            (None, _) | (_, None) => false,
        };
        if person_changed_it && field.on_conflict == OnConflict::Keep {
            decision.kept.push(field.name.clone());
            continue;
        }
        if person_changed_it && field.on_conflict == OnConflict::Flag {
            decision.flagged.push(field.name.clone());
            if let Some(flag) = &field.flag_field {
                let words = format!("{}: {} was not written", field.name, field.value);
                decision.fields.insert(flag.clone(), Value::Text(words));
            }
            continue;
        }
        let mark = Mark { sequence: meeting.sequence, digest };
        decision.marks.insert(field.name.clone(), mark);
        if !is_same {
            decision.fields.insert(field.name.clone(), field.value.clone());
        }
    }
    decision
}

impl Decision {
    /// What was done, in a few words for the event's timeline.
    pub fn outcome(&self, done: &str) -> String {
        let only_superseded = done == "unchanged" && !self.superseded.is_empty();
        let mut words = if only_superseded { "superseded" } else { done }.to_owned();
        for (what, fields) in [("kept", &self.kept), ("flagged", &self.flagged)] {
            if !fields.is_empty() {
                words = format!("{words}, {what} {}", fields.join(" "));
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crm::Key;
    use crate::mapping::RowField;

    fn row(value: &str, on_conflict: OnConflict) -> Row {
        let text = |text: &str| Value::Text(text.to_owned());
        let field = |name: &str, value, moment, on_conflict| RowField {
            name: name.to_owned(),
            value,
            moment,
            on_conflict,
            flag_field: (on_conflict == OnConflict::Flag).then(|| "notes".to_owned()),
        };
        Row {
            keys: vec![Key::Id("1".to_owned())],
            fields: vec![
                field("status", text(value), Moment::Always, on_conflict),
                field("title", text("Payment 1"), Moment::Create, OnConflict::Overwrite),
            ],
            parent: None,
        }
    }

    fn known(sequence: i64, value: &str) -> Known {
        let digest = Value::Text(value.to_owned()).digest();
        let marks = BTreeMap::from([("status".to_owned(), Mark { sequence, digest })]);
        Known { record: "1".to_owned(), status: String::new(), marks }
    }

    fn meeting<'a>(
        sequence: i64,
        known: Option<&'a Known>,
        current: Option<&'a BTreeMap<String, Value>>,
    ) -> Meeting<'a> {
        Meeting { sequence, replay: false, is_new: false, known, current }
    }

    fn has(value: &str) -> BTreeMap<String, Value> {
        BTreeMap::from([("status".to_owned(), Value::Text(value.to_owned()))])
    }

    #[test]
    fn an_older_event_never_overwrites_a_newer_one() {
        let known = known(9, "Refunded");
        let decision = decide(&row("Paid", OnConflict::Overwrite), meeting(8, Some(&known), None));
        assert!(decision.fields.is_empty());
        assert_eq!(decision.outcome("unchanged"), "superseded");
    }

    #[test]
    fn what_was_written_is_written_again_only_if_somebody_asks() {
        let known = known(9, "Paid");
        let row = row("Paid", OnConflict::Overwrite);
        assert!(decide(&row, meeting(9, Some(&known), None)).fields.is_empty());
        let replay = Meeting { replay: true, ..meeting(9, Some(&known), None) };
        assert_eq!(decide(&row, replay).fields.len(), 1);
    }

    #[test]
    fn a_persons_change_is_kept_or_flagged_where_the_mapping_says_so() {
        let (known, current) = (known(8, "Pending"), has("On hold"));
        let decided = |on_conflict, current| {
            decide(&row("Paid", on_conflict), meeting(9, Some(&known), Some(current)))
        };
        assert_eq!(decided(OnConflict::Overwrite, &current).fields.len(), 1);
        let kept = decided(OnConflict::Keep, &current);
        assert!(kept.fields.is_empty());
        assert_eq!(kept.outcome("unchanged"), "unchanged, kept status");
        let flagged = decided(OnConflict::Flag, &current);
        assert_eq!(flagged.outcome("updated"), "updated, flagged status");
        assert_eq!(flagged.fields["notes"].text(), "status: Paid was not written");
        // Nobody changed it, or to just this.
        let (pending, paid) = (has("Pending"), has("Paid"));
        assert_eq!(decided(OnConflict::Keep, &pending).fields.len(), 1);
        let same = decided(OnConflict::Keep, &paid);
        assert!(same.fields.is_empty() && same.kept.is_empty());
        assert_eq!(same.marks["status"].sequence, 9);
    }

    #[test]
    fn fields_of_new_records_are_left_alone_later() {
        let row = row("Paid", OnConflict::Overwrite);
        assert!(!decide(&row, meeting(1, None, None)).fields.contains_key("title"));
        let new = Meeting { is_new: true, ..meeting(1, None, None) };
        assert!(decide(&row, new).fields.contains_key("title"));
    }
}
