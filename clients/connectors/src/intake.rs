//! Which events of a subscription mean nothing for a CRM, whatever its mapping: shared by the connector and
//! the plan of what it would do, so that both tell the same. In comes an event, out goes the outcome with
//! which it is passed over, or nothing.

use tollgate_client::Event;

use crate::config::OwnEvents;
use crate::crm::Key;
use crate::crms;
use crate::mapping::{Mapping, path};

/// It came late and a newer fact was known already.
pub const SUPERSEDED: &str = "superseded";
/// The CRM itself reported it.
pub const OWN: &str = "own";

/// The outcome with which the event is passed over; `None` for an event that is to be mapped.
pub fn passes(event: &Event, own_events: OwnEvents, crm_name: &str) -> Option<&'static str> {
    if event.change.as_ref().is_some_and(|change| change.superseded) {
        return Some(SUPERSEDED);
    }
    match own_events {
        OwnEvents::Ignore if event.provider == crm_name => Some(OWN),
        OwnEvents::Ignore | OwnEvents::Write => None,
    }
}

/// Whether a mapping would take a CRM's own record for the payment that its event does not name. No other
/// CRM has such a record: each would make one, and tell the others of it, for ever.
pub fn names_a_foreign_record(event: &Event, mapping: &Mapping) -> bool {
    const PAYMENT: &str = "subject_id";
    let Some(references) = &event.references else { return false };
    let record = references.metadata.get("record_id");
    let is_subject = record.is_some_and(|record| record == path::subject_id(event));
    let is_key = mapping.matches.iter().any(|one| one.from.as_str() == PAYMENT);
    crms::find(&event.provider).is_some() && references.payment.is_empty() && is_subject && is_key
}

/// Whether a key is the payment's id, and not that of a customer or of anything that has many payments.
pub fn names_the_payment(event: &Event, key: &Key) -> bool {
    match key {
        Key::Field { value, .. } => value == path::subject_id(event),
        Key::Id(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use tollgate_client::proto::Change;

    use super::*;

    #[test]
    fn late_events_and_the_crms_own_are_passed_over() {
        let from = |provider: &str, superseded| Event {
            provider: provider.to_owned(),
            change: Some(Change { superseded, ..Change::default() }),
            ..Event::default()
        };
        let ignore = |event: &Event| passes(event, OwnEvents::Ignore, "hubspot");
        assert_eq!(ignore(&from("stripe", false)), None);
        assert_eq!(ignore(&from("stripe", true)), Some(SUPERSEDED));
        assert_eq!(ignore(&from("hubspot", false)), Some(OWN));
        assert_eq!(passes(&from("hubspot", false), OwnEvents::Write, "hubspot"), None);
    }
}
