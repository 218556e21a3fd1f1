//! What is really so, as only somebody who sees all machines can know.

use kith_common::session::membership::Standing;

use crate::mesh::net::{EndState, Side};
use crate::mesh::node::{End, Node, NodeId};
use crate::mesh::world::World;

/// Whether the peer on this machine runs, is not paused, and takes itself for logged in
pub(super) fn is_logged_in(node: &Node) -> bool {
    let standing = |node: &Node| node.peer().map(|peer| peer.core().standing());
    node.runs() && matches!(standing(node), Some(Standing::LoggedIn { .. }))
}

/// The machine that a peer has its home link with
pub(super) fn home(world: &World, node: &Node) -> Option<NodeId> {
    let end = node.ends.get(&node.peer()?.core().home_link()?.0)?;
    Some(world.net.conn(end.conn)?.end(end.side.other()).node)
}

/// Whether a supernode that runs on this machine waits for its disk
pub(super) fn is_writing(node: &Node) -> bool {
    node.supernode().is_some_and(|supernode| !supernode.core.is_idle())
}

/// Whether it forwards over links to all in its table, and to nobody else
pub(super) fn is_settled(node: &Node) -> bool {
    let Some((peer, routes)) = node.peer().and_then(|peer| Some((peer, peer.forwarder.routes()?))) else {
        return false;
    };
    let views = routes.views();
    views.len() == peer.core().neighbourhood().wanted() && views.iter().all(|view| view.up)
}

/// Whether anybody may be silent at the other end of this link without being gone: it is paused
pub(super) fn is_other_paused(world: &World, end: &End) -> bool {
    let Some(conn) = world.net.conn(end.conn) else { return false };
    world.node(conn.end(end.side.other()).node).backlog.is_some()
}

/// Whether bytes get through in both directions, and somebody is there
pub(super) fn is_alive(world: &World, end: &End) -> bool {
    let Some(conn) = world.net.conn(end.conn) else { return false };
    let other = conn.end(end.side.other());
    let node = world.node(other.node);
    let is_there = matches!(other.state, EndState::Open(_)) && node.life == other.life && node.process.is_some();
    let [from, to] = [conn.end(Side::Dialler).node, conn.end(Side::Listener).node];
    is_there && node.is_up && !conn.black && !world.net.is_blocked(from, to) && !world.net.is_blocked(to, from)
}

/// Whether bytes from the other side can reach this end: then what breaks is for the other side to notice first
pub(super) fn is_heard(world: &World, end: &End) -> bool {
    let Some(conn) = world.net.conn(end.conn) else { return false };
    let (own, other) = (conn.end(end.side), conn.end(end.side.other()));
    let node = world.node(other.node);
    let is_there = matches!(other.state, EndState::Open(_)) && node.life == other.life && node.process.is_some();
    is_there && node.is_up && !conn.black && !world.net.is_blocked(other.node, own.node)
}

/// The links that a peer takes for live, each with the machine at its other end
pub(super) fn live_links<'a>(world: &'a World, node: &'a Node) -> impl Iterator<Item = (u64, &'a End, NodeId)> {
    let peer = node.peer();
    let links = peer.into_iter().flat_map(|peer| peer.core().neighbourhood().live_links());
    links.filter_map(|(_, link)| {
        let end = node.ends.get(&link.0)?;
        let conn = world.net.conn(end.conn)?;
        Some((link.0, end, conn.end(end.side.other()).node))
    })
}
