//! A connection that must begin in time. Which version of HTTP it speaks is read from its first bytes,
//! and nothing bounds that but this: a client that connects and stays silent would hold its place for
//! ever. In goes a stream and a time, out comes the same stream; once it has begun nothing is done here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How a connection of HTTP/2 begins. Whatever differs from it is HTTP/1, whose headers have a limit of
/// their own.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes must come in time.
pub struct Opening<S> {
    stream: S,
    /// `None` once it has begun.
    deadline: Option<Pin<Box<Sleep>>>,
    /// How much of the preface came.
    came: usize,
}

impl<S> Opening<S> {
    /// Must begin within this time.
    pub fn within(time: Duration, stream: S) -> Opening<S> {
        Opening { stream, deadline: Some(Box::pin(tokio::time::sleep(time))), came: 0 }
    }

    fn take_note(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if HTTP2_PREFACE.get(self.came) != Some(byte) {
                self.deadline = None;
                return;
            }
            self.came += 1;
        }
        if self.came == HTTP2_PREFACE.len() {
            self.deadline = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        match (&read, &mut self.deadline) {
            (Poll::Pending, Some(deadline)) => match deadline.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => read,
            },
            (Poll::Ready(Ok(())), Some(_)) => {
                self.take_note(&buffer.filled()[before..]);
                read
            }
            (Poll::Pending | Poll::Ready(_), _) => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
