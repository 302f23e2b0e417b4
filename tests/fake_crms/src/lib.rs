//! Strict doubles of the CRMs that connectors write to: each is a server on the loopback that checks
//! every request at least as strictly as the vendor does, so what passes here passes there.
//!
//! A double is a [`Backend`]: one synchronous function from [`Request`] to [`Reply`] over its own
//! state. All that the doubles share lies beside it:
//! - [`server`]: two listeners (authorization host, API host), bounded bodies, the way of a call;
//! - [`faults`]: what goes wrong, when, and a way for a test to wait until it did;
//! - [`journal`]: every call and every committed write, and the promises checked against them;
//! - [`clock`]: the time that tokens, windows and quotas run on, which a test moves;
//! - [`table`]: records under a declared schema; [`table::field`] is that schema;
//! - [`limits`]: windows, daily quotas, calls in flight;
//! - [`tokens`]: access tokens that expire, get lost and are counted;
//! - [`callback`]: sends webhooks; [`ids`]: random ids; [`state`]: a mutex for a backend's state.
//!
//! It must never reach beyond the loopback, and never know what a connector meant to send.

pub mod callback;
pub mod clock;
pub mod faults;
pub mod ids;
pub mod journal;
pub mod limits;
pub mod server;
pub mod state;
pub mod table;
pub mod tokens;

pub mod dynamics;
pub mod hubspot;
pub mod monday;
pub mod pipedrive;
pub mod salesforce;
pub mod zoho_crm;

pub use clock::Clock;
pub use faults::{Armed, Effect, Fault, Faults, Write};
pub use journal::{Call, Commit, Journal};
pub use server::{Backend, Host, Reply, Request, Server, Site};
pub use state::State;
pub use table::{By, Error as RowError, Field, Fields, Kind, Life, Match, Record, Table, Written};
pub use tokens::{Lifetime, Refusal, Tokens};
