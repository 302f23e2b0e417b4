//! Connectors: processes that subscribe to a Tollgate gateway and write what became of payments to the
//! records of a CRM, each event once, within the CRM's limits. An event is acknowledged only after the CRM
//! accepted it.
//!
//! The way of an event, in the order of the modules:
//!
//! ```text
//!  gateway ── connector ── mapping ── dispatch ── writer ── <crm> ──► CRM
//!  Consume    deliveries   rows       batches     find,     its API      │
//!     ▲                                           guard,                 │
//!     └────── ack, nack ◄── outcome of each row ◄ memory ◄───────────────┘
//! ```
//!
//! `<crm>` modules know one CRM's API each and nothing of events, mappings or the gateway; everything else
//! is written once. A CRM is a row of [`crms::CRMS`].

pub mod api;
pub mod budget;
pub mod check;
pub mod collapse;
pub mod commands;
pub mod config;
pub mod connector;
pub mod crm;
pub mod crms;
pub mod dispatch;
pub mod dynamics;
pub mod echo;
pub mod gateway;
pub mod guard;
pub mod hubspot;
pub mod intake;
pub mod mapping;
pub mod memory;
pub mod monday;
pub mod operations;
pub mod orgs;
pub mod pipedrive;
pub mod plan;
pub mod report;
pub mod salesforce;
#[cfg(test)]
mod shelf;
pub mod tokens;
pub mod trace;
pub mod value;
pub mod writer;
pub mod zoho_crm;
