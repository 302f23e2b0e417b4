//! The Rust client of the Tollgate gateway: what became of payments, as ordered and durable streams.
//!
//! A [`Subscription`] is a named position that the gateway keeps: each event comes at least once, in order
//! per payment, until it is acknowledged. A watch ([`Client::watch_events`], [`Client::watch_payments`])
//! keeps its position here and acknowledges nothing. Both reconnect by themselves; both end only with an
//! [`Error`] that retrying cannot mend. Everything else the gateway offers is behind the raw clients, for
//! example [`Client::payments`].
//!
//! Nothing here decides that an event is handled: that is said by [`Delivery::ack`] alone. No token or key
//! is ever printed.
//!
//! ```no_run
//! use futures::StreamExt;
//! use tollgate_client::{Client, Filter, StartPosition};
//!
//! # async fn write_to_crm(_: &tollgate_client::Event) -> Result<String, std::io::Error> { Ok("42".into()) }
//! # #[tokio::main]
//! # async fn main() -> Result<(), tollgate_client::Error> {
//! let client = Client::connect("http://127.0.0.1:50051").await?;
//! let mut deliveries = client
//!     .subscription("crm")
//!     .create_if_missing(Filter::default(), StartPosition::earliest())
//!     .consumer("crm-writer-1")
//!     .open();
//! while let Some(delivery) = deliveries.next().await {
//!     let delivery = delivery?;
//!     match write_to_crm(delivery.event()).await {
//!         Ok(record) => delivery.ack_with(record, "updated").await?,
//!         Err(error) => delivery.nack(error.to_string()).await?,
//!     };
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The gateway never hands out two events of one payment at once, so deliveries may be handled side by
//! side without losing their order: `deliveries.for_each_concurrent(64, ..)` of [`futures::StreamExt`] is
//! all it takes.

/// The messages and raw clients as generated from `proto/tollgate/v1`, which documents every field.
#[allow(clippy::all, missing_docs, reason = "generated code")]
pub mod proto {
    tonic::include_proto!("tollgate.v1");
}

mod backoff;
mod client;
mod delivery;
mod error;
mod inbox;
mod position;
mod session;
mod subscription;
mod tls;
mod unsettled;
mod watch;

pub use client::{Authorization, Client, ClientBuilder, Transport};
pub use delivery::{Delivery, Settling};
pub use error::{Error, FieldViolation};
pub use position::Position;
pub use proto::{AckStatus, Event, Filter, Payment, StartPosition, WatchPaymentsRequest};
pub use subscription::{Progress, Subscription, SubscriptionBuilder};
pub use tls::Tls;
pub use watch::{Watch, WatchPayments, WatchStream};
