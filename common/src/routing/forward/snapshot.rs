//! The routes of the moment, with the links that they lead over.

use std::sync::Arc;

use super::{Links, PushError};
use crate::id::{Address, Name};
use crate::link::LinkId;
use crate::routing::Routes;
use crate::wire::packet::{Edit, PacketRef};

/// Other routes than before, for a [`Forwarder`](super::Forwarder)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRoutes {
    /// Whom to forward to, seen from this node's place
    pub routes: Arc<Routes>,
    /// The links to neighbours that are up; packets over any other link are for this node or dropped
    pub links: Vec<(Address, LinkId)>,
    /// This node's name, for reports on traced packets
    pub name: Name,
}

/// [`NewRoutes`], with what leads to each neighbour's queue
#[derive(Debug)]
pub(super) struct Snapshot<L> {
    pub(super) routes: Arc<Routes>,
    pub(super) name: Name,
    /// Sorted by address
    targets: Vec<(Address, L)>,
    /// Sorted by link
    neighbours: Vec<(LinkId, Address)>,
}

impl<L> Snapshot<L> {
    pub(super) fn new(routes: NewRoutes, links: &impl Links<Link = L>) -> Self {
        let NewRoutes { routes, links: ids, name } = routes;
        let mut neighbours: Vec<_> = ids.iter().map(|(to, link)| (*link, *to)).collect();
        neighbours.sort_unstable();
        // A link that is gone by now is left out: its packets go to limbo until the next routes do without it.
        let target = |(to, link)| Some((to, links.link(to, link)?));
        let mut targets: Vec<_> = ids.into_iter().filter_map(target).collect();
        targets.sort_by_key(|(to, _)| *to);
        Self { routes, name, targets, neighbours }
    }

    pub(super) fn address(&self) -> Address {
        self.routes.own()
    }

    pub(super) fn neighbour_on(&self, link: LinkId) -> Option<Address> {
        let found = self.neighbours.binary_search_by_key(&link, |(of, _)| *of).ok();
        found.and_then(|at| self.neighbours.get(at)).map(|(_, address)| *address)
    }

    pub(super) fn links(&self) -> impl Iterator<Item = (Address, LinkId)> {
        self.neighbours.iter().map(|(link, address)| (*address, *link))
    }

    /// Queues a packet for the neighbour `to`
    #[inline]
    pub(super) fn push(
        &self,
        links: &mut impl Links<Link = L>,
        to: Address,
        packet: &PacketRef<'_>,
        edit: &mut Edit,
    ) -> Result<(), PushError> {
        let found = self.targets.binary_search_by_key(&to, |(of, _)| *of).ok();
        let (_, link) = found.and_then(|at| self.targets.get(at)).ok_or(PushError::NoLink)?;
        links.push(link, packet, edit)
    }
}
