//! The snapshot of the tables by which packets are forwarded, own ones among them.

use std::sync::Arc;

use crate::mail::Own;
use crate::routing::Routes;
use crate::routing::forward::NewRoutes;
use crate::routing::neighbourhood::Neighbourhood;

#[derive(Debug)]
pub(super) struct Snapshot {
    /// `None` while there is no session
    routes: Option<Arc<Routes>>,
    is_stale: bool,
    generation: u64,
}

impl Snapshot {
    pub(super) fn new() -> Self {
        Self { routes: None, is_stale: false, generation: 0 }
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
        let routes = Routes::new(own.address, degree, members, self.generation, neighbourhood.views());
        let routes = Arc::new(routes.with_unseen(neighbourhood.unseen()));
        self.routes = Some(Arc::clone(&routes));
        let links = neighbourhood.live_links().collect();
        Some(Box::new(NewRoutes { routes, links, name: own.name.clone() }))
    }
}
