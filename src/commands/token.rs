//! `tollgate token`: makes, lists and revokes credentials. A token's text is printed once, when it is
//! made, and kept nowhere; the first one is made offline, in the store itself, since no gateway would
//! listen to a caller that has none.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tollgate_client::proto::{
    CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, Token as TokenMessage,
};

use super::connection::{Connection, refused};
use super::store::{open_existing, open_or_make};
use super::{output, wire_json, wire_text};
use crate::config::{self, Config};
use crate::grpc::auth::{MAX_SCOPES, check_scope, new_token};
use crate::store::{Store, TokenRow};

/// Make, list and revoke tokens
///
/// With auth.mode = "token" every call needs one. Its scopes say what it allows:
///
///   read              events, payments, subscriptions, receipts without their raw requests
///   subscribe:NAME    to consume one subscription; subscribe:* for any
///   receipts          the raw requests of receipts
///   links             to create payment links
///   admin             all of it but receipts, and the gateway's own affairs
#[derive(clap::Args, Debug)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  The first token, while no gateway runs:
    tollgate token create --offline --scope admin --description operators
  One for a connector, valid for 90 days:
    tollgate token create --scope subscribe:crm --scope read --expires-in 90d"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Make a token and print its text, which is shown only here
    Create(Create),
    /// List tokens, without their text
    List(List),
    /// Revoke a token; its streams end
    Revoke(Revoke),
}

#[derive(clap::Args, Debug)]
struct Create {
    /// What it allows: read, subscribe:NAME, subscribe:*, receipts, links, admin; may be repeated
    #[arg(long, required = true, value_name = "SCOPE", value_parser = scope)]
    scope: Vec<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// After how long it stops working: 12h, 90d
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires_in: Option<SignedDuration>,
    /// Print the token with its details as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    offline: Offline,
}

#[derive(clap::Args, Debug)]
struct List {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    offline: Offline,
}

#[derive(clap::Args, Debug)]
struct Revoke {
    /// Its id, as `token list` shows it
    id: String,
    /// Print the token as JSON
    #[arg(long)]
    json: bool,
}

/// How the store is reached without a gateway.
#[derive(clap::Args, Debug)]
struct Offline {
    /// Work on the store itself, while no gateway runs on it
    #[arg(long)]
    offline: bool,
    /// With --offline: the configuration that names the store
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "tollgate.toml",
        env = "TOLLGATE_CONFIG"
    )]
    config: PathBuf,
}

impl Offline {
    fn store(&self) -> anyhow::Result<PathBuf> {
        Ok(Config::load(&self.config, config::process_environment())?.store.path)
    }
}

/// Does what was asked for.
pub fn run(args: Args) -> anyhow::Result<()> {
    let Args { action, connection } = args;
    super::block_on(async {
        match action {
            Action::Create(create) => self::create(create, &connection).await,
            Action::List(list) => self::list(list, &connection).await,
            Action::Revoke(revoke) => self::revoke(revoke, &connection).await,
        }
    })
}

async fn create(create: Create, connection: &Connection) -> anyhow::Result<()> {
    ensure!(create.scope.len() <= MAX_SCOPES, "a token has at most {MAX_SCOPES} scopes");
    let expires_at = create.expires_in.map(|after| Timestamp::now().checked_add(after));
    let expires_at = expires_at.transpose()?;
    let (token, secret) = match create.offline.offline {
        true => {
            let (row, secret) =
                new_token(create.description, create.scope, expires_at, Timestamp::now());
            keep(&create.offline.store()?, &row).await?;
            (message(&row), secret)
        }
        false => {
            let expires_at = expires_at.map(std::time::SystemTime::try_from).transpose()?;
            let request = CreateTokenRequest {
                description: create.description,
                scopes: create.scope,
                expires_at: expires_at.map(Into::into),
            };
            let client = connection.connect().await?;
            let created = client.admin().create_token(request).await.map_err(refused)?;
            let created = created.into_inner();
            (created.token.unwrap_or_default(), created.secret)
        }
    };
    if create.json {
        output::json(&json!({ "token": wire_json::token(&token), "secret": secret }))?;
    } else {
        output::line(&secret)?;
        output::note(&format!("(token {}; its text is shown only here)", token.id));
    }
    Ok(())
}

async fn keep(path: &Path, row: &TokenRow) -> anyhow::Result<()> {
    let store = open_or_make(path).await?;
    let kept = store.put_token(row).await;
    store.close().await;
    Ok(kept?)
}

async fn list(list: List, connection: &Connection) -> anyhow::Result<()> {
    let tokens: Vec<TokenMessage> = match list.offline.offline {
        true => {
            let store = open_existing(&list.offline.store()?).await?;
            let rows = store.tokens().await;
            store.close().await;
            rows?.iter().map(message).collect()
        }
        false => {
            let client = connection.connect().await?;
            let listed = client.admin().list_tokens(ListTokensRequest {}).await;
            listed.map_err(refused)?.into_inner().tokens
        }
    };
    if list.json {
        return Ok(tokens.iter().try_for_each(|token| output::json(&wire_json::token(token)))?);
    }
    let rows: Vec<_> = tokens.iter().map(row).collect();
    output::table(["ID", "STATE", "SCOPES", "CREATED", "DESCRIPTION"], &rows, "no tokens")?;
    Ok(())
}

async fn revoke(revoke: Revoke, connection: &Connection) -> anyhow::Result<()> {
    let client = connection.connect().await?;
    let request = RevokeTokenRequest { id: revoke.id.clone() };
    let revoked = client.admin().revoke_token(request).await.map_err(refused)?.into_inner();
    match revoke.json {
        true => output::json(&wire_json::token(&revoked.token.unwrap_or_default()))?,
        false => output::line(&format!("token {} is revoked", revoke.id))?,
    }
    Ok(())
}

/// A stored token as the wire has it.
fn message(row: &TokenRow) -> TokenMessage {
    let time = |time: Timestamp| std::time::SystemTime::try_from(time).ok().map(Into::into);
    TokenMessage {
        id: row.id.clone(),
        description: row.description.clone(),
        scopes: row.scopes.clone(),
        created_at: time(row.created_at),
        expires_at: row.expires_at.and_then(time),
        revoked_at: row.revoked_at.and_then(time),
    }
}

fn row(token: &TokenMessage) -> [String; 5] {
    let at = |time: i64| wire_text::time_to_second(time);
    let state = match (&token.revoked_at, &token.expires_at) {
        (Some(revoked), _) => format!("revoked {}", at(revoked.seconds)),
        (None, Some(expiry)) if expiry.seconds <= Timestamp::now().as_second() => {
            format!("expired {}", at(expiry.seconds))
        }
        (None, Some(expiry)) => format!("until {}", at(expiry.seconds)),
        (None, None) => "works".to_owned(),
    };
    let created = token.created_at.as_ref().map_or(String::new(), |time| at(time.seconds));
    [token.id.clone(), state, token.scopes.join(" "), created, token.description.clone()]
}

fn scope(text: &str) -> Result<String, String> {
    check_scope(text).map(|()| text.to_owned())
}

/// Reads `90d`, `12h 30m`; a day has 24 hours.
fn expiry(text: &str) -> Result<SignedDuration, String> {
    let wrong = || "must read like 90d, 12h or 30m".to_owned();
    let time = match text.strip_suffix('d').map(str::parse::<i32>) {
        Some(Ok(days)) => SignedDuration::from_hours(24 * i64::from(days)),
        Some(Err(_)) | None => text.parse().map_err(|_| wrong())?,
    };
    if time.is_positive() { Ok(time) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_read_in_days_hours_and_minutes() {
        assert_eq!(expiry("90d"), Ok(SignedDuration::from_hours(90 * 24)));
        assert_eq!(expiry("1h 30m"), Ok(SignedDuration::from_mins(90)));
        for wrong in ["", "0d", "-1d", "soon", "5"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
    }
}
