//! Buffers that links read into, borrowed while bytes are under way: an idle link holds none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use kith_common::wire::{FRAME_HEADER_BYTES, LARGE_BYTES_MAX};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A buffer to read into holds the largest frame, so that every frame can be had in one piece
pub(crate) const READ_BYTES: usize = 4 * 1024 + LARGE_BYTES_MAX;
/// Buffers that are kept for the next link: a burst on every link of a peer's at once is rare
const KEPT_MAX: usize = 32;

const _: () = assert!(READ_BYTES >= FRAME_HEADER_BYTES + LARGE_BYTES_MAX);

/// Spare buffers of the link thread
#[derive(Default)]
pub(crate) struct Buffers {
    read: RefCell<Vec<Box<[u8]>>>,
}

impl Buffers {
    /// [`READ_BYTES`] to read into, holding whatever was there before
    pub(crate) fn take_read(&self) -> Box<[u8]> {
        let spare = self.read.borrow_mut().pop();
        spare.unwrap_or_else(|| vec![0; READ_BYTES].into_boxed_slice())
    }

    /// Gives back what [`Buffers::take_read`] gave
    pub(crate) fn put_read(&self, buffer: Box<[u8]>) {
        let mut read = self.read.borrow_mut();
        if read.len() < KEPT_MAX {
            read.push(buffer);
        }
    }
}

/// Reads as much as there is at a time and hands it out in the small pieces that TLS asks for
///
/// rustls reads 4 KiB at a time; a call to the operating system for each would cost more than the cipher.
pub(crate) struct Buffered<S> {
    stream: S,
    buffers: Rc<Buffers>,
    held: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl<S> Buffered<S> {
    pub(crate) fn new(stream: S, buffers: Rc<Buffers>) -> Self {
        Self { stream, buffers, held: None, start: 0, end: 0 }
    }
}

impl<S: AsyncRead + Unpin> Buffered<S> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Taken for the poll alone: hundreds of idle links would hold megabytes, each waiting for a byte.
        let mut buffer = self.buffers.take_read();
        let mut read = ReadBuf::new(&mut buffer);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut read);
        (self.start, self.end) = (0, read.filled().len());
        if self.end > 0 {
            self.held = Some(buffer);
        } else {
            self.buffers.put_read(buffer);
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Buffered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.held.is_none() {
            ready!(this.poll_fill(cx))?;
        }
        let held = this.held.as_deref().and_then(|held| held.get(this.start..this.end)).unwrap_or_default();
        // A copy more than reading straight into TLS, and far fewer calls to the system.
        let piece = held.get(..out.remaining()).unwrap_or(held);
        out.put_slice(piece);
        this.start += piece.len();
        if this.start == this.end
            && let Some(buffer) = this.held.take()
        {
            this.buffers.put_read(buffer);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Buffered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(flavor = "current_thread")]
    async fn bytes_pass_in_small_pieces_and_the_buffer_is_given_back() {
        let buffers = Rc::new(Buffers::default());
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let mut near = Buffered::new(near, Rc::clone(&buffers));
        let sent: Vec<u8> = (0..200_000_u32).map(|i| i as u8).collect();
        far.write_all(&sent).await.unwrap();
        drop(far);
        let (mut received, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            match near.read(&mut piece).await.unwrap() {
                0 => break,
                n => received.extend_from_slice(&piece[..n]),
            }
        }
        assert!(received == sent);
        assert!(near.held.is_none());
        assert_eq!(buffers.read.borrow().len(), 1, "one buffer served all reads");
    }

    #[test]
    fn spare_buffers_are_bounded_in_number() {
        let buffers = Buffers::default();
        for _ in 0..2 * KEPT_MAX {
            buffers.put_read(vec![0; READ_BYTES].into());
        }
        assert_eq!(buffers.read.borrow().len(), KEPT_MAX);
    }
}
