//! Nobody is kept out of its own session.
//!
//! Source: a key has one session; 409 with a time to come again says that another process with the key is there and answers.
//! Here no two processes with one key ever run at once, so it is said of a peer's own link, which it gave up or which died
//! with its process. (A name that another key owns is refused without such a time, as coming again does not help.)

use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::Refused;

use super::register::Register;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// What one supernode tells those who log in
#[derive(Debug)]
pub(crate) struct Conflicts {
    supernode: NodeId,
    register: Register,
}

impl Conflicts {
    pub(crate) fn of(supernode: NodeId) -> Self {
        Self { supernode, register: Register::of(supernode) }
    }
}

impl Oracle for Conflicts {
    fn name(&self) -> &'static str {
        "conflicts"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if node != self.supernode {
            return Ok(());
        }
        self.register.see(seen);
        match seen {
            Observation::Sent {
                link,
                frame: Frame::Refused(Refused { status: Status::Conflict, reason, retry_after_ms: 1.. }),
            } => {
                let name = self.register.other(*link).map_or("somebody", |name| name.as_str());
                Err(format!("{name} is refused for its own link: {reason:?}"))
            }
            _ => Ok(()),
        }
    }
}
