//! The servers beside ingest. The bare one only reads the body: no server that speaks HTTP can do less. The
//! naive one is what is written first when webhooks are to be kept: a handler that inserts and commits.

use std::path::Path;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::serve::ListenerExt;
use bytes::Bytes;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::net::TcpListener;

use super::announce;
use crate::sample::PATH;

/// Serves the bare one.
pub async fn bare() -> anyhow::Result<()> {
    serve(Router::new().route(PATH, post(async |_body: Bytes| StatusCode::OK))).await
}

/// Serves the naive one.
pub async fn naive(database: &Path) -> anyhow::Result<()> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    // With more connections they only wait for each other's lock, and the handler becomes slower yet.
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    let table = "CREATE TABLE webhooks (id TEXT PRIMARY KEY, body BLOB NOT NULL)";
    sqlx::query(table).execute(&pool).await?;
    serve(Router::new().route(PATH, post(insert)).with_state(pool)).await
}

async fn insert(State(pool): State<SqlitePool>, body: Bytes) -> StatusCode {
    let Some(id) = event_id(&body) else { return StatusCode::BAD_REQUEST };
    let inserted = sqlx::query("INSERT OR IGNORE INTO webhooks (id, body) VALUES (?, ?)")
        .bind(id)
        .bind(&body[..])
        .execute(&pool)
        .await;
    match inserted {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The first text after `"id": "`, which costs less than reading the JSON.
fn event_id(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once(r#""id": ""#)?;
    rest.split('"').next()
}

async fn serve(router: Router) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    announce(listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // Without it small answers wait; a yardstick is to be as fast as it can.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await.context("the listener failed")
}
