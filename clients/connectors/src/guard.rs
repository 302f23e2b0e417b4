//! Which fields of a row are written: not those that a newer event wrote, not those that already have the
//! value, and, where the mapping says so, not those that a person changed since our last write. In come a
//! row, what is remembered and, if it was read, what the record has now; out goes what to write and what to
//! say about the rest.

use std::collections::BTreeMap;

use crate::mapping::{Moment, OnConflict, Row};
use crate::memory::{Known, Mark};
use crate::value::Value;

/// How many values of a field may have been about to be written, and perhaps were.
const MAX_INTENDED: usize = 4;

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
    /// What to remember of these fields, once it is written; of others, what is known stays so.
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
    for field in &row.fields {
        if field.moment == Moment::Create && !meeting.is_new {
            continue;
        }
        let mark = meeting.known.and_then(|known| known.marks.get(&field.name));
        let digest = field.value.digest();
        if let Some(mark) = mark {
            if mark.sequence > meeting.sequence {
                decision.superseded.push(field.name.clone());
                continue;
            }
            let written = mark.sequence == meeting.sequence && mark.digest == digest;
            // What became of it since is a person's doing, and of no event after it.
            if written && !meeting.replay {
                continue;
            }
        }
        let current = meeting.current.and_then(|current| current.get(&field.name));
        let is_same = current.is_some_and(|current| current.same_as(&field.value));
        let person_changed_it = match (mark, current) {
            (Some(mark), Some(current)) => !is_same && !may_be_ours(mark, &current.digest()),
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
                flag_up(&mut decision.fields, flag, words);
            }
            continue;
        }
        let mark = Mark { sequence: meeting.sequence, digest, intended: Vec::new() };
        decision.marks.insert(field.name.clone(), mark);
        if !is_same {
            decision.fields.insert(field.name.clone(), field.value.clone());
        }
    }
    decision
}

/// Whether we wrote what has this digest: last, or just before we were cut off.
fn may_be_ours(mark: &Mark, digest: &str) -> bool {
    mark.digest == digest || mark.intended.iter().any(|intended| intended == digest)
}

/// Several fields may tell their conflicts in one.
fn flag_up(fields: &mut BTreeMap<String, Value>, flag: &str, words: String) {
    let words = match fields.get(flag) {
        Some(others) => format!("{others}; {words}"),
        None => words,
    };
    fields.insert(flag.to_owned(), Value::Text(words));
}

/// What is to be noted before the guarded fields of the row are written, so that a write of which nobody
/// hears is not taken for a person's: of each field that was written before, the digests.
pub fn intents<'a>(
    row: &'a Row,
    known: &Known,
    decision: &Decision,
) -> BTreeMap<&'a str, Vec<String>> {
    let guarded = row.fields.iter().filter(|field| field.on_conflict != OnConflict::Overwrite);
    let written = guarded.filter(|field| decision.fields.contains_key(&field.name));
    let intents = written.filter_map(|field| {
        let mark = known.marks.get(&field.name)?;
        let digest = field.value.digest();
        if may_be_ours(mark, &digest) {
            return None;
        }
        let begin = mark.intended.len().saturating_sub(MAX_INTENDED - 1);
        let mut digests = mark.intended[begin..].to_vec();
        digests.push(digest);
        Some((field.name.as_str(), digests))
    });
    intents.collect()
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
        let marks = BTreeMap::from([(
            "status".to_owned(),
            Mark { sequence, digest, intended: Vec::new() },
        )]);
        Known { record: "1".to_owned(), statuses: String::new(), marks }
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

    #[test]
    fn a_write_of_which_nobody_heard_is_no_persons() {
        let mut known = known(8, "Pending");
        let failed = row("Failed", OnConflict::Keep);
        let pending = has("Pending");
        let decision = decide(&failed, meeting(9, Some(&known), Some(&pending)));
        let intents = intents(&failed, &known, &decision);
        known.marks.get_mut("status").expect("a mark").intended = intents["status"].clone();
        let current = has("Failed");
        let paid = row("Paid", OnConflict::Keep);
        let decision = decide(&paid, meeting(10, Some(&known), Some(&current)));
        assert!(decision.kept.is_empty() && decision.fields.len() == 1, "{decision:?}");
    }

    #[test]
    fn redelivered_after_a_persons_change_it_flags_nothing() {
        let (known, current) = (known(9, "Paid"), has("On hold"));
        let row = row("Paid", OnConflict::Flag);
        let decision = decide(&row, meeting(9, Some(&known), Some(&current)));
        assert!(decision.flagged.is_empty() && decision.fields.is_empty(), "{decision:?}");
    }

    #[test]
    fn several_conflicts_are_told_in_one_field() {
        let mut row = row("Paid", OnConflict::Flag);
        let amount = RowField { name: "amount".to_owned(), ..row.fields[0].clone() };
        row.fields.insert(0, amount);
        let mut known = known(8, "Pending");
        known.marks.insert("amount".to_owned(), known.marks["status"].clone());
        let mut current = has("On hold");
        current.insert("amount".to_owned(), Value::Text("7".to_owned()));
        let decision = decide(&row, meeting(9, Some(&known), Some(&current)));
        let told = decision.fields["notes"].text();
        assert!(told.contains("amount: ") && told.contains("status: "), "{told}");
    }
}
