//! Reads one link: whatever the socket has, frame by frame, and whom it concerns is woken once.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use kith_common::link::chunks::CHUNK_BYTES;
use kith_common::link::open::Received;
use kith_common::link::reason::CloseReason;
use kith_common::time::Instant;
use kith_common::wire::{FRAME_HEADER_BYTES, FrameKind, WireError, next_frame};
use tokio::io::ReadBuf;
use tokio::task::yield_now;

use super::LinkEvent;
use super::buffers::Buffers;
use super::forward::{Batch, Forwarding};
use super::handshake::{Duplex, Stream};
use super::state::Link;

/// Reads until the stream ends or the link is to end
pub(crate) async fn read(forwarding: Rc<Forwarding>, link: Rc<Link>, stream: Stream) {
    let batch = Batch::over(&link, forwarding.shared.clock.now());
    let mut reader = Reader { inbound: Inbound::default(), batch, forwarding, link, stream };
    while !reader.link.is_ending() {
        if let Err(reason) = reader.read_batch().await {
            return reader.link.close(reason);
        }
    }
}

/// Bytes read at a time: so many that what is passed on, which has grown by one entry a packet, still is one write
const BATCH_BYTES: usize = CHUNK_BYTES - CHUNK_BYTES / 16;

struct Reader {
    forwarding: Rc<Forwarding>,
    link: Rc<Link>,
    stream: Stream,
    /// What is left of the last batch: at most a part of one frame
    inbound: Inbound,
    /// What becomes of its packets
    batch: Batch,
}

impl Reader {
    async fn read_batch(&mut self) -> Result<(), CloseReason> {
        let Self { forwarding, stream, inbound, .. } = self;
        let mut waited = false;
        let filled = poll_fn(|cx| {
            let filled = inbound.poll_fill(&mut **stream.borrow_mut(), &forwarding.shared.buffers, cx);
            waited |= filled.is_pending();
            filled
        });
        let bytes = filled.await?;
        if !waited {
            // More was there at once: the writers that the last batch woke come first, or their queues overflow.
            yield_now().await;
        }
        let now = self.forwarding.shared.clock.now();
        self.link.on_received(now, bytes);
        self.forwarding.shared.counters.bytes_in.add(bytes as u64);
        self.batch.begin(&self.forwarding, now, self.inbound.len());
        // Even if the link is to end, what came before the fault is dealt with.
        let handled = self.handle_frames(now).await;
        self.link.on_rest(now, self.inbound.is_partial(), self.inbound.moved);
        self.inbound.release(&self.forwarding.shared.buffers);
        self.batch.finish(&self.forwarding).await;
        handled
    }

    /// Handles every whole frame that is there; an error if the rest is no frames
    async fn handle_frames(&mut self, now: Instant) -> Result<(), CloseReason> {
        let mut frames = 0;
        let result = loop {
            match self.handle_until_event(now, &mut frames) {
                Ok(Some(event)) => self.hand_up(event).await,
                Ok(None) => break Ok(()),
                Err(reason) => break Err(reason),
            }
            if self.link.is_ending() {
                break Ok(());
            }
        };
        self.forwarding.shared.counters.frames_in.add(frames);
        result
    }

    /// Handles frames up to one that the driver is to be told of; `None`: no whole frame is left, or the link is to end
    ///
    /// It is no `async fn`, as what lives across an await lives in memory: here a packet's parts stay in registers.
    fn handle_until_event(&mut self, now: Instant, frames: &mut u64) -> Result<Option<LinkEvent>, CloseReason> {
        let Self { forwarding, link, inbound, batch, .. } = self;
        // Lent once for all that came: nothing else decides while this link's frames are handled.
        let mut decider = forwarding.decider();
        while let Some((kind, body)) = inbound.next_frame().map_err(CloseReason::Protocol)? {
            *frames += 1;
            // Lent anew for each frame: a packet may go back over the link that it came by.
            let received = link.core.borrow_mut().handle_frame(now, kind, body, &forwarding.shared.chunks);
            match received {
                Received::Packet(packet) => {
                    decider.handle_packet(batch, &packet);
                    continue;
                }
                Received::Frame(frame) => {
                    link.on_own_frame();
                    return Ok(Some(LinkEvent::Frame { link: link.id, frame }));
                }
                Received::Undecodable { error, errors } => {
                    forwarding.shared.counters.decode_errors.add(1);
                    let (link, peer) = (link.id.0, &link.key);
                    tracing::debug!(event = "decode_error", link, %peer, errors, reason = %error);
                }
                Received::Nothing => {}
            }
            link.on_own_frame();
            if link.is_ending() {
                break;
            }
        }
        Ok(None)
    }

    /// Gives the driver an event; this link waits for it, the others go on
    async fn hand_up(&mut self, event: LinkEvent) {
        let Some(event) = self.forwarding.shared.try_emit(event) else { return };
        self.link.set_stalled(true);
        self.batch.wake_touched();
        self.forwarding.shared.emit(event).await;
        self.link.set_stalled(false);
        self.batch.refresh(&self.forwarding);
    }
}

/// Bytes that were read and not handled; holds a buffer only while there are any
#[derive(Default)]
struct Inbound {
    held: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    /// Whether a frame was taken since the last fill
    moved: bool,
    /// Came behind bytes that are to be handled first
    failed: Option<io::Error>,
}

impl Inbound {
    /// Reads all that there is, up to a batch, or up to a buffer full for a frame that is longer; ready with at least one
    /// byte
    fn poll_fill(
        &mut self,
        stream: &mut dyn Duplex,
        buffers: &Buffers,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let mut held = self.held.take().unwrap_or_else(|| buffers.take_read());
        // A part of a frame moves to the front, so that the largest frame has room behind it.
        held.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let len = if self.end < BATCH_BYTES { BATCH_BYTES } else { held.len() };
        let mut buffer = ReadBuf::new(held.get_mut(..len).unwrap_or_default());
        buffer.set_filled(self.end);
        let polled = poll_read_all(stream, &mut buffer, cx);
        let read = buffer.filled().len() - self.end;
        self.end += read;
        self.moved = false;
        self.held = Some(held);
        // Nothing came: an idle link waits without a buffer.
        self.release(buffers);
        match polled {
            Poll::Pending if read == 0 => Poll::Pending,
            Poll::Ready(Err(error)) if read == 0 => Poll::Ready(Err(error)),
            Poll::Ready(Err(error)) => {
                self.failed = Some(error);
                Poll::Ready(Ok(read))
            }
            _ => Poll::Ready(Ok(read)),
        }
    }

    /// The next whole frame, if it is there; an error ends the stream, as its end cannot be found any more
    #[inline]
    fn next_frame(&mut self) -> Result<Option<(FrameKind, &[u8])>, WireError> {
        let bytes = self.held.as_deref().and_then(|held| held.get(self.start..self.end)).unwrap_or_default();
        let Some((kind, body)) = next_frame(bytes)? else { return Ok(None) };
        self.start += FRAME_HEADER_BYTES + body.len();
        self.moved = true;
        Ok(Some((kind, body)))
    }

    const fn len(&self) -> usize {
        self.end - self.start
    }

    const fn is_partial(&self) -> bool {
        self.start < self.end
    }

    /// Gives the buffer back if nothing is left in it
    fn release(&mut self, buffers: &Buffers) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if let Some(held) = self.held.take() {
                buffers.put_read(held);
            }
        }
    }
}

/// Fills the buffer; ready when it is full, pending when nothing more is there; an end is an error
fn poll_read_all(stream: &mut dyn Duplex, buffer: &mut ReadBuf<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while buffer.remaining() > 0 {
        let before = buffer.filled().len();
        match Pin::new(&mut *stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            Poll::Ready(Ok(())) => {}
            other => return other,
        }
    }
    Poll::Ready(Ok(()))
}
