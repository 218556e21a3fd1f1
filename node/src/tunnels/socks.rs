//! SOCKS 5 (RFC 1928): whoever comes says himself which peer's port he wants, as the host's name.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fast_socks5::server::Socks5ServerProtocol;
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use kith_common::id::Name;
use kith_common::status::Status;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::destination::Destination;

/// What a peer's name may end with, so that it looks as a host's name does
const SUFFIX: &str = ".kith";
/// A program says what it wants at once
const PATIENCE: Duration = Duration::from_secs(10);

/// A program that waits to hear whether it is connected
pub(super) struct Asking {
    pub(super) to: Name,
    pub(super) destination: Destination,
    protocol: Socks5ServerProtocol<TcpStream, fast_socks5::server::states::CommandRead>,
}

/// Hears what a program wants; none if it wants nothing that there is, which it was told
pub(super) async fn ask(stream: TcpStream) -> Option<Asking> {
    let asked = timeout(PATIENCE, hear(stream)).await;
    match asked.map_err(|_| "it says nothing".to_owned()) {
        Ok(Ok(asking)) => Some(asking),
        Ok(Err(reason)) | Err(reason) => {
            tracing::info!(event = "socks_refused", reason);
            None
        }
    }
}

async fn hear(stream: TcpStream) -> Result<Asking, String> {
    let protocol = Socks5ServerProtocol::accept_no_auth(stream).await.map_err(|error| error.to_string())?;
    let (protocol, command, target) = protocol.read_command().await.map_err(|error| error.to_string())?;
    let wanted = match command {
        Socks5Command::TCPConnect => wanted(&target),
        _ => Err((ReplyError::CommandNotSupported, "it wants something else than a connection".to_owned())),
    };
    match wanted {
        Ok((to, destination)) => Ok(Asking { to, destination, protocol }),
        Err((reply, reason)) => {
            // It may have hung up by now.
            let _ = protocol.reply_error(&reply).await;
            Err(reason)
        }
    }
}

/// Which peer, and which of its ports
fn wanted(target: &TargetAddr) -> Result<(Name, Destination), (ReplyError, String)> {
    let TargetAddr::Domain(host, port) = target else {
        let reason = "it wants an address, not a peer's name: let the proxy look names up (socks5h)".to_owned();
        return Err((ReplyError::AddressTypeNotSupported, reason));
    };
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let name = name.strip_suffix(SUFFIX).unwrap_or(&name);
    let refused = |reason: String| (ReplyError::HostUnreachable, reason);
    let to = name.parse::<Name>().map_err(|error| refused(format!("{host:?} is no peer's name: {error}")))?;
    let destination = port.to_string().parse().map_err(|_| refused(format!("{port} is no port")))?;
    Ok((to, destination))
}

impl Asking {
    /// It is connected: what it writes from now on is for the other end
    pub(super) async fn connected(self) -> Option<TcpStream> {
        // Where the other end is connected is nobody's business here.
        self.protocol.reply_success(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await.ok()
    }

    /// It is not, for this reason
    pub(super) async fn refused(self, status: Status) {
        let reply = match status {
            Status::NotAllowed | Status::AnotherKey => ReplyError::ConnectionNotAllowed,
            Status::NotFound | Status::Gone => ReplyError::HostUnreachable,
            Status::TimedOut => ReplyError::ConnectionTimeout,
            Status::Unavailable => ReplyError::ConnectionRefused,
            _ => ReplyError::GeneralFailure,
        };
        // It may have hung up by now.
        let _ = self.protocol.reply_error(&reply).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_a_peers_name_with_or_without_its_suffix_and_no_address() {
        let of = |host: &str| wanted(&TargetAddr::Domain(host.to_owned(), 80));
        let bob = ("bob".parse().unwrap(), "80".parse().unwrap());
        for host in ["bob", "bob.kith", "BOB.kith.", "bob."] {
            assert_eq!(of(host).ok(), Some(bob.clone()), "{host}");
        }
        for host in ["", "bob.example.org", "bob.kith.kith", "bob_1"] {
            assert!(of(host).is_err(), "{host}");
        }
        assert!(wanted(&TargetAddr::Domain("bob".to_owned(), 0)).is_err());
        assert!(wanted(&TargetAddr::Ip(([127, 0, 0, 1], 80).into())).is_err());
    }
}
