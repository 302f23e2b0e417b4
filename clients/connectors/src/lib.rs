//! Connectors that write the status of payments to CRMs.
