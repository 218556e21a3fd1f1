//! The snapshot of the tables by which packets are forwarded, own ones among them.

use std::sync::Arc;

use crate::id::Address;
use crate::mail::Own;
use crate::routing::forward::NewRoutes;
use crate::routing::neighbourhood::Neighbourhood;
use crate::routing::{RouteCache, Routes};
use crate::time::Instant;
use crate::wire::PacketBytes;
use crate::wire::content::Choice;
use crate::wire::packet;

#[derive(Debug)]
pub(super) struct Snapshot {
    /// `None` while there is no session
    routes: Option<Arc<Routes>>,
    is_stale: bool,
    generation: u64,
    cache: RouteCache,
}

impl Snapshot {
    pub(super) fn new() -> Self {
        Self { routes: None, is_stale: false, generation: 0, cache: RouteCache::new() }
    }

    pub(super) const fn routes(&self) -> Option<&Arc<Routes>> {
        self.routes.as_ref()
    }

    /// The tables have changed
    pub(super) fn mark_stale(&mut self) {
        self.is_stale = true;
    }

    /// Whether a new one is due, which the caller takes now
    pub(super) fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.is_stale)
    }

    /// Takes a snapshot of the present tables
    pub(super) fn take(&mut self, own: Option<&Own>, neighbourhood: &Neighbourhood) -> Option<Box<NewRoutes>> {
        self.routes = None;
        let own = own?;
        self.generation += 1;
        let (degree, members) = (neighbourhood.degree(), neighbourhood.members());
        let routes = Arc::new(Routes::new(own.address, degree, members, self.generation, neighbourhood.views()));
        self.routes = Some(Arc::clone(&routes));
        let links = neighbourhood.live_links().collect();
        Some(Box::new(NewRoutes { routes, links, name: own.name.clone() }))
    }

    /// To whom a packet of this peer's own goes and why, as it is to leave; `None` if there is nobody to choose
    pub(super) fn first_hop(
        &mut self,
        now: Instant,
        packet: &PacketBytes,
        avoid: &[Address],
    ) -> Option<(Address, Choice, PacketBytes)> {
        let routes = self.routes.as_ref()?;
        let (to, choice, edit) = routes.first_hop(&mut self.cache, &packet.as_ref(), avoid, &[], now)?;
        let mut bytes = Vec::with_capacity(packet.as_ref().bytes().len() + packet::ENTRY_BYTES);
        packet::emit_forwarded(&packet.as_ref(), &edit, &mut bytes).ok()?;
        Some((to, choice, PacketBytes::new(bytes).ok()?))
    }
}
