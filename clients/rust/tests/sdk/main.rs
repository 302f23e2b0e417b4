//! Proves what the SDK promises, against a gateway that each test plays itself, over an in-memory network
//! and with a paused clock.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in what tests share")]

mod connection;
mod gateway;
mod subscription;
mod watch;
