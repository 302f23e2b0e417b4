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
//! - [`process`]: a gateway and connectors as processes of their own; [`lives`]: what happens to payments;
//! - [`account`]: what all doubles have in common for who treats them alike;
//! - [`callback`]: sends webhooks; [`ids`]: random ids; [`state`]: a mutex for a backend's state.
//!
//! It must never reach beyond the loopback, and never know what a connector meant to send.
//!
//! ```
//! use std::time::Duration;
//!
//! use fake_crms::*;
//! use serde_json::json;
//!
//! pub struct Acme {
//!     site: Site,
//!     pub tokens: Tokens,
//!     payments: State<Table>,
//! }
//!
//! impl Acme {
//!     pub fn new(site: &Site) -> Acme {
//!         let hour = Lifetime { time: Some(Duration::from_secs(3_600)), ..Lifetime::default() };
//!         let schema = vec![
//!             Field::text("payment_id", 64).unique(Match::IgnoreCase).required(),
//!             Field::picklist("status", &["paid", "refunded"]),
//!         ];
//!         Acme {
//!             tokens: Tokens::new(site.clock.clone(), hour),
//!             payments: State::new(Table::new(schema, |n| format!("{n:019}"))),
//!             site: site.clone(),
//!         }
//!     }
//!
//!     fn upsert(&self, request: &Request, key: &str, fields: &table::Fields) -> Reply {
//!         let by = By::call(request, "connector", self.site.clock.now());
//!         let mut payments = self.payments.lock();
//!         match payments.upsert("payment_id", &json!(key), fields, &by) {
//!             Ok(written) => {
//!                 self.site.journal.wrote(written.commit("payment", key));
//!                 Reply::json(200, &json!({ "id": written.id, "created": written.created }))
//!             }
//!             Err(errors) => Reply::json(400, &json!({ "error": format!("{:?}", errors[0]) })),
//!         }
//!     }
//! }
//!
//! impl Backend for Acme {
//!     fn handle(&self, request: &Request) -> Reply {
//!         let segments = request.segments();
//!         let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
//!         match (request.host, &segments[..]) {
//!             (Host::Auth, ["token"]) => Reply::json(
//!                 200,
//!                 &json!({ "access_token": self.tokens.issue("org"), "api": self.site.api_url }),
//!             ),
//!             (Host::Api, ["payments", key]) => {
//!                 let token = request.credential("Bearer").unwrap_or_default();
//!                 if self.tokens.check(token).is_err() {
//!                     return Reply::json(401, &json!({ "error": "INVALID_TOKEN" }));
//!                 }
//!                 match request.json().ok().as_ref().and_then(|body| body.as_object()) {
//!                     Some(fields) => self.upsert(request, key, fields),
//!                     None => Reply::json(400, &json!({ "error": "BAD_JSON" })),
//!                 }
//!             }
//!             _ => Reply::json(404, &json!({ "error": "NOT_FOUND" })),
//!         }
//!     }
//!
//!     fn tenant(&self, request: &Request) -> String {
//!         let token = request.credential("Bearer").unwrap_or_default();
//!         self.tokens.tenant(token).unwrap_or_default()
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let server = Server::start(Clock::real(), Acme::new).await.expect("two ports of the loopback");
//! let lost = server.faults().add(Fault::new(Effect::Close(Write::Applied)).containing("pay_1"));
//! // Start a connector on server.auth_url() and server.api_url(); kill it at lost.hit().await.
//! server.backend().tokens.kill_all();
//! server.clock().advance(Duration::from_secs(60));
//! assert!(server.journal().second_creates().is_empty());
//! # assert_eq!(lost.hits(), 0);
//! # }
//! ```

pub mod account;
pub mod all;
pub mod callback;
pub mod clock;
pub mod faults;
pub mod ids;
pub mod journal;
pub mod limits;
pub mod lives;
pub mod process;
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

pub use account::{Account, Double, PaymentRecord};
pub use all::{Limits, NAMES, start};
pub use clock::Clock;
pub use faults::{Armed, Effect, Fault, Faults, Write};
pub use journal::{Call, Commit, Journal};
pub use server::{Backend, Host, Reply, Request, Server, Site};
pub use state::State;
pub use table::{By, Error as RowError, Field, Fields, Kind, Life, Match, Record, Table, Written};
pub use tokens::{Lifetime, Refusal, Tokens};
