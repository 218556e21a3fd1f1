//! What is heard of what may get lost was said, by whom it is said to be from and to whom has heard it, and once; and whoever
//! wanted a connection is told in time that one stands, or why not.
//!
//! Source: a saying is a QUIC datagram (docs/protocol.md, "Connections"), which arrives once or never. All sayings of a run differ
//! (`stamp` in `mesh::users`).

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::{MessageId, Name};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_transport::stack::{CALL_TIMEOUT, Why};

use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// What a slow clock and a step add
const LATE: Duration = Duration::from_secs(9);

/// A connection that is wanted
#[derive(Debug)]
struct Wanted {
    node: NodeId,
    to: Name,
    /// When its process was last seen not to run, or the beginning
    held: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Sayings {
    /// By what each says: who said it to whom, and on which channel
    under_way: BTreeMap<Vec<u8>, (Name, Name, u16)>,
    wanted: BTreeMap<MessageId, Wanted>,
}

impl Oracle for Sayings {
    fn name(&self) -> &'static str {
        "sayings"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        let here = name_of(node.0);
        match seen {
            Observation::Reaching { id, to } => {
                self.wanted.insert(*id, Wanted { node, to: (*to).clone(), held: now });
            }
            Observation::Reached(called) => match self.wanted.remove(&called.id) {
                Some(wanted) if wanted.node == node && wanted.to == called.to => {
                    let is_met = called.reason == Why::Met;
                    if is_met != (called.status == Status::Delivered) || called.reason == Why::Answered {
                        return Err(format!("a connection with {} that {called:?}", called.to));
                    }
                }
                _ => return Err(format!("a connection that nobody wanted, or is told of twice: {called:?}")),
            },
            Observation::Saying { to, channel, bytes } => {
                self.under_way.insert(bytes.to_vec(), (here, (*to).clone(), *channel));
            }
            Observation::Said { from, channel, bytes } => {
                let said = self.under_way.remove(*bytes);
                if said.as_ref() != Some(&((*from).clone(), here, *channel)) {
                    return Err(format!(
                        "heard on channel {channel} of {from} what was said otherwise, if at all: {said:?}"
                    ));
                }
            }
            Observation::Killed => self.wanted.retain(|_, wanted| wanted.node != node),
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now = world.now();
        for wanted in self.wanted.values_mut() {
            if !world.node(wanted.node).runs() {
                wanted.held = now;
            }
            if now - wanted.held > CALL_TIMEOUT + LATE {
                let from = name_of(wanted.node.0);
                return Err(format!("{from} waits for a connection with {} without an end", wanted.to));
            }
        }
        Ok(())
    }
}
