//! libp2p's TCP and DNS transports: where byte streams come from. Nothing behind this file knows that they are TCP.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;

use libp2p::Multiaddr;
use libp2p::core::Endpoint;
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, Transport as _, TransportEvent};
use libp2p::dns;
use libp2p::tcp;
use tokio::net::TcpStream;

use crate::location::{ip_of, port_of};

type Inner = dns::tokio::Transport<tcp::tokio::Transport>;

/// Listens and dials
pub(crate) struct Transport {
    // Borrowed only within a poll or a call, never across an await.
    inner: RefCell<Inner>,
}

/// What the listeners have to say
pub(crate) enum Arrival {
    /// A connection, before any byte
    Connection(TcpStream, Option<IpAddr>),
    /// An address that this node listens at
    Listening(Multiaddr),
    /// A listener has trouble; it goes on by itself
    Trouble(String),
    /// A listener is gone
    Closed(String),
}

impl Transport {
    /// Must be called within a tokio runtime
    pub(crate) fn new() -> Self {
        let tcp = || tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
        let inner = dns::tokio::Transport::system(tcp()).unwrap_or_else(|error| {
            // IP addresses and /etc/hosts still work; other names fail with an error of their own.
            tracing::warn!(event = "resolver_unavailable", reason = %error);
            dns::tokio::Transport::custom(tcp(), dns::ResolverConfig::default(), dns::ResolverOpts::default())
        });
        Self { inner: RefCell::new(inner) }
    }

    /// Binds at once; the addresses come as [`Arrival::Listening`]
    pub(crate) fn listen(&self, at: &Multiaddr) -> Result<(), String> {
        check_free(at)?;
        let listening = self.inner.borrow_mut().listen_on(ListenerId::next(), at.clone());
        listening.map_err(|error| one_line(&error.to_string()))
    }

    /// Connects to one location
    pub(crate) async fn dial(&self, location: Multiaddr) -> Result<TcpStream, String> {
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let dialling = self.inner.borrow_mut().dial(location, options);
        let dialled = dialling.map_err(|error| one_line(&error.to_string()))?.await;
        dialled.map(|stream| stream.0).map_err(|error| reasons(&error))
    }

    /// The next arrival
    pub(crate) async fn next(&self) -> Arrival {
        loop {
            let event = poll_fn(|cx| Pin::new(&mut *self.inner.borrow_mut()).poll(cx)).await;
            match event {
                TransportEvent::Incoming { upgrade, send_back_addr, .. } => match upgrade.await {
                    Ok(stream) => return Arrival::Connection(stream.0, ip_of(&send_back_addr)),
                    Err(error) => return Arrival::Trouble(one_line(&error.to_string())),
                },
                TransportEvent::NewAddress { listen_addr, .. } => return Arrival::Listening(listen_addr),
                TransportEvent::ListenerError { error, .. } => return Arrival::Trouble(one_line(&error.to_string())),
                TransportEvent::ListenerClosed { reason, .. } => {
                    let reason = reason.map_or_else(|error| one_line(&error.to_string()), |()| "closed".into());
                    return Arrival::Closed(reason);
                }
                TransportEvent::AddressExpired { listen_addr, .. } => {
                    tracing::info!(event = "address_expired", address = %listen_addr);
                }
            }
        }
    }
}

/// libp2p lets listeners share a port (SO_REUSEPORT), so that a second node would silently get half of the first one's
/// connections; a socket without that option finds out
fn check_free(at: &Multiaddr) -> Result<(), String> {
    let (Some(ip), Some(port)) = (ip_of(at), port_of(at)) else { return Ok(()) };
    std::net::TcpListener::bind((ip, port)).map(drop).map_err(|error| error.to_string())
}

/// The distinct causes of a failed dial; libp2p nests them in a list of many lines
fn reasons(error: &dns::Error<std::io::Error>) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut open = VecDeque::from([error]);
    while let Some(error) = open.pop_front() {
        match error {
            dns::Error::Dial(errors) => open.extend(errors),
            error => {
                let cause = one_line(&error.to_string());
                if !causes.contains(&cause) {
                    causes.push(cause);
                }
            }
        }
    }
    causes.join("; ")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_of_a_failed_dial_are_named_once_in_one_line() {
        let refused = || dns::Error::Transport(std::io::Error::other("Connection\nrefused"));
        let error = dns::Error::Dial(vec![refused(), dns::Error::Dial(vec![refused(), dns::Error::TooManyLookups])]);
        assert_eq!(reasons(&error), "Connection refused; Too many DNS lookups");
    }
}
