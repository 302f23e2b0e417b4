//! The disk's own latency: 4 KiB written into a preallocated file and synced, over and over. Nothing that
//! says 2xx only after an fsync can be faster.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;

use super::command;
use crate::load::{histogram, nanoseconds};
use crate::run::{Run, phase};

const WRITE_BYTES: usize = 4096;
const FILE_BYTES: u64 = 64 << 20;

/// Writes and syncs for a while, and prints each latency with its count, in nanoseconds.
pub fn sync(path: &Path, milliseconds: u64) -> anyhow::Result<()> {
    let mut file = File::create(path)?;
    let block = [0x5a; WRITE_BYTES];
    for _ in 0..FILE_BYTES / WRITE_BYTES as u64 {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let mut latency = histogram();
    let begun = Instant::now();
    let mut at = 0;
    while begun.elapsed() < Duration::from_millis(milliseconds) {
        file.seek(SeekFrom::Start(at))?;
        at = (at + WRITE_BYTES as u64) % FILE_BYTES;
        let written = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        latency.saturating_record(nanoseconds(written.elapsed()));
    }
    for bucket in latency.iter_recorded() {
        println!("{} {}", bucket.value_iterated_to(), bucket.count_at_value());
    }
    Ok(())
}

/// Measures the disk for one window.
pub async fn latency(run: &Run, name: String) -> anyhow::Result<Histogram<u64>> {
    let directory = run.temporary_directory()?;
    let file = directory.path().join("preallocated");
    let file = file.to_str().context("the directory's name is no text")?;
    let bar = phase(name, 1);
    let window = run.sizes.disk_window.as_millis().to_string();
    let arguments = ["fdatasync", "--file", file, "--milliseconds", &window];
    let mut child = command(&arguments)?.spawn()?;
    // Kept open until it has ended: it stops when its input is closed.
    let input = child.stdin.take();
    let Output { status, stdout, .. } = child.wait_with_output().await?;
    drop(input);
    bar.finish_and_clear();
    anyhow::ensure!(status.success(), "the disk could not be measured");
    let mut latency = histogram();
    for line in String::from_utf8(stdout)?.lines() {
        let (value, count) = line.split_once(' ').context("a value and its count")?;
        latency.saturating_record_n(value.parse()?, count.parse()?);
    }
    Ok(latency)
}
