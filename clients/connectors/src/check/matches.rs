//! Whether records can be found, and made, by the keys of a mapping, and what waiting for them means.

use super::{Described, Findings, suggest};
use crate::crm::Facts;
use crate::mapping::{Mapping, Match, NoMatch, Park, Policy};

/// The findings about the keys.
pub fn check(
    found: &mut Findings,
    at: &str,
    mapping: &Mapping,
    described: &Described<'_>,
    facts: &Facts,
) {
    for (index, one) in mapping.matches.iter().enumerate() {
        let key = format!("{at}.match[{index}]");
        if one.from.is_status() || one.from.is_amount() {
            let path = one.from.as_str();
            found.warning(&key, format!("many events have the same `{path}`: it tells no record"));
        }
        let makes = index == 0 && mapping.policy != Policy::UpdateOnly;
        check_field(found, &key, (one, makes), described, facts);
    }
}

/// `makes`: new records are made with this key.
fn check_field(
    found: &mut Findings,
    key: &str,
    (one, makes): (&Match, bool),
    described: &Described<'_>,
    facts: &Facts,
) {
    let Some(name) = &one.field else { return };
    let Some(field) = described.field(name) else {
        return found.error(key, suggest::field(name, described.description));
    };
    if one.unique && !field.unique {
        let words = format!(
            "`{name}` is not unique in the CRM, so no record can be written by it: make it unique there, \
             or take `unique` away"
        );
        found.error(key, words);
    }
    if !one.unique && field.unique && facts.upserts_by_key {
        let words = format!(
            "`{name}` is unique in the CRM: `unique = true` saves calls, and no record is ever made twice"
        );
        found.warning(key, words);
    }
    if makes && !field.writable {
        let words = format!(
            "a new record is made with `{name}`, which cannot be written: put another key first, or set \
             `policy = \"update_only\"`"
        );
        found.error(key, words);
    }
}

/// The findings about events whose record is not there.
pub fn check_waiting(found: &mut Findings, at: &str, mapping: &Mapping, facts: &Facts) {
    let park = format!("{at}.park");
    if mapping.policy != Policy::UpdateOnly {
        if mapping.park != Park::default() {
            found.warning(&park, "only counts with `policy = \"update_only\"`");
        }
        return;
    }
    match mapping.no_match {
        NoMatch::Skip | NoMatch::DeadLetter if mapping.park != Park::default() => {
            found.warning(&park, "only counts with `no_match = \"park\"`");
        }
        NoMatch::Skip | NoMatch::DeadLetter => {}
        NoMatch::Park if mapping.park.every > mapping.park.at_most => {
            found.warning(&park, "`every` is longer than `at_most`: no record is looked up twice");
        }
        NoMatch::Park if mapping.park.every < facts.search_lag => {
            let seconds = facts.search_lag.as_secs();
            let words = format!(
                "the CRM finds a new record only after up to {seconds} s: looking more often costs calls \
                 and finds nothing"
            );
            found.warning(&park, words);
        }
        NoMatch::Park => {}
    }
}
