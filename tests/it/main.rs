//! The integration tests, linked once: the module list only.

mod commands;
mod delivery;
mod doctor;
mod explain;
mod faults;
mod faulty_store;
mod fetch;
mod flow;
mod fuzz;
mod gateway;
mod grpc;
mod http;
mod links;
mod log_capture;
mod overdue;
mod process;
mod promises;
mod reflection;
mod store;
mod subscriber;
mod tidy;
mod vectors;
