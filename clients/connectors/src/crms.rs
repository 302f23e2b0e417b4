//! The CRMs that can be written to: one row each, with the function that signs in to it. Everything else
//! finds a CRM here.

use std::sync::Arc;

use crate::config::Mistake;
use crate::crm::Crm;
use crate::orgs::Orgs;

/// Signs in to a CRM, later, as its `[crm]` table says.
pub type Open = fn(toml::Table, &Orgs) -> Result<Arc<dyn Crm>, Mistake>;

/// A CRM that can be written to.
pub struct Kind {
    /// Its name, on the command line and as a provider of the gateway's.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// The keys that `options` of an object may have.
    pub object_options: &'static [&'static str],
    /// Reads the `[crm]` table of a configuration.
    pub open: Open,
    /// A whole configuration with comments, which works once its secrets are set.
    pub example: &'static str,
}

/// All of them, by name.
pub const CRMS: &[Kind] = &[
    crate::dynamics::KIND,
    crate::hubspot::KIND,
    crate::monday::KIND,
    crate::pipedrive::KIND,
    crate::salesforce::KIND,
    crate::zoho_crm::KIND,
];

/// The one of this name.
pub fn find(name: &str) -> Option<&'static Kind> {
    CRMS.iter().find(|kind| kind.name == name)
}
