//! A supernode answers what its directory says.
//!
//! Source: `kith_common::directory::Directory::look_up`: 404 for a name that nobody has, 410 for somebody who is logged
//! out or suspected to be gone, else where its owner is.

use std::collections::BTreeMap;

use kith_common::id::{Address, Name};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::Subject;

use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// What one supernode's directory says, and who has asked it
#[derive(Debug)]
pub(crate) struct LookUps {
    supernode: NodeId,
    /// Where everybody is who has a session and is no suspect
    places: BTreeMap<Name, Address>,
    /// At which entry of the log it says that
    applied: u64,
    asked: BTreeMap<(u64, u64), Name>,
}

impl LookUps {
    /// Nobody has asked this supernode
    pub(crate) const fn of(supernode: NodeId) -> Self {
        Self { supernode, places: BTreeMap::new(), applied: 0, asked: BTreeMap::new() }
    }
}

impl Oracle for LookUps {
    fn name(&self) -> &'static str {
        "look-ups"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if node != self.supernode {
            return Ok(());
        }
        match seen {
            Observation::Started => self.asked.clear(),
            Observation::Applied(directory) => {
                let present = directory.sessions().filter(|session| session.suspect.is_none());
                self.applied = directory.applied();
                self.places = present.map(|session| (session.name.clone(), session.address)).collect();
            }
            Observation::Received { link, frame: Frame::LookUp(look_up) } => {
                if let Subject::Name(name) = &look_up.subject {
                    self.asked.insert((*link, look_up.query), name.clone());
                }
            }
            Observation::Sent { link, frame: Frame::Found(found) } => {
                let Some(name) = self.asked.remove(&(*link, found.query)) else { return Ok(()) };
                let place = self.places.get(&name);
                let told = found.record.as_ref().map(|record| &record.address);
                // Of several entries that were heard together, it was answered at one before the last.
                if found.index != self.applied {
                    return Ok(());
                }
                let is_true = match found.status {
                    Status::Delivered => told == place,
                    Status::NotFound | Status::Gone => place.is_none(),
                    _ => true,
                };
                if !is_true {
                    return Err(format!("said {:?} of {name}, who is at {place:?}", (found.status, told)));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
