//! What `/status` tells of a connector, and `tollgate-connect <crm> status` reads. Numbers and words alone;
//! no credential and no value of a record is in it, but what a CRM says in its reasons.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All connectors of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statuses {
    /// One each, in the order of the command line.
    pub connectors: Vec<Status>,
}

/// One connector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The CRM's name.
    pub crm: String,
    /// The name of the configuration's file.
    pub target: String,
    /// The subscription that it consumes.
    pub subscription: String,
    /// Who it is signed in as.
    pub identity: String,
    /// Whether it works: it runs or is about to, and no credential is refused.
    pub healthy: bool,
    /// Why it does not work, or what it waits for.
    pub reason: String,
    /// Whether the gateway answers on the stream.
    pub connected: bool,
    /// Whether the end of what waited was reached.
    pub caught_up: bool,
    /// How far behind it is.
    pub lag: Lag,
    /// How much it gets done.
    pub throughput: Rates,
    /// What the CRM still allows.
    pub quota: Quota,
    /// How often each outcome came, by the mapping's object.
    pub acks: BTreeMap<String, BTreeMap<String, u64>>,
    /// How many events were given back, by kind.
    pub nacks: BTreeMap<String, u64>,
    /// The last events that were given back, the newest last.
    pub last_errors: Vec<Trouble>,
}

/// How far a connector is behind, as the gateway last told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lag {
    /// The subscription's position.
    pub position: i64,
    /// The last sequence of the log.
    pub head: i64,
    /// Events that wait.
    pub events: i64,
    /// Payments, invoices and the rest that they are about.
    pub subjects: i64,
    /// How long the oldest waits, in seconds.
    pub oldest_age_seconds: i64,
    /// Whether the numbers are exact.
    pub exact: bool,
    /// The money that is waited with, by currency.
    pub money: Vec<Waiting>,
}

/// An amount that waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// Cents, yen, fils.
    pub minor_units: i64,
    /// `EUR`.
    pub currency: String,
}

/// Events that were settled a second, on average.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Over the last minute.
    pub last_1_minute: f64,
    /// Over the last 15 minutes.
    pub last_15_minutes: f64,
}

/// What the CRM allows and what was asked of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quota {
    /// Left of the day's quota; absent where the CRM does not tell.
    pub remaining: Option<u64>,
    /// The day's quota.
    pub limit: Option<u64>,
    /// For how long nothing will be sent, in seconds.
    pub blocked_seconds: Option<f64>,
    /// Why.
    pub blocked_reason: String,
    /// Calls that were made.
    pub calls: u64,
    /// Answers that told to wait.
    pub throttled: u64,
    /// Calls that failed as a whole.
    pub failed: u64,
}

/// An event that was given back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// When.
    pub at: String,
    /// `retry`, `throttled`, `parked` or `dead_letter`.
    pub kind: String,
    /// The event's name.
    pub event: String,
    /// What it is followed by; empty where it is not known.
    pub trace_id: String,
    /// Why.
    pub reason: String,
}
