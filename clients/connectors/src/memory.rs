//! What this connector wrote last: which record a key led to, and of each field the event and a digest of
//! the value. In come keys and what the CRM accepted, out goes what is known of a record. It is one SQLite
//! file, committed before an event is acknowledged, so that after a crash it knows at least as much as the
//! gateway. It keeps digests alone: no key and no value of a record can be read from it. Lost, nothing
//! breaks but that changes by people are not noticed until the next write.

mod epoch;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use sqlx::sqlite::{SqliteRow, SqliteSynchronous};
use sqlx::{Row as _, query};

use crate::crm::Key;

/// Nothing is remembered longer than this after it was written last.
const KEPT: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// How long another process may hold the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Creations that began less long ago when the file is opened may have been made until just now.
const RECENT: Duration = Duration::from_secs(60 * 60);
const KEY_BYTES: usize = 16;

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS records (
        scope TEXT NOT NULL, record TEXT NOT NULL, status TEXT NOT NULL, fields TEXT NOT NULL,
        written_at INTEGER NOT NULL, PRIMARY KEY (scope, record)
    ) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS keys (
        scope TEXT NOT NULL, key TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (scope, key)
    ) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS creations (
        scope TEXT NOT NULL, key TEXT NOT NULL, begun_at INTEGER NOT NULL, PRIMARY KEY (scope, key)
    ) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS epochs (
        subscription TEXT NOT NULL PRIMARY KEY, epoch TEXT NOT NULL
    ) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS records_by_time ON records (written_at)",
];

const BY_KEY: &str = "SELECT j.key AS place, r.record, r.status, r.fields
    FROM json_each(?2) AS j
    JOIN keys AS k ON k.scope = ?1 AND k.key = j.value
    JOIN records AS r ON r.scope = ?1 AND r.record = k.record";
const BY_RECORD: &str = "SELECT j.key AS place, r.record, r.status, r.fields
    FROM json_each(?2) AS j JOIN records AS r ON r.scope = ?1 AND r.record = j.value";
const CREATIONS: &str = "SELECT j.key AS place, c.begun_at
    FROM json_each(?2) AS j JOIN creations AS c ON c.scope = ?1 AND c.key = j.value";

/// What another process wrote to other fields meanwhile stays.
const REMEMBER_RECORDS: &str = "INSERT INTO records
    SELECT ?1, json_extract(j.value, '$[0]'), json_extract(j.value, '$[1]'),
        json_extract(j.value, '$[2]'), ?3
    FROM json_each(?2) AS j WHERE true
    ON CONFLICT (scope, record) DO UPDATE SET status = excluded.status,
        fields = json_patch(fields, excluded.fields), written_at = excluded.written_at";
const REMEMBER_KEYS: &str = "INSERT OR REPLACE INTO keys
    SELECT ?1, json_extract(j.value, '$[0]'), json_extract(j.value, '$[1]')
    FROM json_each(?2) AS j";
const END_CREATIONS: &str = "DELETE FROM creations WHERE scope = ?1
    AND key IN (SELECT json_extract(j.value, '$[0]') FROM json_each(?2) AS j)";
const INTEND: &str = "UPDATE records
    SET fields = json_patch(fields, json_extract(j.value, '$[1]')) FROM json_each(?2) AS j
    WHERE records.scope = ?1 AND records.record = json_extract(j.value, '$[0]')";
/// Only where nobody else made the record meanwhile, or is about to.
const BEGIN_CREATIONS: &str = "INSERT INTO creations
    SELECT ?1, j.value, ?3 FROM json_each(?2) AS j
    WHERE NOT EXISTS (
        SELECT 1 FROM keys AS k JOIN records AS r ON r.scope = k.scope AND r.record = k.record
        WHERE k.scope = ?1 AND k.key = j.value)
    ON CONFLICT (scope, key) DO UPDATE SET begun_at = excluded.begun_at WHERE begun_at <= ?4
    RETURNING key";
const RENEW_CREATIONS: &str = "UPDATE creations SET begun_at = ?3
    WHERE scope = ?1 AND key IN (SELECT value FROM json_each(?2))";
const FORGET_KEYS: &str =
    "DELETE FROM keys WHERE scope = ?1 AND key IN (SELECT value FROM json_each(?2))";
const FORGET_CREATIONS: &str =
    "DELETE FROM creations WHERE scope = ?1 AND key IN (SELECT value FROM json_each(?2))";
const FORGET_RECORDS: &str =
    "DELETE FROM records WHERE scope = ?1 AND record IN (SELECT value FROM json_each(?2))";

/// The memory of a connector. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Memory {
    pool: SqlitePool,
    /// Records, with their scope, that batches of this process are writing now.
    pub(crate) claimed: Arc<Mutex<HashSet<(String, String)>>>,
}

/// Why the memory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the memory of what was written: {0}")]
pub struct Error(#[from] sqlx::Error);

/// What is known of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The CRM's id of it.
    pub record: String,
    /// Digests of the statuses that were written last, as `echo` keeps them.
    pub statuses: String,
    /// Of each field that was written: by which event, and what.
    pub marks: BTreeMap<String, Mark>,
}

/// What was written to a field last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The event's sequence.
    #[serde(rename = "s")]
    pub sequence: i64,
    /// The value's digest.
    #[serde(rename = "d")]
    pub digest: String,
    /// Digests of values that were about to be written since, and perhaps were.
    #[serde(rename = "p", default)]
    pub intended: Vec<String>,
}

/// What to remember of a row that the CRM accepted.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// What the record was found or made by.
    pub keys: Vec<Key>,
    /// What is known of it now.
    pub known: Known,
}

impl Memory {
    /// Opens the file, or makes it.
    pub async fn open(path: &Path) -> Result<Memory, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await?;
        for table in TABLES {
            query(*table).execute(&pool).await?;
        }
        let oldest = now() - i64::try_from(KEPT.as_secs()).unwrap_or(i64::MAX);
        let mut commit = pool.begin_with("BEGIN IMMEDIATE").await?;
        query("DELETE FROM records WHERE written_at < ?")
            .bind(oldest)
            .execute(&mut *commit)
            .await?;
        query("DELETE FROM creations WHERE begun_at < ?")
            .bind(oldest)
            .execute(&mut *commit)
            .await?;
        // Whoever began them was killed perhaps, with the call under way until then; or the clock was wrong.
        let recent = now() - i64::try_from(RECENT.as_secs()).unwrap_or(i64::MAX);
        query("UPDATE creations SET begun_at = ? WHERE begun_at > ?")
            .bind(now())
            .bind(recent)
            .execute(&mut *commit)
            .await?;
        query(
            "DELETE FROM keys WHERE NOT EXISTS (
                SELECT 1 FROM records AS r WHERE r.scope = keys.scope AND r.record = keys.record)",
        )
        .execute(&mut *commit)
        .await?;
        commit.commit().await?;
        Ok(Memory { pool, claimed: Arc::default() })
    }

    /// What is known by these keys, one answer each.
    pub async fn recall(&self, scope: &str, keys: &[&Key]) -> Result<Vec<Option<Known>>, Error> {
        // A record's own id needs no row of its own.
        let names: Vec<String> = keys.iter().map(|key| name(key)).collect();
        let rows = query(BY_KEY).bind(scope).bind(json(&names)).fetch_all(&self.pool).await?;
        let mut known = placed(rows, keys.len(), known)?;
        let ids: Vec<(usize, &str)> = keys
            .iter()
            .enumerate()
            .filter_map(|(place, key)| match key {
                Key::Id(id) => Some((place, id.as_str())),
                Key::Field { .. } => None,
            })
            .collect();
        let records: Vec<&str> = ids.iter().map(|(_, id)| *id).collect();
        for ((place, _), found) in ids.iter().zip(self.recall_records(scope, &records).await?) {
            known[*place] = found;
        }
        Ok(known)
    }

    /// What is known of these records, one answer each.
    pub async fn recall_records(
        &self,
        scope: &str,
        records: &[&str],
    ) -> Result<Vec<Option<Known>>, Error> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let rows = query(BY_RECORD).bind(scope).bind(json(&records)).fetch_all(&self.pool).await?;
        placed(rows, records.len(), known)
    }

    /// Keeps what the CRM accepted. When this answers, it is on the disk.
    pub async fn remember(&self, scope: &str, rows: &[Remembered]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let records: Vec<_> = rows
            .iter()
            .map(|Remembered { known, .. }| (&known.record, &known.statuses, &known.marks))
            .collect();
        let keys: Vec<(String, &str)> = rows
            .iter()
            .flat_map(|row| row.keys.iter().map(|key| (key, row.known.record.as_str())))
            .filter(|(key, _)| matches!(key, Key::Field { .. }))
            .map(|(key, record)| (name(key), record))
            .collect();
        let keys = json(&keys);
        let mut commit = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        query(REMEMBER_RECORDS)
            .bind(scope)
            .bind(json(&records))
            .bind(now())
            .execute(&mut *commit)
            .await?;
        query(REMEMBER_KEYS).bind(scope).bind(&keys).execute(&mut *commit).await?;
        query(END_CREATIONS).bind(scope).bind(&keys).execute(&mut *commit).await?;
        Ok(commit.commit().await?)
    }

    /// Notes, by record and field, the digests of values that are about to be written where something else
    /// was written before. When this answers, it is on the disk.
    pub async fn intend(
        &self,
        scope: &str,
        rows: &[(&str, BTreeMap<&str, Vec<String>>)],
    ) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let patch = |fields: &BTreeMap<&str, Vec<String>>| {
            let fields = fields
                .iter()
                .map(|(name, digests)| ((*name).to_owned(), serde_json::json!({ "p": digests })));
            serde_json::Value::Object(fields.collect())
        };
        let rows: Vec<_> = rows.iter().map(|(record, fields)| (*record, patch(fields))).collect();
        query(INTEND).bind(scope).bind(json(&rows)).execute(&self.pool).await?;
        Ok(())
    }

    /// Notes that records of these keys are about to be created, and answers for which ones that may be
    /// done: not where the record is known by now, nor where a creation began less than `lag` ago. When
    /// this answers, it is on the disk.
    pub async fn begin_creations(
        &self,
        scope: &str,
        keys: &[&Key],
        lag: Duration,
    ) -> Result<Vec<bool>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = keys.iter().map(|key| name(key)).collect();
        let at = now();
        let over = at.saturating_sub(i64::try_from(lag.as_secs()).unwrap_or(i64::MAX));
        let mut commit = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let begun = query(BEGIN_CREATIONS)
            .bind(scope)
            .bind(json(&names))
            .bind(at)
            .bind(over)
            .fetch_all(&mut *commit)
            .await?;
        commit.commit().await?;
        let begun: HashSet<String> =
            begun.iter().map(|row| row.try_get("key")).collect::<Result<_, sqlx::Error>>()?;
        Ok(names.iter().map(|name| begun.contains(name)).collect())
    }

    /// Records of these keys may have been created until just now: how the calls ended is not known.
    pub async fn renew_creations(&self, scope: &str, keys: &[&Key]) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        let names = json(&keys.iter().map(|key| name(key)).collect::<Vec<_>>());
        query(RENEW_CREATIONS).bind(scope).bind(names).bind(now()).execute(&self.pool).await?;
        Ok(())
    }

    /// How long ago records of these keys were about to be created, where it is not known how that ended.
    pub async fn creations(
        &self,
        scope: &str,
        keys: &[&Key],
    ) -> Result<Vec<Option<Duration>>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = keys.iter().map(|key| name(key)).collect();
        let rows = query(CREATIONS).bind(scope).bind(json(&names)).fetch_all(&self.pool).await?;
        let at = now();
        placed(rows, keys.len(), |row| {
            let begun_at: i64 = row.try_get("begun_at")?;
            Ok(Duration::from_secs(u64::try_from(at - begun_at).unwrap_or(0)))
        })
    }

    /// What was to come to be by these keys did not, and these records are gone: what led to them is
    /// forgotten.
    pub async fn forget(&self, scope: &str, keys: &[&Key], records: &[&str]) -> Result<(), Error> {
        if keys.is_empty() && records.is_empty() {
            return Ok(());
        }
        let names = json(&keys.iter().map(|key| name(key)).collect::<Vec<_>>());
        let mut commit = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        query(FORGET_KEYS).bind(scope).bind(&names).execute(&mut *commit).await?;
        query(FORGET_CREATIONS).bind(scope).bind(&names).execute(&mut *commit).await?;
        query(FORGET_RECORDS).bind(scope).bind(json(records)).execute(&mut *commit).await?;
        Ok(commit.commit().await?)
    }
}

/// A key without what is in it.
pub fn name(key: &Key) -> String {
    let mut hash = Sha256::new();
    match key {
        Key::Id(id) => {
            hash.update(b"id\0");
            hash.update(id);
        }
        Key::Field { field, value, unique: _ } => {
            hash.update(field);
            hash.update(b"\0=");
            hash.update(value);
        }
    }
    hex::encode(&hash.finalize()[..KEY_BYTES])
}

fn known(row: &SqliteRow) -> Result<Known, sqlx::Error> {
    let fields: String = row.try_get("fields")?;
    let marks = serde_json::from_str(&fields).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Known { record: row.try_get("record")?, statuses: row.try_get("status")?, marks })
}

/// Rows that tell their place, each in it.
fn placed<T: Clone>(
    rows: Vec<SqliteRow>,
    places: usize,
    read: impl Fn(&SqliteRow) -> Result<T, sqlx::Error>,
) -> Result<Vec<Option<T>>, Error> {
    let mut all = vec![None; places];
    for row in &rows {
        let place: i64 = row.try_get("place")?;
        if let Some(slot) = usize::try_from(place).ok().and_then(|place| all.get_mut(place)) {
            *slot = Some(read(row)?);
        }
    }
    Ok(all)
}

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("texts and numbers are always JSON")
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(value: &str) -> Key {
        Key::Field { field: "payment_id".to_owned(), value: value.to_owned(), unique: true }
    }

    fn remembered(value: &str, record: &str, sequence: i64) -> Remembered {
        let mark = Mark { sequence, digest: "00".to_owned(), intended: Vec::new() };
        Remembered {
            keys: vec![field(value)],
            known: Known {
                record: record.to_owned(),
                statuses: "aa@1".to_owned(),
                marks: BTreeMap::from([("status".to_owned(), mark)]),
            },
        }
    }

    #[tokio::test]
    async fn what_was_written_is_known_after_a_restart_and_cannot_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("memory.db");
        let memory = Memory::open(&path).await.expect("opens");
        let row = remembered("jane@example.com", "42", 7);
        memory.remember("s", std::slice::from_ref(&row)).await.expect("kept");
        drop(memory);
        let memory = Memory::open(&path).await.expect("opens again");
        let keys = [&field("nobody"), &field("jane@example.com"), &Key::Id("42".to_owned())];
        let known = memory.recall("s", &keys).await.expect("read");
        assert_eq!(known[0], None);
        assert_eq!(known[1].as_ref(), Some(&row.known));
        assert_eq!(known[2].as_ref(), Some(&row.known));
        assert_eq!(memory.recall("other", &keys).await.expect("read"), [None, None, None]);
        for entry in std::fs::read_dir(folder.path()).expect("listed") {
            let bytes = std::fs::read(entry.expect("an entry").path()).expect("read");
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("jane@"), "a key can be read");
        }
    }

    #[tokio::test]
    async fn a_creation_is_open_until_the_record_is_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = Memory::open(&folder.path().join("memory.db")).await.expect("opens");
        let (a, b) = (field("a"), field("b"));
        let lag = Duration::from_secs(60);
        let mine = memory.begin_creations("s", &[&a, &b], lag).await.expect("kept");
        assert_eq!(mine, [true, true]);
        let again = memory.begin_creations("s", &[&a], lag).await.expect("kept");
        assert_eq!(again, [false], "somebody else is at it");
        memory.remember("s", &[remembered("a", "1", 1)]).await.expect("kept");
        let known = memory.begin_creations("s", &[&a], Duration::ZERO).await.expect("kept");
        assert_eq!(known, [false], "it is there");
        let open = memory.creations("s", &[&a, &b]).await.expect("read");
        assert!(open[0].is_none() && open[1].is_some(), "{open:?}");
        memory.forget("s", &[&a, &b], &[]).await.expect("forgotten");
        assert_eq!(memory.creations("s", &[&b]).await.expect("read"), [None]);
        assert_eq!(memory.recall("s", &[&a]).await.expect("read"), [None]);
    }

    #[tokio::test]
    async fn what_somebody_else_remembers_of_other_fields_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = Memory::open(&folder.path().join("memory.db")).await.expect("opens");
        let mut other = remembered("a", "1", 2);
        let mark = other.known.marks.remove("status").expect("a mark");
        other.known.marks.insert("amount".to_owned(), mark);
        let rows = [remembered("a", "1", 1), other];
        memory.remember("s", &rows).await.expect("kept");
        let intended = vec!["11".to_owned()];
        let intent = ("1", BTreeMap::from([("amount", intended.clone())]));
        memory.intend("s", &[intent]).await.expect("kept");
        let known = memory.recall("s", &[&field("a")]).await.expect("read").remove(0);
        let known = known.expect("known");
        assert_eq!((known.marks["status"].sequence, known.marks["amount"].sequence), (1, 2));
        assert_eq!(known.marks["amount"].intended, intended);
        memory.remember("s", &rows).await.expect("kept");
        let known = memory.recall_records("s", &["1"]).await.expect("read").remove(0);
        assert!(known.expect("known").marks["amount"].intended.is_empty());
        memory.forget("s", &[], &["1"]).await.expect("forgotten");
        assert_eq!(memory.recall("s", &[&field("a")]).await.expect("read"), [None]);
    }

    #[tokio::test]
    async fn a_creation_of_a_killed_process_counts_from_when_the_file_is_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("memory.db");
        let memory = Memory::open(&path).await.expect("opens");
        memory.begin_creations("s", &[&field("a")], Duration::ZERO).await.expect("kept");
        query("UPDATE creations SET begun_at = begun_at - 100")
            .execute(&memory.pool)
            .await
            .expect("set back");
        drop(memory);
        let memory = Memory::open(&path).await.expect("opens again");
        let ago = memory.creations("s", &[&field("a")]).await.expect("read")[0];
        assert!(ago.is_some_and(|ago| ago < Duration::from_secs(50)), "{ago:?}");
    }
}
