//! What all doubles have in common for whoever treats them alike: end-to-end tests, the demo, measurements.
//! Each double's running server is an [`Account`]: it tells the configuration with which a connector signs
//! in and maps payments, and shows its records of payments as a person would see them.

use rust_decimal::Decimal;
use serde_json::Value;

use crate::{Backend, Clock, Faults, Journal, Server};

/// A running double with its standard records of payments.
pub trait Account: Send + Sync {
    /// The tables `[crm]` and `[[objects]]` of a configuration: one object, named `payment`, with
    /// `policy = "upsert"`, whose id is the event's `subject_id`.
    fn config(&self) -> String;

    /// The records of payments that are there.
    fn records(&self) -> Vec<PaymentRecord>;

    /// The API's name of a field: `payment_id`, `status`, `paid`, `refunded`, `reference`, `currency`.
    fn field(&self, logical: &str) -> String;

    /// A person changes a field of a record.
    fn edit(&self, record: &str, field: &str, value: Value);

    /// A person makes a record of a payment; its id.
    fn create(&self, payment_id: &str) -> String;
}

/// A running double, whichever it is.
pub trait Double: Account {
    /// Every call and every write.
    fn journal(&self) -> &Journal;

    /// What goes wrong.
    fn faults(&self) -> &Faults;

    /// Its time.
    fn clock(&self) -> &Clock;
}

impl<B: Backend> Double for Server<B>
where
    Server<B>: Account,
{
    fn journal(&self) -> &Journal {
        Server::journal(self)
    }

    fn faults(&self) -> &Faults {
        Server::faults(self)
    }

    fn clock(&self) -> &Clock {
        Server::clock(self)
    }
}

/// A record of a payment, as a person sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PaymentRecord {
    /// The CRM's id of it.
    pub id: String,
    /// The payment's id.
    pub payment_id: String,
    /// The status in the words that people see: `Paid`, `Partially refunded`. Empty where there is none.
    pub status: String,
    /// What was paid, in major units.
    pub paid: Option<Decimal>,
    /// What was given back, in major units.
    pub refunded: Option<Decimal>,
    /// The invoice's number.
    pub reference: Option<String>,
    /// How often connectors wrote it.
    pub writes: u64,
}
