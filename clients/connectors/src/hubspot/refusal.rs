//! What a refusal means for rows: which rows of a refused batch it is certainly about, and what becomes of
//! a row that it is about. In come HubSpot's code and list of bad values, out go row numbers and faults. It
//! must never blame a row that may be right.

use std::time::Duration;

use super::answer::{Invalid, Problem};
use super::batch::{Input, Operation};
use super::calls::LOCKED;
use crate::budget::Budget;
use crate::crm::Fault;

/// Properties with these are wrong whatever the value.
const WRONG_PROPERTIES: &[&str] = &["PROPERTY_DOESNT_EXIST", "READ_ONLY_VALUE"];
/// What HubSpot's words about a wrong value begin with after the value; where they do not, nothing follows.
const AFTER_VALUE: &str = " was not ";
/// Rows with these may be written later.
const TRANSIENT: &[&str] = &["INTERNAL_ERROR", "LOCKED"];
/// The wait for a row that a limit held back.
const LIMITED: Duration = Duration::from_secs(10);

/// What of a list of bad values is certainly about this row.
pub(super) fn blamed<'a>(
    invalid: &'a [Invalid],
    input: &Input<'_>,
    all: &[Input<'_>],
) -> Option<&'a Invalid> {
    invalid.iter().find(|one| is_about(one, input, all))
}

fn is_about(invalid: &Invalid, input: &Input<'_>, all: &[Input<'_>]) -> bool {
    let Some(value) = input.properties.get(&invalid.name) else { return false };
    if WRONG_PROPERTIES.contains(&invalid.error.as_str()) {
        return true;
    }
    if value.is_empty() {
        return false;
    }
    if invalid.value.as_ref().is_some_and(|told| told == value) {
        return true;
    }
    let words = invalid.message.strip_prefix(value.as_str());
    if words.is_some_and(|words| words.starts_with(AFTER_VALUE)) {
        return true;
    }
    // Whichever row it is about has the same value.
    let mut others = all.iter().filter_map(|other| other.properties.get(&invalid.name));
    others.all(|other| other == value)
}

/// What a bad value means.
pub(super) fn invalid_value(invalid: &Invalid) -> Fault {
    let words = super::answer::cut(&invalid.message, super::answer::MAX_TOLD_BYTES);
    Fault::permanent(invalid.error.as_str(), format!("{}: {words}", invalid.name))
}

/// What a problem means for the one row that it is about.
pub(super) fn fault_of(problem: &Problem, operation: &Operation, budget: &Budget) -> Fault {
    let reason = problem.told();
    let category = problem.category();
    let is_update = matches!(operation, Operation::Update);
    match problem.status.as_u16() {
        423 => return Fault::Transient { reason, wait: Some(LOCKED) },
        409 => return conflict(problem, is_update),
        _ => {}
    }
    match category {
        "CONFLICT" | "OBJECT_ALREADY_EXISTS" => conflict(problem, is_update),
        "OBJECT_NOT_FOUND" if is_update => Fault::Gone { reason },
        "RATE_LIMIT" | "RATE_LIMITS" => {
            budget.throttled(LIMITED, &reason);
            Fault::Throttled { wait: LIMITED, reason }
        }
        _ if TRANSIENT.contains(&category) => Fault::Transient { reason, wait: Some(LOCKED) },
        _ => Fault::permanent(problem.code(), reason),
    }
}

/// Two writers created the record, or the values of a unique property are those of another record.
fn conflict(problem: &Problem, is_update: bool) -> Fault {
    match is_update {
        true => Fault::permanent(problem.code(), problem.told()),
        false => Fault::Raced { reason: problem.told() },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn input(status: &str) -> Input<'static> {
        let properties = BTreeMap::from([("status".to_owned(), status.to_owned())]);
        Input { row: 0, id: None, key: None, properties, trace: String::new() }
    }

    fn invalid(error: &str, name: &str, message: &str) -> Vec<Invalid> {
        let (error, name, message) = (error.to_owned(), name.to_owned(), message.to_owned());
        vec![Invalid { error, name, message, value: None }]
    }

    #[test]
    fn only_rows_that_are_certainly_wrong_are_blamed() {
        let all = [input("Paid"), input("Pait")];
        let words = "Pait was not one of the allowed options: [Paid]";
        let list = invalid("INVALID_OPTION", "status", words);
        assert!(blamed(&list, &all[0], &all).is_none());
        assert!(blamed(&list, &all[1], &all).is_some());

        let silent = invalid("INVALID_OPTION", "status", "wrong");
        assert!(all.iter().all(|one| blamed(&silent, one, &all).is_none()));
        let same = [input("Pait"), input("Pait")];
        assert!(same.iter().all(|one| blamed(&silent, one, &same).is_some()));

        let unknown = invalid("PROPERTY_DOESNT_EXIST", "status", "");
        assert!(all.iter().all(|one| blamed(&unknown, one, &all).is_some()));
        let other = invalid("PROPERTY_DOESNT_EXIST", "amount", "");
        assert!(all.iter().all(|one| blamed(&other, one, &all).is_none()));
    }
}
