//! Checkpoints: what is committed moves from the write-ahead log into the database while commits go on. In
//! comes the checkpointing connection; out comes whether the writer must be held for the little that is
//! left, so that the log can begin anew. Nothing here may take long while the writer is held.

use std::path::Path;

use sqlx::SqliteConnection;

use crate::store::Error;

/// How much of the write-ahead log may wait for a checkpoint.
const CHECKPOINT_BYTES: i64 = 4 << 20;
/// How long the write-ahead log may grow before the writer is held up to begin it anew.
const MAX_WAL_BYTES: i64 = 64 << 20;
/// So little of the log may be left when the writer is held up for it, if so many approaches suffice.
const SMALL_REST_BYTES: i64 = 256 << 10;
const MAX_APPROACHES: usize = 4;
/// How long its file may stay. Writing over it is faster than letting it grow.
const MAX_WAL_FILE_BYTES: u64 = 256 << 20;
const PAGE_BYTES: i64 = 4096;

/// Only tells how far it is.
const NOOP: &str = "PRAGMA wal_checkpoint(NOOP)";
/// Copies what it can.
const PASSIVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";
/// Copies all, and cuts the file.
pub const TRUNCATE: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// Copies what waits. Where the log has become long, all but a little is copied, and what is to be run
/// for the rest while the writer is held comes back.
pub async fn approach(
    connection: &mut SqliteConnection,
    wal: &Path,
) -> Result<Option<&'static str>, Error> {
    let (mut log, mut copied) = run(connection, NOOP).await?;
    if (log - copied) * PAGE_BYTES > CHECKPOINT_BYTES {
        (log, copied) = run(connection, PASSIVE).await?;
    }
    let file_bytes = tokio::fs::metadata(wal).await.map_or(0, |wal| wal.len());
    let file_is_long = file_bytes > MAX_WAL_FILE_BYTES;
    if !file_is_long && log * PAGE_BYTES <= MAX_WAL_BYTES {
        return Ok(None);
    }
    for _ in 0..MAX_APPROACHES {
        if (log - copied) * PAGE_BYTES <= SMALL_REST_BYTES {
            break;
        }
        (log, copied) = run(connection, PASSIVE).await?;
    }
    Ok(Some(if file_is_long { TRUNCATE } else { PASSIVE }))
}

/// Runs a checkpoint and gives how many pages the write-ahead log has, and how many of them are copied.
pub async fn run(
    connection: &mut SqliteConnection,
    text: &'static str,
) -> Result<(i64, i64), Error> {
    let (_busy, log, copied): (i64, i64, i64) = sqlx::query_as(text).fetch_one(connection).await?;
    Ok((log, copied))
}
