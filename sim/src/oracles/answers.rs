//! Whoever can ask a supernode is not told what was true long ago.
//!
//! Source: an answer that is remembered counts for 60 s; after that it is given only while there is no supernode to ask,
//! and marked as stale.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::{Address, Name};
use kith_common::messages::names::{FRESH, Source};
use kith_common::peer::Output;
use kith_common::time::Instant;

use super::Oracle;
use crate::mesh::node::NodeId;
use crate::mesh::watch::Observation;

/// From what was so to when it was learnt, and a slow clock
const OLD_NEWS: Duration = Duration::from_secs(15);

/// Where everybody is, and was
#[derive(Debug, Default)]
pub struct Answers {
    places: BTreeMap<Name, Address>,
    left: BTreeMap<(Name, Address), Instant>,
}

impl Oracle for Answers {
    fn name(&self) -> &'static str {
        "answers"
    }

    fn see(&mut self, now: Instant, _: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Applied(directory) => {
                let places = directory.sessions().map(|session| (session.name.clone(), session.address)).collect();
                for (name, place) in std::mem::replace(&mut self.places, places) {
                    if self.places.get(&name) != Some(&place) {
                        self.left.insert((name, place), now);
                    }
                }
            }
            Observation::Peer(Output::LookedUp { name, answer: Ok(answer) })
                if answer.source == Source::Memory && !answer.stale =>
            {
                let left = self.left.get(&(name.clone(), answer.address)).copied();
                let is_here = self.places.get(name) == Some(&answer.address);
                if let Some(at) = left.filter(|at| !is_here && now - *at > FRESH + OLD_NEWS) {
                    return Err(format!("was told that {name} is where it has not been for {:?}", now - at));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
