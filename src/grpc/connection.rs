//! Client connections: accepted up to a limit, each with a budget of bytes under way, and each cut when it
//! does not begin in time or when the drain has lasted long enough. A server that only asks streams to end would wait for ever on one
//! that is not read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
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
/// How many bytes a client sends at once when it begins, with TLS or without: before them nobody pings it.
const OPENING_BYTES: usize = 24;

/// One client connection.
pub struct Connection {
    stream: TcpStream,
    budget: Budget,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    is_cut: bool,
    /// Until when it must have begun; `None` once it has.
    begins_by: Option<Pin<Box<Sleep>>>,
    came: usize,
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

/// Accepts up to `max_connections` at a time; each must begin within `opening`, and all are cut when `cut`
/// is cancelled.
pub fn incoming(
    listener: TcpListener,
    max_connections: usize,
    opening: Duration,
    cut: CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(max_connections));
    futures::stream::unfold((listener, places, cut), move |(listener, places, cut)| async move {
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
                        begins_by: Some(Box::pin(tokio::time::sleep(opening))),
                        came: 0,
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
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(begins_by) = &mut self.begins_by {
            if read.is_pending() && begins_by.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.came += buffer.filled().len() - before;
            if self.came >= OPENING_BYTES {
                self.begins_by = None;
            }
        }
        read
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
