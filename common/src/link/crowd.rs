//! Addresses counted by the networks that they are in.
//!
//! One who means harm has as many IPv6 addresses as he likes, but few networks: a provider hands a customer a /64, a /56
//! or a /48. So addresses are counted three times over, and the widest network in which too many are tells who crowds.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// From the widest network to the household: an IPv4 address, or an IPv6 /64
pub(crate) const LEVELS: u8 = 3;
/// Bits of an IPv6 address that name its network, by level
const BITS_V6: [u32; LEVELS as usize] = [48, 56, 64];
/// The same of an IPv4 address, which stands in the last 32 of 128 bits: a /24, and then the address itself
const BITS_V4: [u32; LEVELS as usize] = [96 + 24, 96 + 32, 96 + 32];
/// How many households' shares an IPv6 network may have, by level: a /48 is four, however many hide in it. An IPv4 /24
/// is many households, each with its own
const SHARES_V6: [Option<usize>; LEVELS as usize] = [Some(4), Some(2), Some(1)];
const SHARES_V4: [Option<usize>; LEVELS as usize] = [None, None, Some(1)];

/// The network of one household, as a number; networks of one wider network are neighbours in its order
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Household(u128);

impl Household {
    /// Of an address; all whose address is not known are one
    pub(crate) fn of(ip: Option<IpAddr>) -> Self {
        let ip = match ip.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => u128::from(ip.to_ipv6_mapped()),
            Some(IpAddr::V6(ip)) => u128::from(ip),
            None => 0,
        };
        Self(network(ip, LEVELS - 1))
    }

    /// Whether it is one IPv4 address
    pub(crate) const fn is_v4(self) -> bool {
        is_v4(self.0)
    }

    /// The networks that it is in, each by its level and its first address, from the widest to itself
    pub(crate) fn networks(self) -> [(u8, u128); LEVELS as usize] {
        [0, 1, 2].map(|level| (level, network(self.0, level)))
    }
}

/// How many are in each network; holds three entries at most for each that is counted
#[derive(Debug, Default)]
pub(super) struct Crowd {
    counts: BTreeMap<(u8, u128), usize>,
}

impl Crowd {
    pub(super) fn add(&mut self, household: Household) {
        for network in household.networks() {
            *self.counts.entry(network).or_default() += 1;
        }
    }

    /// Takes back one that was added
    pub(super) fn remove(&mut self, household: Household) {
        for key in household.networks() {
            let Some(count) = self.counts.get_mut(&key) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&key);
            }
        }
    }

    /// The widest network around a household that has its full share already, if a household's is `max`
    pub(super) fn full_network(&self, household: Household, max: usize) -> Option<RangeInclusive<u128>> {
        let all = if household.is_v4() { SHARES_V4 } else { SHARES_V6 };
        household.networks().into_iter().zip(all).find_map(|((level, network), shares)| {
            let shares = shares?;
            let count = self.counts.get(&(level, network)).copied().unwrap_or_default();
            (count >= max.saturating_mul(shares)).then(|| network..=last(network, level))
        })
    }

    /// The most crowded household of the most crowded network of the most crowded wide network, all within `within`
    pub(super) fn most_crowded(&self, mut within: RangeInclusive<u128>) -> Option<Household> {
        for level in 0..LEVELS {
            // A network wider than what is asked for begins before it, so it is looked for by its own beginning.
            let first = network(*within.start(), level);
            let networks = self.counts.range((level, first)..=(level, *within.end()));
            let ((_, network), _) = networks.max_by_key(|(_, count)| **count)?;
            let start = *within.start().max(network);
            within = start..=last(*network, level).min(*within.end());
        }
        Some(Household(*within.start()))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

/// Whether it is an IPv4 address, as IPv6 writes them
const fn is_v4(ip: u128) -> bool {
    const MAPPED: u128 = 0xffff;
    ip >> 32 == MAPPED
}

fn bits(ip: u128, level: u8) -> u32 {
    let bits = if is_v4(ip) { BITS_V4 } else { BITS_V6 };
    bits.get(usize::from(level)).copied().unwrap_or(u128::BITS)
}

/// The first address of the network of this level around an address
fn network(ip: u128, level: u8) -> u128 {
    ip & !rest(ip, level)
}

/// The last address of a network
fn last(network: u128, level: u8) -> u128 {
    network | rest(network, level)
}

/// The bits of an address that do not name its network
fn rest(ip: u128, level: u8) -> u128 {
    u128::MAX.checked_shr(bits(ip, level)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: RangeInclusive<u128> = 0..=u128::MAX;

    fn at(ip: &str) -> Household {
        Household::of(Some(ip.parse().unwrap()))
    }

    fn crowd(ips: &[&str]) -> Crowd {
        let mut crowd = Crowd::default();
        ips.iter().for_each(|ip| crowd.add(at(ip)));
        crowd
    }

    #[test]
    fn households_are_one_ipv4_address_or_one_ipv6_64() {
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:0:0:2"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
    }

    #[test]
    fn widest_crowd_is_found_first_and_its_fullest_household_in_it() {
        let spread = crowd(&["192.0.2.1", "192.0.2.1", "2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:2::2"]);
        assert_eq!(spread.most_crowded(ALL), Some(at("2001:db8:0:2::")), "three in a /48 outdo two at one address");
        let dense = crowd(&["192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:1::1"]);
        assert_eq!(dense.most_crowded(ALL), Some(at("192.0.2.1")), "two /48 are nothing to each other");
        assert_eq!(Crowd::default().most_crowded(ALL), None);
    }

    #[test]
    fn network_has_a_few_households_share_and_no_more() {
        let mut crowd = Crowd::default();
        for subnet in 0..8 {
            assert_eq!(crowd.full_network(at(&format!("2001:db8:0:{subnet}00::")), 2), None, "{subnet}");
            crowd.add(at(&format!("2001:db8:0:{subnet}00::")));
        }
        let full = crowd.full_network(at("2001:db8:0:ffff::"), 2).expect("the /48 is full");
        assert!(full.contains(&u128::from("2001:db8::".parse::<std::net::Ipv6Addr>().unwrap())));
        assert_eq!(crowd.most_crowded(full), Some(at("2001:db8:0:700::")));
        assert_eq!(crowd.full_network(at("2001:db8:1::"), 2), None);
        (0..99).for_each(|i| crowd.add(at(&format!("192.0.2.{i}"))));
        assert_eq!(crowd.full_network(at("192.0.2.100"), 2), None, "each IPv4 address is somebody's");
    }

    #[test]
    fn what_is_taken_back_is_forgotten() {
        let ips = ["192.0.2.1", "2001:db8::1", "192.0.2.1"];
        let mut crowd = crowd(&ips);
        ips.iter().for_each(|ip| crowd.remove(at(ip)));
        assert!(crowd.is_empty());
    }
}
