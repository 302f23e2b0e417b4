//! Tollgate: a gateway between payment systems and the systems that must know what became of a payment.
//!
//! The modules stand in the order in which an event passes them: an HTTP request comes in through
//! `http`, its provider module verifies and translates it (`providers`, `receipt`), `ingest` commits it
//! in batches to the `store`, `delivery` hands it out lane by lane, `grpc` carries it to subscribers and
//! their acks back. `model` lies below all. Each module uses only those that come before it on that way,
//! and nobody calls upwards: `tests/it/tidy.rs` checks the arrows.

pub mod model;
pub mod receipt;
pub mod providers;
pub mod store;
pub mod config;
pub mod ingest;
pub mod delivery;
pub mod grpc;
pub mod http;
pub mod commands;
