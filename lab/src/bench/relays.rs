//! What benches compare Kith's ways with: relays that copy bytes between two TCP connections, one behind the other, in threads of
//! this process; and pairs of peers with as many forwarders between them.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::chain::bare::copy;
use crate::error::LabError;
use crate::mesh::Lab;
use crate::node::Node;
use crate::role::Role;

/// Until a pair is found that has so many forwarders between its peers
const PAIR_LIMIT: Duration = Duration::from_secs(60);

/// Two peers with so many forwarders between them: one, and the other's name
///
/// # Errors
/// There are none, or a peer cannot be asked.
pub(crate) fn pair(lab: &Lab, forwarders: usize) -> Result<(Node, String), LabError> {
    let peers = lab.running(Role::Peer)?;
    let started = Instant::now();
    while started.elapsed() < PAIR_LIMIT {
        for from in &peers {
            for to in peers.iter().filter(|to| to.name != from.name) {
                let trace = from.trace(&to.name)?;
                if !trace.relayed && trace.hops.len() == forwarders + 1 {
                    return Ok((from.clone(), to.name.clone()));
                }
            }
        }
    }
    Err(LabError::NoForwarder)
}

/// What is done at the end of a chain with all that comes
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// It goes back
    Echoes,
    /// It is read, and its end goes back
    Reads,
}

/// Relays, and somebody behind the last one; they end with it
pub(crate) struct Chain {
    first: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Whoever waits for a connection looks whether it is over.
        let _ = TcpStream::connect(self.first);
    }
}

impl Chain {
    /// So many relays
    ///
    /// # Errors
    /// Those of the network.
    pub(crate) fn of(relays: usize, end: AtEnd) -> io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut next = serve(Arc::clone(&is_over), end, None)?;
        for _ in 0..relays {
            next = serve(Arc::clone(&is_over), end, Some(next))?;
        }
        Ok(Self { first: next, is_over })
    }

    /// Where the first of them listens
    pub(crate) fn at(&self) -> SocketAddr {
        self.first
    }

    /// A connection through all of them
    ///
    /// # Errors
    /// Those of the network.
    pub(crate) fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.first)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Somebody who passes on to the next one, or is the end; where it listens
fn serve(is_over: Arc<AtomicBool>, end: AtEnd, next: Option<SocketAddr>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let served = stream.and_then(|stream| match (next, end) {
                (Some(next), _) => relay(stream, next),
                (None, AtEnd::Echoes) => pass_on(stream.try_clone()?, stream),
                (None, AtEnd::Reads) => copy(stream, io::sink()),
            });
            if served.is_err() || is_over.load(Ordering::Relaxed) {
                return;
            }
        }
    });
    Ok(at)
}

fn relay(from: TcpStream, next: SocketAddr) -> io::Result<()> {
    let to = TcpStream::connect(next)?;
    let (back_from, back_to) = (to.try_clone()?, from.try_clone()?);
    let back = thread::spawn(move || pass_on(back_from, back_to));
    pass_on(from, to)?;
    back.join().unwrap_or_else(|_| Err(io::Error::other("a relay has ended")))
}

/// Whatever comes, and then that nothing more does
fn pass_on(from: TcpStream, to: TcpStream) -> io::Result<()> {
    to.set_nodelay(true)?;
    copy(from, to.try_clone()?)?;
    to.shutdown(Shutdown::Write)
}
