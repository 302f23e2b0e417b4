//! What a subscription offers beside its promises: filters, starts, settings, both streams, and the lists
//! and watches next to it. All of it from outside: HTTP in, gRPC out.

mod consume;
mod filters;
mod lists;
mod settings;
mod streams;
