//! Where a peer can be dialled: of all addresses that lead to it, those that are worth a dial.

use std::net::{IpAddr, SocketAddr};

use crate::wire::session::{LOCATIONS_MAX, Listening, Location, Locations};

/// Addresses of one kind that are told at most: a machine has many temporary ones of IPv6, which all lead to it or none
const OF_A_KIND_MAX: usize = 2;

/// How likely it is that whoever dials an address finds its owner there; the likeliest first
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// The supernode has been reached from it
    Observed,
    /// Everybody can route to it
    Global,
    /// It leads there within one network: two peers behind one NAT find each other by it
    Private,
    /// Nearly always the bridge between a machine's own containers, and the same on every machine
    Bridge,
    /// It leads there on the same machine, and the supernode is on the same machine
    Loopback,
}

impl Use {
    /// `None` for an address that leads nowhere, or anywhere
    fn of(ip: IpAddr, observed: Option<IpAddr>) -> Option<Self> {
        let (is_link_local, is_private, is_bridge) = match ip {
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                let is_bridge = a == 172 && b & 0xf0 == 16;
                (ip.is_link_local(), ip.is_private() || a == 100 && b & 0xc0 == 64, is_bridge)
            }
            IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.is_unique_local(), false),
        };
        match () {
            () if ip.is_unspecified() || ip.is_multicast() || is_link_local => None,
            () if ip.is_loopback() => observed.is_none_or(|ip| ip.is_loopback()).then_some(Self::Loopback),
            () if observed == Some(ip) => Some(Self::Observed),
            () if is_bridge => Some(Self::Bridge),
            () if is_private => Some(Self::Private),
            () => Some(Self::Global),
        }
    }
}

/// The addresses that are worth a dial, the best first
///
/// `observed` is where the owner is seen from; `None` if nobody has seen it yet, and then loopback counts, too.
pub fn by_use(addresses: impl IntoIterator<Item = SocketAddr>, observed: Option<IpAddr>) -> Vec<SocketAddr> {
    let mut ranked: Vec<(Use, SocketAddr)> = Vec::new();
    for address in addresses {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let Some(of_use) = Use::of(address.ip(), observed) else { continue };
        let alike = ranked.iter().filter(|(other, at)| *other == of_use && at.is_ipv4() == address.is_ipv4()).count();
        if alike < OF_A_KIND_MAX && !ranked.contains(&(of_use, address)) {
            ranked.push((of_use, address));
        }
    }
    // The sort is stable: among equals the order of the system's own list holds.
    ranked.sort_by_key(|(of_use, _)| *of_use);
    ranked.into_iter().map(|(_, address)| address).collect()
}

/// What a login tells of the addresses that a peer listens at
pub fn listening(addresses: impl IntoIterator<Item = SocketAddr>) -> Listening {
    Listening::truncated(by_use(addresses, None).into_iter().map(location))
}

/// Where a peer can be dialled: its `external` locations, else where it listens and is seen
///
/// Empty if nothing of that leads to it. An external location that is no multiaddr (no leading `/`) is left out. An IP
/// that the peer is seen from and does not listen at is a NAT's, or a container's host: it counts with the port of a
/// listener of its family, and not at all if no listener is of its family, as nobody would answer there.
pub(crate) fn locations_of(external: &Locations, listening: &Listening, observed: Option<IpAddr>) -> Locations {
    let configured: Vec<&Location> = external.iter().filter(|location| location.starts_with('/')).collect();
    if !configured.is_empty() {
        return Locations::truncated(configured.into_iter().cloned());
    }
    let observed = observed.map(|ip| ip.to_canonical());
    let listening: Vec<SocketAddr> = listening.iter().filter_map(address).collect();
    let seen = observed.and_then(|ip| {
        let is_listened_at = listening.iter().any(|at| at.ip() == ip);
        let answers = |at: &&SocketAddr| at.is_ipv4() == ip.is_ipv4() && !at.ip().is_loopback();
        let behind = listening.iter().find(answers).filter(|_| !is_listened_at && !ip.is_loopback());
        behind.map(|at| SocketAddr::new(ip, at.port()))
    });
    let found = by_use(seen.into_iter().chain(listening), observed);
    Locations::truncated(found.into_iter().take(LOCATIONS_MAX).map(location))
}

fn location(address: SocketAddr) -> Location {
    let (family, ip) = (if address.is_ipv4() { "ip4" } else { "ip6" }, address.ip());
    Location::truncated(&format!("/{family}/{ip}/tcp/{}", address.port()))
}

/// The address that a location is; `None` for one that names a host
fn address(location: &Location) -> Option<SocketAddr> {
    match location.split('/').collect::<Vec<_>>().as_slice() {
        ["", "ip4" | "ip6", ip, "tcp", port] => {
            let ip: IpAddr = ip.parse().ok()?;
            Some(SocketAddr::new(ip.to_canonical(), port.parse().ok().filter(|port| *port != 0)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<const N: usize>(texts: [&str; N]) -> Locations {
        Locations::truncated(texts.into_iter().map(Location::truncated))
    }

    /// What is told of a peer that listens at these addresses and is seen from there
    fn told(listens: &[&str], seen: &str) -> Vec<String> {
        let listening = listening(listens.iter().map(|address| address.parse().unwrap()));
        let told = locations_of(&Locations::new(), &listening, seen.parse().ok());
        told.iter().map(|location| location.to_string()).collect()
    }

    #[test]
    fn configured_locations_win_over_all_others() {
        let external = texts(["/dns4/alice.example/tcp/7400", "nonsense"]);
        let listening = listening(["192.0.2.7:7401".parse().unwrap()]);
        let seen = "192.0.2.7".parse().ok();
        assert_eq!(locations_of(&external, &listening, seen), texts(["/dns4/alice.example/tcp/7400"]));
        assert_eq!(locations_of(&texts(["nonsense"]), &listening, seen), texts(["/ip4/192.0.2.7/tcp/7401"]));
    }

    #[test]
    fn peer_behind_a_nat_is_told_by_the_nats_address_and_by_its_own() {
        let listens = ["127.0.0.1:7401", "192.168.1.5:7401"];
        assert_eq!(told(&listens, "203.0.113.9"), ["/ip4/203.0.113.9/tcp/7401", "/ip4/192.168.1.5/tcp/7401"]);
        assert_eq!(told(&listens, "::ffff:192.168.1.5"), ["/ip4/192.168.1.5/tcp/7401"]);
        assert_eq!(told(&listens, "not seen"), ["/ip4/192.168.1.5/tcp/7401", "/ip4/127.0.0.1/tcp/7401"]);
    }

    #[test]
    fn family_that_nobody_listens_in_is_not_told() {
        assert_eq!(told(&["192.168.1.5:7401"], "2001:db8::1"), ["/ip4/192.168.1.5/tcp/7401"]);
        assert_eq!(told(&["127.0.0.1:7401"], "192.168.1.5"), Vec::<String>::new());
        assert_eq!(told(&[], "192.168.1.5"), Vec::<String>::new());
    }

    #[test]
    fn each_family_is_told_with_the_port_of_its_own_listener() {
        let listens = ["10.0.0.5:1", "[fd00::5]:2", "[2001:db8::5]:2"];
        let expected =
            ["/ip6/2001:db8::99/tcp/2", "/ip6/2001:db8::5/tcp/2", "/ip4/10.0.0.5/tcp/1", "/ip6/fd00::5/tcp/2"];
        assert_eq!(told(&listens, "2001:db8::99"), expected);
    }

    #[test]
    fn loopback_is_told_last_and_only_to_who_shares_it() {
        let listens = ["127.0.0.1:1", "[::1]:1", "192.168.1.5:1"];
        let expected = ["/ip4/192.168.1.5/tcp/1", "/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1"];
        assert_eq!(told(&listens, "127.0.0.1"), expected);
        assert_eq!(told(&listens, "192.168.1.5"), ["/ip4/192.168.1.5/tcp/1"]);
    }

    #[test]
    fn four_are_told_at_most_and_bridges_and_temporary_addresses_put_nobody_out() {
        let temporary: Vec<String> = (1..9).map(|n| format!("[2001:db8::{n}]:1")).collect();
        let bridges: Vec<String> = (17..25).map(|n| format!("172.{n}.0.1:1")).collect();
        let all: Vec<&str> = bridges.iter().chain(&temporary).map(String::as_str).chain(["192.168.1.5:1"]).collect();
        let expected =
            ["/ip4/203.0.113.9/tcp/1", "/ip6/2001:db8::1/tcp/1", "/ip6/2001:db8::2/tcp/1", "/ip4/192.168.1.5/tcp/1"];
        assert_eq!(told(&all, "203.0.113.9"), expected);
    }

    #[test]
    fn addresses_that_lead_nowhere_are_not_told() {
        let listens = ["0.0.0.0:1", "[::]:1", "169.254.1.1:1", "[fe80::1]:1", "224.0.0.1:1"];
        assert_eq!(told(&listens, "0.0.0.0"), Vec::<String>::new());
        assert_eq!(told(&["10.0.0.1:0"], "10.0.0.1"), Vec::<String>::new());
    }
}
