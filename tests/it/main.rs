//! The integration tests, linked once: the module list only.

mod faults;
mod flow;
mod gateway;
mod process;
mod store;
mod tidy;
mod vectors;
