//! All doubles by the names that connectors know the CRMs by.

use crate::Double;
use crate::dynamics::{self, Dynamics};
use crate::hubspot::{self, Hubspot};
use crate::monday::{self, Monday};
use crate::pipedrive::{self, Pipedrive};
use crate::salesforce::{self, Salesforce};
use crate::zoho_crm::{self, ZohoCrm};

/// The names, in order.
pub const NAMES: [&str; 6] =
    ["dynamics", "hubspot", "monday", "pipedrive", "salesforce", "zoho_crm"];

/// How much a double lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// More than any test needs.
    Generous,
    /// What the vendor allows on a usual paid plan.
    Real,
}

/// Starts the double of this name.
///
/// # Panics
///
/// If there is none of this name.
pub async fn start(name: &str, limits: Limits) -> Box<dyn Double> {
    macro_rules! start {
        ($double:ident, $module:ident) => {{
            let settings = match limits {
                Limits::Generous => $module::Settings::default(),
                Limits::Real => $module::Settings::real(),
            };
            Box::new($double::start(settings).await)
        }};
    }
    match name {
        "dynamics" => start!(Dynamics, dynamics),
        "hubspot" => start!(Hubspot, hubspot),
        "monday" => start!(Monday, monday),
        "pipedrive" => start!(Pipedrive, pipedrive),
        "salesforce" => start!(Salesforce, salesforce),
        "zoho_crm" => start!(ZohoCrm, zoho_crm),
        other => panic!("there is no double of `{other}`"),
    }
}
