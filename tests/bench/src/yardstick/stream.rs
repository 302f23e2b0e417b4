//! A tonic server that streams messages which it has encoded in memory: no store, no acks, no filter. The
//! messages are deliveries as the gateway sent them, so both move the same bytes; the reader is a client
//! with tonic's defaults.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use anyhow::Context as _;
use bytes::{Buf, BufMut, Bytes};
use futures::Stream;
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tollgate_client::proto::subscription_service_client::SubscriptionServiceClient;
use tollgate_client::proto::{SubscribeRequest, SubscribeResponse, subscribe_response};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use super::{Yardstick, announce};

/// Keeps messages in a file, each behind its length.
pub fn keep(path: &Path, messages: &[SubscribeResponse]) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    for message in messages {
        message.encode_length_delimited(&mut bytes)?;
    }
    Ok(std::fs::write(path, bytes)?)
}

/// Reads a whole stream of a yardstick with a default client, and tells how many deliveries a second came.
pub async fn read(yardstick: &Yardstick, count: u64) -> anyhow::Result<f64> {
    let channel = Channel::from_shared(format!("http://{}", yardstick.address))?.connect().await?;
    let mut client = SubscriptionServiceClient::new(channel);
    let begun = Instant::now();
    let mut stream = client.subscribe(SubscribeRequest::default()).await?.into_inner();
    let mut read = 0;
    while let Some(response) = stream.message().await? {
        if let Some(subscribe_response::Message::Delivery(delivery)) = response.message {
            read += u64::from(delivery.event.is_some());
        }
    }
    anyhow::ensure!(read == count, "{read} of {count} messages came");
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

/// Serves what `keep` kept, over and over until a stream has had `count` messages.
pub async fn serve(path: &Path, count: u64) -> anyhow::Result<()> {
    let mut bytes = Bytes::from(std::fs::read(path)?);
    let mut messages = Vec::new();
    while bytes.has_remaining() {
        let length = prost::decode_length_delimiter(&mut bytes)?;
        messages.push(bytes.split_to(length));
    }
    anyhow::ensure!(!messages.is_empty(), "no messages");
    let memory = Memory { messages: messages.into(), count };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    announce(listener.local_addr()?);
    let incoming = TcpListenerStream::new(listener);
    Server::builder()
        .tcp_nodelay(true)
        .add_service(memory)
        .serve_with_incoming(incoming)
        .await
        .context("the listener failed")
}

#[derive(Clone)]
struct Memory {
    messages: Arc<[Bytes]>,
    count: u64,
}

impl NamedService for Memory {
    const NAME: &'static str = "tollgate.v1.SubscriptionService";
}

impl Service<http::Request<tonic::body::Body>> for Memory {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let method = self.clone();
        Box::pin(async move { Ok(Grpc::new(Verbatim).server_streaming(method, request).await) })
    }
}

impl ServerStreamingService<()> for Memory {
    type Response = Bytes;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let (messages, mut left, mut at) = (self.messages.clone(), self.count, 0);
        let items = std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let message = messages[at].clone();
            at = (at + 1) % messages.len();
            Some(Ok(message))
        });
        ready(Ok(Response::new(Box::pin(futures::stream::iter(items)))))
    }
}

/// Sends bytes as they are, and does not read what comes.
#[derive(Default)]
struct Verbatim;

impl Codec for Verbatim {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Verbatim;
    type Decoder = Verbatim;

    fn encoder(&mut self) -> Verbatim {
        Verbatim
    }

    fn decoder(&mut self) -> Verbatim {
        Verbatim
    }
}

impl Encoder for Verbatim {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Verbatim {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}
