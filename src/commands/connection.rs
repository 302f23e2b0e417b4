//! How the client commands reach a gateway: its address, the token to show and the authority to trust
//! come in, a connected client goes out. Commands speak to a gateway through it and the SDK alone. A token
//! must never be shown, neither in help nor in an error.

use std::path::PathBuf;

use anyhow::Context as _;
use tollgate_client::{Client, Error, Tls};

/// Which gateway is asked, and as whom.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Where the gateway listens for gRPC
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "TOLLGATE_ADDRESS",
        default_value = "http://127.0.0.1:50051"
    )]
    pub address: String,
    /// The token to show; `tollgate token create` makes one
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "TOLLGATE_TOKEN",
        hide_env_values = true
    )]
    token: Option<Token>,
    /// A PEM file with the authority of the gateway's certificate, for an https address
    #[arg(long, global = true, value_name = "FILE", env = "TOLLGATE_CA")]
    ca: Option<PathBuf>,
}

/// A credential that no debug print shows.
#[derive(Clone)]
struct Token(String);

impl Connection {
    /// Connects, and fails if the gateway is not there.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let mut builder = Client::builder(&self.address);
        if let Some(token) = &self.token {
            builder = builder.token(&token.0);
        }
        if let Some(path) = &self.ca {
            let pem = std::fs::read(path)
                .with_context(|| format!("--ca: could not read {}", path.display()))?;
            builder = builder.tls(Tls::new().ca_certificate(pem));
        }
        builder.connect().await.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: Error) -> anyhow::Error {
        let hint = match &error {
            Error::Connect(_) => {
                format!("no gateway answers at {} (is `tollgate serve` running?)", self.address)
            }
            Error::NoCertificateAuthority => {
                "--ca FILE must name the authority of the gateway's certificate".to_owned()
            }
            Error::InvalidAddress(_) => {
                "--address must read like http://127.0.0.1:50051".to_owned()
            }
            _ => return error.into(),
        };
        anyhow::Error::from(error).context(hint)
    }
}

/// What the gateway refused, with what can be done about it.
pub fn refused(error: impl Into<Error>) -> anyhow::Error {
    let error = error.into();
    let hint = match &error {
        Error::Unauthenticated { .. } => {
            "the gateway wants a token (--token or TOLLGATE_TOKEN; `tollgate token create --offline` \
             makes the first one)"
        }
        Error::PermissionDenied { .. } => "this token may not do that",
        _ => return error.into(),
    };
    anyhow::Error::from(error).context(hint)
}

impl std::str::FromStr for Token {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Token, Self::Err> {
        Ok(Token(text.trim().to_owned()))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("..")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_a_token_is_not_in_debug_prints() {
        let connection = Connection {
            address: "http://127.0.0.1:1".to_owned(),
            token: "tgt_secret".parse().ok(),
            ca: None,
        };
        assert!(connection.token.is_some());
        assert!(!format!("{connection:?}").contains("secret"));
    }
}
