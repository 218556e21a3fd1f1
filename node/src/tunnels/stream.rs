//! A connection of TCP or of the file system as the ends of a pipe, whose end and whose break are not the same.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream};

use crate::piping::Ends;

/// The writing half of a TCP connection: dropped before its shutdown it is reset, as what was written is not all
struct Writer {
    half: Option<OwnedWriteHalf>,
    /// Whether the other end was told that nothing more is written
    is_shut: Arc<AtomicBool>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        let Some(half) = self.half.take() else { return };
        // A connection that is closed already has no options.
        let _ = half.as_ref().set_zero_linger();
        // Nothing is said of an end: the reset goes out when the reading half is gone, too.
        half.forget();
    }
}

impl Writer {
    fn with<T>(&mut self, poll: impl FnOnce(Pin<&mut OwnedWriteHalf>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut self.half {
            Some(half) => poll(Pin::new(half)),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // TCP knows no end that reads no more and writes on: it has reset the connection.
        self.with(|half| half.poll_write(cx, bytes)).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => io::ErrorKind::ConnectionReset.into(),
            _ => error,
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|half| half.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut.store(true, Ordering::Relaxed);
        let ended = self.with(|half| half.poll_shutdown(cx));
        if ended.is_ready() {
            // Dropped from now on it is closed in order.
            self.half = None;
        }
        ended
    }
}

/// The reading half
struct Reader {
    half: OwnedReadHalf,
    is_shut: Arc<AtomicBool>,
}

impl Reader {
    /// Whether what looks like the end is none: a reset is told once, and whoever writes may have heard it. A connection that was
    /// closed by both ends is over as well, but then this one has said so before.
    fn was_reset(&self) -> bool {
        let is_over = || self.half.peer_addr().is_err_and(|error| error.kind() == io::ErrorKind::NotConnected);
        !self.is_shut.load(Ordering::Relaxed) && is_over()
    }
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = bytes.filled().len();
        let read = Pin::new(&mut self.half).poll_read(cx, bytes);
        let is_end = matches!(read, Poll::Ready(Ok(()))) && bytes.filled().len() == before && bytes.remaining() > 0;
        if is_end && self.was_reset() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        read
    }
}

/// The ends of a TCP connection
pub(super) fn of_tcp(stream: TcpStream) -> Ends {
    // Whoever writes a little waits for the answer to it: nothing is held back for more to come.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(event = "tunnel_delays", reason = %error);
    }
    let ((reader, writer), is_shut) = (stream.into_split(), Arc::new(AtomicBool::new(false)));
    let reader = Reader { half: reader, is_shut: Arc::clone(&is_shut) };
    Ends { reader: Box::new(reader), writer: Box::new(Writer { half: Some(writer), is_shut }) }
}

/// The ends of a connection of the file system, which knows no reset
pub(super) fn of_unix(stream: UnixStream) -> Ends {
    let (reader, writer) = stream.into_split();
    Ends { reader: Box::new(reader), writer: Box::new(writer) }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A program's end of a connection, and the ends here
    async fn connected() -> (TcpStream, Ends) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let program = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (program, of_tcp(listener.accept().await.unwrap().0))
    }

    #[tokio::test]
    async fn connection_that_is_shut_down_ends_and_one_that_is_dropped_is_reset() {
        let (mut program, Ends { reader, mut writer }) = connected().await;
        writer.write_all(b"all of it").await.unwrap();
        writer.shutdown().await.unwrap();
        drop((reader, writer));
        let mut read = Vec::new();
        program.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"all of it");

        let (mut program, Ends { reader, writer }) = connected().await;
        drop((reader, writer));
        let error = program.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn reset_is_one_for_whoever_reads_though_whoever_writes_has_heard_of_it_before() {
        let (program, Ends { mut reader, mut writer }) = connected().await;
        program.set_zero_linger().unwrap();
        drop(program);
        let error = loop {
            if let Err(error) = writer.write_all(b"more").await {
                break error;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = reader.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn connection_that_both_ends_have_closed_was_not_reset() {
        let (mut program, Ends { mut reader, mut writer }) = connected().await;
        writer.shutdown().await.unwrap();
        assert_eq!(program.read(&mut [0; 8]).await.unwrap(), 0);
        drop(program);
        assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn half_that_was_shut_down_leaves_the_other_half_open() {
        let (mut program, Ends { mut reader, mut writer }) = connected().await;
        writer.shutdown().await.unwrap();
        assert_eq!(program.read(&mut [0; 8]).await.unwrap(), 0);
        program.write_all(b"still here").await.unwrap();
        program.shutdown().await.unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"still here");
    }
}
