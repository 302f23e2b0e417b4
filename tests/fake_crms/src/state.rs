//! The mutex a backend keeps its state behind. A test that panicked while it held the lock has
//! failed already; the others must see their own failures and not a poisoned lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// State shared by the calls of one server.
#[derive(Debug, Default)]
pub struct State<T>(Mutex<T>);

impl<T> State<T> {
    /// Shares this state.
    pub fn new(state: T) -> State<T> {
        State(Mutex::new(state))
    }

    /// Waits for the state and holds it until the guard is dropped.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
