//! References merged from all facts of a subject: each field, and each metadata entry, has the value of
//! the fact with the greatest key among those that gave one. In come one fact's references and its key;
//! out comes their union. Kept as few entries, since most facts of a subject repeat the same references.
//! It must never let an older value replace a newer one, nor a missing one replace a known one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::key::Key;
use crate::model::References;
use crate::model::references::MAX_METADATA_ENTRIES;

/// References by the key of the fact that gave them, greatest key first. An entry has only what it wins,
/// so that each field and each metadata name stands in one entry at most; none is empty.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MergedReferences(Vec<(Key, References)>);

impl MergedReferences {
    /// Whether no fact gave any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in one fact's references and tells whether any of them is kept.
    pub fn merge(&mut self, key: Key, references: &References) -> bool {
        let mut won = references.clone().bounded();
        self.remove_losers(key, &mut won);
        self.bound_metadata(&mut won);
        if is_empty(&won) {
            return false;
        }
        for (_, entry) in &mut self.0 {
            for (held, new) in entry.texts_mut().into_iter().zip(won.texts()) {
                if !new.is_empty() {
                    held.clear();
                }
            }
            entry.metadata.retain(|name, _| !won.metadata.contains_key(name));
        }
        match self.0.binary_search_by(|(held, _)| key.cmp(held)) {
            Ok(at) => overlay(&mut self.0[at].1, won),
            Err(at) => self.0.insert(at, (key, won)),
        }
        self.0.retain(|(_, entry)| !is_empty(entry));
        true
    }

    /// All of them as one.
    pub fn merged(&self) -> References {
        let mut all = References::default();
        for (_, entry) in &self.0 {
            overlay(&mut all, entry.clone());
        }
        all
    }

    /// Empties what of `new` does not beat the value that is held.
    fn remove_losers(&self, key: Key, new: &mut References) {
        for (held_key, entry) in &self.0 {
            for (held, text) in entry.texts().into_iter().zip(new.texts_mut()) {
                if !held.is_empty() && (key, &*text) <= (*held_key, held) {
                    text.clear();
                }
            }
        }
        new.metadata.retain(|name, value| {
            let held = self
                .0
                .iter()
                .find_map(|(held_key, entry)| Some((*held_key, entry.metadata.get(name)?)));
            !value.is_empty() && held.is_none_or(|held| (key, &*value) > held)
        });
    }

    /// Keeps the smallest names over both. A name among the smallest of all facts is among the smallest
    /// of any part of them, so none that stays in the end was ever dropped on the way, whatever the order.
    fn bound_metadata(&mut self, new: &mut References) {
        let held = self.0.iter().map(|(_, entry)| entry.metadata.len()).sum::<usize>();
        if held + new.metadata.len() <= MAX_METADATA_ENTRIES {
            return;
        }
        let entries = self.0.iter().map(|(_, entry)| entry).chain([&*new]);
        let names: BTreeSet<&String> = entries.flat_map(|entry| entry.metadata.keys()).collect();
        let Some(cutoff) = names.into_iter().nth(MAX_METADATA_ENTRIES).cloned() else {
            return;
        };
        for entry in self.0.iter_mut().map(|(_, entry)| entry).chain([new]) {
            entry.metadata.retain(|name, _| *name < cutoff);
        }
        self.0.retain(|(_, entry)| !is_empty(entry));
    }
}

fn is_empty(references: &References) -> bool {
    references.metadata.is_empty() && references.texts().iter().all(|text| text.is_empty())
}

/// Writes what `over` has onto `under`.
fn overlay(under: &mut References, mut over: References) {
    for (under, over) in under.texts_mut().into_iter().zip(over.texts_mut()) {
        if !over.is_empty() {
            *under = std::mem::take(over);
        }
    }
    under.metadata.append(&mut over.metadata);
}
