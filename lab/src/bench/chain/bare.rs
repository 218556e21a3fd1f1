//! The chain to compare with: relays that copy bytes between two TCP connections, and nothing else.
//!
//! Blocking threads with 64 KiB buffers, one a direction: nothing that routes can be cheaper. The two ends send and
//! check the same packets as those of Kith's chain, so that the chains differ in what happens between them alone.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kith_common::wire::packet::PacketRef;
use kith_common::wire::{FRAME_HEADER_BYTES, parse_frame_header};

use super::ask::{Answer, Ask, LAST, ROUND_TRIP_LIMIT, RoundTrips, SETTLE_LIMIT, answer, fail, read_asks};
use super::message::{Arrivals, Messages, message};

/// Bytes that a relay reads at a time, and that the two ends read and write at a time
const BUFFER_BYTES: usize = 64 * 1024;
/// While the receiver settles it looks so often whether everything has come
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// One process of the chain
pub(super) fn play(place: usize) -> ExitCode {
    match serve(place) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.to_string()),
    }
}

fn serve(place: usize) -> io::Result<()> {
    let (asked, asks) = mpsc::sync_channel(1);
    read_asks(move |ask| drop(asked.send(ask)));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    answer(&Answer::Listening { at: listener.local_addr()?.to_string() });
    let mut end = End::default();
    for ask in asks {
        let answered = end.handle(place, &listener, ask);
        answer(&answered.unwrap_or_else(|error| Answer::Failed { reason: error.to_string() }));
    }
    Ok(())
}

/// What a process of the chain holds; a relay needs nothing of it
#[derive(Default)]
struct End {
    stream: Option<TcpStream>,
    run: u32,
    sending: Option<Sending>,
    received: Arc<Received>,
}

struct Sending {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<u64>>,
}

/// What the receiver's thread and its orders share
#[derive(Default)]
struct Received {
    messages: AtomicU64,
    out_of_order: AtomicU64,
    echo: AtomicBool,
}

impl End {
    fn handle(&mut self, place: usize, listener: &TcpListener, ask: Ask) -> io::Result<Answer> {
        match ask {
            Ask::Connect { next } => self.connect(place, listener, next),
            Ask::Send { bytes } => self.start(bytes),
            Ask::Stop => self.stop(),
            Ask::Count { warm_ms, measured_ms } => Ok(self.count(warm_ms, measured_ms)),
            Ask::Settle { messages } => Ok(self.settle(messages)),
            Ask::Echo { on } => {
                self.received.echo.store(on, Ordering::Relaxed);
                Ok(Answer::Done)
            }
            Ask::RoundTrips { bytes, measured_ms } => self.round_trips(bytes, Duration::from_millis(measured_ms)),
            Ask::Faults => {
                Ok(Answer::Faults { forwarded: 0, dropped: self.received.out_of_order.load(Ordering::Relaxed) })
            }
        }
    }

    fn connect(&mut self, place: usize, listener: &TcpListener, next: Option<String>) -> io::Result<Answer> {
        let after = next.map(TcpStream::connect).transpose()?;
        let before = if place == 0 { None } else { Some(listener.accept()?.0) };
        for stream in after.iter().chain(&before) {
            stream.set_nodelay(true)?;
        }
        match (before, after) {
            (Some(before), Some(after)) => {
                let (back, forth) = (before.try_clone()?, after.try_clone()?);
                thread::spawn(move || copy(before, after));
                thread::spawn(move || copy(forth, back));
            }
            (Some(before), None) if place == LAST => {
                let received = Arc::clone(&self.received);
                thread::spawn(move || receive(before, &received));
            }
            (before, after) => self.stream = before.or(after),
        }
        Ok(Answer::Done)
    }

    fn stream(&self) -> io::Result<TcpStream> {
        let stream = self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?.try_clone()?;
        stream.set_read_timeout(Some(ROUND_TRIP_LIMIT))?;
        Ok(stream)
    }

    fn start(&mut self, bytes: usize) -> io::Result<Answer> {
        self.run += 1;
        let messages = Messages::new(self.run, bytes).map_err(io::Error::other)?;
        let (stream, stop) = (self.stream()?, Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || send(stream, messages, &stop)
        });
        self.sending = Some(Sending { stop, thread });
        Ok(Answer::Done)
    }

    fn stop(&mut self) -> io::Result<Answer> {
        let Sending { stop, thread } = self.sending.take().ok_or(io::ErrorKind::InvalidInput)?;
        stop.store(true, Ordering::Relaxed);
        let messages = thread.join().map_err(|_| io::Error::other("the sending thread panicked"))??;
        Ok(Answer::Sent { messages })
    }

    fn count(&self, warm_ms: u64, measured_ms: u64) -> Answer {
        let read = || self.received.messages.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(warm_ms));
        let (before, start) = (read(), Instant::now());
        thread::sleep(Duration::from_millis(measured_ms));
        let (after, took) = (read(), start.elapsed());
        Answer::Counted { messages: after.saturating_sub(before), took_us: took.as_micros() as u64 }
    }

    fn settle(&self, messages: u64) -> Answer {
        let (read, start) = (|| self.received.messages.load(Ordering::Relaxed), Instant::now());
        while read() < messages && start.elapsed() < SETTLE_LIMIT {
            thread::sleep(LOOK_EVERY);
        }
        Answer::Settled { messages: read() }
    }

    fn round_trips(&mut self, bytes: usize, measured: Duration) -> io::Result<Answer> {
        self.run += 1;
        let (mut stream, mut times, start) = (self.stream()?, Vec::new(), Instant::now());
        let mut back = message(self.run, 0, bytes).map_err(io::Error::other)?;
        while start.elapsed() < measured && times.len() < RoundTrips::MAX {
            let sent = Instant::now();
            stream.write_all(&message(self.run, times.len() as u64, bytes).map_err(io::Error::other)?)?;
            stream.read_exact(&mut back)?;
            times.push(sent.elapsed());
        }
        Ok(Answer::RoundTrips(RoundTrips::of(times)))
    }
}

/// Passes on whatever comes, until nothing does any more
///
/// # Errors
/// One of the two is broken.
pub(crate) fn copy(mut from: TcpStream, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(buffer.get(..read).unwrap_or_default())?;
    }
}

fn send(mut stream: TcpStream, mut messages: Messages, stop: &AtomicBool) -> io::Result<u64> {
    let mut buffer = messages.chunk((BUFFER_BYTES / messages.frame_bytes()).max(1));
    loop {
        stream.write_all(&buffer)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(messages.sent);
        }
        messages.number(&mut buffer);
    }
}

fn receive(mut stream: TcpStream, received: &Received) -> io::Result<()> {
    let (mut buffer, mut end, mut arrivals) = (vec![0; BUFFER_BYTES], 0, Arrivals::default());
    loop {
        let read = stream.read(buffer.get_mut(end..).unwrap_or_default())?;
        if read == 0 {
            return Ok(());
        }
        end += read;
        let bytes = buffer.get(..end).unwrap_or_default();
        let whole = if received.echo.load(Ordering::Relaxed) {
            stream.write_all(bytes)?;
            end
        } else {
            count(bytes, &mut arrivals)?
        };
        buffer.copy_within(whole..end, 0);
        end -= whole;
        received.messages.store(arrivals.messages, Ordering::Relaxed);
        received.out_of_order.store(arrivals.out_of_order, Ordering::Relaxed);
    }
}

/// Counts the whole frames among these bytes; how many bytes they are
fn count(bytes: &[u8], arrivals: &mut Arrivals) -> io::Result<usize> {
    let mut rest = bytes;
    while let Some((head, after)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
        let (_, len) = parse_frame_header(*head).map_err(io::Error::other)?;
        let Some((body, after)) = after.split_at_checked(len) else { break };
        arrivals.count(&PacketRef::parse(body).map_err(io::Error::other)?);
        rest = after;
    }
    Ok(bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_frames_are_counted_and_the_rest_is_left() {
        let mut arrivals = Arrivals::default();
        let (first, second) = (message(1, 0, 64).unwrap(), message(1, 1, 300).unwrap());
        let cut = [first.as_slice(), &second[..100]].concat();
        assert_eq!(count(&cut, &mut arrivals).unwrap(), first.len());
        assert_eq!(count(&second, &mut arrivals).unwrap(), second.len());
        assert_eq!((arrivals.messages, arrivals.out_of_order), (2, 0));
        assert!(count(&[0xff; 8], &mut arrivals).is_err());
    }
}
