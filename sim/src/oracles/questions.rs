//! A question that goes from neighbour to neighbour goes over each link once.
//!
//! Source: a flood must not become a weapon; a question passes once, and is known by its number.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::names::ROUTE_LIFETIME;
use kith_common::time::Instant;
use kith_common::wire::Frame;

use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// How long a peer surely knows a question again, by a clock that may be fast
const KNOWN: Duration = Duration::from_millis(ROUTE_LIFETIME.as_millis() as u64 * 9 / 10);

/// When each question went over each link
#[derive(Debug, Default)]
pub(crate) struct Questions {
    asked: BTreeMap<(NodeId, u64, u64), Instant>,
}

impl Oracle for Questions {
    fn name(&self) -> &'static str {
        "questions"
    }

    fn fault(&mut self, _: Instant, fault: &Fault) {
        if let Fault::Jump(node, _) = fault {
            self.asked.retain(|(asker, ..), _| asker != node);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        let Observation::Sent { link, frame: Frame::LookUp(look_up) } = seen else { return Ok(()) };
        let before = self.asked.insert((node, *link, look_up.query), now);
        if before.is_some_and(|at| now - at < KNOWN) {
            return Err(format!("asked {:?} twice over one link", look_up.subject));
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        self.asked.retain(|_, at| world.now() - *at < KNOWN);
        Ok(())
    }
}
