//! `tollgate demo`: a whole gateway on this machine, and a story that is told over its real interfaces
//! and checked as it is told. In comes nothing; out come a few readable lines a step, and a failure as
//! soon as anything is not as promised. It must never touch a store, a configuration or an address that
//! is not its own.

mod audience;
mod stage;
mod story;

use std::time::Instant;

use stage::Stage;
use story::Story;

/// Run a gateway with sample payments and check what it promises
///
/// Starts a gateway in a temporary folder, with an endpoint for each provider and made-up secrets, on
/// addresses of this machine alone. Then it posts signed webhooks over HTTP, and a connector and a watcher
/// receive them over gRPC: payments that are paid, refunded, delivered twice, late or forged; a CRM that
/// is busy; a restart; and at the end a check of the whole log. Every step checks what it saw.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  tollgate demo
  The same, and the gateway goes on running to be tried by hand:
    tollgate demo --keep

Exit status: 0 if every step went as promised, 1 if one did not.")]
pub struct Args {
    /// Go on running after the story, and print calls to try
    #[arg(long)]
    keep: bool,
}

/// Tells the story.
pub fn run(args: Args) -> anyhow::Result<()> {
    super::block_on(demo(args.keep))
}

async fn demo(keep: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut stage = Stage::open(keep).await?;
    stage.introduce()?;
    Story::begin(&mut stage).await?.tell().await?;
    let seconds = started.elapsed().as_secs_f64();
    super::output::line(&format!("\nAll of it went as promised, in {seconds:.1} s."))?;
    if !keep {
        return stage.farewell();
    }
    stage.start().await?;
    stage.invite()?;
    stage::until_stopped().await?;
    stage.stop().await
}
