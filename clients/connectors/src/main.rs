//! The `tollgate-connect` command: parses the command line and calls the command. Everything else is in the
//! library.

use std::process::ExitCode;

fn main() -> ExitCode {
    match tollgate_connectors::commands::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate-connect: {error:#}");
            ExitCode::FAILURE
        }
    }
}
