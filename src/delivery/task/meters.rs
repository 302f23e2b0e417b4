//! What is counted of one subscription, with handles that are looked up once.

use metrics::{Counter, counter};

/// The counters of one subscription.
pub(super) struct Meters {
    pub(super) deliveries: Counter,
    pub(super) redeliveries: Counter,
    pub(super) expired: Counter,
    pub(super) settled: Counter,
    pub(super) dead_letters: Counter,
}

impl Meters {
    pub(super) fn of(subscription: &str) -> Meters {
        let one = |name: &'static str| counter!(name, "subscription" => subscription.to_owned());
        Meters {
            deliveries: one("tollgate_deliveries_total"),
            redeliveries: one("tollgate_redeliveries_total"),
            expired: one("tollgate_expired_deliveries_total"),
            settled: one("tollgate_settled_deliveries_total"),
            dead_letters: one("tollgate_dead_letters_total"),
        }
    }
}
