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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn they_stand_by_name() {
        let names: Vec<&str> = CRMS.iter().map(|kind| kind.name).collect();
        assert!(names.is_sorted(), "{names:?}");
    }

    /// With its secrets set, as the example itself says.
    #[test]
    fn each_example_is_a_configuration() {
        for kind in CRMS {
            let text = kind.example.replace("\"env:", "\"").replace("\"file:", "\"");
            let config = Config::parse(&text, kind);
            let config = config.unwrap_or_else(|mistake| panic!("{}: {mistake}", kind.name));
            assert!(config.objects.len() > 1, "{}: shows one object alone", kind.name);
            let opened = (kind.open)(config.crm, &Orgs::default());
            // A key that is made up is no key; everything else must be right.
            if let Err(mistake) = opened {
                assert!(mistake.to_string().contains("key"), "{}: {mistake}", kind.name);
            }
        }
    }

    #[test]
    fn the_readme_shows_each_example_as_it_is() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let readme = std::fs::read_to_string(path).expect("README.md is there");
        for kind in CRMS {
            let shown = format!("### {}\n\n```toml\n{}```\n", kind.title, kind.example);
            assert!(readme.contains(&shown), "README.md does not show examples/{}.toml", kind.name);
            let has_row =
                |line: &str| line.starts_with(&format!("| {} `{}` |", kind.title, kind.name));
            assert!(readme.lines().any(has_row), "README.md has no row of {}", kind.name);
        }
    }
}
