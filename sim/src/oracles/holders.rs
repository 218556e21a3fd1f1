//! A place on the ring has one peer, a session one holder, and a name one owner.
//!
//! Source: an address is for packets and lasts for one session; a name is bound to the key of its first login for ever,
//! until an operator releases it.

use std::collections::BTreeMap;

use kith_common::id::{Key, Name};
use kith_common::time::Instant;

use super::truth::is_logged_in;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// The owner of each name, as is agreed
#[derive(Debug, Default)]
pub(crate) struct Holders {
    owners: BTreeMap<Name, Key>,
    /// How often the operator asked to give each free, less how often somebody else took it: who gets no answer asks again
    released: BTreeMap<Name, usize>,
}

impl Oracle for Holders {
    fn name(&self) -> &'static str {
        "holders"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Released => {
                *self.released.entry(name_of(node.0)).or_default() += 1;
            }
            // By an older log a name is again whose it was then, or nobody's.
            Observation::LogWentBack => self.owners.clear(),
            Observation::Agreed(directory) => {
                let mut places = BTreeMap::new();
                for (name, account) in directory.accounts() {
                    let owner = *self.owners.entry(name.clone()).or_insert(account.key);
                    if owner != account.key {
                        let Some(times) = self.released.get_mut(name).filter(|times| **times > 0) else {
                            return Err(format!("{name} belongs to {owner:?}, and now to {:?} as well", account.key));
                        };
                        *times -= 1;
                        self.owners.insert(name.clone(), account.key);
                    }
                    let Some(session) = account.session.and_then(|id| directory.session(id)) else { continue };
                    if session.key != account.key || session.name != *name {
                        return Err(format!("the session of {name} is {}'s, with another key", session.name));
                    }
                    if let Some(other) = places.insert(session.address, name) {
                        return Err(format!("{name} and {other} have the same place, {}", session.address));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        if world.directory().is_none() {
            return Ok(());
        }
        let mut holders = BTreeMap::new();
        for node in world.peers().filter(|node| is_logged_in(node)) {
            let Some(own) = node.peer().and_then(|peer| peer.core().own()) else { continue };
            if let Some(other) = holders.insert(own.address, &node.name) {
                return Err(format!("{} and {other} are both at {}", node.name, own.address));
            }
        }
        // Nobody is at home here under two sessions, and no session has two homes: both would be two links of one peer.
        let mut homes = BTreeMap::new();
        let supernodes = world.supernodes().filter_map(|node| Some((node.id, &node.supernode()?.core)));
        for (node, session, core) in
            supernodes.flat_map(|(id, core)| core.directory().sessions().map(move |s| (id, s, core)))
        {
            let Some(home) = core.home_of(session.id) else { continue };
            if let Some(other) = homes.insert((node, home), &session.name) {
                return Err(format!("{} and {other} are at home on one link", session.name));
            }
        }
        Ok(())
    }
}
