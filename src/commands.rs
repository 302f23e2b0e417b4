//! The commands, one a file: each has its arguments and a `run`. They wire the modules together and
//! talk to people; what the gateway does and promises lives in the modules.

pub mod connection;
pub mod dead_letters;
pub mod demo;
pub mod doctor;
pub mod explain;
pub mod filter_options;
pub mod init;
pub mod output;
pub mod receipts;
pub mod send;
pub mod serve;
pub mod store;
pub mod subscriptions;
pub mod tail;
pub mod token;
pub mod verify;
pub mod wire_json;
pub mod wire_text;

use std::io;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Payment webhooks in, an ordered, durable, acknowledged gRPC stream out.
#[derive(Parser, Debug)]
#[command(
    name = "tollgate",
    version,
    propagate_version = true,
    after_help = "\
Begin here:
  tollgate demo     a whole gateway on this machine, with a story that checks itself
  tollgate init     a commented configuration; then: tollgate serve

`tollgate help COMMAND` explains one command and shows examples."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(serve::Args),
    Demo(demo::Args),
    Init(init::Args),
    Tail(tail::Args),
    Send(send::Args),
    Subscriptions(subscriptions::Args),
    DeadLetters(dead_letters::Args),
    Receipts(receipts::Args),
    Doctor(doctor::Args),
    Explain(explain::Args),
    Verify(verify::Args),
    Token(token::Args),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> anyhow::Result<()> {
        let result = match self.command {
            Command::Serve(args) => serve::run(args),
            Command::Demo(args) => demo::run(args),
            Command::Init(args) => init::run(args),
            Command::Tail(args) => tail::run(args),
            Command::Send(args) => send::run(args),
            Command::Subscriptions(args) => subscriptions::run(args),
            Command::DeadLetters(args) => dead_letters::run(args),
            Command::Receipts(args) => receipts::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Explain(args) => explain::run(args),
            Command::Verify(args) => verify::run(args),
            Command::Token(args) => token::run(args),
        };
        // Whoever reads the output may stop reading: `tollgate tail | head`.
        result.or_else(|error| match error.downcast_ref::<io::Error>() {
            Some(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Some(_) | None => Err(error),
        })
    }
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
        let cli = <Cli as clap::CommandFactory>::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands() {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} has no summary");
            let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("  tollgate {name}")), "{name} has no example: {help}");
            for action in command.get_subcommands() {
                assert!(
                    action.get_about().is_some(),
                    "{name} {} has no summary",
                    action.get_name()
                );
            }
        }
    }
}
