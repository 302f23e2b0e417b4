//! The yardsticks: what a part of the gateway's work costs at its cheapest, on the same machine in the same
//! minute. Each runs as a process of its own, as the gateway does, and is asked by the same load generator.
//! A yardstick serves until its standard input is closed, so that none outlives the benchmark.

pub mod disk;
pub mod http;
pub mod stream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// The kinds of yardsticks.
#[derive(clap::Subcommand, Debug, Clone)]
pub enum Kind {
    /// An axum server that only reads the body.
    Bare,
    /// An axum server that stores the body in SQLite by sqlx: one INSERT and one commit a request.
    Naive {
        /// The database.
        #[arg(long)]
        database: PathBuf,
    },
    /// A tonic server that streams messages from memory.
    Stream {
        /// The messages.
        #[arg(long)]
        messages: PathBuf,
        /// How many a stream has.
        #[arg(long)]
        count: u64,
    },
    /// Writes of 4 KiB into a preallocated file, an fdatasync each. Prints how long they took.
    Fdatasync {
        /// The file.
        #[arg(long)]
        file: PathBuf,
        /// For how long.
        #[arg(long)]
        milliseconds: u64,
    },
}

/// What the benchmark's own process does when it was started as a yardstick.
pub async fn serve(kind: Kind) -> anyhow::Result<()> {
    let serving = async {
        match kind {
            Kind::Bare => http::bare().await,
            Kind::Naive { database } => http::naive(&database).await,
            Kind::Stream { messages, count } => stream::serve(&messages, count).await,
            Kind::Fdatasync { file, milliseconds } => disk::sync(&file, milliseconds),
        }
    };
    let closed = async {
        // A closed input and an unreadable one are the same: nobody is there any more.
        let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    };
    tokio::select! {
        served = serving => served,
        () = closed => Ok(()),
    }
}

/// A running yardstick.
pub struct Yardstick {
    /// Where it serves.
    pub address: SocketAddr,
    _child: Child,
}

impl Yardstick {
    /// Starts one that serves, and waits until it does.
    pub async fn start(arguments: &[&str]) -> anyhow::Result<Yardstick> {
        let mut child = command(arguments)?.spawn()?;
        let output = child.stdout.take().context("it has an output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).await?;
        let address = line.trim().parse();
        let address = address.with_context(|| format!("{arguments:?} does not serve"))?;
        Ok(Yardstick { address, _child: child })
    }
}

/// Tells the benchmark where a yardstick serves.
fn announce(address: SocketAddr) {
    println!("{address}");
}

fn command(arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("yardstick").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    Ok(command)
}
