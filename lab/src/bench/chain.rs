//! A chain of forwarders: how many messages a second go through it, and how long one takes there and back.
//!
//! A message is a length (4 bytes, little-endian, of what follows), a kind (1 byte) and its content. The far end drops
//! [`Kind::Data`] and sends [`Kind::Echo`] back. A chain keeps the order, so an echo that comes back says that all data
//! before it has arrived: nobody needs to count at the far end.
//!
//! The bare chain is what there is to compare with: processes that copy bytes from one TCP connection to the next, and
//! do nothing else. Each is this program in the role [`RELAY`] or [`SINK`], which tells its port on standard output.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

/// The hidden subcommand of a bare relay; its one argument is where it relays to
pub const RELAY: &str = "role-bare-relay";
/// The hidden subcommand of the far end of a bare chain
pub const SINK: &str = "role-bare-sink";
/// Forwarders between the two ends
pub const FORWARDERS: usize = 3;

/// What a relay reads and writes at once, as a link does
const BUFFER_BYTES: usize = 64 << 10;
/// Data is written in batches of about this many bytes, so that neither chain is measured by its system calls
const BATCH_BYTES: usize = 32 << 10;
/// Length and kind
const HEADER_BYTES: usize = 5;
/// The largest content: a frame of a link holds no more
const CONTENT_BYTES_MAX: usize = 60 << 10;
/// A chain that is silent for so long is broken
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What the far end does with a message
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Drop it
    Data = 0,
    /// Send it back
    Echo = 1,
}

/// What a chain does at one size
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Bytes of content a message
    pub bytes: usize,
    /// Messages that went through a second
    pub messages_per_s: f64,
    /// Half of the round trips took no longer, in microseconds
    pub rtt_p50_us: f64,
    /// All but a hundredth of the round trips took no longer, in microseconds
    pub rtt_p99_us: f64,
}

/// Bare relays and their far end, as processes; dropped, they are killed
#[derive(Debug)]
pub struct BareChain {
    processes: Vec<Child>,
    first: SocketAddr,
}

impl BareChain {
    /// Starts a chain of [`FORWARDERS`] relays, played by `binary`
    ///
    /// # Errors
    /// A process did not start or did not tell its port; those before it are killed.
    pub fn start(binary: &Path) -> io::Result<Self> {
        let (sink, first) = spawn(binary, &[SINK.to_owned()])?;
        let mut chain = Self { processes: vec![sink], first };
        for _ in 0..FORWARDERS {
            let (relay, listening) = spawn(binary, &[RELAY.to_owned(), chain.first.to_string()])?;
            chain.processes.push(relay);
            chain.first = listening;
        }
        Ok(chain)
    }

    /// A connection through the whole chain
    ///
    /// # Errors
    /// The first relay does not take it.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.first)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(stream)
    }
}

impl Drop for BareChain {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // An error says that it has ended already, and that is what is wanted.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn spawn(binary: &Path, args: &[String]) -> io::Result<(Child, SocketAddr)> {
    let mut child = Command::new(binary).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    let told = child.stdout.take().map_or(Ok(0), |stdout| BufReader::new(stdout).read_line(&mut line));
    match told.and_then(|_| line.trim().parse().map_err(|_| io::ErrorKind::UnexpectedEof.into())) {
        Ok(listening) => Ok((child, listening)),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

/// If `args` ask for a process of a bare chain, plays it until its first connection ends
pub fn play(args: &[OsString]) -> Option<ExitCode> {
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let played = match words.as_slice() {
        [RELAY, next] => next.parse().map_err(|_| io::ErrorKind::InvalidInput.into()).and_then(relay),
        [SINK] => sink(),
        _ => return None,
    };
    Some(if played.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Listens, tells where, and takes one connection
fn accept() -> io::Result<TcpStream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    crate::output::line(&listener.local_addr()?.to_string());
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn relay(next: SocketAddr) -> io::Result<()> {
    let before = accept()?;
    let after = TcpStream::connect(next)?;
    after.set_nodelay(true)?;
    let (from_after, to_before) = (after.try_clone()?, before.try_clone()?);
    let back = thread::spawn(move || copy(from_after, to_before));
    copy(before, after)?;
    back.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return to.shutdown(Shutdown::Write);
        }
        to.write_all(buffer.get(..read).unwrap_or_default())?;
    }
}

fn sink() -> io::Result<()> {
    let stream = accept()?;
    let mut messages = BufReader::with_capacity(BUFFER_BYTES, stream.try_clone()?);
    answer(&mut messages, &stream)
}

/// Drops data and sends echoes back until the messages end
fn answer(messages: &mut impl Read, mut back: impl Write) -> io::Result<()> {
    let mut content = Vec::new();
    loop {
        let kind = match read_message(messages, &mut content) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            kind => kind?,
        };
        if kind == Kind::Echo as u8 {
            back.write_all(&message(Kind::Echo, &content))?;
        }
    }
}

/// A message's bytes
pub fn message(kind: Kind, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + content.len());
    let len = u32::try_from(1 + content.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.push(kind as u8);
    bytes.extend_from_slice(content);
    bytes
}

/// Reads one message into `content`; its kind
fn read_message(messages: &mut impl Read, content: &mut Vec<u8>) -> io::Result<u8> {
    let mut header = [0; HEADER_BYTES];
    messages.read_exact(&mut header)?;
    let [a, b, c, d, kind] = header;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    if len == 0 || len > CONTENT_BYTES_MAX + 1 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    content.resize(len - 1, 0);
    messages.read_exact(content)?;
    Ok(kind)
}

/// Measures a chain at one size: messages for `duration`, then `round_trips` echoes, at least one
///
/// # Errors
/// The chain broke, or was silent for longer than half a minute.
pub fn measure(
    stream: &mut (impl Read + Write),
    bytes: usize,
    duration: Duration,
    round_trips: usize,
) -> io::Result<Figures> {
    let content = vec![0x5a; bytes.min(CONTENT_BYTES_MAX)];
    let messages_per_s = throughput(stream, &content, duration)?;
    let mut times = (0..round_trips.max(1)).map(|_| echo(stream, &content)).collect::<io::Result<Vec<Duration>>>()?;
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).map_or(0.0, |time| time.as_secs_f64() * 1e6);
    Ok(Figures { bytes: content.len(), messages_per_s, rtt_p50_us: at(50), rtt_p99_us: at(99) })
}

fn throughput(stream: &mut (impl Read + Write), content: &[u8], duration: Duration) -> io::Result<f64> {
    let one = message(Kind::Data, content);
    let in_batch = (BATCH_BYTES / one.len()).max(1);
    let batch = one.repeat(in_batch);
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < duration {
        stream.write_all(&batch)?;
        sent += in_batch;
    }
    echo(stream, content)?;
    Ok(sent as f64 / start.elapsed().as_secs_f64())
}

fn echo(stream: &mut (impl Read + Write), content: &[u8]) -> io::Result<Duration> {
    let start = Instant::now();
    stream.write_all(&message(Kind::Echo, content))?;
    read_message(stream, &mut Vec::new())?;
    Ok(start.elapsed())
}

/// One chain beside another, size by size; the same sizes in the same order
pub fn table(name: &str, chain: &[Figures], bare: &[Figures]) -> String {
    let head = format!("through {FORWARDERS} forwarders");
    let mut text = format!("{head:<24} {:>12} {:>8} {:>12} {:>12}", "messages/s", "of bare", "rtt p50", "rtt p99");
    for (figures, base) in chain.iter().zip(bare) {
        for (who, of) in [("bare TCP", base), (name, figures)] {
            let label = format!("{who}, {} B", of.bytes);
            let part = 100.0 * of.messages_per_s / base.messages_per_s.max(f64::MIN_POSITIVE);
            let (p50, p99) = (of.rtt_p50_us, of.rtt_p99_us);
            text.push_str(&format!(
                "\n{label:<24} {:>12.0} {part:>6.0} % {p50:>9.0} us {p99:>9.0} us",
                of.messages_per_s
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_end_drops_data_and_sends_echoes_back() {
        let sent = [message(Kind::Data, b"drop"), message(Kind::Echo, b"keep"), message(Kind::Data, b"")].concat();
        let mut back = Vec::new();
        answer(&mut sent.as_slice(), &mut back).expect("answered");
        assert_eq!(back, message(Kind::Echo, b"keep"));
    }

    #[test]
    fn oversized_message_is_refused_before_anything_is_made_for_it() {
        let mut content = Vec::new();
        let error = read_message(&mut [0xff; HEADER_BYTES].as_slice(), &mut content).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(content.capacity(), 0);
    }

    #[test]
    fn far_end_is_measured_over_one_connection() {
        let (port, ports) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
            port.send(listener.local_addr().expect("address")).expect("told");
            let (stream, _) = listener.accept().expect("accepted");
            answer(&mut stream.try_clone().expect("clone"), &stream).expect("answered");
        });
        let mut stream = TcpStream::connect(ports.recv().expect("port")).expect("connected");
        let figures = measure(&mut stream, 64, Duration::from_millis(20), 10).expect("measured");
        assert_eq!(figures.bytes, 64);
        assert!(figures.messages_per_s > 0.0 && figures.rtt_p50_us <= figures.rtt_p99_us, "{figures:?}");
    }

    #[test]
    fn table_shows_each_size_beside_the_bare_chain() {
        let figures = |messages_per_s| Figures { bytes: 64, messages_per_s, rtt_p50_us: 30.0, rtt_p99_us: 50.0 };
        let table = table("kith", &[figures(500.0)], &[figures(1_000.0)]);
        assert_eq!(table.lines().count(), 3);
        assert!(table.lines().last().is_some_and(|line| line.starts_with("kith, 64 B") && line.contains("50 %")));
    }
}
