//! Opening a database file: the lock beside it, the connections and their settings, the schema and the
//! log's epoch. Two gateways on one file are refused here, before either has read a row.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlSafeStr, SqliteConnection, SqlitePool};

use super::{SqliteOptions, statements};
use crate::model::LogEpoch;
use crate::store::Error;

/// How many reads run at a time.
const MAX_READERS: u32 = 4;
/// Rows that a reader fetches ahead. A row may be a block of a whole commit.
const ROWS_AHEAD: usize = 8;
/// How long a checkpoint waits for readers before it leaves the rest to the next one.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(50);
/// The oldest SQLite that is known to be sound: before it, a write-ahead log's reset could race with a
/// checkpoint.
const MIN_VERSION: [u32; 3] = [3, 51, 3];
/// The form of what is stored, beyond the schema.
const FORMAT: &str = "1";

const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "begin", include_str!("../migrations/sqlite/0001_begin.sql")),
    (3, "own", include_str!("../migrations/sqlite/0003_own.sql")),
];

/// The path in `sqlite://tollgate.db`, `sqlite:tollgate.db` or a plain path.
pub fn path_of(url: &str) -> PathBuf {
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"));
    PathBuf::from(path.unwrap_or(url))
}

/// Locks the file, which is made if it is not there, and gives its full path.
pub fn lock(path: &Path) -> Result<(PathBuf, File), Error> {
    let open = |path: &Path| {
        File::options().create(true).truncate(false).write(true).open(path).map_err(io_error)
    };
    drop(open(path)?);
    // One lock for one file, by whatever path it was given.
    let path = path.canonicalize().map_err(io_error)?;
    let lock = open(&beside(&path, ".lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok((path, lock)),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(path.display().to_string())),
        Err(TryLockError::Error(error)) => Err(io_error(error)),
    }
}

/// A file that stands beside the database.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The connection that writes, with the schema up to date.
pub async fn writer(path: &Path, options: SqliteOptions) -> Result<SqliteConnection, Error> {
    let mut connect = settings(path)
        .create_if_missing(true)
        .page_size(4096)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "0")
        .pragma("cache_size", "-8192")
        .pragma("temp_store", "MEMORY");
    if let Some(pages) = options.max_page_count {
        connect = connect.pragma("max_page_count", pages.to_string());
    }
    let mut connection = connect.connect().await?;
    check_version(&mut connection).await?;
    // Not `run`: it is generic over what gives a connection, and its future is not known to be `Send`.
    migrator().run_direct(None, &mut connection, false).await?;
    sqlx::raw_sql(statements::PREPARE).execute(&mut connection).await?;
    Ok(connection)
}

/// A connection that only checkpoints.
pub async fn checkpointer(path: &Path) -> Result<SqliteConnection, Error> {
    let connect = settings(path)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(CHECKPOINT_PATIENCE)
        .pragma("wal_autocheckpoint", "0");
    Ok(connect.connect().await?)
}

/// The connections that read.
pub fn readers(path: &Path) -> SqlitePool {
    let connect =
        settings(path).read_only(true).row_buffer_size(ROWS_AHEAD).pragma("cache_size", "-2048");
    SqlitePoolOptions::new()
        .max_connections(MAX_READERS)
        .test_before_acquire(false)
        .connect_lazy_with(connect)
}

/// The log's epoch, made up when the database is new.
pub async fn epoch(connection: &mut SqliteConnection) -> Result<LogEpoch, Error> {
    let made_up = hex::encode(rand::random::<[u8; 16]>());
    sqlx::query("INSERT OR IGNORE INTO meta (name, value) VALUES ('log_epoch', ?), ('format', ?)")
        .bind(made_up)
        .bind(FORMAT)
        .execute(&mut *connection)
        .await?;
    let of_meta = "SELECT value FROM meta WHERE name = ?";
    let format: String =
        sqlx::query_scalar(of_meta).bind("format").fetch_one(&mut *connection).await?;
    if format != FORMAT {
        return Err(Error::Damaged(format!("format {format} is not {FORMAT}, the one known here")));
    }
    let epoch: String =
        sqlx::query_scalar(of_meta).bind("log_epoch").fetch_one(&mut *connection).await?;
    Ok(LogEpoch(epoch.into()))
}

fn settings(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(false)
        .pragma("mmap_size", "0")
        .disable_statement_logging()
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.iter().map(|(version, name, text)| {
        let text = text.into_sql_str();
        Migration::new(*version, (*name).into(), MigrationType::Simple, text, false)
    });
    Migrator::with_migrations(migrations.collect())
}

async fn check_version(connection: &mut SqliteConnection) -> Result<(), Error> {
    let version: String =
        sqlx::query_scalar("SELECT sqlite_version()").fetch_one(connection).await?;
    let parts: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    if parts.as_slice() < MIN_VERSION.as_slice() {
        let reason = format!("SQLite {version} is older than 3.51.3");
        return Err(Error::Engine(sqlx::Error::Configuration(reason.into())));
    }
    Ok(())
}

fn io_error(error: std::io::Error) -> Error {
    Error::Engine(sqlx::Error::Io(error))
}
