//! `tollgate-bench`: measures a release build of the gateway beside yardsticks, in one run on one machine,
//! and prints a table of figures and ratios. Only the ratios carry over to other machines. In comes the
//! gateway's binary, out come the table and an exit code that is not zero when an accepted event was lost,
//! came twice or was not acknowledged. It never fails because something was slow.

mod backlog;
mod consumer;
mod delivery;
mod drain;
mod gateway;
mod idle;
mod ingest;
mod latency;
mod load;
mod machine;
mod memory;
mod pacer;
mod run;
mod sample;
mod seen;
mod stuck;
mod table;
mod yardstick;

use clap::{Parser, Subcommand};

#[derive(Parser, Debug)]
#[command(name = "tollgate-bench", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    child: Option<Child>,
    #[command(flatten)]
    options: run::Options,
}

#[derive(Subcommand, Debug)]
enum Child {
    /// Serves as a yardstick until standard input is closed; the benchmark starts these itself.
    Yardstick {
        #[command(subcommand)]
        kind: yardstick::Kind,
    },
    /// Drains a backlog through connectors into doubles of the CRMs at their real rate limits.
    Drain(drain::Options),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        match cli.child {
            Some(Child::Yardstick { kind }) => yardstick::serve(kind).await,
            Some(Child::Drain(options)) => drain::run(options).await,
            None => run::all(cli.options).await,
        }
    });
    // A thread that reads standard input would be waited for until it is closed.
    runtime.shutdown_background();
    done
}
