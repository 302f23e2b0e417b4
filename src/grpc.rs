//! The gRPC server: the services, reflection, health, credentials, limits and the drain. Only this
//! module and its children see wire types. It answers nobody without a credential but the health check.

pub mod admin;
pub mod auth;
pub mod connection;
pub mod convert;
pub mod event;
pub mod page;
pub mod payment;
pub mod receipt;
pub mod request;
pub mod status;
pub mod stream;
pub mod subscription;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::ServerTlsConfig;
use tonic::transport::{Certificate, Identity, Server};

use crate::delivery::Delivery;
use crate::ingest::Ingest;
use crate::ingest::links::Links;

pub use auth::Auth;

/// The messages and services, made from `proto/`; events in them are bytes (see `build.rs`).
#[expect(clippy::large_enum_variant, reason = "generated")]
pub mod proto {
    tonic::include_proto!("tollgate.v1");
}

/// The contract, for reflection.
const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
/// What a client may send before it is read, per stream and per connection. Acks are small.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Whose health is told: the server's as a whole, and each service's.
const HEALTH_OF: [&str; 6] = [
    "",
    "tollgate.v1.SubscriptionService",
    "tollgate.v1.EventService",
    "tollgate.v1.PaymentService",
    "tollgate.v1.ReceiptService",
    "tollgate.v1.AdminService",
];
/// How large the headers of a call may be.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// The server's settings.
#[derive(Clone)]
pub struct Settings {
    /// How many connections there may be.
    pub max_connections: usize,
    /// How many calls a connection may have at a time.
    pub max_streams_per_connection: u32,
    /// How large a request may be.
    pub max_message_bytes: usize,
    /// How old a stream may get before it is asked to connect again; 10 % are taken off at random.
    pub stream_max_age: Duration,
    /// How far heartbeats are apart.
    pub heartbeat: Duration,
    /// How often an idle connection is pinged, and how long a new one may take to begin.
    pub keepalive: Duration,
    /// How long the drain lasts before connections are cut.
    pub drain: Duration,
    /// Whether refused requests are kept in memory.
    pub keep_refused: bool,
    /// TLS; plaintext without.
    pub tls: Option<Tls>,
}

/// TLS as PEM.
#[derive(Clone)]
pub struct Tls {
    /// The certificate chain.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
    /// Clients must show a certificate of this authority.
    pub client_ca: Option<Vec<u8>>,
}

/// What every service has at hand.
#[derive(Clone)]
pub struct Context {
    /// The subscriptions.
    pub delivery: Delivery,
    /// The writer.
    pub ingest: Ingest,
    /// The tracked links.
    pub links: Links,
    /// The credentials.
    pub auth: Auth,
    /// The settings.
    pub settings: Arc<Settings>,
    /// Cancelled when the gateway begins to stop.
    pub stopping: CancellationToken,
    /// When it started.
    pub started_at: Timestamp,
}

/// Serves until `context.stopping` is cancelled and the drain is over.
pub async fn serve(listener: TcpListener, context: Context) -> Result<(), Error> {
    let settings = context.settings.clone();
    let cut = CancellationToken::new();
    let incoming =
        connection::incoming(listener, settings.max_connections, settings.keepalive, cut.clone());
    let mut server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(settings.max_streams_per_connection)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(settings.keepalive))
        .http2_keepalive_timeout(Some(settings.keepalive));
    if let Some(tls) = &settings.tls {
        server = server.tls_config(tls_config(tls).timeout(settings.keepalive))?;
    }
    let (mut health_reporter, health) = tonic_health::server::health_reporter();
    set_health(&health_reporter, true).await;
    let routes = routes(&context)?.add_service(health);
    let router = server.add_routes(routes);

    let stopping = context.stopping.clone();
    let drain_begins = async move {
        stopping.cancelled().await;
        set_health(&health_reporter, false).await;
        // Ends the streams that watch it, which would hold up the drain.
        for service in HEALTH_OF {
            health_reporter.clear_service_status(service).await;
        }
    };
    let mut serving = Box::pin(router.serve_with_incoming_shutdown(incoming, drain_begins));
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        () = context.stopping.cancelled() => {}
    }
    // Streams end themselves when the drain begins; a connection that is not read never would.
    match tokio::time::timeout(settings.drain, &mut serving).await {
        Ok(ended) => Ok(ended?),
        Err(_) => {
            cut.cancel();
            tracing::info!("drain is over; remaining connections were cut");
            Ok(())
        }
    }
}

/// Why the server could not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The transport failed, or its TLS settings are wrong.
    #[error("gRPC transport: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The descriptor of the contract cannot be served.
    #[error("gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

fn tls_config(tls: &Tls) -> ServerTlsConfig {
    let identity = Identity::from_pem(&tls.certificate, &tls.key);
    let config = ServerTlsConfig::new().identity(identity);
    match &tls.client_ca {
        Some(authority) => config.client_ca_root(Certificate::from_pem(authority)),
        None => config,
    }
}

fn routes(context: &Context) -> Result<tonic::service::Routes, Error> {
    use proto::admin_service_server::AdminServiceServer;
    use proto::event_service_server::EventServiceServer;
    use proto::payment_service_server::PaymentServiceServer;
    use proto::receipt_service_server::ReceiptServiceServer;
    use proto::subscription_service_server::SubscriptionServiceServer;

    let max = context.settings.max_message_bytes;
    let auth = || context.auth.clone();
    let subscriptions = SubscriptionServiceServer::new(subscription::Service::new(context.clone()))
        .max_decoding_message_size(max);
    let events = EventServiceServer::new(event::Service::new(context.clone()))
        .max_decoding_message_size(max);
    let payments = PaymentServiceServer::new(payment::Service::new(context.clone()))
        .max_decoding_message_size(max);
    let receipts = ReceiptServiceServer::new(receipt::Service::new(context.clone()))
        .max_decoding_message_size(max);
    let admin = AdminServiceServer::new(admin::Service::new(context.clone()))
        .max_decoding_message_size(max);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(tonic::service::Routes::new(InterceptedService::new(subscriptions, auth()))
        .add_service(InterceptedService::new(events, auth()))
        .add_service(InterceptedService::new(payments, auth()))
        .add_service(InterceptedService::new(receipts, auth()))
        .add_service(InterceptedService::new(admin, auth()))
        .add_service(InterceptedService::new(reflection().build_v1()?, auth()))
        .add_service(InterceptedService::new(reflection().build_v1alpha()?, auth())))
}

/// Health of the server as a whole and of each service.
async fn set_health(reporter: &tonic_health::server::HealthReporter, serving: bool) {
    use tonic_health::ServingStatus;
    let state = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in HEALTH_OF {
        reporter.set_service_status(service, state).await;
    }
}
