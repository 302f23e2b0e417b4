//! `tollgate-connect <crm> init`: prints a commented configuration to begin with. It writes no file, asks
//! nobody and knows no secret.

use super::output;
use crate::crms::Kind;

/// Print a commented configuration to begin with
///
/// It works once the environment variables that it names are set and the names of fields are yours;
/// `check` tells which are not.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
    tollgate-connect CRM_NAME init > CRM_NAME.toml

Exit status: 0.")]
pub struct Args {}

/// Prints it.
pub fn run(kind: &Kind, _: Args) -> anyhow::Result<()> {
    Ok(output::line(kind.example)?)
}
