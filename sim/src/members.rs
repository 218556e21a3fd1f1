//! The members of the ring: joins and leaves by the product's own rules.

use clap::ValueEnum;
use kith_common::crypto::candidate_address;
use kith_common::id::{Address, Key};
use kith_common::lift;
use kith_common::ring::Ring;
use serde::Serialize;

use crate::chance::{Chance, Draws};
use crate::sessions;

/// How a peer gets its address
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ids {
    /// By the supernodes, at login: the loneliest of the candidates
    Given,
    /// Its key's hash, for comparison
    Hash,
}

/// What the ring has been through
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum History {
    /// Joins alone
    Joins,
    /// As many joins, then as many times one leaves and one joins
    Churned,
    /// As many joins, then a day in which many come for minutes and few for long
    Day,
}

/// The members of a ring that people join and leave
#[derive(Clone, Debug)]
pub struct Members {
    ring: Ring,
    /// The same, in no order, to draw from
    list: Vec<Address>,
    ids: Ids,
    chance: Chance,
}

impl Members {
    /// A ring of `peers` members with this history
    pub fn new(peers: usize, ids: Ids, history: History, seed: u64) -> Self {
        let (ring, list) = (Ring::new(), Vec::with_capacity(peers));
        let mut members = Self { ring, list, ids, chance: Chance::new(seed, Draws::Members) };
        while members.list.len() < peers {
            members.join();
        }
        match history {
            History::Joins => {}
            History::Churned => {
                for _ in 0..peers {
                    members.leave();
                    members.join();
                }
            }
            History::Day => {
                members.pass_day(seed);
            }
        }
        members
    }

    /// A day passes, in which sessions end and others begin; how many ended
    fn pass_day(&mut self, seed: u64) -> usize {
        let mut chance = Chance::new(seed, Draws::Sessions);
        let mut ended = 0;
        for at in sessions::ends(self.list.len(), sessions::DAY, &mut chance) {
            self.replace_at(at);
            ended += 1;
        }
        ended
    }

    pub const fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The member at this index of those in no order
    pub fn at(&self, at: usize) -> Option<Address> {
        self.list.get(at).copied()
    }

    /// A new peer logs in; where it is
    pub fn join(&mut self) -> Address {
        let address = self.enter();
        self.list.push(address);
        address
    }

    /// A peer comes to this address, with the last index; `false` if somebody is there
    pub fn join_at(&mut self, address: Address) -> bool {
        let is_new = self.ring.insert(address);
        if is_new {
            self.list.push(address);
        }
        is_new
    }

    /// The member at this index leaves, and a new one logs in and takes its index; where that is
    pub fn replace_at(&mut self, at: usize) -> Option<Address> {
        let address = self.at(at)?;
        self.ring.remove(address);
        let next = self.enter();
        self.list[at] = next;
        Some(next)
    }

    /// Puts somebody on the ring whom the list lacks
    fn enter(&mut self) -> Address {
        loop {
            let (key, salt) = (Key(self.chance.bytes()), self.chance.bytes());
            let address = match self.ids {
                Ids::Given => lift::choose_address(&key, &salt, &self.ring),
                Ids::Hash => candidate_address(&key, &salt, 0),
            };
            if self.ring.insert(address) {
                return address;
            }
        }
    }

    /// One of them, each as likely as the others, leaves; where it was, if anybody was there
    pub fn leave(&mut self) -> Option<Address> {
        if self.list.is_empty() {
            return None;
        }
        let at = self.chance.index(self.list.len());
        self.leave_at(at)
    }

    /// The member at this index of those in no order leaves, and the last takes its index
    pub fn leave_at(&mut self, at: usize) -> Option<Address> {
        if at >= self.list.len() {
            return None;
        }
        let address = self.list.swap_remove(at);
        self.ring.remove(address);
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn churn_keeps_the_number_of_members_and_replaces_most_of_them() {
        let fresh = Members::new(200, Ids::Given, History::Joins, 1);
        let churned = Members::new(200, Ids::Given, History::Churned, 1);
        assert_eq!((fresh.ring().len(), churned.ring().len()), (200, 200));
        let stayed = fresh.ring().iter().filter(|peer| churned.ring().contains(*peer)).count();
        assert!((40..=110).contains(&stayed), "{stayed} of 200 stayed, of 74 expected");
    }

    #[test]
    fn given_addresses_lie_farther_apart_than_hashes() {
        let narrowest = |ids| {
            let members = Members::new(500, ids, History::Joins, 1);
            let places: Vec<u64> = members.ring().iter().map(|peer| peer.0).collect();
            places.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap()
        };
        assert!(narrowest(Ids::Given) > 100 * narrowest(Ids::Hash));
    }

    #[test]
    fn day_keeps_the_number_of_members_and_replaces_nearly_all() {
        let mut members = Members::new(300, Ids::Given, History::Joins, 1);
        let before = members.clone();
        let ended = members.pass_day(1);
        // A session an hour each, and more in the beginning, when all have just come.
        assert!((24 * 300..32 * 300).contains(&ended), "{ended}");
        let stayed = before.ring().iter().filter(|peer| members.ring().contains(*peer)).count();
        assert!(members.ring().len() == 300 && stayed < 10, "{stayed} stayed");
        assert!((0..300).all(|at| members.at(at).is_some_and(|peer| members.ring().contains(peer))));
    }
}
