//! Whoever can ask a supernode is not told, and does not send by, what was true long ago.
//!
//! Source: an answer that is remembered counts for 60 s; after that it is given only while there is no supernode to ask,
//! and marked as stale.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use kith_common::id::{Address, MessageId, Name};
use kith_common::names::{FRESH, Source};
use kith_common::peer::PeerOutput;
use kith_common::routing::neighbourhood::Event;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::{LookUp, Rewire, Subject};

use super::per_node::PerNode;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::{Observation, carries};

/// From what was so to when it was learnt, and a slow clock
const OLD_NEWS: Duration = Duration::from_secs(15);

/// Clocks may run a fiftieth fast or slow, and one remembers over a restart by the time of day
const CLOCK: Duration = Duration::from_secs(5);

/// A question that was asked so shortly ago may not be answered yet, and is not asked twice
const ASKED: Duration = Duration::from_secs(10);

/// What one machine has been told, and asks
#[derive(Debug, Default)]
struct Knowledge {
    is_home_up: bool,
    /// The names in its own tables or its neighbours': it need not ask for these
    near: HashSet<Name>,
    /// When a supernode last told of each name; lasts over a restart, as it is on disk
    heard: BTreeMap<Name, Instant>,
    /// When it last asked a supernode for each name
    asked: BTreeMap<Name, Instant>,
    /// Messages that may not leave before it has asked for these
    waiting: BTreeMap<MessageId, Name>,
}

impl Knowledge {
    fn hear(&mut self, now: Instant, rewire: &Rewire) {
        let names = || rewire.neighbours.iter().map(|record| record.name.clone());
        self.near.extend(names());
        self.heard.extend(names().map(|name| (name, now)));
    }

    fn send(&mut self, now: Instant, id: MessageId, to: &Name) {
        let is_within = |times: &BTreeMap<Name, Instant>, span| times.get(to).is_some_and(|at| now - *at <= span);
        let is_known = self.near.contains(to) || is_within(&self.heard, FRESH + CLOCK);
        if self.is_home_up && !is_known && !is_within(&self.asked, ASKED) {
            self.waiting.insert(id, to.clone());
        }
    }

    fn see(&mut self, now: Instant, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Started | Observation::Killed => {
                self.near.clear();
                (self.is_home_up, self.waiting) = (false, BTreeMap::new());
            }
            Observation::Peer(PeerOutput::LoggedIn) => self.is_home_up = true,
            Observation::Peer(PeerOutput::HomeLost { .. } | PeerOutput::LoggedOut { .. }) => {
                (self.is_home_up, self.waiting) = (false, BTreeMap::new());
            }
            Observation::Peer(PeerOutput::Done(outcome)) => drop(self.waiting.remove(&outcome.fate.id)),
            Observation::Received { frame: Frame::Found(found), .. } => {
                self.heard.extend(found.record.iter().map(|record| (record.name.clone(), now)));
            }
            Observation::Received { frame: Frame::Rewire(rewire), .. } => self.hear(now, rewire),
            Observation::Received { frame: Frame::Granted(granted), .. } => self.hear(now, &granted.rewire),
            Observation::Received { frame: Frame::Table(table), .. } => {
                let new = table.entries.iter().map(|entry| &entry.name).filter(|name| !self.near.contains(*name));
                let new: Vec<Name> = new.cloned().collect();
                self.near.extend(new);
            }
            Observation::Peer(PeerOutput::Event(
                Event::GuestAccepted { name, .. } | Event::LinkUp { name, .. } | Event::DialFailed { name, .. },
            )) => {
                self.near.insert(name.clone());
            }
            Observation::Asked { id, to, .. } => self.send(now, *id, to),
            Observation::Sent { frame: Frame::LookUp(LookUp { subject: Subject::Name(name), .. }), .. } => {
                self.asked.insert(name.clone(), now);
                self.waiting.retain(|_, waiting| waiting != name);
            }
            Observation::Forwarded { packet, .. } if !self.waiting.is_empty() && seen.own_packet().is_some() => {
                if let Some((_, name)) = self.waiting.iter().find(|(id, _)| carries(packet, id)) {
                    let heard = self.heard.get(name);
                    return Err(format!("sent to {name}, last heard of {heard:?}, without asking where it is now"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Where everybody is, and was, and who knows of it
#[derive(Debug, Default)]
pub(crate) struct Answers {
    knowledge: PerNode<Knowledge>,
    /// The sessions in the directory's order
    sessions: Vec<(Name, Address)>,
    places: BTreeMap<Name, Address>,
    left: BTreeMap<(Name, Address), Instant>,
}

impl Oracle for Answers {
    fn name(&self) -> &'static str {
        "answers"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Agreed(directory) => {
                let present = directory.sessions().map(|session| (&session.name, session.address));
                if present.eq(self.sessions.iter().map(|(name, address)| (name, *address))) {
                    return Ok(());
                }
                self.sessions = directory.sessions().map(|session| (session.name.clone(), session.address)).collect();
                let places = self.sessions.iter().cloned().collect();
                for (name, place) in std::mem::replace(&mut self.places, places) {
                    if self.places.get(&name) != Some(&place) {
                        self.left.insert((name, place), now);
                    }
                }
            }
            Observation::Peer(PeerOutput::LookedUp { name, answer: Ok(answer) })
                if answer.source == Source::Memory && !answer.stale =>
            {
                let left = self.left.get(&(name.clone(), answer.address)).copied();
                let is_here = self.places.get(name) == Some(&answer.address);
                if let Some(at) = left.filter(|at| !is_here && now - *at > FRESH + OLD_NEWS) {
                    return Err(format!("was told that {name} is where it has not been for {:?}", now - at));
                }
            }
            _ => return self.knowledge.of(node).see(now, seen),
        }
        Ok(())
    }
}
