//! What the gateway asks of providers' APIs: a made-up provider whose API is a real local server that
//! misbehaves as told.

mod acme;
mod api;
mod confirmations;
mod keys;
mod polls;
mod tokens;
mod webhooks;
