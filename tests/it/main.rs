//! The integration tests, linked once: the module list only.

mod delivery;
mod faulty_store;
mod flow;
mod gateway;
mod grpc;
mod http;
mod log_capture;
mod promises;
mod reflection;
mod store;
mod subscriber;
mod tidy;
mod vectors;
