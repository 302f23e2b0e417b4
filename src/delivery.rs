//! Delivery: hands the log's events to the consumers of each subscription, lane by lane, and keeps what
//! they acknowledged.

pub mod window;
