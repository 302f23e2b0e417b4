//! The integration tests, linked once: the module list only.

mod flow;
mod gateway;
mod store;
mod tidy;
mod vectors;
