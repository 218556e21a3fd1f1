//! What a peer lets others reach through it, and whom: nothing, and nobody, unless a rule says so.
//!
//! A rule is a line such as `22 for alice` or `10.0.0.0/8:5432 for alice,carol`. Hosts are judged by name and by address: the addresses
//! that a name has are asked for once, those that no rule allows are left out, and one of the others is what is dialled. An address
//! that means something else at each machine (its own, its link's, where clouds tell secrets, many at once) is allowed by
//! a rule that names it, and by none that merely covers it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use kith_common::id::Name;

use super::destination::{Destination, Host, Protocol};
use crate::who::{NoWho, Who};

/// Which machines
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// All, but for special addresses
    All,
    One(Host),
    Net(IpNet),
}

/// Which destinations
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// No port: all of them
    Ports {
        protocol: Protocol,
        hosts: Hosts,
        port: Option<u16>,
    },
    Unix(String),
}

/// What is exposed, to whom
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exposed {
    what: What,
    who: Who,
}

/// A line that is no rule
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRule {
    #[error("{0:?} says nobody: write DESTINATION for NAME[,NAME…], or DESTINATION for everyone")]
    ForNobody(String),
    #[error("{0}")]
    Who(#[from] NoWho),
    #[error(
        "{0:?} is nothing to expose: write PORT, HOST:PORT, NETWORK/BITS:PORT, *:PORT, with * for all ports, udp: before it, or unix:/PATH"
    )]
    What(String),
}

/// How an address is judged: those that mean something else at each machine are allowed only where a rule is about them
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Special(&'static str, IpNet);

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits))
}

const fn v6(first: u16, second: u16, last: u16, bits: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, last), bits))
}

/// Networks whose addresses a rule must be about (RFC 6890, and where clouds answer with a machine's own credentials)
const SPECIAL: [Special; 14] = [
    Special("this machine", v4(0, 0, 0, 0, 8)),
    Special("this machine", v4(127, 0, 0, 0, 8)),
    Special("of a link, and of a cloud's metadata", v4(169, 254, 0, 0, 16)),
    Special("of a cloud's metadata", v4(100, 100, 100, 200, 32)),
    Special("of a cloud's metadata", v4(168, 63, 129, 16, 32)),
    Special("of many machines", v4(224, 0, 0, 0, 4)),
    Special("of nobody", v4(240, 0, 0, 0, 4)),
    Special("this machine", v6(0, 0, 1, 128)),
    Special("this machine", v6(0, 0, 0, 128)),
    Special("of a link", v6(0xfe80, 0, 0, 10)),
    Special("of a cloud's metadata", v6(0xfd00, 0x0ec2, 0, 32)),
    Special("of many machines", v6(0xff00, 0, 0, 8)),
    // What is translated into an address of IPv4 on its way is judged as one only where this machine sees it.
    Special("translated", v6(0x0064, 0xff9b, 0, 96)),
    Special("translated", v6(0x2002, 0, 0, 16)),
];

/// The special network that an address is in
fn special(ip: IpAddr) -> Option<IpNet> {
    SPECIAL.iter().find(|Special(_, net)| net.contains(&ip)).map(|Special(_, net)| *net)
}

/// What the system makes of it: an address of IPv4 in an IPv6 one is that
fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

impl Exposed {
    /// Whether it is for this peer
    pub(crate) fn is_for(&self, name: &Name) -> bool {
        self.who.has(name)
    }

    /// Whether it may be about this destination, whose addresses are not known yet
    pub(crate) fn may_be_about(&self, destination: &Destination) -> bool {
        match (&self.what, destination) {
            (What::Unix(path), Destination::Unix(wanted)) => path == wanted,
            (What::Ports { protocol, hosts, port }, Destination::Port { protocol: of, host, port: wanted }) => {
                let is_host = match (hosts, host) {
                    (Hosts::One(Host::Name(name)), host) => *host == Host::Name(name.clone()),
                    (_, Host::Ip(ip)) => self.allows(*ip),
                    // Which of its addresses, if one, is told by DNS.
                    (Hosts::All | Hosts::Net(_), Host::Name(_)) => !host.is_own(),
                    (Hosts::One(Host::Ip(ip)), Host::Name(_)) => host.is_own() && plain(*ip).is_loopback(),
                };
                protocol == of && is_host && port.is_none_or(|port| port == *wanted)
            }
            _ => false,
        }
    }

    /// Whether it allows an address of a destination that it is about
    pub(crate) fn allows(&self, ip: IpAddr) -> bool {
        let ip = plain(ip);
        let What::Ports { hosts, .. } = &self.what else { return false };
        // A rule is about a special network if it lies within.
        let is_about = |net: &IpNet| special(ip).is_none_or(|special| special.contains(net));
        match hosts {
            Hosts::All => special(ip).is_none(),
            Hosts::One(host @ Host::Name(_)) => special(ip).is_none() || (host.is_own() && ip.is_loopback()),
            Hosts::One(Host::Ip(only)) => plain(*only) == ip,
            Hosts::Net(net) => net.contains(&ip) && is_about(net),
        }
    }
}

impl FromStr for What {
    type Err = NoRule;

    fn from_str(text: &str) -> Result<Self, NoRule> {
        if let Ok(destination) = text.parse::<Destination>() {
            return Ok(match destination {
                Destination::Unix(path) => Self::Unix(path),
                Destination::Port { protocol, host, port } => {
                    Self::Ports { protocol, hosts: Hosts::One(host), port: Some(port) }
                }
            });
        }
        let wrong = || NoRule::What(text.to_owned());
        let (protocol, rest) = match text.strip_prefix("udp:") {
            Some(rest) => (Protocol::Udp, rest),
            None => (Protocol::Tcp, text),
        };
        let (hosts, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let port = match port {
            "*" => None,
            port => match format!("localhost:{port}").parse() {
                Ok(Destination::Port { port, .. }) => Some(port),
                _ => return Err(wrong()),
            },
        };
        let hosts = match hosts {
            "*" => Hosts::All,
            net if net.contains('/') => {
                let net: IpNet = net.replace(['[', ']'], "").parse().map_err(|_| wrong())?;
                Hosts::Net(net.trunc())
            }
            host => Hosts::One(
                Host::parse(host)
                    .filter(|host| !matches!(host, Host::Ip(IpAddr::V6(_))) || hosts.starts_with('['))
                    .ok_or_else(wrong)?,
            ),
        };
        Ok(Self::Ports { protocol, hosts, port })
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Ports { protocol, hosts, port } = self else {
            let Self::Unix(path) = self else { return Ok(()) };
            return write!(f, "unix:{path}");
        };
        f.write_str(if *protocol == Protocol::Udp { "udp:" } else { "" })?;
        match hosts {
            Hosts::All => f.write_str("*")?,
            Hosts::One(host) => write!(f, "{host}")?,
            Hosts::Net(IpNet::V6(net)) => write!(f, "[{}]/{}", net.addr(), net.prefix_len())?,
            Hosts::Net(net) => write!(f, "{net}")?,
        }
        match port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

impl FromStr for Exposed {
    type Err = NoRule;

    fn from_str(text: &str) -> Result<Self, NoRule> {
        let (what, who) = text.split_once(" for ").ok_or_else(|| NoRule::ForNobody(text.to_owned()))?;
        Ok(Self { what: what.trim().parse()?, who: who.parse()? })
    }
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.what, self.who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Exposed {
        text.parse().unwrap()
    }

    /// Whether a rule lets somebody reach a destination that has this address
    fn reaches(rule_text: &str, name: &str, destination: &str, ip: &str) -> bool {
        let (rule, destination) = (rule(rule_text), destination.parse().unwrap());
        rule.is_for(&name.parse().unwrap()) && rule.may_be_about(&destination) && rule.allows(ip.parse().unwrap())
    }

    #[test]
    fn rule_lets_those_whom_it_names_reach_what_it_names_and_nothing_else() {
        let table = [
            ("22 for alice", "alice", "22", "127.0.0.1", true),
            ("22 for alice", "alice", "22", "::1", true),
            ("22 for alice", "carol", "22", "127.0.0.1", false),
            ("22 for alice, carol", "carol", "22", "127.0.0.1", true),
            ("22 for everyone", "carol", "22", "127.0.0.1", true),
            ("22 for alice", "alice", "23", "127.0.0.1", false),
            ("22 for alice", "alice", "udp:22", "127.0.0.1", false),
            ("22 for alice", "alice", "10.0.0.1:22", "10.0.0.1", false),
            // The system's own name for itself is what `localhost` is, whatever DNS says.
            ("22 for alice", "alice", "localhost:22", "10.0.0.1", true),
            ("db.internal:* for alice", "alice", "db.internal:5432", "10.0.0.1", true),
            ("db.internal:* for alice", "alice", "db.internal.evil:5432", "10.0.0.1", false),
            ("10.0.0.0/8:5432 for alice", "alice", "10.9.9.9:5432", "10.9.9.9", true),
            ("10.0.0.0/8:5432 for alice", "alice", "11.9.9.9:5432", "11.9.9.9", false),
            ("10.0.0.0/8:5432 for alice", "alice", "db.internal:5432", "10.0.0.1", true),
            ("10.0.0.0/8:5432 for alice", "alice", "db.internal:5432", "11.0.0.1", false),
            ("*:443 for alice", "alice", "example.org:443", "93.184.215.14", true),
            ("*:443 for alice", "alice", "[2606:4700::1111]:443", "2606:4700::1111", true),
            ("[2001:db8::]/32:* for alice", "alice", "[2001:db8::1]:1", "2001:db8::1", true),
            ("udp:53 for alice", "alice", "udp:53", "127.0.0.1", true),
        ];
        for (text, name, destination, ip, expected) in table {
            assert_eq!(reaches(text, name, destination, ip), expected, "{text}: {name} to {destination} at {ip}");
        }
        assert!(rule("unix:/a for alice").may_be_about(&"unix:/a".parse().unwrap()));
        assert!(!rule("unix:/a for alice").may_be_about(&"unix:/ab".parse().unwrap()));
    }

    #[test]
    fn special_address_is_reached_by_a_rule_about_it_and_by_none_that_covers_it() {
        let special = [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ];
        for ip in special {
            let (ip, destination) = (ip, format!("{}:80", Host::Ip(ip.parse().unwrap())));
            for text in ["*:80 for alice", "0.0.0.0/0:80 for alice", "[::]/0:* for alice", "128.0.0.0/1:80 for alice"] {
                assert!(!reaches(text, "alice", &destination, ip), "{text}: {ip}");
                assert!(!reaches(text, "alice", "rebound.example:80", ip), "{text}: {ip}");
            }
            assert!(!reaches("rebound.example:80 for alice", "alice", "rebound.example:80", ip), "{ip}");
            assert!(reaches(&format!("{destination} for alice"), "alice", &destination, ip), "{ip}");
        }
        assert!(reaches("127.0.0.0/8:80 for alice", "alice", "127.9.9.9:80", "127.9.9.9"));
        assert!(reaches("127.0.0.1:80 for alice", "alice", "localhost:80", "127.0.0.1"));
        assert!(!reaches("127.0.0.1:80 for alice", "alice", "localhost:80", "127.0.0.2"));
        assert!(!reaches("*:80 for alice", "alice", "localhost:80", "127.0.0.1"));
    }

    #[test]
    fn rule_is_written_as_it_was_read_and_a_wrong_one_is_refused_with_what_would_be_right() {
        let table = [
            ("22 for alice", "localhost:22 for alice"),
            ("udp:53 for alice, carol", "udp:localhost:53 for alice,carol"),
            ("[2001:DB8::1]/32:* for everyone", "[2001:db8::]/32:* for everyone"),
            ("unix:/run/a b for alice", "unix:/run/a b for alice"),
            ("*:* for alice", "*:* for alice"),
        ];
        for (text, expected) in table {
            assert_eq!(rule(text).to_string(), expected);
            assert_eq!(rule(expected), rule(text));
        }
        let refusal = |text: &str| text.parse::<Exposed>().unwrap_err().to_string();
        assert!(refusal("22").contains("for everyone"));
        assert!(refusal("22 for ").contains("in a rule"));
        assert!(refusal("22 for Alice").contains("a-z"));
        for text in [
            " for alice",
            "host for alice",
            "10.0.0.0/33:1 for alice",
            "a/8:1 for alice",
            "::1:80 for alice",
            "*:0 for alice",
            "udp:* for alice",
        ] {
            assert!(refusal(text).contains("nothing to expose"), "{text}: {}", refusal(text));
        }
    }
}
