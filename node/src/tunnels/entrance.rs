//! Where programs of this machine enter a tunnel, and where that leads.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use kith_common::id::Name;

use super::destination::Destination;

/// Where programs come to
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    Port(SocketAddr),
    /// A socket of the file system, an absolute path
    Unix(PathBuf),
}

/// A text that names no entrance
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is nothing to listen at: write PORT, IP:PORT, *:PORT for all addresses of this machine, or unix:/PATH")]
pub(crate) struct NoEntrance(String);

/// An entrance, and whose destination it leads to
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) at: Entrance,
    pub(crate) to: Name,
    pub(crate) destination: Destination,
}

/// A line that forwards nothing
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotForwarded {
    #[error("{0:?} forwards nothing: write ENTRANCE NAME:DESTINATION, such as 8080 bob:80")]
    Parts(String),
    #[error("{0}")]
    At(#[from] NoEntrance),
    #[error("{0:?} is nowhere to forward to: write NAME:PORT, NAME:HOST:PORT or NAME:unix:/PATH; {1}")]
    To(String, String),
    #[error("datagrams enter at a port, not at a socket of the file system")]
    Datagrams,
}

impl FromStr for Entrance {
    type Err = NoEntrance;

    fn from_str(text: &str) -> Result<Self, NoEntrance> {
        let wrong = || NoEntrance(text.to_owned());
        if text.starts_with("unix:") {
            return match text.parse() {
                Ok(Destination::Unix(path)) => Ok(Self::Unix(path.into())),
                _ => Err(wrong()),
            };
        }
        if let Ok(port) = text.parse::<u16>() {
            return Ok(Self::Port((Ipv4Addr::LOCALHOST, port).into()));
        }
        if let Some(port) = text.strip_prefix("*:") {
            let port = port.parse::<u16>().map_err(|_| wrong())?;
            return Ok(Self::Port((IpAddr::from(Ipv6Addr::UNSPECIFIED), port).into()));
        }
        if let Some(port) = text.strip_prefix("localhost:") {
            let port = port.parse::<u16>().map_err(|_| wrong())?;
            return Ok(Self::Port((Ipv4Addr::LOCALHOST, port).into()));
        }
        text.parse().map(Self::Port).map_err(|_| wrong())
    }
}

impl fmt::Display for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(at) => write!(f, "{at}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Forwarded {
    /// From an entrance to `NAME:DESTINATION`
    ///
    /// # Errors
    /// [`NotForwarded`]
    pub(crate) fn parse(at: &str, to: &str) -> Result<Self, NotForwarded> {
        let at = at.parse::<Entrance>()?;
        let wrong = |why: String| NotForwarded::To(to.to_owned(), why);
        let (name, destination) = to.split_once(':').ok_or_else(|| wrong("no port is named".to_owned()))?;
        let name = name.parse::<Name>().map_err(|error| wrong(error.to_string()))?;
        let destination = destination.parse::<Destination>().map_err(|error| wrong(error.to_string()))?;
        if destination.is_udp() && matches!(at, Entrance::Unix(_)) {
            return Err(NotForwarded::Datagrams);
        }
        Ok(Self { at, to: name, destination })
    }
}

impl FromStr for Forwarded {
    type Err = NotForwarded;

    fn from_str(text: &str) -> Result<Self, NotForwarded> {
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            [at, to] => Self::parse(at, to),
            _ => Err(NotForwarded::Parts(text.to_owned())),
        }
    }
}

impl fmt::Display for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}", self.at, self.to, self.destination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entrance_is_this_machines_alone_unless_it_says_otherwise() {
        let table = [
            ("8080", "127.0.0.1:8080"),
            ("localhost:0", "127.0.0.1:0"),
            ("*:8080", "[::]:8080"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("unix:/run/a", "unix:/run/a"),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Entrance>().unwrap().to_string(), expected);
        }
        for text in ["", "host:80", "65536", "*", "*:x", "unix:a", "::1:80"] {
            assert!(text.parse::<Entrance>().unwrap_err().to_string().contains("IP:PORT"), "{text}");
        }
    }

    #[test]
    fn line_forwards_to_a_peers_destination_and_a_wrong_one_is_refused_with_what_would_be_right() {
        let table = [
            ("8080 bob:80", "127.0.0.1:8080 bob:localhost:80"),
            ("8080  bob:db.internal:5432", "127.0.0.1:8080 bob:db.internal:5432"),
            ("5353 bob:udp:53", "127.0.0.1:5353 bob:udp:localhost:53"),
            ("unix:/tmp/a bob:unix:/run/b", "unix:/tmp/a bob:unix:/run/b"),
        ];
        for (text, expected) in table {
            let read: Forwarded = text.parse().unwrap();
            assert_eq!(read.to_string(), expected);
            assert_eq!(expected.parse(), Ok(read));
        }
        let refusal = |text: &str| text.parse::<Forwarded>().unwrap_err().to_string();
        assert!(refusal("8080").contains("8080 bob:80"));
        assert!(refusal("8080 bob:80 more").contains("8080 bob:80"));
        assert!(refusal("8080 bob").contains("no port is named"));
        assert!(refusal("8080 Bob:80").contains("a-z"));
        assert!(refusal("8080 bob:http").contains("HOST:PORT"));
        assert!(refusal("host:80 bob:80").contains("listen at"));
        assert!(refusal("unix:/a bob:udp:53").contains("datagrams"));
    }
}
