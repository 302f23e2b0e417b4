//! The state of a subject, merged from all of its facts.

use serde::{Deserialize, Serialize};

use super::{Change, Draft, PaymentAmounts, References, Report, Sequence, Status, Subject};

/// The current state of one subject, derived from its facts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SubjectState {}

impl SubjectState {
    /// The state before the first fact.
    pub fn begin(_subject: &Subject) -> SubjectState {
        SubjectState {}
    }

    /// Takes one fact in and tells what it changed, and what it reports now that it is in its place.
    pub fn apply(&mut self, _draft: &Draft, _sequence: Sequence) -> (Change, Report) {
        unreachable!()
    }

    /// The subject.
    pub fn subject(&self) -> &Subject {
        unreachable!()
    }

    /// The current status; `None` before the first fact.
    pub fn status(&self) -> Option<Status> {
        unreachable!()
    }

    /// The amounts.
    pub fn amounts(&self) -> PaymentAmounts {
        unreachable!()
    }

    /// All references, the newest of each.
    pub fn references(&self) -> References {
        unreachable!()
    }
}
