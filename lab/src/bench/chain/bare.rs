//! The chain to compare with: relays that copy bytes between two TCP connections, and nothing else.
//!
//! Blocking threads with 64 KiB buffers, one a direction: nothing that routes can be cheaper. Messages have no frames
//! here, so `bytes` divided by the size is how many there were.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::ask::{Answer, Ask, LAST, ROUND_TRIP_LIMIT, RoundTrips, SETTLE_LIMIT, answer, fail, read_asks};

/// Bytes that a relay reads at a time, and that the sender writes at a time
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
    bytes: AtomicU64,
    echo: AtomicBool,
}

impl End {
    fn handle(&mut self, place: usize, listener: &TcpListener, ask: Ask) -> io::Result<Answer> {
        match ask {
            Ask::Connect { next } => self.connect(place, listener, next),
            Ask::Send { bytes } => self.start(bytes),
            Ask::Stop => self.stop(),
            Ask::Count { bytes, warm_ms, measured_ms } => Ok(self.count(bytes, warm_ms, measured_ms)),
            Ask::Settle { bytes, messages } => Ok(self.settle(bytes, messages)),
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

    fn count(&self, bytes: usize, warm_ms: u64, measured_ms: u64) -> Answer {
        let read = || self.received.bytes.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(warm_ms));
        let (before, start) = (read(), Instant::now());
        thread::sleep(Duration::from_millis(measured_ms));
        let (after, took) = (read(), start.elapsed());
        Answer::Counted { messages: (after - before) / bytes as u64, took_us: took.as_micros() as u64 }
    }

    fn settle(&self, bytes: usize, messages: u64) -> Answer {
        let (wanted, start) = (messages * bytes as u64, Instant::now());
        while self.received.bytes.load(Ordering::Relaxed) < wanted && start.elapsed() < SETTLE_LIMIT {
            thread::sleep(LOOK_EVERY);
        }
        Answer::Settled { messages: self.received.bytes.swap(0, Ordering::Relaxed) / bytes as u64 }
    }

    fn round_trips(&self, bytes: usize, measured: Duration) -> io::Result<Answer> {
        let (mut stream, mut message) = (self.stream()?, vec![7; bytes]);
        let (mut times, start) = (Vec::new(), Instant::now());
        while start.elapsed() < measured && times.len() < RoundTrips::MAX {
            let sent = Instant::now();
            stream.write_all(&message)?;
            stream.read_exact(&mut message)?;
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

fn receive(mut stream: TcpStream, received: &Received) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        if received.echo.load(Ordering::Relaxed) {
            stream.write_all(buffer.get(..read).unwrap_or_default())?;
        } else {
            received.bytes.fetch_add(read as u64, Ordering::Relaxed);
        }
    }
}

fn send(mut stream: TcpStream, bytes: usize, stop: &AtomicBool) -> io::Result<u64> {
    let at_a_time = (BUFFER_BYTES / bytes.max(1)).max(1);
    let (messages, mut sent) = (vec![7; at_a_time * bytes], 0);
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&messages)?;
        sent += at_a_time as u64;
    }
    Ok(sent)
}
