//! The gRPC server as tools and strangers meet it: reflection, a session by JSON alone, TLS, limits, drain.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use futures::StreamExt;
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, SerializeOptions};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tollgate::config::{self, Config};
use tollgate_client::proto::{Ack, AcknowledgeRequest, GetStatsRequest};
use tollgate_client::{Client, Error, StartPosition, Tls};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::gateway::{StripeEvent, TestGateway, config};
use crate::reflection::{descriptors, services_v1, services_v1alpha};
use crate::subscriber::{Subscriber, from_earliest, soon};

const SERVICES: [&str; 5] = [
    "tollgate.v1.AdminService",
    "tollgate.v1.EventService",
    "tollgate.v1.PaymentService",
    "tollgate.v1.ReceiptService",
    "tollgate.v1.SubscriptionService",
];

async fn channel(gateway: &TestGateway) -> Channel {
    let endpoint = Endpoint::try_from(format!("http://{}", gateway.grpc)).expect("an address");
    endpoint.connect().await.expect("connected")
}

/// Messages as bytes, so that a call needs no generated code.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

/// Calls by JSON, knowing nothing but what reflection tells.
struct JsonClient {
    channel: Channel,
    pool: DescriptorPool,
}

impl JsonClient {
    async fn connect(gateway: &TestGateway) -> JsonClient {
        let channel = channel(gateway).await;
        let mut pool = DescriptorPool::new();
        for service in services_v1(channel.clone(), None).await.expect("listed") {
            let set = descriptors(channel.clone(), &service).await;
            pool.add_file_descriptor_set(set).expect("sound descriptors");
        }
        JsonClient { channel, pool }
    }

    fn method(&self, service: &str, method: &str) -> (MethodDescriptor, PathAndQuery) {
        let found = self.pool.get_service_by_name(service).expect(service);
        let found = found.methods().find(|one| one.name() == method).expect(method);
        let path = format!("/{service}/{method}").parse().expect("a path");
        (found, path)
    }

    fn encode(method: &MethodDescriptor, request: Value) -> Request<Bytes> {
        let message = DynamicMessage::deserialize(method.input(), request).expect("fits");
        Request::new(Bytes::from(message.encode_to_vec()))
    }

    fn decode(method: &MethodDescriptor, bytes: Bytes) -> Value {
        let message = DynamicMessage::decode(method.output(), bytes).expect("decodes");
        let options = SerializeOptions::new();
        message.serialize_with_options(serde_json::value::Serializer, &options).expect("JSON")
    }

    async fn call(&self, service: &str, method: &str, request: Value) -> Result<Value, Status> {
        let (method, path) = self.method(service, method);
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.expect("ready");
        let answer = client.unary(JsonClient::encode(&method, request), path, Raw).await?;
        Ok(JsonClient::decode(&method, answer.into_inner()))
    }

    async fn stream(
        &self,
        service: &str,
        method: &str,
        request: Value,
    ) -> (MethodDescriptor, Streaming<Bytes>) {
        let (method, path) = self.method(service, method);
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.expect("ready");
        let request = JsonClient::encode(&method, request);
        let stream = client.server_streaming(request, path, Raw).await.expect("a stream");
        (method, stream.into_inner())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_answers_in_both_versions() {
    let gateway = TestGateway::start().await;
    let channel = channel(&gateway).await;
    let v1 = services_v1(channel.clone(), None).await.expect("v1");
    let v1alpha = services_v1alpha(channel.clone(), None).await.expect("v1alpha");
    for service in SERVICES.iter().chain(&["grpc.health.v1.Health"]) {
        assert!(v1.iter().any(|one| one == service), "{service} in v1: {v1:?}");
        assert!(v1alpha.iter().any(|one| one == service), "{service} in v1alpha: {v1alpha:?}");
    }
    // Events are messages for clients, whatever the gateway keeps them as.
    let set = descriptors(channel, "tollgate.v1.SubscriptionService").await;
    let pool = DescriptorPool::from_file_descriptor_set(set).expect("sound descriptors");
    let delivery = pool.get_message_by_name("tollgate.v1.Delivery").expect("known");
    let event = delivery.get_field_by_name("event").expect("a field");
    assert_eq!(event.kind().as_message().expect("a message").full_name(), "tollgate.v1.Event");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_needs_nothing_but_json() {
    const SUBSCRIPTIONS: &str = "tollgate.v1.SubscriptionService";
    let gateway = TestGateway::start().await;
    gateway.accept("payment_intent.succeeded", "one").await;
    let client = JsonClient::connect(&gateway).await;
    let subscribe =
        json!({ "subscription": "crm", "create_if_missing": true, "start": { "earliest": true } });
    let (method, mut stream) = client.stream(SUBSCRIPTIONS, "Subscribe", subscribe).await;
    let delivery = loop {
        let bytes = soon(stream.next()).await.expect("it goes on").expect("a message");
        let message = JsonClient::decode(&method, bytes);
        if let Some(delivery) = message.get("delivery") {
            break delivery.clone();
        }
    };
    let event = &delivery["event"];
    assert_eq!(event["name"], "events/1");
    assert_eq!(event["sequence"], "1", "int64 is text in JSON");
    assert_eq!(event["subject"], "payments/stripe/test/pi_one");
    assert_eq!(event["change"]["current"], "PAID");
    assert_eq!(event["change"]["headline"], "HEADLINE_PAID");
    assert_eq!(event["payment"]["status"], "PAYMENT_STATUS_PAID");
    assert_eq!(event["payment"]["amounts"]["paid"]["currency"], "EUR");
    assert_eq!(delivery["attempt"], 1);
    let ack_id = &delivery["ackId"];
    let ack = json!({
        "subscription": "crm",
        "acks": [{ "ack_id": ack_id, "external_ref": "deal-7", "outcome": "created" }],
    });
    let acked = client.call(SUBSCRIPTIONS, "Acknowledge", ack).await.expect("an answer");
    assert_eq!(acked["results"], json!([{ "ackId": ack_id, "status": "ACK_STATUS_APPLIED" }]));
    let get = json!({ "name": "payments/stripe/test/pi_one" });
    let payment = client.call("tollgate.v1.PaymentService", "GetPayment", get.clone()).await;
    let payment = payment.expect("an answer")["payment"].clone();
    assert_eq!(
        (&payment["status"], &payment["headline"]),
        (&json!("PAID"), &json!("HEADLINE_PAID"))
    );
    let timeline = client.call("tollgate.v1.PaymentService", "GetTimeline", get).await;
    let timeline = timeline.expect("an answer");
    assert_eq!(timeline["entries"][0]["deliveries"][0]["externalRef"], "deal-7");
    let receipt = json!({ "name": "receipts/1", "raw": true });
    let receipt = client.call("tollgate.v1.ReceiptService", "GetReceipt", receipt).await;
    assert_eq!(receipt.expect("an answer")["receipt"]["state"], "RECEIPT_STATE_TRANSLATED");
    let list = client.call("tollgate.v1.EventService", "ListEvents", json!({})).await;
    assert_eq!(list.expect("an answer")["events"][0]["name"], "events/1");
    let stats = client.call("tollgate.v1.AdminService", "GetStats", json!({})).await;
    assert_eq!(stats.expect("an answer")["head"], "1");
    let missing = json!({ "name": "payments/stripe/test/pi_nobody" });
    let missing = client.call("tollgate.v1.PaymentService", "GetPayment", missing).await;
    assert_eq!(missing.expect_err("none").code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_too_large_or_unknown_are_refused_and_harm_nothing() {
    let mut config = config("");
    config.grpc.max_message_bytes = 64 * 1024;
    let gateway = TestGateway::with(config).await;
    let client = gateway.client().await;
    let ack = Ack { ack_id: "x".repeat(100_000), ..Ack::default() };
    let request = AcknowledgeRequest { subscription: "crm".to_owned(), acks: vec![ack] };
    let refused = client.subscriptions().acknowledge(request).await.expect_err("too large");
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused:?}");
    let raw = |path: &'static str, bytes: &'static [u8]| {
        let channel = channel(&gateway);
        async move {
            let mut client = tonic::client::Grpc::new(channel.await);
            client.ready().await.expect("ready");
            let path = PathAndQuery::from_static(path);
            client.unary(Request::new(Bytes::from_static(bytes)), path, Raw).await
        }
    };
    let unknown = raw("/tollgate.v1.AdminService/Shutdown", b"").await.expect_err("unknown");
    assert_eq!(unknown.code(), Code::Unimplemented);
    let unknown = raw("/tollgate.v9.Nothing/Here", b"").await.expect_err("unknown");
    assert_eq!(unknown.code(), Code::Unimplemented);
    let garbage = raw("/tollgate.v1.EventService/GetEvent", b"\xff\xff\xff").await;
    assert_ne!(garbage.expect_err("garbage").code(), Code::Ok);
    assert!(client.admin().get_stats(GetStatsRequest {}).await.is_ok(), "it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_never_begins_is_closed_in_time() {
    let mut config = config("");
    config.grpc.keepalive = Duration::from_millis(400);
    config.grpc.max_connections = 2;
    let gateway = TestGateway::with(config).await;
    let mut silent = TcpStream::connect(gateway.grpc).await.expect("connected");
    let _other = TcpStream::connect(gateway.grpc).await.expect("connected");
    // The third waits for a place, and gets it.
    let client = soon(gateway.client()).await;
    assert!(soon(client.admin().get_stats(GetStatsRequest {})).await.is_ok());
    let mut rest = Vec::new();
    soon(silent.read_to_end(&mut rest)).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_per_service_and_a_watch_of_it_does_not_hold_up_a_stop() {
    let mut gateway = TestGateway::start().await;
    let mut health = HealthClient::new(channel(&gateway).await);
    for service in SERVICES.iter().chain(&[""]) {
        let request = HealthCheckRequest { service: (*service).to_owned() };
        let answer = health.check(request).await.expect(service).into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let request = HealthCheckRequest { service: "tollgate.v1.Nothing".to_owned() };
    assert_eq!(health.check(request).await.expect_err("none").code(), Code::NotFound);
    let mut watch = health.watch(HealthCheckRequest::default()).await.expect("open").into_inner();
    let first = soon(watch.message()).await.expect("told").expect("told");
    assert_eq!(first.status(), ServingStatus::Serving);
    let drain = gateway.config().grpc.drain;
    let started = Instant::now();
    let last = async {
        let mut last = first;
        while let Ok(Some(next)) = soon(watch.message()).await {
            last = next;
        }
        last
    };
    let (_, last) = tokio::join!(gateway.stop(), last);
    assert_eq!(last.status(), ServingStatus::NotServing);
    assert!(started.elapsed() < drain, "it took {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_in_time_although_a_client_reads_nothing() {
    let mut config = config("");
    config.grpc.drain = Duration::from_millis(500);
    let mut gateway = TestGateway::with(config).await;
    let metadata: serde_json::Map<String, Value> =
        (0..60).map(|number| (format!("key{number:02}"), "x".repeat(1000).into())).collect();
    for number in 0..60 {
        let (id, payment) = (format!("evt_{number}"), format!("pi_{number}"));
        let metadata = Value::Object(metadata.clone());
        let event = StripeEvent { metadata, ..StripeEvent::paid(&id, &payment) };
        gateway.accept_event(&event).await;
    }
    let endpoint = Endpoint::try_from(format!("http://{}", gateway.grpc)).expect("an address");
    let small = endpoint.initial_stream_window_size(65_535).connect().await.expect("connected");
    let client = Client::from_channel(small, None).expect("a client");
    let mut unread = Subscriber::open(&client, from_earliest("crm")).await;
    unread.delivery().await;
    let started = Instant::now();
    gateway.stop().await;
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
}

/// A certificate authority and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("signed").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for this name, and its key.
    fn certificate(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }
}

/// A configuration with TLS, whose files are in this directory.
fn with_tls(directory: &Path, authority: &Authority, client_ca: Option<&Authority>) -> Config {
    let write = |name: &str, pem: &str| {
        let path = directory.join(name);
        std::fs::write(&path, pem).expect("written");
        path
    };
    let (certificate, key) = authority.certificate("127.0.0.1");
    let mut config = config("");
    config.grpc.tls = Some(config::Tls {
        certificate: write("server.pem", &certificate),
        key: write("server.key", &key),
        client_ca: client_ca.map(|authority| write("client-ca.pem", &authority.pem)),
    });
    config
}

async fn connect(gateway: &TestGateway, tls: Tls) -> Result<Client, Error> {
    let address = format!("https://{}", gateway.grpc);
    let client = Client::builder(address).tls(tls).connect().await?;
    // TLS 1.3 tells a client only with the first answer that its certificate was refused.
    let stats = soon(client.admin().get_stats(GetStatsRequest {})).await;
    stats.map_err(Error::from)?;
    Ok(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_served_to_those_who_trust_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let gateway = TestGateway::with(with_tls(directory.path(), &authority, None)).await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    let client = connect(&gateway, Tls::new().ca_certificate(&authority.pem)).await;
    let client = client.expect("trusted");
    let mut subscription = client
        .subscription("crm")
        .create_if_missing(Default::default(), StartPosition::earliest())
        .open();
    let delivery = soon(subscription.next()).await.expect("a delivery").expect("no error");
    delivery.ack().await.expect("an answer");
    let stranger = Authority::new();
    let distrusted = connect(&gateway, Tls::new().ca_certificate(&stranger.pem)).await;
    assert!(distrusted.is_err(), "another authority's gateway");
    let plain = Client::builder(format!("http://{}", gateway.grpc)).connect_lazy().expect("lazy");
    let refused = soon(plain.admin().get_stats(GetStatsRequest {})).await;
    assert!(refused.is_err(), "plain text");
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_refuses_clients_without_a_certificate_of_its_authority() {
    let directory = tempfile::tempdir().expect("a directory");
    let (servers, clients) = (Authority::new(), Authority::new());
    let config = with_tls(directory.path(), &servers, Some(&clients));
    let gateway = TestGateway::with(config).await;
    let trusting = || Tls::new().ca_certificate(&servers.pem);
    let (certificate, key) = clients.certificate("connector");
    let known = connect(&gateway, trusting().identity(certificate, key)).await;
    assert!(known.is_ok(), "{:?}", known.err());
    assert!(connect(&gateway, trusting()).await.is_err(), "without a certificate");
    let (certificate, key) = Authority::new().certificate("connector");
    let stranger = connect(&gateway, trusting().identity(certificate, key)).await;
    assert!(stranger.is_err(), "with a stranger's");
    // The refused ones cost the known one nothing.
    assert!(known.expect("connected").admin().get_stats(GetStatsRequest {}).await.is_ok());
}
