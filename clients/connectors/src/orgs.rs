//! What connectors of one org share in a process: its budget and its tokens. In comes what the org is known
//! by, out goes the one budget and the one set of tokens for it, however many connectors ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::budget::{Budget, Limits};
use crate::tokens::Tokens;

/// All orgs that this process writes to.
#[derive(Default)]
pub struct Orgs {
    budgets: Mutex<HashMap<String, Arc<Budget>>>,
    tokens: Mutex<HashMap<String, Arc<Tokens>>>,
}

impl Orgs {
    /// The budget of this name, made with these limits by the first who asks.
    pub fn budget(&self, name: &str, limits: Limits) -> Arc<Budget> {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        let budget =
            budgets.entry(name.to_owned()).or_insert_with(|| Arc::new(Budget::new(limits)));
        Arc::clone(budget)
    }

    /// The tokens of this name, made by the first who asks.
    pub fn tokens(&self, name: &str, make: impl FnOnce() -> Tokens) -> Arc<Tokens> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tokens.entry(name.to_owned()).or_insert_with(|| Arc::new(make())))
    }
}

/// A name for a credential at a host that shows nothing of it: connectors with the same are of one org.
pub fn name(crm: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    format!("{crm}:{}", hex::encode(&hash.finalize()[..8]))
}
