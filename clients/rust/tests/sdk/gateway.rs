//! A gateway that does only what a test has it do. Each stream that the SDK opens is handed to the test,
//! which reads what the SDK says and says what it likes. Mostly there is no network: with a paused clock,
//! time moves only when nobody has anything to do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures::Stream;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    net::TcpListener,
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time::Instant,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnboundedReceiverStream};
use tollgate_client::{
    AckStatus, Client, Event,
    proto::{
        self, AckResult, CaughtUp, ConsumeOpen, ConsumeRequest, ConsumeResponse, ConsumeResults,
        Draining, Heartbeat, WatchEventsRequest, WatchEventsResponse, WatchPaymentsRequest,
        WatchPaymentsResponse, consume_request, consume_response,
    },
};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Endpoint, Server, ServerTlsConfig, server::Connected},
};

/// The stubs of the server, over the messages of the client.
#[allow(clippy::all, reason = "generated code")]
mod stubs {
    include!(concat!(env!("OUT_DIR"), "/server/tollgate.v1.rs"));
}

/// What the gateway gives for a delivery.
pub const LEASE: Duration = Duration::from_secs(30);
const BUFFER_BYTES: usize = 1 << 20;
const MESSAGES: usize = 4_096;
/// How far the gateway's clock is behind that of the SDK.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 60 * 60);

type Sender<T> = mpsc::Sender<Result<T, Status>>;

/// The gateway, with the streams that were opened and not yet taken.
pub struct Gateway {
    pub client: Client,
    consumes: UnboundedReceiver<Consume>,
    event_watches: UnboundedReceiver<(WatchEventsRequest, Sender<WatchEventsResponse>)>,
    payment_watches: UnboundedReceiver<(WatchPaymentsRequest, Sender<WatchPaymentsResponse>)>,
    /// How many more attempts to connect fail.
    refusals: Arc<AtomicUsize>,
}

impl Gateway {
    /// In memory.
    pub fn start() -> Self {
        let (connection_sender, connections) = mpsc::unbounded_channel();
        let refusals = Arc::new(AtomicUsize::new(0));
        let connector = connector(connection_sender, Arc::clone(&refusals));
        let channel = Endpoint::from_static("http://gateway").connect_with_connector_lazy(
            tower::service_fn(move |_: tonic::transport::Uri| std::future::ready(connector())),
        );
        let client = Client::from_channel(channel, Some("token")).unwrap();
        let incoming = UnboundedReceiverStream::new(connections);
        Self::serve(Server::builder(), incoming, client, refusals)
    }

    /// On a loopback port, for clients that prove themselves.
    pub fn listen(listener: TcpListener, tls: ServerTlsConfig, client: Client) -> Self {
        let server = Server::builder().tls_config(tls).unwrap();
        Self::serve(server, TcpListenerStream::new(listener), client, Arc::default())
    }

    fn serve<S>(
        mut server: Server,
        incoming: impl Stream<Item = std::io::Result<S>> + Send + 'static,
        client: Client,
        refusals: Arc<AtomicUsize>,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
        S::ConnectInfo: Clone + Send + Sync + 'static,
    {
        let (consume_sender, consumes) = mpsc::unbounded_channel();
        let (event_sender, event_watches) = mpsc::unbounded_channel();
        let (payment_sender, payment_watches) = mpsc::unbounded_channel();
        let clock = Clock { time: SystemTime::now() - CLOCK_SKEW, at: Instant::now() };
        let router = server
            .add_service(SubscriptionServiceServer::new(Fake { streams: consume_sender, clock }))
            .add_service(EventServiceServer::new(Fake { streams: event_sender, clock }))
            .add_service(PaymentServiceServer::new(Fake { streams: payment_sender, clock }));
        tokio::spawn(router.serve_with_incoming(incoming));
        Self { client, consumes, event_watches, payment_watches, refusals }
    }

    /// Has the next attempts to connect fail.
    pub fn refuse_connections(&self, count: usize) {
        self.refusals.store(count, Ordering::SeqCst);
    }

    /// How many refusals are left.
    pub fn refusals_left(&self) -> usize {
        self.refusals.load(Ordering::SeqCst)
    }

    /// The next Consume stream, already open.
    pub async fn consume(&mut self) -> Consume {
        let mut consume = self.consumes.recv().await.unwrap();
        let first = consume.requests.message().await.unwrap().unwrap();
        let Some(consume_request::Message::Open(open)) = first.message else {
            panic!("the first message is not open: {first:?}");
        };
        consume.open = open;
        consume
    }

    /// Whether no Consume stream was opened that was not taken.
    pub fn is_idle(&mut self) -> bool {
        self.consumes.try_recv().is_err()
    }

    pub async fn watch_events(&mut self) -> (WatchEventsRequest, Sender<WatchEventsResponse>) {
        self.event_watches.recv().await.unwrap()
    }

    pub async fn watch_payments(
        &mut self,
    ) -> (WatchPaymentsRequest, Sender<WatchPaymentsResponse>) {
        self.payment_watches.recv().await.unwrap()
    }
}

fn connector(
    connections: UnboundedSender<std::io::Result<DuplexStream>>,
    refusals: Arc<AtomicUsize>,
) -> impl Fn() -> std::io::Result<TokioIo<DuplexStream>> {
    move || {
        let left = refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if left.is_ok() {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        let (client, server) = tokio::io::duplex(BUFFER_BYTES);
        connections.send(Ok(server)).unwrap();
        Ok(TokioIo::new(client))
    }
}

/// One Consume stream, the gateway's side. Dropped, it ends.
pub struct Consume {
    pub open: ConsumeOpen,
    /// The `authorization` header.
    pub authorization: String,
    clock: Clock,
    requests: Streaming<ConsumeRequest>,
    responses: Sender<ConsumeResponse>,
}

impl Consume {
    pub async fn say(&self, message: consume_response::Message) {
        self.responses.send(Ok(ConsumeResponse { message: Some(message) })).await.unwrap();
    }

    /// Delivers the event of this sequence; the ack id is the sequence with `tag`.
    pub async fn deliver(&self, sequence: i64, tag: &str) {
        let delivery = proto::Delivery {
            ack_id: format!("{sequence}{tag}"),
            attempt: 1,
            ack_deadline: Some((self.clock.now() + LEASE).into()),
            event: Some(event(sequence)),
            ..Default::default()
        };
        self.say(consume_response::Message::Delivery(delivery)).await;
    }

    pub async fn heartbeat(&self) {
        let time = Some(self.clock.now().into());
        self.say(consume_response::Message::Heartbeat(Heartbeat { time, ..Default::default() }))
            .await;
    }

    pub async fn drain(&self) {
        self.say(consume_response::Message::Draining(Draining::default())).await;
    }

    pub async fn answer(&self, ack_id: &str, status: AckStatus) {
        let result = AckResult { ack_id: ack_id.to_owned(), status: status.into() };
        let results = ConsumeResults { results: vec![result] };
        self.say(consume_response::Message::Results(results)).await;
    }

    pub async fn fail(self, status: Status) {
        self.responses.send(Err(status)).await.unwrap();
    }

    /// The next message of the SDK; `None` once it has ended its side.
    pub async fn heard(&mut self) -> Option<consume_request::Message> {
        Some(self.requests.message().await.ok()??.message.expect("a known message"))
    }

    /// The acks of the next message, which must be acks.
    pub async fn acks(&mut self) -> Vec<proto::Ack> {
        match self.heard().await {
            Some(consume_request::Message::Acks(acks)) => acks.acks,
            other => panic!("not acks: {other:?}"),
        }
    }
}

pub fn event(sequence: i64) -> Event {
    Event { name: format!("events/{sequence}"), sequence, ..Default::default() }
}

pub fn caught_up(position: i64, log_epoch: &str) -> CaughtUp {
    CaughtUp { position, log_epoch: log_epoch.to_owned() }
}

pub fn heartbeat(position: i64, log_epoch: &str) -> Heartbeat {
    Heartbeat { position, log_epoch: log_epoch.to_owned(), ..Default::default() }
}

/// A clock that goes with the paused one.
#[derive(Clone, Copy)]
struct Clock {
    time: SystemTime,
    at: Instant,
}

impl Clock {
    fn now(&self) -> SystemTime {
        self.time + self.at.elapsed()
    }
}

struct Fake<T> {
    streams: UnboundedSender<T>,
    clock: Clock,
}

use stubs::{
    event_service_server::{EventService, EventServiceServer},
    payment_service_server::{PaymentService, PaymentServiceServer},
    subscription_service_server::{SubscriptionService, SubscriptionServiceServer},
};

#[tonic::async_trait]
impl SubscriptionService for Fake<Consume> {
    async fn consume(
        &self,
        request: Request<Streaming<ConsumeRequest>>,
    ) -> Result<Response<tonic::codegen::BoxStream<ConsumeResponse>>, Status> {
        let header = request.metadata().get("authorization").map(|value| value.to_str().unwrap());
        let authorization = header.unwrap_or_default().to_owned();
        let (responses, answers) = mpsc::channel(MESSAGES);
        let requests = request.into_inner();
        let open = ConsumeOpen::default();
        let clock = self.clock;
        self.streams.send(Consume { open, authorization, clock, requests, responses }).unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

#[tonic::async_trait]
impl EventService for Fake<(WatchEventsRequest, Sender<WatchEventsResponse>)> {
    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<tonic::codegen::BoxStream<WatchEventsResponse>>, Status> {
        let (responses, answers) = mpsc::channel(MESSAGES);
        self.streams.send((request.into_inner(), responses)).unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

#[tonic::async_trait]
impl PaymentService for Fake<(WatchPaymentsRequest, Sender<WatchPaymentsResponse>)> {
    async fn watch_payments(
        &self,
        request: Request<WatchPaymentsRequest>,
    ) -> Result<Response<tonic::codegen::BoxStream<WatchPaymentsResponse>>, Status> {
        let (responses, answers) = mpsc::channel(MESSAGES);
        self.streams.send((request.into_inner(), responses)).unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}
