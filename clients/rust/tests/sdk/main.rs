//! Proves what the SDK promises, against a gateway that each test plays itself, over an in-memory network
//! and with a paused clock.

mod gateway;
mod subscription;
mod watch;
