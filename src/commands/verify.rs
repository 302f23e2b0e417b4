//! `tollgate verify`: walks the whole log and checks that it is what was once written (P9). In comes a
//! store that no gateway has open, and an anchor that somebody kept; out comes how many events hold, or
//! the first that does not and why. It must never mend anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde_json::json;

use super::output;
use super::store::open_existing;
use crate::config::{self, Config};
use crate::grpc::convert::CODEC;
use crate::model::{ReceiptNumber, Sequence};
use crate::store::{ChainEntry, Head, ReceiptQuery, Store, chain};

/// How many events are read at a time.
const PAGE_EVENTS: usize = 1_000;
/// How many receipts are read at a time; each has its whole body.
const PAGE_RECEIPTS: usize = 64;

/// Check that the log is what was once written
///
/// Computes the hash chain over all events again, and the digest of every receipt that an event was made
/// from. The gateway must be stopped: it is the only one that may have the store open.
///
/// Someone who may write the file could compute a whole new chain. What shows that is an anchor kept
/// elsewhere: every event carries its hash, so a consumer's SEQUENCE:HASH from last month is proof enough.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  tollgate verify
  tollgate verify --store /var/lib/tollgate/tollgate.db
  tollgate verify --head 41230:9f2c4e...

Exit status: 0 if everything holds, 1 if anything does not.")]
pub struct Args {
    /// The configuration that names the store
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "tollgate.toml",
        env = "TOLLGATE_CONFIG"
    )]
    config: PathBuf,
    /// The store's file itself, without a configuration
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
    /// The hash that the log must have at a sequence
    #[arg(long, value_name = "SEQUENCE:HASH")]
    head: Option<Anchor>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// A place in the log and its hash, kept outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The place.
    pub sequence: Sequence,
    /// The chain's value there.
    pub hash: [u8; 32],
}

/// What a check found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many events.
    pub events: u64,
    /// The end of the log.
    pub head: Anchor,
}

/// Checks the store.
pub fn run(args: Args) -> anyhow::Result<()> {
    let path = match args.store {
        Some(path) => path,
        None => Config::load(&args.config, config::process_environment())?.store.path,
    };
    let verified = super::block_on(verify(&path, args.head))?;
    let Verified { events, head } = verified;
    if args.json {
        let head = json!({ "sequence": head.sequence.0, "hash": hex::encode(head.hash) });
        output::json(&json!({ "events": events, "head": head }))?;
        return Ok(());
    }
    let events = i64::try_from(events).unwrap_or(i64::MAX);
    output::line(&format!("{} verified, head {head}", output::counted(events, "event")))?;
    Ok(())
}

/// Checks the store at a path, which must not be in use.
pub async fn verify(path: &Path, anchor: Option<Anchor>) -> anyhow::Result<Verified> {
    let store = open_existing(path).await?;
    let checked = check(&store, anchor).await;
    store.close().await;
    checked
}

async fn check(store: &dyn Store, anchor: Option<Anchor>) -> anyhow::Result<Verified> {
    let head = store.head().await?;
    let bar = output::progress(u64::try_from(head.sequence.0).unwrap_or(0), "events");
    let mut previous = chain::BEGINNING;
    check_anchor(anchor, previous)?;
    let mut events = 0;
    loop {
        let page = store.chain(previous.0, PAGE_EVENTS).await.with_context(|| {
            format!("the log cannot be read after event {} ({events} events hold)", previous.0)
        })?;
        if page.is_empty() {
            break;
        }
        for entry in &page {
            chain::check(CODEC, &mut previous, entry)?;
            check_anchor(anchor, previous)?;
            events += 1;
        }
        check_receipts(store, &page).await?;
        bar.set_position(events);
    }
    bar.finish_and_clear();
    check_end(head, previous, anchor)?;
    Ok(Verified { events, head: Anchor { sequence: previous.0, hash: previous.1 } })
}

fn check_anchor(anchor: Option<Anchor>, at: (Sequence, [u8; 32])) -> anyhow::Result<()> {
    if let Some(anchor) = anchor.filter(|anchor| anchor.sequence == at.0) {
        ensure!(
            anchor.hash == at.1,
            "event {} has the hash {}, not the one of --head: the log was written anew",
            at.0,
            hex::encode(at.1)
        );
    }
    Ok(())
}

/// What was cut off at the end leaves no gap, so the end is checked for itself.
fn check_end(head: Head, last: (Sequence, [u8; 32]), anchor: Option<Anchor>) -> anyhow::Result<()> {
    ensure!(
        last == (head.sequence, head.hash),
        "the log ends with event {}, but its head says {}:{}",
        last.0,
        head.sequence,
        hex::encode(head.hash)
    );
    if let Some(anchor) = anchor {
        ensure!(
            anchor.sequence <= last.0,
            "the log ends with event {}, before {} of --head: events were removed",
            last.0,
            anchor.sequence
        );
    }
    Ok(())
}

/// Checks that the receipts which events were made from are there and are what they were then.
async fn check_receipts(store: &dyn Store, page: &[ChainEntry]) -> anyhow::Result<()> {
    let mut wanted = BTreeMap::<ReceiptNumber, (Sequence, [u8; 32])>::new();
    for entry in page {
        let event = entry.logged.event(CODEC)?;
        let Some(receipt) = event.receipt else { continue };
        let (sequence, digest) =
            *wanted.entry(receipt.number).or_insert((event.sequence, receipt.digest));
        ensure!(
            digest == receipt.digest,
            "events {sequence} and {} give two digests of {}",
            event.sequence,
            receipt.number
        );
    }
    while let Some((&last, &(sequence, _))) = wanted.last_key_value() {
        let before = Some(ReceiptNumber(last.0 + 1));
        let query = ReceiptQuery { before, limit: PAGE_RECEIPTS, ..ReceiptQuery::default() };
        let (receipts, _) = store
            .receipts(&query)
            .await
            .with_context(|| format!("{last}, of event {sequence}, cannot be read"))?;
        if receipts.first().is_none_or(|receipt| receipt.number != last) {
            bail!("{last}, of event {sequence}, is missing");
        }
        let lowest = receipts.last().map_or(last, |receipt| receipt.number);
        for stored in receipts {
            let Some((sequence, digest)) = wanted.remove(&stored.number) else { continue };
            let receipt = &stored.receipt;
            ensure!(
                receipt.digest() == digest && receipt.compute_digest() == digest,
                "{} was changed: it is not what event {sequence} was made from",
                stored.number
            );
        }
        if let Some((number, (sequence, _))) = wanted.range(lowest..).next() {
            bail!("{number}, of event {sequence}, is missing");
        }
    }
    Ok(())
}

impl std::fmt::Display for Anchor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}:{}", self.sequence, hex::encode(self.hash))
    }
}

impl std::str::FromStr for Anchor {
    type Err = String;

    fn from_str(text: &str) -> Result<Anchor, String> {
        let wrong = || "must read SEQUENCE:HASH, the hash as 64 hex digits".to_owned();
        let (sequence, digits) = text.split_once(':').ok_or_else(wrong)?;
        let sequence = sequence.parse().ok().filter(|number| *number >= 0).ok_or_else(wrong)?;
        let mut hash = [0; 32];
        hex::decode_to_slice(digits.trim(), &mut hash).map_err(|_| wrong())?;
        Ok(Anchor { sequence: Sequence(sequence), hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_reads_as_it_is_printed() {
        let anchor = Anchor { sequence: Sequence(7), hash: [0xab; 32] };
        assert_eq!(anchor.to_string().parse(), Ok(anchor));
        for wrong in ["", "7", "7:ab", "-1:ab", &format!("x:{}", hex::encode([1; 32]))] {
            assert!(wrong.parse::<Anchor>().is_err(), "{wrong}");
        }
    }
}
