//! `tollgate dead-letters`: shows the events that a subscription gave up on, and has them delivered again
//! or given up for good. It must never discard what was not named.

use clap::Subcommand;
use tollgate_client::Client;
use tollgate_client::proto::{
    DeadLetter, DiscardDeadLettersRequest, ListDeadLettersRequest, ReplayDeadLettersRequest,
};

use super::connection::{Connection, refused};
use super::{output, wire_json, wire_text};

/// Show, replay and discard what a subscription gave up on
///
/// An event becomes a dead letter after its last attempt, or when a consumer says that it will never
/// work. Later events of its payment go on, flagged, until it is replayed or discarded.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  tollgate dead-letters list crm
  Once the connector is mended:
    tollgate dead-letters replay crm --all
  Give two up for good:
    tollgate dead-letters discard crm 1041 1042")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List them, oldest first, with reasons
    List {
        /// The subscription, for example crm
        subscription: String,
    },
    /// Deliver them again, flagged as replays
    Replay(Which),
    /// Give them up for good
    Discard(Which),
}

#[derive(clap::Args, Debug)]
struct Which {
    /// The subscription, for example crm
    subscription: String,
    /// Which, by the sequence of their event
    #[arg(value_name = "SEQUENCE", required_unless_present = "all", conflicts_with = "all")]
    sequences: Vec<i64>,
    /// All of them
    #[arg(long)]
    all: bool,
}

/// Does what was asked for.
pub fn run(args: Args) -> anyhow::Result<()> {
    super::block_on(act(args))
}

async fn act(args: Args) -> anyhow::Result<()> {
    let client = args.connection.connect().await?;
    let (word, count) = match args.action {
        Action::List { subscription } => return list(&client, subscription, args.json).await,
        Action::Replay(Which { subscription, sequences, all }) => {
            let request = ReplayDeadLettersRequest { subscription, sequences, all };
            let replayed = client.subscriptions().replay_dead_letters(request).await;
            ("replayed", replayed.map_err(refused)?.into_inner().replayed)
        }
        Action::Discard(Which { subscription, sequences, all }) => {
            let request = DiscardDeadLettersRequest { subscription, sequences, all };
            let discarded = client.subscriptions().discard_dead_letters(request).await;
            ("discarded", discarded.map_err(refused)?.into_inner().discarded)
        }
    };
    match args.json {
        true => output::json(&serde_json::json!({ word: count }))?,
        false => output::line(&format!("{} {word}", output::counted(count, "dead letter")))?,
    }
    Ok(())
}

async fn list(client: &Client, subscription: String, json: bool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let request =
            ListDeadLettersRequest { subscription: subscription.clone(), page_size: 0, page_token };
        let page = client.subscriptions().list_dead_letters(request).await;
        let page = page.map_err(refused)?.into_inner();
        match json {
            true => page
                .dead_letters
                .iter()
                .try_for_each(|letter| output::json(&wire_json::dead_letter(letter)))?,
            false => rows.extend(page.dead_letters.iter().map(row)),
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if !json {
        let titles = ["SEQUENCE", "DEAD SINCE", "ATTEMPTS", "SUBJECT", "REPORTS", "REASON"];
        output::table(titles, &rows, "no dead letters")?;
    }
    Ok(())
}

fn row(letter: &DeadLetter) -> [String; 6] {
    let event = letter.event.as_ref();
    let replaying = if letter.replaying { " (being replayed)" } else { "" };
    let dead_at = letter.dead_at.as_ref().map(|at| wire_text::time_to_second(at.seconds));
    [
        letter.name.rsplit('/').next().unwrap_or_default().to_owned(),
        dead_at.unwrap_or_default(),
        letter.attempts.len().to_string(),
        event.map(|event| event.subject.clone()).unwrap_or_default(),
        event.map(|event| wire_text::reported(event).to_owned()).unwrap_or_default(),
        format!("{}{replaying}", letter.reason),
    ]
}
