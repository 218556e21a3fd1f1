//! A process counts the links and handshakes that it has, and no others, and has no more than it may have.
//!
//! Source: the limits that the product documents, and the ends of streams that there are.

use kith_common::link::limits::Held;

use crate::mesh::net::Side;
use crate::mesh::node::Node;
use crate::mesh::oracle::Oracle;
use crate::mesh::world::World;

#[derive(Debug, Default)]
pub(crate) struct Permits;

impl Oracle for Permits {
    fn name(&self) -> &'static str {
        "permits"
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for node in world.nodes.iter().filter(|node| node.process.is_some()) {
            let (held, there, limits) = (node.permits.held(), there(node), world.config.limits(node.id));
            if held != there {
                return Err(format!("{} counts {held:?} where there are {there:?}", node.name));
            }
            let bounds = [
                ("handshakes", there.pending, limits.pending_max),
                ("dials", there.dials, limits.dials_max),
                ("links that came in", there.incoming, limits.links_max - limits.outgoing_reserved),
                ("links", there.incoming + there.outgoing, limits.links_max),
            ];
            if let Some((what, is, most)) = bounds.into_iter().find(|(_, is, most)| is > most) {
                return Err(format!("{} has {is} {what}, more than {most}", node.name));
            }
            if let Some(dial) = node.dials.keys().find(|dial| world.net.conn(**dial).is_none()) {
                return Err(format!("{} waits for {dial:?}, which is over", node.name));
            }
        }
        Ok(())
    }
}

/// The ends that the machine has, last words included
fn there(node: &Node) -> Held {
    let links = || node.ends.values().chain(node.leaving.values());
    Held {
        pending: node.accepting.len() + node.greeters.keys().filter(|(_, side)| *side == Side::Listener).count(),
        dials: node.dials.len(),
        incoming: links().filter(|end| end.side == Side::Listener).count(),
        outgoing: links().filter(|end| end.side == Side::Dialler).count(),
    }
}
