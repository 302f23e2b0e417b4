//! `tollgate receipts`: shows what arrived, verbatim, and has what could not be read translated again.
//! The raw request is shown only where it is asked for, and the gateway wants a scope of its own for it.

use std::io::Write as _;

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use tollgate_client::Client;
use tollgate_client::proto::{
    GetReceiptRequest, ListReceiptsRequest, Receipt, ReceiptState, RetryReceiptRequest,
};

use super::connection::{Connection, refused};
use super::{output, wire_json, wire_text};

/// The most that the gateway gives at a time.
const MAX_PAGE: u32 = 1_000;

/// Show what arrived, and translate it again
///
/// A receipt is one authentic request of a provider as it came. Whatever became of it, it is kept: of a
/// type that is not translated (unknown), or that could not be read (unreadable, with the reason).
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  The newest ones of an endpoint:
    tollgate receipts list --endpoint stripe/main
  What could not be read, and another try after an upgrade:
    tollgate receipts list --state unreadable
    tollgate receipts retry 17
  The request itself, as the provider sent it (needs the scope `receipts`):
    tollgate receipts get 17 --raw")]
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
    /// List them, newest first
    List(List),
    /// Show one
    Get {
        /// Its number, 17 or receipts/17
        receipt: String,
        /// Show the request itself: line, headers and body
        #[arg(long)]
        raw: bool,
    },
    /// Translate one again
    Retry {
        /// Its number, 17 or receipts/17
        receipt: String,
    },
}

#[derive(clap::Args, Debug)]
struct List {
    /// Only of this endpoint, for example stripe/main
    #[arg(long, value_name = "PROVIDER/NAME")]
    endpoint: Vec<String>,
    /// Only in this state
    #[arg(long, value_name = "STATE")]
    state: Vec<State>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

/// What became of a receipt.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    /// All its events are in the log
    Translated,
    /// Its event type is not one that is translated
    Unknown,
    /// It could not be read
    Unreadable,
    /// The provider's API is being asked for its facts
    Fetching,
    /// The provider's API was asked often enough in vain
    FetchFailed,
    /// Nothing proves it authentic until the provider's API confirms it
    Unconfirmed,
    /// The provider's API did not confirm it
    Denied,
}

/// Does what was asked for.
pub fn run(args: Args) -> anyhow::Result<()> {
    super::block_on(act(args))
}

async fn act(args: Args) -> anyhow::Result<()> {
    let client = args.connection.connect().await?;
    match args.action {
        Action::List(list) => self::list(&client, list, args.json).await,
        Action::Get { receipt, raw } => {
            let request = GetReceiptRequest { name: name(&receipt), raw };
            let got = client.receipts().get_receipt(request).await.map_err(refused)?;
            show(&got.into_inner().receipt.unwrap_or_default(), args.json)
        }
        Action::Retry { receipt } => {
            let request = RetryReceiptRequest { name: name(&receipt) };
            let retried = client.receipts().retry_receipt(request).await.map_err(refused)?;
            let receipt = retried.into_inner().receipt.unwrap_or_default();
            show(&receipt, args.json)?;
            match receipt.state() {
                ReceiptState::Unreadable => bail!("it still cannot be read: {}", receipt.reason),
                ReceiptState::FetchFailed => bail!("still not fetched: {}", receipt.reason),
                ReceiptState::Unspecified
                | ReceiptState::Translated
                | ReceiptState::Unknown
                | ReceiptState::Fetching
                | ReceiptState::Unconfirmed
                | ReceiptState::Denied => Ok(()),
            }
        }
    }
}

async fn list(client: &Client, list: List, json: bool) -> anyhow::Result<()> {
    let states = list.state.iter().map(|state| match state {
        State::Translated => ReceiptState::Translated,
        State::Unknown => ReceiptState::Unknown,
        State::Unreadable => ReceiptState::Unreadable,
        State::Fetching => ReceiptState::Fetching,
        State::FetchFailed => ReceiptState::FetchFailed,
        State::Unconfirmed => ReceiptState::Unconfirmed,
        State::Denied => ReceiptState::Denied,
    });
    let states: Vec<i32> = states.map(i32::from).collect();
    let mut rows = Vec::new();
    let mut left = list.count;
    let mut page_token = String::new();
    while left > 0 {
        let request = ListReceiptsRequest {
            endpoints: list.endpoint.clone(),
            states: states.clone(),
            page_size: i32::try_from(left.min(MAX_PAGE))?,
            page_token,
        };
        let page = client.receipts().list_receipts(request).await.map_err(refused)?.into_inner();
        left -= u32::try_from(page.receipts.len())?.min(left);
        match json {
            true => page
                .receipts
                .iter()
                .try_for_each(|receipt| output::json(&wire_json::receipt(receipt)))?,
            false => rows.extend(page.receipts.iter().map(row)),
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if !json {
        let titles = ["RECEIPT", "RECEIVED", "ENDPOINT", "STATE", "EVENTS", "REASON"];
        output::table(titles, &rows, "no receipts")?;
    }
    Ok(())
}

fn row(receipt: &Receipt) -> [String; 6] {
    let received_at = receipt.received_at.as_ref();
    [
        receipt.name.trim_start_matches("receipts/").to_owned(),
        received_at.map(|at| wire_text::time_to_second(at.seconds)).unwrap_or_default(),
        receipt.endpoint.clone(),
        state(receipt),
        events(receipt),
        receipt.reason.clone(),
    ]
}

fn show(receipt: &Receipt, json: bool) -> anyhow::Result<()> {
    if json {
        return Ok(output::json(&wire_json::receipt(receipt))?);
    }
    let Some(raw) = &receipt.raw else {
        let received_at = receipt.received_at.as_ref();
        return Ok(output::details(&[
            ("receipt", receipt.name.clone()),
            ("endpoint", receipt.endpoint.clone()),
            (
                "received",
                received_at.map(|at| wire_text::time(at.seconds, at.nanos)).unwrap_or_default(),
            ),
            ("state", state(receipt)),
            ("reason", receipt.reason.clone()),
            ("events", events(receipt)),
            ("verified by", receipt.verified_by.clone()),
            ("digest", receipt.digest.clone()),
            ("body", format!("{} bytes", output::grouped(receipt.body_bytes))),
        ])?);
    };
    output::line(&format!("{} {}", raw.method, raw.path))?;
    for header in &raw.headers {
        output::line(&format!("{}: {}", header.name, header.value))?;
    }
    output::line("")?;
    std::io::stdout().lock().write_all(&raw.body)?;
    Ok(std::io::stdout().lock().flush()?)
}

/// `translated`, with how many of its events were known already.
fn state(receipt: &Receipt) -> String {
    let name = receipt.state().as_str_name();
    let word = name.strip_prefix("RECEIPT_STATE_").unwrap_or(name).to_ascii_lowercase();
    match receipt.duplicates {
        0 => word,
        _ => format!("{word} (duplicate)"),
    }
}

fn events(receipt: &Receipt) -> String {
    let sequences: Vec<&str> =
        receipt.events.iter().map(|name| name.trim_start_matches("events/")).collect();
    sequences.join(" ")
}

fn name(receipt: &str) -> String {
    match receipt.starts_with("receipts/") {
        true => receipt.to_owned(),
        false => format!("receipts/{receipt}"),
    }
}
