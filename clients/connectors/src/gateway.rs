//! The way to the gateway that a configuration names. In comes its `[gateway]`, out goes a client. A token
//! must never be shown.

use tollgate_client::{Client, StartPosition, SubscriptionBuilder, Tls};

use crate::config::{Gateway, Mistake, Start};
use crate::crms::Kind;

/// A client that connects with its first call and again whenever it must.
pub fn client(gateway: &Gateway) -> Result<Client, Mistake> {
    let mut builder = Client::builder(&gateway.address);
    if let Some(token) = &gateway.token {
        builder = builder.token(token.expose());
    }
    if let Some(path) = &gateway.ca {
        let pem = std::fs::read(path).map_err(|error| {
            Mistake::new("gateway.ca", format!("could not read {}: {error}", path.display()))
        })?;
        builder = builder.tls(Tls::new().ca_certificate(pem));
    }
    builder.connect_lazy().map_err(|error| Mistake::new("gateway.address", error.to_string()))
}

/// The subscription, created if it does not exist.
pub fn subscription(client: &Client, gateway: &Gateway, kind: &Kind) -> SubscriptionBuilder {
    let start = match gateway.start {
        Start::Latest => StartPosition::latest(),
        Start::Earliest => StartPosition::earliest(),
    };
    let consumer = gateway.consumer.clone();
    client
        .subscription(&gateway.subscription)
        .create_if_missing(gateway.filter.filter(), start)
        .consumer(consumer.unwrap_or_else(|| format!("tollgate-connect {}", kind.name)))
        .max_outstanding(gateway.max_outstanding)
}
