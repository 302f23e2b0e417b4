//! A full or failing disk under the real process: webhooks are answered 503 so that providers try again, reads and
//! streams go on, and once there is room again, so does everything. Nothing that was acknowledged is gone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::StreamExt;
use tempfile::TempDir;
use tollgate_client::proto::ListEventsRequest;
use tollgate_client::{AckStatus, Filter, StartPosition};

use crate::process::{PATIENCE, Site, until};

/// Room for the store and a few events.
const DISK: &str = "size=3m";
/// What is freed in the end, so that there is room again.
const BALLAST_BYTES: usize = 1024 * 1024;
/// More events than ever fit.
const MOST_EVENTS: usize = 5000;

/// A small disk; unmounted when it is dropped.
struct Disk(TempDir);

impl Disk {
    /// `None` where this process may not mount.
    fn mount() -> Option<Disk> {
        let directory = TempDir::new().expect("a temporary directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", DISK, "tollgate-test"]).arg(directory.path());
        let output = mount.output().ok()?;
        output.status.success().then_some(Disk(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, since a gateway that failed its test may still be open on it.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_webhooks_and_loses_nothing() {
    let Some(disk) = Disk::mount() else {
        println!("skipped: this process may not mount a small disk");
        return;
    };
    let ballast: PathBuf = disk.path().join("ballast");
    std::fs::write(&ballast, vec![7; BALLAST_BYTES]).expect("room for the ballast");
    let site = Site::new("log.filter = \"error\"").store_in(disk.path());
    let process = site.start().await;
    let client = site.client();
    let filter = Filter::default();
    let crm = client.subscription("crm").create_if_missing(filter, StartPosition::earliest());
    let mut crm = crm.open();
    assert!(crm.connected().await);

    let accepted = fill(&site).await;
    println!("{} events until the disk was full", accepted.len());
    assert!(accepted.len() > 10, "the disk is too small to show anything");
    // Streams go on: all of it is delivered, though an ack may not be confirmed.
    let mut held = Vec::new();
    while held.len() < accepted.len() {
        let next = tokio::time::timeout(PATIENCE, crm.next()).await.expect("streams go on");
        held.push(next.expect("a delivery").expect("no error"));
    }
    // And so do reads.
    assert_eq!(event_ids(&site, accepted.len()).await, accepted);
    assert_eq!(site.admin_page("/readyz").await.expect("an answer").0, 200);

    std::fs::remove_file(&ballast).expect("freed");
    let late = site.sample("payment_intent.succeeded", "late");
    until("webhooks are accepted again", PATIENCE, async || {
        (site.post(&late).await == Some(200)).then_some(())
    })
    .await;
    let first = held.swap_remove(0);
    let sequence = first.event().sequence;
    let status = tokio::time::timeout(PATIENCE, first.ack()).await.expect("in time");
    assert_eq!(status.expect("an answer"), AckStatus::Applied);
    drop((held, crm));
    process.kill();

    let process = site.start().await;
    let mut expected = accepted;
    expected.push("evt_late_payment_intent.succeeded".to_owned());
    assert_eq!(event_ids(&site, expected.len()).await, expected);
    let mut crm = site.client().subscription("crm").open();
    for _ in 1..expected.len() {
        let next = tokio::time::timeout(PATIENCE, crm.next()).await.expect("in time");
        let delivery = next.expect("a delivery").expect("no error");
        assert_ne!(delivery.event().sequence, sequence, "its ack was answered");
        delivery.ack().await.expect("an answer");
    }
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_io_error_stops_the_writer_until_a_restart() {
    let site = Site::new("log.filter = \"error\"");
    let mut process = site.spawn_with_file_limits();
    assert!(site.ready(&mut process).await, "{}", process.said());
    let mut accepted = Vec::new();
    for number in 0..5 {
        let sample = site.sample("payment_intent.succeeded", &format!("b{number}"));
        assert_eq!(site.post(&sample).await, Some(200));
        accepted.push(format!("evt_b{number}_payment_intent.succeeded"));
    }
    let log = site.store_path().with_extension("db-wal");
    let bytes = std::fs::metadata(log).expect("a write-ahead log").len();
    if !process.limit_files(Some(bytes + 1)) {
        println!("skipped: no `prlimit` here to make writes fail with");
        return;
    }
    let failed = site.sample("payment_intent.succeeded", "failed");
    assert_eq!(site.post(&failed).await, Some(503));
    assert_eq!(site.admin_page("/readyz").await.expect("an answer").0, 503, "it says so at once");
    // What the disk holds now is not known, so writing is not tried again, though it would work.
    assert!(process.limit_files(None));
    for _ in 0..3 {
        assert_eq!(site.post(&failed).await, Some(503));
    }
    assert_eq!(event_ids(&site, 5).await, accepted, "reads go on");
    assert_eq!(process.ended(), None);
    process.kill();

    let process = site.start().await;
    assert_eq!(event_ids(&site, 5).await, accepted);
    assert_eq!(site.post(&failed).await, Some(200));
    accepted.push("evt_failed_payment_intent.succeeded".to_owned());
    assert_eq!(event_ids(&site, 6).await, accepted);
    process.stop().await;
}

/// Posts until nothing fits any more; the event ids that were accepted, in order.
async fn fill(site: &Site) -> Vec<String> {
    let mut accepted = Vec::new();
    for number in 0..MOST_EVENTS {
        let sample = site.sample("payment_intent.succeeded", &format!("f{number}"));
        match site.post(&sample).await.expect("an answer") {
            200 => accepted.push(format!("evt_f{number}_payment_intent.succeeded")),
            status => {
                assert_eq!(status, 503, "providers are to try again");
                return accepted;
            }
        }
    }
    panic!("the disk never became full");
}

/// The log's event ids, in order, once it has this many.
async fn event_ids(site: &Site, count: usize) -> Vec<String> {
    let mut events = site.client().events();
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let list = ListEventsRequest { page_size: 1000, page_token, ..Default::default() };
        let list = tokio::time::timeout(Duration::from_secs(30), events.list_events(list)).await;
        let page = list.expect("in time").expect("reads go on").into_inner();
        ids.extend(page.events.into_iter().map(|event| event.provider_event_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert!(ids.len() >= count, "{} of {count} events", ids.len());
    ids
}
