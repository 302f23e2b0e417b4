//! What the figures were measured on: processors, kernel, file system and how what is written is synced.
//! A directory in memory is refused: there an fsync costs nothing, and so do promises.

use std::fmt;
use std::path::Path;

use anyhow::Context as _;

/// A machine.
pub struct Machine {
    processors: usize,
    model: String,
    kernel: String,
    disk: String,
}

impl Machine {
    /// This one, with the disk that a directory is on.
    pub fn of(directory: &Path) -> anyhow::Result<Machine> {
        let directory = directory.canonicalize()?;
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let mount = mounts
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(' ');
                let (device, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
                directory.starts_with(at).then_some((at.len(), device, kind, fields.next()?))
            })
            .max_by_key(|(length, ..)| *length);
        let (_, device, kind, options) = mount.context("no file system holds the directory")?;
        anyhow::ensure!(
            !matches!(kind, "tmpfs" | "ramfs"),
            "{} is in memory; name a directory on a disk with --directory",
            directory.display()
        );
        let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.map_or("unknown", |text| text.trim_start_matches([' ', '\t', ':']));
        Ok(Machine {
            processors: std::thread::available_parallelism()?.get(),
            model: model.to_owned(),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            disk: format!("{kind} on {device} ({options})"),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} processors ({}), shared by the load generator and what it measures; Linux {}; {}.\n\
             Store: SQLite, WAL, synchronous = FULL, one fsync a commit; a 2xx and the answer to an \
             ack come after it.",
            self.processors, self.model, self.kernel, self.disk
        )
    }
}
