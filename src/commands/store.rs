//! Opening the store without a gateway, for the commands that work on it while none runs. The store's own
//! lock keeps both apart; here a person is told what to do about it.

use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::grpc::convert::CODEC;
use crate::store::{Error, SqliteStore};

/// Opens a store that must be there.
pub async fn open_existing(path: &Path) -> anyhow::Result<SqliteStore> {
    ensure!(path.exists(), "there is no store at {}", path.display());
    open_or_make(path).await
}

/// Opens a store, and makes it if it is not there.
pub async fn open_or_make(path: &Path) -> anyhow::Result<SqliteStore> {
    let opened = SqliteStore::open(&path.to_string_lossy(), CODEC).await;
    opened.with_context(|| format!("could not open the store {}", path.display())).map_err(
        |error| match error.downcast_ref::<Error>() {
            Some(Error::Locked(_)) => error.context("a gateway runs on this store: stop it first"),
            Some(_) | None => error,
        },
    )
}
