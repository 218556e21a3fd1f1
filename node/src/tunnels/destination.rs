//! Where a tunnel ends: a port of a machine, or a socket of the file system.
//!
//! Both ends write it in one way: `80` and `localhost:80` are the peer's own, `db.internal:5432` and `[fe80::1]:22` are other machines
//! that it reaches, `udp:53` is of datagrams, `unix:/run/app.sock` is a path.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use kith_common::wire::bounded::{Bytes, Text};
use kith_common::wire::content::Opening;

/// Bytes of a host's name, as DNS has it
const HOST_BYTES_MAX: usize = 253;
/// Bytes of a path, as the system has it for sockets
const PATH_BYTES_MAX: usize = 107;
/// The host that is meant where none is written
const OWN_HOST: &str = "localhost";

/// What passes
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// A machine, as it was written: letters are small ones
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Ip(IpAddr),
    Name(String),
}

/// Where a tunnel ends
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Destination {
    Port {
        protocol: Protocol,
        host: Host,
        port: u16,
    },
    /// An absolute path
    Unix(String),
}

/// A text that names no destination
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no destination: write PORT, HOST:PORT, udp:PORT, udp:HOST:PORT or unix:/PATH")]
pub(crate) struct NoDestination(String);

impl Host {
    /// The machine itself
    pub(crate) fn own() -> Self {
        Self::Name(OWN_HOST.to_owned())
    }

    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Self::Name(name) if name == OWN_HOST)
    }

    /// A name or an address; IPv6 in brackets or not
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(bare) = bare {
            return bare.parse::<Ipv6Addr>().ok().map(|ip| Self::Ip(ip.into()));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(Self::Ip(ip));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        // Digits alone would be an address in a form that some resolvers take, and no check here.
        let is_number = name.split('.').next_back().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        let is_name = name.len() <= HOST_BYTES_MAX && name.split('.').all(is_label) && !is_number;
        is_name.then(|| Self::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Destination {
    /// How a pipe to it is asked for
    pub(crate) fn opening(&self) -> Opening {
        let service = self.service();
        let text = self.to_string();
        let argument = text.strip_prefix("udp:").or_else(|| text.strip_prefix("unix:")).unwrap_or(&text);
        // Its texts are bounded by far less than an argument is.
        Opening {
            service: Text::truncated(service),
            argument: Bytes::try_from(argument.as_bytes().to_vec()).unwrap_or_default(),
        }
    }

    /// What a pipe that was asked for leads to, if it is to leave the mesh
    pub(crate) fn of_opening(Opening { service, argument }: &Opening) -> Option<Result<Self, NoDestination>> {
        let prefix = match &**service {
            "tcp" => "",
            "udp" => "udp:",
            "unix" => "unix:",
            _ => return None,
        };
        let text = format!("{prefix}{}", String::from_utf8_lossy(argument));
        let parsed = text.parse::<Self>();
        // Whoever writes another service's destination as its argument is not meant to be understood.
        Some(
            parsed
                .and_then(|parsed| if parsed.service() == &**service { Ok(parsed) } else { Err(NoDestination(text)) }),
        )
    }

    /// What takes a pipe to it at the other end
    pub(crate) fn service(&self) -> &'static str {
        match self {
            Self::Port { protocol: Protocol::Tcp, .. } => "tcp",
            Self::Port { protocol: Protocol::Udp, .. } => "udp",
            Self::Unix(_) => "unix",
        }
    }

    pub(crate) fn is_udp(&self) -> bool {
        matches!(self, Self::Port { protocol: Protocol::Udp, .. })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { protocol, host, port } => {
                let prefix = if *protocol == Protocol::Udp { "udp:" } else { "" };
                write!(f, "{prefix}{host}:{port}")
            }
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

impl FromStr for Destination {
    type Err = NoDestination;

    fn from_str(text: &str) -> Result<Self, NoDestination> {
        let wrong = || NoDestination(text.chars().take(HOST_BYTES_MAX).collect());
        if let Some(path) = text.strip_prefix("unix:") {
            let is_path = path.starts_with('/') && path.len() <= PATH_BYTES_MAX && !path.contains('\0');
            return if is_path { Ok(Self::Unix(path.to_owned())) } else { Err(wrong()) };
        }
        let (protocol, rest) = match text.strip_prefix("udp:") {
            Some(rest) => (Protocol::Udp, rest),
            None => (Protocol::Tcp, text),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (Host::parse(host).ok_or_else(wrong)?, port),
            None => (Host::own(), rest),
        };
        let port = Some(port).filter(|port| port.bytes().all(|digit| digit.is_ascii_digit()));
        let port = port.and_then(|port| port.parse().ok()).filter(|port| *port != 0).ok_or_else(wrong)?;
        // An IPv6 address without brackets has its last group for a port.
        if matches!(&host, Host::Ip(IpAddr::V6(_))) && !rest.starts_with('[') {
            return Err(wrong());
        }
        Ok(Self::Port { protocol, host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destination_is_written_as_it_was_read_with_its_host() {
        let table = [
            ("80", "localhost:80"),
            ("localhost:80", "localhost:80"),
            ("LocalHost.:80", "localhost:80"),
            ("udp:53", "udp:localhost:53"),
            ("db.internal:5432", "db.internal:5432"),
            ("10.0.0.1:22", "10.0.0.1:22"),
            ("udp:[::1]:53", "udp:[::1]:53"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
        ];
        for (text, expected) in table {
            let read: Destination = text.parse().unwrap();
            assert_eq!(read.to_string(), expected);
            assert_eq!(read.to_string().parse(), Ok(read.clone()));
            assert_eq!(Destination::of_opening(&read.opening()), Some(Ok(read)));
        }
    }

    #[test]
    fn text_that_is_no_destination_is_refused_with_the_forms_that_are() {
        let long = format!("{}:1", "a".repeat(64));
        let wrong = [
            "",
            ":",
            ":80",
            "80:",
            "0",
            "65536",
            "+80",
            "host",
            "host:port",
            "a b:80",
            "::1:80",
            "[::1:80",
            "[1.2.3.4]:80",
            "0x7f.1:80",
            "127.1:80",
            "2130706433:80",
            "unix:",
            "unix:run",
            "unix:/a\0b",
            "udp:",
            "udp:unix:/a",
            "a..b:80",
            &long,
        ];
        for text in wrong {
            let error = text.parse::<Destination>().unwrap_err();
            assert!(error.to_string().contains("HOST:PORT"), "{text}: {error}");
        }
    }

    #[test]
    fn opening_of_one_service_is_not_anothers() {
        let opening = |service: &str, argument: &[u8]| Opening {
            service: Text::truncated(service),
            argument: Bytes::try_from(argument.to_vec()).unwrap(),
        };
        assert_eq!(Destination::of_opening(&opening("pipe", b"80")), None);
        for (service, argument) in [("tcp", "udp:80"), ("tcp", "unix:/a"), ("unix", "80"), ("tcp", "\u{fffd}")] {
            assert!(
                Destination::of_opening(&opening(service, argument.as_bytes())).unwrap().is_err(),
                "{service} {argument}"
            );
        }
        assert!(Destination::of_opening(&opening("tcp", &[0xff, 0x3a, 0x38])).unwrap().is_err());
    }
}
