//! The integration tests, linked once: the module list only.

mod flow;
mod gateway;
mod tidy;
mod vectors;
