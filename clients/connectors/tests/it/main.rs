//! Connectors against strict doubles of the CRMs: each CRM's module by its API alone.

mod pipedrive;
