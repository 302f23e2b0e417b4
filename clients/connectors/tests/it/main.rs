//! Contract tests: each CRM module against the strict double of its CRM.

mod hubspot;
