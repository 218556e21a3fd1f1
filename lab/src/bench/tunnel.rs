//! Tunnels under a bench: what one TCP connection carries, and an exchange every few milliseconds on one connection, which shows how
//! long it stands still.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kith_common::status::Status;

use crate::error::{LabError, io_error};
use crate::fate::Fate;
use crate::flow::Sent;
use crate::node::{Node, OpenTunnel};

/// What was written last is waited for as long as a tunnel lives whose other end cannot be reached
const LAST_WAIT: Duration = Duration::from_secs(90);

/// Bytes of an exchange: its number
const EXCHANGE_BYTES: usize = 4;

/// A tunnel to something that listens on this machine; it ends when this is dropped
pub(crate) struct Tunnelled {
    at: SocketAddr,
    _tunnel: OpenTunnel,
    _exposed: OpenTunnel,
}

impl Tunnelled {
    /// From one peer to what another one exposes: a port of this machine
    ///
    /// # Errors
    /// A peer cannot be asked, or refuses.
    pub(crate) fn to(server: SocketAddr, from: &Node, to: &Node) -> Result<Self, LabError> {
        let exposed = to.expose(&format!("{server} for {}", from.name))?;
        let tunnel = from.forward("0", &format!("{}:{server}", to.name))?;
        let at = tunnel.at.parse().map_err(|_| io_error("use a tunnel")(io::ErrorKind::AddrNotAvailable.into()))?;
        Ok(Self { at, _tunnel: tunnel, _exposed: exposed })
    }

    /// A connection over it
    ///
    /// # Errors
    /// Those of the network.
    pub(crate) fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.at)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// A number goes out every so often on one connection over a tunnel, and comes back
///
/// Both ends are sockets of the file system, which peers in networks of their own can open too.
pub(crate) struct Exchanges {
    running: Arc<AtomicBool>,
    written: JoinHandle<io::Result<Vec<Instant>>>,
    read: JoinHandle<Vec<Instant>>,
    _tunnel: OpenTunnel,
    _exposed: OpenTunnel,
}

impl Exchanges {
    /// Between two peers, with sockets in `directory`
    ///
    /// # Errors
    /// A peer cannot be asked, or refuses, or the sockets cannot be made.
    pub(crate) fn start(from: &Node, to: &Node, directory: &Path, every: Duration) -> Result<Self, LabError> {
        let (here, there) = (directory.join("tunnel.sock"), directory.join("echo.sock"));
        let failed = || io_error("use a tunnel");
        if there.exists() {
            std::fs::remove_file(&there).map_err(failed())?;
        }
        let listener = UnixListener::bind(&there).map_err(failed())?;
        let exposed = to.expose(&format!("unix:{} for {}", there.display(), from.name))?;
        let tunnel =
            from.forward(&format!("unix:{}", here.display()), &format!("{}:unix:{}", to.name, there.display()))?;
        // It ends with its connection, which comes through the tunnel or not at all.
        thread::spawn(move || listener.accept().and_then(|(stream, _)| echo(&stream)));
        let writer = UnixStream::connect(&here).map_err(failed())?;
        let reader = writer.try_clone().map_err(failed())?;
        reader.set_read_timeout(Some(LAST_WAIT)).map_err(failed())?;
        let running = Arc::new(AtomicBool::new(true));
        let is_running = Arc::clone(&running);
        let written = thread::spawn(move || write(writer, every, &is_running));
        let read = thread::spawn(move || read(reader));
        Ok(Self { running, written, read, _tunnel: tunnel, _exposed: exposed })
    }

    /// Writes no more, and waits for what is to come back: each number, and when it did
    ///
    /// # Errors
    /// A thread has failed.
    pub(crate) fn stop(self) -> Result<Vec<Sent>, LabError> {
        let ended = |_| io_error("use a tunnel")(io::Error::other("a thread has failed"));
        self.running.store(false, Ordering::Relaxed);
        // A connection that was broken off has taken no more, which what did not come back shows.
        let written = self.written.join().map_err(ended)?.map_err(io_error("write into a tunnel"))?;
        let read = self.read.join().map_err(ended)?;
        let last = read.last().copied();
        let exchange = |(number, sent): (usize, Instant)| match read.get(number) {
            Some(done) => Sent { sent, done: *done, fate: Ok(Fate::bare(Status::Delivered)) },
            None => Sent {
                sent,
                done: last.unwrap_or(sent).max(sent),
                fate: Err("the connection was broken off".to_owned()),
            },
        };
        Ok(written.into_iter().enumerate().map(exchange).collect())
    }
}

fn echo(mut stream: &UnixStream) -> io::Result<()> {
    let mut number = [0; EXCHANGE_BYTES];
    while stream.read_exact(&mut number).is_ok() {
        stream.write_all(&number)?;
    }
    stream.shutdown(Shutdown::Write)
}

/// When each number was written
fn write(mut stream: UnixStream, every: Duration, running: &AtomicBool) -> io::Result<Vec<Instant>> {
    let (start, mut written) = (Instant::now(), Vec::new());
    for number in 0_u32.. {
        if !running.load(Ordering::Relaxed) {
            break;
        }
        written.push(Instant::now());
        if stream.write_all(&number.to_le_bytes()).is_err() {
            return Ok(written);
        }
        let next = start + every.saturating_mul(number + 1);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    match stream.shutdown(Shutdown::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(written),
        ended => ended.map(|()| written),
    }
}

/// When each number came back, in their order; what is not in order ends it
fn read(mut stream: UnixStream) -> Vec<Instant> {
    let (mut number, mut read) = ([0; EXCHANGE_BYTES], Vec::new());
    for expected in 0_u32.. {
        if stream.read_exact(&mut number).is_err() || number != expected.to_le_bytes() {
            break;
        }
        read.push(Instant::now());
    }
    read
}
