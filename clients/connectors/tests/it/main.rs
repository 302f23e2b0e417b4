//! Connectors against strict doubles of the CRMs: each CRM's module by its API alone, and the whole
//! `tollgate-connect` as a process behind a real gateway.

mod behaviour;
mod crash;
mod dynamics;
mod echo;
mod end_to_end;
mod hubspot;
mod monday;
mod operations;
mod pipedrive;
mod salesforce;
mod stage;
mod zoho_crm;
