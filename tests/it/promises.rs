//! The ten promises, end to end: each has tests that bear its number and fail if it breaks. Webhooks go
//! in over HTTP, everything else goes over gRPC by the SDK.

mod acks;
mod chain;
mod convergence;
mod order;
mod receiving;
mod secrecy;
mod slow_subscribers;
