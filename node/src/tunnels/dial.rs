//! Reaching a destination from the peer at which a tunnel leaves the mesh.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use kith_common::status::Status;
use tokio::net::{TcpStream, UdpSocket, UnixStream, lookup_host};
use tokio::time::timeout;

use super::destination::{Destination, Host, Protocol};
use super::{datagrams, stream};
use crate::piping::Ends;

/// Whoever has asked for the tunnel waits ten seconds in all if he says nothing
const WHOLE_MAX: Duration = Duration::from_secs(8);
/// One address that does not answer leaves time for another one: a lost SYN is sent again after one second
const ADDRESS_MAX: Duration = Duration::from_secs(3);
/// Addresses of one name that are tried
const ADDRESSES_MAX: usize = 8;

/// Why it was not reached: a status, and words for whoever has asked
pub(crate) type Unreached = (Status, String);

/// Connects to a destination at an address that `allows` allows: those that it has are looked at once, and one of them is dialled
///
/// # Errors
/// [`Unreached`]: nothing is open.
pub(crate) async fn dial(destination: &Destination, allows: impl Fn(IpAddr) -> bool) -> Result<Ends, Unreached> {
    let dialled = timeout(WHOLE_MAX, dial_any(destination, allows)).await;
    dialled.unwrap_or_else(|_| Err((Status::TimedOut, format!("{destination} does not answer"))))
}

async fn dial_any(destination: &Destination, allows: impl Fn(IpAddr) -> bool) -> Result<Ends, Unreached> {
    let (protocol, host, port) = match destination {
        Destination::Unix(path) => {
            let connected = UnixStream::connect(path).await.map_err(|error| unreached(destination, &error))?;
            return Ok(stream::of_unix(connected));
        }
        Destination::Port { protocol, host, port } => (*protocol, host, *port),
    };
    let known = addresses(host).await.map_err(|error| (Status::NotFound, format!("no address of {host}: {error}")))?;
    let allowed: Vec<IpAddr> = known.into_iter().filter(|ip| allows(*ip)).take(ADDRESSES_MAX).collect();
    let mut last = (Status::NotAllowed, format!("{destination} has no address that is exposed"));
    for ip in allowed {
        let at = SocketAddr::new(ip, port);
        let dialled = match protocol {
            Protocol::Tcp => {
                timeout(ADDRESS_MAX, TcpStream::connect(at)).await.map(|stream| stream.map(stream::of_tcp))
            }
            Protocol::Udp => Ok(udp(at).await),
        };
        match dialled {
            Ok(Ok(ends)) => return Ok(ends),
            Ok(Err(error)) => last = unreached(destination, &error),
            Err(_) => last = (Status::TimedOut, format!("{destination} does not answer")),
        }
    }
    Err(last)
}

/// Of the machine itself without asking anybody
async fn addresses(host: &Host) -> io::Result<Vec<IpAddr>> {
    match host {
        Host::Ip(ip) => Ok(vec![*ip]),
        own if own.is_own() => Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
        Host::Name(name) => Ok(lookup_host((name.as_str(), 0)).await?.map(|at| at.ip()).collect()),
    }
}

async fn udp(at: SocketAddr) -> io::Result<Ends> {
    let own: IpAddr = if at.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((own, 0)).await?;
    socket.connect(at).await?;
    Ok(datagrams::of_connected(socket))
}

/// In words that say nothing of this machine but what its rule exposes
fn unreached(destination: &Destination, error: &io::Error) -> Unreached {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => "nobody listens at",
        io::ErrorKind::PermissionDenied => "the daemon there may not open",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "there is no way to",
        _ => return (Status::Failed, format!("{destination} cannot be reached: {error}")),
    };
    (Status::Unavailable, format!("{reason} {destination}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    #[tokio::test]
    async fn address_that_is_not_allowed_is_not_dialled() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let destination: Destination = listener.local_addr().unwrap().port().to_string().parse().unwrap();
        let (status, reason) = dial(&destination, |_| false).await.unwrap_err();
        assert_eq!(status, Status::NotAllowed, "{reason}");
        assert!(timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "nobody came");
        // The second address of the machine itself is not tried where the first one answers.
        dial(&destination, |ip| ip.is_loopback()).await.unwrap();
    }

    #[tokio::test]
    async fn socket_of_the_file_system_is_reached_and_one_without_a_listener_is_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let destination: Destination = format!("unix:{}", path.display()).parse().unwrap();
        let (status, reason) = dial(&destination, |_| false).await.unwrap_err();
        assert_eq!((status, reason), (Status::Unavailable, format!("nobody listens at {destination}")));
        let listener = UnixListener::bind(&path).unwrap();
        let mut ends = dial(&destination, |_| false).await.unwrap();
        ends.writer.write_all(b"hello").await.unwrap();
        let mut read = [0; 5];
        listener.accept().await.unwrap().0.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
    }

    #[tokio::test]
    async fn port_where_nobody_listens_is_told_of_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let destination: Destination = listener.local_addr().unwrap().to_string().parse().unwrap();
        drop(listener);
        let (status, reason) = dial(&destination, |_| true).await.unwrap_err();
        assert_eq!((status, reason), (Status::Unavailable, format!("nobody listens at {destination}")));
    }
}
