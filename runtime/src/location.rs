//! Where something can be dialled, as people write it and as the wire carries it.
//!
//! People write `supernode-1:7400`, `10.0.0.7`, `[::1]:7400` or a multiaddr; the wire carries the multiaddr's text. A
//! location has exactly two parts: a host (`ip4`, `ip6`, `dns`, `dns4`, `dns6`) and a TCP port.

use std::net::{IpAddr, SocketAddr};

use kith_common::wire::session::Location;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// The port of a supernode where none is written
pub const SUPERNODE_PORT: u16 = 7400;

/// A text is not a location; the text says what is wrong and what would be right
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    #[error("a location is empty; write host:port, for example supernode-1:7400")]
    Empty,
    /// The part after the colon
    #[error("{0:?} is not a port; a port is a number from 0 to 65535")]
    Port(String),
    /// The part before the colon
    #[error("{0:?} is neither an IP address nor a host's name")]
    Host(String),
    /// Begins with a slash and cannot be read
    #[error("{text:?} is not a multiaddr ({fault}); write for example /dns4/supernode-1/tcp/7400")]
    Multiaddr {
        text: String,
        /// What the parser says
        fault: String,
    },
    /// A multiaddr of another form
    #[error("{0} is not a host and a TCP port; write for example /ip4/10.0.0.7/tcp/7400")]
    Form(Multiaddr),
    /// Names a host where an address of this machine belongs
    #[error("{0:?} is not an IP address and a port; for example 0.0.0.0:7401 or [::]:0")]
    NoIp(String),
    /// It is longer than the wire carries
    #[error("{0} is longer than 100 characters")]
    TooLong(Multiaddr),
}

/// Reads a multiaddr, `host:port`, or `host` with `default_port`
///
/// # Errors
/// [`LocationError`] says what is wrong with it.
pub(crate) fn parse_location(text: &str, default_port: u16) -> Result<Multiaddr, LocationError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(LocationError::Empty);
    }
    if text.starts_with('/') {
        let fault = |error: libp2p::multiaddr::Error| error.to_string();
        let parsed = text.parse::<Multiaddr>();
        let parsed = parsed.map_err(|e| LocationError::Multiaddr { text: text.to_owned(), fault: fault(e) })?;
        return check_form(parsed);
    }
    let (host, port) = split_port(text, default_port)?;
    Ok(Multiaddr::empty().with(host_part(host)?).with(Protocol::Tcp(port)))
}

/// The location's text for the wire
///
/// # Errors
/// [`LocationError::Form`] or [`LocationError::TooLong`].
pub fn to_wire(location: &Multiaddr) -> Result<Location, LocationError> {
    let location = check_form(location.clone())?;
    Location::try_from(location.to_string()).map_err(|_| LocationError::TooLong(location))
}

/// The location that another node wrote
///
/// # Errors
/// [`LocationError`] says what is wrong with it: short forms are for people only.
pub(crate) fn from_wire(location: &Location) -> Result<Multiaddr, LocationError> {
    let parsed = location.parse::<Multiaddr>();
    check_form(parsed.map_err(|e| LocationError::Multiaddr { text: location.to_string(), fault: e.to_string() })?)
}

/// The TCP port of a location or of a listening address
pub fn port_of(location: &Multiaddr) -> Option<u16> {
    location.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    })
}

/// The IP address of a location; `None` for one with a name
pub(crate) fn ip_of(location: &Multiaddr) -> Option<IpAddr> {
    location.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(ip.to_canonical()),
        _ => None,
    })
}

/// The address and port of a location; `None` for one with a name
pub(crate) fn socket_of(location: &Multiaddr) -> Option<SocketAddr> {
    Some(SocketAddr::new(ip_of(location)?, port_of(location)?))
}

/// The location of `port` at `ip`
pub fn at(ip: IpAddr, port: u16) -> Multiaddr {
    Multiaddr::from(ip.to_canonical()).with(Protocol::Tcp(port))
}

fn check_form(location: Multiaddr) -> Result<Multiaddr, LocationError> {
    let mut parts = location.iter();
    let host = matches!(
        parts.next(),
        Some(Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_))
    );
    let port = matches!(parts.next(), Some(Protocol::Tcp(_)));
    let end = parts.next().is_none();
    if host && port && end { Ok(location) } else { Err(LocationError::Form(location)) }
}

/// The host without brackets, and the port; a bare IPv6 address has colons and no port.
fn split_port(text: &str, default_port: u16) -> Result<(&str, u16), LocationError> {
    let bracketed = |host: &str| host.starts_with('[') && host.ends_with(']');
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text, default_port));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !bracketed(text) => {
            (host, port.parse().map_err(|_| LocationError::Port(port.to_owned()))?)
        }
        _ => (text, default_port),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    Ok((bare.unwrap_or(host), port))
}

fn host_part(host: &str) -> Result<Protocol<'_>, LocationError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(ip.into());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    if !name.split('.').all(label) || name.len() > 253 {
        return Err(LocationError::Host(host.to_owned()));
    }
    // Not dns4: a host that has only an IPv6 address is to be found as well.
    Ok(Protocol::Dns(host.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, LocationError> {
        parse_location(text, 7400).map(|location| location.to_string())
    }

    #[test]
    fn every_written_form_becomes_a_multiaddr() {
        let forms = [
            ("supernode-1:7401", "/dns/supernode-1/tcp/7401"),
            ("supernode_1.lan", "/dns/supernode_1.lan/tcp/7400"),
            (" 10.0.0.7:1 ", "/ip4/10.0.0.7/tcp/1"),
            ("10.0.0.7", "/ip4/10.0.0.7/tcp/7400"),
            ("[::1]:9", "/ip6/::1/tcp/9"),
            ("[::1]", "/ip6/::1/tcp/7400"),
            ("::1", "/ip6/::1/tcp/7400"),
            ("/dns4/x/tcp/7400", "/dns4/x/tcp/7400"),
        ];
        for (written, expected) in forms {
            assert_eq!(read(written).as_deref(), Ok(expected), "{written}");
        }
    }

    #[test]
    fn text_that_is_no_location_is_refused_with_its_fault() {
        assert_eq!(read("  "), Err(LocationError::Empty));
        assert_eq!(read("host:http"), Err(LocationError::Port("http".into())));
        assert_eq!(read("host:70000"), Err(LocationError::Port("70000".into())));
        assert_eq!(read("no host:1"), Err(LocationError::Host("no host".into())));
        assert_eq!(read("a..b"), Err(LocationError::Host("a..b".into())));
        assert!(matches!(read("/dns4/x/tcp"), Err(LocationError::Multiaddr { .. })));
        assert!(matches!(read("/ip4/10.0.0.7/udp/7400"), Err(LocationError::Form(_))));
        assert!(matches!(read("/ip4/10.0.0.7"), Err(LocationError::Form(_))));
    }

    #[test]
    fn wire_form_is_the_text_of_the_multiaddr_and_bounded() {
        let location = parse_location("supernode:7400", 1).unwrap();
        let wire = to_wire(&location).unwrap();
        assert_eq!(&*wire, "/dns/supernode/tcp/7400");
        assert_eq!(from_wire(&wire), Ok(location));
        let long = parse_location(&format!("{0}.{0}", "a".repeat(60)), 1).unwrap();
        assert_eq!(to_wire(&long), Err(LocationError::TooLong(long)));
        assert!(from_wire(&Location::truncated("supernode:7400")).is_err());
    }

    #[test]
    fn ip_of_a_mapped_address_is_the_ipv4_one() {
        let mapped: Multiaddr = "/ip6/::ffff:10.0.0.7/tcp/1".parse().unwrap();
        assert_eq!(ip_of(&mapped), Some(IpAddr::from([10, 0, 0, 7])));
        assert_eq!(at("::ffff:10.0.0.7".parse().unwrap(), 2).to_string(), "/ip4/10.0.0.7/tcp/2");
        assert_eq!((ip_of(&"/dns/x/tcp/1".parse().unwrap()), port_of(&mapped)), (None, Some(1)));
    }
}
