//! The `tollgate` command: parses the command line and calls the command. Everything else is in the
//! library.

use std::process::ExitCode;

use clap::Parser;
use tollgate::commands::Cli;

/// Many small short-lived allocations on several threads: faster and less scattered than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate: {error:#}");
            ExitCode::FAILURE
        }
    }
}
