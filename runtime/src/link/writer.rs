//! Writes what waits for one link: a batch at a time, the classes in their order.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::handshake::{Duplex, Stream};
use super::shared::Shared;
use super::state::Link;

/// Writes until the stream fails, or until the link has said its last words
pub(crate) async fn write(shared: Rc<Shared>, link: Rc<Link>, stream: Stream) {
    loop {
        let taken = link.take_batch(&shared);
        match taken {
            Some(batch) => {
                if let Err(error) = write_batch(&shared, &link, &stream, batch).await {
                    return link.close(error.into());
                }
            }
            None if link.core.borrow().is_finished() => return shut_down(&stream).await,
            None => link.written.woken().await,
        }
    }
}

async fn write_batch(shared: &Shared, link: &Link, stream: &Stream, batch: Vec<u8>) -> io::Result<()> {
    let waited = write_all(stream, &batch).await?;
    // Without a wait no time has passed that could count.
    link.on_written(shared.clock.now(), waited);
    shared.counters.writes.add(1);
    shared.counters.bytes_out.add(batch.len() as u64);
    link.gauges.bytes_out.add(batch.len() as u64);
    shared.chunks.put(batch);
    Ok(())
}

/// Writes all of it; true if the other side had to make room first
async fn write_all(stream: &Stream, mut bytes: &[u8]) -> io::Result<bool> {
    let mut waited = false;
    let written = poll_fn(|cx| {
        let mut stream = stream.borrow_mut();
        let polled = poll_write_all(&mut **stream, &mut bytes, cx);
        waited |= polled.is_pending();
        polled
    });
    written.await?;
    Ok(waited)
}

/// Also flushes: rustls takes bytes long before the system does
fn poll_write_all(stream: &mut dyn Duplex, bytes: &mut &[u8], cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while !bytes.is_empty() {
        match ready!(Pin::new(&mut *stream).poll_write(cx, bytes))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            n => *bytes = bytes.get(n..).unwrap_or_default(),
        }
    }
    Pin::new(stream).poll_flush(cx)
}

async fn shut_down(stream: &Stream) {
    // Whatever comes of it, the link is ending for a reason of its own already.
    poll_fn(|cx| Pin::new(&mut **stream.borrow_mut()).poll_shutdown(cx)).await.ok();
}
