//! Client connections: accepted up to a limit, each with a budget of bytes under way, and each cut when
//! the drain has lasted long enough. A server that only asks streams to end would wait for ever on one
//! that is not read. One that does not begin to speak in time is cut too, since pings begin only after
//! the beginning.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TlsConnectInfo};

use crate::delivery::Budget;

/// How long to wait after a failed accept, as when file descriptors have run out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// How long a connection may take for its first bytes, and for its TLS handshake.
pub const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(10);
/// How many they are: the preface of HTTP/2, and less than any greeting of TLS.
const FIRST_BYTES: usize = 24;

/// One client connection.
pub struct Connection {
    stream: TcpStream,
    budget: Budget,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    is_cut: bool,
    /// How many of the first bytes are missing, and until when they are waited for.
    missing: usize,
    speaks_by: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

/// What calls know of their connection.
#[derive(Clone)]
pub struct ConnectionInfo {
    /// The bytes under way on it.
    pub budget: Budget,
}

impl ConnectionInfo {
    /// Of a request; a request without one gets a budget of its own.
    pub fn of<T>(request: &tonic::Request<T>) -> ConnectionInfo {
        let extensions = request.extensions();
        extensions
            .get::<ConnectionInfo>()
            .or_else(|| {
                extensions.get::<TlsConnectInfo<ConnectionInfo>>().map(TlsConnectInfo::get_ref)
            })
            .cloned()
            .unwrap_or_else(|| ConnectionInfo { budget: Budget::default() })
    }
}

/// Accepts up to `max_connections` at a time; all are cut when `cut` is cancelled.
pub fn incoming(
    listener: TcpListener,
    max_connections: usize,
    cut: CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(max_connections));
    futures::stream::unfold((listener, places, cut), |(listener, places, cut)| async move {
        loop {
            let place = places.clone().acquire_owned().await.ok()?;
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Without it small replies wait for the peer's delayed acknowledgement.
                    let _ = stream.set_nodelay(true);
                    let connection = Connection {
                        stream,
                        budget: Budget::default(),
                        cut: Box::pin(cut.clone().cancelled_owned()),
                        is_cut: false,
                        missing: FIRST_BYTES,
                        speaks_by: Box::pin(tokio::time::sleep(FIRST_BYTES_WITHIN)),
                        _place: place,
                    };
                    return Some((Ok(connection), (listener, places, cut)));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    })
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        ConnectionInfo { budget: self.budget.clone() }
    }
}

impl Connection {
    fn check_cut(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.is_cut || self.cut.as_mut().poll(context).is_ready() {
            self.is_cut = true;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_cut(context)?;
        if self.missing > 0 && self.speaks_by.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.missing = self.missing.saturating_sub(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_cut(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_cut(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
