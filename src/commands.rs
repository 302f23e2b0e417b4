//! The commands, one a file: each has its arguments and a `run`. They wire the modules together and
//! talk to people; what the gateway does and promises lives in the modules.

pub mod init;
pub mod serve;

use clap::{Parser, Subcommand};

/// Payment webhooks in, an ordered, durable, acknowledged gRPC stream out.
#[derive(Parser, Debug)]
#[command(name = "tollgate", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(serve::Args),
    Init(init::Args),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve(args) => serve::run(args),
            Command::Init(args) => init::run(args),
        }
    }
}
