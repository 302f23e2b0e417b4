//! Connectors against the strict doubles of their CRMs, through the front door of each CRM's module.

mod salesforce;
