//! The commands, one a file: each has its arguments and a `run`. They wire the modules together and talk to
//! people; what a connector does and promises lives in the modules. There is one set of commands for each
//! row of the table of CRMs, and nothing here names one.

pub mod check;
pub mod init;
pub mod output;
pub mod plan;
pub mod run;
pub mod status;
pub mod target;

use std::ffi::OsString;
use std::io;

use anyhow::Context as _;
use clap::{FromArgMatches as _, Subcommand};

use crate::crms::{CRMS, Kind};

/// What stands for the CRM's name in the examples of the help.
const NAME: &str = "CRM_NAME";

#[derive(Subcommand, Debug)]
enum Action {
    Run(run::Args),
    Check(check::Args),
    Plan(plan::Args),
    Status(status::Args),
    Init(init::Args),
}

/// Does what the arguments say; mistakes in them, and questions for help, end the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let matches = command(CRMS).get_matches_from(arguments);
    let (name, matches) = matches.subcommand().context("no CRM was named")?;
    let kind = crate::crms::find(name).with_context(|| format!("`{name}` is no CRM"))?;
    let result = match Action::from_arg_matches(matches).unwrap_or_else(|error| error.exit()) {
        Action::Run(args) => run::run(kind, args),
        Action::Check(args) => check::run(kind, args),
        Action::Plan(args) => plan::run(kind, args),
        Action::Status(args) => status::run(kind, args),
        Action::Init(args) => init::run(kind, args),
    };
    // Whoever reads the output may stop reading: `tollgate-connect .. plan | head`.
    result.or_else(|error| match error.downcast_ref::<io::Error>() {
        Some(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Some(_) | None => Err(error),
    })
}

fn command(crms: &'static [Kind]) -> clap::Command {
    let command = clap::Command::new("tollgate-connect")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .about("Writes what became of payments to the records of a CRM")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand_value_name("CRM")
        .subcommand_help_heading("CRMs")
        .after_help(
            "\
Begin here:
  tollgate-connect CRM init     a commented configuration; then: check, plan, run

`tollgate-connect CRM help COMMAND` explains one command and shows examples.

Exit status: 0 done, 1 refused or failed (the standard error says why), 2 the command line is wrong.",
        );
    crms.iter().fold(command, |command, kind| command.subcommand(of(kind)))
}

/// The commands for one CRM.
fn of(kind: &'static Kind) -> clap::Command {
    let mut command = Action::augment_subcommands(clap::Command::new(kind.name))
        .about(format!("Write to {}", kind.title))
        .subcommand_required(true)
        .arg_required_else_help(true);
    let dashed = kind.name.replace('_', "-");
    if dashed != kind.name {
        command = command.visible_alias(dashed);
    }
    command.mut_subcommands(|action| {
        let named = |help: &clap::builder::StyledStr| help.to_string().replace(NAME, kind.name);
        match action.get_after_long_help().map(named) {
            Some(help) => action.after_long_help(help),
            None => action,
        }
    })
}

/// Runs a command that waits for others.
fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?
        .block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_says_what_it_does_and_shows_an_example() {
        const KINDS: &[Kind] = &[Kind { name: "one_crm", ..crate::shelf::KIND }];
        let cli = command(KINDS);
        cli.clone().debug_assert();
        let crm = cli.find_subcommand("one-crm").expect("with a dash as well");
        assert_eq!(crm.get_name(), "one_crm");
        assert!(crm.get_about().is_some_and(|about| about.to_string() == "Write to Shelf"));
        let actions: Vec<&str> = crm.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(actions, ["run", "check", "plan", "status", "init"]);
        for action in crm.get_subcommands() {
            let name = action.get_name();
            assert!(action.get_about().is_some(), "{name} has no summary");
            let help = action.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            let example = format!("  tollgate-connect one_crm {name}");
            assert!(help.contains(&example), "{name} has no example: {help}");
            assert!(help.contains("Exit status:"), "{name} does not say how it ends: {help}");
        }
    }
}
