//! The way to a gateway: address, credential, TLS and HTTP/2 settings go in, connections and the raw
//! service clients come out. Unary calls share one connection; each stream gets one of its own, since a
//! stream that is left unread fills its connection's window and would hold up everything else on it. A
//! token must never be printed.

use std::time::Duration;

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Uri},
};

use crate::{
    error::Error,
    proto::{
        Filter, StartPosition, WatchPaymentsRequest, admin_service_client::AdminServiceClient,
        event_service_client::EventServiceClient, payment_service_client::PaymentServiceClient,
        receipt_service_client::ReceiptServiceClient,
        subscription_service_client::SubscriptionServiceClient,
    },
    subscription::SubscriptionBuilder,
    tls::Tls,
    watch::{self, Watch, WatchPayments, WatchStream},
};

const USER_AGENT: &str = concat!("tollgate-client/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that is dead, not just idle, is noticed after these two.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Enough for a full pipe to another continent.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// The gateway's own limit of what is outstanding on a stream; no message is larger.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// What the raw service clients send through.
pub type Transport = InterceptedService<Channel, Authorization>;

/// A gateway. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    dial: Dial,
    channel: Channel,
    authorization: Authorization,
}

/// Where the connection of a stream comes from.
#[derive(Clone)]
enum Dial {
    Own(Box<Endpoint>),
    Shared,
}

impl Client {
    /// Connects without a credential: for a gateway on this machine.
    pub async fn connect(uri: impl Into<String>) -> Result<Self, Error> {
        Self::builder(uri).connect().await
    }

    /// Begins with the gateway's address, `http://127.0.0.1:50051` or `https://gateway.internal:50051`.
    pub fn builder(uri: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            uri: uri.into(),
            authorization: Ok(Authorization::default()),
            tls: None,
            connect_timeout: CONNECT_TIMEOUT,
        }
    }

    /// Uses a channel that was made elsewhere, for all calls and streams.
    pub fn from_channel(channel: Channel, token: Option<&str>) -> Result<Self, Error> {
        let authorization = token.map(Authorization::bearer).transpose()?.unwrap_or_default();
        Ok(Self { dial: Dial::Shared, channel, authorization })
    }

    /// A subscription, to be opened. `crm` and `subscriptions/crm` are the same.
    pub fn subscription(&self, name: impl Into<String>) -> SubscriptionBuilder {
        SubscriptionBuilder::new(self.clone(), name.into())
    }

    /// The events that `filter` takes, from `start` on. Begins when it is first polled, and goes on from
    /// its position whenever the connection breaks.
    pub fn watch_events(
        &self,
        filter: Filter,
        start: impl Into<StartPosition>,
    ) -> WatchStream<Watch> {
        watch::events(self.clone(), filter, start.into())
    }

    /// The state of all payments, invoices and the rest that `request` asks for, then each change. An
    /// interrupted snapshot begins again; a subject's last row is its state.
    pub fn watch_payments(&self, request: WatchPaymentsRequest) -> WatchStream<WatchPayments> {
        watch::payments(self.clone(), request)
    }

    /// The raw client of SubscriptionService.
    pub fn subscriptions(&self) -> SubscriptionServiceClient<Transport> {
        SubscriptionServiceClient::new(self.transport())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The raw client of EventService.
    pub fn events(&self) -> EventServiceClient<Transport> {
        EventServiceClient::new(self.transport()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The raw client of PaymentService.
    pub fn payments(&self) -> PaymentServiceClient<Transport> {
        PaymentServiceClient::new(self.transport()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The raw client of ReceiptService.
    pub fn receipts(&self) -> ReceiptServiceClient<Transport> {
        ReceiptServiceClient::new(self.transport()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The raw client of AdminService.
    pub fn admin(&self) -> AdminServiceClient<Transport> {
        AdminServiceClient::new(self.transport()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The same gateway over a connection that nobody else uses, which may lead to another machine.
    pub(crate) fn on_own_connection(&self) -> Self {
        match &self.dial {
            Dial::Own(endpoint) => Self { channel: endpoint.connect_lazy(), ..self.clone() },
            Dial::Shared => self.clone(),
        }
    }

    fn transport(&self) -> Transport {
        InterceptedService::new(self.channel.clone(), self.authorization.clone())
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address = match &self.dial {
            Dial::Own(endpoint) => endpoint.uri().host(),
            Dial::Shared => None,
        };
        formatter
            .debug_struct("Client")
            .field("address", &address)
            .field("authorization", &self.authorization)
            .finish()
    }
}

/// The settings of a client that is about to connect.
#[derive(Debug)]
#[must_use = "nothing connects before `connect` or `connect_lazy`"]
pub struct ClientBuilder {
    uri: String,
    authorization: Result<Authorization, Error>,
    tls: Option<Tls>,
    connect_timeout: Duration,
}

impl ClientBuilder {
    /// The token to show. Over `http` it travels in the clear.
    pub fn token(mut self, token: impl AsRef<str>) -> Self {
        self.authorization = Authorization::bearer(token.as_ref());
        self
    }

    /// How to check the gateway's certificate, and which one to show; for an `https` address.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How long one attempt to connect may take. 10 s if not set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Connects now, and fails if the gateway is not there.
    pub async fn connect(self) -> Result<Client, Error> {
        let (endpoint, authorization) = self.endpoint()?;
        let channel = endpoint.connect().await.map_err(Error::Connect)?;
        Ok(Client { dial: Dial::Own(Box::new(endpoint)), channel, authorization })
    }

    /// Connects with the first call. Streams wait for a gateway that is down, other calls fail until it is
    /// there. Must be called within a Tokio runtime.
    pub fn connect_lazy(self) -> Result<Client, Error> {
        let (endpoint, authorization) = self.endpoint()?;
        let channel = endpoint.connect_lazy();
        Ok(Client { dial: Dial::Own(Box::new(endpoint)), channel, authorization })
    }

    fn endpoint(self) -> Result<(Endpoint, Authorization), Error> {
        let authorization = self.authorization?;
        let uri: Uri =
            self.uri.parse().map_err(|_| Error::InvalidAddress(without_password(&self.uri)))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(Error::InvalidAddress(without_password(&self.uri))),
        };
        let mut endpoint = Endpoint::from(uri)
            .user_agent(USER_AGENT)
            .map_err(Error::Connect)?
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        if secure {
            let tls = self.tls.unwrap_or_default();
            if tls.trusts_nobody() {
                return Err(Error::NoCertificateAuthority);
            }
            endpoint = endpoint.tls_config(tls.into_config()).map_err(Error::Connect)?;
        }
        Ok((endpoint, authorization))
    }
}

/// The address without what may be a password in it.
fn without_password(uri: &str) -> String {
    match uri.rsplit_once('@') {
        Some((_, host)) => format!("..@{host}"),
        None => uri.to_owned(),
    }
}

/// Adds the token to each call.
#[derive(Clone, Default)]
pub struct Authorization {
    header: Option<MetadataValue<Ascii>>,
}

impl Authorization {
    fn bearer(token: &str) -> Result<Self, Error> {
        let mut header: MetadataValue<Ascii> =
            format!("Bearer {token}").parse().map_err(|_| Error::InvalidToken)?;
        // Keeps it out of HTTP/2's compression tables and debug prints.
        header.set_sensitive(true);
        Ok(Self { header: Some(header) })
    }
}

impl Interceptor for Authorization {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.header {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

impl std::fmt::Debug for Authorization {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.header.is_some() { "Bearer .." } else { "none" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn debug_prints_hide_the_token_and_the_key() {
        let builder = Client::builder("http://127.0.0.1:1")
            .token("tg_secret")
            .tls(Tls::new().identity("certificate", "private-key").ca_certificate("authority"));
        let mut shown = format!("{builder:?}");
        shown += &format!("{:?}", builder.connect_lazy().expect("the address is right"));
        assert!(shown.contains("Bearer .."), "{shown}");
        assert!(!shown.contains("secret") && !shown.contains("private-key"), "{shown}");
    }

    #[tokio::test]
    async fn addresses_that_cannot_work_are_refused() {
        for uri in ["", "127.0.0.1:50051", "ftp://gateway", "not a uri"] {
            let refused = Client::builder(uri).connect_lazy();
            assert!(matches!(refused, Err(Error::InvalidAddress(_))), "{uri}");
        }
        let refused = Client::builder("https://gateway:50051").connect_lazy();
        assert!(matches!(refused, Err(Error::NoCertificateAuthority)));
    }

    #[test]
    fn a_refused_address_does_not_show_its_password() {
        let refused = Client::builder("ftp://user:hunter2@gateway").endpoint();
        assert!(matches!(refused, Err(Error::InvalidAddress(shown)) if !shown.contains("hunter2")));
    }

    #[test]
    fn a_token_with_a_line_break_is_refused() {
        let refused = Client::builder("http://127.0.0.1:1").token("a\nb").endpoint();
        assert!(matches!(refused, Err(Error::InvalidToken)));
    }
}
