//! Connectors against strict doubles of the CRMs: each CRM's module by its API alone, and the whole
//! `tollgate-connect` as a process behind a real gateway.

mod zoho_crm;
