//! The epoch of the log that the remembered sequences are of. A gateway that was restored, or set up anew,
//! counts otherwise: what was written before must then not pass for newer than all that comes. In comes the
//! epoch that the gateway tells, out goes nothing; the sequences of another epoch count as the oldest.

use sqlx::{Row as _, query};

use super::{Error, Memory};

const CURRENT: &str = "SELECT epoch FROM epochs WHERE subscription = ?";
const KEEP: &str = "INSERT OR REPLACE INTO epochs VALUES (?, ?)";
const AGE: &str = "UPDATE records SET fields = (
        SELECT json_group_object(f.key, json_set(f.value, '$.s', 0))
        FROM json_each(records.fields) AS f)
    WHERE substr(scope, 1, length(?1) + 1) = ?1 || '/'";

impl Memory {
    /// What is written for the subscription from now on is of this epoch. When this answers, it is on the
    /// disk.
    pub async fn enter_epoch(&self, subscription: &str, epoch: &str) -> Result<(), Error> {
        let mut commit = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let before = query(CURRENT).bind(subscription).fetch_optional(&mut *commit).await?;
        let before: Option<String> = before.map(|row| row.try_get("epoch")).transpose()?;
        if before.as_deref() == Some(epoch) {
            return Ok(());
        }
        if before.is_some() {
            tracing::warn!(subscription, epoch, "the gateway's log was restored or is another one");
            query(AGE).bind(subscription).execute(&mut *commit).await?;
        }
        query(KEEP).bind(subscription).bind(epoch).execute(&mut *commit).await?;
        Ok(commit.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::memory::{Known, Mark, Remembered};

    #[tokio::test]
    async fn in_another_epoch_nothing_remembered_is_newer_than_what_comes() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = Memory::open(&folder.path().join("memory.db")).await.expect("opens");
        memory.enter_epoch("crm", "e1").await.expect("kept");
        let mark = Mark { sequence: 900, digest: "d".to_owned(), intended: Vec::new() };
        let marks = BTreeMap::from([("status".to_owned(), mark)]);
        let known = Known { record: "1".to_owned(), statuses: String::new(), marks };
        for scope in ["crm/deals", "crm2/deals"] {
            let row = Remembered { keys: Vec::new(), known: known.clone() };
            memory.remember(scope, &[row]).await.expect("kept");
        }
        for (epoch, sequence) in [("e1", 900), ("e2", 0)] {
            memory.enter_epoch("crm", epoch).await.expect("kept");
            let known = memory.recall_records("crm/deals", &["1"]).await.expect("read").remove(0);
            let mark = known.expect("known").marks["status"].clone();
            assert_eq!((mark.sequence, mark.digest.as_str()), (sequence, "d"));
        }
        let other = memory.recall_records("crm2/deals", &["1"]).await.expect("read").remove(0);
        assert_eq!(other.as_ref(), Some(&known), "another subscription's stay");
    }
}
