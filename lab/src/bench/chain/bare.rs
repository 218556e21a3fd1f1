//! The chain to compare with: relays that copy bytes between two TCP connections, and nothing else.
//!
//! Blocking threads with 64 KiB buffers, one a direction: nothing that routes can be cheaper. Relays know nothing of
//! messages; the two ends write and read them one at a time, numbered and checked, each behind its length (4 bytes,
//! little endian), through buffers of the same size.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::MESSAGE_BYTES_MAX;
use super::ask::{Answer, Ask, LAST, ROUND_TRIP_LIMIT, RoundTrips, SETTLE_LIMIT, answer, fail, read_asks};

/// Bytes that a relay reads at a time, and that the two ends read and write at a time
const BUFFER_BYTES: usize = 64 * 1024;
/// What stands before a message
const LENGTH_BYTES: usize = 4;
/// What a message begins with, so that the receiver sees that none is missing: as in Kith's chain
const NUMBER_BYTES: usize = 8;
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
            Ask::Faults => Ok(Answer::Faults { forwarded: 0, dropped: 0 }),
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
        let (stream, stop) = (self.stream()?, Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || send(stream, bytes, &stop)
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
        Answer::Counted { messages: after - before, took_us: took.as_micros() as u64 }
    }

    fn settle(&self, messages: u64) -> Answer {
        let start = Instant::now();
        while self.received.messages.load(Ordering::Relaxed) < messages && start.elapsed() < SETTLE_LIMIT {
            thread::sleep(LOOK_EVERY);
        }
        Answer::Settled { messages: self.received.messages.swap(0, Ordering::Relaxed) }
    }

    fn round_trips(&self, bytes: usize, measured: Duration) -> io::Result<Answer> {
        let (mut stream, message) = (self.stream()?, framed(&vec![7; bytes]));
        let (mut back, mut times, start) = (message.clone(), Vec::new(), Instant::now());
        while start.elapsed() < measured && times.len() < RoundTrips::MAX {
            let sent = Instant::now();
            stream.write_all(&message)?;
            stream.read_exact(&mut back)?;
            times.push(sent.elapsed());
        }
        Ok(Answer::RoundTrips(RoundTrips::of(times)))
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(buffer.get(..read).unwrap_or_default())?;
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_le_bytes(), message].concat()
}

fn send(stream: TcpStream, bytes: usize, stop: &AtomicBool) -> io::Result<u64> {
    let (mut message, mut sent) = (framed(&vec![7; bytes]), 0_u64);
    let mut stream = BufWriter::with_capacity(BUFFER_BYTES, stream);
    while !stop.load(Ordering::Relaxed) {
        if let Some(number) = message.get_mut(LENGTH_BYTES..LENGTH_BYTES + NUMBER_BYTES) {
            number.copy_from_slice(&sent.to_le_bytes());
        }
        stream.write_all(&message)?;
        sent += 1;
    }
    stream.flush()?;
    Ok(sent)
}

fn receive(mut stream: TcpStream, received: &Received) -> io::Result<()> {
    let (mut messages, mut message) = (BufReader::with_capacity(BUFFER_BYTES, stream.try_clone()?), Vec::new());
    loop {
        read_message(&mut messages, &mut message)?;
        if received.echo.load(Ordering::Relaxed) {
            stream.write_all(&framed(&message))?;
        } else {
            let expected = received.messages.fetch_add(1, Ordering::Relaxed);
            if message.first_chunk() != Some(&expected.to_le_bytes()) {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

fn read_message(from: &mut impl Read, message: &mut Vec<u8>) -> io::Result<()> {
    let mut len = [0; LENGTH_BYTES];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    message.resize(len, 0);
    from.read_exact(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_framed() {
        let stream = [framed(b"one"), framed(b""), framed(&[7; 300])].concat();
        let (mut stream, mut message) = (stream.as_slice(), Vec::new());
        for expected in [&b"one"[..], b"", &[7; 300]] {
            read_message(&mut stream, &mut message).unwrap();
            assert_eq!(message, expected);
        }
        assert!(read_message(&mut stream, &mut message).is_err(), "the end");
        let too_long = framed(&vec![0; MESSAGE_BYTES_MAX + 1]);
        assert!(read_message(&mut too_long.as_slice(), &mut message).is_err());
    }
}
