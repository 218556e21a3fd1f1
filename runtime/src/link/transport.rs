//! Byte streams: libp2p's TCP, at addresses that the system's own resolver gives for names. Nothing behind this file
//! knows that they are TCP.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::core::Endpoint;
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, Transport as _, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::tcp;
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::resolver::Resolver;
use crate::location::{at, ip_of, port_of};

/// An address or a location gets this head start before the next is tried beside it (RFC 8305 has 250 ms)
pub(crate) const HEAD_START: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried; more than a host with both families at two networks has would outlast a dial
const ADDRESSES_MAX: usize = 8;
/// Ports that are tried until one is free in both families
const PORTS_MAX: usize = 16;

/// Listens and dials
pub(crate) struct Transport {
    // Borrowed only within a poll or a call, never across an await.
    inner: RefCell<tcp::tokio::Transport>,
    resolver: Resolver,
}

/// What the listeners have to say
pub(crate) enum Arrival {
    /// A connection, before any byte
    Connection(TcpStream, Option<IpAddr>),
    /// An address that this node listens at
    Listening(Multiaddr),
    /// An address that this machine has no longer
    Expired(Multiaddr),
    /// A listener has trouble; it goes on by itself
    Trouble(String),
    /// A listener is gone
    Closed(String),
}

impl Transport {
    /// Must be called within a tokio runtime
    pub(crate) fn new() -> Self {
        let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
        Self { inner: RefCell::new(tcp), resolver: Resolver::new() }
    }

    /// Binds at once; the addresses come as [`Arrival::Listening`]
    ///
    /// `[::]` is every address of this machine, of both families, as far as it has them.
    pub(crate) fn listen(&self, at: &Multiaddr) -> Result<(), String> {
        let bound = match (ip_of(at), port_of(at)) {
            (Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), Some(port)) => self.listen_everywhere(port),
            _ => self.bind(at).map(drop),
        };
        bound.map_err(|error| error.to_string())
    }

    fn listen_everywhere(&self, port: u16) -> io::Result<()> {
        let (any4, any6) = (IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED));
        let mut tries = 0;
        loop {
            tries += 1;
            // The system chooses a port for this one listener; both of the real ones are then bound to it.
            let probed = TcpListener::bind((any6, port)).and_then(|probe| probe.local_addr());
            let chosen = match probed {
                Ok(address) => address.port(),
                Err(reason) if has_no_ipv6(&reason) => {
                    tracing::info!(event = "listens_on_ipv4_only", %reason);
                    return self.bind(&at(any4, port)).map(drop);
                }
                Err(error) => return Err(error),
            };
            let listener = self.bind(&at(any6, chosen))?;
            match self.bind(&at(any4, chosen)) {
                Ok(_) => return Ok(()),
                // Somebody else has this port in the other family, so a port that nobody asked for is given back.
                Err(_) if port == 0 && tries < PORTS_MAX => drop(self.inner.borrow_mut().remove_listener(listener)),
                Err(error) => return Err(error),
            }
        }
    }

    fn bind(&self, at: &Multiaddr) -> io::Result<ListenerId> {
        check_free(at)?;
        let id = ListenerId::next();
        let listening = self.inner.borrow_mut().listen_on(id, at.clone());
        listening.map(|()| id).map_err(|error| io::Error::other(one_line(&error.to_string())))
    }

    /// Connects to one location: to whichever of its addresses answers first
    pub(crate) async fn dial(&self, location: &Multiaddr) -> Result<TcpStream, String> {
        let mut dials = JoinSet::new();
        let mut causes: Vec<String> = Vec::new();
        for address in self.addresses(location).await? {
            let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
            let dialling = self.inner.borrow_mut().dial(at(address.ip(), address.port()), options);
            match dialling {
                Ok(dialling) => drop(dials.spawn(dialling)),
                // A machine without IPv6 has no socket for one address, and may well have one for the next.
                Err(error) => causes.push(one_line(&error.to_string())),
            }
            // Whoever is refused at once need not wait for the head start of what was refused.
            if let Ok(Some(ended)) = timeout(HEAD_START, dials.join_next()).await {
                match connected(ended) {
                    Ok(stream) => return Ok(stream),
                    Err(cause) => causes.push(cause),
                }
            }
        }
        while let Some(ended) = dials.join_next().await {
            match connected(ended) {
                Ok(stream) => return Ok(stream),
                Err(cause) => causes.push(cause),
            }
        }
        causes.dedup();
        Err(causes.join("; "))
    }

    /// The addresses behind a location, in the order in which they are tried
    async fn addresses(&self, location: &Multiaddr) -> Result<Vec<SocketAddr>, String> {
        let port = port_of(location).unwrap_or_default();
        let (name, family): (_, fn(&SocketAddr) -> bool) = match location.iter().next() {
            Some(Protocol::Dns(name)) => (name, |_| true),
            Some(Protocol::Dns4(name)) => (name, SocketAddr::is_ipv4),
            Some(Protocol::Dns6(name)) => (name, SocketAddr::is_ipv6),
            _ => return Ok(ip_of(location).map(|ip| SocketAddr::new(ip, port)).into_iter().collect()),
        };
        let unknown = |reason: &str| format!("no address is known for {name} ({reason})");
        let found = self.resolver.addresses(&name).await.map_err(|reason| unknown(&one_line(&reason)))?;
        let found = found.into_iter().map(|ip| SocketAddr::new(ip, port));
        let found = by_turns(found.filter(family).collect());
        if found.is_empty() { Err(unknown("none of the family that is asked for")) } else { Ok(found) }
    }

    /// The next arrival
    pub(crate) async fn next(&self) -> Arrival {
        let event = poll_fn(|cx| Pin::new(&mut *self.inner.borrow_mut()).poll(cx)).await;
        match event {
            TransportEvent::Incoming { upgrade, send_back_addr, .. } => match upgrade.await {
                Ok(stream) => Arrival::Connection(stream.0, ip_of(&send_back_addr)),
                Err(error) => Arrival::Trouble(one_line(&error.to_string())),
            },
            TransportEvent::NewAddress { listen_addr, .. } => Arrival::Listening(listen_addr),
            TransportEvent::AddressExpired { listen_addr, .. } => Arrival::Expired(listen_addr),
            TransportEvent::ListenerError { error, .. } => Arrival::Trouble(one_line(&error.to_string())),
            TransportEvent::ListenerClosed { reason, .. } => {
                Arrival::Closed(reason.map_or_else(|error| one_line(&error.to_string()), |()| "closed".into()))
            }
        }
    }
}

/// libp2p lets listeners share a port (SO_REUSEPORT), so that a second node would silently get half of the first one's
/// connections; a socket without that option finds out
fn check_free(at: &Multiaddr) -> io::Result<()> {
    let (Some(ip), Some(port)) = (ip_of(at), port_of(at)) else { return Ok(()) };
    // Of `[::]` libp2p's listener takes IPv6 alone, but the one that asks here takes both.
    let is_wildcard = ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if is_wildcard { Ok(()) } else { TcpListener::bind((ip, port)).map(drop) }
}

/// Whether a listener failed because this machine, or this container, has no IPv6
fn has_no_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

/// The families in turn, beginning with the one that the system prefers; what is over [`ADDRESSES_MAX`] is left out
fn by_turns(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let preferred = found.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| address.is_ipv4() == preferred);
    let mut second = second.into_iter();
    let mut turns: Vec<_> = first.into_iter().flat_map(|address| [Some(address), second.next()]).flatten().collect();
    turns.extend(second);
    turns.truncate(ADDRESSES_MAX);
    turns
}

fn connected(ended: Result<io::Result<tcp::tokio::TcpStream>, JoinError>) -> Result<TcpStream, String> {
    match ended {
        Ok(Ok(stream)) => Ok(stream.0),
        Ok(Err(error)) => Err(one_line(&error.to_string())),
        Err(error) => Err(error.to_string()),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn name_is_reached_at_whichever_of_its_addresses_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let resolver = Resolver::with(|_| {
            Box::pin(async { Ok(["0.0.0.0", "::1", "127.0.0.1"].map(|ip| ip.parse().unwrap()).to_vec()) })
        });
        let transport = Transport { resolver, ..Transport::new() };
        let dial = async |host: &str| transport.dial(&format!("/{host}/sn.lan/tcp/{port}").parse().unwrap()).await;
        let test = async {
            dial("dns").await.unwrap();
            dial("dns4").await.unwrap();
            dial("dns6").await.unwrap_err();
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn name_without_an_address_says_so() {
        let resolver = Resolver::with(|_| Box::pin(async { Err(io::Error::other("Name or\nservice not known")) }));
        let transport = Transport { resolver, ..Transport::new() };
        let location = "/dns/sn.lan/tcp/7400".parse().unwrap();
        let unknown = LocalSet::new().run_until(transport.dial(&location)).await.unwrap_err();
        assert_eq!(unknown, "no address is known for sn.lan (Name or service not known)");
    }

    #[test]
    fn families_take_turns_beginning_with_the_systems_choice() {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let found = parse(&["[2001:db8::1]:1", "[2001:db8::2]:1", "10.0.0.1:1", "[2001:db8::3]:1"]);
        assert_eq!(by_turns(found), parse(&["[2001:db8::1]:1", "10.0.0.1:1", "[2001:db8::2]:1", "[2001:db8::3]:1"]));
        let many = (0..20).map(|i| SocketAddr::from(([10, 0, 0, i], 1))).collect();
        assert_eq!(by_turns(many).len(), ADDRESSES_MAX);
    }

    #[tokio::test]
    async fn any_address_of_ipv6_is_any_address_of_ipv4_too() {
        let transport = Transport::new();
        transport.listen(&"/ip6/::/tcp/0".parse().unwrap()).unwrap();
        let port = loop {
            if let Arrival::Listening(address) = transport.next().await {
                break port_of(&address).unwrap();
            }
        };
        TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // A machine without IPv6 has nothing more to show.
        if TcpListener::bind("[::1]:0").is_ok() {
            TcpStream::connect(("::1", port)).await.unwrap();
        }
        let taken = Transport::new().listen(&at(Ipv4Addr::UNSPECIFIED.into(), port)).unwrap_err();
        assert!(taken.contains("in use"), "{taken}");
        assert!(Transport::new().listen(&at(Ipv6Addr::UNSPECIFIED.into(), port)).is_err());
    }
}
